"""Constrained values, slopes and log priors against GPyTorch's own."""

from __future__ import annotations

import pytest
import torch
from botorch.models import SingleTaskGP
from gpytorch.constraints import Interval
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.priors import (
    GammaPrior,
    HalfCauchyPrior,
    HalfNormalPrior,
    LogNormalPrior,
    NormalPrior,
    SmoothedBoxPrior,
)
from helpers import assert_close, mll_of, noisy_waves, tuning_trials, unit_waves

from botorch_xval import ScalarChoiceGP
from botorch_xval.fitting.losses.parameters import ParameterTable, Unsupported
from botorch_xval.fitting.losses.values import Values

CPU = torch.device("cpu")


def tuning():
    table = tuning_trials(8)
    return ScalarChoiceGP(table.X, table.Y, choice_dims=table.choice_dims)


def priors_of_all_kinds():
    kernel = ScaleKernel(
        RBFKernel(
            ard_num_dims=2,
            lengthscale_prior=LogNormalPrior(
                torch.tensor([0.1, 0.2]), torch.tensor([1.0, 2.0])
            ),
            lengthscale_constraint=Interval(0.05, 9.0),
        ),
        outputscale_prior=NormalPrior(1.0, 2.0),
    )
    return SingleTaskGP(*noisy_waves(6), covar_module=kernel)


@pytest.mark.parametrize("build", [tuning, priors_of_all_kinds])
def test_values_slopes_and_priors(build):
    model = build()
    mll = mll_of(model)
    table = ParameterTable(mll, torch.Size())
    values = Values(table, CPU)
    generator = torch.Generator().manual_seed(0)
    start = torch.as_tensor(table.read(mll))
    away = 0.3 * torch.rand(start.shape, generator=generator, dtype=start.dtype)
    theta = (start + away).requires_grad_()
    table.write(mll, theta.detach())
    found, slopes = values.transform(theta.detach())
    for each in table.parameters:
        columns = table.columns[each.full_name]
        assert_close(found[0, columns], each.value)
        raw = each.tensor.detach().clone().requires_grad_()
        value = raw if each.constraint is None else each.constraint.transform(raw)
        (expected,) = torch.autograd.grad(value.sum(), raw)
        assert_close(slopes[0, columns], expected.reshape(-1))
    losses, gradients = torch.zeros(1, dtype=theta.dtype), torch.zeros_like(found)
    values.add_priors(found, losses, gradients)
    expected = sum(
        prior.log_prob(closure(module)).sum()
        for _, module, prior, closure, _ in model.named_priors()
    )
    assert_close(losses, -expected.reshape(1), rtol=1e-6, atol=1e-6)
    tensors = [each.tensor for each in table.parameters]
    by_raw = torch.autograd.grad(-expected, tensors, allow_unused=True)
    for each, slope in zip(table.parameters, by_raw, strict=True):
        own = (gradients * slopes)[0, table.columns[each.full_name]]
        expected_slope = torch.zeros_like(own) if slope is None else slope.reshape(-1)
        assert_close(own, expected_slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "prior",
    [HalfCauchyPrior(0.7), HalfNormalPrior(0.7), SmoothedBoxPrior(0.1, 2.0, 0.1)],
    ids=lambda prior: type(prior).__name__,
)
def test_priors_of_other_kinds(prior):
    kernel = RBFKernel(lengthscale_prior=prior, ard_num_dims=2)
    table = ParameterTable(
        mll_of(SingleTaskGP(*unit_waves(5), covar_module=kernel)), torch.Size()
    )
    values = Values(table, CPU)
    columns = table.columns["model.covar_module.raw_lengthscale"]
    rows = torch.full((3, table.size), 0.5, dtype=torch.float64)
    rows[:, columns] = torch.tensor([[0.3, 0.8], [-1.0, 0.5], [1.5, 0.4]]).double()
    losses, gradients = rows.new_zeros(3), torch.zeros_like(rows)
    values.add_priors(rows, losses, gradients)
    own = rows[:, columns].clone().requires_grad_()
    for i in (0, 2):  # the row between is beyond the support of some
        expected = prior.log_prob(own[i]).sum()
        (slopes,) = torch.autograd.grad(expected, own)
        others = values.constant + _rest(values, rows[[i]])
        assert_close(losses[i], -expected - others)
        assert_close(gradients[i, columns], -slopes[i])


def _rest(values: Values, rows: torch.Tensor) -> torch.Tensor:
    """Log density of all but the other priors, without the constant."""
    losses, others = rows.new_zeros(1), values.others
    values.others = []
    values.add_priors(rows, losses, torch.zeros_like(rows))
    values.others = others
    return -losses[0] - values.constant


def test_what_has_no_closed_form_is_named():
    mll = mll_of(SingleTaskGP(*unit_waves(5)))
    names = ["model.mean_module.raw_constant"]
    with pytest.raises(Unsupported, match="parameters that are not optimized"):
        Values(ParameterTable(mll, torch.Size(), names), CPU)


def test_a_parameter_that_no_part_asks_for_belongs_to_an_unknown_part():
    kernel = RBFKernel(lengthscale_prior=GammaPrior(2.0, 1.0))
    model = SingleTaskGP(*noisy_waves(5), covar_module=kernel)
    mll = mll_of(model)
    values = Values(ParameterTable(mll, torch.Size()), CPU)
    assert values.of(kernel, "raw_lengthscale").start is not None
    with pytest.raises(Unsupported, match="raw_constant"):
        values.check_all_used()
    with pytest.raises(Unsupported, match="RBFKernel.raw_period"):
        values.of(kernel, "raw_period")
