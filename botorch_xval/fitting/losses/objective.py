"""Losses and gradients of just the models that were asked for.

An objective answers `losses, gradients = objective(theta, models)` for `a` chosen
models out of its `num_models`: `theta` and `gradients` are `a x p` arrays of
unconstrained parameters, `losses` are `a` values of BoTorch's loss, the negative log
marginal likelihood (or another criterion) minus log priors per training point.

Here is what all objectives have in common, and :class:`Stack`: models of one structure
in stacked tensors, from which two kinds of objectives evaluate, in closed form
(:mod:`~botorch_xval.fitting.losses.exact`) and by GPyTorch's modules
(:mod:`~botorch_xval.fitting.losses.modules`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from botorch.optim.utils import sample_all_priors
from gpytorch.likelihoods.noise_models import FixedGaussianNoise
from gpytorch.mlls import MarginalLogLikelihood
from numpy.typing import NDArray
from scipy.optimize import Bounds
from torch import Tensor

from botorch_xval.fitting.losses.left_out import LeftOut
from botorch_xval.fitting.losses.parameters import (
    Array,
    ParameterBounds,
    ParameterTable,
    Unsupported,
    copy_of,
)
from botorch_xval.fitting.losses.together import (
    batch_shape_of,
    check_alike,
    modules_of_batch,
)

__all__ = [
    "GROUP_ELEMENTS",
    "FoldsAt",
    "Objective",
    "SharedParameters",
    "Stack",
    "StackedObjective",
    "sampled",
    "variances_of",
]

# Groups on CPU: small enough for the cache, large enough that Python's share is small.
# Found with benchmarks/group_size.py.
GROUP_ELEMENTS = 260_000  # of the covariance matrices of one group
GROUP_LIMITS = (2, 32)  # models
COPIES = 80  # of its covariance matrix that the evaluation of a model may take on CUDA


class SharedParameters(Exception):
    """Parameters without the batch shape of their model."""


class FoldsAt(NamedTuple):
    """What one factorization at each of `a` points says of the folds of a model."""

    alike: NDArray[np.bool_]
    """For which folds it holds, `f`; what follows is of those, `b`."""

    losses: Tensor
    """Their losses per training point, `a x b`."""

    means: Tensor
    """Predicted means of the rows that are left out, `a x b x s`, on the scale of the
    outcomes of the fold's model."""

    variances: Tensor
    """Their variances with noise, `a x b x s`."""

    noise: Tensor
    """Variances of the noise, `a x b x s`."""


