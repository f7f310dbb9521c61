"""The fits of many models: their attempts, their ends, and what is kept of them.

Each model is tried from its initial values; one whose attempt fails is tried again
alone, from values sampled from its priors. At the end every model has the values of its
best attempt, or its initial ones.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from queue import Queue
from threading import Lock
from time import monotonic
from typing import Any
from warnings import WarningMessage, warn

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import OptimizationWarning
from botorch.fit import DEFAULT_WARNING_HANDLER
from botorch.optim.core import OptimizationResult, OptimizationStatus
from gpytorch.mlls import MarginalLogLikelihood
from linear_operator.utils.errors import NanError, NotPSDError
from numpy.typing import NDArray
from scipy.optimize import Bounds
from torch import Tensor
from torch.linalg import LinAlgError
from tqdm import tqdm

from botorch_xval.fitting.coordinates import LogCoordinates
from botorch_xval.fitting.losses.modules import ParameterBounds
from botorch_xval.fitting.losses.objective import Objective, make_objective
from botorch_xval.fitting.records import FitRecord
from botorch_xval.fitting.search import (
    OnEnd,
    OnIteration,
    Search,
    gradient_norm,
    minimize_each,
)

__all__ = [
    "FitProgress",
    "ModelResult",
    "evaluate_each",
    "fit_models",
    "names_at_bounds",
    "record_of",
    "search_each",
    "single_threaded_torch",
]

Array = NDArray[np.float64]

Callback = Callable[[dict[str, Tensor], OptimizationResult], None]
# BoTorch, too, takes these for a loss that is not a number.
UNDEFINED = (NanError, LinAlgError)
STRATEGIES = ("auto", "loop", "batch")
COORDINATES = ("log", "raw")
DEFAULT_COORDINATES = "log"
# In logarithmic coordinates: iterations on the raw parameters before, and L-BFGS-B's
# memory. The first steps decide in which of several optima a fit ends. Of the 1,065
# models of benchmarks/coordinates.py 79 end more than 1e-3 worse than in raw
# coordinates without these steps, 14 with them (and 132 and 46 better).
WARM_UP = 8
MEMORY = 30

# Points from which on a single model has all of torch's threads. Two of them evaluate a
# model of 430 points 1.3 to 1.6 times as fast as one, but 50 times slower on a machine
# whose two cores are busy: they wait for each other in every small operation.
LARGE_MODEL = 1000
# The same for models without a closed form: with one thread BoTorch's own fits of 60
# folds take 0.3 to 0.7 of the time.
LARGE_MODEL_OF_MODULES = 100


@dataclass(slots=True)
class ModelResult(OptimizationResult):
    """What a callback is told: BoTorch's result, and which model it is about."""

    model: int = 0
    """Number of the model in batch order."""


