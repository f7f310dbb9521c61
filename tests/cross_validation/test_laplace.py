"""Approximations at modes, against SciPy's distributions."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close
from scipy import stats

from botorch_xval.cross_validation.laplace import DEGREES, WIDER, Proposal, laplace

CENTERS = np.array([[0.0, 1.0], [4.0, -1.0]])
ROOTS = np.array([[[1.0, 0.0], [0.5, 0.7]], [[0.4, 0.0], [-0.1, 0.3]]])
SHARES = np.array([0.7, 0.3])


class TwoNormals:
    """A density with the attributes that a posterior has."""

    class coordinates:  # noqa: N801
        @staticmethod
        def from_raw(theta: np.ndarray) -> np.ndarray:
            return theta

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logs, slopes = [], []
        for share, center, root in zip(SHARES, CENTERS, ROOTS, strict=True):
            covariance = root @ root.T
            own = stats.multivariate_normal(center, covariance)
            logs.append(np.log(share) + own.logpdf(points).reshape(-1))
            slopes.append(-(points - center) @ np.linalg.inv(covariance))
        total = np.logaddexp(*logs)
        weights = np.exp(np.stack(logs) - total)
        return total + 17.0, np.einsum("ja,jap->ap", weights, np.stack(slopes))


def test_densities_and_draws_are_those_of_students_distributions():
    proposal = Proposal(SHARES, CENTERS, ROOTS)
    points = np.random.default_rng(0).standard_normal((5, 2))
    expected = sum(
        share * stats.multivariate_t(center, root @ root.T, df=DEGREES).pdf(points)
        for share, center, root in zip(SHARES, CENTERS, ROOTS, strict=True)
    )
    value, slope = proposal(points)
    assert_close(value, np.log(expected))
    for j, step in enumerate(1e-6 * np.eye(2)):
        change = (proposal(points + step)[0] - proposal(points - step)[0]) / 2e-6
        assert_close(slope[:, j], change, atol=1e-7)
    draws = proposal.draw(1000, np.random.default_rng(1))
    assert len(draws) == 1000
    z = np.linalg.solve(ROOTS[0], (draws[:700] - CENTERS[0]).T)
    assert stats.kstest(z[0], stats.t(DEGREES).cdf).pvalue > 1e-3


def test_modes_curvature_and_mass_are_found():
    starts = [np.array([0.4, 1.2]), np.array([4.2, -0.8]), np.array([-0.5, 0.5])]
    found = laplace(TwoNormals(), starts)
    # The highest one comes first; each is not quite zero where the other one is.
    assert_close(found.shares, (SHARES[::-1] + 0.5) / 2, atol=0.01)
    assert_close(found.centers, CENTERS[::-1], atol=0.01)
    for own, root in zip(found.roots, ROOTS[::-1], strict=True):
        assert_close(own @ own.T, WIDER**2 * root @ root.T, atol=0.03)
    only = laplace(TwoNormals(), starts[:1])
    assert only.shares.tolist() == [1.0]


def test_a_density_without_any_value_is_refused():
    class Nowhere(TwoNormals):
        def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.full(len(points), -np.inf), 0 * points

    with pytest.raises(ValueError, match="no mode"):
        laplace(Nowhere(), [np.zeros(2)])
