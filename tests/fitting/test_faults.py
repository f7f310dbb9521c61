"""One model's trouble is its own: faults x strategies x ways to evaluate.

One fold of six has a fault. The others must end bit for bit as without it; the faulty
one is fitted after all, or named with its initial values.
"""

from __future__ import annotations

import os
import signal
import threading
import time

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
from helpers import accept_abnormal
from threadpoolctl import threadpool_info
from torch import Tensor

from botorch_xval import FitOptions, fit_each, fit_gpytorch_mll
from botorch_xval.fitting.drive import minimize_each
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.modules import ByModules
from botorch_xval.fitting.losses.objective import StackedObjective

FOLDS, N, BAD = 6, 16, 2
STRATEGIES = ["loop", "batch", "auto"]


def prior() -> GammaPrior:
    return GammaPrior(3.0, 6.0)


class OwnKernel(RBFKernel):
    """Without a closed form, and in trouble where an input is 7."""

    def __init__(self, trouble: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.trouble = trouble

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params) -> Tensor:
        covariance = super().forward(x1, x2, diag=diag, **params)
        bad = (x1 == 7).any(dim=-1).any(dim=-1)
        if self.trouble == "none" or diag or not bad.any():
            return covariance
        if self.trouble == "error":
            raise ArithmeticError("the kernel broke")
        if self.trouble == "sometimes not positive definite":
            short = (self.lengthscale < 0.45).any(dim=-1).any(dim=-1)
            bad = bad & short
        where = bad[..., None, None].expand_as(covariance)
        return torch.where(where, torch.full_like(covariance, -9.0), covariance)


def folds(way: str, fault: str) -> list[ExactMarginalLogLikelihood]:
    generator = torch.Generator().manual_seed(3)
    rows = N + FOLDS
    X = torch.rand(rows, 2, generator=generator, dtype=torch.float64)
    noise = 0.2 * torch.randn(rows, 1, generator=generator, dtype=torch.float64)
    Y = (6 * X[:, :1]).sin() + X[:, 1:] ** 2 + noise
    mlls = []
    for i in range(FOLDS):
        kept = torch.arange(rows) % FOLDS != i
        x, y = X[kept][:N].clone(), Y[kept][:N].clone()
        trouble = "none"
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
                x[0] = 7.0
                trouble = fault
        bound = GreaterThan(1e-10, transform=None, initial_value=0.1)
        kernel = (
            RBFKernel(ard_num_dims=2, lengthscale_prior=prior())
            if way == "closed form"
            else OwnKernel(trouble, ard_num_dims=2, lengthscale_prior=prior())
        )
        if way == "one after the other" and i == FOLDS - 1:
            kernel = MaternKernel(ard_num_dims=2, lengthscale_prior=prior())
        model = SingleTaskGP(
            x,
            y,
            covar_module=kernel,
            likelihood=GaussianLikelihood(noise_constraint=bound),
        )
        if i == BAD and fault in ("nan", "inf"):
            targets = model.train_targets.clone()
            targets[4] = float(fault)
            model.train_targets = targets
        mlls.append(ExactMarginalLogLikelihood(model.likelihood, model))
    return mlls


KERNEL_FAULTS = ("error", "never positive definite", "sometimes not positive definite")
FAULTS: dict[str, str | None] = {  # and the message of a fault that has no fit
    "nan": "the loss at the start is nan|NanError",
    "inf": "the loss at the start is|NanError|NotPSDError",
    "constant target": None,
    "duplicated rows": None,
    "row at 1e6": None,
    "float32": None,
    "error": "ArithmeticError: the kernel broke",
    "never positive definite": "NotPSDError",
    "sometimes not positive definite": None,
}
WAYS = ["closed form", "modules", "one after the other"]
CASES = [
    (way, fault)
    for way in WAYS
    for fault in FAULTS
    if way != "closed form" or fault not in KERNEL_FAULTS
]


def values(mll: ExactMarginalLogLikelihood) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in mll.named_parameters()}


