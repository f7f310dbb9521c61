"""What to do with a comparison: more trials, suspicious trials, recalibration.

Parts of the report as HTML, in sentences that say how sure they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from botorch_xval.comparison.learning_curve import (
    FEWEST,
    LearningCurve,
    check_learning_curve,
    learning_curve,
)
from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.outliers import WithoutRows
from botorch_xval.cross_validation.recalibration import is_scalable, recalibrate
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.reporting.hyperparameters import hyperparameters
from botorch_xval.reporting.markup import cell, folded, paragraph, table

__all__ = [
    "MORE",
    "changed_values",
    "curve_of",
    "first_of",
    "more_rows",
    "recalibrations",
    "suspicious",
]

MORE = 20
COLUMNS = {
    "name": ("trial", ""),
    "configuration": ("configuration", ""),
    "observed": ("observed", "in the unit of the target"),
    "mean": ("predicted", "without the trial"),
    "z_score": ("z", "standardized error"),
    "robust_z": ("robust z", "by the median and deviation of all errors"),
    "limit": ("limit", "of robust z, for the largest of so many"),
    "influence": ("influence", "posterior standard deviations"),
}


def curve_of(comparison: Comparison) -> LearningCurve | None:
    """The learning curves; None with fewer than three sizes, or after a race."""
    if comparison.points["size"].nunique() < FEWEST:
        return None
    try:
        curve = learning_curve(comparison)
    except ValueError:  # too few rows with a score
        return None
    return curve if curve.draws else None


def first_of(curve: LearningCurve, order: Sequence[str]) -> str:
    """The best configuration that has a curve.

    Args:
        curve: The curves.
        order: Names of the configurations, the best one first.
    """
    return next(name for name in [*order, *curve.draws] if name in curve.draws)


def more_rows(comparison: Comparison, curve: LearningCurve, name: str) -> str:
    """What further rows would bring a configuration.

    Args:
        comparison: The scores.
        curve: Their curves.
        name: The configuration.

    Returns:
        HTML; with four sizes also what the smaller ones would have predicted.
    """
    texts = [curve.sentence(name, MORE)]
    if comparison.points["size"].nunique() > FEWEST:
        table = check_learning_curve(comparison)
        row = next(table[table.configuration == name].itertuples())
        inside = "inside" if row.low <= row.found <= row.high else "outside of"
        texts.append(
            f"A check: the curve up to {row.last} rows predicts {row.score:.3f} at "
            f"{row.size} (95 %: {row.low:.3f} to {row.high:.3f}); {row.found:.3f} was "
            f"found, {inside} the band."
        )
    return _paragraphs(texts)


def suspicious(
    without: Mapping[str, WithoutRows],
    results: Mapping[str, CrossValidation],
    features: Sequence[str] | None = None,
) -> str:
    """The outliers of each configuration, and what changes without them.

    Args:
        without: By name of a configuration what `find_outliers` has found.
        results: The cross-validations with all rows.
        features: Names of the input columns.

    Returns:
        HTML: a table of trials, and sentences.
    """
    found = {name: each for name, each in without.items() if each.rows}
    if not found:
        return _paragraphs(["No trial stands out by any of the configurations."])
    rows = [
        {**row, "configuration": name}
        for name, each in found.items()
        for row in each.left_out.to_dict("records")
    ]
    lines = [[cell(row[key], "#.3g") for key in COLUMNS] for row in rows]
    texts = []
    for name, each in found.items():
        with_all, others = results[name].full_model, each.result.full_model
        changes = ""
        if with_all is not None and others is not None:
            both = [hyperparameters(m, features) for m in (with_all, others)]
            changes = changed_values(*both)
        texts.append(f"{name}: {each} {changes}".strip())
    return (
        "<p>Trials whose held-out error stands out among all errors, one after the "
        "other; the limit is for the largest of so many. A trial that stands out by "
        "every configuration deserves a second look; one that does by a single "
        "configuration says more about that one. The influence is how many posterior "
        "standard deviations the hyper-parameters move without the trial.</p>"
        + table("Suspicious trials", list(COLUMNS.values()), lines)
        + folded("What changes without them", _paragraphs(texts))
    )


def changed_values(
    first: pd.DataFrame, second: pd.DataFrame, named: int = 2, least: float = 1.25
) -> str:
    """Which hyper-parameters change most between two fits, in words.

    Args:
        first: A table of :func:`~botorch_xval.reporting.hyperparameters`.
        second: Another one, of the same model.
        named: How many to name.
        least: The smallest factor that is worth it.

    Returns:
        A sentence; empty if none changes by so much.
    """
    keys = ["output", "part", "parameter"]
    both = first[first.positive].merge(second, on=keys, suffixes=("", "_after"))
    both = both[(both.value > 0) & (both.value_after > 0)]
    both["change"] = np.abs(np.log(both.value_after / both.value))
    largest = both[both.change > np.log(least)].nlargest(named, "change")
    if largest.empty:
        return ""
    parts = (
        f"{row.parameter} ({row.part.replace('covar_module', 'covariance')}) from "
        f"{row.value:.3g} to {row.value_after:.3g}"
        for row in largest.itertuples()
    )
    return f"Hyper-parameters of all rows that change most: {', '.join(parts)}."


def recalibrations(
    results: Mapping[str, CrossValidation], targets: Sequence[str]
) -> str:
    """Whether to scale the predicted variances of each configuration, as HTML.

    Args:
        results: By name of a configuration its cross-validation.
        targets: Names of all outcomes.
    """
    texts = []
    for name, result in results.items():
        if is_scalable(result):
            lines = str(recalibrate(result)).splitlines()
            for k, (target, line) in enumerate(zip(targets, lines, strict=True)):
                line = line.replace(f"Output {k}:", f"{target}:", 1)
                texts.append(f"{name}: {line}")
    return _paragraphs(texts)


def _paragraphs(texts: Sequence[str]) -> str:
    return "".join(map(paragraph, texts))
