"""Smoothed weights against ArviZ's, and against integrals that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import assert_close
from scipy import stats
from scipy.signal import lfilter

from botorch_xval.cross_validation.psis import (
    LEAST_EFFECTIVE,
    are_trusted,
    efficiency_of,
    fit_pareto,
    largest_shape,
    smooth_weights,
)


def psislw(ratios, efficiency):
    arviz = pytest.importorskip("arviz")
    if hasattr(arviz, "psislw"):
        return arviz.psislw(ratios.copy(), reff=efficiency)
    base = pytest.importorskip("arviz_stats.base")  # of ArviZ 1, by log likelihoods
    return base.array_stats.psislw(-ratios, r_eff=efficiency, axis=-1)


# Of these numbers ArviZ before and from 1 on take the same tail: they round apart.
@pytest.mark.parametrize("count", [100, 225, 900])
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("efficiency", [1.0, 0.36])
def test_weights_and_shapes_are_those_of_arviz(count, spread, efficiency):
    ratios = spread * np.random.default_rng(count).standard_normal((4, count)) - 50.0
    found = smooth_weights(ratios, efficiency)
    weights, shapes = psislw(ratios, efficiency)
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
    assert smooth_weights(ratios, 0.5).effective_draws[0] == pytest.approx(
        found.effective_draws[0] / 2, rel=0.01
    )
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
    assert are_trusted(0.69, 10_000, 9000, 0.8)
    assert not are_trusted(0.71, 10_000, 9000, 1.0)
    assert not are_trusted(0.1, 10_000, 9000, 0.79)
    assert are_trusted(0.1, 100, 100 * LEAST_EFFECTIVE, 1.0)
    assert not are_trusted(0.1, 100, 99 * LEAST_EFFECTIVE, 1.0)


def chains(correlation: float, count: int, length: int) -> np.ndarray:
    """Autoregressive chains with the standard normal distribution."""
    steps = np.random.default_rng(0).standard_normal((count, length))
    steps[:, 1:] *= math.sqrt(1 - correlation**2)
    return lfilter([1.0], [1.0, -correlation], steps)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_the_efficiency_of_a_chain_is_that_of_numpyro_and_of_theory(correlation):
    diagnostics = pytest.importorskip("numpyro.diagnostics")
    long = chains(correlation, 20, 5000)
    found = [efficiency_of(chain) for chain in long]
    expected = (1 - correlation) / (1 + correlation)
    assert np.mean(found) == pytest.approx(expected, rel=0.1)
    others = [diagnostics.effective_sample_size(chain[None]) / 5000 for chain in long]
    assert_close(np.array(found), np.minimum(others, 1.0))


def test_chains_that_stand_still_or_alternate_or_are_not_finite():
    assert efficiency_of(np.full(100, 0.1)) == 0.01
    assert efficiency_of(np.full(100, np.nan)) == 0.01
    assert efficiency_of(np.repeat([0.0, 1.0], 50)) < 0.05
    assert efficiency_of(np.tile([0.0, 1.0], 50)) == 1.0  # not better than independent
    values = chains(0.5, 1, 1000)[0]
    values[values < -2] = -np.inf
    assert efficiency_of(values) == pytest.approx(1 / 3, rel=0.2)


def test_the_error_of_a_chains_average_is_that_of_its_efficiency():
    """Of densities of an outcome, as those of a held-out row are averaged."""
    densities = stats.norm.pdf(1.5, chains(0.8, 400, 1000), 0.5)
    spread = densities.mean(axis=1).std(ddof=1)
    alone = densities.std(axis=1) / math.sqrt(1000)
    claimed = alone / np.sqrt([efficiency_of(each) for each in densities])
    assert claimed.mean() == pytest.approx(spread, rel=0.1)
    assert alone.mean() < 0.6 * spread
