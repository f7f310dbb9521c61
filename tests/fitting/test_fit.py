"""The public fits against BoTorch's own, and what is left to BoTorch."""

from __future__ import annotations

import inspect
from collections.abc import Callable

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
from gpytorch.mlls import ExactMarginalLogLikelihood, SumMarginalLogLikelihood
from helpers import (
    SOLVED,
    TIGHT,
    RaisingKernel,
    TroubledKernel,
    accept_abnormal,
    are_equal,
    assert_close,
    batch_mll,
    fold_mlls,
    hartmann,
    losses_of,
    mll_of,
    normalized_gp,
    optimizer,
    troubled_mlls,
    unit_waves,
    values_of,
)
from linear_operator.utils.errors import NotPSDError

from botorch_xval import (
    FitOptions,
    fit_each,
    fit_gpytorch_mll,
    fit_independently,
    make_objective,
)
from botorch_xval.fitting import fit_or_raise

FOLDS, N = 4, 12
BOTORCH = tuple(int(part) for part in botorch.__version__.split(".")[:2])
RAW = {"coordinates": "raw", "starts": "own"}  # BoTorch's path
X, Y = unit_waves(N)
COORDINATES = pytest.mark.parametrize("coordinates", ["raw", "log"])


def one() -> ExactMarginalLogLikelihood:
    return mll_of(normalized_gp(X, Y))


def folds() -> list[ExactMarginalLogLikelihood]:
    return fold_mlls(normalized_gp, X, Y, FOLDS)


def batch() -> ExactMarginalLogLikelihood:
    return batch_mll(X, Y)


def of_list(*models: SingleTaskGP) -> SumMarginalLogLikelihood:
    return mll_of(ModelListGP(*models), SumMarginalLogLikelihood)


@pytest.fixture(scope="module")
def by_botorch() -> list[ExactMarginalLogLikelihood]:
    """The folds, each fitted by BoTorch."""
    mlls = folds()
    for mll in mlls:
        botorch.fit.fit_gpytorch_mll(
            mll, optimizer_kwargs={"options": TIGHT}, warning_handler=accept_abnormal
        )
    return mlls


# --- the same end as BoTorch's fits -------------------------------------------------


def test_one_model_ends_where_botorchs_does(by_botorch):
    ours, theirs = folds()[0], by_botorch[0]
    kwargs = {"options": TIGHT, **RAW}
    found = fit_gpytorch_mll(
        ours, optimizer_kwargs=kwargs, warning_handler=accept_abnormal
    )
    assert found is ours
    for name, value in values_of(theirs).items():
        assert_close(values_of(ours)[name], value, **SOLVED)
    assert not ours.training
    (record,) = ours.fit_records
    assert record.status is OptimizationStatus.SUCCESS
    assert record.attempts == 1
    assert record.evaluations >= record.iterations > 0
    assert record.loss == pytest.approx(losses_of(ours).item(), abs=1e-10)


@pytest.mark.parametrize("strategy", ["loop", "batch", "auto"])
def test_models_fitted_together_end_where_botorchs_end_alone(strategy, by_botorch):
    mlls, whole = folds(), batch()
    assert fit_each(mlls, optimizer(strategy, "raw")) == {}
    kwargs = {"options": TIGHT, "strategy": strategy, **RAW}
    fit_gpytorch_mll(whole, optimizer_kwargs=kwargs, warning_handler=accept_abnormal)
    expected = [losses_of(mll).item() for mll in by_botorch]
    found = [record.loss for record in whole.fit_records]
    assert_close(found[:FOLDS], expected, rtol=0, atol=1e-8)
    assert_close(found, losses_of(whole))
    for mll, loss in zip(mlls, expected, strict=True):
        assert mll.fit_records[0].loss == pytest.approx(loss, abs=1e-8)
        assert mll.fit_records[0].loss == pytest.approx(losses_of(mll).item())
        assert mll.training  # as fit_each says


