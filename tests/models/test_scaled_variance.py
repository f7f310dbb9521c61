"""Scaled posteriors against the unscaled ones, and inside BoTorch's acquisition."""

from __future__ import annotations

import pytest
import torch
from botorch.acquisition import UpperConfidenceBound, qLogExpectedImprovement
from botorch.exceptions.errors import UnsupportedError
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Log
from botorch.sampling import SobolQMCNormalSampler
from helpers import assert_close, normalized_gp, unit_waves

from botorch_xval.models import ScaledVariance


def two_outputs() -> list[SingleTaskGP | ModelListGP]:
    """The same two outputs as one batch, and as a list: two orders of a covariance."""
    X, y = unit_waves()
    Y = torch.cat([y, 1 - y**2], dim=-1)
    models = [normalized_gp(X, Y[:, i : i + 1]) for i in range(2)]
    return [normalized_gp(X, Y), ModelListGP(*models)]


@pytest.mark.parametrize("noise", [False, True])
def test_one_output_has_all_covariances_times_the_factor(noise):
    X, Y = unit_waves()
    model, at = normalized_gp(X, Y), X[:5] + 0.01
    plain = model.posterior(at, observation_noise=noise)
    scaled = model.posterior(
        at, observation_noise=noise, posterior_transform=ScaledVariance([2.5])
    )
    assert_close(scaled.mean, plain.mean)
    covariances = [p.distribution.covariance_matrix for p in (scaled, plain)]
    assert_close(covariances[0], 2.5 * covariances[1])


def test_several_outputs_have_a_factor_each_and_keep_their_correlations():
    factor = torch.tensor([4.0, 0.25], dtype=torch.float64)
    for model in two_outputs():
        at = unit_waves()[0][:3] + 0.01
        plain = model.posterior(at)
        scaled = model.posterior(at, posterior_transform=ScaledVariance(factor))
        assert_close(scaled.mean, plain.mean)
        assert_close(scaled.variance, plain.variance * factor)
        found, before = (p.distribution.covariance_matrix for p in (scaled, plain))
        correlations = []
        for each in (found, before):
            deviation = each.diagonal().sqrt()
            correlations.append(each / (deviation[:, None] * deviation))
        assert_close(*correlations)


def test_samples_are_those_of_the_scaled_posterior():
    model, _ = two_outputs()
    at = unit_waves()[0][:3] + 0.01
    sampler = SobolQMCNormalSampler(torch.Size([64]), seed=0)
    plain = model.posterior(at)
    factor = torch.tensor([4.0, 0.25], dtype=torch.float64)
    scaled = ScaledVariance(factor)(plain)
    away = [sampler(p) - p.mean for p in (scaled, plain)]
    # By the Cholesky factor of the scaled covariance: the rows are scaled.
    assert_close(away[0], away[1] * factor.sqrt(), rtol=1e-6, atol=1e-6)


def test_acquisition_functions_take_it():
    X, Y = unit_waves()
    model, at = normalized_gp(X, Y), (X[:1] + 0.01).requires_grad_()
    transform = ScaledVariance([4.0])
    plain = model.posterior(at)
    bound = UpperConfidenceBound(model, beta=1.0, posterior_transform=transform)(at)
    assert_close(bound, plain.mean[0] + 2 * plain.variance[0].sqrt())
    improvement = qLogExpectedImprovement(
        model, best_f=Y.max(), posterior_transform=transform
    )
    (slope,) = torch.autograd.grad(improvement(at).sum(), at)
    assert slope.isfinite().all() and slope.abs().sum() > 0


def test_a_batch_of_inputs_is_scaled_as_each_of_them():
    for model in two_outputs():
        at = unit_waves()[0].reshape(4, 3, 2) + 0.01
        transform = ScaledVariance([4.0, 0.25])
        together = model.posterior(at, posterior_transform=transform).variance
        each = [model.posterior(x, posterior_transform=transform).variance for x in at]
        assert_close(together, torch.stack(each), rtol=1e-7, atol=1e-7)


@pytest.mark.filterwarnings("ignore:Data .* is not standardized")
def test_what_cannot_be_scaled_is_refused_in_words():
    X, Y = unit_waves()
    model = SingleTaskGP(X, Y.exp(), outcome_transform=Log())
    with pytest.raises(UnsupportedError, match="expected a Gaussian one"):
        model.posterior(X, posterior_transform=ScaledVariance([2.0]))
    with pytest.raises(ValueError, match="expected 2 outputs, as many as factors"):
        normalized_gp(X, Y).posterior(X, posterior_transform=ScaledVariance([1, 2]))
    for wrong in ([], [0.0], [float("nan")], [-1.0, 1.0]):
        with pytest.raises(ValueError, match="factor: expected a positive number"):
            ScaledVariance(wrong)
    assert_close(ScaledVariance([2.0]).evaluate(Y), Y)
