"""Descriptions: the formula that is printed is evaluated and meets the kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from statistics import fmean, median
from typing import Any

import pytest
import torch
from botorch.models import MixedSingleTaskGP, ModelListGP, MultiTaskGP, SingleTaskGP
from botorch.models.kernels import CategoricalKernel
from botorch.models.map_saas import get_map_saas_model
from gpytorch import kernels
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.means import ConstantMean, LinearMean, Mean, MultitaskMean, ZeroMean
from helpers import IDENTITY, SAME, assert_close, noisy_waves, normalized_gp
from torch import Tensor
from torch.nn import Parameter

from botorch_xval.cross_validation.folds import leave_one_out
from botorch_xval.models.kernels import (
    ChoiceKernel,
    FactorizedScalarChoiceKernel,
    WeightedMixtureKernel,
)
from botorch_xval.models.scalar_choice import ScalarChoiceGP
from botorch_xval.reporting.expressions.description import describe
from botorch_xval.reporting.expressions.tree import Description

NAMES = ["a", "b", "c", "p=1", "p=2", "t"]  # three scalars, a one-hot choice, a task
ROUNDED = {"rtol": 2e-2, "atol": 2e-2}  # products of numbers printed with three digits


def inputs(n: int = 7) -> Tensor:
    """Points with the columns `NAMES`, `n x 6`."""
    generator = torch.Generator().manual_seed(0)
    scalars = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    choice = torch.nn.functional.one_hot(torch.arange(n) % 2, 2)
    return torch.cat([scalars, choice, (torch.arange(n) % 3).unsqueeze(-1)], dim=-1)


def with_round_values(module: Any, seed: int = 0) -> Any:
    """The module with constrained parameters of two decimals, all of them different."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    for _, parameter, constraint in module.named_parameters_and_constraints():
        values = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        values = (0.25 + 0.5 * values).round(decimals=2)
        if constraint is not None:
            values = constraint.inverse_transform(values)
        parameter.data = values
    return module


def gp(kernel: Kernel | None = None, mean: Mean | None = None) -> SingleTaskGP:
    x, kernel = inputs(), kernel or RBFKernel()
    y = x.sum(dim=-1, keepdim=True).sin()
    return SingleTaskGP(
        x, y, covar_module=kernel, mean_module=mean, outcome_transform=None
    )


def formula(description: Description, announced_by: str = "Covariance") -> str:
    """The indented lines below a line."""
    lines = str(description).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(announced_by))
    found = []
    for line in lines[start + 1 :]:
        if not line.startswith(" "):
            break
        found.append(line)
    return "\n".join(found)


def evaluate(text: str, names: Sequence[str], x: Tensor, z: Tensor) -> float:
    """A printed formula at a pair of points, by what `describe` says of its words."""
    at = {name: (x[i].item(), z[i].item()) for i, name in enumerate(names)}
    scope = {
        "compare": lambda name: abs(at[name][0] - at[name][1]),
        "differ": lambda *group: float(any(at[n][0] != at[n][1] for n in group)),
        "multiply": lambda name: at[name][0] * at[name][1],
        "value": lambda name: at[name][0],
        "lookup": lambda name, table: table[tuple(sorted(map(int, at[name])))],
        "norm_l1": lambda terms: sum(map(abs, terms)),
        "norm_l2": lambda terms: math.hypot(*terms),
        "mean": fmean,
        "prod": math.prod,
        "rbf": lambda r: math.exp(-(r**2) / 2),
        "matern_05": lambda r: math.exp(-r),
        "matern_15": lambda r: (1 + 3**0.5 * r) * math.exp(-(3**0.5) * r),
        "matern_25": lambda r: (
            (1 + 5**0.5 * r + 5 * r**2 / 3) * math.exp(-(5**0.5) * r)
        ),
        "rational_quadratic": lambda r, alpha: (1 + r**2 / (2 * alpha)) ** -alpha,
        "inverse_multiquadric": lambda r, alpha, beta: (
            ((1 + alpha) / (alpha + r)) ** beta
        ),
        **{name: getattr(math, name) for name in ("exp", "sin", "cos", "pi")},
    }
    return eval(f"(\n{text}\n)", scope)


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


