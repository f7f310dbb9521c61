"""What `folds=` and `groups=` take, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    RepeatedKFold,
    TimeSeriesSplit,
)

from botorch_xval.cross_validation.folds import (
    Folds,
    k_fold,
    leave_future_out,
    leave_one_out,
)
from botorch_xval.cross_validation.folds_like import (
    buffered,
    fits_any_size,
    make_folds,
)


def mask(*rows: str) -> torch.Tensor:
    """`mask("100", "011")`: two folds, of row 0 and of the others."""
    return torch.tensor([[cell == "1" for cell in row] for row in rows])


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
        ([([0, 1, 2], [2])], "got row 2 in both of 'fold 0'"),
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


def test_rows_of_a_split_may_be_in_neither_part():
    found = make_folds([([0, 1], [3]), ([0, 3], [1, 2])], 4)
    assert torch.equal(found.training, mask("1100", "1001"))
    assert torch.equal(found.held_out, mask("0001", "0110"))


@pytest.mark.parametrize(
    "splitter",
    [
        KFold(3, shuffle=True, random_state=1),
        RepeatedKFold(n_splits=2, n_repeats=2, random_state=0),
        TimeSeriesSplit(3, gap=1, max_train_size=4),
        GroupKFold(3),
        LeaveOneGroupOut(),
    ],
    ids=lambda s: type(s).__name__,
)
def test_splitters_of_scikit_learn_are_folds(splitter):
    rows = np.arange(9)
    groups = {"groups": rows} if "Group" in type(splitter).__name__ else {}
    expected = make_folds(list(splitter.split(rows[:, None], **groups)), 9)
    assert fits_any_size(splitter)
    found = make_folds(splitter, 9)
    assert torch.equal(found.held_out, expected.held_out)
    assert torch.equal(found.training, expected.training)
    labels = list("aabbccdefghij")  # ten of them: a splitter sees labels
    of_labels = make_folds(splitter, 10)
    found = make_folds(splitter, 13, labels)
    columns = ["abcdefghij".index(label) for label in labels]
    assert torch.equal(found.held_out, of_labels.held_out[:, columns])
    assert torch.equal(found.training, of_labels.training[:, columns])


def test_the_future_of_labels_has_their_names():
    found = make_folds(leave_future_out(2), 6, list("aabccd"))
    assert found.names == ["c", "d"]
    assert torch.equal(found.held_out, mask("000110", "000001"))
    assert torch.equal(found.training, mask("111000", "111110"))


@pytest.mark.parametrize(
    "folds", [leave_future_out(2), buffered(leave_one_out, 1), TimeSeriesSplit(2)]
)
def test_labels_that_alternate_have_no_order(folds):
    """A fold of "b" would train on row 3, which comes after row 2 of "b"."""
    message = (
        "got row 3 of 'a' after row 2 of 'b', which comes after row 1 of 'a'; sort"
    )
    with pytest.raises(ValueError, match=message):
        make_folds(folds, 6, list("aabacd"))
    sorted_rows = make_folds(folds, 6, list("aaabcd"))
    assert len(sorted_rows.names) >= 2
    make_folds(leave_one_out, 6, list("aabacd"))  # has none


# Neighbors


def test_a_buffer_keeps_neighbors_out_of_training():
    found = make_folds(buffered(leave_one_out, 2), 6)
    assert torch.equal(found.held_out, torch.eye(6).bool())
    distances = (torch.arange(6)[:, None] - torch.arange(6)).abs()
    assert torch.equal(found.training, distances > 2)
    assert found.names == leave_one_out(6).names
    found = buffered(leave_future_out(3), 1)(6)
    assert torch.equal(found.training, mask("110000", "111000", "111100"))
    shuffled = buffered(k_fold(3, seed=2), 1)(9)
    for held_out, training in zip(shuffled.held_out, shuffled.training, strict=True):
        for row in held_out.nonzero()[:, 0].tolist():
            assert not training[max(row - 1, 0) : row + 2].any()


def test_refuses_a_buffer_that_leaves_nothing():
    with pytest.raises(ValueError, match="buffer: .* whole number from 1 on, got 0"):
        buffered(leave_one_out, 0)
    with pytest.raises(ValueError, match="a training row in every fold, got none in"):
        buffered(leave_one_out, 5)(6)


# What makes folds of any number of rows, or of one only


def test_folds_are_made_of_functions_folds_and_masks():
    held_out = mask("100", "011")
    folds = make_folds(held_out, 3)
    assert torch.equal(folds.held_out, held_out)
    assert folds.names == ["fold 0", "fold 1"]
    assert torch.equal(make_folds(held_out.numpy(), 3).held_out, held_out)
    assert make_folds(folds, 3) is folds
    assert [*map(fits_any_size, (folds, held_out, leave_one_out))] == [0, 0, 1]
    assert torch.equal(make_folds(leave_one_out, 3).held_out, torch.eye(3).bool())
    assert torch.equal(make_folds(lambda n: held_out, 3).held_out, held_out)


def test_refuses_folds_of_other_data():
    with pytest.raises(ValueError, match="folds of 4 rows, got 3"):
        make_folds(mask("100", "011"), 4)
    with pytest.raises(ValueError, match="a splitter of scikit-learn, got int"):
        make_folds(5, 2)
    with pytest.raises(ValueError, match="got str"):
        make_folds("k_fold", 2)
    with pytest.raises(ValueError, match="got something else in fold 0"):
        make_folds([[True, False]], 2)
    with pytest.raises(ValueError, match="bool tensor `folds x n`, got torch.bool of"):
        make_folds(torch.tensor(True), 2)
