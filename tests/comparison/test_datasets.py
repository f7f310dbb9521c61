"""Rows and folds of the datasets of a comparison, and the rounds of a race."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.model_selection import TimeSeriesSplit

from botorch_xval.comparison.datasets import make_datasets, make_schedule
from botorch_xval.comparison.race import rounds
from botorch_xval.cross_validation.folds import (
    k_fold,
    leave_future_out,
    leave_one_out,
)
from botorch_xval.cross_validation.folds_like import make_folds


def test_smaller_datasets_are_the_first_rows_of_a_seeded_shuffle():
    found = make_datasets(20, [8, 15], 2, 3, leave_one_out, None)
    for replicate in range(2):
        rows = np.random.default_rng([3, replicate]).permutation(20)
        for size in (8, 15):
            own, folds = found[size, replicate]
            assert own.tolist() == rows[:size].tolist()
            assert torch.equal(folds.held_out, torch.eye(size).bool())


def test_labels_follow_their_rows():
    labels = list("aabbccdd")
    rows, folds = make_datasets(8, [6], 1, 0, leave_one_out, labels)[6, 0]
    own = [labels[i] for i in rows]
    assert folds.names == list(dict.fromkeys(own))
    for name, held_out in zip(folds.names, folds.held_out, strict=True):
        assert {own[i] for i in held_out.nonzero()[:, 0]} == {name}


@pytest.mark.parametrize("start", [5, 8])
def test_rows_in_time_stay_in_their_order(start):
    """Also where a single fold leaves out no row."""
    folds = leave_future_out(start, horizon=2)
    rows, made = make_datasets(20, [10], 1, 0, folds, None)[10, 0]
    assert rows.tolist() == sorted(rows) and len(rows) == 10
    assert torch.equal(made.training, folds(10).training)


@pytest.mark.parametrize("folds", [leave_future_out(2), TimeSeriesSplit(2)])
def test_labels_in_time_are_one_after_another_before_the_shuffle(folds):
    labels = [i // 3 for i in range(21)]
    rows, made = make_datasets(21, [12], 1, 0, folds, labels)[12, 0]
    assert rows.tolist() == sorted(rows)
    for held_out, training in zip(made.held_out, made.training, strict=True):
        assert training.nonzero().max() < held_out.nonzero().min()
    with pytest.raises(ValueError, match="one after another.*dataset of 12 rows, rep"):
        make_datasets(21, [12], 1, 0, folds, [i % 3 for i in range(21)])


def test_finished_folds_are_restricted_to_the_rows():
    folds = make_folds(k_fold(4), 20)
    rows, made = make_datasets(20, [12], 1, 0, folds, None)[12, 0]
    assert torch.equal(made.held_out, folds.held_out[:, rows])


def test_an_error_names_the_dataset():
    with pytest.raises(ValueError, match="expected at most 4 .*dataset of 4 rows, rep"):
        make_datasets(20, [4], 1, 0, k_fold(5), None)


def test_every_fold_is_fitted_once_in_the_rounds_of_a_race():
    datasets = make_datasets(60, [40], 2, 0, leave_one_out, None)
    (whole,) = make_schedule(datasets, 40, 2, race=False)
    assert whole == {0: tuple(range(40)), 1: tuple(range(40))}
    raced = make_schedule(datasets, 40, 2, race=True)
    ends = rounds([1] * 80)
    assert np.cumsum([sum(map(len, r.values())) for r in raced]).tolist() == ends
    units = [(r, i) for part in raced for r, own in part.items() for i in own]
    assert units == [(r, i) for r in range(2) for i in range(40)]
    future = make_datasets(60, [40], 1, 0, leave_future_out(10), None)
    raced = make_schedule(future, 40, 1, race=True)
    order = [i for part in raced for i in part[0]]
    assert sorted(order) == list(range(30)) and order[:10] != list(range(10))
