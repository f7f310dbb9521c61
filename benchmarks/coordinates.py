"""In which coordinates to fit: evaluations, and the optima that are reached.

    python benchmarks/coordinates.py                # about five minutes
    python benchmarks/coordinates.py mixed-40 levy-50

Leave-one-out folds of 21 problems are fitted in raw coordinates with BoTorch's memory
(`maxcor` 10) and with 30, in logarithmic ones without and with raw iterations before.
Evaluations and losses do not depend on the machine's load, so it may run beside other
work. The constants of the retries were chosen by this table, which is
`results/coordinates.md`.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import fit_speed
import numpy as np
import torch
from botorch.cross_validation import gen_loo_cv_folds
from botorch.models import MixedSingleTaskGP
from botorch.test_functions import (
    Ackley,
    Branin,
    Levy,
    Rosenbrock,
    SyntheticTestFunction,
)
from torch import Tensor

from botorch_xval import ScalarChoiceGP, fit_gpytorch_mll
from botorch_xval.data.trials import encode_tuning_trials
from botorch_xval.fitting import multistart
from botorch_xval.fitting.options import MEMORY

Problem = tuple[Tensor, Tensor, fit_speed.Build]
WAYS = {
    "raw": ("raw", 10, 0),
    "raw, maxcor 30": ("raw", 30, 0),
    "log from the start": ("log", 30, 0),
    "log": ("log", MEMORY, multistart.WARM_UP),
}


def row(name: str) -> Problem:
    make, n = fit_speed.ROWS[name]
    return make(n)


def tuning(n: int, seed: int, priors: str) -> Problem:
    table = encode_tuning_trials()
    rows = np.random.default_rng([seed, 0]).permutation(len(table.X))[:n]
    choices = table.choice_dims
    return (
        table.X[rows],
        table.Y[rows],
        lambda X, Y: ScalarChoiceGP(X, Y, choice_dims=choices, priors=priors),
    )


def noisy(
    function: SyntheticTestFunction, n: int, seed: int, mixed: bool = False
) -> Problem:
    """A test function with noise of a twentieth of its standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    function = function.to(torch.float64)
    X = torch.rand(n, function.dim, generator=generator, dtype=torch.float64)
    low, high = function.bounds
    Y = function(low + (high - low) * X)[:, None]
    noise = torch.randn(Y.shape, generator=generator, dtype=torch.float64)
    Y = Y + 0.05 * Y.std() * noise
    if not mixed:
        return X, Y, fit_speed._normalized
    d = function.dim
    X = torch.cat([X[:, :-2], (3 * X[:, -2:]).floor()], dim=-1)
    return X, Y, lambda X, Y: MixedSingleTaskGP(X, Y, cat_dims=[d - 2, d - 1])


PROBLEMS = {
    "tuning-30": lambda: row("tuning-30"),
    "tuning-60": lambda: row("tuning-60"),
    "tuning-100": lambda: row("tuning-100"),
    "tuning-60, other rows": lambda: tuning(60, 1, "tight"),
    "tuning-60, loose": lambda: tuning(60, 0, "loose"),
    "tuning-60, loosest": lambda: tuning(60, 0, "loosest"),
    "tuning-30, loosest": lambda: tuning(30, 2, "loosest"),
    "hartmann-20": lambda: fit_speed._hartmann(20),
    "hartmann-30": lambda: row("hartmann-30"),
    "hartmann-60": lambda: row("hartmann-60"),
    "hartmann-100": lambda: row("hartmann-100"),
    "mixed-40": lambda: row("mixed-40"),
    "mixed-rosenbrock-30": lambda: noisy(Rosenbrock(5), 30, 1, mixed=True),
    "mixed-levy-40": lambda: noisy(Levy(6), 40, 2, mixed=True),
    "fixed-noise-60": lambda: row("fixed-noise-60"),
    "diabetes-40": lambda: fit_speed._diabetes(40),
    "diabetes-80": lambda: row("diabetes-80"),
    "branin-25": lambda: noisy(Branin(), 25, 0),
    "levy-50": lambda: noisy(Levy(4), 50, 3),
    "ackley-40": lambda: noisy(Ackley(5), 40, 4),
    "rosenbrock-50": lambda: noisy(Rosenbrock(8), 50, 5),
}


def fit(problem: Problem, way: str) -> tuple[int, np.ndarray]:
    """Evaluations of all models, and the loss that each reaches."""
    coordinates, memory, multistart.WARM_UP = WAYS[way]
    X, Y, build = problem
    cv = gen_loo_cv_folds(X, Y)
    mll = fit_speed._wrap(build(cv.train_X, cv.train_Y))
    options = {
        "coordinates": coordinates,
        "options": {"maxcor": memory},
        "starts": "own",  # with several the path hardly matters
    }
    fit_gpytorch_mll(mll, optimizer_kwargs=options)
    records = mll.fit_records
    return sum(r.evaluations for r in records), np.array([r.loss for r in records])


def main() -> None:
    warnings.simplefilter("ignore")
    lines = [
        "Evaluations; folds that end more than 1e-3 worse (w) or better (b) than in "
        "raw coordinates; change of the summed loss.",
        "",
        f"| leave-one-out folds | {' | '.join(WAYS)} |",
        f"|---|{'---|' * len(WAYS)}",
    ]
    shares, worse, better, count = {way: [] for way in WAYS}, {}, {}, 0
    for name in sys.argv[1:] or PROBLEMS:
        found = {way: fit(PROBLEMS[name](), way) for way in WAYS}
        raw_evaluations, raw = found["raw"]
        count += len(raw)
        cells = []
        for way, (evaluations, losses) in found.items():
            shares[way].append(evaluations / raw_evaluations)
            w, b = int((losses > raw + 1e-3).sum()), int((losses < raw - 1e-3).sum())
            worse[way], better[way] = worse.get(way, 0) + w, better.get(way, 0) + b
            change = (losses.sum() - raw.sum()) / abs(raw.sum())
            cells.append(f"{evaluations:,}; {w} w, {b} b; {change:+.3%}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    totals = [
        f"{np.exp(np.mean(np.log(shares[way]))):.2f} of raw; {worse[way]} w, "
        f"{better[way]} b of {count:,}"
        for way in WAYS
    ]
    lines.append(f"| all (geometric mean) | {' | '.join(totals)} |")
    if not sys.argv[1:]:
        path = Path(__file__).parent / "results" / "coordinates.md"
        path.write_text("\n".join(lines) + "\n")
    print(lines[-1])


if __name__ == "__main__":
    main()
