r"""Standard errors of mean scores over rows that are not all independent.

Rows of one cluster (the label of `groups=`, or a row that is held out several times)
may depend on each other in any way; clusters are taken as independent. With scores
:math:`s_i` of :math:`n` points in :math:`G` clusters the variance of their mean is

.. math:: \widehat{\mathrm{Var}}(\bar s) = \frac{G}{G - 1} \, \frac{1}{n^2}
    \sum_{g=1}^G \Bigl( \sum_{i \in g} (s_i - \bar s) \Bigr)^2,

the cluster-robust variance of a regression on a constant (Liang & Zeger 1986; Cameron
& Miller 2015, sections II and VI, of whose factor
:math:`G (n - 1) / ((G - 1)(n - p))` this is the case :math:`p = 1`). If each point is
its own cluster, it is :math:`s^2 / n`.

Not covered: the folds of a cross-validation share training rows, so that even the
scores of independent rows depend on each other. No estimate of their variance is
unbiased (Bengio & Grandvalet 2004), and this one is too small where two models are
alike or there are few rows (Sivula, Magnusson, Matamoros & Vehtari 2020). Where a
probability is made of a paired difference, its standard error counts :data:`OVERLAP`
times.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "OVERLAP",
    "cluster_deviations",
    "cluster_sums",
    "count_clusters",
    "standard_error",
]

OVERLAP = 2.0
"""How many standard errors of a paired difference count as one root-mean-square error,
since folds share training rows. In `benchmarks/calibration.py` it is 1.4 to 1.8 for
leave-one-out of Gaussian processes with known hyper-parameters, and 1.2 to 2.5 with
fitted ones."""

Array = NDArray[np.float64]


def cluster_deviations(values: Array, clusters: ArrayLike | None = None) -> Array:
    """What each cluster adds to the error of the mean.

    Args:
        values: Scores, `n x c` of `c` configurations; none missing (not checked).
        clusters: The cluster of each point, `n`; default: each is one.

    Returns:
        `G x c`, ordered by cluster. The product of its transpose and itself is the
        covariance of the `c` means; NaN if there is one cluster only.
    """
    sums = cluster_sums(values - values.mean(axis=0), clusters)
    count = len(sums)
    factor = np.sqrt(count / (count - 1)) if count > 1 else np.nan
    return factor * sums / len(values)


def cluster_sums(values: Array, clusters: ArrayLike | None = None) -> Array:
    """Scores summed over the points of each cluster, `G x c`; of `n x c` values."""
    if clusters is None:
        return values
    _, number = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.zeros((number.max(initial=-1) + 1, values.shape[1]))
    np.add.at(sums, number, values)
    return sums


def standard_error(values: Array, clusters: ArrayLike | None = None) -> float:
    """The standard error of the mean of scores, see the module.

    Args:
        values: Scores, `n`; none missing (not checked).
        clusters: The cluster of each point, `n`; default: each is one.

    Returns:
        In the unit of the scores; NaN if there are fewer than two clusters.
    """
    if len(values) == 0:
        return np.nan
    deviations = cluster_deviations(np.asarray(values)[:, None], clusters)
    return float(np.sqrt((deviations**2).sum()))


def count_clusters(n: int, clusters: ArrayLike | None = None) -> int:
    """How many clusters `n` points are in."""
    return n if clusters is None else len(np.unique(np.asarray(clusters)))
