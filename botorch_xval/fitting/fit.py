"""Drop-in replacements for BoTorch's fit: one independent L-BFGS-B per model.

:func:`fit_gpytorch_mll` takes the place of :func:`botorch.fit.fit_gpytorch_mll`, and
:func:`fit_independently` that of :func:`botorch.optim.fit.fit_gpytorch_mll_scipy`, also
as BoTorch's own `optimizer=`. :func:`fit_each` fits several ordinary models, such as
the folds of a cross-validation, as if they were one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, cast
from warnings import warn

import botorch.fit
import numpy as np
from botorch.exceptions.errors import ModelFittingError, UnsupportedError
from botorch.exceptions.warnings import OptimizationWarning
from botorch.models import ModelListGP
from botorch.optim.core import OptimizationResult, OptimizationStatus
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from gpytorch.mlls.sum_marginal_log_likelihood import SumMarginalLogLikelihood
from torch import Tensor

from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.parameters import ParameterBounds
from botorch_xval.fitting.losses.together import groups_of, shared_part
from botorch_xval.fitting.options import Callback, FitOptions, check_options
from botorch_xval.fitting.records import FitRecord
from botorch_xval.fitting.retries import fit_models
from botorch_xval.fitting.threads import UNDEFINED, threads_for_modules
from botorch_xval.models.checks import check_mlls, wrong

__all__ = [
    "IndependentResult",
    "fit_each",
    "fit_gpytorch_mll",
    "fit_independently",
    "fit_or_raise",
]


# Options that BoTorch's own optimizers do not take.
OUR_OPTIONS = {"strategy", "coordinates", "starts", "progress"}


@dataclass(slots=True)
class IndependentResult(OptimizationResult):
    """BoTorch's result for all models (`fval` is the sum of the losses per point)."""

    records: list[FitRecord] = field(default_factory=list)
    """One for each model, in batch order."""


def fit_gpytorch_mll(
    mll: MarginalLogLikelihood,
    closure: Callable[[], tuple[Tensor, Sequence[Tensor | None]]] | None = None,
    optimizer: Callable | None = None,
    closure_kwargs: dict[str, Any] | None = None,
    optimizer_kwargs: dict[str, Any] | None = None,
    **kwargs: Any,
) -> MarginalLogLikelihood:
    r"""Fit every model of an mll on its own; otherwise as BoTorch's function.

    Each model minimizes its own
    :math:`L(\theta) = -(\log p(y \mid \theta) + \log p(\theta)) / n` with its own
    L-BFGS-B, and is not evaluated any more once it is done. It is searched from several
    starts and keeps the lowest optimum (see `starts` of :class:`FitOptions`; with "own"
    it has one start, as in BoTorch). A model for which all searches fail is retried
    alone, from values sampled from the priors; the others stay as they are.

    What this library does not do better it leaves to BoTorch: models with a
    `custom_fit`, approximate (variational) mlls, user closures, other optimizers.

    Args:
        mll: An mll; a batched model, or several outputs, count as several models.
        closure: As in BoTorch.
        optimizer: As in BoTorch; default: :func:`fit_independently`.
        closure_kwargs: As in BoTorch.
        optimizer_kwargs: Keyword arguments of the optimizer, see
            :func:`fit_independently`.
        **kwargs: As in BoTorch: `max_attempts` (5), `pick_best_of_all_attempts`
            (False), `warning_handler`, `caught_exception_types`; others are ignored.

    Returns:
        The `mll` in evaluation mode; `mll.fit_records` lists one
        :class:`FitRecord` per model, in batch order.

    Raises:
        ModelFittingError: When all attempts failed for a model. It names the models
            and the reasons; those models have their initial values again, the others
            their fitted ones, and the mll is in training mode. An exception that is not
            of `caught_exception_types` and ends the fit of every model is raised as it
            is.
    """
    check_mlls([mll])
    for name, given in (("closure", closure), ("optimizer", optimizer)):
        if given is not None and not callable(given):
            raise wrong(name, "a function or None", repr(given), "leave it out")
    vars(mll).pop("fit_records", None)
    arguments = {
        "closure": closure,
        "optimizer": optimizer,
        "closure_kwargs": closure_kwargs,
        "optimizer_kwargs": optimizer_kwargs,
        **kwargs,
    }
    is_default = (
        closure is None
        and closure_kwargs is None
        and optimizer in (None, fit_independently)
        and kwargs.get("data_loader") is None
    )
    is_list = (
        isinstance(mll, SumMarginalLogLikelihood)
        and isinstance(mll.model, ModelListGP)
        and not hasattr(mll.model, "custom_fit")
    )
    members = list(mll.mlls) if is_list else [mll]
    ours = [i for i, each in enumerate(members) if is_default and _is_ours(each)]
    if not is_list and not ours:
        if optimizer is None and optimizer_kwargs is not None:
            arguments["optimizer_kwargs"] = {
                name: value
                for name, value in optimizer_kwargs.items()
                if name not in OUR_OPTIONS
            }
        return botorch.fit.fit_gpytorch_mll(mll, **arguments)
    mll.train()
    failed: dict[int, Exception] = {}
    if ours:
        options = FitOptions.of_botorch(optimizer_kwargs, **kwargs)
        mlls = [members[i] for i in ours]
        errors = _fit_groups(mlls, options)
        failed = {ours[j]: e for j, e in _failures(mlls, errors, options).items()}
    for i in sorted(set(range(len(members))) - set(ours)):
        try:
            fit_gpytorch_mll(members[i], **arguments)
        except ModelFittingError as error:
            failed[i] = error
    if not is_list:
        if failed:
            raise failed[0]
        return mll
    mll.fit_records = [r for m in members for r in getattr(m, "fit_records", [])]
    for reason in failed.values():
        if not isinstance(reason, ModelFittingError):
            raise reason
    if failed:
        raise ModelFittingError(
            "; ".join(f"member {i}: {error}" for i, error in sorted(failed.items()))
        )
    return mll.eval()


