"""Folds as rows of all data: how rows are numbered, selected and compared."""

from __future__ import annotations

import pytest
import torch
from ax_helpers import client_with_data, fitted_adapter
from botorch.utils.datasets import SupervisedDataset
from helpers import assert_close
from torch import Tensor

from botorch_xval.ax.folds import OtherFolds, Rows, fit_folds, same_datasets

pytestmark = pytest.mark.filterwarnings("default")  # Ax's own

X = torch.tensor([[0.0, 1.0], [2.0, 3.0], [0.0, 1.0], [4.0, 5.0]]).double()
Y = torch.arange(4.0).double()[:, None]


class Ranking(SupervisedDataset):
    """Data of another kind: rows may depend on each other."""


def dataset(
    rows: list[int], name: str = "y", Yvar: Tensor | None = None
) -> SupervisedDataset:
    return SupervisedDataset(
        X[rows],
        Y[rows],
        Yvar=None if Yvar is None else Yvar[rows],
        feature_names=["a", "b"],
        outcome_names=[name],
    )


def test_rows_are_numbered_by_their_inputs_in_all_datasets():
    rows = Rows([dataset([0, 1, 2, 3]), dataset([3, 1], "z")])
    assert rows.everything == {0, 1, 2}
    assert rows.numbers_of(X) == [0, 1, 0, 2]
    assert rows.numbers_of(X + 10) == [3, 4, 3, 5]  # unknown
    selected = rows.select({0, 2})
    assert same_datasets(selected, [dataset([0, 2, 3]), dataset([3], "z")])


def test_group_indices_are_selected_too():
    groups = torch.tensor([0, 0, 1, 1])
    data = SupervisedDataset(
        X, Y, feature_names=["a", "b"], outcome_names=["y"], group_indices=groups
    )
    (selected,) = Rows([data]).select({1, 2})
    assert selected.group_indices.tolist() == [0, 1]


def test_what_cannot_be_selected_is_said():
    with pytest.raises(OtherFolds, match="no data of .'z'."):
        Rows([dataset([0, 1]), dataset([1], "z")]).select({0})
    ranking = Ranking(X, Y, feature_names=["a", "b"], outcome_names=["y"])
    with pytest.raises(OtherFolds, match="a Ranking cannot be restricted"):
        Rows([ranking]).select({0})


def test_datasets_are_the_same_if_values_and_names_are():
    rows = [0, 1, 3]
    assert same_datasets([dataset(rows)], [dataset(rows)])
    for other in (
        [],
        [dataset(rows), dataset(rows)],
        [dataset([0, 1])],
        [dataset([0, 3, 1])],
        [dataset(rows, "z")],
        [dataset(rows, Yvar=torch.ones_like(Y))],
    ):
        assert not same_datasets([dataset(rows)], other)


def test_a_fold_starts_from_the_fit_of_all_data_or_from_initial_values():
    generator = fitted_adapter(client_with_data()).generator
    rows = Rows(generator.surrogate.training_data)
    folds = [rows.select(rows.everything - {i}) for i in (0, 3)]
    digest = generator.search_space_digest
    found = []
    for warm in (True, False):
        generator.warm_start_refit = warm
        surrogates = fit_folds(generator, folds, digest)
        assert [len(s.model.train_inputs[0]) for s in surrogates] == [9, 9]
        assert not any(s.model.training for s in surrogates)
        found.append(surrogates)
    for warm, cold in zip(*found, strict=True):  # to the same minimum
        points = generator.surrogate.training_data[0].X
        means = (surrogate.predict(X=points)[0] for surrogate in (warm, cold))
        assert_close(*means, rtol=1e-3, atol=1e-3)
