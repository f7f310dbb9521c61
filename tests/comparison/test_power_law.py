"""Power laws against a posterior on a grid, and the motion around them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close
from scipy.stats import multivariate_normal

from botorch_xval.comparison.power_law import (
    DRIFT,
    EXPONENTS,
    PER_DOUBLING,
    draw_laws,
    drift,
    normal_draws,
    shape,
    total,
)

SIZES = np.array([20.0, 30.0, 40.0, 60.0])
NOISE = 0.02 * np.exp(-0.5 * np.abs(np.subtract.outer(range(4), range(4))))


def test_a_shape_goes_from_one_to_zero_as_a_power():
    for c in (0.5, 1.0, 2.0):
        found = shape(np.array([20.0, 35.0, 60.0, 90.0]), c, 20.0, 60.0)
        n = np.array([20.0, 35.0, 60.0, 90.0])
        assert_close(found, (n**-c - 60**-c) / (20**-c - 60**-c))


@pytest.mark.parametrize("means", [[-2.0, -1.6, -1.5, -1.35], [-1.0, -1.1, -0.9, -1.0]])
def test_draws_are_those_of_the_posterior_on_a_grid(means):
    covariance = total(SIZES, NOISE)
    a, b = np.linspace(-4, 2, 121), np.linspace(0, 4, 121)
    scale = PER_DOUBLING * np.log2(3)
    prior = np.exp(-((b / scale) ** 2) / 2)
    density = []
    for c in EXPONENTS[::3]:
        curves = a[:, None, None] - b[:, None] * shape(SIZES, c, 20.0, 60.0)
        away = multivariate_normal(np.zeros(4), covariance).pdf(curves - means)
        density.append(away * prior)
    weight = np.array(density) / np.sum(density)  # c x a x b
    draws = draw_laws(SIZES, np.array(means), covariance, 0)
    error = draws.std(axis=0) / len(draws) ** 0.5
    for i, (values, axes) in enumerate(
        ((a, (0, 2)), (b, (0, 1)), (EXPONENTS[::3], None))
    ):
        own = weight.sum(axis=axes) if axes else weight.sum(axis=(1, 2))
        mean = own @ values
        spread = (own @ (values - mean) ** 2) ** 0.5
        assert abs(draws[:, i].mean() - mean) < 5 * error[i] + 0.01
        assert abs(draws[:, i].std() / spread - 1) < 0.06
    assert (draws[:, 1] >= 0).all()


def test_the_motion_has_independent_steps():
    covariance = drift(20.0, SIZES, SIZES)
    steps = np.diff(np.eye(4), axis=0)
    of_steps = steps @ covariance @ steps.T
    assert_close(of_steps, np.diag(DRIFT**2 * np.diff(np.log2(SIZES))))
    assert_close(covariance[0], np.zeros(4))
    assert_close(drift(20.0, np.array([10.0]), SIZES), np.zeros((1, 4)))
    assert_close(total(SIZES, NOISE) - covariance, NOISE, atol=1e-7)


def test_normal_draws_have_the_covariance_also_a_singular_one():
    covariance = np.ones((2, 2)) + np.diag([0.0, 3.0])
    draws = normal_draws(covariance, 40_000, 1)
    assert_close(np.cov(draws.T), covariance, rtol=0.05, atol=0.05)
    same = normal_draws(np.ones((3, 3)), 5, 0)
    assert_close(same[:, :1].repeat(3, axis=1), same)
