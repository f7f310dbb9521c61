"""Plots of results: they take a result and an `ax`, and compute nothing new."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from botorch_xval.compare import Comparison
from botorch_xval.records import FitRecord

__all__ = [
    "plot_comparison",
    "plot_differences",
    "plot_losses",
    "plot_scores",
    "plot_summed_and_independent",
]

# Okabe & Ito (2008): told apart with any kind of color vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"


def plot_scores(comparison: Comparison, ax: Axes | None = None) -> Axes:
    """Mean log predictive density against dataset size, one standard error either way.

    Args:
        comparison: Result of :func:`~botorch_xval.compare.compare`.
        ax: Where to draw; default: new axes.

    Returns:
        The axes, with one line per configuration.
    """
    ax = _lines(comparison, "mean_log_density", "standard_error", ax)
    ax.set_ylabel("mean log predictive density\nper held-out point (nats)")
    ax.legend(frameon=False, loc="best")
    return ax


def plot_differences(comparison: Comparison, ax: Axes | None = None) -> Axes:
    """Paired difference to the best configuration of each size, one standard error.

    Args:
        comparison: Result of :func:`~botorch_xval.compare.compare`.
        ax: Where to draw; default: new axes.

    Returns:
        The axes, with one line per configuration; the best one of a size is at zero.
    """
    ax = _lines(comparison, "difference", "difference_se", ax)
    ax.axhline(0.0, color="0.7", linewidth=1, zorder=0)
    ax.set_ylabel("paired difference\nto the best (nats)")
    return ax


def plot_comparison(comparison: Comparison) -> Figure:
    """Scores by dataset size, and below them the paired differences to the best."""
    figure, (top, bottom) = plt.subplots(
        2, 1, sharex=True, figsize=(7, 6.5), height_ratios=(3, 2), layout="constrained"
    )
    plot_scores(comparison, top).set_xlabel("")
    plot_differences(comparison, bottom)
    top.set_title("Which configuration predicts held-out trials best?", loc="left")
    return figure


def plot_losses(
    records: Sequence[FitRecord], ax: Axes | None = None, label: str = "model"
) -> Axes:
    """Every model's negative loss after each of its iterations, and their mean.

    A model that is done keeps its last value in the mean. Steps on which a model got
    worse are drawn in red.

    Args:
        records: The fits of a batch of models; larger values are better.
        ax: Where to draw; default: new axes.
        label: What a model is, for the legend.

    Returns:
        The axes.

    Raises:
        ValueError: If no record has a loss.
    """
    ax = plt.subplots(layout="constrained")[1] if ax is None else ax
    records = [record for record in records if record.losses]  # else failed at once
    if not records:
        raise ValueError("records: expected at least one fit that has a loss, got none")
    longest = max(len(record.losses) for record in records)
    values = np.array(
        [np.pad(r.losses, (0, longest - len(r.losses)), "edge") for r in records]
    )
    for i, record in enumerate(records):
        course = -np.array(record.losses)
        ax.plot(
            course,
            color=COLORS[0],
            linewidth=0.6,
            alpha=0.35,
            label=f"each {label}" if i == 0 else None,
        )
    worse = [
        (step, -np.array(record.losses[step : step + 2]))
        for record in records
        for step in np.flatnonzero(np.diff(record.losses) > 1e-9)
    ]
    for i, (step, ends) in enumerate(worse):
        ax.plot(
            (step, step + 1),
            ends,
            color=COLORS[1],
            linewidth=0.9,
            alpha=0.7,
            label=f"steps on which a {label} got worse ({len(worse):,})"
            if i == 0
            else None,
        )
    ax.plot(-values.mean(axis=0), color="black", linewidth=2, label="mean of all")
    ax.set_xlabel("iteration")
    ax.set_ylabel("negative loss per training point (nats)")
    _tidy(ax)
    ax.legend(frameon=False, loc="lower right")
    return ax


def plot_summed_and_independent(
    summed: Sequence[FitRecord], independent: Sequence[FitRecord], label: str = "fold"
) -> Figure:
    """The course of the same models fitted by one optimizer, and by one each."""
    figure, axes = plt.subplots(
        1, 2, sharex=True, sharey=True, figsize=(11, 4.8), layout="constrained"
    )
    for ax, title, records in zip(
        axes,
        ("Summed loss, one optimizer for all", "One optimizer each"),
        (summed, independent),
        strict=True,
    ):
        plot_losses(records, ax, label)
        evaluations = sum(record.evaluations for record in records)
        loss = sum(record.losses[-1] for record in records if record.losses)
        ax.set_title(
            f"{title}\n{evaluations:,} model evaluations, summed loss {loss:.4f}",
            loc="left",
            fontsize=11,
        )
    # The first steps are far below the rest; show where the models spend their time.
    ends = np.array(
        [(-r.losses[0], -r.losses[-1]) for r in (*summed, *independent) if r.losses]
    )
    spread = np.ptp(ends[:, 1])
    climb = np.median(ends[:, 1] - ends[:, 0])
    margin = max(4 * spread, 0.15 * climb)
    axes[0].set_ylim(
        max(ends[:, 0].min(), ends[:, 1].min() - margin),
        ends[:, 1].max() + 0.1 * margin,
    )
    axes[1].set_ylabel("")
    return figure


def _lines(comparison: Comparison, value: str, error: str, ax: Axes | None) -> Axes:
    ax = plt.subplots(layout="constrained")[1] if ax is None else ax
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
            marker=MARKERS[i % len(MARKERS)],
            markersize=5,
            linewidth=1.5,
            elinewidth=1,
            capsize=2,
            label=name,
        )
    ax.set_xticks(sizes)
    ax.set_xlabel("dataset size (rows)")
    _tidy(ax)
    return ax


def _tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
