r"""Covariance matrices and their gradients as a tree of nodes, one for each kernel.

A node knows no kernel: which kernel is which node is said in
:mod:`~botorch_xval.fitting.losses.covariances`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Leaf", "Mixture", "Node", "Product", "Scale", "Workspace"]


class Workspace:
    """Tensors that are written anew in every evaluation, kept between evaluations.

    Tensors of megabytes that come and go are given back to the system every time, and
    the page faults of getting them again cost a quarter of a fit with two threads.
    """

    def __init__(self) -> None:
        self._memory: dict[object, Tensor] = {}

    def matrices(self, name: object, like: Tensor) -> Tensor:
        """Uninitialized memory, `a x n x n`, for a tensor `a x n x any`."""
        a, n, _ = like.shape
        memory = self._memory.get(name)
        if memory is None or memory.numel() < a * n * n:
            memory = self._memory[name] = like.new_empty(a * n * n)
        return memory[: a * n * n].view(a, n, n)

    def __deepcopy__(self, memo: dict) -> Workspace:
        return Workspace()  # a copied loss writes to memory of its own


class Node(ABC):
    """The covariance matrices of a kernel for chosen models."""

    keeps_result = False
    """Whether a result of :meth:`forward` may not be overwritten before `backward`."""

    children: Sequence[Node] = ()
    """The nodes that it is made of."""

    @property
    def is_parallel(self) -> bool:
        """Whether several threads may evaluate copies."""
        return all(child.is_parallel for child in self.children)

    def data(self) -> list[Tensor]:
        """Tensors that the node only reads, so that copies may share them."""
        return [tensor for child in self.children for tensor in child.data()]

    def select(self, index: Tensor) -> None:
        """Take the data of chosen models, `a`."""
        for child in self.children:
            child.select(index)

    @abstractmethod
    def forward(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """Covariances at constrained values, `a x p`.

        Returns:
            Covariances, `a x n x n`, and, or None, the scales, `a`, by which they are
            still to be multiplied.
        """

    @abstractmethod
    def backward(
        self,
        outer: Tensor,
        scale: Tensor | None,
        values: Tensor,
        gradients: Tensor,
        want_total: bool = False,
    ) -> Tensor | None:
        r"""Add the derivatives of the loss by the node's parameters to `gradients`.

        Args:
            outer: With `scale`, the derivative of the loss by the covariances,
                :math:`\partial L / \partial k` = `scale * outer`, `a x n x n`.
            scale: `a`; None for one.
            values: Those of :meth:`forward`, `a x p`.
            gradients: To add to, `a x p`.
            want_total: Whether to give what scales and weights above need.

        Returns:
            The sums of `outer` times the node's covariances, `a`, if wanted.
        """

    @abstractmethod
    def tangents(self, values: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Derivatives of the covariances by each of the node's parameters.

        Args:
            values: Those of :meth:`forward`, which came just before, `a x p`.

        Yields:
            Column of the parameter, and derivatives, `a x n x n`, in memory of their
            own.
        """


