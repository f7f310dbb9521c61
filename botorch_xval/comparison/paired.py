"""The paired table of a comparison: means over rows, differences, cautions in words.

Scores of a row are averaged over replicates, rows of one group are one cluster, and
only points with a score of every configuration count.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import ndtr

from botorch_xval.comparison.selection import selection_bias
from botorch_xval.comparison.weights import stacking_weights
from botorch_xval.cross_validation.clusters import (
    OVERLAP,
    cluster_deviations,
    count_clusters,
)

__all__ = [
    "common_rows",
    "groups_of",
    "half_width",
    "in_common",
    "is_clear",
    "mean_by_row",
    "probability_worse",
    "scored_names",
    "stayed",
    "tabulate",
]

DECISIVE = 2.0  # as improbable as so many deviations of a normal distribution
FEW_ROWS = 20  # fewer, and the estimate of a standard error is itself too noisy
MANY = 10  # of more configurations the best one is known to flatter


def tabulate(points: pd.DataFrame, fits: pd.DataFrame) -> pd.DataFrame:
    """The table of points and fits, see :meth:`Comparison.table`.

    Args:
        points: See :class:`Comparison`.
        fits: See :class:`Comparison`.

    Returns:
        The table.
    """
    counts = ["folds", "failed", "evaluations", "seconds", "single"]
    own = fits if "single" in fits else fits.assign(single=0)
    totals = own.groupby(["size", "configuration"])[counts].sum()
    by_size = points.groupby("size")
    blocks = [_block(of_size).assign(size=size) for size, of_size in by_size]
    table = pd.concat(blocks, ignore_index=True)
    table = table.join(totals, on=["size", "configuration"])
    table["caution"] = [_caution(entry) for entry in table.itertuples()]
    best = table[table["rank"] == 1]
    table.attrs["selection_bias"] = dict(
        zip(best["size"].tolist(), best["flatters"].tolist(), strict=True)
    )
    first = ["size", "rank", "configuration"]
    hidden = ("left_after", "flatters", "rivals", "near", "single")
    return table[first + [c for c in table if c not in (*first, *hidden)]]


def mean_by_row(points: pd.DataFrame) -> pd.DataFrame:
    """Scores averaged over replicates.

    Args:
        points: See :class:`Comparison`.

    Returns:
        One row per row of the data; columns are pairs of a score (`log_density`,
        `squared_error`) and a configuration.
    """
    columns = ["row", "configuration", "log_density", "squared_error"]
    return points[columns].groupby(["row", "configuration"]).mean().unstack()


def in_common(points: pd.DataFrame, names: Collection[str]) -> pd.DataFrame:
    """Points without the scores of those that one of some configurations lacks.

    A point is a row in a replicate, and in a repetition of the folds. The mean of a row
    over other replicates is no partner in a paired difference.

    Args:
        points: See :class:`Comparison`; of one size.
        names: The configurations.

    Returns:
        The same points; NaN for all configurations where one of these has no score.
    """
    point = ["replicate", "row"]
    repetition = points.groupby(["configuration", *point]).cumcount()
    lacks = points["log_density"].isna() & points["configuration"].isin(names)
    by_point = lacks.groupby([*(points[name] for name in point), repetition])
    scores = ["log_density", "squared_error"]
    return points.assign(**points[scores].mask(by_point.transform("any")))


def common_rows(points: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series | None]:
    """Scores that compare: of points with a score of every configuration that has any.

    Args:
        points: See :class:`Comparison`; of one size.

    Returns:
        Means over replicates as of :func:`mean_by_row`, without configurations that
        have no score at all, and the groups of these rows.
    """
    # A configuration must not win because it fails, and so has no score, on hard rows.
    scored = scored_names(points)
    means = mean_by_row(in_common(points, scored))
    common = means.loc[:, means.columns.get_level_values(1).isin(scored)].dropna()
    groups = groups_of(points)
    return common, None if groups is None else groups[common.index]


def scored_names(points: pd.DataFrame) -> list[str]:
    """The configurations that have any score."""
    return points["configuration"][points["log_density"].notna()].unique().tolist()


def groups_of(points: pd.DataFrame) -> pd.Series | None:
    """The group of every row, with the row as index; None without groups."""
    if "group" not in points:
        return None
    return points.drop_duplicates("row").set_index("row")["group"].sort_index()


def probability_worse(difference: pd.Series, error: pd.Series, count: int) -> pd.Series:
    r"""About the probability to be worse on further such rows, if one is not chosen.

    With the mean :math:`\bar d` of paired differences, its standard error :math:`e`,
    of which folds that share training rows make
    :data:`~botorch_xval.cross_validation.clusters.OVERLAP`, and `G` clusters:

    .. math:: T_{G-1}(-\bar d / 2 e).

    Args:
        difference: Means of paired differences to another configuration, in nats.
        error: Their standard errors.
        count: `G`, of rows or of groups of rows.

    Returns:
        With the index of the differences; one half where there is none on any row.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        behind = -difference / (OVERLAP * error)
    behind = behind.mask((difference == 0) & (error == 0), 0.0)
    return pd.Series(stats.t.cdf(behind, max(count - 1, 1)), behind.index)


def stayed(points: pd.DataFrame) -> pd.DataFrame:
    """The points of those that a race has not dropped, at one size."""
    last = points.groupby("configuration")["round"].max()
    return points[points.configuration.isin(last.index[last == last.max()])]


def half_width(error: float, groups: int) -> float:
    """Half of the interval of 95 % that goes with `probability_worse`.

    Args:
        error: Standard error of a paired difference.
        groups: How many rows or groups of rows it is of.

    Returns:
        The standard error, counted twice, times the quantile of Student's t.
    """
    return float(OVERLAP * error * stats.t.ppf(0.975, max(groups - 1, 1)))


