"""The fit to all rows, from which folds start, and the curvature of its loss there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from botorch.exceptions.errors import ModelFittingError
from gpytorch.mlls import MarginalLogLikelihood

from botorch_xval.fitting.coordinates import (
    Array,
    Center,
    LogCoordinates,
    WhitenedCoordinates,
)
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.multistart import distinct
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.retries import Fitted, fit_models, log_coordinates
from botorch_xval.fitting.threads import evaluate_each

__all__ = ["MOST_OPTIMA", "Center", "FullFit", "centers_at", "fit_all_rows"]

STEP = 1e-4  # of the central differences, in logarithms
MOST_OPTIMA = 8  # of one model that are offered to folds


@dataclass(frozen=True)
class FullFit:
    """A model fitted to all rows, and the curvature of its loss there."""

    mll: MarginalLogLikelihood
    fitted: Fitted  # m models: one, or one per output
    centers: list[list[Center]]  # for each of these its optima, the lowest first
    evaluations: int  # of fit and Hessians

    def check_parameters(self, objective: Objective, fold: str) -> None:
        """Refuse models of folds that cannot start from this one.

        Args:
            objective: Of the folds.
            fold: The name of the first one.

        Raises:
            ValueError: If they have other hyper-parameters than the model of all rows.
        """
        expected, found = (
            [
                (name, tuple(values.shape))
                for name, values in each.parameters(each.start[0], 0).items()
            ]
            for each in (self.fitted.objective, objective)
        )
        if found != expected:
            raise ValueError(
                "model: expected the same hyper-parameters for all rows and for each "
                f"fold, got {dict(expected)} for all rows and {dict(found)} for fold "
                f"{fold!r}; build them alike, or take fit='refit'"
            )


def fit_all_rows(mll: MarginalLogLikelihood, options: FitOptions) -> FullFit:
    """Fit a model to all rows and take the Hessian of its loss.

    Args:
        mll: Of the model of all rows.
        options: The options of the fit.

    Returns:
        The fit.

    Raises:
        ModelFittingError: If the model cannot be fitted to all rows.
    """
    objective = make_objective([mll.train()], options.parameters, options.bounds)
    m = objective.num_models
    fitted = fit_models(objective, options.named(["all rows"], m))
    mll.fit_records = fitted.records
    if fitted.errors:
        raise ModelFittingError(
            "the model could not be fitted to all rows, and so not start the folds: "
            + "; ".join(str(error) for error in fitted.errors.values())
        )
    coordinates = log_coordinates(objective)
    centers = []
    for k, tried in enumerate(fitted.tried):
        groups = distinct(tried, objective.num_points)[:MOST_OPTIMA]
        points = np.stack([group[0].search.best_point for group in groups])
        centers.append(centers_at(objective, [k] * len(points), points, coordinates))
    spent = sum(record.evaluations for record in fitted.records)
    spent += sum(2 * fitted.theta.shape[1] * len(each) for each in centers)
    return FullFit(mll, fitted, centers, spent)


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
        slopes = pull_back(gradients).reshape(a, 2, p, p) * objective.num_points
        hessians = (slopes[:, 0] - slopes[:, 1]) / (2 * STEP)
    # NaN where a step leads to a covariance that is not positive definite.
    hessians = np.nan_to_num(hessians)
    return (hessians + hessians.transpose(0, 2, 1)) / 2
