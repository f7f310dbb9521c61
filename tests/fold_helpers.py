"""Models and data of folds, for the tests of `cross_validation`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from botorch.models import SingleTaskGP
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import MarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from helpers import noisy_waves, normalized_gp
from torch import Tensor

from botorch_xval import CrossValidation, cross_validate
from botorch_xval.cross_validation.fold_models import FoldModels
from botorch_xval.cross_validation.folds import Folds


def untransformed(X: Tensor, Y: Tensor) -> SingleTaskGP:
    """A model without a part that learns from its data before the fit."""
    batch_shape = torch.Size([Y.shape[-1]] if Y.shape[-1] > 1 else [])
    kernel = ScaleKernel(
        RBFKernel(
            ard_num_dims=2,
            batch_shape=batch_shape,
            lengthscale_prior=LogNormalPrior(0.0, 1.0),
        ),
        batch_shape=batch_shape,
        outputscale_prior=GammaPrior(2.0, 1.0),
    )
    noise = GaussianLikelihood(
        batch_shape=batch_shape,
        noise_constraint=GreaterThan(1e-6, transform=None, initial_value=0.1),
    )
    return SingleTaskGP(
        X, Y, covar_module=kernel, likelihood=noise, outcome_transform=None
    )


def standard_waves(n: int, m: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`noisy_waves`, inputs in the unit square and outcomes standardized."""
    X, Y = noisy_waves(n, m, seed=seed)
    return (X + 5) / X.new_tensor([1.0, 100.0]), (Y - Y.mean(dim=0)) / Y.std(dim=0)


def models_of(mlls: Sequence[MarginalLogLikelihood], held_out: Tensor) -> FoldModels:
    """Models of folds that are built already."""
    numbers = list(range(len(held_out)))
    folds = Folds(held_out, [f"fold {j}" for j in numbers])
    return FoldModels(lambda j: mlls[j], numbers, folds)


def planted(size: float) -> tuple[Tensor, Tensor, CrossValidation]:
    """Rows of which one, the seventh, is off by so much, and their cross-validation."""
    X, Y = noisy_waves(30)
    Y[7] += size
    return X, Y, cross_validate(normalized_gp, X, Y, fit="warm")
