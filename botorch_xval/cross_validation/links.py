r"""Outcomes of which a nonlinear function is Gaussian: scores by change of variables.

A model with the outcome transform `Log`, `Power` or `Bilog` predicts a Gaussian
:math:`h(y) \sim N(\mu, \sigma^2)`. With :math:`z = (h(y) - \mu) / \sigma`, the density
of the outcome itself is

.. math:: \log p(y) = \log N(h(y); \mu, \sigma^2) + \log |h'(y)|,

which makes scores of models with different transforms comparable. The continuous ranked
probability score :math:`E|Y - y| - \tfrac12 E|Y - Y'|` is, with the quantiles
:math:`q(u) = h^{-1}(\mu + \sigma u)` of a standard normal `u`,

.. math::
    y (2 \Phi(z) - 1) + E[q] - 2 E[q; u \le z] - E[(2 \Phi(u) - 1) q]

(Gneiting & Raftery 2007, eq. 21, for any quantile function). For logarithms mean and
variance have closed forms; other expectations are taken by Gauss-Legendre quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models.model import Model
from botorch.models.transforms.outcome import (
    Bilog,
    ChainedOutcomeTransform,
    Log,
    OutcomeTransform,
    Power,
)
from torch import Tensor

from botorch_xval.cross_validation import scores

__all__ = [
    "IDENTITY",
    "Link",
    "Prediction",
    "affine",
    "is_ensemble",
    "link_score",
    "links_of",
]

# By name: mean, variance (with noise), noise_variance, location, scale; `k x m` each.
# Of outcomes, or of what links make of them.
Prediction = dict[str, Tensor]

NODES, WEIGHTS = map(torch.tensor, np.polynomial.legendre.leggauss(48))
FAR = 9.0  # standard deviations beyond which nothing is left


@dataclass(frozen=True)
class Link:
    """A function of an outcome, `h`, that is increasing."""

    kind: str = "identity"
    """ "identity", "log", "bilog" or "power"."""

    power: float = 1.0
    """Of a power."""

    def forward(self, y: Tensor) -> Tensor:
        """`h(y)`."""
        if self.kind == "log":
            return y.log()
        if self.kind == "bilog":
            return y.sign() * y.abs().log1p()
        return y**self.power if self.kind == "power" else y

    def inverse(self, t: Tensor) -> Tensor:
        """What `h` is `t` of; of a power below zero, zero."""
        if self.kind == "log":
            return t.exp()
        if self.kind == "bilog":
            return t.sign() * t.abs().expm1()
        return t.clamp_min(0) ** (1 / self.power) if self.kind == "power" else t

    def inverse_slope(self, t: Tensor) -> Tensor:
        """Slope of the inverse at `t`."""
        if self.kind == "log":
            return t.exp()
        if self.kind == "bilog":
            return t.abs().exp()
        if self.kind == "power":
            rate = 1 / self.power
            return torch.where(t > 0, rate * t.clamp_min(1e-300) ** (rate - 1), 0.0)
        return torch.ones_like(t)

    def log_slope(self, y: Tensor) -> Tensor:
        """`log |h'(y)|`."""
        if self.kind == "log":
            return -y.log()
        if self.kind == "bilog":
            return -y.abs().log1p()
        if self.kind == "power":
            return math.log(self.power) + (self.power - 1) * y.log()
        return torch.zeros_like(y)

    def moments(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the outcome where `h` of it has these."""
        if self.kind == "identity":
            return mean, variance
        if self.kind == "log":
            center = (mean + variance / 2).exp()
            return center, center**2 * variance.expm1()
        u, weights = self._nodes(mean, variance)
        q = self.inverse(mean[..., None] + variance.sqrt()[..., None] * u)
        first = (weights * q).sum(dim=-1)
        second = (weights * (q - first[..., None]) ** 2).sum(dim=-1)
        return first, second

    def crps(self, mean: Tensor, variance: Tensor, observed: Tensor) -> Tensor:
        """Continuous ranked probability score of outcomes `observed`, in their unit."""
        if self.kind == "identity":
            return scores.crps(mean, variance, observed)
        deviation = variance.sqrt()
        z = (self.forward(observed) - mean) / deviation
        below = torch.special.ndtr(z)
        u, weights = self._nodes(mean, variance, z)
        q = self.inverse(mean[..., None] + deviation[..., None] * u)
        sign = torch.where(u <= z[..., None], -1.0, 1.0)
        inner = sign - (2 * torch.special.ndtr(u) - 1)
        score = observed * (2 * below - 1) + (weights * inner * q).sum(dim=-1)
        center = self.inverse(mean)
        return torch.where(variance > 0, score, (observed - center).abs())

    def _nodes(
        self, mean: Tensor, variance: Tensor, *ends: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Nodes `u` and weights, with the normal density in them, `... x q`.

        Between the ends, and where a power or a bilog has its kink, there is no node.
        """
        deviation = variance.sqrt()
        far = FAR + deviation  # an exponential moves the mass by as much
        kink = -mean / deviation.clamp_min(torch.finfo(mean.dtype).tiny)
        inner = torch.stack([kink, torch.zeros_like(kink), *ends], dim=-1)
        inner = inner.nan_to_num().sort(dim=-1).values
        limits = far[..., None]
        places = torch.cat([-limits, inner.clamp(-limits, limits), limits], dim=-1)
        low, high = places[..., :-1, None], places[..., 1:, None]
        nodes, weights = NODES.to(mean), WEIGHTS.to(mean)
        u = ((low + high) / 2 + (high - low) / 2 * nodes).flatten(-2)
        density = (-0.5 * u**2).exp() / math.sqrt(2 * math.pi)
        return u, ((high - low) / 2 * weights).flatten(-2) * density


IDENTITY = Link()


def link_score(
    links: Sequence[Link], mean: Tensor, variance: Tensor, observed: Tensor
) -> Tensor:
    """Log densities of outcomes, `... x m`, of which the links are Gaussian.

    Args:
        links: One for each output.
        mean: Of the links, `... x m`.
        variance: Of the links, with noise.
        observed: Outcomes.
    """
    parts = [
        scores.log_density(
            mean[..., j], variance[..., j], link.forward(y).expand_as(mean[..., j])
        )
        + link.log_slope(y)
        for j, (link, y) in enumerate(zip(links, observed.unbind(dim=-1), strict=True))
    ]
    return torch.stack(parts, dim=-1)


def links_of(
    model: Model, num_outcomes: int
) -> tuple[tuple[Link, ...], OutcomeTransform | None]:
    """The link of each outcome of a model, and the transform of what they give.

    Args:
        model: A model.
        num_outcomes: Columns `m` of its training outcomes.

    Returns:
        The links, and the rest of the model's outcome transform, if there is some.

    Raises:
        UnsupportedError: If a part before the last ones is not known.
    """
    transform: Any = getattr(model, "outcome_transform", None)
    is_chain = type(transform) is ChainedOutcomeTransform
    parts = list(transform.children()) if is_chain else [transform]
    first = parts[0] if parts else None
    if not isinstance(first, Log | Power | Bilog):
        return (IDENTITY,) * num_outcomes, transform
    if type(first) not in (Log, Power, Bilog):
        raise UnsupportedError(
            f"outcome_transform: expected Log, Power or Bilog, got a subclass, "
            f"{type(first).__name__}, whose slope is not known here; apply it to "
            "train_Y beforehand"
        )
    two = torch.full((1, num_outcomes), 2.0, dtype=torch.float64)
    was_training = first.training
    with torch.no_grad():
        changed = first.eval()(two)[0][0]
    first.train(was_training)
    links = []
    for value in changed.tolist():  # outputs that are left out stay as they are
        if value == 2.0:
            links.append(IDENTITY)
        elif isinstance(first, Power):
            if not value > 1:
                raise UnsupportedError(
                    "outcome_transform: expected a power above zero, got "
                    f"{math.log2(value):g}; apply it to train_Y beforehand"
                )
            links.append(Link("power", math.log2(value)))
        else:
            links.append(Link("log" if isinstance(first, Log) else "bilog"))
    rest = parts[1:]
    if len(rest) < 2:
        return tuple(links), rest[0] if rest else None
    chain = ChainedOutcomeTransform(**{f"part_{i}": p for i, p in enumerate(rest)})
    return tuple(links), chain.train(was_training)


def is_ensemble(model: Model) -> bool:
    """Whether a model is a batch of models of one outcome that are averaged."""
    return bool(getattr(model, "_is_ensemble", False))


def affine(
    model: Model, num_outcomes: int, X: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Location and scale of what an outcome transform does to outcomes, or to links.

    Args:
        model: A fitted model.
        num_outcomes: Columns `m` of its training outcomes. A model of several tasks
            has one, and more outputs.
        X: Inputs, `k x d`, for a transform that differs between tasks; default: it is
            the same for all.

    Returns:
        `k x m` each, or `batch_shape x 1 x m` for all. Of an ensemble a column for each
        member.

    Raises:
        UnsupportedError: If the transform is not affine.
    """
    targets: Any = model.train_targets
    if is_ensemble(model):
        num_outcomes = 1
    zero = targets.new_zeros(1, num_outcomes)
    if X is not None:
        zero = zero.expand(len(X), -1)
    _, transform = links_of(model, num_outcomes)
    if transform is None:
        return zero, zero + 1
    transform.eval()
    with torch.no_grad():
        points = [transform.untransform(zero + value, X=X)[0] for value in range(3)]
    location, scale = points[0], points[1] - points[0]
    change = points[2] - points[1] - scale
    # Rounding is relative to the points, which may be large against their scale.
    largest = torch.stack([point.abs() for point in points]).amax(dim=0)
    rounding = 8 * torch.finfo(zero.dtype).eps * largest
    if (change.abs() > 1e-8 * scale.abs() + rounding).any():
        raise UnsupportedError(
            "outcome_transform: expected Log, Power or Bilog, then affine ones such as "
            "Standardize, got another nonlinear transform; apply it to train_Y "
            "beforehand"
        )
    if is_ensemble(model) and location.ndim == 3:  # S x k x 1
        return location[..., 0].mT, scale[..., 0].mT
    return location, scale