def test_hartmann_is_fitted_as_well_as_by_botorch():
    x, y = hartmann(12)
    ours, theirs = (fold_mlls(SingleTaskGP, x, y, 5) for _ in range(2))
    assert fit_each(ours, optimizer(coordinates="raw")) == {}
    # BoTorch 0.16 and 0.17 sum the losses of a batch, so their folds stop early.
    for each in theirs:
        kwargs = {"optimizer_kwargs": {"options": TIGHT}}
        botorch.fit.fit_gpytorch_mll(each, **kwargs, warning_handler=accept_abnormal)
    losses = [[losses_of(mll).item() for mll in mlls] for mlls in (ours, theirs)]
    difference = np.subtract(*losses)
    # Where a loss has two optima, the last bit of a value may decide between them.
    assert (np.abs(difference) < 1e-6).sum() >= 4
    assert difference.sum() < 0.1


@pytest.mark.skipif(BOTORCH < (0, 18), reason="BoTorch before makes a summed closure")
def test_both_ways_in_and_batch_cross_validation():
    expected, through = batch(), batch()
    fit_gpytorch_mll(expected)
    botorch.fit.fit_gpytorch_mll(through, optimizer=fit_independently)
    assert are_equal(values_of(expected), values_of(through))
    assert [r.losses for r in through.fit_records] == [
        r.losses for r in expected.fit_records
    ]
    results = batch_cross_validation(
        SingleTaskGP,
        ExactMarginalLogLikelihood,
        gen_loo_cv_folds(X, Y),
        fit_args={"optimizer": fit_independently},
        model_init_kwargs={
            "input_transform": Normalize(2, batch_shape=torch.Size([N]))
        },
    )
    assert are_equal(values_of(expected.model), values_of(results.model))


@COORDINATES
def test_losses_never_increase_and_order_does_not_matter(coordinates):
    forwards, backwards = folds(), folds()[::-1]
    for mlls in (forwards, backwards):
        fit_each(mlls, optimizer(coordinates=coordinates))
    for mll, other in zip(forwards, backwards[::-1], strict=True):
        (record,) = mll.fit_records
        assert len(record.losses) == record.iterations + 1
        assert (np.diff(record.losses) <= 0).all()
        assert losses_of(mll).item() == pytest.approx(losses_of(other).item(), abs=1e-8)


@COORDINATES
def test_a_fit_ends_at_a_zero_gradient_or_on_a_bound(coordinates):
    (mll, *_) = mlls = folds()
    fit_each(mlls, optimizer(coordinates=coordinates))
    get_loss_closure(mll.train())().backward()
    for name, parameter in mll.named_parameters():
        bound = 1e-4 if name.endswith("raw_noise") else -np.inf
        free = parameter.detach() > bound * 1.001
        assert (parameter.grad[free].abs() < 1e-5).all()


def test_logarithmic_coordinates_take_fewer_evaluations_to_losses_as_good():
    cv = gen_loo_cv_folds(*hartmann(20))
    raw, log = (mll_of(SingleTaskGP(cv.train_X, cv.train_Y)) for _ in range(2))
    fit_gpytorch_mll(raw, optimizer_kwargs={**RAW, "options": {"maxcor": 30}})
    fit_gpytorch_mll(log)
    counts = [sum(r.evaluations for r in mll.fit_records) for mll in (raw, log)]
    assert counts[1] < 0.7 * counts[0]
    difference = losses_of(log) - losses_of(raw)
    assert (difference < 1e-3).sum() >= 18  # few may end in another optimum
    start = [record.losses[:9] for record in raw.fit_records]
    assert [record.losses[:9] for record in log.fit_records] == start


# --- several outputs, and lists of models -------------------------------------------


def test_several_outputs_and_records_in_batch_order():
    second = Y**2 + X[:, :1]
    both = mll_of(SingleTaskGP(X, torch.cat([Y, second], dim=-1)))
    fit_gpytorch_mll(
        both,
        optimizer_kwargs={"options": TIGHT, **RAW},
        warning_handler=accept_abnormal,
    )
    for k, outcome in enumerate([Y, second]):
        single = mll_of(SingleTaskGP(X, outcome))
        botorch.fit.fit_gpytorch_mll(
            single,
            optimizer_kwargs={"options": TIGHT},
            warning_handler=accept_abnormal,
        )
        expected = losses_of(single).item()
        assert both.fit_records[k].loss == pytest.approx(expected, abs=1e-8)


def members() -> list[SingleTaskGP]:
    """Two members alike, and one with fewer points."""
    return [
        normalized_gp(X, Y),
        SingleTaskGP(X[:10], Y[:10]),
        normalized_gp(X, Y**2 + X[:, :1]),
    ]


