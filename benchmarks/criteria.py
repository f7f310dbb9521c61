"""Evidence or leave-one-out? What models predict that are fitted by one or the other.

    python benchmarks/criteria.py                # some minutes of one core
    python benchmarks/criteria.py hartmann-40 copper-25
    python benchmarks/criteria.py --time         # of an evaluation; run it alone

Each problem of `problems.py` is cross-validated by leave-one-out, and every fold is
fitted anew, from several starts, by each criterion of its own training rows: the
evidence, the leave-one-out log density, the leave-one-out CRPS. `elpd` is the sum of
the log densities of the held-out rows, by the others minus that by the evidence, with
the standard error of the paired difference; CRPS and RMSE are ratios to those of the
evidence. "Flattered" is by how much the sum is too good if the criterion has seen all
rows (`fit="fixed"`). "Other optima" is the share of folds whose own start leads more
than 0.1 nats above their lowest known optimum, and how many optima a fold has in the
mean. Evaluations are those of all folds by those of the evidence. Rows without a score,
since their fold has failed or rounding has left it no variance, are left out of the
differences. Data sets that other things were chosen on, and others, are apart. Writes
`results/criteria.md`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np
import torch
from fit_speed import RESULTS, machine
from gpytorch.mlls import ExactMarginalLogLikelihood, LeaveOneOutPseudoLikelihood
from problems import CHOSEN_ON, SINGLE, data_of

from botorch_xval import LeaveOneOutCRPS, cross_validate
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.modules import ByModules
from botorch_xval.fitting.losses.objective import Stack

PROBLEMS = (
    *(
        "hartmann-40",
        "hartmann-40-noisy",
        "hartmann-50-sum",
        "hartmann-40-gamma priors",
    ),
    *("levy-50-noisy", "rosenbrock-50-noisy"),
    *("linnerud-20", "copper-25", "iris-60"),
    *("tuning-40-tight", "tuning-60-loose", "tuning-60-loosest"),
    *("diabetes-40", "diabetes-80", "diabetes-60-gamma priors", "branin-15"),
    *("branin-40-noisy", "longley-16", "scotland-32", "ackley-40", "griewank-50"),
    *("wine-60", "cancer-60-gamma priors", "michalewicz-60", "stackloss-21-sum"),
    *("accuracy-60-tight", "hartmann3-30", "styblinski-50"),
)
CRITERIA = {
    "evidence": ExactMarginalLogLikelihood,
    "log density": LeaveOneOutPseudoLikelihood,
    "CRPS": LeaveOneOutCRPS,
}
OTHERS = ("log density", "CRPS")
CLEAR = 2.0  # standard errors
GAIN = 0.1  # nats


def measure(name: str) -> dict[str, dict[str, float]]:
    """One problem by every criterion."""
    X, Y, build = SINGLE[name]()
    rows, densities = {}, {}
    for label, mll in CRITERIA.items():
        found = cross_validate(build, X, Y, mll=mll)
        fixed = cross_validate(build, X, Y, mll=mll, fit="fixed")
        densities[label] = found.log_density.sum(dim=-1)
        change = (densities[label] - densities["evidence"]).numpy()
        change = change[~np.isnan(change)]
        scores = found.summary()
        deviations = Y.std(dim=0).numpy()
        records = [record for record in found.records if record.optima]
        gains = np.array([record.gain for record in records])
        rows[label] = {
            "n": len(X),
            "missing": int(densities[label].isnan().sum()),
            "elpd": found.elpd,
            "change": change.sum(),
            "error": change.std(ddof=1) * np.sqrt(len(change)),
            "crps": np.mean(scores.crps / deviations),
            "rmse": np.mean(scores.rmse / deviations),
            "coverage": np.mean(scores.coverage_95),
            "flattered": (fixed.log_density - found.log_density).nansum().item(),
            "evaluations": found.evaluations,
            "elsewhere": np.mean(~(gains <= GAIN)),
            "optima": np.mean([len(record.optima) for record in records]),
        }
    return rows


def table(problems: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """A row for each problem, and what they say together."""
    lines = [
        "| problem | elpd, evidence | log density | CRPS | CRPS of these | RMSE "
        "of these | flattered, of all | other optima (optima), of all "
        "| evaluations of these |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in problems.items():
        own, others = rows["evidence"], [rows[label] for label in OTHERS]

        def ratios(what: str, own=own, others=others) -> str:
            return " / ".join(f"{each[what] / own[what]:.2f}" for each in others)

        changes = [f"{each['change']:+.1f} ± {each['error']:.1f}" for each in others]
        flattered = " / ".join(f"{each['flattered']:.1f}" for each in rows.values())
        elsewhere = " / ".join(
            f"{each['elsewhere']:.0%} ({each['optima']:.1f})" for each in rows.values()
        )
        missing = sum(each["missing"] for each in rows.values())
        note = f" ({missing} without a score)" if missing else ""
        lines.append(
            f"| {name}{note} | {own['elpd']:.1f} | {changes[0]} | {changes[1]} | "
            f"{ratios('crps')} | {ratios('rmse')} | {flattered} | {elsewhere} | "
            f"{ratios('evaluations')} |"
        )
    return [*lines, "", *summary(problems)]


def summary(problems: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """How often each criterion is better, and by how much in the middle."""
    lines = []
    for label in OTHERS:
        pairs = [(rows["evidence"], rows[label]) for rows in problems.values()]
        changes = [each["change"] / each["n"] for _, each in pairs]
        clear = [each["change"] / each["error"] for _, each in pairs]
        ratio = {
            what: median(each[what] / own[what] for own, each in pairs)
            for what in ("crps", "rmse", "evaluations")
        }
        counts = ", ".join(
            f"{what.upper()} of {sum(each[what] < own[what] for own, each in pairs)}"
            for what in ("crps", "rmse")
        )
        lines.append(
            f"* {label}: a higher elpd than the evidence on "
            f"{sum(c > 0 for c in changes)} of {len(pairs)} problems, by more than two "
            f"standard errors on {sum(c > CLEAR for c in clear)}, a lower one so on "
            f"{sum(c < -CLEAR for c in clear)}; {median(changes):+.3f} nats per row in "
            f"the median, {min(changes):+.2f} to {max(changes):+.2f}. A lower {counts} "
            f"problems; medians of the ratios {ratio['crps']:.3f} and "
            f"{ratio['rmse']:.3f}, of evaluations {ratio['evaluations']:.2f}."
        )
    for label in CRITERIA:
        own = [rows[label] for rows in problems.values()]
        flattered = median(r["flattered"] / r["n"] for r in own)
        lines.append(
            f"* By {label}: flattered by {flattered:.3f} "
            f"nats per row in the median; intervals of 95 % hold "
            f"{np.mean([r['coverage'] for r in own]):.0%} of the rows in the mean, "
            f"{min(r['coverage'] for r in own):.0%} at least; the own start leads "
            f"elsewhere in {np.mean([r['elsewhere'] for r in own]):.0%} of the folds."
        )
    return lines


def seconds() -> list[str]:
    """Seconds of an evaluation in closed form and by modules, medians of several."""
    lines = [
        "| rows | criterion | compiled | torch | modules | modules / compiled |",
        "|---|---|---|---|---|---|",
    ]
    for n in (50, 100, 200):
        X, Y, build = SINGLE["tuning-160-default"]()
        rows = torch.arange(n) % len(X)
        noise = torch.randn(n, 1, generator=torch.manual_seed(0), dtype=X.dtype)
        model = build(X[rows] + 1e-3 * noise, Y[rows] + 0.1 * noise)
        for label, kind in CRITERIA.items():
            mll = kind(model.likelihood, model).train()
            exact = make_objective([mll])
            assert isinstance(exact, Exact) and exact._fused is not None
            ways = (exact, exact._in_torch, ByModules(Stack([mll], None, None)))
            times = [_seconds(partial(way, exact.start, [0])) for way in ways]
            shown = " | ".join(f"{1e3 * each:.3f} ms" for each in times)
            lines.append(f"| {n} | {label} | {shown} | {times[2] / times[0]:.0f} |")
    return lines


def _seconds(evaluate: Callable[[], object]) -> float:
    evaluate()
    found = []
    for _ in range(30):
        begin = perf_counter()
        evaluate()
        found.append(perf_counter() - begin)
    return median(found)


def main() -> None:
    warnings.simplefilter("ignore")
    if "--time" in sys.argv:
        lines = [machine(), "", *seconds()]
        (RESULTS / "criteria_speed.md").write_text("\n".join(lines) + "\n")
        return
    torch.set_num_threads(1)
    chosen: dict = {}
    others: dict = {}
    for name in sys.argv[1:] or PROBLEMS:
        part = chosen if data_of(name) in CHOSEN_ON else others
        part[name] = measure(name)
        print(name, part[name], flush=True)
        lines = [machine()]
        for title, found in (
            ("Data sets that other things were chosen on", chosen),
            ("Others", others),
            ("Together", {**chosen, **others}),
        ):
            if found:
                own = table(found) if title != "Together" else summary(found)
                lines += ["", f"{title}:", "", *own]
        (RESULTS / "criteria.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