def is_clear(entry: Any) -> bool:
    """Whether a configuration is clearly worse than the best one of its size.

    Args:
        entry: A row of the table, as a named tuple.

    Returns:
        Whether its difference is decisive, and of rows enough for a standard error.
    """
    return bool(entry.probability_worse >= ndtr(DECISIVE) and entry.groups >= FEW_ROWS)


def _block(points: pd.DataFrame) -> pd.DataFrame:
    """The table of one size, without counts and cautions."""
    last = points.groupby("configuration")["round"].max()
    left_last = stayed(points)
    block = _paired(left_last).assign(**_together(left_last))
    block = block.sort_values("mean_log_density", ascending=False, kind="stable")
    best = block.configuration.iloc[0]
    gone = []
    for name in last.index.difference(block.configuration):
        # Only the same rounds of the best one: the same rows in the same replicates.
        shared = points.configuration.isin([best, name]) & (
            points["round"] <= last[name]
        )
        pair = _paired(points[shared], best)
        gone.append(pair[pair.configuration == name].assign(left_after=last[name]))
    if gone:
        left = pd.concat(gone).sort_values(
            ["left_after", "difference"], ascending=False, kind="stable"
        )
        block = pd.concat([block, left])
    block["rank"] = np.arange(1, len(block) + 1)
    return block.assign(rivals=len(block) - 1)


def _together(points: pd.DataFrame) -> dict[str, Any]:
    """What depends on all configurations: their weights, and how the best flatters."""
    common, groups = common_rows(points)
    names = sorted(points.configuration.unique())
    weights = pd.Series(np.nan, names)
    bias, near = np.nan, 1
    scores = pd.DataFrame() if common.empty else common["log_density"]
    finite = scores.loc[:, np.isfinite(scores).all()]
    if not scores.empty:
        weights[scores.columns] = stacking_weights(scores.to_numpy())
    if not finite.empty:
        bias, near = selection_bias(finite.to_numpy(), groups)
    own = {"weight": weights.to_numpy(), "near": near}
    return {**own, "flatters": bias * len(common)}


def _paired(points: pd.DataFrame, best: str | None = None) -> pd.DataFrame:
    """Scores over the common rows, and paired differences to the best configuration."""
    common, groups = common_rows(points)
    names = sorted(points.configuration.unique())
    columns = pd.MultiIndex.from_product([["log_density", "squared_error"], names])
    scored = common.reindex(columns=columns)
    scores, n = scored.log_density, len(common)
    means = scores.mean()
    if best is None:
        best = means.idxmax() if means.notna().any() else scores.columns[0]
    differences = scores.sub(scores[best], axis=0)
    difference = differences.mean()
    score_se, error = (_errors(part, groups) for part in (scores, differences))
    count = count_clusters(n, groups)
    worse = probability_worse(difference, error, count).mask(scores.columns == best)
    return pd.DataFrame(
        {
            "configuration": scores.columns,
            "rows": n,
            "groups": count,
            "elpd": scores.sum(min_count=1).to_numpy(),
            "se": n * score_se.to_numpy(),
            "elpd_diff": 0.0 - n * difference.to_numpy(),
            "dse": n * error.to_numpy(),
            "weight": np.nan,
            "mean_log_density": means.to_numpy(),
            "standard_error": score_se.to_numpy(),
            "difference": difference.to_numpy(),
            "difference_se": error.to_numpy(),
            "probability_worse": worse.to_numpy(),
            "rmse": (scored.squared_error.mean() ** 0.5)[scores.columns].to_numpy(),
            "left_after": np.nan,
        }
    )


def _errors(scores: pd.DataFrame, groups: pd.Series | None) -> pd.Series:
    """Standard errors of the means of columns; NaN of those without a score."""
    if scores.empty:
        return pd.Series(np.nan, scores.columns)
    with np.errstate(invalid="ignore"):  # a density of zero has no finite logarithm
        deviations = cluster_deviations(scores.to_numpy(), groups)
    return pd.Series(np.sqrt((deviations**2).sum(axis=0)), scores.columns)


def _caution(entry: Any) -> str:
    """Why not to rely on an entry of the table (a named tuple), in words."""
    words = []
    if np.isnan(entry.mean_log_density):
        words.append("no row has a score")
    if not np.isnan(entry.left_after):
        words.append(
            f"left the race after round {entry.left_after:.0f} and is compared over "
            f"the {entry.rows} rows that it shares with the best"
        )
    if entry.rank == 1 and entry.rivals >= MANY and entry.flatters > 0:
        words.append(
            f"the best of {entry.rivals + 1} configurations, {entry.near} of them "
            "within 2 standard errors: for having been chosen its elpd is too good by "
            f"up to about {float(f'{entry.flatters:.2g}'):g} nats"
        )
    if entry.probability_worse < ndtr(DECISIVE):
        behind = (
            -entry.difference / entry.difference_se if entry.difference_se > 0 else 0.0
        )
        needed = OVERLAP * stats.t.ppf(ndtr(DECISIVE), entry.groups - 1)
        words.append(
            f"{behind:.1f} standard errors behind the best, less than {needed:.1f}: "
            "not decisive"
        )
    if entry.groups < FEW_ROWS:
        few = (
            f"{entry.rows} rows"
            if entry.groups == entry.rows
            else f"{entry.groups} groups of rows"
        )
        words.append(f"only {few}: standard errors are unreliable")
    if entry.failed:
        words.append(
            f"{entry.failed} of {entry.folds} folds failed: rows without a score are "
            "left out for all"
        )
    if entry.single:
        words.append(
            f"{entry.single} of {entry.folds} folds are fitted to a single value, "
            "which says nothing of scale and noise: do not rely on their scores"
        )
    return "; ".join(words)
