"""Mixed folds: ensembles against BoTorch's own posterior and its own fits."""

from __future__ import annotations

import pytest
import torch
from botorch.cross_validation import loo_cv
from botorch.exceptions.errors import UnsupportedError
from botorch.models import SingleTaskGP
from botorch.models.map_saas import EnsembleMapSaasSingleTaskGP
from botorch.models.transforms import Normalize
from helpers import SCORED, assert_close, mll_of, optimizer, unit_waves
from torch import Tensor

from botorch_xval import cross_validate, fit_gpytorch_mll
from botorch_xval.cross_validation.integrated import mix, mix_members, record_of_draws
from botorch_xval.cross_validation.result import CrossValidation

TAUS = torch.tensor([0.01, 0.1, 1.0], dtype=torch.float64)
# A start each, and all searches to the same flat end.
OPTIONS = optimizer()


def ensemble(
    train_X: Tensor, train_Y: Tensor, train_Yvar: Tensor | None = None
) -> SingleTaskGP:
    return EnsembleMapSaasSingleTaskGP(
        train_X,
        train_Y,
        train_Yvar,
        num_taus=3,
        taus=TAUS,
        input_transform=Normalize(2),
    )


@pytest.fixture(scope="module")
def refitted() -> CrossValidation:
    return cross_validate(ensemble, *unit_waves(9), fit_options=OPTIONS)


def test_every_fold_mixes_its_own_members_as_botorch_does(refitted):
    X, Y = unit_waves(9)
    assert refitted.failed == {}
    assert_close(refitted.mixture.weights, torch.ones(9, 3, 1).double() / 3)
    table = refitted.fit_table()
    assert len(table) == 27 and table.output.tolist() == 9 * [0, 1, 2]
    assert set(table.how) == {"refit"} and table.pareto_k.isna().all()
    for i in (0, 5):
        rest = torch.arange(9) != i
        model = ensemble(X[rest], Y[rest])
        fit_gpytorch_mll(mll_of(model), optimizer_kwargs=OPTIONS.of_optimizer())
        posterior = model.eval().posterior(X[i : i + 1], observation_noise=True)
        assert_close(refitted.mean[i], posterior.mixture_mean[0], **SCORED)
        assert_close(refitted.variance[i], posterior.mixture_variance[0], **SCORED)
        normal = torch.distributions.Normal(posterior.mean, posterior.variance.sqrt())
        expected = normal.log_prob(Y[i]).exp().mean().log()
        assert_close(refitted.log_density[i, 0], expected, **SCORED)


def test_warm_folds_end_where_refitted_ones_do(refitted):
    warm = cross_validate(ensemble, *unit_waves(9), fit="warm", fit_options=OPTIONS)
    assert set(warm.fit_table().how) <= {"warm", "refit"}
    assert_close(warm.log_density, refitted.log_density, rtol=0, atol=1e-2)


def test_fixed_is_botorchs_ensemble_in_closed_form():
    X, Y = unit_waves(9)
    fixed = cross_validate(
        ensemble, X, Y, fit="fixed", fit_options=OPTIONS, keep_models=True
    )
    posterior = loo_cv(fixed.full_model).posterior
    assert_close(fixed.mean, posterior.mixture_mean[:, 0], atol=1e-6)
    assert_close(fixed.variance, posterior.mixture_variance[:, 0], atol=1e-6)
    assert fixed.corrected is None and fixed.whitened is None
    assert fixed.monte_carlo_error != fixed.monte_carlo_error  # nothing was drawn


def test_results_of_ensembles_are_saved(tmp_path, refitted):
    refitted.save(tmp_path / "result.npz")
    loaded = CrossValidation.load(tmp_path / "result.npz")
    assert torch.equal(loaded.log_density, refitted.log_density)
    assert loaded.summary().equals(refitted.summary())


def test_known_noise_of_an_ensemble():
    X, Y = unit_waves(7)
    noise = torch.linspace(0.02, 0.05, 7).double()[:, None]
    found = cross_validate(ensemble, X, Y, noise, fit_options=OPTIONS)
    assert_close(found.noise_variance, noise)


@pytest.mark.parametrize("fit", ["adaptive", "sampled", "posterior"])
def test_other_ways_to_fit_an_ensemble_are_refused(fit):
    with pytest.raises(UnsupportedError, match="an average of several models"):
        cross_validate(ensemble, *unit_waves(7), fit=fit)


def test_a_mixture_and_its_moments():
    generator = torch.Generator().manual_seed(0)
    mean, variance = torch.rand(2, 4, 3, 2, generator=generator, dtype=torch.float64)
    weights = torch.tensor([[0.125], [0.25], [0.125], [0.5]]).double()
    noise = torch.ones(1, 1, 2).double() / 8
    location, scale = torch.zeros(1, 2).double(), torch.ones(1, 2).double()
    mixture, found = mix(weights, mean, variance, noise, location, scale)
    center = torch.einsum("s,skm->km", weights[:, 0], mean)
    assert_close(found["mean"], center)
    second = torch.einsum("s,skm->km", weights[:, 0], variance + mean**2)
    assert_close(found["variance"], second - center**2)
    assert_close(found["noise_variance"], torch.full((3, 2), 0.125))
    assert mixture.weights.shape == mixture.mean.shape == (3, 4, 2)
    members = {"mean": mean[..., 0].mT, "variance": variance[..., 0].mT}
    members["noise_variance"] = torch.full((3, 4), 0.1).double()
    members |= {n: torch.ones(3, 4).double() for n in ("location", "scale")}
    assert_close(mix_members(members)[1]["mean"][:, 0], mean[..., 0].mean(dim=0))
    weighted, _ = mix_members(members, weights[:, 0])
    assert_close(weighted.mean[..., 0], mixture.mean[..., 0])
    assert record_of_draws("drawn", 7, evaluations=3).evaluations == 3
