"""Folds: who is held out when, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
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


LABELS = ["b", "a", "b", "c", "a"]
GROUPS: dict[str, Callable] = {
    "list": list,
    "iterator": iter,
    "array": np.array,
    "column": lambda labels: pd.Series(labels, index=[9, 8, 7, 6, 5]),
    "index": pd.Index,
    "categories": pd.Categorical,
    "tensor": lambda labels: torch.tensor([ord(label) for label in labels]),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_leaving_one_out_of_labels_is_a_fold_per_label(kind):
    folds = make_folds(leave_one_out, 5, GROUPS[kind](LABELS))
    names = ["b", "a", "c"]
    assert folds.names == (["98", "97", "99"] if kind == "tensor" else names)
    assert torch.equal(folds.held_out, mask("10100", "01001", "00010"))


def test_k_folds_of_labels_are_folds_of_rows():
    labels = list("abcdefgab")
    folds = make_folds(k_fold(3, seed=1, repeats=2), 9, labels)
    of_labels = k_fold(3, seed=1, repeats=2)(7)
    assert folds.names == of_labels.names
    for row, label in enumerate(labels):
        column = of_labels.held_out[:, "abcdefg".index(label)]
        assert torch.equal(folds.held_out[:, row], column)


def test_a_function_of_labels_may_return_a_mask_or_splits():
    expected = mask("10100", "01011")
    for folds in (
        lambda n: mask("100", "011"),
        lambda n: [([1, 2], [0]), ([0], [1, 2])],
    ):
        found = make_folds(folds, 5, LABELS)
        assert torch.equal(found.held_out, expected)
        assert found.names == ["fold 0", "fold 1"]


def test_finished_folds_keep_labels_on_one_side():
    folds = Folds(mask("10100", "01011"), ["x", "y"])
    found = make_folds(folds, 5, LABELS)
    assert found.held_out is folds.held_out and found.names == folds.names
    assert found.groups.tolist() == [0, 1, 0, 2, 1]
    assert make_folds(found, 5) is found
    assert make_folds(leave_one_out, 5, LABELS).groups.tolist() == [0, 1, 0, 2, 1]
    with pytest.raises(ValueError, match=r"group for each of 5 rows, got the .*\(3,\)"):
        Folds(folds.held_out, folds.names, groups=torch.arange(3))
    wrong = Folds(mask("10100", "01010"), ["x", "y"])
    with pytest.raises(ValueError, match="rows with 'a' on both sides of 'y'; hold"):
        make_folds(wrong, 5, LABELS)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a", "b"], "groups: expected 5 labels, one per row, got 2"),
        (["a"] * 5, "at least 2 distinct labels, got only 'a'"),
        (["a", "b", None, "c", "c"], "a label for every row, got None for row 2"),
        ([1.0, 2.0, 2.0, float("nan"), 1.0], "got nan for row 3; give rows"),
        (torch.zeros(5, 1), r"one label per row, got the shape \(5, 1\)"),
        (pd.DataFrame({"g": LABELS}), r"got the shape \(5, 1\); pass a single column"),
    ],
)
def test_refuses_labels_that_do_not_fit(groups, message):
    with pytest.raises(ValueError, match=message):
        make_folds(leave_one_out, 5, groups)


# Splits, as scikit-learn's splitters yield them


def splits(folds: Folds) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for held_out in folds.held_out.numpy():
        yield np.flatnonzero(~held_out), np.flatnonzero(held_out)


def test_splits_are_folds():
    expected = k_fold(3)(8)
    found = make_folds(splits(expected), 8)
    assert torch.equal(found.held_out, expected.held_out)
    assert found.names == ["fold 0", "fold 1", "fold 2"]
    as_lists = [(train.tolist(), test.tolist()) for train, test in splits(expected)]
    assert torch.equal(make_folds(as_lists, 8).held_out, expected.held_out)
    again = [tuple(map(torch.tensor, pair)) for pair in as_lists]
    assert torch.equal(make_folds(again, 8).held_out, expected.held_out)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([([0, 1], [2]), ([0], [2])], "got row 1 in neither of fold 1; a fold trains"),
        ([([0, 1, 2], [2])], "got row 2 in both of fold 0"),
        ([([0, 1], [3])], r"from 0 to 2, got .* fold 0 \(numbers from 3 to 3\)"),
        ([([0, 1], [-1])], "numbers from -1 to -1"),
        ([([0.0, 1.0], [2.0])], "torch.float32 of shape"),
        ([([True, True, False], [2])], "torch.bool of shape"),
        ([[0, 1]], "got something else in fold 0"),
        ([([0, 1], [2], [2])], "got something else in fold 0"),
        ([3], "got something else in fold 0"),
        ([([0, 1, 2], [])], "a held-out row in every fold, got none in 'fold 0'"),
        ([], "expected at least one fold, got none"),
    ],
)
def test_refuses_splits_that_are_no_folds(pairs, message):
    with pytest.raises(ValueError, match=message):
        make_folds(pairs, 3)


# Some of the rows


def test_folds_of_some_rows_keep_names_and_drop_what_is_empty():
    folds = Folds(mask("10000", "01100", "00011"), ["a", "b", "c"])
    found = restrict(folds, [4, 2, 1])
    assert torch.equal(found.held_out, mask("011", "100"))
    assert found.names == ["b", "c"]
    assert found.groups is None
    grouped = make_folds(folds, 5, list("xyyzz"))
    assert restrict(grouped, [4, 2, 1]).groups.tolist() == [2, 1, 1]
    found = restrict(folds, np.array([1, 2, 0]))
    assert torch.equal(found.held_out, mask("001", "110"))
    with pytest.raises(ValueError, match="at least 2 folds that hold out .*, got 0"):
        restrict(folds, [1, 2])
    repeated = Folds(mask("1000", "0100"), ["a", "b"])
    with pytest.raises(ValueError, match="got 1; use more rows"):
        restrict(repeated, [0, 2, 3])


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
    assert torch.equal(make_folds(held_out.numpy(), 3).held_out, held_out)
    assert make_folds(folds, 3) is folds
    assert torch.equal(make_folds(leave_one_out, 3).held_out, torch.eye(3).bool())
    assert torch.equal(make_folds(lambda n: held_out, 3).held_out, held_out)


def test_folds_are_grouped_by_their_number_of_training_rows():
    folds = make_folds(mask("10000", "01100", "00010", "11001", "00011"), 5)
    assert by_size(folds) == [[0, 2], [1, 4], [3]]


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


def test_refuses_wrong_numbers_of_folds_and_rows():
    with pytest.raises(ValueError, match="k: expected at least 2 folds, got 1"):
        k_fold(1)
    with pytest.raises(ValueError, match="repeats: expected at least 1, got 0"):
        k_fold(3, repeats=0)
    with pytest.raises(
        ValueError, match="k: expected at most 4 folds for 4 rows or labels, got 5"
    ):
        k_fold(5)(4)
    for folds in (leave_one_out, k_fold(2)):
        with pytest.raises(ValueError, match="at least 2 rows, got 1"):
            folds(1)


def test_refuses_folds_of_other_data():
    with pytest.raises(ValueError, match="folds of 4 rows, got 3"):
        make_folds(mask("100", "011"), 4)
    with pytest.raises(ValueError, match="got int; for a splitter of scikit-learn"):
        make_folds(5, 2)
    with pytest.raises(ValueError, match="got str"):
        make_folds("k_fold", 2)
    with pytest.raises(ValueError, match="got something else in fold 0"):
        make_folds([[True, False]], 2)
    with pytest.raises(ValueError, match="bool tensor `folds x n`, got torch.bool of"):
        make_folds(torch.tensor(True), 2)
