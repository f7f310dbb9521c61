"""Posterior densities of hyper-parameters: change of variables and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models import SingleTaskGP
from fold_helpers import standard_waves, untransformed
from gpytorch.constraints import GreaterThan, Interval, LessThan
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from helpers import assert_close, mll_of, normalized_gp, unit_waves

from botorch_xval.cross_validation.hyper_posterior import HyperPosterior, check_proper
from botorch_xval.fitting.losses.make import make_objective


def bounded(X: torch.Tensor, Y: torch.Tensor) -> SingleTaskGP:
    """Parameters with every kind of bound."""
    kernel = ScaleKernel(
        RBFKernel(
            lengthscale_prior=GammaPrior(3.0, 6.0),
            lengthscale_constraint=GreaterThan(0.05),
        ),
        outputscale_prior=GammaPrior(2.0, 1.0),
        outputscale_constraint=Interval(0.1, 9.0),
    )
    noise = GaussianLikelihood(
        noise_prior=LogNormalPrior(-2.0, 1.0),
        noise_constraint=GreaterThan(1e-3, transform=None, initial_value=0.1),
    )
    return SingleTaskGP(
        X, Y, covar_module=kernel, likelihood=noise, outcome_transform=None
    )


@pytest.mark.parametrize("build", [bounded, untransformed, normalized_gp])
def test_densities_and_gradients_are_those_of_the_mll(build):
    X, Y = standard_waves(9)
    mll = mll_of(build(X, Y))
    found = HyperPosterior(make_objective([mll]), 0)
    p = found.objective.start.shape[1]
    points = 0.4 * np.random.default_rng(0).standard_normal((3, p)) - 0.5
    values, gradients = found(points)
    for point, value in zip(points, values, strict=True):
        # log p(y, v) + log |dv / dt|, with the slopes by differences of the values.
        theta, _ = found.coordinates.to_raw(point[None])
        found.objective.write(theta)
        with torch.no_grad():
            model = mll.model
            total = mll(model(*model.train_inputs), model.train_targets) * len(X)
            total = total.sum().item()
        volumes = []
        for j, step in enumerate(1e-5 * np.eye(p)):
            ends = [
                np.concatenate(
                    list(found.objective.table.constrained(raw[0]).values())
                )[j]
                for raw, _ in (
                    found.coordinates.to_raw((point + sign * step)[None])
                    for sign in (1, -1)
                )
            ]
            volumes.append(np.log(abs(ends[0] - ends[1]) / 2e-5))
        assert value == pytest.approx(total + sum(volumes), abs=1e-6)
    for j, step in enumerate(1e-5 * np.eye(p)):
        change = (found(points + step)[0] - found(points - step)[0]) / 2e-5
        assert_close(gradients[:, j], change, rtol=1e-5, atol=1e-5)
    theta, slopes = found.coordinates.to_raw(points)
    assert_close(found.coordinates.from_raw(theta), points, atol=1e-7)
    assert_close(found.losses(points), 9 * found.objective(theta, [0, 0, 0])[0])
    assert found.evaluations == 3 * (1 + 2 * p) + 3


def test_bounds_of_the_user_bound_the_posterior():
    X, Y = unit_waves(8)
    mll = mll_of(normalized_gp(X, Y))
    name = "likelihood.noise_covar.raw_noise"
    for pair, ends in (((-3.0, 1.0), (-3.0, 1.0)), ((None, 1.0), (-np.inf, 1.0))):
        objective = make_objective([mll], bounds={name: pair})
        coordinates = HyperPosterior(objective, 0).coordinates
        far = np.array([[-30.0], [30.0]]) * np.ones(objective.start.shape[1])
        theta, _ = coordinates.to_raw(far)
        column = objective.table.columns[name].start
        low, high = sorted(theta[:, column])
        assert low <= max(ends[0], -1e6) + 1e-6 and high == pytest.approx(ends[1])
        on_bound = np.full(objective.start.shape[1], 1.0)
        assert np.isfinite(coordinates.from_raw(on_bound)).all()


def test_a_parameter_without_a_proper_posterior_is_refused():
    X, Y = unit_waves(8)

    def table(kernel):
        model = SingleTaskGP(X, Y, covar_module=kernel)
        return make_objective([mll_of(model)]).table

    check_proper(make_objective([mll_of(bounded(X, Y))]).table)
    check_proper(table(RBFKernel(lengthscale_constraint=Interval(0.1, 2.0))))
    with pytest.raises(UnsupportedError, match="none of model.covar_module.raw_length"):
        check_proper(table(RBFKernel()))
    with pytest.raises(UnsupportedError, match="raw_outputscale"):
        check_proper(
            table(
                ScaleKernel(
                    RBFKernel(lengthscale_prior=GammaPrior(3.0, 6.0)),
                    outputscale_constraint=LessThan(4.0),
                )
            )
        )
