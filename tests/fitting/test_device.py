"""The same fits on every device: values, ends, predictions, and where tensors are."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from botorch.cross_validation import gen_loo_cv_folds
from botorch.models import MixedSingleTaskGP, SingleTaskGP
from botorch.models.transforms import Normalize
from botorch.optim.closures import get_loss_closure
from gpytorch.kernels import RQKernel
from helpers import (
    SAME,
    SOLVED,
    assert_close,
    mll_of,
    noisy_waves,
    normalized_gp,
    optimizer,
    tuning_trials,
)

from botorch_xval import (
    ScalarChoiceGP,
    cross_validate,
    fit_each,
    make_objective,
)


def mixed(X, Y):
    X = torch.cat([X, (X[..., :1] * 2).floor() % 3], dim=-1)
    return MixedSingleTaskGP(X, Y, cat_dims=[2])


def by_modules(X, Y):
    """No closed form."""
    batch_shape = X.shape[:-2]
    kernel = RQKernel(ard_num_dims=2, batch_shape=batch_shape)
    transform = Normalize(2, batch_shape=batch_shape)
    return SingleTaskGP(X, Y, covar_module=kernel, input_transform=transform)


def folds(model, device):
    cv = gen_loo_cv_folds(*(part.to(device) for part in noisy_waves(10)))
    return mll_of(model(cv.train_X, cv.train_Y)).to(device)


@pytest.mark.filterwarnings("ignore:Data .input features. is not contained")
@pytest.mark.parametrize("model", [normalized_gp, mixed, by_modules])
def test_losses_and_gradients(model, device):
    mll = folds(model, device)
    objective = make_objective([mll])
    losses, gradients = objective(objective.start[[7, 2]], [7, 2])
    own = get_loss_closure(mll)()
    assert own.device.type == device.type
    assert_close(losses, own[[7, 2]], **SAME)
    parameters = dict(mll.named_parameters())
    slopes = torch.autograd.grad(own.sum(), list(parameters.values()))
    for name, slope in zip(parameters, slopes, strict=True):
        found = objective.parameters(gradients[0], 7)[name]
        assert found.device.type == device.type
        assert_close(found, slope[7].reshape(found.shape), **SAME)


@cache
def fitted_on_cpu(model):
    mll = folds(model, torch.device("cpu"))
    assert fit_each([mll], optimizer()) == {}
    return mll


@pytest.mark.filterwarnings("ignore:A not p.d.")
@pytest.mark.parametrize("strategy", ["loop", "batch", "auto"])
@pytest.mark.parametrize("model", [normalized_gp, by_modules])
def test_fits_end_where_they_end_on_cpu(model, strategy, device):
    found, expected = folds(model, device), fitted_on_cpu(model)
    assert fit_each([found], optimizer(strategy)) == {}
    # By modules the last bit depends on the group; there a flat valley, in which line
    # searches give up, is left at different places.
    near = 1e-3 if model is by_modules else 1e-6
    for one, other in zip(found.fit_records, expected.fit_records, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=near)
    assert {p.device.type for p in found.parameters()} == {device.type}


def test_cross_validation_of_real_trials(device):
    table = tuning_trials(9)

    def model(train_X, train_Y):
        return ScalarChoiceGP(train_X, train_Y, choice_dims=table.choice_dims)

    kwargs = {"fit_options": optimizer()}
    expected = cross_validate(model, table.X, table.Y, **kwargs)
    found = cross_validate(model, table.X.to(device), table.Y.to(device), **kwargs)
    assert found.mean.device.type == device.type
    assert not found.failed
    losses = [record.loss for record in found.records]
    assert_close(losses, [record.loss for record in expected.records], **SOLVED)
    assert_close(found.log_density.cpu(), expected.log_density, rtol=0, atol=1e-3)


def test_batches_on_cuda_are_bounded_by_free_memory(monkeypatch):
    objective = make_objective([folds(normalized_gp, torch.device("cpu"))])
    objective.device = torch.device("cuda")  # it is only asked for its memory
    one = 80 * 8 * objective.num_points**2  # bytes, as many copies of a covariance
    for free, expected in ((50 * one, 50), (one, 1), (1, 1)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, f=free: (f, f))
        assert objective.group_size == expected
