"""Bad arguments of what is for Ax."""

from __future__ import annotations

from functools import cache

import pandas as pd
from ax.api.client import Client
from ax.api.configs import RangeParameterConfig

from bad_inputs.case import X, Y, comparison, stepped, table_of
from bad_inputs.models import of_data
from botorch_xval.ax import (
    IndependentSingleTaskGP,
    RefitModelSelector,
    ScalarChoiceGP,
    StructuredGP,
    best_model_config,
    choice_columns,
    compare_models,
    cross_validate,
    encode_experiment,
    search_models,
    spec_model_config,
    with_independent_fit,
)
from botorch_xval.comparison import Comparison


@cache
def client() -> Client:
    """With two finished trials."""
    made = Client()
    made.configure_experiment(
        [RangeParameterConfig(name="a", parameter_type="float", bounds=(0, 1))]
    )
    made.configure_optimization("loss")
    for value in (0.2, 0.7):
        made.attach_trial({"a": value})
    for i in (0, 1):
        made.complete_trial(i, raw_data={"loss": float(i)})
    return made


def renamed() -> Comparison:
    """A comparison of other configurations."""
    whole = comparison()
    return Comparison(
        *(
            f.assign(configuration=f.configuration + "!")
            for f in (whole.points, whole.fits)
        )
    )


def of_experiment(call, of):
    return table_of(
        of,
        ("none", lambda: call(None), "experiment: expected an Ax Experiment",
         "NoneType",
         ";"),
        ("a table", lambda: call(pd.DataFrame()),
         "experiment: expected an Ax Experiment",
         "DataFrame", ";"),
        ("a result", lambda: call(stepped()), "experiment: expected an Ax Experiment",
         "CrossValidation", ";"),
        ("an empty client", lambda: call(Client()),
         "experiment: expected an Ax Experiment",
         "none", "configure_experiment"),
        ("no such metric", lambda: call(client(), "los"), "metric: expected one",
         "'los'", ";"),
        ("a metric as a list", lambda: call(client(), ["loss"]), "metric: expected one",
         r"\['loss'\]", ";"),
        ("two rows", lambda: call(client()), "at least 3 rows", "2", ";"),
    )  # fmt: skip


CASES = [
    *of_data(ScalarChoiceGP, "ax.ScalarChoiceGP"),
    *of_data(StructuredGP, "ax.StructuredGP"),
    *of_experiment(encode_experiment, "ax.encode_experiment"),
    *of_experiment(compare_models, "ax.compare_models"),
    *of_experiment(search_models, "ax.search_models"),
    *table_of(
        "ax.choice_columns",
        ("text", lambda: choice_columns("a_OH_PARAM_0"),
         "feature_names: expected a list",
         "'a_OH", ";"),
        ("none", lambda: choice_columns(None), "feature_names: expected a list", "None",
         ";"),
        ("numbers", lambda: choice_columns([1]), "feature_names: expected", "1", ";"),
    ),
    *table_of(
        "ax.best_model_config",
        ("none", lambda: best_model_config(None), "comparison: expected a Comparison",
         "NoneType", ";"),
        ("a result", lambda: best_model_config(stepped()),
         "comparison: expected a Comparison", "CrossValidation", ";"),
        ("other names", lambda: best_model_config(renamed()),
         "comparison: expected one of", "!'", "yourself"),
    ),
    *table_of(
        "ax.spec_model_config",
        ("none", lambda: spec_model_config(None), "spec: expected a ModelSpec", "None",
         ";"),
        ("text", lambda: spec_model_config("rbf"), "spec: expected a ModelSpec", "str",
         ";"),
    ),
    *table_of(
        "ax.with_independent_fit",
        ("a model", lambda: with_independent_fit(ScalarChoiceGP(X, Y)),
         "model_class: expected a class", "ScalarChoiceGP", ";"),
        ("another class", lambda: with_independent_fit(dict),
         "model_class: expected a class", "dict", ";"),
        ("one that has it", lambda: with_independent_fit(IndependentSingleTaskGP),
         "model_class: expected a class without", "IndependentSingle", ";"),
        ("a name as a number", lambda: with_independent_fit(
         type("Other", IndependentSingleTaskGP.__mro__[2:3], {}), 3),
         "name: expected", "3", ";"),
    ),
    *table_of(
        "ax.cross_validate",
        ("none", lambda: cross_validate(None), "adapter: expected an? Adapter",
         "NoneType", ";"),
        ("a client", lambda: cross_validate(client()), "adapter: expected an? Adapter",
         "Client", ";"),
    ),
    *table_of(
        "ax.RefitModelSelector",
        ("none", lambda: RefitModelSelector().best_model(None),
         "generator_specs: expected", "None", ";"),
        ("no generators", lambda: RefitModelSelector().best_model([]),
         "generator_specs: expected", r"\[\]", ";"),
    ),
]  # fmt: skip
