"""The fit to all rows: the curvature of its loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.optim.closures import get_loss_closure
from fold_helpers import standard_waves, untransformed
from helpers import accept_abnormal, assert_close, mll_of

from botorch_xval import FitOptions, cross_validate
from botorch_xval.cross_validation.full_fit import fit_all_rows

FIT = FitOptions(warning_handler=accept_abnormal, starts="own")


def test_the_hessian_is_that_of_the_summed_loss():
    X, Y = standard_waves(12)
    mll = mll_of(untransformed(X, Y))
    full = fit_all_rows(mll, FIT)
    coordinates = full.centers[0][0].whitened
    assert not coordinates.resting.any()
    center = coordinates.inner.from_raw(full.fitted.theta[0])
    names = list(dict(mll.named_parameters()))
    closure = get_loss_closure(mll.train())

    def loss(u):
        values = torch.as_tensor(coordinates.inner.at(u)[0])
        sizes = [p.numel() for p in mll.parameters()]
        parts = dict(zip(names, values.split(sizes), strict=True))
        with torch.no_grad():
            for name, parameter in mll.named_parameters():
                parameter.copy_(parts[name].reshape(parameter.shape))
            return 12 * closure().item()

    p, h = len(center), 1e-3
    expected = np.empty((p, p))
    for i, one in enumerate(h * np.eye(p)):
        for j, other in enumerate(h * np.eye(p)):
            expected[i, j] = (
                loss(center + one + other)
                - loss(center + one - other)
                - loss(center - one + other)
                + loss(center - one - other)
            ) / (4 * h**2)
    found = np.linalg.inv(coordinates.root @ coordinates.root.T)
    assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_model_that_cannot_be_fitted_says_so():
    X, Y = standard_waves(10)

    def model(X, Y):
        built = untransformed(X, Y)
        built.train_targets = torch.full_like(Y[:, 0], torch.nan)
        return built

    with pytest.raises(ModelFittingError, match="could not be fitted to all rows"):
        cross_validate(model, X, Y, fit="warm")
