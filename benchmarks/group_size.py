"""How many models to evaluate at a time on CPU.

    python benchmarks/group_size.py                 # every row, about ten minutes
    python benchmarks/group_size.py tuning-30 hartmann-60

Milliseconds per model evaluation (loss and gradient in closed form) by one thread, and
seconds of 30 iterations by all threads, for groups of several sizes. The constants
`GROUP_ELEMENTS` and `GROUP_LIMITS` of `botorch_xval.stacked` were read off such a
table, `results/group_size.txt`.
"""

from __future__ import annotations

import sys
import warnings
from statistics import median
from time import perf_counter

import fit_speed
import torch
from botorch.cross_validation import gen_loo_cv_folds
from gpytorch.mlls import ExactMarginalLogLikelihood

import botorch_xval.stacked
from botorch_xval import fit_gpytorch_mll, make_objective

ROWS = ["tuning-30", "tuning-60", "tuning-100", "hartmann-60", "hartmann-100"]
GROUPS = [1, 2, 4, 8, 16, 32]


def folds(row: str) -> ExactMarginalLogLikelihood:
    make, n = fit_speed.ROWS[row]
    X, Y, build = make(n)
    cv = gen_loo_cv_folds(X, Y)
    model = build(cv.train_X, cv.train_Y)
    return ExactMarginalLogLikelihood(model.likelihood, model).train()


def per_evaluation(row: str, group: int) -> float:
    objective = make_objective([folds(row)])
    models = [i % objective.num_models for i in range(group)]
    times = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(30):
            start = perf_counter()
            objective(objective.start[models], models)
            times.append(perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return 1000 * median(times) / group


def whole_fit(row: str, group: int) -> float:
    botorch_xval.stacked.GROUP_LIMITS = (group, group)
    times = []
    for _ in range(3):
        mll = folds(row)
        start = perf_counter()
        fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": 30}})
        times.append(perf_counter() - start)
    return median(times)


def main() -> None:
    warnings.simplefilter("ignore")
    print(f"groups of            {''.join(f'{group:>8}' for group in GROUPS)}")
    for row in sys.argv[1:] or ROWS:
        costs = [per_evaluation(row, group) for group in GROUPS]
        print(f"{row:<14}ms each{''.join(f'{cost:>8.3f}' for cost in costs)}")
        seconds = [whole_fit(row, group) for group in GROUPS]
        print(f"{'':<14}fit, s {''.join(f'{each:>8.2f}' for each in seconds)}")


if __name__ == "__main__":
    main()
