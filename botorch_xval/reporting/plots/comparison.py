"""Plots of a comparison: scores by dataset size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from botorch_xval.comparison.paired import MANY
from botorch_xval.comparison.table import Comparison
from botorch_xval.models.checks import check_type, wrong
from botorch_xval.reporting.plots.style import (
    COLORS,
    MARKERS,
    axes_of,
    tidy,
)

__all__ = ["plot_comparison", "plot_differences", "plot_scores"]


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
    ax.set_ylabel("mean log predictive density\nper held-out point (nats)")
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
    ax.set_ylabel("paired difference\nto the best (nats)")
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
    names = list(dict.fromkeys(comparison.points.configuration))
    sizes = np.sort(table["size"].unique())
    step = np.diff(sizes).min() if len(sizes) > 1 else 1.0
    for i, name in enumerate(names):
        part = table[table.configuration == name].sort_values("size")
        shift = 0.06 * step * (i - (len(names) - 1) / 2)  # so that no bar hides another
        ax.errorbar(
            part["size"] + shift,
            part[value],
            part[error],
            color=COLORS[i % len(COLORS)],
            marker=MARKERS[(i + i // len(COLORS)) % len(MARKERS)],
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
