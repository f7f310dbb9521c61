r"""Draws of hyper-parameters near the modes of their posterior density.

At each mode :math:`t_j` with the Hessian :math:`H_j` of the negative log density
:math:`-\log p` a normal distribution has the mass
:math:`p(t_j) (2 \pi)^{p / 2} |H_j|^{-1/2}` (Laplace's method; on the basis of
logarithms, MacKay 1998). Draws are of Student's t distributions around the modes in
these shares, :math:`q`, whose tails reach where a posterior is wider than its
curvature says. With the weights :math:`p / q` they would stand for the posterior
(Magnusson, Andersen, Jonasson & Vehtari 2019, "Bayesian leave-one-out cross-validation
for large data"); here they are where
:mod:`~botorch_xval.cross_validation.tempering` begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

from botorch_xval.cross_validation.hyper_posterior import HyperPosterior
from botorch_xval.fitting.coordinates import Array
from botorch_xval.fitting.drive import minimize_each

__all__ = ["Proposal", "laplace"]

STEP = 1e-4  # of the central differences of gradients
WIDEST = 3.0  # standard deviation of a coordinate, mostly a logarithm
SAME = 0.5  # distance of two modes, in standard deviations, that count as one
SMALLEST = 1e-6  # share of the mass of a mode
WIDER = 1.5  # than the curvature says
DEGREES = 5.0  # of freedom


@dataclass(frozen=True)
class Proposal:
    """A mixture of `j` Student's t distributions with `degrees` of freedom."""

    shares: Array  # j
    centers: Array  # j x p
    roots: Array  # j x p x p, of their scale matrices
    degrees: float = DEGREES

    def draw(self, count: int, generator: np.random.Generator) -> Array:
        """Independent draws, `count x p`; each center has its share of them."""
        ends = np.round(np.cumsum(self.shares) * count).astype(int)
        sizes = np.diff(ends, prepend=0)
        which = np.repeat(np.arange(len(sizes)), sizes)
        z = generator.standard_normal((count, self.centers.shape[1]))
        z /= np.sqrt(generator.chisquare(self.degrees, (count, 1)) / self.degrees)
        return self.centers[which] + np.einsum("spq,sq->sp", self.roots[which], z)

    def __call__(self, t: Array) -> tuple[Array, Array]:
        """Log densities, `a`, and their gradients, `a x p`, at points `a x p`."""
        p, degrees = t.shape[1], self.degrees
        constant = gammaln((degrees + p) / 2) - gammaln(degrees / 2)
        constant -= p / 2 * math.log(degrees * math.pi)
        values, gradients = [], []
        for share, center, root in zip(
            self.shares, self.centers, self.roots, strict=True
        ):
            z = np.linalg.solve(root, (t - center).T).T
            squares = (z**2).sum(axis=1)
            log_det = np.linalg.slogdet(root)[1]
            own = constant - log_det - (degrees + p) / 2 * np.log1p(squares / degrees)
            slope = np.linalg.solve(root.T, z.T).T
            values.append(math.log(share) + own)
            gradients.append(-(degrees + p) / (degrees + squares)[:, None] * slope)
        total = logsumexp(values, axis=0)
        weights = np.exp(np.stack(values) - total)
        return total, np.einsum("ja,jap->ap", weights, np.stack(gradients))


def laplace(posterior: HyperPosterior, starts: Sequence[Array]) -> Proposal:
    """Where the posterior density of hyper-parameters has its mass.

    Args:
        posterior: The density.
        starts: Optima of the loss, `p` each, from which modes are searched.

    Returns:
        The proposal. It is wider than the modes are, and half of its mass is that of
        all modes alike: a mode whose curvature says little of its mass, such as a small
        noise with one of many short lengthscales, is not to be missed.

    Raises:
        ValueError: If no search has found a mode.
    """

    def evaluate(points: Array, _: Sequence[int]) -> tuple[Array, Array]:
        values, gradients = posterior(points)
        values[np.isneginf(values)] = np.nan
        return -values, -gradients

    begin = posterior.coordinates.from_raw(np.stack(list(starts)))
    searches = minimize_each(evaluate, begin, options={"maxcor": 30})
    searches = [s for s in searches if np.isfinite(s.best_loss)]
    if not searches:
        raise ValueError("the posterior density has no mode that a search has found")
    searches.sort(key=lambda search: search.best_loss)
    modes: list[tuple[Array, Array, float]] = []
    for search in searches:
        t = search.best_point
        apart = [np.linalg.solve(root, t - mode) for mode, root, _ in modes]
        if any(np.linalg.norm(z) < SAME for z in apart):
            continue
        root = _root(posterior, t)
        mass = -search.best_loss + np.linalg.slogdet(root)[1]
        modes.append((t, root, mass))
    masses = np.array([mass for _, _, mass in modes])
    shares = np.exp(masses - logsumexp(masses))
    kept = [
        (mode, share)
        for mode, share in zip(modes, shares, strict=True)
        if share > SMALLEST
    ]
    total = sum(share for _, share in kept)
    return Proposal(
        np.array([share / total / 2 + 0.5 / len(kept) for _, share in kept]),
        np.stack([mode[0] for mode, _ in kept]),
        WIDER * np.stack([mode[1] for mode, _ in kept]),
    )


def _root(posterior: HyperPosterior, mode: Array) -> Array:
    """A root of the inverse Hessian of the negative log density, `p x p`."""
    p = len(mode)
    steps = STEP * np.concatenate([np.eye(p), -np.eye(p)])
    _, gradients = posterior(mode + steps)
    hessian = -(gradients[:p] - gradients[p:]) / (2 * STEP)
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return vectors / np.sqrt(np.maximum(values, WIDEST**-2))