def test_members_of_a_list_that_are_alike_are_fitted_together(monkeypatch):
    calls = []

    def counting(mlls, *arguments):
        calls.append(len(mlls))
        return make_objective(mlls, *arguments)

    monkeypatch.setattr("botorch_xval.fitting.fit.make_objective", counting)
    mll = of_list(*members())
    fit_gpytorch_mll(
        mll,
        optimizer_kwargs={"options": TIGHT, **RAW},
        warning_handler=accept_abnormal,
    )
    assert calls == [2, 1]
    assert not mll.training
    assert [r.loss for r in mll.fit_records] == [
        m.fit_records[0].loss for m in mll.mlls
    ]
    for member, alone in zip(mll.model.models, members(), strict=True):
        own = mll_of(alone)
        botorch.fit.fit_gpytorch_mll(
            own, optimizer_kwargs={"options": TIGHT}, warning_handler=accept_abnormal
        )
        found = values_of(member)
        for name, value in values_of(alone).items():
            assert_close(found[name], value, **SOLVED)


def test_members_of_a_list_that_share_a_part_are_fitted_apart():
    transform = Normalize(2)
    mll = of_list(
        *(SingleTaskGP(X, y, input_transform=transform) for y in (Y, 2 * Y**2))
    )
    fit_gpytorch_mll(mll)
    assert [r.status for r in mll.fit_records] == [OptimizationStatus.SUCCESS] * 2


def test_a_failed_member_of_a_list_does_not_stop_the_others():
    broken = SingleTaskGP(X, Y, outcome_transform=Standardize(1))
    broken.train_targets = torch.full_like(broken.train_targets, torch.nan)
    mll = of_list(broken, SingleTaskGP(X, Y))
    with pytest.raises(ModelFittingError, match="member 0: .*the loss at the start"):
        fit_gpytorch_mll(mll, max_attempts=2)
    statuses = [record.status for record in mll.fit_records]
    assert statuses == [OptimizationStatus.FAILURE, OptimizationStatus.SUCCESS]


def test_mlls_of_any_structure_are_fitted_or_one_is_named():
    mlls = [mll_of(model) for model in members()]
    fit_or_raise(mlls)
    assert not any(mll.training for mll in mlls)
    assert all(mll.fit_records for mll in mlls)
    bad = mll_of(SingleTaskGP(X, Y, covar_module=RaisingKernel()))
    good = mll_of(normalized_gp(X, Y))
    with pytest.raises(ModelFittingError, match="1 of 1 fits failed: model 0: NotPSD"):
        fit_or_raise([bad, good], FitOptions(max_attempts=1))
    assert bad.training and not good.training
    assert good.fit_records[0].status is OptimizationStatus.SUCCESS


# --- what is left to BoTorch --------------------------------------------------------


def test_closures_and_other_optimizers_are_left_to_botorch():
    expected, delegated = one(), one()
    botorch.fit.fit_gpytorch_mll(expected, optimizer=fit_gpytorch_mll_scipy)
    fit_gpytorch_mll(delegated, optimizer=fit_gpytorch_mll_scipy)
    assert are_equal(values_of(expected), values_of(delegated))
    kwargs = {"step_limit": 3}
    theirs, ours = one(), one()
    for fit, mll in ((botorch.fit.fit_gpytorch_mll, theirs), (fit_gpytorch_mll, ours)):
        fit(mll, optimizer=fit_gpytorch_mll_torch, optimizer_kwargs=kwargs)
    assert are_equal(values_of(theirs), values_of(ours))
    for through in (fit_gpytorch_mll, fit_independently):
        mll = one()
        closure = get_loss_closure_with_grads(mll, dict(mll.named_parameters()))
        through(mll, closure=closure)
        assert are_equal(values_of(mll), values_of(expected))


@pytest.mark.skipif(BOTORCH < (0, 18), reason="BoTorch has it since 0.18")
def test_custom_fit_is_called():
    class Own(SingleTaskGP):
        def custom_fit(self, mll, **kwargs):
            self.called_with = kwargs
            return mll

    own = Own(X, Y)
    fit_gpytorch_mll(mll_of(own), optimizer_kwargs={"options": {"maxiter": 1}})
    assert own.called_with["optimizer_kwargs"] == {"options": {"maxiter": 1}}


