"""Drop-in replacements for BoTorch's fit: one independent L-BFGS-B per model.

:func:`fit_gpytorch_mll` takes the place of :func:`botorch.fit.fit_gpytorch_mll`, and
:func:`fit_independently` that of :func:`botorch.optim.fit.fit_gpytorch_mll_scipy`, also
as BoTorch's own `optimizer=`. :func:`fit_each` fits several ordinary models of one
structure and size, such as the folds of a cross-validation, as if they were one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from warnings import WarningMessage, warn

import botorch.fit
from botorch.exceptions.errors import ModelFittingError, UnsupportedError
from botorch.exceptions.warnings import OptimizationWarning
from botorch.fit import DEFAULT_WARNING_HANDLER
from botorch.models import ModelListGP
from botorch.optim.core import OptimizationResult, OptimizationStatus
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from gpytorch.mlls.sum_marginal_log_likelihood import SumMarginalLogLikelihood
from linear_operator.utils.errors import NotPSDError
from torch import Tensor

from botorch_xval.fitting.losses.modules import (
    ParameterBounds,
    are_alike,
    own_parts,
    shared_part,
)
from botorch_xval.fitting.records import FitRecord
from botorch_xval.fitting.retries import (
    DEFAULT_COORDINATES,
    UNDEFINED,
    Callback,
    ModelResult,
    fit_models,
)

__all__ = [
    "IndependentResult",
    "ModelResult",
    "fit_each",
    "fit_gpytorch_mll",
    "fit_independently",
]


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
    L-BFGS-B, and is not evaluated any more once it is done. A model whose fit fails is
    retried alone, from values sampled from the priors; the others stay as they are.

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
        :class:`~botorch_xval.fitting.FitRecord` per model, in batch order.

    Raises:
        ModelFittingError: When all attempts failed for a model. It names the models
            and the reasons; those models have their initial values again, the others
            their fitted ones, and the mll is in training mode. An exception that is not
            of `caught_exception_types` and ends the fit of every model is raised as it
            is.
    """
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
    if (
        isinstance(mll, SumMarginalLogLikelihood)
        and isinstance(mll.model, ModelListGP)
        and not hasattr(mll.model, "custom_fit")
    ):
        return _fit_list(mll, is_default, arguments)
    if not (is_default and _is_ours(mll)):
        return botorch.fit.fit_gpytorch_mll(mll, **arguments)
    return fit_or_raise(mll, optimizer_kwargs, **kwargs)


def fit_or_raise(
    mll: MarginalLogLikelihood,
    optimizer_kwargs: dict[str, Any] | None = None,
    **kwargs: Any,
) -> MarginalLogLikelihood:
    """`fit_gpytorch_mll` of an mll that is ours to fit, whatever its model says."""
    errors = fit_each([mll], optimizer_kwargs, **kwargs)
    if errors:
        caught = kwargs.get("caught_exception_types", (NotPSDError,))
        raise _as_one(errors, mll.fit_records, caught)
    return mll.eval()


def fit_alike(mlls: Sequence[MarginalLogLikelihood]) -> None:
    """Fit models of any structures and sizes, those that are alike together.

    Raises:
        ModelFittingError: If a model cannot be fitted; the others are fitted.
    """
    failed: list[Exception] = []
    for group in _alike(mlls):
        members = [mlls[i] for i in group]
        if errors := fit_each(members):
            records = [record for mll in members for record in mll.fit_records]
            failed.append(_as_one(errors, records, (NotPSDError,)))
        for mll in members:
            mll.eval()
    if failed:
        raise failed[0]


def _alike(
    mlls: Sequence[MarginalLogLikelihood], alone: Sequence[int] = ()
) -> list[list[int]]:
    """Numbers of the mlls that can be fitted together."""
    groups: list[list[int]] = []
    parts: list[set[int]] = []  # of each group
    for i, mll in enumerate(mlls):
        own = set(own_parts(mll))
        for group, others in zip(groups, parts, strict=True):
            if (
                i not in alone
                and group[0] not in alone
                and own.isdisjoint(others)
                and are_alike(mlls[group[0]], mll)
            ):
                group.append(i)
                others |= own
                break
        else:
            groups.append([i])
            parts.append(own)
    return groups


