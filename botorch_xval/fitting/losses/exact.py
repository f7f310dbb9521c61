r"""What one factorization of all rows says of the folds of exact Gaussian processes.

The formulas are those of :mod:`~botorch_xval.fitting.losses.left_out`, for losses of
the evidence. Before use they are compared with the losses of some folds themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from botorch_xval.fitting.losses.apart import evaluate_apart
from botorch_xval.fitting.losses.closed_form import ClosedForm
from botorch_xval.fitting.losses.criteria import evidence
from botorch_xval.fitting.losses.factorized import cholesky
from botorch_xval.fitting.losses.left_out import (
    Data,
    LeftOut,
    affine_change,
    hold_out,
    leave_out,
)
from botorch_xval.fitting.losses.objective import (
    GROUP_ELEMENTS,
    FoldsAt,
    Objective,
)
from botorch_xval.fitting.losses.parameters import Array

__all__ = ["Exact"]

logger = logging.getLogger(__name__)
# What turns outcomes of all rows into those of a fold, for each of its models.
Changes: TypeAlias = list[tuple[float, float] | None]


class Exact(ClosedForm):
    """Stacked models in closed form, and their folds."""

    @torch.no_grad()
    def without(
        self,
        theta: Array,
        held_out: Tensor,
        folds: Objective | None = None,
        numbers: NDArray[np.intp] | None = None,
    ) -> tuple[NDArray[np.bool_], list[LeftOut]] | None:
        """Models without the rows of each fold, see :meth:`Objective.without`."""
        has_formulas = self._mean.weights is None and self._learned() is None
        has_formulas &= self._criterion is evidence  # of whose losses they are
        if not (has_formulas and isinstance(folds, Exact | None)):
            return None
        held_out = held_out.to(self.device)
        affine: list[Changes] = [[(1.0, 0.0)] * len(theta)] * len(held_out)
        if folds is not None and numbers is not None:
            affine = [
                [
                    affine_change(self._data(k), folds._data(int(i)), ~rows)
                    for k, i in enumerate(own)
                ]
                for own, rows in zip(numbers, held_out, strict=True)
            ]
        alike = np.array([None not in own for own in affine])
        chosen = alike.nonzero()[0]
        if not len(chosen):
            return None
        factors, rows = self._chosen(affine, held_out, chosen)
        points = torch.as_tensor(theta, device=self.device)
        found = [
            self._left_out(values, k, rows, *factors[:, k].mT)
            for k, values in enumerate(points)
        ]
        if folds is None or numbers is None:
            return alike, found

        def own(a: int) -> tuple[Array, Array]:
            return evaluate_apart(folds, theta, numbers[chosen[a]].tolist())[:2]

        def said(a: int) -> tuple[Array, Array]:
            losses = torch.stack([each.losses[a] for each in found])
            gradients = torch.stack([each.gradients[a] for each in found])
            return losses.cpu().numpy(), gradients.cpu().numpy()

        return (alike, found) if _is_confirmed(said, own, len(chosen)) else None

    @torch.no_grad()
    def hold_out(
        self, theta: Array, model: int, held_out: Tensor, folds: Objective
    ) -> FoldsAt | None:
        """See :meth:`Objective.hold_out`."""
        has_formulas = self._learned() is None and self._criterion is evidence
        if not (has_formulas and isinstance(folds, Exact)):
            return None
        held_out = held_out.to(self.device)
        numbers = np.arange(folds.num_models).reshape(len(held_out), -1)[:, model]
        everything = self._data(model)
        affine: list[Changes] = [
            [affine_change(everything, folds._data(int(i)), ~rows)]
            for i, rows in zip(numbers, held_out, strict=True)
        ]
        alike = np.array([None not in own for own in affine])
        chosen = alike.nonzero()[0]
        if not len(chosen):
            return None
        factors, rows = self._chosen(affine, held_out, chosen)
        points = torch.as_tensor(theta, device=self.device)
        width = max(1, GROUP_ELEMENTS // self.num_points**2)
        parts = [
            self._held_out(part, model, rows, *factors[:, 0].mT)
            for part in points.split(width)
        ]
        losses, means, variances, noise = (
            torch.cat(each) for each in zip(*parts, strict=True)
        )
        first = [0, len(theta) - 1]

        def own(b: int) -> tuple[Array, ...]:
            model = int(numbers[chosen[b]])
            return evaluate_apart(folds, theta[first], [model] * 2)[:1]

        def said(b: int) -> tuple[Array, ...]:
            return (losses[first, b].cpu().numpy(),)

        if not _is_confirmed(said, own, len(chosen)):
            return None
        return FoldsAt(alike, losses, means, variances, noise)

    def _held_out(
        self, theta: Tensor, model: int, rows: Tensor, scales: Tensor, shifts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Losses per point, means, variances and noise of folds at points, `a x p`."""
        n, a = self.num_points, len(theta)
        self._select([model] * a)
        values, _ = self._values.transform(theta)
        covariance, residuals = self._covariance(values)
        factor = torch.empty_like(covariance)
        good = cholesky(covariance, factor)
        targets = self._targets[model, :n]
        found = hold_out(
            torch.cholesky_inverse(factor)[:, :n, :n],
            2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1),
            targets,
            targets - residuals[:, :n],
            rows,
            scales,
            shifts,
        )
        priors = torch.zeros(a, dtype=theta.dtype, device=self.device)
        self._values.add_priors(values, priors, torch.zeros_like(values))
        losses = found.losses + priors[:, None]
        losses[~good] = torch.nan
        noise = self._noise(values, self._index, self._chosen_tasks).expand(a, n)
        observed = scales[:, None] * targets[rows] + shifts[:, None]
        left = n - rows.shape[1]
        means = observed - found.errors
        return losses / left, means, found.variances, noise[:, rows]

    def _chosen(
        self, affine: Sequence[Changes], held_out: Tensor, chosen: NDArray[np.intp]
    ) -> tuple[Tensor, Tensor]:
        """Changes of outcomes, `b x m x 2`, and left-out rows, `b x s`, of folds."""
        factors = self._targets.new_tensor([affine[j] for j in chosen])
        rows = held_out.nonzero()[:, 1].view(len(held_out), -1)[chosen]
        return factors, rows

    def _data(self, model: int) -> Data:
        """What a model is trained on."""
        n = self.num_points
        known = self._noise.known
        noise = None if known is None else known[model]
        return Data(self._inputs[model], self._targets[model, :n], noise)

    def _left_out(
        self, theta: Tensor, model: int, rows: Tensor, scales: Tensor, shifts: Tensor
    ) -> LeftOut:
        """Folds of one model, per training point, with derivatives by `theta`, `p`."""
        n = self.num_points
        self._select([model])
        values, slopes = self._values.transform(theta[None])
        covariance, _ = self._covariance(values)
        factor = torch.empty_like(covariance)
        good = cholesky(covariance, factor)
        self._kernel.forward(values)  # the sum of its matrices has the noise added
        targets = self._targets[model, :n]
        tasks = None if self._chosen_tasks is None else self._chosen_tasks[0]
        noise = self._noise(values, self._index, self._chosen_tasks)
        found = leave_out(
            torch.cholesky_inverse(factor)[0, :n, :n],
            2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(),
            targets,
            rows,
            scales,
            shifts,
            self._tangents(values, tasks, targets),
            [
                (column, values[0, column], own)
                for column, own in self._mean.rows(tasks, targets)
            ],
            noise[0].expand(n),
            len(theta),
        )
        own = values.expand(len(rows), -1)
        self._values.add_priors(own, found.losses, found.gradients)
        if not good.all():
            found.losses.fill_(torch.nan)
        left = n - rows.shape[1]
        return replace(
            found,
            losses=found.losses / left,
            gradients=found.gradients * slopes / left,
            error_slopes=found.error_slopes * slopes,
            variance_slopes=found.variance_slopes * slopes,
            noise_slopes=found.noise_slopes * slopes,
        )

    def _tangents(
        self, values: Tensor, tasks: Tensor | None, targets: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """Derivatives of the covariance by its parameters, as `leave_out` has it."""
        n = self.num_points
        for column, tangent in self._kernel.tangents(values):
            yield column, tangent[0, :n, :n]
        yield from self._noise.rows(tasks, targets)


def _is_confirmed(
    said: Callable[[int], tuple[Array, ...]],
    own: Callable[[int], tuple[Array, ...]],
    count: int,
) -> bool:
    """Whether three of `count` folds, spread over all, have the values that are said.

    One that has no value says nothing; the next one is asked.
    """
    for first in {0, count // 2, count - 1}:
        for a in (*range(first, count), *range(first)):
            values = own(a)
            if all(np.isfinite(each).all() for each in values):
                break
        if not all(
            np.allclose(one, other, 1e-6, 1e-6, equal_nan=True)
            for one, other in zip(said(a), values, strict=True)
        ):
            logger.debug("folds are not as the model of all rows")
            return False
    return True
