"""One SciPy minimizer per model, driven together.

Every model has its own :func:`scipy.optimize.minimize`, which runs in a coroutine and
pauses whenever it wants the value and gradient of its loss. The driver collects the
points that wait, asks for all their values at once, and hands out the answers. No
search sees another: its iterates are those of a plain call of SciPy.

This module knows no Gaussian process: a model is a row of an array of parameters.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Event
from time import monotonic
from typing import Any

import numpy as np
from botorch.optim.core import OptimizationStatus
from greenlet import getcurrent, greenlet
from numpy.typing import NDArray
from scipy.optimize import Bounds, OptimizeResult, minimize
from threadpoolctl import ThreadpoolController

from botorch_xval.fitting.coordinates import Coordinates, LogCoordinates

__all__ = ["Search", "gradient_norm", "minimize_each"]

Array = NDArray[np.float64]
Evaluate = Callable[[Array, list[int]], tuple[Array, Array]]
OnIteration = Callable[[int, Array, int, float], None]
OnEnd = Callable[[int, "Search"], None]


@dataclass(frozen=True)
class _Value:
    x: Array  # what SciPy sees
    theta: Array
    loss: float
    gradient: Array  # by x


# In a warm-up a positive parameter keeps at least this share of its start. To undo a
# step that has thrown a noise variance of 0.1 to its bound of 1e-6 takes many more.
WARM_UP_SHARE = 1e-3


def gradient_norm(
    theta: Array,
    gradient: Array,
    bounds: Bounds | None,
    coordinates: LogCoordinates | None,
) -> float:
    """Largest component of a step against the gradient that the bounds allow.

    Args:
        theta: Parameters, `p`.
        gradient: Gradient of a loss by them, `p`.
        bounds: Their bounds.
        coordinates: Those in which the step is taken; None for the parameters.

    Returns:
        The largest component of :math:`|P(x - g) - x|`, with :math:`P` the projection
        on the bounds: what SciPy's `gtol` is about.
    """
    x = theta
    if coordinates is not None:
        x = coordinates.from_raw(theta)
        gradient = coordinates.at(x)[1](gradient)
        bounds = None if bounds is None else coordinates.bounds(bounds)
    step = x - gradient
    if bounds is not None:
        step = np.clip(step, bounds.lb, bounds.ub)
    return float(np.abs(step - x).max())


# SciPy's methods have different codes for a limit reached, but all say it in words.
_LIMIT_REACHED = re.compile(r"limit|max", re.IGNORECASE)


class _Stop(BaseException):
    """Thrown into a search to end it; no `Exception`, so that no method swallows it."""


class Search:
    """One run of :func:`scipy.optimize.minimize` that pauses for every value.

    Attributes:
        point: Where a value is wanted next, or None once the search has ended.
        best_point: The best point so far; the result once the search has ended.
        best_loss: The loss there; infinite before the first finite value.
        losses: The loss at the start and after every accepted iteration.
        evaluations: How many values were asked for.
        status: RUNNING until it has ended.
        message: Why it ended.
        error: The exception that ended it, if one did.
        seconds: Its share of the time spent on evaluations.
        best_gradient: The gradient at the best point; None before the first value.
        step_length: Euclidean length of the last accepted step, in the coordinates that
            SciPy sees; NaN before the first one.
    """

    def __init__(
        self,
        start: Array,
        bounds: Bounds | None = None,
        method: str = "L-BFGS-B",
        options: dict[str, Any] | None = None,
        on_iteration: Callable[[Array, int, float], None] | None = None,
        coordinates: Coordinates | None = None,
        warm_up: int = 0,
    ) -> None:
        """
        Args:
            start: Initial parameters, `p`.
            bounds: Lower and upper bounds of the parameters.
            method: A gradient-based method of :func:`scipy.optimize.minimize`.
            options: Its options.
            on_iteration: Called with the parameters, the number of the iteration and
                the loss after every accepted iteration; StopIteration ends the search.
            coordinates: What SciPy is to see instead of the parameters.
            warm_up: Iterations to do before on the parameters themselves.
        """
        self.best_point = np.array(start, dtype=np.float64)
        self.best_loss = np.inf
        self.best_gradient: Array | None = None
        self.losses: list[float] = []
        self.evaluations = 0
        self.status = OptimizationStatus.RUNNING
        self.message = ""
        self.error: Exception | None = None
        self.seconds = 0.0
        self.step_length = math.nan
        self._bounds, self._method = bounds, method
        self._options = dict(options or {})
        self._on_iteration = on_iteration
        self._coordinates, self._warm_up = coordinates, warm_up
        self._recent: list[_Value] = []
        self._driver = getcurrent()
        self._coroutine = greenlet(self._run)
        self.point: Array | None = self._coroutine.switch()

    def advance(self, loss: float, gradient: Array) -> None:
        """Give the value at `point` and run until the next one is wanted.

        A point without a finite loss and gradient counts as worse than the last
        accepted one, so that the search takes a shorter step; at the start it ends it.
        """
        self.evaluations += 1
        if math.isfinite(loss) and np.isfinite(gradient).all():
            if not self.losses:
                self.losses.append(loss)
            if loss < self.best_loss:
                self.best_point, self.best_loss = self.point, loss
                self.best_gradient = gradient
        elif not self.losses:
            self.stop(OptimizationStatus.FAILURE, f"the loss at the start is {loss}")
            return
        self.point = self._coroutine.switch((loss, gradient))

    def stop(self, status: OptimizationStatus, message: str) -> None:
        """End the search at its best point so far."""
        if self.point is not None:
            self.status, self.message = status, message
            self.point = self._coroutine.throw(_Stop)

    def fail(self, error: Exception) -> None:
        """End the search because its value could not be computed."""
        self.evaluations += 1
        self.error = error
        self.stop(OptimizationStatus.FAILURE, f"{type(error).__name__}: {error}")

    def _run(self) -> None:
        try:
            result = None
            if self._coordinates is not None and self._warm_up:
                result = self._warmed_up()
            if result is None or not self._is_spent():
                result = self._minimize({})
            self._finish(result)
        except _Stop:
            return  # whoever stopped it has set status and message

    def _is_spent(self) -> bool:
        iterations = len(self.losses) - 1
        return iterations >= self._options.get(
            "maxiter", np.inf
        ) or self.evaluations >= self._options.get("maxfun", np.inf)

    def _warmed_up(self) -> OptimizeResult:
        """The first iterations, on the parameters themselves."""
        coordinates, bounds = self._coordinates, self._bounds
        self._coordinates = None
        if bounds is not None:
            low = coordinates.share_of(self.best_point, WARM_UP_SHARE)
            self._bounds = Bounds(np.maximum(bounds.lb, low), bounds.ub)
        limit = min(self._warm_up, self._options.get("maxiter", np.inf))
        result = self._minimize({"maxiter": limit})
        self._coordinates, self._bounds = coordinates, bounds
        return result

    def _minimize(self, options: dict[str, Any]) -> OptimizeResult:
        """SciPy, from the best point on, with what is left of the user's limits."""
        start, bounds, left = self.best_point, self._bounds, dict(self._options)
        if self._coordinates is not None:
            start = self._coordinates.from_raw(start)
            bounds = None if bounds is None else self._coordinates.bounds(bounds)
        for name, used in (
            ("maxiter", max(len(self.losses) - 1, 0)),
            ("maxfun", self.evaluations),
        ):
            if name in left:
                left[name] = max(left[name] - used, 1)
        self._accepted: _Value | None = None
        return minimize(
            self._value,
            start,
            jac=self._slope,
            bounds=bounds,
            method=self._method,
            options={**left, **options},
            callback=self._iteration,
        )

    def _value(self, x: Array) -> float:
        x = np.array(x)
        theta = x
        if self._coordinates is not None:
            theta, pull_back = self._coordinates.at(x)
            theta, flat = self._inside(theta)
        loss, gradient = self._driver.switch(theta)
        if self._coordinates is not None:
            with np.errstate(invalid="ignore", over="ignore"):  # far away
                gradient = pull_back(np.where(flat, 0.0, gradient))
        if math.isfinite(loss) and np.isfinite(gradient).all():
            value = _Value(x, theta, loss, gradient)
            self._recent.append(value)
            if self._accepted is None:
                self._accepted = value
        else:
            # As if there were a parabola along the step with its minimum a tenth of the
            # way out: what SciPy's line searches interpolate is then well defined.
            last = self._accepted
            loss = last.loss + 4 * abs(last.gradient @ (x - last.x))
            gradient = -last.gradient
        self._at, self._gradient = x, gradient
        return loss

    def _inside(self, theta: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Within the bounds, and where it was outside by more than rounding.

        There, as seen through the coordinates, the loss does not change any more.
        """
        if self._bounds is None:
            return theta, np.zeros(theta.shape, dtype=bool)
        low, high = self._bounds.lb, self._bounds.ub
        outside = (theta < low - 1e-9 * (1 + np.abs(low))) | (
            theta > high + 1e-9 * (1 + np.abs(high))
        )
        return np.clip(theta, low, high), outside

    def _slope(self, x: Array) -> Array:
        if not np.array_equal(x, self._at):  # nearly always it is where the value was
            self._value(x)
        return self._gradient

    def _iteration(self, x: Array, *_: Any) -> None:
        # Not every method hands its loss to the callback, so it is looked up.
        for value in reversed(self._recent):
            if np.array_equal(value.x, x):
                self.step_length = float(np.linalg.norm(x - self._accepted.x))
                self._accepted = value
                break
        self._recent.clear()
        last = self._accepted
        self.losses.append(last.loss)
        if self._on_iteration is not None:
            try:
                self._on_iteration(last.theta.copy(), len(self.losses) - 1, last.loss)
            except StopIteration as stop:
                self.status = OptimizationStatus.STOPPED
                self.message = f"stopped by the callback {stop}".strip()
                raise _Stop from stop

    def _finish(self, result: OptimizeResult) -> None:
        message = result.message
        self.message = message if isinstance(message, str) else message.decode("ascii")
        x, loss = np.array(result.x), float(result.fun)
        finite = np.isfinite(loss) and np.isfinite(x).all()
        if finite and loss <= self.losses[-1]:
            self.best_point, self.best_loss = x, loss
            if self._coordinates is not None:
                self.best_point, _ = self._inside(self._coordinates.at(x)[0])
        if result.success and finite:
            self.status = OptimizationStatus.SUCCESS
        elif _LIMIT_REACHED.search(self.message) and finite:
            self.status = OptimizationStatus.STOPPED
        else:
            self.status = OptimizationStatus.FAILURE


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
    timeout_sec: float | None = None,
    undefined: tuple[type[BaseException], ...] = (),
    coordinates: Coordinates | Sequence[Coordinates] | None = None,
    warm_up: int = 0,
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
        on_iteration: Called as `(model, parameters, iteration, loss)` after every
            accepted iteration; StopIteration ends that model only.
        on_end: Called as `(model, search)` when a search has ended, from its thread.
        timeout_sec: Seconds after which every running model stops at its best point.
        undefined: Exceptions that say that the loss has no value at this point; the
            search then tries a shorter step, as it does where the loss is not finite.
        coordinates: What SciPy is to see instead of the parameters, for all models or
            for each.
        warm_up: Iterations to do before on the parameters themselves.

    Returns:
        The ended searches, in the order of `starts`.
    """
    evaluators = [evaluate] if callable(evaluate) else list(evaluate)
    names = list(range(len(starts))) if models is None else list(models)
    if width is None:
        width = -(-len(names) // len(evaluators))
    deadline = np.inf if timeout_sec is None else monotonic() + timeout_sec
    queue = deque(range(len(names)))
    searches: list[Search] = [None] * len(names)
    halt = Event()

    def begin(i: int) -> None:
        def report(x: Array, iteration: int, loss: float) -> None:
            on_iteration(names[i], x, iteration, loss)

        searches[i] = Search(
            starts[i],
            None if bounds is None else bounds[i],
            method,
            options,
            None if on_iteration is None else report,
            coordinates[i] if isinstance(coordinates, Sequence) else coordinates,
            warm_up,
        )

    def drive(evaluate: Evaluate) -> None:
        running: list[int] = []
        while not halt.is_set():
            while len(running) < width and queue:
                try:
                    running.append(queue.popleft())
                except IndexError:  # another thread was faster
                    break
                begin(running[-1])
            if not running:
                return
            waiting = [i for i in running if searches[i].point is not None]
            for chosen, values in _evaluate(evaluate, searches, waiting, names):
                for i, value in zip(chosen, values, strict=True):
                    if isinstance(value, undefined) and searches[i].losses:
                        searches[i].advance(np.nan, np.full_like(starts[i], np.nan))
                    elif isinstance(value, Exception):
                        searches[i].fail(value)
                    else:
                        searches[i].advance(*value)
            if monotonic() > deadline:
                for i in running:
                    searches[i].stop(
                        OptimizationStatus.STOPPED,
                        f"timed out after {timeout_sec} seconds",
                    )
            ended = [i for i in running if searches[i].point is None]
            running = [i for i in running if searches[i].point is not None]
            for i in ended if on_end is not None else []:
                on_end(names[i], searches[i])

    # SciPy's line searches set warning filters for a while, and so do several searches
    # in turn; the outer context puts back what was there before.
    with _single_threaded_blas(), warnings.catch_warnings():
        if len(evaluators) == 1:
            drive(evaluators[0])
            return searches
        with ThreadPoolExecutor(len(evaluators)) as pool:
            try:
                futures = [pool.submit(drive, each) for each in evaluators]
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                halt.set()  # whatever happened, nobody goes on behind our back
        for future in futures:
            future.result()
    return searches


def _evaluate(
    evaluate: Evaluate, searches: list[Search], waiting: list[int], names: list[int]
) -> Iterator[tuple[list[int], list[tuple[float, NDArray] | Exception]]]:
    """Values of the waiting searches: together, or one by one if that raises."""
    if not waiting:
        return
    start = monotonic()
    try:
        losses, gradients = evaluate(
            np.stack([searches[i].point for i in waiting]), [names[i] for i in waiting]
        )
    except Exception as error:
        if len(waiting) == 1:
            yield waiting, [error]
        else:
            for i in waiting:
                yield from _evaluate(evaluate, searches, [i], names)
        return
    seconds = (monotonic() - start) / len(waiting)
    for i in waiting:
        searches[i].seconds += seconds
    yield waiting, [(float(v), g) for v, g in zip(losses, gradients, strict=True)]


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all loaded libraries: milliseconds


@contextmanager
def _single_threaded_blas() -> Iterator[None]:
    """One thread for the BLAS under SciPy, whose L-BFGS-B works on tiny vectors.

    Measured on two busy cores: 2,042 steps in 1.0 to 6.8 s with threads, 0.018 s here.
    """
    with _thread_pools().limit(limits=1, user_api="blas"):
        yield
