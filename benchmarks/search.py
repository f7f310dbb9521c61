"""What a search gains on rows that it has not seen, and what it costs.

    python benchmarks/search.py run
    python benchmarks/search.py run diabetes ackley
    python benchmarks/search.py table

A nested evaluation. Of each data set two random splits: `search` sees the training rows
only, with leave-one-out of them and 20 candidates (by number, not by seconds). The
model that it takes, the best by score whatever its margin, BoTorch's default and
`ScalarChoiceGP` with each of its priors are fitted to the training rows and predict the
test rows. All fits have one start. Figures are paired differences to BoTorch's default
in nats per test row, with standard errors over the test rows of a split: these are
right for this split, and do not include what another training set would change.

`CHOSEN_ON` names the data sets that the rules of the search (the first models, the
width, the number of candidates, one standard error, twenty rows) were chosen on, with
other splits; all others were not looked at before. "run" appends to
`results/search.jsonl`, "table" writes `results/search.md`.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from functools import partial

import numpy as np
import torch
from fit_speed import RESULTS
from problems import _function, _load, _targets, _tuning_table, data_of
from torch import Tensor

from botorch_xval import FitOptions, compare, cross_validate, search
from botorch_xval.models import ModelSpec, StructuredGP, first_specs, neighbors

ONE_START = FitOptions(starts="own")
CANDIDATES, SPLITS, TEST_ROWS = 20, 2, 200
# By name the number of training rows, and for a function its noise.
DATA: dict[str, tuple[int, float]] = {
    **{"tuning": (40, 0.0), "iris": (50, 0.0)},
    **{"hartmann": (40, 0.1), "rosenbrock": (40, 0.05)},
    **{"diabetes": (40, 0.0), "wine": (40, 0.0), "accuracy": (40, 0.0)},
    **{"ackley": (40, 0.1), "griewank": (40, 0.0), "michalewicz": (40, 0.05)},
    **{"styblinski": (40, 0.02), "branin": (25, 0.1), "hartmann3": (30, 0.0)},
    **{"diabetes-100": (100, 0.0), "wine-100": (100, 0.0), "ackley-100": (100, 0.1)},
    **{"michalewicz-100": (100, 0.05), "styblinski-100": (100, 0.02)},
}
CHOSEN_ON = {"tuning", "iris", "hartmann", "rosenbrock"}
LARGER = {name for name in DATA if name.endswith("-100")}
Split = tuple[Tensor, Tensor, Tensor, Tensor, tuple[int, ...]]


def split(name: str, seed: int) -> Split:
    """Inputs and outcomes for training and for the test, and the one-hot columns."""
    n, noise = DATA[name]
    name = data_of(name)
    dims: tuple[int, ...] = ()
    if name in ("tuning", "accuracy"):
        table = _tuning_table()
        X, dims = table.X, tuple(table.choice_dims)
        Y = _targets("loss" if name == "tuning" else name)
    elif name in ("iris", "diabetes", "wine"):
        X, Y = _load(name)
    else:
        X, Y, _ = _function(name, n + TEST_ROWS, noise=noise, seed=100 + seed)
    rows = np.random.default_rng([15, seed]).permutation(len(X))
    train, test = rows[:n], rows[n : n + TEST_ROWS]
    return X[train], Y[train], X[test], Y[test], dims


def predict(spec: ModelSpec, data: Split) -> tuple[np.ndarray, np.ndarray]:
    """Log densities and squared errors of the test rows."""
    X, Y, test_X, test_Y, _ = data
    held_out = torch.cat([torch.zeros(len(X)), torch.ones(len(test_X))]).bool()
    result = cross_validate(
        partial(StructuredGP, spec=spec),
        torch.cat([X, test_X]),
        torch.cat([Y, test_Y]),
        folds=held_out[None],
        fit_options=ONE_START,
    )
    errors = (result.mean - result.observed) ** 2
    return result.log_density[:, 0].numpy(), errors[:, 0].numpy()


def measure(name: str, seed: int, candidates: int = CANDIDATES) -> dict[str, object]:
    """One split of one data set."""
    data = split(name, seed)
    X, Y, *_, dims = data
    found = search(
        X,
        Y,
        choice_dims=dims,
        seconds=math.inf,
        candidates=candidates,
        fit_options=ONE_START,
    )
    table = found.table()
    by_name = {spec.name: spec for spec in found.specs}
    default, *ours = first_specs(X.shape[-1], dims)
    models = {"taken": found.spec, "best score": by_name[table.configuration[0]]}
    models |= {spec.priors: spec for spec in ours}
    base, base_errors = predict(default, data)
    inner = table.set_index("configuration")
    row: dict[str, object] = {"data": name, "split": seed, "rows": len(X)}
    row |= {"tried": len(found.specs), "clear": found.is_clear, "test": len(base)}
    row["evaluations"] = int(table.evaluations.sum())
    row["evaluations of the default"] = int(inner.evaluations[default.name])
    for which, spec in models.items():
        scores, errors = predict(spec, data)
        gain = scores - base
        row[which] = {
            "model": spec.name,
            "gain": gain.mean(),
            "error": gain.std(ddof=1) / math.sqrt(len(gain)),
            "rmse": math.sqrt(errors.mean() / base_errors.mean()),
        }
        if spec.name in inner.index:
            row[which]["promised"] = inner.difference[spec.name]
    return row


def race(name: str) -> dict[str, object]:
    """Evaluations of the first models and their neighbors, with a race and without."""
    X, Y, *_, dims = split(name, 0)
    near = neighbors(ModelSpec(choice_dims=dims), X.shape[-1])
    specs = dict.fromkeys([*first_specs(X.shape[-1], dims), *near])
    models = {spec.name: partial(StructuredGP, spec=spec) for spec in specs}
    row: dict[str, object] = {"race": name, "models": len(models)}
    for way in (False, True):
        found = compare(
            models,
            X,
            Y,
            sizes=[len(X)],
            fit="warm",
            fit_options=ONE_START,
            race=way,
        )
        row["raced" if way else "whole"] = int(found.fits.evaluations.sum())
    return row


def line(row: dict) -> str:
    taken, best = row["taken"], row["best score"]
    ours = " / ".join(f"{row[p]['gain']:+.3f}" for p in ("tight", "loose", "loosest"))
    return (
        f"| {row['data']}, {row['split'] + 1} | {row['rows']} | {taken['model']} | "
        f"{taken['promised']:+.3f}{'' if row['clear'] else ' ?'} | "
        f"{taken['gain']:+.3f} ± {taken['error']:.3f} | {taken['rmse']:.2f} | "
        f"{best['gain']:+.3f} ± {best['error']:.3f} | {ours} |"
    )


def summary(rows: list[dict], title: str) -> str:
    """Data sets count once: the mean of their splits."""
    names = list(dict.fromkeys(row["data"] for row in rows))

    def by_data(value) -> np.ndarray:
        return np.array(
            [np.mean([value(r) for r in rows if r["data"] == n]) for n in names]
        )

    parts = []
    for which in ("taken", "best score", "tight", "loose", "loosest"):
        gains = by_data(lambda row, which=which: row[which]["gain"])
        ratio = by_data(lambda row, which=which: math.log(row[which]["rmse"]))
        error = gains.std(ddof=1) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
        parts.append(
            f"| {which} | {gains.mean():+.3f} ± {error:.3f} | {np.median(gains):+.3f} "
            f"| {gains.min():+.3f} | {(gains > 0).sum()} / {(gains < 0).sum()} | "
            f"{math.exp(ratio.mean()):.3f} |"
        )
    gains = by_data(lambda row: row["taken"]["gain"] * row["clear"])
    error = gains.std(ddof=1) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    parts.append(
        f"| taken if more than chance | {gains.mean():+.3f} ± {error:.3f} | "
        f"{np.median(gains):+.3f} | {gains.min():+.3f} | "
        f"{(gains > 0).sum()} / {(gains < 0).sum()} | |"
    )
    promised = by_data(lambda row: row["taken"]["promised"]).mean()
    cost = np.median([r["evaluations"] / r["evaluations of the default"] for r in rows])
    return "\n".join(
        [
            f"{title}, {len(names)} data sets. Their leave-one-out scores promised "
            f"{promised:+.3f} for what was taken. Evaluations are {cost:.0f} times "
            "those of BoTorch's default alone (median).",
            "",
            "| model | gain, mean over data sets ± standard error | median | worst | "
            "gains / losses | RMSE / BoTorch's |",
            "|---|---|---|---|---|---|",
            *parts,
            "",
        ]
    )


def write(rows: list[dict]) -> None:
    races = [row for row in rows if "race" in row]
    rows = [row for row in rows if "data" in row]
    rows.sort(key=lambda row: (list(DATA).index(row["data"]), row["split"]))
    seen = [row for row in rows if row["data"] in CHOSEN_ON]
    larger = [row for row in rows if row["data"] in LARGER]
    unseen = [row for row in rows if row["data"] not in CHOSEN_ON | LARGER]
    lines = [
        "# What a search gains on rows that it has not seen",
        "",
        f"`python benchmarks/search.py run`: {CANDIDATES} candidates, {SPLITS} splits "
        "of each data set into training and test rows, one start for each fit. Gains "
        "are paired differences to BoTorch's default in nats per test row, larger is "
        'better; standard errors are over the test rows of a split. "taken" is what '
        "the search takes (BoTorch's default unless another model is more than one "
        'standard error ahead), "best score" what has the highest score; the last '
        "three are `ScalarChoiceGP` with its named priors, without any search. Means "
        "depend much on single rows that a model is sure of and wrong about, and on "
        "functions that are sums over single inputs (griewank, styblinski). What was "
        "promised is the difference by leave-one-out of the training rows, with ? "
        "where it may be chance.",
        "",
        summary(unseen, "Not looked at before") if unseen else "",
        summary(larger, "Of these, with a hundred rows") if larger else "",
        summary(seen, "What the rules were chosen on, other splits") if seen else "",
        "| data, split | rows | taken | promised | gain | RMSE / BoTorch's | gain of "
        "the best score | gain of tight / loose / loosest |",
        "|---|---|---|---|---|---|---|---|",
        *map(line, rows),
        "",
    ]
    lines += [
        f"* {row['race']}, {row['models']} models by warm folds: {row['whole']:,} "
        f"evaluations, with `race=True` {row['raced']:,}."
        for row in races
    ]
    (RESULTS / "search.md").write_text("\n".join(lines).rstrip() + "\n")


def main() -> None:
    warnings.simplefilter("ignore")
    path = RESULTS / "search.jsonl"
    if sys.argv[1] == "run":
        for name in sys.argv[2:] or [*DATA, "race"]:
            if name == "race":
                rows = map(race, ("hartmann", "iris", "michalewicz"))
            else:
                rows = (measure(name, seed) for seed in range(SPLITS))
            for row in rows:
                print(row, flush=True)
                with open(path, "a") as file:
                    file.write(json.dumps(row) + "\n")
    write([json.loads(text) for text in path.read_text().splitlines()])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