def fit_or_raise(
    mlls: Sequence[MarginalLogLikelihood], fit_options: FitOptions | None = None
) -> None:
    """Fit mlls of any structures and sizes; those that are alike together.

    Args:
        mlls: One mll per model; in evaluation mode afterwards.
        fit_options: The options of the fit.

    Raises:
        ModelFittingError: If a model cannot be fitted; the others are fitted. See
            :func:`fit_gpytorch_mll`.
    """
    options = _options(mlls, fit_options)
    errors = _fit_groups(mlls, options)
    for error in _failures(mlls, errors, options).values():
        raise error


def fit_each(
    mlls: Sequence[MarginalLogLikelihood], fit_options: FitOptions | None = None
) -> dict[int, Exception]:
    """Fit several models, each on its own; those that are alike together.

    Nothing is raised for a model that fails: it keeps its initial values.

    Args:
        mlls: One mll per model, each with its own data and transforms.
        fit_options: The options of the fit.

    Returns:
        By number of a model that failed (the models of all mlls in turn) the error that
        ended its last attempt, a ModelFittingError if the optimizer failed; empty if
        none did. Every mll has its `fit_records` and is in training mode.

    Raises:
        ValueError: If there is no mll or something else, if two share parameters or a
            transform, or if a name in `parameters` or `bounds` is unknown.
        UnsupportedError: If a model is a ModelListGP.
    """
    options = _options(mlls, fit_options)
    for mll in mlls:
        if isinstance(mll.model, ModelListGP):
            raise UnsupportedError(
                "mlls: expected mlls of single models, got one of a ModelListGP; give "
                "the mlls of its members, or fit it by fit_gpytorch_mll"
            )
    if shared := shared_part(mlls):
        one, other, path = shared
        raise ValueError(
            f"mlls: expected models without common parts, got {path!r} in both mll "
            f"{one} and mll {other}; give every model its own"
        )
    found: dict[int, Exception] = {}
    first = 0
    for mll, errors in zip(mlls, _fit_groups(mlls, options), strict=True):
        found |= {first + i: error for i, error in errors.items()}
        first += len(mll.fit_records)
    return found


def _options(mlls: object, fit_options: FitOptions | None) -> FitOptions:
    """The options of a fit of several mlls, once both are what they should be."""
    check_mlls(mlls)
    check_options(fit_options)
    return fit_options or FitOptions()


def _fit_groups(
    mlls: Sequence[MarginalLogLikelihood], options: FitOptions
) -> list[dict[int, Exception]]:
    """Fit mlls; those that may be fitted together are fitted as one batch.

    Returns:
        For each mll, by number of a model in its batch that failed, the error.
    """
    errors: list[dict[int, Exception]] = [{} for _ in mlls]
    for mll in mlls:
        mll.train()
    for group in groups_of(mlls):
        members = [mlls[i] for i in group]
        with threads_for_modules(members[0].model.train_targets):
            objective = make_objective(members, options.parameters, options.bounds)
        fitted = fit_models(objective, options)
        numbers = np.arange(len(fitted.records)).reshape(len(group), -1)
        for i, models in zip(group, numbers.tolist(), strict=True):
            mlls[i].fit_records = [fitted.records[model] for model in models]
            errors[i] = {
                k: fitted.errors[model]
                for k, model in enumerate(models)
                if model in fitted.errors
            }
    return errors


