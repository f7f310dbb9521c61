"""Problems for the benchmark of quality: data and models of many kinds.

The data come with scikit-learn, statsmodels, BoTorch's test functions and this
package. `CHOSEN_ON` names the data sets that starts, rungs and margins were chosen on;
all others were only looked at afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from botorch.models import MixedSingleTaskGP, SingleTaskGP
from botorch.models.transforms import Normalize, Warp
from botorch.test_functions import (
    Ackley,
    Beale,
    Branin,
    Cosine8,
    DixonPrice,
    Griewank,
    Hartmann,
    Levy,
    Michalewicz,
    Powell,
    Rastrigin,
    Rosenbrock,
    SixHumpCamel,
    StyblinskiTang,
)
from gpytorch.kernels import AdditiveKernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.priors import GammaPrior
from torch import Tensor

from botorch_xval import ScalarChoiceGP
from botorch_xval.data.trials import encode_tuning_trials, load_tuning_trials

__all__ = [
    "CHOSEN_ON",
    "CURVES",
    "FOLDS",
    "FRESH_CURVES",
    "SINGLE",
    "Problem",
    "data_of",
]

Build = Callable[..., SingleTaskGP]
Data = tuple[Tensor, Tensor, Build]
Problem = Callable[[], Data]

CHOSEN_ON = {"tuning", "hartmann", "levy", "rosenbrock", "iris", "linnerud", "copper"}
"""Data sets whose problems may be looked at when something is chosen."""

FUNCTIONS = {
    "hartmann": lambda: Hartmann(),
    "hartmann3": lambda: Hartmann(3),
    "branin": lambda: Branin(),
    "ackley": lambda: Ackley(5),
    "levy": lambda: Levy(4),
    "rosenbrock": lambda: Rosenbrock(8),
    "griewank": lambda: Griewank(3),
    "michalewicz": lambda: Michalewicz(5),
    "styblinski": lambda: StyblinskiTang(10),
    "beale": lambda: Beale(),
    "camel": lambda: SixHumpCamel(),
    "cosine": lambda: Cosine8(),
    "dixonprice": lambda: DixonPrice(3),
    "powell": lambda: Powell(4),
    "rastrigin": lambda: Rastrigin(2),
}


def data_of(name: str) -> str:
    """The name of the data set of a problem."""
    return name.split("-")[0]


def default(X: Tensor, Y: Tensor) -> SingleTaskGP:
    """BoTorch's default with its transforms, for a batch, too."""
    return SingleTaskGP(
        X, Y, input_transform=Normalize(X.shape[-1], batch_shape=X.shape[:-2])
    )


def warped(X: Tensor, Y: Tensor) -> SingleTaskGP:
    """BoTorch's default with warped inputs."""
    d = X.shape[-1]
    return SingleTaskGP(X, Y, input_transform=Warp(d=d, indices=list(range(d))))


def known_noise(X: Tensor, Y: Tensor) -> SingleTaskGP:
    """BoTorch's default with noise variances that are known."""
    noise = 0.01 * Y.var(dim=-2, keepdim=True).expand(Y.shape)
    return SingleTaskGP(X, Y, noise.clone(), input_transform=Normalize(X.shape[-1]))


def with_gamma_priors(X: Tensor, Y: Tensor) -> SingleTaskGP:
    """What BoTorch's default was until 2024."""
    d = X.shape[-1]
    kernel = ScaleKernel(
        MaternKernel(ard_num_dims=d, lengthscale_prior=GammaPrior(3.0, 6.0)),
        outputscale_prior=GammaPrior(2.0, 0.15),
    )
    return SingleTaskGP(X, Y, covar_module=kernel, input_transform=Normalize(d))


def without_priors(X: Tensor, Y: Tensor) -> SingleTaskGP:
    """A user's own sum of kernels, all without priors."""
    d = X.shape[-1]
    kernel = AdditiveKernel(
        ScaleKernel(RBFKernel(ard_num_dims=d)), ScaleKernel(MaternKernel(nu=1.5))
    )
    return SingleTaskGP(X, Y, covar_module=kernel, input_transform=Normalize(d))


def mixed(X: Tensor, Y: Tensor) -> SingleTaskGP:
    """The last two columns are categories."""
    d = X.shape[-1]
    return MixedSingleTaskGP(X, Y, cat_dims=[d - 2, d - 1])


@cache
def _tuning_table():
    return encode_tuning_trials()


def _tuning(n: int, priors: str | None, seed: int = 0, outputs: str = "loss") -> Data:
    table = _tuning_table()
    rows = np.random.default_rng([seed, 0]).permutation(len(table.X))[:n]
    Y = _targets(outputs)[rows]
    if priors is None:
        return table.X[rows], Y, default
    build = partial(ScalarChoiceGP, choice_dims=table.choice_dims, priors=priors)
    return table.X[rows], Y, build


