"""The fit to all rows: curvature, Newton steps, closed forms, and folds from them."""

from __future__ import annotations

import math

import botorch.cross_validation
import numpy as np
import pytest
import torch
from botorch.exceptions.errors import ModelFittingError, UnsupportedError
from botorch.models import KroneckerMultiTaskGP, SingleTaskGP
from botorch.models.transforms import Normalize
from botorch.optim.closures import get_loss_closure
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from helpers import (
    SAME,
    SOLVED,
    accept_abnormal,
    assert_close,
    fold_mlls,
    hartmann,
    noisy_waves,
    normalized_gp,
    tuning_trials,
)
from scipy.optimize import Bounds

from botorch_xval import (
    FitOptions,
    ScalarChoiceGP,
    cross_validate,
    difference,
    k_fold,
    optimism,
)
from botorch_xval.cross_validation import predictions as predict
from botorch_xval.cross_validation import warm as full_fit
from botorch_xval.cross_validation.fold_models import FoldModels
from botorch_xval.cross_validation.folds import leave_one_out
from botorch_xval.cross_validation.full_fit import fit_all_rows
from botorch_xval.cross_validation.leave_out import LeaveOut
from botorch_xval.fitting.coordinates import LogCoordinates, WhitenedCoordinates
from botorch_xval.fitting.losses import exact
from botorch_xval.fitting.losses.parameters import Unsupported
from botorch_xval.fitting.threads import evaluate_each

FIT = FitOptions(warning_handler=accept_abnormal)


def models_of(mlls, held_out):
    """Models of folds that are built already."""
    numbers = list(range(len(held_out)))
    return FoldModels(
        lambda j: mlls[j], numbers, [f"fold {j}" for j in numbers], held_out
    )


def untransformed(X, Y):
    """Nothing that would learn from the data."""
    batch_shape = torch.Size([Y.shape[-1]] if Y.shape[-1] > 1 else [])
    kernel = ScaleKernel(
        RBFKernel(
            ard_num_dims=2,
            batch_shape=batch_shape,
            lengthscale_prior=LogNormalPrior(0.0, 1.0),
        ),
        batch_shape=batch_shape,
        outputscale_prior=GammaPrior(2.0, 1.0),
    )
    noise = GaussianLikelihood(
        batch_shape=batch_shape,
        noise_constraint=GreaterThan(1e-6, transform=None, initial_value=0.1),
    )
    return SingleTaskGP(
        X, Y, covar_module=kernel, likelihood=noise, outcome_transform=None
    )


def unit_waves(n: int, m: int = 1, seed: int = 0):
    X, Y = noisy_waves(n, m, seed=seed)
    return (X + 5) / X.new_tensor([1.0, 100.0]), (Y - Y.mean(dim=0)) / Y.std(dim=0)


def wrap(model):
    return ExactMarginalLogLikelihood(model.likelihood, model)


# --- coordinates --------------------------------------------------------------------


def whitened() -> WhitenedCoordinates:
    generator = np.random.default_rng(0)
    root = generator.normal(size=(5, 5))
    inner = LogCoordinates(np.array([0, 2]), np.array([1, 4]))
    center = generator.normal(size=5)
    resting = np.array([False, True, False, False, False])
    return WhitenedCoordinates.of(inner, center, root @ root.T, resting, 1e-8)


def test_whitened_coordinates_are_inverse_and_have_gradients():
    coordinates = whitened()
    z = np.random.default_rng(1).normal(size=5)
    theta, pull_back = coordinates.at(z)
    assert_close(coordinates.from_raw(theta), z, **SAME)
    slope = np.random.default_rng(2).normal(size=5)
    numeric = [
        slope @ (coordinates.at(z + step)[0] - coordinates.at(z - step)[0]) / (2e-6)
        for step in 1e-6 * np.eye(5)
    ]
    assert_close(pull_back(slope), numeric, rtol=1e-6, atol=1e-6)


def test_the_hessian_becomes_the_identity():
    coordinates = whitened()
    generator = np.random.default_rng(0)
    root = generator.normal(size=(5, 5))
    free = ~coordinates.resting
    hessian = (root @ root.T)[np.ix_(free, free)]
    own = coordinates.root[np.ix_(free, free)]
    assert_close(own.T @ hessian @ own, np.eye(4), **SAME)