def _failures(
    mlls: Sequence[MarginalLogLikelihood],
    errors: Sequence[dict[int, Exception]],
    options: FitOptions,
) -> dict[int, Exception]:
    """What to raise for each mll that failed; puts others in evaluation mode."""
    found = {}
    for i, (mll, failed) in enumerate(zip(mlls, errors, strict=True)):
        if not failed:
            mll.eval()
            continue
        known = (ModelFittingError, *options.caught_exception_types, *UNDEFINED)
        first = next(iter(failed.values()))
        if len(failed) == len(mll.fit_records) and not any(
            isinstance(error, known) for error in failed.values()
        ):
            found[i] = first  # all models failed by an unexpected kind of error
            continue
        found[i] = ModelFittingError(
            "All attempts to fit the model have failed. "
            + _describe(failed, mll.fit_records)
        )
        found[i].__cause__ = first
    return found


def _is_ours(mll: MarginalLogLikelihood) -> bool:
    """Whether we fit this mll, or leave it to BoTorch."""
    return isinstance(mll, ExactMarginalLogLikelihood) and not hasattr(
        mll.model, "custom_fit"
    )


def fit_independently(
    mll: MarginalLogLikelihood,
    parameters: dict[str, Tensor] | None = None,
    bounds: ParameterBounds | None = None,
    closure: Callable[[], tuple[Tensor, Sequence[Tensor | None]]] | None = None,
    closure_kwargs: dict[str, Any] | None = None,
    method: str = "L-BFGS-B",
    options: dict[str, Any] | None = None,
    callback: Callback | None = None,
    timeout_sec: float | None = None,
    strategy: str = "auto",
    coordinates: str = "log",
    starts: str | Sequence[Mapping[str, Tensor | float]] = "several",
    progress: bool = False,
) -> IndependentResult | OptimizationResult:
    """One attempt to fit each model of an mll with its own SciPy optimizer.

    The model and the likelihood must be in training mode already.

    Args:
        mll: The mll to be maximized, model by model.
        parameters: The parameters to optimize, by name; default: all that require
            gradients.
        bounds: See :class:`FitOptions`, as the arguments below.
        closure: A loss of the user; it is handed to BoTorch unchanged, and all models
            are then fitted together.
        closure_kwargs: Likewise.
        method: See :class:`FitOptions`.
        options: See :class:`FitOptions`.
        callback: See :class:`FitOptions`.
        timeout_sec: See :class:`FitOptions`.
        strategy: See :class:`FitOptions`.
        coordinates: See :class:`FitOptions`.
        starts: See :class:`FitOptions`.
        progress: See :class:`FitOptions`.

    Returns:
        The result over all models, with `records`; these are `mll.fit_records`, too.
        A model that failed keeps its initial values and is named in a warning.
    """
    if closure is not None or closure_kwargs is not None:
        return fit_gpytorch_mll_scipy(
            mll,
            parameters=parameters,
            bounds=cast(Any, bounds),
            closure=closure,
            closure_kwargs=closure_kwargs,
            method=method,
            options=options,
            callback=callback,
            timeout_sec=timeout_sec,
        )
    start = monotonic()
    check_mlls([mll])
    fit_options = FitOptions(
        parameters=parameters,
        bounds=bounds,
        method=method,
        options=options,
        callback=callback,
        timeout_sec=timeout_sec,
        strategy=strategy,
        coordinates=coordinates,
        starts=starts,
        progress=progress,
        max_attempts=1,
    )
    (errors,) = _fit_groups([mll], fit_options)
    records = mll.fit_records
    if errors:
        warn(_describe(errors, records), OptimizationWarning, stacklevel=2)
    statuses = {record.status for record in records}
    return IndependentResult(
        step=max(record.iterations for record in records),
        fval=sum(record.loss for record in records),
        status=next(
            status
            for status in (
                OptimizationStatus.FAILURE,
                OptimizationStatus.STOPPED,
                OptimizationStatus.SUCCESS,
            )
            if status in statuses
        ),
        runtime=monotonic() - start,
        message=f"{len(records) - len(errors)} of {len(records)} fits succeeded.",
        records=records,
    )


def _describe(errors: dict[int, Exception], records: Sequence[FitRecord]) -> str:
    shown = [f"model {i}: {records[i].message}" for i in list(errors)[:5]]
    more = [f"and {len(errors) - 5} more"] if len(errors) > 5 else []
    return f"{len(errors)} of {len(records)} fits failed: " + "; ".join(shown + more)
