"""Folds along a trace, against refits and single Newton steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fold_helpers import standard_waves, untransformed
from helpers import assert_close, mll_of, tuning_trials
from sklearn.model_selection import TimeSeriesSplit

from botorch_xval import (
    FitOptions,
    ScalarChoiceGP,
    buffered,
    cross_validate,
    leave_future_out,
)
from botorch_xval.cross_validation.folds import k_fold, leave_one_out
from botorch_xval.cross_validation.folds_like import make_folds
from botorch_xval.cross_validation.full_fit import fit_all_rows
from botorch_xval.cross_validation.trace import is_trace

UNTRANSFORMED = "ignore:Data .outcome observations. is not standardized"


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        (leave_future_out(3), True),
        (leave_future_out(3, horizon=2, step=2), True),
        (buffered(leave_future_out(4), 1), True),
        (TimeSeriesSplit(3), True),
        (TimeSeriesSplit(3, max_train_size=3), False),
        (leave_one_out, False),
        (k_fold(3), False),
        (buffered(leave_one_out, 1), False),
    ],
)
def test_a_trace_has_ever_more_training_rows(folds, expected):
    made = make_folds(folds, 12)
    assert is_trace(made) == expected
    assert is_trace(made.take(range(len(made.names))[::-1])) == expected


def trials(n: int):
    table = tuning_trials(n)

    def model(X, Y):
        return ScalarChoiceGP(X, Y, choice_dims=table.choice_dims)

    return model, table.X, table.Y


@pytest.mark.filterwarnings(UNTRANSFORMED)
@pytest.mark.parametrize(
    "problem",
    [lambda: (untransformed, *standard_waves(40)), lambda: trials(32)],
    ids=["waves", "trials"],
)
def test_following_a_trace_ends_where_refits_end_for_less(problem):
    model, X, Y = problem()
    folds = leave_future_out(16)
    refitted, warm, kept = (
        cross_validate(model, X, Y, folds=folds, fit=fit, threshold=0.3)
        for fit in ("refit", "warm", "adaptive")
    )
    points = np.array([r.num_points for r in refitted.records])
    losses = [
        points * [r.loss for r in each.records] for each in (refitted, warm, kept)
    ]
    same = np.abs(losses[0] - losses[1]) < 1e-3
    assert same.mean() > 0.9  # others have another optimum
    assert_close(warm.mean[same], refitted.mean[same], rtol=0, atol=0.01)
    spent = [sum(r.evaluations for r in each.records) for each in (warm, refitted)]
    assert 0 < spent[0] < 0.7 * spent[1]
    assert {fit.how for fit in kept.fits} == {"warm", "predicted"}
    assert kept.evaluations < warm.evaluations
    left = np.array([fit.how == "predicted" for fit in kept.fits])
    assert (losses[2] - losses[1])[left & same].max() < 0.05
    assert_close(kept.mean[left & same], warm.mean[left & same], rtol=0, atol=0.1)


@pytest.mark.filterwarnings(UNTRANSFORMED)
def test_the_influence_is_that_of_the_row_that_the_next_fold_has_more():
    X, Y = standard_waves(30)
    folds = leave_future_out(26)
    found = cross_validate(untransformed, X, Y, folds=folds, fit="warm")
    full = fit_all_rows(mll_of(untransformed(X, Y)), FitOptions(starts="own"))
    mll = mll_of(untransformed(X[:29], Y[:29]))
    mll.model.load_state_dict(full.mll.model.state_dict())
    mll.train()
    loss = -29 * mll(mll.model(*mll.model.train_inputs), mll.model.train_targets)
    own = dict(mll.named_parameters())
    tensors = [own[name] for name in full.fitted.objective.table.columns]
    slopes = [s.reshape(-1) for s in torch.autograd.grad(loss, tensors)]
    whitened = full.centers[0][0].whitened
    _, pull_back = whitened.at(whitened.from_raw(full.fitted.theta[0]))
    expected = np.linalg.norm(pull_back(torch.cat(slopes).numpy()))
    assert found.fits[-1].influence == pytest.approx(expected, rel=1e-3)
