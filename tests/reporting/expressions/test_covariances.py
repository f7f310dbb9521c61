"""Formulas of kernels: what is printed is evaluated and meets the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from botorch.models import MixedSingleTaskGP, MultiTaskGP
from botorch.models.kernels import CategoricalKernel
from botorch.models.map_saas import get_map_saas_model
from gpytorch import kernels
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.means import Mean
from helpers import SAME, assert_close
from reporting_helpers import NAMES, evaluate, formula, gp, inputs, with_round_values
from torch import Tensor
from torch.nn import Parameter

from botorch_xval import ScalarChoiceGP
from botorch_xval.models.kernels import (
    ChoiceKernel,
    FactorizedScalarChoiceKernel,
    WeightedMixtureKernel,
)
from botorch_xval.reporting.expressions.description import describe

ROUNDED = {"rtol": 2e-2, "atol": 2e-2}  # products of numbers printed with three digits


def selecting(kernel: Kernel, *active_dims: int) -> Kernel:
    kernel.active_dims = torch.tensor(active_dims)
    return kernel


def matern(*active_dims: int, nu: float = 2.5) -> MaternKernel:
    return MaternKernel(nu, ard_num_dims=len(active_dims), active_dims=active_dims)


def choice() -> ChoiceKernel:
    return ChoiceKernel(ard_num_dims=2, active_dims=(3, 4))


def positive_index() -> Kernel:
    new = pytest.importorskip("botorch.models.kernels.positive_index")  # not in 0.16
    return matern(0) * new.PositiveIndexKernel(3, 2, active_dims=(5,))


KERNELS: dict[str, Callable[[], Kernel]] = {
    "RBF, one lengthscale": lambda: RBFKernel(active_dims=(2, 0)),
    "RBF": lambda: RBFKernel(ard_num_dims=6),
    "Matern-1/2": lambda: matern(0, 1, nu=0.5),
    "Matern-3/2": lambda: matern(2, 1, nu=1.5),
    "Matern-5/2": lambda: matern(1),
    "RQ": lambda: kernels.RQKernel(ard_num_dims=2, active_dims=(0, 1)),
    "RQ, one lengthscale": lambda: kernels.RQKernel(active_dims=(0, 1)),
    "periodic": lambda: kernels.PeriodicKernel(ard_num_dims=2, active_dims=(0, 2)),
    "periodic, one period": lambda: kernels.PeriodicKernel(active_dims=(0, 2)),
    "cosine": lambda: kernels.CosineKernel(active_dims=(0, 1)),
    "linear": lambda: kernels.LinearKernel(ard_num_dims=3, active_dims=(0, 1, 2)),
    "linear, one variance": lambda: kernels.LinearKernel(active_dims=(1, 2)),
    "polynomial": lambda: kernels.PolynomialKernel(power=3, active_dims=(0, 1)),
    "constant": lambda: ScaleKernel(kernels.ConstantKernel()) + matern(0),
    "categorical": lambda: CategoricalKernel(ard_num_dims=3, active_dims=(3, 4, 5)),
    "Hamming": lambda: selecting(kernels.HammingIMQKernel(vocab_size=2), 3, 4),
    "choice": choice,
    "scale": lambda: ScaleKernel(ScaleKernel(matern(2, 0))),
    "sum": lambda: matern(0, 1) + ScaleKernel(matern(2)) + choice(),
    "product of sums": lambda: (matern(0) + matern(1)) * (matern(2) + choice()),
    "nested columns": lambda: ScaleKernel(
        selecting(matern(1) + ScaleKernel(matern(0)), 2, 0)
    ),
    "mixture": lambda: WeightedMixtureKernel([matern(0, 1), choice()]),
    "factorized": lambda: FactorizedScalarChoiceKernel((0, 1, 2), (3, 4)),
}


PRODUCTS: dict[str, Callable[[], Kernel]] = {
    "index": lambda: kernels.IndexKernel(num_tasks=3, rank=2, active_dims=(5,)),
    "positive index": positive_index,
    "mixture of three": lambda: WeightedMixtureKernel([matern(0), choice(), matern(1)]),
    "mixture in columns": lambda: WeightedMixtureKernel(
        [matern(1), matern(0)], active_dims=(2, 1)
    ),
}


# linear_operator's interpolation makes a sparse tensor.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", [*KERNELS, *PRODUCTS])
def test_printed_formula_is_the_covariance(name: str) -> None:
    kernel = with_round_values((KERNELS | PRODUCTS)[name]())
    text = formula(describe(gp(kernel), NAMES))
    x = inputs()
    covariance = kernel(x).to_dense()
    pairs = [(i, j) for i in range(len(x)) for j in range(i)]
    found = [evaluate(text, NAMES, x[i], x[j]) for i, j in pairs]
    expected = torch.stack([covariance[i, j] for i, j in pairs])
    assert_close(found, expected, **(SAME if name in KERNELS else ROUNDED))


def test_formulas_of_ready_made_models() -> None:
    x = inputs()
    y = x[:, :1].sin()
    mixed = MixedSingleTaskGP(x, y, cat_dims=[3, 4, 5], outcome_transform=None)
    ours = ScalarChoiceGP(x, y, choice_dims=[3, 4], input_transform=None)
    tasks = MultiTaskGP(x, y, task_feature=-1)
    for model in (mixed, ours, tasks):
        with_round_values(model.covar_module)
        text = formula(describe(model, NAMES))
        found = evaluate(text, NAMES, x[0], x[1])
        assert_close(found, model.covar_module(x).to_dense()[0, 1], **ROUNDED)


def test_layout_and_comments_of_our_model() -> None:
    x = inputs()
    names = ["epochs", "batch size", "rate", "optimizer=adam", "optimizer=sgd", "depth"]
    model = ScalarChoiceGP(x, x[:, :1].sin(), choice_dims=[3, 4])
    with_round_values(model.covar_module)
    model.likelihood.noise = 0.0625
    text = str(describe(model, names, ["loss"]))
    lines = text.splitlines()
    assert lines[0] == "Gaussian process of 'loss'"
    assert (
        "Inputs: scaled to [0, 1] (all but 'optimizer=adam', 'optimizer=sgd')" in lines
    )
    assert "  # factorized: scalars versus choices" in text
    assert "  # joint: scalars and choices" in text
    assert lines[-1] == "When comparing a point to itself, add noise 0.0625"
    assert max(map(len, lines)) <= 100
    scale = model.covar_module.outputscale.item()
    assert f"  {scale:g} * sum([" in lines
    weight = model.covar_module.scalar_weight.item()
    lengthscale = model.covar_module.choice_kernels[0].lengthscale[0, 1].item()
    assert f"{weight:g} * matern_25(norm_l2([" in text
    assert f"compare('optimizer=sgd') / {lengthscale:g}" in text
    assert text.count("compare('epochs') / ") == 2


class Unheard(Kernel):
    """A kernel that `describe` cannot know."""

    def __init__(self, part: Kernel, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.part = part
        self.register_parameter("tilt", Parameter(torch.tensor([[-0.5, 0.25]])))
        self.register_parameter("offset", Parameter(torch.tensor(0.125)))

    def forward(self, x1: Tensor, x2: Tensor, **params: Any) -> Tensor:
        return self.part(x1, x2, **params)


class AnotherRBF(RBFKernel):
    def forward(self, x1: Tensor, x2: Tensor, **params: Any) -> Tensor:
        return super().forward(x1, x2, **params) ** 2


def test_unknown_kernels_and_means_are_named_with_their_parameters() -> None:
    unheard = Unheard(with_round_values(RBFKernel()), active_dims=(0, 5))
    lengthscale = unheard.part.lengthscale.item()
    text = formula(describe(gp(unheard + matern(1)), NAMES))
    assert "Unheard('a', 't', tilt['a']=-0.5, tilt['t']=0.25" in text
    assert f"offset=0.125, part.lengthscale={lengthscale:g})" in text
    assert "matern_25(norm_l2([compare('b') / " in text
    another = AnotherRBF(ard_num_dims=2, active_dims=(1, 2))
    another.lengthscale = torch.tensor([0.75, 1.5])
    text = formula(describe(gp(another), NAMES))
    lengthscales = "lengthscale['b']=0.75, lengthscale['c']=1.5"
    assert text == f"  AnotherRBF('b', 'c', {lengthscales})"

    class Wave(Mean):
        def __init__(self) -> None:
            super().__init__()
            self.register_parameter("raw_height", Parameter(torch.tensor(0.5)))

        def forward(self, x: Tensor) -> Tensor:
            return self.raw_height * x[..., 0].sin()

    assert formula(describe(gp(mean=Wave())), "Mean") == "  Wave(height=0.5)"


def test_shrinkage_of_a_saas_prior_stands_in_a_comment() -> None:
    model = get_map_saas_model(inputs(), inputs()[:, :1].sin())
    kernel = model.covar_module.base_kernel
    tau = kernel.raw_tau_constraint.transform(kernel.raw_tau).item()
    description = describe(model, NAMES)
    assert f"  # with tau {tau:.3g}" in str(description)
    assert [value.name for value in description.values()][1] == "tau"
    text = formula(description)
    x = inputs()
    found = evaluate(text, NAMES, x[0], x[1])
    assert_close(found, model.covar_module(x).to_dense()[0, 1], **ROUNDED)
