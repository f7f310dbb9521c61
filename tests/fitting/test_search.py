"""Searches driven together against plain calls of SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from botorch.optim.core import OptimizationStatus
from scipy.optimize import Bounds, minimize, rosen, rosen_der
from threadpoolctl import threadpool_limits

from botorch_xval.fitting.drive import minimize_each
from botorch_xval.fitting.search import Search

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
    with pytest.raises(ValueError, match="Unknown solver nonsense"):
        minimize_each(losses_and_gradients, STARTS, method="nonsense")


@pytest.mark.parametrize("how", ["nan", "inf", "raise", "nan gradient"])
def test_where_the_loss_is_undefined_the_step_gets_shorter(how):
    """log(x) - x is undefined for x <= 0, where long steps from 3 end; minimum at 1."""

    class Undefined(Exception):
        pass

    outside = []

    def evaluate(points, models):
        x = points[:, 0]
        if (x <= 0).any():
            outside.append(x)
            if how == "raise":
                raise Undefined
        bad = {"nan": np.nan, "inf": np.inf, "nan gradient": 0.0, "raise": 0.0}[how]
        safe = np.where(x > 0, x, 1.0)
        losses = np.where(x > 0, 0.01 * (safe - 40 * np.log(safe)), bad)
        slopes = np.where(x > 0, 0.01 * (1 - 40 / safe), np.nan)
        return losses, slopes[:, None]

    starts = np.array([[0.05], [39.0]])
    searches = minimize_each(evaluate, starts, undefined=(Undefined,))
    for search in searches:
        assert search.status is OptimizationStatus.SUCCESS
        assert search.best_point[0] == pytest.approx(40, rel=1e-3)
    far = minimize_each(evaluate, np.array([[600.0]]), undefined=(Undefined,))
    assert far[0].best_point[0] == pytest.approx(40, rel=1e-3)


def test_steps_into_the_undefined_are_taken_back():
    asked = []

    def evaluate(points, models):
        asked.append(points[0, 0])
        x = points[:, 0]
        return np.where(x > -0.5, (x + 0.4) ** 2, np.nan), 2 * (points + 0.4)

    (search,) = minimize_each(evaluate, np.zeros((1, 1)))
    assert asked[1] == -1.0  # the first step, into the undefined
    assert -0.5 < asked[2] < 0
    assert search.best_point[0] == pytest.approx(-0.4, abs=1e-6)
    assert np.isfinite(search.losses).all()


def test_no_value_at_the_start_is_a_failure():
    (search,) = minimize_each(
        lambda x, _: (np.array([np.nan]), x), np.ones((1, 2)), options={}
    )
    assert search.status is OptimizationStatus.FAILURE
    assert search.message == "the loss at the start is nan"
    assert search.losses == []


def test_an_interrupt_passes_through():
    def evaluate(points, models):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minimize_each(evaluate, STARTS)


def test_searches_of_one_program_may_interleave():
    """A search is a coroutine: two of them advance in any order."""
    searches = [Search(STARTS[i]) for i in (0, 1)]
    generator = np.random.default_rng(1)
    while waiting := [i for i in (0, 1) if searches[i].point is not None]:
        i = generator.choice(waiting)
        losses, gradients = losses_and_gradients(searches[i].point[None], [i])
        searches[i].advance(losses[0], gradients[0])
    for i in (0, 1):
        assert np.array_equal(searches[i].best_point, alone(i).x)


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


def test_the_last_step_is_that_between_the_last_two_iterates():
    points = []
    (search,) = minimize_each(
        losses_and_gradients,
        STARTS[:1],
        on_iteration=lambda model, x, iteration, loss: points.append(x),
    )
    expected = np.linalg.norm(points[-1] - points[-2])
    assert search.step_length == pytest.approx(expected, rel=1e-12)
