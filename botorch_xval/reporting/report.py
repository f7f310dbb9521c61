"""A comparison as one self-contained HTML page: scores, charts, the fitted models.

The answer comes first, what is behind it is folded. Configurations are in the order of
their rank at the largest size, and each has one color on the whole page. Importing this
module imports matplotlib.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from matplotlib.figure import Figure

from botorch_xval.comparison.files import write_in_full
from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.outliers import WithoutRows
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.reporting import advice, plots
from botorch_xval.reporting.assessments import (
    Page,
    configuration_part,
    decisive_part,
)
from botorch_xval.reporting.expressions import describe, document, model_panels
from botorch_xval.reporting.markup import Names, folded, paragraph
from botorch_xval.reporting.optima import in_other_optima
from botorch_xval.reporting.plots.comparison import looks_of
from botorch_xval.reporting.plots.svg import Charts
from botorch_xval.reporting.score_tables import answer_part, by_target, score_part

__all__ = ["write_report"]

PACKAGES = ("botorch_xval", "botorch", "gpytorch", "torch", "scipy", "numpy")
HEADINGS = {
    "answer": "The answer",
    "scores": "Scores",
    "trials": "Which trials decide?",
    "advice": "What to do with it",
    "configurations": "Each configuration",
    "folds": "How the folds are fitted",
    "models": "The fitted models",
    "method": "Data and method",
}


def write_report(
    path: str | Path,
    comparison: Comparison,
    results: Mapping[str, CrossValidation],
    *,
    target: str | Sequence[str],
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
        target: Name of the outcome, or the names of all outcomes.
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
    targets = [target] if isinstance(target, str) else list(target)
    for result in results.values():
        if (outputs := result.mean.shape[-1]) != len(targets):
            raise ValueError(
                f"target: expected {outputs} names, one for each outcome, got "
                f"{targets}; pass a list of them"
            )
    names, charts = Names(looks_of(comparison)), Charts()
    page = Page(charts, names, targets, features, row_names)
    results = {name: results[name] for name in names.looks if name in results}
    order = list(results)
    parts = {
        "answer": answer_part(comparison, _together(targets), names, charts),
        "scores": score_part(
            comparison,
            names,
            charts,
            len(targets) == 1,
            by_target(results, targets, names),
        ),
    }
    if len(order) > 1:
        parts["trials"] = decisive_part(order, results, page)
    parts["advice"] = _advice(comparison, results, without or {}, page)
    parts["configurations"] = "".join(
        configuration_part(i, name, results[name], page) for i, name in enumerate(order)
    )
    if figures:
        drawn = [charts.figure(figure, caption) for caption, figure in figures.items()]
        inside = f'<div class="charts">{"".join(drawn)}</div>'
        parts["folds"] = folded("Losses and costs", inside)
    parts["models"] = _models(results, page)
    facts = "".join(_lines(text) for text in (data, *notes))
    parts["method"] = facts + _versions()
    parts = {key: content for key, content in parts.items() if content}
    body = "".join(
        f'<section id="{key}"><h2>{HEADINGS[key]}</h2>\n{content}</section>\n'
        for key, content in parts.items()
    )
    what = escape(_together(targets))
    lead = f"<p>Which configuration predicts held-out {what} best?</p>"
    style, script = (
        "\n" + files(__package__).joinpath(f"report.{kind}").read_text("utf-8")
        for kind in ("css", "js")
    )
    html = document(
        "Comparison by cross-validation",
        lead,
        body,
        style=style,
        script=script,
        beside=_contents(list(parts)),
    )
    write_in_full(Path(path), html)


def _together(targets: Sequence[str]) -> str:
    if len(targets) == 1:
        return targets[0]
    return f"{', '.join(targets[:-1])} and {targets[-1]} together"


def _contents(keys: Sequence[str]) -> str:
    items = "".join(f'<li><a href="#{key}">{HEADINGS[key]}</a></li>' for key in keys)
    return (
        f'<nav aria-label="Contents"><ol>{items}</ol><button type="button" id="unfold" '
        'aria-pressed="false" hidden>Unfold all</button></nav>\n'
    )


def _advice(
    comparison: Comparison,
    results: Mapping[str, CrossValidation],
    without: Mapping[str, WithoutRows],
    page: Page,
) -> str:
    text = ""
    if curve := advice.curve_of(comparison):
        best = advice.first_of(curve, list(results))
        sentences = advice.more_rows(comparison, curve, best)
        chart = page.charts.chart(
            lambda ax: plots.plot_learning_curve(
                curve, ax, more=advice.MORE, named=[best], colors=page.names.looks
            ),
            "Scores by dataset size, one standard error either way, and the curve "
            "through them in its band of 95 %, dashed beyond the largest size.",
            has_legend=False,
        )
        text += (
            f'<h3>More trials</h3><div class="beside"><div>{sentences}</div>{chart}'
            "</div>"
        )
    if without:
        own = {name: without[name] for name in results if name in without}
        found = advice.suspicious(own, results, page.features)
        text += f"<h3>Suspicious trials</h3>{found}"
    if factors := advice.recalibrations(results, page.targets):
        text += (
            "<h3>Recalibration</h3><p>A factor on the predicted variance, by the CRPS "
            "of held-out points, tested with factors from other folds. Their models "
            "have seen the fold's rows; a test without this is "
            "<code>recalibrate_nested</code>.</p>"
            + folded("The factor of each configuration", factors)
        )
    return text


def _models(results: Mapping[str, CrossValidation], page: Page) -> str:
    """The fitted models side by side; nothing if none were kept."""
    kept = {name: result for name, result in results.items() if result.models}
    if not kept:
        return ""
    described = {
        name: describe(result.models, page.features) for name, result in kept.items()
    }
    folds = page.fold_names(next(iter(kept.values())))
    elsewhere = {
        fit.fold
        for result in kept.values()
        for k in {fit.output for fit in result.fits}
        for fits in [[fit for fit in result.fits if fit.output == k]]
        for fit in [fits[i] for i in in_other_optima([f.record for f in fits])]
    }
    folds = [
        f"{name} (in another optimum)" * (i in elsewhere) or name
        for i, name in enumerate(folds)
    ]
    return (
        "<p>Every value stands where it acts: the median over the folds, with the "
        "smallest and the largest. A dot is one fold; point at it, or choose a row, to "
        "follow that fold through all models.</p>"
    ) + folded(
        f"{len(kept)} model{'s' * (len(kept) > 1)}, {len(folds)} folds each",
        model_panels(described, held_out=folds, level=3),
    )


def _lines(text: str) -> str:
    """Text as paragraphs; that of several lines keeps these."""
    if "\n" not in text:
        return paragraph(text)
    return f"<pre>{escape(text)}</pre>"


def _versions() -> str:
    found = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"<p>Python {platform.python_version()}, {escape(found)}.</p>"