def _is_ours(mll: MarginalLogLikelihood) -> bool:
    """Whether we fit this mll, or leave it to BoTorch."""
    return isinstance(mll, ExactMarginalLogLikelihood) and not hasattr(
        mll.model, "custom_fit"
    )


def _fit_list(
    mll: SumMarginalLogLikelihood, is_default: bool, arguments: dict[str, Any]
) -> SumMarginalLogLikelihood:
    """The members of a list; those of one structure and size together."""
    mll.train()
    alone = [
        i for i, part in enumerate(mll.mlls) if not (is_default and _is_ours(part))
    ]
    groups = _alike(list(mll.mlls), alone)
    failed: dict[int, ModelFittingError] = {}
    for group in groups:
        members = [mll.mlls[i] for i in group]
        if len(group) == 1:
            try:
                fit_gpytorch_mll(members[0], **arguments)
            except ModelFittingError as error:
                failed[group[0]] = error
            continue
        errors = fit_each(members, **arguments)
        size = len(members[0].fit_records)
        for k, (i, part) in enumerate(zip(group, members, strict=True)):
            own = {j - k * size: error for j, error in errors.items() if j // size == k}
            if not own:
                part.eval()
                continue
            caught = arguments.get("caught_exception_types", (NotPSDError,))
            failed[i] = _as_one(own, part.fit_records, caught)
            if not isinstance(failed[i], ModelFittingError):
                raise failed[i]
    mll.fit_records = [r for m in mll.mlls for r in getattr(m, "fit_records", [])]
    if failed:
        raise ModelFittingError(
            "; ".join(f"member {i}: {error}" for i, error in sorted(failed.items()))
        )
    return mll.eval() if not any(m.training for m in mll.mlls) else mll


def _as_one(
    errors: dict[int, Exception],
    records: Sequence[FitRecord],
    caught: tuple[type[BaseException], ...],
) -> Exception:
    """What `fit_gpytorch_mll` raises for the errors of some models of an mll."""
    known = (ModelFittingError, *caught, *UNDEFINED)
    first = next(iter(errors.values()))
    if len(errors) == len(records) and not any(
        isinstance(error, known) for error in errors.values()
    ):
        return first  # no model's own trouble but everybody's
    whole = ModelFittingError(
        "All attempts to fit the model have failed. " + _describe(errors, records)
    )
    whole.__cause__ = first
    return whole


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
    coordinates: str = DEFAULT_COORDINATES,
    progress: bool = False,
) -> IndependentResult | OptimizationResult:
    """One attempt to fit each model of an mll with its own SciPy optimizer.

    The model and the likelihood must be in training mode already.

    Args:
        mll: The mll to be maximized, model by model.
        parameters: The parameters to optimize, by name; default: all that require
            gradients.
        bounds: By name of a parameter its lower and upper bound: numbers, None, or
            tensors that broadcast to the parameter, so also different per model.
        closure: A user's own loss; it is handed to BoTorch unchanged, and all models
            are then fitted together.
        closure_kwargs: Likewise.
        method: A gradient-based method of :func:`scipy.optimize.minimize`.
        options: Its options, each model's own: `maxiter`, `ftol`, ...
        callback: Called after every accepted iteration of every model with that
            model's parameters and a :class:`ModelResult`; StopIteration ends the fit
            of that model at its best point.
        timeout_sec: Seconds after which every model stops at its best point so far.
        strategy: How the losses are evaluated; it does not change the results.
            "loop": one model after the other; "batch": all that still run together;
            "auto": "batch" on CUDA, groups that fit into the cache on CPU.
        coordinates: "log": after a few iterations on BoTorch's parameters the
            logarithms of positive ones, with `maxcor` 30, which takes less than half
            of the evaluations; "raw": BoTorch's parameters throughout, and so its path
            (to rounding). Where a loss has several optima they may end in different
            ones. "log" is for `method="L-BFGS-B"`; others have "raw".
        progress: Whether to show a bar of the models that are done, fits per second,
            and the worst gradient norm among them.

    Returns:
        The result over all models, with `records`; these are `mll.fit_records`, too.
        A model that failed keeps its initial values and is named in a warning.
    """
    if closure is not None or closure_kwargs is not None:
        return fit_gpytorch_mll_scipy(
            mll,
            parameters=parameters,
            bounds=bounds,
            closure=closure,
            closure_kwargs=closure_kwargs,
            method=method,
            options=options,
            callback=callback,
            timeout_sec=timeout_sec,
        )
    start = monotonic()
    errors = fit_models(
        [mll],
        parameters=parameters,
        bounds=bounds,
        method=method,
        options=options,
        callback=callback,
        timeout_sec=timeout_sec,
        strategy=strategy,
        coordinates=coordinates,
        progress=progress,
        max_attempts=1,
    )
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


