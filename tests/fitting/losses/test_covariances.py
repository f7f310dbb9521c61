"""Which kernel has which node, and what has none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from botorch.models.kernels import CategoricalKernel
from covariances import (
    B,
    batch_with,
    category,
    choice,
    mixture,
    scalar,
    scaled,
)
from gpytorch.kernels import (
    AdditiveKernel,
    Kernel,
    LinearKernel,
    MaternKernel,
    ProductKernel,
    RBFKernel,
)
from helpers import assert_close
from torch import Tensor

from botorch_xval.fitting.losses.by_autograd import Batch, ByAutograd
from botorch_xval.fitting.losses.covariances import NODES, Inputs, build_node
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.modules import ByModules
from botorch_xval.fitting.losses.nodes import (
    Leaf,
    Mixture,
    Node,
    Product,
    Scale,
    Workspace,
)
from botorch_xval.fitting.losses.objective import Stack
from botorch_xval.fitting.losses.parameters import ParameterTable, Unsupported
from botorch_xval.fitting.losses.together import modules_of_batch
from botorch_xval.fitting.losses.values import Values
from botorch_xval.models.kernels import (
    ChoiceKernel,
    FactorizedScalarChoiceKernel,
)

# Categories are numbers beyond one.
pytestmark = pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")


def node_of(kernel: Kernel) -> Node:
    mll = batch_with(kernel)
    values = Values(ParameterTable(mll, B), torch.device("cpu"))
    inputs = mll.model.train_inputs[0]
    kernel = mll.model.covar_module
    batch = Batch(B, modules_of_batch(kernel, B), {}, is_training=True)
    return build_node(kernel, values, inputs, 0, Workspace(), batch)


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        (lambda: scalar(RBFKernel), Leaf),
        (lambda: scalar(MaternKernel, nu=1.5), Leaf),
        (choice, Leaf),
        (category, Leaf),
        (lambda: scaled(choice()), Scale),
        (lambda: AdditiveKernel(choice(), category()), Mixture),
        (lambda: mixture(choice(), category()), Mixture),
        (lambda: ProductKernel(choice(), category()), Product),
        (
            lambda: FactorizedScalarChoiceKernel((0, 1), (4, 5, 6), batch_shape=B),
            Scale,
        ),
    ],
)
def test_every_kernel_has_its_node(kernel, kind):
    assert type(node_of(kernel())) is kind


class Renamed(RBFKernel):
    """It changes no mathematics, as subclasses of Ax and of users."""


class RenamedMatern(MaternKernel):
    def __init__(self, **kwargs: object) -> None:
        super().__init__(nu=1.5, **kwargs)


class RenamedChoice(ChoiceKernel):
    pass


@pytest.mark.parametrize(
    ("own", "parent"),
    [
        (lambda: scalar(Renamed), lambda: scalar(RBFKernel)),
        (lambda: scalar(RenamedMatern), lambda: scalar(MaternKernel, nu=1.5)),
        (
            lambda: RenamedChoice(ard_num_dims=3, active_dims=(4, 5, 6), batch_shape=B),
            choice,
        ),
    ],
)
def test_a_subclass_that_changes_no_mathematics_has_its_parents_node(own, parent):
    found, expected = (make_objective([batch_with(each())]) for each in (own, parent))
    assert type(found) is type(expected) is Exact
    models = list(range(5))
    for one, other in zip(
        found(found.start, models), expected(found.start, models), strict=True
    ):
        assert np.array_equal(one, other)


class Squared(RBFKernel):
    """A subclass with another `forward` is not its parent."""

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params) -> Tensor:
        return super().forward(x1, x2, diag=diag, **params) ** 2


class Doubled(RBFKernel):
    """So is one with another `__call__`."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        return super().__call__(*args, **kwargs) * 2


class LastCategory(CategoricalKernel):
    def forward(self, x1: Tensor, x2: Tensor, **params) -> Tensor:
        return super().forward(x1[..., -1:], x2[..., -1:], **params)


@pytest.mark.parametrize("kind", [Squared, LastCategory, LinearKernel])
def test_a_subclass_that_changes_it_is_evaluated_by_its_own_forward(kind):
    kernel = kind(batch_shape=B, active_dims=(0, 1))
    assert type(node_of(kernel)) is ByAutograd
    node = node_of(scaled(kernel) + choice())
    kinds = [type(child) for child in node.children]
    assert kinds == [Scale, Leaf] and type(node.children[0].child) is ByAutograd


def test_one_that_is_called_in_another_way_has_none():
    with pytest.raises(Unsupported, match="Doubled"):
        node_of(Doubled(batch_shape=B))
    # What it is a part of calls it as it is to be called.
    assert type(node_of(Doubled(batch_shape=B) + choice())) is ByAutograd


class Linear(Node):
    """`values[column] * X X'`."""

    def __init__(self, features: Tensor, columns: slice) -> None:
        self.features, self.column = features, columns.start

    def data(self) -> list[Tensor]:
        return [self.features]

    def select(self, index: Tensor) -> None:
        self.chosen = self.features[index]

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        self.own = values[:, self.column]
        return self.chosen @ self.chosen.mT, self.own

    def backward(self, outer, scale, values, gradients, want_total=False):
        total = (outer * (self.chosen @ self.chosen.mT)).sum(dim=(-2, -1))
        gradients[:, self.column] += total if scale is None else total * scale
        return total * self.own if want_total else None

    def tangents(self, values: Tensor) -> Iterator[tuple[int, Tensor]]:
        yield self.column, self.chosen @ self.chosen.mT


def build_linear(kernel: Kernel, inputs: Inputs) -> Node:
    X = inputs.X[..., list(inputs.seen[kernel])]
    X = torch.nn.functional.pad(X, (0, 0, 0, inputs.extra))
    return Linear(X, inputs.values.of(kernel, "raw_variance"))


@pytest.mark.parametrize(
    "kernel",
    [
        lambda linear: linear,
        lambda linear: scaled(linear) + scaled(choice()),
        lambda linear: ProductKernel(scaled(linear), scalar(RBFKernel)),
    ],
)
def test_an_entry_is_all_that_a_new_kernel_needs(kernel, monkeypatch):
    monkeypatch.setitem(NODES, LinearKernel.forward, build_linear)
    mll = batch_with(kernel(LinearKernel(active_dims=(0, 2), batch_shape=B)))
    found = make_objective([mll])
    assert type(found) is Exact
    expected = ByModules(Stack([mll], None, None))
    theta, models = found.start[[4, 1]] + 0.2, [4, 1]
    for one, other in zip(found(theta, models), expected(theta, models), strict=True):
        assert_close(one, other, rtol=1e-8, atol=1e-8)
