"""Inside Ax, through its own clients, strategies and storage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models import SingleTaskGP
from botorch.utils.datasets import SupervisedDataset
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import assert_close, noisy_waves

pytestmark = pytest.mark.filterwarnings("default")  # Ax's own


def test_importing_the_library_imports_no_ax():
    code = "import sys, botorch_xval; print('ax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_without_ax_the_error_names_the_extra():
    code = "import sys; sys.modules['ax'] = None; import botorch_xval.ax"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'pip install "botorch-xval[ax]"' in done.stderr


ax = pytest.importorskip("ax")

from ax.adapter.cross_validation import compute_diagnostics  # noqa: E402
from ax.adapter.cross_validation import cross_validate as ax_cross_validate  # noqa: E402
from ax.adapter.registry import Generators  # noqa: E402
from ax.api.client import Client  # noqa: E402
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig  # noqa: E402
from ax.generation_strategy.generation_node import GenerationNode  # noqa: E402
from ax.generation_strategy.generation_strategy import GenerationStrategy  # noqa: E402
from ax.generation_strategy.generator_spec import GeneratorSpec  # noqa: E402
from ax.generators.torch.botorch_modular.surrogate import (  # noqa: E402
    ModelConfig,
    SurrogateSpec,
)

from botorch_xval import FactorizedScalarChoiceKernel, fit_gpytorch_mll  # noqa: E402
from botorch_xval import ax as xval_ax  # noqa: E402
from botorch_xval.ax import (  # noqa: E402
    IndependentSingleTaskGP,
    ScalarChoiceGP,
    choice_columns,
    with_independent_fit,
)
from botorch_xval.fit import fit_alike  # noqa: E402

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


def strategy(config: ModelConfig, batched: bool = True) -> GenerationStrategy:
    spec = SurrogateSpec(model_configs=[config], allow_batched_models=batched)
    generator = GeneratorSpec(
        generator_enum=Generators.BOTORCH_MODULAR,
        generator_kwargs={"surrogate_spec": spec},
    )
    return GenerationStrategy(
        name="xval", nodes=[GenerationNode(name="BO", generator_specs=[generator])]
    )


def client_with_data(
    config: ModelConfig,
    n: int = 10,
    metrics: tuple[str, ...] = ("loss",),
    sem: float | None = None,
    batched: bool = True,
) -> Client:
    client = Client(random_seed=0)
    client.configure_experiment(parameters=PARAMETERS)
    constraints = [f"{name} <= 3.0" for name in metrics[1:]]
    client.configure_optimization(
        objective=f"-{metrics[0]}", outcome_constraints=constraints
    )
    client.set_generation_strategy(strategy(config, batched))
    rng = np.random.default_rng(0)
    for _ in range(n):
        parameters = {
            "rate": float(10 ** rng.uniform(-4, -1)),
            "depth": int(rng.integers(1, 7)),
            "drop": float(rng.uniform(0, 0.5)),
            "kind": str(rng.choice(["a", "b", "c"])),
            "batch": int(rng.choice([16, 32, 64])),
            "flag": str(rng.choice(["no", "yes"])),
        }
        data = {
            name: loss(parameters, k) if sem is None else (loss(parameters, k), sem)
            for k, name in enumerate(metrics)
        }
        index = client.attach_trial(parameters=parameters)
        client.complete_trial(trial_index=index, raw_data=data)
    return client


def fitted_model(client: Client):
    client.get_next_trials(max_trials=1)
    adapter = client._generation_strategy.current_node.generator_spec_to_gen_from
    return adapter.fitted_adapter.generator.surrogate.model


@pytest.mark.parametrize("priors", ["tight", "loosest"])
def test_choices_are_found_by_name_and_every_model_has_its_own_fit(priors):
    config = ModelConfig(
        botorch_model_class=ScalarChoiceGP, model_options={"priors": priors}
    )
    client = client_with_data(config)
    model = fitted_model(client)
    assert type(model) is ScalarChoiceGP
    names = list(client._generation_strategy.adapter.parameters)
    assert [names[i] for i in model.choice_dims] == [
        f"kind_OH_PARAM_{k}" for k in range(3)
    ]
    assert len(model.scalar_dims) == 5
    # and it is where our fit of a fresh model of the same data ends
    fresh = ScalarChoiceGP(
        model.train_inputs[0],
        model.train_targets[:, None],
        choice_dims=model.choice_dims,
        priors=priors,
        outcome_transform=None,
        input_transform=None,
    )
    mll = ExactMarginalLogLikelihood(fresh.likelihood, fresh)
    xval_ax.fit_or_raise(mll)
    for name, value in fresh.named_parameters():
        assert_close(model.get_parameter(name), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("sem", [None, 0.1])
def test_several_metrics_with_constraints(batched, sem):
    config = ModelConfig(botorch_model_class=ScalarChoiceGP)
    metrics = ("loss", "time")
    client = client_with_data(config, metrics=metrics, sem=sem, batched=batched)
    model = fitted_model(client)
    assert model.num_outputs == 2
    assert isinstance(model, ScalarChoiceGP) is batched
    trial = client.get_next_trials(max_trials=1)
    assert set(next(iter(trial.values()))) == {p.name for p in PARAMETERS}


def test_a_kernel_of_ours_in_any_model():
    config = ModelConfig(
        botorch_model_class=IndependentSingleTaskGP,
        covar_module_class=FactorizedScalarChoiceKernel,
    )
    for metrics in (("loss",), ("loss", "time")):
        model = fitted_model(client_with_data(config, metrics=metrics))
        assert type(model.covar_module) is FactorizedScalarChoiceKernel
        expected = torch.Size([2] if len(metrics) > 1 else [])
        assert model.covar_module.batch_shape == expected


@pytest.mark.parametrize("model_class", [ScalarChoiceGP, IndependentSingleTaskGP])
def test_a_client_is_saved_loaded_and_goes_on(model_class, tmp_path: Path):
    options = {"priors": "loose"} if model_class is ScalarChoiceGP else {}
    config = ModelConfig(botorch_model_class=model_class, model_options=options)
    client = client_with_data(config)
    fitted_model(client)
    path = tmp_path / "client.json"
    client.save_to_json_file(str(path))
    loaded = Client.load_from_json_file(str(path))
    (spec,) = loaded._generation_strategy.current_node.generator_specs
    (again,) = spec.generator_kwargs["surrogate_spec"].model_configs
    assert again.botorch_model_class is model_class
    assert again.model_options == options
    assert type(fitted_model(loaded)) is model_class


def test_our_fit_of_any_model_through_botorchs_function():
    import botorch.fit

    X, Y = noisy_waves(12)
    made = with_independent_fit(SingleTaskGP, "OwnName")
    assert made.__name__ == "OwnName" and issubclass(made, SingleTaskGP)
    plain, ours = SingleTaskGP(X, Y), made(X, Y)
    mlls = [ExactMarginalLogLikelihood(m.likelihood, m) for m in (plain, ours)]
    fit_gpytorch_mll(mlls[0])
    assert botorch.fit.fit_gpytorch_mll(mlls[1]) is mlls[1]
    assert not mlls[1].training and len(mlls[1].fit_records) == 1
    for name, value in plain.named_parameters():
        assert torch.equal(ours.get_parameter(name), value)
    with pytest.raises(UnsupportedError, match="for closures, other optimizers"):
        botorch.fit.fit_gpytorch_mll(mlls[1], closure=lambda: None)


def test_what_has_a_fit_of_its_own_or_is_no_model_is_refused():
    with pytest.raises(ValueError, match="`custom_fit` of its own"):
        with_independent_fit(IndependentSingleTaskGP)
    with pytest.raises(ValueError, match="expected a class of BoTorch models"):
        with_independent_fit(dict)


def test_columns_without_one_hot_code_are_refused():
    X, Y = noisy_waves(6)
    data = SupervisedDataset(X, Y, feature_names=["a", "kind"], outcome_names=["y"])
    with pytest.raises(UnsupportedError, match=r"got \['kind'\] as numbers"):
        ScalarChoiceGP.construct_inputs(data, categorical_features=[1])
    with pytest.raises(UnsupportedError, match="fidelity_features"):
        ScalarChoiceGP.construct_inputs(data, fidelity_features=[1])
    assert choice_columns(["a", "kind_OH_PARAM_0", "kind_OH_PARAM_1"]) == [1, 2]


# Cross-validation


def fitted_adapter(client: Client):
    client.get_next_trials(max_trials=1)
    return client._generation_strategy.adapter


def same(first, second) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert one.observed.arm_name == other.observed.arm_name
        assert one.predicted.metric_signatures == other.predicted.metric_signatures
        assert_close(one.observed.data.means, other.observed.data.means)
        assert_close(one.predicted.means, other.predicted.means, rtol=1e-4, atol=1e-4)
        assert_close(
            one.predicted.covariance, other.predicted.covariance, rtol=1e-4, atol=1e-5
        )


CASES = {
    "leave-one-out": {},
    "k-fold": {"folds": 3},
    "chosen": {"test_selector": lambda obs: obs.features.trial_index % 3 == 0},
    "model's scale": {"untransform": False},
    "with noise": {"use_posterior_predictive": True},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model_class", [ScalarChoiceGP, IndependentSingleTaskGP])
def test_cross_validation_is_that_of_ax(case, model_class):
    client = client_with_data(ModelConfig(botorch_model_class=model_class))
    adapter = fitted_adapter(client)
    before = adapter.generator.surrogate
    np.random.seed(3)  # Ax shuffles the arms of k folds
    found = xval_ax.cross_validate(adapter, **CASES[case])
    assert adapter.generator.surrogate is before
    assert not adapter.generator.refit_on_cv
    adapter.generator.refit_on_cv = True
    np.random.seed(3)
    same(found, ax_cross_validate(adapter, **CASES[case]))


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("sem", [None, 0.1])
def test_cross_validation_of_several_metrics(batched, sem):
    config = ModelConfig(botorch_model_class=ScalarChoiceGP)
    metrics = ("loss", "time")
    client = client_with_data(config, metrics=metrics, sem=sem, batched=batched)
    adapter = fitted_adapter(client)
    found = xval_ax.cross_validate(adapter)
    diagnostics = compute_diagnostics(found)
    assert set(diagnostics["Rank correlation"]) == {"loss", "time"}
    adapter.generator.refit_on_cv = True
    same(found, ax_cross_validate(adapter))


def test_all_folds_are_fitted_in_one_call(monkeypatch):
    client = client_with_data(ModelConfig(botorch_model_class=ScalarChoiceGP))
    adapter = fitted_adapter(client)
    asked = []

    def spy(mlls):
        asked.append(len(mlls))
        fit_alike(mlls)

    monkeypatch.setattr(xval_ax, "fit_alike", spy)
    xval_ax.cross_validate(adapter)
    assert asked == [10]


def test_models_that_ax_fits_itself_are_refused():
    adapter = fitted_adapter(client_with_data(ModelConfig()))
    with pytest.raises(UnsupportedError, match="expected models of botorch_xval.ax"):
        xval_ax.cross_validate(adapter)
