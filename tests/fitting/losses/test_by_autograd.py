"""Kernels without a closed form, by their own `forward`, inside that of the rest.

Their values and derivatives are compared in `test_nodes.py` and `test_exact.py`, too.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.optim.closures import get_loss_closure
from covariances import OTHERS, Distances, batch_with
from gpytorch.kernels import AdditiveKernel, Kernel, RQKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import SAME, assert_close, mll_of, unit_waves
from torch import Tensor

from botorch_xval.fitting.losses.by_autograd import ByAutograd
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective

# Categories are numbers beyond one.
pytestmark = pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")


def model_with(kernel: Kernel, X: Tensor, Y: Tensor) -> ExactMarginalLogLikelihood:
    return mll_of(SingleTaskGP(X, Y, covar_module=kernel, outcome_transform=None))


@pytest.mark.parametrize("name", OTHERS)
def test_other_kernels_are_evaluated_by_autograd(name):
    def all_of(node):
        return [node, *(each for child in node.children for each in all_of(child))]

    objective = make_objective([batch_with(OTHERS[name]())])
    assert type(objective) is Exact
    kinds = [type(each) for each in all_of(objective._kernel)]
    assert ByAutograd in kinds


@pytest.mark.parametrize("count", [1, 3])
def test_ordinary_models_with_a_kernel_of_a_user(count):
    X, Y = unit_waves(12)
    mlls = [
        model_with(ScaleKernel(Distances(ard_num_dims=2)), X[i : i + 9], Y[i : i + 9])
        for i in range(count)
    ]
    objective = make_objective(mlls)
    assert type(objective) is Exact
    theta = objective.start + 0.1 * np.arange(count)[:, None]
    losses, gradients = objective(theta, range(count))
    objective.write(theta)
    for i, mll in enumerate(mlls):
        loss = get_loss_closure(mll)()
        slopes = torch.autograd.grad(loss, list(mll.parameters()))
        assert_close(losses[i], loss)
        own = torch.cat([slope.reshape(-1) for slope in slopes])
        assert_close(gradients[i], own, rtol=1e-9, atol=1e-9)


class Shifted(Kernel):
    """With a buffer that is learned from data."""

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_parameter("slope", torch.nn.Parameter(torch.ones(1, 1)))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object):
        one, other = (self.slope * (x - self.shift) for x in (x1, x2))
        return (one * other).sum(dim=-1) if diag else one @ other.mT


def test_buffers_of_a_kernel_belong_to_their_models():
    X, Y = unit_waves(12)
    data = [(X[i : i + 9], Y[i : i + 9]) for i in range(3)]
    mlls = [model_with(Shifted(x.mean(dim=0, keepdim=True)), x, y) for x, y in data]
    objective = make_objective(mlls)
    assert type(objective) is Exact
    others = torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(0)).double()
    means, variances, _ = objective.predict(objective.start[[2, 1]], [2, 1], others)
    losses, _ = objective(objective.start[[2, 1]], [2, 1])
    for k, i in enumerate((2, 1)):
        assert_close(losses[k], get_loss_closure(mlls[i])())
        posterior = mlls[i].model.eval().posterior(others[k])
        assert_close(means[k], posterior.mean[:, 0], **SAME)
        assert_close(variances[k], posterior.variance[:, 0], **SAME)


def test_threads_have_copies_of_kernels_without_parts():
    data = [unit_waves(12, seed) for seed in range(4)]
    mlls = [model_with(ScaleKernel(Distances(ard_num_dims=2)), *each) for each in data]
    objective = make_objective(mlls)
    assert objective.is_parallel
    theta = objective.start + 0.1 * np.arange(4)[:, None]
    expected = objective(theta, range(4))
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            tasks = [
                pool.submit(worker, theta[part], part)
                for worker, part in zip(
                    objective.workers(2), ([0, 1], [2, 3]), strict=True
                )
            ]
            losses, gradients = zip(*(task.result() for task in tasks), strict=True)
            assert_close(np.concatenate(losses), expected[0])
            assert_close(np.concatenate(gradients), expected[1])
    # GPyTorch's settings are those of all threads.
    inner = [model_with(ScaleKernel(Distances() + RQKernel()), *d) for d in data[:2]]
    assert make_objective(inner).is_parallel  # a sum has a node
    whole = [model_with(AdditiveKernel(RQKernel()), *d) for d in data[:2]]
    assert not make_objective(whole).is_parallel
