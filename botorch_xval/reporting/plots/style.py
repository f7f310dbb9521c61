"""What all plots share: colors, axes, names beside points, the points of a result."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.models.checks import check_type, wrong

__all__ = [
    "COLORS",
    "MARKERS",
    "axes_of",
    "figure_of",
    "looks",
    "name_points",
    "points_of",
    "tidy",
]

# Okabe & Ito (2008): can be told apart with any kind of color vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"


def looks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A color and a marker for each of some names, in their order; all differ."""
    return {
        name: (COLORS[i % len(COLORS)], MARKERS[(i + i // len(COLORS)) % len(MARKERS)])
        for i, name in enumerate(names)
    }


def axes_of(ax: Axes | None, **figure_kwargs: Any) -> Axes:
    """The axes to draw on.

    Args:
        ax: The caller's axes, or None for new ones.
        **figure_kwargs: How to make new ones, see `matplotlib.pyplot.subplots`.

    Returns:
        The caller's axes as they are, or new ones in a figure of their own.

    Raises:
        ValueError: If `ax` is something else.
    """
    if ax is None:
        new: Axes = plt.subplots(layout="constrained", **figure_kwargs)[1]
        return new
    if not isinstance(ax, Axes):
        raise ValueError(
            f"ax: expected one Axes of matplotlib, got {type(ax).__name__}; pass one "
            "of `plt.subplots()`, or leave it out for new axes"
        )
    return ax


def figure_of(ax: Axes) -> Figure:
    """The whole figure that axes are in, also if they are in a part of it."""
    figure = ax.figure
    return figure if isinstance(figure, Figure) else figure.figure


def name_points(
    ax: Axes, x: NDArray[Any], y: NDArray[Any], texts: Sequence[str]
) -> None:
    """Write names beside points, on the side of the middle of the axes.

    Names that would overlap are moved down; a line joins each with its point.

    Args:
        ax: Where to write.
        x: Of `k` points.
        y: Of `k` points.
        texts: The `k` names.
    """
    middle = np.mean(ax.get_xlim())
    gap = 0.06 * np.ptp(ax.get_ylim())
    for is_right in (False, True):
        side = [i for i in np.argsort(-y) if (x[i] > middle) == is_right]
        last = np.inf
        for i in side:
            last = min(y[i], last - gap)
            shift = (-0.02 if is_right else 0.02) * np.ptp(ax.get_xlim())
            ax.annotate(
                texts[i],
                (x[i], y[i]),
                xytext=(x[i] + shift, last),
                ha="right" if is_right else "left",
                va="center",
                fontsize=8,
                color="0.25",
                arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.5},
            )


def tidy(ax: Axes) -> None:
    """No frame at the top and on the right, faint horizontal lines."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)


def points_of(
    result: CrossValidation, output: int, scale: str = "outcome"
) -> pd.DataFrame:
    """The points of one output, without those of failed folds.

    Args:
        result: A cross-validation.
        output: Number of the output.
        scale: As in :meth:`CrossValidation.to_frame`.

    Returns:
        The rows of :meth:`CrossValidation.to_frame` that have a log density.

    Raises:
        ValueError: If an argument is not as described, or every fold has failed.
    """
    check_type("result", result, CrossValidation, "pass one of `cross_validate`")
    outputs = result.mean.shape[-1]
    if not isinstance(output, Integral) or not 0 <= output < outputs:
        remedy = "pass the number of an output of the model"
        raise wrong("output", f"0 to {outputs - 1}", repr(output), remedy)
    frame = result.to_frame(scale=scale)
    points = frame[frame.output == output].dropna(subset="log_density")
    if points.empty:
        raise ValueError(
            "result: expected at least one fold with predictions, got only failed "
            "ones; see `message` in its `fit_table()`"
        )
    return points
