"""Hyper-parameters integrated out: against quadrature, ArviZ, and draws of each fold.

The quadrature is of a model with two hyper-parameters, whose likelihood is written down
here again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models import SingleTaskGP
from botorch.models.transforms.outcome import (
    ChainedOutcomeTransform,
    Log,
    OutcomeTransform,
    Standardize,
)
from gpytorch.kernels import RBFKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ZeroMean
from gpytorch.mlls import ExactMarginalLogLikelihood, LeaveOneOutPseudoLikelihood
from gpytorch.priors import LogNormalPrior
from helpers import SAME, assert_close, noisy_waves, normalized_gp
from scipy import stats
from scipy.special import logsumexp
from torch import Tensor

from botorch_xval import FitOptions, compare, cross_validate, difference, k_fold
from botorch_xval.cross_validation.fold_models import FoldData
from botorch_xval.cross_validation.full_fit import fit_all_rows
from botorch_xval.cross_validation.posterior import _Folds, draw_all_rows
from botorch_xval.cross_validation.psis import smooth_weights
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.fitting.losses.modules import ByModules
from botorch_xval.fitting.losses.objective import Stack

LENGTH, NOISE = (-1.0, 0.7), (-2.0, 1.0)  # of the priors, by logarithms
DRAWS = 576  # of which ArviZ of any version takes 72 as the tail
LARGE = 1 - 1 / math.log10(DRAWS)  # a shape from which weights are not trusted
ONE_START = FitOptions(starts="own")  # also in what several tests share
GIVEN = {"fit": "posterior", "draws": DRAWS, "fit_options": ONE_START}


def one_input(n: int = 10, outlier: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    X = torch.linspace(0, 1, n).double()[:, None]
    noise = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    Y = (5 * X).sin() + 0.2 * noise
    Y[n // 2] += outlier
    return X, Y


def simple(
    train_X: Tensor, train_Y: Tensor, outcome_transform: OutcomeTransform | None = None
) -> SingleTaskGP:
    return SingleTaskGP(
        train_X,
        train_Y,
        mean_module=ZeroMean(),
        covar_module=RBFKernel(lengthscale_prior=LogNormalPrior(*LENGTH)),
        likelihood=GaussianLikelihood(noise_prior=LogNormalPrior(*NOISE)),
        outcome_transform=outcome_transform,
    )


def standardized(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
    return simple(train_X, train_Y, Standardize(1))


def logarithmic(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
    chain = ChainedOutcomeTransform(log=Log(), scale=Standardize(1))
    return simple(train_X, train_Y, chain)


def log_likelihoods(x: np.ndarray, y: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Of a zero-mean process at pairs of log lengthscale and log noise, `g`."""
    length, noise = np.exp(grid.T)[:, :, None, None]
    covariance = np.exp(-0.5 * ((x[:, None] - x) / length) ** 2)
    covariance = covariance + noise * np.eye(len(x))
    solved = np.linalg.solve(
        covariance, np.broadcast_to(y, (len(grid), len(y)))[..., None]
    )
    return -0.5 * (
        solved[..., 0] @ y
        + np.linalg.slogdet(covariance)[1]
        + len(y) * math.log(2 * math.pi)
    )


def exact(X: Tensor, Y: Tensor, test: Sequence[int], scaled: bool = False) -> float:
    """The joint log density of held-out outcomes, by quadrature of both integrals."""
    x, y = X[:, 0].numpy(), Y[:, 0].numpy()
    rest = np.setdiff1d(np.arange(len(x)), test)
    shift, unit = (y[rest].mean(), y[rest].std(ddof=1)) if scaled else (0.0, 1.0)
    z = (y - shift) / unit
    lengths = np.linspace(LENGTH[0] - 3.5, LENGTH[0] + 3.5, 61)
    noises = np.linspace(math.log(1e-4), NOISE[0] + 4.0, 61)  # from GPyTorch's bound on
    grid = np.stack(np.meshgrid(lengths, noises), axis=-1).reshape(-1, 2)
    prior = stats.norm.logpdf(grid, *np.transpose([LENGTH, NOISE])).sum(axis=1)
    both = logsumexp(prior + log_likelihoods(x, z, grid))
    left = logsumexp(prior + log_likelihoods(x[rest], z[rest], grid))
    return both - left - len(test) * math.log(unit)


@pytest.fixture(scope="module")
def outlying() -> CrossValidation:
    X, Y = one_input(outlier=2.0)
    return cross_validate(simple, X, Y, **GIVEN)


def test_folds_are_those_of_quadrature_reweighted_or_drawn_again(outlying):
    X, Y = one_input(outlier=2.0)
    table = outlying.fit_table()
    assert table.how[5] == "redrawn" and table.pareto_k[5] > 0.7
    assert set(table.how) == {"reweighted", "redrawn"}
    assert ((table.pareto_k > LARGE) == (table.how == "redrawn")).all()
    assert "draws of its own in" in table.message[5]
    for i in (2, 5, 7):
        expected = exact(X, Y, [i])
        found = outlying.log_density[i, 0].item()
        assert found == pytest.approx(expected, abs=0.1)  # of 576 draws
    # That hyper-parameters have seen the row flatters, most of all the outlier's.
    assert 0.01 < outlying.monte_carlo_error < 0.3


