"""A comparison as one self-contained HTML page: scores, charts, the fitted models.

Nothing is computed here but what the charts show of the results.
"""

from __future__ import annotations

import base64
import io
import platform
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.result import CrossValidation, difference
from botorch_xval.reporting.expressions.description import describe
from botorch_xval.reporting.expressions.page import document, model_panels
from botorch_xval.reporting.hyperparameters import hyperparameters, summarize_fits
from botorch_xval.reporting.plots import fits as plots
from botorch_xval.reporting.plots import validation as validation_plots

__all__ = ["diagnostic_figure", "write_report"]

PACKAGES = ("botorch_xval", "botorch", "gpytorch", "torch", "scipy", "numpy")

STYLE = """
.report { max-width: 62rem; }
.report section { margin-top: 2.25rem; }
.report p { max-width: 44rem; margin: .4rem 0; }
.answer { font-size: 1.15rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: .2rem .7rem .2rem 0; text-align: right; white-space: nowrap; }
th { font-weight: 400; color: var(--soft); border-bottom: 1px solid var(--line); }
td { font-variant-numeric: tabular-nums; }
th:nth-child(2), td:nth-child(2) { text-align: left; }
tr.first td { border-top: 1px solid var(--guide); font-weight: 600; }
td.caution {
  color: var(--soft); text-align: left; white-space: normal; font-size: .8125rem;
}
figure { margin: 1rem 0 0; }
figure img {
  display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px;
}
figcaption { color: var(--soft); font-size: .875rem; max-width: 44rem; }
details { margin-top: .75rem; }
summary { cursor: pointer; }
pre { white-space: pre-wrap; font-size: .8125rem; margin: .5rem 0; }
"""


