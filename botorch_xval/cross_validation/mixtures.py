r"""Mixtures of Gaussian predictions, and their scores.

Where hyper-parameters are integrated out, or models are averaged, a held-out outcome
has the density :math:`p(y) = \sum_s w_s N(y; \mu_s, \sigma_s^2)`, which is not
Gaussian. Its scores are those of the mixture, not of its moments. The continuous ranked
probability score is, with :math:`A(\mu, \sigma) = 2 \sigma \varphi(\mu / \sigma) +
\mu (2 \Phi(\mu / \sigma) - 1) = E |N(\mu, \sigma^2)|`,

.. math:: \sum_s w_s A(y - \mu_s, \sigma_s) - \tfrac12 \sum_{s, t} w_s w_t
    A(\mu_s - \mu_t, \sqrt{\sigma_s^2 + \sigma_t^2})

(Grimit, Gneiting, Berrocal & Johnson 2006, eq. 4, with the sign of an error).

After a nonlinear outcome transform (:mod:`~botorch_xval.cross_validation.links`) the
mixture is that of the links; scores of outcomes follow by change of variables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri, ndtri_exp
from torch import Tensor
from torch.nn.functional import pad

from botorch_xval.cross_validation import scores
from botorch_xval.cross_validation.links import FAR, IDENTITY, Link

__all__ = ["MIXED", "Mixture", "assemble"]

MIXED = ("weights", "mean", "variance", "noise_variance")
FEW = 200  # components, of which all pairs are compared
NODES, WEIGHTS = np.polynomial.legendre.leggauss(20)
HALVINGS = 80  # of the interval that holds a quantile
# Between these quantiles the integrand of a score is taken as smooth.
LEVELS = (1e-8, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1 - 1e-4, 1 - 1e-8)


@dataclass(frozen=True)
class Mixture:
    """Predictions of `k` points and `m` outputs, each a mixture of `S` Gaussians.

    Of outcomes, or of their links after a nonlinear outcome transform.
    """

    weights: Tensor
    """Of the components, `k x S x m`; they sum to one over `S`."""

    mean: Tensor
    """Means of the components, `k x S x m`."""

    variance: Tensor
    """Their variances with observation noise, `k x S x m`."""

    noise_variance: Tensor
    """The part of these that is observation noise, `k x S x m`."""

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means, variances, and mean noise variances of the mixtures, `k x m` each."""
        return (
            *_moments(self.weights, self.mean, self.variance),
            (self.weights * self.noise_variance).sum(dim=-2),
        )

    def outcome_moments(self, links: Sequence[Link]) -> tuple[Tensor, Tensor, Tensor]:
        """The same of outcomes; the last one is what noise adds to the variance."""
        quiet = (self.variance - self.noise_variance).clamp_min(0)
        found = []
        for j, link in enumerate(links):
            center, spread = link.moments(self.mean[..., j], self.variance[..., j])
            inner = link.moments(self.mean[..., j], quiet[..., j])
            own = self.weights[..., j, None]
            both = [
                _moments(own, each[0][..., None], each[1][..., None])
                for each in ((center, spread), inner)
            ]
            (mean, variance), (_, without) = both
            parts = (mean, variance, variance - without)
            found.append(torch.cat(parts, dim=-1))  # k x 3
        mean, variance, noise = torch.stack(found, dim=-1).unbind(dim=-2)
        return mean, variance, noise

    def rows(self, chosen: Tensor) -> Mixture:
        """The mixtures of some points."""
        return Mixture(*(getattr(self, name)[chosen] for name in MIXED))

    def padded(self, count: int) -> Mixture:
        """The same mixtures with components that weigh nothing, up to `count`."""
        more = (0, 0, 0, count - self.weights.shape[1])
        values = [float(name == "variance") for name in MIXED]
        parts = [getattr(self, name) for name in MIXED]
        both = zip(parts, values, strict=True)
        return Mixture(*(pad(part, more, value=value) for part, value in both))

    def on_scale(self, location: Tensor, scale: Tensor) -> Mixture:
        """The mixture of `(y - location) / scale`, `k x m` each."""
        location, scale = location[:, None], scale[:, None]
        return Mixture(
            self.weights,
            (self.mean - location) / scale,
            self.variance / scale**2,
            self.noise_variance / scale**2,
        )

    def without_noise(self) -> Mixture:
        """The mixture of the noiseless outcome."""
        return Mixture(
            self.weights,
            self.mean,
            (self.variance - self.noise_variance).clamp_min(0),
            torch.zeros_like(self.noise_variance),
        )

    def log_density(
        self, observed: Tensor, links: Sequence[Link] | None = None
    ) -> Tensor:
        """Log densities of outcomes, `k x m`, in nats.

        Args:
            observed: Outcomes, `k x m`.
            links: Of which the mixtures are; default: of the outcomes themselves.
        """
        each = self.log_densities(observed, links)
        return (self.weights.log() + each).logsumexp(dim=-2)

    def log_densities(
        self, observed: Tensor, links: Sequence[Link] | None = None
    ) -> Tensor:
        """Those by each of the components, `k x S x m`; args of :meth:`log_density`."""
        values, slopes = _linked(observed, links)
        each = scores.log_density(
            self.mean, self.variance, values[:, None].expand_as(self.mean)
        )
        return each + slopes[:, None]

    def relative_errors(
        self, observed: Tensor, links: Sequence[Link] | None = None
    ) -> Tensor:
        r"""Standard errors of densities by their components, over densities, `k x m`.

        With :math:`p = \sum_s w_s p_s` it is
        :math:`\sqrt{\sum_s w_s^2 (p_s - p)^2} / p`, for weights that are ratios of
        densities at independent draws. Args as of :meth:`log_density`.
        """
        each = self.log_densities(observed, links)
        whole = (self.weights.log() + each).logsumexp(dim=-2, keepdim=True)
        apart = self.weights * ((each - whole).exp() - 1)
        return (apart**2).sum(dim=-2).sqrt()

    def z_score(self, observed: Tensor, links: Sequence[Link] | None = None) -> Tensor:
        r"""Standard normal quantiles of what is below, :math:`\Phi^{-1}(F(y))`.

        Standard normal if the predictions are right. Args as of :meth:`log_density`.
        """
        values, _ = _linked(observed, links)
        z = (values[:, None] - self.mean) / self.variance.sqrt()
        below, above = (
            (self.weights.log() + torch.special.log_ndtr(side)).logsumexp(dim=-2).cpu()
            for side in (z, -z)
        )
        # The smaller of the two has the digits.
        found = torch.where(
            below < above,
            torch.as_tensor(ndtri_exp(below.clamp_max(0).numpy())),
            -torch.as_tensor(ndtri_exp(above.clamp_max(0).numpy())),
        )
        return found.to(self.mean)

    def quantile(self, p: float) -> Tensor:
        """Quantiles of the mixtures, `k x m`, by bisection."""
        z, deviation = float(ndtri(p)), self.variance.sqrt()
        each = self.mean + z * deviation
        is_there = self.weights > 0
        low = torch.where(is_there, each, math.inf).amin(dim=-2)
        high = torch.where(is_there, each, -math.inf).amax(dim=-2)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            is_above = self._below(middle) > p
            high = torch.where(is_above, middle, high)
            low = torch.where(is_above, low, middle)
        return (low + high) / 2

    def crps(self, observed: Tensor, links: Sequence[Link] | None = None) -> Tensor:
        r"""Continuous ranked probability scores, `k x m`, in the outcome's unit.

        In closed form; of many components, and of outcomes after a nonlinear transform,
        by quadrature of :math:`\int (F(y) - 1[y \ge y_i])^2 dy`, which has the same
        digits to about `1e-7`. Args as of :meth:`log_density`.
        """
        links = links or [IDENTITY] * observed.shape[-1]
        parts = [
            _closed_form(
                self.weights[..., j],
                self.mean[..., j],
                self.variance[..., j],
                observed[:, j],
            )
            if link == IDENTITY and self.weights.shape[1] <= FEW
            else self._output(j)._by_quadrature(observed[:, j], link)
            for j, link in enumerate(links)
        ]
        return torch.stack(parts, dim=-1)

    def _output(self, j: int) -> Mixture:
        return Mixture(*(getattr(self, name)[..., j : j + 1] for name in MIXED))

    def _below(self, values: Tensor) -> Tensor:
        """Distribution functions at values, `k x m`."""
        z = (values[:, None] - self.mean) / self.variance.sqrt()
        return (self.weights * torch.special.ndtr(z)).sum(dim=-2)

    def _by_quadrature(self, observed: Tensor, link: Link) -> Tensor:
        """Scores of one output, `k`."""
        at = link.forward(observed)
        deviation = self.variance.sqrt()
        far = (FAR + deviation) * deviation  # an exponential moves the mass
        ends = [(self.mean - far).amin(dim=(1, 2)), (self.mean + far).amax(dim=(1, 2))]
        inner = [self.quantile(p)[:, 0] for p in LEVELS]
        places = torch.stack([*ends, *inner, at, torch.zeros_like(at)], dim=-1)
        low, high = torch.minimum(ends[0], at), torch.maximum(ends[1], at)
        places = places.clamp(low[:, None], high[:, None]).sort(dim=-1).values
        total = torch.zeros_like(at)
        for begin, end in zip(places.mT[:-1], places.mT[1:], strict=True):
            half = (end - begin) / 2
            for node, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True):
                t = (begin + end) / 2 + half * node
                height = self._below(t[:, None])[:, 0] - (t >= at).to(t)
                total += half * weight * height**2 * link.inverse_slope(t)
        return total


