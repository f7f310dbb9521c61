"""Kernels against their formulas, written out in plain Python loops."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any
from unittest import TestCase

import pytest
import torch
from gpytorch import settings
from gpytorch.kernels import Kernel, MaternKernel, ProductKernel, ScaleKernel
from gpytorch.priors import GammaPrior
from gpytorch.test.base_kernel_test_case import BaseKernelTestCase
from torch import Tensor
from torch.func import functional_call
from torch.nn import Module
from torch.nn.functional import one_hot
from torch.testing import assert_close

from botorch_xval.models.kernels import (
    ChoiceKernel,
    FactorizedScalarChoiceKernel,
    WeightedMixtureKernel,
)
from botorch_xval.models.priors import BetaPrior, DirichletPrior

EXACT = {"rtol": 0, "atol": 1e-10}
SCALARS, CHOICES = (0, 3), (1, 2, 4)


@pytest.fixture(autouse=True)
def double_precision() -> Any:
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def inputs(*shape: int) -> Tensor:
    """Scalars in columns 0 and 3, one-hot choices in columns 1, 2 and 4."""
    x = torch.rand(*shape, 5)
    x[..., list(CHOICES)] = one_hot(torch.randint(3, shape), 3).to(x)
    x[..., 0, list(CHOICES)] = 0.0  # an inactive choice
    return x


def randomize(module: Module) -> Any:
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def factorized(batch_shape: Sequence[int] = (), **kwargs: Any) -> Kernel:
    return FactorizedScalarChoiceKernel(
        SCALARS, CHOICES, batch_shape=torch.Size(batch_shape), **kwargs
    )


def mixture(
    batch_shape: Sequence[int] = (), num_kernels: int = 3, **kwargs: Any
) -> WeightedMixtureKernel:
    shape = torch.Size(batch_shape)
    kernels = [
        MaternKernel(ard_num_dims=2, active_dims=SCALARS, batch_shape=shape),
        ChoiceKernel(ard_num_dims=3, active_dims=CHOICES, batch_shape=shape),
        ScaleKernel(MaternKernel(nu=0.5, batch_shape=shape), batch_shape=shape),
    ]
    return WeightedMixtureKernel(kernels[:num_kernels], shape, **kwargs)


def choice(batch_shape: Sequence[int] = ()) -> Kernel:
    return ChoiceKernel(
        ard_num_dims=3, active_dims=CHOICES, batch_shape=torch.Size(batch_shape)
    )


def grouped(batch_shape: Sequence[int] = ()) -> Kernel:
    """A training-regime and an architecture group, alone and together."""
    shape = torch.Size(batch_shape)

    def group(scalar_dims: tuple[int, ...], choice_dims: tuple[int, ...]) -> Kernel:
        def parts() -> tuple[Kernel, Kernel]:
            return (
                MaternKernel(
                    ard_num_dims=len(scalar_dims),
                    active_dims=scalar_dims,
                    batch_shape=shape,
                ),
                ChoiceKernel(
                    ard_num_dims=len(choice_dims),
                    active_dims=choice_dims,
                    batch_shape=shape,
                ),
            )

        separate = WeightedMixtureKernel(parts(), shape, BetaPrior(3.0, 3.0))
        return WeightedMixtureKernel([separate, ProductKernel(*parts())], shape)

    def training() -> Kernel:
        return group((0,), (1, 2))

    def architecture() -> Kernel:
        return group((3,), (4,))

    return ScaleKernel(
        WeightedMixtureKernel(
            [training(), architecture(), ProductKernel(training(), architecture())],
            shape,
            DirichletPrior([3.0, 3.0, 3.0]),
        ),
        batch_shape=shape,
    )


KERNELS: dict[str, Callable[..., Kernel]] = {
    "choice": choice,
    "mixture": mixture,
    "factorized": factorized,
    "grouped": grouped,
}
every_kernel = pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS.keys())


def matern(x: Tensor, z: Tensor, lengthscale: Tensor) -> float:
    pairs = zip(x.tolist(), z.tolist(), lengthscale.flatten().tolist(), strict=True)
    r = math.sqrt(5 * sum(((a - b) / scale) ** 2 for a, b, scale in pairs))
    return (1 + r + r * r / 3) * math.exp(-r)


def laplace(x: Tensor, z: Tensor, lengthscale: Tensor) -> float:
    pairs = zip(x.tolist(), z.tolist(), lengthscale.flatten().tolist(), strict=True)
    return math.exp(-sum(abs(a - b) / scale for a, b, scale in pairs))


def stack_parameters(kernels: Sequence[Module]) -> dict[str, Tensor]:
    names = [name for name, _ in kernels[0].named_parameters()]
    return {
        name: torch.stack([kernel.get_parameter(name).detach() for kernel in kernels])
        for name in names
    }


def stacked(make: Callable[..., Kernel], members: Sequence[Kernel]) -> Kernel:
    kernel = make((len(members),))
    kernel.load_state_dict(kernel.state_dict() | stack_parameters(members))
    return kernel


# --- the choice kernel ----------------------------------------------------------------


@pytest.mark.parametrize("real", [False, True])
def test_choice_kernel_is_its_formula(real: bool) -> None:
    x, z = (torch.randn(5, 3) if real else inputs(5)[:, CHOICES] for _ in range(2))
    kernel = randomize(ChoiceKernel(ard_num_dims=3))
    expected = [[laplace(a, b, kernel.lengthscale) for b in z] for a in x]
    assert_close(kernel(x, z).to_dense(), torch.tensor(expected), **EXACT)
    pairs = zip(x, z, strict=True)
    diagonal = torch.tensor([laplace(a, b, kernel.lengthscale) for a, b in pairs])
    assert_close(kernel(x, z, diag=True), diagonal, **EXACT)
    assert_close(kernel(x, diag=True), torch.ones(5), **EXACT)
    assert_close(kernel(x).to_dense()[-1], kernel(x[-1:], x).to_dense()[0], **EXACT)


def test_choice_kernel_with_one_lengthscale() -> None:
    kernel = ChoiceKernel()
    kernel.lengthscale = 0.5
    x = torch.eye(2)
    expected = torch.tensor([[1.0, math.exp(-4.0)], [math.exp(-4.0), 1.0]])
    assert_close(kernel(x).to_dense(), expected, **EXACT)


def test_choice_kernel_gradients() -> None:
    kernel = ChoiceKernel(ard_num_dims=3, batch_shape=torch.Size([2]))
    x = inputs(2, 6)[..., list(CHOICES)]  # many coincident points

    def covariance(raw_lengthscale: Tensor) -> Tensor:
        with settings.lazily_evaluate_kernels(False):
            parameters = {"raw_lengthscale": raw_lengthscale}
            return functional_call(kernel, parameters, (x,)).to_dense()

    raw_lengthscale = torch.randn(2, 1, 3, requires_grad=True)
    assert torch.autograd.gradcheck(covariance, (raw_lengthscale,))

    def of_inputs(x: Tensor, z: Tensor) -> Tensor:
        return kernel(x, z).to_dense()

    x, z = (torch.randn(2, 4, 3, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(of_inputs, (x, z))


def test_relabeling_choices_changes_nothing() -> None:
    x = inputs(7)
    order = torch.tensor([2, 0, 1])
    for make in (factorized, mixture):
        kernel = randomize(make(num_kernels=2) if make is mixture else make())
        relabeled, x_relabeled = deepcopy(kernel), x.clone()
        x_relabeled[:, CHOICES] = x[:, CHOICES][:, order]
        for module in relabeled.modules():
            if isinstance(module, ChoiceKernel):
                module.lengthscale = module.lengthscale[..., order].detach()
        assert_close(relabeled(x_relabeled).to_dense(), kernel(x).to_dense(), **EXACT)


# --- mixtures -------------------------------------------------------------------------


@pytest.mark.parametrize("num_kernels", [2, 3])
@pytest.mark.parametrize("batch_shape", [(), (2,), (3, 2)])
def test_weights_start_equal_and_can_be_set(
    batch_shape: tuple[int, ...], num_kernels: int
) -> None:
    kernel = mixture(batch_shape, num_kernels)
    equal = torch.full((*batch_shape, num_kernels), 1 / num_kernels)
    assert_close(kernel.weights, equal, **EXACT)
    chosen = torch.distributions.Dirichlet(torch.ones(num_kernels)).sample(batch_shape)
    kernel.weights = chosen
    assert_close(kernel.weights, chosen, **EXACT)
    assert kernel.raw_fractions.shape == (*batch_shape, num_kernels - 1)
    kernel.initialize(weights=equal)
    assert_close(kernel.weights, equal, **EXACT)
    kernel.weights = [0.8, 0.2] if num_kernels == 2 else [0.5, 0.3, 0.2]
    assert_close(kernel.weights.sum(dim=-1), torch.ones(batch_shape), **EXACT)
    assert_close(kernel.weights[..., -1], torch.full(batch_shape, 0.2), **EXACT)


def test_extreme_weights_stay_finite() -> None:
    kernel = mixture(num_kernels=3, weights_prior=DirichletPrior([3.0, 3.0, 3.0]))
    for sign in (-1, 1):
        kernel.raw_fractions.data.fill_(sign * 1e3)
        weights = kernel.weights
        assert ((weights > 0) & (weights < 1)).all()
        log_prior = kernel.weights_prior.log_prob(weights)
        (gradient,) = torch.autograd.grad(log_prior, kernel.raw_fractions)
        assert torch.isfinite(gradient).all()
    eps = torch.finfo(torch.float64).eps
    kernel.weights = torch.tensor([1 - 2 * eps, eps, eps])
    assert torch.isfinite(kernel.raw_fractions).all()
    kernel.float().weights = torch.tensor([1 - 2 * eps, eps, eps])
    assert torch.isfinite(kernel.raw_fractions).all()


def test_mixture_is_its_formula() -> None:
    kernel = randomize(mixture())
    x, z = inputs(4), inputs(3)
    covariance = sum(
        weight * part(x, z).to_dense()
        for weight, part in zip(kernel.weights, kernel.kernels, strict=True)
    )
    got = kernel(x, z).to_dense()
    assert_close(got, covariance, **EXACT)
    scalars, choices, _ = kernel.kernels
    expected = kernel.weights[0] * matern(
        x[1, [0, 3]], z[2, [0, 3]], scalars.lengthscale
    )
    expected = expected + kernel.weights[1] * laplace(
        x[1, list(CHOICES)], z[2, list(CHOICES)], choices.lengthscale
    )
    rest = kernel.weights[2] * kernel.kernels[2](x, z).to_dense()[1, 2]
    assert_close(got[1, 2], expected + rest, **EXACT)


def test_mixture_hands_on_its_active_dims() -> None:
    kernel = randomize(WeightedMixtureKernel([MaternKernel(), ChoiceKernel()]))
    chosen = WeightedMixtureKernel(
        [MaternKernel(), ChoiceKernel()], active_dims=[0, 2, 4]
    )
    chosen.load_state_dict(kernel.state_dict(), strict=False)
    x = torch.randn(6, 5)
    expected = kernel(x[:, [0, 2, 4]]).to_dense()
    assert_close(chosen(x).to_dense(), expected, **EXACT)


@pytest.mark.parametrize("batch_shape", [(), (4,)])
def test_two_part_prior_is_on_the_first_weight(batch_shape: tuple[int, ...]) -> None:
    kernel = mixture(batch_shape, 2, weights_prior=BetaPrior(3.0, 1.5))
    ((_, module, prior, closure, setting_closure),) = kernel.named_priors()
    assert_close(closure(module), kernel.weights[..., 0], **EXACT)
    sample = prior.sample(closure(module).shape)
    setting_closure(module, sample)
    assert_close(kernel.weights[..., 0], sample, **EXACT)
    kernel.sample_from_prior("weights_prior")


@pytest.mark.parametrize("batch_shape", [(), (4,)])
def test_many_part_prior_is_on_all_weights(batch_shape: tuple[int, ...]) -> None:
    prior = DirichletPrior([3.0, 2.0, 1.5])
    kernel = mixture(batch_shape, 3, weights_prior=prior)
    ((_, module, prior, closure, setting_closure),) = kernel.named_priors()
    assert_close(closure(module), kernel.weights, **EXACT)
    sample = prior.sample(torch.Size(batch_shape))
    setting_closure(module, sample)
    assert_close(kernel.weights, sample, **EXACT)
    assert prior.log_prob(closure(module)).shape == batch_shape
    kernel.sample_from_prior("weights_prior")


def test_prior_mass_of_two_weights_is_one() -> None:
    kernel = mixture((4001,), 2, weights_prior=BetaPrior(3.0, 1.5))
    kernel.raw_fractions.data = torch.linspace(-20, 20, 4001).unsqueeze(-1)
    weight = kernel.weights[..., 0].detach()
    _, module, prior, closure, _ = next(kernel.named_priors())
    density = prior.log_prob(closure(module)).exp().detach()
    # With dx for x: the density is one of the weight, not of the raw fraction.
    assert_close(torch.trapezoid(density, weight), torch.tensor(1.0), rtol=0, atol=1e-4)


def test_mixture_refuses_bad_arguments() -> None:
    with pytest.raises(ValueError, match="kernels: expected at least 2, got 1"):
        WeightedMixtureKernel([ChoiceKernel()])
    with pytest.raises(ValueError, match=r"batch shape \(2,\), got a ChoiceKernel"):
        WeightedMixtureKernel([ChoiceKernel(), ChoiceKernel()], torch.Size([2]))
    with pytest.raises(ValueError, match=r"event shape \(3,\) for 3 kernels"):
        mixture(weights_prior=BetaPrior(3.0, 3.0))
    with pytest.raises(ValueError, match=r"event shape \(\) for 2 kernels"):
        mixture(num_kernels=2, weights_prior=DirichletPrior([1.0, 1.0]))
    with pytest.raises(
        TypeError, match="weights_prior: expected a GPyTorch prior, got float"
    ):
        mixture(weights_prior=0.5)
    kernel = mixture()
    for bad in ([0.5, 0.6, 0.1], [1.0, 0.0, 0.0], [1.5, -0.25, -0.25]):
        with pytest.raises(
            ValueError, match="weights: expected positive ones of sum 1, got"
        ):
            kernel.weights = bad
    for bad in ([0.5, 0.5], 0.5):
        with pytest.raises(ValueError, match="weights: .* `batch_shape x 3`, got"):
            kernel.weights = bad


@pytest.mark.filterwarnings("ignore:The last_dim_is_batch:DeprecationWarning")
def test_last_dim_is_batch_is_refused() -> None:
    x = torch.rand(3, 2)
    for kernel in (
        ChoiceKernel(),
        WeightedMixtureKernel([MaternKernel(), ChoiceKernel()]),
    ):
        with pytest.raises(
            NotImplementedError, match="last_dim_is_batch: expected False"
        ):
            kernel(x, last_dim_is_batch=True, diag=True)


# --- the factorized kernel ------------------------------------------------------------


def test_factorized_kernel_is_its_formula() -> None:
    kernel = randomize(factorized())
    x, z = inputs(4), inputs(3)
    scalars, choices = list(SCALARS), list(CHOICES)
    l1, l3 = (part.lengthscale for part in kernel.scalar_kernels)
    l2, l4 = (part.lengthscale for part in kernel.choice_kernels)
    w, u = kernel.outputscale.item(), kernel.scalar_weight.item()
    v = kernel.factorized_weight.item()
    assert len({w, u, v}) == 3
    expected = [
        [
            w * v * u * matern(a[scalars], b[scalars], l1)
            + w * v * (1 - u) * laplace(a[choices], b[choices], l2)
            + w
            * (1 - v)
            * matern(a[scalars], b[scalars], l3)
            * laplace(a[choices], b[choices], l4)
            for b in z
        ]
        for a in x
    ]
    assert_close(kernel(x, z).to_dense(), torch.tensor(expected), **EXACT)


def test_factorized_kernel_gradients() -> None:
    kernel = randomize(factorized())
    names, values = zip(*kernel.named_parameters(), strict=True)
    x = inputs(4)

    def covariance(*values: Tensor) -> Tensor:
        with settings.lazily_evaluate_kernels(False):
            parameters = dict(zip(names, values, strict=True))
            return functional_call(kernel, parameters, (x,)).to_dense()

    assert torch.autograd.gradcheck(covariance, values)


def test_factorized_kernel_copies_its_priors() -> None:
    kernel = factorized(
        lengthscale_prior=GammaPrior(3.0, 6.0),
        outputscale_prior=GammaPrior(2.0, 0.15),
        weights_prior=BetaPrior(3.0, 3.0),
    )
    priors = [prior for _, _, prior, _, _ in kernel.named_priors()]
    assert len(priors) == len({id(prior) for prior in priors}) == 7
    assert {id(module) for _, module, *_ in kernel.named_priors()} <= {
        id(module) for module in kernel.modules()
    }
    total = sum(
        prior.log_prob(closure(module)).sum()
        for _, module, prior, closure, _ in kernel.named_priors()
    )
    for restored in (deepcopy(kernel), pickle.loads(pickle.dumps(kernel))):
        again = [
            prior.log_prob(closure(module)).sum()
            for _, module, prior, closure, _ in restored.named_priors()
        ]
        assert_close(sum(again), total, **EXACT)


def test_factorized_kernel_refuses_bad_columns() -> None:
    for scalar_dims, choice_dims, message in (
        ([], [0], "scalar_dims: expected at least one column, got none; use a Scale"),
        ([0], [], "choice_dims: expected at least one column, got none; use a Scale"),
        ([0, 1], [1, 2], r"expected no column that is in scalar_dims, got \[1\]"),
        ([0, -1], [1], "scalar_dims: expected columns from 0 on, got"),
        ([0], [1, 2, 1], "choice_dims: expected different columns, got"),
    ):
        with pytest.raises(ValueError, match=message):
            FactorizedScalarChoiceKernel(scalar_dims, choice_dims)


# --- what all kernels have in common --------------------------------------------------


@pytest.mark.parametrize("lazy", [True, False])
@every_kernel
def test_covariance(make: Callable[..., Kernel], lazy: bool) -> None:
    kernel, x, z = randomize(make((2,))), inputs(2, 8), inputs(2, 3)
    with settings.lazily_evaluate_kernels(lazy):
        covariance = kernel(x).to_dense()
        assert covariance.shape == (2, 8, 8)
        assert_close(covariance, covariance.mT, **EXACT)
        assert torch.linalg.eigvalsh(covariance).min() > -1e-10
        diagonal = covariance.diagonal(dim1=-2, dim2=-1)
        assert_close(kernel(x, diag=True), diagonal, **EXACT)
        assert_close(kernel(x).diagonal(dim1=-2, dim2=-1), diagonal, **EXACT)
        assert_close(kernel(x, z).to_dense(), kernel(z, x).to_dense().mT, **EXACT)
        # Two batch dimensions of inputs, one of parameters.
        both = kernel(x.expand(3, 2, 8, 5)).to_dense()
        assert_close(both, covariance.expand(3, 2, 8, 8), **EXACT)


@every_kernel
def test_a_batch_is_its_members_stacked(make: Callable[..., Kernel]) -> None:
    members = [randomize(make()) for _ in range(3)]
    kernel, x = stacked(make, members), inputs(3, 6)
    expected = torch.stack(
        [
            member(x_member).to_dense()
            for member, x_member in zip(members, x, strict=True)
        ]
    )
    assert_close(kernel(x).to_dense(), expected, **EXACT)
    shared = torch.stack([member(x[0]).to_dense() for member in members])
    assert_close(kernel(x[0]).to_dense(), shared, **EXACT)


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("batch_shape", [(), (2,)])
@every_kernel
def test_parameters_of_another_batch_shape(
    make: Callable[..., Kernel], batch_shape: tuple[int, ...], lazy: bool
) -> None:
    members = [randomize(make(batch_shape)) for _ in range(4)]
    kernel, x = make(batch_shape), inputs(4, *batch_shape, 4)
    with settings.lazily_evaluate_kernels(False):
        expected = torch.stack(
            [
                member(x_member).to_dense()
                for member, x_member in zip(members, x, strict=True)
            ]
        )
    parameters = stack_parameters(members)

    class Dense(Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = kernel

        def forward(self, x: Tensor, **kwargs: bool) -> Tensor:
            result = self.kernel(x, **kwargs)
            return result if kwargs else result.to_dense()

    parameters = {f"kernel.{name}": value for name, value in parameters.items()}
    diagonal = expected.diagonal(dim1=-2, dim2=-1)
    with settings.lazily_evaluate_kernels(lazy):
        got = functional_call(Dense(), parameters, (x,))
        assert_close(got, expected, **EXACT)
        got = functional_call(Dense(), parameters, (x,), {"diag": True})
        assert_close(got, diagonal, **EXACT)


def test_parameters_of_a_smaller_batch() -> None:
    kernel, x = mixture((5,)), inputs(2, 4)
    members = [randomize(mixture()) for _ in range(2)]
    with settings.lazily_evaluate_kernels(False):
        got = functional_call(kernel, stack_parameters(members), (x,)).to_dense()
    expected = torch.stack([m(a).to_dense() for m, a in zip(members, x, strict=True)])
    assert_close(got, expected, **EXACT)


def test_diagonal_of_as_many_members_as_points() -> None:
    kernel, x = randomize(factorized((4,))), inputs(4)
    expected = kernel(x).to_dense().diagonal(dim1=-2, dim2=-1)
    assert_close(kernel(x).diagonal(dim1=-2, dim2=-1), expected, **EXACT)


@every_kernel
def test_indexing_and_expanding(make: Callable[..., Kernel]) -> None:
    # GPyTorch's ScaleKernel, the outermost here, indexes only one level of parts.
    build = (lambda shape=(): grouped(shape).base_kernel) if make is grouped else make
    kernel, x = randomize(build((3, 2))), inputs(3, 2, 6)
    covariance = kernel(x).to_dense()
    for index in ((1, 0), 2, (slice(None), 1), ([0, 2], [1, 0])):
        member = kernel[index]
        assert_close(member(x[index]).to_dense(), covariance[index], **EXACT)
        assert member.state_dict().keys() == kernel.state_dict().keys()
        assert_close(kernel(x)[index].to_dense(), covariance[index], **EXACT)
    assert_close(kernel[..., 1](x[:, 1]).to_dense(), covariance[:, 1], **EXACT)
    expanded = randomize(build((2,)))
    for sizes in ((3, 2), (torch.Size([3, 2]),)):
        wide = expanded.expand_batch(*sizes)
        assert wide.batch_shape == (3, 2)
        assert_close(wide(x).to_dense(), expanded(x).to_dense(), **EXACT)
    assert expanded.expand_batch(2) is expanded
    alone = build()
    assert alone[0] is alone


@every_kernel
def test_a_batch_dimension_can_be_indexed_by_broadcasting(
    make: Callable[..., Kernel],
) -> None:
    kernel, x = randomize(make((2,))), inputs(3, 2, 6)
    kernel = kernel.base_kernel if make is grouped else kernel
    assert_close(kernel(x)[2, 1].to_dense(), kernel(x).to_dense()[2, 1], **EXACT)


@every_kernel
def test_properties(make: Callable[..., Kernel]) -> None:
    kernel = make((2,))
    x = inputs(2, 3)
    assert kernel.is_stationary
    assert kernel.batch_shape == (2,)
    assert kernel.num_outputs_per_input(x, x) == 1
    assert kernel.float().dtype == torch.float32


class KernelContract(BaseKernelTestCase, TestCase):
    """GPyTorch's own checks, in its own precision."""

    __test__ = False

    def setUp(self) -> None:
        torch.manual_seed(0)
        self.dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)

    def tearDown(self) -> None:
        torch.set_default_dtype(self.dtype)


