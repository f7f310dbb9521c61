r"""A sum over folds from exact refits of some: the difference estimator.

Every fold has an approximate score :math:`\tilde a_i` (predicted by one Newton step);
`M` folds are drawn with replacement, with probabilities :math:`\pi_i`, and refitted,
which gives :math:`a_i`. Then (Hansen & Hurwitz 1943; for cross-validation Magnusson et
al. 2020, section 2, there with equal probabilities)

.. math::
    \hat T = \sum_i \tilde a_i + \frac1M \sum_j z_j, \quad
    z_j = \frac{a_{i_j} - \tilde a_{i_j}}{\pi_{i_j}}, \quad
    \mathrm{se}^2 = \frac{1}{M (M - 1)} \sum_j (z_j - \bar z)^2

is an unbiased estimate of :math:`\sum_i a_i` with its standard error. Folds of large
influence are refitted for certain and not drawn. A step's error grows with its square,
so :math:`\pi_i` does, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "estimate_sum"]

Array = NDArray[np.float64]
FIRST, MORE = 16, 16  # draws in the first round, and in each further one
ENOUGH = 0.5  # share of the folds from which on all are refitted
FLOOR = 0.1  # of the mean squared influence, for folds of none


@dataclass(frozen=True)
class Estimate:
    """A summed log predictive density, estimated from exact refits of some folds."""

    elpd: float
    """The estimate, in nats."""

    standard_error: float
    """Of the estimate, by which folds were drawn; 0 if all were refitted. That of the
    score of other data is another, much larger one."""

    draws: int
    """How many folds were drawn, with repetitions."""

    refitted: int
    """How many different folds were refitted, with those that were not drawn."""


def estimate_sum(
    approximate: Array,
    influences: Array,
    certain: Sequence[int],
    refit: Callable[[Sequence[int]], Array],
    max_error: float,
    seed: int,
) -> Estimate:
    """Refit folds until the standard error of the estimated sum is small enough.

    Args:
        approximate: Scores of all folds, `f`.
        influences: Of all folds, `f`.
        certain: Folds that are refitted whatever is drawn.
        refit: Exact scores of some folds; NaN for one that fails, which then counts
            with neither of its scores.
        max_error: The largest standard error, in nats.
        seed: Of the draws.
    """
    exact: dict[int, float] = {}

    def ask(folds: Sequence[int]) -> None:
        new = sorted(set(folds) - exact.keys())
        if new:
            scores = refit(new)
            exact.update(zip(new, map(float, scores), strict=True))

    total = len(approximate)
    rest = np.setdiff1d(np.arange(total), list(certain))
    sizes = influences[rest] ** 2
    sizes = sizes + FLOOR * sizes.mean() if sizes.any() else np.ones(len(rest))
    shares = sizes / sizes.sum()
    generator = np.random.default_rng(seed)
    draws: list[int] = []
    ask(certain)
    while len(rest):
        count = MORE if draws else FIRST
        draws += generator.choice(len(rest), count, p=shares).tolist()
        new = {int(rest[j]) for j in draws}
        if len(exact.keys() | new) >= ENOUGH * total:
            break
        ask([*new])
        found = _estimate(approximate, exact, rest, shares, draws)
        if found.standard_error <= max_error:
            return found
    ask(range(total))
    known = [score for score in exact.values() if not math.isnan(score)]
    return Estimate(math.fsum(known), 0.0, len(draws), total)


def _estimate(
    approximate: Array,
    exact: dict[int, float],
    rest: NDArray[np.intp],
    shares: Array,
    draws: list[int],
) -> Estimate:
    scores = approximate.copy()
    failed = [i for i, score in exact.items() if math.isnan(score)]
    scores[failed] = 0.0
    drawn = set(rest[draws].tolist())
    for i, score in exact.items():
        if i not in drawn and i not in failed:
            scores[i] = score
    z = np.array(
        [
            0.0 if rest[j] in failed else (exact[int(rest[j])] - scores[rest[j]]) / p
            for j, p in zip(draws, shares[draws], strict=True)
        ]
    )
    error = z.std(ddof=1) / math.sqrt(len(z))
    return Estimate(
        float(scores.sum() + z.mean()), float(error), len(draws), len(exact)
    )
