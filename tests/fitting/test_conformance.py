"""What BoTorch documents of `fit_gpytorch_mll`, run against its function and ours.

Each case is run with both; where numbers are compared it is the loss at the end. Every
kind of model is in :mod:`test_models_of_botorch`.
"""

from __future__ import annotations

import warnings

import botorch
import botorch.fit
import pytest
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import OptimizationWarning
from botorch.models import ModelListGP, SingleTaskGP, SingleTaskVariationalGP
from botorch.optim.closures import get_loss_closure_with_grads
from botorch.optim.fit import fit_gpytorch_mll_scipy, fit_gpytorch_mll_torch
from gpytorch.kernels import RBFKernel
from gpytorch.mlls import (
    ExactMarginalLogLikelihood,
    LeaveOneOutPseudoLikelihood,
    SumMarginalLogLikelihood,
    VariationalELBO,
)
from helpers import (
    RaisingKernel,
    hartmann,
    losses_of,
    mll_of,
    noisy_waves,
    normalized_gp,
    unit_waves,
    values_of,
)
from linear_operator.utils.errors import NotPSDError

from botorch_xval import fit_gpytorch_mll

FUNCTIONS = [
    pytest.param(botorch.fit.fit_gpytorch_mll, id="BoTorch"),
    pytest.param(fit_gpytorch_mll, id="ours"),
]
BOTORCH = tuple(int(part) for part in botorch.__version__.split(".")[:2])
both = pytest.mark.parametrize("fit", FUNCTIONS)


def one() -> ExactMarginalLogLikelihood:
    return mll_of(normalized_gp(*noisy_waves(14)))


def unchanged(mll, before, names=None):
    now = dict(mll.named_parameters())
    return all(torch.equal(now[name], before[name]) for name in names or before)


def failing(times: int = 10**6, error: type[Exception] = NotPSDError):
    return mll_of(
        SingleTaskGP(*unit_waves(10), covar_module=RaisingKernel(times, error))
    )


# --- what is returned, and in which mode --------------------------------------------


@both
def test_the_same_mll_in_evaluation_mode(fit):
    mll = one()
    before = values_of(mll)
    assert fit(mll) is mll
    assert not mll.training and not mll.model.training and not mll.likelihood.training
    assert not unchanged(mll, before)


@both
def test_failure_raises_restores_and_leaves_in_training_mode(fit):
    mll = failing()
    before = values_of(mll)
    with pytest.raises(ModelFittingError, match="All attempts to fit the model have"):
        fit(mll, max_attempts=2)
    assert mll.training
    assert unchanged(mll, before)


@both
def test_unexpected_arguments_are_ignored(fit):
    assert not fit(one(), no_such_argument=1).training


@both
def test_parameters_without_gradient_stay(fit):
    mll = one()
    mll.model.mean_module.raw_constant.requires_grad_(False)
    before = values_of(mll)
    fit(mll)
    assert unchanged(mll, before, ["model.mean_module.raw_constant"])
    assert not unchanged(mll, before)


@both
def test_a_fitted_model_predicts(fit):
    mll = fit(one())
    X, Y = noisy_waves(14)
    assert (mll.model.posterior(X).mean - Y).std() < Y.std()


# --- retries ------------------------------------------------------------------------


@both
def test_other_exceptions_are_raised(fit):
    with pytest.raises(ArithmeticError, match="on purpose"):
        fit(failing(error=ArithmeticError))


@both
def test_caught_exceptions_lead_to_a_retry(fit):
    mll = failing(3, ArithmeticError)
    fit(mll, caught_exception_types=(ArithmeticError,), max_attempts=5)
    assert not mll.training


@both
def test_the_warning_handler_decides(fit):
    options = {"options": {"maxls": 1}}
    seen = []

    def handler(warning):
        seen.append(warning.category)
        return True

    mll = fit(one(), optimizer_kwargs=options, warning_handler=handler)
    assert not mll.training
    assert set(seen) <= {OptimizationWarning}


@both
def test_the_best_of_all_attempts_is_no_worse(fit):
    torch.manual_seed(0)
    first, best = fit(one()), fit(one(), pick_best_of_all_attempts=True, max_attempts=3)
    losses = [losses_of(mll).item() for mll in (first, best)]
    assert losses[1] <= losses[0] + 1e-6


