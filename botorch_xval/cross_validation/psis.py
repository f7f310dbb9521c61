r"""Importance weights whose largest ones are smoothed, and how far to trust them.

Draws of one distribution stand for another one by weights, the ratios of the two
densities. The largest of `S` weights are replaced by the expected order statistics of a
generalized Pareto distribution that is fitted to them, which lowers the variance of
what is averaged, and the shape :math:`\hat k` of that distribution says whether this
can work: weights have :math:`1 / k` finite moments (Vehtari, Simpson, Gelman, Yao &
Gabry 2024, "Pareto smoothed importance sampling", JMLR 25(72)).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from botorch_xval.models.checks import check_number, wrong

__all__ = [
    "LARGEST_SHAPE",
    "Smoothed",
    "are_trusted",
    "efficiency_of",
    "largest_shape",
    "smooth_weights",
]

Array = NDArray[np.float64]
LARGEST_SHAPE = 0.7  # beyond which averages by weights are not to be trusted
LEAST_SHARE = 0.8  # of all rows, of a fold whose draws may be those of all rows
LEAST_EFFECTIVE = 0.5  # of the draws, by their weights in a fold, as in tempering
FEWEST = 5  # weights that a distribution is fitted to
PRIOR_WEIGHTS, PRIOR_SHAPE = 10.0, 0.5  # of the shape, for small tails


class Smoothed(NamedTuple):
    """Normalized weights of the draws for each of `f` distributions."""

    log_weights: Array
    """Their logarithms, `f x S`; of each row the weights sum to one."""

    shapes: Array
    """Pareto's `k`, `f`; infinite where the tail has too few different weights."""

    efficiency: float = 1.0
    """What a draw of the `S` counts for, see :func:`efficiency_of`."""

    @property
    def effective_draws(self) -> Array:
        r"""Effective numbers of draws, :math:`e / \sum w^2` of efficiency `e`, `f`."""
        return self.efficiency * np.exp(-logsumexp(2 * self.log_weights, axis=1))


def efficiency_of(values: ArrayLike) -> float:
    r"""What each of correlated draws counts for, as a share of an independent one.

    The inverse of the time of autocorrelation, :math:`1 + 2 \sum_t \rho_t`, whose sum
    ends where that of two neighbours is negative, and in which sums of two never grow
    (Geyer 1992, "Practical Markov chain Monte Carlo", Statistical Science 7(4), the
    initial monotone sequence).

    Args:
        values: Of a chain's draws in their order, `S`; those that are not finite count
            as the least.

    Returns:
        A share from `1 / S` (a chain that stands still) to one.
    """
    given = np.asarray(values, dtype=np.float64)
    count, is_finite = len(given), np.isfinite(given)
    least = given[is_finite].min(initial=np.inf) if is_finite.any() else 0.0
    apart = np.where(is_finite, given, least)
    if (apart == apart[0]).all():
        return 1 / count
    apart -= apart.mean()
    transformed = np.fft.rfft(apart, 2 * count)
    covariances = np.fft.irfft(np.abs(transformed) ** 2)[: count - count % 2]
    pairs = covariances.reshape(-1, 2).sum(axis=1) / covariances[0]
    is_first = np.logical_and.accumulate(pairs > 0)
    time = 2 * np.minimum.accumulate(pairs[is_first]).sum() - 1
    return float(np.clip(1 / max(time, 1.0), 1 / count, 1.0))


def largest_shape(num_draws: float) -> float:
    r"""The largest trustworthy shape, :math:`\min(1 - 1 / \log_{10} S, 0.7)`.

    Few draws need lighter tails (Vehtari et al. 2024, section 3.2.4).
    """
    return min(1 - 1 / math.log10(max(num_draws, 2)), LARGEST_SHAPE)


def are_trusted(shape: float, num_draws: float, effective: float, share: float) -> bool:
    """Whether draws given all rows may stand for those of a fold.

    Args:
        shape: Of their weights.
        num_draws: How many independent draws there are.
        effective: How many draws of equal weight they are worth. Where it is a small
            part, the fold's distribution lies at the edge of that of all rows, beyond
            which no draw is, and the shape may not tell.
        share: Of all rows, that the fold trains on. With fewer rows a posterior
            distribution is much wider, and has modes that draws given all rows have not
            met; then a small shape may be chance.
    """
    is_spread = effective >= LEAST_EFFECTIVE * num_draws
    return is_spread and shape <= largest_shape(num_draws) and share >= LEAST_SHARE


