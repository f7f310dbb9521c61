"""Many searches driven together: values of all that wait are asked for at once.

The driver collects the points at which searches wait, asks for all their values in one
evaluation, and hands out the answers. No search sees another.

This module knows no Gaussian process: a model is a row of an array of parameters.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from threading import Event
from time import monotonic
from typing import Any

import numpy as np
from botorch.optim.core import OptimizationStatus
from scipy.optimize import Bounds
from threadpoolctl import ThreadpoolController

from botorch_xval.fitting.coordinates import Array, Coordinates
from botorch_xval.fitting.losses.apart import Evaluate, evaluate_apart
from botorch_xval.fitting.search import Search, check_method, points_of
from botorch_xval.models.checks import check_whole, wrong

__all__ = ["Evaluate", "OnEnd", "OnIteration", "minimize_each"]

OnIteration = Callable[[int, Array, int, float], None]
OnEnd = Callable[[int, Search], None]


def minimize_each(
    evaluate: Evaluate | Sequence[Evaluate],
    starts: Array,
    bounds: Sequence[Bounds | None] | None = None,
    *,
    models: Sequence[int] | None = None,
    width: int | None = None,
    method: str = "L-BFGS-B",
    options: dict[str, Any] | None = None,
    on_iteration: OnIteration | None = None,
    on_end: OnEnd | None = None,
    deadline: float = np.inf,
    undefined: tuple[type[BaseException], ...] = (),
    coordinates: Coordinates | Sequence[Coordinates] | None = None,
    warm_up: int | Sequence[int] = 0,
) -> list[Search]:
    """Minimize every model's loss on its own, evaluating those that run together.

    Args:
        evaluate: `losses, gradients = evaluate(points, models)` with points and
            gradients `a x p` and losses `a`, for `a` chosen models. When it raises for
            several models, each of them is evaluated alone, and only those for which
            it raises again end with that error. Several such functions, which must not
            share what they write to, are used by as many threads.
        starts: Initial parameters, `b x p`.
        bounds: For each of the `b` models its bounds, or None.
        models: The numbers of the `b` models as `evaluate` knows them; default
            `0 ... b - 1`.
        width: How many models run at the same time in each thread; when one ends the
            next one begins. Default: all, or an equal share of them. It changes the
            order of evaluations, not the results.
        method: A gradient-based method of :func:`scipy.optimize.minimize`.
        options: Its options, the same for every model.
        on_iteration: Called as `(search, parameters, iteration, loss)` after every
            accepted iteration, with the row of `starts`; StopIteration ends that search
            only.
        on_end: Called as `(model, search)` when a search has ended, from its thread.
        deadline: By `time.monotonic`, when every running model stops at its best point.
        undefined: Exceptions that say that the loss has no value at this point; the
            search then tries a shorter step, as it does where the loss is not finite.
        coordinates: What SciPy is to see instead of the parameters, for all models or
            for each.
        warm_up: Iterations to do before on the parameters themselves, of all searches
            or of each.

    Returns:
        The ended searches, in the order of `starts`.

    Raises:
        ValueError: If an argument is not as described.
    """
    evaluators: Any = [evaluate] if callable(evaluate) else evaluate
    if not evaluators or not all(map(callable, evaluators)):
        expected, remedy = (
            "a function, or several",
            "pass losses_and_gradients(points, models)",
        )
        raise wrong("evaluate", expected, repr(evaluate), remedy)
    if getattr(starts, "ndim", 0) != 2:
        got = f"the shape {np.shape(starts)} of a {type(starts).__name__}"
        raise wrong("starts", "an array `b x p`", got, "for one search use start[None]")
    for name, values in (("bounds", bounds), ("models", models)):
        if values is not None and len(values) != len(starts):
            expected = f"one for each of {len(starts)} starts"
            raise wrong(name, expected, len(values), "leave it out for the default")
    if width is not None:
        check_whole("width", width, 1)
    check_method(method)
    names = list(range(len(starts))) if models is None else list(models)
    if width is None:
        width = -(-len(names) // len(evaluators))
    queue = deque(range(len(names)))
    searches: dict[int, Search] = {}
    halt = Event()

    def reporter(i: int) -> Callable[[Array, int, float], None] | None:
        if on_iteration is None:
            return None
        return lambda x, iteration, loss: on_iteration(i, x, iteration, loss)

    def drive(evaluate: Evaluate) -> None:
        running: list[int] = []
        while not halt.is_set():
            while len(running) < width and queue:
                try:
                    running.append(queue.popleft())
                except IndexError:  # another thread was faster
                    break
                i = running[-1]
                searches[i] = Search(
                    starts[i],
                    None if bounds is None else bounds[i],
                    method,
                    options,
                    reporter(i),
                    coordinates[i]
                    if isinstance(coordinates, Sequence)
                    else coordinates,
                    warm_up[i] if isinstance(warm_up, Sequence) else warm_up,
                )
            if not running:
                return
            waiting = [i for i in running if searches[i].x is not None]
            _advance(
                evaluate,
                [searches[i] for i in waiting],
                [names[i] for i in waiting],
                undefined,
            )
            if monotonic() > deadline:
                for i in running:
                    searches[i].stop(OptimizationStatus.STOPPED, "timed out")
            ended = [i for i in running if searches[i].x is None]
            running = [i for i in running if searches[i].x is not None]
            if on_end is not None:
                for i in ended:
                    on_end(names[i], searches[i])

    # SciPy's line searches set warning filters for a while, and so do several searches
    # in turn; the outer context puts back what was there before.
    with _single_threaded_blas(), warnings.catch_warnings():
        if len(evaluators) == 1:
            drive(evaluators[0])
            return [searches[i] for i in range(len(names))]
        with ThreadPoolExecutor(len(evaluators)) as pool:
            try:
                futures = [pool.submit(drive, each) for each in evaluators]
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                halt.set()  # no thread goes on after an error
        for future in futures:
            future.result()
    return [searches[i] for i in range(len(names))]


def _advance(
    evaluate: Evaluate,
    waiting: Sequence[Search],
    models: list[int],
    undefined: tuple[type[BaseException], ...],
) -> None:
    """Give searches that wait their values."""
    if not waiting:
        return
    points, slopes_of = points_of(waiting)
    nowhere = ~np.isfinite(points).all(axis=1)  # exponential functions of long steps
    if nowhere.any():
        for i in np.flatnonzero(nowhere).tolist():
            waiting[i].advance(np.nan, np.full_like(points[i], np.nan))
        rest = np.flatnonzero(~nowhere).tolist()
        _advance(
            evaluate,
            [waiting[i] for i in rest],
            [models[i] for i in rest],
            undefined,
        )
        return
    start = monotonic()
    found = evaluate_apart(evaluate, points, models)
    seconds = (monotonic() - start) / len(waiting)
    losses, slopes = found.losses.tolist(), slopes_of(found.gradients)
    for i, search in enumerate(waiting):
        search.seconds += seconds
        error = found.errors.get(i)
        if error is None or (isinstance(error, undefined) and search.has_begun):
            search.advance(losses[i], found.gradients[i], points[i], slopes[i])
        else:
            search.fail(error)


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # milliseconds: it looks through all loaded libraries


@contextmanager
def _single_threaded_blas() -> Iterator[None]:
    """One thread for the BLAS under SciPy, whose L-BFGS-B works on tiny vectors.

    Measured on two busy cores: 2,042 steps in 1.0 to 6.8 s with threads, 0.018 s here.
    """
    with _thread_pools().limit(limits=1, user_api="blas"):
        yield
