r"""By how much the score of the best of many configurations flatters.

The best of many is the best in part by chance: its score on these rows is higher than
what it will have on further ones. McLatchie & Vehtari (2024), "Efficient estimation and
correction of selection-induced bias with order statistics", Statistics and Computing
34, estimate this by the expected maximum of as many independent normals as there are
configurations. Here scores are paired, so that the covariance of their errors is known,
and those configurations count that the data cannot tell from the best.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from botorch_xval.comparison.arguments import check_clusters, check_scores
from botorch_xval.cross_validation.clusters import cluster_deviations
from botorch_xval.models.checks import check_whole

__all__ = ["selection_bias"]

WITHIN = 2.0  # standard errors of the paired difference to the best
DRAWS = 2000  # the bias to about 2 %


def selection_bias(
    scores: NDArray[np.float64], clusters: ArrayLike | None = None, seed: int = 0
) -> tuple[float, int]:
    r"""How much too good the mean score of the best configuration is.

    Let :math:`C` be the configurations within 2 standard errors of the best, in paired
    differences, and :math:`V` the covariance of the mean scores over clusters
    (:mod:`~botorch_xval.cross_validation.clusters`). If those in :math:`C` are equally
    good, and means are normal, the bias is

    .. math:: b = \mathrm{E} \max_{k \in C} \varepsilon_k,
        \qquad \varepsilon \sim \mathrm{N}(0, V),

    estimated here from 2,000 draws. If they are not, the bias is smaller than :math:`b`
    (`benchmarks/calibration.py` compares it with the truth).

    Args:
        scores: Log predictive densities, `n x c`.
        clusters: The cluster of each row, `n`; default: each is one.
        seed: Of the draws.

    Returns:
        :math:`b` in nats per row, and the number of configurations in :math:`C`, the
        best one included. NaN if there are fewer than two clusters.

    Raises:
        ValueError: If these are no scores, or no clusters of them.
    """
    check_scores(scores)
    check_clusters(clusters, len(scores))
    check_whole("seed", seed, 0)
    means = scores.mean(axis=0)
    best = means.argmax()
    deviations = cluster_deviations(scores, clusters)
    paired = deviations - deviations[:, [best]]
    error = np.sqrt((paired**2).sum(axis=0))
    near = deviations[:, means[best] - means <= WITHIN * error]
    if not near.size:  # of a single cluster there are no errors
        return math.nan, 1
    normal = np.random.default_rng(seed).standard_normal((DRAWS, len(near)))
    # The mean over the draws without what all have in common, which selects nothing.
    errors = normal @ (near - near.mean(axis=1, keepdims=True))
    return float(errors.max(axis=1).mean()), near.shape[1]
