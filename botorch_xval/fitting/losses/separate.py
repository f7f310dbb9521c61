"""Several objectives as one: of models of other sizes, or evaluated in other ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.losses.parameters import Array

__all__ = ["Separate"]


class Separate(Objective):
    """Objectives of several mlls as one, evaluated one after the other.

    The mlls have the same parameters, and hold as many models each; they may have other
    numbers of training points.
    """

    def __init__(
        self, objectives: Sequence[Objective], members: Sequence[Sequence[int]]
    ) -> None:
        """
        Args:
            objectives: Of the mlls.
            members: For each objective the numbers of its mlls among all.
        """
        self._objectives = list(objectives)
        each = objectives[0].num_models // len(members[0])
        places = np.empty((sum(map(len, members)), each, 2), dtype=int)
        for owner, mlls in enumerate(members):
            numbers = np.arange(len(mlls) * each).reshape(-1, each)
            places[list(mlls)] = np.stack([np.full_like(numbers, owner), numbers], -1)
        self._owners, self._numbers = places.reshape(-1, 2).T
        self.num_models = len(self._owners)
        self.device = objectives[0].device
        self.num_points = max(each.num_points for each in objectives)
        own = [(objectives[o], i) for o, i in places.reshape(-1, 2)]
        self.start = np.stack([objective.start[i] for objective, i in own])
        self.bounds = [objective.bounds[i] for objective, i in own]
        self.table = objectives[0].table
        self.variances = np.array([objective.variances[i] for objective, i in own])
        # Logarithms only where every model takes them.
        self.softplus = np.all([each.softplus for each in objectives], axis=0)
        self.untransformed = np.all([each.untransformed for each in objectives], axis=0)

    @property
    def group_size(self) -> int:
        """The largest of all objectives."""
        return max(each.group_size for each in self._objectives)

    @property
    def is_parallel(self) -> bool:
        """Several threads may evaluate what several threads may evaluate in each."""
        return all(each.is_parallel for each in self._objectives)

    def workers(self, count: int) -> list[Separate]:
        """See :meth:`Objective.workers`."""
        if not self.is_parallel:
            return [self]
        workers = []
        for parts in zip(*(o.workers(count) for o in self._objectives), strict=True):
            workers.append(copy(self))
            workers[-1]._objectives = list(parts)
        return workers

    def points_of(self, model: int) -> int:
        """Training points of a model."""
        objective, (number,) = self.part_of([model])
        return objective.points_of(number)

    def part_of(self, models: Sequence[int]) -> tuple[Objective, list[int]]:
        """The objective that evaluates these models, and their numbers there."""
        parts = list(self._parts(models))
        if len(parts) > 1:
            return self, list(models)
        objective, _, numbers = parts[0]
        return objective.part_of(numbers)

    def of_rows(self, rows: NDArray[np.intp]) -> Separate | None:
        """See :meth:`Objective.of_rows`; a model takes those that it has."""
        parts = [o.of_rows(rows[rows < o.num_points]) for o in self._objectives]
        if any(part is None for part in parts):
            return None
        other = copy(self)
        other._objectives = [part for part in parts if part is not None]
        other.num_points = max(each.num_points for each in other._objectives)
        return other

    def predict(
        self, theta: Array, models: Sequence[int], X: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`Objective.predict`."""
        found: list[tuple[Tensor, ...]] = []
        places: list[int] = []
        for objective, rows, numbers in self._parts(models):
            mean, *rest = objective.predict(theta[rows], numbers, X[rows])
            found.append((mean, *(part.expand_as(mean) for part in rest)))
            places += rows
        order = torch.as_tensor(np.argsort(places), device=X.device)
        mean, variance, noise = (
            torch.cat(parts)[order] for parts in zip(*found, strict=True)
        )
        return mean, variance, noise

    def __call__(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        """Losses per point, `a`, and gradients, `a x p`, at `theta`, `a x p`."""
        losses, gradients = np.empty(len(models)), np.empty_like(theta)
        for objective, rows, numbers in self._parts(models):
            losses[rows], gradients[rows] = objective(theta[rows], numbers)
        return losses, gradients

    def write(self, theta: Array) -> None:
        """Give all models the values `theta`, `b x p`."""
        for objective, rows, numbers in self._parts(range(self.num_models)):
            objective.write(theta[rows][np.argsort(numbers)])

    def sample(self, models: Sequence[int]) -> Array:
        """New starting values of the chosen models from their priors, `a x p`."""
        drawn = np.empty((len(models), self.start.shape[1]))
        for objective, rows, numbers in self._parts(models):
            drawn[rows] = objective.sample(numbers)
        return drawn

    def parameters(self, theta: Array, model: int) -> dict[str, Tensor]:
        """The parameters of one model by name, from its row of values, `p`."""
        objective = self._objectives[self._owners[model]]
        return objective.parameters(theta, int(self._numbers[model]))

    def _parts(
        self, models: Sequence[int]
    ) -> Iterator[tuple[Objective, list[int], list[int]]]:
        """Objectives that are concerned, rows of `models`, and their numbers there."""
        chosen = np.asarray(models)
        owners, numbers = self._owners[chosen], self._numbers[chosen]
        for owner in np.unique(owners):
            rows = np.flatnonzero(owners == owner)
            yield self._objectives[owner], rows.tolist(), numbers[rows].tolist()
