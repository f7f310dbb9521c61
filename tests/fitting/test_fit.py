"""The drop-in fit against BoTorch's own fits, and what one model's trouble may do."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import replace

import botorch
import botorch.fit
import numpy as np
import pytest
import torch
from botorch.cross_validation import batch_cross_validation, gen_loo_cv_folds
from botorch.exceptions.errors import ModelFittingError, UnsupportedError
from botorch.exceptions.warnings import OptimizationWarning
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim.closures import get_loss_closure, get_loss_closure_with_grads
from botorch.optim.core import OptimizationStatus
from botorch.optim.fit import fit_gpytorch_mll_scipy, fit_gpytorch_mll_torch
from gpytorch.kernels import RBFKernel
from gpytorch.mlls import ExactMarginalLogLikelihood, SumMarginalLogLikelihood
from gpytorch.priors import GammaPrior
from helpers import (
    SOLVED,
    TIGHT,
    assert_close,
    fold_mlls,
    hartmann,
    noisy_waves,
    normalized_gp,
    optimizer,
)
from linear_operator.utils.errors import NotPSDError
from torch import Tensor

from botorch_xval import (
    FitOptions,
    fit_each,
    fit_gpytorch_mll,
    fit_independently,
    make_objective,
)

FOLDS, N = 6, 15
BOTORCH = tuple(int(part) for part in botorch.__version__.split(".")[:2])
RAW = {"coordinates": "raw"}  # BoTorch's path
STRATEGIES = ["loop", "batch", "auto"]


def data(n: int = N, d: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    X = torch.rand(n, d, generator=generator, dtype=torch.float64)
    noise = 0.2 * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    return X, (6 * X[:, :1]).sin() + X[:, 1:2] ** 2 + noise


def model(X: Tensor, Y: Tensor) -> SingleTaskGP:
    return SingleTaskGP(X, Y, input_transform=Normalize(X.shape[-1]))


def wrap(one: SingleTaskGP) -> ExactMarginalLogLikelihood:
    return ExactMarginalLogLikelihood(one.likelihood, one)


def folds() -> list[ExactMarginalLogLikelihood]:
    X, Y = data()
    kept = [torch.arange(N) != i for i in range(FOLDS)]
    return [wrap(model(X[rows], Y[rows])) for rows in kept]


def batch() -> ExactMarginalLogLikelihood:
    cv = gen_loo_cv_folds(*data())
    transform = Normalize(2, batch_shape=torch.Size([N]))
    return wrap(SingleTaskGP(cv.train_X, cv.train_Y, input_transform=transform))


def loss(mll: ExactMarginalLogLikelihood) -> Tensor:
    with torch.no_grad():
        value = get_loss_closure(mll.train())()
    mll.eval()
    return value


def state(mll: ExactMarginalLogLikelihood) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in mll.named_parameters()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


class TroubledKernel(RBFKernel):
    """In trouble in those models in whose data the marked first input is missing.

    `when` says at which of their evaluations: "always", "never", or "at the start".
    """

    def __init__(self, trouble: str, marked: Tensor, when: str = "always") -> None:
        super().__init__(ard_num_dims=2, lengthscale_prior=GammaPrior(3.0, 6.0))
        self.trouble, self.marked, self.when = trouble, marked, when
        self.start = self.lengthscale.detach().double()[0, 0]

    def forward(self, x1, x2, diag=False, **params):
        covariance = super().forward(x1, x2, diag=diag, **params)
        bad = ~(x1[..., 0] == self.marked).any(dim=-1)
        if self.when == "at the start":
            at_start = (self.lengthscale - self.start).abs() < 1e-6
            bad = bad & at_start.all(dim=-1).squeeze(-1)
        if self.when == "never" or diag or not bad.any():
            return covariance
        if self.trouble == "raise":
            raise ArithmeticError("the kernel broke")
        where = bad[..., None, None].expand_as(covariance)
        value = {"nan": torch.nan, "not positive definite": -9.0}[self.trouble]
        return torch.where(where, torch.full_like(covariance, value), covariance)


def troubled(trouble: str, when: str = "always") -> list[ExactMarginalLogLikelihood]:
    """Folds; the model of fold 2, which lacks row 2, is in trouble."""
    X, Y = data()
    mlls = []
    for i in range(FOLDS):
        rows = torch.arange(N) != i
        kernel = TroubledKernel(trouble, X[2, 0], when)
        mlls.append(wrap(SingleTaskGP(X[rows], Y[rows], covar_module=kernel)))
    return mlls


# --- the same end as BoTorch's fits -------------------------------------------------


def test_one_model_ends_where_botorchs_does():
    X, Y = data()
    ours, theirs = wrap(model(X, Y)), wrap(model(X, Y))
    kwargs = {"options": TIGHT}
    assert fit_gpytorch_mll(ours, optimizer_kwargs={**kwargs, **RAW}) is ours
    botorch.fit.fit_gpytorch_mll(theirs, optimizer_kwargs=kwargs)
    for name, value in state(theirs).items():
        assert_close(state(ours)[name], value, **SOLVED)
    assert not ours.training
    (record,) = ours.fit_records
    assert record.status is OptimizationStatus.SUCCESS
    assert record.attempts == 1
    assert record.evaluations >= record.iterations > 0
    assert record.loss == pytest.approx(loss(ours).item(), abs=1e-10)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_together_equals_alone(strategy):
    mlls = folds()
    kwargs = {"options": TIGHT}
    assert fit_each(mlls, FitOptions(**kwargs, **RAW, strategy=strategy)) == {}
    for mll, single in zip(mlls, folds(), strict=True):
        botorch.fit.fit_gpytorch_mll(single, optimizer_kwargs=kwargs)
        assert loss(mll).item() == pytest.approx(loss(single).item(), abs=1e-8)
        assert mll.fit_records[0].loss == pytest.approx(loss(mll).item(), abs=1e-10)


def test_strategies_agree_on_a_batched_model():
    losses = []
    for strategy in STRATEGIES:
        mll = batch()
        kwargs = {"options": TIGHT, "strategy": strategy, **RAW}
        fit_gpytorch_mll(mll, optimizer_kwargs=kwargs)
        losses.append([record.loss for record in mll.fit_records])
        assert len(mll.fit_records) == N
        np.testing.assert_allclose(loss(mll).numpy(), losses[-1], atol=1e-10)
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-8)
    np.testing.assert_allclose(losses[0], losses[2], atol=1e-8)
    theirs = batch()
    botorch.fit.fit_gpytorch_mll(theirs)  # it cannot take `ftol`
    assert sum(losses[0]) <= loss(theirs).sum().item() + 1e-6


@pytest.mark.skipif(BOTORCH < (0, 18), reason="BoTorch before makes a summed closure")
def test_both_ways_in_and_batch_cross_validation():
    expected = batch()
    fit_gpytorch_mll(expected)
    through = batch()
    botorch.fit.fit_gpytorch_mll(through, optimizer=fit_independently)
    assert same(state(expected), state(through))
    assert [r.losses for r in through.fit_records] == [
        r.losses for r in expected.fit_records
    ]
    results = batch_cross_validation(
        SingleTaskGP,
        ExactMarginalLogLikelihood,
        gen_loo_cv_folds(*data()),
        fit_args={"optimizer": fit_independently},
        model_init_kwargs={
            "input_transform": Normalize(2, batch_shape=torch.Size([N]))
        },
    )
    own = dict(results.model.named_parameters())
    for name, value in expected.model.named_parameters():
        torch.testing.assert_close(own[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("coordinates", ["raw", "log"])
def test_losses_never_increase_and_order_does_not_matter(coordinates):
    mlls = folds()
    fit_each(mlls, FitOptions(coordinates=coordinates))
    for mll in mlls:
        (record,) = mll.fit_records
        assert len(record.losses) == record.iterations + 1
        assert (np.diff(record.losses) <= 0).all()
    backwards = folds()[::-1]
    fit_each(backwards, FitOptions(options=TIGHT))
    forwards = folds()
    fit_each(forwards, FitOptions(options=TIGHT))
    for one, other in zip(forwards, backwards[::-1], strict=True):
        assert loss(one).item() == pytest.approx(loss(other).item(), abs=1e-8)


@pytest.mark.parametrize("coordinates", ["raw", "log"])
def test_a_fit_ends_at_a_zero_gradient_or_on_a_bound(coordinates):
    (mll, *_) = mlls = folds()
    fit_each(mlls, FitOptions(options=TIGHT, coordinates=coordinates))
    parameters = dict(mll.train().named_parameters())
    get_loss_closure(mll)().backward()
    for name, parameter in parameters.items():
        bound = 1e-4 if name.endswith("raw_noise") else -np.inf
        free = parameter.detach() > bound * 1.001
        assert (parameter.grad[free].abs() < 1e-5).all()


def test_several_outputs_and_records_in_batch_order():
    X, Y = data()
    both = wrap(SingleTaskGP(X, torch.cat([Y, Y**2 + X[:, :1]], -1)))
    fit_gpytorch_mll(both, optimizer_kwargs={"options": TIGHT, **RAW})
    for k, Y_k in enumerate([Y, Y**2 + X[:, :1]]):
        single = wrap(SingleTaskGP(X, Y_k))
        botorch.fit.fit_gpytorch_mll(single, optimizer_kwargs={"options": TIGHT})
        assert both.fit_records[k].loss == pytest.approx(loss(single).item(), abs=1e-8)


def lists() -> list[SingleTaskGP]:
    """Two members alike, and one with fewer points."""
    X, Y = data()
    return [model(X, Y), SingleTaskGP(X[:10], Y[:10]), model(X, Y**2 + X[:, :1])]


def test_members_of_a_list_that_are_alike_are_fitted_together(monkeypatch):
    calls = []

    def counting(mlls, *arguments):
        calls.append(len(mlls))
        return make_objective(mlls, *arguments)

    monkeypatch.setattr("botorch_xval.fitting.fit.make_objective", counting)
    both = ModelListGP(*lists())
    mll = SumMarginalLogLikelihood(both.likelihood, both)
    fit_gpytorch_mll(mll, optimizer_kwargs={"options": TIGHT, **RAW})
    assert calls == [2, 1]
    assert not mll.training
    assert [r.loss for r in mll.fit_records] == [
        m.fit_records[0].loss for m in mll.mlls
    ]
    for member, alone in zip(both.models, lists(), strict=True):
        botorch.fit.fit_gpytorch_mll(wrap(alone), optimizer_kwargs={"options": TIGHT})
        found = dict(member.named_parameters())
        for name, value in alone.named_parameters():
            assert_close(found[name], value, **SOLVED)


def test_members_of_a_list_that_share_a_part_are_fitted_apart():
    X, Y = data()
    transform = Normalize(2)
    members = [SingleTaskGP(X, y, input_transform=transform) for y in (Y, 2 * Y**2)]
    both = ModelListGP(*members)
    mll = SumMarginalLogLikelihood(both.likelihood, both)
    fit_gpytorch_mll(mll)
    assert [r.status for r in mll.fit_records] == [OptimizationStatus.SUCCESS] * 2


def test_a_failed_member_of_a_list_does_not_stop_the_others():
    X, Y = data()
    broken = SingleTaskGP(X, Y, outcome_transform=Standardize(1))
    targets = broken.train_targets.clone()
    targets[0] = torch.nan
    broken.train_targets = targets
    both = ModelListGP(broken, SingleTaskGP(X, Y))
    mll = SumMarginalLogLikelihood(both.likelihood, both)
    with pytest.raises(ModelFittingError, match="member 0: .*the loss at the start"):
        fit_gpytorch_mll(mll, max_attempts=2)
    statuses = [record.status for record in mll.fit_records]
    assert statuses == [OptimizationStatus.FAILURE, OptimizationStatus.SUCCESS]


def test_closures_and_other_optimizers_are_left_to_botorch():
    X, Y = data()
    expected, delegated = wrap(model(X, Y)), wrap(model(X, Y))
    botorch.fit.fit_gpytorch_mll(expected, optimizer=fit_gpytorch_mll_scipy)
    fit_gpytorch_mll(delegated, optimizer=fit_gpytorch_mll_scipy)
    assert same(state(expected), state(delegated))
    kwargs = {"step_limit": 3}
    a, b = wrap(model(X, Y)), wrap(model(X, Y))
    for fit, mll in ((botorch.fit.fit_gpytorch_mll, a), (fit_gpytorch_mll, b)):
        fit(mll, optimizer=fit_gpytorch_mll_torch, optimizer_kwargs=kwargs)
    assert same(state(a), state(b))
    c = wrap(model(X, Y)).train()
    closure = get_loss_closure_with_grads(c, dict(c.named_parameters()))
    fit_gpytorch_mll(c, closure=closure)
    assert same(state(c), state(expected))
    d = wrap(model(X, Y)).train()
    closure = get_loss_closure_with_grads(d, dict(d.named_parameters()))
    result = fit_independently(d, closure=closure)
    assert result.status is OptimizationStatus.SUCCESS
    assert same(state(d), state(expected))


@pytest.mark.skipif(BOTORCH < (0, 18), reason="BoTorch has it since 0.18")
def test_custom_fit_is_called():
    X, Y = data()

    class Own(SingleTaskGP):
        def custom_fit(self, mll, **kwargs):
            self.called_with = kwargs
            return mll

    own = Own(X, Y)
    fit_gpytorch_mll(wrap(own), optimizer_kwargs={"options": {"maxiter": 1}})
    assert own.called_with["optimizer_kwargs"] == {"options": {"maxiter": 1}}


def test_signatures_are_botorchs():
    def names(function):
        return list(inspect.signature(function).parameters)

    assert names(fit_gpytorch_mll) == names(botorch.fit.fit_gpytorch_mll)
    theirs = names(fit_gpytorch_mll_scipy)
    assert names(fit_independently)[: len(theirs)] == theirs


# --- options ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"maxiter": 2}, {"maxfun": 3}, {"ftol": 1e-3}])
def test_options_are_each_models_own(options):
    mll, singles = batch(), folds()
    fit_gpytorch_mll(mll, optimizer_kwargs={"options": options})
    fit_each(singles, FitOptions(options=options))
    for i, single in enumerate(singles):
        (one,), together = single.fit_records, mll.fit_records[i]
        assert together.iterations == one.iterations
        assert together.loss == pytest.approx(one.loss, abs=1e-8)
        limited = "ftol" not in options
        stopped = OptimizationStatus.STOPPED
        assert together.status is (stopped if limited else OptimizationStatus.SUCCESS)


@pytest.mark.filterwarnings("ignore:.*disp:DeprecationWarning")
def test_options_that_only_print_are_no_failure():
    mll = batch()
    fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"disp": None}})
    assert {r.status for r in mll.fit_records} == {OptimizationStatus.SUCCESS}
    assert {r.attempts for r in mll.fit_records} == {1}


@pytest.mark.parametrize("coordinates", ["raw", "log"])
def test_bounds_may_differ_between_models(coordinates):
    name = "model.covar_module.raw_lengthscale"
    low = torch.linspace(0.5, 2.0, N, dtype=torch.float64).view(N, 1, 1)
    mll = batch()
    kwargs = {"bounds": {name: (low, None)}, "coordinates": coordinates}
    fit_gpytorch_mll(mll, optimizer_kwargs=kwargs)
    found = mll.model.covar_module.raw_lengthscale
    assert (found >= low).all()
    assert torch.isclose(found, low.expand_as(found)).any()


def test_chosen_parameters_only():
    mll = batch()
    before = state(mll)
    name = "model.covar_module.raw_lengthscale"
    chosen = {name: dict(mll.named_parameters())[name]}
    fit_independently(mll.train(), parameters=chosen)
    changed = {n for n, p in mll.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {name}


def test_timeout_stops_every_model_at_its_best_point():
    mll = batch()
    result = fit_independently(mll.train(), timeout_sec=0.0)
    assert result.status is OptimizationStatus.STOPPED
    assert {r.status for r in result.records} == {OptimizationStatus.STOPPED}
    assert "timed out" in result.records[0].message


def test_callback_knows_the_model_and_may_end_it():
    seen: dict[int, list[float]] = {}

    def callback(parameters, result):
        seen.setdefault(result.model, []).append(result.fval)
        assert result.status is OptimizationStatus.RUNNING
        assert parameters["model.covar_module.raw_lengthscale"].shape == (1, 2)
        if result.model == 3 and result.step == 2:
            raise StopIteration

    mll = batch()
    fit_gpytorch_mll(mll, optimizer_kwargs={"callback": callback})
    for i, record in enumerate(mll.fit_records):
        assert seen[i] == list(record.losses[1:])
    assert mll.fit_records[3].status is OptimizationStatus.STOPPED
    assert mll.fit_records[3].iterations == 2
    assert mll.fit_records[2].status is OptimizationStatus.SUCCESS


def test_wrong_arguments():
    mll = batch()
    with pytest.raises(ValueError, match="strategy: expected one of .*got 'fast'"):
        fit_gpytorch_mll(mll, optimizer_kwargs={"strategy": "fast"})
    with pytest.raises(ValueError, match="coordinates: expected one of .*got 'ln'"):
        fit_gpytorch_mll(mll, optimizer_kwargs={"coordinates": "ln"})
    with pytest.raises(TypeError, match=r"unexpected names \['stratgy'\]"):
        fit_gpytorch_mll(mll, optimizer_kwargs={"stratgy": "loop"})


def test_shared_parts_and_model_lists_are_refused_by_fit_each():
    X, Y = data()
    transform = Normalize(2)
    mlls = [wrap(SingleTaskGP(X, Y, input_transform=transform)) for _ in range(2)]
    with pytest.raises(ValueError, match="input_transform' in both mll 0 and mll 1"):
        fit_each(mlls)
    both = ModelListGP(model(X, Y), model(X, Y))
    with pytest.raises(UnsupportedError, match="got one of a ModelListGP"):
        fit_each([SumMarginalLogLikelihood(both.likelihood, both)])
    with pytest.raises(ValueError, match="expected at least one, got none"):
        fit_each([])


@pytest.mark.filterwarnings("ignore:Method CG cannot handle bounds")
@pytest.mark.parametrize("method", ["CG", "L-BFGS-B"])
def test_warning_filters_and_threads_are_as_before(method):
    before = list(warnings.filters), torch.get_num_threads()
    fit_each(folds(), FitOptions(method=method, strategy="batch"))
    assert (list(warnings.filters), torch.get_num_threads()) == before


# --- trouble ------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "trouble, words",
    [
        ("raise", "ArithmeticError: the kernel broke"),
        ("nan", "NanError"),
        ("not positive definite", "NotPSDError"),
    ],
)
@pytest.mark.filterwarnings("ignore:A not p.d.")
def test_one_troubled_model_is_named_and_the_others_are_fitted(
    trouble, words, strategy
):
    healthy = troubled(trouble, "never")
    options = optimizer(strategy)
    fit_each(healthy, options)
    mlls = troubled(trouble)
    start = state(mlls[2])
    errors = fit_each(mlls, replace(options, max_attempts=2))
    assert set(errors) == {2}
    error, message = words.split(": ") if ": " in words else (words, "")
    assert type(errors[2]).__name__ == error and message in str(errors[2])
    assert same(state(mlls[2]), start)
    (record,) = mlls[2].fit_records
    assert words in record.message
    assert record.status is OptimizationStatus.FAILURE
    assert record.attempts == (1 if trouble == "raise" else 2)
    for i in set(range(FOLDS)) - {2}:
        assert mlls[i].fit_records[0].attempts == 1
        assert mlls[i].fit_records[0].loss == pytest.approx(
            healthy[i].fit_records[0].loss, abs=1e-8
        )


@pytest.mark.filterwarnings("ignore:A not p.d.")
def test_a_model_that_recovers_is_retried_alone():
    torch.manual_seed(0)
    mlls = troubled("not positive definite", "at the start")
    assert fit_each(mlls) == {}
    assert mlls[2].fit_records[0].attempts > 1
    assert {mlls[i].fit_records[0].attempts for i in (0, 1, 3, 4, 5)} == {1}


def test_a_failed_batch_raises_names_and_keeps_the_fitted():
    X, Y = data()
    cv = gen_loo_cv_folds(X, Y)
    kernel = TroubledKernel("raise", X[2, 0])
    kernel.raw_lengthscale = torch.nn.Parameter(torch.zeros(N, 1, 2))
    mll = wrap(SingleTaskGP(cv.train_X, cv.train_Y, covar_module=kernel))
    start = state(mll)
    with pytest.raises(ModelFittingError, match="1 of 15 fits failed: model 2: Arith"):
        fit_gpytorch_mll(mll)
    assert mll.training
    for name, value in mll.named_parameters():
        assert torch.equal(value[2], start[name][2])
        assert not torch.equal(value[3], start[name][3])


@pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
def test_a_nan_in_one_fold():
    X, Y = data()
    cv = gen_loo_cv_folds(X, Y)
    healthy = wrap(SingleTaskGP(cv.train_X, cv.train_Y, outcome_transform=None))
    broken = wrap(SingleTaskGP(cv.train_X, cv.train_Y, outcome_transform=None))
    targets = broken.model.train_targets.clone()
    targets[4, 0] = torch.nan
    broken.model.train_targets = targets
    fit_gpytorch_mll(healthy, optimizer_kwargs={"options": TIGHT})
    with pytest.raises(ModelFittingError, match="model 4: the loss at the start"):
        fit_gpytorch_mll(broken, optimizer_kwargs={"options": TIGHT})
    for i in set(range(N)) - {4}:
        assert broken.fit_records[i].loss == pytest.approx(
            healthy.fit_records[i].loss, abs=1e-8
        )


@pytest.mark.filterwarnings("ignore:A not p.d.")
def test_trouble_of_all_models():
    X, Y = data()
    far = torch.tensor(9.0, dtype=torch.float64)
    kernel = TroubledKernel("raise", far)
    with pytest.raises(ArithmeticError, match="the kernel broke"):
        fit_gpytorch_mll(wrap(SingleTaskGP(X, Y, covar_module=kernel)))
    kernel = TroubledKernel("not positive definite", far)
    mll = wrap(SingleTaskGP(X, Y, covar_module=kernel))
    with pytest.raises(NotPSDError):
        fit_gpytorch_mll(mll, max_attempts=2, caught_exception_types=())
    with pytest.raises(ModelFittingError, match="1 of 1 fits failed: model 0: NotPSD"):
        fit_gpytorch_mll(mll, max_attempts=2)
    assert mll.fit_records[0].attempts == 2


def test_a_failed_line_search_is_a_failure_that_a_handler_may_accept():
    options = {"maxls": 1, "ftol": 0.0}
    mll = batch()
    start = state(mll)
    with pytest.raises(ModelFittingError, match="ABNORMAL"):
        fit_gpytorch_mll(mll, optimizer_kwargs={"options": options}, max_attempts=1)
    with pytest.warns(OptimizationWarning, match="fits failed"):
        result = fit_independently(batch().train(), options=options)
    assert result.status is OptimizationStatus.FAILURE
    mll.load_state_dict({**mll.state_dict(), **start})
    accepted = []

    def handler(warning):
        accepted.append(str(warning.message))
        return True

    fit_gpytorch_mll(
        mll, optimizer_kwargs={"options": options}, warning_handler=handler
    )
    assert accepted and all("ABNORMAL" in message for message in accepted)


def test_pick_best_of_all_attempts_is_never_worse():
    torch.manual_seed(0)
    once, best = batch(), batch()
    fit_gpytorch_mll(once)
    fit_gpytorch_mll(best, pick_best_of_all_attempts=True, max_attempts=3)
    assert {record.attempts for record in best.fit_records} == {3}
    for one, other in zip(once.fit_records, best.fit_records, strict=True):
        assert other.loss <= one.loss + 1e-12
    np.testing.assert_allclose(
        loss(best).numpy(), [r.loss for r in best.fit_records], atol=1e-10
    )


def test_an_interrupt_leaves_every_model_as_it_was():
    mll = batch()
    start = state(mll)

    def interrupt(parameters, result):
        if result.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_gpytorch_mll(mll, optimizer_kwargs={"callback": interrupt})
    assert same(state(mll), start)


def test_logarithmic_coordinates_take_fewer_evaluations_to_losses_as_good():
    X, Y = hartmann(25)
    cv = gen_loo_cv_folds(X, Y)
    raw, log = (wrap(SingleTaskGP(cv.train_X, cv.train_Y)) for _ in range(2))
    fit_gpytorch_mll(raw, optimizer_kwargs={**RAW, "options": {"maxcor": 30}})
    fit_gpytorch_mll(log)
    counts = [sum(r.evaluations for r in mll.fit_records) for mll in (raw, log)]
    assert counts[1] < 0.7 * counts[0]
    difference = (loss(log) - loss(raw)).numpy()
    assert (difference < 1e-3).sum() >= 23  # few may end in another optimum
    start = [record.losses[:9] for record in raw.fit_records]
    assert [record.losses[:9] for record in log.fit_records] == start


@pytest.mark.parametrize("coordinates", ["raw", "log"])
def test_strategies_agree_to_the_last_bit_in_closed_form(coordinates):
    ends = []
    for strategy in STRATEGIES:
        mll = batch()
        kwargs = {"strategy": strategy, "coordinates": coordinates}
        fit_gpytorch_mll(mll, optimizer_kwargs=kwargs)
        ends.append([record.losses for record in mll.fit_records])
    assert ends[0] == ends[1] == ends[2]


def test_hartmann_is_fitted_as_well_as_by_botorch():
    cv = gen_loo_cv_folds(*hartmann(25))
    ours = wrap(SingleTaskGP(cv.train_X, cv.train_Y))
    theirs = [
        wrap(SingleTaskGP(x, y)) for x, y in zip(cv.train_X, cv.train_Y, strict=True)
    ]
    fit_gpytorch_mll(ours, optimizer_kwargs=RAW)
    # BoTorch 0.16 and 0.17 sum the losses of a batch, so their folds stop early.
    for each in theirs:
        botorch.fit.fit_gpytorch_mll(each)
    difference = (loss(ours) - torch.stack([loss(m) for m in theirs])).numpy()
    # Where a loss has two optima, the last bit of a value may decide between them.
    assert (np.abs(difference) < 1e-5).sum() >= 23
    assert difference.sum() < 0.1


# A bar


@pytest.mark.parametrize("coordinates", ["log", "raw"])
def test_a_bar_counts_the_models_that_are_done(coordinates, capsys):
    mlls = fold_mlls(normalized_gp, *noisy_waves(7))
    fit_each(mlls, FitOptions(progress=True, coordinates=coordinates))
    text = capsys.readouterr().err
    assert "7/7" in text and "fit/s" in text
    worst = max(mll.fit_records[0].gradient_norm for mll in mlls)
    assert f"worst gradient norm {worst:.1e}" in text.split("\r")[-1]


def test_a_model_that_is_tried_again_counts_once(capsys):
    mlls = fold_mlls(normalized_gp, *noisy_waves(5))
    options = FitOptions(progress=True, max_attempts=3, pick_best_of_all_attempts=True)
    fit_each(mlls, options)
    assert all(mll.fit_records[0].attempts == 3 for mll in mlls)
    text = capsys.readouterr().err
    assert "5/5" in text and "6/5" not in text


def test_without_a_bar_nothing_is_written(capsys):
    fit_each(fold_mlls(normalized_gp, *noisy_waves(5)))
    assert capsys.readouterr().err == ""
