r"""Logarithmic coordinates: the optimizer sees log values of positive parameters.

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

Loss, priors and optima are the same; only the path there, and so sometimes which of
several optima is found, is another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds

from botorch_xval.objective import Array, Objective

__all__ = ["LogCoordinates"]


class LogCoordinates:
    """An objective of `u` instead of `theta`; both are arrays `a x p`.

    Args:
        objective: The objective of `theta`.

    Attributes:
        start: Initial `u`, `b x p`.
        bounds: Bounds of `u`, one for each model.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        lower = np.stack([bounds.lb for bounds in objective.bounds])
        # A lower bound must be positive in every model for the logarithm to exist.
        self._soft = objective.softplus
        self._plain = ~self._soft & (lower > 0).all(axis=0) & objective.untransformed
        self.num_models = objective.num_models
        self.start = self.from_raw(objective.start)
        self.bounds = [
            Bounds(self.from_raw(bounds.lb), self.from_raw(bounds.ub))
            for bounds in objective.bounds
        ]

    def __call__(self, points: Array, models: Sequence[int]) -> tuple[Array, Array]:
        """Losses and their gradients by `u`."""
        losses, gradients = self._objective(self.to_raw(points), models)
        value = np.exp(points[:, self._soft])
        gradients[:, self._soft] *= value / -np.expm1(-value)
        gradients[:, self._plain] *= np.exp(points[:, self._plain])
        return losses, gradients

    def workers(self, count: int) -> list[LogCoordinates]:
        """As many as the objective has."""
        return [LogCoordinates(worker) for worker in self._objective.workers(count)]

    def to_raw(self, points: Array) -> Array:
        """`theta` of `u`, of any leading shape."""
        theta = points.copy()
        value = np.exp(points[..., self._soft])
        theta[..., self._soft] = value + np.log(-np.expm1(-value))  # inverse softplus
        theta[..., self._plain] = np.exp(points[..., self._plain])
        return theta

    def from_raw(self, theta: Array) -> Array:
        """`u` of `theta`, of any leading shape; a bound may be infinite."""
        points = theta.copy()
        raw = theta[..., self._soft]
        with np.errstate(divide="ignore"):
            # Far below zero log(softplus(x)) is x, and softplus(x) loses its digits.
            points[..., self._soft] = np.where(
                raw < -30, raw, np.log(np.logaddexp(0.0, np.maximum(raw, -30)))
            )
            points[..., self._plain] = np.log(theta[..., self._plain])
        return points