# --- optimizers and closures --------------------------------------------------------


@both
@pytest.mark.parametrize("optimizer", [fit_gpytorch_mll_scipy, fit_gpytorch_mll_torch])
def test_other_optimizers(fit, optimizer):
    kwargs = {"step_limit": 5} if optimizer is fit_gpytorch_mll_torch else {}
    mll = one()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizationWarning)
        fit(mll, optimizer=optimizer, optimizer_kwargs=kwargs)
    assert not mll.training
    assert not hasattr(mll, "fit_records")  # nobody knows what it did


@both
def test_a_closure_of_the_users(fit):
    mll, calls = one().train(), []
    inner = get_loss_closure_with_grads(mll, dict(mll.named_parameters()))

    def closure(**kwargs):
        calls.append(kwargs)
        return inner()

    fit(mll, closure=closure, closure_kwargs={"weight": 2.0})
    assert calls and all(kwargs == {"weight": 2.0} for kwargs in calls)


@both
@pytest.mark.parametrize(
    "kwargs",
    [
        {"options": {"maxiter": 3}},
        {"bounds": {"model.covar_module.raw_lengthscale": (0.9, 1.1)}},
        {"timeout_sec": 60.0},
    ],
    ids=lambda kwargs: next(iter(kwargs)),
)
def test_arguments_of_the_optimizer(fit, kwargs):
    mll = one()
    # BoTorch's independent fits report a reached `maxiter` as a failure.
    fit(mll, optimizer_kwargs=kwargs, warning_handler=lambda warning: True)
    lengthscale = mll.model.covar_module.raw_lengthscale
    if "bounds" in kwargs:
        assert ((0.9 <= lengthscale) & (lengthscale <= 1.1)).all()
    assert not mll.training


@both
@pytest.mark.skipif(BOTORCH < (0, 18), reason="BoTorch's line search fails at once")
def test_parameters_and_callback(fit):
    mll, seen = one(), []
    before = values_of(mll)
    name = "model.covar_module.raw_lengthscale"
    kwargs = {
        "parameters": {name: dict(mll.named_parameters())[name]},
        "callback": lambda parameters, result: seen.append((parameters, result)),
    }
    fit(mll, optimizer_kwargs=kwargs, warning_handler=lambda warning: True)
    assert set(seen[0][0]) == {name}
    assert [result.step for _, result in seen] == list(range(1, len(seen) + 1))
    assert unchanged(mll, before, set(before) - {name})


# --- kinds of models ----------------------------------------------------------------


@both
def test_lists_of_models(fit):
    X, Y = noisy_waves(12)
    members = ModelListGP(normalized_gp(X, Y), SingleTaskGP(*hartmann(8)))
    mll = mll_of(members, SumMarginalLogLikelihood)
    before = values_of(mll)
    assert fit(mll) is mll
    assert not mll.training and not any(part.training for part in mll.mlls)
    assert not unchanged(mll, before)


@both
def test_pseudo_likelihoods(fit):
    mll = mll_of(normalized_gp(*noisy_waves(10)), LeaveOneOutPseudoLikelihood)
    before = losses_of(mll).item()
    fit(mll)
    assert losses_of(mll).item() < before


@both
@pytest.mark.filterwarnings("ignore::botorch.exceptions.OptimizationWarning")
@pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
def test_variational_models(fit):
    X, Y = hartmann(12)
    model = SingleTaskVariationalGP(X, Y, inducing_points=6, outcome_transform=None)
    mll = VariationalELBO(model.likelihood, model.model, num_data=len(X))
    before = values_of(mll)
    fit(mll, optimizer_kwargs={"options": {"maxiter": 20}})
    assert not unchanged(mll, before)


def test_a_shared_parameter_of_a_batch():
    """BoTorch 0.18 raises a RuntimeError: its independent fit needs a batch shape."""
    X, Y = noisy_waves(12, batch=(3,))
    X = (X + 5) / X.new_tensor([1.0, 100.0])
    mll = mll_of(SingleTaskGP(X, Y, covar_module=RBFKernel(ard_num_dims=2)))
    with pytest.warns(match="covar_module.raw_lengthscale are shared by the models"):
        fit_gpytorch_mll(mll)
    assert not mll.training
