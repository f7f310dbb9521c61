"""The hyper-parameters of fitted models as a table, with their bounds and priors.

And what such a table says in words: `summarize_fits`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from botorch.models.gpytorch import BatchedMultiOutputGPyTorchModel
from botorch.optim.core import OptimizationStatus
from gpytorch.models import GP, ExactGP
from gpytorch.priors import (
    GammaPrior,
    HalfCauchyPrior,
    HalfNormalPrior,
    LogNormalPrior,
    NormalPrior,
    Prior,
    UniformPrior,
)
from scipy import stats

from botorch_xval.fitting.losses.parameters import columns_seen, parameters_of
from botorch_xval.fitting.records import FitRecord
from botorch_xval.models.priors import BetaPrior
from botorch_xval.reporting.expressions.description import (
    batch_shape_of,
    features_of,
    members_of,
)
from botorch_xval.reporting.expressions.tree import format_number
from botorch_xval.reporting.expressions.values import Reader

__all__ = ["hyperparameters", "summarize_fits"]

QUANTILES = {"prior_low": 0.025, "prior_median": 0.5, "prior_high": 0.975}
# What `summarize_fits` calls strange.
FAR_IN_PRIOR = 0.005  # of the prior's probability is left beyond the value
LARGE_GRADIENT = 1e-2  # per training point, by logarithms
OTHER_OPTIMUM = 10.0  # times the median of all models, or a tenth of it
NEAR_BOUND = 1e-3  # relative to the bound


def hyperparameters(
    model: GP | Sequence[GP], names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Every hyper-parameter of one or several fitted models.

    Args:
        model: As for :func:`~botorch_xval.reporting.describe`.
        names: Names of the input columns, as there.

    Returns:
        One row per model and number: `model` (its number, in batch order), `output`,
        `part` (the path of the module), `parameter` (such as `lengthscale['a']`),
        `value` (on the constrained scale), `lower` and `upper` (of the constraint),
        `positive` (by its constraint), and of its prior the central 95 % and the median
        `prior_low`, `prior_median`, `prior_high`, and `prior_cdf`, the probability
        below the value. Those of the prior are NaN without one, or where its quantiles
        are not known (known: Gamma, log-normal, normal, half-normal, half-Cauchy,
        uniform, and Beta of a weight).

    Raises:
        ValueError: See :func:`~botorch_xval.reporting.describe`.
    """
    rows: list[dict[str, Any]] = []
    several = list(model) if isinstance(model, Sequence) else [model]
    first = 0
    for each in several:
        output = count = 0
        for member in members_of(each):
            for reader in _readers(member):
                for row in _rows(member, names, reader):
                    own = row.pop("values")
                    count = len(own)
                    rows += [
                        {"model": first + i, "output": output, **row, "value": value}
                        for i, value in enumerate(own)
                    ]
                output += 1
        first += count
    frame = pd.DataFrame(rows)
    frame[[*QUANTILES, "prior_cdf"]] = math.nan
    for (kind, *parameters), own in frame.dropna(subset="prior").groupby(
        "prior", sort=False
    ):
        distribution = _SCIPY[kind][0](*parameters)
        for name, share in QUANTILES.items():
            frame.loc[own.index, name] = distribution.ppf(share)
        frame.loc[own.index, "prior_cdf"] = distribution.cdf(own.value)
    order = ["model", "output", "part", "parameter", "value", "lower", "upper"]
    return frame[[*order, "positive", *QUANTILES, "prior_cdf"]]


def summarize_fits(
    records: Sequence[FitRecord],
    model: GP | Sequence[GP] | None = None,
    names: Sequence[str] | None = None,
) -> str:
    """How fits ended, and what looks wrong, in plain words.

    What is looked for: failures, limits reached, a gradient that is left, several
    attempts; and with the models, values at a bound, values that lie beyond 99.5 % of
    their prior (the prior fights the data), and single models whose values are ten
    times those of most others, as in another optimum.

    Args:
        records: Such as `mll.fit_records`.
        model: The fitted model or models.
        names: Names of the input columns.

    Returns:
        One line on the whole, and one for every finding.
    """
    records = list(records)
    lines = [_costs(records), *_ends(records)]
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
    for status, what in (
        (OptimizationStatus.FAILURE, "Failed, with initial values"),
        (OptimizationStatus.STOPPED, "Stopped early, at the best point so far"),
    ):
        found: dict[str, list[int]] = {}
        for i, record in enumerate(records):
            if record.status is status:
                found.setdefault(record.message, []).append(i)
        for message, own in found.items():
            yield f"{what}: {_list(own)} ({message})."
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
    again = [i for i, record in enumerate(records) if record.attempts > 1]
    if again:
        yield f"Took more than one attempt: {_list(again)}."


