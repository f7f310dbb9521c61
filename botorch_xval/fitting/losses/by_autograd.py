"""The node of any kernel: its own modules, and autograd for its derivatives.

The density around it, means, noise and priors stay in closed form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from gpytorch import settings
from gpytorch.kernels import Kernel
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import pad

from botorch_xval.fitting.losses.nodes import Node, Workspace
from botorch_xval.fitting.losses.parameters import Unsupported, without_constraints

__all__ = ["Batch", "ByAutograd", "Learned"]

STEP = 1e-3  # of a difference, relative to the value
# Where, in steps, and how much: the difference of fourth order.
STENCIL = ((-2.0, 1 / 12), (-1.0, -2 / 3), (1.0, 2 / 3), (2.0, -1 / 12))


@dataclass(frozen=True)
class Batch:
    """A kernel of many models: what its modules are to be told of chosen ones."""

    shape: torch.Size
    """Of the models that it holds."""

    sized: Mapping[str, torch.Size]
    """By path modules that know the shape of their batch, and what follows that."""

    buffers: Mapping[str, Tensor]
    """By full name those that differ between models, `b x ...`."""

    is_training: bool
    """The mode of the kernel."""

    def part(self, path: str) -> Batch:
        """That of a part of the kernel."""
        prefix = f"{path}." if path else ""

        def own(whole: Mapping[str, Any]) -> dict[str, Any]:
            return {
                name.removeprefix(prefix): each
                for name, each in whole.items()
                if name.startswith(prefix)
            }

        sized = own(self.sized)
        if path in self.sized:
            sized[""] = self.sized[path]
        return replace(self, sized=sized, buffers=own(self.buffers))


@dataclass(frozen=True)
class Learned:
    """A transform of the inputs that has parameters, and what its modules are told."""

    module: torch.nn.Module
    """The structure, with its ranges; its numbers do not matter."""

    batch: Batch
    """What its modules are to be told of chosen models."""

    columns: Mapping[str, slice]
    """By name of each of its parameters, where that is in a row."""

    rows: torch.Size
    """What stands between models and features in a batch of its parameters."""


class _Forward(torch.nn.Module):
    """A kernel's `forward` on one set of inputs, as a dense matrix."""

    def __init__(self, kernel: Kernel, transform: torch.nn.Module | None) -> None:
        super().__init__()
        self.kernel, self.transform = kernel, transform

    def forward(self, X: Tensor) -> Tensor:
        if self.transform is not None:
            X = self.transform(X)
            # As it is called, it takes its own dimensions of them.
            found: Any = self.kernel(X, X)
        else:
            found = self.kernel.forward(X, X)
        return found if isinstance(found, Tensor) else found.to_dense()


def _join(first: str, path: str) -> str:
    return f"{first}.{path}" if path else first


@contextmanager
def _eager() -> Iterator[None]:
    """GPyTorch's lazy kernels know the shape of the whole batch, so they are off."""
    with settings.lazily_evaluate_kernels(False), settings.debug(False):
        yield


