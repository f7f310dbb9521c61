r"""One Cholesky factor of each covariance, and what all criteria need of it.

GPyTorch's jitter is added where it is needed. A covariance that is singular to rounding
has a loss without a correct digit, and whether it has one at all is chance: such ones
are named.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from gpytorch import settings
from torch import Tensor

from botorch_xval.fitting.losses.nodes import Workspace

__all__ = ["Factorized", "cholesky", "doubt_of", "factorize"]

DOUBT = 1e3  # times n eps of its largest entry: a pivot below this is mostly rounding


class Factorized(NamedTuple):
    """Models of `n` rows, whose matrices are padded by independent ones to `k` rows."""

    factor: Tensor
    """Lower Cholesky factors of the covariances :math:`K` with noise, `a x k x k`."""

    inverse: Tensor
    """:math:`K^{-1}`, in the order of rows; may be overwritten, `a x k x k`."""

    residuals: Tensor
    """Outcomes minus means, and zeros, `a x k`."""

    weights: Tensor
    """:math:`K^{-1}` times residuals, `a x k`."""

    is_definite: Tensor
    """Which covariances are positive definite, `a`; of others nothing here counts."""

    is_doubtful: Tensor
    """Which of these are singular to rounding, `a`."""

    num_points: int
    """How many rows belong to the models, `n`."""

    workspace: Workspace
    """Memory for matrices."""


def factorize(
    covariance: Tensor, residuals: Tensor, num_points: int, workspace: Workspace
) -> Factorized:
    """Factors, inverses and weights.

    Args:
        covariance: With noise, `a x k x k`.
        residuals: `a x k`.
        num_points: How many rows belong to the models, `n`.
        workspace: Where the matrices are.
    """
    n = num_points
    factor = workspace.matrices("factor", covariance).mT
    inverse = workspace.matrices("inverse", covariance).mT
    is_definite = cholesky(covariance, factor)
    largest = covariance.diagonal(dim1=-2, dim2=-1)[:, :n].amax(dim=-1)
    # In LAPACK's order: the last bit of products with a matrix in the other order
    # depends on the number of models.
    torch.cholesky_inverse(factor, out=inverse)
    weights = torch.bmm(inverse, residuals[:, :, None])[..., 0]
    pivots = factor.diagonal(dim1=-2, dim2=-1)[:, :n].amin(dim=-1) ** 2
    return Factorized(
        factor,
        inverse.mT,  # the same values in the order of all other matrices
        residuals,
        weights,
        is_definite,
        is_definite & (pivots < doubt_of(n) * largest),
        n,
        workspace,
    )


def doubt_of(num_points: int) -> float:
    """The share of the largest covariance below which a pivot is mostly rounding."""
    return DOUBT * num_points * torch.finfo(torch.float64).eps


def cholesky(covariance: Tensor, factor: Tensor) -> Tensor:
    """Write lower Cholesky factors, with GPyTorch's jitter where needed.

    Returns:
        Which covariances are positive definite, `a`.
    """
    info = torch.empty(len(factor), dtype=torch.int32, device=factor.device)
    torch.linalg.cholesky_ex(covariance, out=(factor, info))
    good = info == 0
    if good.all():
        return good
    jitter = settings.cholesky_jitter.value(covariance.dtype)
    for attempt in range(settings.cholesky_max_tries.value()):
        added = (jitter * 10**attempt) * (~good)
        shifted = covariance.clone()
        shifted.diagonal(dim1=-2, dim2=-1).add_(added[:, None])
        again, info = torch.linalg.cholesky_ex(shifted)
        mended = ~good & (info == 0)
        factor[mended] = again[mended]
        good = good | mended
        if good.all():
            return good
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    factor[~good] = identity
    return good
