r"""Posterior density of hyper-parameters, in coordinates without bounds.

A loss is the negative logarithm of likelihood and priors, and BoTorch's priors are
densities of constrained values `v`. Where hyper-parameters are integrated out the
coordinates `t` in which that is done matter, by the derivative of `v`:

.. math:: \log p(t \mid D) = -n \, \mathrm{loss}(\theta(t))
    + \sum_j \log \left| \frac{d v_j}{d t_j} \right| + \mathrm{const}.

Here `t` is the logarithm of a positive value, or of its distance from a lower bound,
the logit between two bounds, and the value itself otherwise. A prior of something else
than the value of one parameter counts as the loss counts it, as a factor of the density
of the values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from botorch.exceptions.errors import UnsupportedError
from numpy.typing import NDArray
from scipy.special import expit, logit

from botorch_xval.fitting.coordinates import Array, LogCoordinates
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.losses.parameters import ParameterTable
from botorch_xval.fitting.threads import evaluate_each

__all__ = ["HyperPosterior", "UnboundedCoordinates", "check_proper"]

NEAREST = 1e-2  # to a bound, in its unit, that a search begins
STEP = 1e-5  # of a central difference


@dataclass(frozen=True, eq=False)
class UnboundedCoordinates:
    """The change of variables between parameters `theta` and `t`, arrays `... x p`."""

    table: ParameterTable
    softplus: LogCoordinates  # of parameters that have no bound here
    low: Array  # p; minus infinity without a lower bound
    high: Array  # p

    @classmethod
    def of(cls, objective: Objective, model: int) -> UnboundedCoordinates:
        """The coordinates for a model of an objective."""
        bounds = objective.bounds[model]
        shape = objective.softplus.shape
        low, high = (
            np.broadcast_to(np.asarray(end, np.float64), shape)
            for end in (bounds.lb, bounds.ub)
        )
        is_free = np.isinf(low) & np.isinf(high)
        columns = np.flatnonzero(objective.softplus & is_free)
        inner = LogCoordinates(columns, np.flatnonzero(np.zeros_like(is_free)))
        return cls(objective.table, inner, low, high)

    def _kinds(self) -> tuple[NDArray[np.bool_], ...]:
        has_low, has_high = np.isfinite(self.low), np.isfinite(self.high)
        return has_low & has_high, has_low & ~has_high, ~has_low & has_high

    def from_raw(self, theta: Array) -> Array:
        """`t` of `theta`; values on a bound are moved off it."""
        t = self.softplus.from_raw(theta)
        both, below, above = self._kinds()
        low, high = self.low, self.high
        share = (theta[..., both] - low[both]) / (high - low)[both]
        t[..., both] = logit(share.clip(NEAREST, 1 - NEAREST))
        for where, distance in ((below, theta - low), (above, high - theta)):
            unit = np.abs(np.where(below, low, high)[where])
            least = NEAREST * np.where(unit > 0, unit, 1e-4)
            t[..., where] = np.log(np.maximum(distance[..., where], least))
        return t

    def to_raw(self, t: Array) -> tuple[Array, Array]:
        """`theta` of `t`, and its derivatives, elementwise."""
        theta, slopes = self.softplus.with_slopes(t)
        both, below, above = self._kinds()
        low, high = self.low, self.high
        width = (high - low)[both]
        theta[..., both] = low[both] + width * expit(t[..., both])
        slopes[..., both] = width * expit(t[..., both]) * expit(-t[..., both])
        with np.errstate(over="ignore"):
            slopes[..., below] = np.exp(t[..., below])
            theta[..., below] = low[below] + slopes[..., below]
            slopes[..., above] = -np.exp(t[..., above])
            theta[..., above] = high[above] + slopes[..., above]
        return theta, slopes

    def log_volumes(self, t: Array) -> Array:
        r""":math:`\log |d v / d t|` of the constrained values `v`, elementwise."""
        theta, slopes = self.to_raw(t)
        with np.errstate(divide="ignore"):
            return np.log(np.abs(slopes)) + self._value_slopes(theta)

    def _value_slopes(self, theta: Array) -> Array:
        r""":math:`\log |d v / d \theta|`, elementwise, by autograd."""
        found = np.zeros_like(theta)
        rows = torch.as_tensor(theta).reshape(-1, theta.shape[-1])
        for each in self.table.parameters:
            if each.constraint is None or not each.constraint.enforced:
                continue
            columns = self.table.columns[each.full_name]
            raw = rows[:, columns].reshape(-1, *each.shape).requires_grad_()
            with torch.enable_grad():
                value = each.constraint.transform(raw)
                (slope,) = torch.autograd.grad(value.sum(), raw)
            found[..., columns] = slope.abs().log().reshape(found[..., columns].shape)
        return found


class HyperPosterior:
    """Log posterior density of the hyper-parameters of one model of an objective."""

    def __init__(self, objective: Objective, model: int) -> None:
        """
        Args:
            objective: Of the losses.
            model: Which model.
        """
        self.objective, self.model = objective, model
        self.coordinates = UnboundedCoordinates.of(objective, model)
        self.evaluations = 0

    def __call__(self, t: Array) -> tuple[Array, Array]:
        """Log densities up to a constant, `a`, and gradients, `a x p`, at `a x p`.

        Minus infinity where the covariance is not positive definite.
        """
        theta, slopes = self.coordinates.to_raw(t)
        numbers = [self.model] * len(t)
        losses, gradients = evaluate_each(self.objective, theta, numbers)
        self.evaluations += len(t)
        n, volumes = self.objective.num_points, self.coordinates.log_volumes
        # Each is a function of its own coordinate, so one difference gives all slopes.
        with np.errstate(invalid="ignore", over="ignore"):  # at extreme values
            change = (volumes(t + STEP) - volumes(t - STEP)) / (2 * STEP)
            found = change - n * gradients * slopes
            values = volumes(t).sum(axis=-1) - n * losses
        is_known = np.isfinite(values) & np.isfinite(found).all(axis=-1)
        values[~is_known], found[~is_known] = -np.inf, 0.0
        return values, found

    def losses(self, t: Array) -> Array:
        """Losses of the model, summed over its points, `a`; NaN where undefined."""
        theta, _ = self.coordinates.to_raw(t)
        losses, _ = evaluate_each(self.objective, theta, [self.model] * len(t))
        self.evaluations += len(t)
        return self.objective.num_points * losses


def check_proper(table: ParameterTable) -> None:
    """Refuse a model whose hyper-parameters have no proper posterior distribution.

    A lengthscale without a prior has none, since the likelihood does not vanish where
    it is infinite. An unconstrained parameter, such as a constant mean, may be without.

    Raises:
        UnsupportedError: If a constrained parameter has neither a prior nor two bounds.
    """
    known = {id(each.tensor) for each in table.with_priors}
    for other in table.other_priors:
        known |= {id(parameter) for parameter in other.module.parameters()}
    lacking = [
        each.full_name
        for each in table.parameters
        if id(each.tensor) not in known
        and each.constraint is not None
        and not all(np.isfinite(each.limits))
    ]
    if lacking:
        raise UnsupportedError(
            "fit='posterior': expected a prior of every constrained hyper-parameter, "
            f"got none of {', '.join(lacking)}, so that there may be no posterior "
            "distribution to integrate over; register priors, or bound them"
        )
