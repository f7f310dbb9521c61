"""Plots of fits: losses by iteration, and what the fits cost."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from time import monotonic
from typing import Any

import numpy as np
from botorch.optim.core import OptimizationStatus
from matplotlib.axes import Axes
from torch import Tensor

from botorch_xval.fitting.options import ModelResult
from botorch_xval.fitting.records import FitRecord, list_records
from botorch_xval.models.checks import check_number
from botorch_xval.reporting.plots.style import (
    COLORS,
    axes_of,
    figure_of,
    tidy,
)

__all__ = ["LiveLosses", "plot_active_models", "plot_evaluations", "plot_losses"]

ENDS = (
    (OptimizationStatus.SUCCESS, "converged", COLORS[0]),
    (OptimizationStatus.STOPPED, "stopped early", COLORS[4]),
    (OptimizationStatus.FAILURE, "failed", COLORS[1]),
)


def plot_losses(
    records: Sequence[FitRecord], ax: Axes | None = None, *, label: str = "model"
) -> Axes:
    """Draw the negative loss of every model after each iteration, and their mean.

    In the mean a model that has ended keeps its last value. Steps on which a model got
    worse are orange.

    Args:
        records: The fits, such as `mll.fit_records` or `records` of a cross-validation.
        ax: Where to draw; default: new axes.
        label: What one model is, for the legend, such as "fold".

    Returns:
        The axes: iterations against the negative loss per training point (nats; larger
        is better).

    Raises:
        ValueError: If `records` are no records of fits, or none has a loss.
    """
    # A fit that failed at its start has no loss.
    losses = [record.losses for record in list_records(records) if record.losses]
    if not losses:
        raise ValueError(
            "records: expected at least one fit with a loss, got "
            f"{len(records)} without; every fit failed at its start, or its parameters "
            "were integrated out, see `message` of the records"
        )
    ax = axes_of(ax)
    for i, course in enumerate(losses):
        ax.plot(
            -np.array(course),
            color=COLORS[0],
            linewidth=0.6,
            alpha=0.35,
            label=f"each {label}" if i == 0 else None,
        )
    worse = [
        (step, -np.array(course[step : step + 2]))
        for course in losses
        for step in np.flatnonzero(np.diff(course) > 1e-9)
    ]
    for i, (step, ends) in enumerate(worse):
        words = f"steps on which a {label} got worse ({len(worse):,})"
        ax.plot(
            (step, step + 1),
            ends,
            color=COLORS[1],
            linewidth=0.9,
            alpha=0.7,
            label=words if i == 0 else None,
        )
    longest = max(map(len, losses))
    padded = [np.pad(course, (0, longest - len(course)), "edge") for course in losses]
    mean = -np.array(padded).mean(axis=0)
    ax.plot(mean, color="black", linewidth=2, label="mean of all")
    ax.set_xlabel("iteration")
    ax.set_ylabel("negative loss per\ntraining point (nats)")
    tidy(ax)
    ax.legend(frameon=False, loc="lower right")
    return ax


def plot_active_models(
    records: Sequence[FitRecord], ax: Axes | None = None, *, label: str = "model"
) -> Axes:
    """Draw how many models still run after every round of evaluations.

    In a round every model that still runs is evaluated once, so the blue area is the
    total cost. The gray rectangle is the cost if all models were evaluated until the
    last one ends.

    Args:
        records: The fits, such as `mll.fit_records` or `records` of a cross-validation.
        ax: Where to draw; default: new axes.
        label: What one model is, such as "fold".

    Returns:
        The axes: rounds against the number of models.

    Raises:
        ValueError: If `records` are no records of fits, or empty.
    """
    counts = np.sort([record.evaluations for record in list_records(records)])
    ax = axes_of(ax)
    longest, most = counts[-1], len(counts) * counts[-1]
    rounds = np.arange(longest + 1)
    running = len(counts) - np.searchsorted(counts, rounds, side="right")
    ax.fill_between(
        (0, longest), len(counts), color="0.93", label=f"until the last {label} ends"
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
    ax.set_title(
        f"{counts.sum():,} evaluations instead of {most:,} "
        f"({1 - counts.sum() / most:.0%} less)",
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
    records: Sequence[FitRecord], ax: Axes | None = None, *, label: str = "model"
) -> Axes:
    """Draw the number of evaluations of every model, sorted, colored by how it ended.

    Args:
        records: The fits, such as `mll.fit_records` or `records` of a cross-validation.
        ax: Where to draw; default: new axes.
        label: What one model is, such as "fold".

    Returns:
        The axes: models against evaluations, with their median as a dotted line.

    Raises:
        ValueError: If `records` are no records of fits, or empty.
    """
    counts = np.array([record.evaluations for record in list_records(records)])
    ax = axes_of(ax)
    order = np.argsort(counts, kind="stable")
    place = np.empty(len(order), dtype=int)
    place[order] = np.arange(len(order))
    for status, words, color in ENDS:
        chosen = np.array([record.status is status for record in records])
        if chosen.any():
            ax.bar(
                place[chosen],
                counts[chosen],
                width=1.0,
                color=color,
                edgecolor="white",
                linewidth=0.3,
                label=f"{words} ({chosen.sum()})",
            )
    middle = float(np.median(counts))
    ax.axhline(middle, color="black", linewidth=1, linestyle=":")
    ax.annotate(
        f"median {middle:g}",
        (0, middle),
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
    """A callback that draws the loss of every model while a fit runs.

    In a notebook the figure is drawn again in its cell; elsewhere in its window, if it
    has one.

        fit_gpytorch_mll(mll, optimizer_kwargs={"callback": LiveLosses()})

    A fit with a callback uses one thread, so it takes longer.

    Args:
        ax: Where to draw; default: new axes. They are cleared before each drawing.
        interval: Shortest time between two drawings, in seconds.

    Attributes:
        losses: By number of a model and label of a start, the loss after each iteration
            (nats per training point; smaller is better).
        ax: The axes.
    """

    def __init__(self, ax: Axes | None = None, *, interval: float = 0.5) -> None:
        check_number("interval", interval)
        self.losses: dict[tuple[int, str], list[float]] = {}
        self.ax = axes_of(ax, figsize=(7, 3.6))
        self._interval, self._last = interval, monotonic()
        self._display: Any = None

    def __call__(self, parameters: dict[str, Tensor], result: ModelResult) -> None:
        """Keep the loss of one iteration; the fit calls this.

        Args:
            parameters: Not used.
            result: The model's number, the start, and the loss.
        """
        self.losses.setdefault((result.model, result.start), []).append(
            float(result.fval)
        )
        if monotonic() - self._last >= self._interval:
            self.draw()
            self._last = monotonic()

    def draw(self) -> Axes:
        """Draw all losses so far; call it once more after the fit.

        Returns:
            The axes.
        """
        ax = self.ax
        ax.clear()
        for course in self.losses.values():
            ax.plot(-np.array(course), color=COLORS[0], linewidth=0.7, alpha=0.4)
        lengths = [len(course) for course in self.losses.values()]
        ends = [-course[-1] for course in self.losses.values()]
        ax.plot(
            [length - 1 for length in lengths],
            ends,
            linestyle="none",
            marker=".",
            color="black",
        )
        lowest: dict[int, float] = {}
        for (model, _), end in zip(self.losses, ends, strict=True):
            lowest[model] = max(lowest.get(model, end), end)
        if ends:
            ax.set_title(
                f"{len(lowest)} models, {sum(lengths):,} iterations, mean "
                f"{np.mean(list(lowest.values())):.4f}",
                loc="left",
                fontsize=11,
            )
        ax.set_xlabel("iteration")
        ax.set_ylabel("negative loss per\ntraining point (nats)")
        tidy(ax)
        self._show()
        return ax

    def _show(self) -> None:
        figure = figure_of(self.ax)
        ipython: Any = sys.modules.get("IPython")  # imported wherever it runs
        if ipython is None or ipython.get_ipython() is None:
            figure.canvas.draw_idle()
            figure.canvas.flush_events()
        elif self._display is None:
            display = import_module("IPython.display").display
            self._display = display(figure, display_id=True)
        else:
            self._display.update(figure)
