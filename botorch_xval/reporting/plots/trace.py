"""A plot of predictions in the order of rows, as of an optimization's trace."""

from __future__ import annotations

from matplotlib.axes import Axes

from botorch_xval.cross_validation.points import INTERVAL
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.reporting.plots.style import COLORS, axes_of, points_of, tidy

__all__ = ["plot_trace"]


def plot_trace(
    result: CrossValidation,
    ax: Axes | None = None,
    *,
    output: int = 0,
    scale: str = "outcome",
) -> Axes:
    """Draw what was observed and predicted against the number of the row.

    Of :func:`~botorch_xval.leave_future_out` these are the predictions of the next
    trials by those before.

    Args:
        result: A cross-validation.
        ax: Where to draw; default: new axes.
        output: Number of the output.
        scale: See :meth:`CrossValidation.to_frame`.

    Returns:
        The axes. Observations that their interval misses are orange.

    Raises:
        ValueError: If an argument is not as described, or every fold has failed.
    """
    points = points_of(result, output, scale).sort_values("row", kind="stable")
    ax = axes_of(ax)
    below, above = points["mean"] - points.lower, points.upper - points["mean"]
    ax.errorbar(
        points.row,
        points["mean"],
        [below.clip(lower=0), above.clip(lower=0)],
        linestyle="none",
        marker="_",
        markersize=5,
        color=COLORS[0],
        elinewidth=1.5,
        alpha=0.6,
        label=f"predicted, {INTERVAL:.0%} interval",
        zorder=1,
    )
    missed = (points.observed < points.lower) | (points.observed > points.upper)
    for chosen, color, words in (
        (~missed, "0.15", "observed"),
        (missed, COLORS[1], f"missed ({missed.sum()})"),
    ):
        if chosen.any():
            ax.plot(
                points.row[chosen],
                points.observed[chosen],
                linestyle="none",
                marker="o",
                markersize=4,
                color=color,
                label=words,
            )
    ax.set_title(
        f"{points.log_density.mean():.2f} nats a row, {1 - missed.mean():.0%} of "
        f"{len(points)} inside",
        loc="left",
        fontsize=11,
    )
    ax.set_xlabel("row")
    ax.set_ylabel("outcome, standardized" if scale == "model" else "outcome")
    tidy(ax)
    ax.legend(
        framealpha=0, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncols=3
    )
    return ax
