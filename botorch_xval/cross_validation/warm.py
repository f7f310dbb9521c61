r"""What a model fitted to all rows says about the fits without some of them.

Let :math:`\theta^*` minimize the summed loss :math:`L`, the negative log marginal
likelihood minus log priors of all rows, with the Hessian :math:`H` there, by logarithms
of positive parameters. The loss without the rows :math:`S` has at :math:`\theta^*` a
gradient :math:`g_{-S}`, and one Newton step (the infinitesimal jackknife: Giordano et
al. 2019; Rad & Maleki 2020)

.. math:: \theta_{-S} \approx \theta^* - H^{-1} g_{-S}, \qquad
    \mathrm{influence}_S = \| H^{-1/2} g_{-S} \|,

starts, or stands for, its fit. The influence is the length of that step in posterior
standard deviations, in the role that Pareto's :math:`k` has for importance sampling.
Where the folds transform their data as the model of all rows does, all :math:`g_{-S}`
come from one factorization, :math:`O(p n^3)` for leave-one-out; else each takes an
evaluation of its own.
"""

from __future__ import annotations

import math
from dataclasses import replace
from time import monotonic
from typing import Any

import numpy as np
from botorch.optim.core import OptimizationStatus
from numpy.typing import NDArray

from botorch_xval.cross_validation.fold_models import FoldBatch, FoldModels
from botorch_xval.cross_validation.full_fit import FullFit
from botorch_xval.cross_validation.result import FoldFit
from botorch_xval.fitting.coordinates import Array, WhitenedCoordinates
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.progress import FitProgress
from botorch_xval.fitting.records import FitRecord
from botorch_xval.fitting.retries import (
    WARM_UP,
    Fitted,
    fit_models,
    has_succeeded,
    names_at_bounds,
    record_of,
)
from botorch_xval.fitting.search import Search, gradient_norm
from botorch_xval.fitting.threads import evaluate_each, search_each

__all__ = ["FoldFits", "fit_folds"]

LONGEST = 2.0  # posterior standard deviations that a Newton step may go in a direction
# A whitened search that ends with a larger gradient (per point, by logarithms) goes on
# in logarithms: its Hessian was not that of the fold, or it had left the bounds.
UNFINISHED = 1e-3
# Posterior standard deviations from which on a fold is fitted from its initial values,
# too, and by how much (per point) another minimum has to be better.
INFLUENTIAL = 0.5
BETTER = 1e-6

FoldFits = tuple[Fitted, list[FoldFit]]


