"""Inputs that are warped with parameters of the model, for compiled code.

BoTorch's `Warp` is the distribution function of Kumaraswamy (1980),
:math:`x' = 1 - (1 - x^{c_1})^{c_0}`. With it a kernel's features change in every
evaluation. Torch evaluates such a model by the modules of transform and kernel and
autograd; compiled code needs the inputs as they are before warping, the columns of the
concentrations, and the tree of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from botorch.models.transforms.input import ChainedInputTransform, Warp
from torch import Tensor
from torch.func import functional_call

from botorch_xval.fitting.losses.nodes import Node
from botorch_xval.fitting.losses.parameters import require

__all__ = ["Warped", "warped_of"]


@dataclass(frozen=True)
class Warped:
    """A kernel of warped inputs."""

    node: Node
    """Of the kernel; its leaves know which inputs are their features."""

    X: Tensor
    """Before warping, in (0, 1) where they are warped, `b x n x d`."""

    columns: Tensor
    """Of the concentrations `c_1` and `c_0` of each input, `2 x d`; -1 for none."""


def warped_of(
    transform: torch.nn.Module,
    concentrations: Mapping[str, slice],
    buffers: Mapping[str, Tensor],
    X: Tensor,
    build: Callable[[Tensor, frozenset[int]], Node],
) -> Warped:
    """What compiled code needs of a kernel of warped inputs.

    Args:
        transform: Of the inputs.
        concentrations: By name of a parameter of it, its columns.
        buffers: By name those of it that differ between models, `b x ...`.
        X: As the transform gets them, `b x n x d`.
        build: Makes the node of the kernel, from the inputs before warping and the
            numbers of those that are warped.

    Raises:
        Unsupported: If it is no `Warp`, or not the last of several transforms.
    """
    parts = [transform]
    if type(transform) is ChainedInputTransform:
        parts = list(transform.children())
    warp = parts[-1]
    require(type(warp) is Warp and not warp.reverse, transform)
    assert isinstance(warp, Warp)
    require(all(part.transform_on_train for part in parts), transform)
    require(
        not any(p.requires_grad for part in parts[:-1] for p in part.parameters()),
        transform,
    )
    columns = torch.full((2, X.shape[-1]), -1)
    ones = {}
    for name, own in concentrations.items():
        row = ("concentration1", "concentration0").index(name.rpartition(".")[-1])
        columns[row, warp.indices] = torch.arange(own.start, own.stop)
        shape = (len(X), 1, own.stop - own.start)
        ones[name] = X.new_ones(shape)  # with which nothing is warped
    with torch.no_grad():
        state = {**ones, **buffers}
        before = functional_call(transform, state, (X,)).contiguous()
    node = build(before, frozenset(warp.indices.tolist()))
    return Warped(node, before, columns)
