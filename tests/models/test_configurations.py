"""The configurations that a comparison has by default."""

from __future__ import annotations

import torch
from helpers import assert_close, noisy_waves

from botorch_xval.models.configurations import (
    BOTORCH_DEFAULT,
    default_configurations,
    default_model,
    name_of_priors,
)
from botorch_xval.models.scalar_choice import PRIOR_CONFIGURATIONS, ScalarChoiceGP


def test_configurations_are_the_named_priors_and_botorchs_default():
    found = default_configurations([1])
    names = ["tight priors", "loose priors", "loosest priors", "BoTorch default"]
    assert list(found) == names
    x, y = noisy_waves(6)
    x[:, 1] = torch.arange(6) % 2
    for priors, expected in PRIOR_CONFIGURATIONS.items():
        model = found[name_of_priors(priors)](x, y)
        assert isinstance(model, ScalarChoiceGP)
        assert model.priors == expected
        assert list(model.choice_dims) == [1]
    assert found[BOTORCH_DEFAULT] is default_model


def test_the_default_model_scales_inputs_and_outcomes_itself():
    x, y = noisy_waves(6)
    model = default_model(x, y, torch.full_like(y, 4.0))
    scaled = model.input_transform(x)
    assert_close(scaled.min(dim=0).values, [0.0, 0.0])
    assert_close(scaled.max(dim=0).values, [1.0, 1.0])
    assert_close(model.train_targets.std(), 1.0)
    assert_close(model.likelihood.noise * y.var(), [4.0] * 6)