class ByAutograd(Node):
    """A kernel that is evaluated by its modules, chosen models at once."""

    keeps_result = True
    warped: Any = None
    """What compiled code knows of it: a `Warped`, or None."""

    def __init__(
        self,
        kernel: Kernel,
        batch: Batch,
        columns: Mapping[str, slice],
        X: Tensor,
        extra: int,
        workspace: Workspace,
        transform: Learned | None = None,
    ) -> None:
        """
        Args:
            kernel: The structure; its numbers do not matter.
            batch: What its modules are to be told of chosen models.
            columns: By full name of each of its parameters, where that is in a row.
            X: Inputs of all models, as its `forward` gets them, `b x n x d`; or, if
                there is a transform, as that and its call get them.
            extra: Number of rows to pad.
            workspace: Where the padded matrices are.
            transform: Of the inputs, if that has parameters.
        """
        own = without_constraints(kernel)
        learned = None if transform is None else deepcopy(transform.module)
        self._module = _Forward(own, learned).train(batch.is_training)
        self._shapes = {
            f"kernel.{name}": parameter.shape[len(batch.shape) :]
            for name, parameter in own.named_parameters()
        }
        self.columns = {f"kernel.{name}": each for name, each in columns.items()}
        self._sized = {_join("kernel", p): rest for p, rest in batch.sized.items()}
        self._buffers = {f"kernel.{name}": each for name, each in batch.buffers.items()}
        if transform is not None and learned is not None:
            for name, parameter in learned.named_parameters():
                shape = parameter.shape[len(transform.batch.shape) :]
                self._shapes[f"transform.{name}"] = transform.rows + shape
                self.columns[f"transform.{name}"] = transform.columns[name]
            for path, rest in transform.batch.sized.items():
                self._sized[_join("transform", path)] = rest
            for name, each in transform.batch.buffers.items():
                self._buffers[f"transform.{name}"] = each
        self.kernel, self.X = kernel, X
        self._extra, self._workspace = extra, workspace
        self._given: dict[str, Tensor] = {}
        self._graph: tuple[Tensor, dict[str, Tensor]] | None = None

    @property
    def is_parallel(self) -> bool:
        """Not with kernels inside: GPyTorch's settings are those of all threads."""
        own = self._module.kernel
        is_one = not any(isinstance(m, Kernel) and m is not own for m in own.modules())
        return is_one and self._module.transform is None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_graph": None}  # which cannot be copied

    def data(self) -> list[Tensor]:
        """See :class:`Node`."""
        return [self.X, *self._buffers.values()]

    def select(self, index: Tensor) -> None:
        """See :class:`Node`."""
        self._chosen = self.X.index_select(0, index)
        self._given = {
            name: value.index_select(0, index) for name, value in self._buffers.items()
        }
        for path, rest in self._sized.items():
            module: Any = self._module.get_submodule(path)
            module.batch_shape = torch.Size([len(index), *rest])

    def forward(self, values: Tensor) -> tuple[Tensor, None]:
        """See :class:`Node`."""
        own = self._own(values)
        for each in own.values():
            each.requires_grad_()
        with torch.enable_grad():
            found = self._covariance(own)
        n = self._chosen.shape[-2]
        if found.shape != (len(values), n, n):
            raise Unsupported(type(self._module.kernel).__name__)
        self._graph = found, own
        padded = pad(found.detach(), (0, self._extra, 0, self._extra))
        self.result = self._workspace.matrices(id(self), padded).copy_(padded)
        return self.result, None

    def backward(
        self,
        outer: Tensor,
        scale: Tensor | None,
        values: Tensor,
        gradients: Tensor,
        want_total: bool = False,
    ) -> Tensor | None:
        """See :class:`Node`."""
        assert self._graph is not None
        (found, own), self._graph = self._graph, None
        n = found.shape[-1]
        weights = outer[:, :n, :n]
        if scale is not None:
            weights = weights * scale[:, None, None]
        parts = torch.autograd.grad(
            found, list(own.values()), weights, allow_unused=True
        )
        for columns, part in zip(self.columns.values(), parts, strict=True):
            if part is not None:
                gradients[:, columns] += part.reshape(len(part), -1)
        return (outer * self.result).sum(dim=(-2, -1)) if want_total else None

    def tangents(self, values: Tensor) -> Iterator[tuple[int, Tensor]]:
        """See :class:`Node`; by differences of fourth order, so to about ten digits.

        Forward-mode differentiation would be exact, but `torch.cdist` has none.
        """
        for columns in self.columns.values():
            for column in range(columns.start, columns.stop):
                step = STEP * values[:, column].abs().clamp_min(STEP)
                tangent: Any = 0.0
                for away, weight in STENCIL:
                    moved = values.clone()
                    moved[:, column] += away * step
                    covariance = self._covariance(self._own(moved))
                    tangent = tangent + (weight / step)[:, None, None] * covariance
                yield column, pad(tangent, (0, self._extra, 0, self._extra))

    def _own(self, values: Tensor) -> dict[str, Tensor]:
        """The parameters of the kernel, of chosen models."""
        return {
            name: values[:, columns].reshape(len(values), *self._shapes[name])
            for name, columns in self.columns.items()
        }

    def _covariance(self, own: Mapping[str, Tensor]) -> Tensor:
        with nullcontext() if self.is_parallel else _eager():
            return functional_call(self._module, {**own, **self._given}, self._chosen)
