r"""Predictions of held-out rows by many fitted models.

Models of one structure and size whose kernel has a closed form (see `kernel_nodes`) are
conditioned together. With `t` the training and `s` the held-out rows of a model
(Rasmussen & Williams 2006, eq. 2.25 and 2.26):

.. math::
    \mu = m + K_{st} (K_{tt} + N)^{-1} (y - m), \qquad
    \sigma^2 = \mathrm{diag}(K_{ss} - K_{st} (K_{tt} + N)^{-1} K_{ts}).

The first and the last model's predictions are compared with their own posteriors; if
they differ, or there is no closed form, every model is asked for its posterior.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.means import ConstantMean
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor

from botorch_xval.cross_validation.fold_models import FoldModels
from botorch_xval.fitting.losses.covariances import Node, Workspace, build_node
from botorch_xval.fitting.losses.modules import batch_shape_of
from botorch_xval.fitting.losses.parameters import Columns, Unsupported, require
from botorch_xval.fitting.retries import single_threaded_torch

__all__ = ["Prediction", "affine", "predict_each"]

# By name: mean, variance (with noise), noise_variance, location, scale; `k x m` each.
Prediction = dict[str, Tensor]
GROUP_ELEMENTS = 260_000  # of the covariance matrices that are conditioned at once
logger = logging.getLogger(__name__)


def predict_each(
    models: FoldModels,
    chosen: Sequence[int],
    X: Sequence[Tensor],
    noise: Sequence[Tensor] | None,
) -> list[Prediction]:
    """Predict observations by fitted models of one structure and size.

    Args:
        models: They are in evaluation mode afterwards.
        chosen: Numbers of the folds that are to predict.
        X: For each of them the inputs, `k x d`, of as many rows.
        noise: For each of them the known noise variances there, `k x m`; None if noise
            is inferred.

    Returns:
        One prediction per fold, on the scale of the outcomes.

    Raises:
        UnsupportedError: If a posterior is not Gaussian on the scale of the outcomes.
    """
    for mll in models.mlls:
        mll.eval()

    def own(i: int) -> Prediction:
        model = models.ordinary(chosen[i]).model
        return _by_posterior(model, X[i], None if noise is None else noise[i])

    if len(chosen) > 2:
        try:
            with single_threaded_torch():
                together = _together(models, chosen, X, noise)
        except (Unsupported, NotPSDError, NanError) as reason:
            logger.debug("models are asked one after the other: %s", reason)
        else:
            last = len(chosen) - 1
            if all(_agree(own(i), together[i]) for i in (0, last)):
                return together
            logger.debug("predictions in closed form disagree with the posteriors")
    return [own(i) for i in range(len(chosen))]


def affine(model: Model) -> tuple[Tensor, Tensor]:
    """Location and scale of the outcome transform, each `batch_shape x 1 x m`.

    Raises:
        UnsupportedError: If the transform is not affine.
    """
    zero = model.train_targets.new_zeros(1, model.num_outputs)
    transform = getattr(model, "outcome_transform", None)
    if transform is None:
        return zero, zero + 1
    transform.eval()
    with torch.no_grad():
        points, _ = transform.untransform(zero + torch.arange(3.0).to(zero)[:, None])
    location, scale = points[..., :1, :], points[..., 1:2, :] - points[..., :1, :]
    if not torch.allclose(points[..., 2:, :] - points[..., 1:2, :], scale, rtol=1e-8):
        raise UnsupportedError(
            "expected a Gaussian posterior on the outcome's scale, got a nonlinear "
            "outcome transform; apply it (such as Log) to train_Y beforehand"
        )
    return location, scale


def _by_posterior(model: Model, X: Tensor, noise: Tensor | None) -> Prediction:
    with torch.no_grad():
        # BoTorch would add the mean of the known variances of the training rows.
        posterior = model.posterior(X)
        if not isinstance(posterior, GPyTorchPosterior):
            raise UnsupportedError(
                "expected a Gaussian posterior on the outcome's scale, got "
                f"{type(posterior).__name__}; apply a nonlinear outcome transform "
                "(such as Log) to train_Y beforehand"
            )
        mean, variance = posterior.mean, posterior.variance
        if noise is None:
            noise = model.posterior(X, observation_noise=True).variance - variance
        return _prediction(model, mean, variance, noise)


def _prediction(
    model: Model, mean: Tensor, variance: Tensor, noise: Tensor
) -> Prediction:
    location, scale = affine(model)
    return {
        "mean": mean,
        "variance": variance + noise,
        "noise_variance": noise,
        "location": location.expand_as(mean),
        "scale": scale.expand_as(mean),
    }


def _agree(first: Prediction, second: Prediction) -> bool:
    unit = first["scale"]
    return bool(
        ((first["mean"] - second["mean"]).abs() <= 1e-6 * unit).all()
        and ((first["variance"] - second["variance"]).abs() <= 1e-6 * unit**2).all()
    )


@dataclass(frozen=True)
class _Fitted:
    """What `f` fitted models of `m` outputs have to predict `k` rows each."""

    rows: Tensor  # training and held-out inputs, transformed, fm x (n + k) x d
    targets: Tensor  # transformed, fm x n
    noise: Tensor | None  # known variances on that scale, fm x n
    theta: Tensor  # all parameters, fm x p
    location: Tensor  # of the outcomes, f x 1 x m
    scale: Tensor

    @classmethod
    def of(
        cls, models: FoldModels, chosen: Sequence[int], X: Sequence[Tensor]
    ) -> _Fitted:
        if models.witnesses is None:
            mlls = [models.mlls[j] for j in chosen]
            parts = [cls._of_one(mll, x) for mll, x in zip(mlls, X, strict=True)]
            return cls(
                *(
                    None if values[0] is None else torch.cat(values)
                    for values in zip(*parts, strict=True)
                )
            )
        (mll,) = models.mlls
        inputs = X[0].new_zeros(models.num_folds, *X[0].shape)
        inputs[chosen] = torch.stack(list(X))
        m = mll.model.num_outputs
        each = torch.as_tensor(chosen)[:, None] * m + torch.arange(m)
        own = each.reshape(-1).to(inputs.device)
        *parts, location, scale = cls._of_one(mll, inputs)
        return cls(
            *(None if part is None else part[own] for part in parts),
            location.expand(models.num_folds, 1, m)[chosen],
            scale.expand(models.num_folds, 1, m)[chosen],
        )

    @staticmethod
    def _of_one(mll: MarginalLogLikelihood, X: Tensor) -> tuple[Tensor | None, ...]:
        model = mll.model
        # In evaluation mode a model's training inputs are the transformed ones.
        (train,) = model.train_inputs
        test = model.transform_inputs(X)
        if model.num_outputs > 1:
            test = test.unsqueeze(-3)
        test = test.expand(*train.shape[:-2], *test.shape[-2:])
        rows = torch.cat([train, test], dim=-2)
        targets = model.train_targets
        count, n = targets.shape[:-1].numel(), targets.shape[-1]
        noise = None
        if isinstance(mll.likelihood, FixedNoiseGaussianLikelihood):
            noise = mll.likelihood.noise_covar.noise.reshape(count, n)
        theta = [p.reshape(count, -1) for p in mll.parameters()]
        location, scale = affine(model)
        return (
            rows.reshape(count, *rows.shape[-2:]),
            targets.reshape(count, n),
            noise,
            torch.cat(theta, dim=-1),
            location.reshape(-1, 1, model.num_outputs),
            scale.reshape(-1, 1, model.num_outputs),
        )


@torch.no_grad()
def _together(
    models: FoldModels,
    chosen: Sequence[int],
    X: Sequence[Tensor],
    noise: Sequence[Tensor] | None,
) -> list[Prediction]:
    first = models.ordinary(chosen[0])
    model = first.model
    require(type(first) is ExactMarginalLogLikelihood, first)
    require(model.train_targets.dtype == torch.float64, "single precision")
    shape = batch_shape_of(first.train())
    first.eval()
    require(len(shape) <= 1, "several batch dimensions")
    shapes = {name: p.shape[len(shape) :] for name, p in first.named_parameters()}
    columns = Columns(first, shapes, model.train_targets.device)
    fitted = _Fitted.of(models, chosen, X)
    size = fitted.rows.shape[-2] ** 2
    node = build_node(model.covar_module, columns, fitted.rows, 0, Workspace())
    moments = [
        _conditioned(fitted, own, first, columns, node)
        for own in torch.arange(len(fitted.rows)).split(max(1, GROUP_ELEMENTS // size))
    ]
    m = model.num_outputs
    mean, variance, added = (
        torch.cat(parts).reshape(len(chosen), m, -1).mT
        for parts in zip(*moments, strict=True)
    )
    mean = fitted.location + fitted.scale * mean
    variance = fitted.scale**2 * variance
    added = (fitted.scale**2 * added).expand_as(mean)
    if noise is not None:
        added = torch.stack(list(noise))
    return [
        {
            "mean": mean[i],
            "variance": variance[i] + added[i],
            "noise_variance": added[i],
            "location": fitted.location[i].expand_as(mean[i]),
            "scale": fitted.scale[i].expand_as(mean[i]),
        }
        for i in range(len(chosen))
    ]


def _conditioned(
    fitted: _Fitted,
    own: Tensor,
    first: MarginalLogLikelihood,
    columns: Columns,
    node: Node,
) -> tuple[Tensor, Tensor, Tensor]:
    """Means and variances, `a x k`, and noise variances, `a x 1`, of `a` models.

    Where the parameters are in the `columns` is known of the `first` mll.
    """
    own = own.to(fitted.rows.device)
    targets = fitted.targets[own]
    n = targets.shape[-1]
    values, _ = columns.transform(fitted.theta[own])
    mean = torch.zeros_like(values[:, :1])
    if isinstance(first.model.mean_module, ConstantMean):
        mean = values[:, columns.of(first.model.mean_module, "raw_constant")]
    if fitted.noise is not None:
        added = fitted.noise[own]
    else:
        column = columns.of(first.likelihood.noise_covar, "raw_noise")
        added = values[:, column].expand(-1, n)
    columns.check_all_used()
    node.select(own)
    covariance, scale = node.forward(values)
    if scale is not None:
        covariance = covariance * scale[:, None, None]
    inner = covariance[:, :n, :n].clone()
    inner.diagonal(dim1=-2, dim2=-1).add_(added)
    factor, info = torch.linalg.cholesky_ex(inner)
    require(not info.any(), "a covariance that is not positive definite")
    residuals = (targets - mean)[..., None]
    sides = torch.cat([residuals, covariance[:, :n, n:]], dim=-1)
    solved = torch.linalg.solve_triangular(factor, sides, upper=False)
    half = solved[..., 1:]  # L^-1 K_ts
    mean = mean + (half.mT @ solved[..., :1])[..., 0]
    prior = covariance[:, n:, n:].diagonal(dim1=-2, dim2=-1)
    variance = prior - (half**2).sum(dim=-2)
    return mean, variance, added[:, :1]
