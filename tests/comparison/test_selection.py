"""Selection bias against order statistics, and against the truth of simulations."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close
from scipy import integrate, stats

from botorch_xval.comparison.selection import selection_bias


def expected_maximum(count: int) -> float:
    """Of independent standard normals."""

    def integrand(x):
        return count * x * stats.norm.pdf(x) * stats.norm.cdf(x) ** (count - 1)

    return integrate.quad(integrand, -10, 10)[0]


def orthogonal(n: int, count: int) -> np.ndarray:
    """Scores of which all means are equal and errors are exactly independent."""
    rng = np.random.default_rng(0)
    centered = rng.normal(size=(n, count))
    centered -= centered.mean(axis=0)
    return np.linalg.qr(centered)[0]


@pytest.mark.parametrize("count", [2, 5, 15])
def test_equal_configurations_have_the_expected_maximum_of_normals(count):
    scores = orthogonal(40, count)  # columns of length one
    bias, near = selection_bias(scores)
    assert near == count
    error = 1 / np.sqrt(39 * 40)
    assert_close(bias, error * expected_maximum(count), 0.04, 0)


def test_what_all_have_in_common_selects_nothing():
    scores = orthogonal(40, 6)
    common = np.random.default_rng(1).normal(size=(40, 1))
    assert_close(selection_bias(scores + 10 * common)[0], selection_bias(scores)[0])


def test_those_clearly_behind_do_not_count_and_one_alone_has_no_bias():
    scores = orthogonal(40, 6)
    assert selection_bias(scores - [0, 9, 9, 9, 9, 9]) == (0.0, 1)
    two, near = selection_bias(scores - [0, 0, 9, 9, 9, 9])
    assert near == 2
    assert_close(two, selection_bias(scores[:, :2])[0])
    assert selection_bias(scores[:, :1]) == (0.0, 1)


def test_groups_that_repeat_have_the_bias_of_one_row_each():
    scores = orthogonal(10, 4)
    repeated, groups = np.repeat(scores, 5, axis=0), np.repeat(np.arange(10), 5)
    assert_close(selection_bias(repeated, groups)[0], selection_bias(scores)[0])


def test_it_is_what_selection_adds_where_all_are_alike():
    rng = np.random.default_rng(2)
    truth, found = [], []
    for _ in range(150):
        scores = rng.standard_t(4, size=(60, 1)) + 0.5 * rng.normal(size=(60, 12))
        truth.append(scores.mean(axis=0).max())  # all are zero in the mean
        found.append(selection_bias(scores)[0])
    error = stats.sem(truth)
    assert abs(np.mean(found) - np.mean(truth)) < 2 * error
    assert np.mean(truth) > 4 * error
