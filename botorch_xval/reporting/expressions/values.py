"""Reading the numbers of all models in a batch, and formulas of mean functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from gpytorch.kernels import Kernel
from gpytorch.means import ConstantMean, LinearMean, Mean, ZeroMean
from gpytorch.module import Module
from torch import Tensor

from botorch_xval.fitting.losses.parameters import parameters_of
from botorch_xval.reporting.expressions.tree import Node, Value

__all__ = ["Reader", "mean_formula", "parameters_formula"]


@dataclass(frozen=True)
class Reader:
    """Reads the numbers of all models from batched tensors."""

    batch_shape: torch.Size
    """Leading shape of all parameters; if outputs are batched, they are the last."""

    output: int | None = None
    """Which of the batched outputs to read; None if outputs are not batched."""

    tasks: tuple[str, ...] | None = None
    """Names of the tasks of a multi-task model; their numbers if None."""

    seen: Mapping[Kernel, tuple[str, ...]] = field(default_factory=dict, compare=False)
    """By kernel, names of the columns that its `forward` gets."""

    def numbers(self, tensor: Tensor, event_ndim: int) -> Tensor:
        """The numbers of all models.

        Args:
            tensor: `batch_shape x event_shape`, or of a shape that expands to it.
            event_ndim: Number of dimensions of one model's numbers.

        Returns:
            `num_models x event_shape`, float64 on the CPU.

        Raises:
            ValueError: If the tensor has another batch shape.
        """
        tensor = tensor.detach().double().cpu()
        num_batch_dims = tensor.ndim - event_ndim
        event_shape = tensor.shape[num_batch_dims:]
        while num_batch_dims > len(self.batch_shape) and len(tensor) == 1:
            tensor, num_batch_dims = tensor[0], num_batch_dims - 1
        try:
            tensor = tensor.expand(self.batch_shape + event_shape)
        except RuntimeError as error:
            raise ValueError(
                "model: expected parameters of its own batch shape "
                f"{tuple(self.batch_shape)}, got one of "
                f"{tuple(tensor.shape[:num_batch_dims])}; make kernel, mean and "
                "likelihood with the batch shape of the model"
            ) from error
        if self.output is not None:
            tensor = tensor.select(len(self.batch_shape) - 1, self.output)
        return tensor[None].flatten(0, -1 - event_ndim)

    def value(
        self, tensor: Tensor, name: str, kind: str, logarithmic: bool = True
    ) -> Value:
        """The value of a tensor of shape `batch_shape`."""
        return Value(name, kind, tuple(self.numbers(tensor, 0).tolist()), logarithmic)

    def values(
        self, tensor: Tensor, names: Sequence[str], kind: str, logarithmic: bool = True
    ) -> list[Value]:
        """The values of a tensor of shape `batch_shape x len(names)`."""
        columns = self.numbers(tensor, 1).T.tolist()
        return [
            Value(name, kind, tuple(column), logarithmic)
            for name, column in zip(names, columns, strict=True)
        ]

    def task(self, i: int) -> str:
        """The name of a task, as it is written into a formula."""
        return str(i) if self.tasks is None else repr(self.tasks[i])

    def parameters(
        self, module: Module, features: Sequence[str] = ()
    ) -> list[tuple[str, Value]]:
        """List all constrained parameters of a module and its parts, number by number.

        Args:
            module: Any GPyTorch module.
            features: Names of the columns, for parameters with one number for each.

        Returns:
            Labels such as `base_kernel.lengthscale['a']`, and the values.
        """
        found: list[tuple[str, Value]] = []
        for each in parameters_of(module, self.batch_shape):
            logarithmic = each.constraint is not None and each.limits[0] >= 0
            kind = each.name.replace("_", " ")
            labels = [
                f"{each.path}.{label}" if each.path else label
                for label in each.labels(features)
            ]
            values = self.values(each.value, labels, kind, logarithmic)
            found += zip(labels, values, strict=True)
        return found


def parameters_formula(module: Module, features: Sequence[str], reader: Reader) -> Node:
    """The formula of an unknown module: its class, its features, its parameters."""
    parts = [
        Node((f"{label}=", value))
        for label, value in reader.parameters(module, features)
    ]
    names = (Node((repr(name),)) for name in features)
    return Node((f"{type(module).__name__}(",), (*names, *parts), (")",))


def mean_formula(mean: Mean, features: Sequence[str], reader: Reader) -> Node:
    """The formula of a mean function of all columns."""
    forward = type(mean).forward
    if forward is ZeroMean.forward:
        return Node(("zero",))
    if forward is ConstantMean.forward:
        return Node(("constant ", reader.value(mean.constant, "mean", "mean", False)))
    if forward is LinearMean.forward and mean.weights.shape[-2] == len(features):
        names = [f"slope of {name!r}" for name in features]
        slopes = reader.values(mean.weights[..., 0], names, "slope", False)
        parts = tuple(
            Node((slope, f" * value({name!r})"))
            for slope, name in zip(slopes, features, strict=True)
        )
        if mean.bias is None:
            return Node(("sum([",), parts, ("])",))
        bias = reader.value(mean.bias[..., 0], "bias of the mean", "mean", False)
        return Node((bias, " + sum(["), parts, ("])",))
    return parameters_formula(mean, (), reader)
