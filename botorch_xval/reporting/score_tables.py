"""The parts of the report that show scores: the answer, its picture, the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.reporting.answer import answer, in_words, numbers
from botorch_xval.reporting.markup import Cell, Names, cell, folded, listed, table
from botorch_xval.reporting.plots.comparison import (
    plot_differences,
    plot_ranking,
    plot_scores,
)
from botorch_xval.reporting.plots.svg import Charts, Dots

__all__ = ["answer_part", "by_target", "score_part"]

COLUMNS = {
    "mean_log_density": (
        "log density",
        "mean log predictive density of held-out rows, nats per row; larger is better",
    ),
    "standard_error": ("se", "standard error of the log density, nats per row"),
    "difference": ("difference", "paired difference to the best, nats per row"),
    "difference_se": ("se", "standard error of the difference, nats per row"),
    "probability_worse": ("P(worse)", "probability of being worse than the best"),
    "weight": ("weight", "stacking weight, share of the best mixture"),
    "rmse": ("RMSE", "root mean squared error, in the unit of the target"),
    "failed": ("failed", "folds without a score"),
    "evaluations": ("evaluations", "of losses, of all models"),
    "seconds": ("seconds", "of computing, in all"),
}
COSTS = ("failed", "evaluations", "seconds")
OF_TARGETS = {
    "mean_log_density": ("log density", "mean over held-out rows, nats per row"),
    "standard_error": ("se", "standard error of the log density, nats per row"),
    "rmse": ("RMSE", "root mean squared error, in the unit of the target"),
    "mae": ("MAE", "mean absolute error, in the unit of the target"),
    "r2": ("R2", "1 - squared errors / squared deviations from the mean"),
    "coverage_95": ("inside 95 %", "share of rows inside their intervals of 95 %"),
}
EXPLANATION = (
    "<p>Log density is the mean log predictive density of held-out rows in nats "
    "(larger is better), with its standard error (se). A difference is paired, to the "
    "best configuration of the same size. A difference of d nats per row means that "
    "held-out rows get exp(d) times the density, as a geometric mean over rows.</p>"
    "<p>P(worse) is about the probability that a configuration is worse than the best "
    "one on further such rows. It comes from Student's t of the difference, whose "
    "standard error counts twice, because folds share training rows; the intervals of "
    "95 % are made in the same way. It takes all differences as equally probable "
    "beforehand and does not know that the best one was chosen, so among many "
    "configurations, nearly equal ones, or few rows it is too sure.</p>"
    "<p>The weight is that of stacking: the share that a configuration has in the "
    "mixture that predicts held-out rows best. RMSE is in the unit of the target.</p>"
)


def answer_part(
    comparison: Comparison, target: str, names: Names, charts: Charts
) -> str:
    """One sentence, one picture, and the numbers behind them.

    Args:
        comparison: The scores.
        target: Name of the outcome, or of all together.
        names: HTML of the names of configurations.
        charts: Draws the picture.
    """
    scores = comparison.table()
    text = (
        f'<p class="answer">{answer(scores, target, names)}</p>'
        f'<p class="numbers">{numbers(scores, names)}</p>'
    )
    last = _last(scores)
    if len(last) == 1:
        return text
    dots = Dots(
        last.difference.fillna(0.0).to_numpy(dtype=float),
        pd.Series(range(len(last))).to_numpy(dtype=float),
        [f"score-{i}" for i in range(len(last))],
        [f"{e.configuration}: {in_words(e) or 'the best'}" for e in last.itertuples()],
    )
    picture = charts.chart(
        lambda ax: plot_ranking(_shown(comparison, charts), ax),
        f"How far each configuration is behind the best at {last['size'].iloc[0]:,} "
        "rows: the paired difference, one standard error either way (thick), and its "
        "interval of 95 % (thin), for which the standard error counts twice.",
        height=0.9 + 0.24 * len(last),
        dots=dots,
    )
    return f'<div class="beside"><div>{text}</div>{picture}</div>'


def score_part(
    comparison: Comparison,
    names: Names,
    charts: Charts,
    has_one_target: bool,
    targets: str,
) -> str:
    """The tables of scores, the largest size first, and the chart by size.

    Args:
        comparison: The scores.
        names: HTML of the names of configurations.
        charts: Draws the charts.
        has_one_target: Whether squared errors are of one outcome, and have a unit.
        targets: The table of :func:`by_target`, or nothing.
    """
    scores = comparison.table()
    last = _last(scores)
    size = last["size"].iloc[0]
    of_size = [k for k in COLUMNS if k not in COSTS and (k != "rmse" or has_one_target)]
    saved = comparison.race().attrs["saved"]
    sizes = sorted(scores["size"].unique())
    notes = f"<p>At {size:,} rows{_groups(scores)}.</p>"
    if saved > 0:
        notes += f"<p>The race saved {saved:.0%} of the fits.</p>"
    largest = table(
        f"Scores at {size:,} rows",
        [("configuration", ""), *(COLUMNS[k] for k in of_size), ("in words", "")],
        [
            [names.cell(e.configuration), *_cells(e, of_size), cell(in_words(e))]
            for e in last.itertuples()
        ],
        ids=[f"score-{i}" for i in range(len(last))],
        first=1,
    )
    keys = [*of_size, *COSTS]
    everything = table(
        "Scores at all sizes, and what they cost",
        [
            *(("rows", "of the dataset"), ("configuration", "")),
            *(COLUMNS[k] for k in keys),
            ("in words", ""),
        ],
        [
            [
                *(cell(int(e.size)), names.cell(e.configuration)),
                *_cells(e, keys),
                cell(in_words(e)),
            ]
            for e in scores.sort_values(
                ["size", "rank"], ascending=[False, True]
            ).itertuples()
        ],
    )
    more = _by_size(comparison, names, charts) if len(sizes) > 1 else ""
    title = "What they cost"
    if len(sizes) > 1:
        title = f"All sizes ({listed([f'{s:,}' for s in sizes], 6)} rows), and costs"
    return (
        notes
        + largest
        + targets
        + folded("What these numbers mean", EXPLANATION)
        + folded(title, more + everything)
    )


def by_target(
    results: Mapping[str, CrossValidation], targets: Sequence[str], names: Names
) -> str:
    """Scores of each outcome by itself; nothing if there is one.

    Args:
        results: By name of a configuration its cross-validation.
        targets: Names of the outcomes.
        names: HTML of the names of configurations.
    """
    if len(targets) < 2 or not results:
        return ""
    rows = []
    for k, target in enumerate(targets):
        for name, result in results.items():
            scores = result.summary().loc[k]
            own = [cell(float(scores[key]), _digits(key)) for key in OF_TARGETS]
            rows.append([cell(target), names.cell(name), *own])
    return (
        "<h3>By target</h3><p>The scores above add the log densities of all targets. "
        "These are of each by itself, from the folds of the charts below.</p>"
        + table(
            "Scores of each target",
            [("target", ""), ("configuration", ""), *OF_TARGETS.values()],
            rows,
        )
    )


def _last(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["size"] == scores["size"].max()].sort_values("rank")


def _shown(comparison: Comparison, charts: Charts) -> Comparison:
    """The same with names that are short enough for charts."""
    return Comparison(
        *(
            frame.assign(configuration=frame.configuration.map(charts.short))
            for frame in (comparison.points, comparison.fits)
        )
    )


def _by_size(comparison: Comparison, names: Names, charts: Charts) -> str:
    shown = _shown(comparison, charts)
    first = charts.chart(
        lambda ax: plot_scores(shown, ax),
        "Scores by dataset size, one standard error either way.",
        has_legend=False,
    )
    second = charts.chart(
        lambda ax: plot_differences(shown, ax),
        "Paired differences to the best configuration of each size, one standard "
        "error either way.",
    )
    return f'{names.legend()}<div class="charts">{first}{second}</div>'


def _cells(entry: Any, keys: Sequence[str]) -> list[Cell]:
    return [cell(getattr(entry, key), _digits(key)) for key in keys]


def _digits(key: str) -> str:
    return "#.3g" if key in ("rmse", "mae") else ""


def _groups(scores: pd.DataFrame) -> str:
    """What standard errors take as independent, if it is not the rows."""
    if (scores["groups"] == scores["rows"]).all():
        return ""
    return "; standard errors take groups of rows as independent, not rows"