def _values(table: pd.DataFrame) -> Iterator[str]:
    """Findings of every parameter, over all models."""
    many_outputs = table.output.nunique() > 1
    for (output, part, parameter), own in table.groupby(
        ["output", "part", "parameter"], sort=False
    ):
        name = f"{parameter} ({part}{f', output {output}' if many_outputs else ''})"
        value, models = own.value.to_numpy(), own.model.to_numpy()
        for side in ("lower", "upper"):
            bound = own[side].to_numpy()
            near = np.isfinite(bound)
            near[near] = np.isclose(value[near], bound[near], NEAR_BOUND, 0.0)
            if near.any():
                yield (
                    f"{name} is stuck at its {side} bound "
                    f"{format_number(bound[near][0])} in {_of(near.sum(), len(own))}."
                )
        cdf = own.prior_cdf.to_numpy()
        for far, words in (
            (cdf < FAR_IN_PRIOR, "below"),
            (cdf > 1 - FAR_IN_PRIOR, "above"),
        ):
            if far.mean() > 0.5:
                low, high = own.prior_low.iloc[0], own.prior_high.iloc[0]
                yield (
                    f"The prior fights the data: {name} is "
                    f"{format_number(float(np.median(value)))}, {words} "
                    f"{1 - FAR_IN_PRIOR:.1%} of its prior (95% from "
                    f"{format_number(low)} to {format_number(high)})."
                )
        if not own.positive.all() or len(own) < 5 or not (value > 0).all():
            continue
        away = np.abs(np.log(value / np.median(value)))
        # Of a loosely determined parameter many models are far away: no other optimum.
        if np.quantile(away, 0.8) > math.log(OTHER_OPTIMUM) / 3:
            continue
        for i in np.flatnonzero(away > math.log(OTHER_OPTIMUM)):
            yield (
                f"Model {models[i]} may be in another optimum: its {name} is "
                f"{format_number(value[i])}, the median of all "
                f"{format_number(float(np.median(value)))}."
            )


def _readers(model: ExactGP) -> list[Reader]:
    batch_shape = batch_shape_of(model)
    if isinstance(model, BatchedMultiOutputGPyTorchModel) and model.num_outputs > 1:
        return [Reader(batch_shape, output=i) for i in range(model.num_outputs)]
    return [Reader(batch_shape)]


def _rows(
    model: ExactGP, names: Sequence[str] | None, reader: Reader
) -> Iterator[dict[str, Any]]:
    """One entry per number, with the values of all models of the batch."""
    seen = columns_seen(model.covar_module, features_of(model, names))
    for each in parameters_of(model, reader.batch_shape):
        low, high = each.limits
        labels = each.labels(seen.get(each.module, ()))
        numbers = reader.numbers(each.value, 1).T.tolist()
        for i, (label, values) in enumerate(zip(labels, numbers, strict=True)):
            yield {
                "part": each.path,
                "parameter": label,
                "values": values,
                "lower": low,
                "upper": high,
                "positive": low >= 0,
                "prior": _known(each.prior, i, len(labels)),
            }


def _known(prior: Prior | None, i: int, count: int) -> tuple[Any, ...] | None:
    """The kind and the parameters of the prior of one of `count` numbers.

    Parameters of a prior that differ between the models of a batch are not told apart.
    """
    if type(prior) not in _SCIPY:
        return None
    own: list[Any] = [type(prior)]
    for tensor in _SCIPY[type(prior)][1](prior):
        flat = torch.as_tensor(tensor).detach().double().reshape(-1)
        own.append(flat[i if len(flat) == count else 0].item())
    return tuple(own)


# SciPy's distribution for the parameters of a prior.
_SCIPY: dict[type, tuple[Any, Any]] = {
    GammaPrior: (
        lambda shape, rate: stats.gamma(shape, scale=1 / rate),
        lambda p: (p.concentration, p.rate),
    ),
    LogNormalPrior: (
        lambda mean, deviation: stats.lognorm(deviation, scale=math.exp(mean)),
        lambda p: (p.loc, p.scale),
    ),
    NormalPrior: (stats.norm, lambda p: (p.loc, p.scale)),
    HalfNormalPrior: (lambda s: stats.halfnorm(scale=s), lambda p: (p.scale,)),
    HalfCauchyPrior: (lambda s: stats.halfcauchy(scale=s), lambda p: (p.scale,)),
    UniformPrior: (
        lambda low, high: stats.uniform(low, high - low),
        lambda p: (p.low, p.high),
    ),
    BetaPrior: (stats.beta, lambda p: (p.concentration1, p.concentration0)),
}


def _of(count: int, total: int) -> str:
    if total == 1:
        return "the model"
    return f"all {total} models" if count == total else f"{count} of {total} models"


def _list(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"model{'s' * (len(numbers) > 1)} {shown}{more}"
