"""Folds: who is held out when, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from botorch_xval.cross_validation.folds import (
    Folds,
    by_size,
    k_fold,
    leave_future_out,
    leave_one_out,
    restrict,
)


def mask(*rows: str) -> torch.Tensor:
    """`mask("100", "011")`: two folds, of row 0 and of the others."""
    return torch.tensor([[cell == "1" for cell in row] for row in rows])


def test_leave_one_out_holds_out_every_row_alone():
    folds = leave_one_out(4)
    assert torch.equal(folds.held_out, mask("1000", "0100", "0010", "0001"))
    assert folds.names == ["row 0", "row 1", "row 2", "row 3"]


@pytest.mark.parametrize("n", [5, 9, 10, 17])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_k_fold_holds_out_every_row_once_in_folds_of_nearly_equal_size(n, k):
    folds = k_fold(k)(n)
    sizes = folds.held_out.sum(dim=1)
    assert folds.held_out.shape == (k, n)
    assert (folds.held_out.sum(dim=0) == 1).all()
    assert sizes.max() - sizes.min() <= 1
    assert folds.names == [f"fold {i}" for i in range(k)]


def test_k_fold_of_as_many_folds_as_rows_is_leave_one_out_in_another_order():
    folds = k_fold(6)(6)
    order = folds.held_out.int().argmax(dim=1)
    assert torch.equal(folds.held_out[order.argsort()], leave_one_out(6).held_out)


def test_the_seed_decides_on_the_shuffle():
    first, again, other = (k_fold(3, seed)(20).held_out for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_repeats_are_further_shuffles_of_all_rows():
    folds = k_fold(3, seed=2, repeats=4)(10)
    assert folds.held_out.shape == (12, 10)
    assert folds.names[:4] == [
        "repeat 0, fold 0",
        "repeat 0, fold 1",
        "repeat 0, fold 2",
        "repeat 1, fold 0",
    ]
    parts = folds.held_out.reshape(4, 3, 10)
    assert (parts.sum(dim=1) == 1).all()
    assert torch.equal(parts[0], k_fold(3, seed=2)(10).held_out)
    assert not torch.equal(parts[0], parts[1])


# Rows in time


def test_the_future_is_in_neither_part():
    folds = leave_future_out(3)(6)
    assert torch.equal(folds.held_out, mask("000100", "000010", "000001"))
    assert torch.equal(folds.training, mask("111000", "111100", "111110"))
    assert folds.names == ["row 3", "row 4", "row 5"]
    assert folds.omits_rows
    folds = leave_future_out(2, horizon=2, step=3)(8)
    assert torch.equal(folds.held_out, mask("00110000", "00000110"))
    assert torch.equal(folds.training, mask("11000000", "11111000"))
    assert folds.names == ["rows 2 to 3", "rows 5 to 6"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 1}, "start: expected a whole number from 2 on, got 1"),
        (
            {"start": 2, "horizon": 0},
            "horizon: expected a whole number from 1 on, got 0",
        ),
        ({"start": 2, "step": 0}, "step: expected a whole number from 1 on, got 0"),
        ({"start": 2.5}, "start: expected a whole number from 2 on, got 2.5"),
        ({"start": 5, "horizon": 4}, "at least 9 rows .labels, .* got 8"),
    ],
)
def test_refuses_a_future_that_is_not_there(arguments, message):
    with pytest.raises(ValueError, match=message):
        leave_future_out(**arguments)(8)


# Some of the rows, some of the folds


def test_folds_of_some_rows_keep_names_and_drop_what_is_empty():
    folds = Folds(mask("10000", "01100", "00011"), ["a", "b", "c"])
    found = restrict(folds, [4, 2, 1])
    assert torch.equal(found.held_out, mask("011", "100"))
    assert found.names == ["b", "c"]
    assert found.groups is None
    grouped = replace(folds, groups=torch.tensor([0, 1, 1, 2, 2]))
    assert restrict(grouped, [4, 2, 1]).groups.tolist() == [2, 1, 1]
    found = restrict(folds, np.array([1, 2, 0]))
    assert torch.equal(found.held_out, mask("001", "110"))
    with pytest.raises(ValueError, match="at least 2 folds that hold out .*, got 0"):
        restrict(folds, [1, 2])
    future = restrict(leave_future_out(2)(5), [4, 0, 3])
    assert torch.equal(future.held_out, mask("001", "100"))
    assert torch.equal(future.training, mask("010", "011"))
    repeated = Folds(mask("1000", "0100"), ["a", "b"])
    with pytest.raises(ValueError, match="got 1; use more rows"):
        restrict(repeated, [0, 2, 3])


def test_some_folds_keep_both_parts():
    found = leave_future_out(2)(5).take([2, 0])
    assert torch.equal(found.held_out, mask("00001", "00100"))
    assert torch.equal(found.training, mask("11110", "11000"))
    assert found.names == ["row 4", "row 2"]
    assert not leave_one_out(3).omits_rows


def test_a_shuffle_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    k_fold(3, seed=5)(20)
    assert torch.equal(torch.rand(3), expected)


def test_folds_are_grouped_by_their_number_of_training_rows():
    training = ~mask("10000", "01100", "00010", "11001", "00011")
    assert by_size(training) == [[0, 2], [1, 4], [3]]


@pytest.mark.parametrize(
    ("held_out", "names", "message"),
    [
        (torch.zeros(0, 3).bool(), [], "at least one fold, got none"),
        (torch.eye(3), ["a"] * 3, "bool tensor `folds x n`, got torch.float32"),
        (mask("10")[0], ["a"], r"bool tensor `folds x n`, .* of shape \(2,\)"),
        (mask("10", "01"), ["a"], "one name per fold, got 1 names for 2 folds"),
        (
            mask("100", "000"),
            ["a", "b"],
            "a held-out row in every fold, got none in 'b'",
        ),
        (
            mask("111", "100"),
            ["a", "b"],
            "a training row in every fold, got none in 'a'",
        ),
    ],
)
def test_refuses_what_are_no_folds(held_out, names, message):
    with pytest.raises(ValueError, match=message):
        Folds(held_out, names)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (mask("110", "011"), "training or held out, got row 1 in both of 'b'"),
        (mask("11", "01"), r"of shape \(2, 3\), as held-out ones, got .* \(2, 2\)"),
        (torch.ones(2, 3), "got torch.float32 of shape"),
        (mask("000", "001"), "a training row in every fold, got none in 'a'"),
    ],
)
def test_refuses_training_rows_that_do_not_fit(training, message):
    with pytest.raises(ValueError, match=message):
        Folds(mask("001", "010"), ["a", "b"], training)


def test_refuses_wrong_numbers_of_folds_and_rows():
    with pytest.raises(ValueError, match="k: expected a whole number from 2 on, got 1"):
        k_fold(1)
    with pytest.raises(ValueError, match="repeats: .* number from 1 on, got 0"):
        k_fold(3, repeats=0)
    with pytest.raises(
        ValueError, match="k: expected at most 4 folds for 4 rows or labels, got 5"
    ):
        k_fold(5)(4)
    for folds in (leave_one_out, k_fold(2)):
        with pytest.raises(ValueError, match="at least 2 rows, got 1"):
            folds(1)
