"""Results: scores as tables, files, differences."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from helpers import assert_close, noisy_waves, normalized_gp, optimizer
from scipy.stats import sem
from torch import Tensor

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


def test_results_survive_saving_to_a_file(tmp_path):
    x, y = noisy_waves(10, 2)
    for fit in ("refit", "warm", "fixed"):
        found = cross_validate(normalized_gp, x, y, folds=k_fold(4), fit=fit)
        found.save(tmp_path / "result")
        loaded = CrossValidation.load(tmp_path / "result")
        for name, value in vars(found).items():
            other = getattr(loaded, name)
            if isinstance(value, Tensor):
                assert torch.equal(value, other), name
            elif name == "folds":
                assert torch.equal(value.held_out, other.held_out)
                assert value.names == other.names
            else:
                assert repr(value) == repr(other), name  # NaN is not equal to NaN
        assert loaded.elpd == found.elpd
        pd.testing.assert_frame_equal(loaded.to_frame(), found.to_frame())


def test_scores_on_both_scales_with_and_without_noise():
    x, y = noisy_waves(12, 2)
    found = cross_validate(normalized_gp, x, y, fit="warm")
    frame = found.to_frame()
    assert frame.attrs == {"scale": "outcome", "noise": True}
    assert len(frame) == 24 and set(frame.output) == {0, 1}
    density = frame.log_density.to_numpy().reshape(12, 2)
    assert_close(density, found.log_density)
    quiet = found.to_frame(noise=False)
    variance = (found.variance - found.noise_variance).reshape(-1)
    assert_close(quiet.deviation**2, variance)
    assert (quiet.deviation < frame.deviation).all()
    # On the model's scale every fold has standardized its own outcomes.
    model = found.to_frame(scale="model")
    for i in (0, 7):
        rest = y[torch.arange(12) != i]
        scale = rest.std(dim=0)
        assert_close(found.location[i], rest.mean(dim=0))
        assert_close(found.scale[i], scale)
        assert_close(found.baseline[i], rest.mean(dim=0))
        shifted = density[i] + scale.log().numpy()
        assert_close(model.log_density[2 * i : 2 * i + 2], shifted)
        assert_close(model.z_score[2 * i : 2 * i + 2], frame.z_score[2 * i : 2 * i + 2])
    summary = found.summary()
    assert_close(summary.elpd, found.log_density.sum(dim=0))
    assert_close(summary.mse, ((found.mean - y) ** 2).mean(dim=0))
    assert found.summary("model", False).attrs == {"scale": "model", "noise": False}
    assert_close(found.ax_diagnostics()["MSE"], summary.mse)
    with pytest.raises(ValueError, match="scale: expected 'outcome' or 'model'"):
        found.to_frame(scale="x")


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
    with pytest.raises(ValueError, match="different rows, folds or outcomes"):
        difference(cold, cross_validate(normalized_gp, X[:9], Y[:9]))
