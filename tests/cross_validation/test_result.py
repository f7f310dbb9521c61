"""Results: tables of their fits, clusters, differences."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from helpers import assert_close, noisy_waves, normalized_gp, optimizer
from scipy.stats import sem

from botorch_xval import FitOptions, cross_validate, difference, k_fold
from botorch_xval.cross_validation.result import CrossValidation

FEW_STEPS = optimizer(maxiter=3)  # where the quality of the fit does not matter


def test_a_row_that_is_held_out_three_times_counts_with_its_mean():
    x, y = noisy_waves(6)
    held_out = torch.eye(6, dtype=torch.bool)
    held_out[4, 2] = held_out[5, 2] = True
    found = cross_validate(normalized_gp, x, y, folds=held_out, fit_options=FEW_STEPS)
    assert found.rows.tolist() == [0, 1, 2, 3, 4, 5, 2, 2]
    assert found.fold_of.tolist() == [0, 1, 2, 3, 4, 5, 4, 5]
    density = found.log_density[:, 0]
    third = density[found.rows == 2].mean()
    once = density[:6][found.rows[:6] != 2].sum()
    assert_close(found.elpd, once + third)


def test_rows_of_a_group_and_repeated_rows_are_one_cluster(tmp_path):
    x, y = noisy_waves(12)
    twice = k_fold(4, repeats=2)
    one, two = (
        cross_validate(
            normalized_gp, x, y, folds=twice, fit_options=optimizer(maxiter=n)
        )
        for n in (3, 30)
    )
    assert one.clusters.tolist() == [*range(12)] * 2
    change = (one.log_density - two.log_density).reshape(2, 12).numpy()
    found = difference(one, two)
    assert_close(found.attrs["sum"], change.mean(axis=0).sum())
    assert_close(found.attrs["standard_error"], 12 * sem(change.mean(axis=0)))
    density = one.log_density.reshape(2, 12).numpy().mean(axis=0)
    assert_close(one.summary().standard_error[0], sem(density))
    labels = [i // 3 for i in range(12)]
    grouped = cross_validate(normalized_gp, x, y, groups=labels, fit_options=FEW_STEPS)
    assert grouped.clusters.tolist() == labels
    means = grouped.log_density.reshape(4, 3).numpy().mean(axis=1)
    assert_close(grouped.summary().standard_error[0], sem(means))
    grouped.save(tmp_path / "result")
    loaded = CrossValidation.load(tmp_path / "result")
    assert loaded.clusters.tolist() == labels
    pd.testing.assert_frame_equal(loaded.summary(), grouped.summary())


def test_the_fit_table_has_a_row_for_every_model():
    x, y = noisy_waves(8, 2)
    table = cross_validate(normalized_gp, x, y, fit="warm").fit_table()
    assert len(table) == 16
    assert table.fold.tolist() == [f"row {i}" for i in range(8) for _ in range(2)]
    assert table.output.tolist() == 8 * [0, 1]
    assert (table.how == "warm").all() and (table.influence > 0).all()
    assert (table.gradient_norm < 1e-3).all()


def test_differences_name_folds_in_other_optima_and_refuse_other_rows():
    X, Y = noisy_waves(10)
    cold = cross_validate(normalized_gp, X, Y)
    stopped = cross_validate(
        normalized_gp,
        X,
        Y,
        fit_options=FitOptions(options={"maxiter": 1}),
    )
    assert difference(cold, cold).attrs["other_optimum"] == []
    assert difference(cold, cold).difference.abs().max() == 0
    assert len(difference(cold, stopped).attrs["other_optimum"]) > 5
    with pytest.raises(ValueError, match="other rows, folds or outcomes"):
        difference(cold, cross_validate(normalized_gp, X[:9], Y[:9]))
