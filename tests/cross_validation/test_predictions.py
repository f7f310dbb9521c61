"""Predictions of many models together are their posteriors."""

from __future__ import annotations

import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models import SingleTaskGP
from botorch.models.transforms import (
    ChainedOutcomeTransform,
    Log,
    Normalize,
    Standardize,
)
from helpers import SAME, assert_close, noisy_waves, normalized_gp, optimizer
from torch import Tensor

from botorch_xval import cross_validate, k_fold
from botorch_xval.cross_validation import predictions as predict
from botorch_xval.fitting.losses import exact
from botorch_xval.fitting.losses.parameters import Unsupported

FEW_STEPS = optimizer(maxiter=3)  # where the quality of the fit does not matter


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("m", [1, 2])
def test_predictions_in_closed_form_are_the_posteriors(m, known, monkeypatch):
    """In several parts, and none is asked for its posterior but two for comparison."""
    monkeypatch.setattr(exact, "GROUP_ELEMENTS", 500)
    X, Y = noisy_waves(12, m)
    yvar = torch.linspace(2.0, 9.0, 12, dtype=X.dtype)[:, None].expand(-1, m)
    noise = yvar if known else None
    asked, original = [], predict._by_posterior

    def counted(*arguments):
        asked.append(1)
        return original(*arguments)

    monkeypatch.setattr(predict, "_by_posterior", counted)
    kwargs = {"folds": k_fold(4), "fit": "predicted"}
    found = cross_validate(normalized_gp, X, Y, noise, **kwargs)
    assert len(asked) == 2

    def unsupported(*arguments):
        raise Unsupported("on purpose")

    monkeypatch.setattr(exact.Exact, "predict", unsupported)
    expected = cross_validate(normalized_gp, X, Y, noise, **kwargs)
    assert len(asked) == 6
    for name in ("mean", "variance", "noise_variance", "location", "scale"):
        assert_close(getattr(found, name), getattr(expected, name), **SAME)


def test_refuses_a_posterior_that_is_not_gaussian():
    x, y = noisy_waves(6)

    def model(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        return SingleTaskGP(
            train_X,
            train_Y,
            outcome_transform=ChainedOutcomeTransform(log=Log(), scale=Standardize(1)),
            input_transform=Normalize(train_X.shape[-1]),
        )

    with pytest.raises(UnsupportedError, match="expected a Gaussian posterior"):
        cross_validate(model, x, y.exp(), fit_options=FEW_STEPS)
