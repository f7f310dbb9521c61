"""Models and kernels inside Ax, through its clients, strategies and storage."""

from __future__ import annotations

from pathlib import Path

import botorch.fit
import pytest
import torch
from ax.api.client import Client
from ax.generators.torch.botorch_modular.surrogate import ModelConfig
from ax_helpers import PARAMETERS, client_with_data, fitted_model, next_trial
from botorch.exceptions.errors import UnsupportedError
from botorch.models import SingleTaskGP
from botorch.utils.datasets import SupervisedDataset
from gpytorch.mlls import ExactMarginalLogLikelihood, LeaveOneOutPseudoLikelihood
from helpers import assert_close, losses_of, noisy_waves

from botorch_xval.ax.models import (
    IndependentSingleTaskGP,
    ScalarChoiceGP,
    choice_columns,
    with_independent_fit,
)
from botorch_xval.fitting.fit import fit_gpytorch_mll
from botorch_xval.models import scalar_choice
from botorch_xval.models.kernels import FactorizedScalarChoiceKernel
from botorch_xval.models.mlls import LeaveOneOutCRPS

pytestmark = pytest.mark.filterwarnings("default")  # Ax's own


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
    fresh = scalar_choice.ScalarChoiceGP(
        model.train_inputs[0],
        model.train_targets[:, None],
        choice_dims=model.choice_dims,
        priors=priors,
        outcome_transform=None,
        input_transform=None,
    )
    mll = ExactMarginalLogLikelihood(fresh.likelihood, fresh)
    fit_gpytorch_mll(mll)
    for name, value in fresh.named_parameters():
        assert_close(model.get_parameter(name), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("sem", [None, 0.1])
def test_several_metrics_with_constraints(batched, sem):
    config = ModelConfig(botorch_model_class=ScalarChoiceGP)
    metrics = ("loss", "time")
    client = client_with_data(config, metrics=metrics, sem=sem, batched=batched)
    parameters, model = next_trial(client)
    assert model.num_outputs == 2
    assert isinstance(model, ScalarChoiceGP) is batched
    assert set(parameters) == {p.name for p in PARAMETERS}


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
    next_trial(client)
    path = tmp_path / "client.json"
    client.save_to_json_file(str(path))
    loaded = Client.load_from_json_file(str(path))
    (spec,) = loaded._generation_strategy.current_node.generator_specs
    (again,) = spec.generator_kwargs["surrogate_spec"].model_configs
    assert again.botorch_model_class is model_class
    assert again.model_options == options
    assert type(next_trial(loaded)[1]) is model_class


@pytest.mark.parametrize("mll", [LeaveOneOutPseudoLikelihood, LeaveOneOutCRPS])
def test_a_client_fits_by_a_criterion_and_keeps_it(mll, tmp_path: Path):
    config = ModelConfig(botorch_model_class=IndependentSingleTaskGP, mll_class=mll)
    client = client_with_data(config)
    model = fitted_model(client)
    by_evidence = fitted_model(
        client_with_data(ModelConfig(botorch_model_class=IndependentSingleTaskGP))
    )
    losses = [
        losses_of(mll(each.likelihood, each)).item() for each in (model, by_evidence)
    ]
    assert losses[0] < losses[1] - 1e-3
    client.save_to_json_file(str(tmp_path / "client.json"))
    loaded = Client.load_from_json_file(str(tmp_path / "client.json"))
    (spec,) = loaded._generation_strategy.current_node.generator_specs
    (again,) = spec.generator_kwargs["surrogate_spec"].model_configs
    assert again.mll_class is mll


def test_our_fit_of_any_model_through_botorchs_function():
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
    with pytest.raises(ValueError, match="a class without `custom_fit`, got Indep"):
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
