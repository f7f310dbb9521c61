"""Searches driven together against plain calls of SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from botorch.optim.core import OptimizationStatus
from scipy.optimize import Bounds, minimize, rosen, rosen_der
from threadpoolctl import threadpool_limits

from botorch_xval.fitting.coordinates import LogCoordinates
from botorch_xval.fitting.drive import minimize_each

STARTS = np.random.default_rng(0).uniform(-2, 2, size=(7, 4))
SHIFTS = np.linspace(0, 1, 7)


def losses_and_gradients(points: np.ndarray, models: list[int]):
    losses = [rosen(x - SHIFTS[i]) for x, i in zip(points, models, strict=True)]
    slopes = [rosen_der(x - SHIFTS[i]) for x, i in zip(points, models, strict=True)]
    return np.array(losses), np.stack(slopes)


def alone(i: int, **kwargs):
    def function(x):
        return rosen(x - SHIFTS[i]), rosen_der(x - SHIFTS[i])

    with threadpool_limits(1, user_api="blas"):  # SLSQP's last bit depends on it
        kwargs = {"method": "L-BFGS-B", **kwargs}
        return minimize(function, STARTS[i], jac=True, **kwargs)


@pytest.mark.parametrize("width", [1, 3, None])
@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "CG", "SLSQP", "TNC"])
def test_each_search_equals_a_plain_call_to_the_last_bit(method, width):
    searches = minimize_each(losses_and_gradients, STARTS, method=method, width=width)
    for i, search in enumerate(searches):
        expected = alone(i, method=method)
        assert np.array_equal(search.best_point, expected.x)
        assert search.best_loss == expected.fun
        assert search.evaluations == expected.nfev
        assert search.message == expected.message
        ended = OptimizationStatus  # TNC stops after 100 evaluations
        assert search.status is (ended.SUCCESS if expected.success else ended.STOPPED)
        assert search.losses[0] == rosen(STARTS[i] - SHIFTS[i])
        assert search.losses[-1] == search.best_loss
        if method in ("L-BFGS-B", "BFGS"):
            assert len(search.losses) == expected.nit + 1
            assert np.all(np.diff(search.losses) <= 0)


def test_bounds_are_each_models_own():
    bounds = [Bounds(np.full(4, -2.0), np.full(4, 0.1 * i)) for i in range(7)]
    searches = minimize_each(losses_and_gradients, STARTS, bounds)
    for i, search in enumerate(searches):
        assert np.array_equal(search.best_point, alone(i, bounds=bounds[i]).x)
        assert (search.best_point <= 0.1 * i).all()


def test_ended_models_are_not_evaluated():
    asked: list[list[int]] = []

    def evaluate(points, models):
        asked.append(models)
        return losses_and_gradients(points, models)

    searches = minimize_each(evaluate, STARTS)
    assert sum(map(len, asked)) == sum(search.evaluations for search in searches)
    last = [max(k for k, models in enumerate(asked) if i in models) for i in range(7)]
    assert last == [search.evaluations - 1 for search in searches]
    asked.clear()
    minimize_each(evaluate, STARTS, width=2)
    assert max(map(len, asked)) == 2


def test_models_have_the_names_they_were_given():
    chosen = [5, 2]
    searches = minimize_each(losses_and_gradients, STARTS[chosen], models=chosen)
    for i, search in zip(chosen, searches, strict=True):
        assert np.array_equal(search.best_point, alone(i).x)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"maxiter": 3}, "ITERATIONS REACHED LIMIT"),
        ({"maxfun": 4}, "EVALUATIONS EXCEEDS LIMIT"),
    ],
)
def test_a_limit_stops_and_says_so(options, words):
    for search in minimize_each(losses_and_gradients, STARTS, options=options):
        assert search.status is OptimizationStatus.STOPPED
        assert words in search.message
        assert search.best_loss < search.losses[0]


def test_a_failed_line_search_is_no_success():
    def evaluate(points, models):  # slopes that point the wrong way
        losses, gradients = losses_and_gradients(points, models)
        return losses, -gradients

    for search in minimize_each(evaluate, STARTS):
        assert search.status is OptimizationStatus.FAILURE
        assert "ABNORMAL" in search.message


def test_timeout_keeps_the_best_point_of_every_model():
    rounds = []

    def evaluate(points, models):
        rounds.append(models)
        return losses_and_gradients(points, models)

    searches = minimize_each(evaluate, STARTS, deadline=0.0)
    assert rounds == [list(range(7))]
    for i, search in enumerate(searches):
        assert search.status is OptimizationStatus.STOPPED
        assert "timed out" in search.message
        assert np.array_equal(search.best_point, STARTS[i])


def test_stop_iteration_ends_one_model_only():
    seen = []

    def on_iteration(model, x, iteration, loss):
        seen.append((model, iteration))
        assert loss == rosen(x - SHIFTS[model])
        if model == 3 and iteration == 2:
            raise StopIteration("enough")

    searches = minimize_each(losses_and_gradients, STARTS, on_iteration=on_iteration)
    assert searches[3].status is OptimizationStatus.STOPPED
    assert searches[3].message == "stopped by the callback enough"
    assert max(k for i, k in seen if i == 3) == 2
    for i in set(range(7)) - {3}:
        assert np.array_equal(searches[i].best_point, alone(i).x)
        assert [k for j, k in seen if j == i] == list(range(1, len(searches[i].losses)))


def test_an_error_ends_its_own_model_only():
    def evaluate(points, models):
        if 4 in models and np.all(points[models.index(4)] != STARTS[4]):
            raise ArithmeticError("no value for model 4")
        return losses_and_gradients(points, models)

    searches = minimize_each(evaluate, STARTS)
    assert searches[4].status is OptimizationStatus.FAILURE
    assert isinstance(searches[4].error, ArithmeticError)
    assert np.array_equal(searches[4].best_point, STARTS[4])
    for i in set(range(7)) - {4}:
        assert np.array_equal(searches[i].best_point, alone(i).x)


def test_errors_of_the_callback_and_of_the_options_are_raised():
    def broken(*_):
        raise KeyError("callback")

    with pytest.raises(KeyError, match="callback"):
        minimize_each(losses_and_gradients, STARTS, on_iteration=broken)
    with pytest.raises(ValueError, match="method: expected one of .* got .nonsense"):
        minimize_each(losses_and_gradients, STARTS, method="nonsense")


def test_an_interrupt_passes_through():
    def evaluate(points, models):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minimize_each(evaluate, STARTS)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_end_of_every_search_is_told_once(threads):
    ended = []
    searches = minimize_each(
        [losses_and_gradients] * threads,
        STARTS,
        on_end=lambda model, search: ended.append((model, search)),
        width=2,
    )
    assert sorted(model for model, _ in ended) == list(range(7))
    assert all(searches[model] is search for model, search in ended)


def test_an_exception_may_say_that_there_is_no_value():
    """log(x) - x is undefined for x <= 0, where long steps from 0.05 end."""

    class Undefined(Exception):
        pass

    def evaluate(points, models):
        x = points[:, 0]
        if (x <= 0).any():
            raise Undefined
        return 0.01 * (x - 40 * np.log(x)), 0.01 * (1 - 40 / points)

    starts = np.array([[0.05], [39.0], [600.0]])
    for search in minimize_each(evaluate, starts, undefined=(Undefined,)):
        assert search.status is OptimizationStatus.SUCCESS
        assert search.best_point[0] == pytest.approx(40, rel=1e-3)
    (search, *_) = minimize_each(evaluate, -starts, undefined=(Undefined,))
    assert isinstance(search.error, Undefined)  # no value at the start


def test_coordinates_may_be_each_models_own():
    plain = LogCoordinates(np.array([], dtype=int), np.array([], dtype=int))
    logs = LogCoordinates(np.array([0]), np.array([], dtype=int))
    found = minimize_each(
        losses_and_gradients, STARTS[:2], coordinates=[plain, logs], warm_up=0
    )
    assert np.array_equal(found[0].best_point, alone(0).x)
    assert not np.array_equal(found[1].best_point, alone(1).x)
    np.testing.assert_allclose(found[1].best_point, alone(1).x, atol=1e-3)