class Leaf(Node):
    """A kernel of the scaled squared distance of its features."""

    keeps_result = True

    def __init__(
        self,
        kind: str,
        features: Tensor,
        columns: slice,
        workspace: Workspace,
        owner: Tensor | None = None,
        divisor: float = 1.0,
    ) -> None:
        self.kind, self.columns, self.workspace = kind, columns, workspace
        self.features = features  # b x n x d
        # z = x * sqrt(factor) / l, or z = x * sqrt(factor / l)
        self.by_root = kind == "exponential"
        factors = {"rbf": 0.5, "matern52": 5.0, "matern32": 3.0, "matern12": 1.0}
        self.factor = factors.get(kind, 1.0) / divisor
        self.owner = owner  # lengthscale of each feature, if several share one
        self.inputs: Sequence[int] | None = None  # warped ones, that are its features

    def data(self) -> list[Tensor]:
        """See :class:`Node`."""
        return [self.features]

    def select(self, index: Tensor) -> None:
        """See :class:`Node`."""
        self.chosen = self.features.index_select(0, index)
        a, n, d = self.chosen.shape
        # |z_i - z_j|^2 = [-2 z_i, s_i, 1] [z_j, 1, s_j]': one product, no extra pass
        shape = (a, n, d + 2 + d % 2)
        self.left = self.chosen.new_zeros(shape)
        self.right = self.chosen.new_zeros(shape)
        self.left[..., d + 1] = 1
        self.right[..., d] = 1
        self.z = self.right[..., : d + 1]  # and a column of ones, for row sums
        self.products = torch.empty_like(self.z)
        # Contiguous: else the rounding of a sum depends on the number of models.
        self.spare = torch.empty_like(self.chosen)

    def forward(self, values: Tensor) -> tuple[Tensor, None]:
        """See :class:`Node`."""
        d = self.chosen.shape[-1]
        lengthscales = values[:, self.columns]
        if self.owner is not None:
            lengthscales = lengthscales[:, self.owner]
        if self.by_root:
            inverse = (self.factor / lengthscales).sqrt()
        else:
            inverse = math.sqrt(self.factor) / lengthscales
        z = self.right[..., :d]
        torch.mul(self.chosen, inverse[:, None, :], out=z)
        squares = torch.mul(z, z, out=self.spare).sum(dim=-1)
        torch.mul(z, -2, out=self.left[..., :d])
        self.left[..., d] = squares
        self.right[..., d + 1] = squares
        distance = self._own("distance")
        torch.bmm(self.left, self.right.mT, out=distance).clamp_min_(0)
        distance.diagonal(dim1=-2, dim2=-1).zero_()
        if self.kind in ("rbf", "exponential"):
            self.result = self.slope = distance.neg_().exp_()
        else:
            root = torch.sqrt(distance, out=self._own("root"))
            decay = torch.neg(root, out=self._own("decay")).exp_()
            if self.kind == "matern12":
                self.result = decay
                root.masked_fill_(root == 0, torch.inf)
                self.slope = torch.div(decay, root, out=distance)
            else:
                self.slope = torch.addcmul(decay, root, decay, out=root)
                if self.kind == "matern32":
                    self.result, self.slope = self.slope, decay
                else:
                    self.result = torch.addcmul(
                        self.slope, distance, decay, value=1 / 3, out=distance
                    )
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
        d = self.chosen.shape[-1]
        weighted = torch.mul(outer, self.slope, out=self._shared())
        products = torch.bmm(weighted, self.z, out=self.products)
        sums = products[..., d:]
        z = self.z[..., :d]
        spread = torch.mul(z, sums, out=self.spare)
        spread = spread.sub_(products[..., :d]).mul_(z).sum(dim=-2)
        share, power = self._share_and_power()
        by_feature = spread * (power * share)
        if scale is not None:
            by_feature = by_feature * scale[:, None]
        if self.owner is not None:
            width = self.columns.stop - self.columns.start
            summed = by_feature.new_zeros(len(by_feature), width)
            by_feature = summed.index_add_(1, self.owner, by_feature)
        lengthscales = values[:, self.columns]
        by_lengthscale = by_feature / lengthscales
        if lengthscales.shape[1] == 1:
            by_lengthscale = by_lengthscale.sum(dim=-1, keepdim=True)
        gradients[:, self.columns] += by_lengthscale
        if not want_total:
            return None
        if self.slope is self.result:
            return sums.sum(dim=(-2, -1))
        # Faster than a batched dot product, whose last bit also depends on `a`.
        product = torch.mul(outer, self.result, out=self._shared())
        return product.sum(dim=(-2, -1))

    def tangents(self, values: Tensor) -> Iterator[tuple[int, Tensor]]:
        """See :class:`Node`."""
        lengthscales = values[:, self.columns]
        d, width = self.chosen.shape[-1], lengthscales.shape[1]
        owners = torch.arange(d) if self.owner is None else self.owner
        owners = owners * (width > 1)
        share, power = self._share_and_power()
        for k in range(width):
            squares = torch.zeros_like(self.slope)
            for i in (owners == k).nonzero()[:, 0].tolist():
                z = self.z[..., i]
                squares += (z[:, :, None] - z[:, None, :]).square_()
            factor = 0.5 * share * power / lengthscales[:, k]
            squares.mul_(self.slope).mul_(factor[:, None, None])
            yield self.columns.start + k, squares

    def _share_and_power(self) -> tuple[float, int]:
        """Minus `d k / d R` is a share of `slope / 2`; `R` falls with a power of l."""
        share = {"matern52": 1 / 3, "matern32": 1.0, "matern12": 1.0}
        return share.get(self.kind, 2.0), 1 if self.by_root else 2

    def _own(self, name: str) -> Tensor:
        return self.workspace.matrices((id(self), name), self.chosen)

    def _shared(self) -> Tensor:
        """Memory that all leaves share, each until the next one writes to it."""
        return self.workspace.matrices("leaf", self.chosen)


