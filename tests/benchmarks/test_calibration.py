"""The closed forms of the calibration against GPyTorch, refits and simulation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from gpytorch.kernels import MaternKernel, RBFKernel
from helpers import assert_close
from scipy import stats

FILE = Path(__file__).parents[2] / "benchmarks" / "calibration.py"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """A script of the benchmarks, which are no package."""
    spec = spec_from_file_location("calibration", FILE)
    module = module_from_spec(spec)
    sys.modules["calibration"] = module  # where its dataclass looks for its names
    spec.loader.exec_module(module)
    module.NEW = 100
    yield module
    del sys.modules["calibration"]


def test_covariances_are_gpytorchs(script):
    points = np.random.default_rng(0).random((6, 3))
    for kernel, own in (
        (MaternKernel(nu=2.5), script.matern),
        (RBFKernel(), script.rbf),
    ):
        kernel = kernel.double()
        kernel.lengthscale = 1.0
        scaled = torch.from_numpy(points / script.TRUE)
        expected = kernel(scaled[:4], scaled).to_dense().detach()
        assert_close(own(points[:4], points, script.TRUE), expected, 1e-7, 1e-7)


def test_leave_one_out_is_that_of_fits_without_the_row(script):
    rng = np.random.default_rng(1)
    X, new = rng.random((9, 3)), rng.random((40, 3))
    y, f, noise = rng.normal(size=9), rng.normal(size=40), 0.3
    design = script.Design(X, new, np.eye(49))
    covariance = partial(script.matern, lengthscales=script.TRUE)

    def predict(rows, points):
        own = covariance(X[rows], X[rows]) + noise**2 * np.eye(len(rows))
        cross = covariance(points, X[rows])
        mean = cross @ np.linalg.solve(own, y[rows])
        shared = np.einsum("ij,ji->i", cross, np.linalg.solve(own, cross.T))
        return mean, 1 - shared + noise**2

    scores, truth = script.by_known(design, y, f, noise, covariance)
    for i in range(9):
        mean, variance = predict(np.delete(np.arange(9), i), X[[i]])
        assert_close(scores[i], stats.norm.logpdf(y[i], mean[0], variance[0] ** 0.5))
    mean, variance = predict(np.arange(9), new)
    outcomes = f + noise * rng.normal(size=(20_000, 40))
    drawn = stats.norm.logpdf(outcomes, mean, np.sqrt(variance))
    error = stats.sem(drawn.mean(axis=1))
    assert abs(truth - drawn.mean()) < 4 * error


def test_functions_have_the_covariance(script):
    design = script.Design.draw(5, seed=0)
    both = np.concatenate([design.X, design.new])
    expected = script.matern(both, both, script.TRUE) + 1e-8 * np.eye(len(both))
    assert_close(design.root @ design.root.T, expected, 1e-7, 1e-7)
    f, new = design.function(np.random.default_rng(0))
    assert len(f) == 5 and len(new) == script.NEW


def test_tables_say_how_often_the_one_behind_is_worse(script):
    pairs = {"a pair": next(iter(script.KNOWN.values()))}
    script.SIZES, script.NOISES = (20,), (0.5,)
    found = script.simulate("known", pairs, 5)
    assert len(found) == 5 * script.DESIGNS
    assert found.stated.between(0.5, found.ordinary).all()
    (line,) = script.reliability(found, "ordinary")
    assert line.startswith("| known | 20 |")
    (line,) = script.errors(found)
    assert f"| 20 | {len(found)} | {found.error.mean():+.3f} |" in line
    expected = ((found.stated - found.right) ** 2).mean()
    assert script.brier(found, "stated") == f"{expected:.3f} (known)"
