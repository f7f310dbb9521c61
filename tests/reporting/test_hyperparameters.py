"""The table of hyper-parameters against GPyTorch's own values and SciPy's priors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Normalize
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.priors import GammaPrior, HalfCauchyPrior, UniformPrior
from helpers import assert_close, noisy_waves, normalized_gp, tuning_trials
from scipy import stats

from botorch_xval import ScalarChoiceGP
from botorch_xval.reporting.hyperparameters import hyperparameters


def choices(n: int = 12) -> tuple[ScalarChoiceGP, list[str]]:
    table = tuning_trials(n)
    model = ScalarChoiceGP(table.X, table.Y, choice_dims=table.choice_dims)
    return model, table.feature_names


def test_every_number_of_a_model_is_there_once_with_its_name():
    model, names = choices()
    table = hyperparameters(model, names)
    assert len(table) == sum(p.numel() for p in model.parameters())
    assert not table.duplicated(["part", "parameter"]).any()
    kernels = model.covar_module
    for part, kernel in kernels.named_modules():
        if not hasattr(kernel, "lengthscale") or kernel.lengthscale is None:
            continue
        own = table[table.part == f"covar_module.{part}"]
        seen = [names[i] for i in kernel.active_dims.tolist()]
        assert own.parameter.to_list() == [f"lengthscale[{name!r}]" for name in seen]
        assert_close(own.value.to_numpy(), kernel.lengthscale.detach()[0].numpy())
    (noise,) = table[table.parameter == "noise"].itertuples()
    assert noise.part == "likelihood.noise_covar"
    assert noise.value == pytest.approx(model.likelihood.noise.item())
    assert noise.lower == pytest.approx(1e-6) and noise.upper == math.inf


def test_priors_are_those_of_scipy():
    model, names = choices()
    table = hyperparameters(model, names)
    lengthscales = table[table.parameter.str.startswith("lengthscale")]
    expected = stats.gamma(3, scale=1 / 6)
    for name, share in (("low", 0.025), ("median", 0.5), ("high", 0.975)):
        assert_close(
            lengthscales[f"prior_{name}"].to_numpy(),
            np.full(len(lengthscales), expected.ppf(share)),
        )
    assert_close(lengthscales.prior_cdf.to_numpy(), expected.cdf(lengthscales.value))
    weights = table[table.parameter == "fractions"]
    assert len(weights) == 2
    assert_close(weights.prior_median.to_numpy(), np.full(2, 0.5))  # Beta(3, 3)
    mean = table[table.part == "mean_module"].iloc[0]
    assert math.isnan(mean.prior_cdf) and not mean.positive


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (HalfCauchyPrior(0.5), stats.halfcauchy(scale=0.5)),
        (UniformPrior(0.1, 2.0), stats.uniform(0.1, 1.9)),
        (GammaPrior(2.0, torch.tensor([1.0, 4.0])), None),
    ],
)
def test_other_priors(prior, expected):
    X, Y = noisy_waves(8)
    kernel = RBFKernel(ard_num_dims=2, lengthscale_prior=prior)
    table = hyperparameters(SingleTaskGP(X, Y, covar_module=ScaleKernel(kernel)))
    own = table[table.parameter.str.startswith("lengthscale")]
    assert own.parameter.to_list() == ["lengthscale['x0']", "lengthscale['x1']"]
    each = [expected] * 2 if expected else [stats.gamma(2, scale=s) for s in (1, 0.25)]
    assert_close(own.prior_high.to_numpy(), np.array([d.ppf(0.975) for d in each]))


def test_batches_lists_and_sequences_have_the_values_of_their_members():
    X, Y = noisy_waves(10, 2)
    several = [normalized_gp(X, Y[:, :1]), normalized_gp(X, Y[:, 1:])]
    for i, model in enumerate(several):
        model.covar_module.lengthscale = 0.5 + i
    lengthscale = "lengthscale['x0']"
    batch = SingleTaskGP(X, Y, input_transform=Normalize(2))
    batch.covar_module.lengthscale = torch.tensor([0.5, 1.5])[:, None, None]
    for model, column in (
        (several, "model"),
        (ModelListGP(*several), "output"),
        (batch, "output"),
    ):
        table = hyperparameters(model)
        own = table[table.parameter == lengthscale]
        assert own[column].to_list() == [0, 1]
        assert_close(own.value.to_numpy(), np.array([0.5, 1.5]))
