"""Losses and gradients of just the models that were asked for.

An objective answers `losses, gradients = objective(theta, models)` for `a` chosen
models out of its `num_models`: `theta` and `gradients` are `a x p` arrays of
unconstrained parameters, `losses` are `a` values of BoTorch's loss, the negative log
marginal likelihood minus log priors per training point.

There are several ways to evaluate, from fast to general: in closed form, by slices of
stacked models, one model after the other, and the sum over a batch that cannot be
sliced. Each is compared with the models' own losses and gradients before it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Protocol
from warnings import warn

import numpy as np
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.optim.closures import get_loss_closure
from botorch.optim.utils import get_parameters_and_bounds, sample_all_priors
from gpytorch.mlls import MarginalLogLikelihood
from linear_operator.utils.errors import NanError, NotPSDError
from numpy.typing import NDArray
from scipy.optimize import Bounds
from torch import Tensor
from torch.linalg import LinAlgError

from botorch_xval.fitting.losses.modules import (
    DifferentModels,
    ParameterBounds,
    SharedParameters,
    Stacked,
    are_alike,
    batch_shape_of,
    transforms_of,
)
from botorch_xval.fitting.losses.parameters import Unsupported

__all__ = ["Objective", "make_objective"]

Array = NDArray[np.float64]
LARGE_BATCH = 500_000  # elements of the covariance matrices of one mll
logger = logging.getLogger(__name__)


class Objective(Protocol):
    """Losses and gradients of chosen models, and the way to and from their values."""

    num_models: int
    num_points: int  # of a model
    group_size: int  # how many models to evaluate at once where speed counts
    device: torch.device
    start: Array  # b x p, the values the models have when the objective is made
    bounds: list[Bounds]  # one for each model
    softplus: NDArray[np.bool_]  # p, whether a parameter's value is its softplus
    untransformed: NDArray[np.bool_]  # p, whether its value is the parameter itself
    is_parallel: bool  # whether several threads may evaluate

    def __call__(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        """Losses per point, `a`, and gradients, `a x p`, at `theta`, `a x p`."""

    def workers(self, count: int) -> list[Objective]:
        """Up to `count` equal objectives that different threads may evaluate."""

    def write(self, theta: Array) -> None:
        """Give all models the values `theta`, `b x p`."""

    def sample(self, models: Sequence[int]) -> Array:
        """New starting values of the chosen models from their priors, `a x p`."""

    def parameters(self, theta: Array, model: int) -> dict[str, Tensor]:
        """The parameters of one model by name, from its row of values, `p`."""


def make_objective(
    mlls: Sequence[MarginalLogLikelihood],
    parameters: Sequence[str] | None = None,
    bounds: ParameterBounds | None = None,
    witnesses: dict[int, MarginalLogLikelihood] | None = None,
) -> Objective:
    """The fastest objective that agrees with the models' own losses and gradients.

    Args:
        mlls: Marginal log likelihoods in training mode; several must be of one
            structure and size.
        parameters: Names of the parameters to optimize; default: all that require
            gradients.
        bounds: By name of a parameter its lower and upper bound (numbers, or tensors
            that broadcast to the parameter; None for no bound); they replace those of
            the parameter's constraint.
        witnesses: Of one mll with a batch: for some members an ordinary mll, at the
            same values, with which to compare; default: the loss of the whole batch.

    Returns:
        An objective that was compared with the `mlls` at their present values.

    Raises:
        ValueError: If there is nothing to optimize, or a name is unknown.
        DifferentModels: If there are `witnesses` and the batch is not as they are.
    """
    names = [n for n, p in mlls[0].named_parameters() if p.requires_grad]
    if not names or (parameters is not None and not parameters):
        raise ValueError(
            f"the {type(mlls[0].model).__name__} has no parameter to optimize; at "
            "least one must require a gradient"
        )
    for i, mll in enumerate(mlls):
        if [n for n, p in mll.named_parameters() if p.requires_grad] != names:
            raise ValueError(
                f"mll {i} has other parameters to optimize than mll 0; fit them apart"
            )
    known = {name for name, _ in mlls[0].named_parameters()}
    for argument, given in (("parameters", parameters), ("bounds", bounds)):
        if unknown := sorted(set(given or ()) - known):
            raise ValueError(
                f"{argument}: the model has no parameters {unknown}; it has "
                f"{sorted(known)}"
            )
    strange = None
    try:
        stacked = Stacked(mlls, parameters, bounds)
        strange = _disagreeing(stacked, mlls, witnesses)
        if not strange:
            _try_closed_form(stacked)
            return stacked
        reason: object = "it disagrees with the models' own losses"
    except SharedParameters as shared:
        reason = (
            f"the parameters {', '.join(shared.names)} are shared by the models; give "
            "them the batch shape of the model"
        )
    except Exception as error:  # any model may be built in a way that we do not foresee
        reason = f"{type(error).__name__}: {error}"
    if witnesses:
        raise DifferentModels(f"a batch is not as its members would be: {reason}")
    if len(mlls) > 1:
        groups = _alike(mlls) if strange is None else [[i] for i in strange]
        others = [i for i in range(len(mlls)) if i not in (strange or ())]
        if strange is not None and others:
            groups.append(others)
        if len(groups) == 1:
            groups = [[i] for i in range(len(mlls))]
        logger.debug("models are evaluated in %d parts: %s", len(groups), reason)
        parts = [[mlls[i] for i in group] for group in groups]
        return _Separate(
            [make_objective(part, parameters, bounds) for part in parts], groups
        )
    if batch_shape_of(mlls[0]).numel() > 1:
        warn(
            f"The models of this batched {type(mlls[0].model).__name__} are fitted "
            f"together, by one optimizer on the sum of their losses: {reason}.",
            BotorchWarning,
            stacklevel=4,
        )
    return _Joint(mlls[0], parameters, bounds)


def _alike(mlls: Sequence[MarginalLogLikelihood]) -> list[list[int]]:
    """Numbers of the mlls that can be stacked."""
    groups: list[list[int]] = []
    for i, mll in enumerate(mlls):
        for group in groups:
            if are_alike(mlls[group[0]], mll):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


class _Joint:
    """All models of one mll as a single one: the sum of their losses.

    The last resort, and BoTorch's own way; evaluated by its loss closure.
    """

    num_models = 1
    group_size = 1
    is_parallel = False

    def __init__(
        self,
        mll: MarginalLogLikelihood,
        parameters: Sequence[str] | None,
        bounds: ParameterBounds | None,
    ) -> None:
        self._mll = mll
        self.device = mll.model.train_targets.device
        self.num_points = mll.model.train_targets.shape[-1]
        own, limits = get_parameters_and_bounds(mll)
        limits = {**limits, **(bounds or {})}
        self._parameters = {
            n: p
            for n, p in own.items()
            if (p.requires_grad if parameters is None else n in parameters)
        }
        self._closure = get_loss_closure(mll)
        self.start = self._read()
        shapes = {name: p.shape for name, p in self._parameters.items()}
        self.softplus, self.untransformed = transforms_of(mll, shapes)
        low, high = np.full_like(self.start, -np.inf), np.full_like(self.start, np.inf)
        column = 0
        for name, parameter in self._parameters.items():
            columns = slice(column, column + parameter.numel())
            for limit, bound in zip(
                (low, high), limits.get(name, (None, None)), strict=True
            ):
                if bound is not None:
                    value = torch.as_tensor(bound, dtype=torch.float64).detach().cpu()
                    limit[0, columns] = value.expand(parameter.shape).reshape(-1)
            column += parameter.numel()
        self.bounds = [Bounds(low[0], high[0])]

    def __call__(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        before = self._read()
        self.write(theta)
        try:
            loss = self._closure().sum()
            gradients = torch.autograd.grad(
                loss, list(self._parameters.values()), allow_unused=True
            )
        finally:
            self.write(before)  # a fit that is interrupted leaves the model as it was
        parts = [
            (torch.zeros_like(p) if g is None else g).reshape(-1).double().cpu()
            for p, g in zip(self._parameters.values(), gradients, strict=True)
        ]
        return np.array([loss.item()]), torch.cat(parts).numpy()[None]

    def workers(self, count: int) -> list[Objective]:
        return [self]

    def write(self, theta: Array) -> None:
        with torch.no_grad():
            for name, value in self.parameters(theta[0], 0).items():
                self._parameters[name].copy_(value)

    def sample(self, models: Sequence[int]) -> Array:
        sampled = deepcopy(self._mll)
        sample_all_priors(sampled.model)
        own = dict(sampled.named_parameters())
        return self._flat([own[name] for name in self._parameters])

    def parameters(self, theta: Array, model: int) -> dict[str, Tensor]:
        sizes = [p.numel() for p in self._parameters.values()]
        parts = torch.as_tensor(theta).split(sizes)
        return {
            name: part.reshape(parameter.shape)
            for (name, parameter), part in zip(
                self._parameters.items(), parts, strict=True
            )
        }

    def _read(self) -> Array:
        return self._flat(list(self._parameters.values()))

    def _flat(self, tensors: Sequence[Tensor]) -> Array:
        parts = [each.detach().reshape(-1).double().cpu() for each in tensors]
        return torch.cat(parts).numpy()[None]


class _Separate:
    """Objectives of different models as one, evaluated one after the other."""

    group_size = 1
    is_parallel = False

    def __init__(
        self, objectives: Sequence[Objective], members: Sequence[Sequence[int]]
    ) -> None:
        """
        Args:
            objectives: Of the models in turn.
            members: For each objective the numbers that its mlls have among all.
        """
        self._objectives = list(objectives)
        sizes = [
            o.num_models // len(m) for o, m in zip(objectives, members, strict=True)
        ]
        owner = {i: (o, j) for o, m in enumerate(members) for j, i in enumerate(m)}
        # By model: its objective, and its number there.
        self._places = [
            (o, j * sizes[o] + k)
            for o, j in (owner[i] for i in sorted(owner))
            for k in range(sizes[o])
        ]
        self.num_models = len(self._places)
        self.group_size = max(o.group_size for o in objectives)
        self.device, self.num_points = objectives[0].device, objectives[0].num_points
        self.start = np.stack([objectives[o].start[k] for o, k in self._places])
        self.bounds = [objectives[o].bounds[k] for o, k in self._places]
        # Logarithms only where every model takes them.
        self.softplus = np.all([each.softplus for each in objectives], axis=0)
        self.untransformed = np.all([each.untransformed for each in objectives], axis=0)

    def __call__(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        losses, gradients = np.empty(len(models)), np.empty_like(theta)
        for objective, rows, own in self._parts(models):
            losses[rows], gradients[rows] = objective(theta[rows], own)
        return losses, gradients

    def workers(self, count: int) -> list[Objective]:
        return [self]

    def write(self, theta: Array) -> None:
        for objective, rows, own in self._parts(range(self.num_models)):
            values = np.empty_like(theta[rows])
            values[own] = theta[rows]
            objective.write(values)

    def sample(self, models: Sequence[int]) -> Array:
        sampled = np.empty((len(models), self.start.shape[1]))
        for objective, rows, own in self._parts(models):
            sampled[rows] = objective.sample(own)
        return sampled

    def parameters(self, theta: Array, model: int) -> dict[str, Tensor]:
        o, own = self._places[model]
        return self._objectives[o].parameters(theta, own)

    def _parts(
        self, models: Sequence[int]
    ) -> Iterator[tuple[Objective, list[int], list[int]]]:
        """For each objective that is concerned: rows of `models`, its own numbers."""
        found: dict[int, list[tuple[int, int]]] = {}
        for row, model in enumerate(models):
            o, own = self._places[model]
            found.setdefault(o, []).append((row, own))
        for o, pairs in found.items():
            yield self._objectives[o], [r for r, _ in pairs], [k for _, k in pairs]


def _try_closed_form(objective: Stacked) -> None:
    """Use the closed form if there is one and it agrees with the modules' values."""
    models = _first_middle_last(objective.num_models)
    start = objective.start[models]
    away = start + 0.1 * np.random.default_rng(0).uniform(size=start.shape)
    points = (start, np.clip(away, objective.bounds[0].lb, objective.bounds[0].ub))
    try:
        objective.use_closed_form()
    except Unsupported as part:
        logger.debug("no closed form for %s", part)
        return
    try:
        found = [objective(theta, models) for theta in points]
        objective.use_modules()
        expected = [objective(theta, models) for theta in points]
        objective.use_closed_form()
    except (NotPSDError, NanError, LinAlgError) as error:  # nothing to compare
        logger.debug("no comparison with the closed form: %s", error)
        objective.use_modules()
        return
    for one, other in zip(found, expected, strict=True):
        for values, others in zip(one, other, strict=True):
            if not np.allclose(values, others, 1e-7, 1e-7, equal_nan=True):
                logger.debug("the closed form disagrees with the model's modules")
                objective.use_modules()
                return
    objective.forget_modules()


