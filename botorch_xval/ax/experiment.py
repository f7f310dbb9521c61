"""From an Ax experiment to a comparison of models, and from that to a `ModelConfig`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from warnings import warn

import numpy as np
import pandas as pd
import torch
from ax.api.client import Client
from ax.core.experiment import Experiment
from ax.core.parameter import ChoiceParameter, Parameter, RangeParameter
from ax.generators.torch.botorch_modular.surrogate import ModelConfig
from botorch.exceptions.warnings import BotorchWarning
from botorch.models.model import Model
from torch import Tensor

from botorch_xval.ax.models import IndependentSingleTaskGP, ScalarChoiceGP
from botorch_xval.ax.structured import spec_model_config
from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.model_search import ModelSearch
from botorch_xval.comparison.search import search
from botorch_xval.comparison.table import Comparison
from botorch_xval.data.tables import EncodedTable, encode_table
from botorch_xval.models.checks import check_type, wrong
from botorch_xval.models.configurations import (
    BOTORCH_DEFAULT,
    default_configurations,
    name_of_priors,
)
from botorch_xval.models.scalar_choice import PRIOR_CONFIGURATIONS

__all__ = [
    "ExperimentTable",
    "best_model_config",
    "compare_models",
    "encode_experiment",
    "model_configs",
    "search_models",
]

SIZES = (20, 40, 60)  # rows, by default


@dataclass(frozen=True, eq=False)
class ExperimentTable:
    """The observations of one metric of an experiment, ready for `compare`."""

    table: EncodedTable
    """`X`, `Y`, and what their rows (`trial arm`) and columns stand for."""

    Yvar: Tensor | None
    """Squared standard errors of the means, `n x 1`; None if one is unknown."""

    arms: list[str]
    """The name of the arm of every row, for `groups` of a comparison."""


def encode_experiment(
    experiment: Experiment | Client, metric: str | None = None
) -> ExperimentTable:
    """The observations of a metric as tensors, in the form that Ax's models see.

    Unordered choices of three or more values are in one-hot code; ordered choices, and
    those of two values, are the numbers of their values; parameters with a logarithmic
    scale are logarithms. Unlike in Ax nothing is scaled, winsorized or standardized,
    since the models of a cross-validation do that for every fold. Of a metric with
    steps the last one counts. Rows of failed and abandoned trials, and rows without a
    mean, are left out. Parameters with one value in all rows are left out with a
    warning.

    Args:
        experiment: An experiment with data, or a client that has one.
        metric: Name of the metric; may be None if there is only one.

    Returns:
        The table, known noise variances, and the arms.

    Raises:
        ValueError: If there is no such metric, or if fewer than three rows have one.
    """
    expected = "an Ax Experiment, or a Client that has one"
    if isinstance(experiment, Client):
        if (own := experiment._maybe_experiment) is None:
            remedy = "call its configure_experiment"
            raise wrong("experiment", expected, "a Client with none", remedy)
        experiment = own  # Ax has no public name for it
    if not isinstance(experiment, Experiment):
        got, remedy = f"a {type(experiment).__name__}", "pass one of Ax"
        raise wrong("experiment", expected, got, remedy)
    data = experiment.lookup_data().df
    known = sorted(set(data["metric_name"])) if len(data) else []
    if metric is None and len(known) == 1:
        (metric,) = known
    if metric is None or metric not in known:
        expected = f"one that has data, {known}"
        raise wrong("metric", expected, repr(metric), "name one of these")
    data = data[data["metric_name"] == metric]
    used = [
        not (
            experiment.trials[i].status.is_failed
            or experiment.trials[i].status.is_abandoned
        )
        for i in data["trial_index"]
    ]
    data = data[used]
    arms = experiment.arms_by_name
    parameters = [
        parameter
        for parameter in experiment.search_space.parameters.values()
        if isinstance(parameter, RangeParameter | ChoiceParameter)
    ]
    columns = {
        parameter.name: [
            _value(parameter, arms[name].parameters.get(parameter.name))
            for name in data["arm_name"]
        ]
        for parameter in parameters
    }
    index = [
        f"{trial} {arm}"
        for trial, arm in zip(data["trial_index"], data["arm_name"], strict=True)
    ]
    table = pd.DataFrame(columns, index=index)
    finite = np.isfinite(data["mean"].to_numpy(dtype=float))
    constant = [n for n in table if table[n][finite].nunique(dropna=False) < 2]
    if constant and finite.sum() >= 2:
        warn(
            f"parameters {constant} have one value in all rows and are left out",
            BotorchWarning,
            stacklevel=2,
        )
        table = table.drop(columns=constant)
    target = f"{metric} (metric)" if metric in table else metric
    table[target] = data["mean"].to_numpy(dtype=float)
    kept = [p for p in parameters if p.name in table]
    encoded = encode_table(
        table,
        target,
        choices=[p.name for p in kept if _is_one_hot(p)],
        log_scalars=[
            p.name
            for p in kept
            if getattr(p, "log_scale", False) and isinstance(p, RangeParameter)
        ],
    )
    used_data = data[finite]
    variance = torch.tensor(used_data["sem"].to_numpy(dtype=float) ** 2)[:, None]
    return ExperimentTable(
        table=encoded,
        Yvar=variance if bool(variance.isfinite().all()) else None,
        arms=used_data["arm_name"].tolist(),
    )


def compare_models(
    experiment: Experiment | Client,
    metric: str | None = None,
    configurations: Mapping[str, Callable[..., Model]] | None = None,
    *,
    fit: str = "refit",
    **compare_kwargs: Any,
) -> Comparison:
    """Which model predicts a metric of this experiment best?

    Rows of the same arm are held out together.

    Args:
        experiment: An experiment with data, or a client that has one.
        metric: Name of the metric; may be None if there is only one.
        configurations: By name a class or function that builds a model; default: those
            of :func:`model_configs`.
        fit: How folds are fitted, see
            :func:`~botorch_xval.cross_validation.cross_validate`.
        **compare_kwargs: Further keyword arguments of
            :func:`~botorch_xval.comparison.compare`. Default of `sizes`: 20, 40 and 60
            as far as there are so many rows, else all rows.

    Returns:
        The comparison.

    Raises:
        ValueError: See :func:`encode_experiment` and `compare`.
    """
    data = encode_experiment(experiment, metric)
    n = len(data.arms)
    repeated = len(set(data.arms)) < n
    defaults = {
        "sizes": [size for size in SIZES if size <= n] or [n],
        "groups": data.arms if repeated else None,
    }
    if configurations is None:
        configurations = default_configurations(data.table.choice_dims)
    return compare(
        configurations,
        data.table.X,
        data.table.Y,
        data.Yvar,
        fit=fit,
        **{**defaults, **compare_kwargs},
    )


def search_models(
    experiment: Experiment | Client, metric: str | None = None, **search_kwargs: Any
) -> ModelSearch:
    """Search the grammar for the model that predicts a metric of an experiment best.

    Rows of the same arm are held out together.

    Args:
        experiment: An experiment with data, or a client that has one.
        metric: Name of the metric; may be None if there is only one.
        **search_kwargs: Further keyword arguments of
            :func:`~botorch_xval.comparison.search`, such as `seconds`.

    Returns:
        What was found; :func:`best_model_config` makes a `ModelConfig` of it.

    Raises:
        ValueError: See :func:`encode_experiment` and `search`.
    """
    data = encode_experiment(experiment, metric)
    repeated = len(set(data.arms)) < len(data.arms)
    return search(
        data.table.X,
        data.table.Y,
        data.Yvar,
        choice_dims=data.table.choice_dims,
        **{"groups": data.arms if repeated else None, **search_kwargs},
    )


def model_configs() -> dict[str, ModelConfig]:
    """The default configurations of :func:`compare_models`, as Ax takes them.

    Returns:
        By name of a configuration its `ModelConfig`.
    """
    ours = {
        name_of_priors(priors): ModelConfig(
            botorch_model_class=ScalarChoiceGP,
            model_options={"priors": priors},
            name=name_of_priors(priors),
        )
        for priors in PRIOR_CONFIGURATIONS
    }
    default = ModelConfig(
        botorch_model_class=IndependentSingleTaskGP, name=BOTORCH_DEFAULT
    )
    return {**ours, BOTORCH_DEFAULT: default}


def best_model_config(comparison: Comparison | ModelSearch) -> ModelConfig:
    """The `ModelConfig` of the best configuration at the largest size, or of a search.

    Args:
        comparison: Of configurations that are named as in :func:`model_configs`, or
            what :func:`search_models` has found.

    Returns:
        For the `SurrogateSpec` of a generator. It is fitted by the evidence; after a
        comparison with another `mll`, give it that as `mll_class`.

    Raises:
        ValueError: If it is no comparison, or the best one has another name.
    """
    if isinstance(comparison, ModelSearch):
        return spec_model_config(comparison.spec)
    remedy = "pass a result of compare_models or search_models"
    check_type("comparison", comparison, Comparison, remedy)
    table = comparison.table()
    best = table[table["size"] == table["size"].max()].iloc[0]["configuration"]
    known = model_configs()
    if best not in known:
        raise ValueError(
            f"comparison: expected one of {list(known)} as the best configuration, got "
            f"{best!r}; make a ModelConfig of it yourself"
        )
    return known[best]


def _is_one_hot(parameter: Parameter) -> bool:
    """As in Ax: unordered, and of more than two values."""
    return (
        isinstance(parameter, ChoiceParameter)
        and not parameter.is_ordered
        and len(parameter.values) > 2
    )


def _value(parameter: Parameter, value: Any) -> Any:
    """The cell of a table: text for one-hot code, else a number; NaN if inactive."""
    if value is None:
        return np.nan
    if not isinstance(parameter, ChoiceParameter):
        return float(value)
    if _is_one_hot(parameter):
        return str(value)
    if value not in parameter.values:
        return np.nan
    return float(parameter.values.index(value))
