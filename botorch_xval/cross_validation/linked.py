"""Predictions of what a nonlinear outcome transform makes of outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from botorch_xval.cross_validation.links import Link

__all__ = ["LINKED", "POINTS", "Linked"]

# The tensors of a result, and those of a `Linked`.
POINTS = (
    *("mean", "variance", "noise_variance", "observed", "location", "scale"),
    "baseline",
)
LINKED = ("mean", "variance", "noise_variance", "baseline")


@dataclass(frozen=True)
class Linked:
    """What a nonlinear outcome transform makes of outcomes, of which it is Gaussian."""

    links: tuple[Link, ...]
    """The function of each output, `m`."""

    mean: Tensor
    """Predicted means of the links, `k x m`."""

    variance: Tensor
    """Predicted variances of them, with noise, `k x m`."""

    noise_variance: Tensor
    """The part of these that is observation noise, `k x m`."""

    baseline: Tensor
    """Mean links of the training rows of the fold, `k x m`."""

    def moments(self) -> dict[str, Tensor]:
        """`mean`, `variance` and `noise_variance` of the outcomes, `k x m` each."""
        found = []
        for j, link in enumerate(self.links):
            mean, variance, noise = (
                part[:, j] for part in (self.mean, self.variance, self.noise_variance)
            )
            center, spread = link.moments(mean, variance)
            _, without = link.moments(mean, (variance - noise).clamp_min(0))
            found.append(torch.stack([center, spread, spread - without]))
        parts = torch.stack(found, dim=-1)
        return dict(zip(("mean", "variance", "noise_variance"), parts, strict=True))
