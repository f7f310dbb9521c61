"""Nonlinear outcome transforms: against quadrature, sampling, and BoTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.cross_validation import loo_cv
from botorch.exceptions.errors import UnsupportedError
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from botorch.models.transforms.outcome import (
    Bilog,
    ChainedOutcomeTransform,
    Log,
    Power,
    Standardize,
)
from helpers import SAME, assert_close, noisy_waves
from scipy import stats
from scipy.integrate import quad
from torch import Tensor

from botorch_xval.cross_validation import (
    FITS,
    CrossValidation,
    cross_validate,
    difference,
    k_fold,
)
from botorch_xval.cross_validation.links import IDENTITY, Link, links_of

# The models are of outcomes as they are.
pytestmark = pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
LINKS = [Link("log"), Link("bilog"), Link("power", 0.5), Link("power", 2.0), IDENTITY]
TRANSFORMS = {
    "log": lambda: ChainedOutcomeTransform(log=Log(), scale=Standardize(1)),
    "log alone": Log,
    "bilog": lambda: ChainedOutcomeTransform(bilog=Bilog(), scale=Standardize(1)),
    "power": lambda: ChainedOutcomeTransform(power=Power(0.5), scale=Standardize(1)),
}
FORWARD = {"log": torch.log, "log alone": torch.log}
FORWARD |= {"bilog": lambda y: y.sign() * y.abs().log1p(), "power": torch.sqrt}


def positive_waves(n: int = 12) -> tuple[Tensor, Tensor]:
    X, Y = noisy_waves(n)
    return X, (0.5 * Y).exp() + 0.5


def with_transform(name: str):
    def build(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        return SingleTaskGP(
            train_X,
            train_Y,
            outcome_transform=TRANSFORMS[name](),
            input_transform=Normalize(train_X.shape[-1]),
        )

    return build


def standardized(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
    transform = Normalize(train_X.shape[-1])
    return SingleTaskGP(train_X, train_Y, input_transform=transform)


def unscaled(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
    transform = Normalize(train_X.shape[-1])
    return SingleTaskGP(
        train_X, train_Y, input_transform=transform, outcome_transform=None
    )


@pytest.mark.parametrize("link", LINKS, ids=str)
@pytest.mark.parametrize("mean, deviation", [(0.3, 0.5), (2.0, 0.2), (-0.4, 1.1)])
def test_moments_and_scores_are_those_of_the_distribution(link, mean, deviation):
    def quantile(u):
        return float(link.inverse(torch.tensor(mean + deviation * u).double()))

    def expected(function):
        kinks = [-mean / deviation]
        found = [
            quad(lambda u: function(quantile(u)) * stats.norm.pdf(u), low, high)[0]
            for low, high in ((-12.0, kinks[0]), (kinks[0], 12.0))
        ]
        return sum(found)

    given = torch.tensor([mean]).double(), torch.tensor([deviation**2]).double()
    first, second = link.moments(*given)
    center = expected(lambda y: y)
    rel = 1e-4 if link.power > 1 else 1e-7  # a root is steep at zero
    assert first.item() == pytest.approx(center, rel=rel)
    spread = expected(lambda y: (y - center) ** 2)
    assert second.item() == pytest.approx(spread, rel=rel)
    # E|Y - y| - E|Y - Y'| / 2, from many quantiles.
    p = (np.arange(400_000) + 0.5) / 400_000
    q = link.inverse(torch.as_tensor(mean + deviation * stats.norm.ppf(p))).numpy()
    spread = (2 * (2 * p - 1) * q).mean()
    for u in (-1.5, 0.2, 2.5):
        y = quantile(u)
        found = link.crps(*given, torch.tensor([y]).double()).item()
        expected_score = np.abs(q - y).mean() - spread / 2
        if y != 0 or link.kind != "power":  # what lies below zero is at zero
            assert found == pytest.approx(expected_score, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("link", LINKS, ids=str)
def test_inverse_and_slope(link):
    y = torch.tensor([0.2, 0.9, 3.0], dtype=torch.float64, requires_grad=True)
    assert_close(link.inverse(link.forward(y)), y)
    (slope,) = torch.autograd.grad(link.forward(y).sum(), y)
    assert_close(link.log_slope(y), slope.log())


def test_no_variance_is_the_absolute_error():
    link = Link("log")
    zero, one = torch.zeros(1).double(), torch.ones(1).double()
    assert_close(link.crps(one, zero, one), (one.exp() - 1).abs())


@pytest.mark.parametrize("name", TRANSFORMS)
def test_links_of_models(name):
    X, Y = positive_waves(6)
    links, rest = links_of(with_transform(name)(X, Y), 1)
    assert_close(links[0].forward(Y), FORWARD[name](Y))
    assert (rest is None) == (name == "log alone")
    assert links_of(standardized(X, Y), 1)[0] == (IDENTITY,)


def test_links_of_some_outputs():
    X, Y = positive_waves(6)
    chain = ChainedOutcomeTransform(log=Log(outputs=[1]), scale=Standardize(2))
    model = SingleTaskGP(X, torch.cat([Y, Y + 1], dim=-1), outcome_transform=chain)
    links, _ = links_of(model, 2)
    assert links == (IDENTITY, Link("log"))


def test_what_is_refused():
    class Steeper(Log):
        pass

    X, Y = positive_waves(6)
    for transform, words in (
        (Steeper(), "got a subclass, Steeper"),
        (Power(-1.0), "a power above zero, got -1"),
        (ChainedOutcomeTransform(a=Standardize(1), b=Bilog()), "then affine ones"),
    ):
        with pytest.raises(UnsupportedError, match=words):
            cross_validate(
                lambda x, y, own=transform: SingleTaskGP(x, y, outcome_transform=own),
                X / 7,
                Y,
            )


@pytest.mark.parametrize("fit", [each for each in FITS if each != "posterior"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_scores_are_those_of_transformed_outcomes_with_the_slope(name, fit):
    """A model of the transformed outcomes has the same folds."""
    X, Y = positive_waves()
    options = {"fit": fit, "folds": k_fold(4), "threshold": 0.2}
    found = cross_validate(with_transform(name), X, Y, **options)
    own = FORWARD[name](Y)
    build = unscaled if name == "log alone" else standardized
    expected = cross_validate(build, X, own, **options)
    y = found.observed.clone().requires_grad_()
    (slope,) = torch.autograd.grad(FORWARD[name](y).sum(), y)
    assert found.failed == {} and found.linked is not None
    assert_close(found.linked.mean, expected.mean, **SAME)
    assert_close(found.log_density, expected.log_density + slope.log(), **SAME)
    assert_close(found.z_scores, expected.z_scores, **SAME)
    if fit == "sampled":
        total = float(slope.log().sum())
        assert found.elpd == pytest.approx(expected.elpd + total, abs=1e-6)
    columns = ["log_density", "crps", "z_score", "mean"]
    one, other = (r.to_frame(scale="model") for r in (found, expected))
    assert_close(one[columns].to_numpy(), other[columns].to_numpy(), **SAME)
    one, other = (r.summary(scale="model") for r in (found, expected))
    assert_close(one.to_numpy(), other.to_numpy(), **SAME)
    if found.whitened is not None:
        assert_close(found.whitened, expected.whitened, **SAME)


@pytest.mark.parametrize("name", ["log", "bilog"])
def test_moments_on_the_scale_of_the_outcome_are_those_of_samples(name):
    X, Y = positive_waves()
    found = cross_validate(with_transform(name), X, Y, fit="fixed")
    linked = found.linked
    draws = linked.mean + linked.variance.sqrt() * torch.randn(
        200_000, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    samples = linked.links[0].inverse(draws)
    variance = linked.variance[:, 0]
    narrow = variance <= variance.median()  # elsewhere samples miss the tail
    error = samples.std(dim=0) / math.sqrt(200_000)
    far = (found.mean - samples.mean(dim=0)).abs() / error
    assert (far[narrow] < 5).all()
    frame = found.to_frame()
    inside = (samples > torch.tensor(frame.lower.to_list())[:, None]) & (
        samples < torch.tensor(frame.upper.to_list())[:, None]
    )
    assert_close(inside.double().mean(dim=0), 0.95 + 0 * found.mean, rtol=0, atol=3e-3)
    noisy, clear = found.to_frame(), found.to_frame(noise=False)
    assert (clear.deviation < noisy.deviation).all()
    summary = found.summary()
    assert summary.elpd[0] == pytest.approx(found.elpd)
    assert summary.crps[0] == pytest.approx(frame.crps.mean())


def test_fixed_is_botorchs_closed_form():
    """BoTorch's untransforms moments; log densities of its Gaussian are another."""
    X, Y = positive_waves()
    found = cross_validate(with_transform("log"), X, Y, fit="fixed", keep_models=True)
    model = found.full_model
    results = loo_cv(model)
    assert_close(found.mean[:, 0], results.posterior.mean.reshape(-1), **SAME)


