"""Optima from which folds may start, and the curvature of the loss there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from botorch_xval.fitting.coordinates import Array, LogCoordinates, WhitenedCoordinates
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.threads import evaluate_each

__all__ = ["Center", "centers_at"]

STEP = 1e-4  # of the central differences, in logarithms


@dataclass(frozen=True, eq=False)
class Center:
    """An optimum from which folds may start."""

    theta: Array  # p
    whitened: WhitenedCoordinates  # by the Hessian there


def centers_at(
    objective: Objective,
    models: Sequence[int],
    theta: Array,
    coordinates: LogCoordinates,
) -> list[Center]:
    """Optima of models with the coordinates that their Hessians give.

    Args:
        objective: Of the models.
        models: Numbers of `a` models.
        theta: Their optima, `a x p`.
        coordinates: Logarithms of positive parameters.
    """
    hessians = _hessians(objective, models, theta, coordinates)
    found = []
    for model, values, hessian in zip(models, theta, hessians, strict=True):
        bounds, near = objective.bounds[model], 1e-6 * (1 + np.abs(values))
        resting = (values <= bounds.lb + near) | (values >= bounds.ub - near)
        center = coordinates.from_raw(values)
        whitened = WhitenedCoordinates.of(coordinates, center, hessian, resting)
        found.append(Center(values, whitened))
    return found


def _hessians(
    objective: Objective,
    models: Sequence[int],
    theta: Array,
    coordinates: LogCoordinates,
) -> Array:
    """Hessians of the summed losses, `a x p x p`, by central differences."""
    a, p = theta.shape
    u = coordinates.from_raw(theta)
    steps = STEP * np.concatenate([np.eye(p), -np.eye(p)])  # 2p x p
    points = (u[:, None] + steps).reshape(-1, p)
    moved, pull_back = coordinates.at(points)
    _, gradients = evaluate_each(objective, moved, list(np.repeat(models, 2 * p)))
    with np.errstate(invalid="ignore", over="ignore"):  # at extreme values
        counts = np.array([objective.points_of(int(i)) for i in models])
        slopes = pull_back(gradients).reshape(a, 2, p, p) * counts[:, None, None, None]
        hessians = (slopes[:, 0] - slopes[:, 1]) / (2 * STEP)
    # NaN where a step leads to a covariance that is not positive definite.
    hessians = np.nan_to_num(hessians)
    return (hessians + hessians.transpose(0, 2, 1)) / 2