def test_a_fold_at_the_edge_of_the_draws_is_drawn_again_whatever_the_shape():
    X, Y = one_input(outlier=1.2)
    held_out = torch.eye(10, dtype=torch.bool)[[5]]
    found = cross_validate(simple, X, Y, **GIVEN, folds=held_out)
    table = found.fit_table()
    assert table.how.tolist() == ["redrawn"]
    assert table.pareto_k[0] < LARGE - 0.1
    assert found.log_density.item() == pytest.approx(exact(X, Y, [5]), abs=0.1)


def test_weights_are_those_of_arviz(outlying):
    arviz = pytest.importorskip("arviz")
    mixture, kept = outlying.mixture, outlying.fit_table().how == "reweighted"
    each = stats.norm.logpdf(
        outlying.observed.numpy(),
        mixture.mean[..., 0].numpy(),
        mixture.variance[..., 0].sqrt().numpy(),
    )
    groups = {
        "posterior": {"a": np.zeros((1, DRAWS))},
        "log_likelihood": {"y": each.T[None]},
    }
    before = issubclass(arviz.ELPDData, pd.Series)  # ArviZ 1
    data = arviz.from_dict(**groups) if before else arviz.from_dict(groups)
    with pytest.warns(UserWarning, match=f"greater than {LARGE:.2f}"):
        loo = arviz.loo(data, pointwise=True, reff=1.0)
    assert_close(
        outlying.log_density[kept, 0],
        (loo.loo_i if before else loo.elpd_i).values[kept],
        atol=1e-7,
    )
    shapes = outlying.fit_table().pareto_k[kept]
    assert_close(shapes.to_numpy(), loo.pareto_k.values[kept], atol=1e-6)
    weighted = smooth_weights(-each).shapes
    assert_close(weighted[kept], shapes.to_numpy(), atol=1e-6)


def test_every_fold_has_transforms_of_its_own():
    X, Y = one_input()
    found = cross_validate(standardized, X, 40 * Y + 7, **GIVEN)
    for i in (0, 4):
        expected = exact(X, 40 * Y + 7, [i], scaled=True)
        assert found.log_density[i, 0].item() == pytest.approx(expected, abs=0.1)
        rest = 40 * Y[torch.arange(10) != i] + 7
        assert_close(found.location[i], rest.mean(dim=0))
        assert_close(found.scale[i], rest.std(dim=0))


def test_folds_of_several_rows_have_the_weights_of_all_of_them():
    X, Y = one_input()
    held_out = torch.zeros(2, 10, dtype=torch.bool)
    held_out[0, [1, 6]] = held_out[1, [3, 8]] = True
    found = cross_validate(simple, X, Y, folds=held_out, **GIVEN)
    assert found.rows.tolist() == [1, 3, 6, 8]
    weights = found.mixture.weights[..., 0]
    assert_close(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])
    # p(y_1, y_6 | rest) = p(y_6 | rest) p(y_1 | y_6, rest)
    last = exact(X[torch.arange(10) != 1], Y[torch.arange(10) != 1], [5])
    assert found.log_density[2, 0].item() == pytest.approx(last, abs=0.1)
    first = exact(X, Y, [1, 6]) - exact(X, Y, [1])
    assert last == pytest.approx(first, abs=1e-6)  # of the quadrature


def test_the_same_seed_gives_the_same_result_and_it_is_saved(tmp_path, outlying):
    X, Y = one_input(outlier=2.0)
    again = cross_validate(simple, X, Y, **GIVEN)
    assert torch.equal(again.log_density, outlying.log_density)
    other = cross_validate(simple, X, Y, **GIVEN, seed=1)
    assert not torch.equal(other.log_density, outlying.log_density)
    assert other.elpd == pytest.approx(outlying.elpd, abs=0.5)
    outlying.save(tmp_path / "result.npz")
    loaded = CrossValidation.load(tmp_path / "result.npz")
    assert torch.equal(loaded.log_density, outlying.log_density)
    assert loaded.fit_table().equals(outlying.fit_table())
    assert loaded.to_frame().equals(outlying.to_frame())
    assert loaded.monte_carlo_error == outlying.monte_carlo_error
    assert difference(outlying, other).attrs["other_optimum"] == []


