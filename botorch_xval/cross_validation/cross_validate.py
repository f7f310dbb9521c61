"""Cross-validation: every fold has a model, transforms and a fit of its own."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any
from warnings import warn

import numpy as np
import pandas as pd
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.exceptions.warnings import BotorchWarning
from botorch.models.model import Model
from botorch.optim.core import OptimizationStatus
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from numpy.typing import NDArray
from torch import Tensor
from torch.linalg import LinAlgError
from tqdm import tqdm

from botorch_xval.cross_validation.fold_fits import FoldFits
from botorch_xval.cross_validation.fold_models import FoldBatch, FoldData, FoldModels
from botorch_xval.cross_validation.folds import (
    FoldsLike,
    Groups,
    by_size,
    leave_one_out,
    make_folds,
)
from botorch_xval.cross_validation.full_fit import Center, FullFit, fit_all_rows
from botorch_xval.cross_validation.leave_out import LeaveOut
from botorch_xval.cross_validation.links import IDENTITY, Link, link_score, links_of
from botorch_xval.cross_validation.memory import blocks_of
from botorch_xval.cross_validation.own_fits import fit_by_itself, has_own_fit
from botorch_xval.cross_validation.predictions import (
    Prediction,
    affine,
    predict_each,
    predict_one,
)
from botorch_xval.cross_validation.result import (
    POINTS,
    CrossValidation,
    FoldFit,
    Linked,
    difference,
)
from botorch_xval.cross_validation.sampling import Estimate, estimate_sum
from botorch_xval.cross_validation.warm import (
    INFLUENTIAL,
    fit_folds,
    squared_influences,
)
from botorch_xval.fitting.losses.together import DifferentModels
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.threads import LARGE_MODEL, single_threaded_torch

__all__ = ["FITS", "cross_validate", "optimism"]

logger = logging.getLogger(__name__)
FITS = ("refit", "warm", "fixed", "adaptive", "sampled")


def cross_validate(
    model: Callable[..., Model],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None = None,
    *,
    folds: FoldsLike = leave_one_out,
    groups: Groups | None = None,
    fit: str = "refit",
    fit_options: FitOptions | None = None,
    threshold: float = 0.25,
    max_error: float = 1.0,
    seed: int = 0,
    mll: type[MarginalLogLikelihood] = ExactMarginalLogLikelihood,
    keep_models: bool = False,
    progress: bool = False,
) -> CrossValidation:
    r"""Fit a model to the training rows of every fold and predict its held-out rows.

    Every fold's model is built from its own training rows only, so whatever it learns
    from data (ranges, standardization) cannot see a held-out value. Folds of equal
    size are fitted together (:func:`~botorch_xval.fit_each`); each has its own
    optimizer and ends where it would end alone. The score of a point is its log
    predictive density

    .. math:: \log p(y_i \mid x_i, D_{-S}, \hat\theta_{-S}),

    with :math:`S` the fold that holds it out.

    How folds are fitted, with `f` folds of `n` rows and `p` hyper-parameters:

    * "refit": from starts of its own (:class:`~botorch_xval.FitOptions`), and from the
      optima that other folds have found. Some fits per fold.
    * "warm": from the fit to all rows and one Newton step, to the same tolerance. One
      fit, `2 p` evaluations for a Hessian, then about five evaluations per fold. Folds
      of an influence above 0.5, and all where the fit to all rows has several optima,
      are fitted as by "refit", too.

    Both end in the lowest optimum that is known for the fold's own loss, which never
    knows a held-out value. With `starts="own"` folds have their initial values only
    ("warm": and the fit to all rows), as BoTorch does it, and nothing of a held-out
    value can reach its own fold in any way.

    * "adaptive": that Newton step alone, and predictions to first order in it, for
      folds of little influence; those above `threshold`, and those to which another
      fold's optimum promises a lower loss, are fitted as by "warm" (in the manner of
      "reloo" for importance sampling). See `influence` in
      :meth:`CrossValidation.fit_table`. All folds of leave-one-out together take
      `O(p n^3)`, and the refits. With `threshold=math.inf` none is refitted.
    * "fixed": all folds with the values and the transforms of the fit to all rows, in
      closed form, `O(n^3)`. The sum of log densities is too good, by what
      :func:`optimism` says; to first order `result.corrected` is not.
    * "sampled": steps alone as "adaptive", and a random sample of folds, and all of
      influence above 0.5, refitted as by "warm", until the standard error of the
      estimated sum of log densities (`result.estimate`, `result.elpd`) is at most
      `max_error`. For a thousand rows.

    Args:
        model: A class or function that builds an ordinary (unbatched) model from one
            fold's `train_X` and `train_Y`, called as `model(train_X, train_Y)` and with
            the keyword `train_Yvar` if that is given. A class with a classmethod
            `builds_independent_batches`, as `ScalarChoiceGP` has it, or a `partial` of
            one, builds the models of all folds as one batch, which takes less time.
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`.
        train_Yvar: Known variances of the observation noise, `n x m`.
        folds: A function of the number of rows such as :func:`leave_one_out`, finished
            folds, a boolean mask `folds x n` of the held-out rows, or an iterable of
            `(train, test)` row numbers, as scikit-learn has them.
        groups: `n` labels; rows of one label are held out together. A function `folds`
            then makes folds of labels.
        fit: "refit", "warm", "adaptive", "fixed" or "sampled", see above.
        fit_options: Options of all fits: to all rows, of the folds, and those of folds
            that are fitted again.
        threshold: For "adaptive": posterior standard deviations.
        max_error: For "sampled": nats.
        seed: For "sampled": of the draws.
        mll: The marginal log likelihood of a model.
        keep_models: Whether the result is to have the fitted models, for `describe` and
            `hyperparameters`; with "fixed" there is only that of all rows, with "refit"
            there is none of all rows.
        progress: Whether to show a bar of the folds that are done.

    Returns:
        Predictions, scores and fit records. Failed folds are listed in `failed` and
        named in one warning.

    Raises:
        ValueError: If shapes, folds or `fit` are not as described, or if the models of
            folds differ in their hyper-parameters.
        UnsupportedError: If the model's posterior on the outcome's scale is not
            Gaussian.
        ModelFittingError: If there is to be a fit to all rows, and it fails.
    """
    _check(train_X, train_Y, train_Yvar, fit, threshold, max_error, fit_options)
    options = fit_options or FitOptions()
    if progress:
        options = replace(options, progress=True)
    data = FoldData(
        model,
        mll,
        train_X,
        train_Y,
        train_Yvar,
        make_folds(folds, len(train_X), groups),
    )
    is_small = train_X.device.type == "cpu" and len(train_X) < LARGE_MODEL
    with single_threaded_torch() if is_small else nullcontext():
        work = _Work(data, options, keep_models)
        full = closed = None
        if fit != "refit":
            everything = deepcopy(data.build(slice(None), "all rows"))
            if has_own_fit(everything.model):
                raise UnsupportedError(
                    f"fit: expected 'refit' for a {type(everything.model).__name__}, "
                    f"which has a fit of its own (custom_fit), got {fit!r}"
                )
            full = fit_all_rows(everything, options)
            closed = _leave_out(full, is_needed=fit == "fixed")
            if closed is not None and fit == "fixed":
                work.leave_out(full, closed)
        how = "adaptive" if fit == "sampled" else fit
        own = math.inf if fit == "sampled" else threshold
        for numbers in by_size(data.folds) if fit != "fixed" else []:
            work.fit(numbers, full, how, own)
        estimate = None
        if fit == "sampled" and full is not None:
            estimate = work.sample(full, max_error, seed)
        corrected = None
        if fit == "fixed" and full is not None:
            corrected = squared_influences(full, data.folds)
        found = work.result(full, closed)
        if corrected is not None:
            found = replace(found, corrected=found.elpd - corrected)
        return _warn(replace(found, estimate=estimate))


def _warn(result: CrossValidation) -> CrossValidation:
    """Name the folds that have failed."""
    if failed := result.failed:
        warn(
            f"{len(failed)} of {len(result.folds.names)} folds could not be fitted and "
            "have no score: "
            + ", ".join(f"{name} ({why})" for name, why in list(failed.items())[:5]),
            BotorchWarning,
            stacklevel=3,
        )
    return result


@dataclass
class _Work:
    """What a cross-validation has found so far, by number of the fold."""

    data: FoldData
    options: FitOptions
    keep_models: bool
    predictions: dict[int, Prediction] = field(default_factory=dict)
    fits: dict[int, list[FoldFit]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    models: dict[int, Model] = field(default_factory=dict)
    links: tuple[Link, ...] = ()

    def leave_out(self, full: FullFit, closed: LeaveOut) -> None:
        """Predict all folds at the hyper-parameters of the fit to all rows."""
        m = self.data.train_Y.shape[-1]
        self.links, _ = links_of(full.mll.model, m)
        location, scale = affine(full.mll.model, m)
        records = [replace(r, evaluations=0) for r in full.fitted.records]
        for i, fold in enumerate(self.data.folds.held_out):
            mean, variance, noise = closed.leave_out(fold.nonzero()[:, 0])
            self.predictions[i] = {
                "mean": location + scale * mean,
                "variance": scale**2 * variance,
                "noise_variance": scale**2 * noise,
                "location": location.expand_as(mean),
                "scale": scale.expand_as(mean),
            }
            self.fits[i] = [
                FoldFit(i, k, "fixed", math.nan, record)
                for k, record in enumerate(records)
            ]

    def fit(
        self, numbers: Sequence[int], full: FullFit | None, how: str, threshold: float
    ) -> None:
        """Fit folds of one size, and predict their held-out rows."""
        known: dict[int, list[Center]] = {}
        for block in blocks_of(numbers, self.data, self.options.max_memory):
            if self.options.progress and len(block) < len(numbers):
                begin = list(numbers).index(block[0])
                tqdm.write(
                    f"folds {begin + 1} to {begin + len(block)} of {len(numbers)}"
                )
            self._fit_block(block, full, how, threshold, known)

    def _fit_block(
        self,
        numbers: Sequence[int],
        full: FullFit | None,
        how: str,
        threshold: float,
        known: dict[int, list[Center]],
    ) -> None:
        given = full, how, threshold, self.options, known
        try:
            models = self.data.models_of(numbers)
            if has_own_fit(models.mlls[0].model):
                if isinstance(models, FoldBatch):
                    models = self.data.models_of(numbers, as_batch=False)
                self._fit_by_themselves(models)
                return
            found = fit_folds(models, *given)
        except DifferentModels as reason:
            logger.debug("folds are built one by one: %s", reason)
            models = self.data.models_of(numbers, as_batch=False)
            found = fit_folds(models, *given)
        self.add(models, found)

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
        pairs = list(zip(models.numbers, models.names, models.mlls, strict=True))
        for i, name, mll in tqdm(pairs, disable=not self.options.progress):
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
            for numbers in by_size(self.data.folds):
                if own := [i for i in numbers if i in chosen]:
                    self.fit(own, full, "sampled", 0.0)
            return np.array([self._score(i) for i in chosen])

        return estimate_sum(
            approximate,
            np.nan_to_num(influences),
            is_certain.nonzero()[0].tolist(),
            refit,
            max_error,
            seed,
        )

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
        """Take the fits of folds of one size, and predict their held-out rows."""
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
                self.predictions[i] = prediction
        self.predictions |= {models.numbers[j]: p for j, p in first_order.items()}
        if self.keep_models:
            for j, i in enumerate(models.numbers):
                self.models[i] = models.ordinary(j).model

    def result(self, full: FullFit | None, closed: LeaveOut | None) -> CrossValidation:
        """The result of all folds."""
        result = self._assemble(0 if full is None else full.evaluations)
        once = bool((self.data.folds.held_out.sum(dim=0) <= 1).all())
        if closed is not None and not self.failed and once:
            result = replace(result, whitened=_whitened(result, closed))
        if not self.keep_models:
            return result
        models = [self.models[i] for i in sorted(self.models)]
        return replace(
            result,
            models=models if len(models) == len(self.data.folds.names) else None,
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
            train = ~folds.held_out[i].to(train_Y.device)
            values["baseline"][mine] = train_Y[train].mean(dim=0)
            baseline[mine] = linked_Y[train].mean(dim=0)
        values["observed"] = train_Y[rows.to(train_Y.device)]
        # The first predictions of all rows come before all second ones.
        earlier = (folds.held_out.cumsum(dim=0) - 1)[fold_of, rows]
        order = torch.argsort(earlier * len(train_Y) + rows, stable=True)
        own = order.to(train_Y.device)
        values = {name: value[own] for name, value in values.items()}
        linked = None
        if any(link != IDENTITY for link in links):
            linked = Linked(
                links,
                values["mean"],
                values["variance"],
                values["noise_variance"],
                baseline[own],
            )
            values |= linked.moments()
        return CrossValidation(
            rows=rows[order],
            fold_of=fold_of[order],
            **values,
            linked=linked,
            folds=folds,
            fits=[fit for i in sorted(self.fits) for fit in self.fits[i]],
            failed=self.failed,
            full_evaluations=full_evaluations,
        )


def _leave_out(full: FullFit, is_needed: bool) -> LeaveOut | None:
    try:
        return LeaveOut.of(full.mll)
    except (UnsupportedError, LinAlgError):
        if is_needed:
            raise
        return None


def _whitened(result: CrossValidation, closed: LeaveOut) -> Tensor:
    """Errors in predicted standard deviations, decorrelated, `k x m`."""
    z = result.z_scores
    covariance = closed.residual_covariance(result.folds.held_out)
    deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    correlation = covariance / (deviation[..., :, None] * deviation[..., None, :])
    factor = torch.linalg.cholesky(correlation)
    solved = torch.linalg.solve_triangular(factor, z.mT[..., None], upper=False)
    return solved[..., 0].mT


def optimism(
    model: Callable[..., Model],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None = None,
    *,
    fit: str = "refit",
    **cross_validate_kwargs: Any,
) -> pd.DataFrame:
    """By how much scores at fixed hyper-parameters are too good: refit minus fixed.

    Args:
        model: See :func:`cross_validate`, also for the other arguments.
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`.
        train_Yvar: Known variances of the observation noise, `n x m`.
        fit: How the folds are refitted.
        **cross_validate_kwargs: Further arguments of :func:`cross_validate`.

    Returns:
        The :func:`difference` of refitted and fixed folds; its sum is negative where
        fixed hyper-parameters flatter.
    """
    refitted, fixed = (
        cross_validate(
            model, train_X, train_Y, train_Yvar, fit=how, **cross_validate_kwargs
        )
        for how in (fit, "fixed")
    )
    return difference(refitted, fixed)


def _check(
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None,
    fit: str,
    threshold: float,
    max_error: float,
    fit_options: FitOptions | None,
) -> None:
    if train_X.ndim != 2:
        raise ValueError(f"train_X: expected `n x d`, got shape {tuple(train_X.shape)}")
    if train_Y.ndim != 2 or len(train_Y) != len(train_X):
        raise ValueError(
            f"train_Y: expected `n x m` with n = {len(train_X)}, got shape "
            f"{tuple(train_Y.shape)}"
        )
    if train_Yvar is not None and train_Yvar.shape != train_Y.shape:
        raise ValueError(
            f"train_Yvar: expected the shape of train_Y, {tuple(train_Y.shape)}, got "
            f"{tuple(train_Yvar.shape)}"
        )
    if fit not in FITS:
        raise ValueError(f"fit: expected one of {FITS}, got {fit!r}")
    if not threshold >= 0:
        raise ValueError(f"threshold: expected a number from 0 on, got {threshold}")
    if not max_error > 0:
        raise ValueError(f"max_error: expected a positive number, got {max_error}")
    if not isinstance(fit_options, FitOptions | None):
        raise ValueError(
            "fit_options: expected FitOptions or None, got "
            f"{type(fit_options).__name__}; use FitOptions(timeout_sec=60, ...)"
        )