def test_means() -> None:
    constant = ConstantMean()
    constant.constant = -0.25
    assert "\nMean: constant -0.25\n" in str(describe(gp(mean=constant)))
    assert "\nMean: zero\n" in str(describe(gp(mean=ZeroMean())))
    for has_bias in (True, False):
        linear = with_round_values(LinearMean(6, bias=has_bias))
        text = formula(describe(gp(mean=linear), NAMES), "Mean")
        x = inputs()
        assert_close(evaluate(text, NAMES, x[3], x[3]), linear(x)[3], **SAME)
    x = inputs()
    both = MultitaskMean([with_round_values(ConstantMean()), ZeroMean()], 2)
    tasks = MultiTaskGP(
        torch.cat([x[:, :1], x[:, 3:4]], dim=-1), x[:, :1], 1, mean_module=both
    )
    first = both.base_means[0].constant.item()
    text = str(describe(tasks, outcomes=["cheap", "exact"]))
    assert f"\nMean of task 'cheap': constant {first:g}\n" in text
    assert "\nMean of task 'exact': zero\n" in text
    assert "('cheap', 'exact'): " in text


def numbers(description: Description, kind: str) -> list[tuple[float, ...]]:
    return [v.numbers for v in description.values() if v.kind == kind]


def test_batch_list_and_model_list_have_every_members_values() -> None:
    x, y = noisy_waves(8, m=2, batch=(3,))
    outcomes = ["loss", "seconds"]
    batch = ScalarChoiceGP(x, y)
    for parameter in batch.parameters():
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        parameter.data = parameter.data + 0.3 * noise.abs()
    description = describe(batch, ["u", "v"], outcomes)
    assert description.num_models == 3
    assert [section.outcome for section in description.sections] == outcomes
    found = numbers(description, "lengthscale")
    lengthscale = batch.covar_module.base_kernel.lengthscale  # 3 x 2 x 1 x 2
    expected = [lengthscale[:, i, 0, k] for i in range(2) for k in range(2)]
    assert_close(found, torch.stack(expected), **IDENTITY)
    expected = batch.likelihood.noise[..., 0].T
    assert_close(numbers(description, "noise variance"), expected, **IDENTITY)
    expected = batch.outcome_transform.means[:, 0].T
    assert_close(numbers(description, "outcome mean"), expected, **IDENTITY)
    first = expected[0].tolist()
    text = str(description)
    assert "3 Gaussian processes of 'loss': median [smallest, largest]" in text
    shown = ", ".join(f"{end:.3g}" for end in (min(first), max(first)))
    assert f"(mean {median(first):.3g} [{shown}], deviation " in text

    alone = [ScalarChoiceGP(x[i], y[i]) for i in range(3)]
    for i, model in enumerate(alone):
        for parameter, of_batch in zip(
            model.parameters(), batch.parameters(), strict=True
        ):
            parameter.data = of_batch.data[i].clone()
    assert describe(alone, ["u", "v"], outcomes) == description
    lists = [
        ModelListGP(model.subset_output([0]), model.subset_output([1]))
        for model in alone
    ]
    in_lists = describe(lists, ["u", "v"], outcomes)
    for kind in ("lengthscale", "noise variance", "scale"):
        assert numbers(in_lists, kind) == numbers(description, kind)
    assert [s.outcome for s in describe(lists[0]).sections] == ["y0", "y1"]


def test_folds_of_a_cross_validation() -> None:
    x, y = noisy_waves(6)
    folds = [normalized_gp(x[~out], y[~out]) for out in leave_one_out(6).held_out]
    for i, fold in enumerate(folds):
        fold.covar_module.lengthscale = torch.tensor([0.5 + i, 2.0])
        fold.eval()
    description = describe(folds, ["u", "v"])
    assert "compare('u') / 3 [0.5, 5.5], compare('v') / 2]" in str(description)
    expected = [[fold.outcome_transform.means.item() for fold in folds]]
    assert_close(numbers(description, "outcome mean"), expected, **IDENTITY)


def test_a_model_is_left_as_it_is() -> None:
    model = normalized_gp(*noisy_waves(6))
    for mode in (True, False):
        model.train(mode)
        before = deepcopy(model.state_dict())
        text = str(describe(model))
        assert model.training is mode
        assert str(describe(model)) == text
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name]), name