@cache
def _targets(outputs: str) -> Tensor:
    loss = _tuning_table().Y
    if outputs == "loss":
        return loss
    trials = load_tuning_trials()
    column = trials.accuracy[trials.loss.notna()].to_numpy()  # the rows of the others
    accuracy = torch.as_tensor(column, dtype=loss.dtype)[:, None]
    return accuracy if outputs == "accuracy" else torch.cat([loss, accuracy], dim=-1)


def _function(
    name: str, n: int, build: Build = default, noise: float = 0.0, seed: int = 0
) -> Data:
    """A test function at random points, with noise in standard deviations of it."""
    function = FUNCTIONS[name]().to(torch.float64)
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(n, function.dim, generator=generator, dtype=torch.float64)
    low, high = function.bounds
    Y = function(low + (high - low) * X)[:, None]
    Y = Y + noise * Y.std() * torch.randn(Y.shape, generator=generator, dtype=Y.dtype)
    if build is mixed:
        X = torch.cat([X[:, :-2], (3 * X[:, -2:]).floor()], dim=-1)
    return X, Y, build


def _table(name: str, n: int | None, build: Build = default, seed: int = 0) -> Data:
    """Rows of a table that a package brings."""
    X, Y = _load(name)
    rows = np.random.default_rng(seed).permutation(len(X))[:n]
    return X[rows], Y[rows], build


@cache
def _load(name: str) -> tuple[Tensor, Tensor]:
    import sklearn.datasets
    import statsmodels.datasets

    if name in ("diabetes", "linnerud"):
        X, Y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    elif name in ("iris", "wine", "cancer"):
        loaded = "breast_cancer" if name == "cancer" else name
        table = getattr(sklearn.datasets, f"load_{loaded}")().data
        X, Y = (
            np.delete(table, 3 if name == "iris" else 0, 1),
            table[:, 3 if name == "iris" else 0],
        )
    else:
        loaded = getattr(statsmodels.datasets, name).load_pandas()
        Y, X = np.asarray(loaded.endog, float), np.asarray(loaded.exog, float)
        if name == "star98":
            Y = Y[:, 0] / Y.sum(axis=1)
        X = X[:, X.std(axis=0) > 0]
    X, Y = (
        torch.as_tensor(X, dtype=torch.float64),
        torch.as_tensor(Y, dtype=torch.float64),
    )
    return X, Y.reshape(len(X), -1)


def _tuning_problems() -> dict[str, Problem]:
    sizes = (20, 30, 40, 60, 80, 100, 130, 160)
    return {
        f"tuning-{n}-{priors}": partial(_tuning, n, priors)
        for priors in ("tight", "loose", "loosest")
        for n in sizes
    }


SINGLE: dict[str, Problem] = {
    **_tuning_problems(),
    "tuning-60-tight, other rows": lambda: _tuning(60, "tight", 1),
    "tuning-100-loose, other rows": lambda: _tuning(100, "loose", 2),
    **{
        f"tuning-{n}-default": partial(_tuning, n, None) for n in (20, 40, 60, 100, 160)
    },
    "accuracy-60-tight": lambda: _tuning(60, "tight", 3, "accuracy"),
    "accuracy-100-loose": lambda: _tuning(100, "loose", 3, "accuracy"),
    "accuracy-100-default": lambda: _tuning(100, None, 3, "accuracy"),
    "accuracy-60-loosest": lambda: _tuning(60, "loosest", 4, "accuracy"),
    "accuracy-50-two outputs": lambda: _tuning(50, "loose", 5, "both"),
    **{f"hartmann-{n}": partial(_function, "hartmann", n) for n in (20, 40, 60, 100)},
    "hartmann-40-noisy": lambda: _function("hartmann", 40, noise=0.2),
    "hartmann-80-noisy": lambda: _function("hartmann", 80, noise=0.2),
    "hartmann-40-warp": lambda: _function("hartmann", 40, warped),
    "hartmann-60-known noise": lambda: _function("hartmann", 60, known_noise),
    "hartmann-40-gamma priors": lambda: _function("hartmann", 40, with_gamma_priors),
    "hartmann-50-sum": lambda: _function("hartmann", 50, without_priors, 0.1),
    "hartmann-40-mixed": lambda: _function("hartmann", 40, mixed),
    "levy-50-noisy": lambda: _function("levy", 50, noise=0.05),
    "rosenbrock-50-noisy": lambda: _function("rosenbrock", 50, noise=0.05),
    "rosenbrock-30-mixed": lambda: _function("rosenbrock", 30, mixed, 0.05),
    "iris-60": lambda: _table("iris", 60),
    "iris-150-sum": lambda: _table("iris", 150, without_priors),
    "linnerud-20": lambda: _table("linnerud", None),
    "copper-25": lambda: _table("copper", None),
    # Not looked at before all was chosen.
    **{f"diabetes-{n}": partial(_table, "diabetes", n) for n in (20, 40, 80, 160)},
    "diabetes-60-gamma priors": lambda: _table("diabetes", 60, with_gamma_priors),
    "diabetes-40-known noise": lambda: _table("diabetes", 40, known_noise),
    "wine-60": lambda: _table("wine", 60),
    "wine-120-sum": lambda: _table("wine", 120, without_priors),
    "cancer-100": lambda: _table("cancer", 100),
    "cancer-60-gamma priors": lambda: _table("cancer", 60, with_gamma_priors),
    "branin-15": lambda: _function("branin", 15),
    "branin-40-noisy": lambda: _function("branin", 40, noise=0.1),
    "branin-30-warp": lambda: _function("branin", 30, warped, 0.05),
    "ackley-40": lambda: _function("ackley", 40),
    "ackley-80-noisy": lambda: _function("ackley", 80, noise=0.1),
    "ackley-40-mixed": lambda: _function("ackley", 40, mixed, 0.05),
    "griewank-50": lambda: _function("griewank", 50),
    "michalewicz-60": lambda: _function("michalewicz", 60, noise=0.05),
    "michalewicz-40-gamma priors": lambda: _function(
        "michalewicz", 40, with_gamma_priors
    ),
    "styblinski-50": lambda: _function("styblinski", 50, noise=0.02),
    "hartmann3-30": lambda: _function("hartmann3", 30),
    "ccard-72": lambda: _table("ccard", None),
    "longley-16": lambda: _table("longley", None),
    "scotland-32": lambda: _table("scotland", None),
    "stackloss-21-sum": lambda: _table("stackloss", None, without_priors),
    "star98-100": lambda: _table("star98", 100),
}

