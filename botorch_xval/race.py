"""When a comparison may stop paying for a configuration.

Successive halving in the manner of Hyperband (Jamieson & Talwalkar 2016; Li et al.
2018), with held-out points as the budget: every round scores the remaining
configurations on about as many new points as all rounds before. Hyperband drops the
worse half whatever the margin; here a configuration leaves only for a difference that
its points have shown, paired with the leader's. So noise drops nobody, and where
configurations are alike a race costs what the full comparison does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

__all__ = ["leaving", "rounds"]

FEWEST = 10  # points before anyone leaves
# Standard errors behind the leader, of a normal distribution: for k points the quantile
# of Student's t with k - 1 degrees of freedom that is as rare.
CLEAR = 3.0
CLEAR_IN_WORSE_HALF = 2.0


def rounds(points: Sequence[int]) -> list[int]:
    """Where the rounds of a race end: after 10, 20, 40, ... points, and after all.

    The first rounds do not depend on how many points there are in all, so that a race
    can be resumed with more replicates. A last round that would add less than a third
    is merged into the one before.

    Args:
        points: Number of rows that each fold holds out, in the order of the race.

    Returns:
        The number of folds that are done at the end of each round, increasing.
    """
    done = np.cumsum(points)
    ends, wanted = {len(points)}, FEWEST
    while wanted <= 0.75 * done[-1]:
        ends.add(int(np.searchsorted(done, wanted)) + 1)
        wanted *= 2
    return sorted(ends)


def leaving(scores: pd.DataFrame) -> list[str]:
    r"""The configurations that leave a race after these points.

    With :math:`\bar d` and :math:`s` the mean and standard deviation over :math:`k`
    rows of the paired difference to the configuration with the best mean, one leaves if

    .. math:: -\bar d \sqrt{k} / s > t_{k-1}^{-1}(\Phi(c)),

    where :math:`c = 2` in the worse half of the configurations and 3 in the better one.
    So does one that could not be fitted on any of at least 10 rows.

    Args:
        scores: Log predictive densities, a row per held-out row and a column per
            remaining configuration; NaN where a fit failed. Rows without a score of
            some configuration are left out for all.

    Returns:
        Names of columns, never all of them; none if there are fewer than 10 rows.
    """
    unscored = scores.isna().all()
    if len(scores) < FEWEST or unscored.all():
        return []
    gone = list(scores.columns[unscored])
    common = scores.loc[:, ~unscored].dropna()
    k, c = common.shape
    if k < FEWEST:
        return gone
    means = common.mean().to_numpy()
    differences = common.to_numpy() - common.to_numpy()[:, [means.argmax()]]
    error = differences.std(axis=0, ddof=1) / np.sqrt(k)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Equal scores make 0 / 0: NaN, which is not behind.
        behind = -differences.mean(axis=0) / error
    place = np.argsort(np.argsort(-means, kind="stable"), kind="stable")
    limit = np.where(place < (c + 1) // 2, CLEAR, CLEAR_IN_WORSE_HALF)
    quantile = stats.t.isf(stats.norm.sf(limit), k - 1)
    return gone + list(common.columns[behind > quantile])
