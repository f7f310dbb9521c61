"""Folds in time: rows that are in neither part, and folds of unequal size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from fold_helpers import standard_waves, untransformed
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import SOLVED, assert_close, hartmann, mll_of, normalized_gp

from botorch_xval import (
    CrossValidation,
    FitOptions,
    buffered,
    compare,
    cross_validate,
    leave_future_out,
)
from botorch_xval.cross_validation import FITS
from botorch_xval.cross_validation.fold_models import FoldData, FoldGroups
from botorch_xval.cross_validation.folds import leave_one_out
from botorch_xval.cross_validation.folds_like import make_folds
from botorch_xval.fitting.losses.separate import Separate

MODELS = {"one": normalized_gp, "two": SingleTaskGP}
UNTRANSFORMED = "ignore:Data .outcome observations. is not standardized"


def test_the_next_trial_is_predicted_by_the_model_of_all_earlier_ones():
    X, Y = hartmann(18)
    found = cross_validate(normalized_gp, X, Y, folds=leave_future_out(14))
    assert found.rows.tolist() == [14, 15, 16, 17] and found.failed == {}
    for j, t in enumerate(found.rows.tolist()):
        mll = mll_of(normalized_gp(X[:t], Y[:t]))
        fit_gpytorch_mll(mll)
        with torch.no_grad():
            posterior = mll.model.posterior(X[[t]], observation_noise=True)
        assert_close(found.mean[j], posterior.mean[0], rtol=1e-3, atol=1e-3)
        assert_close(found.variance[j], posterior.variance[0], rtol=1e-2)
        assert_close(found.baseline[j], Y[:t].mean(dim=0))
        assert found.records[j].num_points == t


@pytest.mark.parametrize("fit", FITS)
def test_the_future_is_not_seen(fit):
    """Of the fold itself; all rows are, by the fit to all of them."""
    X, Y = hartmann(20)
    folds = leave_future_out(12, horizon=2, step=2)
    first = cross_validate(normalized_gp, X, Y, folds=folds, fit=fit)
    assert first.rows.tolist() == list(range(12, 20))
    assert first.failed == {} and first.whitened is None
    assert math.isfinite(first.elpd) and first.corrected is None
    later = Y.clone()
    later[16:] += 3.0
    second = cross_validate(normalized_gp, X, later, folds=folds, fit=fit)
    known = first.rows < 16
    if fit == "refit":
        assert torch.equal(first.mean[known], second.mean[known])
    elif fit == "fixed":
        assert not torch.equal(first.mean[known], second.mean[known])


@pytest.mark.several
def test_folds_of_all_sizes_end_in_their_lowest_optima():
    X, Y = hartmann(24)
    folds = leave_future_out(14)
    refitted, warm = (
        cross_validate(normalized_gp, X, Y, folds=folds, fit=fit)
        for fit in ("refit", "warm")
    )
    losses = [np.array([r.loss for r in each.records]) for each in (refitted, warm)]
    points = np.array([r.num_points for r in refitted.records])
    assert points.tolist() == list(range(14, 24))
    assert (np.abs(losses[0] - losses[1]) * points < 0.05).all()
    alone = [
        cross_validate(normalized_gp, X, Y, folds=make_folds(folds, 24).take([j]))
        for j in range(10)
    ]
    own = np.array([each.records[0].loss for each in alone])
    assert ((losses[0] - own) * points < 0.01).all()


@pytest.mark.filterwarnings(UNTRANSFORMED)
@pytest.mark.parametrize("fit", ["warm", "adaptive"])
def test_one_factorization_predicts_what_a_buffer_leaves(fit, monkeypatch):
    """First-order predictions of one of the rows that a fold does not train on."""
    X, Y = standard_waves(60, seed=1)
    folds = buffered(leave_one_out, 1)
    kwargs = {"folds": folds, "fit": fit, "threshold": math.inf}
    found = cross_validate(untransformed, X, Y, **kwargs)
    expected = cross_validate(untransformed, X, Y, folds=folds)
    small = np.array([fit.influence < 0.2 for fit in found.fits])
    assert small.sum() > 10 and len(found.rows) == 60
    close = {"rtol": 0, "atol": 1e-3 if fit == "warm" else 0.03}
    if fit == "adaptive":
        assert {each.how for each in found.fits} == {"predicted"}
    assert_close(found.mean[small], expected.mean[small], **close)
    assert_close(found.variance[small], expected.variance[small], **close)


def test_folds_of_unequal_size_are_one_batch():
    X, Y = hartmann(13)
    groups = ["a"] * 3 + ["b"] * 2 + ["c"] + list("defghij"[:7])
    folds = make_folds(leave_one_out, 13, groups)
    data = FoldData(normalized_gp, ExactMarginalLogLikelihood, X, Y, None, folds)
    models = data.models_of(range(len(folds.names)))
    assert isinstance(models, FoldGroups)
    objective = models.objective(FitOptions())
    assert isinstance(objective, Separate)
    sizes = folds.training.sum(dim=1).tolist()
    assert [objective.points_of(i) for i in range(objective.num_models)] == sizes
    for i, n in enumerate(sizes):
        targets = models.ordinary(i).model.train_targets
        assert targets.shape == (n,)
    found = cross_validate(normalized_gp, X, Y, groups=groups)
    for i in range(len(folds.names)):
        own = cross_validate(normalized_gp, X, Y, folds=folds.take([i]))
        mine = found.fold_of == i
        assert_close(found.records[i].loss, own.records[0].loss, **SOLVED)
        assert_close(found.mean[mine], own.mean, rtol=1e-4, atol=1e-4)


def test_what_was_left_out_is_saved(tmp_path):
    X, Y = hartmann(12)
    found = cross_validate(normalized_gp, X, Y, folds=leave_future_out(9), fit="fixed")
    found.save(tmp_path / "future.npz")
    again = CrossValidation.load(tmp_path / "future.npz")
    assert torch.equal(again.folds.training, found.folds.training)
    assert torch.equal(again.folds.held_out, found.folds.held_out)
    assert again.elpd == found.elpd


def test_a_comparison_keeps_rows_in_their_order(tmp_path):
    X, Y = hartmann(24)
    kwargs = {
        "sizes": [16, 24],
        "folds": leave_future_out(12),
        "fit": "fixed",
        "folder": tmp_path,
    }
    found = compare(MODELS, X, Y, **kwargs)
    whole = found.points[
        (found.points["size"] == 24) & (found.points.configuration == "one")
    ]
    assert whole.row.tolist() == list(range(12, 24))
    some = found.points[
        (found.points["size"] == 16) & (found.points.configuration == "one")
    ]
    rows = some.row.tolist()
    assert rows == sorted(rows) and len(rows) == 4
    alone = cross_validate(normalized_gp, X, Y, folds=leave_future_out(12), fit="fixed")
    assert_close(whole.log_density.to_numpy(), alone.log_density[:, 0])
    written = (tmp_path / "points.csv").read_text()
    again = compare(MODELS, X, Y, **kwargs)
    assert again.points.equals(found.points)
    assert (tmp_path / "points.csv").read_text() == written
    with pytest.raises(ValueError, match="folds of 16 rows"):
        compare(
            MODELS,
            X,
            Y,
            **{**kwargs, "folds": buffered(leave_future_out(12), 1)},
        )


def test_a_race_in_time_begins_with_any_folds():
    X, Y = hartmann(40)
    kwargs = {"sizes": [40], "folds": leave_future_out(10), "fit": "fixed"}
    raced = compare(MODELS, X, Y, race=True, **kwargs)
    full = compare(MODELS, X, Y, **kwargs)
    first = raced.points[raced.points["round"] == 1]
    assert set(first.row) != set(range(10, 20)) and len(set(first.row)) == 10
    both = [
        each.points[each.points.configuration == "one"].set_index("row").log_density
        for each in (raced, full)
    ]
    assert_close(both[0].sort_index().to_numpy(), both[1].sort_index().to_numpy())
