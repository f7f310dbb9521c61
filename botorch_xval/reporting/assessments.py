"""The parts of the report that show trials: which decide, and each configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from botorch_xval.cross_validation.difference import difference
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.reporting import plots
from botorch_xval.reporting.diagnosis import summarize_fits
from botorch_xval.reporting.hyperparameters import hyperparameters
from botorch_xval.reporting.markup import Names, cell, folded, paragraph, table
from botorch_xval.reporting.plots.style import COLORS, points_of
from botorch_xval.reporting.plots.svg import Charts, Dots

__all__ = ["Page", "configuration_part", "decisive_part"]

POINTS = {
    "observed": ("observed", "in the unit of the target"),
    "mean": ("predicted", "mean, without the trial"),
    "deviation": ("deviation", "of the prediction, standard, with noise"),
    "z_score": ("z", "standardized error, observed - predicted in deviations"),
    "log_density": ("log density", "nats"),
}
SIXTH = {
    "influence": (
        "Influence: how far leaving out each fold moves the hyper-parameters, in "
        "posterior standard deviations."
    ),
    "pareto_k": (
        "Pareto's k of the importance weights of each fold; folds above the dashed "
        "line have draws of their own."
    ),
    "evaluations": "Evaluations of the loss that each fold took.",
}


@dataclass(frozen=True)
class Page:
    """What all parts of a report share."""

    charts: Charts
    """Draws its charts."""

    names: Names
    """HTML of the names of configurations."""

    targets: Sequence[str]
    """Names of the outcomes."""

    features: Sequence[str] | None
    """Names of the inputs; None for `x0`, `x1`, ..."""

    row_names: Sequence[str] | None
    """Names of the rows of the results; None for their numbers."""

    def row(self, number: int) -> str:
        """The name of a row."""
        return f"row {number}" if self.row_names is None else self.row_names[number]

    def fold_names(self, result: CrossValidation) -> list[str]:
        """What every fold holds out."""
        if self.row_names is None:
            return list(result.folds.names)
        return [
            ", ".join(self.row_names[i] for i in held_out.nonzero()[:, 0].tolist())
            for held_out in result.folds.held_out
        ]


def decisive_part(
    order: Sequence[str], results: Mapping[str, CrossValidation], page: Page
) -> str:
    """Which rows decide between the two best configurations.

    Args:
        order: Names of at least two configurations, the best one first.
        results: By name its cross-validation.
        page: What all parts share.
    """
    best, second = order[:2]
    points = difference(results[best], results[second])
    known = points.dropna(subset="difference").sort_values("difference")
    ids = [f"decides-{i}" for i in known.index]
    short = page.charts.short
    dots = Dots(
        np.arange(len(known), dtype=float),
        known.difference.to_numpy(),
        ids,
        [
            f"{page.row(row)}: {value:+.3f} nats"
            for row, value in zip(known.row, known.difference, strict=True)
        ],
    )

    def draw(ax: Any) -> None:
        ax.margins(y=0.15)  # room for names
        plots.plot_pointwise(
            points,
            ax,
            labels=(short(best), short(second)),
            names=[short(page.row(i)) for i in range(_rows(results[best]))],
            named=3,
        )

    chart = page.charts.chart(
        draw,
        "The difference of every held-out row; a dot leads to its row in the table.",
        height=3.2,
        colors=_looks(page, best, second),
        dots=dots,
        has_legend=False,
    )
    better, worse = (known.difference > 0).sum(), (known.difference < 0).sum()
    words = (
        f"<p>{page.names(best)} gives the higher density to {better} of {len(known)} "
        f"held-out rows, {page.names(second)} to {worse}. A difference that hangs on "
        "one or two rows says more about these rows than about the configurations.</p>"
    )
    largest = known.iloc[::-1]
    numbers = table(
        "Difference of every held-out row",
        [
            ("trial", ""),
            (best, "log density, nats"),
            (second, "log density, nats"),
            ("difference", "nats"),
        ],
        [
            [cell(page.row(e.row)), *map(cell, (e.first, e.second, e.difference))]
            for e in largest.itertuples()
        ],
        ids=ids[::-1],
    )
    rows = folded(f"All {len(known):,} held-out rows", numbers)
    return f'<div class="beside"><div>{words}{rows}</div>{chart}</div>'


def configuration_part(
    number: int, name: str, result: CrossValidation, page: Page
) -> str:
    """How one configuration did: its fits, its predictions, its hyper-parameters.

    Args:
        number: Of the configuration, for ids.
        name: Its name.
        result: Its cross-validation.
        page: What all parts share.
    """
    found = summarize_fits(result.records, result.models, page.features)
    text = "".join(paragraph(line) for line in found.splitlines())
    for k, target in enumerate(page.targets):
        if len(page.targets) > 1:
            text += f"<h3>{cell(target)[0]}</h3>"
        text += _predictions(f"point-{number}-{k}", name, result, k, page)
    return folded(page.names(name), text)


def _predictions(
    prefix: str, name: str, result: CrossValidation, k: int, page: Page
) -> str:
    """The charts of one output, and the table of its held-out rows."""
    try:
        points = points_of(result, k)
    except ValueError:  # every fold has failed, which has been said above
        return ""
    charts, target = page.charts, page.charts.short(page.targets[k])
    names = [charts.short(page.row(i)) for i in range(_rows(result))]
    folds = [charts.short(fold) for fold in page.fold_names(result)]
    colors = _looks(page, name)
    ids = [f"{prefix}-{i}" for i in points.index]
    tips = [
        f"{page.row(e.row)}: observed {e.observed:.4g}, predicted {e.mean:.4g}"
        for e in points.itertuples()
    ]

    def dots(x: str, y: str) -> Dots:
        return Dots(points[x].to_numpy(), points[y].to_numpy(), ids, tips)

    def chart(
        draw: Callable[[Any], object], caption: str, own: Dots | None = None
    ) -> str:
        return charts.chart(draw, caption, colors=colors, dots=own)

    def predictions(ax: Any) -> None:
        plots.plot_predictions(result, ax, output=k)
        ax.set_xlabel(f"observed {target}")
        ax.set_ylabel(f"predicted {target}")

    def residuals(ax: Any) -> None:
        plots.plot_residuals(result, ax, output=k, names=names)
        ax.set_xlabel(f"predicted {target}")

    drawn = [
        chart(
            predictions,
            "Predictions and their intervals of 95 %; a dot leads to its row below.",
            dots("observed", "mean"),
        ),
        chart(
            residuals,
            "Standardized errors; named are those beyond three deviations.",
            dots("mean", "z_score"),
        ),
        chart(
            lambda ax: plots.plot_normal_quantiles(result, ax, output=k),
            "Quantiles of the errors, whitened where there is a fit to all rows. The "
            "gray band holds 95 % of all curves of a calibrated model.",
        ),
        chart(
            lambda ax: plots.plot_pit(result, ax, output=k),
            "PIT values, their distribution minus the uniform one: first up, then "
            "down if predictions are too confident. The band is as before.",
        ),
        chart(
            lambda ax: plots.plot_calibration(result, ax, output=k),
            "Coverage of central intervals; below the diagonal predictions are too "
            "confident. The band is as before.",
        ),
    ]
    if k == 0:  # of all outputs
        kind, draw = _sixth(result, folds)
        drawn.append(chart(draw, SIXTH[kind]))
    text = f'<div class="charts">{"".join(drawn)}</div>'
    text += _hyperparameters(result, k, colors, page)
    rows = table(
        f"Held-out {page.targets[k]} by {name}",
        [("trial", ""), *POINTS.values()],
        [
            [
                cell(page.row(point.row)),
                *(cell(float(getattr(point, key)), "#.3g") for key in POINTS),
            ]
            for point in points.itertuples()
        ],
        ids=ids,
    )
    return text + folded(f"All {len(points):,} held-out rows", rows)


def _sixth(
    result: CrossValidation, folds: Sequence[str]
) -> tuple[str, Callable[[Any], object]]:
    """What there is of influences, weights, and costs."""
    fits = result.fit_table()
    if fits.influence.notna().any():
        return "influence", lambda ax: plots.plot_influence(
            result, ax, names=folds, named=3
        )
    if fits.pareto_k.notna().any():
        return "pareto_k", lambda ax: plots.plot_pareto_k(
            result, ax, names=folds, named=3
        )
    return "evaluations", lambda ax: plots.plot_evaluations(
        result.records, ax, label="fold"
    )


def _hyperparameters(
    result: CrossValidation, k: int, colors: Mapping[str, str], page: Page
) -> str:
    """The chart of the hyper-parameters of one output, if models were kept."""
    if not result.models:
        return ""
    of_folds = hyperparameters(result.models, page.features)
    full = result.full_model
    of_all = None if full is None else hyperparameters(full, page.features)
    for each in (of_folds, of_all):
        if each is not None:
            _shorten(each, page.charts.short)
    k = k if k in of_folds.output.unique() else 0
    own = of_folds[of_folds.output == k]
    shown = own[own.positive & (own.value > 0)]
    if shown.empty:
        return ""
    lines = shown.groupby(["part", "parameter"]).ngroups + shown.part.nunique()
    chart = page.charts.chart(
        lambda ax: plots.plot_hyperparameters(of_folds, ax, full=of_all, output=k),
        "Positive hyper-parameters: a dot is a fold, the diamond the fit to all rows, "
        "the gray bar the central 95 % of the prior with its median; on the scale of "
        "the model, where inputs and outcome are transformed.",
        height=0.6 + 0.17 * lines,
        colors=colors,
        has_legend=False,
    )
    return folded("Hyper-parameters", f'<div class="charts">{chart}</div>')


def _shorten(hyper: pd.DataFrame, short: Callable[[str], str]) -> None:
    """Put "lengthscale['lr']" as "lr" into a part "... lengthscale", in place."""
    found = hyper.parameter.str.extract(
        r"^(\w+)\[['\"]?(.*?)['\"]?\]$", flags=re.DOTALL
    )
    kind, name = found[0], found[1]
    hyper["part"] = hyper.part.where(kind.isna(), hyper.part + " " + kind.fillna(""))
    hyper["parameter"] = name.where(name.notna(), hyper.parameter).map(short)


def _looks(page: Page, first: str, second: str | None = None) -> dict[str, str]:
    """What becomes of blue and orange: the colors of the configurations.

    Without a second one orange, for what stands out, becomes that of text.
    """
    own = [page.names.looks[name][0].lower() for name in (first, second) if name]
    own = ["var(--ink)" if color == "#000000" else color for color in own]
    stands_out = COLORS[1].lower() if own[0] == "var(--ink)" else "var(--ink)"
    return dict(zip((c.lower() for c in COLORS[:2]), (*own, stands_out), strict=False))


def _rows(result: CrossValidation) -> int:
    return int(result.folds.held_out.shape[1])
