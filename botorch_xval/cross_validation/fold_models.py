"""The models of folds: one each, or all that are of one size in one batched model.

To build an ordinary model takes longer than to refine its warm fit (at 100 rows 5 ms of
GPyTorch's constructors against 4). Where the class of a model says that a batch of it
learns for each member what an ordinary model would, one model of all folds is built.
Three of them are built as ordinary models, too: losses and predictions of the batch
must be theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from botorch.models import ModelListGP
from botorch.models.gpytorch import GPyTorchModel
from botorch.models.model import Model
from gpytorch.mlls import MarginalLogLikelihood
from numpy.typing import NDArray
from torch import Tensor

from botorch_xval.cross_validation.folds import Folds, by_size
from botorch_xval.cross_validation.links import affine, is_ensemble
from botorch_xval.fitting.losses.criteria import CRITERIA
from botorch_xval.fitting.losses.make import make_batch_objective, make_objective
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.losses.separate import Separate
from botorch_xval.fitting.losses.together import shared_part, trainable_shapes
from botorch_xval.fitting.options import FitOptions
from botorch_xval.models.checks import wrong

__all__ = ["FoldBatch", "FoldData", "FoldGroups", "FoldModels", "builds_batches"]

WORTH_A_BATCH = 4  # folds
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldData:
    """The data of a cross-validation, and how models are made of them."""

    model: Callable[..., Model]
    """Builds an ordinary model from training data."""

    mll: type[MarginalLogLikelihood]
    """The marginal log likelihood of a model."""

    train_X: Tensor
    """Inputs, `n x d`."""

    train_Y: Tensor
    """Outcomes, `n x m`."""

    train_Yvar: Tensor | None
    """Known noise variances, `n x m`."""

    folds: Folds
    """Which rows each fold holds out."""

    built: dict[int, Model] = field(default_factory=dict)
    """Models of folds that were built already, and go to whom asks next."""

    _given: WeakKeyDictionary[Model, Tensor] = field(default_factory=WeakKeyDictionary)

    def build(self, rows: Tensor | slice, name: str) -> MarginalLogLikelihood:
        """The mll of a model of some rows; `name` is added to an error of the model."""
        return self._mll_of(self.build_model(rows, name))

    def _mll_of(self, model: Model) -> MarginalLogLikelihood:
        return self.mll(model.likelihood, model).to(self.train_X)

    def build_model(self, rows: Tensor | slice, name: str) -> Model:
        """A model of some rows; `name` is added to an error of the model."""
        noise = {}
        if self.train_Yvar is not None:
            noise["train_Yvar"] = self.train_Yvar[rows]
        try:
            inputs = self.train_X[rows]
            built = self.model(inputs, self.train_Y[rows], **noise)
        except Exception as error:
            error.add_note(f"raised by the model of {name}")
            raise
        self._check_built(built, inputs)
        return built

    def _check_built(self, built: Any, inputs: Tensor) -> None:
        """Refuse what is no new, unbatched model of these inputs."""
        remedy = "let the function build a new SingleTaskGP(train_X, train_Y) or such"
        if not isinstance(built, Model) or not hasattr(built, "likelihood"):
            raise wrong("model", "a BoTorch model", f"a {type(built).__name__}", remedy)
        if not torch.equal(self._given.get(built, inputs), inputs):
            what = "a model of its own for each set of training rows"
            raise wrong("model", what, "the same object for other rows", remedy)
        self._given[built] = inputs
        # A fully Bayesian model has no batch shape before it is fitted.
        parts = built.models if isinstance(built, ModelListGP) else [built]
        for part in parts:
            if getattr(part, "_is_fully_bayesian", False) or is_ensemble(part):
                continue
            shape = part.batch_shape if isinstance(part, GPyTorchModel) else ()
            if len(shape) <= inputs.ndim - 2:
                continue
            raise wrong("model", "an unbatched model", f"a batch {(*shape,)}", remedy)

    def model_of(self, i: int) -> Model:
        """An ordinary model of a fold."""
        if i in self.built:
            return self.built.pop(i)
        rows = self.folds.training[i].to(self.train_X.device)
        return self.build_model(rows, f"fold {self.folds.names[i]!r}")

    def first(self) -> Model:
        """The first model that can be built, to look at only: it will be its fold's.

        Raises:
            Exception: That of the first fold, if no model can be built.
        """
        errors = []
        for i in range(len(self.folds.names)):
            lost = self.unbuilt([i])
            if not lost:
                return self.built[i]
            errors.append(lost[i])
        raise errors[0]

    def unbuilt(self, numbers: Sequence[int]) -> dict[int, Exception]:
        """By number of a fold whose model cannot be built the reason.

        The models of others are kept for who asks next.
        """
        lost = {}
        for i in numbers:
            try:
                self.built[i] = self.model_of(i)
            except Exception as error:  # of the function that builds it
                lost[i] = error
        return lost

    def models_of(self, numbers: Sequence[int], as_batch: bool = True) -> FoldModels:
        """The models of folds.

        Args:
            numbers: Of the folds.
            as_batch: Whether to build those of one size as one batched model, where
                that is known to make no difference.
        """
        folds = self.folds.take(numbers)
        sizes = by_size(folds.training)
        if len(sizes) > 1:
            parts = [
                self._of_one_size([numbers[j] for j in places], as_batch)
                for places in sizes
            ]
            return FoldGroups(parts, sizes, numbers, folds)
        return self._of_one_size(numbers, as_batch)

    def _of_one_size(self, numbers: Sequence[int], as_batch: bool) -> FoldModels:
        folds = self.folds.take(numbers)

        def build_one(j: int) -> MarginalLogLikelihood:
            return self._mll_of(self.model_of(numbers[j]))

        if as_batch and builds_batches(self.model, self.mll, len(numbers)):
            training = folds.training.to(self.train_X.device)
            rows = torch.stack([row.nonzero()[:, 0] for row in training])
            # If data are refused, the ordinary model of that fold names it.
            with suppress(Exception):
                batch = self.build(rows, "a batch of folds")
                return FoldBatch(batch, build_one, numbers, folds)
        return FoldModels(build_one, numbers, folds)


def builds_batches(
    model: Callable[..., Model], mll: type[MarginalLogLikelihood], num_folds: int
) -> bool:
    """Whether one batched `model` learns for each fold what an ordinary one would.

    A class says so by a classmethod `builds_independent_batches(**kwargs)`, which it
    defines itself: a subclass may have changed what is learned, and has to say it
    again. It is asked about the keyword arguments of a `partial`.
    """
    built: Any = model
    given: Mapping[str, Any] = {}
    if isinstance(model, partial) and not model.args:
        built, given = model.func, model.keywords
    if not isinstance(built, type):
        return False
    says = getattr(built, "builds_independent_batches", None)
    return (
        says is not None
        and "builds_independent_batches" in vars(built)
        and mll in CRITERIA
        and num_folds >= WORTH_A_BATCH
        and says(**given)
    )


class FoldModels:
    """An ordinary model for each fold.

    Attributes:
        mlls: One for each fold, without common parts.
        numbers: Of the folds among all.
        folds: These folds.
    """

    def __init__(
        self,
        build: Callable[[int], MarginalLogLikelihood],
        numbers: Sequence[int],
        folds: Folds,
    ) -> None:
        """
        Args:
            build: Makes the mll of a fold, by its position among these.
            numbers: See above.
            folds: See above.
        """
        self.numbers, self.folds = list(numbers), folds
        self._build = build
        self.mlls = self._build_all()

    def _build_all(self) -> list[MarginalLogLikelihood]:
        """Build all models; copies, if the function gives them common parts."""
        count = len(self.numbers)
        mlls = [self._build(j) for j in range(count)]
        if count == 1:
            return deepcopy(mlls)
        if shared_part(mlls) is not None:
            return [deepcopy(self._build(j)) for j in range(count)]
        return mlls

    def objective(self, options: FitOptions) -> Objective:
        """The objective of all models; those of a fold (one per output) are in turn.

        Raises:
            DifferentModels: If a batch is not as ordinary models are.
            ValueError: If models have other hyper-parameters than the first one.
        """
        first = trainable_shapes(self.mlls[0])
        for name, mll in zip(self.folds.names, self.mlls, strict=True):
            if (own := trainable_shapes(mll)) != first:
                raise ValueError(
                    "model: expected the same hyper-parameters in each fold, got "
                    f"{dict(first)} in fold {self.folds.names[0]!r} and {dict(own)} in "
                    f"fold {name!r}; build them alike, whatever the training rows are"
                )
            mll.train()
        return make_objective(self.mlls, options.parameters, options.bounds)

    def models(self, objective: Objective) -> NDArray[np.intp]:
        """Numbers of the objective's models by fold and output, `f x m`.

        Models of several outputs that can be fitted only together count as one.
        """
        count = objective.num_models
        return np.arange(count).reshape(len(self.numbers), -1)

    def ordinary(self, fold: int) -> MarginalLogLikelihood:
        """The mll of a fold, by its position among these."""
        return self.mlls[fold]

    def transform_inputs(self, folds: Sequence[int], X: Sequence[Tensor]) -> Tensor:
        """Inputs after the input transforms of some folds, in evaluation mode.

        Args:
            folds: Positions of the folds.
            X: For each of them as many inputs, `k x d`.

        Returns:
            Inputs as the kernels see them, `folds x k x d`.
        """
        return torch.stack(
            [
                self.mlls[j].model.transform_inputs(x)
                for j, x in zip(folds, X, strict=True)
            ]
        )

    def affine(
        self, folds: Sequence[int], X: Sequence[Tensor], m: int
    ) -> tuple[Tensor, Tensor]:
        """Locations and scales of the outcomes of some folds, `a x k x m` each.

        Args:
            folds: Positions of `a` folds.
            X: For each of them as many inputs, `k x d`.
            m: The number of outcomes.
        """
        pairs = [
            affine(self.mlls[j].model, m, x) for j, x in zip(folds, X, strict=True)
        ]
        location, scale = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        return location, scale


class FoldBatch(FoldModels):
    """One batched model of all folds."""

    def __init__(
        self,
        mll: MarginalLogLikelihood,
        build: Callable[[int], MarginalLogLikelihood],
        numbers: Sequence[int],
        folds: Folds,
    ) -> None:
        """
        Args:
            mll: Of the batched model.
            build: Makes the ordinary mll of a fold, by its position among these.
            numbers: See :class:`FoldModels`.
            folds: See :class:`FoldModels`.
        """
        self._batch = mll
        super().__init__(build, numbers, folds)

    def _build_all(self) -> list[MarginalLogLikelihood]:
        return [self._batch]

    @cached_property
    def members(self) -> dict[int, MarginalLogLikelihood]:
        """Ordinary mlls with which the batch is compared, by position of the fold."""
        count = len(self.numbers)
        found: dict[int, MarginalLogLikelihood] = {}
        for first in sorted({0, count // 2, count - 1}):
            for j in (*range(first, count), *range(first)):
                try:
                    found[j] = found.get(j) or self._build(j)
                    break
                except Exception as error:  # it is no member to compare with
                    logger.debug("no ordinary model of a fold: %s", error)
        return found

    def objective(self, options: FitOptions) -> Objective:
        """See :class:`FoldModels`."""
        for mll in self.members.values():
            mll.train()
        return make_batch_objective(
            self._batch.train(), self.members, options.parameters, options.bounds
        )

    def ordinary(self, fold: int) -> MarginalLogLikelihood:
        """An ordinary mll with the values and records that the fold has here."""
        mll = self.members.get(fold) or self._build(fold)
        batched = dict(self._batch.named_parameters())
        with torch.no_grad():
            for name, parameter in mll.named_parameters():
                parameter.copy_(batched[name][fold])
        return mll.train(self._batch.training)

    def transform_inputs(self, folds: Sequence[int], X: Sequence[Tensor]) -> Tensor:
        """See :class:`FoldModels`."""
        inputs = X[0].new_zeros(len(self.numbers), *X[0].shape)
        inputs[list(folds)] = torch.stack(list(X))
        return self._batch.model.transform_inputs(inputs)[list(folds)]

    def affine(
        self, folds: Sequence[int], X: Sequence[Tensor], m: int
    ) -> tuple[Tensor, Tensor]:
        """See :class:`FoldModels`."""
        shape, rows = (len(self.numbers), len(X[0]), m), list(folds)
        location, scale = affine(self._batch.model, m)
        return location.expand(shape)[rows], scale.expand(shape)[rows]


class FoldGroups(FoldModels):
    """Folds of several sizes, which are searched together and share optima."""

    def __init__(
        self,
        parts: Sequence[FoldModels],
        places: Sequence[Sequence[int]],
        numbers: Sequence[int],
        folds: Folds,
    ) -> None:
        """
        Args:
            parts: Folds of one size each.
            places: For each part the positions of its folds among all.
            numbers: See :class:`FoldModels`.
            folds: See :class:`FoldModels`.
        """
        self._parts, self._places = list(parts), [list(own) for own in places]
        self._owners = {
            j: (part, k)
            for part, own in zip(parts, self._places, strict=True)
            for k, j in enumerate(own)
        }
        super().__init__(lambda j: self.ordinary(j), numbers, folds)

    def _build_all(self) -> list[MarginalLogLikelihood]:
        return [mll for part in self._parts for mll in part.mlls]

    def objective(self, options: FitOptions) -> Objective:
        """See :class:`FoldModels`."""
        return Separate([o.objective(options) for o in self._parts], self._places)

    def ordinary(self, fold: int) -> MarginalLogLikelihood:
        """See :class:`FoldModels`."""
        part, k = self._owners[fold]
        return part.ordinary(k)

    def transform_inputs(self, folds: Sequence[int], X: Sequence[Tensor]) -> Tensor:
        """See :class:`FoldModels`."""
        found, places = [], []
        for part, rows, own in self._parts_of(folds):
            found.append(part.transform_inputs(own, [X[a] for a in rows]))
            places += rows
        return torch.cat(found)[np.argsort(places).tolist()]

    def affine(
        self, folds: Sequence[int], X: Sequence[Tensor], m: int
    ) -> tuple[Tensor, Tensor]:
        """See :class:`FoldModels`."""
        found, places = [], []
        for part, rows, own in self._parts_of(folds):
            found.append(part.affine(own, [X[a] for a in rows], m))
            places += rows
        order = np.argsort(places).tolist()
        location, scale = (torch.cat(each)[order] for each in zip(*found, strict=True))
        return location, scale

    def _parts_of(
        self, folds: Sequence[int]
    ) -> Iterator[tuple[FoldModels, list[int], list[int]]]:
        """Parts that are concerned, rows of `folds`, and their positions there."""
        for part in self._parts:
            rows = [a for a, j in enumerate(folds) if self._owners[j][0] is part]
            if rows:
                yield part, rows, [self._owners[folds[a]][1] for a in rows]