def test_signatures_are_botorchs():
    def names(function: Callable) -> list[str]:
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
        (alone,), together = single.fit_records, mll.fit_records[i]
        assert together.iterations == alone.iterations
        assert together.loss == pytest.approx(alone.loss, abs=1e-8)
        limited = "ftol" not in options
        stopped = OptimizationStatus.STOPPED
        assert together.status is (stopped if limited else OptimizationStatus.SUCCESS)


# SciPy deprecates it, and says from 1.18 on that it does not know it; that is all.
@pytest.mark.filterwarnings("ignore:.*disp")
def test_options_that_only_print_are_no_failure():
    mll = batch()
    fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"disp": None}})
    assert {r.status for r in mll.fit_records} == {OptimizationStatus.SUCCESS}
    assert {r.attempts for r in mll.fit_records} == {1}


@COORDINATES
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
    before = values_of(mll)
    name = "model.covar_module.raw_lengthscale"
    fit_independently(mll, parameters={name: mll.get_parameter(name)})
    after = values_of(mll)
    assert {n for n in before if not torch.equal(after[n], before[n])} == {name}


def test_timeout_stops_every_model_at_its_best_point():
    result = fit_independently(batch(), timeout_sec=0.0)
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


def test_an_attempt_says_how_it_ended():
    mll = batch()
    result = fit_independently(mll)
    assert result.records is mll.fit_records
    assert result.fval == pytest.approx(losses_of(mll).sum().item())
    assert result.step == max(record.iterations for record in mll.fit_records)
    assert result.status is OptimizationStatus.SUCCESS
    assert result.message == f"{N} of {N} fits succeeded."
    with pytest.warns(OptimizationWarning, match=f"of {N} fits failed: .*ABNORMAL"):
        result = fit_independently(batch(), options={"maxls": 1, "ftol": 0.0})
    assert result.status is OptimizationStatus.FAILURE


# --- what is refused, and what is raised --------------------------------------------


def test_wrong_arguments():
    with pytest.raises(ValueError, match="strategy: expected one of .*got 'fast'"):
        fit_gpytorch_mll(one(), optimizer_kwargs={"strategy": "fast"})
    with pytest.raises(TypeError, match=r"unexpected names \['stratgy'\]"):
        fit_gpytorch_mll(one(), optimizer_kwargs={"stratgy": "loop"})


def test_shared_parts_and_model_lists_are_refused_by_fit_each():
    transform = Normalize(2)
    mlls = [mll_of(SingleTaskGP(X, Y, input_transform=transform)) for _ in range(2)]
    with pytest.raises(ValueError, match="input_transform' in both mll 0 and mll 1"):
        fit_each(mlls)
    with pytest.raises(UnsupportedError, match="got one of a ModelListGP"):
        fit_each([of_list(*members())])
    with pytest.raises(ValueError, match="expected at least one, got none"):
        fit_each([])


def test_a_failed_batch_raises_names_and_keeps_the_fitted():
    parts = [mll.model for mll in troubled_mlls("error")]
    inputs = torch.stack([part.train_inputs[0] for part in parts])
    outcomes = torch.stack([part.train_targets for part in parts])[..., None]
    kernel = TroubledKernel("error", batch_shape=torch.Size([len(parts)]))
    mll = mll_of(SingleTaskGP(inputs, outcomes, covar_module=kernel))
    start = values_of(mll)
    with pytest.raises(ModelFittingError, match="1 of 6 fits failed: model 2: Arith"):
        fit_gpytorch_mll(mll)
    assert mll.training
    for name, value in mll.named_parameters():
        assert torch.equal(value[2], start[name][2])
        assert not torch.equal(value[3], start[name][3])


def test_trouble_of_all_models():
    def broken(error: type[Exception]) -> ExactMarginalLogLikelihood:
        return mll_of(SingleTaskGP(X, Y, covar_module=RaisingKernel(error=error)))

    with pytest.raises(ArithmeticError, match="on purpose"):
        fit_gpytorch_mll(broken(ArithmeticError))
    mll = broken(NotPSDError)
    with pytest.raises(NotPSDError):
        fit_gpytorch_mll(mll, max_attempts=2, caught_exception_types=())
    with pytest.raises(ModelFittingError, match="1 of 1 fits failed: model 0: NotPSD"):
        fit_gpytorch_mll(mll, max_attempts=2)
    assert mll.fit_records[0].attempts == 2
