"""A fold of which several predictions are mixed, with weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from botorch.optim.core import OptimizationStatus
from torch import Tensor

from botorch_xval.cross_validation.fold_records import FoldFit
from botorch_xval.cross_validation.links import Link, Prediction
from botorch_xval.cross_validation.mixtures import Mixture
from botorch_xval.fitting.records import FitRecord

__all__ = ["Integrated", "mix", "mix_members", "record_of_draws"]


@dataclass(frozen=True, eq=False)
class Integrated:
    """What there is of a fold."""

    fold: int
    """Its number."""

    mixture: Mixture | None
    """Predictions of its `k` held-out rows; None if it has failed."""

    prediction: Prediction | None
    """The moments of these."""

    fits: list[FoldFit]
    """One for each output."""

    links: tuple[Link, ...]
    """Of its outcomes."""

    error: str = ""
    """Why it has failed."""


def mix(
    weights: Tensor,
    mean: Tensor,
    variance: Tensor,
    noise_variance: Tensor,
    location: Tensor,
    scale: Tensor,
) -> tuple[Mixture, Prediction]:
    """A mixture of predictions, and its moments.

    Args:
        weights: Of the components, `S x 1` or `S x m`.
        mean: Of the components, `S x k x m`.
        variance: With noise, `S x k x m`.
        noise_variance: Broadcasts to these.
        location: Of the outcome transform, broadcasts to `k x m`.
        scale: Of the same.
    """
    parts = [weights[:, None], mean, variance, noise_variance]
    mixture = Mixture(*(p.expand_as(mean).transpose(0, 1) for p in parts))
    center, spread, noise = mixture.moments()
    return mixture, {
        "mean": center,
        "variance": spread,
        "noise_variance": noise,
        "location": location.expand_as(center),
        "scale": scale.expand_as(center),
    }


def mix_members(
    members: Prediction, weights: Tensor | None = None
) -> tuple[Mixture, Prediction]:
    """A mixture of the members of an ensemble of one output.

    Args:
        members: Their predictions, one in each column, `k x S`.
        weights: Of the members, `S`; default: all alike, as BoTorch's posterior of an
            ensemble has it.
    """
    mean = members["mean"].mT[..., None]
    if weights is None:
        weights = torch.full_like(mean[:, 0, 0], 1 / len(mean))
    return mix(
        weights[:, None],
        mean,
        members["variance"].mT[..., None],
        members["noise_variance"].mT[..., None],
        members["location"][:, :1],
        members["scale"][:, :1],
    )


def record_of_draws(message: str, num_points: int, **known: Any) -> FitRecord:
    """The record of a model of which there are draws, and no optimum.

    Args:
        message: How they were taken.
        num_points: Training points of the model.
        **known: What else is known.
    """
    given: dict[str, Any] = {"evaluations": 0, "seconds": 0.0} | known
    return FitRecord(
        losses=(),
        iterations=0,
        status=OptimizationStatus.SUCCESS,
        message=message,
        attempts=1,
        num_points=num_points,
        **given,
    )