class Scale(Node):
    """`values[column] * child`; the scale is carried along, not multiplied out."""

    def __init__(self, child: Node, columns: slice) -> None:
        self.child, self.columns = child, columns
        self.children, self.keeps_result = [child], child.keeps_result

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Node`."""
        self.pair = result, scale = self.child.forward(values)
        self.own = values[:, self.columns.start]
        return result, self.own if scale is None else scale * self.own

    def backward(
        self,
        outer: Tensor,
        scale: Tensor | None,
        values: Tensor,
        gradients: Tensor,
        want_total: bool = False,
    ) -> Tensor | None:
        """See :class:`Node`."""
        inner = self.own if scale is None else scale * self.own
        total: Any = self.child.backward(outer, inner, values, gradients, True)
        # The child's total is of the child's result times all scales on the way.
        own = total if scale is None else total * scale
        gradients[:, self.columns.start] += own
        return total * self.own if want_total else None

    def tangents(self, values: Tensor) -> Iterator[tuple[int, Tensor]]:
        """See :class:`Node`."""
        for column, tangent in self.child.tangents(values):
            yield column, tangent.mul_(self.own[:, None, None])
        yield self.columns.start, _covariance_of(self.pair)


class Mixture(Node):
    """Sum of children, weighted by stick-breaking fractions if there are columns."""

    keeps_result = False

    def __init__(
        self,
        children: list[Node],
        workspace: Workspace,
        columns: slice | None = None,
    ) -> None:
        self.children, self.workspace, self.columns = children, workspace, columns

    def forward(self, values: Tensor) -> tuple[Tensor, None]:
        """See :class:`Node`."""
        weights = self.weights = self._weights(values)
        mixture: Any = None
        self.pairs: list[tuple[Tensor, Tensor | None]] = []
        for i, child in enumerate(self.children):
            result, scale = child.forward(values)
            self.pairs.append((result, scale))
            if weights is not None:
                weight = weights[:, i]
                scale = weight if scale is None else scale * weight
            if mixture is None:
                one = 1.0 if scale is None else scale[:, None, None]
                mixture = self.workspace.matrices(id(self), result)
                torch.mul(result, one, out=mixture)
            elif scale is None:
                mixture += result
            else:
                mixture.addcmul_(result, scale[:, None, None])
        return mixture, None

    def backward(
        self,
        outer: Tensor,
        scale: Tensor | None,
        values: Tensor,
        gradients: Tensor,
        want_total: bool = False,
    ) -> Tensor | None:
        """See :class:`Node`."""
        weights = self.weights
        totals: list[Any] = []
        for i, child in enumerate(self.children):
            inner = scale
            if weights is not None:
                weight = weights[:, i]
                inner = weight if scale is None else scale * weight
            want = weights is not None or want_total
            totals.append(child.backward(outer, inner, values, gradients, want))
        if weights is not None:
            by_weight = torch.stack(totals, dim=-1)
            total = (by_weight * weights).sum(dim=-1)
            if scale is not None:
                by_weight = by_weight * scale[:, None]
            fractions = values[:, self.columns]
            parts = by_weight * weights
            after = parts.sum(dim=-1, keepdim=True) - parts.cumsum(dim=-1)
            gradients[:, self.columns] += parts[:, :-1] / fractions - after[:, :-1] / (
                1 - fractions
            )
            return total
        return sum(totals) if want_total else None

    def tangents(self, values: Tensor) -> Iterator[tuple[int, Tensor]]:
        """See :class:`Node`."""
        weights = self.weights
        for i, child in enumerate(self.children):
            for column, tangent in child.tangents(values):
                if weights is not None:
                    tangent *= weights[:, i, None, None]
                yield column, tangent
        if weights is None or self.columns is None:
            return
        # A fraction multiplies its part, and one minus it all parts after that.
        after: Any = None
        for i in reversed(range(len(self.children))):
            part = _covariance_of(self.pairs[i]).mul_(weights[:, i, None, None])
            if after is None:
                after = part
                continue
            fraction = values[:, self.columns][:, i, None, None]
            yield self.columns.start + i, part / fraction - after / (1 - fraction)
            after += part

    def _weights(self, values: Tensor) -> Tensor | None:
        if self.columns is None:
            return None
        fractions = values[:, self.columns]
        one = torch.ones_like(fractions[:, :1])
        left = torch.cat([one, (1 - fractions).cumprod(dim=-1)], dim=-1)
        return left * torch.cat([fractions, one], dim=-1)


class Product(Node):
    """Elementwise product of children."""

    keeps_result = False

    def __init__(self, children: list[Node], workspace: Workspace) -> None:
        self.children, self.workspace = children, workspace

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :class:`Node`."""
        pairs = [child.forward(values) for child in self.children]
        self.results = [result for result, _ in pairs]
        self.scales = [scale for _, scale in pairs]
        product = self.workspace.matrices(id(self), self.results[0])
        torch.mul(self.results[0], self.results[1], out=product)
        for result in self.results[2:]:
            product *= result
        return product, _times(self.scales)

    def backward(
        self,
        outer: Tensor,
        scale: Tensor | None,
        values: Tensor,
        gradients: Tensor,
        want_total: bool = False,
    ) -> Tensor | None:
        """See :class:`Node`."""
        total: Any = None
        for i, child in enumerate(self.children):
            others = [r for j, r in enumerate(self.results) if j != i]
            inner = self.workspace.matrices((id(self), "inner"), outer)
            torch.mul(outer, others[0], out=inner)
            for result in others[1:]:
                inner *= result
            carried = _times([scale, *(s for j, s in enumerate(self.scales) if j != i)])
            want = want_total and i == len(self.children) - 1
            total = child.backward(inner, carried, values, gradients, want)
            if want and (rest := _times([s for s in self.scales[:-1]])) is not None:
                total = total * rest
        return total

    def tangents(self, values: Tensor) -> Iterator[tuple[int, Tensor]]:
        """See :class:`Node`."""
        pairs = list(zip(self.results, self.scales, strict=True))
        for i, child in enumerate(self.children):
            for column, tangent in child.tangents(values):
                for j, (result, scale) in enumerate(pairs):
                    if j != i:
                        tangent *= result
                        if scale is not None:
                            tangent *= scale[:, None, None]
                yield column, tangent


def _covariance_of(pair: tuple[Tensor, Tensor | None]) -> Tensor:
    """A result of :meth:`Node.forward` times its scales, in memory of its own."""
    result, scale = pair
    return result.clone() if scale is None else result * scale[:, None, None]


def _times(scales: Sequence[Tensor | None]) -> Tensor | None:
    product = None
    for scale in scales:
        if scale is not None:
            product = scale if product is None else product * scale
    return product