def write_report(
    path: str | Path,
    comparison: Comparison,
    results: Mapping[str, CrossValidation],
    *,
    target: str,
    data: str,
    features: Sequence[str] | None = None,
    row_names: Sequence[str] | None = None,
    figures: Mapping[str, Figure] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write a comparison as one self-contained HTML page.

    Args:
        path: The file to write (UTF-8); an existing one is replaced.
        comparison: The scores.
        results: By name of a configuration, a cross-validation of the rows that the
            charts are to show, with `keep_models`; all of the same folds.
        target: Name of the outcome.
        data: What the data are and what was left out of them, in words.
        features: Names of the input columns.
        row_names: Names of the rows of the results.
        figures: Further charts, by caption.
        notes: How it was fitted, one sentence each.
    """
    table = comparison.table()
    order = [n for n in _by_rank(table) if n in results]
    sections = [
        _section(
            "The answer", f'<p class="answer">{escape(_answer(table, target))}</p>'
        ),
        _section("Scores", _scores(table, comparison) + _score_chart(comparison)),
    ]
    if len(order) > 1:
        sections.append(
            _section("Which points decide?", _decisive(order, results, row_names))
        )
    sections.append(
        _section(
            "Each configuration", _diagnostics(order, results, features, row_names)
        )
    )
    if figures:
        charts = "".join(_figure(f, caption) for caption, f in figures.items())
        sections.append(_section("How the folds are fitted", charts))
    facts = "".join(f"<p>{escape(note)}</p>" for note in notes)
    sections.append(
        _section("Data and method", f"<p>{escape(data)}</p>{facts}{_versions()}")
    )
    body = f'<div class="report">{"".join(sections)}</div>\n'
    described = {
        name: describe(results[name].models, features)
        for name in order
        if results[name].models
    }
    if described:
        shown = next(results[name] for name in order if results[name].models)
        body += (
            '<div class="report"><section><h2>The fitted models</h2><p>Every value '
            "stands where it acts: the median over the folds, with the smallest and "
            "the largest. A dot is one fold; point at it, or choose a row, to follow "
            "that fold through all models.</p></section></div>\n"
        ) + model_panels(described, held_out=_fold_names(shown, row_names))
    lead = f"<p>Which configuration predicts held-out {escape(target)} best?</p>"
    page = document("Comparison by cross-validation", lead, body, STYLE)
    Path(path).write_text(page, encoding="utf-8")


def diagnostic_figure(
    result: CrossValidation, output: int = 0, row_names: Sequence[str] | None = None
) -> Figure:
    """Six looks at one cross-validation: predictions, errors, calibration, influence.

    Args:
        result: The cross-validation.
        output: Which output.
        row_names: Names of the rows, for those that stand out.
    """
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.4), layout="constrained")
    validation_plots.plot_predictions(result, axes[0, 0], output)
    validation_plots.plot_residuals(result, axes[0, 1], output, names=row_names)
    validation_plots.plot_normal_quantiles(result, axes[0, 2], output)
    validation_plots.plot_pit(result, axes[1, 0], output)
    validation_plots.plot_calibration(result, axes[1, 1], output)
    if result.fit_table().influence.notna().any():
        folds = _fold_names(result, row_names)
        validation_plots.plot_influence(result, axes[1, 2], names=folds)
    else:
        plots.plot_evaluations(result.records, axes[1, 2], "fold")
    return figure


def _by_rank(table) -> list[str]:
    last = table[table["size"] == table["size"].max()].sort_values("rank")
    return last.configuration.tolist()


def _answer(table, target: str) -> str:
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
    second = last.iloc[1]
    text += (
        f" The next, {second.configuration!r}, is behind by "
        f"{abs(second.difference):.3f} nats per row, standard error "
        f"{second.difference_se:.3f}"
    )
    if second.probability_worse == second.probability_worse:
        text += f", and worse with a probability of {second.probability_worse:.0%}"
    return f"{text} ({second.caution})." if second.caution else f"{text}."


def _scores(table, comparison: Comparison) -> str:
    heads = {
        "size": "rows",
        "configuration": "configuration",
        "mean_log_density": "log density",
        "standard_error": "se",
        "difference": "difference",
        "difference_se": "se",
        "probability_worse": "P(worse)",
        "rmse": "RMSE",
        "failed": "failed",
        "evaluations": "evaluations",
        "seconds": "seconds",
    }
    rows = []
    for _, block in table.groupby("size"):
        for i, row in enumerate(block.sort_values("rank").to_dict("records")):
            cells = "".join(f"<td>{_cell(row[key])}</td>" for key in heads)
            style = ' class="first"' * (i == 0)
            rows.append(f"<tr{style}>{cells}</tr>")
            if row["caution"]:
                rows.append(
                    f'<tr><td></td><td class="caution" colspan="{len(heads) - 1}">'
                    f"{escape(row['caution'])}</td></tr>"
                )
    head = "".join(f'<th scope="col">{word}</th>' for word in heads.values())
    saved = comparison.race().attrs["saved"]
    race = f"<p>The race saved {saved:.0%} of the fits.</p>" if saved > 0 else ""
    return (
        "<p>Mean log predictive density of held-out rows in nats (larger is better) "
        "with its standard error, and the paired difference to the best configuration "
        f"of each size.</p>{race}"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(value) -> str:
    if isinstance(value, str):
        return escape(value)
    if value != value:
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3f}"
    return f"{value:,}"


def _score_chart(comparison: Comparison) -> str:
    if comparison.points["size"].nunique() < 2:
        return ""
    return _figure(
        plots.plot_comparison(comparison),
        "Scores by dataset size, one standard error either way; below, the paired "
        "differences to the best configuration of each size.",
    )


def _decisive(
    order: list[str],
    results: Mapping[str, CrossValidation],
    row_names: Sequence[str] | None,
) -> str:
    best, second = order[:2]
    figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
    points = difference(results[best], results[second])
    validation_plots.plot_pointwise(points, ax, (best, second), row_names)
    return _figure(
        figure,
        "The difference of every held-out row. A difference that hangs on one or two "
        "rows says more about these rows than about the configurations.",
    )


def _diagnostics(
    order: list[str],
    results: Mapping[str, CrossValidation],
    features: Sequence[str] | None,
    row_names: Sequence[str] | None,
) -> str:
    text = ""
    for i, name in enumerate(order):
        result = results[name]
        charts = _figure(
            diagnostic_figure(result, row_names=row_names),
            "Predictions and their intervals; standardized errors; their whitened "
            "quantiles; PIT values; coverage of central intervals; and how far each "
            "fold moves the hyper-parameters. Gray bands hold 95 % of all curves of a "
            "calibrated model.",
        )
        found = summarize_fits(result.records, result.models, features)
        if result.models:
            folds = hyperparameters(result.models, features)
            full = (
                None
                if result.full_model is None
                else hyperparameters(result.full_model, features)
            )
            charts += _figure(
                validation_plots.plot_hyperparameters(folds, full).figure,
                "Positive hyper-parameters over the folds, that of all rows, and the "
                "prior.",
            )
        text += (
            f"<details{' open' * (i == 0)}><summary>{escape(name)}</summary>"
            f"<pre>{escape(found)}</pre>{charts}</details>\n"
        )
    return text


def _fold_names(result: CrossValidation, row_names: Sequence[str] | None) -> list[str]:
    if row_names is None:
        return list(result.folds.names)
    return [
        ", ".join(row_names[i] for i in held_out.nonzero()[:, 0].tolist())
        for held_out in result.folds.held_out
    ]


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>\n"


def _figure(figure: Figure, caption: str) -> str:
    """A figure as an image within the page, as sharp as the reader wants it."""
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
