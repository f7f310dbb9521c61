"""What BoTorch documents of `fit_gpytorch_mll`, run against its function and ours.

Each case is run with both; where numbers are compared it is the loss at the end.
"""

from __future__ import annotations

import warnings

import botorch
import botorch.fit
import pytest
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import OptimizationWarning
from botorch.models import (
    KroneckerMultiTaskGP,
    MixedSingleTaskGP,
    ModelListGP,
    MultiTaskGP,
    SingleTaskGP,
    SingleTaskVariationalGP,
)
from botorch.models.map_saas import (
    AdditiveMapSaasSingleTaskGP,
    EnsembleMapSaasSingleTaskGP,
)
from botorch.models.transforms import Normalize, Warp
from botorch.optim.closures import get_loss_closure, get_loss_closure_with_grads
from botorch.optim.fit import fit_gpytorch_mll_scipy, fit_gpytorch_mll_torch
from gpytorch.kernels import RBFKernel
from gpytorch.mlls import (
    ExactMarginalLogLikelihood,
    LeaveOneOutPseudoLikelihood,
    SumMarginalLogLikelihood,
    VariationalELBO,
)
from gpytorch.priors import GammaPrior
from helpers import hartmann, noisy_waves, normalized_gp
from linear_operator.utils.errors import NotPSDError

from botorch_xval import fit_gpytorch_mll

FUNCTIONS = [
    pytest.param(botorch.fit.fit_gpytorch_mll, id="BoTorch"),
    pytest.param(fit_gpytorch_mll, id="ours"),
]
BOTORCH = tuple(int(part) for part in botorch.__version__.split(".")[:2])
both = pytest.mark.parametrize("fit", FUNCTIONS)


def wrap(model, kind=ExactMarginalLogLikelihood):
    return kind(model.likelihood, model)


def one() -> ExactMarginalLogLikelihood:
    return wrap(normalized_gp(*noisy_waves(14)))


def state(mll):
    return {name: p.detach().clone() for name, p in mll.named_parameters()}


def unchanged(mll, before, names=None):
    now = dict(mll.named_parameters())
    return all(torch.equal(now[name], before[name]) for name in names or before)


class NeverDefinite(RBFKernel):
    """Raises what a failed Cholesky factorization raises, the first `times` times."""

    def __init__(self, times: int = 10**6, error: type[Exception] = NotPSDError):
        super().__init__(ard_num_dims=2, lengthscale_prior=GammaPrior(3.0, 6.0))
        self.times, self.error = times, error

    def forward(self, x1, x2, diag=False, **params):
        if self.training and self.times > 0:
            self.times -= 1
            raise self.error("on purpose")
        return super().forward(x1, x2, diag=diag, **params)


def failing(times: int = 10**6, error: type[Exception] = NotPSDError):
    X, Y = noisy_waves(10)
    X = (X - X.min(dim=0).values) / (X.max(dim=0).values - X.min(dim=0).values)
    return wrap(SingleTaskGP(X, Y, covar_module=NeverDefinite(times, error)))


# --- what is returned, and in which mode --------------------------------------------


@both
def test_the_same_mll_in_evaluation_mode(fit):
    mll = one()
    before = state(mll)
    assert fit(mll) is mll
    assert not mll.training and not mll.model.training and not mll.likelihood.training
    assert not unchanged(mll, before)


@both
def test_failure_raises_restores_and_leaves_in_training_mode(fit):
    mll = failing()
    before = state(mll)
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
    before = state(mll)
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
    losses = [get_loss_closure(mll.train())().item() for mll in (first, best)]
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
    before = state(mll)
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


def tasks(n: int = 8):
    X, Y = hartmann(n)
    X = torch.cat([X, X])
    task = torch.arange(2, dtype=X.dtype).repeat_interleave(n)[:, None]
    return torch.cat([X, task], dim=-1), torch.cat([Y, 2 * Y + X[:n, :1]])


def batched(shape: tuple[int, ...], m: int = 1, **kwargs):
    X, Y = noisy_waves(12, m, shape)
    transform = Normalize(2, batch_shape=torch.Size(shape))
    return SingleTaskGP(X, Y, input_transform=transform, **kwargs)


def multi_task():
    X, Y = tasks()
    return MultiTaskGP(X, Y, task_feature=-1, outcome_transform=None)


