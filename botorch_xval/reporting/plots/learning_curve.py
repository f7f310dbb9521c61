"""A plot of learning curves: what was found, and what more rows would bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from botorch_xval.comparison.learning_curve import LearningCurve
from botorch_xval.models.checks import check_number, check_type, wrong
from botorch_xval.reporting.plots.style import (
    axes_of,
    looks,
    tidy,
)

__all__ = ["plot_learning_curve"]

GRID = 60


def plot_learning_curve(
    curve: LearningCurve,
    ax: Axes | None = None,
    *,
    more: int = 20,
    named: Sequence[str] | None = None,
    colors: Mapping[str, tuple[str, str]] | None = None,
) -> Axes:
    """Draw the curves of configurations, beyond the largest size, too.

    Args:
        curve: A result of :func:`~botorch_xval.comparison.learning_curve`.
        ax: Where to draw; default: new axes.
        more: How many rows beyond the largest size to draw.
        named: Which configurations to draw; default: all.
        colors: By name a color and a marker; default: by score at the largest size.

    Returns:
        The axes: points are the scores with one standard error either way; a line is
        the median of a curve, dashed where it is extrapolated, in a band of 95 %.

    Raises:
        ValueError: If an argument is something else.
    """
    check_type("curve", curve, LearningCurve, "pass one of `learning_curve`")
    check_number("more", more, above=True)
    chosen = list(curve.draws if named is None else named)
    if unknown := [name for name in chosen if name not in curve.draws]:
        expected = f"some of {list(curve.draws)}"
        raise wrong("named", expected, repr(unknown[0]), "pass a list of such names")
    ax = axes_of(ax)
    if colors is None:
        best_first = curve.scores.sort_values(["size", "score"], ascending=False)
        colors = looks(list(dict.fromkeys(best_first.configuration)))
    for name in filter(chosen.__contains__, colors):
        color, marker = colors[name]
        own = curve.scores[curve.scores.configuration == name]
        first, last = own["size"].min(), own["size"].max()
        grid = np.unique([*np.linspace(first, last + more, GRID), last])
        band = curve.predict(grid)
        band = band[band.configuration == name]
        ax.fill_between(
            band["size"], band.low, band.high, color=color, alpha=0.12, linewidth=0
        )
        for part, style in (
            (band[band["size"] <= last], "-"),
            (band[band["size"] >= last], "--"),
        ):
            ax.plot(part["size"], part.score, style, color=color, linewidth=1.5)
        ax.errorbar(
            own["size"],
            own.score,
            own.standard_error,
            linestyle="none",
            marker=marker,
            markersize=5,
            color=color,
            elinewidth=1,
            capsize=2,
            label=name,
        )
    ax.axvline(last, color="0.8", linewidth=1, zorder=0)
    ax.set_xlabel("dataset size (rows)")
    ax.set_ylabel("mean log predictive density\n(nats per held-out row)")
    tidy(ax)
    ax.legend(frameon=False, loc="best")
    return ax
