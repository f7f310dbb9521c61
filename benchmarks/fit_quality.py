"""Which optimum is reached, and for what price: single fits and leave-one-out folds.

    python benchmarks/fit_quality.py best     # the best known optima, about an hour
    python benchmarks/fit_quality.py run      # all ways, in turn; about twenty minutes
    python benchmarks/fit_quality.py table    # results/fit_quality.md again

`best` searches from 200 seeded random starts in logarithmic and 20 in raw coordinates
(with `Warp` 60 and none, folds 60 and none), and keeps what it finds in
`results/best_known.json`, a file that only improves: `run` puts in whatever any way
finds. `run` fits every problem in every way, one after the other in one process, single
fits three times (where that does not take long), and appends to
`results/fit_quality.jsonl`; a problem that is there is not run again. Names of problems
after the verb restrict it to them.

A regret is in nats of the summed loss (not per point) above the best known one. For the
problems see `problems.py`: those of `CHOSEN_ON` were looked at when starts and rules
were chosen, on other rows; the others were not.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import botorch
import fit_speed
import numpy as np
import torch
from botorch.optim.closures import get_loss_closure
from gpytorch.mlls import ExactMarginalLogLikelihood
from problems import CHOSEN_ON, FOLDS, SINGLE, data_of
from torch import Tensor

from botorch_xval import FitOptions, cross_validate, fit_each, fit_gpytorch_mll
from botorch_xval.cross_validation import leave_one_out

RESULTS = Path(__file__).parent / "results"
BEST, LINES = RESULTS / "best_known.json", RESULTS / "fit_quality.jsonl"
REPEATS, LONG = 3, 4.0  # once where it takes more seconds
SAME = (0.01, 0.1)  # nats
WAYS: dict[str, dict[str, Any] | None] = {
    "BoTorch": None,
    "own, raw": {"starts": "own", "coordinates": "raw"},
    "own, log": {"starts": "own"},
    "several": {},
}
FOLD_WAYS: dict[str, tuple[str, dict[str, Any]] | None] = {
    "BoTorch": None,
    "refit, own, raw": ("refit", {"starts": "own", "coordinates": "raw"}),
    "refit, own, log": ("refit", {"starts": "own"}),
    "warm, own": ("warm", {"starts": "own"}),
    "refit": ("refit", {}),
    "warm": ("warm", {}),
}


def wrap(build: Callable, X: Tensor, Y: Tensor) -> ExactMarginalLogLikelihood:
    model = build(X, Y)
    return ExactMarginalLogLikelihood(model.likelihood, model)


def losses_of(mll: ExactMarginalLogLikelihood) -> np.ndarray:
    """Summed losses by BoTorch's closure, of every model of the mll."""
    with torch.no_grad():
        losses = get_loss_closure(mll.train())().reshape(-1)
    return losses.numpy() * mll.model.train_targets.shape[-1]


def random_starts(
    mll: ExactMarginalLogLikelihood, count: int, seed: int
) -> list[dict[str, Tensor]]:
    """Lengthscales with a common factor and one each, any noise and any others."""
    rng, found = np.random.default_rng(seed), []
    own = [
        (name, parameter, constraint)
        for name, parameter, constraint in mll.named_parameters_and_constraints()
        if parameter.requires_grad
    ]
    for _ in range(count):
        start, spread = {}, rng.choice([0.0, 0.5, 1.5])
        common = rng.uniform(np.log(1 / 8), np.log(32))
        for name, parameter, constraint in own:
            value = parameter.detach()
            if constraint is not None:
                value = constraint.transform(value)
            noise = torch.as_tensor(rng.normal(size=tuple(value.shape)))
            if name.endswith("raw_lengthscale"):
                if rng.random() < 0.5:
                    common = rng.uniform(np.log(1 / 8), np.log(32))
                value = value * (common + spread * noise).exp()
            elif name.endswith("raw_noise"):
                value = 0 * value + np.exp(rng.uniform(np.log(1e-4), np.log(2)))
            elif name.endswith("raw_outputscale"):
                value = value * np.exp(rng.uniform(-4, 1))
            elif constraint is None:
                value = value + rng.choice([0.0, 1.0]) * noise
            else:
                value = value * (rng.choice([0.0, 0.5]) * noise).exp()
            if constraint is not None and constraint.enforced:
                low, high = constraint.lower_bound, constraint.upper_bound
                edge = 1e-6 * torch.where(high.isinf(), torch.ones_like(high), high)
                value = constraint.inverse_transform(
                    value.clamp(low + edge, high - edge)
                )
            start[name] = value
        found.append(start)
    return found


def folds_of(name: str) -> list[ExactMarginalLogLikelihood]:
    X, Y, build = SINGLE[name]()
    held_out = leave_one_out(len(X)).held_out
    return [wrap(build, X[~row], Y[~row]) for row in held_out]


