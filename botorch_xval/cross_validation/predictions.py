"""Predictions of held-out rows by many fitted models.

Where the losses of the models have a closed form, so have their predictions, of all
models together. The first and the last model's predictions are compared with their own
posteriors; if they differ, or there is no closed form, every model is asked for its
posterior.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from torch import Tensor

from botorch_xval.cross_validation.fold_models import FoldModels
from botorch_xval.cross_validation.links import (
    IDENTITY,
    Prediction,
    affine,
    is_ensemble,
    links_of,
)
from botorch_xval.fitting.retries import Fitted
from botorch_xval.fitting.threads import single_threaded_torch

__all__ = ["predict_each", "predict_one"]

logger = logging.getLogger(__name__)


def predict_each(
    models: FoldModels,
    fitted: Fitted,
    chosen: Sequence[int],
    X: Sequence[Tensor],
    noise: Sequence[Tensor] | None,
) -> list[Prediction | Exception]:
    """Predict held-out rows by the fitted models of folds.

    Args:
        models: The models; in evaluation mode afterwards.
        fitted: Their fit.
        chosen: Positions of the folds that are to predict.
        X: For each of them the inputs, `k x d`.
        noise: For each of them the known noise variances there, `k x m`; None if noise
            is inferred.

    Returns:
        One prediction per fold, of the outcomes or of their links (of an ensemble with
        `S` members `k x S`, one column for each), or the error of a fold that has none.

    Raises:
        UnsupportedError: If no posterior is Gaussian there.
    """
    for mll in models.mlls:
        mll.eval()

    def by_posterior(i: int) -> Prediction | Exception:
        try:
            model = models.ordinary(chosen[i]).model
            return predict_one(model, X[i], None if noise is None else noise[i])
        except Exception as error:  # of any kind of model
            return error

    def together(own: Sequence[int]) -> list[Prediction]:
        known = None if noise is None else [noise[i] for i in own]
        return _together(
            models, fitted, [chosen[i] for i in own], [X[i] for i in own], known
        )

    closed: dict[int, Prediction] = {}
    if len(chosen) > 2:
        sizes: dict[int, list[int]] = {}
        for i, x in enumerate(X):
            sizes.setdefault(len(x), []).append(i)
        with single_threaded_torch():
            for own in sizes.values():
                closed |= _apart(together, own)
        if closed and not _is_confirmed(closed, by_posterior):
            logger.debug("predictions in closed form disagree with the posteriors")
            closed = {}
    found = [closed[i] if i in closed else by_posterior(i) for i in range(len(chosen))]
    if found and all(isinstance(each, UnsupportedError) for each in found):
        raise cast(UnsupportedError, found[0])
    return found


def _apart(
    together: Callable[[Sequence[int]], list[Prediction]], own: Sequence[int]
) -> dict[int, Prediction]:
    """Predictions in closed form, of folds that have one.

    If not all have, each of these is asked alone: its trouble is not the others'.
    """
    found: dict[int, Prediction] = {}
    try:
        found = dict(zip(own, together(own), strict=True))
    except Exception as error:  # of any kind of model; its posterior will say it
        logger.debug("no prediction in closed form: %s", error)
    lost = [i for i in own if i not in found or not _is_finite(found[i])]
    for i in lost:
        found.pop(i, None)
        if len(own) > 1:
            found |= _apart(together, [i])
    return found


def _is_confirmed(
    closed: dict[int, Prediction],
    by_posterior: Callable[[int], Prediction | Exception],
) -> bool:
    """Whether the first and the last fold that have a posterior agree with it."""
    for order in (sorted(closed), sorted(closed, reverse=True)):
        for i in order:
            own = by_posterior(i)
            if not isinstance(own, Exception):
                if not _agree(own, closed[i]):
                    return False
                break
        else:
            return False
    return True


def _is_finite(found: Prediction) -> bool:
    return all(bool(each.isfinite().all()) for each in found.values())


def predict_one(
    model: Model, X: Tensor, noise: Tensor | None
) -> Prediction | Exception:
    """Predict held-out rows by one fitted model in evaluation mode.

    Args:
        model: The model.
        X: Inputs, `k x d`.
        noise: Known noise variances there, `k x m`; None if noise is inferred.

    Returns:
        See :func:`predict_each`. Of an ensemble with `S` members `k x S`, one column
        for each member.

    Raises:
        UnsupportedError: If a posterior is not Gaussian there.
    """
    try:
        found = _by_posterior(model, X, noise)
        for name in ("mean", "variance", "noise_variance"):
            if len(found[name]) != len(X):
                raise ValueError(
                    f"expected a prediction of {len(X)} rows, got a {name} of "
                    f"{len(found[name])}"
                )
        if not _is_finite(found):
            raise ValueError("expected a finite prediction, got NaN or infinity")
    except UnsupportedError:
        raise
    except Exception as error:  # of any kind of model
        return error
    return found


@contextmanager
def _without_links(model: Model, num_outcomes: int) -> Iterator[None]:
    """A model whose posterior is that of the links of its outcomes."""
    own: Any = getattr(model, "outcome_transform", None)
    links, rest = links_of(model, num_outcomes)
    if all(link == IDENTITY for link in links):
        yield
        return
    try:
        del model.outcome_transform
        if rest is not None:
            model.outcome_transform = rest.eval()
        yield
    finally:
        model.outcome_transform = own


def _by_posterior(model: Model, X: Tensor, noise: Tensor | None) -> Prediction:
    targets: Any = model.train_targets
    outputs = 1 if targets.ndim == 1 or is_ensemble(model) else model.num_outputs
    noisy: Any
    with torch.no_grad(), _without_links(model, outputs):
        # BoTorch would add the mean of the known variances of the training rows.
        posterior = model.posterior(X)
        if not isinstance(posterior, GPyTorchPosterior):
            raise UnsupportedError(
                "expected a Gaussian posterior, got "
                f"{type(posterior).__name__}; as outcome_transform use Log, Power or "
                "Bilog, then affine ones such as Standardize, or apply another "
                "nonlinear one to train_Y beforehand"
            )
        mean, variance = posterior.mean, posterior.variance
        if is_ensemble(model):  # S x k x 1
            noisy = model.posterior(X, observation_noise=True)
            added = noisy.variance - variance if noise is None else noise
            parts = (mean, variance, added.expand_as(mean))
            return _prediction(model, X, *(part[..., 0].mT for part in parts))
        if mean.ndim != 2:
            raise UnsupportedError(
                "model: expected predictions of shape `k x m`, got "
                f"{tuple(mean.shape)}; build a model without a batch shape"
            )
        if noise is None:
            noisy = model.posterior(X, observation_noise=True)
            noise = noisy.variance - variance
        return _prediction(model, X, mean, variance, noise)


def _prediction(
    model: Model, X: Tensor, mean: Tensor, variance: Tensor, noise: Tensor
) -> Prediction:
    location, scale = affine(model, mean.shape[-1], X)
    return {
        "mean": mean,
        "variance": variance + noise,
        "noise_variance": noise,
        "location": location,
        "scale": scale,
    }


def _agree(first: Prediction, second: Prediction) -> bool:
    unit = first["scale"]
    return bool(
        ((first["mean"] - second["mean"]).abs() <= 1e-6 * unit).all()
        and ((first["variance"] - second["variance"]).abs() <= 1e-6 * unit**2).all()
    )


@torch.no_grad()
def _together(
    models: FoldModels,
    fitted: Fitted,
    chosen: Sequence[int],
    X: Sequence[Tensor],
    noise: Sequence[Tensor] | None,
) -> list[Prediction]:
    numbers = models.models(fitted.objective)[list(chosen)]  # a x m
    inputs = models.transform_inputs(chosen, X)  # a x k x d
    a, m = numbers.shape
    inputs = inputs[:, None].expand(a, m, *inputs.shape[-2:]).flatten(0, 1)
    own = numbers.reshape(-1).tolist()
    moments = fitted.objective.predict(fitted.theta[own], own, inputs)
    mean, variance, added = (part.reshape(a, m, -1).mT for part in moments)
    location, scale = models.affine(chosen, X, m)  # a x k x m
    mean = location + scale * mean
    variance = scale**2 * variance
    added = (scale**2 * added).expand_as(mean)
    if noise is not None:
        added = torch.stack(list(noise)).expand_as(mean)
    return [
        {
            "mean": mean[i],
            "variance": variance[i] + added[i],
            "noise_variance": added[i],
            "location": location[i],
            "scale": scale[i],
        }
        for i in range(len(chosen))
    ]
