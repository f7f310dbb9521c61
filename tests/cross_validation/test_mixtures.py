"""Scores of mixtures against quadrature, simulation and BoTorch's posterior."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from gpytorch.distributions import MultivariateNormal
from helpers import assert_close
from scipy import stats
from scipy.integrate import cumulative_simpson
from torch import Tensor

from botorch_xval.cross_validation import scores
from botorch_xval.cross_validation.links import IDENTITY, Link
from botorch_xval.cross_validation.mixtures import Mixture, assemble

LINKS = [Link("log"), Link("bilog"), Link("power", 0.5), Link("power", 2.0)]


def mixture(k: int = 3, count: int = 4, m: int = 2, seed: int = 0) -> Mixture:
    generator = torch.Generator().manual_seed(seed)
    parts = torch.rand(4, k, count, m, generator=generator, dtype=torch.float64)
    weights = parts[0] / parts[0].sum(dim=1, keepdim=True)
    variance = 0.05 + parts[2] ** 2
    return Mixture(weights, 1.5 + parts[1], variance, 0.5 * variance)


def density(mixed: Mixture, i: int, j: int, y: np.ndarray) -> np.ndarray:
    weights, mean, variance = (
        getattr(mixed, name)[i, :, j].numpy()
        for name in ("weights", "mean", "variance")
    )
    return stats.norm.pdf(y[:, None], mean, np.sqrt(variance)) @ weights


def test_scores_are_those_of_the_density():
    mixed = mixture()
    observed = torch.tensor([[1.0, 2.0], [3.5, -1.0], [2.1, 1.9]]).double()
    lower, upper = mixed.quantile(0.025), mixed.quantile(0.975)
    log_density, z = mixed.log_density(observed), mixed.z_score(observed)
    crps, (mean, variance, noise) = mixed.crps(observed), mixed.moments()
    grid = np.linspace(-8, 12, 200_001)
    for i, j in np.ndindex(3, 2):
        p, y = density(mixed, i, j, grid), observed[i, j].item()
        below = cumulative_simpson(p, x=grid, initial=0.0)

        def at(x, below=below):
            return np.interp(x.item() if isinstance(x, Tensor) else x, grid, below)

        own = density(mixed, i, j, np.array([y])).item()
        assert log_density[i, j].item() == pytest.approx(math.log(own), abs=1e-10)
        assert stats.norm.cdf(z[i, j].item()) == pytest.approx(at(y), abs=1e-7)
        assert at(lower[i, j]) == pytest.approx(0.025, abs=1e-7)
        assert at(upper[i, j]) == pytest.approx(0.975, abs=1e-7)
        score = np.trapezoid((below - (grid >= y)) ** 2, grid)
        assert crps[i, j].item() == pytest.approx(score, abs=2e-4)  # of the step
        first = np.trapezoid(grid * p, grid)
        second = np.trapezoid((grid - first) ** 2 * p, grid)
        assert mean[i, j].item() == pytest.approx(first, abs=1e-7)
        assert variance[i, j].item() == pytest.approx(second, abs=1e-7)
    assert_close(noise, (mixed.weights * mixed.noise_variance).sum(dim=1))


def test_one_component_is_a_gaussian():
    mixed = mixture(count=1)
    observed = torch.tensor([[1.0, 2.0], [3.5, -1.0], [2.1, 1.9]]).double()
    parts = mixed.mean[:, 0], mixed.variance[:, 0], observed
    assert_close(mixed.log_density(observed), scores.log_density(*parts))
    assert_close(mixed.crps(observed), scores.crps(*parts))
    assert_close(mixed.z_score(observed), scores.z_score(*parts))
    assert_close(mixed.quantile(0.9), parts[0] + stats.norm.ppf(0.9) * parts[1].sqrt())
    assert_close(mixed.relative_errors(observed), torch.zeros(3, 2))


def test_moments_and_quantiles_are_those_of_botorchs_posterior():
    mixed = mixture(m=1)
    equal = Mixture(
        torch.full_like(mixed.weights, 0.25),
        mixed.mean,
        mixed.variance,
        mixed.noise_variance,
    )
    normal = MultivariateNormal(
        mixed.mean[..., 0].mT, torch.diag_embed(mixed.variance[..., 0].mT)
    )
    posterior = GaussianMixturePosterior(normal)
    mean, variance, _ = equal.moments()
    assert_close(mean, posterior.mixture_mean)
    assert_close(variance, posterior.mixture_variance)
    theirs = posterior.quantile(torch.tensor(0.8).double())
    assert_close(equal.quantile(0.8), theirs, atol=1e-5)


@pytest.mark.parametrize("link", LINKS, ids=str)
def test_outcomes_after_a_link(link):
    mixed = mixture(k=1, m=1)
    y = link.inverse(torch.tensor([[1.3]]).double())
    # A sample of links, by quantiles within each component.
    u = stats.norm.ppf((np.arange(40_000) + 0.5) / 40_000)
    weights, mean, deviation = (
        part[0, :, 0].numpy()
        for part in (mixed.weights, mixed.mean, mixed.variance.sqrt())
    )
    values = link.inverse(torch.as_tensor(mean + u[:, None] * deviation)).numpy()
    share = np.broadcast_to(weights / len(u), values.shape)
    center = (share * values).sum()
    found = mixed.outcome_moments([link])
    rel = 1e-3  # of the sample
    assert found[0].item() == pytest.approx(center, rel=rel)
    assert found[1].item() == pytest.approx(
        (share * (values - center) ** 2).sum(), rel=rel
    )
    assert 0 < found[2].item() < found[1].item()
    order = values.reshape(-1).argsort()
    ordered, own = values.reshape(-1)[order], share.reshape(-1)[order]
    below = own.cumsum() - own / 2
    spread = 2 * ((2 * below - 1) * own * ordered).sum()  # E|Y - Y'|
    score = (own * np.abs(ordered - y.item())).sum() - spread / 2
    assert mixed.crps(y, [link]).item() == pytest.approx(score, rel=2e-3)
    step = 1e-5
    slope = (link.forward(y + step) - link.forward(y - step)) / (2 * step)
    expected = mixed.log_density(link.forward(y)) + slope.log()
    assert_close(mixed.log_density(y, [link]), expected, atol=1e-7)
    assert_close(mixed.z_score(y, [link]), mixed.z_score(link.forward(y)))


@pytest.mark.parametrize("count", [3, 60])
def test_closed_form_and_quadrature_agree(count):
    mixed = mixture(k=4, count=count, m=1)
    # Components of very different widths.
    spread = 10 ** (2 * mixed.mean - 5)
    mixed = Mixture(mixed.weights, mixed.mean, spread, 0 * spread)
    observed = torch.tensor([[1.0], [2.7], [9.0], [-5.0]]).double()
    found = mixed._by_quadrature(observed[:, 0], IDENTITY)
    assert_close(found, mixed.crps(observed)[:, 0], atol=1e-3 if count < 10 else 1e-5)
    mixed = mixture(k=4, count=count, m=1)
    found = mixed._by_quadrature(observed[:, 0], IDENTITY)
    assert_close(found, mixed.crps(observed)[:, 0], atol=1e-7)


def test_far_observations_keep_their_digits():
    mixed = mixture(k=1, m=1)
    far = torch.tensor([[40.0]]).double()
    for y in (far, -far):
        z = mixed.z_score(y).item()
        assert math.isfinite(z) and math.copysign(1, z) == math.copysign(1, y.item())
        assert abs(z) > 20


def test_scales_noise_and_folds_of_different_numbers_of_components():
    first, second = mixture(k=2, m=1), mixture(k=1, count=2, m=1, seed=1)
    observed = torch.tensor([[1.0], [2.0], [1.5]]).double()
    fold_of = torch.tensor([7, 3, 7])
    whole = assemble({7: first, 3: second}, fold_of, observed)
    found = whole.log_density(observed)
    assert_close(found[[0, 2]], first.log_density(observed[[0, 2]]))
    assert_close(found[1:2], second.log_density(observed[1:2]))
    assert_close(whole.crps(observed)[1:2], second.crps(observed[1:2]))
    assert_close(whole.quantile(0.3)[1:2], second.quantile(0.3))
    assert_close(whole.moments()[1][1:2], second.moments()[1])
    lost = assemble({7: first}, fold_of, observed)
    assert lost.log_density(observed).isnan()[:, 0].tolist() == [False, True, False]
    assert lost.crps(observed).isnan()[:, 0].tolist() == [False, True, False]
    quiet = first.without_noise()
    assert_close(quiet.variance, first.variance - first.noise_variance)
    scaled = first.on_scale(torch.ones(2, 1).double(), 2 * torch.ones(2, 1).double())
    there = (observed[:2] - 1) / 2
    assert_close(
        scaled.log_density(there), first.log_density(observed[:2]) + math.log(2)
    )
    assert_close(scaled.crps(there), first.crps(observed[:2]) / 2)


def test_relative_errors_are_those_of_repeated_draws():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(2000, 200, 1, generator=generator, dtype=torch.float64)
    ones = torch.ones_like(mean)
    repeated = Mixture(ones / 200, mean, 0.5 * ones, 0.0 * ones)
    y = torch.ones(2000, 1).double()
    spread = repeated.log_density(y).std().item()
    claimed = repeated.relative_errors(y).mean().item()
    assert claimed == pytest.approx(spread, rel=0.05)
