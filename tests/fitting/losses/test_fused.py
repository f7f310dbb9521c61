"""Compiled code against the formulas in torch; how it is made, and that it may fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from botorch.models import MultiTaskGP, SingleTaskGP
from covariances import (
    COVARIANCES,
    OTHERS,
    B,
    batch_with,
    choice,
    mixture,
    scalar,
    scaled,
)
from gpytorch.kernels import (
    AdditiveKernel,
    IndexKernel,
    LinearKernel,
    MaternKernel,
    PeriodicKernel,
    PolynomialKernel,
    ProductKernel,
    RBFKernel,
    RQKernel,
    ScaleKernel,
)
from gpytorch.means import LinearMean, ZeroMean
from gpytorch.priors import GammaPrior, HalfCauchyPrior
from helpers import IDENTITY, assert_close, mll_of, unit_waves

from botorch_xval import fit_gpytorch_mll
from botorch_xval.fitting.losses import fused
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.models.priors import BetaPrior

HAS_COMPILER = any(shutil.which(name) for name in fused.COMPILERS)
compiled = pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")


# Kernels that torch evaluates by autograd, with each way to have parameters.
KNOWN_HERE = {
    **{
        name: OTHERS[name]
        for name in ("rational quadratic", "linear", "polynomial", "periodic")
    },
    "rational quadratic, one lengthscale": lambda: RQKernel(batch_shape=B),
    "linear, a variance for each": lambda: LinearKernel(
        ard_num_dims=3, batch_shape=B, active_dims=(0, 1, 2)
    ),
    "cubic": lambda: scaled(PolynomialKernel(3, batch_shape=B, active_dims=(1, 0))),
    "periodic, one period": lambda: scaled(
        PeriodicKernel(batch_shape=B, active_dims=(0, 2))
    ),
    "all together": lambda: mixture(
        scaled(scalar(PeriodicKernel)),
        ProductKernel(
            scaled(scalar(RQKernel)), LinearKernel(batch_shape=B, active_dims=(1,))
        ),
        AdditiveKernel(
            scaled(choice()), PolynomialKernel(2, batch_shape=B, active_dims=(2,))
        ),
    ),
}


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """A cache without a library, of which this process does not know any either."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fused.fused_library.cache_clear()
    yield tmp_path / "botorch_xval"
    fused.fused_library.cache_clear()


def objective_of(mll) -> Exact:
    objective = make_objective([mll])
    assert isinstance(objective, Exact)
    return objective


def assert_both_agree(objective: Exact) -> None:
    assert objective._fused is not None
    generator = np.random.default_rng(1)
    models = list(range(objective.num_models))
    low, high = (
        np.stack([getattr(each, side) for each in objective.bounds])
        for side in ("lb", "ub")
    )
    for _ in range(3):
        away = objective.start + 0.5 * generator.uniform(size=objective.start.shape)
        theta = np.clip(away, low, high)
        losses, gradients, is_found = objective._fused(theta, models)
        expected = objective._in_torch(theta, models)
        assert is_found.all()
        assert_close(losses, expected[0], **IDENTITY)
        scale = np.abs(expected[1]).max()
        assert_close(gradients / scale, expected[1] / scale, rtol=0, atol=1e-9)


@compiled
@pytest.mark.parametrize("name", [*COVARIANCES, *KNOWN_HERE])
def test_every_kernel_with_formulas_agrees_with_torch(name):
    kernel = {**COVARIANCES, **KNOWN_HERE}[name]()
    assert_both_agree(objective_of(batch_with(kernel)))


@compiled
@pytest.mark.parametrize("n", [2, 7, 8, 9, 16, 23, 64, 101, 200])
def test_any_number_of_points(n):
    assert_both_agree(objective_of(batch_with(COVARIANCES["priors"](), n)))


@compiled
@pytest.mark.parametrize(
    "kwargs",
    [
        {"mean_module": ZeroMean(batch_shape=B)},
        {"mean_module": LinearMean(7, batch_shape=B)},
        {"mean_module": LinearMean(7, batch_shape=B, bias=False)},
        {"train_Yvar": torch.full((*B, 10, 1), 0.02, dtype=torch.float64)},
    ],
    ids=["no mean", "linear", "weights only", "known noise"],
)
def test_means_and_known_noise(kwargs):
    assert_both_agree(objective_of(batch_with(scalar(RBFKernel), **kwargs)))


@compiled
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("prior", [None, BetaPrior(2.5, 1.5)])
def test_several_tasks(rank, prior):
    torch.manual_seed(1)
    X, Y = unit_waves(20)
    task = torch.arange(20)[:, None] % 3
    model = MultiTaskGP(
        torch.cat([task.to(X), X], dim=-1),
        Y + task,
        task_feature=0,
        rank=rank,
        task_covar_prior=prior,
    )
    assert_both_agree(objective_of(mll_of(model)))


