"""Combinations of folds, outputs and ways to fit, where one part meets another."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import ModelListGP, SingleTaskGP
from helpers import SAME, assert_close, hartmann, noisy_waves, normalized_gp

from botorch_xval import (
    FitOptions,
    buffered,
    compare,
    cross_validate,
    difference,
    find_outliers,
    k_fold,
    leave_future_out,
    recalibrate,
)
from botorch_xval.cross_validation.folds import leave_one_out
from botorch_xval.cross_validation.folds_like import make_folds

FEW = FitOptions(options={"maxiter": 4}, starts="own")


class Unfitted(SingleTaskGP):
    """Its own fit keeps the initial values."""

    def custom_fit(self, mll, *args, **kwargs):
        return mll


@pytest.mark.filterwarnings("ignore:Data .input features.")
def test_a_fit_of_its_own_belongs_to_its_fold_whatever_the_sizes():
    X, Y = hartmann(14)
    folds = make_folds(k_fold(3, repeats=2), 14)
    found = cross_validate(Unfitted, X, Y, folds=folds)
    for i, (held_out, training) in enumerate(
        zip(folds.held_out, folds.training, strict=True)
    ):
        model = SingleTaskGP(X[training], Y[training]).eval()
        with torch.no_grad():
            posterior = model.posterior(X[held_out], observation_noise=True)
        assert_close(found.mean[found.fold_of == i], posterior.mean, **SAME)
        assert_close(found.variance[found.fold_of == i], posterior.variance, **SAME)


@pytest.mark.several
def test_all_folds_refitted_by_samples_are_those_of_warm():
    X, Y = noisy_waves(14, seed=3)
    kwargs = {"folds": k_fold(3, repeats=2), "max_error": 0.01}
    sampled = cross_validate(normalized_gp, X, Y, fit="sampled", **kwargs)
    warm = cross_validate(normalized_gp, X, Y, fit="warm", **kwargs)
    assert sampled.estimate.refitted == 6
    losses = [[r.loss for r in each.records] for each in (sampled, warm)]
    assert (np.array(losses[0]) - np.array(losses[1])).max() < 1e-3
    assert sampled.elpd == pytest.approx(warm.elpd, abs=0.01)


def test_one_fold_in_time_keeps_rows_in_their_order():
    X, Y = hartmann(14)
    found = compare(
        {"one": normalized_gp},
        X,
        Y,
        sizes=[14],
        folds=leave_future_out(10, horizon=4),
        fit="fixed",
    )
    assert found.points.row.tolist() == [10, 11, 12, 13]


def test_samples_of_outputs_are_independent():
    X, Y = noisy_waves(40)

    def listed(X, Y):
        return ModelListGP(*(normalized_gp(X, Y[:, [j]]) for j in range(2)))

    kwargs = {"fit": "sampled", "max_error": 0.3, "fit_options": FEW}
    both = cross_validate(listed, X, torch.cat([Y, Y], dim=-1), **kwargs)
    each = [
        cross_validate(
            normalized_gp, X, Y, **{**kwargs, "max_error": 0.3 / 2**0.5}, seed=seed
        ).estimate
        for seed in (0, 1)
    ]
    assert both.estimate.elpd == pytest.approx(sum(one.elpd for one in each), abs=1e-6)
    error = math.hypot(*(one.standard_error for one in each))
    assert both.estimate.standard_error == pytest.approx(error)


def test_factors_of_outputs_with_gaps_are_those_of_each_alone():
    X, Y = noisy_waves(16, 2)
    Y[::2, 1] = math.nan
    kwargs = {"fit": "warm", "fit_options": FEW}
    found = recalibrate(cross_validate(normalized_gp, X, Y, **kwargs))
    for j in range(2):
        rows = (~Y[:, j].isnan()).nonzero()[:, 0]
        own = recalibrate(
            cross_validate(normalized_gp, X[rows], Y[rows, j : j + 1], **kwargs)
        )
        assert_close(found.factor[j], own.factor[0], **SAME)
    assert np.isfinite(found.table().log_density_gain).all()


def test_a_value_that_no_fold_can_predict_is_a_failure_and_not_missing():
    X, Y = hartmann(14)
    Y = torch.cat([Y, Y**2], dim=-1)
    Y[:5, 1] = math.nan
    folds = leave_future_out(3)
    with (
        pytest.warns(BotorchWarning, match="1 of 11 folds .*row 5 .output 1: no tr"),
        pytest.warns(BotorchWarning, match="single value.*: row 6 .output 1.; do not"),
    ):
        found = cross_validate(normalized_gp, X, Y, folds=folds, fit_options=FEW)
    assert list(found.failed) == ["row 5"]
    assert torch.equal(found.observed.isnan(), Y[3:].isnan())
    lost = found.summed_log_density.isnan().nonzero()[:, 0]
    assert found.rows[lost].tolist() == [5]


def test_a_difference_is_that_of_the_sums_with_repeated_folds():
    X, Y = hartmann(14)
    fixed, warm = (
        cross_validate(
            normalized_gp, X, Y, folds=k_fold(3, repeats=2), fit=fit, fit_options=FEW
        )
        for fit in ("fixed", "warm")
    )
    found = difference(fixed, warm)
    assert found.attrs["sum"] == pytest.approx(fixed.elpd - warm.elpd)
    by_row = found.groupby("row").difference.mean()
    error = by_row.std() * math.sqrt(len(by_row))
    assert found.attrs["standard_error"] == pytest.approx(error)


def test_a_buffer_keeps_groups():
    labels = list("aabbccdd")
    folds = buffered(make_folds(leave_one_out, 8, labels), 1)(8)
    assert folds.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("case", ["time", "gaps"])
def test_outliers_among_rows_of_which_some_have_no_score(case):
    X, Y = noisy_waves(26)
    Y = torch.cat([Y, Y**2], dim=-1) if case == "gaps" else Y
    Y[20, 0] += 300.0
    folds = leave_future_out(8) if case == "time" else leave_one_out
    if case == "gaps":
        Y[3, 1] = math.nan
    result = cross_validate(normalized_gp, X, Y, folds=folds, fit="warm")
    kwargs = {"fit": "warm", "most": 1}
    found = find_outliers(result, normalized_gp, X, Y, **kwargs)
    assert found.rows == [20]
    scored = {*range(8, 26)} if case == "time" else {*range(26)}
    assert set(found.points.row) == scored - {20}
    with pytest.raises(ValueError, match="train_Y: expected the outcomes of the res"):
        find_outliers(result, normalized_gp, X, Y + 1, **kwargs)
    with pytest.raises(ValueError, match="train_Y: .* shape .10, m., .* got .26, "):
        find_outliers(result, normalized_gp, X[:10], Y, **kwargs)
    with pytest.raises(ValueError, match="folds: expected none"):
        find_outliers(result, normalized_gp, X, Y, folds=folds, **kwargs)
    with pytest.raises(ValueError, match="expected a CrossValidation, got str"):
        find_outliers("result", normalized_gp, X, Y, **kwargs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train_X": np.zeros((8, 2))},
            "train_X: .* tensor `n x d`, got ndarray",
        ),
        (
            {"train_X": math.nan},
            "train_X: expected finite numbers, got nan in row 2, column 0",
        ),
        ({"train_Y": math.inf}, "train_Y: expected finite .* inf in row 2, column 0"),
        ({"mll": "loo"}, "mll: expected a class such as .* got a str"),
        ({"model": "built"}, "model: expected a function .* got a SingleTaskGP|str"),
    ],
)
def test_refuses_what_is_no_data_and_no_model(change, message):
    X, Y = noisy_waves(8)
    given = {"model": normalized_gp, "train_X": X, "train_Y": Y}
    for name, value in change.items():
        if isinstance(value, float):
            given[name] = given[name].clone()
            given[name][2, 0] = value
        else:
            given[name] = value
    with pytest.raises(ValueError, match=message):
        cross_validate(**given)
    if "mll" in change:
        with pytest.raises(ValueError, match=message):
            compare({"one": normalized_gp}, X, Y, sizes=[8], mll={"one": "loo"})


def test_folds_of_few_rows_have_draws_of_their_own():
    """As the same fold of just its rows; those of all rows may miss its modes."""
    X, Y = hartmann(12)
    folds = leave_future_out(7)
    found = cross_validate(normalized_gp, X, Y, folds=folds, fit="posterior")
    table = found.fit_table()
    assert table.how[:3].tolist() == ["redrawn"] * 3  # 7 to 9 of 12 rows
    last = torch.arange(8) == 7
    alone = cross_validate(
        normalized_gp, X[:8], Y[:8], folds=last[None], fit="posterior", draws=4000
    )
    assert found.log_density[0].item() == pytest.approx(
        alone.log_density[0].item(), abs=0.4
    )
