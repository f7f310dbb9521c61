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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds

__all__ = ["Coordinates", "LogCoordinates", "WhitenedCoordinates"]

Array = NDArray[np.float64]


class Coordinates(Protocol):
    """A change of variables between the parameters `theta` and what SciPy sees."""

    def from_raw(self, theta: Array) -> Array:
        """What SciPy sees at `theta`."""

    def at(self, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        """`theta` at `x`, and a function from gradients by `theta` to those by `x`."""

    def bounds(self, bounds: Bounds) -> Bounds:
        """Bounds of `x` for bounds of `theta`."""


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
            if len(self.softplus):
                own = u[..., self.softplus]
                is_tiny = own < -30.0  # there softplus and the exponential are one
                value = np.exp(np.maximum(own, -30.0))
                decay = -np.expm1(-value)
                positive = value + np.log(decay)
                theta[..., self.softplus] = np.where(is_tiny, own, positive)
                slopes[..., self.softplus] = np.where(is_tiny, 1.0, value / decay)
            if len(self.positive):
                theta[..., self.positive] = slopes[..., self.positive] = np.exp(
                    u[..., self.positive]
                )
        return theta, slopes

    def share_of(self, theta: Array, share: float) -> Array:
        """Lower bounds, `p`: a share of each positive parameter, none for others."""
        low = np.full_like(theta, -np.inf)
        low[self.positive] = share * theta[self.positive]
        return low

    def at(self, u: Array) -> tuple[Array, Callable[[Array], Array]]:
        """`theta` at `u`, and a function from gradients by `theta` to those by `u`."""
        theta, slopes = self.with_slopes(u)
        return theta, lambda gradient: gradient * slopes

    def bounds(self, bounds: Bounds) -> Bounds:
        """Bounds of `u` for bounds of `theta`."""
        return Bounds(self.from_raw(bounds.lb), self.from_raw(bounds.ub))


@dataclass(frozen=True)
class WhitenedCoordinates:
    r"""Coordinates `z` in which a loss is nearly a sum of squares.

    With the Hessian :math:`H = V \mathrm{diag}(h) V^\top` of a summed loss by other
    coordinates `u` at `center`, :math:`u = u^* + V \mathrm{diag}(h)^{-1/2} z`. Small
    eigenvalues are raised to a share of the largest. Parameters that rest on a bound
    keep a coordinate of their own, and that bound; the others may be carried past
    theirs and are then clipped, so a search that ends there must be checked.
    """

    inner: LogCoordinates
    center: Array  # u*, p
    root: Array  # V diag(h)^(-1/2), p x p
    inverse: Array  # its inverse
    resting: NDArray[np.bool_]  # p, parameters on a bound
    condition: float  # of the Hessian over the others, before eigenvalues are raised

    @classmethod
    def of(
        cls,
        inner: LogCoordinates,
        center: Array,
        hessian: Array,
        resting: NDArray[np.bool_],
        smallest: float = 1e-3,
    ) -> WhitenedCoordinates:
        """The coordinates for the Hessian of a summed loss at `center`.

        Args:
            inner: The coordinates `u`.
            center: The optimum, in `u`.
            hessian: There, by `u`, `p x p`.
            resting: Which parameters are on a bound.
            smallest: Lower limit of an eigenvalue, as a share of the largest.
        """
        p = len(center)
        root, inverse, condition = np.eye(p), np.eye(p), np.nan
        free = np.ix_(~resting, ~resting)
        if (~resting).any():
            values, vectors = np.linalg.eigh(hessian[free])
            condition = values.max() / values.min() if values.min() > 0 else np.inf
            if values.max() > 0:
                values = np.maximum(values, smallest * values.max())
            else:  # nothing is known; by tiny values a step would be of any length
                values = np.ones_like(values)
            root[free] = vectors / np.sqrt(values)
            inverse[free] = (vectors * np.sqrt(values)).T
        for i in np.flatnonzero(resting):
            scale = np.sqrt(max(hessian[i, i], 1e-3))
            root[i, i], inverse[i, i] = 1 / scale, scale
        return cls(inner, center, root, inverse, resting, float(condition))

    def from_raw(self, theta: Array) -> Array:
        """`z` of `theta`."""
        return (self.inner.from_raw(theta) - self.center) @ self.inverse.T

    def at(self, z: Array) -> tuple[Array, Callable[[Array], Array]]:
        """`theta` at `z`, and a function from gradients by `theta` to those by `z`."""
        theta, pull_back = self.inner.at(self.center + _row_by_row(z, self.root.T))
        return theta, lambda gradient: _row_by_row(pull_back(gradient), self.root)

    def bounds(self, bounds: Bounds) -> Bounds:
        """Bounds of resting parameters only: a box of `theta` is no box of `z`."""
        inner, diagonal = self.inner.bounds(bounds), self.inverse.diagonal()
        with np.errstate(invalid="ignore"):  # infinite bounds of others times zero
            low = np.where(self.resting, (inner.lb - self.center) * diagonal, -np.inf)
            high = np.where(self.resting, (inner.ub - self.center) * diagonal, np.inf)
        return Bounds(low, high)


def _row_by_row(rows: Array, matrix: Array) -> Array:
    """The product `rows @ matrix`, of which no row depends on how many there are.

    BLAS rounds the products of a row otherwise if it has others beside it.
    """
    return (rows[..., None, :] * matrix.T).sum(axis=-1)
