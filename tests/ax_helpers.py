"""Experiments of Ax with trials, and their fitted adapters, for the tests of `ax`."""

from __future__ import annotations

from typing import Any

import numpy as np
from ax.adapter.cross_validation import CVResult
from ax.adapter.registry import GeneratorRegistryBase, Generators
from ax.adapter.torch import TorchAdapter
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.generation_strategy.generation_node import GenerationNode
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.generation_strategy.generator_spec import GeneratorSpec
from ax.generators.torch.botorch_modular.surrogate import (
    ModelConfig,
    SurrogateSpec,
)
from botorch.models.model import Model
from helpers import assert_close

from botorch_xval.ax import ScalarChoiceGP

# A small search for the next trial, which no test looks at.
QUICK = {"model_gen_options": {"optimizer_kwargs": {"num_restarts": 1}}}

OURS = ModelConfig(botorch_model_class=ScalarChoiceGP)
PARAMETERS = [
    RangeParameterConfig(
        name="rate", bounds=(1e-4, 1e-1), parameter_type="float", scaling="log"
    ),
    RangeParameterConfig(name="depth", bounds=(1, 6), parameter_type="int"),
    RangeParameterConfig(name="drop", bounds=(0.0, 0.5), parameter_type="float"),
    ChoiceParameterConfig(
        name="kind", values=["a", "b", "c"], parameter_type="str", is_ordered=False
    ),
    ChoiceParameterConfig(
        name="batch", values=[16, 32, 64], parameter_type="int", is_ordered=True
    ),
    ChoiceParameterConfig(name="flag", values=["no", "yes"], parameter_type="str"),
]


def loss(parameters: dict, output: int = 0) -> float:
    rate = np.log10(parameters["rate"])
    value = (rate + 2.5) ** 2 + 0.1 * (parameters["depth"] - 3) ** 2
    value += {"a": 0.0, "b": 0.5, "c": 1.0}[parameters["kind"]] * (1 + output)
    return float(value + parameters["drop"] - 0.2 * (parameters["flag"] == "yes"))


def strategy(
    config: ModelConfig,
    batched: bool = True,
    generators: type[GeneratorRegistryBase] = Generators,
) -> GenerationStrategy:
    spec = SurrogateSpec(model_configs=[config], allow_batched_models=batched)
    generator = GeneratorSpec(
        generator_enum=generators.BOTORCH_MODULAR,
        generator_kwargs={"surrogate_spec": spec},
        generator_gen_kwargs=QUICK,
    )
    return GenerationStrategy(
        name="xval", nodes=[GenerationNode(name="BO", generator_specs=[generator])]
    )


def random_parameters(rng: np.random.Generator) -> dict:
    return {
        "rate": float(10 ** rng.uniform(-4, -1)),
        "depth": int(rng.integers(1, 7)),
        "drop": float(rng.uniform(0, 0.5)),
        "kind": str(rng.choice(["a", "b", "c"])),
        "batch": int(rng.choice([16, 32, 64])),
        "flag": str(rng.choice(["no", "yes"])),
    }


def client_with_data(
    config: ModelConfig = OURS,
    n: int = 10,
    metrics: tuple[str, ...] = ("loss",),
    sem: float | None = None,
    batched: bool = True,
    generators: type[GeneratorRegistryBase] = Generators,
    parameters: list = PARAMETERS,
    missing: int | None = None,
    **client_kwargs: Any,
) -> Client:
    """A client with trials; of the second metric one may be missing."""
    client = Client(random_seed=0, **client_kwargs)
    client.configure_experiment(name="test", parameters=parameters)
    constraints = [f"{name} <= 3.0" for name in metrics[1:]]
    client.configure_optimization(
        objective=f"-{metrics[0]}", outcome_constraints=constraints
    )
    client.set_generation_strategy(strategy(config, batched, generators))
    rng = np.random.default_rng(0)
    names = {parameter.name for parameter in parameters}
    for i in range(n):
        values = random_parameters(rng)
        data = {
            name: loss(values, k) if sem is None else (loss(values, k), sem)
            for k, name in enumerate(metrics)
            if k == 0 or i != missing
        }
        values = {k: v for k, v in values.items() if k in names}
        index = client.attach_trial(parameters=values)
        client.complete_trial(trial_index=index, raw_data=data)
    return client


def fitted_adapter(client: Client) -> TorchAdapter:
    """Fitted to all trials, as for the next one, which is not made."""
    client._generation_strategy.current_node._fit(experiment=client._experiment)
    return client._generation_strategy.adapter


def fitted_model(client: Client) -> Model:
    """The model that is fitted to all trials."""
    return fitted_adapter(client).generator.surrogate.model


def next_trial(client: Client) -> tuple[dict, Model]:
    """The parameters of one more trial, and the model that it was found by."""
    (parameters,) = client.get_next_trials(max_trials=1).values()
    adapter = client._generation_strategy.current_node.generator_spec_to_gen_from
    return parameters, adapter.fitted_adapter.generator.surrogate.model


def with_repeated_arms(client: Client) -> Client:
    """Two of its arms once more, with other outcomes."""
    for trial in (1, 4):
        parameters = dict(client._experiment.trials[trial].arm.parameters)
        index = client.attach_trial(
            parameters=parameters, arm_name=client._experiment.trials[trial].arm.name
        )
        client.complete_trial(trial_index=index, raw_data={"loss": 0.7 + trial})
    return client


def assert_same(first: list[CVResult], second: list[CVResult]) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert one.observed.arm_name == other.observed.arm_name
        assert one.predicted.metric_signatures == other.predicted.metric_signatures
        assert_close(one.observed.data.means, other.observed.data.means)
        assert_close(one.predicted.means, other.predicted.means, rtol=1e-4, atol=1e-4)
        assert_close(
            one.predicted.covariance, other.predicted.covariance, rtol=1e-4, atol=1e-5
        )


# Arguments of a cross-validation.
CASES: dict[str, dict[str, Any]] = {
    "leave-one-out": {},
    "k-fold": {"folds": 3},
    "chosen": {"test_selector": lambda obs: obs.features.trial_index % 3 == 0},
    "model's scale": {"untransform": False},
    "with noise": {"use_posterior_predictive": True},
}
