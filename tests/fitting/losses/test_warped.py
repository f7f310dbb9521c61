"""Models of warped inputs against GPyTorch's modules, compiled and in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.models import MixedSingleTaskGP, SingleTaskGP
from botorch.models.transforms.input import ChainedInputTransform, Normalize, Warp
from gpytorch.kernels import (
    AdditiveKernel,
    Kernel,
    MaternKernel,
    PeriodicKernel,
    ProductKernel,
    RBFKernel,
    RQKernel,
    ScaleKernel,
)
from gpytorch.means import LinearMean
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
from helpers import IDENTITY, assert_close, mll_of
from torch import Tensor

from botorch_xval.fitting.losses import fused
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.modules import ByModules
from botorch_xval.fitting.losses.objective import Stack
from botorch_xval.models.kernels import ChoiceKernel

D = 4
compiled = pytest.mark.skipif(fused.fused_library() is None, reason="no C++ compiler")


def data(count: int = 5, n: int = 14) -> tuple[Tensor, Tensor]:
    """Three scalars, some at the ends of their range, and a choice of two values."""
    generator = torch.Generator().manual_seed(3)
    X = torch.rand(count, n, D, generator=generator, dtype=torch.float64)
    X[:, 0, :3], X[:, 1, :3] = 0, 1
    X[..., 3] = (X[..., 3] > 0.5).double()
    noise = torch.randn(count, n, 1, generator=generator, dtype=torch.float64)
    return X, (3 * X).sum(dim=-1, keepdim=True).sin() + 0.2 * noise


def warp(**kwargs) -> Warp:
    prior = LogNormalPrior(0.0, 0.75**0.5)
    priors = {"concentration0_prior": prior, "concentration1_prior": prior}
    return Warp(d=D, indices=[2, 0], **priors, **kwargs)


def chain() -> ChainedInputTransform:
    return ChainedInputTransform(range=Normalize(D, indices=[0, 1]), warp=warp())


def kernel(kind: type[Kernel], dims: tuple[int, ...], **kwargs) -> Kernel:
    return kind(ard_num_dims=len(dims), active_dims=dims, **kwargs)


KERNELS = {
    "rbf": lambda: kernel(RBFKernel, (0, 1, 2, 3)),
    "matern 1/2": lambda: ScaleKernel(kernel(MaternKernel, (2, 1), nu=0.5)),
    "matern 3/2": lambda: ScaleKernel(MaternKernel(nu=1.5)),
    "matern 5/2 and a choice": lambda: ProductKernel(
        kernel(MaternKernel, (0, 1, 2)), kernel(ChoiceKernel, (3,))
    ),
    "additive": lambda: AdditiveKernel(
        *[ScaleKernel(kernel(MaternKernel, (i,))) for i in range(3)]
    ),
}


def model_of(X: Tensor, Y: Tensor, transform, covariance) -> ExactMarginalLogLikelihood:
    return mll_of(
        SingleTaskGP(X, Y, input_transform=transform, covar_module=covariance)
    )


def away_from_start(objective) -> np.ndarray:
    generator = np.random.default_rng(0)
    theta = objective.start + 0.4 * generator.uniform(-1, 1, objective.start.shape)
    return np.clip(theta, objective.bounds[0].lb, objective.bounds[0].ub)


def assert_as_modules(*mlls: ExactMarginalLogLikelihood) -> Exact:
    by_modules = ByModules(Stack(mlls, None, None))
    theta = away_from_start(by_modules)
    models = list(range(len(theta)))[::-1]
    objective = make_objective(mlls)
    assert type(objective) is Exact
    expected = by_modules(theta[models], models)
    for way in (objective, objective._in_torch):
        losses, gradients = way(theta[models], models)
        np.testing.assert_allclose(losses, expected[0], rtol=1e-8)
        np.testing.assert_allclose(gradients, expected[1], rtol=1e-7, atol=1e-8)
    return objective


@compiled
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("make", [warp, chain])
@pytest.mark.parametrize("count", [1, 3])
def test_ordinary_models(name, make, count):
    X, Y = data(count)
    X[..., :2] *= 3 if make is chain else 1
    objective = assert_as_modules(
        *[model_of(X[i], Y[i], make(), KERNELS[name]()) for i in range(count)]
    )
    assert objective._fused is not None and objective.is_parallel
    theta = away_from_start(objective)
    models = list(range(count))
    losses, gradients, is_found = objective._fused(theta, models)
    expected = objective._in_torch(theta, models)
    assert is_found.all()
    assert_close(losses, expected[0], **IDENTITY)
    assert_close(gradients, expected[1], rtol=1e-8, atol=1e-9)


@compiled
def test_a_batch_and_botorchs_default_and_mixed_models():
    X, Y = data()
    B = torch.Size([5])
    for model in (
        SingleTaskGP(X, Y, input_transform=warp(batch_shape=B)),
        MixedSingleTaskGP(X[0], Y[0], cat_dims=[3], input_transform=warp()),
    ):
        assert assert_as_modules(mll_of(model))._fused is not None


@compiled
def test_the_gradient_is_that_of_the_loss():
    X, Y = data(1)
    objective = make_objective([model_of(X[0], Y[0], warp(), KERNELS["rbf"]())])
    theta = away_from_start(objective)
    _, (gradient,) = objective(theta, [0])
    for k, slope in enumerate(gradient):
        step = np.zeros_like(theta)
        step[0, k] = 1e-5
        ahead, behind = (objective(theta + s * step, [0])[0][0] for s in (1, -1))
        assert slope == pytest.approx((ahead - behind) / 2e-5, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(
    "transform, covariance",
    [
        (warp, lambda: kernel(PeriodicKernel, (0,))),
        (warp, lambda: ScaleKernel(RQKernel())),
        (lambda: warp(reverse=True), KERNELS["rbf"]),
        (
            lambda: ChainedInputTransform(
                warp=warp(),
                range=Normalize(D, bounds=torch.tensor([[0.0] * D, [2.0] * D])),
            ),
            KERNELS["rbf"],
        ),
    ],
    ids=["periodic", "rational quadratic", "reverse", "not the last"],
)
def test_what_compiled_code_does_not_know_is_left_to_torch(transform, covariance):
    X, Y = data(2)
    X = 0.1 + 0.8 * X  # the way back is infinitely steep at the ends
    objective = assert_as_modules(
        *[model_of(X[i], Y[i], transform(), covariance()) for i in range(2)]
    )
    assert objective._fused is None and not objective.is_parallel


@compiled
def test_a_kernel_of_inputs_that_are_not_warped_keeps_its_formulas():
    X, Y = data(1)
    own = AdditiveKernel(KERNELS["additive"](), ScaleKernel(PeriodicKernel()))
    own.kernels[1].base_kernel.active_dims = torch.tensor([1])
    own.kernels[1].active_dims = torch.tensor([1])
    objective = assert_as_modules(model_of(X[0], Y[0], warp(), own))
    assert objective._fused is not None


@compiled
def test_some_of_the_points_keep_the_ranges_of_all():
    X, Y = data(1)
    objective = make_objective([model_of(3 * X[0], Y[0], chain(), KERNELS["rbf"]())])
    few = objective.of_rows(np.arange(2, 12))  # without the ends
    theta = away_from_start(objective)
    losses, gradients = few(theta, [0])
    expected = few._in_torch(theta, [0])
    assert_close(losses, expected[0], **IDENTITY)
    inner = objective._in_torch(theta, [0])
    assert abs(losses[0] - inner[0][0]) > 1e-3
    node = objective._kernel.forward(torch.as_tensor(theta))[0][0, 2:12, 2:12]
    few._select([0])
    values, _ = few._values.transform(torch.as_tensor(theta))
    objective._select([0])
    whole = objective._kernel.forward(values)[0][0, 2:12, 2:12]
    assert_close(few._kernel.forward(values)[0][0, :10, :10], whole)
    assert node.shape == whole.shape
    assert np.isfinite(gradients).all()


def test_a_linear_mean_of_warped_inputs_takes_the_modules():
    X, Y = data(1)
    model = SingleTaskGP(X[0], Y[0], input_transform=warp(), mean_module=LinearMean(D))
    assert type(make_objective([mll_of(model)])) is ByModules


@compiled
@pytest.mark.parametrize("second", [1e-4, 1.0, 1e3, 1e9, 1e15, 1e17])
@pytest.mark.parametrize("first", [1e-4, 0.1, 1.0, 20.0, 60.0])
def test_extreme_concentrations_are_rounded_as_botorch_rounds_them(first, second):
    """A concentration without a prior runs away, to where rounding is the optimum."""
    X, Y = data(1)
    mll = model_of(X[0], Y[0], Warp(d=D, indices=[0, 1, 2]), KERNELS["rbf"]())
    with torch.no_grad():
        mll.model.input_transform.concentration1.fill_(first)
        mll.model.input_transform.concentration0.fill_(second)
    by_modules = ByModules(Stack([mll], None, None))
    objective = Exact(by_modules)
    losses, gradients, is_found = objective._fused(objective.start, [0])
    expected = by_modules(objective.start, [0])
    assert is_found.all()
    np.testing.assert_allclose(losses, expected[0], rtol=1e-6)
    scale = np.abs(expected[1]).max()
    np.testing.assert_allclose(gradients / scale, expected[1] / scale, atol=1e-6)
