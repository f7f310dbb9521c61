"""Cross-validation: every fold its own model, its own transforms, its own fit."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from copy import deepcopy
from dataclasses import replace
from typing import Any
from warnings import warn

import numpy as np
import pandas as pd
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.exceptions.warnings import BotorchWarning
from botorch.models.model import Model
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from torch import Tensor
from torch.linalg import LinAlgError

from botorch_xval.cross_validation.fold_models import (
    FoldBatch,
    FoldModels,
    builds_batches,
)
from botorch_xval.cross_validation.folds import (
    Folds,
    by_size,
    leave_one_out,
    make_folds,
)
from botorch_xval.cross_validation.predictions import Prediction, affine, predict_each
from botorch_xval.cross_validation.result import POINTS, CrossValidation, difference
from botorch_xval.cross_validation.scores import z_score
from botorch_xval.cross_validation.warm import (
    ClosedForm,
    FoldFit,
    FullFit,
    fit_all_rows,
)
from botorch_xval.fitting.fit import fit_each
from botorch_xval.fitting.losses.modules import DifferentModels
from botorch_xval.fitting.retries import LARGE_MODEL, single_threaded_torch

__all__ = ["FITS", "cross_validate", "optimism"]

logger = logging.getLogger(__name__)
FITS = ("refit", "warm", "predicted", "fixed", "adaptive")


def cross_validate(
    model: Callable[..., Model],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None = None,
    folds: Callable[[int], Folds] | Folds | Tensor = leave_one_out,
    fit: str = "refit",
    mll: type[MarginalLogLikelihood] = ExactMarginalLogLikelihood,
    fit_kwargs: dict[str, Any] | None = None,
    threshold: float = 0.5,
    keep_models: bool = False,
    progress: bool = False,
) -> CrossValidation:
    r"""Fit a model to the training rows of every fold and predict its held-out rows.

    Every fold's model is built from its own training rows only, so whatever it learns
    from data (ranges, standardization) cannot see a held-out value. Folds of equal
    size are fitted together (:func:`~botorch_xval.fitting.fit_each`); each has its own
    optimizer and ends where it would end alone. The score of a point is its log
    predictive density

    .. math:: \log p(y_i \mid x_i, D_{-S}, \hat\theta_{-S}),

    with :math:`S` the fold that holds it out.

    How folds are fitted, with `f` folds of `n` rows and `p` hyper-parameters:

    * "refit": from the model's initial values, as BoTorch does. The cost of one fit per
      fold. Nothing of a held-out value can reach its own fold.
    * "warm": from the fit to all rows and one Newton step, to the same tolerance. One
      fit, `2 p` evaluations for a Hessian, then about five evaluations per fold. The
      loss of a fold does not know its held-out value; but where it has several minima,
      the start (which does) may choose among them. So folds of an influence above
      0.5 are fitted from the initial values, too, and the lower loss counts; see
      `cold_loss` in :meth:`CrossValidation.fit_table`.
    * "predicted": that Newton step alone, two evaluations per fold. An approximation;
      see `gradient_norm` and `influence` in :meth:`CrossValidation.fit_table`.
    * "fixed": all folds with the values and the transforms of the fit to all rows, in
      closed form, `O(n^3)`. The sum of log densities is too good, by what
      :func:`optimism` says.
    * "adaptive": "fixed", but folds whose influence exceeds `threshold` are fitted as
      by "warm" (in the manner of "reloo" for importance sampling). One evaluation per
      fold for the influences.

    Args:
        model: A class or function that builds an ordinary (unbatched) model from one
            fold's `train_X` and `train_Y`, called as `model(train_X, train_Y)` and with
            the keyword `train_Yvar` if that is given. Of a `ScalarChoiceGP`, or a
            `partial` of it with `choice_dims` and `priors` only, the folds are built as
            one batched model, which takes less time than their fits.
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`.
        train_Yvar: Known variances of the observation noise, `n x m`.
        folds: A function of `n` such as :func:`leave_one_out`, finished folds, or a
            boolean mask `folds x n`.
        fit: "refit", "warm", "predicted", "fixed" or "adaptive", see above.
        mll: The marginal log likelihood of a model.
        fit_kwargs: Arguments of :func:`~botorch_xval.fitting.fit_each`; where there is
            a fit to all rows, of that one.
        threshold: For "adaptive": posterior standard deviations.
        keep_models: Whether the result is to have the fitted models, for `describe` and
            `hyperparameters`; with "fixed" and "adaptive" there is only that of all
            rows, with "refit" there is none of all rows.
        progress: Whether to show a bar of the folds that are done.

    Returns:
        Predictions, scores and fit records. Failed folds are listed in `failed` and
        named in one warning.

    Raises:
        ValueError: If shapes, folds or `fit` are not as described.
        UnsupportedError: If the model's posterior on the outcome's scale is not
            Gaussian.
        ModelFittingError: If there is to be a fit to all rows, and it fails.
    """
    _check(train_X, train_Y, train_Yvar, fit, threshold)
    folds = make_folds(folds, len(train_X))
    fit_kwargs = fit_kwargs or {}

    def build(rows: Tensor, name: str) -> MarginalLogLikelihood:
        noise = {} if train_Yvar is None else {"train_Yvar": train_Yvar[rows]}
        try:
            built = model(train_X[rows], train_Y[rows], **noise)
        except Exception as error:
            error.add_note(f"raised by the model of {name}")
            raise
        return mll(built.likelihood, built).to(train_X)

    def models_of(numbers: Sequence[int], as_batch: bool) -> FoldModels:
        training = [(~folds.held_out[i]).to(train_X.device) for i in numbers]

        def build_one(j: int) -> MarginalLogLikelihood:
            return build(training[j], f"fold {folds.names[numbers[j]]!r}")

        if as_batch and builds_batches(model, mll, len(numbers)):
            rows = torch.stack([row.nonzero()[:, 0] for row in training])
            # Where the data of a fold are refused, its ordinary model says which one.
            with suppress(Exception):
                batch = build(rows, "a batch of folds")
                return FoldBatch(batch, build_one, len(numbers))
        return FoldModels.of(build_one, len(numbers))

    small = train_X.device.type == "cpu" and len(train_X) < LARGE_MODEL
    with single_threaded_torch() if small else nullcontext():
        result, models = _cross_validate(
            build,
            models_of,
            train_X,
            train_Y,
            train_Yvar,
            folds,
            fit,
            fit_kwargs,
            threshold,
            keep_models,
            progress,
        )
    if failed := result.failed:
        warn(
            f"{len(failed)} of {len(folds.names)} folds could not be fitted and have "
            "no score: "
            + ", ".join(f"{name} ({why})" for name, why in list(failed.items())[:5]),
            BotorchWarning,
            stacklevel=2,
        )
    if not keep_models:
        return result
    full_model, fold_models = models
    return replace(result, models=fold_models or None, full_model=full_model)


def _cross_validate(
    build: Callable[[Tensor, str], MarginalLogLikelihood],
    models_of: Callable[[Sequence[int], bool], FoldModels],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None,
    folds: Folds,
    fit: str,
    fit_kwargs: dict[str, Any],
    threshold: float,
    keep_models: bool,
    progress: bool,
) -> tuple[CrossValidation, tuple[Model | None, list[Model]]]:
    """The result, and the models of all rows and of the folds."""
    full = closed = None
    if fit != "refit":
        everything = torch.ones(len(train_X), dtype=torch.bool, device=train_X.device)
        full = fit_all_rows(deepcopy(build(everything, "all rows")), fit_kwargs)
    parts: dict[int, Prediction] = {}
    fits: dict[int, list[FoldFit]] = {}
    failed: dict[str, str] = {}
    models: dict[int, Model] = {}
    if full is not None:
        closed = _closed_form(full, needed=fit in ("fixed", "adaptive"))
    if fit in ("fixed", "adaptive"):
        parts = _fixed(full.mll.model, closed, folds)
    for numbers in by_size(folds) if fit != "fixed" else []:
        held_out = folds.held_out[numbers]
        arguments = (held_out, full, fit, fit_kwargs, threshold, progress)
        try:
            fold_models = models_of(numbers, True)
            found, errors = _fit(fold_models, *arguments)
        except DifferentModels as reason:
            logger.debug("folds are built one by one: %s", reason)
            fold_models = models_of(numbers, False)
            found, errors = _fit(fold_models, *arguments)
        each = len(found) // len(numbers)  # models of a fold: one, or one per output
        fitted = []
        for j, i in enumerate(numbers):
            fits[i] = found[j * each : (j + 1) * each]
            if bad := [k for k in range(each) if j * each + k in errors]:
                failed[folds.names[i]] = "; ".join(
                    fits[i][k].record.message for k in bad
                )
                parts.pop(i, None)
            elif any(one.how != "fixed" for one in fits[i]):
                fitted.append(j)
        tests = [folds.held_out[numbers[j]].to(train_X.device) for j in fitted]
        predictions = predict_each(
            fold_models,
            fitted,
            [train_X[test] for test in tests],
            None if train_Yvar is None else [train_Yvar[test] for test in tests],
        )
        parts.update(zip((numbers[j] for j in fitted), predictions, strict=True))
        if keep_models and fit != "adaptive":  # some of these are not fitted
            models.update(
                (i, fold_models.ordinary(j).model) for j, i in enumerate(numbers)
            )
    if fit == "fixed":
        records = [replace(record, evaluations=0) for record in full.mll.fit_records]
        fits = {
            i: [FoldFit("fixed", math.nan, record) for record in records]
            for i in range(len(folds.names))
        }
    spent = 0 if full is None else full.evaluations
    result = _assemble(parts, fits, failed, folds, train_Y, spent)
    once = bool((folds.held_out.sum(dim=0) <= 1).all())
    if closed is not None and not failed and once:
        result = replace(result, whitened=_whitened(result, closed))
    full_model = None if full is None else full.mll.model
    return result, (full_model, [models[i] for i in sorted(models)])


def optimism(
    model: Callable[..., Model],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None = None,
    fit: str = "warm",
    **cross_validate_kwargs: Any,
) -> pd.DataFrame:
    """How much too good scores at fixed hyper-parameters are: refit minus fixed.

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


def _fit(
    models: FoldModels,
    held_out: Tensor,
    full: FullFit | None,
    fit: str,
    fit_kwargs: dict[str, Any],
    threshold: float,
    progress: bool,
) -> tuple[list[FoldFit], dict[int, Exception]]:
    """The fits of folds of one size, and by number of a model its error."""
    if full is None:
        arguments = _with_progress(fit_kwargs, progress)
        errors = fit_each(models.mlls, witnesses=models.witnesses, **arguments)
        records = [record for mll in models.mlls for record in mll.fit_records]
        return [FoldFit("refit", math.nan, record) for record in records], errors
    if fit != "adaptive":
        return full.fit(models, held_out, refine=fit == "warm", progress=progress)
    fits = full.influences(models, held_out)
    m = len(fits) // models.num_folds
    influences = np.array([one.influence for one in fits]).reshape(-1, m)
    chosen = np.flatnonzero(
        np.nan_to_num(influences, nan=np.inf).max(axis=1) > threshold
    )
    errors: dict[int, Exception] = {}
    if len(chosen):
        part = FoldModels([models.ordinary(j) for j in chosen])
        refitted, found = full.fit(part, held_out[chosen], True, progress)
        for c, j in enumerate(chosen):
            models.put(j, part.mlls[c])
            fits[j * m : (j + 1) * m] = refitted[c * m : (c + 1) * m]
            for k in range(m):
                if c * m + k in found:
                    errors[j * m + k] = found[c * m + k]
    return fits, errors


def _with_progress(fit_kwargs: dict[str, Any], progress: bool) -> dict[str, Any]:
    if not progress:
        return fit_kwargs
    own = {**(fit_kwargs.get("optimizer_kwargs") or {}), "progress": True}
    return {**fit_kwargs, "optimizer_kwargs": own}


def _closed_form(full: FullFit, needed: bool) -> ClosedForm | None:
    try:
        return ClosedForm.of(full.mll)
    except (UnsupportedError, LinAlgError):
        if needed:
            raise
        return None


def _fixed(model: Model, closed: ClosedForm, folds: Folds) -> dict[int, Prediction]:
    """The predictions of all folds in closed form, on the outcome's scale."""
    location, scale = affine(model)
    found = {}
    for i, fold in enumerate(folds.held_out):
        mean, variance, noise = closed.leave_out(fold.nonzero()[:, 0])
        found[i] = {
            "mean": location + scale * mean,
            "variance": scale**2 * variance,
            "noise_variance": scale**2 * noise,
            "location": location.expand_as(mean),
            "scale": scale.expand_as(mean),
        }
    return found


def _whitened(result: CrossValidation, closed: ClosedForm) -> Tensor:
    """Errors in predicted deviations, without their correlation, `k x m`."""
    z = z_score(result.mean, result.variance, result.observed)
    covariance = closed.residual_covariance(result.folds.held_out)
    deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    correlation = covariance / (deviation[..., :, None] * deviation[..., None, :])
    factor = torch.linalg.cholesky(correlation)
    solved = torch.linalg.solve_triangular(factor, z.mT[..., None], upper=False)
    return solved[..., 0].mT


def _assemble(
    parts: dict[int, Prediction],
    fits: dict[int, list[FoldFit]],
    failed: dict[str, str],
    folds: Folds,
    train_Y: Tensor,
    full_evaluations: int,
) -> CrossValidation:
    fold_of, rows = folds.held_out.nonzero(as_tuple=True)
    blank = torch.full((len(rows), train_Y.shape[-1]), torch.nan).to(train_Y)
    values = {name: blank.clone() for name in POINTS}
    for i in range(len(folds.names)):
        mine = (fold_of == i).nonzero()[:, 0].to(train_Y.device)
        for name, part in parts.get(i, {}).items():
            values[name][mine] = part
        train = ~folds.held_out[i].to(train_Y.device)
        values["baseline"][mine] = train_Y[train].mean(dim=0)
    values["observed"] = train_Y[rows.to(train_Y.device)]
    # How often the row was held out before decides between repetitions.
    earlier = (folds.held_out.cumsum(dim=0) - 1)[fold_of, rows]
    order = torch.argsort(earlier * len(train_Y) + rows, stable=True)
    own = order.to(train_Y.device)
    return CrossValidation(
        rows=rows[order],
        fold_of=fold_of[order],
        **{name: value[own] for name, value in values.items()},
        folds=folds,
        fits=[one for i in sorted(fits) for one in fits[i]],
        failed=failed,
        full_evaluations=full_evaluations,
    )


def _check(
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None,
    fit: str,
    threshold: float,
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
