"""Closed-form losses and gradients against GPyTorch's modules and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.models import MixedSingleTaskGP, SingleTaskGP
from botorch.models.kernels import CategoricalKernel
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import (
    AdditiveKernel,
    Kernel,
    LinearKernel,
    MaternKernel,
    ProductKernel,
    RBFKernel,
    ScaleKernel,
)
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import LinearMean, ZeroMean
from gpytorch.mlls import ExactMarginalLogLikelihood, LeaveOneOutPseudoLikelihood
from gpytorch.priors import GammaPrior, HalfCauchyPrior, LogNormalPrior, NormalPrior
from torch import Tensor

from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.modules import ByModules
from botorch_xval.fitting.losses.objective import Stack
from botorch_xval.fitting.losses.parameters import Unsupported
from botorch_xval.models.kernels import ChoiceKernel, WeightedMixtureKernel
from botorch_xval.models.priors import BetaPrior, DirichletPrior
from botorch_xval.models.scalar_choice import ScalarChoiceGP

B = torch.Size([5])
N = 14

# Categories are numbers beyond one.
pytestmark = pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")


def data(n: int = N, batch: int = 5) -> tuple[Tensor, Tensor]:
    """Three scalars, a category, and a one-hot choice of three values."""
    generator = torch.Generator().manual_seed(7)
    scalars = torch.rand(batch, n, 3, generator=generator, dtype=torch.float64)
    category = torch.randint(4, (batch, n, 1), generator=generator)
    choice = torch.randint(3, (batch, n), generator=generator)
    one_hot = torch.nn.functional.one_hot(choice, 3)
    one_hot[:, 0] = 0  # inactive
    X = torch.cat([scalars, category, one_hot], dim=-1).double()
    noise = torch.randn(batch, n, 1, generator=generator, dtype=torch.float64)
    return X, X.sum(dim=-1, keepdim=True).sin() + 0.3 * noise


def scalar(kind: type[Kernel], prior=None, **kwargs) -> Kernel:
    return kind(
        ard_num_dims=3,
        active_dims=(0, 1, 2),
        batch_shape=B,
        lengthscale_prior=prior,
        **kwargs,
    )


def choice(**kwargs) -> Kernel:
    return ChoiceKernel(ard_num_dims=3, active_dims=(4, 5, 6), batch_shape=B, **kwargs)


def category(**kwargs) -> Kernel:
    return CategoricalKernel(active_dims=(3,), batch_shape=B, **kwargs)


def scaled(kernel: Kernel, **kwargs) -> Kernel:
    return ScaleKernel(kernel, batch_shape=B, **kwargs)


def mixture(*kernels: Kernel, **kwargs) -> Kernel:
    return WeightedMixtureKernel(kernels, batch_shape=B, **kwargs)


COVARIANCES = {
    "rbf": lambda: scalar(RBFKernel),
    "one lengthscale": lambda: RBFKernel(batch_shape=B),
    "matern 1/2": lambda: scalar(MaternKernel, nu=0.5),
    "matern 3/2": lambda: scalar(MaternKernel, nu=1.5),
    "matern 5/2": lambda: scalar(MaternKernel, nu=2.5),
    "choice": lambda: scaled(choice()),
    "category": lambda: scaled(category()),
    "sum": lambda: scaled(scalar(RBFKernel)) + scaled(category()) + choice(),
    "product": lambda: scaled(
        ProductKernel(scalar(RBFKernel), scaled(category()), choice())
    ),
    "product of sums": lambda: ProductKernel(
        AdditiveKernel(scalar(RBFKernel), scaled(choice())),
        mixture(scalar(MaternKernel), category(), weights_prior=BetaPrior(2.0, 3.0)),
        scaled(scalar(MaternKernel, nu=1.5)),
    ),
    "three weights": lambda: scaled(
        mixture(scalar(RBFKernel), choice(), scaled(category()))
    ),
    "nested mixtures": lambda: scaled(
        mixture(
            mixture(scalar(MaternKernel), choice(), weights_prior=BetaPrior(3.0, 3.0)),
            ProductKernel(scalar(MaternKernel), choice()),
        ),
        outputscale_prior=GammaPrior(2.0, 0.15),
    ),
    "priors": lambda: scaled(
        scalar(
            RBFKernel,
            LogNormalPrior(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 2.0, 3])),
        ),
        outputscale_prior=NormalPrior(1.0, 2.0),
        outputscale_constraint=Interval(0.1, 20.0),
    ),
}


def batched(covariance: Kernel, n: int = N, **kwargs) -> ExactMarginalLogLikelihood:
    X, Y = data(n)
    model = SingleTaskGP(X, Y, covar_module=covariance, **kwargs)
    return ExactMarginalLogLikelihood(model.likelihood, model).train()


def both_ways(mll: ExactMarginalLogLikelihood, models: list[int]):
    stack = Stack([mll], None, None)
    generator = np.random.default_rng(0)
    theta = stack.start + 0.3 * generator.uniform(size=stack.start.shape)
    expected = ByModules(stack)(theta[models], models)
    return Exact(stack)(theta[models], models), expected


@pytest.mark.parametrize("name", COVARIANCES)
def test_kernels(name):
    found, expected = both_ways(batched(COVARIANCES[name]()), [0, 3, 4])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-7, atol=1e-8)


def test_means_likelihoods_and_noise():
    gamma = GaussianLikelihood(noise_prior=GammaPrior(1.1, 0.05), batch_shape=B)
    for kwargs in (
        {"mean_module": ZeroMean(batch_shape=B)},
        {"likelihood": gamma},
        {"train_Yvar": 0.01 + data()[0][..., :1]},
    ):
        found, expected = both_ways(batched(scalar(RBFKernel), **kwargs), [1, 2])
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-7, atol=1e-8)


def test_the_gradient_is_that_of_the_loss():
    mll = batched(COVARIANCES["nested mixtures"]())
    objective = make_objective([mll])
    assert type(objective) is Exact
    theta = objective.start[[2]] + 0.1
    _, (gradient,) = objective(theta, [2])
    for k, slope in enumerate(gradient):
        step = np.zeros_like(theta)
        step[0, k] = 1e-5
        ahead, behind = (objective(theta + s * step, [2])[0][0] for s in (1, -1))
        assert slope == pytest.approx((ahead - behind) / 2e-5, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("n", [13, 14, 16, 19, 23, 40])
@pytest.mark.parametrize("name", ["rbf", "nested mixtures", "product of sums"])
def test_a_loss_does_not_depend_on_its_company_to_the_last_bit(name, n):
    objective = make_objective([batched(COVARIANCES[name](), n)])
    losses, gradients = objective(objective.start, range(5))
    for models in ([0], [4], [1, 3], [3, 1, 0], [2, 2, 4, 0], [4, 3, 2, 1, 0]):
        found = objective(objective.start[models], models)
        assert np.array_equal(found[0], losses[models])
        assert np.array_equal(found[1], gradients[models])


def test_copies_for_threads_do_not_disturb_each_other():
    objective = make_objective([batched(COVARIANCES["nested mixtures"]())])
    first, second = objective.workers(2)
    expected = objective(objective.start, range(5))
    assert first(objective.start[[1]], [1])[0] == expected[0][[1]]
    second(objective.start[[3, 4]] + 0.5, [3, 4])
    again = first(objective.start[[1]], [1])
    assert np.array_equal(again[1], expected[1][[1]])
    shared = first._targets, second._targets
    assert shared[0] is shared[1]


def test_the_models_of_this_library_and_of_botorch_have_closed_forms():
    X, Y = data()
    for model in (
        SingleTaskGP(X, Y),
        MixedSingleTaskGP(X[..., :4], Y, cat_dims=[3]),
        ScalarChoiceGP(X, Y, choice_dims=[4, 5, 6], priors="loosest"),
        ScalarChoiceGP(X[..., :3], Y),
        ScalarChoiceGP(X[..., 4:], Y, choice_dims=[0, 1, 2]),
    ):
        mll = ExactMarginalLogLikelihood(model.likelihood, model).train()
        assert type(make_objective([mll])) is Exact


class OwnKernel(RBFKernel):
    """A subclass with another `forward` may do anything: it is not its parent."""

    def forward(self, x1, x2, diag=False, **params):
        return super().forward(x1, x2, diag=diag, **params) ** 2


class RenamedKernel(RBFKernel):
    """It changes no mathematics, as subclasses of Ax and of users."""


def test_a_subclass_that_changes_no_mathematics_has_its_parents_node():
    found = make_objective([batched(RenamedKernel(batch_shape=B, ard_num_dims=7))])
    expected = make_objective([batched(RBFKernel(batch_shape=B, ard_num_dims=7))])
    assert type(found) is Exact
    models = list(range(5))
    for one, other in zip(
        found(found.start, models), expected(found.start, models), strict=True
    ):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "part, kwargs",
    [
        ("OwnKernel", {"covariance": lambda: OwnKernel(batch_shape=B)}),
        ("LinearKernel", {"covariance": lambda: LinearKernel(batch_shape=B)}),
        (
            "HalfCauchyPrior",
            {"covariance": lambda: scalar(RBFKernel, HalfCauchyPrior(1.0))},
        ),
        (
            "weights_prior",
            {
                "covariance": lambda: mixture(
                    scalar(RBFKernel),
                    choice(),
                    category(),
                    weights_prior=DirichletPrior([2.0, 2.0, 2.0]),
                )
            },
        ),
        ("LinearMean", {"mean_module": LinearMean(7, batch_shape=B)}),
        (
            "not one-hot",
            {"covariance": lambda: ChoiceKernel(ard_num_dims=7, batch_shape=B)},
        ),
    ],
)
def test_what_has_no_closed_form_takes_the_modules(part, kwargs):
    covariance = kwargs.pop("covariance", COVARIANCES["rbf"])()
    mll = batched(covariance, **kwargs)
    with pytest.raises(Unsupported, match=part):
        Exact(Stack([mll], None, None))
    objective = make_objective([mll])
    assert objective.num_models == 5 and type(objective) is ByModules


def test_another_mll_takes_the_modules():
    X, Y = data()
    model = SingleTaskGP(X, Y)
    mll = LeaveOneOutPseudoLikelihood(model.likelihood, model).train()
    with pytest.raises(Unsupported, match="LeaveOneOutPseudoLikelihood"):
        Exact(Stack([mll], None, None))


def test_a_covariance_that_is_not_positive_definite_is_nan_for_its_model_only():
    mll = batched(COVARIANCES["rbf"]())
    with torch.no_grad():
        for name, parameter in mll.named_parameters():
            if name.endswith("raw_noise"):
                parameter[2] = -3.0
    objective = Exact(Stack([mll], None, None))
    losses, gradients = objective(objective.start, range(5))
    assert np.isnan(losses).tolist() == [False, False, True, False, False]
    assert np.isfinite(gradients[[0, 1, 3, 4]]).all()
    alone = objective(objective.start[[3]], [3])
    assert alone[0][0] == losses[3] and np.array_equal(alone[1][0], gradients[3])


def test_jitter_is_that_of_gpytorch():
    X, Y = data()
    X[:, 1:4] = X[:, :1]  # repeated rows
    likelihood = GaussianLikelihood(
        noise_constraint=GreaterThan(-1.0, transform=None), batch_shape=B
    )
    kernel = scaled(scalar(RBFKernel))
    model = SingleTaskGP(X, Y, covar_module=kernel, likelihood=likelihood)
    mll = ExactMarginalLogLikelihood(model.likelihood, model).train()
    with torch.no_grad():
        likelihood.raw_noise.fill_(-1e-9)
    stack = Stack([mll], None, None)
    with pytest.warns(match="added jitter"):
        expected, _ = ByModules(stack)(stack.start, range(5))
    found, _ = Exact(stack)(stack.start, range(5))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
