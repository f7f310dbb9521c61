"""Folds of Ax's datasets: parts of the rows of all data, and their models.

Transforms are those of all data, as in Ax.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from ax.core.search_space import SearchSpaceDigest
from ax.generators.torch.botorch_modular.generator import BoTorchGenerator
from ax.generators.torch.botorch_modular.surrogate import Surrogate
from botorch.settings import validate_input_scaling
from botorch.utils.datasets import SupervisedDataset
from torch import Tensor

from botorch_xval.ax.models import fitted_together

__all__ = ["Datasets", "OtherFolds", "Rows", "are_equal", "fit_folds"]

logger = logging.getLogger(__name__)
Datasets = Sequence[SupervisedDataset]


class OtherFolds(Exception):
    """Folds that are not parts of the rows of all data, and why."""


class Rows:
    """The rows of datasets, numbered by their inputs: equal inputs, one number.

    Attributes:
        everything: All numbers.
    """

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets
        self._known: dict[tuple[float, ...], int] = {}
        self._numbers = [torch.tensor(self.numbers_of(d.X)) for d in datasets]
        self.everything = set(self._known.values())

    def numbers_of(self, X: Tensor) -> list[int]:
        """The number of every row, new ones for inputs that no dataset has."""
        known = self._known
        return [known.setdefault(tuple(row), len(known)) for row in X.tolist()]

    def of(self, numbers: set[int]) -> list[SupervisedDataset]:
        """All datasets with the rows of these numbers only.

        Raises:
            OtherFolds: If that cannot be done.
        """
        wanted = torch.tensor(sorted(numbers))
        parts = []
        for dataset, own in zip(self._datasets, self._numbers, strict=True):
            if type(dataset) is not SupervisedDataset:
                raise OtherFolds(
                    f"a {type(dataset).__name__} has no rows to choose from"
                )
            mask = torch.isin(own, wanted).to(dataset.X.device)
            if not mask.any():
                raise OtherFolds(f"a fold has no data of {dataset.outcome_names}")
            part = dataset.clone(mask=mask)
            if dataset.group_indices is not None:  # which `clone` leaves out
                part.group_indices = dataset.group_indices[mask]
            parts.append(part)
        return parts


def are_equal(first: Datasets, second: Datasets) -> bool:
    """Whether two lists of datasets hold the same data."""

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
    """A surrogate for every fold, made as the generator makes it, fitted together.

    Args:
        generator: A fitted generator.
        folds: The datasets of each fold.
        digest: Of the transformed search space.

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
    # Without some rows inputs do not fill their range, of which BoTorch would warn.
    with validate_input_scaling(False), fitted_together():
        for datasets in folds:
            try:
                surrogates.append(fitted(datasets, state))
            except RuntimeError as error:
                if state is None:
                    raise
                # Without the only point that lacks an outcome Ax makes one model of
                # all outcomes in the place of a list, which has other names.
                logger.debug("a fold begins at its initial values: %s", error)
                surrogates.append(fitted(datasets, None))
    return surrogates
