r"""Folds with hyper-parameters integrated out.

With draws :math:`\theta_s` of the posterior distribution given all rows, the held-out
rows :math:`S` of a fold have the density

.. math::
    p(y_S \mid D_{-S}) = \sum_s w_s \, p(y_S \mid D_{-S}, \theta_s), \qquad
    w_s \propto \frac{p(\theta_s \mid D_{-S})}{p(\theta_s \mid D)}
    = \frac{1}{p(y_S \mid D_{-S}, \theta_s)},

where the last is for transforms that all folds share (Gelfand, Dey & Chang 1992;
Vehtari, Gelman & Gabry 2017, eq. 6). Here a fold has transforms of its own, and so the
ratio of the two posteriors is taken as it is, from the losses of the two models. The
weights are smoothed (:mod:`~botorch_xval.cross_validation.psis`); a fold whose weights
are not to be trusted, or that trains on fewer than four fifths of the rows, gets draws
of its own, to which those of all rows are carried over
(:mod:`~botorch_xval.cross_validation.tempering`).

To weigh all draws alike, as BoTorch's `ensemble_loo_cv` does, takes hyper-parameters
that have seen the held-out rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from botorch_xval.cross_validation.fold_models import FoldData, FoldModels
from botorch_xval.cross_validation.fold_records import FoldFit
from botorch_xval.cross_validation.folds import by_size
from botorch_xval.cross_validation.full_fit import FullFit
from botorch_xval.cross_validation.hyper_posterior import HyperPosterior, check_proper
from botorch_xval.cross_validation.integrated import Integrated, mix, record_of_draws
from botorch_xval.cross_validation.laplace import laplace
from botorch_xval.cross_validation.links import links_of
from botorch_xval.cross_validation.memory import blocks_of
from botorch_xval.cross_validation.predictions import predict_one
from botorch_xval.cross_validation.psis import (
    Smoothed,
    are_trusted,
    smooth_weights,
)
from botorch_xval.cross_validation.tempering import Tempered, temper
from botorch_xval.fitting.coordinates import Array
from botorch_xval.fitting.losses.objective import FoldsAt, Objective
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.threads import evaluate_each

__all__ = ["HyperDraws", "draw_all_rows", "integrate", "spent_on"]

MORE_STARTS = 4  # of a fold, the draws of all rows that it makes the most likelier
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class HyperDraws:
    """Draws of the hyper-parameters of one model, given all rows."""

    posterior: HyperPosterior
    """Their density."""

    points: Array
    """The draws in its coordinates, `S x p`."""

    losses: Array
    """Losses of the model at the draws, summed over its points, `S`."""

    @property
    def theta(self) -> Array:
        """The draws as parameters, `S x p`."""
        return self.posterior.coordinates.to_raw(self.points)[0]


def draw_all_rows(full: FullFit, count: int, seed: int) -> list[HyperDraws]:
    """Draws of the hyper-parameters of each model (of each output), given all rows.

    From a Laplace approximation at the optima of the fit, carried over to the
    posterior distribution itself.

    Args:
        full: The fit to all rows.
        count: How many draws.
        seed: Of the draws.

    Raises:
        UnsupportedError: If a hyper-parameter has no prior that makes its posterior
            distribution proper.
    """
    objective, found = full.fitted.objective, []
    check_proper(objective.table)
    for k, centers in enumerate(full.centers):
        posterior = HyperPosterior(objective, k)
        generator = np.random.default_rng([seed, 0, k])
        starts = [center.theta for center in centers]
        points = draw(posterior, starts, count, generator).draws
        found.append(HyperDraws(posterior, points, posterior.losses(points)))
    return found


def draw(
    posterior: HyperPosterior,
    starts: Sequence[Array],
    count: int,
    generator: np.random.Generator,
) -> Tempered:
    """Draws of the hyper-parameters of a model.

    Args:
        posterior: Their density.
        starts: Parameters from which its modes are searched, `p` each.
        count: How many draws.
        generator: Of random numbers.
    """
    proposal = laplace(posterior, starts)
    begin = proposal.draw(count, generator)
    return temper(begin, proposal, posterior, generator)


def spent_on(draws: Sequence[HyperDraws]) -> int:
    """Evaluations of losses of all rows that the draws have taken."""
    return sum(each.posterior.evaluations for each in draws)


def integrate(
    data: FoldData,
    full: FullFit,
    draws: Sequence[HyperDraws],
    options: FitOptions,
    seed: int,
) -> Iterator[Integrated]:
    """Predict the held-out rows of all folds by the draws, or by draws of their own.

    Args:
        data: The data and folds.
        full: The fit to all rows.
        draws: For each of its models.
        options: Of the models' parameters and bounds.
        seed: Of the draws of folds.
    """
    with tqdm(total=len(data.folds.names), disable=not options.progress) as bar:
        for numbers in by_size(data.folds.training):
            for block in blocks_of(numbers, data, options.max_memory):
                models = data.models_of(block, as_batch=False)
                objective = models.objective(options)
                full.check_parameters(objective, models.folds.names[0])
                work = _Folds(data, models, objective, draws, full, seed)
                for j in range(len(block)):
                    yield work.fold(j)
                    bar.update()


class _Folds:
    """Folds of one size, at the draws of all rows."""

    def __init__(
        self,
        data: FoldData,
        models: FoldModels,
        objective: Objective,
        draws: Sequence[HyperDraws],
        full: FullFit,
        seed: int,
    ) -> None:
        self.optima = [[c.theta for c in centers] for centers in full.centers]
        self.data, self.models, self.objective = data, models, objective
        self.draws, self.seed = draws, seed
        self.numbers = models.models(objective)  # f x models of a fold
        self.links, _ = links_of(models.mlls[0].model, data.train_Y.shape[-1])
        everything = draws[0].posterior.objective
        self.at: list[FoldsAt | None] = [
            everything.hold_out(each.theta, k, ~models.folds.training, objective)
            for k, each in enumerate(draws)
        ]

    def fold(self, j: int) -> Integrated:
        """A fold, by its position."""
        i, fits = self.models.numbers[j], list[FoldFit]()
        weights, thetas, is_new = [], [], False
        for k, each in enumerate(self.draws):
            ratios = each.losses - self._losses(j, k)
            try:
                smoothed = smooth_weights(ratios)
                points, own, fit = self._choose(j, k, ratios, smoothed)
            except ValueError as error:
                return Integrated(i, None, None, fits, self.links, str(error))
            fits.append(fit)
            is_new = is_new or points is not each.points
            thetas.append(each.posterior.coordinates.to_raw(points)[0])
            weights.append(torch.as_tensor(own))
        known = None if is_new else self._in_closed_form(j)
        found = known or self._predict(j, np.stack(thetas))
        if isinstance(found, Exception):
            message = f"no prediction, {type(found).__name__}: {found}"
            return Integrated(i, None, None, fits, self.links, message)
        mean, variance, noise = found
        location, scale = (part[0] for part in self._affine(j))
        mixture, prediction = mix(
            torch.stack(weights, dim=-1).to(mean),
            mean,
            variance,
            noise,
            location,
            scale,
        )
        return Integrated(i, mixture, prediction, fits, self.links)

    def _losses(self, j: int, k: int) -> Array:
        """Summed losses of a model of a fold at the draws, `S`."""
        n, at = self.objective.num_points, self.at[k]
        if at is not None and at.alike[j]:
            return n * at.losses[:, at.alike[:j].sum()].cpu().numpy()
        theta = self.draws[k].theta
        model = int(self.numbers[j, k])
        losses, _ = evaluate_each(self.objective, theta, [model] * len(theta))
        return n * losses

    def _choose(
        self, j: int, k: int, ratios: Array, smoothed: Smoothed
    ) -> tuple[Array, Array, FoldFit]:
        """Draws of a model of a fold, `S x p`, their weights, `S`, and the record."""
        drawn, fold = self.draws[k], self.models.numbers[j]
        count, shape = len(drawn.points), float(smoothed.shapes[0])
        n = self.objective.num_points
        share = n / drawn.posterior.objective.num_points
        effective = float(smoothed.effective_draws[0])
        if are_trusted(shape, count, effective, share):
            record = record_of_draws(f"{count} draws of all rows, reweighted", n)
            fit = FoldFit(
                fold,
                k,
                "reweighted",
                np.nan,
                record,
                pareto_k=shape,
                effective_draws=effective,
            )
            return drawn.points, np.exp(smoothed.log_weights[0]), fit
        target = HyperPosterior(self.objective, int(self.numbers[j, k]))
        likely = np.argsort(-np.nan_to_num(ratios, nan=-np.inf))[:MORE_STARTS]
        starts = [*self.optima[k], *drawn.theta[likely]]
        generator = np.random.default_rng([self.seed, 1 + fold, k])
        found = draw(target, starts, count, generator)
        message = (
            f"{count} draws of its own in {found.stages} stages, "
            f"{found.accepted:.0%} of the moves accepted"
        )
        record = record_of_draws(message, n, evaluations=target.evaluations)
        fit = FoldFit(
            fold,
            k,
            "redrawn",
            np.nan,
            record,
            pareto_k=shape,
            effective_draws=float(count),
        )
        return found.draws, np.full(count, 1 / count), fit

    def _in_closed_form(self, j: int) -> tuple[Tensor, Tensor, Tensor] | None:
        """Predictions by the draws of all rows, see :meth:`_predict`."""
        found = []
        for at in self.at:
            if at is None or not at.alike[j]:
                return None
            place = at.alike[:j].sum()
            parts = (at.means, at.variances, at.noise)
            found.append([part[:, place] for part in parts])
        mean, variance, noise = (
            torch.stack(parts, dim=-1) for parts in zip(*found, strict=True)
        )
        predicted = self.models.folds.held_out[j][~self.models.folds.training[j]]
        mean, variance, noise = (
            part[:, predicted.to(part.device)] for part in (mean, variance, noise)
        )
        location, scale = self._affine(j)
        return location + scale * mean, scale**2 * variance, scale**2 * noise

    def _affine(self, j: int) -> tuple[Tensor, Tensor]:
        """Locations and scales of the outcomes in the held-out rows, `1 x k x m`."""
        X = self.data.train_X
        rows = self.models.folds.held_out[j].to(X.device)
        return self.models.affine([j], [X[rows]], len(self.draws))

    def _predict(
        self, j: int, thetas: Array
    ) -> tuple[Tensor, Tensor, Tensor] | Exception:
        """Means, variances with noise and noise variances, `S x k x m`.

        Args:
            j: Position of the fold.
            thetas: Draws of each of its models, `models x S x p`.
        """
        data = self.data
        rows = self.models.folds.held_out[j].to(data.train_X.device)
        X = data.train_X[rows]
        known = None if data.train_Yvar is None else data.train_Yvar[rows]
        mll, found = self.models.ordinary(j).eval(), []
        try:
            return self._by_objective(j, thetas, X, known)
        except Exception as reason:  # or the model itself will say it
            logger.debug("draws are asked one after the other: %s", reason)
        finally:
            mll.train()
        for values in torch.as_tensor(thetas).to(X).unbind(dim=1):
            self.objective.table.write(mll, values)
            one = predict_one(mll.eval().model, X, known)
            mll.train()  # forget what is kept of these values
            if isinstance(one, Exception):
                return one
            found.append(one)
        mean, variance, noise = (
            torch.stack([one[name] for one in found])
            for name in ("mean", "variance", "noise_variance")
        )
        return mean, variance, noise

    def _by_objective(
        self, j: int, thetas: Array, X: Tensor, known: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        inputs = self.models.transform_inputs([j], [X])
        found = []
        for k, theta in enumerate(thetas):
            models = [int(self.numbers[j, k])] * len(theta)
            X_of = inputs.expand(len(theta), *inputs.shape[-2:])
            mean, variance, noise = self.objective.predict(theta, models, X_of)
            found.append((mean, variance, noise.expand_as(mean)))
        mean, variance, noise = (
            torch.stack(parts, dim=-1) for parts in zip(*found, strict=True)
        )
        location, scale = self._affine(j)
        noise = scale**2 * noise if known is None else known.expand_as(mean)
        return location + scale * mean, scale**2 * variance + noise, noise
