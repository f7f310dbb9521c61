"""Nested factors know nothing of the rows that they are tested on."""

from __future__ import annotations

import pytest
import torch
from helpers import assert_close, normalized_gp, unit_waves

from botorch_xval import cross_validate, k_fold
from botorch_xval.cross_validation import recalibrate, recalibrate_nested


def test_nested_factors_know_no_outcome_of_their_fold():
    X, Y = unit_waves(20)
    arguments = {"folds": k_fold(4), "inner": k_fold(4), "fit": "warm"}
    found = recalibrate_nested(normalized_gp, X, Y, **arguments)
    changed = Y.clone()
    own = found.result.folds.held_out[1]
    changed[own] += 3.0
    other = recalibrate_nested(normalized_gp, X, changed, **arguments)
    assert torch.equal(found.fold_factor[1], other.fold_factor[1])
    assert not torch.equal(found.fold_factor[0], other.fold_factor[0])
    assert found.is_nested and "without any of the fold's rows" in str(found)
    # The factor of all rows, and the folds' own cross-validation.
    alone = recalibrate(
        cross_validate(normalized_gp, X, Y, folds=k_fold(4), fit="warm")
    )
    assert_close(found.factor, alone.factor)
    train = (~own).nonzero()[:, 0]
    inner = cross_validate(
        normalized_gp, X[train], Y[train], folds=k_fold(4), fit="warm"
    )
    assert_close(found.fold_factor[1], recalibrate(inner).factor)


def test_nested_folds_keep_groups_together():
    X, Y = unit_waves(18)
    labels = [i % 6 for i in range(18)]
    found = recalibrate_nested(
        normalized_gp, X, Y, groups=labels, folds=k_fold(3), fit="warm"
    )
    assert found.fold_factor.shape == (3, 1)
    for held_out in found.result.folds.held_out:
        outside = {labels[i] for i in (~held_out).nonzero()[:, 0].tolist()}
        inside = {labels[i] for i in held_out.nonzero()[:, 0].tolist()}
        assert not inside & outside


def test_fixed_hyper_parameters_are_refused_in_words():
    with pytest.raises(ValueError, match="got fixed hyper-parameters"):
        recalibrate_nested(normalized_gp, *unit_waves(8), fit="fixed")
