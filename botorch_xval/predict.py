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

import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.means import ConstantMean
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor

from botorch_xval.attempts import single_threaded_torch
from botorch_xval.columns import Columns, Unsupported, require
from botorch_xval.kernel_nodes import Workspace, build_node
from botorch_xval.stacked import batch_shape_of

__all__ = ["Prediction", "affine", "predict_each"]

# By name: mean, variance (with noise), noise_variance, location, scale; `k x m` each.
Prediction = dict[str, Tensor]
GROUP_ELEMENTS = 1_000_000  # of the covariance matrices that are conditioned at once
logger = logging.getLogger(__name__)


def predict_each(
    mlls: Sequence[MarginalLogLikelihood],
    X: Sequence[Tensor],
    noise: Sequence[Tensor] | None,
) -> list[Prediction]:
    """Predict observations by fitted models of one structure and size.

    Args:
        mlls: Of the models; they are in evaluation mode afterwards.
        X: For every model the inputs, `k x d`, of as many rows.
        noise: For every model the known noise variances there, `k x m`; None if noise
            is inferred.

    Returns:
        One prediction per model, on the scale of the outcomes.

    Raises:
        UnsupportedError: If a posterior is not Gaussian on the scale of the outcomes.
    """
    for mll in mlls:
        mll.eval()

    def own(i: int) -> Prediction:
        return _by_posterior(mlls[i].model, X[i], None if noise is None else noise[i])

    if len(mlls) > 2:
        try:
            with single_threaded_torch():
                together = _together(mlls, X, noise)
        except (Unsupported, NotPSDError, NanError) as reason:
            logger.debug("models are asked one after the other: %s", reason)
        else:
            last = len(mlls) - 1
            if all(_agree(own(i), together[i]) for i in (0, last)):
                return together
            logger.debug("predictions in closed form disagree with the posteriors")
    return [own(i) for i in range(len(mlls))]


def affine(model: Model) -> tuple[Tensor, Tensor]:
    """Location and scale of the outcome transform, each `1 x m`.

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
    location, scale = points[:1], points[1:2] - points[:1]
    if not torch.allclose(points[2:] - points[1:2], scale, rtol=1e-8):
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


@torch.no_grad()
def _together(
    mlls: Sequence[MarginalLogLikelihood],
    X: Sequence[Tensor],
    noise: Sequence[Tensor] | None,
) -> list[Prediction]:
    first, model = mlls[0], mlls[0].model
    require(type(first) is ExactMarginalLogLikelihood, first)
    require(model.train_targets.dtype == torch.float64, "single precision")
    shape = batch_shape_of(first.train())
    first.eval()
    require(len(shape) <= 1, "several batch dimensions")
    shapes = {name: p.shape[len(shape) :] for name, p in first.named_parameters()}
    columns = Columns(first, shapes, model.train_targets.device)
    size = (model.train_targets.shape[-1] + len(X[0])) ** 2 * shape.numel()
    width = max(1, GROUP_ELEMENTS // size)
    found = []
    for begin in range(0, len(mlls), width):
        part = slice(begin, begin + width)
        moments = _conditioned(mlls[part], X[part], first, columns, shape)
        for mll, mean, variance, added in zip(mlls[part], *moments, strict=True):
            location, scale = affine(mll.model)
            own = scale**2 * added.expand_as(mean)
            if noise is not None:
                own = noise[len(found)]
            found.append(
                _prediction(
                    mll.model, location + scale * mean, scale**2 * variance, own
                )
            )
    return found


def _conditioned(
    mlls: Sequence[MarginalLogLikelihood],
    X: Sequence[Tensor],
    first: MarginalLogLikelihood,
    columns: Columns,
    shape: torch.Size,
) -> tuple[Tensor, Tensor, Tensor]:
    """Means and variances, `a x k x m`, and noise variances, `a x 1 x m`.

    Where the parameters are in the `columns` is known of the `first` mll.
    """
    each = shape.numel()
    # In evaluation mode a model's training inputs are the transformed ones.
    inputs = []
    for mll, x in zip(mlls, X, strict=True):
        (train,) = mll.model.train_inputs
        test = mll.model.transform_inputs(x)
        test = test.expand(*train.shape[:-2], *test.shape[-2:])
        inputs.append(torch.cat([train, test], dim=-2))
    rows = torch.stack(inputs).reshape(-1, *inputs[0].shape[-2:])  # am x (n + k) x d
    targets = torch.stack([mll.model.train_targets for mll in mlls])
    n = targets.shape[-1]
    theta = [
        torch.cat([p.reshape(each, -1) for p in mll.parameters()], dim=-1)
        for mll in mlls
    ]
    values, _ = columns.transform(torch.cat(theta))
    node = build_node(first.model.covar_module, columns, rows, 0, Workspace())
    mean = torch.zeros_like(values[:, :1])
    if isinstance(first.model.mean_module, ConstantMean):
        mean = values[:, columns.of(first.model.mean_module, "raw_constant")]
    if isinstance(first.likelihood, FixedNoiseGaussianLikelihood):
        own = [mll.likelihood.noise_covar.noise for mll in mlls]
        added = torch.stack(own).reshape(-1, n)
    else:
        column = columns.of(first.likelihood.noise_covar, "raw_noise")
        added = values[:, column].expand(-1, n)
    columns.check_all_used()
    node.select(torch.arange(len(rows), device=rows.device))
    covariance, scale = node.forward(values)
    if scale is not None:
        covariance = covariance * scale[:, None, None]
    inner = covariance[:, :n, :n].clone()
    inner.diagonal(dim1=-2, dim2=-1).add_(added)
    factor, info = torch.linalg.cholesky_ex(inner)
    require(not info.any(), "a covariance that is not positive definite")
    residuals = (targets.reshape(-1, n) - mean)[..., None]
    sides = torch.cat([residuals, covariance[:, :n, n:]], dim=-1)
    solved = torch.linalg.solve_triangular(factor, sides, upper=False)
    half = solved[..., 1:]  # L^-1 K_ts
    mean = mean + (half.mT @ solved[..., :1])[..., 0]
    prior = covariance[:, n:, n:].diagonal(dim1=-2, dim2=-1)
    variance = prior - (half**2).sum(dim=-2)
    return tuple(
        part.reshape(len(mlls), each, -1).mT for part in (mean, variance, added[:, :1])
    )
