"""Smoothed weights against ArviZ's, and against integrals that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import assert_close
from scipy import stats

from botorch_xval.cross_validation.psis import (
    are_trusted,
    fit_pareto,
    largest_shape,
    smooth_weights,
)


def psislw(ratios):
    arviz = pytest.importorskip("arviz")
    if hasattr(arviz, "psislw"):
        return arviz.psislw(ratios.copy())
    base = pytest.importorskip("arviz_stats.base")  # of ArviZ 1, by log likelihoods
    return base.array_stats.psislw(-ratios, r_eff=1, axis=-1)


# Of these numbers ArviZ before and from 1 on take the same tail: they round apart.
@pytest.mark.parametrize("count", [100, 225, 900])
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_weights_and_shapes_are_those_of_arviz(count, spread):
    ratios = spread * np.random.default_rng(count).standard_normal((4, count)) - 50.0
    found = smooth_weights(ratios)
    weights, shapes = psislw(ratios)
    assert_close(found.log_weights, weights)
    assert_close(found.shapes, shapes)


def test_the_shape_of_pareto_tails_is_found():
    for shape in (0.2, 0.5, 0.9):
        sample = stats.genpareto.rvs(shape, scale=3.0, size=20_000, random_state=0)
        found, scale = fit_pareto(np.sort(sample))
        assert found == pytest.approx(shape, abs=0.03)
        assert scale == pytest.approx(3.0, rel=0.05)


def test_weights_average_as_the_target_does_where_the_shape_is_small():
    draws = np.random.default_rng(0).standard_normal(4000)
    ratios = stats.norm.logpdf(draws, 0.5, 0.8) - stats.norm.logpdf(draws)
    found = smooth_weights(ratios)
    weights = np.exp(found.log_weights[0])
    assert found.shapes[0] < 0.5
    assert weights @ draws == pytest.approx(0.5, abs=0.03)
    assert found.effective_draws[0] == pytest.approx(1 / (weights**2).sum())
    # Weights of a target that is far wider than the draws are not to be trusted.
    ratios = stats.norm.logpdf(draws, 0.0, 4.0) - stats.norm.logpdf(draws)
    assert smooth_weights(ratios).shapes[0] > 0.7


def test_constants_and_the_order_of_draws_do_not_matter():
    ratios = np.random.default_rng(1).standard_normal(300)
    order = np.random.default_rng(2).permutation(300)
    found, moved = smooth_weights(ratios), smooth_weights(ratios[order] + 1000.0)
    assert_close(moved.log_weights[0], found.log_weights[0][order])
    assert_close(moved.shapes, found.shapes)


def test_draws_without_weight_and_rows_without_any():
    ratios = np.random.default_rng(1).standard_normal((1, 300))
    ratios[0, :3] = -np.inf, np.nan, -np.inf
    found = smooth_weights(ratios)
    assert (found.log_weights[0, :3] == -np.inf).all()
    assert np.exp(found.log_weights).sum() == pytest.approx(1.0)
    assert ratios[0, 0] == -np.inf  # what is given stays as it is
    assert smooth_weights(ratios[:, :10]).shapes.tolist() == [math.inf]
    with pytest.raises(ValueError, match="log_ratios: expected finite ratios"):
        smooth_weights(np.full((2, 30), -np.inf))


def test_few_draws_need_lighter_tails():
    assert largest_shape(10_000) == 0.7
    assert largest_shape(100) == pytest.approx(0.5)
    assert largest_shape(1) < 0
    assert are_trusted(0.69, 10_000, 0.8) and not are_trusted(0.71, 10_000, 1.0)
    assert not are_trusted(0.1, 10_000, 0.79)
