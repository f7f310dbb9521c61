"""Nodes against the kernels that they stand for, and against autograd."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from covariances import COVARIANCES, OTHERS, B, N, batch_with, mixed_data
from helpers import assert_close
from torch import Tensor

from botorch_xval.fitting.losses.by_autograd import Batch
from botorch_xval.fitting.losses.covariances import build_node
from botorch_xval.fitting.losses.nodes import Node, Workspace
from botorch_xval.fitting.losses.parameters import ParameterTable
from botorch_xval.fitting.losses.together import modules_of_batch
from botorch_xval.fitting.losses.values import Values

# Categories are numbers beyond one.
pytestmark = pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
CHOSEN = [3, 0, 3]


@pytest.fixture(params=[*COVARIANCES, *OTHERS])
def parts(request: pytest.FixtureRequest) -> tuple[Node, Tensor, Tensor]:
    """A node for chosen models, their values, and the covariances of the kernel."""
    mll = batch_with({**COVARIANCES, **OTHERS}[request.param]())
    table = ParameterTable(mll, torch.Size([5]))
    values = Values(table, torch.device("cpu"))
    X, _ = mixed_data()
    kernel = mll.model.covar_module
    batch = Batch(B, modules_of_batch(kernel, B), {}, is_training=True)
    node = build_node(kernel, values, X, 2, Workspace(), batch)
    generator = torch.Generator().manual_seed(1)
    start = torch.as_tensor(table.read(mll))
    theta = start + 0.3 * torch.rand(start.shape, generator=generator).double()
    table.write(mll, theta)
    node.select(torch.tensor(CHOSEN))
    own, _ = values.transform(theta)
    return node, own[CHOSEN], kernel(X).to_dense()[CHOSEN].detach()


def dense(node: Node, values: Tensor) -> Tensor:
    covariance, scale = node.forward(values)
    scaled = covariance if scale is None else covariance * scale[:, None, None]
    return scaled[:, :N, :N].clone()


def test_covariances_are_those_of_the_kernel(parts):
    node, values, expected = parts
    # GPyTorch's Matern takes roots of rounded zeros.
    assert_close(dense(node, values), expected, rtol=1e-7, atol=1e-7)


def test_tangents_are_differences_of_covariances(parts):
    node, values, _ = parts
    dense(node, values)
    found = {
        column: tangent[:, :N, :N].clone() for column, tangent in node.tangents(values)
    }
    assert set(found) <= set(range(values.shape[1]))
    for column in range(values.shape[1]):
        step = torch.zeros_like(values)
        step[:, column] = 1e-6
        change = (dense(node, values + step) - dense(node, values - step)) / 2e-6
        assert_close(found.get(column, 0 * change), change, rtol=1e-6, atol=1e-7)


def test_derivatives_and_totals(parts):
    """Of the sum of all covariances times any numbers."""
    node, values, _ = parts
    generator = torch.Generator().manual_seed(2)
    outer = torch.rand(3, N + 2, N + 2, generator=generator, dtype=torch.float64)
    outer = outer + outer.mT  # as derivatives by a symmetric matrix are
    outer[:, N:] = 0
    outer[:, :, N:] = 0
    scale = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    node.forward(values)
    gradients = torch.zeros_like(values)
    total = node.backward(outer.clone(), scale, values, gradients, True)
    weights = outer[:, :N, :N]
    assert_close(total, (weights * dense(node, values)).sum(dim=(-2, -1)), atol=1e-9)
    step = 1e-6
    for k in range(values.shape[1]):
        shift = torch.zeros_like(values)
        shift[:, k] = step
        ahead, behind = (dense(node, values + s * shift) for s in (1, -1))
        slope = (weights * (ahead - behind)).sum(dim=(-2, -1)) / (2 * step)
        assert_close(gradients[:, k], scale * slope, rtol=1e-5, atol=1e-6)


def test_a_copy_shares_what_is_only_read(parts):
    node, values, _ = parts
    expected = dense(node, values)
    data = node.data()
    other = deepcopy(node, {id(tensor): tensor for tensor in data})
    assert all(a is b for a, b in zip(other.data(), data, strict=True))
    other.select(torch.tensor([1]))
    other.forward(2 * values[:1])
    assert torch.equal(dense(node, values), expected)


def test_memory_is_kept_and_grows():
    workspace = Workspace()
    small, large = torch.zeros(2, 3, 1), torch.zeros(4, 3, 1)
    first = workspace.matrices("one", small)
    assert first.shape == (2, 3, 3)
    assert workspace.matrices("one", small).data_ptr() == first.data_ptr()
    assert workspace.matrices("other", small).data_ptr() != first.data_ptr()
    grown = workspace.matrices("one", large)
    assert grown.shape == (4, 3, 3)
    assert workspace.matrices("one", small).data_ptr() == grown.data_ptr()
    assert deepcopy(workspace).matrices("one", large).data_ptr() != grown.data_ptr()