def smooth_weights(log_ratios: Array, efficiency: float = 1.0) -> Smoothed:
    r"""Pareto-smoothed weights from unnormalized log ratios.

    The :math:`M = \lceil \min(S / 5, 3 \sqrt{S / e}) \rceil` largest ratios of a row
    are replaced by quantiles at :math:`(j - 1/2) / M` of the fitted distribution, and
    none is larger than the largest ratio was (Vehtari et al. 2024, algorithm 1; with
    the efficiency `e` of the draws of a chain as ArviZ has it).

    Args:
        log_ratios: Log densities of the target minus those of the draws, up to a
            constant of each row, `f x S`; minus infinity for a weight of zero.
        efficiency: Of the draws, in (0, 1]: 1 if they are independent, else see
            :func:`efficiency_of`.

    Returns:
        Weights and shapes.

    Raises:
        ValueError: If these are no numbers, a row has no finite ratio, or the
            efficiency is none.
    """
    expected = "an array of numbers, `f x S`"
    remedy = "give each draw the log density of the target minus its own"
    try:
        found = np.array(log_ratios, dtype=np.float64, ndmin=2)
    except (TypeError, ValueError) as error:
        raise wrong("log_ratios", expected, repr(log_ratios), remedy) from error
    if found.ndim > 2 or not found.size:
        raise wrong("log_ratios", expected, f"the shape {found.shape}", remedy)
    found[np.isnan(found)] = -np.inf
    largest = found.max(axis=1, keepdims=True)
    if not np.isfinite(largest).all():
        row = int((~np.isfinite(largest)).argmax())
        got = f"none or infinite ones in row {row}"
        raise wrong("log_ratios", "finite ratios in every row", got, remedy)
    advice = "pass that of independent draws, 1, or efficiency_of(...)"
    check_number("efficiency", efficiency, 0.0, advice, above=True)
    if efficiency > 1:
        raise wrong("efficiency", "one from above 0 to 1", efficiency, advice)
    found -= largest
    num_draws = found.shape[1]
    size = math.ceil(min(num_draws / 5, 3 * math.sqrt(num_draws / efficiency)))
    shapes = np.array([_smooth_tail(row, size) for row in found])
    normalized = found - logsumexp(found, axis=1, keepdims=True)
    return Smoothed(normalized, shapes, efficiency)


def _smooth_tail(log_ratios: Array, size: int) -> float:
    """Smooth the largest ratios of a row, in place, and return the shape."""
    order = np.argsort(log_ratios, kind="stable")
    cutoff = max(log_ratios[order[-size - 1]], math.log(np.finfo(float).tiny))
    tail = order[-size:]
    tail = tail[log_ratios[tail] > cutoff]
    if len(tail) < FEWEST:
        return math.inf
    base = math.exp(cutoff)
    excesses = np.exp(log_ratios[tail]) - base
    shape, scale = fit_pareto(excesses)
    if math.isfinite(shape):
        p = (np.arange(len(tail)) + 0.5) / len(tail)
        with np.errstate(over="ignore"):
            quantiles = scale * (
                -np.log1p(-p) if shape == 0 else np.expm1(-shape * np.log1p(-p)) / shape
            )
        log_ratios[tail] = np.minimum(np.log(base + quantiles), 0.0)
    return shape


def fit_pareto(excesses: Array) -> tuple[float, float]:
    r"""Shape and scale of a generalized Pareto distribution.

    The posterior mean of :math:`b = -k / \sigma` on a grid under a weak prior (Zhang &
    Stephens 2009, "A new and efficient estimation method for the generalized Pareto
    distribution", Technometrics 51), and a prior for the shape that counts as ten
    observations of 1/2 (Vehtari et al. 2024, appendix G).

    Args:
        excesses: Positive and ascending, `M`.
    """
    count = len(excesses)
    grid = 30 + math.isqrt(count)
    quartile = excesses[int(count / 4 + 0.5) - 1]
    b = (1 - np.sqrt(grid / (np.arange(grid) + 0.5))) / (3 * quartile)
    b += 1 / excesses[-1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shapes = np.log1p(-b[:, None] * excesses).mean(axis=1)
        log_likelihoods = count * (np.log(-b / shapes) - shapes - 1)
    known = np.isfinite(log_likelihoods)
    if not known.any():
        return math.inf, math.nan
    log_weights = log_likelihoods[known] - logsumexp(log_likelihoods[known])
    weights = np.exp(log_weights)
    is_large = weights >= 10 * np.finfo(float).eps
    mean = float(weights[is_large] @ b[known][is_large] / weights[is_large].sum())
    shape = float(np.log1p(-mean * excesses).mean())
    scale = -shape / mean
    if not scale > 0:
        return math.inf, math.nan
    shape = (count * shape + PRIOR_WEIGHTS * PRIOR_SHAPE) / (count + PRIOR_WEIGHTS)
    return shape, scale
