"""A node with two generators: the selected one, by Ax's own loop over the folds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ax.adapter.cross_validation import cross_validate as ax_cross_validate
from ax.adapter.registry import Generators
from ax.api.client import Client
from ax.generation_strategy.generation_node import GenerationNode
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.generation_strategy.generator_spec import GeneratorSpec
from ax.generators.torch.botorch_modular.surrogate import ModelConfig, SurrogateSpec
from ax_helpers import QUICK, client_with_data
from helpers import assert_close
from scipy import stats

from botorch_xval.ax.cross_validation import cross_validate
from botorch_xval.ax.models import ScalarChoiceGP
from botorch_xval.ax.selector import RefitModelSelector, log_density_by_arm
from botorch_xval.ax.structured import spec_model_config
from botorch_xval.models.grammar import ModelSpec

pytestmark = pytest.mark.filterwarnings("default")  # Ax's own

TIGHT = ModelConfig(botorch_model_class=ScalarChoiceGP)
LINEAR = spec_model_config(ModelSpec(linear=True))


def node(*configs: ModelConfig) -> GenerationNode:
    return GenerationNode(
        name="BO",
        generator_specs=[
            GeneratorSpec(
                generator_enum=Generators.BOTORCH_MODULAR,
                generator_kwargs={
                    "surrogate_spec": SurrogateSpec(model_configs=[config])
                },
                generator_gen_kwargs=QUICK,
                generator_key_override=f"number {k}",
            )
            for k, config in enumerate(configs)
        ],
        best_model_selector=RefitModelSelector(),
    )


def fitted(n: int, *configs: ModelConfig) -> GenerationNode:
    client = client_with_data(n=n)
    made = node(*configs)
    GenerationStrategy(name="xval", nodes=[made])
    made._fit(experiment=client._experiment)
    return made


def gains(first: GeneratorSpec, second: GeneratorSpec) -> pd.Series:
    """By arm the paired difference."""
    one, other = (
        log_density_by_arm(
            cross_validate(spec.fitted_adapter, use_posterior_predictive=True)
        )
        for spec in (first, second)
    )
    return other - one


def test_the_better_model_is_selected_from_twenty_arms_on():
    many = fitted(20, TIGHT, LINEAR)
    first, second = many.generator_specs
    gain = gains(first, second)
    assert len(gain) == 20 and gain.mean() > 1.5 * gain.sem()
    assert many._pick_fitted_adapter_to_gen_from() is second
    assert many.best_model_selector.best_model([second, first]) is second
    # Scores of some arms by Ax's own loop over the folds.
    adapter = second.fitted_adapter
    adapter.generator.refit_on_cv = True
    results = ax_cross_validate(
        adapter,
        test_selector=lambda observation: observation.features.trial_index % 7 == 0,
        use_posterior_predictive=True,
    )
    ours = cross_validate(adapter, use_posterior_predictive=True)
    expected = log_density_by_arm(results)
    assert len(expected) == 3
    found = log_density_by_arm(ours)[expected.index]
    assert_close(found.to_numpy(), expected.to_numpy(), rtol=1e-3, atol=1e-3)


def test_the_first_of_equal_models_is_selected():
    made = fitted(20, LINEAR, LINEAR)
    assert made._pick_fitted_adapter_to_gen_from() is made.generator_specs[0]


def test_scores_are_summed_over_metrics():
    client = client_with_data(LINEAR, n=6, metrics=("loss", "time"))
    current = client._generation_strategy.current_node
    current._fit(experiment=client._experiment)
    adapter = client._generation_strategy.adapter
    results = ax_cross_validate(adapter, use_posterior_predictive=True)
    found = log_density_by_arm(results)
    assert len(found) == 6
    for result in results:
        total = 0.0
        for name, mean in zip(
            result.observed.data.metric_signatures,
            result.observed.data.means,
            strict=True,
        ):
            i = result.predicted.metric_signatures.index(name)
            scale = np.sqrt(result.predicted.covariance[i, i])
            total += stats.norm.logpdf(mean, result.predicted.means[i], scale)
        assert_close(found[result.observed.arm_name], total)


def test_a_client_with_it_is_saved_and_loaded(tmp_path: Path):
    client = client_with_data(n=19)
    client.set_generation_strategy(
        GenerationStrategy(name="xval", nodes=[node(TIGHT, LINEAR)])
    )
    path = tmp_path / "client.json"
    client.save_to_json_file(str(path))
    loaded = Client.load_from_json_file(str(path))
    current = loaded._generation_strategy.current_node
    assert type(current.best_model_selector) is RefitModelSelector
    current._fit(experiment=loaded._experiment)
    # Fewer than twenty arms do not tell models apart.
    picked = current._pick_fitted_adapter_to_gen_from()
    assert picked is current.generator_specs[0]
