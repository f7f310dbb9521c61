"""Fully Bayesian models: against quadrature over their hyper-parameters, and BoTorch.

A run of NUTS takes seconds, most of which compiles it. There are four in all.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.fully_bayesian import FullyBayesianSingleTaskGP
from botorch.models.transforms import Standardize
from helpers import assert_close
from scipy import stats
from scipy.special import logsumexp
from torch import Tensor

from botorch_xval import compare, cross_validate
from botorch_xval.cross_validation import nuts
from botorch_xval.cross_validation.fold_models import FoldData
from botorch_xval.cross_validation.folds import Folds
from botorch_xval.cross_validation.result import CrossValidation

pytest.importorskip("numpyro")
# JAX warns of what it deprecates in NumPyro's calls.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
# Two rows, without which less than LEAST_SHARE are left, and one that all draws have
# good weights for.
HELD_OUT = [[5, 7], [2]]


def data() -> tuple[Tensor, Tensor]:
    X = torch.linspace(0, 1, 8).double()[:, None]
    noise = torch.tensor([0.1, -0.2, 0.0, 0.2, -0.1, 1.5, 0.1, -0.1]).double()
    return X, 3 * ((4 * X).sin() + noise[:, None]) + 5


def build(train_X: Tensor, train_Y: Tensor) -> FullyBayesianSingleTaskGP:
    return FullyBayesianSingleTaskGP(train_X, train_Y, outcome_transform=Standardize(1))


@pytest.fixture(scope="module")
def found() -> CrossValidation:
    held_out = torch.zeros(2, 8, dtype=torch.bool)
    for fold, rows in zip(held_out, HELD_OUT, strict=True):
        fold[rows] = True
    return cross_validate(build, *data(), folds=held_out, fit="posterior")


def exact(X: Tensor, Y: Tensor, i: int, held_out: list[int]) -> float:
    """The log density of an outcome by quadrature; the mean is normal."""
    x, y = X[:, 0].numpy(), Y[:, 0].numpy()
    rest = np.setdiff1d(np.arange(len(x)), held_out)
    unit = y[rest].std(ddof=1)
    z = (y - y[rest].mean()) / unit
    lengths, noises = np.linspace(-3.5, 8.5, 81), np.linspace(-9, 1.5, 61)
    grid = np.stack(np.meshgrid(lengths, noises), axis=-1).reshape(-1, 2)
    length, noise = np.exp(grid.T)
    # Log densities of logarithms: a log-normal length, Gamma(0.9, 10) noise.
    prior = stats.norm.logpdf(grid[:, 0], math.sqrt(2), math.sqrt(3))
    prior += stats.gamma.logpdf(noise, 0.9, scale=0.1) + grid[:, 1]
    distance = math.sqrt(5) * np.abs(x[:, None] - x) / length[:, None, None]
    covariance = (1 + distance + distance**2 / 3) * np.exp(-distance) + 1
    covariance += (noise + 1e-4)[:, None, None] * np.eye(len(x))

    def evidence(rows: np.ndarray) -> float:
        own = covariance[:, rows[:, None], rows]
        sides = np.broadcast_to(z[rows, None], (len(own), len(rows), 1))
        quadratic = np.linalg.solve(own, sides)[..., 0] @ z[rows]
        log_det = np.linalg.slogdet(own)[1]
        total = quadratic + log_det + len(rows) * math.log(2 * math.pi)
        return logsumexp(prior - 0.5 * total)

    return evidence(np.append(rest, i)) - evidence(rest) - math.log(unit)


def test_folds_are_those_of_quadrature(found):
    table = found.fit_table()
    assert table.how.tolist() == ["nuts", "reweighted"]
    assert "fold's training rows" in table.message[0]
    alone = found.mixture.relative_errors(found.observed)[:, 0]
    weights = found.mixture.weights[..., 0]
    worth = 1 / (weights**2).sum(dim=1)  # if draws were independent
    assert_close(worth[1:], torch.tensor([1000.0, 1000.0]).double())
    assert worth[0] < 999
    errors = []
    for place, (fold, i) in enumerate([(1, 2), (0, 5), (0, 7)]):
        assert 50 < table.effective_draws[fold] < worth[place]
        error = alone[place] * math.sqrt(worth[place] / table.effective_draws[fold])
        errors.append(error.item())
        expected = exact(*data(), i, HELD_OUT[fold])
        here = found.log_density[place, 0].item()
        assert here == pytest.approx(expected, abs=4 * errors[-1])
    assert max(errors) < 0.4
    assert found.monte_carlo_error == pytest.approx(math.hypot(*errors))
    assert found.whitened is None and found.failed == {}


@pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
def test_likelihoods_and_predictions_of_draws_belong_together():
    X, Y = data()
    held_out = torch.eye(8, dtype=torch.bool)
    folds = Folds(held_out, [f"row {i}" for i in range(8)])

    def raw(train_X: Tensor, train_Y: Tensor) -> FullyBayesianSingleTaskGP:
        return FullyBayesianSingleTaskGP(train_X, train_Y)

    given = FoldData(raw, type(None), X, (Y - Y.mean()) / Y.std(), None, folds)
    generator = torch.Generator().manual_seed(0)
    samples = {
        "mean": 0.1 * torch.randn(20, generator=generator).double(),
        "noise": 0.1 + torch.rand(20, generator=generator).double(),
        "lengthscale": 0.2 + torch.rand(20, 1, 1, generator=generator).double(),
    }
    model = given.build_model(slice(None), "all rows")
    model.load_mcmc_samples(samples)
    whole = nuts._log_likelihoods(model.eval())
    for i in (0, 4):
        fold = given.model_of(i)
        fold.load_mcmc_samples(samples)
        members = nuts.predict_one(fold.eval(), X[i : i + 1], None)
        # p(y) = p(y_-i) p(y_i | y_-i)
        own = stats.norm.logpdf(
            given.train_Y[i].item(), members["mean"][0], members["variance"][0].sqrt()
        )
        assert_close(nuts._log_likelihoods(fold) + own, whole, atol=1e-6)


def test_a_run_for_each_fold_keeps_its_model(monkeypatch):
    monkeypatch.setattr(nuts, "WARMUP", 50)
    X, Y = data()
    held_out = torch.eye(8, dtype=torch.bool)[[2]]
    found = cross_validate(
        build, X, Y, folds=held_out, draws=100, keep_models=True, progress=True
    )
    assert found.fit_table().how.tolist() == ["nuts"]
    assert found.fit_table().pareto_k.isna().all()
    (model,) = found.models
    assert model.num_mcmc_samples == 100
    assert_close(found.mean, model.posterior(X[2:3]).mixture_mean)
    noisy = model.posterior(X[2:3], observation_noise=True)
    assert_close(found.variance, noisy.mixture_variance)


def test_draws_are_for_those_that_draw(monkeypatch, tmp_path):
    """In a list of models, and among configurations."""
    monkeypatch.setattr(nuts, "WARMUP", 20)
    X, Y = data()
    held_out = torch.eye(8, dtype=torch.bool)[[2]]

    def listed(train_X: Tensor, train_Y: Tensor) -> ModelListGP:
        columns = train_Y[:, :1], train_Y[:, 1:]
        return ModelListGP(
            build(train_X, columns[0]), SingleTaskGP(train_X, columns[1])
        )

    both = torch.cat([Y, Y], dim=-1)
    found = cross_validate(listed, X, both, folds=held_out, draws=100)
    assert found.fit_table().how.tolist() == ["nuts", "refit"]
    assert 1 <= found.fit_table().effective_draws[0] <= 100
    two = torch.eye(8, dtype=torch.bool)[[2, 4]]
    kwargs = {"sizes": [8], "folds": two, "folder": tmp_path}
    models = {"fitted": SingleTaskGP, "drawn": build}
    with pytest.raises(ValueError, match="draws: expected a whole number from 100 on"):
        compare(models, X, Y, draws=10, **kwargs)
    assert not (tmp_path / "cells").exists()  # before any work
    # The first one is scored without draws, the second one with them.
    points = compare(models, X, Y, draws=100, **kwargs).points
    assert points.groupby("configuration").log_density.count().to_dict() == {
        "drawn": 2,
        "fitted": 2,
    }
    with pytest.raises(ValueError, match="got cells of other values of fit"):
        compare(models, X, Y, draws=200, **kwargs)
    with pytest.raises(ValueError, match="draws: expected none for fit='refit' of con"):
        compare({"fitted": SingleTaskGP}, X, Y, draws=100, **kwargs)


def test_other_ways_to_fit_are_refused():
    with pytest.raises(UnsupportedError, match=r"expected one of \('refit', 'poster"):
        cross_validate(build, *data(), fit="fixed")
