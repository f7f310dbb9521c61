"""Kernels of all kinds that have a closed form, for batches of models, and data."""

from __future__ import annotations

from typing import Any

import torch
from botorch.models import SingleTaskGP
from botorch.models.kernels import CategoricalKernel
from botorch.utils.constraints import LogTransformedInterval
from gpytorch.constraints import Interval
from gpytorch.kernels import (
    AdditiveKernel,
    Kernel,
    LinearKernel,
    MaternKernel,
    PeriodicKernel,
    PolynomialKernel,
    ProductKernel,
    RBFKernel,
    RQKernel,
    ScaleKernel,
)
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import (
    GammaPrior,
    HalfCauchyPrior,
    HalfNormalPrior,
    LogNormalPrior,
    NormalPrior,
)
from helpers import mll_of
from torch import Tensor

from botorch_xval.models.kernels import ChoiceKernel, WeightedMixtureKernel
from botorch_xval.models.priors import BetaPrior

B = torch.Size([5])
N = 10


def mixed_data(n: int = N) -> tuple[Tensor, Tensor]:
    """Three scalars, a category, and a one-hot choice of three values."""
    generator = torch.Generator().manual_seed(7)
    scalars = torch.rand(*B, n, 3, generator=generator, dtype=torch.float64)
    category = torch.randint(4, (*B, n, 1), generator=generator)
    choice = torch.randint(3, (*B, n), generator=generator)
    one_hot = torch.nn.functional.one_hot(choice, 3)
    one_hot[:, 0] = 0  # inactive
    X = torch.cat([scalars, category, one_hot], dim=-1).double()
    noise = torch.randn(*B, n, 1, generator=generator, dtype=torch.float64)
    return X, X.sum(dim=-1, keepdim=True).sin() + 0.3 * noise


def scalar(kind: type[Kernel], prior: Any = None, **kwargs: Any) -> Kernel:
    return kind(
        ard_num_dims=3,
        active_dims=(0, 1, 2),
        batch_shape=B,
        lengthscale_prior=prior,
        **kwargs,
    )


def choice(**kwargs: Any) -> Kernel:
    return ChoiceKernel(ard_num_dims=3, active_dims=(4, 5, 6), batch_shape=B, **kwargs)


def category(dims: tuple[int, ...] = (3,), **kwargs: Any) -> Kernel:
    return CategoricalKernel(active_dims=dims, batch_shape=B, **kwargs)


def scaled(kernel: Kernel, **kwargs: Any) -> Kernel:
    return ScaleKernel(kernel, batch_shape=B, **kwargs)


def mixture(*kernels: Kernel, **kwargs: Any) -> Kernel:
    return WeightedMixtureKernel(kernels, batch_shape=B, **kwargs)


COVARIANCES = {
    "rbf": lambda: scalar(RBFKernel),
    "one lengthscale": lambda: RBFKernel(batch_shape=B),
    "matern 1/2": lambda: scalar(MaternKernel, nu=0.5),
    "matern 3/2": lambda: scalar(MaternKernel, nu=1.5),
    "matern 5/2": lambda: scalar(MaternKernel, nu=2.5),
    "choice": lambda: scaled(choice()),
    "category": lambda: scaled(category()),
    "categories": lambda: scaled(category((3, 4), ard_num_dims=2)),
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
    "logarithms and other priors": lambda: scaled(
        scalar(
            RBFKernel,
            HalfCauchyPrior(torch.tensor(0.5).double()),
            lengthscale_constraint=LogTransformedInterval(0.05, 20.0, 0.7),
        ),
        outputscale_prior=HalfNormalPrior(torch.tensor(2.0).double()),
    ),
}


class Distances(Kernel):
    """A user's kernel: two parts of distances by `torch.cdist`, a weight, priors."""

    has_lengthscale = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "lengthscale_prior": GammaPrior(3.0, 6.0)})
        shape = torch.Size([*self.batch_shape, 1])
        self.register_parameter("raw_weight", torch.nn.Parameter(torch.zeros(shape)))
        self.register_constraint("raw_weight", Interval(0.0, 1.0))
        self.register_prior(
            "weight_prior",
            BetaPrior(2.0, 2.0),
            lambda m: m.weight,
            lambda m, v: m.initialize(
                raw_weight=m.raw_weight_constraint.inverse_transform(v)
            ),
        )

    @property
    def weight(self) -> Tensor:
        return self.raw_weight_constraint.transform(self.raw_weight)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        x1, x2 = x1 / self.lengthscale, x2 / self.lengthscale
        if diag:
            return torch.ones_like(x1[..., 0])
        weight = self.weight[..., None]
        smooth = (-0.5 * torch.cdist(x1, x2) ** 2).exp()
        rough = (-torch.cdist(x1, x2, p=1.0)).exp()
        return weight * smooth + (1 - weight) * rough


# Without a closed form.
OTHERS = {
    "rational quadratic": lambda: scaled(scalar(RQKernel)),
    "linear": lambda: LinearKernel(batch_shape=B, active_dims=(0, 1, 2)),
    "polynomial": lambda: scaled(
        PolynomialKernel(2, batch_shape=B, active_dims=(0, 1, 2))
    ),
    "periodic": lambda: scaled(scalar(PeriodicKernel)),
    "of a user": lambda: scaled(scalar(Distances), outputscale_prior=GammaPrior(2, 1)),
    "in a sum": lambda: scaled(scalar(Distances)) + scaled(choice()),
    "in a product": lambda: ProductKernel(scalar(Distances), scaled(category())),
    "in a mixture": lambda: mixture(scaled(choice()), scalar(Distances)),
    "sum of one": lambda: AdditiveKernel(scalar(RQKernel)),
    "no choices": lambda: ChoiceKernel(ard_num_dims=7, batch_shape=B),
}


def batch_with(
    covariance: Kernel, n: int = N, **kwargs: Any
) -> ExactMarginalLogLikelihood:
    """The mll of a batch of models of :func:`mixed_data` with this kernel."""
    return mll_of(SingleTaskGP(*mixed_data(n), covar_module=covariance, **kwargs))
