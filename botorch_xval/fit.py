"""Drop-in replacements for BoTorch's fit: one independent L-BFGS-B per model.

:func:`fit_gpytorch_mll` takes the place of :func:`botorch.fit.fit_gpytorch_mll`, and
:func:`fit_independently` that of :func:`botorch.optim.fit.fit_gpytorch_mll_scipy`, also
as BoTorch's own `optimizer=`. :func:`fit_each` fits several ordinary models of one
structure and size, such as the folds of a cross-validation, as if they were one batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from warnings import WarningMessage, warn

import botorch.fit
import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError, UnsupportedError
from botorch.exceptions.warnings import OptimizationWarning
from botorch.fit import DEFAULT_WARNING_HANDLER
from botorch.models import ModelListGP
from botorch.models.transforms.input import InputTransform
from botorch.models.transforms.outcome import OutcomeTransform
from botorch.optim.core import OptimizationResult, OptimizationStatus
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from gpytorch.mlls.sum_marginal_log_likelihood import SumMarginalLogLikelihood
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor
from torch.linalg import LinAlgError

from botorch_xval.coordinates import LogCoordinates
from botorch_xval.minimize import OnIteration, Search, minimize_each
from botorch_xval.objective import Objective, make_objective
from botorch_xval.records import FitRecord
from botorch_xval.stacked import ParameterBounds

__all__ = [
    "IndependentResult",
    "ModelResult",
    "fit_each",
    "fit_gpytorch_mll",
    "fit_independently",
]

Callback = Callable[[dict[str, Tensor], OptimizationResult], None]
# BoTorch, too, takes these for a loss that is not a number.
UNDEFINED = (NanError, LinAlgError)
STRATEGIES = ("auto", "loop", "batch")
COORDINATES = ("log", "raw")
DEFAULT_COORDINATES = "raw"
# Iterations on the raw parameters before. The first steps decide in which of several
# optima a fit ends: on 40 folds of `mixed-40` of benchmarks/fit_speed.py 11 end worse
# than in raw coordinates without these steps, 1 with them (3 each end better).
WARM_UP = 8

# Groups on CPU: small enough for the cache, large enough that Python's share is small.
# Found with benchmarks/group_size.py.
GROUP_ELEMENTS = 260_000  # of the covariance matrices of one group
GROUP_LIMITS = (4, 32)  # models


@dataclass(slots=True)
class ModelResult(OptimizationResult):
    """What a callback is told: BoTorch's result, and which model it is about."""

    model: int = 0
    """Number of the model in batch order."""


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
        :class:`~botorch_xval.records.FitRecord` per model, in batch order.

    Raises:
        ModelFittingError: When all attempts failed for a model. It names the models
            and the reasons; those models have their initial values again, the others
            their fitted ones, and the mll is in training mode. An exception that is not
            of `caught_exception_types` and ends the fit of every model is raised as it
            is.
    """
    if (
        isinstance(mll, SumMarginalLogLikelihood)
        and isinstance(mll.model, ModelListGP)
        and not hasattr(mll.model, "custom_fit")
    ):
        mll.train()
        failed_parts = []
        for i, part in enumerate(mll.mlls):
            try:
                fit_gpytorch_mll(
                    part, closure, optimizer, closure_kwargs, optimizer_kwargs, **kwargs
                )
            except ModelFittingError as error:
                failed_parts.append(f"member {i}: {error}")
        mll.fit_records = [r for m in mll.mlls for r in getattr(m, "fit_records", [])]
        if failed_parts:
            raise ModelFittingError("; ".join(failed_parts))
        return mll.eval() if not any(m.training for m in mll.mlls) else mll
    if (
        closure is not None
        or closure_kwargs is not None
        or optimizer not in (None, fit_independently)
        or kwargs.get("data_loader") is not None
        or hasattr(mll.model, "custom_fit")
        or not isinstance(mll, ExactMarginalLogLikelihood)
    ):
        return botorch.fit.fit_gpytorch_mll(
            mll,
            closure=closure,
            optimizer=optimizer,
            closure_kwargs=closure_kwargs,
            optimizer_kwargs=optimizer_kwargs,
            **kwargs,
        )
    errors = fit_each([mll], optimizer_kwargs, **kwargs)
    if not errors:
        return mll.eval()
    caught = kwargs.get("caught_exception_types", (NotPSDError,))
    known = (ModelFittingError, *caught, *UNDEFINED)
    first = next(iter(errors.values()))
    if len(errors) == len(mll.fit_records) and not any(
        isinstance(error, known) for error in errors.values()
    ):
        raise first  # no model's own trouble but everybody's
    raise ModelFittingError(
        "All attempts to fit the model have failed. "
        + _describe(errors, mll.fit_records)
    ) from first


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
        coordinates: "raw": BoTorch's parameters, and so its path; "log": after a few
            such iterations the logarithms of positive parameters, which takes fewer
            evaluations, but ends in another optimum now and then. For
            `method="L-BFGS-B"`; others have "raw".

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
    errors = _fit(
        [mll],
        parameters=parameters,
        bounds=bounds,
        method=method,
        options=options,
        callback=callback,
        timeout_sec=timeout_sec,
        strategy=strategy,
        coordinates=coordinates,
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
    """
    options = dict(optimizer_kwargs or {})
    unknown = set(options) - {
        *("parameters", "bounds", "method", "options", "callback", "timeout_sec"),
        *("strategy", "coordinates"),
    }
    if unknown:
        raise TypeError(
            f"optimizer_kwargs has unexpected names {sorted(unknown)}; see the "
            "arguments of fit_independently"
        )
    _check_mlls(mlls)
    for mll in mlls:
        mll.train()
    return _fit(
        mlls,
        max_attempts=max_attempts,
        pick_best=pick_best_of_all_attempts,
        warning_handler=warning_handler,
        caught=caught_exception_types,
        **options,
    )