def fit_each(
    mlls: Sequence[MarginalLogLikelihood],
    optimizer_kwargs: dict[str, Any] | None = None,
    max_attempts: int = 5,
    pick_best_of_all_attempts: bool = False,
    warning_handler: Callable[[WarningMessage], bool] = DEFAULT_WARNING_HANDLER,
    caught_exception_types: tuple[type[BaseException], ...] = (NotPSDError,),
    witnesses: dict[int, MarginalLogLikelihood] | None = None,
    **ignore: Any,
) -> dict[int, Exception]:
    """Fit several models of one structure and size together, each on its own.

    Nothing is raised for a model that fails: it keeps its initial values.

    Args:
        mlls: One mll per model, each with its own data and transforms.
        optimizer_kwargs: See :func:`fit_independently` (but no `closure`).
        max_attempts: How often a model is tried: first from its initial values, then
            from values sampled from its priors.
        pick_best_of_all_attempts: Make all attempts and keep each model's best one.
        warning_handler: Called with the warning of a failed attempt; the attempt counts
            as a success after all if this returns True.
        caught_exception_types: Exceptions after which a model is tried again. Others
            end that model's fit.
        witnesses: Of a single mll with a batch: by number of a member an ordinary mll
            of equal data and values. What is fitted is compared with the losses of
            these, and not with one of the whole batch, which takes more memory than the
            fit.
        **ignore: As BoTorch's function, this one ignores other arguments.

    Returns:
        By number of a model that failed the error that ended its last attempt (a
        ModelFittingError if the optimizer failed); empty if none did. Every mll has its
        `fit_records` and is in training mode.

    Raises:
        ValueError: If there is no mll, if two share parameters or a transform, or if a
            name in `parameters` or `bounds` is unknown.
        TypeError: If `optimizer_kwargs` has an unknown name.
        UnsupportedError: If a model is a ModelListGP.
        DifferentModels: If the batch is not as its `witnesses` are.
    """
    options = dict(optimizer_kwargs or {})
    unknown = set(options) - {
        *("parameters", "bounds", "method", "options", "callback", "timeout_sec"),
        *("strategy", "coordinates", "progress"),
    }
    if unknown:
        raise TypeError(
            f"optimizer_kwargs has unexpected names {sorted(unknown)}; see the "
            "arguments of fit_independently"
        )
    _check_mlls(mlls)
    for mll in mlls:
        mll.train()
    return fit_models(
        mlls,
        max_attempts=max_attempts,
        pick_best=pick_best_of_all_attempts,
        warning_handler=warning_handler,
        caught=caught_exception_types,
        witnesses=witnesses,
        **options,
    )


def _check_mlls(mlls: Sequence[MarginalLogLikelihood]) -> None:
    if not mlls:
        raise ValueError("mlls: expected at least one, got none")
    for mll in mlls:
        if isinstance(mll.model, ModelListGP):
            raise UnsupportedError(
                "fit_each takes no ModelListGP; give it the mlls of its members, or "
                "fit it by fit_gpytorch_mll"
            )
    if found := shared_part(mlls):
        one, other, path = found
        raise ValueError(
            f"mlls {one} and {other} share their {path!r}; give every model its own"
        )


def _describe(errors: dict[int, Exception], records: Sequence[FitRecord]) -> str:
    shown = [f"model {i}: {records[i].message}" for i in list(errors)[:5]]
    more = [f"and {len(errors) - 5} more"] if len(errors) > 5 else []
    return f"{len(errors)} of {len(records)} fits failed: " + "; ".join(shown + more)
