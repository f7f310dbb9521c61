"""Plots of the calibration of a cross-validation: is the stated uncertainty right?

Bands are simultaneous: with a calibrated model the whole curve stays inside with a
probability of 95 %. The level of each band is found by simulation (Säilynoja, Bürkner &
Vehtari 2022) for independent points. Folds share training rows, so for held-out points
the probability is only nearly that.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import stats

from botorch_xval.cross_validation.points import INTERVAL
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.reporting.plots.style import COLORS, axes_of, points_of, tidy

__all__ = [
    "distribution_band",
    "order_statistics_band",
    "plot_calibration",
    "plot_normal_quantiles",
    "plot_pit",
]

Array: TypeAlias = NDArray[Any]

SIMULATIONS = 2000
GRID = 100  # an empirical distribution is compared at 1 / 100, ..., 99 / 100


def plot_normal_quantiles(
    result: CrossValidation, ax: Axes | None = None, *, output: int = 0
) -> Axes:
    """Draw sorted standardized errors against normal quantiles, with a band.

    Leave-one-out errors are correlated, even if the model is right. If the result has
    `whitened` errors (with every `fit` but "refit"), these are drawn instead.

    Args:
        result: A cross-validation.
        ax: Where to draw; default: new axes.
        output: Number of the output.

    Returns:
        The axes. Points outside of the band are orange.

    Raises:
        ValueError: If an argument is not as described, or every fold has failed.
    """
    errors = points_of(result, output).z_score.to_numpy()
    what = "standardized errors (correlated)"
    if result.whitened is not None:
        errors, what = result.whitened[:, output].cpu().numpy(), "whitened errors"
    ax = axes_of(ax)
    errors = np.sort(errors)
    n = len(errors)
    low, high = (stats.norm.ppf(end) for end in order_statistics_band(n))
    quantiles = stats.norm.ppf((np.arange(1, n + 1) - 0.5) / n)
    ax.fill_between(quantiles, low, high, color="0.92", label="95 % of all curves")
    ax.plot(quantiles, quantiles, color="0.5", linewidth=1, linestyle="--")
    outside = (errors < low) | (errors > high)
    for chosen, color, words in (
        (~outside, COLORS[0], None),
        (outside, COLORS[1], f"outside ({outside.sum()})"),
    ):
        if chosen.any():
            x, y = quantiles[chosen], errors[chosen]
            ax.plot(x, y, "o", markersize=3.5, color=color, label=words)
    ax.set_xlabel("normal quantile")
    ax.set_ylabel(what)
    tidy(ax)
    ax.legend(frameon=False, loc="upper left")
    return ax


def plot_pit(
    result: CrossValidation, ax: Axes | None = None, *, output: int = 0
) -> Axes:
    """Draw the distribution of PIT values minus the uniform one, with a band.

    The probability integral transform (PIT) of an observation is the predicted
    probability of a smaller outcome. If predictions are too confident, the curve goes
    first up and then down; if they are too high, it lies above zero.

    Args:
        result: A cross-validation.
        ax: Where to draw; default: new axes.
        output: Number of the output.

    Returns:
        The axes: PIT values against a difference of probabilities.

    Raises:
        ValueError: If an argument is not as described, or every fold has failed.
    """
    pit = points_of(result, output).pit.to_numpy()
    ax = _draw_distribution(pit, ax, minus_uniform=True)
    ax.set_xlabel("PIT value")
    ax.set_ylabel("share of points below,\nminus expected")
    return ax


def plot_calibration(
    result: CrossValidation, ax: Axes | None = None, *, output: int = 0
) -> Axes:
    """Draw the share of observations inside of central intervals by their probability.

    Args:
        result: A cross-validation.
        ax: Where to draw; default: new axes.
        output: Number of the output.

    Returns:
        The axes, with a band. A curve below the diagonal means that predictions are too
        confident.

    Raises:
        ValueError: If an argument is not as described, or every fold has failed.
    """
    pit = points_of(result, output).pit.to_numpy()
    # The smallest central interval with the observation has probability |2 PIT - 1|.
    ax = _draw_distribution(np.abs(2 * pit - 1), ax, minus_uniform=False)
    ax.set_xlabel("probability of the interval")
    ax.set_ylabel("share of observations inside")
    return ax


def _draw_distribution(values: Array, ax: Axes | None, minus_uniform: bool) -> Axes:
    """Empirical distribution of values that should be uniform, with its band."""
    ax = axes_of(ax)
    n = len(values)
    at = np.arange(1, GRID) / GRID
    low, high = distribution_band(n)
    share = np.searchsorted(np.sort(values), at, side="right") / n
    minus = at if minus_uniform else np.zeros_like(at)
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
def distribution_band(n: int) -> tuple[Array, Array]:
    """The band of the empirical distribution of independent uniform values.

    Args:
        n: How many values.

    Returns:
        Its lower and upper ends at 1 / 100, ..., 99 / 100.
    """
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
def order_statistics_band(n: int) -> tuple[Array, Array]:
    """The band of sorted independent uniform values.

    Args:
        n: How many values.

    Returns:
        Its lower and upper ends for the smallest value, ..., the largest.
    """
    rank = np.arange(1, n + 1)
    order_statistics = stats.beta(rank, n + 1 - rank)
    rng = np.random.default_rng(0)
    sorted_values = np.sort(rng.uniform(size=(SIMULATIONS, n)), axis=1)
    below = order_statistics.cdf(sorted_values)
    tails = 2 * np.minimum(below, 1 - below)
    level = np.quantile(tails.min(axis=1), 1 - INTERVAL)
    return order_statistics.ppf(level / 2), order_statistics.ppf(1 - level / 2)
