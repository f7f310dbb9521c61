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

At fixed :math:`\theta^*`, with :math:`Q = K^{-1}` (noise included) and
:math:`a = Q (y - m)`, held-out rows are predicted in closed form (Dubrule 1983;
Rasmussen & Williams 2006, eq. 5.12; for groups Ginsbourger & Schaerer 2021):

.. math:: \mu_S = y_S - Q_{SS}^{-1} a_S, \qquad \Sigma_S = Q_{SS}^{-1}.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError, UnsupportedError
from botorch.optim.core import OptimizationStatus
from gpytorch.distributions import MultitaskMultivariateNormal
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.mlls import MarginalLogLikelihood
from numpy.typing import NDArray
from torch import Tensor

from botorch_xval.cross_validation.fold_models import FoldModels
from botorch_xval.fitting.coordinates import LogCoordinates, WhitenedCoordinates
from botorch_xval.fitting.fit import fit_each
from botorch_xval.fitting.losses.modules import Stacked
from botorch_xval.fitting.losses.objective import Objective, make_objective
from botorch_xval.fitting.records import FitRecord
from botorch_xval.fitting.retries import (
    MEMORY,
    WARM_UP,
    FitProgress,
    evaluate_each,
    names_at_bounds,
    record_of,
    search_each,
)
from botorch_xval.fitting.search import Search, gradient_norm

__all__ = ["ClosedForm", "FoldFit", "FullFit", "fit_all_rows"]

Array = NDArray[np.float64]
STEP = 1e-4  # of the central differences, in logarithms
LONGEST = 2.0  # posterior standard deviations that a Newton step may go in a direction
# A whitened search that ends with a larger gradient (per point, by logarithms) goes on
# in logarithms: its Hessian was not that of the fold, or it had left the bounds.
UNFINISHED = 1e-3
# Posterior standard deviations from which on a fold is fitted from its initial values,
# too, and by how much (per point) another minimum has to be better.
INFLUENTIAL = 0.5
BETTER = 1e-6


@dataclass(frozen=True)
class FoldFit:
    """How the model of a fold (one per output) came to its hyper-parameters."""

    how: str
    """"refit", "warm", "predicted" or "fixed"."""

    influence: float
    """Length of its Newton step from the full fit, in posterior standard deviations;
    NaN if there was no full fit."""

    record: FitRecord
    """Its losses and costs; of "fixed" only the evaluation behind the influence."""

    cold_loss: float = math.nan
    """Of "warm": where a second fit, from the initial values, ended, per training
    point; NaN if there was none. The one with the lower loss counts."""


