"""The engine: an objective and options in, fitted values and records out.

Each model is tried from its initial values; one whose attempt fails is tried again
alone, from values sampled from its priors. At the end every model has the values of its
best attempt, or its initial ones.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from warnings import warn

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import OptimizationWarning
from botorch.optim.core import OptimizationStatus

from botorch_xval.fitting.coordinates import Array, LogCoordinates
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.progress import FitProgress
from botorch_xval.fitting.records import FitRecord
from botorch_xval.fitting.search import Search, gradient_norm
from botorch_xval.fitting.threads import UNDEFINED, search_each

__all__ = [
    "WARM_UP",
    "Fitted",
    "fit_models",
    "has_succeeded",
    "log_coordinates",
    "names_at_bounds",
    "record_of",
]

logger = logging.getLogger(__name__)
# Iterations on the raw parameters before those in logarithmic coordinates. The first
# steps decide in which of several optima a fit ends. Of the 1,065 models of
# benchmarks/coordinates.py 79 end more than 1e-3 worse than in raw coordinates without
# these steps, 14 with them (and 132 and 46 better).
WARM_UP = 8


@dataclass(frozen=True)
class Fitted:
    """Models after their fit."""

    objective: Objective
    """Of the models, which have the fitted values."""

    theta: Array
    """The fitted values, `b x p`; of a model that failed the initial ones."""

    records: list[FitRecord]
    """One for each model."""

    errors: dict[int, Exception]
    """By number of a model that failed the error that ended its last attempt."""


def fit_models(
    objective: Objective,
    options: FitOptions,
    models: Sequence[int] | None = None,
) -> Fitted:
    """Fit the models of an objective, with all attempts, and write their values.

    Args:
        objective: Of the models.
        options: The options of the fit.
        models: Numbers of the models to fit; default: all. Others keep their initial
            values, and have no record.

    Returns:
        What was found.
    """
    deadline = options.deadline()
    is_grad_enabled = torch.is_grad_enabled()
    coordinates = log_coordinates(objective) if options.has_logarithms else None
    models = list(range(objective.num_models) if models is None else models)
    attempts = {i: _Attempts() for i in models}
    todo, starts = models, objective.start[models]
    theta = objective.start.copy()
    try:
        with FitProgress(len(todo), options.progress) as bar:
            for attempt in range(options.max_attempts):
                if attempt > 0:
                    todo = [i for i in todo if attempts[i].goes_on(options)]
                    todo, starts = _new_starts(objective, todo)
                if not todo or (attempt > 0 and monotonic() > deadline):
                    break
                searches = search_each(
                    objective,
                    starts,
                    todo,
                    options,
                    coordinates=coordinates,
                    warm_up=WARM_UP,
                    on_end=bar.on_end(objective.bounds, coordinates),
                    deadline=deadline,
                )
                for i, search in zip(todo, searches, strict=True):
                    attempts[i].add(search, has_succeeded(search, options))
        for i, each in attempts.items():
            if each.best is not None:
                theta[i] = each.best.best_point
        objective.write(theta)
    except BaseException:
        # Ctrl-C: no model may have a part of its values, and where it interrupts the
        # end of a context manager, such as `no_grad`, that has restored nothing.
        torch.set_grad_enabled(is_grad_enabled)
        objective.write(objective.start)
        raise
    errors = {i: each.error for i, each in attempts.items() if each.best is None}
    records = [each.record(objective, i, coordinates) for i, each in attempts.items()]
    return Fitted(objective, theta, records, errors)


def log_coordinates(objective: Objective) -> LogCoordinates:
    """Logarithms of the positive parameters of all models."""
    return LogCoordinates.of(
        objective.softplus, objective.untransformed, objective.bounds
    )


def _new_starts(objective: Objective, models: list[int]) -> tuple[list[int], Array]:
    """The models whose priors can be sampled, and the samples, `a x p`."""
    found: dict[int, Array] = {}
    try:
        if models:
            found = dict(zip(models, objective.sample(models), strict=True))
    except Exception:
        for i in models:
            try:
                found[i] = objective.sample([i])[0]
            except Exception as error:  # of any kind of prior
                logger.debug("model %d cannot be tried again: %s", i, error)
    return list(found), np.array(list(found.values()))


class _Attempts:
    """The attempts to fit one model."""

    def __init__(self) -> None:
        self.best: Search | None = None
        self.count, self.evaluations, self.seconds = 0, 0, 0.0

    def add(self, search: Search, succeeded: bool) -> None:
        self.last, self.succeeded = search, succeeded
        self.count += 1
        self.evaluations += search.evaluations
        self.seconds += search.seconds
        if succeeded and (self.best is None or search.best_loss < self.best.best_loss):
            self.best = search

    def goes_on(self, options: FitOptions) -> bool:
        """Whether there is to be another attempt."""
        if self.succeeded:
            return options.pick_best_of_all_attempts
        caught = (*options.caught_exception_types, *UNDEFINED)
        return self.last.error is None or isinstance(self.last.error, caught)

    @property
    def error(self) -> Exception:
        return self.last.error or ModelFittingError(self.last.message)

    def record(
        self, objective: Objective, model: int, coordinates: LogCoordinates | None
    ) -> FitRecord:
        search = self.last if self.best is None else self.best
        costs = self.evaluations, self.seconds, self.count
        return record_of(search, objective, model, coordinates, *costs)


def record_of(
    search: Search,
    objective: Objective,
    model: int,
    coordinates: LogCoordinates | None,
    evaluations: int,
    seconds: float,
    attempts: int = 1,
    condition: float = math.nan,
) -> FitRecord:
    """What is kept of an ended search, with the costs of all attempts."""
    losses = list(search.losses)
    if losses and search.best_loss < losses[-1]:  # stopped between two iterations
        losses.append(search.best_loss)
    norm = math.nan
    if search.best_gradient is not None:
        norm = gradient_norm(
            search.best_point,
            search.best_gradient,
            objective.bounds[model],
            coordinates,
        )
    return FitRecord(
        losses=tuple(losses),
        evaluations=evaluations,
        iterations=max(len(search.losses) - 1, 0),
        status=search.status,
        message=search.message,
        seconds=seconds,
        attempts=attempts,
        gradient_norm=norm,
        step_length=search.step_length,
        at_bounds=names_at_bounds(objective, search.best_point, model),
        condition=condition,
    )


def names_at_bounds(objective: Objective, theta: Array, model: int) -> tuple[str, ...]:
    """Names of the parameters of a model that are on a bound, to rounding."""
    bounds, near = objective.bounds[model], 1e-9 * (1 + np.abs(theta))
    resting = (theta <= bounds.lb + near) | (theta >= bounds.ub - near)
    if not resting.any():
        return ()
    names = []
    for name, part in objective.parameters(resting.astype(float), model).items():
        flat = part.reshape(-1)
        names += [
            name if len(flat) == 1 else f"{name}[{i}]" for i in flat.nonzero()[:, 0]
        ]
    return tuple(names)


def has_succeeded(search: Search, options: FitOptions) -> bool:
    """BoTorch's policy: the warning handler may still accept a failed search."""
    if search.status is not OptimizationStatus.FAILURE:
        return True
    if search.error is not None or not np.isfinite(search.best_loss):
        return False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn(search.message, OptimizationWarning, stacklevel=1)
    return options.warning_handler(caught[0])