def test_only_resting_parameters_keep_their_bounds():
    coordinates = whitened()
    theta, _ = coordinates.at(np.zeros(5))
    low = np.where(coordinates.resting, theta, 1e-9)
    found = coordinates.bounds(Bounds(low, np.full(5, np.inf)))
    assert found.lb[1] == pytest.approx(0.0, abs=1e-12)
    assert np.isneginf(found.lb[~coordinates.resting]).all()
    assert np.isposinf(found.ub).all()


# --- the fit to all rows ------------------------------------------------------------


def test_the_hessian_is_that_of_the_summed_loss():
    X, Y = unit_waves(12)
    mll = wrap(untransformed(X, Y))
    full = fit_all_rows(mll, FIT)
    (coordinates,) = full.whitened
    assert not coordinates.resting.any()
    center = full.coordinates.from_raw(full.fitted.theta[0])
    names = list(dict(mll.named_parameters()))
    closure = get_loss_closure(mll.train())

    def loss(u):
        values = torch.as_tensor(full.coordinates.at(u)[0])
        sizes = [p.numel() for p in mll.parameters()]
        parts = dict(zip(names, values.split(sizes), strict=True))
        with torch.no_grad():
            for name, parameter in mll.named_parameters():
                parameter.copy_(parts[name].reshape(parameter.shape))
            return 12 * closure().item()

    p, h = len(center), 1e-3
    expected = np.empty((p, p))
    for i, one in enumerate(h * np.eye(p)):
        for j, other in enumerate(h * np.eye(p)):
            expected[i, j] = (
                loss(center + one + other)
                - loss(center + one - other)
                - loss(center - one + other)
                + loss(center - one - other)
            ) / (4 * h**2)
    found = np.linalg.inv(coordinates.root @ coordinates.root.T)
    assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_model_that_cannot_be_fitted_says_so():
    X, Y = unit_waves(10)
    Y = Y.clone()
    Y[0] = torch.nan

    def model(X, Y):
        built = untransformed(X, torch.zeros_like(Y))
        built.train_targets = Y[:, 0]
        return built

    with pytest.raises(ModelFittingError, match="could not be fitted to all rows"):
        cross_validate(model, X, Y, fit="warm")


# --- closed forms -------------------------------------------------------------------


@pytest.mark.parametrize("folds", [leave_one_out, k_fold(4), k_fold(3, repeats=2)])
@pytest.mark.parametrize("m", [1, 2])
def test_closed_forms_are_those_of_conditioned_models(folds, m):
    X, Y = unit_waves(11, m)
    full = fit_all_rows(wrap(untransformed(X, Y)), FIT)
    closed = LeaveOut.of(full.mll)
    for fold in folds(11).held_out:
        mean, variance, noise = closed.leave_out(fold.nonzero()[:, 0])
        rest = untransformed(X[~fold], Y[~fold])
        rest.load_state_dict(full.mll.model.state_dict())
        rest.eval()
        with torch.no_grad():
            posterior = rest.posterior(X[fold], observation_noise=True)
            quiet = rest.posterior(X[fold])
        assert_close(mean, posterior.mean, **SAME)
        assert_close(variance, posterior.variance, **SAME)
        assert_close(variance - noise, quiet.variance, **SAME)


@pytest.mark.parametrize("folds", [leave_one_out, k_fold(4)])
def test_whitening_removes_the_correlation_of_the_errors(folds):
    """The map from outcomes to whitened errors turns their covariance into 1."""
    X, Y = unit_waves(9)
    full = fit_all_rows(wrap(untransformed(X, Y)), FIT)
    closed = LeaveOut.of(full.mll)
    held_out = folds(9).held_out
    (covariance,) = closed.residual_covariance(held_out)
    (inverse,) = closed.inverse
    errors = torch.zeros(9, 9, dtype=torch.float64)  # of outcomes, by columns
    for fold in held_out:
        rows = fold.nonzero()[:, 0]
        own = torch.linalg.inv(inverse[rows[:, None], rows])
        errors[rows] = own @ inverse[rows]
    expected = errors @ torch.linalg.inv(inverse) @ errors.mT
    assert_close(covariance, expected, **SAME)
    result = cross_validate(untransformed, X, Y, folds=folds, fit="fixed")
    error = (result.observed - result.mean)[:, 0]
    factor = torch.linalg.cholesky(expected)
    by_hand = torch.linalg.solve_triangular(factor, error[:, None], upper=False)
    assert_close(result.whitened, by_hand, rtol=1e-4, atol=1e-4)  # of another fit


