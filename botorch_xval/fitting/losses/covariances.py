"""Which kernel has which node: the one place that a new kernel's numbers are added to.

A kernel is known by its `forward`, so a subclass that changes no mathematics (with
another constructor, other priors) has the node of its parent. One that is not known is
evaluated by its own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from botorch.models.kernels import CategoricalKernel
from gpytorch.kernels import (
    AdditiveKernel,
    Kernel,
    MaternKernel,
    ProductKernel,
    RBFKernel,
    ScaleKernel,
)
from torch import Tensor
from torch.nn.functional import pad

from botorch_xval.fitting.losses.by_autograd import Batch, ByAutograd, Learned
from botorch_xval.fitting.losses.nodes import (
    Leaf,
    Mixture,
    Node,
    Product,
    Scale,
    Workspace,
)
from botorch_xval.fitting.losses.parameters import (
    Unsupported,
    columns_seen,
    require,
)
from botorch_xval.fitting.losses.values import Values
from botorch_xval.fitting.losses.warped import warped_of
from botorch_xval.models.kernels import ChoiceKernel, WeightedMixtureKernel

__all__ = ["NODES", "Inputs", "build_node"]


@dataclass(frozen=True)
class Inputs:
    """What the nodes of all kernels of a model are built from."""

    values: Values
    """Where the parameters are in a row of values."""

    X: Tensor
    """Inputs of all models, `b x n x d`, after the input transforms."""

    extra: int
    """Number of rows to pad."""

    workspace: Workspace
    """Where all nodes keep their matrices."""

    batch: Batch
    """What the kernel's modules are to be told of chosen models."""

    paths: Mapping[torch.nn.Module, str]
    """Of the parts of the kernel."""

    seen: dict[Kernel, tuple[int, ...]]
    """By kernel, the columns of `X` that its `forward` gets."""

    warped: frozenset[int] = frozenset()
    """Columns of `X` that parameters change; only compiled code knows how."""

    def features(self, kernel: Kernel) -> Tensor:
        """What the `forward` of a kernel gets, of all models."""
        seen = self.seen[kernel]
        require(not self.warped.intersection(seen), "a kernel of warped inputs")
        return self.X[..., list(seen)]


def build_node(
    kernel: Kernel,
    values: Values,
    X: Tensor,
    extra: int,
    workspace: Workspace,
    batch: Batch,
    transform: Learned | None = None,
) -> Node:
    """The node of a kernel.

    Args:
        kernel: The structure; its numbers do not matter.
        values: Where the parameters are.
        X: Inputs of all models, `b x n x d`, after input transforms without parameters.
        extra: Number of rows to pad.
        workspace: Where all nodes keep their matrices.
        batch: What the kernel's modules are to be told of chosen models.
        transform: Of the inputs, if that has parameters.

    Returns:
        The node.

    Raises:
        Unsupported: If a part of the kernel is not called as kernels are.
    """
    seen = columns_seen(kernel, range(X.shape[-1]))
    paths = {module: path for path, module in kernel.named_modules()}
    inputs = Inputs(values, X, extra, workspace, batch, paths, seen)
    if transform is None:
        return _build(kernel, inputs)
    columns = _columns(kernel, inputs)
    node = ByAutograd(kernel, batch, columns, X, extra, workspace, transform)
    with suppress(Unsupported):
        node.warped = warped_of(
            transform.module,
            transform.columns,
            transform.batch.buffers,
            X,
            lambda X, warped: _build(kernel, replace(inputs, X=X, warped=warped)),
        )
    return node


def _build(kernel: Kernel, inputs: Inputs) -> Node:
    require(type(kernel).__call__ is Kernel.__call__, kernel)
    known = NODES.get(type(kernel).forward)
    if known is not None:
        with suppress(Unsupported):
            return known(kernel, inputs)
    return _by_autograd(kernel, inputs)


