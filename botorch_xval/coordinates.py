r"""Logarithmic coordinates: an optimizer that sees log values of positive parameters.

BoTorch optimizes raw parameters: a lengthscale by the inverse of the softplus function,
a noise variance as it is. A step of given length in the raw noise is huge where the
noise is small and tiny where it is large, and one such parameter is enough to cost
L-BFGS-B several times as many iterations. With :math:`u = \log v` for every positive
value :math:`v(\theta)` a step is a factor instead:

.. math::
    \frac{\partial L}{\partial u}
    = \frac{\partial L}{\partial \theta} \frac{d\theta}{du}, \quad
    \frac{d\theta}{du} = \frac{v}{1 - e^{-v}} \text{ (softplus)}, \quad
    \frac{d\theta}{du} = v \text{ (a positive bound)}.

Loss, priors and optima are the same; only the path is another one, and so, where there
are several optima, sometimes the one that is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds

__all__ = ["LogCoordinates"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LogCoordinates:
    """The change of variables between `theta` and `u`, arrays `... x p`."""

    softplus: NDArray[np.intp]  # columns where u is the logarithm of softplus(theta)
    positive: NDArray[np.intp]  # columns where u is the logarithm of theta

    @classmethod
    def of(
        cls,
        softplus: NDArray[np.bool_],
        untransformed: NDArray[np.bool_],
        bounds: Sequence[Bounds],
    ) -> LogCoordinates:
        """The coordinates for models with these parameters.

        Args:
            softplus: Whether a parameter's value is its softplus, `p`.
            untransformed: Whether its value is the parameter itself, `p`; it is
                positive if all models bound it from below by a positive number.
            bounds: The bounds of every model's `theta`.

        Returns:
            The coordinates; all other parameters stay as they are.
        """
        lower = np.stack([each.lb for each in bounds])
        positive = untransformed & (lower > 0).all(axis=0)
        return cls(np.flatnonzero(softplus), np.flatnonzero(positive))

    def to_raw(self, u: Array) -> Array:
        """`theta` of `u`."""
        return self.with_slopes(u)[0]

    def from_raw(self, theta: Array) -> Array:
        """`u` of `theta`; bounds may be infinite."""
        u = theta.copy()
        raw = theta[..., self.softplus]
        with np.errstate(divide="ignore"):
            # Far below zero log(softplus(x)) is x, and softplus(x) loses its digits.
            logarithm = np.log(np.logaddexp(0.0, np.maximum(raw, -30.0)))
            u[..., self.softplus] = np.where(raw < -30.0, raw, logarithm)
            u[..., self.positive] = np.log(theta[..., self.positive])
        return u

    def with_slopes(self, u: Array) -> tuple[Array, Array]:
        """`theta` of `u`, and `d theta / d u`, elementwise."""
        theta, slopes = u.copy(), np.ones_like(u)
        with np.errstate(over="ignore", invalid="ignore"):
            value = np.exp(u[..., self.softplus])
            decay = -np.expm1(-value)
            theta[..., self.softplus] = value + np.log(decay)
            slopes[..., self.softplus] = value / decay
            theta[..., self.positive] = slopes[..., self.positive] = np.exp(
                u[..., self.positive]
            )
        return theta, slopes

    def share_of(self, theta: Array, share: float) -> Array:
        """Lower bounds: this share of positive parameters, none of others, `p`."""
        low = np.full_like(theta, -np.inf)
        low[self.positive] = share * theta[self.positive]
        return low

    def bounds(self, bounds: Bounds) -> Bounds:
        """Bounds of `u` for bounds of `theta`."""
        return Bounds(self.from_raw(bounds.lb), self.from_raw(bounds.ub))
