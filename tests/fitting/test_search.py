"""One search that pauses for its values, against a plain call of SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from botorch.optim.core import OptimizationStatus
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize, rosen, rosen_der

from botorch_xval.fitting.coordinates import LogCoordinates
from botorch_xval.fitting.search import Search, gradient_norm

START = np.array([1.3, -0.7, 0.8, 1.9])


def run(search: Search, function: Callable) -> list[NDArray]:
    """Give all values that a search wants; the points that it asked for."""
    points = []
    while search.point is not None:
        points.append(search.point)
        search.advance(*function(search.point))
    return points


def rosenbrock(x: NDArray) -> tuple[float, NDArray]:
    return rosen(x), rosen_der(x)


def test_it_equals_a_plain_call_to_the_last_bit():
    asked, seen = [], []

    def function(x):
        asked.append(x.copy())
        return rosenbrock(x)

    expected = minimize(function, START, jac=True, method="L-BFGS-B")
    search = Search(START, on_iteration=lambda *args: seen.append(args))
    assert search.status is OptimizationStatus.RUNNING
    points = run(search, rosenbrock)
    assert np.array_equal(points, asked)
    assert np.array_equal(search.best_point, expected.x)
    assert search.best_loss == expected.fun == search.losses[-1]
    assert np.array_equal(search.best_gradient, rosen_der(search.best_point))
    assert search.evaluations == len(points) == expected.nfev
    assert search.status is OptimizationStatus.SUCCESS
    assert search.message == expected.message
    assert [step for _, step, _ in seen] == list(range(1, expected.nit + 1))
    assert [loss for _, _, loss in seen] == search.losses[1:]
    last, before = seen[-1][0], seen[-2][0]
    assert search.step_length == pytest.approx(np.linalg.norm(last - before), rel=1e-12)


def test_searches_of_one_program_may_interleave():
    """A search is a coroutine: two of them advance in any order."""
    searches = [Search(START), Search(-START)]
    generator = np.random.default_rng(1)
    while waiting := [each for each in searches if each.point is not None]:
        chosen = waiting[generator.choice(len(waiting))]
        chosen.advance(*rosenbrock(chosen.point))
    for search, start in zip(searches, (START, -START), strict=True):
        expected = minimize(rosenbrock, start, jac=True, method="L-BFGS-B")
        assert np.array_equal(search.best_point, expected.x)


def test_a_search_that_is_stopped_keeps_its_best_point():
    search = Search(START)
    values = [(rosen(p), p) for p in (_next(search) for _ in range(6))]
    search.stop(OptimizationStatus.STOPPED, "timed out")
    assert search.point is None
    assert search.status is OptimizationStatus.STOPPED
    assert search.message == "timed out"
    loss, point = min(values, key=lambda pair: pair[0])
    assert search.best_loss == loss and np.array_equal(search.best_point, point)
    search.stop(OptimizationStatus.FAILURE, "again")  # it has ended already
    assert search.message == "timed out"


def _next(search: Search) -> NDArray:
    point = search.point
    search.advance(*rosenbrock(point))
    return point


def test_a_value_that_cannot_be_computed_ends_it():
    search = Search(START)
    _next(search)
    error = ArithmeticError("no value")
    search.fail(error)
    assert search.status is OptimizationStatus.FAILURE
    assert search.message == "ArithmeticError: no value" and search.error is error
    assert search.evaluations == 2 and search.best_loss == rosen(START)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_value_at_the_start_is_a_failure(bad):
    search = Search(np.ones(2))
    search.advance(bad, np.ones(2))
    assert search.status is OptimizationStatus.FAILURE
    assert search.message == f"the loss at the start is {bad}"
    assert search.losses == [] and search.best_gradient is None
    assert np.isnan(search.step_length)


@pytest.mark.parametrize("how", ["nan", "inf", "nan gradient"])
@pytest.mark.parametrize("start", [0.05, 39.0, 600.0])
def test_where_the_loss_is_undefined_the_step_gets_shorter(how, start):
    """log(x) - x is undefined for x <= 0, where long steps end; minimum at 40."""

    def function(x):
        if x[0] > 0:
            return 0.01 * (x[0] - 40 * np.log(x[0])), 0.01 * (1 - 40 / x)
        bad = {"nan": np.nan, "inf": np.inf, "nan gradient": 0.0}[how]
        return bad, np.array([np.nan])

    search = Search(np.array([start]))
    run(search, function)
    assert search.status is OptimizationStatus.SUCCESS
    assert search.best_point[0] == pytest.approx(40, rel=1e-3)


def test_steps_into_the_undefined_are_taken_back():
    def function(x):
        return (x[0] + 0.4) ** 2 if x[0] > -0.5 else np.nan, 2 * (x + 0.4)

    search = Search(np.zeros(1))
    asked = run(search, function)
    assert asked[1] == -1.0  # the first step, into the undefined
    assert -0.5 < asked[2] < 0
    assert search.best_point[0] == pytest.approx(-0.4, abs=1e-6)
    assert np.isfinite(search.losses).all()


def test_the_gradient_norm_is_that_of_a_step_within_the_bounds():
    theta, gradient = np.array([0.5, 2.0, 1.0]), np.array([3.0, -0.1, 0.2])
    assert gradient_norm(theta, gradient, None, None) == 3.0
    bounds = Bounds([0.5, 1e-6, 0.9], [np.inf, np.inf, np.inf])
    assert gradient_norm(theta, gradient, bounds, None) == pytest.approx(0.1)
    logs = LogCoordinates(np.array([], dtype=int), np.array([1]))
    found = gradient_norm(theta, gradient, bounds, logs)
    assert found == pytest.approx(0.2)  # by the logarithm, twice as steep