def fit_folds(
    models: FoldModels,
    full: FullFit | None,
    how: str,
    threshold: float,
    options: FitOptions,
) -> FoldFits:
    """Fit the models of folds, from their initial values or the fit to all rows.

    Args:
        models: Of folds of one size.
        full: The fit to all rows; None for "refit".
        how: "refit": from initial values. "warm": one Newton step, refined with
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
    if full is None:
        fitted = fit_models(objective, options)
        return fitted, [
            FoldFit(models.numbers[j], k, "refit", math.nan, fitted.records[model])
            for (j, k), model in np.ndenumerate(numbers)
        ]
    full.check_parameters(objective, models.names[0])
    work = _FoldWork(full, objective, numbers, options)
    losses, gradients = work.at_full(models)
    work.take_steps(gradients)
    chosen = np.full(len(numbers), True)
    if how == "adaptive":
        influences = np.nan_to_num(work.influences, nan=np.inf)
        chosen = influences.max(axis=1) > threshold
    starts = [
        tuple(i) for i in np.argwhere(np.isfinite(work.influences)) if chosen[i[0]]
    ]
    if how == "predicted":
        work.evaluate(starts)
    else:
        work.refine(starts)
        work.fit_cold([i for i in starts if work.influences[i] > INFLUENTIAL])
    return work.end(models, chosen, losses, gradients)


class _FoldWork:
    """The fits of folds that start from all rows; arrays are by fold and output."""

    def __init__(
        self,
        full: FullFit,
        objective: Objective,
        numbers: NDArray[np.intp],
        options: FitOptions,
    ) -> None:
        self.full, self.objective, self.options = full, objective, options
        self.numbers = numbers  # of the models, f x m
        self.theta = np.tile(full.fitted.theta, (len(numbers), 1, 1))  # f x m x p
        self.influences = np.full(numbers.shape, np.nan)
        self.records: dict[tuple[int, int], FitRecord] = {}
        self.failed: set[tuple[int, int]] = set()  # of those with a record
        self.cold_losses: dict[tuple[int, int], float] = {}
        self.how = "warm"
        self.deadline = options.deadline()

    def at_full(self, models: FoldModels) -> tuple[Array, Array]:
        """Losses, `f x m`, and gradients, `f x m x p`, at the fit to all rows.

        Of folds that transform their data as the model of all rows does, they come from
        one factorization.
        """
        losses, gradients = np.empty(self.numbers.shape), np.empty(self.theta.shape)
        rest = np.full(len(losses), True)
        if not isinstance(models, FoldBatch):  # a batch learns its transforms by fold
            alike = np.array(
                [
                    self.full.contains(mll, ~rows.to(self.objective.device))
                    for mll, rows in zip(models.mlls, models.held_out, strict=True)
                ]
            )
            held_out = models.held_out[alike.tolist()]
            found = None
            if alike.any():
                found = self.full.fitted.objective.without(
                    self.full.fitted.theta, held_out
                )
            if found is not None:
                losses[alike], gradients[alike] = found
                rest = ~alike
        if rest.any():
            theta, numbers = self.theta[rest], self.numbers[rest]
            found = evaluate_each(
                self.objective,
                theta.reshape(-1, theta.shape[-1]),
                numbers.reshape(-1).tolist(),
            )
            losses[rest] = found[0].reshape(numbers.shape)
            gradients[rest] = found[1].reshape(theta.shape)
        return losses, gradients

    def take_steps(self, gradients: Array) -> None:
        """Influences of all models, and their parameters after one Newton step."""
        for j, k in np.argwhere(np.isfinite(gradients).all(axis=-1)):
            coordinates = self.full.whitened[k]
            bounds = self.objective.bounds[self.numbers[j, k]]
            start = coordinates.from_raw(self.theta[j, k])
            slope = gradients[j, k] * self.objective.num_points
            slope = coordinates.at(start)[1](slope)
            self.influences[j, k] = np.linalg.norm(slope[~coordinates.resting])
            limits = coordinates.bounds(bounds)
            z = start - np.clip(slope, -LONGEST, LONGEST)
            moved, _ = coordinates.at(np.clip(z, limits.lb, limits.ub))
            self.theta[j, k] = np.clip(moved, bounds.lb, bounds.ub)

    def evaluate(self, chosen: list[tuple[int, int]]) -> None:
        """Keep the values after the Newton step, and evaluate their losses."""
        self.how = "predicted"
        if not chosen:
            return
        theta = np.stack([self.theta[i] for i in chosen])
        numbers = [int(self.numbers[i]) for i in chosen]
        found = evaluate_each(self.objective, theta, numbers)
        for i, values, loss, gradient in zip(chosen, theta, *found, strict=True):
            self.records[i] = self._record(i, values, loss, gradient, 2)
            if not np.isfinite(loss):
                self.failed.add(i)

    def refine(self, chosen: list[tuple[int, int]]) -> None:
        """Go on with L-BFGS-B from the Newton step."""
        with FitProgress(len(chosen), self.options.progress) as bar:
            on_end = bar.on_end(self.objective.bounds, self.full.coordinates)
            whitened = [self.full.whitened[k] for _, k in chosen]
            searches = self._search(chosen, self.theta, whitened, on_end=on_end)
        again = []
        for i, search in searches.items():
            # One evaluation more: that at the optimum of all rows.
            spent = search.evaluations + 1, search.seconds
            self._take(i, search, self._record_of(search, i, *spent))
            record = self.records[i]
            is_done = i not in self.failed and record.gradient_norm <= UNFINISHED
            is_stopped = record.status is OptimizationStatus.STOPPED
            if np.isfinite(record.loss) and not is_done and not is_stopped:
                again.append(i)
        for i, search in self._search(again, self.theta).items():
            self._take(i, search, self._record_after(self.records[i], search, i))

    def fit_cold(self, chosen: list[tuple[int, int]]) -> None:
        """Fit folds of large influence from their initial values, too.

        The fit to all rows may be in another basin than theirs. What was found is
        replaced where the other start leads to a lower loss, or did not succeed.
        """
        starts = self.objective.start[self.numbers]
        searches = self._search(chosen, starts, warm_up=WARM_UP)
        for i, search in searches.items():
            self.cold_losses[i] = search.best_loss
            before = self.records[i]
            record = self._record_after(before, search, i)
            ended = has_succeeded(search, self.options)
            is_better = not record.loss >= before.loss - BETTER
            if ended and (is_better or i in self.failed):
                self._take(i, search, record)
            else:
                self.records[i] = replace(
                    before, evaluations=record.evaluations, seconds=record.seconds
                )

    def end(
        self,
        models: FoldModels,
        chosen: NDArray[np.bool_],
        losses: Array,
        slopes: Array,
    ) -> FoldFits:
        """Give all models their values; those without any are fitted cold.

        Args:
            models: Of the folds.
            chosen: Which folds are fitted; the others stay as they are.
            losses: At the fit to all rows, `f x m`.
            slopes: Gradients there, `f x m x p`.
        """
        theta, fits, todo = self.objective.start.copy(), {}, []
        for i in np.ndindex(self.numbers.shape):
            fold, output, influence = models.numbers[i[0]], i[1], self.influences[i]
            if not chosen[i[0]]:
                values = self.full.fitted.theta[output]
                record = self._record(i, values, float(losses[i]), slopes[i], 1)
                fits[i] = FoldFit(fold, output, "fixed", float(influence), record)
                continue
            if i in self.failed or i not in self.records:
                todo.append(i)
                continue
            theta[self.numbers[i]] = self.theta[i]
            fits[i] = FoldFit(
                fold,
                output,
                self.how,
                float(influence),
                self.records[i],
                self.cold_losses.get(i, math.nan),
            )
        self.objective.write(theta)
        errors: dict[int, Exception] = {}
        if todo:  # as if there were no fit to all rows
            rest = [int(self.numbers[i]) for i in todo]
            fitted = fit_models(self.objective, self._left(), rest)
            errors = fitted.errors
            for i, record in zip(todo, fitted.records, strict=True):
                length = float(self.influences[i])
                fold = models.numbers[i[0]]
                if i in self.records:  # of a start from all rows that has failed
                    record = _with_costs(record, self.records[i])
                fits[i] = FoldFit(fold, i[1], "refit", length, record)
            theta[rest] = fitted.theta[rest]
            self.objective.write(theta)
        ordered = [fits[i] for i in np.ndindex(self.numbers.shape)]
        records = [fit.record for fit in ordered]
        return Fitted(self.objective, theta, records, errors), ordered

    def _left(self) -> FitOptions:
        """The options, with what is left of the time."""
        if self.options.timeout_sec is None:
            return self.options
        left = max(self.deadline - monotonic(), 0.0)
        return replace(self.options, timeout_sec=left)

    def _take(self, i: tuple[int, int], search: Search, record: FitRecord) -> None:
        self.records[i], self.theta[i] = record, search.best_point
        if has_succeeded(search, self.options):
            self.failed.discard(i)
        else:
            self.failed.add(i)

    def _search(
        self,
        chosen: list[tuple[int, int]],
        starts: Array,
        coordinates: list[WhitenedCoordinates] | None = None,
        **arguments: Any,
    ) -> dict[tuple[int, int], Search]:
        """Searches from the starts, `f x m x p`, of chosen models; by default in the
        coordinates of a cold fit.
        """
        if not chosen:
            return {}
        cold = self.full.coordinates if self.options.has_logarithms else None
        searches = search_each(
            self.objective,
            np.stack([starts[i] for i in chosen]),
            [int(self.numbers[i]) for i in chosen],
            self.options,
            coordinates=cold if coordinates is None else coordinates,
            deadline=self.deadline,
            **arguments,
        )
        return dict(zip(chosen, searches, strict=True))

    def _record_of(
        self, search: Search, i: tuple[int, int], evaluations: int, seconds: float
    ) -> FitRecord:
        return record_of(
            search,
            self.objective,
            int(self.numbers[i]),
            self.full.coordinates,
            evaluations,
            seconds,
            condition=self.full.whitened[i[1]].condition,
        )

    def _record_after(
        self, before: FitRecord, search: Search, i: tuple[int, int]
    ) -> FitRecord:
        """The record of a further search, with the costs of both."""
        evaluations = before.evaluations + search.evaluations
        return self._record_of(search, i, evaluations, before.seconds + search.seconds)

    def _record(
        self,
        i: tuple[int, int],
        theta: Array,
        loss: float,
        gradient: Array,
        evaluations: int,
    ) -> FitRecord:
        """The record of a model that is not refined."""
        status, model = OptimizationStatus, int(self.numbers[i])
        return FitRecord(
            losses=(float(loss),),
            evaluations=evaluations,
            iterations=0,
            status=status.STOPPED if np.isfinite(loss) else status.FAILURE,
            message="not refined",
            seconds=0.0,
            attempts=1,
            gradient_norm=gradient_norm(
                theta, gradient, self.objective.bounds[model], self.full.coordinates
            ),
            at_bounds=names_at_bounds(self.objective, theta, model),
            condition=self.full.whitened[i[1]].condition,
        )


def _with_costs(record: FitRecord, before: FitRecord) -> FitRecord:
    """A record with the costs of an earlier fit of its model, too."""
    return replace(
        record,
        evaluations=record.evaluations + before.evaluations,
        seconds=record.seconds + before.seconds,
    )
