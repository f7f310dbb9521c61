"""Held-out predictions on a scale, and their scores, point by point."""

from __future__ import annotations

from dataclasses import dataclass

import scipy.stats
import torch
from torch import Tensor

from botorch_xval.cross_validation import scores
from botorch_xval.cross_validation.linked import Linked
from botorch_xval.cross_validation.links import Link, link_score
from botorch_xval.cross_validation.mixtures import Mixture

__all__ = ["INTERVAL", "Points"]

INTERVAL = 0.95  # probability of the intervals of points


@dataclass(frozen=True)
class Points:
    """What :class:`CrossValidation` knows of its `k` points; see there."""

    mean: Tensor  # each `k x m`
    variance: Tensor
    noise_variance: Tensor
    observed: Tensor
    location: Tensor
    scale: Tensor
    baseline: Tensor
    linked: Linked | None
    mixture: Mixture | None

    def on(self, scale: str, noise: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Means, variances, observed outcomes and baselines on a scale."""
        if scale not in ("outcome", "model"):
            raise ValueError(
                f"scale: expected 'outcome' or 'model', got {scale!r}; 'model' is that "
                "of standardized outcomes"
            )
        variance = self.variance if noise else self.variance - self.noise_variance
        values = self.mean, variance.clamp_min(0), self.observed, self.baseline
        if scale == "outcome":
            return values
        mean, variance, observed, baseline = values
        if self.linked is not None:
            mean, variance, observed = self._on_links(noise)
            baseline = self.linked.baseline
        return (
            (mean - self.location) / self.scale,
            variance / self.scale**2,
            (observed - self.location) / self.scale,
            (baseline - self.location) / self.scale,
        )

    def _on_links(self, noise: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Means, variances and observed values of the links, `k x m` each."""
        linked = self.linked
        assert linked is not None
        variance = linked.variance - (0 if noise else linked.noise_variance)
        pairs = zip(linked.links, self.observed.unbind(dim=-1), strict=True)
        observed = torch.stack([link.forward(y) for link, y in pairs], dim=-1)
        return linked.mean, variance.clamp_min(0), observed

    def scored(self, scale: str, noise: bool) -> dict[str, Tensor]:
        """What depends on more than two moments: scores, and ends of intervals."""
        if self.mixture is not None:
            return self._scored_mixture(self.mixture, scale, noise)
        far = scipy.stats.norm.ppf((1 + INTERVAL) / 2)
        mean, variance, observed, _ = self.on(scale, noise)
        if self.linked is None or scale == "model":
            half = far * variance.sqrt()
            return {
                "log_density": scores.log_density(mean, variance, observed),
                "crps": scores.crps(mean, variance, observed),
                "z_score": scores.z_score(mean, variance, observed),
                "lower": mean - half,
                "upper": mean + half,
            }
        links, own = self.linked.links, self._on_links(noise)
        half = far * own[1].sqrt()
        crps, lower, upper = (
            torch.stack([one(j, link) for j, link in enumerate(links)], dim=-1)
            for one in (
                lambda j, link: link.crps(own[0][:, j], own[1][:, j], observed[:, j]),
                lambda j, link: link.inverse((own[0] - half)[:, j]),
                lambda j, link: link.inverse((own[0] + half)[:, j]),
            )
        )
        return {
            "log_density": link_score(links, own[0], own[1], observed),
            "crps": crps,
            "z_score": scores.z_score(*own),
            "lower": lower,
            "upper": upper,
        }

    @property
    def links(self) -> tuple[Link, ...] | None:
        """The links of the outputs, if there are some."""
        return None if self.linked is None else self.linked.links

    def _scored_mixture(
        self, mixture: Mixture, scale: str, noise: bool
    ) -> dict[str, Tensor]:
        """The same of mixtures."""
        links, observed = self.links, self.observed
        if scale == "model":
            mixture = mixture.on_scale(self.location, self.scale)
            _, _, observed, _ = self.on(scale, noise)
            links = None
        if not noise:
            mixture = mixture.without_noise()
        ends = [mixture.quantile((1 + sign * INTERVAL) / 2) for sign in (-1, 1)]
        if links is not None:
            ends = [
                torch.stack(
                    [link.inverse(end[:, j]) for j, link in enumerate(links)], dim=-1
                )
                for end in ends
            ]
        return {
            "log_density": mixture.log_density(observed, links),
            "crps": mixture.crps(observed, links),
            "z_score": mixture.z_score(observed, links),
            "lower": ends[0],
            "upper": ends[1],
        }