def fit_models(
    mlls: Sequence[MarginalLogLikelihood],
    parameters: dict[str, Tensor] | None = None,
    bounds: ParameterBounds | None = None,
    method: str = "L-BFGS-B",
    options: dict[str, Any] | None = None,
    callback: Callback | None = None,
    timeout_sec: float | None = None,
    strategy: str = "auto",
    coordinates: str = DEFAULT_COORDINATES,
    progress: bool = False,
    max_attempts: int = 1,
    pick_best: bool = False,
    warning_handler: Callable[[WarningMessage], bool] = DEFAULT_WARNING_HANDLER,
    caught: tuple[type[BaseException], ...] = (NotPSDError,),
    witnesses: dict[int, MarginalLogLikelihood] | None = None,
) -> dict[int, Exception]:
    """All attempts for all models; writes values and records, returns the failures."""
    _check_choice("strategy", strategy, STRATEGIES)
    _check_choice("coordinates", coordinates, COORDINATES)
    begin = monotonic()
    is_grad_enabled = torch.is_grad_enabled()
    objective = make_objective(
        mlls, None if parameters is None else list(parameters), bounds, witnesses
    )
    chosen, options = None, dict(options or {})
    if coordinates == "log" and method == "L-BFGS-B":
        chosen = LogCoordinates.of(
            objective.softplus, objective.untransformed, objective.bounds
        )
        options.setdefault("maxcor", MEMORY)
    caught = (*caught, *UNDEFINED)
    attempts = {i: _Attempts() for i in range(objective.num_models)}
    todo = list(attempts)
    # A callback is the user's, who may not expect calls from several threads. Only of
    # L-BFGS-B we know that it keeps nothing that threads would share.
    alone = callback is not None or method != "L-BFGS-B"
    bar = FitProgress(len(todo), progress)
    try:
        for attempt in range(max_attempts):
            searches = search_each(
                objective,
                objective.start[todo] if attempt == 0 else objective.sample(todo),
                todo,
                strategy=strategy,
                alone=alone,
                method=method,
                options=options,
                on_iteration=_report(callback, objective, begin),
                on_end=bar.on_end(objective, chosen),
                timeout_sec=timeout_sec,
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
    except BaseException:
        # Ctrl-C: no model may have a part of its values, and where it interrupts the
        # end of a context manager, such as `no_grad`, that has restored nothing.
        torch.set_grad_enabled(is_grad_enabled)
        objective.write(objective.start)
        raise
    finally:
        bar.close()
    records = [each.record(objective, i, chosen) for i, each in attempts.items()]
    size = len(records) // len(mlls)
    for k, mll in enumerate(mlls):
        mll.fit_records = records[k * size : (k + 1) * size]
    return {
        i: each.last.error or ModelFittingError(each.last.message)
        for i, each in attempts.items()
        if each.best is None
    }


class FitProgress:
    """A bar of the models that are done, with the worst gradient norm among them."""

    def __init__(self, total: int, shown: bool) -> None:
        self._bar = tqdm(total=total, unit="fit", disable=not shown)
        self._worst, self._shown, self._lock = 0.0, shown, Lock()

    def on_end(
        self, objective: Objective, coordinates: LogCoordinates | None
    ) -> OnEnd | None:
        """What :func:`minimize_each` is to call; None if no bar is shown."""
        if not self._shown:
            return None

        def report(model: int, search: Search) -> None:
            norm = _norm(search, objective.bounds[model], coordinates)
            with self._lock:
                self._worst = max(self._worst, norm)  # keeps its own where norm is NaN
                self._bar.set_postfix_str(
                    f"worst gradient norm {self._worst:.1e}", refresh=False
                )
                # A model that is tried again has been counted already.
                self._bar.update(self._bar.n < self._bar.total)

        return report

    def close(self) -> None:
        self._bar.close()


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

    def record(
        self, objective: Objective, model: int, coordinates: LogCoordinates | None
    ) -> FitRecord:
        search = self.last if self.best is None else self.best
        costs = self.evaluations, self.seconds, self.count
        return record_of(search, objective, model, coordinates, *costs)


def record_of(
    search: Search,
    objective: Objective,
    model: int,
    coordinates: LogCoordinates | None,
    evaluations: int,
    seconds: float,
    attempts: int,
    condition: float = math.nan,
) -> FitRecord:
    """What is kept of an ended search, with the costs of all attempts."""
    losses = list(search.losses)
    if losses and search.best_loss < losses[-1]:  # stopped between two iterations
        losses.append(search.best_loss)
    return FitRecord(
        losses=tuple(losses),
        evaluations=evaluations,
        iterations=max(len(search.losses) - 1, 0),
        status=search.status,
        message=search.message,
        seconds=seconds,
        attempts=attempts,
        gradient_norm=_norm(search, objective.bounds[model], coordinates),
        step_length=search.step_length,
        at_bounds=names_at_bounds(objective, search.best_point, model),
        condition=condition,
    )


def _norm(search: Search, bounds: Bounds, coordinates: LogCoordinates | None) -> float:
    if search.best_gradient is None:
        return math.nan
    return gradient_norm(search.best_point, search.best_gradient, bounds, coordinates)


def names_at_bounds(
    objective: Objective, theta: np.ndarray, model: int
) -> tuple[str, ...]:
    """Names of the parameters of a model that are on a bound, to rounding."""
    bounds, near = objective.bounds[model], 1e-9 * (1 + np.abs(theta))
    resting = (theta <= bounds.lb + near) | (theta >= bounds.ub - near)
    if not resting.any():
        return ()
    names = []
    for name, part in objective.parameters(resting.astype(float), model).items():
        flat = part.reshape(-1)
        names += [
            name if len(flat) == 1 else f"{name}[{i}]" for i in flat.nonzero()[:, 0]
        ]
    return tuple(names)


def search_each(
    objective: Objective,
    starts: Array,
    models: list[int],
    strategy: str = "auto",
    alone: bool = False,
    **arguments: Any,
) -> list[Search]:
    """Searches of chosen models from these starts, in groups and threads as is best.

    Args:
        objective: Of the models.
        starts: Initial parameters, `a x p`.
        models: Which models, `a`.
        strategy: "loop", "batch" or "auto".
        alone: Whether one thread has to do.
        **arguments: Of :func:`~botorch_xval.fitting.minimize_each`.

    Returns:
        The ended searches.
    """
    alone = alone or strategy == "loop"
    count = 1 if alone else max(1, min(_THREADS.number(), len(models)))
    workers = objective.workers(count)
    with single_threaded_torch() if _is_small(objective) else nullcontext():
        return minimize_each(
            workers,
            starts,
            [objective.bounds[i] for i in models],
            models=models,
            width=_width(strategy, objective),
            undefined=(NotPSDError, *UNDEFINED),
            **arguments,
        )


def _is_small(objective: Objective) -> bool:
    if objective.device.type != "cpu":
        return False
    limit = LARGE_MODEL if objective.is_parallel else LARGE_MODEL_OF_MODULES
    return objective.num_points < limit


def evaluate_each(
    objective: Objective, theta: Array, models: Sequence[int]
) -> tuple[Array, Array]:
    """Losses, `a`, and gradients, `a x p`, of any number of points, in groups.

    A point without a value, as its covariance is not positive definite, has NaN.
    """
    losses, gradients = np.full(len(theta), np.nan), np.full(theta.shape, np.nan)

    def evaluate(own: Objective, part: list[int]) -> None:
        try:
            losses[part], gradients[part] = own(theta[part], [models[i] for i in part])
        except (NotPSDError, *UNDEFINED):
            if len(part) > 1:
                for i in part:
                    evaluate(own, [i])

    workers = objective.workers(min(_THREADS.number(), len(theta)))
    width = objective.group_size
    parts = [
        list(range(i, min(i + width, len(theta)))) for i in range(0, len(theta), width)
    ]
    if len(workers) == 1:
        with single_threaded_torch() if _is_small(objective) else nullcontext():
            for part in parts:
                evaluate(workers[0], part)
        return losses, gradients
    free = Queue()
    for worker in workers:
        free.put(worker)

    def work(part: list[int]) -> None:
        worker = free.get()
        try:
            evaluate(worker, part)
        finally:
            free.put(worker)

    with single_threaded_torch(), ThreadPoolExecutor(len(workers)) as pool:
        list(pool.map(work, parts))
    return losses, gradients


class _Threads:
    """The user's number of torch threads, while there are to be none but one.

    The setting belongs to the process, so fits in several threads share it: the first
    one changes it and the last one changes it back.
    """

    def __init__(self) -> None:
        self._lock, self._users, self._number = Lock(), 0, 1

    def number(self) -> int:
        return self._number if self._users else torch.get_num_threads()

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._number = torch.get_num_threads()
                torch.set_num_threads(1)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                torch.set_num_threads(self._number)


_THREADS = _Threads()


def single_threaded_torch() -> AbstractContextManager[None]:
    """One thread for torch, whose threads would only wait for each other.

    That is so for small matrices, and where several threads evaluate.
    """
    return _THREADS


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name}: expected one of {known}, got {value!r}")


def _width(strategy: str, objective: Objective) -> int | None:
    """How many models run at the same time; None for all."""
    if strategy == "loop":
        return 1
    if strategy == "batch" and objective.device.type != "cuda":
        return None
    return objective.group_size


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
