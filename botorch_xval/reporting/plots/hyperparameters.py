"""Plots of hyper-parameters over the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from botorch_xval.cross_validation.psis import largest_shape
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.models.checks import (
    check_names,
    check_number,
    check_type,
    check_whole,
)
from botorch_xval.reporting.plots.style import (
    COLORS,
    axes_of,
    name_points,
    tidy,
)

__all__ = ["plot_hyperparameters", "plot_influence", "plot_pareto_k"]

MANY = 100  # dots on one line
COLUMNS = {"output", "part", "parameter", "value", "positive", "prior_low"}


def plot_influence(
    result: CrossValidation,
    ax: Axes | None = None,
    *,
    threshold: float | None = None,
    names: Sequence[str] | None = None,
    named: int = 5,
) -> Axes:
    """Draw how far leaving out each fold moves the hyper-parameters.

    Args:
        result: A cross-validation by `fit="warm"` or "adaptive".
        ax: Where to draw; default: new axes.
        threshold: The `threshold` of `fit="adaptive"`, drawn as a line.
        names: Names of all folds; default: those of the result.
        named: How many of the largest influences to name.

    Returns:
        The axes: folds against their influence, in posterior standard deviations of the
        fit to all rows.

    Raises:
        ValueError: If the result has no influences, or `ax` is no axes.
    """
    check_type("result", result, CrossValidation, "pass one of `cross_validate`")
    table = result.fit_table().dropna(subset="influence")
    if table.empty:
        raise ValueError(
            "result: expected a cross-validation with influences, got one with none of "
            'them; cross-validate with fit="warm" or "adaptive"'
        )
    _check_named(result, names, named)
    if threshold is not None:
        check_number("threshold", threshold)
    ax = axes_of(ax)
    influence = table.groupby("fold", sort=False).influence.max()
    how = table.groupby("fold", sort=False).how.first()
    place, value = np.arange(len(influence)), influence.to_numpy()
    for i, kind in enumerate(dict.fromkeys(how)):
        chosen = (how == kind).to_numpy()
        x, y, color = place[chosen], value[chosen], COLORS[i % len(COLORS)]
        ax.vlines(x, 0, y, color=color, linewidth=1)
        ax.plot(x, y, "o", markersize=3, color=color, label=kind)
    largest = np.argsort(-value, kind="stable")[:named]
    numbers = {name: i for i, name in enumerate(result.folds.names)}
    texts = [
        str(name if names is None else names[numbers[name]])
        for name in influence.index[largest]
    ]
    name_points(ax, place[largest], value[largest], texts)
    if threshold is not None:
        ax.axhline(threshold, color="black", linewidth=1, linestyle="--")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("fold")
    ax.set_ylabel("influence (posterior\nstandard deviations)")
    tidy(ax)
    if how.nunique() > 1:
        ax.legend(frameon=False, title="fitted", loc="best")
    return ax


def plot_pareto_k(
    result: CrossValidation,
    ax: Axes | None = None,
    *,
    names: Sequence[str] | None = None,
    named: int = 5,
) -> Axes:
    """Draw how far the draws of all rows can stand for those of each fold.

    Args:
        result: A cross-validation by `fit="posterior"`.
        ax: Where to draw; default: new axes.
        names: Names of all folds; default: those of the result.
        named: How many of the largest shapes to name.

    Returns:
        The axes: folds against Pareto's `k` of their importance weights. Folds with
        draws of their own have a color of their own; those above the dashed line are
        among them.

    Raises:
        ValueError: If the result has no such weights, or `ax` is no axes.
    """
    check_type("result", result, CrossValidation, "pass one of `cross_validate`")
    table = result.fit_table().dropna(subset="pareto_k")
    if table.empty or result.mixture is None:
        raise ValueError(
            "result: expected a cross-validation with importance weights, got one that "
            'has none; cross-validate with fit="posterior"'
        )
    _check_named(result, names, named)
    ax = axes_of(ax)
    worst = table.loc[table.groupby("fold", sort=False).pareto_k.idxmax()]
    limit = largest_shape(result.mixture.weights.shape[1])
    value = worst.pareto_k.to_numpy()
    # Without a tail that can be fitted a shape is infinite.
    value = np.where(np.isinf(value), max(1.0, limit) + 1.0, value)
    place = np.arange(len(value))
    again = worst.fold.isin(table.fold[table.how != "reweighted"]).to_numpy()
    for chosen, color, words in (
        (~again, COLORS[0], f"reweighted ({(~again).sum()})"),
        (again, COLORS[1], f"drawn again ({again.sum()})"),
    ):
        if chosen.any():
            x, y = place[chosen], value[chosen]
            ax.plot(x, y, "o", markersize=4, color=color, label=words)
    ax.axhline(0, color="0.6", linewidth=1, zorder=0)
    ax.axhline(limit, color="black", linewidth=1, linestyle="--", zorder=0)
    largest = np.argsort(-value, kind="stable")[:named]
    numbers = {name: i for i, name in enumerate(result.folds.names)}
    folds = worst.fold.to_numpy()
    texts = [
        str(folds[i] if names is None else names[numbers[folds[i]]]) for i in largest
    ]
    name_points(ax, place[largest], value[largest], texts)
    ax.set_xlabel("fold")
    ax.set_ylabel("Pareto k of the weights")
    tidy(ax)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def plot_hyperparameters(
    table: pd.DataFrame,
    ax: Axes | None = None,
    *,
    full: pd.DataFrame | None = None,
    output: int = 0,
) -> Axes:
    """Draw every positive hyper-parameter over the folds, on a logarithmic axis.

    Args:
        table: A table of :func:`~botorch_xval.reporting.hyperparameters`, of the models
            of the folds.
        ax: Where to draw; default: new axes, with room for all hyper-parameters.
        full: The same of the model of all rows.
        output: Number of the output.

    Returns:
        The axes. A dot is a fold, the diamond the fit to all rows, the gray bar the
        central 95 % of the prior with its median.

    Raises:
        ValueError: If a table is something else, or has no positive hyper-parameter.
    """
    _check_table("table", table)
    if full is not None:
        _check_table("full", full)
        full = full[full.output == output]
    shown = table[(table.output == output) & table.positive & (table.value > 0)]
    if shown.empty:
        raise ValueError(
            "table: expected at least one positive hyper-parameter of output "
            f"{output}, got none; pass an output that the table has"
        )
    groups = list(shown.groupby(["part", "parameter"], sort=False))
    heights = _heights([part for (part, _), _ in groups])
    if ax is None:
        ax = axes_of(None, figsize=(7, 1.2 - 0.19 * heights[-1]), dpi=120)
    ax = axes_of(ax)
    rng = np.random.default_rng(0)
    first: dict[Hashable, float] = {}
    for y, ((part, parameter), rows) in zip(heights, groups, strict=True):
        first.setdefault(part, y)
        same = None
        if full is not None:
            same = full[(full.part == part) & (full.parameter == parameter)]
        _draw_hyperparameter(ax, y, rows, same, rng, is_first=y == heights[0])
    _name_parts(ax, first)
    ax.set_xscale("log")
    labels = [parameter for (_, parameter), _ in groups]
    ax.set_yticks(heights, labels, fontsize=8)
    ax.set_ylim(heights[-1] - 0.6, 0.6)
    ax.set_xlabel("value")
    tidy(ax)
    ax.grid(axis="y", visible=False)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return ax


def _heights(parts: Sequence[Hashable]) -> list[float]:
    """Where each hyper-parameter stands: a line for each, and one above each part."""
    first = [i == 0 or part != parts[i - 1] for i, part in enumerate(parts)]
    return [float(-y) for y in np.arange(len(parts)) + np.cumsum(first)]


def _check_named(
    result: CrossValidation, names: Sequence[str] | None, named: int
) -> None:
    """Which folds are to be named, and how."""
    if names is not None:
        check_names("names", names, len(result.folds.names), "folds")
    check_whole("named", named, 0)


def _check_table(name: str, table: pd.DataFrame) -> None:
    advice = "pass a table, `hyperparameters(result.models)`"
    check_type(name, table, pd.DataFrame, advice)
    if missing := COLUMNS - set(table.columns):
        raise ValueError(
            f"{name}: expected a table of hyper-parameters, got one without the "
            f"columns {sorted(missing)}; {advice}"
        )


def _draw_hyperparameter(
    ax: Axes,
    y: float,
    rows: pd.DataFrame,
    full: pd.DataFrame | None,
    rng: np.random.Generator,
    is_first: bool,
) -> None:
    """Prior, folds and the fit to all rows on one line; the first line has labels."""
    low, middle, high = rows[["prior_low", "prior_median", "prior_high"]].iloc[0]
    if low == low:  # else there is no prior with known quantiles
        ax.plot(
            (low, high),
            (y, y),
            color="0.88",
            linewidth=6,
            zorder=0,
            solid_capstyle="butt",
            label="prior, 95 %" if is_first else None,
        )
        ax.plot((middle, middle), (y - 0.3, y + 0.3), color="0.6", linewidth=1)
    ax.plot(
        rows.value,
        y + rng.uniform(-0.22, 0.22, len(rows)),
        linestyle="none",
        marker="o",
        markersize=2.2,
        color=COLORS[0],
        alpha=0.5,
        rasterized=len(rows) > MANY,  # there may be thousands
        label="folds" if is_first else None,
    )
    if full is not None:
        ax.plot(
            full.value,
            [y] * len(full),
            linestyle="none",
            marker="D",
            markersize=4,
            markerfacecolor="white",
            markeredgecolor=COLORS[1],
            label="all rows" if is_first else None,
        )


def _name_parts(ax: Axes, first: Mapping[Hashable, float]) -> None:
    """The name of every part of the model, above its first hyper-parameter."""
    for part, y in first.items():
        ax.axhline(y + 1.5, color="0.8", linewidth=0.8)
        words = str(part).replace("covar_module", "covariance")
        words = words.replace("base_kernel", "").replace(".", " ")
        ax.annotate(
            " ".join(words.split()),
            (0, y + 1),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            xytext=(4, 0),
            va="center",
            fontsize=8,
            color="0.45",
        )
