"""What the command line says and draws beside the scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd
from botorch.models.model import Model
from gpytorch.mlls import MarginalLogLikelihood

from botorch_xval.command_line.tables import Trials
from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.cross_validate import cross_validate
from botorch_xval.cross_validation.outliers import FEWEST, WithoutRows
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.cross_validation.without_rows import find_outliers

__all__ = [
    "cross_validate_each",
    "list_other_optima",
    "plain_warnings",
    "write_comparison",
]

FAR = 0.1  # nats between log densities of one row, from which on optima are others


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print every warning once, as text: its place in the code says nothing here."""
    told = set()

    def text(message: Warning | str, *_args: Any, **_kwargs: Any) -> str:
        line = f"botorch-xval: warning: {message}\n"
        is_new = line not in told
        told.add(line)
        return line * is_new

    before, warnings.formatwarning = warnings.formatwarning, text
    try:
        yield
    finally:
        warnings.formatwarning = before


def cross_validate_each(
    trials: Trials,
    rows: Sequence[int],
    models: Mapping[str, Callable[..., Model]],
    mlls: Mapping[str, type[MarginalLogLikelihood]],
    end: float,
) -> tuple[dict[str, CrossValidation], dict[str, WithoutRows], list[str]]:
    """A cross-validation of each configuration, with and without outliers, for charts.

    Args:
        trials: The table.
        rows: Numbers of the rows to take.
        models: By name of a configuration its model, those that matter most first.
        mlls: By name what it is fitted by.
        end: When none but the first is begun any more, by the monotonic clock.

    Returns:
        By name what was found, and notes on configurations without a chart.
    """
    results: dict[str, CrossValidation] = {}
    without: dict[str, WithoutRows] = {}
    notes = []
    data_of, names = trials.table, trials.row_names
    groups = trials.groups and [trials.groups[row] for row in rows]
    for name, model in models.items():
        if results and monotonic() >= end:
            notes.append(f"No charts of {name}: time was over.")
            continue
        data = model, data_of.X[rows], data_of.Y[rows]
        how: dict[str, Any] = {"fit": "warm", "mll": mlls[name], "keep_models": True}
        try:
            results[name] = cross_validate(*data, groups=groups, progress=True, **how)
            if len(rows) - len(results[name].failed) < FEWEST or monotonic() >= end:
                continue
            without[name] = find_outliers(
                results[name], *data, names=[names[row] for row in rows], **how
            )
        except Exception as error:  # of one configuration
            what = "outliers" if name in results else "charts"
            notes.append(f"No {what} of {name}: {error}")
    if any(result.models is None for result in results.values()):
        notes.append(
            "The models are not shown: some rows lack a target, so that each target "
            "has folds of its own."
        )
    return results, without, notes


def list_other_optima(
    points: pd.DataFrame, results: Mapping[str, CrossValidation], rows: Sequence[int]
) -> list[str]:
    """Where folds of the charts ended in other optima than those of the scores.

    Args:
        points: Scores of refits at the size of the charts, see :class:`Comparison`.
        results: By name of a configuration its charts' cross-validation.
        rows: Numbers of its rows in the table.

    Returns:
        A note for each such configuration.
    """
    notes = []
    for name, result in results.items():
        own = points[points.configuration == name].drop_duplicates("row")
        scored = own.set_index("row").log_density
        drawn = result.summed_log_density.cpu().numpy()
        gaps = drawn - scored[[rows[i] for i in result.rows.tolist()]].to_numpy()
        if far := int((abs(gaps) > FAR).sum()):
            notes.append(
                f"{name}: {far} of {len(gaps)} held-out rows of the charts have "
                "another optimum than in the scores, whose log density differs by "
                f"{np.nansum(gaps):+.2f} nats in all; the scores, of refits, count."
            )
    return notes


def write_comparison(
    folder: Path,
    trials: Trials,
    comparison: Comparison,
    results: Mapping[str, CrossValidation],
    without: Mapping[str, WithoutRows],
    rows: Sequence[int],
    notes: Sequence[str],
) -> None:
    """Write scores.png, losses.png and report.html."""
    # Here, so that `--help` and errors in the table do not wait for matplotlib.
    from matplotlib import pyplot as plt

    from botorch_xval.reporting.plots import (
        plot_active_models,
        plot_comparison,
        plot_losses,
    )
    from botorch_xval.reporting.plots.style import figure_of
    from botorch_xval.reporting.report import write_report

    plt.switch_backend("agg")  # files only, no window
    top, _ = plot_comparison(comparison)
    figure_of(top).savefig(folder / "scores.png", dpi=150)
    figures = {}
    for name, result in list(results.items())[:1]:
        ax = plt.subplots(figsize=(7, 4.8), layout="constrained")[1]
        plot_losses(result.records, ax, label="fold")
        figure_of(ax).savefig(folder / "losses.png", dpi=150)
        number = len(result.folds.names)
        caption = f"The {number} folds of {name!r}, each with its own optimizer."
        figures[caption] = figure_of(ax)
        ax = plt.subplots(figsize=(7, 3.4), layout="constrained")[1]
        plot_active_models(result.records, ax, label="fold")
        figures["A fold that has converged costs nothing more."] = figure_of(ax)
    names = trials.row_names
    write_report(
        folder / "report.html",
        comparison,
        results,
        target=trials.table.target_names,
        data=trials.table.summary(),
        features=trials.table.feature_names,
        row_names=[names[row] for row in rows],
        without=without,
        figures=figures,
        notes=notes,
    )
    plt.close("all")
