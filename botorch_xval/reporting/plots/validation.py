"""Plots of a cross-validation: predictions, errors, and single points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from botorch_xval.cross_validation.outliers import FEWEST, outliers
from botorch_xval.cross_validation.points import INTERVAL
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.models.checks import check_names, check_type, check_whole, wrong
from botorch_xval.reporting.plots.style import (
    COLORS,
    axes_of,
    name_points,
    points_of,
    tidy,
)

__all__ = [
    "plot_pointwise",
    "plot_predictions",
    "plot_residuals",
]

FAR = 3.0  # standardized errors beyond this one are named


def plot_predictions(
    result: CrossValidation,
    ax: Axes | None = None,
    *,
    output: int = 0,
    scale: str = "outcome",
) -> Axes:
    """Draw predicted against observed outcomes, with intervals of 95 %.

    Args:
        result: A cross-validation.
        ax: Where to draw; default: new axes.
        output: Number of the output.
        scale: "outcome" for the unit of the outcome, "model" for that of the model
            (usually standardized), see :meth:`CrossValidation.to_frame`.

    Returns:
        The axes. Points whose interval misses the observation are orange.

    Raises:
        ValueError: If an argument is not as described, or every fold has failed.
    """
    points = points_of(result, output, scale)
    ax = axes_of(ax)
    missed = (points.observed < points.lower) | (points.observed > points.upper)
    # As an array: Matplotlib asks a list of series of one row for a number.
    errors = np.stack([points["mean"] - points.lower, points.upper - points["mean"]])
    for chosen, color, words in (
        (~missed, COLORS[0], f"{INTERVAL:.0%} interval"),
        (missed, COLORS[1], f"misses the observation ({missed.sum()})"),
    ):
        if chosen.any():
            ax.errorbar(
                points.observed[chosen],
                points["mean"][chosen],
                errors[:, chosen].clip(min=0),
                linestyle="none",
                marker="o",
                markersize=4,
                color=color,
                ecolor=color,
                elinewidth=0.8,
                alpha=0.75,
                label=words,
            )
    both = points[["observed", "mean"]].to_numpy()
    ends = both.min(), both.max()
    ax.plot(ends, ends, color="0.4", linewidth=1, linestyle="--", zorder=0)
    spread = ((points.observed - points.observed.mean()) ** 2).sum()
    r2 = 1 - points.squared_error.sum() / spread if spread > 0 else math.nan
    ax.set_title(
        f"R2 = {r2:.3f}, {1 - missed.mean():.0%} of {len(points)} inside",
        loc="left",
        fontsize=11,
    )
    ax.set_xlabel(_labelled("observed", scale))
    ax.set_ylabel(_labelled("predicted", scale))
    tidy(ax)
    ax.legend(framealpha=0.8, edgecolor="none", loc="upper left", fontsize=9)
    return ax


def plot_residuals(
    result: CrossValidation,
    ax: Axes | None = None,
    *,
    output: int = 0,
    scale: str = "outcome",
    names: Sequence[str] | None = None,
) -> Axes:
    """Draw errors in predicted standard deviations against the predicted mean.

    Args:
        result: A cross-validation.
        ax: Where to draw; default: new axes.
        output: Number of the output.
        scale: Of the predicted mean, as in :func:`plot_predictions`.
        names: Names of all rows of the data; default: their numbers.

    Returns:
        The axes. Rows with an error beyond three standard deviations are named;
        orange ones are outliers (:func:`~botorch_xval.cross_validation.outliers`).

    Raises:
        ValueError: If an argument is not as described, or every fold has failed.
    """
    points = points_of(result, output, scale)
    if names is not None:
        check_names("names", names, result.folds.held_out.shape[1], "rows")
    ax = axes_of(ax)
    limit = stats.norm.ppf((1 + INTERVAL) / 2)
    ax.axhspan(-limit, limit, color="0.94", zorder=0, label=f"{INTERVAL:.0%}")
    ax.axhline(0, color="0.6", linewidth=1, zorder=1)
    wrong = _is_outlier(result, points, output)
    for chosen, color in ((~wrong, COLORS[0]), (wrong, COLORS[1])):
        if chosen.any():
            ax.plot(
                points["mean"][chosen],
                points.z_score[chosen],
                linestyle="none",
                marker="o",
                markersize=4,
                color=color,
                alpha=0.75,
            )
    far = points[(points.z_score.abs() > FAR) | wrong]
    texts = [_row_name(row, names) for row in far.row]
    name_points(ax, far["mean"].to_numpy(), far.z_score.to_numpy(), texts)
    ax.set_xlabel(_labelled("predicted", scale))
    ax.set_ylabel("standardized error\n(observed - predicted)")
    ax.set_title(
        f"mean {points.z_score.mean():.2f}, deviation {points.z_score.std():.2f}",
        loc="left",
        fontsize=11,
    )
    tidy(ax)
    return ax


def plot_pointwise(
    differences: pd.DataFrame,
    ax: Axes | None = None,
    *,
    labels: tuple[str, str] = ("first", "second"),
    names: Sequence[str] | None = None,
    named: int = 5,
) -> Axes:
    """Draw the sorted differences in log density: which points decide?

    Args:
        differences: A table of :func:`~botorch_xval.cross_validation.difference`, or of
            :func:`~botorch_xval.cross_validation.optimism` (refit minus fixed).
        ax: Where to draw; default: new axes.
        labels: What the two results are called.
        names: Names of all rows of the data; default: their numbers.
        named: How many of the largest differences to name.

    Returns:
        The axes: held-out points against the difference of each (nats).

    Raises:
        ValueError: If an argument is not as described.
    """
    advice = "pass `difference(first, second)`"
    check_type("differences", differences, pd.DataFrame, advice)
    if not {"row", "difference"} <= set(differences.columns):
        raise ValueError(
            "differences: expected a table with the columns row and difference, got "
            f"{list(differences.columns)}; {advice}"
        )
    points = differences.dropna(subset="difference").sort_values("difference")
    if points.empty:
        raise wrong("differences", "at least one point", "none", advice)
    if isinstance(labels, str) or len(labels) != 2:
        expected, remedy = "two names", "name the first and the second result"
        raise wrong("labels", expected, repr(labels), remedy)
    if names is not None:
        least = int(points.row.max()) + 1
        if (
            isinstance(names, str)
            or not isinstance(names, Sequence | pd.Index)
            or (len(names) < least)
        ):
            check_names("names", names, least, "rows of the data, or more")
    check_whole("named", named, 0)
    ax = axes_of(ax)
    value = points.difference.to_numpy()
    place = np.arange(len(value))
    for chosen, color, words in (
        (value > 0, COLORS[0], f"{labels[0]} better ({(value > 0).sum()})"),
        (value <= 0, COLORS[1], f"{labels[1]} better ({(value < 0).sum()})"),
    ):
        if chosen.any():
            x, y = place[chosen], value[chosen]
            ax.vlines(x, 0, y, color=color, linewidth=1.2)
            ax.plot(x, y, "o", markersize=3, color=color, label=words)
    ax.axhline(0, color="0.6", linewidth=1)
    largest = np.argsort(-np.abs(value), kind="stable")[:named]
    texts = [_row_name(row, names) for row in points.row.iloc[largest]]
    name_points(ax, place[largest], value[largest], texts)
    total = differences.attrs.get("sum", value.sum())
    error = differences.attrs.get(
        "standard_error", value.std(ddof=1) * math.sqrt(len(value))
    )
    ax.set_title(
        f"{labels[0]} minus {labels[1]}: {total:+.2f} nats, standard error {error:.2f}",
        loc="left",
        fontsize=11,
    )
    ax.set_xlabel("held-out points, sorted")
    ax.set_ylabel("difference in log density (nats)")
    tidy(ax)
    ax.legend(frameon=False, loc="lower right")
    return ax


def _is_outlier(
    result: CrossValidation, points: pd.DataFrame, output: int
) -> pd.Series:
    """Whether each point is of a row that stands out; none of a few rows."""
    if points.row.nunique() < FEWEST:
        return pd.Series(False, index=points.index)
    table = outliers(result)
    found = table.row[table.is_outlier & (table.output == output)]
    return points.row.isin(found)


def _labelled(what: str, scale: str) -> str:
    return f"{what} ({'standardized' if scale == 'model' else 'outcome'})"


def _row_name(row: int, names: Sequence[str] | None) -> str:
    return f"row {row}" if names is None else str(names[row])
