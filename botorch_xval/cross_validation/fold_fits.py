"""The fits of folds while they are found: what was tried, and for what price.

A fold may be searched from its own starts, from the fit to all rows
(:mod:`~botorch_xval.cross_validation.warm`) and from optima of other folds
(:mod:`~botorch_xval.cross_validation.exchange`). Its lowest optimum is kept.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import NamedTuple

import numpy as np
from botorch.optim.core import OptimizationStatus
from numpy.typing import NDArray

from botorch_xval.cross_validation.centers import Center
from botorch_xval.cross_validation.fold_records import FoldFit
from botorch_xval.cross_validation.links import Prediction
from botorch_xval.fitting.coordinates import Array, LogCoordinates, WhitenedCoordinates
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.multistart import Tried, search_starts
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.progress import FitProgress
from botorch_xval.fitting.records import FitRecord
from botorch_xval.fitting.retries import (
    Fitted,
    fit_models,
    has_succeeded,
    log_coordinates,
    names_at_bounds,
    optima_of,
    record_of,
)
from botorch_xval.fitting.search import Search, Start, gradient_norm
from botorch_xval.fitting.threads import search_each

__all__ = ["ALL_ROWS", "FoldFits", "FoldWork", "Key"]

ALL_ROWS = "all rows"  # label of a start
LONGEST = 2.0  # posterior standard deviations that a Newton step may go in a direction
# A whitened search that ends with a larger gradient (per point, by logarithms) goes on
# in logarithms: its Hessian was not that of the fold, or it had left the bounds.
UNFINISHED = 1e-3
FOLD_STARTS = 4  # of several; what other folds have found is offered to a fold, too

Key = tuple[int, int]  # fold and output


class FoldFits(NamedTuple):
    """Fitted models of folds, and how they were fitted."""

    fitted: Fitted
    """The models."""

    fits: list[FoldFit]
    """For each fold and output in turn."""

    predictions: dict[int, Prediction]
    """By position of a fold those of its held-out rows, where they are known."""


class FoldWork:
    """The fits of folds of one size.

    Attributes:
        objective: Of the models of all folds and outputs.
        numbers: Of the models in the objective, by fold and output, `f x m`.
        options: The options of the fit.
        coordinates: Logarithms of the positive parameters.
        influences: Of the folds, `f x m`; NaN where nothing was fitted to all rows.
        conditions: Of the Hessian that a fold was whitened by.
        tried: Searches that succeeded, by fold and output.
        cold: Records of fits from own starts, with all attempts.
        cold_losses: The lowest loss (per point) of further searches from own starts.
        errors: By number of a model, why its own starts failed.
        fixed: Values and records of folds that were not searched.
        how: How a fold was fitted that `cold` and `fixed` do not have.
        spent: Evaluations and seconds.
        predictions: See :class:`FoldFits`.
        deadline: By `time.monotonic`, when every search stops.
    """

    def __init__(
        self, objective: Objective, numbers: NDArray[np.intp], options: FitOptions
    ) -> None:
        self.objective, self.numbers, self.options = objective, numbers, options
        self.coordinates = log_coordinates(objective)
        self.influences = np.full(numbers.shape, np.nan)
        self.conditions: dict[Key, float] = {}
        self.tried: dict[Key, list[Tried]] = defaultdict(list)
        self.cold: dict[Key, FitRecord] = {}
        self.cold_losses: dict[Key, float] = {}
        self.errors: dict[int, Exception] = {}
        self.fixed: dict[Key, tuple[Array, FoldFit]] = {}
        self.how = "refit"
        self.spent: dict[Key, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
        self.predictions: dict[int, Prediction] = {}
        self.deadline = options.deadline()

    def step(
        self, i: Key, center: Center, loss: float, gradient: Array
    ) -> tuple[Array, float, float]:
        """One Newton step of a model: where to, its length, the summed loss there."""
        model = int(self.numbers[i])
        whitened, bounds = center.whitened, self.objective.bounds[model]
        n = self.objective.points_of(model)
        start = whitened.from_raw(center.theta)
        slope = whitened.at(start)[1](gradient * n)
        limits = whitened.bounds(bounds)
        z = np.clip(start - np.clip(slope, -LONGEST, LONGEST), limits.lb, limits.ub)
        moved, _ = whitened.at(z)
        promised = loss * n + slope @ (z - start) + 0.5 * ((z - start) ** 2).sum()
        length = float(np.linalg.norm(slope[~whitened.resting]))
        return np.clip(moved, bounds.lb, bounds.ub), length, float(promised)

    def keep(
        self, i: Key, theta: Array, loss: float, gradient: Array | None, how: str
    ) -> None:
        """Values that no search has found, and their record.

        Without a gradient the loss is what a quadratic model says.
        """
        status, model = OptimizationStatus, int(self.numbers[i])
        record = FitRecord(
            losses=(float(loss),),
            evaluations=self.spent[i][0],
            iterations=0,
            status=status.STOPPED if np.isfinite(loss) else status.FAILURE,
            message="not refined",
            seconds=0.0,
            attempts=1,
            gradient_norm=math.nan
            if gradient is None
            else gradient_norm(
                theta, gradient, self.objective.bounds[model], self.coordinates
            ),
            at_bounds=names_at_bounds(self.objective, theta, model),
            condition=self.conditions.get(i, math.nan),
            num_points=self.objective.points_of(model),
        )
        self.fixed[i] = theta, FoldFit(*i, how, float(self.influences[i]), record)

    def refine(
        self, chosen: Sequence[tuple[Key, Array, Center]], label: str
    ) -> list[float]:
        """Searches from Newton steps, in the coordinates of the center.

        Returns:
            The summed losses in which they end; infinite for one that fails.
        """
        if not chosen:
            return []
        starts = [Start(values, label) for _, values, _ in chosen]
        keys = [i for i, _, _ in chosen]
        searches = self._search(keys, starts, [c.whitened for _, _, c in chosen])
        again = [
            a
            for a, (i, s) in enumerate(zip(keys, searches, strict=True))
            if self._is_unfinished(i, s)
        ]
        more = self._search(
            [keys[a] for a in again],
            [Start(searches[a].best_point, label) for a in again],  # it goes on
        )
        for a, search in zip(again, more, strict=True):
            is_lost = has_succeeded(searches[a], self.options) and not (
                has_succeeded(search, self.options)
            )
            if not is_lost:
                searches[a] = search
        ends = []
        for i, start, search in zip(keys, starts, searches, strict=True):
            succeeded = has_succeeded(search, self.options)
            if succeeded:
                self.tried[i].append(Tried(start, search))
            ends.append(search.best_loss if succeeded else np.inf)
        points = [self.objective.points_of(int(self.numbers[i])) for i in keys]
        return [end * n for end, n in zip(ends, points, strict=True)]

    def _is_unfinished(self, i: Key, search: Search) -> bool:
        """Whether a whitened search did not end at an optimum, but may still do so."""
        if search.status is OptimizationStatus.STOPPED or search.best_gradient is None:
            return False
        if not has_succeeded(search, self.options):
            return True
        norm = gradient_norm(
            search.best_point,
            search.best_gradient,
            self.objective.bounds[self.numbers[i]],
            self.coordinates,
        )
        return not norm <= UNFINISHED

    def fit_cold(self, chosen: Sequence[Key], most: int | None = FOLD_STARTS) -> None:
        """Fit models from up to `most` of their own starts, with all attempts."""
        if not chosen:
            return
        rest = [int(self.numbers[i]) for i in chosen]
        fitted = fit_models(self.objective, self._left(), rest, most)
        self.errors |= fitted.errors
        for i, tried, record in zip(chosen, fitted.tried, fitted.records, strict=True):
            self.cold[i] = record
            self.tried[i] += tried
            self.spend(i, record.evaluations, record.seconds)

    @property
    def scouts(self) -> set[int]:
        """Folds that are searched from more starts than others, for all of them."""
        last = len(self.numbers) - 1
        is_several = self.options.starts == "several"
        return {0, (last + 1) // 2, last} if is_several else set()

    def search_own_starts(
        self, chosen: Sequence[Key], most: int | None = FOLD_STARTS
    ) -> None:
        """Search from the own starts of folds for which all rows say little, too."""
        if not chosen:
            return
        with FitProgress(0, self.options.progress) as bar:
            found = search_starts(
                self.objective,
                [int(self.numbers[i]) for i in chosen],
                self.options,
                self.coordinates,
                bar,
                self.deadline,
                most,
            )
        for i, tried in zip(chosen, found.values(), strict=True):
            good = [t for t in tried if has_succeeded(t.search, self.options)]
            self.tried[i] += good
            losses = [t.search.best_loss for t in tried]
            self.cold_losses[i] = min(losses)
            for each in tried:
                self.spend(i, each.search.evaluations, each.search.seconds)

    def best(self, i: Key) -> Tried:
        """The search that ended lowest."""
        return min(self.tried[i], key=lambda t: t.search.best_loss)

    def settle(self, i: Key, is_lower: bool) -> None:
        """A fold that kept values has been searched: these go if it found lower ones.

        If not, the search is as if it had not been.
        """
        if is_lower:
            del self.fixed[i]
            self.predictions.pop(i[0], None)
        else:
            self.tried.pop(i, None)

    def loss(self, i: Key) -> float:
        """Its lowest summed loss; infinite if no search has succeeded.

        Of values that are kept without a search, what a quadratic model says.
        """
        n = self.objective.points_of(int(self.numbers[i]))
        if i in self.fixed:
            return self.fixed[i][1].record.loss * n
        if not self.tried.get(i):
            return math.inf
        return self.best(i).search.best_loss * n

    def has_limits(self) -> bool:
        """Whether a search was stopped by a limit of the user."""
        stopped = OptimizationStatus.STOPPED
        return any(
            t.search.status is stopped for tried in self.tried.values() for t in tried
        )

    def end(self, numbers: Sequence[int]) -> FoldFits:
        """Give all models their values; those without any are fitted cold.

        Args:
            numbers: Of the folds among all.
        """
        keys = list(np.ndindex(self.numbers.shape))
        rest = [
            i for i in keys if not (i in self.fixed or i in self.cold or self.tried[i])
        ]
        self.fit_cold(rest)
        theta, fits = self.objective.start.copy(), []
        for i in keys:
            fold = numbers[i[0]]
            if i in self.fixed:
                theta[self.numbers[i]], fit = self.fixed[i]
                fits.append(replace(fit, fold=fold))
                continue
            how = "refit" if i in self.cold else self.how
            length = float(self.influences[i])
            cold = self.cold_losses.get(i, math.nan)
            if self.tried[i]:
                theta[self.numbers[i]] = self.best(i).search.best_point
            fits.append(FoldFit(fold, i[1], how, length, self._record(i), cold))
        self.objective.write(theta)
        records = [fit.record for fit in fits]
        lost = {int(self.numbers[i]) for i in keys if not self.tried[i]}
        errors = {model: self.errors[model] for model in lost & self.errors.keys()}
        fitted = Fitted(self.objective, theta, records, errors)
        return FoldFits(fitted, fits, self.predictions)

    def _record(self, i: Key) -> FitRecord:
        evaluations, seconds = self.spent[i]
        if not self.tried[i]:
            return replace(self.cold[i], evaluations=evaluations, seconds=seconds)
        model = int(self.numbers[i])
        seen: LogCoordinates | None = self.coordinates
        if i in self.cold and not self.options.has_logarithms:
            seen = None
        return record_of(
            self.best(i).search,
            self.objective,
            model,
            seen,
            evaluations,
            seconds,
            self.cold[i].attempts if i in self.cold else 1,
            self.conditions.get(i, math.nan),
            optima_of(self.tried[i], self.objective, model),
        )

    def _left(self) -> FitOptions:
        """The options, with what is left of the time."""
        if self.options.timeout_sec is None:
            return self.options
        left = max(self.deadline - monotonic(), 0.0)
        return replace(self.options, timeout_sec=left)

    def spend(self, i: Key, evaluations: int, seconds: float = 0.0) -> None:
        """Add to what the fit of a fold has cost."""
        before = self.spent[i]
        self.spent[i] = before[0] + evaluations, before[1] + seconds

    def _search(
        self,
        keys: Sequence[Key],
        starts: Sequence[Start],
        whitened: list[WhitenedCoordinates] | None = None,
    ) -> list[Search]:
        """Searches of models from a start each; by default in those of a cold fit."""
        if not keys:
            return []
        cold = self.coordinates if self.options.has_logarithms else None
        with FitProgress(len(keys), self.options.progress) as bar:
            searches = search_each(
                self.objective,
                starts,
                [int(self.numbers[i]) for i in keys],
                self.options,
                coordinates=cold if whitened is None else whitened,
                on_end=bar.on_end(self.objective.bounds, self.coordinates),
                deadline=self.deadline,
            )
        for i, search in zip(keys, searches, strict=True):
            self.spend(i, search.evaluations, search.seconds)
        return searches