def read_best() -> dict[str, list[float]]:
    return json.loads(BEST.read_text()) if BEST.exists() else {}


def improve(key: str, losses: np.ndarray) -> np.ndarray:
    """Put losses into the file where they are lower; returns the best known ones."""
    known = read_best()
    best = np.fmin(known.get(key, np.full(len(losses), np.inf)), losses)
    known[key] = [float(x) for x in best]
    lines = ",\n".join(
        f"{json.dumps(k)}: {json.dumps(known[k])}" for k in sorted(known)
    )
    BEST.write_text("{\n" + lines + "\n}\n")
    return best


def search(names: list[str]) -> None:
    known = read_best()
    for name in names or SINGLE:
        X, Y, build = SINGLE[name]()
        if name not in known or names:
            slow = name.endswith("warp")  # an evaluation takes 8 ms, a search 1,000
            counts = (("log", 60),) if slow else (("log", 200), ("raw", 20))
            for coordinates, count in counts:
                mll = wrap(build, X, Y)
                starts = random_starts(mll, count, seed=1)
                options = FitOptions(starts=starts, coordinates=coordinates)
                fit_each([mll], options)
                found = [r.loss * r.num_points for r in mll.fit_records]
                print(name, coordinates, np.round(improve(name, np.array(found)), 3))
    for name in names or FOLDS:
        key = f"{name}, folds"
        if name in FOLDS and (key not in known or names):
            mlls = folds_of(name)
            fit_each(mlls, FitOptions(starts=random_starts(mlls[0], 60, seed=2)))
            found = [r.loss * r.num_points for mll in mlls for r in mll.fit_records]
            print(key, round(improve(key, np.array(found)).sum(), 4), flush=True)


def single(name: str) -> list[dict[str, Any]]:
    """One problem in every way."""
    X, Y, build = SINGLE[name]()
    measured: dict[str, list[tuple[float, int, np.ndarray]]] = {way: [] for way in WAYS}
    begin = perf_counter()
    for _ in range(REPEATS):
        if any(measured.values()) and perf_counter() - begin > LONG:
            break
        for way, options in WAYS.items():
            mll, calls = wrap(build, X, Y), 0
            start = perf_counter()
            if options is None:
                mll, calls = counted(mll)
                botorch.fit.fit_gpytorch_mll(mll)
                evaluations = calls[0] * Y.shape[-1]
            else:
                fit_gpytorch_mll(mll, optimizer_kwargs=options)
                evaluations = sum(r.evaluations for r in mll.fit_records)
            seconds = perf_counter() - start
            measured[way].append((seconds, evaluations, losses_of(mll)))
    for runs in measured.values():
        improve(name, runs[0][2])
    return [
        {
            "problem": name,
            "kind": "single",
            "way": way,
            "seconds": median(seconds for seconds, _, _ in runs),
            "evaluations": runs[0][1],
            "losses": [float(x) for x in runs[0][2]],
        }
        for way, runs in measured.items()
    ]


def counted(mll: ExactMarginalLogLikelihood) -> tuple[ExactMarginalLogLikelihood, list]:
    calls, forward = [0], mll.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return forward(*args, **kwargs)

    mll.forward = counting
    return mll, calls


def folds(name: str) -> list[dict[str, Any]]:
    """The leave-one-out folds of a problem in every way."""
    X, Y, build = SINGLE[name]()
    key, lines, losses = f"{name}, folds", [], {}
    for way, how in FOLD_WAYS.items():
        line: dict[str, Any] = {"problem": name, "kind": "folds", "way": way}
        start = perf_counter()
        if how is None:
            mlls = [counted(mll) for mll in folds_of(name)]
            start = perf_counter()
            for mll, _ in mlls:
                botorch.fit.fit_gpytorch_mll(mll)
            line["seconds"] = perf_counter() - start
            line["evaluations"] = sum(calls[0] for _, calls in mlls) * Y.shape[-1]
            losses[way] = np.concatenate([losses_of(mll) for mll, _ in mlls])
        else:
            fit, options = how
            result = cross_validate(
                build, X, Y, fit=fit, fit_options=FitOptions(**options)
            )
            line["seconds"] = perf_counter() - start
            line["evaluations"] = result.evaluations
            line["elpd"] = result.elpd
            losses[way] = np.array([r.loss * r.num_points for r in result.records])
        lines.append(line)
    for line in lines:
        improve(key, losses[line["way"]])
        line["losses"] = [float(x) for x in losses[line["way"]]]
    return lines