def _check_mlls(mlls: Sequence[MarginalLogLikelihood]) -> None:
    if not mlls:
        raise ValueError("mlls: expected at least one, got none")
    owners: dict[int, int] = {}
    for i, mll in enumerate(mlls):
        if isinstance(mll.model, ModelListGP):
            raise UnsupportedError(
                "fit_each takes no ModelListGP; give it the mlls of its members, or "
                "fit it by fit_gpytorch_mll"
            )
        learned = [
            (path, module)
            for path, module in mll.named_modules()
            if isinstance(module, InputTransform | OutcomeTransform)
        ]
        for path, part in (*mll.named_parameters(), *learned):
            if owners.setdefault(id(part), i) != i:
                raise ValueError(
                    f"mlls {owners[id(part)]} and {i} share their {path!r}; give every "
                    "model its own"
                )


def _fit(
    mlls: Sequence[MarginalLogLikelihood],
    parameters: dict[str, Tensor] | None = None,
    bounds: ParameterBounds | None = None,
    method: str = "L-BFGS-B",
    options: dict[str, Any] | None = None,
    callback: Callback | None = None,
    timeout_sec: float | None = None,
    strategy: str = "auto",
    coordinates: str = DEFAULT_COORDINATES,
    max_attempts: int = 1,
    pick_best: bool = False,
    warning_handler: Callable[[WarningMessage], bool] = DEFAULT_WARNING_HANDLER,
    caught: tuple[type[BaseException], ...] = (NotPSDError,),
) -> dict[int, Exception]:
    """All attempts for all models; writes values and records, returns the failures."""
    _check_choice("strategy", strategy, STRATEGIES)
    _check_choice("coordinates", coordinates, COORDINATES)
    begin = monotonic()
    objective = make_objective(
        mlls, None if parameters is None else list(parameters), bounds
    )
    chosen = None
    if coordinates == "log" and method == "L-BFGS-B":
        chosen = LogCoordinates.of(
            objective.softplus, objective.untransformed, objective.bounds
        )
    caught = (*caught, *UNDEFINED)
    attempts = {i: _Attempts() for i in range(objective.num_models)}
    todo = list(attempts)
    with _single_threaded_torch(objective) as num_threads:
        # A callback is the user's, who may not expect calls from several threads. Only
        # of L-BFGS-B we know that it keeps nothing that threads would share.
        alone = callback is not None or strategy == "loop" or method != "L-BFGS-B"
        count = 1 if alone else num_threads
        workers = objective.workers(max(1, min(count, objective.num_models)))
        for attempt in range(max_attempts):
            starts = objective.start[todo] if attempt == 0 else objective.sample(todo)
            searches = minimize_each(
                workers,
                starts,
                [objective.bounds[i] for i in todo],
                models=todo,
                width=_width(strategy, mlls[0]),
                method=method,
                options=options,
                on_iteration=_report(callback, objective, begin),
                timeout_sec=timeout_sec,
                undefined=(NotPSDError, *UNDEFINED),
                coordinates=chosen,
                warm_up=WARM_UP,
            )
            for i, search in zip(todo, searches, strict=True):
                attempts[i].add(search, _succeeded(search, warning_handler))
            todo = [i for i in todo if attempts[i].goes_on(pick_best, caught)]
            if not todo:
                break
    theta = objective.start.copy()
    for i, each in attempts.items():
        if each.best is not None:
            theta[i] = each.best.best_point
    objective.write(theta)
    records = [each.record() for each in attempts.values()]
    size = len(records) // len(mlls)
    for k, mll in enumerate(mlls):
        mll.fit_records = records[k * size : (k + 1) * size]
    return {
        i: each.last.error or ModelFittingError(each.last.message)
        for i, each in attempts.items()
        if each.best is None
    }


