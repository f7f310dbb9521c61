"""How the models of an objective are spread over groups and threads.

Models run in groups that fit into the cache, one group in each thread. Meanwhile torch
has one thread, since its threads would only wait for each other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from queue import Queue
from threading import Lock, local
from time import monotonic

import numpy as np
import torch
from botorch.optim.core import OptimizationStatus
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor
from torch.linalg import LinAlgError

from botorch_xval.fitting.coordinates import Array, Coordinates
from botorch_xval.fitting.drive import OnEnd, OnIteration, minimize_each
from botorch_xval.fitting.losses.apart import evaluate_apart
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.options import FitOptions, ModelResult
from botorch_xval.fitting.search import Search, Start

__all__ = [
    "UNDEFINED",
    "evaluate_each",
    "search_each",
    "single_threaded_torch",
    "threads_for",
    "threads_for_modules",
]

logger = logging.getLogger(__name__)
# For BoTorch, too, these mean that a loss is not a number.
UNDEFINED = (NanError, LinAlgError)
# Points from which on a single model has all of torch's threads. Two of them evaluate a
# model of 430 points 1.3 to 1.6 times as fast as one, but 50 times slower on a machine
# whose two cores are busy: they wait for each other in every small operation.
LARGE_MODEL = 1000
# The same for models without a closed form: with one thread BoTorch's own fits of 60
# folds take 0.3 to 0.7 of the time.
LARGE_MODEL_OF_MODULES = 100
# Elements of covariance matrices that each thread must have. With fewer, the steps of
# the searches, which Python's lock keeps one after the other, are most of the time.
THREAD_ELEMENTS = 30_000


def search_each(
    objective: Objective,
    starts: Sequence[Start],
    models: Sequence[int],
    options: FitOptions,
    *,
    coordinates: Coordinates | Sequence[Coordinates] | None,
    warm_up: int | Sequence[int] = 0,
    on_end: OnEnd | None = None,
    deadline: float = np.inf,
) -> list[Search]:
    """Searches of chosen models from these starts.

    Args:
        objective: Of the models.
        starts: Initial parameters, `a`.
        models: Which models, `a`.
        options: The options of the fit.
        coordinates: What SciPy sees instead of the parameters, for all or for each.
        warm_up: Iterations to do before on the parameters themselves, of all searches
            or of each.
        on_end: See :func:`~botorch_xval.fitting.minimize_each`.
        deadline: By `time.monotonic`, when every model stops.

    Returns:
        The ended searches.
    """
    labels = [start.label for start in starts]
    count = 1
    if not options.is_for_one_thread:
        count = _threads_worth(objective, len(models))
    width: int | None = objective.group_size
    if options.strategy == "loop":
        width = 1
    elif options.strategy == "batch" and objective.device.type != "cuda":
        width = None
    workers = objective.workers(count)
    if width is not None:  # no thread may take what others are waiting for
        width = min(width, -(-len(models) // len(workers)))
    with threads_for(objective):
        return minimize_each(
            workers,
            np.stack([start.values for start in starts]),
            [objective.bounds[i] for i in models],
            models=models,
            width=width,
            method=options.method,
            options=options.scipy_options,
            on_iteration=_reporter(objective, models, labels, options),
            on_end=on_end,
            deadline=deadline,
            undefined=(NotPSDError, *UNDEFINED),
            coordinates=coordinates,
            warm_up=warm_up,
        )


def _reporter(
    objective: Objective,
    models: Sequence[int],
    labels: Sequence[str],
    options: FitOptions,
) -> OnIteration | None:
    callback, begin = options.callback, monotonic()
    if callback is None:
        return None
    stopped: dict[int, StopIteration] = {}  # by model

    def report(search: int, theta: Array, iteration: int, loss: float) -> None:
        model = models[search]
        if model in stopped:  # by what its callback said of another of its searches
            raise StopIteration(*stopped[model].args)
        try:
            callback(
                objective.parameters(theta, model),
                ModelResult(
                    step=iteration,
                    fval=loss,
                    status=OptimizationStatus.RUNNING,
                    runtime=monotonic() - begin,
                    model=model,
                    start=labels[search],
                ),
            )
        except StopIteration as stop:
            stopped[model] = stop
            raise

    return report


def _threads_worth(objective: Objective, count: int) -> int:
    """How many threads evaluate `count` models at a time faster than one of them."""
    elements = count * objective.num_points**2
    return max(1, min(_THREADS.number(), count, elements // THREAD_ELEMENTS))


def evaluate_each(
    objective: Objective, theta: Array, models: Sequence[int]
) -> tuple[Array, Array]:
    """Losses, `a`, and gradients, `a x p`, of any number of points, in groups.

    A point without a value has NaN: its covariance is not positive definite, or the
    evaluation of its model raises. A fit of that model says why.
    """
    losses, gradients = np.full(len(theta), np.nan), np.full(theta.shape, np.nan)

    def evaluate(worker: Objective, part: list[int]) -> None:
        own = [models[i] for i in part]
        found = evaluate_apart(worker, theta[part], own)
        losses[part], gradients[part] = found.losses, found.gradients
        for k, error in found.errors.items():
            logger.debug("model %d has no loss: %s", own[k], error)

    workers = objective.workers(_threads_worth(objective, len(theta)))
    width = objective.group_size
    parts = [
        list(range(i, min(i + width, len(theta)))) for i in range(0, len(theta), width)
    ]
    if len(workers) == 1:
        with threads_for(objective):
            for part in parts:
                evaluate(workers[0], part)
        return losses, gradients
    free: Queue[Objective] = Queue()
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
    """The user's number of torch threads, while torch is to have only one.

    With OpenMP every thread has a setting of its own, and a new one begins with what
    was set last in any. So each thread that fits changes it for itself, and back.
    """

    def __init__(self) -> None:
        self._lock, self._users, self._number = Lock(), 0, 1
        self._own = local()

    def number(self) -> int:
        """The user's number."""
        return self._number if self._users else torch.get_num_threads()

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._number = torch.get_num_threads()
            self._users += 1
        self._own.depth = getattr(self._own, "depth", 0) + 1
        if self._own.depth == 1:
            torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
        self._own.depth -= 1
        if not self._own.depth:
            torch.set_num_threads(self._number)


_THREADS = _Threads()


def single_threaded_torch() -> AbstractContextManager[None]:
    """One thread for torch, whose threads would only wait for each other.

    That is so for small matrices, and where several threads evaluate.
    """
    return _THREADS


def threads_for(objective: Objective) -> AbstractContextManager[None]:
    """One thread for torch, unless a single model is large enough to need more."""
    limit = LARGE_MODEL if objective.is_parallel else LARGE_MODEL_OF_MODULES
    is_small = objective.device.type == "cpu" and objective.num_points < limit
    return _THREADS if is_small else nullcontext()


def threads_for_modules(targets: Tensor) -> AbstractContextManager[None]:
    """The same for evaluations by GPyTorch's modules before there is an objective.

    Args:
        targets: Of the model, `... x n`.
    """
    n = targets.shape[-1]
    is_small = targets.device.type == "cpu" and n < LARGE_MODEL_OF_MODULES
    return _THREADS if is_small else nullcontext()
