"""Scores of Gaussian predictions, one value per held-out point."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["log_density", "squared_error"]


def log_density(mean: Tensor, variance: Tensor, observed: Tensor) -> Tensor:
    r"""Log predictive density of what was observed, in nats of the outcome's unit.

    .. math:: \log p(y) = -\tfrac12 \left( (y - \mu)^2 / \sigma^2
        + \log \sigma^2 + \log 2 \pi \right)

    Args:
        mean: Predicted means, of any shape.
        variance: Predicted variances with observation noise; positive (not checked).
        observed: Observed outcomes.

    Returns:
        The log density of each point; larger is better.
    """
    return -0.5 * ((observed - mean) ** 2 / variance + (2 * math.pi * variance).log())


def squared_error(mean: Tensor, observed: Tensor) -> Tensor:
    """Squared error of each point, in the squared unit of the outcome."""
    return (observed - mean) ** 2
