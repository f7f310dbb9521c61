"""One batched loss and gradient of just the models that were asked for.

An objective answers `losses, gradients = objective(theta, models)` for `a` chosen
models out of its `num_models`: `theta` and `gradients` are `a x p` arrays of
unconstrained parameters, `losses` are `a` values of BoTorch's loss, the negative log
marginal likelihood minus log priors per training point.

The models are one batched GPyTorch model, or several ordinary models of one structure,
or both; every combination of a model and an element of its batch counts as one. Their
parameters, buffers and data are stacked once. An evaluation takes the chosen slices and
passes them to a copy of the first model by :func:`torch.func.functional_call`, so that
models that were not asked for cost nothing. Input transforms without trainable
parameters are applied once, not per evaluation.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Protocol
from warnings import warn

import numpy as np
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.models.gpytorch import BatchedMultiOutputGPyTorchModel
from botorch.optim.closures import get_loss_closure
from botorch.optim.utils import get_parameters_and_bounds, sample_all_priors
from gpytorch import settings
from gpytorch.likelihoods.noise_models import FixedGaussianNoise
from gpytorch.mlls import MarginalLogLikelihood
from numpy.typing import NDArray
from scipy.optimize import Bounds
from torch import Tensor
from torch.func import functional_call
from torch.nn import Module

__all__ = ["Objective", "make_objective"]

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]
ParameterBounds = dict[str, tuple[float | Tensor | None, float | Tensor | None]]


class Objective(Protocol):
    """Losses and gradients of chosen models, and the way to and from their values."""

    num_models: int
    start: Array  # b x p, the values the models have when the objective is made
    bounds: list[Bounds]  # one for each model

    def __call__(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        """Losses per point, `a`, and gradients, `a x p`, at `theta`, `a x p`."""

    def write(self, theta: Array) -> None:
        """Give all models the values `theta`, `b x p`."""

    def sample(self) -> Array:
        """New starting values from the priors of all models, `b x p`."""

    def parameters(self, theta: Array, model: int) -> dict[str, Tensor]:
        """The parameters of one model by name, from its row of values, `p`."""


def make_objective(
    mlls: Sequence[MarginalLogLikelihood],
    parameters: Sequence[str] | None = None,
    bounds: ParameterBounds | None = None,
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

    Returns:
        An objective that was compared with the `mlls` at their present values.
    """
    names = [n for n, p in mlls[0].named_parameters() if p.requires_grad]
    if not names or (parameters is not None and not parameters):
        raise ValueError(
            f"the {type(mlls[0].model).__name__} has no parameter to optimize; at "
            "least one must require a gradient"
        )
    try:
        stacked = _Stacked(mlls, parameters, bounds)
        if _agrees(stacked, mlls):
            return stacked
        reason: object = "it disagrees with the models' own losses"
    except _SharedParameters as shared:
        reason = (
            f"the parameters {', '.join(shared.names)} are shared by the models; give "
            "them the batch shape of the model"
        )
    except Exception as error:  # any model may be built in a way that we do not foresee
        reason = f"{type(error).__name__}: {error}"
    if len(mlls) > 1:
        logger.debug("models are evaluated one after the other: %s", reason)
        return _Separate([make_objective([mll], parameters, bounds) for mll in mlls])
    if _batch_shape(mlls[0]).numel() > 1:
        warn(
            f"The models of this batched {type(mlls[0].model).__name__} are fitted "
            f"together, by one optimizer on the sum of their losses: {reason}.",
            BotorchWarning,
            stacklevel=4,
        )
    return _Joint(mlls[0], parameters, bounds)


class _SharedParameters(Exception):
    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.names = names


class _Loss(Module):
    """The loss of an mll as a module's forward pass, for `functional_call`."""

    def __init__(self, mll: MarginalLogLikelihood) -> None:
        super().__init__()
        self.mll = mll

    def forward(self) -> Tensor:
        return get_loss_closure(self.mll)()