def are_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def fit(mlls: list[ExactMarginalLogLikelihood], strategy: str) -> dict[int, Exception]:
    torch.manual_seed(0)
    return fit_each(
        mlls,
        FitOptions(strategy=strategy, max_attempts=2, warning_handler=accept_abnormal),
    )


@pytest.mark.filterwarnings("ignore:A not p.d.")
@pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
@pytest.mark.filterwarnings("ignore:The model inputs are of type torch.float32")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("way, fault", CASES)
def test_the_others_end_bit_for_bit_as_without_the_fault(way, fault, strategy):
    healthy, mlls = folds(way, "none"), folds(way, fault)
    if way == "closed form" and fault != "float32":
        assert make_objective([m.train() for m in mlls]).is_parallel
    start = values(mlls[BAD])
    assert fit(healthy, strategy) == {}
    errors = fit(mlls, strategy)
    for i in set(range(FOLDS)) - {BAD}:
        (one,), (other,) = mlls[i].fit_records, healthy[i].fit_records
        assert one.losses == other.losses
        assert one.attempts == other.attempts == 1
        assert are_equal(values(mlls[i]), values(healthy[i]))
    (record,) = mlls[BAD].fit_records
    if FAULTS[fault] is None:
        assert errors == {}
        assert record.status is OptimizationStatus.SUCCESS or (
            "ABNORMAL" in record.message  # accepted by the handler
        )
        assert np.isfinite(record.loss) and record.loss < record.losses[0]
    else:
        assert set(errors) == {BAD}
        assert any(words in record.message for words in FAULTS[fault].split("|"))
        assert record.status is OptimizationStatus.FAILURE
        assert record.attempts == (1 if fault == "error" else 2)
        assert are_equal(values(mlls[BAD]), start)


# --- Ctrl-C -------------------------------------------------------------------------


def threads() -> tuple[object, ...]:
    """Limits of torch and BLAS, how many there are, and whether there are gradients."""
    pools = [pool["num_threads"] for pool in threadpool_info()]
    own = torch.get_num_threads(), torch.is_grad_enabled()
    return *own, pools, threading.active_count()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("evaluation", [0, 3, 11])
def test_an_interrupt_at_an_evaluation_leaves_all_models(
    way, strategy, evaluation, monkeypatch
):
    mlls = folds(way, "none")
    start, before = [values(mll) for mll in mlls], threads()
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
    assert all(are_equal(values(m), s) for m, s in zip(mlls, start, strict=True))
    assert threads() == before


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ctrl_c(strategy, monkeypatch):
    """A real one, to a fit in worker threads that takes its time."""
    mlls = folds("closed form", "none")
    start, before = [values(mll) for mll in mlls], threads()
    original = Exact.__call__

    def slow(self, theta, models):
        time.sleep(0.1)
        return original(self, theta, models)

    monkeypatch.setattr(Exact, "__call__", slow)
    # A process in the background may ignore it.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(mlls, strategy)
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, handler)
    assert all(are_equal(values(m), s) for m, s in zip(mlls, start, strict=True))
    for _ in range(50):  # workers end at their next step
        if threads() == before:
            break
        time.sleep(0.1)
    assert threads() == before


def test_an_interrupt_while_values_are_written_takes_them_back(monkeypatch):
    mlls = folds("closed form", "none")
    start = [values(mll) for mll in mlls]
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
    assert all(are_equal(values(m), s) for m, s in zip(mlls, start, strict=True))


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
    whole = ExactMarginalLogLikelihood(batch.likelihood, batch)
    start = values(whole)
    with pytest.raises(ModelFittingError, match="1 of 4 fits failed: model 1"):
        fit_gpytorch_mll(whole, max_attempts=2)
    for name, value in values(whole).items():
        assert torch.equal(value[1], start[name][1])
        assert torch.equal(value[0], value[3])
        assert not torch.equal(value[0], start[name][0])
    assert whole.training
