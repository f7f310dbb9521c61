"""Folds from the fit to all rows: Newton steps, second starts, one factorization."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from botorch.optim.closures import get_loss_closure
from fold_helpers import models_of, standard_waves, untransformed
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.mlls import LeaveOneOutPseudoLikelihood
from helpers import (
    SOLVED,
    accept_abnormal,
    assert_close,
    fold_mlls,
    hartmann,
    mll_of,
    noisy_waves,
    normalized_gp,
    tuning_trials,
)

from botorch_xval import (
    CrossValidation,
    FitOptions,
    LeaveOneOutCRPS,
    ScalarChoiceGP,
    cross_validate,
    fit_gpytorch_mll,
)
from botorch_xval.cross_validation import fold_fits
from botorch_xval.cross_validation import warm as module
from botorch_xval.cross_validation.fold_fits import FoldWork
from botorch_xval.cross_validation.folds import k_fold, leave_one_out
from botorch_xval.cross_validation.full_fit import fit_all_rows
from botorch_xval.fitting import drive
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.threads import evaluate_each

FIT = FitOptions(warning_handler=accept_abnormal, starts="own")


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
    monkeypatch.setattr(module, "INFLUENTIAL", math.inf)
    alone = cross_validate(normalized_gp, X, Y, fit="warm")
    found = [a.loss - w.loss for a, w in zip(alone.records, warm.records, strict=True)]
    assert min(found) >= 0 and max(found) > 0.01  # another minimum
    assert np.argmax(found) in twice
    warm.save(tmp_path / "warm.npz")
    again = type(warm).load(tmp_path / "warm.npz").fit_table().cold_loss
    assert_close(again, warm.fit_table().cold_loss)


def test_predictions_are_near_the_refit():
    model, X, Y = choices(16)
    kwargs = {"threshold": math.inf}
    kept, refitted = (
        cross_validate(model, X, Y, fit=how, **kwargs) for how in ("adaptive", "warm")
    )
    losses = [np.array([r.loss for r in each.records]) for each in (kept, refitted)]
    influences = np.array([fit.influence for fit in kept.fits])
    # A step of Newton's gains half its squared length.
    left, gain = 15 * (losses[0] - losses[1]), 0.5 * influences**2
    assert (np.abs(left) < 0.1 * gain + 1e-6).all()
    assert {fit.how for fit in refitted.fits} == {"warm"}
    assert {fit.how for fit in kept.fits} == {"predicted"}
    for fit in kept.fits:  # none where it is predicted to first order
        is_first_order = math.isnan(fit.record.gradient_norm)
        assert fit.record.evaluations == (1 if is_first_order else 2)
        assert not is_first_order or fit.influence <= module.INFLUENTIAL


def test_influence_is_the_length_of_the_newton_step():
    X, Y = standard_waves(14)
    Y[3] += 4.0  # an outlier
    full = fit_all_rows(mll_of(untransformed(X, Y)), FIT)
    mlls = fold_mlls(untransformed, X, Y)
    held_out = leave_one_out(14).held_out
    models = models_of(mlls, held_out)
    fits = module.fit_folds(models, full, "adaptive", math.inf, FIT).fits
    found = [fit.influence for fit in fits]
    coordinates = full.centers[0][0].whitened
    hessian = np.linalg.inv(coordinates.root @ coordinates.root.T)
    for i in (0, 3):
        for name, parameter in mlls[i].model.named_parameters():
            parameter.data.copy_(full.mll.model.state_dict()[name])
        loss = 13 * get_loss_closure(mlls[i].train())()
        slopes = torch.autograd.grad(loss, list(mlls[i].parameters()))
        theta = torch.cat([slope.reshape(-1) for slope in slopes]).numpy()
        u = coordinates.inner.from_raw(full.fitted.theta[0])
        slope = coordinates.inner.at(u)[1](theta)
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
    "sum of kernels": lambda: (untransformed, *standard_waves(14)),
    "two outputs": lambda: (untransformed, *standard_waves(14, 2)),
    "known noise": lambda: (known_noise, *standard_waves(13)),
    "choices": lambda: plain_choices(14),
}


@pytest.mark.filterwarnings("ignore:Data .outcome observations. is not standardized")
@pytest.mark.parametrize("problem", SHARED)
@pytest.mark.parametrize("rows_each", [1, 3])
def test_fold_gradients_from_one_factorization_are_the_folds_own(
    problem, rows_each, monkeypatch
):
    model, X, Y = SHARED[problem]()
    full = fit_all_rows(mll_of(model(X, Y)), FIT)
    n = len(X) // rows_each
    held_out = torch.zeros(n, len(X), dtype=torch.bool)
    for i in range(n):
        held_out[i, i::n][:rows_each] = True
    mlls = [mll_of(model(X[~rows], Y[~rows])).train() for rows in held_out]
    monkeypatch.setattr(module, "evaluate_each", None)  # not needed
    monkeypatch.setattr(module, "MATRICES", math.inf)  # whatever it costs
    models = models_of(mlls, held_out)
    objective = models.objective(FIT)
    numbers = models.models(objective)
    work = FoldWork(objective, numbers, FIT)
    there = module._at_full(work, full, models)
    losses, gradients = there.losses, there.gradients
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
@pytest.mark.parametrize("model", [normalized_gp, ScalarChoiceGP])
def test_only_folds_with_a_range_of_their_own_need_an_evaluation(model, monkeypatch):
    X, Y = noisy_waves(12)
    asked = []

    def spy(objective, theta, models):
        asked.extend(models)
        return evaluate_each(objective, theta, models)

    full = fit_all_rows(mll_of(model(X, Y)), FIT)
    monkeypatch.setattr(module, "evaluate_each", spy)
    mlls = fold_mlls(model, X, Y)
    models = models_of(mlls, leave_one_out(12).held_out)
    fits = module.fit_folds(models, full, "adaptive", math.inf, FIT).fits
    extreme = {*X.argmin(dim=0).tolist(), *X.argmax(dim=0).tolist()}
    far = {fit.fold for fit in fits if fit.influence > module.INFLUENTIAL}
    assert set(asked) == extreme | far


@pytest.mark.filterwarnings("ignore:Data .outcome observations. is not standardized")
def test_one_factorization_changes_no_result(monkeypatch):
    X, Y = standard_waves(14)
    shared = cross_validate(untransformed, X, Y, fit="warm", fit_options=FIT)
    monkeypatch.setattr(Exact, "without", lambda *_: None)
    own = cross_validate(untransformed, X, Y, fit="warm", fit_options=FIT)
    assert_close(shared.mean, own.mean, rtol=1e-6, atol=1e-6)
    assert_close(shared.variance, own.variance, rtol=1e-6, atol=1e-6)
    influences = [result.fit_table().influence for result in (shared, own)]
    assert_close(*(i.to_numpy() for i in influences), rtol=1e-6)


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


def test_what_failed_starts_have_cost_is_counted(monkeypatch):
    X, Y = noisy_waves(9, seed=1)
    advances = []

    class Counted(drive.Search):
        def advance(self, *values):
            advances.append(1)
            super().advance(*values)

    monkeypatch.setattr(drive, "Search", Counted)
    monkeypatch.setattr(fold_fits, "has_succeeded", lambda *_: False)
    found = cross_validate(normalized_gp, X, Y, fit="warm")
    assert {fit.how for fit in found.fits} == {"refit"} and found.failed == {}
    # Beside those of searches the Hessian's, and one of each fold at the full fit.
    assert found.evaluations == len(advances) + 2 * 4 + 9


def test_a_second_start_that_succeeds_replaces_a_fit_that_failed(monkeypatch):
    cold, search = [], fold_fits.search_starts

    def spy(*arguments, **options):
        found = search(*arguments, **options)
        cold.extend(tried.search for (tried,) in found.values())
        return found

    monkeypatch.setattr(fold_fits, "search_starts", spy)
    monkeypatch.setattr(fold_fits, "has_succeeded", lambda found, _: found in cold)
    monkeypatch.setattr(fold_fits, "fit_models", None)  # no third one
    monkeypatch.setattr(module, "INFLUENTIAL", 0.0)
    X, Y = noisy_waves(9, seed=1)
    found = cross_validate(normalized_gp, X, Y, fit="warm")
    assert len(cold) == 9 and found.failed == {}
    for fit, second in zip(found.fits, cold, strict=True):
        assert fit.how == "warm" and fit.record.loss == second.best_loss
        assert fit.record.evaluations > second.evaluations  # and those of the first


def of_varied_columns(X, Y):
    """With as many lengthscales as there are columns whose values differ."""
    varied = X.amax(dim=0) > X.amin(dim=0)
    active = tuple(varied.nonzero()[:, 0].tolist())
    kernel = RBFKernel(ard_num_dims=len(active), active_dims=active)
    return SingleTaskGP(X, Y, covar_module=kernel)


@pytest.mark.parametrize("fit", ["warm", "adaptive"])
def test_hyper_parameters_that_depend_on_the_rows_are_refused(fit):
    X, Y = standard_waves(12)
    X = X - X.amin(dim=0)
    X = torch.cat([X / X.amax(dim=0), torch.zeros(12, 1).to(X)], dim=-1)
    X[0, 2] = 1.0
    message = r"in each fold, got .*\(1, 2\)\} in fold 'row 0' and .* in fold 'row 1'"
    for how in (fit, "refit"):
        with pytest.raises(ValueError, match=message):
            cross_validate(of_varied_columns, X, Y, fit=how)
    alone = [(range(1, 12), [0])]
    message = r"got .*\(1, 3\)\} for all rows and .*\(1, 2\)\} for fold 'fold 0'"
    with pytest.raises(ValueError, match=message):
        cross_validate(of_varied_columns, X, Y, fit=fit, folds=alone)
    refitted = cross_validate(of_varied_columns, X, Y, folds=alone)
    expected = cross_validate(of_varied_columns, X[:, :2], Y, folds=alone)
    assert_close(refitted.log_density, expected.log_density)


def test_predictions_to_first_order_err_to_second(monkeypatch):
    X, Y = noisy_waves(40, 2)
    kwargs = {"fit": "adaptive", "threshold": math.inf, "fit_options": FIT}
    first = cross_validate(normalized_gp, X, Y, **kwargs)
    fixed = cross_validate(normalized_gp, X, Y, fit="fixed", fit_options=FIT)
    monkeypatch.setattr(Exact, "without", lambda *_: None)
    exact = cross_validate(normalized_gp, X, Y, **kwargs)
    evaluations = [[r.evaluations for r in each.records] for each in (first, exact)]
    once = np.array(evaluations[0]).reshape(40, 2)[:, 0] == 1
    assert once.sum() > 20 and set(evaluations[1]) == {2}
    for name in ("mean", "variance", "noise_variance"):
        values = [getattr(each, name).numpy()[once] for each in (first, exact, fixed)]
        error, step = (np.abs(values[1] - each) for each in (values[0], values[2]))
        assert error.mean() < 0.05 * step.mean()
    assert_close(first.mean[~once], exact.mean[~once], **SOLVED)
    assert_close(first.location, exact.location)


@pytest.mark.parametrize("folds", [leave_one_out, k_fold(5), k_fold(4, 0, 2)])
@pytest.mark.parametrize("m", [1, 2])
def test_fixed_says_its_optimism_to_first_order(folds, m, tmp_path):
    """Without transforms of folds it is the sum of their squared influences."""
    X, Y = standard_waves(16, m, seed=2)
    kwargs = {"folds": folds, "fit_options": FIT}
    fixed = cross_validate(untransformed, X, Y, fit="fixed", **kwargs)
    kept = cross_validate(
        untransformed, X, Y, fit="adaptive", threshold=math.inf, **kwargs
    )
    squares = sum(fit.influence**2 for fit in kept.fits)
    times = int(fixed.folds.held_out.sum(dim=0)[0])
    assert fixed.corrected == pytest.approx(fixed.elpd - squares / times, rel=1e-5)
    fixed.save(tmp_path / "fixed.npz")
    assert CrossValidation.load(tmp_path / "fixed.npz").corrected == fixed.corrected
    assert kept.corrected is None


def test_without_a_closed_form_optimism_is_not_known():
    X, Y = noisy_waves(12)
    assert cross_validate(frozen, X, Y, fit="fixed").corrected is None


@pytest.mark.several
@pytest.mark.parametrize("mll", [LeaveOneOutPseudoLikelihood, LeaveOneOutCRPS])
def test_folds_that_are_fitted_by_another_criterion(mll):
    """No loss of the evidence reaches them; all ways end in the same places."""
    X, Y = standard_waves(26, seed=2)
    found = {
        fit: cross_validate(untransformed, X, Y, fit=fit, mll=mll, max_error=0.01)
        for fit in ("refit", "warm", "adaptive", "sampled", "fixed")
    }
    assert found["fixed"].corrected is None
    losses = [[r.loss for r in found[fit].records] for fit in ("refit", "warm")]
    assert_close(*losses, **SOLVED)
    scores = [found[fit].log_density for fit in ("refit", "warm")]
    assert_close(*scores, rtol=1e-3, atol=1e-3)  # to first order in what is left
    kept = [fit.how == "predicted" for fit in found["adaptive"].fits]
    assert 0 < sum(kept) < 26
    assert abs(found["adaptive"].elpd - found["refit"].elpd) < 0.2
    assert abs(found["sampled"].estimate.elpd - found["refit"].elpd) < 0.05
    for own, record in zip(
        fold_mlls(untransformed, X, Y, count=4, kind=mll),
        found["refit"].records,
        strict=False,
    ):
        fit_gpytorch_mll(own)
        assert record.loss <= own.fit_records[0].loss + 1e-6


@pytest.mark.parametrize("mll", [LeaveOneOutPseudoLikelihood, LeaveOneOutCRPS])
def test_influences_are_of_the_criterion_of_the_fit(mll):
    """By the gradients of the folds' own losses and a Hessian by differences."""
    X, Y = standard_waves(16, seed=2)
    everything = mll_of(untransformed(X, Y), mll)
    full = fit_all_rows(everything, FIT)
    kept = cross_validate(
        untransformed,
        X,
        Y,
        fit="adaptive",
        threshold=math.inf,
        mll=mll,
        fit_options=FIT,
    )
    center = full.centers[0][0]
    for i in (0, 7, 15):
        rest = torch.arange(16) != i
        fold = mll_of(untransformed(X[rest], Y[rest]), mll)
        fold.load_state_dict(everything.state_dict())
        names = full.fitted.objective.table.columns
        own = dict(fold.named_parameters())
        slopes = torch.autograd.grad(
            15 * get_loss_closure(fold)(), [own[name] for name in names]
        )
        gradient = torch.cat([slope.reshape(-1) for slope in slopes]).numpy()
        _, pull_back = center.whitened.at(center.whitened.from_raw(center.theta))
        length = np.linalg.norm(pull_back(gradient[None])[0][~center.whitened.resting])
        assert kept.fits[i].influence == pytest.approx(length, rel=1e-5)


