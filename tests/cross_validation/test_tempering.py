"""Draws that are carried over, against distributions that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from botorch_xval.cross_validation.tempering import temper


def normal(center: np.ndarray, covariance: np.ndarray):
    precision = np.linalg.inv(covariance)

    def density(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        apart = points - center
        return -0.5 * np.einsum("ap,pq,aq->a", apart, precision, apart), (
            -apart @ precision
        )

    return density


def draws_of(p: int, count: int = 1000) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, p))


def test_a_correlated_normal_distribution_far_away():
    p = 6
    center = np.linspace(-3, 3, p)
    root = np.random.default_rng(1).standard_normal((p, p))
    covariance = root @ root.T / 4 + 0.1 * np.eye(p)
    base = normal(np.zeros(p), np.eye(p))
    generator = np.random.default_rng(2)
    found = temper(draws_of(p), base, normal(center, covariance), generator)
    assert found.stages > 2 and 0.6 < found.accepted <= 1
    deviation = np.sqrt(covariance.diagonal())
    z = (found.draws.mean(axis=0) - center) / deviation
    assert np.abs(z).max() < 4 / np.sqrt(1000)
    ratio = np.cov(found.draws.T) / np.outer(deviation, deviation)
    expected = covariance / np.outer(deviation, deviation)
    assert np.abs(ratio - expected).max() < 0.15


def test_a_skew_distribution():
    """Exponentials of gamma variables have a light and a heavy tail."""
    shape = 0.7

    def target(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = shape * points - np.exp(points)
        return value.sum(axis=1), shape - np.exp(points)

    base = normal(np.zeros(2), np.eye(2))
    generator = np.random.default_rng(3)
    found = temper(draws_of(2, 2000), base, target, generator)
    for column in np.exp(found.draws).T:
        assert stats.kstest(column, stats.gamma(shape).cdf).pvalue > 1e-3


def test_two_modes_keep_their_shares():
    def target(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [normal(np.array([c]), np.array([[0.3]]))(points) for c in (-2.0, 2.0)]
        logs = np.log([0.8, 0.2]) + np.stack([value for value, _ in parts], axis=-1)
        total = np.logaddexp(*logs.T)
        weights = np.exp(logs - total[:, None])
        slopes = np.stack([slope[:, 0] for _, slope in parts], axis=-1)
        return total, (weights * slopes).sum(axis=1, keepdims=True)

    base = normal(np.zeros(1), 4 * np.eye(1))
    generator = np.random.default_rng(4)
    found = temper(2 * draws_of(1, 4000), base, target, generator)
    assert (found.draws < 0).mean() == pytest.approx(0.8, abs=0.04)


def test_the_same_generator_gives_the_same_draws_and_holes_are_avoided():
    def target(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slope = normal(np.zeros(2), np.eye(2))(points)
        return np.where(points[:, 0] > 0, value, -np.inf), slope

    base = normal(np.zeros(2), np.eye(2))
    one, two = (
        temper(draws_of(2, 500), base, target, np.random.default_rng(5)).draws
        for _ in range(2)
    )
    assert np.array_equal(one, two)
    assert (one[:, 0] > 0).all()

    def nowhere(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(points), -np.inf), 0 * points

    with pytest.raises(ValueError, match="target: expected a density"):
        temper(draws_of(2, 50), base, nowhere, np.random.default_rng(5))
