r"""Held-out rows at fixed hyper-parameters, in closed form.

With :math:`Q = K^{-1}` (noise included) and :math:`a = Q (y - m)`, rows :math:`S` are
predicted by all others as (Dubrule 1983; Rasmussen & Williams 2006, eq. 5.12; for
groups Ginsbourger & Schaerer 2021)

.. math:: \mu_S = y_S - Q_{SS}^{-1} a_S, \qquad \Sigma_S = Q_{SS}^{-1}.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from botorch.exceptions.errors import UnsupportedError
from gpytorch.distributions import MultitaskMultivariateNormal
from gpytorch.mlls import MarginalLogLikelihood
from torch import Tensor

from botorch_xval.cross_validation.predictions import is_ensemble

__all__ = ["LeaveOut"]


@dataclass(frozen=True)
class LeaveOut:
    """A fitted model of all rows, ready to leave rows out.

    On the scale of the model's (transformed) outcomes, and with transforms that have
    seen all rows.
    """

    weights: Tensor  # a, m x n
    inverse: Tensor  # Q, m x n x n
    noise: Tensor  # variances, m x n
    targets: Tensor  # m x n

    @classmethod
    def of(cls, mll: MarginalLogLikelihood) -> LeaveOut:
        """The formulas for a fitted model.

        Raises:
            UnsupportedError: If its outputs are correlated, or if it is a batch. The
                members of an ensemble are as outputs.
        """
        model = mll.model
        mll.train()
        with torch.no_grad():
            prior = model(*model.train_inputs)
            if isinstance(prior, MultitaskMultivariateNormal):
                raise UnsupportedError(
                    "expected independent outputs, got a multi-task model"
                )
            n, shape = model.train_inputs[0].shape[-2], model.train_targets.shape
            known = [(n,), (model.num_outputs, n)]
            if is_ensemble(model):
                known.append(shape)
            if shape not in known:
                raise UnsupportedError(
                    f"expected targets of shape `n` or `m x n`, with n = {n} rows, got "
                    f"{tuple(shape)} of a {type(model).__name__}"
                )
            noisy = mll.likelihood(prior, *model.train_inputs)
            factor = torch.linalg.cholesky(noisy.covariance_matrix)
            inverse = torch.cholesky_inverse(factor)
            residuals = model.train_targets - noisy.mean
            parts: tuple[Tensor, ...] = (
                (inverse @ residuals[..., None])[..., 0],
                inverse,
                noisy.variance - prior.variance,
                model.train_targets,
            )
        if parts[0].ndim == 1:
            parts = tuple(part[None] for part in parts)
        return cls(*parts)

    def leave_out(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means, variances with noise, and noise variances of rows, `k x m` each."""
        rows = rows.to(self.targets.device)
        own = torch.linalg.inv(self.inverse[:, rows[:, None], rows])
        mean = self.targets[:, rows] - (own @ self.weights[:, rows, None])[..., 0]
        variance = own.diagonal(dim1=-2, dim2=-1)
        return mean.mT, variance.mT, self.noise[:, rows].mT

    def residual_covariance(self, held_out: Tensor) -> Tensor:
        r"""Covariance of the errors of all held-out rows, `m x k x k`.

        .. math:: \mathrm{cov}(e_S, e_T) = Q_{SS}^{-1} Q_{ST} Q_{TT}^{-1}

        (Ginsbourger & Schaerer 2021, proposition 3), with `k` the rows that any fold
        holds out, in ascending order. Each must be held out once (not checked).
        """
        blocks = torch.zeros_like(self.inverse)
        for fold in held_out.to(self.targets.device):
            rows = fold.nonzero()[:, 0]
            own = torch.linalg.inv(self.inverse[:, rows[:, None], rows])
            blocks[:, rows[:, None], rows] = own
        rows = held_out.any(dim=0).nonzero()[:, 0].to(self.targets.device)
        # Rows that no fold holds out have zero blocks and do not contribute.
        return (blocks @ self.inverse @ blocks)[:, rows[:, None], rows]
