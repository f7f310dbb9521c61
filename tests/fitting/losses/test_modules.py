"""Losses by GPyTorch's modules against every model's own loss and gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.models import MultiTaskGP, SingleTaskGP
from botorch.models.map_saas import EnsembleMapSaasSingleTaskGP
from botorch.models.transforms import ChainedInputTransform, Normalize, Warp
from botorch.optim.closures import get_loss_closure
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.mlls import MarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from helpers import (
    TroubledKernel,
    are_equal,
    assert_close,
    fold_mlls,
    losses_of,
    mll_of,
    normalized_gp,
    unit_waves,
    values_of,
)
from torch import Tensor

from botorch_xval.fitting.losses.modules import ByModules, Joint
from botorch_xval.fitting.losses.objective import Stack

X, Y = unit_waves(8)


def own(mll: MarginalLogLikelihood) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses of an mll and the gradients of their sum by name."""
    parameters = dict(mll.named_parameters())
    losses = get_loss_closure(mll)()
    gradients = torch.autograd.grad(losses.sum(), list(parameters.values()))
    return losses.detach(), dict(zip(parameters, gradients, strict=True))


# --- by slices of stacked models ----------------------------------------------------


def two_outputs(X, Y):
    return SingleTaskGP(X, torch.cat([Y, Y**2], dim=-1))


def noisy(X, Y):
    return SingleTaskGP(X, Y, 0.01 + 0.1 * X[..., :1])


def warped(X, Y):
    """It learns its range inside; the batch has one range, each model its own."""
    batch_shape = X.shape[:-2] if X.ndim > 2 else None
    warp = Warp(d=2, indices=[0], batch_shape=batch_shape)
    return SingleTaskGP(X, Y, input_transform=warp)


def chained(X, Y):
    transform = ChainedInputTransform(
        normalize=Normalize(2), warp=Warp(d=2, indices=[0])
    )
    return SingleTaskGP(X, Y, input_transform=transform)


def troubled(X, Y):
    return SingleTaskGP(X, Y, covar_module=TroubledKernel())


def multi_task(X, Y):
    tasks = torch.arange(len(X), dtype=X.dtype)[:, None] % 2
    return MultiTaskGP(torch.cat([X, tasks], dim=-1), Y, task_feature=-1)


@pytest.mark.parametrize(
    "model",
    [normalized_gp, two_outputs, noisy, warped, chained, troubled, multi_task],
)
def test_ordinary_models_have_their_own_losses_and_gradients(model):
    mlls = fold_mlls(model, X, Y, 4)
    objective = ByModules(Stack(mlls, None, None))
    generator = np.random.default_rng(0)
    theta = objective.start + 0.2 * generator.uniform(size=objective.start.shape)
    each = objective.num_models // 4
    everyone = list(range(objective.num_models))
    losses, gradients = objective(theta, everyone)
    for models in ([0], [3, 1], [2, 2, 0]):  # slices equal the whole
        part = objective(theta[models], models)
        assert_close(part[0], losses[models])
        assert_close(part[1], gradients[models], rtol=1e-8)
    objective.write(theta)
    for i, mll in enumerate(mlls):
        part = slice(i * each, (i + 1) * each)
        loss, gradient = own(mll)
        assert_close(losses[part], loss.reshape(-1), rtol=1e-9)
        for row in range(each):
            for name, value in objective.parameters(gradients[part][row], 0).items():
                expected = gradient[name].reshape(each, -1)[row].reshape(value.shape)
                assert_close(value, expected, rtol=1e-8, atol=1e-8)


def batched_data(shape: tuple[int, ...], m: int = 1) -> tuple[Tensor, Tensor]:
    """Shrunk inputs, a little less in each model."""
    size = int(np.prod(shape))
    shrink = torch.linspace(0.5, 1, size, dtype=torch.float64).view(*shape, 1, 1)
    outcomes = torch.cat([Y * (k + 1) + k * X[:, :1] for k in range(m)], dim=-1)
    return shrink * X, shrink * outcomes


def saas(X, Y):
    torch.manual_seed(0)
    return EnsembleMapSaasSingleTaskGP(X, Y, num_taus=3)


def equal_to_the_number_of_inputs(X, Y):
    """Then a buffer may look as if it had the batch shape."""
    prior = LogNormalPrior(torch.tensor([0.1, 0.9]), torch.tensor([1.0, 2.0]))
    kernel = MaternKernel(
        ard_num_dims=2, batch_shape=torch.Size([2]), lengthscale_prior=prior
    )
    return SingleTaskGP(X, Y, covar_module=kernel).double()


