"""Plots of a comparison: scores by dataset size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from botorch_xval.comparison.paired import MANY, half_width
from botorch_xval.comparison.table import Comparison
from botorch_xval.models.checks import check_type, wrong
from botorch_xval.reporting.plots.style import (
    COLORS,
    axes_of,
    looks,
    tidy,
)

__all__ = [
    "looks_of",
    "plot_comparison",
    "plot_differences",
    "plot_ranking",
    "plot_scores",
]


FAR = 4.0  # times the median of how far intervals reach: no longer drawn


def looks_of(comparison: Comparison) -> dict[str, tuple[str, str]]:
    """The color and the marker of every configuration, in all plots.

    Args:
        comparison: A result of :func:`~botorch_xval.comparison.compare`.

    Returns:
        By name a color and a marker of matplotlib, the best configuration at the
        largest size first.
    """
    table = comparison.table()
    last = table[table["size"] == table["size"].max()].sort_values("rank")
    return looks(list(last.configuration))


def plot_ranking(comparison: Comparison, ax: Axes | None = None) -> Axes:
    """Draw how far every configuration is behind the best one at the largest size.

    Args:
        comparison: A result of :func:`~botorch_xval.comparison.compare`.
        ax: Where to draw; default: new axes.

    Returns:
        The axes, with one line per configuration, the best one on top: the paired
        difference, one standard error either way (thick), and an interval of 95 %
        (thin) for which the standard error counts twice, as for `probability_worse`.
        One that is too far away for the others is a number at the edge.

    Raises:
        ValueError: If `comparison` or `ax` is something else.
    """
    _check(comparison)
    table = comparison.table()
    last = table[table["size"] == table["size"].max()].sort_values("rank")
    ax = axes_of(ax, figsize=(7, 1.3 + 0.32 * len(last)))
    own = looks_of(comparison)
    halves = [half_width(e.difference_se, e.groups) for e in last.itertuples()]
    reach = -last.difference.to_numpy() + np.nan_to_num(halves)
    usual = reach[np.isfinite(reach)][1:]
    limit = FAR * np.median(usual) if len(usual) else 0.0
    limit = limit if limit > 0 else np.inf
    for y, entry in enumerate(last.itertuples()):
        color, marker = own[entry.configuration]
        if not -entry.difference <= limit:
            words = f"\N{BLACK LEFT-POINTING SMALL TRIANGLE} {entry.difference:.3g}"
            ax.annotate(
                words,
                (0, y),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                xytext=(3, 0),
                va="center",
                fontsize=8,
                color=color,
            )
            continue
        for error, width in (
            (half_width(entry.difference_se, entry.groups), 0.9),
            (entry.difference_se, 2.4),
        ):
            if error > 0 and np.isfinite(error):
                ends = entry.difference - error, entry.difference + error
                ax.plot(ends, (y, y), color=color, linewidth=width)
        ax.plot(
            entry.difference,
            y,
            linestyle="none",
            marker=marker,
            markersize=6,
            color=color,
            label=entry.configuration,
        )
    ax.axvline(0.0, color="0.5", linewidth=1, zorder=0)
    ax.set_yticks(range(len(last)), last.configuration)
    ax.set_ylim(len(last) - 0.4, -0.6)
    left, right = ax.get_xlim()
    ax.set_xlim(max(left, -limit), min(right, limit))
    ax.set_xlabel("paired difference to the best\n(nats per held-out row)")
    tidy(ax)
    return ax


def plot_scores(comparison: Comparison, ax: Axes | None = None) -> Axes:
    """Draw the mean log predictive density of every configuration by dataset size.

    Args:
        comparison: A result of :func:`~botorch_xval.comparison.compare`.
        ax: Where to draw; default: new axes.

    Returns:
        The axes, with one line per configuration; bars are one standard error either
        way.

    Raises:
        ValueError: If `comparison` or `ax` is something else.
    """
    ax = _draw_lines(comparison, "mean_log_density", "standard_error", ax)
    ax.set_ylabel("mean log predictive density\n(nats per held-out row)")
    if comparison.points.configuration.nunique() > len(COLORS):
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        ax.legend(frameon=False, loc="best")
    return ax


def plot_differences(comparison: Comparison, ax: Axes | None = None) -> Axes:
    """Draw the paired difference to the best configuration of each dataset size.

    Args:
        comparison: A result of :func:`~botorch_xval.comparison.compare`.
        ax: Where to draw; default: new axes.

    Returns:
        The axes, with one line per configuration; the best one of a size is at zero.
        Bars are one standard error of the difference either way. With more than ten
        configurations a gray band reaches down to what the best one may owe to having
        been chosen, its selection bias.

    Raises:
        ValueError: If `comparison` or `ax` is something else.
    """
    ax = _draw_lines(comparison, "difference", "difference_se", ax)
    ax.axhline(0.0, color="0.7", linewidth=1, zorder=0)
    table = comparison.table()
    best = table[table["rank"] == 1]
    if len(table) > MANY * len(best):
        bias = best["size"].map(table.attrs["selection_bias"]) / best["rows"]
        left, right = ax.get_xlim()  # a band of one size has a width, too
        depth = -np.array([bias.iloc[0], *bias, bias.iloc[-1]])
        band = ax.fill_between(
            [left, *best["size"], right],
            depth,
            0.0,
            color="0.88",
            zorder=-1,
            linewidth=0,
        )
        ax.set_xlim(left, right)
        ax.legend([band], ["selection bias of the best"], frameon=False, loc="best")
    ax.set_ylabel("paired difference to the\nbest (nats per row)")
    return ax


def plot_comparison(
    comparison: Comparison, axes: NDArray[Any] | Sequence[Axes] | None = None
) -> NDArray[Any]:
    """Draw scores by dataset size, and below them the differences to the best.

    Args:
        comparison: A result of :func:`~botorch_xval.comparison.compare`.
        axes: Where to draw, two axes; default: new ones, one above the other.

    Returns:
        The two axes, that of :func:`plot_scores` first.

    Raises:
        ValueError: If `comparison` or `axes` are something else.
    """
    _check(comparison)
    if axes is None:
        axes = plt.subplots(
            2,
            1,
            sharex=True,
            figsize=(7, 6.5),
            height_ratios=(3, 2),
            layout="constrained",
        )[1]
    drawn: NDArray[Any] = np.array(axes, dtype=object)
    if drawn.size != 2:
        remedy = "make them by `plt.subplots(2, 1, sharex=True)[1]`"
        raise wrong("axes", "2 axes", drawn.size, remedy)
    top, bottom = drawn.flat
    plot_scores(comparison, top).set_xlabel("")
    plot_differences(comparison, bottom)
    top.set_title("Which configuration predicts held-out trials best?", loc="left")
    return drawn


def _draw_lines(
    comparison: Comparison, value: str, error: str, ax: Axes | None
) -> Axes:
    _check(comparison)
    ax = axes_of(ax)
    table = comparison.table()
    own = looks_of(comparison)
    sizes = np.sort(table["size"].unique())
    step = np.diff(sizes).min() if len(sizes) > 1 else 1.0
    for i, (name, (color, marker)) in enumerate(own.items()):
        part = table[table.configuration == name].sort_values("size")
        shift = 0.06 * step * (i - (len(own) - 1) / 2)  # so that no bar hides another
        ax.errorbar(
            part["size"] + shift,
            part[value],
            part[error],
            color=color,
            marker=marker,
            markersize=5,
            linewidth=1.5,
            elinewidth=1,
            capsize=2,
            label=name,
        )
    ax.set_xticks(sizes)
    ax.set_xlabel("dataset size (rows)")
    tidy(ax)
    return ax


def _check(comparison: Comparison) -> None:
    check_type("comparison", comparison, Comparison, "pass a result of `compare`")