def test_tables_are_those_of_the_mixture(outlying):
    frame = outlying.to_frame()
    mixture, observed = outlying.mixture, outlying.observed
    assert_close(frame.log_density, mixture.log_density(observed)[:, 0])
    assert_close(frame.crps, mixture.crps(observed)[:, 0])
    assert_close(frame.lower, mixture.quantile(0.025)[:, 0])
    assert_close(frame.z_score, outlying.z_scores[:, 0])
    assert_close(frame.pit, stats.norm.cdf(frame.z_score))
    quiet = outlying.to_frame(noise=False)
    assert (quiet.upper - quiet.lower < frame.upper - frame.lower).all()
    summary = outlying.summary()
    assert summary.elpd[0] == pytest.approx(outlying.elpd)
    assert summary.rmse[0] == pytest.approx(frame.squared_error.mean() ** 0.5)
    assert outlying.whitened is None and outlying.models is None
    assert len(outlying.ax_diagnostics()) == 1


def test_the_models_own_scale_and_logarithms_of_outcomes():
    X, Y = one_input(8)
    positive = (0.5 * Y).exp()
    held_out = torch.eye(8, dtype=torch.bool)[[2, 5]]
    given = {**GIVEN, "folds": held_out}
    direct = cross_validate(standardized, X, positive.log(), **given)
    linked = cross_validate(logarithmic, X, positive, **given)
    slope = -linked.observed.log()
    assert_close(linked.log_density, direct.log_density + slope, atol=1e-7)
    one, other = (each.to_frame(scale="model") for each in (direct, linked))
    for name in ("log_density", "crps", "lower", "upper", "z_score"):
        assert_close(one[name], other[name], atol=1e-7)
    frame, plain = linked.to_frame(), direct.to_frame()
    assert_close(frame.lower, plain.lower.map(math.exp), atol=1e-7)
    expected = linked.mixture.outcome_moments(linked.linked.links)
    assert_close(linked.mean, expected[0])
    assert_close(linked.variance, expected[1])


def test_two_outputs_are_as_alone():
    X, Y = noisy_waves(9, 2)
    held_out = torch.eye(9, dtype=torch.bool)[[0, 3]]
    given = {**GIVEN, "folds": held_out, "draws": 200}
    both = cross_validate(normalized_gp, X, Y, **given)
    assert both.mixture.weights.shape == (2, 200, 2)
    alone = cross_validate(normalized_gp, X, Y[:, :1], **given)
    assert both.log_density.shape == (2, 2)
    assert_close(both.log_density[:, 0], alone.log_density[:, 0], atol=0.3)
    assert both.fit_table().output.tolist() == [0, 1, 0, 1]


def test_models_without_a_closed_form_have_the_same_folds():
    X, Y = one_input(8)
    folds = k_fold(4)(8)
    data = FoldData(standardized, ExactMarginalLogLikelihood, X, Y, None, folds)
    full = fit_all_rows(data.build(slice(None), "all rows"), ONE_START)
    draws = draw_all_rows(full, 100, seed=0)
    models = data.models_of([0, 1, 2, 3])
    by_modules = ByModules(Stack(models.mlls, None, None))
    objectives = by_modules, models.objective(ONE_START)
    found, expected = (
        _Folds(data, models, objective, draws, full, 0) for objective in objectives
    )
    assert found.at == [None] and expected.at[0].alike.all()
    for j in (0, 3):
        for one, other in zip(
            vars(found.fold(j).mixture).values(),
            vars(expected.fold(j).mixture).values(),
            strict=True,
        ):
            assert_close(one, other, **SAME)
    # Without the formulas for all folds, but with predictions in closed form.
    theta = draws[0].theta[None]
    for one, other in zip(
        expected._predict(1, theta), expected._in_closed_form(1), strict=True
    ):
        assert_close(one, other, **SAME)


def test_known_noise_and_what_has_no_proper_posterior():
    X, Y = noisy_waves(8)
    noise = torch.linspace(0.5, 2, 8).double()[:, None]
    held_out = torch.eye(8, dtype=torch.bool)[[1]]
    given = {**GIVEN, "folds": held_out, "draws": 100}
    known = cross_validate(normalized_gp, X, Y, noise, **given)
    assert_close(known.noise_variance, noise[1:2])
    assert (known.mixture.variance > noise[1]).all()

    def flat(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        return SingleTaskGP(train_X, train_Y, covar_module=RBFKernel())

    with pytest.raises(UnsupportedError, match="expected a prior of every constrained"):
        cross_validate(flat, (X + 5) / 100, Y, **given)


def test_it_can_be_compared():
    X, Y = one_input()
    found = compare(
        {"plain": simple, "standardized": standardized},
        X,
        Y,
        sizes=[10],
        fit="posterior",
        folds=k_fold(5),
    )
    assert found.table().elpd.notna().all()
    assert set(found.table().failed) == {0}


def test_what_is_refused():
    X, Y = one_input()
    with pytest.raises(ValueError, match="draws: expected a whole number from 100 on"):
        cross_validate(simple, X, Y, fit="posterior", draws=10)
    with pytest.raises(UnsupportedError, match="mll: expected ExactMarginalLogLike"):
        cross_validate(simple, X, Y, fit="posterior", mll=LeaveOneOutPseudoLikelihood)
