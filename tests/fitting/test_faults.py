"""One model's trouble is its own: faults x strategies x ways to evaluate.

One fold of six has a fault. The others must end bit for bit as without it; the faulty
one is fitted after all, or named with its initial values.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import cache

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.models import SingleTaskGP
from botorch.optim.core import OptimizationStatus
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import MaternKernel, RBFKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior
from helpers import (
    MARK,
    TroubledKernel,
    accept_abnormal,
    are_equal,
    mll_of,
    unit_waves,
    values_of,
)
from threadpoolctl import threadpool_info

from botorch_xval import FitOptions, fit_each, fit_gpytorch_mll
from botorch_xval.fitting.drive import minimize_each
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.modules import ByModules
from botorch_xval.fitting.losses.objective import StackedObjective
from botorch_xval.fitting.losses.parameters import ParameterTable
from botorch_xval.fitting.threads import single_threaded_torch

FOLDS, N, BAD = 6, 12, 2
STRATEGIES = ["loop", "batch", "auto"]
KERNEL_FAULTS = {  # by name, the trouble of the kernel, and when it is in trouble
    "error": ("error", "always"),
    "nan covariance": ("nan", "always"),
    "never positive definite": ("not positive definite", "always"),
    "sometimes not positive definite": ("not positive definite", "where short"),
}
FAULTS: dict[str, str | None] = {  # and the message of a fault that has no fit
    "nan": "the loss at the start is nan|NanError",
    "inf": "the loss at the start is|NanError|NotPSDError",
    "constant target": None,
    "duplicated rows": None,
    "row at 1e6": None,
    "float32": None,
    "error": "ArithmeticError: the kernel broke",
    "nan covariance": "NanError",
    "never positive definite": "NotPSDError",
    "sometimes not positive definite": None,
}
WAYS = ["closed form", "modules", "one after the other"]
CASES = [
    (way, fault, strategy)
    for way in WAYS
    for fault in FAULTS
    for strategy in STRATEGIES
    if way != "closed form" or fault not in KERNEL_FAULTS
    # With two threads a group is a half of the models ("batch") or more ("auto").
    if strategy != "auto" or fault in ("nan", "error")
]


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are searched for in two threads, whatever the machine has."""
    monkeypatch.setattr(type(single_threaded_torch()), "number", lambda self: 2)


