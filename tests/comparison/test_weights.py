"""Weights against ArviZ's way, a known mixture, and what makes a mixture the best."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close
from scipy import integrate, stats
from scipy.optimize import minimize_scalar

from botorch_xval.comparison.weights import (
    pseudo_bma_plus_weights,
    pseudo_bma_weights,
    stacking_weights,
)


def scores_of(n: int, c: int, seed: int = 0, spread: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_t(3, size=(n, 1)) + spread * rng.normal(size=(n, c))


@pytest.mark.parametrize(
    ("n", "c", "spread"),
    [(60, 4, 0.5), (60, 12, 0.1), (20, 40, 1.0), (300, 8, 3.0), (30, 5, 300.0)],
)
def test_no_mixture_is_better(n, c, spread):
    scores = scores_of(n, c, spread=spread) - 0.1 * spread * np.arange(c)
    weights = stacking_weights(scores)
    assert (weights >= 0).all()
    assert_close(weights.sum(), 1.0)
    top = scores.max(axis=1, keepdims=True)
    densities = np.exp(scores - top)
    ratios = (densities / (densities @ weights)[:, None]).mean(axis=0)
    # The conditions of Karush, Kuhn and Tucker, and so an optimum: it is convex.
    assert ratios.max() < 1 + 1e-6
    assert_close(ratios[weights > 1e-3], np.ones((weights > 1e-3).sum()), 0, 1e-4)


def test_two_configurations_by_a_search_over_one_weight():
    first, second = scores_of(50, 2, seed=1).T
    found = stacking_weights(np.column_stack([first, second]))

    def loss(w):
        return -np.logaddexp(np.log(w) + first, np.log1p(-w) + second).sum()

    best = minimize_scalar(loss, bounds=(1e-9, 1 - 1e-9), options={"xatol": 1e-10})
    assert 0.1 < best.x < 0.9
    assert_close(found[0], best.x, 0, 1e-6)


def test_stacking_finds_the_weights_of_a_mixture():
    rng = np.random.default_rng(0)
    centers = np.array([-2.0, 0.0, 3.0])
    y = rng.normal(rng.choice(centers, p=[0.2, 0.5, 0.3], size=20_000))
    weights = stacking_weights(stats.norm.logpdf(y[:, None], centers))
    assert_close(weights, [0.2, 0.5, 0.3], 0, 0.02)


def test_weights_of_one_of_equal_ones_and_of_impossible_rows():
    assert stacking_weights(scores_of(9, 1)).tolist() == [1.0]
    same = np.repeat(scores_of(9, 1), 3, axis=1)
    assert_close(stacking_weights(same), [1 / 3] * 3)
    assert_close(pseudo_bma_weights(same), [1 / 3] * 3)
    assert_close(pseudo_bma_plus_weights(same), [1 / 3] * 3)
    scores = scores_of(30, 2, seed=2)
    expected = stacking_weights(scores)
    nowhere = np.vstack([scores, [-np.inf, -np.inf]])
    assert_close(stacking_weights(nowhere), expected)
    # One that calls a row impossible cannot be all of the mixture.
    only = np.vstack([scores - [0.0, 5.0], [-np.inf, 0.0]])
    assert 0 < stacking_weights(only)[1] < 0.2
    assert_close(stacking_weights(scores - 1e4), expected)  # no underflow


def test_pseudo_bma_by_its_formula():
    scores = scores_of(20, 3, seed=3)
    expected = np.exp(scores.sum(axis=0)) / np.exp(scores.sum(axis=0)).sum()
    assert_close(pseudo_bma_weights(scores), expected)


def test_pseudo_bma_plus_by_quadrature():
    # With two rows the Bayesian bootstrap gives the first a uniform share.
    scores = np.array([[0.3, -0.4], [-1.0, 0.1]])

    def weight(share):
        z = 2 * (share * scores[0] + (1 - share) * scores[1])
        return np.exp(z[0]) / np.exp(z).sum()

    expected, _ = integrate.quad(weight, 0, 1)
    found = pseudo_bma_plus_weights(scores, samples=40_000)
    assert_close(found, [expected, 1 - expected], 0, 0.004)
    assert_close(found, pseudo_bma_plus_weights(scores, samples=40_000))
    other = pseudo_bma_plus_weights(scores, samples=40_000, seed=1)
    assert not np.array_equal(found, other)


def test_rows_of_a_group_are_drawn_together():
    scores = scores_of(8, 3, seed=4)
    repeated, clusters = np.repeat(scores, 3, axis=0), np.repeat(np.arange(8), 3)
    found = pseudo_bma_plus_weights(repeated, clusters)
    assert_close(found, pseudo_bma_plus_weights(3 * scores))
    alone = pseudo_bma_plus_weights(repeated)
    assert alone.max() > found.max() + 0.01  # as if there were more rows than there are
