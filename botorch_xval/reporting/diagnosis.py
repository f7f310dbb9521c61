"""How fits ended, and what looks wrong with them, in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from botorch.optim.core import OptimizationStatus
from gpytorch.models import GP

from botorch_xval.fitting.records import FitRecord, list_records
from botorch_xval.reporting.expressions.tree import format_number
from botorch_xval.reporting.hyperparameters import hyperparameters
from botorch_xval.reporting.optima import in_other_optima

__all__ = ["summarize_fits"]

FAR_IN_PRIOR = 0.005  # a value is far out if its prior has less beyond it
LARGE_GRADIENT = 1e-2  # of the loss per training point, by logarithms of parameters
OTHER_OPTIMUM = 10.0  # ratio to the median of all models, or its reciprocal
NOTICEABLE_GAIN = 0.1  # nats
NEAR_BOUND = 1e-3  # relative distance from a bound


def summarize_fits(
    records: Sequence[FitRecord],
    model: GP | Sequence[GP] | None = None,
    names: Sequence[str] | None = None,
) -> str:
    """Say in words how fits ended, and what looks wrong.

    Named are fits that failed or reached a limit, gradients that are still large, fits
    to a single value, those that took several attempts, models with a better optimum
    than their initial values lead to (as BoTorch's fit begins), and models in the dead
    optimum, where all lengthscales are at their priors' modes. With the models, also
    values at a bound; values with less than 0.5 % of their prior beyond them in more
    than half of the models (the prior contradicts the data); and single models with a
    value ten times that of most others (perhaps another optimum).

    Args:
        records: Such as `mll.fit_records`, or `records` of a cross-validation.
        model: The fitted model or models, in the order of the records.
        names: Names of the input columns; default: `x0`, `x1`, ...

    Returns:
        One line on the whole, and one for every finding.

    Raises:
        ValueError: If there are no records, or if `model` or `names` are not as for
            :func:`~botorch_xval.reporting.hyperparameters`.
    """
    records = list_records(records)
    lines = [_costs(records), *_ends(records)]
    lines += [
        f"Model {i} sits in another optimum than most: its {words}."
        for i, words in in_other_optima(records).items()
    ]
    if model is not None:
        lines += _values(hyperparameters(model, names))
    else:
        bounds = Counter(name for record in records for name in record.at_bounds)
        lines += [
            f"{name} is on a bound in {_of(n, len(records))}."
            for name, n in bounds.items()
        ]
    if len(lines) == 1:
        lines.append("Nothing looks wrong.")
    return "\n".join(lines)


def _costs(records: list[FitRecord]) -> str:
    """How many fits ended how, and what they cost."""
    names = {
        OptimizationStatus.SUCCESS: "converged",
        OptimizationStatus.STOPPED: "stopped early",
        OptimizationStatus.FAILURE: "failed",
    }
    counts = Counter(names.get(record.status, "running") for record in records)
    ends = ", ".join(
        f"{counts[name]} {name}" for name in names.values() if counts[name]
    )
    evaluations = sum(record.evaluations for record in records)
    seconds = sum(record.seconds for record in records)
    return (
        f"{len(records)} fit{'s' * (len(records) != 1)}: {ends}; {evaluations:,} "
        f"evaluations in {format_number(seconds)} s of computing."
    )


def _ends(records: list[FitRecord]) -> Iterator[str]:
    """Findings about the ends of the fits."""
    for status, what in (
        (OptimizationStatus.FAILURE, "Failed, with initial values"),
        (OptimizationStatus.STOPPED, "Stopped early, at the best point so far"),
    ):
        found: dict[str, list[int]] = {}
        for i, record in enumerate(records):
            if record.status is status:
                found.setdefault(record.message, []).append(i)
        for message, numbers in found.items():
            yield f"{what}: {_list(numbers)} ({message})."
    large = [
        i
        for i, record in enumerate(records)
        if record.gradient_norm > LARGE_GRADIENT
        and record.status is OptimizationStatus.SUCCESS
    ]
    if large:
        worst = max(records[i].gradient_norm for i in large)
        yield (
            f"Said to have converged, but with a large gradient (up to "
            f"{format_number(worst)} per point): {_list(large)}."
        )
    single = [
        i
        for i, record in enumerate(records)
        if record.num_points == 1 and record.status is not OptimizationStatus.FAILURE
    ]
    if single:
        yield (
            "Fitted to a single value, which says nothing of an outcome's scale and "
            f"noise: {_list(single)}."
        )
    again = [i for i, record in enumerate(records) if record.attempts > 1]
    if again:
        yield f"Took more than one attempt: {_list(again)}."
    gains = {
        i: record.gain
        for i, record in enumerate(records)
        if record.gain > NOTICEABLE_GAIN
    }
    if gains:
        yield (
            "The initial values alone lead to a worse optimum (by up to "
            f"{format_number(max(gains.values()))} nats): {_list(list(gains))}."
        )
    dead = [i for i, r in enumerate(records) if r.optima and r.optima[0].is_dead]
    if dead:
        yield (
            "All lengthscales are at the modes of their priors, so the data say "
            "nothing of them (the prior may be too tight for so many inputs): "
            f"{_list(dead)}."
        )


def _values(table: pd.DataFrame) -> Iterator[str]:
    """Findings about every hyper-parameter, over all models."""
    many_outputs = table.output.nunique() > 1
    for (output, part, parameter), rows in table.groupby(
        ["output", "part", "parameter"], sort=False
    ):
        name = f"{parameter} ({part}{f', output {output}' if many_outputs else ''})"
        yield from _at_bounds(name, rows)
        yield from _against_prior(name, rows)
        yield from _other_optima(name, rows)


def _at_bounds(name: str, rows: pd.DataFrame) -> Iterator[str]:
    value = rows.value.to_numpy()
    for side in ("lower", "upper"):
        bound = rows[side].to_numpy()
        near = np.isfinite(bound)
        near[near] = np.isclose(value[near], bound[near], NEAR_BOUND, 0.0)
        if near.any():
            yield (
                f"{name} is stuck at its {side} bound "
                f"{format_number(bound[near][0])} in {_of(near.sum(), len(rows))}."
            )


def _against_prior(name: str, rows: pd.DataFrame) -> Iterator[str]:
    cdf = rows.prior_cdf.to_numpy()
    for far, words in (
        (cdf < FAR_IN_PRIOR, "below"),
        (cdf > 1 - FAR_IN_PRIOR, "above"),
    ):
        if far.mean() > 0.5:
            low, high = rows.prior_low.iloc[0], rows.prior_high.iloc[0]
            yield (
                f"The prior fights the data: {name} is "
                f"{format_number(float(rows.value.median()))}, {words} "
                f"{1 - FAR_IN_PRIOR:.1%} of its prior (95% from "
                f"{format_number(low)} to {format_number(high)})."
            )


def _other_optima(name: str, rows: pd.DataFrame) -> Iterator[str]:
    value = rows.value.to_numpy()
    if not rows.positive.all() or len(rows) < 5 or not (value > 0).all():
        return
    middle = float(np.median(value))
    distance = np.abs(np.log(value / middle))
    # If many models are far from the median, the data hardly determine the value.
    if np.quantile(distance, 0.8) > math.log(OTHER_OPTIMUM) / 3:
        return
    for i in np.flatnonzero(distance > math.log(OTHER_OPTIMUM)):
        yield (
            f"Model {rows.model.iloc[i]} may be in another optimum: its {name} is "
            f"{format_number(value[i])}, the median of all {format_number(middle)}."
        )


def _of(count: int, total: int) -> str:
    if total == 1:
        return "the model"
    return f"all {total} models" if count == total else f"{count} of {total} models"


def _list(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"model{'s' * (len(numbers) > 1)} {shown}{more}"
