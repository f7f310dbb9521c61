"""Logarithmic and whitened coordinates: inverses, slopes, bounds, the same minima."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.optim.core import OptimizationStatus
from gpytorch.constraints import GreaterThan, Positive
from helpers import SAME, assert_close
from scipy.optimize import Bounds, minimize

from botorch_xval.fitting.coordinates import LogCoordinates, WhitenedCoordinates
from botorch_xval.fitting.drive import minimize_each

SOFT = np.array([True, False, False])
PLAIN = np.array([False, True, False])
COORDINATES = LogCoordinates(np.flatnonzero(SOFT), np.flatnonzero(PLAIN))


def test_values_are_the_exponentials():
    theta = np.array([[-60.0, 1e-6, -3.0], [-2.0, 0.5, 0.0], [30.0, 7.0, 4.0]])
    u = COORDINATES.from_raw(theta)
    value = Positive().transform(torch.as_tensor(theta[:, 0])).numpy()
    np.testing.assert_allclose(np.exp(u[1:, 0]), value[1:], rtol=1e-12)
    np.testing.assert_allclose(np.exp(u[:, 1]), theta[:, 1], rtol=1e-12)
    np.testing.assert_array_equal(u[:, 2], theta[:, 2])
    np.testing.assert_allclose(COORDINATES.at(u)[0], theta, rtol=1e-9)


def test_slopes_by_central_differences():
    u = np.array([[-4.0, -9.0, 2.0], [0.3, 0.1, -1.0], [2.0, 3.0, 0.0]])
    step = 1e-6
    numeric = (COORDINATES.at(u + step)[0] - COORDINATES.at(u - step)[0]) / 2e-6
    np.testing.assert_allclose(COORDINATES.with_slopes(u)[1], numeric, rtol=1e-7)


def test_bounds_keep_their_order_and_infinities():
    low, high = np.array([-np.inf, 1e-4, -np.inf]), np.array([2.0, np.inf, 5.0])
    bounds = COORDINATES.bounds(Bounds(low, high))
    assert bounds.lb.tolist() == [-np.inf, np.log(1e-4), -np.inf]
    assert bounds.ub[1:].tolist() == [np.inf, 5.0]
    assert bounds.ub[0] == pytest.approx(np.log(np.log1p(np.exp(2.0))))


def test_only_parameters_positive_in_all_models_are_taken():
    untransformed = np.array([False, True, True])
    bounds = [
        Bounds(np.array([-np.inf, 1e-4, 0.1]), np.full(3, np.inf)),
        Bounds(np.array([-np.inf, 1e-3, -0.1]), np.full(3, np.inf)),
    ]
    found = LogCoordinates.of(SOFT, untransformed, bounds)
    assert found.softplus.tolist() == [0]
    assert found.positive.tolist() == [1]
    # GreaterThan without a transform has its bound in the bounds.
    assert not GreaterThan(1e-4, transform=None).enforced


def quadratic(points, models):
    """Smooth in the logarithm of the second parameter, minimum at (1, e^-3, 2)."""
    x = points.copy()
    away = np.stack([x[:, 0] - 1, np.log(x[:, 1]) + 3, x[:, 2] - 2], axis=-1)
    slopes = 2 * away
    slopes[:, 1] /= x[:, 1]
    return (away**2).sum(axis=-1), slopes


BOUNDS = [Bounds(np.array([-np.inf, 1e-6, -np.inf]), np.full(3, np.inf))]


@pytest.mark.parametrize("warm_up", [0, 3])
def test_a_search_in_coordinates_ends_at_the_same_minimum_sooner(warm_up):
    start = np.array([[0.0, 1.0, 0.0]])
    seen = []
    (search,) = minimize_each(
        quadratic,
        start,
        BOUNDS,
        coordinates=COORDINATES,
        warm_up=warm_up,
        on_iteration=lambda i, theta, step, loss: seen.append((theta, step, loss)),
    )
    raw = minimize(
        lambda x: tuple(v[0] for v in quadratic(x[None], [0])),
        start[0],
        jac=True,
        method="L-BFGS-B",
        bounds=BOUNDS[0],
    )
    assert search.status is OptimizationStatus.SUCCESS
    np.testing.assert_allclose(search.best_point, [1, np.exp(-3), 2], rtol=1e-4)
    assert search.evaluations < raw.nfev + 8 * (warm_up > 0)
    assert search.best_loss == quadratic(search.best_point[None], [0])[0][0]
    assert [step for _, step, _ in seen] == list(range(1, len(search.losses)))
    for theta, step, loss in seen:
        assert loss == search.losses[step] == quadratic(theta[None], [0])[0][0]
    assert (np.diff(search.losses) <= 0).all()


def test_the_warm_up_is_scipys_path(monkeypatch):
    monkeypatch.setattr("botorch_xval.fitting.search.WARM_UP_SHARE", 0.0)
    start = np.array([[0.0, 1.0, 0.0]])
    points = []
    for coordinates in (None, COORDINATES):
        points.append(seen := [])
        minimize_each(
            quadratic,
            start,
            BOUNDS,
            coordinates=coordinates,
            warm_up=3,
            on_iteration=lambda i, theta, *_, seen=seen: seen.append(theta),
        )
    raw, changed = points
    assert np.array_equal(raw[:3], changed[:3])
    assert not np.array_equal(raw[3], changed[3])


@pytest.mark.parametrize("limit, most", [("maxiter", 5), ("maxfun", 6), ("maxiter", 2)])
def test_limits_are_those_of_both_parts_together(limit, most):
    (search,) = minimize_each(
        quadratic,
        np.array([[0.0, 1.0, 0.0]]),
        BOUNDS,
        coordinates=COORDINATES,
        warm_up=3,
        options={limit: most, "ftol": 0.0, "gtol": 0.0},
    )
    assert search.status is OptimizationStatus.STOPPED
    if limit == "maxiter":
        assert len(search.losses) - 1 == most
    else:  # SciPy looks at it after an iteration
        assert most <= search.evaluations <= most + 4


def test_a_step_that_overflows_is_a_worse_point():
    """A loss that falls for ever: exp(u) is infinite before u is."""

    def falling(points, models):
        return -np.log(points[:, 1]), np.stack([0 * points[:, 0], -1 / points[:, 1]], 1)

    (search,) = minimize_each(
        falling,
        np.array([[0.0, 1.0]]),
        [Bounds([-np.inf, 1e-6], [np.inf, np.inf])],
        coordinates=LogCoordinates(np.array([], dtype=int), np.array([1])),
        options={"maxiter": 2000, "gtol": 0.0, "ftol": 0.0},
    )
    assert np.isfinite(search.best_loss) and np.isfinite(search.best_point).all()
    assert search.best_loss < -100


def whitened() -> WhitenedCoordinates:
    generator = np.random.default_rng(0)
    root = generator.normal(size=(5, 5))
    inner = LogCoordinates(np.array([0, 2]), np.array([1, 4]))
    center = generator.normal(size=5)
    resting = np.array([False, True, False, False, False])
    return WhitenedCoordinates.of(inner, center, root @ root.T, resting, 1e-8)


def test_whitened_coordinates_are_inverse_and_have_gradients():
    coordinates = whitened()
    z = np.random.default_rng(1).normal(size=5)
    theta, pull_back = coordinates.at(z)
    assert_close(coordinates.from_raw(theta), z, **SAME)
    slope = np.random.default_rng(2).normal(size=5)
    numeric = [
        slope @ (coordinates.at(z + step)[0] - coordinates.at(z - step)[0]) / (2e-6)
        for step in 1e-6 * np.eye(5)
    ]
    assert_close(pull_back(slope), numeric, rtol=1e-6, atol=1e-6)


def test_the_hessian_becomes_the_identity():
    coordinates = whitened()
    generator = np.random.default_rng(0)
    root = generator.normal(size=(5, 5))
    free = ~coordinates.resting
    hessian = (root @ root.T)[np.ix_(free, free)]
    own = coordinates.root[np.ix_(free, free)]
    assert_close(own.T @ hessian @ own, np.eye(4), **SAME)


@pytest.mark.parametrize("hessian", [np.zeros((3, 3)), -np.eye(3)])
def test_without_a_curvature_steps_are_those_of_logarithms(hessian):
    """A Hessian of NaN counts as zero; by tiny values a step would overflow."""
    center, free = np.array([0.0, 1.0, -1.0]), np.zeros(3, dtype=bool)
    found = WhitenedCoordinates.of(COORDINATES, center, hessian, free)
    assert np.array_equal(np.abs(found.root), np.eye(3))
    assert np.isinf(found.condition)
    with np.errstate(all="raise"):
        assert np.isfinite(found.at(np.full(3, 2.0))[0]).all()


def test_only_resting_parameters_keep_their_bounds():
    coordinates = whitened()
    theta, _ = coordinates.at(np.zeros(5))
    low = np.where(coordinates.resting, theta, 1e-9)
    found = coordinates.bounds(Bounds(low, np.full(5, np.inf)))
    assert found.lb[1] == pytest.approx(0.0, abs=1e-12)
    assert np.isneginf(found.lb[~coordinates.resting]).all()
    assert np.isposinf(found.ub).all()
