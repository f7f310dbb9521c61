"""Folds as rows of all data, and the models of all folds fitted together.

Ax transforms the data of every fold and fits a model to them, one fold after the other.
Transforms have learned from all data, so that the transformed data of a fold are rows
of all transformed data. :class:`Rows` selects them, and :func:`fit_folds` fits the
models of all folds at once.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

import torch
from ax.core.search_space import SearchSpaceDigest
from ax.generators.torch.botorch_modular.generator import BoTorchGenerator
from ax.generators.torch.botorch_modular.surrogate import Surrogate
from botorch.settings import validate_input_scaling
from botorch.utils.datasets import SupervisedDataset
from torch import Tensor

from botorch_xval.ax.models import fitted_together

__all__ = ["Datasets", "OtherFolds", "Rows", "fit_folds", "same_datasets"]

logger = logging.getLogger(__name__)
Datasets = Sequence[SupervisedDataset]


class OtherFolds(Exception):
    """A fold does not consist of rows of all data. The message says why."""


class Rows:
    """The rows of datasets, which are numbered by their inputs.

    Rows with the same inputs have the same number, also in different datasets.
    """

    def __init__(self, datasets: Datasets) -> None:
        """
        Args:
            datasets: All data, a dataset per outcome or for several.
        """
        self._datasets = datasets
        self._known: dict[tuple[float, ...], int] = {}
        self._numbers = [torch.tensor(self.numbers_of(d.X)) for d in datasets]
        self.everything = set(self._known.values())

    def numbers_of(self, X: Tensor) -> list[int]:
        """The number of every row of `n x d` inputs; unknown inputs get new ones."""
        known = self._known
        return [known.setdefault(tuple(row), len(known)) for row in X.tolist()]

    def select(self, numbers: Collection[int]) -> list[SupervisedDataset]:
        """All datasets, with the rows of these numbers only.

        Raises:
            OtherFolds: If a dataset cannot be restricted to rows, or has none of them.
        """
        wanted = torch.tensor(sorted(numbers))
        selected = []
        for dataset, row_numbers in zip(self._datasets, self._numbers, strict=True):
            if type(dataset) is not SupervisedDataset:
                raise OtherFolds(
                    f"a {type(dataset).__name__} cannot be restricted to some rows"
                )
            mask = torch.isin(row_numbers, wanted).to(dataset.X.device)
            if not mask.any():
                raise OtherFolds(f"a fold has no data of {dataset.outcome_names}")
            clone = dataset.clone(mask=mask)
            if dataset.group_indices is not None:  # `clone` does not copy these
                clone.group_indices = dataset.group_indices[mask]
            selected.append(clone)
        return selected


def same_datasets(first: Datasets, second: Datasets) -> bool:
    """Whether two lists of datasets have equal values and names."""

    def same(one: Tensor | None, other: Tensor | None) -> bool:
        if one is None or other is None:
            return one is other
        return torch.equal(one, other)

    return len(first) == len(second) and all(
        type(one) is type(other)
        and one.outcome_names == other.outcome_names
        and one.feature_names == other.feature_names
        and same(one.X, other.X)
        and same(one.Y, other.Y)
        and same(one.Yvar, other.Yvar)
        and same(one.group_indices, other.group_indices)
        for one, other in zip(first, second, strict=True)
    )


def fit_folds(
    generator: BoTorchGenerator,
    folds: Sequence[Datasets],
    digest: SearchSpaceDigest,
) -> list[Surrogate]:
    """A surrogate for every fold, built as the generator builds it.

    Args:
        generator: Fitted to all data. With `warm_start_refit` folds start from its fit.
        folds: The training data of every fold.
        digest: Of the transformed search space.

    Returns:
        The surrogates; their models were fitted together.

    Raises:
        ModelFittingError: If a fold cannot be fitted.
    """
    current = generator.surrogate
    state = current.model.state_dict() if generator.warm_start_refit else None

    def fitted(datasets: Datasets, state: Mapping[str, Tensor] | None) -> Surrogate:
        surrogate = current.clone_reset()
        surrogate.fit(
            datasets=datasets,
            search_space_digest=digest,
            state_dict=state,
            refit=True,
            repeat_model_selection_if_dataset_changed=False,
        )
        return surrogate

    surrogates = []
    # BoTorch would warn of folds whose inputs do not fill their range.
    with validate_input_scaling(False), fitted_together():
        for datasets in folds:
            try:
                surrogates.append(fitted(datasets, state))
            except RuntimeError as error:
                if state is None:
                    raise
                # Where one point lacks an outcome, Ax builds a list of models. Without
                # that point it builds one model of all outcomes, whose parameters have
                # other names.
                logger.debug("a fold starts from its initial values: %s", error)
                surrogates.append(fitted(datasets, None))
    return surrogates
