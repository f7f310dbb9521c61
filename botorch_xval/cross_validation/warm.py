r"""How the models of folds are fitted: each from its own starts, or from all rows.

**What a fit to all rows says about those without some.** Let :math:`\theta^*` minimize
the summed loss :math:`L`, the negative log marginal likelihood minus log priors of all
rows, with the Hessian :math:`H` there, by logarithms of positive parameters. The loss
without the rows :math:`S` has at :math:`\theta^*` a gradient :math:`g_{-S}`, and one
Newton step (the infinitesimal jackknife: Giordano et al. 2019; Rad & Maleki 2020)

.. math:: \theta_{-S} \approx \theta^* - H^{-1} g_{-S}, \qquad
    \mathrm{influence}_S = \| H^{-1/2} g_{-S} \|,

starts, or stands for, its fit. The influence is the length of that step in posterior
standard deviations, in the role that Pareto's :math:`k` has for importance sampling.
Where the folds transform their data as the model of all rows does, all :math:`g_{-S}`
come from one factorization, :math:`O(p n^3)` for leave-one-out; else each takes an
evaluation of its own.

**One answer.** A fold's loss has several optima, and the lowest one that is known is
the fold's. So an optimum of any fold is offered to all others, in the same way: one
Newton step from there, by its Hessian, and a search where the quadratic model promises
a lower loss, until no fold has an optimum that the others have not seen. Folds that
were fitted from their own starts and folds that began at the fit to all rows end in the
same places. Only hyper-parameters are offered; a fold's loss never knows its held-out
values.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import numpy as np
from botorch.optim.core import OptimizationStatus
from numpy.typing import NDArray

from botorch_xval.cross_validation.fold_models import FoldBatch, FoldModels
from botorch_xval.cross_validation.full_fit import (
    MOST_OPTIMA,
    Center,
    FullFit,
    centers_at,
)
from botorch_xval.cross_validation.result import FoldFit
from botorch_xval.fitting.coordinates import Array, LogCoordinates, WhitenedCoordinates
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.multistart import SAME, Tried, distinct, search_starts
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
from botorch_xval.fitting.search import Search, gradient_norm
from botorch_xval.fitting.starts import OWN, Start
from botorch_xval.fitting.threads import evaluate_each, search_each

__all__ = ["FoldFits", "fit_folds"]

LONGEST = 2.0  # posterior standard deviations that a Newton step may go in a direction
# A whitened search that ends with a larger gradient (per point, by logarithms) goes on
# in logarithms: its Hessian was not that of the fold, or it had left the bounds.
UNFINISHED = 1e-3
# Posterior standard deviations from which on a fold is fitted from its own starts, too.
INFLUENTIAL = 0.5
ALL_ROWS, OTHER_FOLD = "all rows", "another fold"  # labels of starts
# Nats between what the quadratic model promises a fold and its own optimum: up to NEAR
# they are one; beyond REACH a search is not worth its price.
NEAR, REACH = 0.03, 2.0
FOLD_STARTS = 4  # of several; what other folds have found is offered to a fold, too
MOST_CENTERS = 16  # optima that are offered, for each output

Key = tuple[int, int]  # fold and output
FoldFits = tuple[Fitted, list[FoldFit]]


def fit_folds(
    models: FoldModels,
    full: FullFit | None,
    how: str,
    threshold: float,
    options: FitOptions,
) -> FoldFits:
    """Fit the models of folds, from their own starts or the fit to all rows.

    Args:
        models: Of folds of one size.
        full: The fit to all rows; None for "refit".
        how: "refit": from their own starts. "warm": one Newton step, refined with
            L-BFGS-B, in coordinates whitened by the Hessian, to the tolerance of a cold
            fit. "predicted": that step alone. "adaptive": as "warm" where the influence
            of a fold exceeds `threshold`; other folds stay as they are.
        threshold: In posterior standard deviations.
        options: The options of the fit.

    Returns:
        The fitted models, and for each fold and output in turn how it was fitted.

    Raises:
        DifferentModels: If a batch is not as ordinary models are.
        ValueError: If models have other hyper-parameters than others of their size, or
            than the model of all rows.
    """
    objective = models.objective(options)
    numbers = models.models(objective)
    options = options.named(models.names, numbers.shape[1])
    work = _FoldWork(objective, numbers, options)
    if full is None:
        keys = list(np.ndindex(numbers.shape))
        scouts = [i for i in keys if i[0] in work.scouts]
        work.fit_cold(scouts, most=None)
        work.fit_cold([i for i in keys if i not in scouts])
        work.share()
        return work.end(models)
    full.check_parameters(objective, models.names[0])
    losses, gradients = work.at_full(full, models)
    steps = work.take_steps(full, losses, gradients)
    chosen = np.full(len(numbers), True)
    if how == "adaptive":
        influences = np.nan_to_num(work.influences, nan=np.inf)
        chosen = influences.max(axis=1) > threshold
        work.keep_fixed(full, ~chosen, losses, gradients)
    steps = {i: start for i, start in steps.items() if chosen[i[0]]}
    if how == "predicted":
        work.keep_steps(full, steps)
    else:
        work.how = "warm"
        work.refine(
            [(i, start, full.centers[i[1]][0]) for i, start in steps.items()], ALL_ROWS
        )
        # Where all rows have several optima, so may any fold.
        unclear = [
            i
            for i in steps
            if work.influences[i] > INFLUENTIAL or len(full.centers[i[1]]) > 1
        ]
        scouts = [i for i in steps if i[0] in work.scouts]
        work.search_own_starts(scouts, most=None)
        work.search_own_starts([i for i in unclear if i not in scouts])
        work.share(full)
    return work.end(models)


class _FoldWork:
    """The fits of folds of one size; arrays are by fold and output."""

    def __init__(
        self, objective: Objective, numbers: NDArray[np.intp], options: FitOptions
    ) -> None:
        self.objective, self.options = objective, options
        self.numbers = numbers  # of the models, f x m
        self.coordinates = log_coordinates(objective)
        self.influences = np.full(numbers.shape, np.nan)
        self.tried: dict[Key, list[Tried]] = defaultdict(list)  # that succeeded
        self.spent: dict[Key, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
        self.cold: dict[Key, FitRecord] = {}  # of fits with all attempts
        self.errors: dict[int, Exception] = {}
        self.fixed: dict[Key, tuple[Array, FoldFit]] = {}  # not searched
        self.conditions: dict[Key, float] = {}
        self.cold_losses: dict[Key, float] = {}
        self.how = "refit"
        self.deadline = options.deadline()

    def at_full(self, full: FullFit, models: FoldModels) -> tuple[Array, Array]:
        """Losses, `f x m`, and gradients, `f x m x p`, at the fit to all rows.

        Of folds that transform their data as the model of all rows does, they come from
        one factorization.
        """
        theta = np.tile(full.fitted.theta, (len(self.numbers), 1, 1))
        losses, gradients = np.empty(self.numbers.shape), np.empty(theta.shape)
        rest = np.full(len(losses), True)
        if not isinstance(models, FoldBatch):  # a batch learns its transforms by fold
            alike = np.array(
                [
                    full.contains(mll, ~rows.to(self.objective.device))
                    for mll, rows in zip(models.mlls, models.held_out, strict=True)
                ]
            )
            held_out = models.held_out[alike.tolist()]
            found = None
            if alike.any():
                found = full.fitted.objective.without(full.fitted.theta, held_out)
            if found is not None:
                losses[alike], gradients[alike] = found
                rest = ~alike
        if rest.any():
            numbers = self.numbers[rest]
            found = evaluate_each(
                self.objective,
                theta[rest].reshape(-1, theta.shape[-1]),
                numbers.reshape(-1).tolist(),
            )
            losses[rest] = found[0].reshape(numbers.shape)
            gradients[rest] = found[1].reshape(theta[rest].shape)
        for i in np.ndindex(self.numbers.shape):
            self._spend(i, 1)
        return losses, gradients

    def take_steps(
        self, full: FullFit, losses: Array, gradients: Array
    ) -> dict[Key, Array]:
        """Influences of all models, and the parameters of those that have one."""
        steps = {}
        for j, k in np.argwhere(np.isfinite(gradients).all(axis=-1)):
            i, center = (int(j), int(k)), full.centers[k][0]
            steps[i], self.influences[i], _ = self._step(
                i, center, losses[i], gradients[i]
            )
            self.conditions[i] = center.whitened.condition
        return steps

    def _step(
        self, i: Key, center: Center, loss: float, gradient: Array
    ) -> tuple[Array, float, float]:
        """One Newton step of a model: where to, its length, the summed loss there."""
        whitened, bounds = center.whitened, self.objective.bounds[self.numbers[i]]
        n = self.objective.num_points
        start = whitened.from_raw(center.theta)
        slope = whitened.at(start)[1](gradient * n)
        limits = whitened.bounds(bounds)
        z = np.clip(start - np.clip(slope, -LONGEST, LONGEST), limits.lb, limits.ub)
        moved, _ = whitened.at(z)
        promised = loss * n + slope @ (z - start) + 0.5 * ((z - start) ** 2).sum()
        length = float(np.linalg.norm(slope[~whitened.resting]))
        return np.clip(moved, bounds.lb, bounds.ub), length, float(promised)

    def keep_fixed(
        self, full: FullFit, which: NDArray[np.bool_], losses: Array, slopes: Array
    ) -> None:
        """Folds that stay at the fit to all rows."""
        for j, k in np.ndindex(self.numbers.shape):
            if which[j]:
                values = full.fitted.theta[k]
                self._keep((j, k), values, float(losses[j, k]), slopes[j, k], "fixed")

    def keep_steps(self, full: FullFit, steps: dict[Key, Array]) -> None:
        """Folds that keep the values after the Newton step; evaluates their losses."""
        if not steps:
            return
        theta = np.stack(list(steps.values()))
        found = evaluate_each(
            self.objective, theta, [int(self.numbers[i]) for i in steps]
        )
        for i, values, loss, gradient in zip(steps, theta, *found, strict=True):
            self._spend(i, 1)
            if np.isfinite(loss):
                self._keep(i, values, loss, gradient, "predicted")

    def _keep(
        self, i: Key, theta: Array, loss: float, gradient: Array, how: str
    ) -> None:
        """Values that no search has found, and their record."""
        status, model = OptimizationStatus, int(self.numbers[i])
        record = FitRecord(
            losses=(float(loss),),
            evaluations=self.spent[i][0],
            iterations=0,
            status=status.STOPPED if np.isfinite(loss) else status.FAILURE,
            message="not refined",
            seconds=0.0,
            attempts=1,
            gradient_norm=gradient_norm(
                theta, gradient, self.objective.bounds[model], self.coordinates
            ),
            at_bounds=names_at_bounds(self.objective, theta, model),
            condition=self.conditions.get(i, math.nan),
            num_points=self.objective.num_points,
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
        return [end * self.objective.num_points for end in ends]

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
            self._spend(i, record.evaluations, record.seconds)

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
                self._spend(i, each.search.evaluations, each.search.seconds)

    def share(self, full: FullFit | None = None) -> None:
        """Offer every optimum to all folds, until none has one that is new to others.

        Args:
            full: The fit to all rows, whose further optima are offered first.
        """
        if self.options.starts == OWN or self._has_limits():
            return
        for k in range(self.numbers.shape[1]):
            folds = [j for j in range(len(self.numbers)) if self.tried.get((j, k))]
            waiting = self._other_optima((len(self.numbers) // 2, k))
            if full is not None:
                waiting += full.centers[k][1:]
            # Folds in an optimum that others have been offered.
            seen = {j for j in folds if self._best((j, k)).start.label == ALL_ROWS}
            if len(folds) < 2 and not waiting:
                continue
            for _ in range(MOST_CENTERS):
                if monotonic() > self.deadline:
                    return
                if waiting:
                    center = waiting.pop(0)
                    is_full = full is not None and center in full.centers[k]
                    label = ALL_ROWS if is_full else OTHER_FOLD
                else:
                    new = [j for j in folds if j not in seen]
                    if not new:
                        break
                    j = min(new, key=lambda j: self._loss((j, k)))
                    seen.add(j)
                    center, label = self._center((j, k)), OTHER_FOLD
                self._offer(center, label, folds, k, seen)

    def _offer(
        self, center: Center, label: str, folds: list[int], k: int, seen: set[int]
    ) -> None:
        """Offer one optimum to folds; those that it leads to their own are `seen`."""
        keys = [(j, k) for j in folds]
        theta = np.tile(center.theta, (len(keys), 1))
        losses, gradients = evaluate_each(
            self.objective, theta, [int(self.numbers[i]) for i in keys]
        )
        todo = []
        for i, loss, gradient in zip(keys, losses, gradients, strict=True):
            self._spend(i, 1)
            if not (np.isfinite(loss) and np.isfinite(gradient).all()):
                continue
            start, _, promised = self._step(i, center, float(loss), gradient)
            gap = promised - self._loss(i)
            if abs(gap) < NEAR:
                seen.add(i[0])
            if gap < -SAME or NEAR <= gap < REACH:
                todo.append((i, start, center))
        before = [self._loss(i) for i, _, _ in todo]
        ends = self.refine(todo, label)
        for (i, _, _), own, end in zip(todo, before, ends, strict=True):
            if end < own + SAME:
                seen.add(i[0])

    def _other_optima(self, i: Key) -> list[Center]:
        """What a fold that has looked further has found beside its own optimum."""
        groups = distinct(self.tried.get(i, []), self.objective.num_points)
        points = [g[0].search.best_point for g in groups[1:MOST_OPTIMA]]
        if not points:
            return []
        self._spend(i, 2 * len(points) * len(points[0]))
        models = [int(self.numbers[i])] * len(points)
        return centers_at(self.objective, models, np.stack(points), self.coordinates)

    def _center(self, i: Key) -> Center:
        """The optimum of a fold, with its Hessian."""
        theta = self._best(i).search.best_point
        model = int(self.numbers[i])
        (center,) = centers_at(self.objective, [model], theta[None], self.coordinates)
        self._spend(i, 2 * len(theta))
        return center

    def _best(self, i: Key) -> Tried:
        return min(self.tried[i], key=lambda t: t.search.best_loss)

    def _loss(self, i: Key) -> float:
        """Its lowest summed loss."""
        return self._best(i).search.best_loss * self.objective.num_points

    def _has_limits(self) -> bool:
        """Whether a search was stopped by a limit of the user."""
        stopped = OptimizationStatus.STOPPED
        return any(
            t.search.status is stopped for tried in self.tried.values() for t in tried
        )

    def end(self, models: FoldModels) -> FoldFits:
        """Give all models their values; those without any are fitted cold."""
        keys = list(np.ndindex(self.numbers.shape))
        rest = [
            i for i in keys if not (i in self.fixed or i in self.cold or self.tried[i])
        ]
        self.fit_cold(rest)
        theta, fits = self.objective.start.copy(), []
        for i in keys:
            fold = models.numbers[i[0]]
            if i in self.fixed:
                theta[self.numbers[i]], fit = self.fixed[i]
                fits.append(replace(fit, fold=fold))
                continue
            how = "refit" if i in self.cold else self.how
            length = float(self.influences[i])
            cold = self.cold_losses.get(i, math.nan)
            if self.tried[i]:
                theta[self.numbers[i]] = self._best(i).search.best_point
            fits.append(FoldFit(fold, i[1], how, length, self._record(i), cold))
        self.objective.write(theta)
        records = [fit.record for fit in fits]
        return Fitted(self.objective, theta, records, self.errors), fits

    def _record(self, i: Key) -> FitRecord:
        evaluations, seconds = self.spent[i]
        if not self.tried[i]:
            return replace(self.cold[i], evaluations=evaluations, seconds=seconds)
        model = int(self.numbers[i])
        seen: LogCoordinates | None = self.coordinates
        if i in self.cold and not self.options.has_logarithms:
            seen = None
        return record_of(
            self._best(i).search,
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

    def _spend(self, i: Key, evaluations: int, seconds: float = 0.0) -> None:
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
            self._spend(i, search.evaluations, search.seconds)
        return searches
