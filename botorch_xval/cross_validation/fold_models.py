"""The models of folds of one size: one each, or all of them in one batched model.

To build an ordinary model takes longer than to refine its warm fit (at 100 rows 5 ms of
GPyTorch's constructors against 4). Where a batch is known to learn everything for each
of its members alone, one model of all folds is built instead. Three of them are built
as ordinary models, too: losses and predictions of the batch must be theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from botorch.models.model import Model
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood

from botorch_xval.fitting.losses.modules import shared_part
from botorch_xval.models.scalar_choice import ScalarChoiceGP

__all__ = ["FoldBatch", "FoldModels", "builds_batches"]

WORTH_A_BATCH = 4  # folds


def builds_batches(
    model: Callable[..., Model], mll: type[MarginalLogLikelihood], num_folds: int
) -> bool:
    """Whether one batched `model` learns for each fold what an ordinary one would.

    Known of `ScalarChoiceGP` with its own transforms, itself or in a `partial`. A batch
    of another model may share what it learns (as with a `Normalize` that has no
    `batch_shape`), and so let a fold see its held-out rows.
    """
    given: dict[str, Any] = {}
    if isinstance(model, partial) and not model.args:
        model, given = model.func, model.keywords
    return (
        model is ScalarChoiceGP
        and mll is ExactMarginalLogLikelihood
        and given.keys() <= {"choice_dims", "priors"}
        and num_folds >= WORTH_A_BATCH
    )


class FoldModels:
    """An ordinary model for each fold."""

    witnesses: dict[int, MarginalLogLikelihood] | None = None
    """Of a batch, by fold: ordinary mlls that it is compared with."""

    def __init__(self, mlls: Sequence[MarginalLogLikelihood]) -> None:
        """
        Args:
            mlls: One for each fold, without common parts.
        """
        self.mlls = list(mlls)
        self.num_folds = len(self.mlls)

    @classmethod
    def of(
        cls, build: Callable[[int], MarginalLogLikelihood], num_folds: int
    ) -> FoldModels:
        """The models that `build` makes, by number of the fold, and copies if it must.

        A function may hand the same transform or kernel to all models, and BoTorch does
        not copy what it is given.
        """
        mlls = [build(j) for j in range(num_folds)]
        if num_folds == 1:
            mlls = deepcopy(mlls)
        elif shared_part(mlls) is not None:
            mlls = [deepcopy(build(j)) for j in range(num_folds)]
        return cls(mlls)

    def ordinary(self, fold: int) -> MarginalLogLikelihood:
        """The mll of a fold."""
        return self.mlls[fold]

    def put(self, fold: int, mll: MarginalLogLikelihood) -> None:
        """Take over the values of a fold's ordinary mll."""


class FoldBatch(FoldModels):
    """One batched model of all folds."""

    def __init__(
        self,
        mll: MarginalLogLikelihood,
        build: Callable[[int], MarginalLogLikelihood],
        num_folds: int,
    ) -> None:
        """
        Args:
            mll: Of the batched model.
            build: Makes the ordinary mll of a fold, by its number.
            num_folds: How many there are.
        """
        super().__init__([mll])
        self.num_folds = num_folds
        self._build = build
        chosen = sorted({0, num_folds // 2, num_folds - 1})
        self.witnesses = {j: build(j) for j in chosen}

    def ordinary(self, fold: int) -> MarginalLogLikelihood:
        """An ordinary mll with the values and records that the fold has here."""
        mll = self.witnesses.get(fold) or self._build(fold)
        batched = dict(self.mlls[0].named_parameters())
        with torch.no_grad():
            for name, parameter in mll.named_parameters():
                parameter.copy_(batched[name][fold])
        if (records := getattr(self.mlls[0], "fit_records", None)) is not None:
            each = len(records) // self.num_folds
            mll.fit_records = records[fold * each : (fold + 1) * each]
        return mll.train(self.mlls[0].training)

    def put(self, fold: int, mll: MarginalLogLikelihood) -> None:
        batched = dict(self.mlls[0].named_parameters())
        with torch.no_grad():
            for name, parameter in mll.named_parameters():
                batched[name][fold] = parameter