@dataclass(frozen=True)
class FullFit:
    """A model fitted to all rows, and the curvature of its loss there."""

    mll: MarginalLogLikelihood
    theta: Array  # m x p, m models: one, or one per output
    objective: Objective
    coordinates: LogCoordinates
    whitened: list[WhitenedCoordinates]  # m
    evaluations: int  # of fit and Hessian

    def fit(
        self,
        models: FoldModels,
        held_out: Tensor,
        refine: bool,
        progress: bool = False,
    ) -> tuple[list[FoldFit], dict[int, Exception]]:
        """Give the folds' models their predicted values, and refine them if wanted.

        Args:
            models: Of folds of one size.
            held_out: Their boolean mask, `f x n`.
            refine: Whether to go on with L-BFGS-B, in coordinates whitened by the
                Hessian, to the tolerance of a cold fit.
            progress: Whether to show a bar of the models that are done.

        Returns:
            The fits of all models, those of each fold in turn, and by number of a model
            that could not be fitted the error.
        """
        objective = _objective_of(models)
        at_full = self._at_full(objective, models, held_out)
        influences, theta = self._steps(objective, at_full[1])
        chosen = [i for i in range(objective.num_models) if np.isfinite(influences[i])]
        cold_losses: dict[int, float] = {}
        if refine:
            found = self._refine(objective, theta, chosen, progress)
            cold_losses = self._fit_cold(objective, influences, found)
        else:
            values = evaluate_each(objective, theta[chosen], chosen)
            stayed = self._records(objective, theta, chosen, *values, 2)
            found = {i: (stayed[i], theta[i]) for i in chosen}
        final, fits, errors = objective.start.copy(), {}, {}
        how = "warm" if refine else "predicted"
        for i, (record, values) in found.items():
            if record.status is not OptimizationStatus.FAILURE:
                final[i] = values
                cold = cold_losses.get(i, math.nan)
                fits[i] = FoldFit(how, float(influences[i]), record, cold)
        objective.write(final)
        m = len(self.theta)
        for j in sorted({i // m for i in range(len(final)) if i not in fits}):
            mll = models.ordinary(j)
            failed = fit_each([mll])  # cold, as if there were no full fit
            models.put(j, mll)
            for k, record in enumerate(mll.fit_records):
                i = j * m + k
                fits[i] = FoldFit("refit", float(influences[i]), record)
                if k in failed:
                    errors[i] = failed[k]
        return [fits[i] for i in range(len(final))], errors

    def influences(self, models: FoldModels, held_out: Tensor) -> list[FoldFit]:
        """Of every model of the folds, which stay as they are."""
        objective = _objective_of(models)
        everyone = list(range(objective.num_models))
        losses, gradients = self._at_full(objective, models, held_out)
        influences, _ = self._steps(objective, gradients)
        owners = np.array(everyone) % len(self.theta)
        records = self._records(
            objective, self.theta[owners], everyone, losses, gradients, 1
        )
        return [FoldFit("fixed", float(influences[i]), records[i]) for i in everyone]

    def _at_full(
        self,
        objective: Objective,
        models: FoldModels,
        held_out: Tensor,
    ) -> tuple[Array, Array]:
        """Losses and gradients of all models at the optimum of the full fit.

        Of folds that transform their data as the model of all rows does, they come from
        one factorization.
        """
        count, m = objective.num_models, len(self.theta)
        losses, gradients = np.empty(count), np.empty((count, self.theta.shape[1]))
        alike = [
            j
            for j, mll in enumerate(models.mlls)
            if models.witnesses is None  # a batch learns its transforms by fold
            and _is_part(mll, self.mll, ~held_out[j].to(self.objective.device))
        ]
        found = None
        if alike and isinstance(self.objective, Stacked):
            found = self.objective.without(self.theta, held_out[alike])
        if found is not None:
            own = (np.array(alike)[:, None] * m + np.arange(m)).reshape(-1)
            losses[own], gradients[own] = found
        rest = sorted(set(range(count)) - set(own.tolist() if found else ()))
        if rest:
            theta = self.theta[np.array(rest) % m]
            losses[rest], gradients[rest] = evaluate_each(objective, theta, rest)
        return losses, gradients

    def _steps(self, objective: Objective, gradients: Array) -> tuple[Array, Array]:
        """Influences of all models, and their parameters after one Newton step."""
        owners = np.arange(objective.num_models) % len(self.theta)
        theta = self.theta[owners]
        influences = np.full(len(owners), np.nan)
        for i, k in enumerate(owners):
            if not np.isfinite(gradients[i]).all():
                continue
            coordinates, bounds = self.whitened[k], objective.bounds[i]
            start = coordinates.from_raw(theta[i])
            slope = coordinates.at(start)[1](gradients[i] * objective.num_points)
            influences[i] = np.linalg.norm(slope[~coordinates.resting])
            limits = coordinates.bounds(bounds)
            z = start - np.clip(slope, -LONGEST, LONGEST)
            moved, _ = coordinates.at(np.clip(z, limits.lb, limits.ub))
            theta[i] = np.clip(moved, bounds.lb, bounds.ub)
        return influences, theta

    def _records(
        self,
        objective: Objective,
        theta: Array,
        models: list[int],
        losses: Array,
        gradients: Array,
        evaluations: int,
    ) -> dict[int, FitRecord]:
        """Of models that are not refined."""
        status = OptimizationStatus
        return {
            i: FitRecord(
                losses=(float(loss),),
                evaluations=evaluations,
                iterations=0,
                status=status.STOPPED if np.isfinite(loss) else status.FAILURE,
                message="not refined",
                seconds=0.0,
                attempts=1,
                gradient_norm=gradient_norm(
                    theta[i], gradient, objective.bounds[i], self.coordinates
                ),
                at_bounds=names_at_bounds(objective, theta[i], i),
                condition=self._condition(i),
            )
            for i, loss, gradient in zip(models, losses, gradients, strict=True)
        }

    def _condition(self, model: int) -> float:
        return self.whitened[model % len(self.theta)].condition

    def _refine(
        self,
        objective: Objective,
        theta: Array,
        models: list[int],
        progress: bool,
    ) -> dict[int, tuple[FitRecord, Array]]:
        bar = FitProgress(len(models), progress)
        try:
            searches = search_each(
                objective,
                theta[models],
                models,
                options={"maxcor": MEMORY},
                coordinates=[self.whitened[i % len(self.theta)] for i in models],
                on_end=bar.on_end(objective, self.coordinates),
            )
        finally:
            bar.close()
        records = {}
        for i, search in zip(models, searches, strict=True):
            record = record_of(
                search,
                objective,
                i,
                self.coordinates,
                search.evaluations + 1,  # the one at the full-data optimum
                search.seconds,
                1,
                self._condition(i),
            )
            records[i] = record, search.best_point
        again = [
            i
            for i, (record, _) in records.items()
            if np.isfinite(record.loss)
            and (
                record.status is OptimizationStatus.FAILURE
                or not record.gradient_norm <= UNFINISHED
            )
        ]
        if again:
            starts = np.stack([records[i][1] for i in again])
            searches = self._search(objective, starts, again)
            for i, search in zip(again, searches, strict=True):
                record = self._record_after(records[i][0], search, objective, i)
                records[i] = record, search.best_point
        return records

    def _fit_cold(
        self,
        objective: Objective,
        influences: Array,
        found: dict[int, tuple[FitRecord, Array]],
    ) -> dict[int, float]:
        """Fit folds of large influence from their initial values, too.

        The full fit may be in another basin than theirs. What was found is replaced
        where the other start leads to a lower loss.

        Returns:
            By number of a model where its fit from initial values ended, per point.
        """
        models = [i for i in found if influences[i] > INFLUENTIAL]
        searches = self._search(
            objective, objective.start[models], models, warm_up=WARM_UP
        )
        for i, search in zip(models, searches, strict=True):
            before, values = found[i]
            record = self._record_after(before, search, objective, i)
            ended = record.status is not OptimizationStatus.FAILURE
            if ended and not record.loss >= before.loss - BETTER:
                found[i] = record, search.best_point
            else:
                spent = {"evaluations": record.evaluations, "seconds": record.seconds}
                found[i] = replace(before, **spent), values
        return {i: s.best_loss for i, s in zip(models, searches, strict=True)}

    def _record_after(
        self, before: FitRecord, search: Search, objective: Objective, model: int
    ) -> FitRecord:
        """Of a further search of a model; its costs are those of both."""
        return record_of(
            search,
            objective,
            model,
            self.coordinates,
            before.evaluations + search.evaluations,
            before.seconds + search.seconds,
            1,
            self._condition(model),
        )

    def _search(
        self, objective: Objective, starts: Array, models: list[int], **arguments: Any
    ) -> list[Search]:
        """By logarithms, as a cold fit goes."""
        return search_each(
            objective,
            starts,
            models,
            options={"maxcor": MEMORY},
            coordinates=self.coordinates,
            **arguments,
        )


def fit_all_rows(mll: MarginalLogLikelihood, fit_kwargs: dict[str, Any]) -> FullFit:
    """Fit a model to all rows and take the Hessian of its loss.

    Args:
        mll: Of the model of all rows.
        fit_kwargs: Arguments of :func:`~botorch_xval.fitting.fit_each`.

    Returns:
        The fit.

    Raises:
        ModelFittingError: If the model cannot be fitted to all rows.
    """
    errors = fit_each([mll], **fit_kwargs)
    if errors:
        raise ModelFittingError(
            "the model could not be fitted to all rows, and so not start the folds: "
            + "; ".join(str(error) for error in errors.values())
        )
    objective = make_objective([mll.train()])
    theta = objective.start
    coordinates = LogCoordinates.of(
        objective.softplus, objective.untransformed, objective.bounds
    )
    hessians = _hessians(objective, coordinates)
    whitened = []
    for k, values in enumerate(theta):
        bounds = objective.bounds[k]
        near = 1e-6 * (1 + np.abs(values))
        resting = (values <= bounds.lb + near) | (values >= bounds.ub - near)
        whitened.append(
            WhitenedCoordinates.of(
                coordinates, coordinates.from_raw(values), hessians[k], resting
            )
        )
    fitted = sum(record.evaluations for record in mll.fit_records)
    spent = fitted + 2 * theta.size
    return FullFit(mll, theta, objective, coordinates, whitened, spent)


def _hessians(objective: Objective, coordinates: LogCoordinates) -> Array:
    """Of the summed losses by the coordinates, `m x p x p`, by central differences."""
    m, p = objective.start.shape
    u = coordinates.from_raw(objective.start)
    steps = STEP * np.concatenate([np.eye(p), -np.eye(p)])  # 2p x p
    points = (u[:, None] + steps).reshape(-1, p)
    theta, pull_back = coordinates.at(points)
    _, gradients = evaluate_each(objective, theta, list(np.repeat(np.arange(m), 2 * p)))
    slopes = pull_back(gradients).reshape(m, 2, p, p) * objective.num_points
    hessians = (slopes[:, 0] - slopes[:, 1]) / (2 * STEP)
    # A direction without a value, beyond where the covariance is positive definite.
    hessians = np.nan_to_num(hessians)
    return (hessians + hessians.transpose(0, 2, 1)) / 2


def _objective_of(models: FoldModels) -> Objective:
    mlls = [mll.train() for mll in models.mlls]
    return make_objective(mlls, witnesses=models.witnesses)


def _is_part(
    mll: MarginalLogLikelihood, full: MarginalLogLikelihood, rows: Tensor
) -> bool:
    """Whether a fold's model has data, transforms and priors of the model of all rows.

    By their tensors: what a model learns from its data and keeps elsewhere is not seen.
    """
    if not torch.equal(mll.model.train_targets, full.model.train_targets[..., rows]):
        return False
    if isinstance(mll.likelihood, FixedNoiseGaussianLikelihood):
        own, noise = mll.likelihood.noise, full.likelihood.noise
        if not torch.equal(own, noise[..., rows]):
            return False
    own, others = dict(mll.named_buffers()), dict(full.named_buffers())
    return own.keys() == others.keys() and all(
        torch.equal(buffer, others[name]) for name, buffer in own.items()
    )


@dataclass(frozen=True)
class ClosedForm:
    """The model of all rows at its values, ready to leave rows out.

    On the scale of the model's (transformed) outcomes, and with transforms that have
    seen all rows.
    """

    residuals: Tensor  # y - m, m x n
    inverse: Tensor  # Q, m x n x n
    noise: Tensor  # variances, m x n
    targets: Tensor  # m x n

    @classmethod
    def of(cls, mll: MarginalLogLikelihood) -> ClosedForm:
        """Of a fitted model.

        Raises:
            UnsupportedError: If its outputs are correlated.
        """
        model = mll.model
        mll.train()
        with torch.no_grad():
            prior = model(*model.train_inputs)
            if isinstance(prior, MultitaskMultivariateNormal):
                raise UnsupportedError(
                    "expected independent outputs, got a multi-task model"
                )
            noisy = mll.likelihood(prior, *model.train_inputs)
            factor = torch.linalg.cholesky(noisy.covariance_matrix)
            parts = (
                model.train_targets - noisy.mean,
                torch.cholesky_inverse(factor),
                noisy.variance - prior.variance,
                model.train_targets,
            )
        if parts[0].ndim == 1:
            parts = tuple(part[None] for part in parts)
        return cls(*parts)

    def leave_out(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means, variances with noise, and noise variances of rows, `k x m` each."""
        rows = rows.to(self.targets.device)
        weights = (self.inverse @ self.residuals[..., None])[:, rows]
        own = torch.linalg.inv(self.inverse[:, rows[:, None], rows])
        mean = self.targets[:, rows] - (own @ weights)[..., 0]
        variance = own.diagonal(dim1=-2, dim2=-1)
        return mean.mT, variance.mT, self.noise[:, rows].mT

    def residual_covariance(self, held_out: Tensor) -> Tensor:
        r"""Covariance of the errors of all held-out rows, `m x k x k`.

        .. math:: \mathrm{cov}(e_S, e_T) = Q_{SS}^{-1} Q_{ST} Q_{TT}^{-1}

        (Ginsbourger & Schaerer 2021, proposition 3), with `k` the rows that any fold
        holds out, in ascending order. Each must be held out once (not checked).
        """
        blocks = torch.zeros_like(self.inverse)
        for fold in held_out.to(self.targets.device):
            rows = fold.nonzero()[:, 0]
            own = torch.linalg.inv(self.inverse[:, rows[:, None], rows])
            blocks[:, rows[:, None], rows] = own
        rows = held_out.any(dim=0).nonzero()[:, 0].to(self.targets.device)
        # Rows that no fold holds out have zero blocks, and so no part in this.
        return (blocks @ self.inverse @ blocks)[:, rows[:, None], rows]
