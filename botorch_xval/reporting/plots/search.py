"""Plot of a search: what every model gains over BoTorch's default."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from botorch_xval.comparison.model_search import ModelSearch
from botorch_xval.models.checks import check_type
from botorch_xval.reporting.plots.style import COLORS, axes_of, tidy

__all__ = ["plot_search"]


def plot_search(search: ModelSearch, ax: Axes | None = None) -> Axes:
    """Draw every model's mean difference to BoTorch's default, the best one on top.

    Args:
        search: A result of :func:`~botorch_xval.search`.
        ax: Where to draw; default: new axes.

    Returns:
        The axes, with a point for each model that has a score of every row; bars are
        one standard error of the paired difference either way. The model to take has
        another color. The axis shows the better half; an arrow is a model beyond.

    Raises:
        ValueError: If `search` or `ax` is something else.
    """
    check_type("search", search, ModelSearch, "pass a result of `search`")
    table = search.table().dropna(subset="difference").iloc[::-1]
    ax = axes_of(ax, figsize=(8, 1.2 + 0.24 * len(table)))
    places = np.arange(len(table))
    ends = table.difference - table.difference_se
    lowest = min(ends.iloc[len(table) // 2 :].min(), 0.0)
    is_taken = (table.configuration == search.spec.name).to_numpy()
    for chosen, color, label in (
        (~is_taken, COLORS[0], None),
        (is_taken, COLORS[1], "taken"),
    ):
        ax.errorbar(
            table.difference[chosen],
            places[chosen],
            xerr=table.difference_se[chosen],
            fmt="o",
            color=color,
            markersize=5,
            elinewidth=1,
            capsize=2,
            label=label,
        )
    beyond = places[(table.difference < lowest).to_numpy()]
    if len(beyond):
        margin = 0.05 * ((table.difference + table.difference_se).max() - lowest)
        ax.set_xlim(left=lowest - 2 * margin)
        ax.plot(np.full(len(beyond), lowest - margin), beyond, "<", color="0.6")
    ax.axvline(0.0, color="0.7", linewidth=1, zorder=0)
    ax.set_yticks(places, table.configuration, fontsize=8)
    ax.set_xlabel(
        "mean log predictive density of held-out rows,\n"
        "difference to BoTorch's default (nats per row)"
    )
    ax.set_title(f"{len(search.specs)} models tried", loc="left")
    ax.legend(frameon=False, loc="lower right")
    tidy(ax)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color="0.92", linewidth=0.8)
    return ax