def run(names: list[str]) -> None:
    done = {(line["problem"], line["kind"]) for line in read_lines()}
    for kind, problems, measure in (
        ("single", SINGLE, single),
        ("folds", FOLDS, folds),
    ):
        for name in names or problems:
            if name not in problems or ((name, kind) in done and not names):
                continue
            lines = measure(name)
            with LINES.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
            shown = {
                line["way"]: (
                    round(line["seconds"], 3),
                    line["evaluations"],
                    round(sum(line["losses"]), 3),
                )
                for line in lines
            }
            print(name, kind, shown, flush=True)
    table()


def read_lines() -> list[dict[str, Any]]:
    """What was measured, the last time of each; regrets by what is known now."""
    if not LINES.exists():
        return []
    lines = [json.loads(line) for line in LINES.read_text().splitlines()]
    found = {(x["problem"], x["kind"], x["way"]): x for x in lines}
    known = read_best()
    for line in found.values():
        key = line["problem"] + (", folds" if line["kind"] == "folds" else "")
        regrets = np.array(line["losses"]) - known[key]
        line["regrets"] = np.maximum(regrets, 0.0)
    return list(found.values())


def table() -> None:
    """Write the table of what was measured."""
    lines = read_lines()
    text = [__doc__.split("\n")[0], "", fit_speed.machine(), ""]
    for kind, ways in (("single", WAYS), ("folds", FOLD_WAYS)):
        for title, is_chosen in (
            ("chosen on", True),
            ("not looked at", False),
            ("all", None),
        ):
            rows = [
                x
                for x in lines
                if x["kind"] == kind
                and is_chosen in (None, data_of(x["problem"]) in CHOSEN_ON)
            ]
            if not rows:
                continue
            problems = {x["problem"] for x in rows}
            text += [
                f"{kind}, {title}: {len(problems)} problems of "
                f"{len({data_of(p) for p in problems})} data sets, "
                f"{sum(len(x['losses']) for x in rows if x['way'] == 'BoTorch')} "
                "models",
                "",
                "| way | within 0.01 nats | 0.1 | largest regret | mean | worse than "
                "BoTorch by 0.01 | evaluations / BoTorch's | / own, log | seconds / "
                "BoTorch's | slower on |",
                "|---|---|---|---|---|---|---|---|---|---|",
            ]
            text += [_row(way, rows, ways) for way in ways] + [""]
    text += _elpds(lines)
    path = RESULTS / "fit_quality.md"
    path.write_text("\n".join(text) + "\n")
    print("\n".join(text))


def _row(way: str, rows: list[dict[str, Any]], ways: dict[str, Any]) -> str:
    by = {(x["problem"], x["way"]): x for x in rows}
    mine = [x for x in rows if x["way"] == way]
    regrets = np.concatenate([x["regrets"] for x in mine])
    host = np.concatenate([by[x["problem"], "BoTorch"]["regrets"] for x in mine])
    log = "own, log" if "own, log" in ways else "refit, own, log"

    def ratio(what: str, other: str) -> np.ndarray:
        return np.array([x[what] / by[x["problem"], other][what] for x in mine])

    def middle(values: np.ndarray) -> str:
        return f"{np.exp(np.log(values).mean()):.2f}"

    seconds = ratio("seconds", "BoTorch")
    cells = [
        *(f"{(regrets < limit).mean():.1%}" for limit in SAME),
        f"{regrets.max():.2f}",
        f"{regrets.mean():.4f}",
        f"{(regrets > host + 0.01).mean():.1%}",
        middle(ratio("evaluations", "BoTorch")),
        middle(ratio("evaluations", log)),
        middle(seconds),
        f"{(seconds > 1).sum()} of {len(seconds)}",
    ]
    return f"| {way} | {' | '.join(cells)} |"


def _elpds(lines: list[dict[str, Any]]) -> list[str]:
    rows = [x for x in lines if "elpd" in x]
    if not rows:
        return []
    ways = [way for way, how in FOLD_WAYS.items() if how is not None]
    by = {(x["problem"], x["way"]): x["elpd"] for x in rows}
    text = [
        "Summed log predictive density (nats) of the folds:",
        "",
        f"| leave-one-out of | {' | '.join(ways)} |",
        f"|---|{'---|' * len(ways)}",
    ]
    for name in FOLDS:
        if (name, "refit") in by:
            cells = [f"{by[name, way]:.3f}" for way in ways]
            text.append(f"| {name} | {' | '.join(cells)} |")
    return [*text, ""]


def main() -> None:
    warnings.simplefilter("ignore")
    verbs = {"best": search, "run": run, "table": lambda names: table()}
    verb, names = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if verb not in verbs:
        sys.exit(f"expected one of {list(verbs)}, got {verb!r}\n{__doc__}")
    if unknown := set(names) - set(SINGLE):
        sys.exit(f"expected problems among {list(SINGLE)}, got {sorted(unknown)}")
    verbs[verb](names)


if __name__ == "__main__":
    main()