@pytest.mark.skipif(
    not hasattr(botorch.cross_validation, "loo_cv"), reason="BoTorch has it since 0.17"
)
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("m", [1, 2])
def test_fixed_equals_botorchs_leave_one_out(known, m):
    X, Y = noisy_waves(13, m)
    yvar = torch.linspace(2.0, 9.0, 13, dtype=X.dtype)[:, None].expand(-1, m)
    noise = yvar if known else None
    found = cross_validate(normalized_gp, X, Y, noise, fit="fixed")
    full = wrap(normalized_gp(X, Y, noise))
    fit_all_rows(full, FitOptions())
    theirs = botorch.cross_validation.loo_cv(full.model)
    mean, variance = theirs.posterior.mean, theirs.posterior.variance
    transform = full.model.outcome_transform
    if mean.shape[-1] != m:
        mean, variance = mean.mT, variance.mT
    if not torch.allclose(mean.reshape(13, m), found.mean):
        location = transform.means.reshape(1, m)
        scale = transform.stdvs.reshape(1, m)
        mean = location + scale * mean.reshape(13, m)
        variance = scale**2 * variance.reshape(13, m)
    assert_close(found.mean, mean.reshape(13, m), rtol=1e-8, atol=1e-8)
    assert_close(found.variance, variance.reshape(13, m), rtol=1e-8, atol=1e-8)


def test_correlated_outputs_have_no_closed_form_here():
    X, Y = hartmann(7)

    def model(X, Y):
        return KroneckerMultiTaskGP(X, torch.cat([Y, Y**2], dim=-1))

    with pytest.raises(UnsupportedError, match="independent outputs"):
        LeaveOut.of(wrap(model(X, Y)))


# --- folds from the full fit --------------------------------------------------------


def choices(n: int):
    table = tuning_trials(n)

    def model(X, Y):
        return ScalarChoiceGP(X, Y, choice_dims=table.choice_dims)

    return model, table.X, table.Y


@pytest.mark.parametrize("problem", ["waves", "trials", "two outputs"])
def test_warm_folds_end_where_cold_ones_do(problem):
    model, X, Y = {
        "waves": lambda: (normalized_gp, *noisy_waves(18)),
        "trials": lambda: choices(16),
        "two outputs": lambda: (normalized_gp, *noisy_waves(24, 2)),
    }[problem]()
    cold = cross_validate(model, X, Y, fit="refit")
    warm = cross_validate(model, X, Y, fit="warm")
    assert {fit.how for fit in warm.fits} == {"warm"}
    losses = [[r.loss for r in result.records] for result in (warm, cold)]
    better = np.array(losses[0]) - np.array(losses[1])
    assert (np.abs(better) < 1e-6).mean() > 0.9  # others in another optimum
    once = [math.isnan(fit.cold_loss) for fit in warm.fits]
    spent = [
        sum(r.evaluations for r, own in zip(result.records, once, strict=True) if own)
        for result in (warm, cold)
    ]
    assert 0 < spent[0] < 0.5 * spent[1]
    assert max(r.gradient_norm for r in warm.records) < 1e-3
    same = np.abs(better).reshape(len(X), -1).max(axis=1) < 1e-6
    assert_close(warm.log_density[same], cold.log_density[same], rtol=1e-3, atol=1e-3)


