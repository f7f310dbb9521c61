r"""Weights of configurations for a mixture of their predictions.

With log predictive densities :math:`s_{ik}` of rows :math:`i` by configurations
:math:`k`, all from Yao, Vehtari, Simpson & Gelman (2018), "Using stacking to average
Bayesian predictive distributions", Bayesian Analysis 13(3):

* stacking, the mixture that predicts held-out rows best (section 3.1):
  :math:`\max_w \sum_i \log \sum_k w_k \exp s_{ik}` with
  :math:`w_k \ge 0, \sum_k w_k = 1`;
* pseudo-BMA (section 3.4): :math:`w_k \propto \exp \sum_i s_{ik}`;
* pseudo-BMA+ (section 3.4): its mean over Bayesian bootstrap samples of the
  rows, or of groups of rows, which knows how uncertain the sums are.

Stacking looks for a mixture: of two configurations that are alike one may get all. The
others look for the one configuration that is best.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from botorch_xval.comparison.arguments import check_clusters, check_scores
from botorch_xval.cross_validation.clusters import cluster_sums
from botorch_xval.models.checks import check_whole

__all__ = ["pseudo_bma_plus_weights", "pseudo_bma_weights", "stacking_weights"]

Array = NDArray[np.float64]
SAMPLES = 10_000  # of the Bayesian bootstrap: weights to about 0.005
CLOSE = 1e-9  # nats per row to the best mixture; then a search ends
MOST_STEPS = 10_000


def stacking_weights(scores: Array) -> Array:
    r"""The weights of the mixture with the best held-out log density.

    The problem is convex. SciPy's SLSQP finds its solution, and steps of expectation
    maximization, which never get worse, refine it until with the mixture's densities
    :math:`p_i = \sum_k w_k p_{ik}` no configuration has
    :math:`\frac1n \sum_i p_{ik} / p_i > 1 + 10^{-9}`. Then no mixture is better by more
    than :math:`10^{-9}` nats per row.

    Args:
        scores: Log predictive densities, `n x c`.

    Returns:
        `c`, not negative, with the sum 1.

    Raises:
        ValueError: If these are no scores, as for all weights.
    """
    check_scores(scores)
    c = scores.shape[1]
    best = scores.max(axis=1, keepdims=True, initial=-np.inf)
    known = np.isfinite(best[:, 0])  # a row that nothing explains says nothing
    densities = np.exp(scores[known] - best[known])
    if c == 1 or len(densities) == 0:
        return np.full(c, 1 / c)

    def loss(weights: Array) -> tuple[float, Array]:
        mixture = np.maximum(densities @ weights, np.finfo(float).tiny)
        gradient = -(densities / mixture[:, None]).mean(axis=0)
        return -float(np.log(mixture).mean()), gradient

    found = minimize(
        loss,
        np.full(c, 1 / c),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * c,
        constraints={
            "type": "eq",
            "fun": lambda weights: weights.sum() - 1,
            "jac": np.ones_like,
        },
        options={"ftol": 1e-14, "maxiter": 500},
    )
    weights = np.clip(np.nan_to_num(found.x), 0, 1) + 1e-12
    weights /= weights.sum()
    for _ in range(MOST_STEPS):
        ratios = -loss(weights)[1]
        if ratios.max() <= 1 + CLOSE:
            break
        weights = weights * ratios
    weights[weights < 1e-9] = 0.0
    return weights / weights.sum()


def pseudo_bma_weights(scores: Array) -> Array:
    """Weights in proportion to the exponential of the summed log densities.

    Args:
        scores: Log predictive densities, `n x c`.

    Returns:
        `c`, not negative, with the sum 1.

    Raises:
        ValueError: If these are no scores, as for all weights.
    """
    check_scores(scores)
    return softmax(scores.sum(axis=0))


def pseudo_bma_plus_weights(
    scores: Array,
    clusters: ArrayLike | None = None,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Array:
    r"""Pseudo-BMA, averaged over what the sums might have been with other rows.

    A sample of the Bayesian bootstrap (Rubin 1981) gives the :math:`G` clusters weights
    from a uniform Dirichlet distribution, :math:`z_k = G \sum_g a_g \sum_{i \in g}
    s_{ik}`.

    Args:
        scores: Log predictive densities, `n x c`.
        clusters: The cluster of each row, `n`; default: each is one.
        samples: How many.
        seed: Of the samples.

    Returns:
        `c`, not negative, with the sum 1.

    Raises:
        ValueError: If these are no scores, as for all weights.
    """
    check_scores(scores)
    check_clusters(clusters, len(scores))
    check_whole("samples", samples, 1)
    check_whole("seed", seed, 0)
    sums = cluster_sums(scores, clusters)
    generator = np.random.default_rng(seed)
    weights = np.zeros(scores.shape[1])
    for first in range(0, samples, 1000):  # at most 1,000 x G at a time
        count = min(1000, samples - first)
        shares = generator.dirichlet(np.ones(len(sums)), size=count)
        weights += softmax(len(sums) * shares @ sums, axis=1).sum(axis=0)
    return weights / samples