@compiled
def test_an_index_kernel_that_is_not_divided():
    torch.manual_seed(1)
    X, Y = unit_waves(20)
    task = (torch.arange(20)[:, None] % 4).to(X)
    kernel = RBFKernel(active_dims=(0, 1)) * IndexKernel(4, rank=2, active_dims=(2,))
    model = SingleTaskGP(torch.cat([X, task], dim=-1), Y + task, covar_module=kernel)
    assert_both_agree(objective_of(mll_of(model)))


@compiled
def test_the_gradient_is_that_of_the_loss():
    objective = objective_of(batch_with(COVARIANCES["nested mixtures"]()))
    theta, h = objective.start[[2]] + 0.1, 1e-6
    _, gradients = objective(theta, [2])
    steps = h * np.eye(theta.shape[1])
    differences = [
        (objective(theta + step, [2])[0] - objective(theta - step, [2])[0]) / (2 * h)
        for step in steps
    ]
    assert_close(gradients[0], np.concatenate(differences), rtol=1e-6, atol=1e-8)


@compiled
def test_threads_with_copies_get_the_same_to_the_last_bit():
    objective = objective_of(batch_with(COVARIANCES["nested mixtures"](), 50))
    theta = np.tile(objective.start + 0.1, (40, 1))
    models = list(range(5)) * 40
    expected = objective(theta, models)
    workers = objective.workers(4)
    assert len({id(worker._fused) for worker in workers}) == 4
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda worker: worker(theta, models), workers):
            assert np.array_equal(found[0], expected[0])
            assert np.array_equal(found[1], expected[1])
    alone = objective(theta[[3]], [3])
    assert alone[0][0] == expected[0][3]
    assert np.array_equal(alone[1][0], expected[1][3])


@compiled
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_point_without_a_value_is_left_to_torch(bad):
    objective = objective_of(batch_with(COVARIANCES["rbf"]()))
    theta = objective.start[:3].copy()
    theta[1, objective.table.columns["likelihood.noise_covar.raw_noise"]] = bad
    _, _, is_found = objective._fused(theta, [0, 1, 2])
    assert is_found.tolist() == [True, False, True]
    losses, _ = objective(theta, [0, 1, 2])
    others, _ = objective(objective.start[:3], [0, 1, 2])
    assert losses[0] == others[0] and losses[2] == others[2]


@compiled
def test_a_point_without_a_value_has_nan_also_with_other_priors(monkeypatch):
    kernel = RBFKernel(batch_shape=B, lengthscale_prior=HalfCauchyPrior(1.0))
    objective = objective_of(batch_with(scaled(kernel)))
    theta = objective.start[:3].copy()
    theta[1, objective.table.columns["likelihood.noise_covar.raw_noise"]] = np.inf

    def with_infinities(shape, dtype=np.float64):
        return np.full(shape, -np.inf if dtype == np.float64 else 0, dtype)

    monkeypatch.setattr(np, "empty", with_infinities)  # what may be in new memory
    monkeypatch.setattr(np, "empty_like", lambda a: with_infinities(a.shape))
    losses, gradients, is_found = objective._fused(theta, [0, 1, 2])
    assert is_found.tolist() == [True, False, True]
    assert np.isnan(losses).tolist() == [False, True, False]
    assert np.isnan(gradients).all(axis=1).tolist() == [False, True, False]


@compiled
def test_infinite_priors_of_opposite_signs_are_no_warning():
    kernel = RBFKernel(batch_shape=B, lengthscale_prior=HalfCauchyPrior(1.0))
    peak = GammaPrior(0.5, 1.0)  # whose density is infinite at zero
    model = batch_with(ScaleKernel(kernel, outputscale_prior=peak, batch_shape=B))
    objective = objective_of(model)
    theta = objective.start[:1].copy()
    columns = objective.table.columns
    theta[:, columns["model.covar_module.base_kernel.raw_lengthscale"]] = 1e160
    theta[:, columns["model.covar_module.raw_outputscale"]] = -1e3
    losses, _, is_found = objective._fused(theta, [0])
    assert is_found.all() and np.isnan(losses).all()


@compiled
def test_models_that_are_not_a_tree_of_formulas_have_none():
    assert objective_of(batch_with(OTHERS["of a user"]()))._fused is None
    assert objective_of(batch_with(OTHERS["in a sum"]()))._fused is None


@compiled
def test_models_beyond_the_cache_have_none(monkeypatch):
    monkeypatch.setattr("botorch_xval.fitting.losses.closed_form.MOST_POINTS", 9)
    assert objective_of(batch_with(COVARIANCES["rbf"]()))._fused is None


