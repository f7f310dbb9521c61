"""The engine: an objective and options in, fitted values and records out.

Each model is tried from its starts (:mod:`~botorch_xval.fitting.multistart`); one for
which all of them fail is tried again alone, from values sampled from its priors. At the
end every model has the values of its best search, or its initial ones.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from warnings import warn

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import OptimizationWarning
from botorch.optim.core import OptimizationStatus

from botorch_xval.fitting.coordinates import Array, LogCoordinates
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.multistart import Tried, distinct, search_from, search_starts
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.progress import FitProgress
from botorch_xval.fitting.records import FitRecord, Optimum
from botorch_xval.fitting.search import Search, Start, gradient_norm
from botorch_xval.fitting.starts import SAMPLED
from botorch_xval.fitting.threads import UNDEFINED

__all__ = [
    "Fitted",
    "fit_models",
    "has_succeeded",
    "log_coordinates",
    "names_at_bounds",
    "optima_of",
    "record_of",
]

logger = logging.getLogger(__name__)


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

    tried: list[list[Tried]] = field(default_factory=list)
    """For each record the searches of its model that succeeded."""


def fit_models(
    objective: Objective,
    options: FitOptions,
    models: Sequence[int] | None = None,
    most: int | None = None,
) -> Fitted:
    """Fit the models of an objective, with all attempts, and write their values.

    Args:
        objective: Of the models.
        options: The options of the fit.
        models: Numbers of the models to fit; default: all. Others keep their initial
            values, and have no record.
        most: How many of several starts there are at most.

    Returns:
        What was found.
    """
    deadline = options.deadline()
    is_grad_enabled = torch.is_grad_enabled()
    coordinates = log_coordinates(objective)
    models = list(range(objective.num_models) if models is None else models)
    attempts = {i: _Attempts(options) for i in models}
    theta = objective.start.copy()
    try:
        with FitProgress(0, options.progress) as bar:
            given = bar, deadline
            found = search_starts(objective, models, options, coordinates, *given, most)
            for i, tried in found.items():
                attempts[i].add(tried)
            todo = models
            for attempt in range(1, options.max_attempts):
                todo = [i for i in todo if attempts[i].goes_on()]
                pairs = _new_starts(objective, todo, attempt)
                if not pairs or monotonic() > deadline:
                    break
                searches = search_from(objective, pairs, options, coordinates, *given)
                for (i, start), search in zip(pairs, searches, strict=True):
                    attempts[i].add([Tried(start, search)])
                todo = [i for i, _ in pairs]
        for i, each in attempts.items():
            if each.best is not None:
                theta[i] = each.best.best_point
        seen = coordinates if options.has_logarithms else None
        records = [each.record(objective, i, seen) for i, each in attempts.items()]
        _warn_of_errors(list(attempts.values()))
        objective.write(theta)  # when all else is done
    except BaseException:
        # Ctrl-C: no model may have a part of its values, and where it interrupts the
        # end of a context manager, such as `no_grad`, that has restored nothing.
        torch.set_grad_enabled(is_grad_enabled)
        objective.write(objective.start)
        raise
    errors = {i: each.error for i, each in attempts.items() if each.best is None}
    succeeded = [each.succeeded for each in attempts.values()]
    return Fitted(objective, theta, records, errors, succeeded)


def log_coordinates(objective: Objective) -> LogCoordinates:
    """Logarithms of the positive parameters of all models."""
    return LogCoordinates.of(
        objective.softplus, objective.untransformed, objective.bounds
    )


def _new_starts(
    objective: Objective, models: list[int], attempt: int
) -> list[tuple[int, Start]]:
    """Samples of the priors of those models whose priors can be sampled.

    They depend on the user's seed, the model and the attempt only, not on who else is
    tried again.
    """
    found = []
    seed = (torch.initial_seed() + attempt) % 2**63
    devices = [objective.device] if objective.device.type == "cuda" else []
    for i in models:
        try:
            with torch.random.fork_rng(devices):
                torch.manual_seed(seed)
                found.append((i, Start(objective.sample([i])[0], SAMPLED)))
        except Exception as error:  # of any kind of prior
            logger.debug("model %d cannot be tried again: %s", i, error)
    return found


class _Attempts:
    """The attempts to fit one model: that from all of its starts, and repetitions."""

    def __init__(self, options: FitOptions) -> None:
        self.options = options
        self.count = 0
        self.tried: list[Tried] = []
        self.succeeded: list[Tried] = []

    def add(self, tried: Sequence[Tried]) -> None:
        self.count += 1
        self.tried += tried
        self.last = tried
        self.succeeded += [t for t in tried if has_succeeded(t.search, self.options)]

    @property
    def best(self) -> Search | None:
        """The search with the lowest loss; of equal ones the first."""
        if not self.succeeded:
            return None
        return min((t.search for t in self.succeeded), key=lambda s: s.best_loss)

    def goes_on(self) -> bool:
        """Whether there is to be another attempt."""
        if any(t in self.succeeded for t in self.last):
            return self.options.pick_best_of_all_attempts
        return any(not self._is_unexpected(t.search.error) for t in self.last)

    @property
    def error(self) -> Exception:
        last = self.last[0].search
        return last.error or ModelFittingError(last.message)

    @property
    def unexpected(self) -> list[Exception]:
        """What ended searches of a fitted model and is no trouble of numbers."""
        errors = [t.search.error for t in self.tried if self.succeeded]
        return [e for e in errors if e is not None and self._is_unexpected(e)]

    def _is_unexpected(self, error: Exception | None) -> bool:
        """Whether an exception is none that a repetition is for."""
        caught = (*self.options.caught_exception_types, *UNDEFINED)
        return error is not None and not isinstance(error, caught)

    def record(
        self, objective: Objective, model: int, coordinates: LogCoordinates | None
    ) -> FitRecord:
        search = self.best or self.last[0].search
        record = record_of(
            search,
            objective,
            model,
            coordinates,
            sum(t.search.evaluations for t in self.tried),
            sum(t.search.seconds for t in self.tried),
            self.count,
            optima=optima_of(self.succeeded, objective, model),
        )
        if errors := self.unexpected:
            ended = f"{len(errors)} of {len(self.tried)} searches ended in an error"
            message = f"{record.message}; {ended}, {_in_words(errors[0])}"
            record = replace(record, message=message)
        return record


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _warn_of_errors(attempts: Sequence[_Attempts]) -> None:
    """Say that errors ended searches of models that other searches have fitted."""
    if found := [each.unexpected for each in attempts if each.unexpected]:
        warn(
            f"searches of {len(found)} of {len(attempts)} models ended in an error ("
            f"{_in_words(found[0][0])}). These models have the best of their other "
            "searches, which may not be the lowest optimum; `message` of their records "
            "says so",
            OptimizationWarning,
            stacklevel=2,
        )


def optima_of(
    succeeded: Sequence[Tried], objective: Objective, model: int
) -> tuple[Optimum, ...]:
    """The different optima that searches of a model ended in, the lowest first."""
    found = []
    for group in distinct(succeeded, objective.points_of(model)):
        best = group[0].search
        at_modes, is_dead = objective.table.at_prior_modes(best.best_point)
        found.append(
            Optimum(
                loss=best.best_loss,
                starts=tuple(t.start.label for t in succeeded if t in group),
                values=objective.table.constrained(best.best_point),
                at_modes=tuple(at_modes),
                is_dead=is_dead,
            )
        )
    return tuple(found)


def record_of(
    search: Search,
    objective: Objective,
    model: int,
    coordinates: LogCoordinates | None,
    evaluations: int,
    seconds: float,
    attempts: int = 1,
    condition: float = math.nan,
    optima: tuple[Optimum, ...] = (),
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
        optima=optima,
        num_points=objective.points_of(model),
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
