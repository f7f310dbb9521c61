r"""A posterior with its variances scaled, for a model that was recalibrated.

A posterior :math:`N(\mu, \Sigma)` becomes :math:`N(\mu, S \Sigma S)` with the diagonal
:math:`S` of the square roots of a factor for each output.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.exceptions.errors import UnsupportedError
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.posteriors.posterior import Posterior
from linear_operator.operators import DiagLinearOperator
from torch import Tensor

from botorch_xval.models.checks import wrong

__all__ = ["ScaledVariance"]


class ScaledVariance(PosteriorTransform):
    """Scale the variances of a Gaussian posterior, and leave its means.

    For `model.posterior(X, posterior_transform=...)`, and for the argument
    `posterior_transform` of an acquisition function. Samples are of the scaled
    posterior, correlations stay. Gradients flow to `X`.
    """

    scalarize = False

    def __init__(self, factor: Tensor | Sequence[float]) -> None:
        """
        Args:
            factor: Of the variance of each output, `m`; positive.

        Raises:
            ValueError: If a factor is not positive and finite.
        """
        super().__init__()
        expected, remedy = "a positive number for each output", "see `recalibrate`"
        try:
            values = torch.as_tensor(factor, dtype=torch.float64).reshape(-1).clone()
        except (TypeError, ValueError) as error:
            raise wrong("factor", expected, repr(factor), remedy) from error
        if not len(values) or not bool((values.isfinite() & (values > 0)).all()):
            raise wrong("factor", expected, values.tolist(), remedy)
        self.register_buffer("factor", values)

    def evaluate(self, Y: Tensor, X: Tensor | None = None) -> Tensor:
        """Outcomes themselves, which do not change."""
        return Y

    def forward(self, posterior: Posterior, X: Tensor | None = None) -> Posterior:
        """The scaled posterior.

        Args:
            posterior: A Gaussian one of `m` outputs.
            X: Not used.

        Returns:
            A posterior of the same shape.

        Raises:
            UnsupportedError: If it is not Gaussian, as after a nonlinear outcome
                transform.
            ValueError: If it has another number of outputs.
        """
        if type(posterior) is not GPyTorchPosterior:
            raise UnsupportedError(
                "posterior: expected a Gaussian one (GPyTorchPosterior), got "
                f"{type(posterior).__name__}; build the model without its nonlinear "
                "outcome transform, of outcomes that are transformed beforehand"
            )
        normal = posterior.distribution
        q, m = posterior._extended_shape()[-2:]
        if m != len(self.factor):
            raise ValueError(
                f"posterior: expected {len(self.factor)} outputs, as many as factors, "
                f"got {m}; make the transform of the factors of this model's outputs"
            )
        root = self.factor.sqrt().to(normal.loc)
        covariance = normal.lazy_covariance_matrix
        if m == 1:
            scaled = covariance * root**2
        else:  # rows of the covariance go by point, then output, or the other way
            is_by_point = getattr(normal, "_interleaved", True)
            each = root.repeat(q) if is_by_point else root.repeat_interleave(q)
            scale = DiagLinearOperator(each.expand(covariance.shape[:-1]))
            scaled = scale @ covariance @ scale
        kwargs = {} if m == 1 else {"interleaved": is_by_point}
        return GPyTorchPosterior(type(normal)(normal.mean, scaled, **kwargs))
