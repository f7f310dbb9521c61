r"""What hyper-parameters may be fitted by instead of the evidence.

GPyTorch has the leave-one-out log density, `LeaveOneOutPseudoLikelihood`; here is the
leave-one-out CRPS. Both ask how well each training row is predicted by all others; the
evidence is the sum of log predictive densities from none to all but one of the rows
(Fong & Holmes 2020), so it also asks what the prior alone would say. Where the
covariance is misspecified, leave-one-out can predict better; where it is not, its
optima vary more between samples (Bachoc 2013), and few rows are overfitted (Cawley &
Talbot 2010). With :math:`Q = K^{-1}` (noise included) and :math:`a = Q (y - m)`, the
row `i` is missed by

.. math:: e_i = a_i / Q_{ii}, \qquad \sigma_i^2 = 1 / Q_{ii}

(Dubrule 1983; Rasmussen & Williams 2006, eq. 5.12). These do not change much where
lengthscales and output scale grow together (the flat limit, Driscoll & Fornberg 2002):
without a prior that bounds the output scale there may be no optimum but that limit.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from botorch.exceptions.errors import UnsupportedError
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

__all__ = ["LeaveOneOutCRPS"]


class LeaveOneOutCRPS(ExactMarginalLogLikelihood):
    r"""The leave-one-out CRPS of an exact Gaussian process, as a criterion of fits.

    .. math::
        -\log \bar c + \frac{1}{n} \log p(\theta), \quad
        \bar c = \frac{1}{n} \sum_i \sigma_i \left[
            z_i (2 \Phi(z_i) - 1) + 2 \varphi(z_i) - \frac{1}{\sqrt{\pi}} \right],
        \quad z_i = e_i / \sigma_i,

    the mean of the continuous ranked probability score of all rows, each predicted by
    all others (Gneiting & Raftery 2007, eq. 21, with the opposite sign; as a criterion:
    Petit et al. 2023). It grows with the error of a row and not with its square, so
    that single outliers weigh less than in log densities.

    **Why the logarithm.** Without priors it changes no optimum. With them, a sum of
    scores in the unit of the outcome would have no weight of its own against log
    densities: it would depend on how outcomes are scaled. :math:`n \log \bar c`, the
    profile over the scale :math:`\tau` of the Gibbs posterior with the loss
    :math:`\sum c_i / \tau + n \log \tau` (Bissiri et al. 2016), does not, and where
    predictions are calibrated with one :math:`\sigma`, :math:`c_i` is
    :math:`\sigma / \sqrt{\pi}` in the mean, so that it is the negative log density of
    all rows plus a constant. So priors mean about as much here as they do for the
    evidence, and the tolerances of a fit, which are in nats, hold.

    Used as GPyTorch's and BoTorch's other criteria, and scaled as these, per row. As an
    `mll` in :func:`~botorch_xval.cross_validate` and
    :func:`~botorch_xval.fit_gpytorch_mll` it is evaluated in closed form.

    Example:
        >>> mll = LeaveOneOutCRPS(model.likelihood, model)
        >>> mll = fit_gpytorch_mll(mll)
    """

    def forward(
        self,
        function_dist: MultivariateNormal,
        target: Tensor,
        *params: Any,
        **kwargs: Any,
    ) -> Tensor:
        """The criterion; larger is better.

        Args:
            function_dist: Of the latent function at the training rows,
                `batch_shape x n`.
            target: Outcomes, `batch_shape x n`. None may be missing (not checked).
            *params: What the likelihood is to be told, such as training inputs.
            **kwargs: What the likelihood is to be told.

        Returns:
            One value for each model, `batch_shape`.

        Raises:
            UnsupportedError: If outputs are correlated.
        """
        if isinstance(function_dist, MultitaskMultivariateNormal):
            raise UnsupportedError(
                "LeaveOneOutCRPS: expected independent outputs, got a multi-task model "
                "of rows that have all outputs; take one with a task feature, such as "
                "MultiTaskGP"
            )
        noisy = self.likelihood(function_dist, *params, **kwargs)
        factor = noisy.lazy_covariance_matrix.cholesky(upper=False).to_dense()
        inverse = torch.cholesky_inverse(factor)
        variances = inverse.diagonal(dim1=-2, dim2=-1).reciprocal()
        weights = (inverse @ (target - noisy.mean).unsqueeze(-1)).squeeze(-1)
        deviations = variances.sqrt()
        z = weights * deviations
        density = (-0.5 * z**2).exp() / math.sqrt(2 * math.pi)
        scores = z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi)
        n = target.shape[-1]
        value = -n * (deviations * scores).mean(dim=-1).log()
        return self._add_other_terms(value, params).div(n)
