"""When a comparison may stop paying for a configuration.

This is successive halving as in Hyperband (Jamieson & Talwalkar 2016; Li et al. 2018)
with held-out points as the budget: rounds score the remaining configurations on more
and more points. Hyperband drops the worse half of them whatever the margin. Here those
leave that are clearly behind the leader in paired differences, so clearly that all
looks of a race together drop the best configuration in at most one race of ten.
Where configurations are alike, a race costs as much as the full comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from botorch_xval.cross_validation.clusters import cluster_deviations, count_clusters
from botorch_xval.models.checks import check_number, check_type, check_whole, wrong

__all__ = ["leaving", "rounds", "significance"]

ERROR = 0.05  # chance that the best configuration leaves, if rows are independent
FEWEST = 10  # points of the first round, and groups of rows at a look
GROWTH = 1.5  # of the number of points from one round to the next
LEAST = 0.15  # share of all points in the last round; a shorter one is not begun


def rounds(points: Sequence[int]) -> list[int]:
    """Where the rounds of a race end: after 10, 15, 23, 34, ... points, and after all.

    Earlier rounds do not depend on the number of points in all, so that a race can go
    on with more replicates.

    Args:
        points: By fold the number of held-out rows, in the order of the race.

    Returns:
        By round the number of folds that are done at its end, increasing.
    """
    counts = np.asarray(points)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or not (counts > 0).all():
        remedy = "pass how many rows each fold holds out"
        raise wrong("points", "positive whole numbers", repr(points), remedy)
    if not len(counts):
        raise wrong("points", "at least one fold", "none", "see k_fold")
    done = np.cumsum(points)
    ends, wanted = {len(points)}, float(FEWEST)
    while wanted <= (1 - LEAST) * done[-1]:
        ends.add(int(np.searchsorted(done, wanted)) + 1)
        wanted *= GROWTH
    return sorted(ends)


def significance(look: int, configurations: int) -> float:
    r"""How improbable a leader's margin has to be for a configuration to leave.

    A race looks at its scores again and again, and each look may drop the best
    configuration by chance. So the looks spend an error rate of :math:`\alpha = 0.05`
    in parts that add up to it, however many there will be, and share it between the
    rivals (Bonferroni). Look :math:`r` of a race of :math:`c` configurations has

    .. math:: \alpha_r = \frac{\alpha}{r (r + 1) (c - 1)}, \qquad
        \sum_{r=1}^\infty (c - 1) \, \alpha_r = \alpha.

    Args:
        look: Number of the look, from 1 on.
        configurations: How many began the race, those that have left included.

    Returns:
        :math:`\alpha_r`, a probability.
    """
    check_whole("look", look, 1)
    check_whole("configurations", configurations, 1)
    return ERROR / (look * (look + 1) * max(configurations - 1, 1))


def leaving(
    scores: pd.DataFrame, significance: float, groups: pd.Series | None = None
) -> list[str]:
    r"""The configurations that leave a race after these points.

    Let :math:`\bar d` be the mean over rows of the paired difference to the leader, the
    configuration with the best mean, and :math:`e` its standard error over :math:`G`
    groups of rows (:mod:`~botorch_xval.cross_validation.clusters`; without groups each
    row is one). A configuration leaves if

    .. math:: T_{G-1}(\bar d / e) < \alpha_r,

    with Student's distribution function. The best configuration can only leave if it is
    that far behind one of its :math:`c - 1` rivals at one of the looks, none of which
    is better in the mean. So with the levels of :func:`significance` it leaves in at
    most 5 % of races, if mean differences are normal and groups independent. Held-out
    scores are not quite, since folds share training rows: count on 10 %.
    `benchmarks/racing.py` simulates both. A configuration without any score on at least
    10 groups leaves, too.

    Args:
        scores: Log predictive densities, a row per held-out row and a column per
            remaining configuration; NaN where a fit failed. Rows without a score of
            some configuration are left out for all.
        significance: :math:`\alpha_r`.
        groups: The group of each row, by the index of `scores`.

    Returns:
        Names of configurations, never all of them; none if there are fewer than 10
        groups.
    """
    check_type("scores", scores, pd.DataFrame, "see `to_frame` of a Comparison")
    check_number("significance", significance, advice="see significance(look, c)")
    if significance > 1:
        remedy = "see significance(look, c)"
        raise wrong("significance", "a probability", significance, remedy)
    if groups is not None:
        check_type("groups", groups, pd.Series, "give it the index of scores")
        if len(gone := scores.index.difference(groups.index)):
            remedy = "give it the index of scores"
            got = f"none for {len(gone)} of them, such as {gone[0]}"
            raise wrong("groups", "a label for every row", got, remedy)
    clusters = pd.Series(scores.index, scores.index) if groups is None else groups
    unscored = scores.isna().all()
    if clusters[scores.index].nunique() < FEWEST or unscored.all():
        return []
    gone = list(scores.columns[unscored])
    common = scores.loc[:, ~unscored].dropna()
    own = clusters[common.index].to_numpy()
    count = count_clusters(len(common), own)
    if count < FEWEST or common.shape[1] < 2:
        return gone
    values = common.to_numpy()
    differences = values - values[:, [values.mean(axis=0).argmax()]]
    error = np.sqrt((cluster_deviations(differences, own) ** 2).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        # Equal scores make 0 / 0: NaN, which is not behind.
        chance = stats.t.cdf(differences.mean(axis=0) / error, count - 1)
    return gone + list(common.columns[chance < significance])
