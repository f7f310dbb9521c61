"""Plots of fits and comparisons: a result and an `ax` in, the axes out.

Plots of one cross-validation are in `validation_plots`.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from botorch.optim.core import OptimizationStatus
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from botorch_xval.comparison.compare import Comparison
from botorch_xval.fitting.options import ModelResult
from botorch_xval.fitting.records import FitRecord

__all__ = [
    "LiveLosses",
    "plot_active_models",
    "plot_comparison",
    "plot_differences",
    "plot_evaluations",
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
        comparison: Result of :func:`~botorch_xval.comparison.compare`.
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
        comparison: Result of :func:`~botorch_xval.comparison.compare`.
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
    ax = axes_of(ax)
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
    tidy(ax)
    ax.legend(frameon=False, loc="lower right")
    return ax


def plot_active_models(
    records: Sequence[FitRecord], ax: Axes | None = None, label: str = "model"
) -> Axes:
    """How many models still run after every round of evaluations.

    In a round each of them is evaluated once, so the area is all that the fit costs;
    the rectangle around it is what it would cost if all were evaluated until the last
    one is done.

    Args:
        records: The fits of a batch of models.
        ax: Where to draw; default: new axes.
        label: What a model is.

    Returns:
        The axes.

    Raises:
        ValueError: If there are no records.
    """
    counts = np.sort(_evaluations(records))
    ax = axes_of(ax)
    longest = counts[-1]
    rounds = np.arange(longest + 1)
    running = len(counts) - np.searchsorted(counts, rounds, side="right")
    ax.fill_between(
        (0, longest), len(counts), color="0.93", label=f"until the last {label} is done"
    )
    ax.fill_between(
        rounds,
        running,
        step="post",
        color=COLORS[0],
        alpha=0.75,
        linewidth=0,
        label=f"{label}s that still run",
    )
    share = 1 - counts.sum() / (len(counts) * longest)
    ax.set_title(
        f"{counts.sum():,} evaluations instead of {len(counts) * longest:,} "
        f"({share:.0%} less)",
        loc="left",
        fontsize=11,
    )
    ax.set_xlabel("round of evaluations")
    ax.set_ylabel(f"{label}s")
    ax.set_xlim(0, longest)
    ax.set_ylim(0, len(counts) * 1.02)
    tidy(ax)
    ax.legend(frameon=True, framealpha=0.9, edgecolor="none", loc="upper right")
    return ax


def plot_evaluations(
    records: Sequence[FitRecord], ax: Axes | None = None, label: str = "model"
) -> Axes:
    """Evaluations of every model, sorted; the colors tell how the fits ended.

    Args:
        records: The fits of a batch of models.
        ax: Where to draw; default: new axes.
        label: What a model is.

    Returns:
        The axes.

    Raises:
        ValueError: If there are no records.
    """
    counts = _evaluations(records)
    ax = axes_of(ax)
    order = np.argsort(counts, kind="stable")
    place = np.empty(len(order), dtype=int)
    place[order] = np.arange(len(order))
    for (status, words), color in zip(
        (
            (OptimizationStatus.SUCCESS, "converged"),
            (OptimizationStatus.STOPPED, "stopped early"),
            (OptimizationStatus.FAILURE, "failed"),
        ),
        (COLORS[0], COLORS[4], COLORS[1]),
        strict=True,
    ):
        own = np.array([record.status is status for record in records])
        if own.any():
            ax.bar(
                place[own],
                counts[own],
                width=1.0,
                color=color,
                edgecolor="white",
                linewidth=0.3,
                label=f"{words} ({own.sum()})",
            )
    ax.axhline(np.median(counts), color="black", linewidth=1, linestyle=":")
    ax.annotate(
        f"median {np.median(counts):g}",
        (0, np.median(counts)),
        textcoords="offset points",
        xytext=(4, 3),
        fontsize=9,
    )
    ax.set_xlabel(f"{label}s, sorted")
    ax.set_ylabel("evaluations")
    tidy(ax)
    ax.legend(frameon=False, loc="upper left")
    return ax


class LiveLosses:
    """A callback that draws every model's loss while a fit runs.

    In a notebook the figure is drawn anew in its cell; elsewhere it is redrawn in its
    window, if it has one.

        fit_gpytorch_mll(mll, optimizer_kwargs={"callback": LiveLosses()})

    With a callback one thread does all the work, so the fit takes longer.

    Args:
        interval: Seconds between two drawings.

    Attributes:
        losses: By number of a model its losses after each iteration.
        figure: The figure.
    """

    def __init__(self, interval: float = 0.5) -> None:
        self.losses: dict[int, list[float]] = {}
        self.figure, self._ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
        self._interval, self._last = interval, monotonic()
        self._display: Any = None

    def __call__(self, parameters: dict[str, Tensor], result: ModelResult) -> None:
        """What the fit calls after every iteration of a model."""
        self.losses.setdefault(result.model, []).append(float(result.fval))
        if monotonic() - self._last >= self._interval:
            self.draw()
            self._last = monotonic()

    def draw(self) -> None:
        """Draw what is known so far; call it once more after the fit."""
        ax = self._ax
        ax.clear()
        for course in self.losses.values():
            ax.plot(-np.array(course), color=COLORS[0], linewidth=0.7, alpha=0.4)
        ends = [-course[-1] for course in self.losses.values()]
        ax.plot(
            [len(course) - 1 for course in self.losses.values()],
            ends,
            linestyle="none",
            marker=".",
            color="black",
        )
        if ends:
            steps = sum(len(course) for course in self.losses.values())
            ax.set_title(
                f"{len(ends)} models, {steps:,} iterations, mean {np.mean(ends):.4f}",
                loc="left",
                fontsize=11,
            )
        ax.set_xlabel("iteration")
        ax.set_ylabel("negative loss per\ntraining point (nats)")
        tidy(ax)
        try:
            from IPython import get_ipython
            from IPython.display import display
        except ImportError:
            get_ipython = None
        if get_ipython is None or get_ipython() is None:
            self.figure.canvas.draw_idle()
            self.figure.canvas.flush_events()
        elif self._display is None:
            self._display = display(self.figure, display_id=True)
        else:
            self._display.update(self.figure)


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


def _evaluations(records: Sequence[FitRecord]) -> NDArray[np.int64]:
    if not records:
        raise ValueError("records: expected at least one fit, got none")
    return np.array([record.evaluations for record in records])


def axes_of(ax: Axes | None) -> Axes:
    """The axes, or new ones."""
    return plt.subplots(layout="constrained")[1] if ax is None else ax


def _lines(comparison: Comparison, value: str, error: str, ax: Axes | None) -> Axes:
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
            marker=MARKERS[i % len(MARKERS)],
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


def tidy(ax: Axes) -> None:
    """The look of all plots: no frame, faint horizontal lines."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