class _Attempts:
    """The attempts to fit one model."""

    def __init__(self) -> None:
        self.best: Search | None = None
        self.last: Search | None = None
        self.count, self.evaluations, self.seconds = 0, 0, 0.0

    def add(self, search: Search, succeeded: bool) -> None:
        self.last = search
        self.count += 1
        self.evaluations += search.evaluations
        self.seconds += search.seconds
        if succeeded and (self.best is None or search.best_loss < self.best.best_loss):
            self.best = search
        self.succeeded = succeeded

    def goes_on(self, pick_best: bool, caught: tuple[type[BaseException], ...]) -> bool:
        if self.succeeded:
            return pick_best
        return self.last.error is None or isinstance(self.last.error, caught)

    def record(self) -> FitRecord:
        search = self.last if self.best is None else self.best
        losses = list(search.losses)
        if losses and search.best_loss < losses[-1]:  # stopped between two iterations
            losses.append(search.best_loss)
        return FitRecord(
            losses=tuple(losses),
            evaluations=self.evaluations,
            iterations=max(len(search.losses) - 1, 0),
            status=search.status,
            message=search.message,
            seconds=self.seconds,
            attempts=self.count,
        )


@contextmanager
def _single_threaded_torch(objective: Objective) -> Iterator[int]:
    """The user's number of threads, for us to use, and one for torch meanwhile.

    Where several threads evaluate small matrices, torch's own would only wait for each
    other. The general paths and CUDA keep the user's setting.
    """
    num_threads = torch.get_num_threads()
    if not objective.is_parallel:
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield num_threads
    finally:
        torch.set_num_threads(num_threads)


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name}: expected one of {known}, got {value!r}")


def _width(strategy: str, mll: MarginalLogLikelihood) -> int | None:
    """How many models run at the same time; None for all."""
    targets = mll.model.train_targets
    if strategy == "loop":
        return 1
    if strategy == "batch" or targets.is_cuda:
        return None
    least, most = GROUP_LIMITS
    return min(max(GROUP_ELEMENTS // targets.shape[-1] ** 2, least), most)


def _report(
    callback: Callback | None,
    objective: Objective,
    begin: float,
) -> OnIteration | None:
    if callback is None:
        return None

    def report(model: int, theta: np.ndarray, iteration: int, loss: float) -> None:
        callback(
            objective.parameters(theta, model),
            ModelResult(
                step=iteration,
                fval=loss,
                status=OptimizationStatus.RUNNING,
                runtime=monotonic() - begin,
                model=model,
            ),
        )

    return report


def _succeeded(
    search: Search, warning_handler: Callable[[WarningMessage], bool]
) -> bool:
    """BoTorch's policy: the warning handler may still accept a failed search."""
    if search.status is not OptimizationStatus.FAILURE:
        return True
    if search.error is not None or not np.isfinite(search.best_loss):
        return False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn(search.message, OptimizationWarning, stacklevel=1)
    return warning_handler(caught[0])


def _describe(errors: dict[int, Exception], records: Sequence[FitRecord]) -> str:
    shown = [f"model {i}: {records[i].message}" for i in list(errors)[:5]]
    more = [f"and {len(errors) - 5} more"] if len(errors) > 5 else []
    return f"{len(errors)} of {len(records)} fits failed: " + "; ".join(shown + more)