def test_folds_of_large_influence_take_the_better_of_two_starts(tmp_path, monkeypatch):
    X, Y = hartmann(30)
    cold = cross_validate(normalized_gp, X, Y)
    warm = cross_validate(normalized_gp, X, Y, fit="warm")
    twice = [i for i, fit in enumerate(warm.fits) if fit.influence > 0.5]
    assert [not math.isnan(fit.cold_loss) for fit in warm.fits] == [
        i in twice for i in range(30)
    ]
    for i in twice:
        assert_close(warm.fits[i].cold_loss, cold.records[i].loss, **SOLVED)
        assert warm.records[i].loss <= warm.fits[i].cold_loss + 1e-6
    monkeypatch.setattr(full_fit, "INFLUENTIAL", math.inf)
    alone = cross_validate(normalized_gp, X, Y, fit="warm")
    found = [a.loss - w.loss for a, w in zip(alone.records, warm.records, strict=True)]
    assert min(found) >= 0 and max(found) > 0.01  # another minimum
    assert np.argmax(found) in twice
    warm.save(tmp_path / "warm.npz")
    again = type(warm).load(tmp_path / "warm.npz").fit_table().cold_loss
    assert_close(again, warm.fit_table().cold_loss)


def test_predictions_are_between_the_full_fit_and_the_refit():
    model, X, Y = choices(16)
    losses = {}
    for how in ("adaptive", "predicted", "warm"):
        result = cross_validate(model, X, Y, fit=how, threshold=math.inf)
        losses[how] = np.array([record.loss for record in result.records])
    # "adaptive" without any refit has the losses at the values of the full fit.
    assert (losses["warm"] <= losses["predicted"] + 1e-9).all()
    left = losses["predicted"] - losses["warm"]
    assert (left < 0.1 * (losses["adaptive"] - losses["warm"]) + 1e-9).all()
    assert {fit.how for fit in result.fits} == {"warm"}
    predicted = cross_validate(model, X, Y, fit="predicted")
    assert {fit.how for fit in predicted.fits} == {"predicted"}
    assert all(record.evaluations == 2 for record in predicted.records)


def test_influence_is_the_length_of_the_newton_step():
    X, Y = unit_waves(14)
    Y[3] += 4.0  # an outlier
    full = fit_all_rows(wrap(untransformed(X, Y)), FIT)
    mlls = fold_mlls(untransformed, X, Y)
    held_out = leave_one_out(14).held_out
    models = models_of(mlls, held_out)
    _, fits = full_fit.fit_folds(models, full, "adaptive", math.inf, FIT)
    found = [fit.influence for fit in fits]
    (coordinates,) = full.whitened
    hessian = np.linalg.inv(coordinates.root @ coordinates.root.T)
    for i in (0, 3):
        for name, parameter in mlls[i].model.named_parameters():
            parameter.data.copy_(full.mll.model.state_dict()[name])
        loss = 13 * get_loss_closure(mlls[i].train())()
        slopes = torch.autograd.grad(loss, list(mlls[i].parameters()))
        theta = torch.cat([slope.reshape(-1) for slope in slopes]).numpy()
        u = full.coordinates.from_raw(full.fitted.theta[0])
        slope = full.coordinates.at(u)[1](theta)
        expected = math.sqrt(slope @ np.linalg.solve(hessian, slope))
        assert found[i] == pytest.approx(expected, rel=1e-4)
    assert np.argmax(found) == 3


def known_noise(X, Y):
    return SingleTaskGP(X, Y, 0.1 + 0.01 * X[:, :1].abs(), outcome_transform=None)


def plain_choices(n: int):
    table = tuning_trials(n)
    scalars = table.X[:, table.scalar_dims]
    ranges = torch.stack([scalars.amin(dim=0), scalars.amax(dim=0) + 1])

    def model(X, Y):
        return ScalarChoiceGP(
            X,
            Y,
            choice_dims=table.choice_dims,
            outcome_transform=None,
            input_transform=Normalize(
                X.shape[-1], indices=table.scalar_dims, bounds=ranges
            ),
        )

    return model, table.X, (table.Y - table.Y.mean()) / table.Y.std()


SHARED = {
    "sum of kernels": lambda: (untransformed, *unit_waves(14)),
    "two outputs": lambda: (untransformed, *unit_waves(14, 2)),
    "known noise": lambda: (known_noise, *unit_waves(13)),
    "choices": lambda: plain_choices(14),
}


