"""A comparison as one self-contained HTML page: scores, charts, the fitted models.

Importing this module imports matplotlib.
"""

from __future__ import annotations

import base64
import io
import platform
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from botorch_xval.comparison.files import write_in_full
from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.difference import difference
from botorch_xval.cross_validation.outliers import WithoutRows
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.reporting import advice, plots
from botorch_xval.reporting.diagnosis import summarize_fits
from botorch_xval.reporting.expressions import describe, document, model_panels
from botorch_xval.reporting.hyperparameters import hyperparameters
from botorch_xval.reporting.optima import in_other_optima
from botorch_xval.reporting.plots.style import figure_of

__all__ = ["write_report"]

PACKAGES = ("botorch_xval", "botorch", "gpytorch", "torch", "scipy", "numpy")
COLUMNS = {
    "size": "rows",
    "configuration": "configuration",
    "mean_log_density": "log density",
    "standard_error": "se",
    "difference": "difference",
    "difference_se": "se",
    "probability_worse": "P(worse)",
    "weight": "weight",
    "rmse": "RMSE",
    "failed": "failed",
    "evaluations": "evaluations",
    "seconds": "seconds",
}


def write_report(
    path: str | Path,
    comparison: Comparison,
    results: Mapping[str, CrossValidation],
    *,
    target: str,
    data: str,
    features: Sequence[str] | None = None,
    row_names: Sequence[str] | None = None,
    without: Mapping[str, WithoutRows] | None = None,
    figures: Mapping[str, Figure] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write a comparison as one self-contained HTML page.

    Args:
        path: The file to write (UTF-8); an existing one is replaced.
        comparison: The scores.
        results: By name of a configuration, the cross-validation that its charts show.
            All have the same folds; with `keep_models` the report also shows the fitted
            models. A configuration without one has scores only.
        target: Name of the outcome.
        data: One sentence on the data, such as how many rows were left out.
        features: Names of the input columns; default: `x0`, `x1`, ...
        row_names: Names of the rows of the results; default: their numbers.
        without: By name of a configuration its outliers, and the cross-validation
            without them (:func:`~botorch_xval.cross_validation.find_outliers`).
        figures: Further charts, by caption. They are closed.
        notes: Sentences on how the models were fitted.

    Raises:
        ValueError: If the results have other folds than each other, or there are more
            or fewer names than columns.
    """
    table = comparison.table()
    order = [name for name in _by_rank(table) if name in results]
    answer = f'<p class="answer">{escape(_answer(table, target))}</p>'
    sections = {
        "The answer": answer,
        "Scores": _scores(table, comparison) + _score_chart(comparison),
    }
    if len(order) > 1:
        sections["Which points decide?"] = _decisive(order, results, row_names)
    if text := _advice(order, comparison, results, without or {}, features):
        sections["What to do with it"] = text
    sections["Each configuration"] = _diagnostics(order, results, features, row_names)
    if figures:
        charts = [_figure(figure, caption) for caption, figure in figures.items()]
        sections["How the folds are fitted"] = "".join(charts)
    facts = "".join(f"<p>{escape(text)}</p>" for text in (data, *notes))
    sections["Data and method"] = facts + _versions()
    body = "".join(
        f"<section><h2>{title}</h2>{content}</section>\n"
        for title, content in sections.items()
    )
    body = f'<div class="report">{body}</div>\n'
    body += _models(order, results, features, row_names)
    lead = f"<p>Which configuration predicts held-out {escape(target)} best?</p>"
    style = "\n" + files(__package__).joinpath("report.css").read_text("utf-8")
    page = document("Comparison by cross-validation", lead, body, style)
    write_in_full(Path(path), page)


def _by_rank(table: pd.DataFrame) -> list[str]:
    """Names of the configurations, the best one at the largest size first."""
    last = table[table["size"] == table["size"].max()].sort_values("rank")
    return list(last.configuration)


def _answer(table: pd.DataFrame, target: str) -> str:
    size = table["size"].max()
    last = table[table["size"] == size].sort_values("rank")
    best = last.iloc[0]
    text = (
        f"With {size} rows, {best.configuration!r} predicts held-out {target} best: "
        f"{best.mean_log_density:.3f} nats per row, standard error "
        f"{best.standard_error:.3f}."
    )
    if len(last) == 1:
        return text
    if "chosen" in best.caution:
        bias = table.attrs["selection_bias"][size] / best.rows
        text += (
            f" It is the best of {len(last)}, and up to about {bias:.3f} nats per row "
            "of that come from having been chosen."
        )
    second = last.iloc[1]
    text += (
        f" The next, {second.configuration!r}, is behind by "
        f"{abs(second.difference):.3f} nats per row, standard error "
        f"{second.difference_se:.3f}"
    )
    if second.probability_worse == second.probability_worse:
        text += f", and worse with a probability of {second.probability_worse:.0%}"
    return f"{text} ({second.caution})." if second.caution else f"{text}."


def _scores(table: pd.DataFrame, comparison: Comparison) -> str:
    rows = []
    for _, block in table.groupby("size"):
        for i, row in enumerate(block.sort_values("rank").to_dict("records")):
            cells = "".join(f"<td>{_cell(row[key])}</td>" for key in COLUMNS)
            style = ' class="first"' * (i == 0)
            rows.append(f"<tr{style}>{cells}</tr>")
            if row["caution"]:
                rows.append(
                    f'<tr><td></td><td class="caution" colspan="{len(COLUMNS) - 1}">'
                    f"{escape(row['caution'])}</td></tr>"
                )
    head = "".join(f'<th scope="col">{word}</th>' for word in COLUMNS.values())
    saved = comparison.race().attrs["saved"]
    race = f"<p>The race saved {saved:.0%} of the fits.</p>" if saved > 0 else ""
    return (
        "<p>Mean log predictive density of held-out rows in nats (larger is better) "
        "with its standard error, the paired difference to the best configuration of "
        "each size, and the stacking weight: the share that a configuration has in the "
        f"mixture that predicts held-out rows best.{_groups(table)}</p>{race}"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _groups(table: pd.DataFrame) -> str:
    """What standard errors take as independent, if it is not the rows."""
    if (table["groups"] == table["rows"]).all():
        return ""
    return " Standard errors take groups of rows as independent, not rows."


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return escape(value)
    if value != value:  # NaN: not known
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3f}"
    return f"{value:,}"


def _score_chart(comparison: Comparison) -> str:
    if comparison.points["size"].nunique() < 2:
        return ""
    return _figure(
        figure_of(plots.plot_comparison(comparison)[0]),
        "Scores by dataset size, one standard error either way; below, the paired "
        "differences to the best configuration of each size.",
    )


def _decisive(
    order: list[str],
    results: Mapping[str, CrossValidation],
    row_names: Sequence[str] | None,
) -> str:
    best, second = order[:2]
    ax = plt.subplots(figsize=(9, 4), layout="constrained")[1]
    points = difference(results[best], results[second])
    plots.plot_pointwise(points, ax, labels=(best, second), names=row_names)
    return _figure(
        figure_of(ax),
        "The difference of every held-out row. A difference that hangs on one or two "
        "rows says more about these rows than about the configurations.",
    )


def _advice(
    order: list[str],
    comparison: Comparison,
    results: Mapping[str, CrossValidation],
    without: Mapping[str, WithoutRows],
    features: Sequence[str] | None,
) -> str:
    text = ""
    if curve := advice.curve_of(comparison):
        best = advice.first_of(curve, order)
        sentences = advice.more_rows(comparison, curve, best)
        ax = plots.plot_learning_curve(curve, more=advice.MORE, named=[best])
        text += f"<h3>More trials</h3>{sentences}" + _figure(
            figure_of(ax),
            "Scores by dataset size, one standard error either way, and the curve "
            "through them in its band of 95 %, dashed beyond the largest size.",
        )
    if without:
        own = {name: without[name] for name in order if name in without}
        found = advice.suspicious(own, results, features)
        text += f"<h3>Suspicious trials</h3>{found}"
    if factors := advice.recalibrations({name: results[name] for name in order}):
        text += (
            "<h3>Recalibration</h3><p>A factor on the predicted variance, by the CRPS "
            "of held-out points, tested with factors from other folds. Their models "
            "have seen the fold's rows; a test without this is "
            f"<code>recalibrate_nested</code>.</p>{factors}"
        )
    return text


def _diagnostics(
    order: list[str],
    results: Mapping[str, CrossValidation],
    features: Sequence[str] | None,
    row_names: Sequence[str] | None,
) -> str:
    text = ""
    for i, name in enumerate(order):
        result = results[name]
        folds = _fold_names(result, row_names)
        axes = plots.plot_diagnostics(result, names=row_names, folds=folds)
        charts = _figure(
            figure_of(axes[0, 0]),
            "Predictions and their intervals; standardized errors; their whitened "
            "quantiles; PIT values; coverage of central intervals; and how far each "
            "fold moves the hyper-parameters. Gray bands hold 95 % of all curves of a "
            "calibrated model.",
        )
        found = summarize_fits(result.records, result.models, features)
        if result.models:
            table = hyperparameters(result.models, features)
            full = result.full_model
            of_all = None if full is None else hyperparameters(full, features)
            charts += _figure(
                figure_of(plots.plot_hyperparameters(table, full=of_all)),
                "Positive hyper-parameters over the folds, that of all rows, and the "
                "prior.",
            )
        text += (
            f"<details{' open' * (i == 0)}><summary>{escape(name)}</summary>"
            f"<pre>{escape(found)}</pre>{charts}</details>\n"
        )
    return text


def _models(
    order: list[str],
    results: Mapping[str, CrossValidation],
    features: Sequence[str] | None,
    row_names: Sequence[str] | None,
) -> str:
    """The fitted models side by side; nothing if none were kept."""
    kept = {name: results[name] for name in order if results[name].models}
    if not kept:
        return ""
    described = {n: describe(result.models, features) for n, result in kept.items()}
    names = _fold_names(next(iter(kept.values())), row_names)
    elsewhere = {
        fit.fold
        for result in kept.values()
        for k in {fit.output for fit in result.fits}
        for fits in [[fit for fit in result.fits if fit.output == k]]
        for fit in [fits[i] for i in in_other_optima([f.record for f in fits])]
    }
    names = [
        f"{name} (in another optimum)" * (i in elsewhere) or name
        for i, name in enumerate(names)
    ]
    return (
        '<div class="report"><section><h2>The fitted models</h2><p>Every value '
        "stands where it acts: the median over the folds, with the smallest and "
        "the largest. A dot is one fold; point at it, or choose a row, to follow "
        "that fold through all models.</p></section></div>\n"
    ) + model_panels(described, held_out=names)


def _fold_names(result: CrossValidation, row_names: Sequence[str] | None) -> list[str]:
    """What every fold holds out."""
    if row_names is None:
        return list(result.folds.names)
    return [
        ", ".join(row_names[i] for i in held_out.nonzero()[:, 0].tolist())
        for held_out in result.folds.held_out
    ]


def _figure(figure: Figure, caption: str) -> str:
    """A figure as an SVG image within the page; closes the figure."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "botorch_xval"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" '
        f'src="data:image/svg+xml;base64,{encoded}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _versions() -> str:
    found = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"<p>Python {platform.python_version()}, {escape(found)}.</p>"
