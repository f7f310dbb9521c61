"""The engine: attempts, what each one costs, and which one is kept."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import OptimizationWarning
from botorch.models import SingleTaskGP
from botorch.optim.core import OptimizationStatus
from gpytorch.kernels import RBFKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior
from helpers import (
    TIGHT,
    CalledKernel,
    RaisingKernel,
    are_equal,
    assert_close,
    batch_mll,
    fold_mlls,
    losses_of,
    mll_of,
    normalized_gp,
    optimizer,
    troubled_mlls,
    unit_waves,
    values_of,
)

from botorch_xval import FitOptions, fit_each, fit_gpytorch_mll, make_objective
from botorch_xval.fitting.retries import (
    Fitted,
    fit_models,
    has_succeeded,
    log_coordinates,
    names_at_bounds,
)
from botorch_xval.fitting.search import Search

N = 10
X, Y = unit_waves(N)
ABNORMAL = {"maxls": 1, "ftol": 0.0}  # a line search that fails


def folds(count: int = 4) -> list[ExactMarginalLogLikelihood]:
    return fold_mlls(normalized_gp, X, Y, count)


def fitted(options: FitOptions, models: list[int] | None = None) -> Fitted:
    objective = make_objective(folds(), options.parameters, options.bounds)
    return fit_models(objective, options, models)


# --- what the engine gives ----------------------------------------------------------


def test_models_have_the_values_that_are_given():
    found = fitted(optimizer())
    assert found.errors == {}
    losses, _ = found.objective(found.theta, range(4))
    assert_close(losses, [record.loss for record in found.records])
    stack = found.objective.stack
    for mll, values, loss in zip(stack.mlls, found.theta, losses, strict=True):
        assert np.array_equal(stack.table.read(mll)[0], values)
        assert losses_of(mll).item() == pytest.approx(loss)


def test_chosen_models_only():
    found, everyone = fitted(optimizer(), [3, 1]), fitted(optimizer())
    assert [r.losses for r in found.records] == [
        everyone.records[i].losses for i in (3, 1)
    ]
    assert np.array_equal(found.theta[[1, 3]], everyone.theta[[1, 3]])
    assert np.array_equal(found.theta[[0, 2]], found.objective.start[[0, 2]])


def test_a_model_that_failed_keeps_its_initial_values():
    (first, *_) = mlls = troubled_mlls("error")
    assert first.training
    objective = make_objective(mlls)
    found = fit_models(objective, FitOptions(max_attempts=3))
    assert set(found.errors) == {2}
    assert isinstance(found.errors[2], ArithmeticError)
    assert np.array_equal(found.theta[2], objective.start[2])
    assert found.records[2].attempts == 1  # no exception that a fit expects
    assert np.isnan(found.records[2].loss)


# --- attempts -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:A not p.d.")
def test_a_model_that_recovers_is_tried_again_alone():
    torch.manual_seed(0)
    mlls = troubled_mlls("not positive definite", "at the start")
    assert fit_each(mlls) == {}
    assert mlls[2].fit_records[0].attempts > 1
    assert {mlls[i].fit_records[0].attempts for i in (0, 1, 3, 4, 5)} == {1}


@pytest.mark.parametrize("error", [ArithmeticError, RuntimeError])
def test_exceptions_of_the_users_choice_are_followed_by_another_attempt(error):
    torch.manual_seed(0)
    first, second = (
        mll_of(SingleTaskGP(X, Y, covar_module=RaisingKernel(3, error)))
        for _ in range(2)
    )
    assert (
        fit_each([first], replace(optimizer(), caught_exception_types=(error,))) == {}
    )
    assert first.fit_records[0].attempts > 1
    assert isinstance(fit_each([second], optimizer())[0], error)
    assert second.fit_records[0].attempts == 1


def test_the_best_of_all_attempts_is_never_worse():
    torch.manual_seed(0)
    once, best = batch_mll(X, Y), batch_mll(X, Y)
    fit_gpytorch_mll(once)
    fit_gpytorch_mll(best, pick_best_of_all_attempts=True, max_attempts=3)
    assert {record.attempts for record in best.fit_records} == {3}
    for one, other in zip(once.fit_records, best.fit_records, strict=True):
        assert other.loss <= one.loss + 1e-12
        assert other.evaluations > one.evaluations  # of all attempts
        assert other.iterations == len(other.losses) - 1  # of the one that was kept
    assert_close(losses_of(best), [record.loss for record in best.fit_records])


def test_a_failed_line_search_is_a_failure_that_a_handler_may_accept():
    mlls, seen = folds(), []
    start = [values_of(mll) for mll in mlls]
    errors = fit_each(mlls, FitOptions(options=ABNORMAL, max_attempts=1))
    assert errors
    for i, error in errors.items():
        assert isinstance(error, ModelFittingError) and "ABNORMAL" in str(error)
        assert mlls[i].fit_records[0].status is OptimizationStatus.FAILURE
        assert are_equal(values_of(mlls[i]), start[i])

    def handler(warning):
        seen.append(str(warning.message))
        return True

    accepting = FitOptions(options=ABNORMAL, warning_handler=handler, max_attempts=1)
    assert fit_each(again := folds(), accepting) == {}
    assert len(seen) == len(errors) and all("ABNORMAL" in text for text in seen)
    for i in errors:  # the status says it nevertheless
        assert again[i].fit_records[0].status is OptimizationStatus.FAILURE
        assert again[i].fit_records[0].loss < again[i].fit_records[0].losses[0]


def test_a_handler_is_asked_about_failed_searches_with_a_loss_only():
    asked = []
    options = FitOptions(warning_handler=lambda warning: asked.append(1) or True)
    for end in (
        lambda search: search.fail(ArithmeticError()),
        lambda search: search.advance(np.nan, np.zeros(1)),
    ):
        search = Search(np.zeros(1))
        end(search)
        assert search.status is OptimizationStatus.FAILURE
        assert not has_succeeded(search, options)
    assert asked == []
    stopped = Search(np.zeros(1))
    stopped.stop(OptimizationStatus.STOPPED, "timed out")
    assert has_succeeded(stopped, options)


def test_the_time_is_that_of_all_attempts(monkeypatch):
    late = monotonic() + 1e-9
    monkeypatch.setattr(FitOptions, "deadline", lambda self: late)
    always = FitOptions(pick_best_of_all_attempts=True, max_attempts=5)
    found = fitted(always)
    assert {record.attempts for record in found.records} == {1}
    assert {record.status for record in found.records} == {OptimizationStatus.STOPPED}


# --- new starting values ------------------------------------------------------------


def without_setter(prior: GammaPrior) -> RBFKernel:
    kernel = RBFKernel(ard_num_dims=2)
    kernel.register_prior("lengthscale_prior", prior, lambda m: m.lengthscale)
    return kernel


class Capricious(CalledKernel):
    """It raises at large lengthscales."""

    def forward(self, x1, x2, diag=False, **params):
        if self.training and (self.lengthscale > self.limit).any():
            raise RuntimeError("too long")
        return super().forward(x1, x2, diag=diag, **params)


@pytest.mark.several
def test_an_error_of_some_searches_is_told():
    """The model is fitted, maybe not to its lowest optimum, which nobody would see."""
    mlls = []
    for limit in (0.6, torch.inf):
        kernel = Capricious(ard_num_dims=2, lengthscale_prior=GammaPrior(3.0, 6.0))
        kernel.limit = limit
        model = SingleTaskGP(X, Y, covar_module=kernel)
        mlls.append(ExactMarginalLogLikelihood(model.likelihood, model))
    words = r"searches of 1 of \d models? ended in an error \(RuntimeError: too long\)"
    with pytest.warns(OptimizationWarning, match=words):
        assert fit_each(mlls) == {}
    first, second = (mll.fit_records[0] for mll in mlls)
    assert "searches ended in an error, RuntimeError: too long" in first.message
    assert "too long" not in second.message
    assert first.status is OptimizationStatus.SUCCESS


class NeverSampled(GammaPrior):
    """A prior that cannot be sampled at all."""

    def sample(self, *args: object) -> torch.Tensor:
        raise ArithmeticError("no samples of this prior")


def never_sampled() -> RBFKernel:
    return RBFKernel(ard_num_dims=2, lengthscale_prior=NeverSampled(3.0, 6.0))


@pytest.mark.parametrize(
    ("kernel", "attempts"),
    [(lambda: without_setter(GammaPrior(3.0, 6.0)), 3), (never_sampled, 1)],
)
def test_a_prior_that_cannot_be_sampled_costs_only_its_model(kernel, attempts):
    """NaN in one of twelve folds: the other eleven are fitted."""
    x, y = unit_waves(12)

    def model(train_X, train_Y):
        return SingleTaskGP(train_X, train_Y, covar_module=kernel())

    mlls = fold_mlls(model, x, y)
    mlls[1].model.train_targets = torch.full_like(
        mlls[1].model.train_targets, torch.nan
    )
    start = values_of(mlls[1])
    assert set(fit_each(mlls, FitOptions(max_attempts=3))) == {1}
    assert are_equal(values_of(mlls[1]), start)
    assert mlls[1].fit_records[0].attempts == attempts
    for i in set(range(12)) - {1}:
        (record,) = mlls[i].fit_records
        assert record.loss < record.losses[0] and record.attempts == 1


def test_no_copy_is_made_of_a_model_that_is_tried_again():
    """Some kernels keep what cannot be copied."""

    class Uncopied(RaisingKernel):
        def __deepcopy__(self, memo):
            raise RuntimeError("this kernel cannot be copied")

    torch.manual_seed(0)
    mll = mll_of(SingleTaskGP(X, Y, covar_module=Uncopied(3, ArithmeticError)))
    options = FitOptions(caught_exception_types=(ArithmeticError,))
    assert fit_each([mll], options) == {}
    (record,) = mll.fit_records
    assert record.attempts > 1
    assert record.loss == pytest.approx(losses_of(mll).item())


# --- what is recorded ---------------------------------------------------------------


@pytest.mark.parametrize("coordinates", ["raw", "log"])
def test_a_record_has_the_gradient_at_the_end(coordinates):
    found = fitted(optimizer(coordinates=coordinates, maxiter=12))
    objective = found.objective
    _, gradients = objective(found.theta, range(4))
    for record, theta, gradient, bounds in zip(
        found.records, found.theta, gradients, objective.bounds, strict=True
    ):
        assert record.iterations <= 12 and record.step_length > 0
        if coordinates == "log":
            logs = log_coordinates(objective)
            x, bounds = logs.from_raw(theta), logs.bounds(bounds)
            slope = logs.at(x)[1](gradient)
        else:
            x, slope = theta, gradient
        projected = np.clip(x - slope, bounds.lb, bounds.ub) - x
        assert record.gradient_norm == pytest.approx(
            np.abs(projected).max(), rel=1e-6, abs=1e-12
        )


def test_parameters_on_a_bound_are_named():
    name = "model.covar_module.raw_lengthscale"
    low = torch.tensor([[5.0, -20.0]], dtype=torch.float64)
    found = fitted(FitOptions(bounds={name: (low, None)}, options=TIGHT))
    for record in found.records:
        assert record.at_bounds == (f"{name}[0]",)
    theta = found.theta[0].copy()
    theta[found.objective.stack.table.columns[name]] += 1
    assert names_at_bounds(found.objective, theta, 0) == ()
    noise = "likelihood.noise_covar.raw_noise"
    theta[found.objective.stack.table.columns[noise]] = 1e-4
    assert names_at_bounds(found.objective, theta, 0) == (noise,)