def folds(way: str, fault: str) -> list[ExactMarginalLogLikelihood]:
    X, Y = unit_waves(N + FOLDS)
    mlls = []
    for i in range(FOLDS):
        kept = torch.arange(len(X)) % FOLDS != i
        x, y = X[kept][:N].clone(), Y[kept][:N].clone()
        trouble = (None, "always")
        if i == BAD:
            if fault == "row at 1e6":
                x[3] = 1e6
            elif fault == "duplicated rows":
                x, y = x[:2].repeat(N // 2, 1), y[:2].repeat(N // 2, 1)
            elif fault == "constant target":
                y = torch.full_like(y, 3.0)
            elif fault == "float32":
                x, y = x.float(), y.float()
            elif fault in KERNEL_FAULTS:
                x[0] = MARK
                trouble = KERNEL_FAULTS[fault]
        bound = GreaterThan(1e-10, transform=None, initial_value=0.1)
        own = {"ard_num_dims": 2, "lengthscale_prior": GammaPrior(3.0, 6.0)}
        kernel = TroubledKernel(*trouble)
        if way == "closed form":
            kernel = RBFKernel(**own)
        elif way == "one after the other" and i == FOLDS - 1:
            kernel = MaternKernel(**own)
        likelihood = GaussianLikelihood(noise_constraint=bound)
        model = SingleTaskGP(x, y, covar_module=kernel, likelihood=likelihood)
        if i == BAD and fault in ("nan", "inf"):
            targets = model.train_targets.clone()
            targets[4] = float(fault)
            model.train_targets = targets
        mlls.append(mll_of(model))
    return mlls


def fit(mlls: list[ExactMarginalLogLikelihood], strategy: str) -> dict[int, Exception]:
    torch.manual_seed(0)
    options = FitOptions(
        options={"maxiter": 12},  # it is not about the optimum
        strategy=strategy,
        max_attempts=2,
        warning_handler=accept_abnormal,
    )
    return fit_each(mlls, options)


@cache
def healthy(way: str, strategy: str) -> list[ExactMarginalLogLikelihood]:
    """The folds without a fault, fitted."""
    mlls = folds(way, "none")
    assert fit(mlls, strategy) == {}
    return mlls


@pytest.mark.filterwarnings("ignore:A not p.d.")
@pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
@pytest.mark.filterwarnings("ignore:The model inputs are of type torch.float32")
@pytest.mark.parametrize("way, fault, strategy", CASES)
def test_the_others_end_bit_for_bit_as_without_the_fault(way, fault, strategy):
    expected, mlls = healthy(way, strategy), folds(way, fault)
    if way == "closed form" and fault != "float32":
        assert make_objective(mlls).is_parallel
    start = values_of(mlls[BAD])
    errors = fit(mlls, strategy)
    for i in set(range(FOLDS)) - {BAD}:
        (one,), (other,) = mlls[i].fit_records, expected[i].fit_records
        assert one.losses == other.losses
        assert one.attempts == other.attempts == 1
        assert are_equal(values_of(mlls[i]), values_of(expected[i]))
    (record,) = mlls[BAD].fit_records
    if FAULTS[fault] is None:
        assert errors == {}
        assert record.status is not OptimizationStatus.FAILURE or (
            "ABNORMAL" in record.message  # accepted by the handler
        )
        assert np.isfinite(record.loss) and record.loss < record.losses[0]
    else:
        assert set(errors) == {BAD}
        assert any(words in record.message for words in FAULTS[fault].split("|"))
        kind = record.message.split(":")[0]  # and that is the error that is returned
        assert type(errors[BAD]).__name__ in (kind, "ModelFittingError")
        assert record.status is OptimizationStatus.FAILURE
        assert record.attempts == (1 if fault == "error" else 2)
        assert are_equal(values_of(mlls[BAD]), start)


# --- Ctrl-C -------------------------------------------------------------------------


def threads() -> tuple[object, ...]:
    """Limits of torch and BLAS, how many there are, and whether there are gradients."""
    pools = [pool["num_threads"] for pool in threadpool_info()]
    own = torch.get_num_threads(), torch.is_grad_enabled()
    return *own, pools, threading.active_count()


@pytest.mark.parametrize("strategy", ["loop", "batch"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("evaluation", [0, 11])
def test_an_interrupt_at_an_evaluation_leaves_all_models(
    way, strategy, evaluation, monkeypatch
):
    mlls = folds(way, "none")
    start, before = [values_of(mll) for mll in mlls], threads()
    objective = Exact if way == "closed form" else ByModules
    original, count = objective.__call__, [0]

    def interrupted(self, theta, models):
        count[0] += 1
        if count[0] == evaluation + 3:  # the first are for comparison
            raise KeyboardInterrupt
        return original(self, theta, models)

    monkeypatch.setattr(objective, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(mlls, strategy)
    assert all(are_equal(values_of(m), s) for m, s in zip(mlls, start, strict=True))
    assert threads() == before


@pytest.mark.parametrize("strategy", ["loop", "batch"])
def test_ctrl_c(strategy, monkeypatch):
    """A real one, to a fit in worker threads that takes its time."""
    mlls = folds("closed form", "none")
    start, before = [values_of(mll) for mll in mlls], threads()
    original = Exact.__call__

    def slow(self, theta, models):
        time.sleep(0.05)
        return original(self, theta, models)

    monkeypatch.setattr(Exact, "__call__", slow)
    # A process in the background may ignore it.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(mlls, strategy)
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, handler)
    assert all(are_equal(values_of(m), s) for m, s in zip(mlls, start, strict=True))
    for _ in range(50):  # workers end at their next step
        if threads() == before:
            break
        time.sleep(0.1)
    assert threads() == before


def test_an_interrupt_while_values_are_written_takes_them_back(monkeypatch):
    mlls = folds("closed form", "none")
    start = [values_of(mll) for mll in mlls]
    original, calls = StackedObjective.write, []

    def interrupted(self, theta):
        calls.append(1)
        if len(calls) == 1:
            half = np.where(np.arange(FOLDS)[:, None] < 3, theta, self.start)
            original(self, half)
            raise KeyboardInterrupt
        original(self, theta)

    monkeypatch.setattr(StackedObjective, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(mlls, "auto")
    assert len(calls) == 2
    assert all(are_equal(values_of(m), s) for m, s in zip(mlls, start, strict=True))


def test_an_interrupt_while_records_are_made_leaves_all_models(monkeypatch):
    """Such as in a prior, which is asked for its mode after the last search."""
    mlls = folds("closed form", "none")
    start = [values_of(mll) for mll in mlls]

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ParameterTable, "at_prior_modes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(mlls, "auto")
    assert all(are_equal(values_of(m), s) for m, s in zip(mlls, start, strict=True))


def test_threads_are_restored_after_an_error():
    before = threads()

    def broken(points: np.ndarray, models: list[int]):
        raise MemoryError

    (search,) = minimize_each(broken, np.zeros((1, 2)))
    assert isinstance(search.error, MemoryError)
    assert threads() == before


def test_the_table_of_faults_through_the_drop_in():
    """A batched model: the failed one is restored and named, the others kept."""
    (mll, *_) = folds("closed form", "none")
    X, Y = mll.model.train_inputs[0], mll.model.train_targets
    batch = SingleTaskGP(
        X.expand(4, -1, -1), Y.expand(4, -1)[..., None], outcome_transform=None
    )
    targets = batch.train_targets.clone()
    targets[1, 0] = torch.inf
    batch.train_targets = targets
    whole = mll_of(batch)
    start = values_of(whole)
    with pytest.raises(ModelFittingError, match="1 of 4 fits failed: model 1"):
        fit_gpytorch_mll(whole, max_attempts=2)
    for name, value in values_of(whole).items():
        assert torch.equal(value[1], start[name][1])
        assert torch.equal(value[0], value[3])
        assert not torch.equal(value[0], start[name][0])
    assert whole.training
