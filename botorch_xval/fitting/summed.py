"""The summed loss: all models in one optimizer, to show what that does to a fit.

This is how a batch of models was fitted in BoTorch before 0.18. L-BFGS-B accepts a step
by looking at the loss, so with the sum of all losses it improves only the sum: single
models get worse on single steps, and all are evaluated until the last one is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gpytorch.mlls import MarginalLogLikelihood
from scipy.optimize import Bounds

from botorch_xval.fitting.losses.objective import Array, make_objective
from botorch_xval.fitting.records import FitRecord
from botorch_xval.fitting.search import minimize_each

__all__ = ["fit_summed"]


def fit_summed(
    mlls: Sequence[MarginalLogLikelihood], options: dict[str, Any] | None = None
) -> list[FitRecord]:
    r"""Fit all models by one L-BFGS-B on :math:`\sum_i L_i(\theta_i)`.

    For comparison only: :func:`~botorch_xval.fitting.fit_each` does it better.

    Args:
        mlls: Marginal log likelihoods of one structure and size, as for
            :func:`~botorch_xval.fitting.fit_each`.
        options: Options of SciPy's L-BFGS-B.

    Returns:
        One record for each model; its losses after every iteration of the joint search
        may increase. Evaluations count that model's own.
    """
    for mll in mlls:
        mll.train()
    objective = make_objective(mlls)
    shape = objective.start.shape
    everyone = list(range(objective.num_models))
    evaluated: list[tuple[Array, Array]] = []  # points and losses of all models
    accepted: list[Array] = []

    def evaluate(points: Array, _: list[int]) -> tuple[Array, Array]:
        losses, gradients = objective(points.reshape(shape), everyone)
        if not accepted:
            accepted.append(losses)
        evaluated.append((points[0], losses))
        return losses.sum(keepdims=True), gradients.reshape(1, -1)

    def on_iteration(_: int, point: Array, iteration: int, loss: float) -> None:
        accepted.append(
            next(v for x, v in reversed(evaluated) if np.array_equal(x, point))
        )
        evaluated.clear()

    (search,) = minimize_each(
        evaluate,
        objective.start.reshape(1, -1),
        [
            Bounds(
                np.concatenate([b.lb for b in objective.bounds]),
                np.concatenate([b.ub for b in objective.bounds]),
            )
        ],
        options=options,
        on_iteration=on_iteration,
    )
    objective.write(search.best_point.reshape(shape))
    return [
        FitRecord(
            losses=tuple(float(losses[i]) for losses in accepted),
            evaluations=search.evaluations,
            iterations=max(len(accepted) - 1, 0),
            status=search.status,
            message=search.message,
            seconds=search.seconds / len(everyone),
            attempts=1,
        )
        for i in everyone
    ]