def _disagreeing(
    objective: Stacked,
    mlls: Sequence[MarginalLogLikelihood],
    witnesses: dict[int, MarginalLogLikelihood] | None,
) -> list[int]:
    """Mlls whose own losses and gradients the objective does not have at the start.

    Of many models the first, the middle and the last one are compared, in one
    evaluation, so that a value that belongs to another model would show. An mll that
    has no loss of its own there cannot be compared; its fit will say why. Of a large
    batch no gradients are compared: they would take the memory that we want to save.
    """
    if witnesses is None:
        witnesses = {i: mlls[i] for i in _first_middle_last(len(mlls))}
        each = objective.num_models // len(mlls)
    else:
        each = batch_shape_of(next(iter(witnesses.values()))).numel()
    size = each * mlls[0].model.train_targets.shape[-1] ** 2
    own: dict[int, tuple[Array, ...]] = {}
    for i, mll in witnesses.items():
        try:
            own[i] = _own_values(mll, objective, size < LARGE_BATCH)
        except Exception as error:
            logger.debug("mll %d has no loss at the start: %s", i, error)
    if not own:
        return []
    chosen = _first_middle_last(each)
    models = [i * each + j for i in own for j in chosen]
    tolerance = 1e-7 if objective.dtype == torch.float64 else 1e-2
    found = objective(objective.start[models], models)
    return [
        i
        for k, (i, values) in enumerate(own.items())
        if not all(
            np.allclose(
                part[k * len(chosen) : (k + 1) * len(chosen)],
                expected[chosen],
                tolerance,
                tolerance,
                equal_nan=True,
            )
            for part, expected in zip(found, values, strict=False)
        )
    ]


def _first_middle_last(count: int) -> list[int]:
    return sorted({0, count // 2, count - 1})


def _own_values(
    mll: MarginalLogLikelihood, objective: Stacked, with_gradients: bool
) -> tuple[Array, ...]:
    """Losses, and gradients if wanted, of an mll by BoTorch's closure and autograd."""
    with torch.set_grad_enabled(with_gradients):
        losses = get_loss_closure(mll)().reshape(-1)
    values = losses.detach().double().cpu().numpy()
    if not with_gradients:
        return (values,)
    own = dict(mll.named_parameters())
    tensors = [own[name] for name in objective.parameters(objective.start[0], 0)]
    gradients = torch.autograd.grad(losses.sum(), tensors, allow_unused=True)
    parts = [
        (torch.zeros_like(tensor) if gradient is None else gradient)
        .reshape(len(losses), -1)
        .double()
        for tensor, gradient in zip(tensors, gradients, strict=True)
    ]
    return values, torch.cat(parts, dim=-1).cpu().numpy()