def kronecker():
    X, Y = hartmann(8)
    return KroneckerMultiTaskGP(X, torch.cat([Y, Y**2 + X[:, :1]], dim=-1))


def fixed_noise():
    X, Y = noisy_waves(14)
    return normalized_gp(X, Y, torch.full_like(Y, 4.0))


def mixed():
    X, Y = hartmann(14)
    X = torch.cat([X[:, :2], (3 * X[:, 2:3]).floor()], dim=-1)
    return MixedSingleTaskGP(X, Y, cat_dims=[2])


def warped():
    X, Y = hartmann(12)
    return SingleTaskGP(X, Y, input_transform=Warp(d=6, indices=[0, 1]))


MODELS = {
    "single": lambda: normalized_gp(*noisy_waves(14)),
    "two outputs": lambda: batched((), 2),
    "batch": lambda: batched((3,)),
    "two batch dimensions": lambda: batched((2, 2)),
    "batch and outputs": lambda: batched((2,), 2),
    "fixed noise": fixed_noise,
    "mixed": mixed,
    "warped": warped,
    "multi-task": multi_task,
    "Kronecker multi-task": kronecker,
    "additive SAAS": lambda: AdditiveMapSaasSingleTaskGP(*hartmann(12)),
    "ensemble SAAS": lambda: EnsembleMapSaasSingleTaskGP(*hartmann(12)),
}


@pytest.mark.filterwarnings("ignore::botorch.exceptions.OptimizationWarning")
@pytest.mark.filterwarnings("ignore:A not p.d.")
@pytest.mark.filterwarnings("ignore:.*added jitter")
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_ends_as_well(name):
    losses = {}
    for fit in (botorch.fit.fit_gpytorch_mll, fit_gpytorch_mll):
        torch.manual_seed(0)  # SAAS models sample
        mll = wrap(MODELS[name]())
        # By the same path, which decides between several optima.
        ours = fit is fit_gpytorch_mll
        fit(mll, optimizer_kwargs={"coordinates": "raw"} if ours else None)
        assert not mll.training
        with torch.no_grad():
            losses[fit] = get_loss_closure(mll.train())()
    theirs, ours = losses.values()
    assert ours.shape == theirs.shape
    # Before 0.18 BoTorch took the path of the summed loss, also to other optima.
    own_path = BOTORCH >= (0, 18) or ours.numel() == 1
    assert (ours <= theirs + (1e-3 if own_path else 0.1)).all()


@both
def test_lists_of_models(fit):
    X, Y = noisy_waves(12)
    members = ModelListGP(normalized_gp(X, Y), SingleTaskGP(*hartmann(8)))
    mll = SumMarginalLogLikelihood(members.likelihood, members)
    before = state(mll)
    assert fit(mll) is mll
    assert not mll.training and not any(part.training for part in mll.mlls)
    assert not unchanged(mll, before)


@both
def test_pseudo_likelihoods(fit):
    mll = wrap(normalized_gp(*noisy_waves(10)), LeaveOneOutPseudoLikelihood)
    before = get_loss_closure(mll.train())().item()
    fit(mll)
    assert get_loss_closure(mll.train())().item() < before


@both
@pytest.mark.filterwarnings("ignore::botorch.exceptions.OptimizationWarning")
@pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
def test_variational_models(fit):
    X, Y = hartmann(12)
    model = SingleTaskVariationalGP(X, Y, inducing_points=6, outcome_transform=None)
    mll = VariationalELBO(model.likelihood, model.model, num_data=len(X))
    before = state(mll)
    fit(mll, optimizer_kwargs={"options": {"maxiter": 20}})
    assert not unchanged(mll, before)


def test_a_shared_parameter_of_a_batch():
    """BoTorch 0.18 raises a RuntimeError: its independent fit needs a batch shape."""
    X, Y = noisy_waves(12, batch=(3,))
    X = (X + 5) / X.new_tensor([1.0, 100.0])
    mll = wrap(SingleTaskGP(X, Y, covar_module=RBFKernel(ard_num_dims=2)))
    with pytest.warns(match="covar_module.raw_lengthscale are shared by the models"):
        fit_gpytorch_mll(mll)
    assert not mll.training