def assemble(mixtures: Mapping[int, Mixture], fold_of: Tensor, like: Tensor) -> Mixture:
    """One mixture for all points, from those of folds.

    Folds may have different numbers of components; what they lack has a weight of zero.

    Args:
        mixtures: By number of the fold those of its rows; one that has failed lacks.
        fold_of: Number of the fold of each point, `k`.
        like: A tensor `k x m`.
    """
    most = max(each.weights.shape[1] for each in mixtures.values())
    k, m = like.shape
    found = {name: like.new_full((k, most, m), math.nan) for name in MIXED}
    for i, mixture in mixtures.items():
        mine, own = fold_of == i, mixture.padded(most)
        for name, values in found.items():
            values[mine] = getattr(own, name)
    return Mixture(**found)


def _moments(weights: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of mixtures with components in the last but one dimension."""
    center = (weights * mean).sum(dim=-2)
    apart = (mean - center.unsqueeze(-2)) ** 2
    return center, (weights * (variance + apart)).sum(dim=-2)


def _linked(observed: Tensor, links: Sequence[Link] | None) -> tuple[Tensor, Tensor]:
    """Values of the links of outcomes and the logarithms of their slopes, `k x m`."""
    if links is None:
        return observed, torch.zeros_like(observed)
    pairs = list(zip(links, observed.unbind(dim=-1), strict=True))
    return (
        torch.stack([link.forward(y) for link, y in pairs], dim=-1),
        torch.stack([link.log_slope(y) for link, y in pairs], dim=-1),
    )


def _size(mean: Tensor, variance: Tensor) -> Tensor:
    """Expected sizes of Gaussian numbers."""
    deviation = variance.sqrt()
    z = mean / deviation
    density = (-0.5 * z**2).exp() / math.sqrt(2 * math.pi)
    found = 2 * deviation * density + mean * (2 * torch.special.ndtr(z) - 1)
    return torch.where(variance > 0, found, mean.abs())


def _closed_form(
    weights: Tensor, mean: Tensor, variance: Tensor, observed: Tensor
) -> Tensor:
    """Scores of one output, `k`, from `k x S` components."""
    found = (weights * _size(observed[:, None] - mean, variance)).sum(dim=-1)
    apart = _size(
        mean[:, :, None] - mean[:, None, :],
        variance[:, :, None] + variance[:, None, :],
    )
    return found - 0.5 * (weights[:, None, :] @ apart @ weights[:, :, None])[:, 0, 0]
