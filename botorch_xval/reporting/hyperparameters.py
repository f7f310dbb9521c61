"""The hyper-parameters of fitted models as a table, with their bounds and priors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from botorch.models.gpytorch import BatchedMultiOutputGPyTorchModel
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
from botorch_xval.models.priors import BetaPrior
from botorch_xval.reporting.expressions.description import (
    batch_shape_of,
    features_of,
    members_of,
)
from botorch_xval.reporting.expressions.values import Reader

__all__ = ["hyperparameters"]

QUANTILES = {"prior_low": 0.025, "prior_median": 0.5, "prior_high": 0.975}


def hyperparameters(
    model: GP | Sequence[GP], names: Sequence[str] | None = None
) -> pd.DataFrame:
    """List every hyper-parameter of one or several fitted models.

    Args:
        model: As for :func:`~botorch_xval.reporting.describe`: a model, or a sequence
            of models such as `models` of a cross-validation.
        names: Names of the input columns; default: `x0`, `x1`, ...

    Returns:
        A table with one row per model and number, and these columns:

        * `model`: number of the model, in batch order; `output`: number of the output.
        * `part`: path of the module; `parameter`: such as `lengthscale['a']`.
        * `value`: the constrained value, in the unit of the transformed inputs or
          outcomes.
        * `lower`, `upper`: bounds of the constraint; `positive`: whether it allows
          no negative values.
        * `prior_low`, `prior_median`, `prior_high`: quantiles 2.5 %, 50 % and 97.5 % of
          the prior; `prior_cdf`: its probability below the value. NaN if there is no
          prior, or one with other quantiles than those that are known (Gamma,
          log-normal, normal, half-normal, half-Cauchy, uniform, Beta of a weight).

    Raises:
        ValueError: If `model` is something else, or there are more or fewer names than
            columns; see :func:`~botorch_xval.reporting.describe`.
    """
    rows: list[dict[str, Any]] = []
    several = list(model) if isinstance(model, Sequence) else [model]
    if not several:
        raise ValueError("model: expected at least one model, got none; fit one first")
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

    Of a prior whose parameters differ between the models of a batch, those of the first
    model are taken (not checked).
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
