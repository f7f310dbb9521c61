r"""Held-out rows at fixed hyper-parameters, in closed form.

With :math:`Q = K^{-1}` (noise included) and :math:`a = Q (y - m)`, rows :math:`S` are
predicted by all others as (Dubrule 1983; Rasmussen & Williams 2006, eq. 5.12; for
groups Ginsbourger & Schaerer 2021)

.. math:: \mu_S = y_S - Q_{SS}^{-1} a_S, \qquad \Sigma_S = Q_{SS}^{-1}.

Where folds train on more and more rows, such as all before a trial, the rows in this
order have one factor :math:`K = L L^\top` that has those of all folds in its corners.
With :math:`z = L^{-1} (y - m)` the first `t` rows predict any later row `i` as

.. math:: \mu_i = m_i + \sum_{j \le t} L_{ij} z_j, \qquad
    \sigma_i^2 = \sum_{j > t} L_{ij}^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from botorch.exceptions.errors import UnsupportedError
from gpytorch.distributions import MultitaskMultivariateNormal
from gpytorch.mlls import MarginalLogLikelihood
from torch import Tensor

from botorch_xval.cross_validation.folds import Folds
from botorch_xval.cross_validation.links import is_ensemble

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
    covariance: Tensor  # K, m x n x n

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
            covariance = noisy.covariance_matrix.detach()
            factor = torch.linalg.cholesky(covariance)
            inverse = torch.cholesky_inverse(factor)
            residuals = model.train_targets - noisy.mean
            parts: tuple[Tensor, ...] = (
                (inverse @ residuals[..., None])[..., 0],
                inverse,
                noisy.variance - prior.variance,
                model.train_targets,
                covariance,
            )
        if parts[0].ndim == 1:
            parts = tuple(part[None] for part in parts)
        return cls(*parts)

    def predict(self, folds: Folds) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Held-out rows of folds: means, variances with noise, and noise variances.

        Args:
            folds: Of these rows.

        Returns:
            For each fold, `k x m` each.
        """
        order = _order(folds) if folds.omits_rows else None
        if order is None:
            masks = zip(folds.held_out, folds.training, strict=True)
            return [self._without(*pair) for pair in masks]
        factor = torch.linalg.cholesky(self.covariance[:, order[:, None], order])
        residuals = (self.covariance @ self.weights[..., None])[..., 0]  # y - m
        means = (self.targets - residuals).mT
        scores = torch.linalg.solve_triangular(
            factor, residuals[:, order, None], upper=False
        )
        place = order.argsort()
        found = []
        for held_out, training in zip(folds.held_out, folds.training, strict=True):
            rows, t = held_out.nonzero()[:, 0].to(order.device), int(training.sum())
            own = factor[:, place[rows]]  # m x k x n
            mean = means[rows] + (own[..., :t] @ scores[:, :t])[..., 0].mT
            variance = (own[..., t:] ** 2).sum(dim=-1).mT
            found.append((mean, variance, self.noise[:, rows].mT))
        return found

    def _without(
        self, held_out: Tensor, training: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Held-out rows of one fold, from the inverse of all rows."""
        device = self.targets.device
        rows = (~training).nonzero()[:, 0].to(device)  # held out, and in neither part
        own = torch.linalg.inv(self.inverse[:, rows[:, None], rows])
        mean = self.targets[:, rows] - (own @ self.weights[:, rows, None])[..., 0]
        variance = own.diagonal(dim1=-2, dim2=-1)
        predicted = held_out[~training].to(device)
        parts = mean, variance, self.noise[:, rows]
        mean, variance, noise = (part[:, predicted].mT for part in parts)
        return mean, variance, noise

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


def _order(folds: Folds) -> Tensor | None:
    """An order of rows in which every fold trains on the first ones, if there is one.

    Rows that train more folds come first.
    """
    training = folds.training
    order = training.sum(dim=0).argsort(descending=True, stable=True)
    begin = torch.arange(len(order)) < training.sum(dim=1, keepdim=True)
    return order if torch.equal(training[:, order], begin) else None