@compiled
def test_exponential_functions_of_any_distance():
    """One lengthscale after the other, so that distances reach from 0 to 1e8."""
    X = torch.linspace(0, 1, 30, dtype=torch.float64)[:, None]
    Y = X.sin()
    for kernel in (RBFKernel(), *(MaternKernel(nu) for nu in (0.5, 1.5, 2.5))):
        model = SingleTaskGP(
            X, Y, covar_module=ScaleKernel(kernel), outcome_transform=None
        )
        for lengthscale in 10.0 ** np.arange(-8, 2):
            kernel.lengthscale = lengthscale
            objective = objective_of(mll_of(model))
            found = objective._fused(objective.start, [0])
            expected = objective._in_torch(objective.start, [0])
            assert found[2].all()
            assert_close(found[0], expected[0], rtol=1e-9)
            scale = np.abs(expected[1]).max()
            assert_close(found[1] / scale, expected[1] / scale, rtol=0, atol=1e-7)


@compiled
def test_nothing_is_read_beyond_the_models():
    objective = objective_of(batch_with(COVARIANCES["rbf"]()))
    theta = objective.start[:2]
    for points, models in ((theta, [0]), (theta, [0, 5]), (theta, [-1, 0])):
        with pytest.raises(IndexError, match="among 5"):
            objective._fused(points, models)
    with pytest.raises(IndexError, match="parameters of each"):
        objective._fused(theta[:, 1:], [0, 1])


@compiled
def test_parameters_of_other_width_are_refused():
    objective = objective_of(batch_with(COVARIANCES["rbf"]()))
    leaf = objective._kernel
    leaf.columns = slice(leaf.columns.start, leaf.columns.start + 2)  # of three
    assert objective._compiled() is None


# --- how the code is made -----------------------------------------------------------


@compiled
def test_it_is_compiled_once(empty_cache, monkeypatch):
    assert fused.fused_library() is not None
    assert [path.suffix for path in empty_cache.iterdir()] == [".so"]

    def never(*_, **__):
        raise AssertionError("compiled again")

    monkeypatch.setattr(subprocess, "run", never)
    fused.fused_library.cache_clear()
    assert fused.fused_library() is not None


@compiled
def test_another_source_or_another_processor_is_compiled_anew(
    empty_cache, monkeypatch, tmp_path
):
    first = fused._compiled()
    other = tmp_path / "fused.cpp"
    other.write_bytes(fused.SOURCE.read_bytes() + b"\n// changed\n")
    monkeypatch.setattr(fused, "SOURCE", other)
    second = fused._compiled()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert len({first, second, fused._compiled()}) == 3


@compiled
def test_code_for_any_processor_agrees_with_that_for_this_one(empty_cache, monkeypatch):
    mll = batch_with(COVARIANCES["priors"](), 30)
    own = objective_of(mll)
    expected = own(own.start, range(5))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    fused.fused_library.cache_clear()
    other = objective_of(mll)
    assert other._fused._library is not own._fused._library
    for found, known in zip(other(own.start, range(5)), expected, strict=True):
        assert_close(found, known, **IDENTITY)


def _no_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(fused, "COMPILERS", ("no-such-compiler",))


def _broken_source(monkeypatch, tmp_path):
    other = tmp_path / "broken.cpp"
    other.write_text("no C++")
    monkeypatch.setattr(fused, "SOURCE", other)


def _broken_library(monkeypatch, tmp_path):
    other = tmp_path / "broken.so"
    other.write_bytes(b"no library")
    monkeypatch.setattr(fused, "_compiled", lambda: other)


def _no_home(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))


def _nobody(monkeypatch, tmp_path):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(fused.Path, "home", unknown)


def _no_time(monkeypatch, tmp_path):
    def slow(command, **_):
        raise subprocess.TimeoutExpired(command, 120)

    monkeypatch.setattr(subprocess, "run", slow)


@pytest.mark.parametrize(
    "fault",
    [_no_compiler, _broken_source, _broken_library, _no_home, _nobody, _no_time],
)
def test_without_compiled_code_the_same_is_found_in_torch(
    fault, empty_cache, monkeypatch, tmp_path
):
    X, Y = unit_waves(12)
    models = [SingleTaskGP(X, Y) for _ in range(2)]
    losses = []
    for model in models:
        mll = mll_of(model)
        fit_gpytorch_mll(mll)
        losses.append(mll.fit_records[0].loss)
        shutil.rmtree(empty_cache, ignore_errors=True)
        fault(monkeypatch, tmp_path)
        fused.fused_library.cache_clear()
    assert fused.fused_library() is None
    assert objective_of(mll_of(models[1]))._fused is None
    assert_close(losses[0], losses[1], rtol=1e-7)
    if empty_cache.exists():  # nothing half-written
        assert all(path.suffix == ".so" for path in empty_cache.iterdir())


@compiled
def test_the_named_compiler_is_taken(empty_cache, monkeypatch, tmp_path):
    real = next(path for path in map(shutil.which, fused.COMPILERS) if path)
    own = tmp_path / "own-compiler"
    own.write_text(f'#!/bin/sh\ntouch {tmp_path}/was-called\nexec {real} "$@"\n')
    own.chmod(0o755)
    monkeypatch.setenv("CXX", str(own))
    assert fused.fused_library() is not None
    assert os.path.exists(tmp_path / "was-called")
