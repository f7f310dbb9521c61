"""Rows are left out, and the others are predicted with and without them."""

from __future__ import annotations

import pytest
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import SingleTaskGP
from fold_helpers import planted
from helpers import assert_close, noisy_waves, normalized_gp, unit_waves

from botorch_xval import cross_validate, k_fold
from botorch_xval.cross_validation import find_outliers, outliers, refit_without
from botorch_xval.cross_validation.folds import restrict

NAMES = [f"trial {i}" for i in range(30)]


def test_only_the_planted_outlier_is_found(wrong):
    X, Y, result = wrong
    table = outliers(result, NAMES)
    assert table.is_outlier.sum() > 1  # rows beside it are predicted badly
    found = find_outliers(result, normalized_gp, X, Y, names=NAMES, fit="warm")
    assert found.rows == [7] and found.left_out.name.to_list() == ["trial 7"]
    assert_close(found.left_out.robust_z[0], table.robust_z[0])
    assert str(found).startswith("Without trial 7 the log density of the other 29 rows")


def test_others_are_compared_with_and_without(wrong):
    X, Y, result = wrong
    found = refit_without(result, [7], normalized_gp, X, Y, fit="warm")
    others = [i for i in range(30) if i != 7]
    alone = cross_validate(normalized_gp, X[others], Y[others], fit="warm")
    assert found.points.row.to_list() == others
    assert_close(found.points["with"], result.log_density[others, 0])
    assert_close(found.points["without"], alone.log_density[:, 0])
    gain = alone.log_density[:, 0] - result.log_density[others, 0]
    assert_close(found.difference, gain.mean())
    assert_close(found.standard_error, gain.std() / 29**0.5)
    assert found.difference > 0.5
    same = find_outliers(result, normalized_gp, X, Y, fit="warm")
    assert_close(same.points["without"], found.points["without"])


def test_without_an_outlier_nothing_is_left_out():
    X, Y, result = planted(0.0)
    found = find_outliers(result, normalized_gp, X, Y, fit="warm")
    assert found.rows == [] and str(found) == "No row stands out."
    assert found.result is result and found.difference == 0


def test_at_most_a_tenth_of_the_rows_is_left_out(wrong):
    X, Y, result = wrong
    for most, expected in ((0, 0), (1, 1)):
        found = find_outliers(result, normalized_gp, X, Y, most=most, level=0.9999)
        assert len(found.rows) == expected
    found = find_outliers(result, normalized_gp, X, Y, level=0.9999, fit="warm")
    assert len(found.rows) == 3 and found.rows[0] == 7
    assert set(found.points.row) == set(range(30)) - set(found.rows)


def test_several_outputs_and_repeated_folds():
    X, Y = noisy_waves(20, 2)
    Y[3, 1] += 60.0
    result = cross_validate(normalized_gp, X, Y, folds=k_fold(5, repeats=2), fit="warm")
    found = refit_without(
        result, [3], normalized_gp, X, Y, fit="warm", keep_models=True
    )
    assert len(found.points) == 19
    assert len(found.left_out) == 1 and found.left_out.output[0] == 1
    assert len(found.result.models) == len(result.folds.names)
    other = result.log_density.sum(dim=-1)[result.rows == 4].mean()
    assert_close(found.points["with"][3], other)


def test_a_row_that_lacks_a_repetition_is_not_compared():
    """A fold of the second shuffle fails, of which the mean of one would be left."""
    X, Y = unit_waves(10)
    folds = k_fold(5, repeats=2)(10)
    lost = folds.held_out[7].nonzero()[:, 0].tolist()

    def model(train_X, train_Y):
        if torch.equal(train_X, X[folds.training[7]]):
            raise RuntimeError("of this fold only")
        return normalized_gp(train_X, train_Y)

    kwargs = {"fit": "warm", "model": model, "train_X": X, "train_Y": Y}
    with pytest.warns(BotorchWarning, match="1 of 10 folds could not be fitted"):
        result = cross_validate(folds=folds, **kwargs)
    (other, *_) = set(range(10)) - set(lost)
    points = refit_without(result, [other], **kwargs).points.set_index("row")
    assert points["with"].isna().pipe(lambda x: x.index[x]).to_list() == lost
    assert points.difference.isna().sum() == len(lost) == 2


def test_a_model_may_need_known_noise():
    def model(train_X, train_Y, train_Yvar):
        return SingleTaskGP(train_X, train_Y, train_Yvar)

    X, Y = unit_waves(8)
    data = X, Y, torch.full_like(Y, 0.01)
    result = cross_validate(model, *data, folds=k_fold(4), fit="warm")
    found = refit_without(result, [3], model, *data, fit="warm")
    kept = torch.arange(8) != 3
    folds = restrict(result.folds, kept.nonzero()[:, 0].tolist())
    alone = cross_validate(model, *(t[kept] for t in data), folds=folds, fit="warm")
    assert found.points["without"].sum() == pytest.approx(alone.elpd)


def test_wrong_arguments_are_refused_in_words():
    X, Y = unit_waves(8)
    result = cross_validate(normalized_gp, X, Y, fit="warm")
    for rows in ([], [8], [-1]):
        with pytest.raises(ValueError, match="rows: expected some numbers from 0 to 7"):
            refit_without(result, rows, normalized_gp, X, Y)
    with pytest.raises(ValueError, match="the outcomes of the result, got others"):
        refit_without(result, [1], normalized_gp, X, Y + 1)
    with pytest.raises(ValueError, match="groups: expected none, as those of the res"):
        refit_without(result, [1], normalized_gp, X, Y, groups=list(range(8)))
