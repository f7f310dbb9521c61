r"""What one factorization of all rows says of every fold, with its derivatives.

With :math:`Q = K^{-1}` (noise included), outcomes :math:`y` and a mean :math:`m`,
a constant or one for each task, a fold without the rows :math:`S`, whose outcomes are
those of all rows after an affine change :math:`\alpha y + \beta` (each fold
standardizes its own), has with
:math:`w = Q (\alpha y + \beta - m)` and :math:`e = Q_{SS}^{-1} w_S`

.. math::
    Q_{-S} = Q - Q_{\cdot S} Q_{SS}^{-1} Q_{S \cdot}, \quad
    a_{-S} = w - Q_{\cdot S} e, \quad
    \det K_{-S} = \det K \, \det Q_{SS},

the first two with zeros in the rows :math:`S` (block inverse; Rasmussen & Williams
2006, eq. A.12). The rows left out are :math:`e` away from their predictions, and
:math:`Q_{SS}^{-1}` is the covariance of that (Dubrule 1983; Rasmussen & Williams 2006,
eq. 5.12). A parameter with the derivative :math:`D = \partial K / \partial \theta` and
:math:`M = Q D Q` changes that as (Sundararajan & Keerthi 2001, eq. 13 and 14, for one
row)

.. math::
    \frac{\partial (-\log p_{-S})}{\partial \theta} &= \tfrac12 \left[
        \mathrm{tr}(Q D) - \mathrm{tr}(Q_{SS}^{-1} M_{SS})
        - a_{-S}^\top D a_{-S} \right], \\
    \frac{\partial e}{\partial \theta} &= Q_{SS}^{-1} \left[
        M_{SS} e - (Q D w)_S \right], \qquad
    \frac{\partial Q_{SS}^{-1}}{\partial \theta} = Q_{SS}^{-1} M_{SS} Q_{SS}^{-1},

so that all folds of leave-one-out cost one matrix product for each parameter,
:math:`O(p n^3)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Data", "HeldOut", "LeftOut", "affine_change", "hold_out", "leave_out"]

ROUNDING = 1e-10  # of outcomes that are affine to others
BLOCK = 4_000_000  # elements of the rows of a matrix that are taken at a time


class Data(NamedTuple):
    """What a model is trained on, after its transforms."""

    inputs: Tensor  # n x d
    targets: Tensor  # n
    noise: Tensor | None  # known variances, n


def affine_change(
    everything: Data, fold: Data, rows: Tensor
) -> tuple[float, float] | None:
    """What turns the outcomes of a model of all rows into those of a fold.

    Args:
        everything: Of all rows.
        fold: Of the fold.
        rows: Boolean mask, `n`, of its rows.

    Returns:
        The scale and the shift of the outcomes; None if other data differ.
    """
    if not torch.equal(fold.inputs, everything.inputs[rows]):
        return None
    if everything.noise is not None and (
        fold.noise is None or not torch.equal(fold.noise, everything.noise[rows])
    ):
        return None
    own, targets = everything.targets[rows], fold.targets
    centered = own - own.mean()
    spread = (centered**2).sum()
    scale = centered @ (targets - targets.mean()) / spread if spread > 0 else 1.0
    shift = targets.mean() - scale * own.mean()
    error = (scale * own + shift - targets).abs().amax()
    if error > ROUNDING * (1 + targets.abs().amax()):
        return None
    return float(scale), float(shift)


@dataclass(frozen=True)
class LeftOut:
    """Folds of one model at one point of its parameters, on the scale of each fold.

    Derivatives are by constrained values here, and by the unconstrained parameters
    where an objective gives them.
    """

    scales: Tensor
    """What outcomes of all rows are multiplied by to be those of a fold, `f`."""

    shifts: Tensor
    """What is added to them then, `f`."""

    losses: Tensor
    """Negative log marginal likelihoods of the rows that are left, `f`."""

    gradients: Tensor
    """Their derivatives, `f x p`."""

    errors: Tensor
    """Outcomes of the rows that are left out minus their predictions, `f x s`."""

    variances: Tensor
    """Variances of the errors, with noise, `f x s`."""

    error_slopes: Tensor
    """Derivatives of the errors, `f x s x p`."""

    variance_slopes: Tensor
    """Derivatives of the variances, `f x s x p`."""

    noise: Tensor
    """Variances of the noise, `f x s`."""

    noise_slopes: Tensor
    """Derivatives of these, `f x s x p`."""


class HeldOut(NamedTuple):
    """Folds of one model at `a` points of its parameters, on the scale of each fold."""

    losses: Tensor
    """Negative log marginal likelihoods of the rows that are left, `a x f`."""

    errors: Tensor
    """Outcomes of the rows that are left out minus their predictions, `a x f x s`."""

    variances: Tensor
    """Variances of the errors, with noise, `a x f x s`."""


def hold_out(
    inverse: Tensor,
    log_det: Tensor,
    targets: Tensor,
    means: Tensor,
    rows: Tensor,
    scales: Tensor,
    shifts: Tensor,
) -> HeldOut:
    """Losses and errors of the folds of one model at many points, without derivatives.

    Args:
        inverse: `Q` at each point, `a x n x n`.
        log_det: Logarithms of the determinants of `K`, `a`.
        targets: Outcomes, `n`.
        means: Of the prior process in all rows, `a x n`.
        rows: Numbers of the rows that each fold leaves out, `f x s`.
        scales: By fold what its outcomes are multiplied by, `f`.
        shifts: By fold what is added to them then, `f`.
    """
    (a, n), s = means.shape, rows.shape[1]
    ones = torch.ones_like(targets)
    parts = torch.stack([targets, ones]).expand(a, 2, n)
    parts = torch.cat([parts, means[:, None]], dim=1)  # a x 3 x n
    weighted = parts @ inverse
    factors = torch.stack([scales, shifts, -torch.ones_like(scales)], dim=-1)  # f x 3
    inside = torch.linalg.inv(inverse[:, rows[:, :, None], rows[:, None, :]])
    own = torch.einsum("fc,acfs->afs", factors, weighted[:, :, rows])  # w_S
    errors = (inside @ own[..., None])[..., 0]
    products = weighted @ parts.mT  # a x 3 x 3
    quadratic = torch.einsum("fc,acd,fd->af", factors, products, factors)
    quadratic -= (own * errors).sum(dim=-1)
    log_dets = log_det[:, None] - torch.linalg.slogdet(inside)[1]
    losses = 0.5 * (quadratic + log_dets + (n - s) * math.log(2 * math.pi))
    return HeldOut(losses, errors, inside.diagonal(dim1=-2, dim2=-1))


def leave_out(
    inverse: Tensor,
    log_det: Tensor,
    targets: Tensor,
    rows: Tensor,
    scales: Tensor,
    shifts: Tensor,
    tangents: Iterable[tuple[int, Tensor]],
    means: Sequence[tuple[int, Tensor, Tensor]],
    noise: Tensor,
    num_parameters: int,
) -> LeftOut:
    """Losses, errors and their derivatives of the folds of one model.

    Args:
        inverse: `Q`, `n x n`.
        log_det: Logarithm of the determinant of `K`.
        targets: Outcomes, `n`.
        rows: Numbers of the rows that each fold leaves out, `f x s`.
        scales: By fold what its outcomes are multiplied by, `f`.
        shifts: By fold what is added to them then, `f`.
        tangents: The column of each parameter of the covariance, and the derivative by
            it, `n x n`; that of noise by its diagonal, `n`.
        means: The column and the value of each constant mean, and ones in the rows that
            have it, `n`.
        noise: Variances of the noise, `n`.
        num_parameters: How many parameters there are, `p`.
    """
    f, s = rows.shape
    n, p = len(targets), num_parameters
    ones = torch.ones_like(targets)
    parts = torch.stack([targets, ones, *(own for _, _, own in means)], dim=-1)
    weighted = inverse @ parts  # n x (2 + means)
    constants = [-value.expand(f) for _, value, _ in means]
    factors = torch.stack([scales, shifts, *constants], dim=-1)
    inside = torch.linalg.inv(inverse[rows[:, :, None], rows[:, None, :]])
    own = _mixed(factors, weighted)  # w, f x n
    errors = (inside @ own.gather(1, rows)[..., None])[..., 0]
    quadratic = (_mixed(factors, weighted.mT @ parts) * factors).sum(dim=-1)
    quadratic -= (own.gather(1, rows) * errors).sum(dim=-1)
    log_dets = log_det - torch.linalg.slogdet(inside)[1]
    losses = 0.5 * (quadratic + log_dets + (n - s) * math.log(2 * math.pi))
    gradients = targets.new_zeros(f, p)
    error_slopes, variance_slopes, noise_slopes = targets.new_zeros(3, f, s, p)
    for column, tangent in tangents:
        is_noise = tangent.ndim == 1
        product = inverse * tangent if is_noise else inverse @ tangent
        middle = _blocks(product, inverse, rows)  # M_SS, f x s x s
        across = product @ weighted  # Q D [Q y, Q 1, ...]
        shifted = _mixed(factors, across)  # Q D w, f x n
        own_shift = shifted.gather(1, rows)
        moved = (middle @ errors[..., None])[..., 0]
        turned = tangent[:, None] * weighted if is_noise else tangent @ weighted
        inner = weighted.mT @ turned
        curvature = (_mixed(factors, inner.mT) * factors).sum(dim=-1)
        curvature += (errors * (moved - 2 * own_shift)).sum(dim=-1)
        trace = (inside * middle.mT).sum(dim=(-2, -1))
        gradients[:, column] = 0.5 * (product.diagonal().sum() - trace - curvature)
        error_slopes[..., column] = (inside @ (moved - own_shift)[..., None])[..., 0]
        if is_noise:
            noise_slopes[..., column] = tangent[rows]
        variance_slopes[..., column] = (inside @ middle @ inside).diagonal(
            dim1=-2, dim2=-1
        )
    for k, (column, _, where) in enumerate(means, start=2):
        left = weighted[:, k][rows]  # (Q 1)_S, with ones where the mean is this one
        gradients[:, column] = (errors * left).sum(dim=-1) - (own * where).sum(dim=-1)
        error_slopes[..., column] = -(inside @ left[..., None])[..., 0]
    variances = inside.diagonal(dim1=-2, dim2=-1)
    return LeftOut(
        scales,
        shifts,
        losses,
        gradients,
        errors,
        variances,
        error_slopes,
        variance_slopes,
        noise[rows],
        noise_slopes,
    )


def _mixed(factors: Tensor, columns: Tensor) -> Tensor:
    """The product of factors, `f x c`, and columns, `n x c`, of each fold, `f x n`.

    Not by BLAS, where the last bit of a fold depends on how many others there are.
    """
    total = factors[:, :1] * columns[:, 0]
    for c in range(1, factors.shape[1]):
        total = total + factors[:, c : c + 1] * columns[:, c]
    return total


def _blocks(left: Tensor, right: Tensor, rows: Tensor) -> Tensor:
    """Blocks of the product of a matrix and a symmetric one, `f x s x s`."""
    if rows.shape[1] == 1:  # as in `_mixed`
        return (left * right).sum(dim=-1)[rows][..., None]
    width = max(1, BLOCK // (rows.shape[1] * len(left)))
    return torch.cat([left[part] @ right[part].mT for part in rows.split(width)])
