"""Plots of one cross-validation, or of two of the same folds.

Each takes a result and an `ax`, and returns the axes. Bands are simultaneous: with a
calibrated model the whole curve stays inside with a probability of 95 % (found by
simulation, Säilynoja, Bürkner & Vehtari 2022, with independent points; folds share
training rows, so they are only nearly that).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import stats

from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.reporting.plots.fits import COLORS, axes_of, tidy

__all__ = [
    "plot_calibration",
    "plot_hyperparameters",
    "plot_influence",
    "plot_normal_quantiles",
    "plot_pit",
    "plot_pointwise",
    "plot_predictions",
    "plot_residuals",
]

INTERVAL = 0.95
SIMULATIONS = 2000
GRID = 100  # points at which an empirical distribution is compared


def plot_predictions(
    result: CrossValidation,
    ax: Axes | None = None,
    output: int = 0,
    scale: str = "outcome",
) -> Axes:
    """Predicted against observed outcomes, with intervals of 95 %.

    Args:
        result: A cross-validation.
        ax: Where to draw; default: new axes.
        output: Which output.
        scale: "outcome" or "model", see :meth:`CrossValidation.to_frame`.

    Returns:
        The axes; points whose interval misses the observation are orange.
    """
    points = _points(result, output, scale)
    ax = axes_of(ax)
    half = stats.norm.ppf((1 + INTERVAL) / 2) * points.deviation
    missed = (points.observed - points["mean"]).abs() > half
    for own, color, words in (
        (~missed, COLORS[0], f"{INTERVAL:.0%} interval"),
        (missed, COLORS[1], f"misses the observation ({missed.sum()})"),
    ):
        if own.any():
            part = points[own]
            ax.errorbar(
                part.observed,
                part["mean"],
                half[own],
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
    output: int = 0,
    scale: str = "outcome",
    names: Sequence[str] | None = None,
) -> Axes:
    """Errors in predicted standard deviations against the prediction.

    Args:
        result: A cross-validation.
        ax: Where to draw; default: new axes.
        output: Which output.
        scale: Of the predictions.
        names: Names of the rows, by number; default: their numbers.

    Returns:
        The axes; rows beyond three deviations are named.
    """
    points = _points(result, output, scale)
    ax = axes_of(ax)
    limit = stats.norm.ppf((1 + INTERVAL) / 2)
    ax.axhspan(-limit, limit, color="0.94", zorder=0, label=f"{INTERVAL:.0%}")
    ax.axhline(0, color="0.6", linewidth=1, zorder=1)
    ax.plot(
        points["mean"],
        points.z_score,
        linestyle="none",
        marker="o",
        markersize=4,
        color=COLORS[0],
        alpha=0.75,
    )
    far = points[points.z_score.abs() > 3]
    texts = [_row_name(row, names) for row in far.row]
    _name_points(ax, far["mean"].to_numpy(), far.z_score.to_numpy(), texts)
    ax.set_xlabel(_labelled("predicted", scale))
    ax.set_ylabel("standardized error\n(observed - predicted)")
    ax.set_title(
        f"mean {points.z_score.mean():.2f}, deviation {points.z_score.std():.2f}",
        loc="left",
        fontsize=11,
    )
    tidy(ax)
    return ax


def plot_normal_quantiles(
    result: CrossValidation, ax: Axes | None = None, output: int = 0
) -> Axes:
    """Sorted standardized errors against normal quantiles, with a simultaneous band.

    Leave-one-out errors are correlated even where the model is right. With a fit to all
    rows (`fit` other than "refit") the result has them `whitened`, and those are drawn.

    Args:
        result: A cross-validation.
        ax: Where to draw; default: new axes.
        output: Which output.

    Returns:
        The axes.
    """
    errors = _points(result, output, "outcome").z_score.to_numpy()
    what = "standardized errors (correlated)"
    if result.whitened is not None:
        errors, what = result.whitened[:, output].cpu().numpy(), "whitened errors"
    ax = axes_of(ax)
    errors = np.sort(errors)
    n = len(errors)
    low, high = (stats.norm.ppf(end) for end in _order_statistics_band(n))
    quantiles = stats.norm.ppf((np.arange(1, n + 1) - 0.5) / n)
    ax.fill_between(quantiles, low, high, color="0.92", label="95 % of all curves")
    ax.plot(quantiles, quantiles, color="0.5", linewidth=1, linestyle="--")
    outside = (errors < low) | (errors > high)
    _two_colors(ax, quantiles, errors, outside)
    ax.set_xlabel("normal quantile")
    ax.set_ylabel(what)
    tidy(ax)
    ax.legend(frameon=False, loc="upper left")
    return ax


def plot_pit(result: CrossValidation, ax: Axes | None = None, output: int = 0) -> Axes:
    """Distribution of the PIT values minus the uniform one, with a simultaneous band.

    The probability integral transform of an observation is the predicted probability of
    a smaller one. A curve like a wave, first up and then down, is of predictions that
    are too confident; one shifted up is of predictions that are too high.

    Args:
        result: A cross-validation.
        ax: Where to draw; default: new axes.
        output: Which output.

    Returns:
        The axes.
    """
    pit = _points(result, output, "outcome").pit.to_numpy()
    ax = _distribution(pit, ax, difference=True)
    ax.set_xlabel("PIT value")
    ax.set_ylabel("share of points below,\nminus expected")
    return ax


def plot_calibration(
    result: CrossValidation, ax: Axes | None = None, output: int = 0
) -> Axes:
    """Share of observations inside of central intervals against their probability.

    Args:
        result: A cross-validation.
        ax: Where to draw; default: new axes.
        output: Which output.

    Returns:
        The axes, with a simultaneous band; below the diagonal, predictions are too
        confident.
    """
    pit = _points(result, output, "outcome").pit.to_numpy()
    # An observation is inside of the central interval of probability |2 PIT - 1|.
    ax = _distribution(np.abs(2 * pit - 1), ax, difference=False)
    ax.set_xlabel("probability of the interval")
    ax.set_ylabel("share of observations inside")
    return ax


def plot_pointwise(
    differences: pd.DataFrame,
    ax: Axes | None = None,
    labels: tuple[str, str] = ("first", "second"),
    names: Sequence[str] | None = None,
    named: int = 5,
) -> Axes:
    """Which points decide between two results? Sorted differences in log density.

    Args:
        differences: Of :func:`~botorch_xval.cross_validation.difference`, or of
            :func:`~botorch_xval.cross_validation.optimism`: refit minus fixed.
        ax: Where to draw; default: new axes.
        labels: What the two results are.
        names: Names of the rows, by number; default: their numbers.
        named: How many of the largest differences to name.

    Returns:
        The axes.
    """
    ax = axes_of(ax)
    points = differences.dropna(subset="difference").sort_values("difference")
    value = points.difference.to_numpy()
    place = np.arange(len(value))
    for own, color, words in (
        (value > 0, COLORS[0], f"{labels[0]} better ({(value > 0).sum()})"),
        (value <= 0, COLORS[1], f"{labels[1]} better ({(value < 0).sum()})"),
    ):
        if own.any():
            ax.vlines(place[own], 0, value[own], color=color, linewidth=1.2)
            ax.plot(place[own], value[own], "o", markersize=3, color=color, label=words)
    ax.axhline(0, color="0.6", linewidth=1)
    chosen = np.argsort(-np.abs(value), kind="stable")[:named]
    rows = points.row.iloc[chosen]
    texts = [_row_name(row, names) for row in rows]
    _name_points(ax, place[chosen], value[chosen], texts)
    total, error = value.sum(), value.std(ddof=1) * math.sqrt(len(value))
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


def plot_influence(
    result: CrossValidation,
    ax: Axes | None = None,
    threshold: float | None = None,
    names: Sequence[str] | None = None,
    named: int = 5,
) -> Axes:
    """How far every fold moves the hyper-parameters, in posterior standard deviations.

    Args:
        result: A cross-validation with a fit to all rows (`fit` other than "refit" and
            "fixed").
        ax: Where to draw; default: new axes.
        threshold: That of `fit="adaptive"`, to be drawn as a line.
        names: Names of the folds; default: those that they have.
        named: How many of the largest ones to name.

    Returns:
        The axes.

    Raises:
        ValueError: If the result has no influences.
    """
    table = result.fit_table().dropna(subset="influence")
    if table.empty:
        raise ValueError(
            'result: expected a cross-validation by fit="warm", "predicted" or '
            '"adaptive"; this one has no influences'
        )
    ax = axes_of(ax)
    influence = table.groupby("fold", sort=False).influence.max()
    how = table.groupby("fold", sort=False).how.first()
    place = np.arange(len(influence))
    for i, kind in enumerate(dict.fromkeys(how)):
        own = (how == kind).to_numpy()
        color = COLORS[i % len(COLORS)]
        ax.vlines(place[own], 0, influence[own], color=color, linewidth=1)
        ax.plot(place[own], influence[own], "o", markersize=3, color=color, label=kind)
    chosen = np.argsort(-influence.to_numpy(), kind="stable")[:named]
    order = {name: i for i, name in enumerate(result.folds.names)}
    texts = [
        str(name if names is None else names[order[name]])
        for name in influence.index[chosen]
    ]
    _name_points(ax, place[chosen], influence.to_numpy()[chosen], texts)
    if threshold is not None:
        ax.axhline(threshold, color="black", linewidth=1, linestyle="--")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("fold")
    ax.set_ylabel("influence (posterior\nstandard deviations)")
    tidy(ax)
    if how.nunique() > 1:
        ax.legend(frameon=False, title="fitted", loc="best")
    return ax


def plot_hyperparameters(
    folds: pd.DataFrame,
    full: pd.DataFrame | None = None,
    ax: Axes | None = None,
    output: int = 0,
) -> Axes:
    """Every positive hyper-parameter over the folds, on a logarithmic axis.

    Args:
        folds: :func:`~botorch_xval.reporting.hyperparameters` of the folds'
            models.
        full: The same of the model of all rows.
        ax: Where to draw; default: new axes, high enough.
        output: Which output.

    Returns:
        The axes: dots are folds, the diamond is the fit to all rows, and the gray bar
        the central 95 % of the prior, with its median.

    Raises:
        ValueError: If there is no positive hyper-parameter.
    """
    folds = folds[(folds.output == output) & folds.positive & (folds.value > 0)]
    if folds.empty:
        raise ValueError("folds: expected at least one positive hyper-parameter")
    groups = list(folds.groupby(["part", "parameter"], sort=False))
    if ax is None:
        from matplotlib import pyplot as plt

        size = (7, 1.2 + 0.19 * len(groups))
        ax = plt.subplots(figsize=size, dpi=120, layout="constrained")[1]
    rng = np.random.default_rng(0)
    labels, first = [], {}
    for i, ((part, parameter), own) in enumerate(groups):
        y = -i
        first.setdefault(part, y)
        labels.append(parameter)
        low, middle, high = own[["prior_low", "prior_median", "prior_high"]].iloc[0]
        if low == low:
            ax.plot(
                (low, high),
                (y, y),
                color="0.88",
                linewidth=6,
                zorder=0,
                solid_capstyle="butt",
                label="prior, 95 %" if i == 0 else None,
            )
            ax.plot((middle,) * 2, (y - 0.3, y + 0.3), color="0.6", linewidth=1)
        ax.plot(
            own.value,
            y + rng.uniform(-0.22, 0.22, len(own)),
            linestyle="none",
            marker="o",
            markersize=2.2,
            color=COLORS[0],
            alpha=0.5,
            rasterized=True,  # thousands of them
            label="folds" if i == 0 else None,
        )
        if full is not None:
            match = full[
                (full.output == output)
                & (full.part == part)
                & (full.parameter == parameter)
            ]
            ax.plot(
                match.value,
                [y] * len(match),
                linestyle="none",
                marker="D",
                markersize=4,
                markerfacecolor="white",
                markeredgecolor=COLORS[1],
                label="all rows" if i == 0 else None,
            )
    for part, y in first.items():
        ax.axhline(y + 0.5, color="0.8", linewidth=0.8)
        words = part.replace("covar_module", "covariance").replace("base_kernel", "")
        ax.annotate(
            " ".join(words.replace(".", " ").split()),
            (1, y),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            xytext=(4, 0),
            ha="left",
            va="center",
            fontsize=7,
            color="0.45",
        )
    ax.set_xscale("log")
    ax.set_yticks(-np.arange(len(groups)), labels, fontsize=8)
    ax.set_ylim(-len(groups) + 0.4, 0.6)
    ax.set_xlabel("value")
    tidy(ax)
    ax.grid(axis="y", visible=False)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return ax


def _points(result: CrossValidation, output: int, scale: str) -> pd.DataFrame:
    """The points of one output that have a score."""
    outputs = result.mean.shape[-1]
    if not 0 <= output < outputs:
        raise ValueError(f"output: expected 0 to {outputs - 1}, got {output}")
    frame = result.to_frame(scale=scale)
    points = frame[frame.output == output].dropna(subset="log_density")
    if points.empty:
        raise ValueError("result: every fold has failed; there is nothing to draw")
    return points


def _labelled(what: str, scale: str) -> str:
    return f"{what} ({'standardized' if scale == 'model' else 'outcome'})"


def _row_name(row: int, names: Sequence[str] | None) -> str:
    return f"row {row}" if names is None else str(names[row])


def _name_points(ax: Axes, x: NDArray, y: NDArray, texts: Sequence[str]) -> None:
    """Texts beside points, towards the middle and below each other if too close."""
    middle = np.mean(ax.get_xlim())
    gap = 0.06 * np.ptp(ax.get_ylim())
    for side in (False, True):
        own = [i for i in np.argsort(-y) if (x[i] > middle) == side]
        last = np.inf
        for i in own:
            last = min(y[i], last - gap)
            ax.annotate(
                texts[i],
                (x[i], y[i]),
                xytext=(x[i] + (-0.02 if side else 0.02) * np.ptp(ax.get_xlim()), last),
                ha="right" if side else "left",
                va="center",
                fontsize=8,
                color="0.25",
                arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.5},
            )


def _two_colors(ax: Axes, x: NDArray, y: NDArray, outside: NDArray[np.bool_]) -> None:
    for own, color, words in (
        (~outside, COLORS[0], None),
        (outside, COLORS[1], f"outside ({outside.sum()})"),
    ):
        if own.any():
            ax.plot(x[own], y[own], "o", markersize=3.5, color=color, label=words)


def _distribution(values: NDArray, ax: Axes | None, difference: bool) -> Axes:
    """Empirical distribution of values that should be uniform, with its band."""
    ax = axes_of(ax)
    n = len(values)
    at = np.arange(1, GRID) / GRID
    low, high = _distribution_band(n)
    share = np.searchsorted(np.sort(values), at, side="right") / n
    minus = at if difference else 0.0
    ax.fill_between(
        at, low - minus, high - minus, color="0.92", label="95 % of all curves"
    )
    ax.plot(at, at - minus, color="0.5", linewidth=1, linestyle="--")
    outside = (share < low) | (share > high)
    ax.plot(at, share - minus, color=COLORS[0], linewidth=1.5, drawstyle="steps-mid")
    if outside.any():
        ax.plot(
            at[outside],
            (share - minus)[outside],
            ".",
            color=COLORS[1],
            label=f"outside at {outside.sum()} of {len(at)}",
        )
    ax.set_xlim(0, 1)
    tidy(ax)
    ax.legend(frameon=False, loc="best")
    return ax


@cache
def _distribution_band(n: int) -> tuple[NDArray, NDArray]:
    """Ends of the band of an empirical distribution of `n` uniform values."""
    at = np.arange(1, GRID) / GRID
    rng = np.random.default_rng(0)
    counts = np.stack(
        [
            np.searchsorted(np.sort(rng.uniform(size=n)), at, side="right")
            for _ in range(SIMULATIONS)
        ]
    )
    tails = 2 * np.minimum(
        stats.binom.cdf(counts, n, at), stats.binom.sf(counts - 1, n, at)
    )
    level = np.quantile(tails.min(axis=1), 1 - INTERVAL)
    return (
        stats.binom.ppf(level / 2, n, at) / n,
        stats.binom.ppf(1 - level / 2, n, at) / n,
    )


@cache
def _order_statistics_band(n: int) -> tuple[NDArray, NDArray]:
    """Ends of the band of the sorted values of `n` uniform ones."""
    rank = np.arange(1, n + 1)
    own = stats.beta(rank, n + 1 - rank)
    rng = np.random.default_rng(0)
    sorted_values = np.sort(rng.uniform(size=(SIMULATIONS, n)), axis=1)
    below = own.cdf(sorted_values)
    level = np.quantile(2 * np.minimum(below, 1 - below).min(axis=1), 1 - INTERVAL)
    return own.ppf(level / 2), own.ppf(1 - level / 2)