def test_what_is_not_refitted_is_corrected():
    X, Y = noisy_waves(60)
    fixed, refitted, adaptive = (
        cross_validate(normalized_gp, X, Y, fit=how)
        for how in ("fixed", "warm", "adaptive")
    )
    optimism = fixed.elpd - refitted.elpd
    assert optimism > 1.0
    assert abs(fixed.corrected - refitted.elpd) < 0.7 * optimism
    assert abs(adaptive.elpd - refitted.elpd) < 0.1 * optimism
    assert adaptive.evaluations < 0.6 * refitted.evaluations


@pytest.mark.several
def test_a_fold_that_was_kept_is_searched_where_another_has_a_lower_optimum():
    searched = 0
    for X, Y in (hartmann(25), noisy_waves(30), noisy_waves(30, seed=2)):
        refitted = cross_validate(normalized_gp, X, Y)
        adaptive = cross_validate(normalized_gp, X, Y, fit="adaptive")
        both = zip(adaptive.fits, adaptive.records, refitted.records, strict=True)
        for fit, own, other in both:
            if fit.how == "warm" and fit.influence <= 0.25:
                searched += 1
                assert own.loss == pytest.approx(other.loss, abs=1e-3)
        none = cross_validate(normalized_gp, X, Y, fit="adaptive", threshold=math.inf)
        assert {fit.how for fit in none.fits} == {"predicted"}
    assert searched > 1


def test_a_promise_that_is_not_kept_changes_nothing():
    X, Y = noisy_waves(20, seed=1)
    full = fit_all_rows(mll_of(untransformed(*standard_waves(14))), FIT)
    X, Y = standard_waves(14)
    models = models_of(fold_mlls(untransformed, X, Y), leave_one_out(14).held_out)
    objective = models.objective(FIT)
    work = fold_fits.FoldWork(objective, models.models(objective), FIT)
    work.keep((3, 0), full.fitted.theta[0], 2.0, None, "predicted")
    work.predictions[3] = {}
    assert work.loss((3, 0)) == 26.0
    work.refine([((3, 0), full.fitted.theta[0], full.centers[0][0])], "another fold")
    work.settle((3, 0), False)
    assert (3, 0) in work.fixed and not work.tried.get((3, 0)) and 3 in work.predictions
    work.refine([((3, 0), full.fitted.theta[0], full.centers[0][0])], "another fold")
    work.settle((3, 0), True)
    assert (3, 0) not in work.fixed and work.loss((3, 0)) < 26.0
    assert 3 not in work.predictions