class TestChoiceKernelContract(KernelContract):
    __test__ = True

    def create_kernel_no_ard(self, **kwargs: Any) -> Kernel:
        return ChoiceKernel(**kwargs)

    def create_kernel_ard(self, num_dims: int, **kwargs: Any) -> Kernel:
        return ChoiceKernel(ard_num_dims=num_dims, **kwargs)


class TestWeightedMixtureKernelContract(KernelContract):
    __test__ = True

    def create_kernel_no_ard(self, **kwargs: Any) -> Kernel:
        shape = kwargs.pop("batch_shape", torch.Size())
        kernels = [MaternKernel(batch_shape=shape), ChoiceKernel(batch_shape=shape)]
        return WeightedMixtureKernel(kernels, shape, BetaPrior(3.0, 3.0), **kwargs)

    def create_kernel_ard(self, num_dims: int, **kwargs: Any) -> Kernel:
        shape = kwargs.pop("batch_shape", torch.Size())
        part = {"ard_num_dims": num_dims, "batch_shape": shape}
        kernels = [MaternKernel(**part), ChoiceKernel(**part), MaternKernel(**part)]
        prior = DirichletPrior([1.0, 2.0, 3.0])
        return WeightedMixtureKernel(kernels, shape, prior, **kwargs)


class TestFactorizedKernelContract(KernelContract):
    __test__ = True

    def create_kernel_no_ard(self, **kwargs: Any) -> Kernel:
        active_dims = kwargs.pop("active_dims", [0, 1])
        middle = len(active_dims) // 2
        return FactorizedScalarChoiceKernel(
            active_dims[:middle],
            active_dims[middle:],
            lengthscale_prior=GammaPrior(3.0, 6.0),
            weights_prior=BetaPrior(3.0, 3.0),
            **kwargs,
        )

    def create_kernel_ard(self, num_dims: int, **kwargs: Any) -> Kernel:
        return self.create_kernel_no_ard(active_dims=list(range(num_dims)), **kwargs)

    def test_active_dims_list(self) -> None:
        # Its columns are no `active_dims`: it has to know which are choices.
        x = self.create_data_no_batch()
        kernel = self.create_kernel_no_ard(active_dims=[0, 2, 4, 6])
        expected = self.create_kernel_no_ard(active_dims=[0, 1, 2, 3])
        self.assertAllClose(
            kernel(x).to_dense(), expected(x[:, [0, 2, 4, 6]]).to_dense()
        )

    test_active_dims_range = test_active_dims_list