@pytest.mark.parametrize(
    ("model", "shape", "m"),
    [
        (normalized_gp, (4,), 1),
        (SingleTaskGP, (4,), 3),
        (normalized_gp, (2, 3), 1),
        (warped, (5,), 1),
        (saas, (), 1),
        (equal_to_the_number_of_inputs, (2,), 1),
    ],
)
def test_members_of_a_batch_have_their_own_losses_for_any_choice(model, shape, m):
    mll = mll_of(model(*(batched_data(shape, m) if shape else (X, Y))))
    losses, gradient = own(mll)
    objective = ByModules(Stack([mll], None, None))
    assert objective.num_models == losses.numel()
    last = objective.num_models - 1
    for models in ([0], [last, 0], [last], list(range(last + 1))):
        found, slopes = objective(objective.start[models], models)
        assert_close(found, losses.reshape(-1)[models])
        for k, i in enumerate(models):
            for name, value in objective.parameters(slopes[k], i).items():
                expected = gradient[name].reshape(last + 1, -1)[i].reshape(value.shape)
                assert_close(value, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
@pytest.mark.filterwarnings("ignore:The model inputs are of type torch.float32")
def test_float32_models():
    mlls = fold_mlls(normalized_gp, X.float(), Y.float(), 3)
    objective = ByModules(Stack(mlls, None, None))
    losses, gradients = objective(objective.start, [0, 1, 2])
    assert losses.dtype == gradients.dtype == np.float64
    assert_close(losses, [losses_of(mll).item() for mll in mlls], rtol=1e-3)


def test_what_is_not_optimized_is_each_models_own():
    mlls = fold_mlls(normalized_gp, X, Y, 4)
    for i, mll in enumerate(mlls):
        mll.likelihood.noise = 0.1 + 0.1 * i
        mll.likelihood.raw_noise.requires_grad_(False)
    noise = [mll.likelihood.noise.item() for mll in mlls]
    objective = ByModules(Stack(mlls, None, None))
    assert set(objective.parameters(objective.start[0], 0)) == {
        "model.mean_module.raw_constant",
        "model.covar_module.raw_lengthscale",
    }
    losses, _ = objective(objective.start[[3, 1]], [3, 1])
    assert_close(losses, [losses_of(mlls[i]).item() for i in (3, 1)])
    assert (objective.sample(range(4)) != objective.start).any()
    assert [mll.likelihood.noise.item() for mll in mlls] == noise


def test_one_model_is_evaluated_alone():
    assert ByModules(Stack([mll_of(noisy(X, Y))], None, None)).group_size == 1
    assert ByModules(Stack(fold_mlls(noisy, X, Y, 2), None, None)).group_size == 32


# --- one loss for all models --------------------------------------------------------


def shared() -> MarginalLogLikelihood:
    kernel = ScaleKernel(MaternKernel(lengthscale_prior=GammaPrior(3.0, 6.0)))
    return mll_of(SingleTaskGP(*batched_data((3,)), covar_module=kernel))


def test_the_joint_loss_is_the_sum_and_its_gradient():
    mll = shared()
    before = values_of(mll)
    objective = Joint(mll, None, None)
    assert objective.num_models == 1
    losses, gradients = objective(objective.start, [0])
    assert_close(losses, losses_of(mll).sum().reshape(1))
    step = 1e-6 * np.eye(objective.start.size)
    ahead, behind = (
        np.array([objective(objective.start + sign * e, [0])[0][0] for e in step])
        for sign in (1, -1)
    )
    assert_close(gradients[0], (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-6)
    assert are_equal(values_of(mll), before)  # an evaluation leaves it as it was


def test_joint_values_are_written_sampled_and_named():
    torch.manual_seed(0)
    mll = shared()
    names = ["model.covar_module.base_kernel.raw_lengthscale"]
    low = {names[0]: (-0.5, None)}
    objective = Joint(mll, names, low)
    assert objective.bounds[0].lb.tolist() == [-0.5]
    before = values_of(mll)
    assert objective.sample([0]).shape == (1, 1)
    assert are_equal(values_of(mll), before)
    objective.write(np.array([[0.7]]))
    assert mll.get_parameter(names[0]).item() == 0.7
    (name,) = objective.parameters(np.array([0.3]), 0)
    assert name == names[0]


def test_a_joint_evaluation_that_is_interrupted_takes_its_values_back(monkeypatch):
    mll = shared()
    objective, before = Joint(mll, None, None), values_of(mll)

    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(objective, "_closure", interrupt)
    with pytest.raises(KeyboardInterrupt):
        objective(objective.start + 1, [0])
    assert are_equal(values_of(mll), before)
