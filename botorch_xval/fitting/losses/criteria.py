r"""What hyper-parameters are fitted by, and its derivatives: from one factorization.

With the covariance :math:`K` (with noise), residuals :math:`r`, :math:`Q = K^{-1}` and
:math:`a = Q r`, the evidence is (Rasmussen & Williams 2006, eq. 5.8 and 5.9)

.. math::
    -\log p = \tfrac12 (r^\top a + \log\det K + n \log 2 \pi), \quad
    \frac{\partial (-\log p)}{\partial K} = \tfrac12 (Q - a a^\top), \quad
    \frac{\partial (-\log p)}{\partial r} = a.

Leave-one-out criteria are functions of the errors :math:`e_i = a_i / Q_{ii}` and the
variances :math:`v_i = 1 / Q_{ii}` with which each row is predicted by all others
(Sundararajan & Keerthi 2001). With :math:`u_i = \partial L / \partial a_i`,
:math:`w_i = - \partial L / \partial Q_{ii}` and :math:`b = Q u`

.. math::
    \frac{\partial L}{\partial K} = Q \, \mathrm{diag}(w) \, Q
        - \tfrac12 (b a^\top + a b^\top), \quad
    \frac{\partial L}{\partial r} = b,

so that they take one more matrix product than the evidence (Petit et al. 2020). No
:math:`w_i` is negative: the product is one of a matrix with itself. The two scores are

.. math::
    -\log p_i &= \tfrac12 (e_i^2 / v_i + \log v_i + \log 2 \pi): \quad
        u_i = e_i, \quad w_i = \tfrac12 (e_i^2 + v_i), \\
    c_i &= \sigma_i \left[ z_i (2 \Phi(z_i) - 1) + 2 \varphi(z_i)
        - 1 / \sqrt{\pi} \right]: \quad
        u_i = v_i (2 \Phi(z_i) - 1), \quad
        w_i = v_i \left[ e_i (2 \Phi(z_i) - 1)
        + \tfrac12 \sigma_i (2 \varphi(z_i) - 1 / \sqrt{\pi}) \right],

with :math:`\sigma_i^2 = v_i` and :math:`z_i = e_i / \sigma_i`. The criterion of the
latter is :math:`n \log \bar c`, see :class:`~botorch_xval.LeaveOneOutCRPS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from gpytorch.mlls import ExactMarginalLogLikelihood, LeaveOneOutPseudoLikelihood
from torch import Tensor

from botorch_xval.fitting.losses.factorized import Factorized
from botorch_xval.models.mlls import LeaveOneOutCRPS

__all__ = ["CRITERIA", "Criterion", "Found", "evidence"]


class Found(NamedTuple):
    """A criterion without priors, and its derivatives."""

    losses: Tensor
    """Sums over rows, `a`; smaller is better."""

    by_covariance: Tensor
    """`a x k x k`; what belongs to padded rows does not count."""

    by_residuals: Tensor
    """`a x k`."""


Criterion = Callable[[Factorized], Found]


def evidence(given: Factorized) -> Found:
    """The negative log marginal likelihood."""
    n, weights = given.num_points, given.weights
    log_det = 2 * given.factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    quadratic = (given.residuals * weights).sum(dim=-1)
    losses = 0.5 * (quadratic + log_det + n * math.log(2 * math.pi))
    by_covariance = given.inverse.mul_(0.5).addcmul_(
        weights[:, :, None], weights[:, None, :], value=-0.5
    )
    return Found(losses, by_covariance, weights)


def leave_one_out_log_density(given: Factorized) -> Found:
    """The negative log densities of all rows, each predicted by all others."""
    errors, variances = _left_out(given)
    scores = 0.5 * (errors**2 / variances + (2 * math.pi * variances).log())
    return _pull_back(given, scores.sum(dim=-1), errors, 0.5 * (errors**2 + variances))


def leave_one_out_crps(given: Factorized) -> Found:
    """The logarithm of the mean CRPS of rows predicted by all others, times `n`."""
    errors, variances = _left_out(given)
    deviations = variances.sqrt()
    z = errors / deviations
    central = torch.erf(z / math.sqrt(2))  # 2 Phi(z) - 1
    density = (-0.5 * z**2).exp() / math.sqrt(2 * math.pi)
    spread = 2 * density - 1 / math.sqrt(math.pi)
    mean = (errors * central + deviations * spread).mean(dim=-1)
    scaled = variances / mean[:, None]  # d (n log c) = d (sum of scores) / c
    return _pull_back(
        given,
        given.num_points * mean.log(),
        scaled * central,
        scaled * (errors * central + 0.5 * deviations * spread),
    )


CRITERIA: dict[type, Criterion] = {
    ExactMarginalLogLikelihood: evidence,
    LeaveOneOutPseudoLikelihood: leave_one_out_log_density,
    LeaveOneOutCRPS: leave_one_out_crps,
}
"""By class of an mll its closed form, in the order of fused.cpp."""


def _left_out(given: Factorized) -> tuple[Tensor, Tensor]:
    """Errors and variances of the rows of the models, `a x n`."""
    n = given.num_points
    variances = given.inverse.diagonal(dim1=-2, dim2=-1)[:, :n].reciprocal()
    return given.weights[:, :n] * variances, variances


def _pull_back(
    given: Factorized, losses: Tensor, by_weights: Tensor, shares: Tensor
) -> Found:
    """Derivatives from those by `a`, and the negative ones by the diagonal of `Q`."""
    rest = (0, given.inverse.shape[-1] - given.num_points)
    pulls, roots = (
        torch.nn.functional.pad(part, rest) for part in (by_weights, shares.sqrt())
    )
    # In LAPACK's order: the last bit of products with a matrix in the other order
    # depends on the number of models.
    by_residuals = torch.bmm(given.inverse.mT, pulls[:, :, None])
    spare = given.workspace.matrices("criterion", given.inverse)
    scaled = torch.mul(given.inverse, roots[:, None, :], out=spare)
    by_covariance = torch.bmm(scaled, scaled.mT, out=given.inverse)
    outer = torch.mul(by_residuals, given.weights[:, None, :], out=scaled)
    by_covariance.sub_(outer, alpha=0.5).sub_(outer.mT, alpha=0.5)
    return Found(losses, by_covariance, by_residuals[..., 0])
