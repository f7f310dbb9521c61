"""Outliers: planted ones, their scores, and the rate of the limit."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close, noisy_waves, normalized_gp, unit_waves
from scipy import stats

from botorch_xval import cross_validate, k_fold
from botorch_xval.cross_validation import outliers
from botorch_xval.cross_validation.outliers import limit_of

NAMES = [f"trial {i}" for i in range(30)]


def test_scores_are_those_of_scipy(wrong):
    _, Y, result = wrong
    table = outliers(result, NAMES)
    z = result.z_scores[:, 0].numpy()
    spread = stats.median_abs_deviation(z, scale="normal")
    by_row = table.sort_values("row")
    assert_close(by_row.robust_z, (z - np.median(z)) / spread, rtol=1e-5)
    assert_close(by_row.z_score, z)
    assert_close(by_row.observed, Y[:, 0])
    assert_close(by_row.log_density, result.log_density[:, 0])
    assert_close(by_row.influence, result.fit_table().influence)
    assert (by_row.name == NAMES).all()
    assert (np.diff(table.robust_z.abs()) <= 0).all()
    assert ((table.influence >= 1) == table.is_influential).all()
    assert ((table.robust_z.abs() > table.limit) == table.is_outlier).all()


def test_a_planted_outlier_comes_first_and_spoils_its_neighbors(wrong):
    _, _, result = wrong
    table = outliers(result, NAMES)
    assert table.name[0] == "trial 7" and table.is_outlier[0]
    assert table.is_outlier.sum() > 1  # rows beside it are predicted badly


@pytest.mark.parametrize("n", [8, 30, 200])
def test_the_limit_is_passed_at_the_stated_rate(n):
    z = np.random.default_rng(5).standard_t(max(3, n / 4), (4000, n))
    center = np.median(z, axis=1, keepdims=True)
    spread = stats.median_abs_deviation(z, axis=1, scale="normal")
    largest = (np.abs(z - center) / spread[:, None]).max(axis=1)
    assert 0.035 < (largest > limit_of(n, 0.05)).mean() < 0.065


def test_for_many_rows_the_limit_is_bonferronis():
    bonferroni = stats.norm.isf(0.05 / 2 / 2000)
    assert abs(limit_of(2000, 0.05) - bonferroni) < 0.2
    assert limit_of(20, 0.05) > stats.norm.isf(0.05 / 2 / 20) + 2


def test_clean_tables_of_known_hyper_parameters_have_few_outliers():
    # Normal errors, which have lighter tails than those of refitted folds.
    rng = np.random.default_rng(3)
    X = rng.uniform(size=(25, 2))
    squared = ((X[:, None] - X) ** 2).sum(axis=-1)
    K = np.exp(-squared / 2 / 0.3**2) + 0.05 * np.eye(25)
    Q, factor = np.linalg.inv(K), np.linalg.cholesky(K)
    Y = rng.standard_normal((2000, 25)) @ factor.T
    z = Y @ Q / np.sqrt(np.diag(Q))
    center = np.median(z, axis=1, keepdims=True)
    spread = stats.median_abs_deviation(z, axis=1, scale="normal")
    largest = (np.abs(z - center) / spread[:, None]).max(axis=1)
    assert (largest > limit_of(25, 0.05)).mean() < 0.02


def test_several_outputs_and_repeated_folds():
    X, Y = noisy_waves(20, 2)
    Y[3, 1] += 60.0
    result = cross_validate(normalized_gp, X, Y, folds=k_fold(5, repeats=2), fit="warm")
    table = outliers(result)
    assert len(table) == 40 and table.row[0] == 3 and table.output[0] == 1
    assert table.limit[0] == limit_of(20, 0.025)  # of two outputs
    z = result.to_frame().query("row == 3 and output == 1").z_score
    assert len(z) == 2
    assert_close(table.z_score[0], z.mean())


def test_wrong_arguments_are_refused_in_words():
    X, Y = unit_waves(8)
    result = cross_validate(normalized_gp, X, Y, fit="warm")
    with pytest.raises(ValueError, match="names: expected one for each of 8 rows"):
        outliers(result, ["a"])
    with pytest.raises(ValueError, match="level: expected a number between 0 and 1"):
        outliers(result, level=1.0)
    with pytest.raises(ValueError, match="result: expected a CrossValidation"):
        outliers(X)
    few = cross_validate(normalized_gp, X[:4], Y[:4])
    with pytest.raises(ValueError, match="at least 5 rows with a score, got 4"):
        outliers(few)
