"""The models of a search inside Ax, and through its storage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ax.api.client import Client
from ax_helpers import client_with_data, fitted_model
from botorch.exceptions.errors import UnsupportedError
from botorch.utils.datasets import SupervisedDataset
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import assert_close, noisy_waves

from botorch_xval.ax.structured import StructuredGP, spec_model_config
from botorch_xval.fitting.fit import fit_gpytorch_mll
from botorch_xval.models import structured
from botorch_xval.models.grammar import ModelSpec

pytestmark = pytest.mark.filterwarnings("default")  # Ax's own

SPEC = ModelSpec(
    kernel="matern32",
    choices="joint",
    linear=True,
    warped=True,
    priors="loose",
    choice_dims=(5, 6, 7),
)


def test_a_config_has_what_is_not_botorchs_default():
    config = spec_model_config(SPEC)
    assert config.botorch_model_class is StructuredGP
    assert config.model_options == {
        "kernel": "matern32",
        "choices": "joint",
        "linear": True,
        "warped": True,
        "priors": "loose",
    }
    assert config.name == SPEC.name
    assert spec_model_config(ModelSpec()).model_options == {}


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, choices="numbers", warped=False)])
def test_a_model_in_ax_is_our_fit_of_its_specification(spec):
    client = client_with_data(spec_model_config(spec))
    model = fitted_model(client)
    names = list(client._generation_strategy.adapter.parameters)
    columns = [i for i, name in enumerate(names) if "_OH_PARAM_" in name]
    assert model.spec == replace(spec, choice_dims=tuple(columns))
    X, transform = model.train_inputs[0], None
    if spec.warped:  # after Ax's own transform
        X, transform = model._original_train_inputs, model.input_transform["before"]
    fresh = structured.StructuredGP(
        X,
        model.train_targets[:, None],
        spec=model.spec,
        outcome_transform=None,
        input_transform=transform,
    )
    fit_gpytorch_mll(ExactMarginalLogLikelihood(fresh.likelihood, fresh))
    for name, value in fresh.named_parameters():
        assert_close(model.get_parameter(name), value, rtol=1e-5, atol=1e-6)


def test_a_client_with_it_is_saved_and_loaded(tmp_path: Path):
    client = client_with_data(spec_model_config(SPEC))
    path = tmp_path / "client.json"
    client.save_to_json_file(str(path))
    loaded = Client.load_from_json_file(str(path))
    (spec,) = loaded._generation_strategy.current_node.generator_specs
    (again,) = spec.generator_kwargs["surrogate_spec"].model_configs
    assert again == spec_model_config(SPEC)
    model = fitted_model(loaded)
    assert type(model) is StructuredGP and model.spec.warped
    # What an acquisition function is optimized by.
    X = model._original_train_inputs[:4].clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.posterior(X).mean.sum(), X)
    assert slope.isfinite().all() and slope.abs().sum() > 0


def test_several_metrics():
    spec = replace(SPEC, inputs="additive", warped=False, priors="BoTorch")
    config = spec_model_config(spec)
    for batched in (True, False):
        metrics = ("loss", "time")
        client = client_with_data(config, metrics=metrics, batched=batched)
        model = fitted_model(client)
        assert model.num_outputs == 2
        assert isinstance(model, StructuredGP) is batched


def test_what_is_no_scalar_and_no_choice_is_refused():
    X, Y = noisy_waves(6)
    data = SupervisedDataset(X, Y, feature_names=["a", "b"], outcome_names=["y"])
    with pytest.raises(UnsupportedError, match=r"StructuredGP: .* got \['b'\] as num"):
        StructuredGP.construct_inputs(data, categorical_features=[1])
    with pytest.raises(UnsupportedError, match=r"\['fidelity_features'\]; use another"):
        StructuredGP.construct_inputs(data, fidelity_features=[1])
    with pytest.raises(ValueError, match="the one-hot columns for choices='joint'"):
        StructuredGP.construct_inputs(data, choices="joint")
