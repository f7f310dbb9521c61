"""The search for a minimum of one loss: SciPy's, paused at every value.

A :func:`scipy.optimize.minimize` runs in a coroutine and pauses whenever it wants the
value and gradient of its loss, so that many searches can be driven together
(:mod:`~botorch_xval.fitting.drive`). Its iterates are those of a plain call of SciPy.

This module knows no Gaussian process: a model is a row of an array of parameters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from botorch.optim import core
from botorch.optim.core import OptimizationStatus
from botorch.optim.utils import minimize_with_timeout
from greenlet import getcurrent, greenlet
from numpy.typing import NDArray
from scipy.optimize import Bounds, OptimizeResult, minimize

from botorch_xval.fitting.coordinates import Coordinates, LogCoordinates
from botorch_xval.models.checks import wrong

__all__ = ["Search", "Start", "check_method", "gradient_norm", "points_of"]

Array = NDArray[np.float64]


# Of SciPy, those that need a gradient and no Hessian.
METHODS = ("CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "SLSQP", "trust-constr")


def check_method(method: object) -> None:
    """Raise a ValueError unless it is a gradient-based method of SciPy."""
    if not isinstance(method, str) or method.lower() not in map(str.lower, METHODS):
        remedy = "methods without gradients are no help with so many parameters"
        raise wrong("method", f"one of {METHODS}", repr(method), remedy)


class _Value(NamedTuple):
    x: Array  # what SciPy sees
    theta: Array
    loss: float
    slope: Array  # by x


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


def _minimizer() -> Callable[..., OptimizeResult]:
    """SciPy's function, or what somebody has put in the place of BoTorch's.

    BoTorch's `mock_optimize_context_manager` does, to make fits in tests short.
    Unchanged, BoTorch's does the same as SciPy's, and takes 2 ms to look for libraries.
    """
    current = core.minimize_with_timeout
    return minimize if current is minimize_with_timeout else current


class _Stop(BaseException):
    """Thrown into a search to end it; no `Exception`, so that no method swallows it."""


@dataclass(frozen=True, eq=False)
class Start:
    """Initial values of one model, `p`, and how they came about."""

    values: Array
    label: str


class Search:
    """One run of :func:`scipy.optimize.minimize` that pauses for every value.

    Attributes:
        x: Where a value is wanted next, as SciPy sees it; None once it has ended.
        coordinates: Those of `x`; None for the parameters themselves.
        box: Lower and upper bounds of the parameters, `p` each.
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

        Raises:
            ValueError: If the start is no vector, or the method is not known.
        """
        check_method(method)
        if np.ndim(start) != 1:
            got, remedy = (
                f"the shape {np.shape(start)}",
                "see minimize_each for several",
            )
            raise wrong("start", "an array `p`", got, remedy)
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
        self._all_bounds, self._method = bounds, method
        self._options = dict(options or {})
        self._on_iteration = on_iteration
        self._all_coordinates, self._warm_up = coordinates, warm_up
        self._recent: dict[bytes, _Value] = {}  # by their `x`, since the last step
        self._driver = getcurrent()
        self._coroutine = greenlet(self._run)
        self.x: Array | None = self._coroutine.switch()

    @property
    def has_begun(self) -> bool:
        """Whether there is a value from which SciPy may take a shorter step."""
        return self._accepted is not None

    @property
    def point(self) -> Array | None:
        """The parameters at which a value is wanted; None once it has ended."""
        return None if self.x is None else points_of([self])[0][0]

    def advance(
        self,
        loss: float,
        gradient: Array,
        theta: Array | None = None,
        slope: Array | None = None,
    ) -> None:
        """Give the value at `x` and run until the next one is wanted.

        A point without a finite loss and gradient counts as worse than the last
        accepted one, so that the search takes a shorter step; at the start it ends it.

        Args:
            loss: The loss.
            gradient: By the parameters, `p`.
            theta: The parameters, `p`, and
            slope: the gradient by `x`, `p`, if they are known; see :func:`points_of`.
        """
        if theta is None or slope is None:
            points, pull_back = points_of([self])
            theta, slope = points[0], pull_back(gradient[None])[0]
        self.evaluations += 1
        if math.isfinite(loss) and np.isfinite(slope).all():
            if not self.losses:
                self.losses.append(loss)
            if loss < self.best_loss:
                self.best_point, self.best_loss = theta, loss
                self.best_gradient = gradient
        elif not self.has_begun:
            self.stop(OptimizationStatus.FAILURE, f"the loss at the start is {loss}")
            return
        else:
            loss = math.nan
        self.x = self._coroutine.switch((theta, loss, slope))

    def stop(self, status: OptimizationStatus, message: str) -> None:
        """End the search at its best point so far."""
        if self.x is not None:
            self.status, self.message = status, message
            self.x = self._coroutine.throw(_Stop)

    def fail(self, error: Exception) -> None:
        """End the search because its value could not be computed."""
        self.evaluations += 1
        self.error = error
        self.stop(OptimizationStatus.FAILURE, f"{type(error).__name__}: {error}")

    def _run(self) -> None:
        try:
            result = None
            for is_warm_up in (True, False):
                if self._begin(is_warm_up, result is not None):
                    result = _minimizer()(
                        self._value,
                        self._start,
                        jac=self._slope,
                        bounds=self._limits,
                        method=self._method,
                        options=self._left(is_warm_up),
                        callback=self._iteration,
                    )
            self._finish(result)
        except _Stop:
            return  # whoever stopped it has set status and message

    def _begin(self, is_warm_up: bool, is_second: bool) -> bool:
        """Prepare a search from the best point on; returns whether there is to be one.

        A warm-up is the first iterations, on the parameters themselves.
        """
        coordinates, bounds = self._all_coordinates, self._all_bounds
        start = self.best_point
        if is_warm_up:
            if not isinstance(coordinates, LogCoordinates) or not self._warm_up:
                return False
            if bounds is not None:
                low = coordinates.share_of(start, WARM_UP_SHARE)
                bounds = Bounds(np.maximum(bounds.lb, low), bounds.ub)
            coordinates = None
        elif is_second and self._is_spent():
            return False
        self.coordinates = coordinates
        free = np.full_like(start, np.inf)
        self.box = (-free, free) if bounds is None else (bounds.lb, bounds.ub)
        self._start, self._limits = start, bounds
        if coordinates is not None:
            self._start = coordinates.from_raw(start)
            self._limits = None if bounds is None else coordinates.bounds(bounds)
        self._accepted: Any = None  # the last accepted `_Value`
        return True

    def _is_spent(self) -> bool:
        iterations = len(self.losses) - 1
        return iterations >= self._options.get(
            "maxiter", np.inf
        ) or self.evaluations >= self._options.get("maxfun", np.inf)

    def _left(self, is_warm_up: bool) -> dict[str, Any]:
        """SciPy's options, with the user's limits less what was used of them."""
        left = dict(self._options)
        for name, used in (
            ("maxiter", max(len(self.losses) - 1, 0)),
            ("maxfun", self.evaluations),
        ):
            if name in left:
                left[name] = max(left[name] - used, 1)
        if is_warm_up:
            left["maxiter"] = min(self._warm_up, self._options.get("maxiter", np.inf))
        return left

    def _value(self, x: Array) -> float:
        x = np.array(x)
        theta, loss, slope = self._driver.switch(x)
        self._at = x.tobytes()
        if not math.isnan(loss):
            value = _Value(x, theta, loss, slope)
            self._recent[self._at] = value
            if self._accepted is None:
                self._accepted = value
        else:
            # As if there were a parabola along the step with its minimum a tenth of the
            # way out: what SciPy's line searches interpolate is then well defined.
            last = self._accepted
            loss = last.loss + 4 * abs(last.slope @ (x - last.x))
            slope = -last.slope
        self._last_slope = slope
        return loss

    def _slope(self, x: Array) -> Array:
        if x.tobytes() != self._at:  # SciPy nearly always asks at the same point
            self._value(x)
        return self._last_slope

    def _iteration(self, x: Array, *_: Any) -> None:
        # Not every method hands its loss to the callback, so it is looked up.
        if (value := self._recent.get(x.tobytes())) is not None:
            step = x - self._accepted.x
            self.step_length = math.sqrt(step @ step)
            self._accepted = value
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
            self.x = x
            self.best_point, self.best_loss = points_of([self])[0][0], loss
        if result.success and finite:
            self.status = OptimizationStatus.SUCCESS
        elif _LIMIT_REACHED.search(self.message) and finite:
            self.status = OptimizationStatus.STOPPED
        else:
            self.status = OptimizationStatus.FAILURE


def points_of(
    searches: Sequence[Search],
) -> tuple[Array, Callable[[Array], Array]]:
    """The parameters at which searches wait, computed for all at once.

    Args:
        searches: Searches that have not ended, `a`.

    Returns:
        The parameters, `a x p`, moved into the bounds; and a function from gradients by
        these to gradients by what SciPy sees, both `a x p`. As seen through
        coordinates, a loss does not change any more beyond a bound.
    """
    points = np.stack([cast(Array, each.x) for each in searches])
    alike: dict[int, tuple[Coordinates, list[int]]] = {}  # and rows
    for i, each in enumerate(searches):
        if (own := each.coordinates) is not None:
            alike.setdefault(id(own), (own, []))[1].append(i)
    # Rows, which of their parameters are beyond a bound, and what goes back.
    parts: list[tuple[list[int], NDArray[np.bool_], Callable[[Array], Array]]] = []
    for coordinates, rows in alike.values():
        theta, pull_back = coordinates.at(points[rows])
        low, high = (
            np.stack(each)
            for each in zip(*(searches[i].box for i in rows), strict=True)
        )
        flat = theta < low - 1e-9 * (1 + np.abs(low))  # more than by rounding
        flat |= theta > high + 1e-9 * (1 + np.abs(high))
        points[rows] = np.clip(theta, low, high)
        parts.append((rows, flat, pull_back))

    def slopes_of(gradients: Array) -> Array:
        slopes = gradients.copy()
        with np.errstate(invalid="ignore", over="ignore"):  # far away
            for rows, flat, pull_back in parts:
                slopes[rows] = pull_back(np.where(flat, 0.0, gradients[rows]))
        return slopes

    return points, slopes_of
