"""What a cross-validation has found so far, and the result that is made of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models.model import Model
from botorch.optim.core import OptimizationStatus
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from botorch_xval.cross_validation.centers import Center
from botorch_xval.cross_validation.fold_fits import FoldFits
from botorch_xval.cross_validation.fold_models import FoldData, FoldModels
from botorch_xval.cross_validation.fold_records import FoldFit
from botorch_xval.cross_validation.full_fit import FullFit
from botorch_xval.cross_validation.integrated import Integrated, mix_members
from botorch_xval.cross_validation.leave_out import LeaveOut
from botorch_xval.cross_validation.linked import POINTS, Linked
from botorch_xval.cross_validation.links import (
    IDENTITY,
    Link,
    Prediction,
    affine,
    is_ensemble,
    link_score,
    links_of,
)
from botorch_xval.cross_validation.memory import blocks_of
from botorch_xval.cross_validation.mixtures import Mixture, assemble
from botorch_xval.cross_validation.own_fits import fit_by_itself, has_own_fit
from botorch_xval.cross_validation.predictions import predict_each, predict_one
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.cross_validation.sampling import Estimate, estimate_sum
from botorch_xval.cross_validation.warm import INFLUENTIAL, fit_folds
from botorch_xval.fitting.losses.together import DifferentModels
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.records import FitRecord

__all__ = ["Work"]

logger = logging.getLogger(__name__)


@dataclass
class Work:
    """What a cross-validation has found so far, by number of the fold."""

    data: FoldData
    options: FitOptions
    keep_models: bool
    predictions: dict[int, Prediction] = field(default_factory=dict)
    fits: dict[int, list[FoldFit]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    models: dict[int, Model] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    mixtures: dict[int, Mixture] = field(default_factory=dict)
    known: dict[int, list[Center]] = field(default_factory=dict)  # optima by output
    lost: set[int] = field(default_factory=set)  # folds without a model

    def take(self, found: Iterable[Integrated]) -> None:
        """Take folds whose predictions are mixed already."""
        for each in found:
            self.fits[each.fold], self.links = each.fits, each.links
            if each.mixture is None or each.prediction is None:
                self.failed[self.data.folds.names[each.fold]] = each.error
                continue
            self.predictions[each.fold] = each.prediction
            self.mixtures[each.fold] = each.mixture

    def predict(self, i: int, model: Model, found: Prediction) -> None:
        """Keep the prediction of a fold; of an ensemble that of its members."""
        if is_ensemble(model):
            self.mixtures[i], found = mix_members(found)
        self.predictions[i] = found

    def leave_out(self, full: FullFit, closed: LeaveOut) -> None:
        """Predict all folds at the hyper-parameters of the fit to all rows."""
        m = self.data.train_Y.shape[-1]
        self.links, _ = links_of(full.mll.model, m)
        records = [replace(r, evaluations=0) for r in full.fitted.records]
        for i, (mean, variance, noise) in enumerate(closed.predict(self.data.folds)):
            rows = self.data.folds.held_out[i].to(self.data.train_X.device)
            location, scale = affine(full.mll.model, m, self.data.train_X[rows])
            found = {
                "mean": location + scale * mean,
                "variance": scale**2 * variance,
                "noise_variance": scale**2 * noise,
                "location": location,
                "scale": scale,
            }
            self.predict(i, full.mll.model, found)
            self.fits[i] = [
                FoldFit(i, k, "fixed", math.nan, record)
                for k, record in enumerate(records)
            ]

    def fit(
        self, numbers: Sequence[int], full: FullFit | None, how: str, threshold: float
    ) -> None:
        """Fit folds, and predict their held-out rows."""
        for block in blocks_of(numbers, self.data, self.options.max_memory):
            if self.options.progress and len(block) < len(numbers):
                begin = list(numbers).index(block[0])
                tqdm.write(
                    f"folds {begin + 1} to {begin + len(block)} of {len(numbers)}"
                )
            self._fit_block(block, full, how, threshold)

    def _fit_block(
        self,
        numbers: Sequence[int],
        full: FullFit | None,
        how: str,
        threshold: float,
    ) -> None:
        given = full, how, threshold, self.options, self.known
        models = self._models_of(numbers)
        if models is None:
            return
        try:
            if has_own_fit(models.mlls[0].model):
                self._fit_by_themselves(models)
                return
            found = fit_folds(models, *given)
        except DifferentModels as reason:
            logger.debug("folds are built one by one: %s", reason)
            models = self._models_of(numbers, as_batch=False)
            if models is None:
                return
            found = fit_folds(models, *given)
        self.add(models, found)

    def _models_of(
        self, numbers: Sequence[int], as_batch: bool = True
    ) -> FoldModels | None:
        """The models of folds that have one; None if none has. Others have failed."""
        try:
            return self.data.models_of(numbers, as_batch)
        except Exception as error:  # of the function that builds them
            logger.debug("a model cannot be built: %s", error)
        lost = self.data.unbuilt(numbers)
        for i, why in lost.items():
            self._lose(i, f"no model, {type(why).__name__}: {why}")
        rest = [i for i in numbers if i not in lost]
        return self.data.models_of(rest, as_batch) if rest else None

    def _lose(self, fold: int, reason: str) -> None:
        """A fold that has no model."""
        self.lost.add(fold)
        self.failed[self.data.folds.names[fold]] = reason
        record = FitRecord(
            losses=(),
            evaluations=0,
            iterations=0,
            status=OptimizationStatus.FAILURE,
            message=reason,
            seconds=0.0,
            attempts=0,
            num_points=int(self.data.folds.training[fold].sum()),
        )
        outputs = range(self.data.train_Y.shape[-1])
        self.fits[fold] = [FoldFit(fold, k, "refit", math.nan, record) for k in outputs]

    def _fit_by_themselves(self, models: FoldModels) -> None:
        """Fit folds of models that have a fit of their own, one after the other."""
        data, model = self.data, models.mlls[0].model
        if (m := data.train_Y.shape[-1]) > 1:
            raise UnsupportedError(
                f"train_Y: expected one outcome for a {type(model).__name__}, which "
                f"has a fit of its own (custom_fit), got {m}; cross-validate them one "
                "by one"
            )
        self.links, _ = links_of(model, m)
        for j, i in enumerate(tqdm(models.numbers, disable=not self.options.progress)):
            mll, name = models.ordinary(j), data.folds.names[i]
            test = data.folds.held_out[i].to(data.train_X.device)
            record = fit_by_itself(mll, self.options)
            self.fits[i] = [FoldFit(i, 0, "custom", math.nan, record)]
            if record.status is OptimizationStatus.FAILURE:
                self.failed[name] = record.message
                continue
            noise = None if data.train_Yvar is None else data.train_Yvar[test]
            found = predict_one(mll.model, data.train_X[test], noise)
            if isinstance(found, Exception):
                message = f"{type(found).__name__}: {found}"
                self.failed[name] = f"no prediction, {message}"
                continue
            self.predictions[i] = found
            if self.keep_models:
                self.models[i] = mll.model

    def sample(self, full: FullFit, max_error: float, seed: int) -> Estimate:
        """Refit predicted folds until the sum of scores is known well enough."""
        count = len(self.data.folds.names)
        influences = np.array(
            [max(fit.influence for fit in self.fits[i]) for i in range(count)]
        )
        approximate = np.array([self._score(i) for i in range(count)])
        is_certain = ~(influences <= INFLUENTIAL) | np.isnan(approximate)

        def refit(chosen: Sequence[int]) -> NDArray[np.float64]:
            self.fit(chosen, full, "sampled", 0.0)
            return np.array([self._score(i) for i in chosen])

        found = estimate_sum(
            approximate,
            np.nan_to_num(influences),
            is_certain.nonzero()[0].tolist(),
            refit,
            max_error,
            seed,
        )
        if found.refitted < count:
            return found
        # All together, so that each is offered what any other has found.
        return replace(found, elpd=float(np.nansum(refit(range(count)))))

    def _score(self, fold: int) -> float:
        """Summed log density of the held-out rows of a fold; NaN if it has failed."""
        found, held_out = self.predictions.get(fold), self.data.folds.held_out
        if found is None:
            return math.nan
        rows = held_out[fold].to(self.data.train_Y.device)
        observed = self.data.train_Y[rows]
        own = link_score(self.links, found["mean"], found["variance"], observed)
        times = held_out.sum(dim=0)[held_out[fold]].to(own)
        return float((own.sum(dim=-1) / times).sum())

    def add(self, models: FoldModels, found: FoldFits) -> None:
        """Take the fits of folds, and predict their held-out rows."""
        fitted, fits, first_order = found
        self.links, _ = links_of(models.mlls[0].model, self.data.train_Y.shape[-1])
        held_out, names = self.data.folds.held_out, self.data.folds.names
        for i in models.numbers:
            self.fits[i] = [fit for fit in fits if fit.fold == i]
            self.failed.pop(names[i], None)  # of an earlier fit
        numbers = models.models(fitted.objective)
        chosen = []  # positions of the folds that predict
        for j, i in enumerate(models.numbers):
            bad = [k for k, model in enumerate(numbers[j]) if model in fitted.errors]
            if bad:
                messages = [self.fits[i][k].record.message for k in bad]
                self.failed[names[i]] = "; ".join(messages)
                self.predictions.pop(i, None)
            elif j not in first_order:
                chosen.append(j)
        data, device = self.data, self.data.train_X.device
        tests = [held_out[models.numbers[j]].to(device) for j in chosen]
        noise = None
        if data.train_Yvar is not None:
            noise = [data.train_Yvar[test] for test in tests]
        X = [data.train_X[test] for test in tests]
        predictions = predict_each(models, fitted, chosen, X, noise)
        for j, prediction in zip(chosen, predictions, strict=True):
            i = models.numbers[j]
            if isinstance(prediction, Exception):
                message = f"{type(prediction).__name__}: {prediction}"
                self.failed[names[i]] = f"no prediction, {message}"
                self.predictions.pop(i, None)
            else:
                self.predict(i, models.mlls[0].model, prediction)
        self.predictions |= {models.numbers[j]: p for j, p in first_order.items()}
        for j, i in enumerate(models.numbers if self.keep_models else []):
            try:
                self.models[i] = models.ordinary(j).model
            except Exception as error:  # one of a batch, that is built now
                logger.debug("the model of a fold cannot be built: %s", error)
                self.lost.add(i)

    def result(self, full: FullFit | None, closed: LeaveOut | None) -> CrossValidation:
        """The result of all folds."""
        result = self._assemble(0 if full is None else full.evaluations)
        once = bool((self.data.folds.held_out.sum(dim=0) <= 1).all())
        once &= not (self.data.folds.omits_rows or self.mixtures)
        if closed is not None and not self.failed and once:
            result = replace(result, whitened=_whitened(result, closed))
        if not self.keep_models:
            return result
        models = [self.models[i] for i in sorted(self.models)]
        is_complete = bool(models) and (
            len(models) + len(self.lost - set(self.models))
            == len(self.data.folds.names)
        )
        return replace(
            result,
            models=models if is_complete else None,
            full_model=None if full is None else full.mll.eval().model,
        )

    def _assemble(self, full_evaluations: int) -> CrossValidation:
        folds, train_Y = self.data.folds, self.data.train_Y
        fold_of, rows = folds.held_out.nonzero(as_tuple=True)
        blank = torch.full((len(rows), train_Y.shape[-1]), torch.nan).to(train_Y)
        values: dict[str, Any] = {name: blank.clone() for name in POINTS}
        links = self.links or (IDENTITY,) * train_Y.shape[-1]
        parts = zip(links, train_Y.unbind(dim=-1), strict=True)
        linked_Y = torch.stack([link.forward(y) for link, y in parts], dim=-1)
        baseline = blank.clone()  # of the links
        for i in range(len(folds.names)):
            mine = (fold_of == i).nonzero()[:, 0].to(train_Y.device)
            for name, part in self.predictions.get(i, {}).items():
                values[name][mine] = part
            train = folds.training[i].to(train_Y.device)
            values["baseline"][mine] = train_Y[train].mean(dim=0)
            baseline[mine] = linked_Y[train].mean(dim=0)
        values["observed"] = train_Y[rows.to(train_Y.device)]
        # The first predictions of all rows come before all second ones.
        earlier = (folds.held_out.cumsum(dim=0) - 1)[fold_of, rows]
        order = torch.argsort(earlier * len(train_Y) + rows, stable=True)
        own = order.to(train_Y.device)
        values = {name: value[own] for name, value in values.items()}
        linked = mixture = None
        if self.mixtures:
            mixture = assemble(
                self.mixtures, fold_of.to(train_Y.device), values["mean"]
            ).rows(own)
        if any(link != IDENTITY for link in links):
            linked = Linked(
                links,
                values["mean"],
                values["variance"],
                values["noise_variance"],
                baseline[own],
            )
            values |= _of_outcomes(linked, mixture)
        return CrossValidation(
            rows=rows[order],
            fold_of=fold_of[order],
            **values,
            linked=linked,
            mixture=mixture,
            folds=folds,
            fits=[fit for i in sorted(self.fits) for fit in self.fits[i]],
            failed=self.failed,
            full_evaluations=full_evaluations,
        )


def _of_outcomes(linked: Linked, mixture: Mixture | None) -> dict[str, Tensor]:
    """Moments of outcomes, from those of their links."""
    if mixture is None:
        return linked.moments()
    names = ("mean", "variance", "noise_variance")
    return dict(zip(names, mixture.outcome_moments(linked.links), strict=True))


def _whitened(result: CrossValidation, closed: LeaveOut) -> Tensor:
    """Errors in predicted standard deviations, decorrelated, `k x m`."""
    z = result.z_scores
    covariance = closed.residual_covariance(result.folds.held_out)
    deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    correlation = covariance / (deviation[..., :, None] * deviation[..., None, :])
    factor = torch.linalg.cholesky(correlation)
    solved = torch.linalg.solve_triangular(factor, z.mT[..., None], upper=False)
    return solved[..., 0].mT