FOLDS: tuple[str, ...] = (
    "hartmann-40",
    "linnerud-20",
    "copper-25",
    "iris-60",
    "diabetes-40",
    "branin-15",
    "longley-16",
    "scotland-32",
    "ackley-40",
    "tuning-40-tight",
    "tuning-40-default",
    "griewank-50",
    "hartmann-50-sum",
    "hartmann-40-mixed",
    "wine-60",
    "tuning-60-loose",
    "tuning-100-tight",
    "ackley-40-mixed",
    "tuning-60-loosest",
    "accuracy-60-tight",
    "diabetes-80",
)
"""Problems whose leave-one-out folds are fitted, too."""

CURVES: dict[str, Problem] = {
    "tuning-tight": partial(_tuning, 200, "tight"),
    "tuning-default": partial(_tuning, 200, None),
    "hartmann": partial(_function, "hartmann", 200),
    "hartmann-noisy": partial(_function, "hartmann", 200, noise=0.2),
    "levy-noisy": partial(_function, "levy", 200, noise=0.05),
    "rosenbrock-noisy": partial(_function, "rosenbrock", 200, noise=0.05),
    "iris": partial(_table, "iris", None),
    "accuracy-loose": partial(_tuning, 200, "loose", 3, "accuracy"),
    "accuracy-default": partial(_tuning, 200, None, 3, "accuracy"),
    "diabetes": partial(_table, "diabetes", 200),
    "diabetes-gamma priors": partial(_table, "diabetes", 200, with_gamma_priors),
    "wine": partial(_table, "wine", None),
    "cancer": partial(_table, "cancer", 200),
    "branin-noisy": partial(_function, "branin", 200, noise=0.1),
    "ackley-noisy": partial(_function, "ackley", 200, noise=0.1),
    "griewank": partial(_function, "griewank", 200),
    "michalewicz-noisy": partial(_function, "michalewicz", 200, noise=0.05),
    "styblinski-noisy": partial(_function, "styblinski", 200, noise=0.02),
    "hartmann3-noisy": partial(_function, "hartmann3", 200, noise=0.1),
    "star98": partial(_table, "star98", 200),
    "ccard": partial(_table, "ccard", None),
}
"""Problems with enough rows to compare dataset sizes, and to keep others aside."""

FRESH_CURVES: dict[str, Problem] = {
    "tuning-loose, other rows": partial(_tuning, 200, "loose", 5),
    "engel": partial(_table, "engel", 200),
    "fair": partial(_table, "fair", 200),
    "randhie": partial(_table, "randhie", 200),
    "beale-noisy": partial(_function, "beale", 200, noise=0.05),
    "camel-noisy": partial(_function, "camel", 200, noise=0.1),
    "cosine-noisy": partial(_function, "cosine", 200, noise=0.1),
    "dixonprice": partial(_function, "dixonprice", 200),
    "powell-noisy": partial(_function, "powell", 200, noise=0.05),
    "rastrigin-noisy": partial(_function, "rastrigin", 200, noise=0.2),
}
"""More of them, not looked at before the bands of learning curves were chosen."""