def test_a_saved_result_has_its_links(tmp_path):
    X, Y = positive_waves()
    found = cross_validate(with_transform("power"), X, Y, fit="fixed")
    found.save(tmp_path / "folds.npz")
    loaded = CrossValidation.load(tmp_path / "folds.npz")
    assert loaded.linked.links == found.linked.links
    assert_close(loaded.log_density, found.log_density)
    assert np.array_equal(loaded.to_frame(), found.to_frame())


def test_models_with_different_transforms_compare():
    X, Y = positive_waves(16)
    logs = cross_validate(with_transform("log"), X, Y, folds=k_fold(4))
    plain = cross_validate(standardized, X, Y, folds=k_fold(4))
    table = difference(logs, plain)
    total = float((logs.log_density - plain.log_density).sum())
    assert table.attrs["sum"] == pytest.approx(total)
    # The same distribution on two scales: both integrate to one over outcomes.
    first = logs.linked
    deviation = first.variance[0].sqrt()
    y = torch.linspace(-6, 6, 4001).double() * deviation + first.mean[0]
    y = y.exp()
    density = (
        (-0.5 * ((y.log() - first.mean[0]) ** 2 / first.variance[0])).exp()
        / (2 * math.pi * first.variance[0]).sqrt()
        / y
    )
    assert torch.trapezoid(density, y).item() == pytest.approx(1.0, abs=1e-3)
