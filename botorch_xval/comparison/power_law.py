r"""A power law with a Brownian motion around it, for scores by dataset size.

The mean log predictive density of a row, with `n` rows, is taken as

.. math:: f(n) = a - b \, u_c(n) + w(\log_2 n), \qquad
    u_c(n) = \frac{n^{-c} - N^{-c}}{n_1^{-c} - N^{-c}}.

The first two terms are a power law (Viering & Loog 2023, section 4.1) from the smallest
size :math:`n_1` to the largest, `N`: `a` is its score at `N`, :math:`b \ge 0` what was
gained since, and `c` from 1/2 to 2. Real curves are no power laws: a model learns
little, and then much, as it finds another optimum. So `w` is a Brownian motion from
:math:`n_1` on, with a deviation of 0.4 nats per doubling of the rows. Nats have no
unit, and neither have the numbers here. Three parameters are much for a few noisy
sizes: `b` has a half-normal prior of half a nat per doubling, and `c` is not chosen but
averaged over. With flat priors on `a` and `c`, and means :math:`y` at the sizes, whose
covariance :math:`\Sigma` is that of their noise and of `w`, `a` and `b` are normal
given `c`, and

.. math:: p(c \mid y) \propto |\Lambda_c|^{-1/2} e^{-\chi^2_c / 2} \Pr(b > 0 \mid c, y),

with the precision :math:`\Lambda_c` of `a` and `b`, and the weighted sum of squares
:math:`\chi^2_c` that is left, of the prior, too (generalized least squares).

The prior and the deviation of `w` were chosen by how well the larger sizes of some
problems are predicted; `benchmarks/learning_curves.py` says how well those of others
are.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

__all__ = ["draw_laws", "drift", "normal_draws", "shape", "total"]

Array: TypeAlias = NDArray[Any]
DRAWS = 4000
EXPONENTS = np.linspace(0.5, 2.0, 31)
PER_DOUBLING = 0.5  # nats that a doubling of the rows gains, by the prior
DRIFT = 0.4  # nats by which a doubling may differ from that, one standard deviation


def shape(n: Array, c: Array | float, first: float, last: float) -> Array:
    """`u_c(n)`: 1 at the first size, 0 at the last, negative beyond.

    Args:
        n: Sizes.
        c: Exponents, which broadcast with the sizes.
        first: The smallest size.
        last: The largest one.
    """
    return np.expm1(c * np.log(last / n)) / np.expm1(c * np.log(last / first))


def drift(first: float, one: Array, other: Array) -> Array:
    """Covariances of the Brownian motion at some sizes and others.

    Args:
        first: Where it begins.
        one: Sizes, `k`.
        other: Sizes, `l`.

    Returns:
        `k x l`, in squared nats.
    """
    logs = (np.log2(np.asarray(n) / first).clip(min=0.0) for n in (one, other))
    return DRIFT**2 * np.minimum.outer(*logs)


def total(sizes: Array, noise: Array) -> Array:
    """Covariance of the means at some sizes around a power law.

    With a little on the diagonal, where scores of a row at two sizes are nearly equal.

    Args:
        sizes: In order, `k`.
        noise: Covariance of the noise of the means, `k x k`.
    """
    little = 1e-6 * np.diag(np.diag(noise).clip(1e-12))
    return noise + drift(sizes[0], sizes, sizes) + little


def normal_draws(covariance: Array, count: int, seed: int) -> Array:
    """Normal draws, `count x sizes`, of a covariance that may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    rounding = len(values) * np.finfo(float).eps * values.max()
    factor = vectors * np.sqrt(np.where(values > rounding, values, 0.0))
    rng = np.random.default_rng([seed, 1])
    return rng.standard_normal((count, len(values))) @ factor.T


def draw_laws(sizes: Array, means: Array, covariance: Array, seed: int) -> Array:
    """Draw power laws that the means may have.

    Args:
        sizes: In order, `k`.
        means: Scores at the sizes, `k`, in nats per row.
        covariance: Of the means around a power law, `k x k`.
        seed: Of the draws.

    Returns:
        `a` and `b` (nats per row) and `c`, `draws x 3`.
    """
    prior = (PER_DOUBLING * np.log2(sizes[-1] / sizes[0])) ** -2
    parts = [_solve(sizes, means, covariance, c, prior) for c in EXPONENTS]
    center, spread = (np.array([part[i] for part in parts]) for i in (0, 1))
    deviation = np.sqrt(spread[:, 1, 1])
    below = norm.cdf(-center[:, 1] / deviation)  # the probability of `b < 0`
    logs = 0.5 * np.linalg.slogdet(spread)[1] - 0.5 * np.array([p[2] for p in parts])
    logs += norm.logsf(-center[:, 1] / deviation)
    weights = np.exp(logs - logs.max())
    rng = np.random.default_rng(seed)
    i = rng.choice(len(EXPONENTS), DRAWS, p=weights / weights.sum())
    p = below[i] + (1 - below[i]) * rng.uniform(size=DRAWS)
    b = center[i, 1] + deviation[i] * norm.ppf(p.clip(1e-300, 1 - 1e-16))
    b = b.clip(min=0.0)  # rounding, far in the tail
    slope = spread[i, 0, 1] / spread[i, 1, 1]
    rest = (spread[i, 0, 0] - slope * spread[i, 0, 1]).clip(min=0.0)
    a = center[i, 0] + slope * (b - center[i, 1])
    a += np.sqrt(rest) * rng.standard_normal(DRAWS)
    return np.column_stack([a, b, EXPONENTS[i]])


def _solve(
    sizes: Array, means: Array, covariance: Array, c: float, prior: float
) -> tuple[Array, Array, float]:
    """Generalized least squares: `a` and `b`, their covariance, and what is left.

    `prior` is the precision of `b` around zero.
    """
    X = np.stack([np.ones_like(sizes), -shape(sizes, c, sizes[0], sizes[-1])], axis=1)
    weighted = np.linalg.solve(covariance, X).T
    spread = np.linalg.inv(weighted @ X + np.diag([0.0, prior]))
    center = spread @ weighted @ means
    rest = means - X @ center
    left = rest @ np.linalg.solve(covariance, rest) + prior * center[1] ** 2
    return center, spread, float(left)