def _by_autograd(kernel: Kernel, inputs: Inputs) -> Node:
    return ByAutograd(
        kernel,
        inputs.batch.part(inputs.paths[kernel]),
        _columns(kernel, inputs),
        inputs.features(kernel),
        inputs.extra,
        inputs.workspace,
    )


def _columns(kernel: Kernel, inputs: Inputs) -> dict[str, slice]:
    columns = {}
    for name, _ in kernel.named_parameters():
        path, _, raw_name = name.rpartition(".")
        columns[name] = inputs.values.of(kernel.get_submodule(path), raw_name)
    return columns


def _parts(kernel: Kernel, inputs: Inputs) -> list[Node]:
    require(len(kernel.kernels) > 1, kernel)
    return [_build(part, inputs) for part in kernel.kernels]


def _scale(kernel: Kernel, inputs: Inputs) -> Node:
    child = _build(kernel.base_kernel, inputs)
    return Scale(child, inputs.values.of(kernel, "raw_outputscale"))


def _mixture(kernel: Kernel, inputs: Inputs) -> Node:
    columns = inputs.values.of(kernel, "raw_fractions")
    return Mixture(_parts(kernel, inputs), inputs.workspace, columns)


def _sum(kernel: Kernel, inputs: Inputs) -> Node:
    return Mixture(_parts(kernel, inputs), inputs.workspace)


def _product(kernel: Kernel, inputs: Inputs) -> Node:
    return Product(_parts(kernel, inputs), inputs.workspace)


def _rbf(kernel: Kernel, inputs: Inputs) -> Node:
    return _stationary("rbf", kernel, inputs)


def _matern(kernel: Kernel, inputs: Inputs) -> Node:
    kinds = {0.5: "matern12", 1.5: "matern32", 2.5: "matern52"}
    return _stationary(kinds[kernel.nu], kernel, inputs)


def _stationary(kind: str, kernel: Kernel, inputs: Inputs) -> Node:
    seen = inputs.seen[kernel]
    if inputs.warped.intersection(seen):
        leaf = _leaf(kind, inputs.X[..., list(seen)], kernel, inputs)
        leaf.inputs = seen
        return leaf
    X = inputs.features(kernel)
    X = X - X.mean(dim=-2, keepdim=True)  # smaller numbers cancel less
    return _leaf(kind, X, kernel, inputs)


def _choice(kernel: Kernel, inputs: Inputs) -> Node:
    X = inputs.features(kernel)
    require(bool(((X == 0) | (X == 1)).all()), "choices that are not one-hot")
    return _leaf("exponential", X, kernel, inputs)


def _categorical(kernel: Kernel, inputs: Inputs) -> Node:
    X = inputs.features(kernel)
    features, owner = [], []
    for k in range(X.shape[-1]):
        for value in X[..., k].unique():
            features.append((X[..., k] == value).double())
            owner.append(k)
    # Two different values differ in two features; the kernel takes the mean.
    return _leaf(
        "exponential",
        torch.stack(features, dim=-1),
        kernel,
        inputs,
        torch.tensor(owner, device=X.device),
        divisor=2.0 * X.shape[-1],
    )


def _leaf(
    kind: str,
    features: Tensor,
    kernel: Kernel,
    inputs: Inputs,
    owner: Tensor | None = None,
    divisor: float = 1.0,
) -> Leaf:
    columns = inputs.values.of(kernel, "raw_lengthscale")
    if columns.stop - columns.start == 1:
        owner = None
    features = pad(features, (0, 0, 0, inputs.extra)).contiguous()
    return Leaf(kind, features, columns, inputs.workspace, owner, divisor)


NODES: dict[Callable, Callable[[Kernel, Inputs], Node]] = {
    RBFKernel.forward: _rbf,
    MaternKernel.forward: _matern,
    ScaleKernel.forward: _scale,
    AdditiveKernel.forward: _sum,
    ProductKernel.forward: _product,
    CategoricalKernel.forward: _categorical,
    ChoiceKernel.forward: _choice,
    WeightedMixtureKernel.forward: _mixture,
}
"""By the `forward` of a kernel what builds its node."""
