"""The leave-one-out CRPS as a criterion: against folds, SciPy, and other scales."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.fit import fit_gpytorch_mll as botorch_fit
from botorch.models import KroneckerMultiTaskGP, ModelListGP, SingleTaskGP
from fold_helpers import standard_waves
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood, SumMarginalLogLikelihood
from helpers import (
    IDENTITY,
    assert_close,
    losses_of,
    mll_of,
    noisy_waves,
    unit_waves,
)
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import norm
from torch import Tensor

from botorch_xval import LeaveOneOutCRPS, fit_gpytorch_mll


def of_folds(model: SingleTaskGP) -> list[tuple[float, float, float]]:
    """Mean, deviation and outcome of every row, from a factor of all others each."""
    K = model.covar_module(*model.train_inputs).to_dense()
    K = (K + model.likelihood.noise * torch.eye(len(K))).detach().numpy()
    y, m = model.train_targets.numpy(), model.mean_module.constant.item()
    found = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        solved = np.linalg.solve(K[np.ix_(rest, rest)], K[rest, i])
        mean = m + solved @ (y[rest] - m)
        found.append((mean, math.sqrt(K[i, i] - solved @ K[rest, i]), y[i]))
    return found


def crps_by_quadrature(mean: float, deviation: float, observed: float) -> float:
    below = quad(lambda y: norm.cdf(y, mean, deviation) ** 2, -np.inf, observed)
    above = quad(lambda y: norm.sf(y, mean, deviation) ** 2, observed, np.inf)
    return below[0] + above[0]


def without_priors(X: Tensor, Y: Tensor) -> SingleTaskGP:
    kernel = ScaleKernel(RBFKernel())
    model = SingleTaskGP(X, Y, covar_module=kernel, outcome_transform=None)
    del model.likelihood.noise_covar.noise_prior
    del model.likelihood.noise_covar._priors["noise_prior"]
    return model


def test_it_is_the_mean_score_of_folds_and_the_priors():
    model = SingleTaskGP(*unit_waves(10))
    scores = [crps_by_quadrature(*each) for each in of_folds(model)]
    priors = sum(
        prior.log_prob(closure(module)).sum().item()
        for _, module, prior, closure, _ in model.named_priors()
    )
    expected = -math.log(np.mean(scores)) + priors / 10
    assert_close(-losses_of(mll_of(model, LeaveOneOutCRPS)), expected, rtol=1e-7)


def test_outputs_of_a_batch_are_those_of_models_of_one_output():
    X, Y = standard_waves(9, 3)
    both = losses_of(mll_of(SingleTaskGP(X, Y), LeaveOneOutCRPS))
    each = [
        losses_of(mll_of(SingleTaskGP(X, Y[:, [j]]), LeaveOneOutCRPS)) for j in range(3)
    ]
    assert_close(both, torch.stack(each), **IDENTITY)
    models = [SingleTaskGP(X, Y[:, [j]]) for j in range(3)]
    listed = ModelListGP(*models)
    mll = SumMarginalLogLikelihood(listed.likelihood, listed, LeaveOneOutCRPS)
    assert_close(losses_of(mll), both.mean(), **IDENTITY)


def test_it_moves_with_the_unit_of_the_outcome_as_a_log_density_does():
    X, Y = unit_waves(12)
    model, other = without_priors(X, Y), without_priors(X, 7 * Y)
    other.mean_module.constant.data = 7 * model.mean_module.constant.data
    other.covar_module.outputscale = 49 * model.covar_module.outputscale
    other.likelihood.noise = 49 * model.likelihood.noise
    losses = [losses_of(mll_of(each, LeaveOneOutCRPS)) for each in (model, other)]
    assert_close(losses[1] - losses[0], math.log(7), rtol=1e-10)


def test_without_priors_its_optimum_is_that_of_the_mean_score():
    X, Y = standard_waves(25)
    model = without_priors(X, Y)
    mll = mll_of(model, LeaveOneOutCRPS)

    def mean_score(theta: np.ndarray) -> float:
        with torch.no_grad():
            for parameter, value in zip(mll.parameters(), theta, strict=True):
                parameter.fill_(value)
        mean, deviation, y = np.array(of_folds(model)).T
        z = (y - mean) / deviation
        score = z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi)
        return float((deviation * score).mean())

    fit_gpytorch_mll(mll)
    assert not mll.fit_records[0].at_bounds
    end = np.concatenate([p.detach().numpy().ravel() for p in mll.parameters()])
    best = mean_score(end)
    assert_close(math.exp(mll.fit_records[0].loss), best, rtol=1e-9)
    around = minimize(mean_score, end, method="Nelder-Mead", tol=1e-9)
    assert around.fun > best * (1 - 1e-6)


def test_without_priors_it_may_prefer_the_flat_limit():
    """Of which the evidence says how unlikely it is."""
    X, Y = noisy_waves(25, seed=2)
    model = without_priors((X + 5) / X.new_tensor([1.0, 100.0]), Y / 10)
    mlls = [mll_of(model, k) for k in (ExactMarginalLogLikelihood, LeaveOneOutCRPS)]
    fit_gpytorch_mll(mlls[0])
    before = [losses_of(mll).item() for mll in mlls]
    model.covar_module.base_kernel.lengthscale = 3.14  # of inputs within [0, 1]
    model.covar_module.outputscale = 4e5  # of outcomes within [-2, 3]
    model.likelihood.noise = 0.026
    model.mean_module.constant = 7900.0
    after = [losses_of(mll).item() for mll in mlls]
    assert after[0] > before[0] + 0.1 and after[1] < before[1] - 0.1


def test_botorch_fits_by_it_too():
    X, Y = unit_waves(16)
    losses = []
    for fit in (botorch_fit, fit_gpytorch_mll):
        mll = mll_of(SingleTaskGP(X, Y), LeaveOneOutCRPS)
        before = losses_of(mll).item()
        fit(mll)
        losses.append(losses_of(mll).item())
        assert losses[-1] < before - 0.1
    assert losses[1] <= losses[0] + 1e-6


def test_outputs_that_are_correlated_are_refused():
    X, Y = standard_waves(8, 2)
    mll = mll_of(KroneckerMultiTaskGP(X, Y), LeaveOneOutCRPS)
    with pytest.raises(UnsupportedError, match="expected independent outputs"):
        losses_of(mll)