class _Stacked:
    """All models in stacked tensors, evaluated by a copy of the first one."""

    def __init__(
        self,
        mlls: Sequence[MarginalLogLikelihood],
        parameters: Sequence[str] | None,
        bounds: ParameterBounds | None,
    ) -> None:
        self._mlls = list(mlls)
        first = self._mlls[0]
        self._batch_shape = _batch_shape(first)
        self._num_each = self._batch_shape.numel()
        self.num_models = self._num_each * len(self._mlls)
        self._is_batched = len(self._mlls) > 1 or len(self._batch_shape) > 0
        own, self._own_bounds = get_parameters_and_bounds(first)
        self._own_bounds = {**self._own_bounds, **(bounds or {})}
        self._shapes: dict[str, torch.Size] = {}  # of one model's part
        for name, parameter in own.items():
            if (
                parameters is None
                and parameter.requires_grad
                or name in (parameters or ())
            ):
                self._shapes[name] = parameter.shape[len(self._batch_shape) :]
        shared = [n for n in self._shapes if not self._has_batch_shape(own[n])]
        if shared:
            raise _SharedParameters(shared)
        self._num_parameters = sum(shape.numel() for shape in self._shapes.values())
        self.start = np.concatenate([self._read(mll) for mll in self._mlls])
        self.bounds = self._make_bounds()
        template = deepcopy(first)
        self._stack_data(template)
        self._loss = _Loss(template)
        self._stack_state(template)
        self._models: list[int] | None = None  # whose data the template has

    def __call__(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        models = list(models)
        if models != self._models:
            self._select(models)
        values = torch.as_tensor(theta, dtype=torch.float64, device=self._device)
        values.requires_grad_()
        lead = torch.Size([len(models)]) if self._is_batched else torch.Size()
        state = dict(self._chosen)
        for name, part in self._split(values.to(self.dtype)):
            state[f"mll.{name}"] = part.reshape(lead + self._shapes[name])
        with _evaluation_settings():
            losses = functional_call(self._loss, state, (), tie_weights=True)
        losses = losses.reshape(len(models))
        (gradients,) = torch.autograd.grad(losses.sum(), values)
        return losses.detach().double().cpu().numpy(), gradients.cpu().numpy()

    def write(self, theta: Array) -> None:
        rows = torch.as_tensor(theta).split(self._num_each)
        for mll, values in zip(self._mlls, rows, strict=True):
            own = dict(mll.named_parameters())
            with torch.no_grad():
                for name, part in self._split(values):
                    own[name].copy_(part.reshape(own[name].shape))

    def sample(self) -> Array:
        return np.concatenate([self._sample(mll) for mll in self._mlls])

    def parameters(self, theta: Array, model: int) -> dict[str, Tensor]:
        values = torch.as_tensor(theta, device=self._device, dtype=self.dtype)
        return {n: part.reshape(self._shapes[n]) for n, part in self._split(values)}

    def _sample(self, mll: MarginalLogLikelihood) -> Array:
        before = deepcopy(mll.state_dict())
        frozen = {n: p for n, p in mll.named_parameters() if n not in self._shapes}
        kept = {n: p.detach().clone() for n, p in frozen.items()}
        try:
            sample_all_priors(mll.model)
            with torch.no_grad():
                for name, parameter in frozen.items():
                    parameter.copy_(kept[name])
            return self._read(mll)
        finally:
            mll.load_state_dict(before)

    def _has_batch_shape(self, tensor: Tensor) -> bool:
        return tensor.shape[: len(self._batch_shape)] == self._batch_shape

    def _split(self, values: Tensor) -> list[tuple[str, Tensor]]:
        sizes = [shape.numel() for shape in self._shapes.values()]
        return list(zip(self._shapes, values.split(sizes, dim=-1), strict=True))

    def _read(self, mll: MarginalLogLikelihood) -> Array:
        own = dict(mll.named_parameters())
        parts = [own[n].detach().reshape(self._num_each, -1) for n in self._shapes]
        return torch.cat(parts, dim=-1).double().cpu().numpy()

    def _make_bounds(self) -> list[Bounds]:
        shape = (self._num_each, self._num_parameters)
        limits = [np.full(shape, -np.inf), np.full(shape, np.inf)]
        column = 0
        own = dict(self._mlls[0].named_parameters())
        for name, part in self._shapes.items():
            columns = slice(column, column + part.numel())
            for limit, bound in zip(
                limits, self._own_bounds.get(name, (None, None)), strict=True
            ):
                if bound is not None:
                    value = torch.as_tensor(bound).detach().double().cpu()
                    value = value.expand(own[name].shape)
                    limit[:, columns] = value.reshape(self._num_each, -1).numpy()
            column += part.numel()
        return [Bounds(*pair) for pair in zip(*limits, strict=True)] * len(self._mlls)

    def _stack_data(self, template: MarginalLogLikelihood) -> None:
        """Inputs, targets and fixed noise of all models, transformed once."""
        models = [mll.model for mll in self._mlls]
        transform = getattr(template.model, "input_transform", None)
        if transform is not None and not any(
            p.requires_grad for p in transform.parameters()
        ):
            inputs = [
                [model.transform_inputs(x) for x in model.train_inputs]
                for model in models
            ]
            del template.model.input_transform
        else:
            inputs = [list(model.train_inputs) for model in models]
        self._inputs = [self._flat(parts) for parts in zip(*inputs, strict=True)]
        self._targets = self._flat([model.train_targets for model in models])
        self._device, self.dtype = self._targets.device, self._targets.dtype
        self._noise = []
        for path, module in template.named_modules():
            if isinstance(module, FixedGaussianNoise):
                noise = [mll.get_submodule(path).noise for mll in self._mlls]
                self._noise.append((module, self._flat(noise)))

    def _stack_state(self, template: MarginalLogLikelihood) -> None:
        """Buffers and parameters that are not optimized but differ between models."""
        self._state: dict[str, Tensor] = {}
        owned = [
            {**dict(mll.named_parameters()), **dict(mll.named_buffers())}
            for mll in self._mlls
        ]
        present = {
            **dict(template.named_parameters()),
            **dict(template.named_buffers()),
        }
        for name in present:
            values = [state[name].detach() for state in owned]
            if name in self._shapes or not values[0].is_floating_point():
                continue
            batched = len(self._batch_shape) > 0 and self._has_batch_shape(values[0])
            if batched or any(not torch.equal(values[0], v) for v in values[1:]):
                self._state[f"mll.{name}"] = self._flat(values)

    def _flat(self, values: Sequence[Tensor]) -> Tensor:
        """One tensor with all models in its first dimension, if there are several."""
        if not self._is_batched:
            return values[0]
        skip = len(self._batch_shape)
        return torch.cat(
            [v.reshape(self._num_each, *v.shape[skip:]) for v in values]
        ).contiguous()

    def _select(self, models: list[int]) -> None:
        """Give the template the data of the chosen models."""
        if self._is_batched:
            index = torch.as_tensor(models, device=self._device)

            def pick(tensor: Tensor) -> Tensor:
                return tensor.index_select(0, index)
        else:

            def pick(tensor: Tensor) -> Tensor:
                return tensor

        model = self._loss.mll.model
        model.train_inputs = tuple(pick(x) for x in self._inputs)
        model.train_targets = pick(self._targets)
        for module, noise in self._noise:
            module.noise = pick(noise)
        self._chosen = {name: pick(value) for name, value in self._state.items()}
        self._models = models


class _Joint:
    """All models of one mll as a single one: the sum of their losses.

    The last resort, and BoTorch's own way; evaluated by its loss closure.
    """

    num_models = 1

    def __init__(
        self,
        mll: MarginalLogLikelihood,
        parameters: Sequence[str] | None,
        bounds: ParameterBounds | None,
    ) -> None:
        self._mll = mll
        own, limits = get_parameters_and_bounds(mll)
        limits = {**limits, **(bounds or {})}
        self._parameters = {
            n: p
            for n, p in own.items()
            if (p.requires_grad if parameters is None else n in parameters)
        }
        self._closure = get_loss_closure(mll)
        self.start = self._read()
        low, high = np.full_like(self.start, -np.inf), np.full_like(self.start, np.inf)
        column = 0
        for name, parameter in self._parameters.items():
            columns = slice(column, column + parameter.numel())
            for limit, bound in zip(
                (low, high), limits.get(name, (None, None)), strict=True
            ):
                if bound is not None:
                    value = torch.as_tensor(bound).detach().double().cpu()
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

    def write(self, theta: Array) -> None:
        with torch.no_grad():
            for name, value in self.parameters(theta[0], 0).items():
                self._parameters[name].copy_(value)

    def sample(self) -> Array:
        before = deepcopy(self._mll.state_dict())
        try:
            sample_all_priors(self._mll.model)
            return self._read()
        finally:
            self._mll.load_state_dict(before)

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
        parts = [
            p.detach().reshape(-1).double().cpu() for p in self._parameters.values()
        ]
        return torch.cat(parts).numpy()[None]


class _Separate:
    """Several objectives as one, evaluated one after the other."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._objectives = list(objectives)
        counts = [objective.num_models for objective in self._objectives]
        self._ends = np.cumsum(counts)
        self.num_models = int(self._ends[-1])
        self.start = np.concatenate([objective.start for objective in objectives])
        self.bounds = [b for objective in objectives for b in objective.bounds]

    def __call__(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        losses, gradients = np.empty(len(models)), np.empty_like(theta)
        for i, model in enumerate(models):
            objective, own = self._find(model)
            loss, gradient = objective(theta[i : i + 1], [own])
            losses[i], gradients[i] = loss[0], gradient[0]
        return losses, gradients

    def write(self, theta: Array) -> None:
        parts = np.split(theta, self._ends[:-1])
        for objective, values in zip(self._objectives, parts, strict=True):
            objective.write(values)

    def sample(self) -> Array:
        return np.concatenate([objective.sample() for objective in self._objectives])

    def parameters(self, theta: Array, model: int) -> dict[str, Tensor]:
        objective, own = self._find(model)
        return objective.parameters(theta, own)

    def _find(self, model: int) -> tuple[Objective, int]:
        i = int(np.searchsorted(self._ends, model, side="right"))
        objective = self._objectives[i]
        return objective, model - (int(self._ends[i]) - objective.num_models)


def _batch_shape(mll: MarginalLogLikelihood) -> torch.Size:
    """The shape of the batch of independent models that an mll holds."""
    model = mll.model
    if isinstance(model, BatchedMultiOutputGPyTorchModel):
        return model.train_targets.shape[:-1]  # batch shape, and one per output
    with torch.no_grad():
        return get_loss_closure(mll)().shape


def _agrees(objective: _Stacked, mlls: Sequence[MarginalLogLikelihood]) -> bool:
    """Whether losses and gradients equal the models' own at their present values.

    Of many mlls the first, the middle and the last one are compared, in one evaluation,
    so that a value that belongs to another model would show. An mll that has no loss of
    its own there cannot be compared; its fit will say why.
    """
    own: dict[int, tuple[Array, Array]] = {}
    for i in sorted({0, len(mlls) // 2, len(mlls) - 1}):
        try:
            own[i] = _own_values(mlls[i], objective)
        except Exception as error:
            logger.debug("mll %d has no loss at the start: %s", i, error)
    if not own:
        return True
    each = objective.num_models // len(mlls)
    models = [i * each + j for i in own for j in range(each)]
    losses, gradients = objective(objective.start[models], models)
    tolerance = 1e-7 if objective.dtype == torch.float64 else 1e-2
    return all(
        np.allclose(found, np.concatenate(parts), tolerance, tolerance, equal_nan=True)
        for found, parts in zip(
            (losses, gradients), zip(*own.values(), strict=True), strict=True
        )
    )


def _own_values(mll: MarginalLogLikelihood, objective: _Stacked) -> tuple[Array, Array]:
    """Losses and gradients of an mll by BoTorch's closure and autograd."""
    own = dict(mll.named_parameters())
    names = objective.parameters(objective.start[0], 0)
    tensors = [own[name] for name in names]
    losses = get_loss_closure(mll)().reshape(-1)
    gradients = torch.autograd.grad(losses.sum(), tensors, allow_unused=True)
    parts = [
        (torch.zeros_like(tensor) if gradient is None else gradient)
        .reshape(len(losses), -1)
        .double()
        for tensor, gradient in zip(tensors, gradients, strict=True)
    ]
    values = losses.detach().double().cpu().numpy()
    return values, torch.cat(parts, dim=-1).cpu().numpy()


@contextmanager
def _evaluation_settings():
    """GPyTorch's lazy kernels know the shape of the whole batch, so they are off."""
    with ExitStack() as stack:
        stack.enter_context(settings.lazily_evaluate_kernels(False))
        stack.enter_context(settings.debug(False))
        yield
