"""Cluster-robust errors against a regression on a constant, and simulated ones."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close
from scipy import stats

from botorch_xval.cross_validation.clusters import (
    cluster_deviations,
    cluster_sums,
    count_clusters,
    standard_error,
)


def sandwich(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """The covariance of means by the textbook: bread, meat, bread."""
    n, ones = len(values), np.ones(len(values))
    bread = 1 / (ones @ ones)
    residuals = values - np.outer(ones, bread * ones @ values)
    meat = 0
    for cluster in set(clusters.tolist()):
        own = clusters == cluster
        score = ones[own] @ residuals[own]
        meat = meat + np.outer(score, score)
    count = len(set(clusters.tolist()))
    return count / (count - 1) * (n - 1) / (n - 1) * bread * meat * bread


def test_covariances_are_those_of_a_regression_on_a_constant():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 3))
    clusters = rng.integers(0, 8, size=30) * 7 - 3  # any numbers, of any sizes
    deviations = cluster_deviations(values, clusters)
    assert deviations.shape == (count_clusters(30, clusters), 3)
    assert_close(deviations.T @ deviations, sandwich(values, clusters))
    assert_close(
        standard_error(values[:, 1], clusters), sandwich(values, clusters)[1, 1] ** 0.5
    )


def test_rows_that_stand_alone_have_the_ordinary_standard_error():
    values = np.random.default_rng(1).normal(size=25)
    expected = stats.sem(values)
    assert_close(standard_error(values), expected)
    assert_close(standard_error(values, np.arange(25)[::-1]), expected)
    assert count_clusters(25) == 25


def test_repeated_rows_tell_no_more_than_one_each():
    values = np.random.default_rng(2).normal(size=12)
    clusters = np.repeat(np.arange(12), 9)
    assert_close(standard_error(np.repeat(values, 9), clusters), stats.sem(values))


def test_sums_by_hand():
    values = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
    assert cluster_sums(values, [9, 2, 9]).tolist() == [[3, 4], [6, 9]]
    assert cluster_sums(values) is values


def test_one_cluster_and_no_value_have_no_error():
    assert np.isnan(standard_error(np.arange(4.0), np.zeros(4)))
    assert np.isnan(standard_error(np.zeros(1))) and np.isnan(standard_error([]))


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_it_is_the_spread_of_means_of_rows_that_share_something(shared):
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(25), 4)
    means, errors, ordinary = [], [], []
    for _ in range(400):
        values = shared * rng.normal(size=25)[clusters] + rng.normal(size=100)
        means.append(values.mean())
        errors.append(standard_error(values, clusters))
        ordinary.append(standard_error(values))
    spread = np.std(means)
    assert 0.93 < np.sqrt(np.mean(np.square(errors))) / spread < 1.07
    if shared:  # four rows of a cluster are hardly more than one
        assert np.mean(ordinary) < 0.7 * spread
