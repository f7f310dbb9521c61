"""When a comparison may stop paying for a configuration.

This is successive halving as in Hyperband (Jamieson & Talwalkar 2016; Li et al. 2018)
with held-out points as the budget: rounds score the remaining configurations on more
and more points. Hyperband drops the worse half of them whatever the margin. Here those
leave that are clearly behind the leader in paired differences. So noise hardly drops
any configuration, and where configurations are alike a race costs as much as the full
comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

__all__ = ["leaving", "rounds"]

FEWEST = 10  # points of the first round
GROWTH = 1.5  # of the number of points from one round to the next
LEAST = 0.15  # share of all points in the last round; a shorter one is not begun
CLEAR = 2.0  # standard errors, for one rival and many points


def rounds(points: Sequence[int]) -> list[int]:
    """Where the rounds of a race end: after 10, 15, 23, 34, ... points, and after all.

    Earlier rounds do not depend on the number of points in all, so that a race can go
    on with more replicates.

    Args:
        points: By fold the number of held-out rows, in the order of the race.

    Returns:
        By round the number of folds that are done at its end, increasing.
    """
    done = np.cumsum(points)
    ends, wanted = {len(points)}, float(FEWEST)
    while wanted <= (1 - LEAST) * done[-1]:
        ends.add(int(np.searchsorted(done, wanted)) + 1)
        wanted *= GROWTH
    return sorted(ends)


def leaving(scores: pd.DataFrame) -> list[str]:
    r"""The configurations that leave a race after these points.

    Let :math:`\bar d` and :math:`s` be the mean and standard deviation over :math:`k`
    rows of the paired difference to the leader, the configuration with the best mean of
    :math:`c`. A configuration leaves if it is more than 2 standard errors behind,
    corrected for few rows (Student's t) and several rivals (Bonferroni):

    .. math:: T_{k-1}(\bar d \sqrt{k} / s) < \Phi(-2) / (c - 1).

    For many rows these are 2.0 standard errors for 2 configurations and 2.7 for 8; for
    10 rows and 8 configurations 3.5. A configuration without any score on at least 10
    rows leaves, too.

    Args:
        scores: Log predictive densities, a row per held-out row and a column per
            remaining configuration; NaN where a fit failed. Rows without a score of
            some configuration are left out for all.

    Returns:
        Names of configurations, never all of them; none if there are fewer than 10
        rows.
    """
    unscored = scores.isna().all()
    if len(scores) < FEWEST or unscored.all():
        return []
    gone = list(scores.columns[unscored])
    common = scores.loc[:, ~unscored].dropna()
    k, c = common.shape
    if k < FEWEST or c < 2:
        return gone
    leader = common.mean().argmax()
    differences = common.to_numpy() - common.to_numpy()[:, [leader]]
    error = differences.std(axis=0, ddof=1) / np.sqrt(k)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Equal scores make 0 / 0: NaN, which is not behind.
        chance = stats.t.cdf(differences.mean(axis=0) / error, k - 1)
    return gone + list(common.columns[chance < stats.norm.sf(CLEAR) / (c - 1)])