class Objective(ABC):
    """Losses and gradients of chosen models, and the way to and from their values.

    Attributes:
        num_models: How many models there are, `b`.
        num_points: Training points of a model; of the largest, if they differ.
        device: Where they are evaluated.
        start: The values that the models had when the objective was made, `b x p`.
        bounds: Of the parameters, for each model.
        softplus: Whether a parameter's value is its softplus, `p`.
        untransformed: Whether its value is the parameter itself, `p`.
        table: The parameters of a model.
        variances: Of the training targets, for each model.
    """

    num_models: int
    num_points: int
    device: torch.device
    start: Array
    bounds: list[Bounds]
    softplus: NDArray[np.bool_]
    untransformed: NDArray[np.bool_]
    table: ParameterTable
    variances: Array

    @property
    def group_size(self) -> int:
        """How many models to evaluate at once where speed counts."""
        return 1

    @property
    def is_parallel(self) -> bool:
        """Whether several threads may evaluate, each one of :meth:`workers`."""
        return False

    @abstractmethod
    def __call__(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        """Losses per point, `a`, and gradients, `a x p`, at `theta`, `a x p`."""

    @abstractmethod
    def write(self, theta: Array) -> None:
        """Give all models the values `theta`, `b x p`."""

    @abstractmethod
    def sample(self, models: Sequence[int]) -> Array:
        """New starting values of the chosen models from their priors, `a x p`."""

    @abstractmethod
    def parameters(self, theta: Array, model: int) -> dict[str, Tensor]:
        """The parameters of one model by name, from its row of values, `p`."""

    def points_of(self, model: int) -> int:
        """Training points of a model."""
        return self.num_points

    def part_of(self, models: Sequence[int]) -> tuple[Objective, list[int]]:
        """The objective that evaluates these models, and their numbers there."""
        return self, list(models)

    def start_from(self, values: Mapping[str, Tensor | float], model: int) -> Array:
        """The start of a model with other values of some parameters, `p`.

        Values beyond a bound are moved to it.

        Args:
            values: By full name unconstrained values that broadcast to the parameter of
                one model, or to that of all models.
            model: The number of the model.

        Raises:
            ValueError: If a name is unknown or values do not broadcast.
        """
        start = self.start[model].copy()
        for name, given in values.items():
            member = model % self.table.num_members
            numbers = self.table.numbers_of(name, given, member)
            start[self.table.columns[name]] = numbers
        bounds = self.bounds[model]
        return np.clip(start, bounds.lb, bounds.ub)

    def workers(self, count: int) -> Sequence[Objective]:
        """Up to `count` equal objectives that different threads may evaluate."""
        return [self]

    def of_rows(self, rows: NDArray[np.intp]) -> Objective | None:
        """The same models with some of their training points only.

        Args:
            rows: Numbers of the points.

        Returns:
            An objective that is evaluated only; None if there is no closed form.
        """
        return None

    def without(
        self,
        theta: Array,
        held_out: Tensor,
        folds: Objective | None = None,
        numbers: NDArray[np.intp] | None = None,
    ) -> tuple[NDArray[np.bool_], list[LeftOut]] | None:
        """Models without the rows of each fold, at one point of their parameters.

        From one factorization of all rows, where there is a closed form and the loss
        is of the evidence; else None. It holds for folds that transform their inputs as
        these models do, and their outcomes as these models do up to an affine change.

        Args:
            theta: One point for each model, `m x p`.
            held_out: Boolean mask, `f x n`, as many rows in each fold.
            folds: The objective of the models of the folds; default: they have the
                transforms of these models.
            numbers: Of the models in `folds`, by fold and model, `f x m`.

        Returns:
            For which folds it holds, `f`; and for each model what it says of those, the
            losses per training point, with derivatives by `theta`.
        """
        return None

    def hold_out(
        self, theta: Array, model: int, held_out: Tensor, folds: Objective
    ) -> FoldsAt | None:
        """A model without the rows of each fold, at many points of its parameters.

        As :meth:`without`, without derivatives.

        Args:
            theta: The points, `a x p`.
            model: The number of the model.
            held_out: Boolean mask, `f x n`, as many rows in each fold.
            folds: The objective of the models of the folds, with as many models for
                each fold as there are here.

        Returns:
            None if there is no closed form.
        """
        return None

    def predict(
        self, theta: Array, models: Sequence[int], X: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict other points by chosen models.

        Args:
            theta: Their parameters, `a x p`.
            models: Their numbers.
            X: As many points for each, `a x k x d`, after the input transforms.

        Returns:
            Means and variances without noise, `a x k`, and noise variances, `a x k` or
            `a x 1`, on the scale of the model's (transformed) outcomes. Of known noise
            it is that of the first training point.

        Raises:
            Unsupported: If there is no closed form.
        """
        raise Unsupported("this way to evaluate losses")


def variances_of(targets: Tensor) -> Array:
    """Variance of each row of targets; 1 where there is none.

    By NumPy: torch rounds that of a row otherwise if it has others beside it.
    """
    values = np.ascontiguousarray(targets.detach().double().cpu().numpy())
    with np.errstate(invalid="ignore", over="ignore"):
        found = values.var(axis=-1)
    return np.where(np.isfinite(found) & (found > 0), found, 1.0)


def sampled(mll: MarginalLogLikelihood, table: ParameterTable) -> Array:
    """Values sampled from the priors of an mll, which stays as it is.

    A prior without a setter cannot be sampled; its parameter keeps its values, as one
    without a prior does.

    Args:
        mll: The marginal log likelihood.
        table: Of its parameters.

    Returns:
        A row for each model of the table.
    """
    priors = [prior for prior in mll.model.named_priors() if prior[-1] is not None]
    parts = [*mll.parameters(), *mll.buffers()]
    before = [part.detach().clone() for part in parts]
    try:
        sample_all_priors(cast(Any, SimpleNamespace(named_priors=lambda: priors)))
        return table.read(mll)
    finally:
        with torch.no_grad():
            for part, values in zip(parts, before, strict=True):
                part.copy_(values)


class Stack:
    """Models of one structure and size in stacked tensors.

    The models are one batched GPyTorch model, or several ordinary models, or both;
    every combination of a model and a member of its batch counts as one, those of an
    mll one after the other. Input transforms without trainable parameters are applied
    once, here.

    Attributes:
        mlls: The models, which are written to in the end.
        template: A copy of the first mll whose modules stand for all.
        sized: By path modules of it that know the shape of their batch, and what
            follows that of the models.
        table: The parameters that are optimized.
        batch_shape: Of each mll.
        num_each: How many models each mll holds.
        is_batched: Whether tensors have a dimension of models.
        inputs: Training inputs, `b x n x d` each.
        targets: Training targets, `b x n`.
        noise: Modules of known noise in the template, and their variances, `b x n`.
    """

    def __init__(
        self,
        mlls: Sequence[MarginalLogLikelihood],
        parameters: Collection[str] | None,
        bounds: ParameterBounds | None,
    ) -> None:
        self.mlls = list(mlls)
        first = self.mlls[0]
        check_alike(self.mlls)
        self.batch_shape = batch_shape_of(first)
        self.num_each = self.batch_shape.numel()
        self.num_models = self.num_each * len(self.mlls)
        self.is_batched = len(self.mlls) > 1 or len(self.batch_shape) > 0
        self.template = copy_of(first)
        self.table = ParameterTable(self.template, self.batch_shape, parameters, bounds)
        if shared := self.table.shared:
            raise SharedParameters(
                f"the parameters {', '.join(shared)} are shared by the models; give "
                "them the batch shape of the model"
            )
        self.start = np.concatenate([self.table.read(mll) for mll in self.mlls])
        self._stack_data()
        self.sized = modules_of_batch(self.template, self.batch_shape)

    def flat(self, values: Sequence[Tensor]) -> Tensor:
        """One tensor with all models in its first dimension, if there are several."""
        if not self.is_batched:
            return values[0]
        skip = len(self.batch_shape)
        return torch.cat(
            [v.reshape(self.num_each, *v.shape[skip:]) for v in values]
        ).contiguous()

    def has_batch_shape(self, tensor: Tensor) -> bool:
        """Whether a tensor of an mll has a part for each of its models."""
        return tensor.shape[: len(self.batch_shape)] == self.batch_shape

    def _stack_data(self) -> None:
        models = [mll.model for mll in self.mlls]
        transform = getattr(self.template.model, "input_transform", None)
        if transform is not None and not any(
            p.requires_grad for p in transform.parameters()
        ):
            inputs = [
                [model.transform_inputs(x) for x in model.train_inputs]
                for model in models
            ]
            del self.template.model.input_transform
        else:
            if transform is not None:  # let it learn from the data once
                for model in models:
                    model.transform_inputs(*model.train_inputs)
            inputs = [list(model.train_inputs) for model in models]
        self.inputs = [self.flat(parts) for parts in zip(*inputs, strict=True)]
        self.targets = self.flat([model.train_targets for model in models])
        self.device, self.dtype = self.targets.device, self.targets.dtype
        self.noise: list[tuple[FixedGaussianNoise, Tensor]] = []
        for path, module in self.template.named_modules():
            if isinstance(module, FixedGaussianNoise):
                noise = [mll.get_submodule(path).noise for mll in self.mlls]
                self.noise.append((module, self.flat(noise)))


class StackedObjective(Objective):
    """What objectives of stacked models have in common.

    Attributes:
        stack: The models.
        state: By name in a loss module what is not optimized but differs between
            models, `b x ...`; empty where a loss has no modules.
    """

    state: Mapping[str, Tensor] = MappingProxyType({})

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.num_models = stack.num_models
        self.num_points = stack.targets.shape[-1]
        self.device = stack.device
        self.start, self.bounds = stack.start, stack.table.bounds * len(stack.mlls)
        self.table = stack.table
        self.softplus = stack.table.softplus
        self.untransformed = stack.table.untransformed
        targets = stack.targets.reshape(stack.num_models, -1)
        self.variances = variances_of(targets)

    @property
    def group_size(self) -> int:
        """On CPU as many models as fit into the cache, on CUDA into free memory.

        Autograd through GPyTorch's modules keeps the most: 52 copies of the covariance
        matrices of 160 models with four kernels each, measured on CPU.
        """
        n = self.num_points
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            size = self.stack.targets.element_size()
            return max(1, free // (COPIES * size * n**2))
        least, most = GROUP_LIMITS
        return min(max(GROUP_ELEMENTS // n**2, least), most)

    def write(self, theta: Array) -> None:
        """Give all models the values `theta`, `b x p`."""
        rows = torch.as_tensor(theta).split(self.stack.num_each)
        for mll, values in zip(self.stack.mlls, rows, strict=True):
            self.stack.table.write(mll, values)

    def sample(self, models: Sequence[int]) -> Array:
        """New starting values of the chosen models from their priors, `a x p`."""
        stack, chosen = self.stack, np.asarray(models)
        owners, places = np.divmod(chosen, stack.num_each)
        drawn = {i: sampled(stack.mlls[i], stack.table) for i in np.unique(owners)}
        return np.stack([drawn[i][j] for i, j in zip(owners, places, strict=True)])

    def parameters(self, theta: Array, model: int) -> dict[str, Tensor]:
        """The parameters of one model by name, from its row of values, `p`."""
        values = torch.as_tensor(theta, device=self.device, dtype=self.stack.dtype)
        return self.stack.table.named(values)
