"""Cross-validation: every fold has a model, transforms and a fit of its own."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from typing import Any
from warnings import catch_warnings, filterwarnings, warn

import pandas as pd
from botorch.exceptions.errors import UnsupportedError
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import ModelListGP
from botorch.models.model import Model
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from torch import Tensor
from torch.linalg import LinAlgError

from botorch_xval.cross_validation.arguments import DRAWS, check_arguments
from botorch_xval.cross_validation.difference import difference
from botorch_xval.cross_validation.fold_models import FoldData
from botorch_xval.cross_validation.folds import Folds, leave_one_out
from botorch_xval.cross_validation.folds_like import FoldsLike, Groups, make_folds
from botorch_xval.cross_validation.full_fit import FullFit, fit_all_rows
from botorch_xval.cross_validation.leave_out import LeaveOut
from botorch_xval.cross_validation.links import is_ensemble
from botorch_xval.cross_validation.nuts import (
    check_fit,
    is_fully_bayesian,
    makes_draws,
    sample_folds,
)
from botorch_xval.cross_validation.outputs import (
    build_with_gaps,
    join,
    models_of_outputs,
    rows_of_outputs,
    single_values,
)
from botorch_xval.cross_validation.own_fits import has_own_fit
from botorch_xval.cross_validation.posterior import (
    draw_all_rows,
    integrate,
    spent_on,
)
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.cross_validation.warm import squared_influences
from botorch_xval.cross_validation.work import Work
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.threads import LARGE_MODEL, single_threaded_torch

__all__ = ["cross_validate", "optimism"]

logger = logging.getLogger(__name__)
FAILED = r"\d+ of \d+ folds could not be fitted"
SINGLE = "fitted to a single value"
# Of a model that is an average of several.
ENSEMBLE_FITS = ("refit", "warm", "fixed")
REFITTED = (
    "fit: expected refitted folds, which are compared with fixed ones, got 'fixed'; "
    'use "refit" or "warm"'
)


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
    draws: int | None = None,
    seed: int = 0,
    mll: type[MarginalLogLikelihood] = ExactMarginalLogLikelihood,
    keep_models: bool = False,
    progress: bool = False,
) -> CrossValidation:
    r"""Fit a model to the training rows of every fold and predict its held-out rows.

    Every fold's model is built from its own training rows only, so whatever it learns
    from data (ranges, standardization) cannot see a held-out value. All folds are
    fitted together (:func:`~botorch_xval.fit_each`); each has its own optimizer. The
    score of a point is its log predictive density

    .. math:: \log p(y_i \mid x_i, D_{-S}, \hat\theta_{-S}),

    with :math:`S` the rows that its fold does not train on.

    How folds are fitted, with `f` folds of `n` rows and `p` hyper-parameters:

    * "refit": from starts of its own (:class:`~botorch_xval.FitOptions`), and from the
      optima that other folds have found. Some fits per fold.
    * "warm": from the fit to all rows and one Newton step, to the same tolerance. One
      fit, `2 p` evaluations for a Hessian, then about five evaluations per fold. Folds
      of an influence above 0.5, and all where the fit to all rows has several optima,
      are fitted as by "refit", too. Folds in time follow the trace backwards: each
      begins with the Newton step from the next one.

    Both end in the lowest optimum that is known for the fold's own loss, which never
    knows a held-out value. With `starts="own"` folds have their initial values only
    ("warm": and the fit to all rows), as BoTorch does it, and nothing of a held-out
    value can reach its own fold in any way.

    Folds of few rows in many dimensions have optima of nearly the same loss that
    predict differently. Which of them a search has met then decides a fold's score, by
    any `fit` that has one optimum for each fold; "posterior" integrates over them.

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
    * "posterior": hyper-parameters integrated out. Draws of their posterior
      distribution given all rows (from a Laplace approximation, carried over to the
      distribution itself) stand for those of a fold by Pareto-smoothed importance
      weights; a fold of fewer than four fifths of the rows, with a Pareto `k` above
      0.7 (see
      :func:`~botorch_xval.cross_validation.psis.largest_shape`), or in which fewer than
      half of the draws stay effective, gets draws of its own.
      Predictions are mixtures (`result.mixture`). About 150 evaluations for each of
      `draws` draws, and as many for each fold that is drawn again.

    BoTorch's fully Bayesian models have a run of NUTS in each fold ("refit"), or one
    on all rows, whose draws are weighted in the same way ("posterior"). The members of
    `EnsembleMapSaasSingleTaskGP` are no draws of a posterior: each is fitted by its own
    prior, and all have the same weight, in every fold ("refit", "warm", "fixed"). Give
    that model its `taus`; otherwise every fold draws others.

    Args:
        model: A class or function that builds an ordinary (unbatched) model from one
            fold's `train_X` and `train_Y`, called as `model(train_X, train_Y)` and with
            the keyword `train_Yvar` if that is given. A class with a classmethod
            `builds_independent_batches`, as `ScalarChoiceGP` has it, or a `partial` of
            one, builds the models of all folds as one batch, which takes less time.
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`; NaN where one was not observed. Then, or if the
            model is a `ModelListGP`, outputs are independent, and each is assessed with
            its own rows.
        train_Yvar: Known variances of the observation noise, `n x m`.
        folds: A function of the number of rows such as :func:`leave_one_out`,
            :func:`k_fold`, :func:`leave_future_out` and :func:`buffered` make it,
            finished folds, a boolean mask `folds x n` of the held-out rows, an iterable
            of `(train, test)` row numbers, or a splitter of scikit-learn. Rows may be
            in neither part.
        groups: `n` labels; rows of one label are held out together. A function `folds`
            then makes folds of labels.
        fit: "refit", "warm", "adaptive", "fixed", "sampled" or "posterior", see above.
        fit_options: Options of all fits: to all rows, of the folds, and those of folds
            that are fitted again.
        threshold: For "adaptive": posterior standard deviations.
        max_error: For "sampled": nats.
        draws: For "posterior" and fully Bayesian models only: how many draws of the
            hyper-parameters, at least 100; default: 1,000.
        seed: For "sampled", "posterior" and fully Bayesian models: of the draws.
        mll: What hyper-parameters are fitted by: the evidence, GPyTorch's
            `LeaveOneOutPseudoLikelihood`, :class:`~botorch_xval.LeaveOneOutCRPS`, or
            another class. Of a criterion that is itself of leave-one-out, "fixed"
            scores repeat what the fit has maximized; they are flattered most.
        keep_models: Whether the result is to have the fitted models, for `describe` and
            `hyperparameters`; with "fixed" and "posterior" there is only that of all
            rows, at its optimum, with "refit" there is none of all rows.
        progress: Whether to show a bar of the folds that are done.

    Returns:
        Predictions, scores and fit records. A fold whose model cannot be built or
        fitted, or does not predict, is listed in `failed` and named in one warning. It
        changes no other fold, except that with several starts these learn of none of
        its optima. If no model can be built, the first error is raised. Another warning
        names folds that are fitted to a single value of an output, which have scores.

    Raises:
        ValueError: If shapes, folds or `fit` are not as described, if there are `draws`
            for a fit without any, or if the models of folds differ in their
            hyper-parameters.
        UnsupportedError: If the model's posterior on the outcome's scale is not
            Gaussian, if a model does not know that `fit`, or if a hyper-parameter that
            is to be integrated out has no prior.
        ModelFittingError: If there is to be a fit to all rows, and it fails.
    """
    data_of = train_X, train_Y, train_Yvar
    limits = threshold, max_error, draws
    check_arguments(model, mll, *data_of, fit, *limits, seed, fit_options)
    options = fit_options or FitOptions()
    if progress:
        options = replace(options, progress=True)
    made = make_folds(folds, len(train_X), groups)
    single = single_values(train_Y, made) if fit != "fixed" else []
    if single:
        warn(
            f"{SINGLE}, which says nothing of an outcome's scale and noise: "
            f"{', '.join(single[:5])}{', ...' if len(single) > 5 else ''}; do not rely "
            f"on the scores of {'this fold' if len(single) == 1 else 'these folds'}",
            BotorchWarning,
            stacklevel=2,
        )
    given = model, train_X, train_Y, train_Yvar
    data = FoldData(model, mll, *given[1:], made)
    has_gaps = bool(train_Y.isnan().any())
    first = build_with_gaps(*given) if has_gaps else data.first()
    if draws is not None and not makes_draws(first, fit):
        raise ValueError(
            f"draws: expected none for fit={fit!r} of a {type(first).__name__}, which "
            f"draws no hyper-parameters, got {draws}; leave it out, or use "
            "fit='posterior'"
        )
    if has_gaps or isinstance(first, ModelListGP):
        m = train_Y.shape[-1]
        members = first.models if isinstance(first, ModelListGP) else [first] * m
        return _each_output(
            models_of_outputs(model, first, m),
            (train_X, train_Y, train_Yvar),
            made,
            seed,
            [draws if makes_draws(each, fit) else None for each in members],
            fit=fit,
            fit_options=options,
            threshold=threshold,
            max_error=max_error / math.sqrt(m),
            mll=mll,
            keep_models=keep_models,
        )
    is_small = train_X.device.type == "cpu" and len(train_X) < LARGE_MODEL
    count = DRAWS if draws is None else draws
    with single_threaded_torch() if is_small else nullcontext():
        work = Work(data, options, keep_models)
        full = closed = None
        if is_fully_bayesian(first):
            check_fit(first, fit)
            keep = work.models if keep_models else None
            work.take(sample_folds(data, fit, count, seed, keep, options.progress))
            return _warn(work.result(None, None))
        if is_ensemble(first) and fit not in ENSEMBLE_FITS:
            raise UnsupportedError(
                f"fit: expected one of {ENSEMBLE_FITS} for a {type(first).__name__}, "
                f"an average of several models, got {fit!r}"
            )
        if fit == "posterior" and mll is not ExactMarginalLogLikelihood:
            raise UnsupportedError(
                "mll: expected ExactMarginalLogLikelihood for fit='posterior', which "
                f"needs a likelihood, got {mll.__name__}"
            )
        if fit != "refit":
            everything = deepcopy(data.build(slice(None), "all rows"))
            if has_own_fit(everything.model):
                raise UnsupportedError(
                    f"fit: expected 'refit' for a {type(everything.model).__name__}, "
                    f"which has a fit of its own (custom_fit), got {fit!r}"
                )
            full = fit_all_rows(everything, options)
            if fit == "posterior":
                drawn = draw_all_rows(full, count, seed)
                work.take(integrate(data, full, drawn, options, seed))
                full = replace(full, evaluations=full.evaluations + spent_on(drawn))
                return _warn(work.result(full, None))
            closed = _leave_out(full, is_needed=fit == "fixed")
            if closed is not None and fit == "fixed":
                work.leave_out(full, closed)
        how = "adaptive" if fit == "sampled" else fit
        own = math.inf if fit == "sampled" else threshold
        if fit != "fixed":
            work.fit(range(len(data.folds.names)), full, how, own)
        estimate = None
        if fit == "sampled" and full is not None:
            estimate = work.sample(full, max_error, seed)
        corrected = None
        if fit == "fixed" and full is not None and not work.mixtures:
            corrected = squared_influences(full, data.folds)
        found = work.result(full, closed)
        if corrected is not None:
            found = replace(found, corrected=found.elpd - corrected)
        return _warn(replace(found, estimate=estimate))


def _each_output(
    models: Sequence[Callable[..., Model]],
    data: tuple[Tensor, Tensor, Tensor | None],
    folds: Folds,
    seed: int,
    draws: Sequence[int | None],
    **kwargs: Any,
) -> CrossValidation:
    """Cross-validate outputs that have rows or models of their own."""
    train_X, train_Y, train_Yvar = data
    parts, results = rows_of_outputs(train_Y, folds), []
    for j, (model, part) in enumerate(zip(models, parts, strict=True)):
        rows = part.rows.to(train_X.device)
        noise = None if train_Yvar is None else train_Yvar[rows, j : j + 1]
        own = train_X[rows], train_Y[rows, j : j + 1], noise
        given = {**kwargs, "folds": part.folds, "draws": draws[j]}
        given["seed"] = seed + j  # independent draws
        with catch_warnings():  # of single folds: all are named once
            filterwarnings("ignore", f"{FAILED}|{SINGLE}", BotorchWarning)
            results.append(cross_validate(model, *own, **given))
    return _warn(join(results, parts, folds, train_Y))


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


def _leave_out(full: FullFit, is_needed: bool) -> LeaveOut | None:
    try:
        return LeaveOut.of(full.mll)
    except (UnsupportedError, LinAlgError):
        if is_needed:
            raise
        return None


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

    Raises:
        ValueError: If `fit` is "fixed"; see also :func:`cross_validate`.
    """
    data = train_X, train_Y, train_Yvar
    if fit == "fixed":
        raise ValueError(REFITTED)
    refitted = cross_validate(model, *data, fit=fit, **cross_validate_kwargs)
    cross_validate_kwargs.pop("draws", None)  # of "posterior" only
    fixed = cross_validate(model, *data, fit="fixed", **cross_validate_kwargs)
    return difference(refitted, fixed)
