r"""Draws of one distribution that are carried over to another one.

Draws of a base :math:`q` go through the distributions
:math:`\pi_\beta \propto q^{1 - \beta} p^{\beta}` to those of a target `p` (annealed
importance sampling, Neal 2001, as a sequential sampler with resampling, Del Moral,
Doucet & Jasra 2006). Every :math:`\beta` is the largest with which half of the draws
stay effective; the draws are resampled by their weights, and each is then moved by
Hamiltonian dynamics (Neal 2011, "MCMC using Hamiltonian dynamics", section 5.3), which
leaves :math:`\pi_\beta` as it is. All draws move at the same time, so that their
densities are evaluated together, and the covariance of all is the metric of each.

This module knows no models: a density gives logarithms and gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from botorch_xval.fitting.coordinates import Array

__all__ = ["Density", "Tempered", "temper"]

Density = Callable[[Array], tuple[Array, Array]]
"""Log densities up to a constant, `a`, and gradients, `a x p`, at points `a x p`;
minus infinity where there is none."""

EFFECTIVE = 0.5  # share of the draws that stay effective in a stage
MOST_STAGES = 100
LENGTH = 1.5  # of a trajectory, in standard deviations: a quarter of a period
MOST_STEPS = 12  # of a trajectory
ACCEPTED = 0.8  # share of trajectories that the step size aims at
MOVES, LAST_MOVES = 3, 20  # trajectories of each draw in a stage, and in the last


@dataclass(frozen=True)
class Tempered:
    """Draws of the target."""

    draws: Array
    """As many as there were, `S x p`, all of the same weight."""

    stages: int
    """How many distributions they went through, the target included."""

    accepted: float
    """Share of the last trajectories that were accepted."""


def temper(
    draws: Array,
    base: Density,
    target: Density,
    generator: np.random.Generator,
) -> Tempered:
    """Carry draws of a base over to a target.

    Args:
        draws: Independent draws of the base, `S x p`.
        base: Its density.
        target: The other density.
        generator: Of random numbers.

    Returns:
        The draws.

    Raises:
        ValueError: If the target has no density at any draw.
    """
    log_ratios = target(draws)[0] - base(draws)[0]
    if not np.isfinite(log_ratios).any():
        raise ValueError("target: expected a density at some of the draws, got none")
    beta, stages, size = 0.0, 0, 1.0
    while beta < 1 and stages < MOST_STAGES:
        step = _next(log_ratios, 1 - beta)
        beta = 1.0 if stages == MOST_STAGES - 1 else beta + step
        stages += 1
        draws = draws[_resample(step * log_ratios, generator)]
        root = _root_of(draws)
        bridge = target if beta == 1 else _between(base, target, beta)
        current = (draws, *bridge(draws))
        for _ in range(LAST_MOVES if beta == 1 else MOVES):
            current, accepted = _move(current, bridge, root, size, generator)
            size = min(max(size * math.exp(accepted - ACCEPTED), 0.02), 1.5)
        draws = current[0]
        if beta < 1:
            log_ratios = target(draws)[0] - base(draws)[0]
    return Tempered(draws, stages, accepted)


def _between(base: Density, target: Density, beta: float) -> Density:
    def density(points: Array) -> tuple[Array, Array]:
        (first, slopes), (second, other) = base(points), target(points)
        return (
            (1 - beta) * first + beta * second,
            (1 - beta) * slopes + beta * other,
        )

    return density


def _next(log_ratios: Array, left: float) -> float:
    """The largest step of beta that keeps enough of the draws effective."""

    def share(step: float) -> float:
        log_weights = step * log_ratios
        log_weights = log_weights - logsumexp(log_weights)
        return math.exp(-logsumexp(2 * log_weights)) / len(log_ratios)

    if share(left) >= EFFECTIVE:
        return left
    low, high = 0.0, left
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) >= EFFECTIVE else (low, middle)
    return max(high, 1e-6)


def _resample(log_weights: Array, generator: np.random.Generator) -> Array:
    """Numbers of the draws, by systematic resampling."""
    weights = np.exp(log_weights - logsumexp(log_weights))
    count = len(weights)
    places = (np.arange(count) + generator.uniform()) / count
    return np.searchsorted(weights.cumsum(), places).clip(max=count - 1)


def _root_of(draws: Array) -> Array:
    """A root of the covariance of draws; of its diagonal where draws are too few."""
    count, p = draws.shape
    covariance = np.atleast_2d(np.cov(draws.T))
    shrunk = p / (count + p)
    diagonal = np.diag(covariance.diagonal() + 1e-10)
    return np.linalg.cholesky((1 - shrunk) * covariance + shrunk * diagonal)


def _move(
    current: tuple[Array, Array, Array],
    density: Density,
    root: Array,
    size: float,
    generator: np.random.Generator,
) -> tuple[tuple[Array, Array, Array], float]:
    """One trajectory of each draw, by leapfrog steps.

    Args:
        current: The draws, `S x p`, their log densities and the gradients of these.
        density: What is left as it is.
        root: Of the covariance, the inverse metric.
        size: Of the steps, in standard deviations.
        generator: Of random numbers.

    Returns:
        Where the draws are now, and the mean probability of acceptance.
    """
    draws, values, gradients = current
    own = size * generator.uniform(0.8, 1.2)
    count = min(max(1, round(LENGTH / own)), MOST_STEPS)
    momentum = generator.standard_normal(draws.shape)
    begin = values - 0.5 * (momentum**2).sum(axis=1)
    place, height, slopes = draws, values, gradients
    for _ in range(count):
        momentum = momentum + 0.5 * own * slopes @ root
        place = place + own * momentum @ root.T
        height, slopes = density(place)
        momentum = momentum + 0.5 * own * slopes @ root
    end = height - 0.5 * (momentum**2).sum(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        chance = np.nan_to_num(np.exp(np.minimum(end - begin, 0.0)))
    is_accepted = generator.uniform(size=len(draws)) < chance
    moved = (
        np.where(is_accepted[:, None], place, draws),
        np.where(is_accepted, height, values),
        np.where(is_accepted[:, None], slopes, gradients),
    )
    return moved, float(chance.mean())