@pytest.mark.filterwarnings("ignore:Data .outcome observations. is not standardized")
@pytest.mark.parametrize("problem", SHARED)
@pytest.mark.parametrize("rows_each", [1, 3])
def test_fold_gradients_from_one_factorization_are_the_folds_own(
    problem, rows_each, monkeypatch
):
    model, X, Y = SHARED[problem]()
    full = fit_all_rows(wrap(model(X, Y)), FIT)
    n = len(X) // rows_each
    held_out = torch.zeros(n, len(X), dtype=torch.bool)
    for i in range(n):
        held_out[i, i::n][:rows_each] = True
    mlls = [wrap(model(X[~rows], Y[~rows])).train() for rows in held_out]
    monkeypatch.setattr(full_fit, "evaluate_each", None)  # not needed
    models = models_of(mlls, held_out)
    objective = models.objective(FIT)
    numbers = models.models(objective)
    work = full_fit._FoldWork(full, objective, numbers, FIT)
    losses, gradients = work.at_full(models)
    theta = full.fitted.theta
    expected = objective(np.tile(theta, (n, 1)), numbers.reshape(-1).tolist())
    assert_close(losses.reshape(-1), expected[0], rtol=1e-9, atol=1e-9)
    assert_close(
        gradients.reshape(-1, theta.shape[1]), expected[1], rtol=1e-7, atol=1e-8
    )
    # and those of the host, for the first fold
    for name, values in full.mll.model.state_dict().items():
        own = dict(mlls[0].model.named_parameters())
        if name in own:
            own[name].data.copy_(values)
    loss = get_loss_closure(mlls[0])()
    assert losses[0].sum() == pytest.approx(loss.sum().item(), rel=1e-8)


@pytest.mark.filterwarnings("ignore:Data .outcome observations. is not standardized")
def test_only_folds_that_transform_alike_share_a_factorization(monkeypatch):
    def model(X, Y):  # the ranges are those of the training rows
        return SingleTaskGP(
            X, Y, outcome_transform=None, input_transform=Normalize(X.shape[-1])
        )

    X, Y = unit_waves(12)
    asked = []

    def spy(objective, theta, models):
        asked.extend(models)
        return evaluate_each(objective, theta, models)

    full = fit_all_rows(wrap(model(X, Y)), FIT)
    monkeypatch.setattr(full_fit, "evaluate_each", spy)
    mlls = fold_mlls(model, X, Y)
    models = models_of(mlls, leave_one_out(12).held_out)
    full_fit.fit_folds(models, full, "adaptive", math.inf, FIT)
    extreme = {*X.argmin(dim=0).tolist(), *X.argmax(dim=0).tolist()}
    assert set(asked) == extreme


@pytest.mark.filterwarnings("ignore:Data .outcome observations. is not standardized")
@pytest.mark.parametrize("fit", ["warm", "predicted", "adaptive"])
def test_one_factorization_changes_no_result(fit, monkeypatch):
    X, Y = unit_waves(14)
    shared = cross_validate(untransformed, X, Y, fit=fit, fit_options=FIT)
    monkeypatch.setattr(full_fit, "_is_part", lambda *_: False)
    own = cross_validate(untransformed, X, Y, fit=fit, fit_options=FIT)
    assert_close(shared.mean, own.mean, rtol=1e-6, atol=1e-6)
    assert_close(shared.variance, own.variance, rtol=1e-6, atol=1e-6)
    influences = [result.fit_table().influence for result in (shared, own)]
    assert_close(*(i.to_numpy() for i in influences), rtol=1e-6)


@pytest.mark.parametrize("m", [1, 2])
def test_adaptive_is_between_fixed_and_warm(m):
    X, Y = noisy_waves(14, m)
    fixed, warm = (
        cross_validate(normalized_gp, X, Y, fit=how) for how in ("fixed", "warm")
    )
    none, every, some = (
        cross_validate(normalized_gp, X, Y, fit="adaptive", threshold=threshold)
        for threshold in (math.inf, 0.0, 0.5)
    )
    assert_close(none.log_density, fixed.log_density)
    assert_close(every.log_density, warm.log_density, **SOLVED)
    hows = some.fit_table().groupby("fold", sort=False).how.first()
    influence = some.fit_table().groupby("fold", sort=False).influence.max()
    assert ((hows == "warm") == (influence > 0.5)).all()
    chosen = torch.tensor((hows == "warm").to_numpy())
    assert_close(some.log_density[chosen], warm.log_density[chosen], **SOLVED)
    assert_close(some.log_density[~chosen], fixed.log_density[~chosen])


