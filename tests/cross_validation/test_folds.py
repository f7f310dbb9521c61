"""Folds: who is held out when, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from botorch_xval.cross_validation.folds import (
    Folds,
    by_size,
    k_fold,
    leave_one_out,
    make_folds,
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


def test_rows_with_a_label_stay_together():
    labels = ["b", "a", "b", "c", "a"]
    folds = make_folds(leave_one_out, 5, labels)
    assert folds.names == ["b", "a", "c"]
    assert torch.equal(folds.held_out, mask("10100", "01001", "00010"))
    numbers = torch.tensor([4, 4, 7])
    found = make_folds(leave_one_out, 3, numbers).held_out
    assert torch.equal(found, mask("110", "001"))
    halves = make_folds(k_fold(2, seed=1), 5, labels)
    expected = k_fold(2, seed=1)(3).held_out[:, [0, 1, 0, 2, 1]]
    assert torch.equal(halves.held_out, expected)
    with pytest.raises(ValueError, match="expected 4 labels, one per row, got 5"):
        make_folds(leave_one_out, 4, labels)
    with pytest.raises(ValueError, match="at least 2 distinct labels, got only 'a'"):
        make_folds(leave_one_out, 2, ["a", "a"])
    with pytest.raises(ValueError, match="rows with 'b' on both sides of 'fold 0'|rows with 'a' on both sides"):
        make_folds(mask("101000", "010000")[:, :5], 5, labels)


def test_folds_are_made_of_splits_as_scikit_learn_has_them():
    splits = [([0, 1], np.array([2])), (torch.tensor([2]), [1, 0])]
    folds = make_folds(iter(splits), 3)
    assert torch.equal(folds.held_out, mask("001", "110"))
    for wrong in ([([0], [2])], [([0, 1], [1, 2])], [3], [([0.5], "a")], []):
        with pytest.raises(ValueError, match="folds: expected"):
            make_folds(wrong, 3)


def test_folds_of_some_rows():
    folds = make_folds(mask("10100", "01001", "00010"), 5)
    some = restrict(folds, [4, 0, 2])
    assert some.names == ["fold 0", "fold 1"]
    assert torch.equal(some.held_out, mask("011", "100"))
    with pytest.raises(ValueError, match="at least 2 folds that hold out some .*, got 0"):
        restrict(folds, [0, 2])


def test_a_shuffle_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    k_fold(3, seed=5)(20)
    assert torch.equal(torch.rand(3), expected)


def test_folds_are_made_of_functions_folds_and_masks():
    held_out = mask("100", "011")
    folds = make_folds(held_out, 3)
    assert torch.equal(folds.held_out, held_out)
    assert folds.names == ["fold 0", "fold 1"]
    assert make_folds(folds, 3) is folds
    assert torch.equal(make_folds(leave_one_out, 3).held_out, torch.eye(3).bool())
    assert torch.equal(make_folds(lambda n: held_out, 3).held_out, held_out)


def test_folds_are_grouped_by_their_number_of_training_rows():
    folds = make_folds(mask("10000", "01100", "00010", "11001", "00011"), 5)
    assert by_size(folds) == [[0, 2], [1, 4], [3]]


@pytest.mark.parametrize(
    ("held_out", "names", "message"),
    [
        (torch.eye(3), ["a"] * 3, "bool tensor `folds x n`, got torch.float32"),
        (mask("10")[0], ["a"], r"bool tensor `folds x n`, .* of shape \(2,\)"),
        (mask("10", "01"), ["a"], "one name per fold, got 1 names for 2 folds"),
        (mask("100", "000"), ["a", "b"], "a held-out row in every fold, got none in 'b'"),
        (mask("111", "100"), ["a", "b"], "a training row in every fold, got none in 'a'"),
    ],
)
def test_refuses_what_are_no_folds(held_out, names, message):
    with pytest.raises(ValueError, match=message):
        Folds(held_out, names)


def test_refuses_wrong_numbers_of_folds_and_rows():
    with pytest.raises(ValueError, match="k: expected at least 2 folds, got 1"):
        k_fold(1)
    with pytest.raises(ValueError, match="repeats: expected at least 1, got 0"):
        k_fold(3, repeats=0)
    with pytest.raises(ValueError, match="k: expected at most 4 folds for 4 rows or labels, got 5"):
        k_fold(5)(4)
    for folds in (leave_one_out, k_fold(2)):
        with pytest.raises(ValueError, match="at least 2 rows, got 1"):
            folds(1)


def test_refuses_folds_of_other_data():
    with pytest.raises(ValueError, match="folds of 4 rows, got folds of 3 rows"):
        make_folds(mask("100", "011"), 4)
    with pytest.raises(
        ValueError, match="expected pairs .train, test. of row numbers from 0 to 1"
    ):
        make_folds([[True, False]], 2)