@pytest.mark.parametrize("fit", ["refit", "warm", "predicted", "fixed", "adaptive"])
def test_every_way_to_fit_takes_all_kinds_of_folds(fit):
    X, Y = noisy_waves(12)
    labels = [i // 3 for i in range(12)]
    result = cross_validate(normalized_gp, X, Y, groups=labels, fit=fit)
    assert result.folds.names == ["0", "1", "2", "3"]
    assert result.rows.tolist() == list(range(12))
    assert not result.log_density.isnan().any()
    repeated = cross_validate(normalized_gp, X, Y, folds=k_fold(3, 0, 2), fit=fit)
    assert repeated.rows.tolist() == 2 * list(range(12))
    assert (repeated.fold_of[:12] < 3).all() and (repeated.fold_of[12:] >= 3).all()
    assert repeated.elpd == pytest.approx(repeated.log_density.sum().item() / 2)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("m", [1, 2])
def test_predictions_in_closed_form_are_the_posteriors(m, known, monkeypatch):
    """In several parts, and none is asked for its posterior but two for comparison."""
    monkeypatch.setattr(exact, "GROUP_ELEMENTS", 500)
    X, Y = noisy_waves(12, m)
    yvar = torch.linspace(2.0, 9.0, 12, dtype=X.dtype)[:, None].expand(-1, m)
    noise = yvar if known else None
    asked, original = [], predict._by_posterior

    def counted(*arguments):
        asked.append(1)
        return original(*arguments)

    monkeypatch.setattr(predict, "_by_posterior", counted)
    kwargs = {"folds": k_fold(4), "fit": "predicted"}
    found = cross_validate(normalized_gp, X, Y, noise, **kwargs)
    assert len(asked) == 2

    def unsupported(*arguments):
        raise Unsupported("on purpose")

    monkeypatch.setattr(exact.Exact, "predict", unsupported)
    expected = cross_validate(normalized_gp, X, Y, noise, **kwargs)
    assert len(asked) == 6
    for name in ("mean", "variance", "noise_variance", "location", "scale"):
        assert_close(getattr(found, name), getattr(expected, name), **SAME)


def frozen(X, Y):
    """No closed form, and a model of all rows without a batch dimension."""
    kernel = RBFKernel(ard_num_dims=2)
    kernel.raw_lengthscale.requires_grad_(False)
    X = (X + 5) / X.new_tensor([1.0, 100.0])
    return SingleTaskGP(X, Y, covar_module=ScaleKernel(kernel))


def test_models_without_a_closed_form_are_fitted_from_the_full_fit():
    X, Y = noisy_waves(12)
    cold = cross_validate(frozen, X, Y)
    warm = cross_validate(frozen, X, Y, fit="warm")
    assert {fit.how for fit in warm.fits} == {"warm"}
    losses = [[r.loss for r in result.records] for result in (warm, cold)]
    assert_close(*losses, **SOLVED)


def test_optimism_is_refit_minus_fixed():
    X, Y = hartmann(20)
    found = optimism(normalized_gp, X, Y, fit="warm")
    fixed = cross_validate(normalized_gp, X, Y, fit="fixed")
    warm = cross_validate(normalized_gp, X, Y, fit="warm")
    assert found.attrs["sum"] == pytest.approx(warm.elpd - fixed.elpd, abs=1e-6)
    assert found.attrs["sum"] < 0  # fixed hyper-parameters flatter
    spread = found.difference.std() * math.sqrt(20)
    assert found.attrs["standard_error"] == pytest.approx(spread)


def test_differences_name_folds_in_other_optima_and_refuse_other_rows():
    X, Y = noisy_waves(10)
    cold = cross_validate(normalized_gp, X, Y)
    stopped = cross_validate(
        normalized_gp,
        X,
        Y,
        fit_options=FitOptions(options={"maxiter": 1}),
    )
    assert difference(cold, cold).attrs["other_optimum"] == []
    assert difference(cold, cold).difference.abs().max() == 0
    assert len(difference(cold, stopped).attrs["other_optimum"]) > 5
    with pytest.raises(ValueError, match="different rows, folds or outcomes"):
        difference(cold, cross_validate(normalized_gp, X[:9], Y[:9]))
