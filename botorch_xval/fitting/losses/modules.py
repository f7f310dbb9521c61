"""Losses by GPyTorch's own modules and autograd, for any model.

:class:`ByModules` passes chosen slices of stacked parameters, buffers and data to the
modules of one model by :func:`torch.func.functional_call`, so that models that were not
asked for cost nothing. :class:`Joint` is the last resort: one loss for all models of a
batch that cannot be sliced.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from botorch.optim.closures import get_loss_closure
from gpytorch import settings
from gpytorch.mlls import MarginalLogLikelihood
from torch import Tensor
from torch.func import functional_call
from torch.nn import Module

from botorch_xval.fitting.losses.objective import (
    Objective,
    Stack,
    StackedObjective,
    sampled,
    variances_of,
)
from botorch_xval.fitting.losses.parameters import (
    Array,
    ParameterBounds,
    ParameterTable,
)
from botorch_xval.fitting.losses.together import held_by_priors

__all__ = ["ByModules", "Joint"]


class _Loss(Module):
    """The loss of an mll as a module's forward pass, for `functional_call`."""

    def __init__(self, mll: MarginalLogLikelihood) -> None:
        super().__init__()
        self.mll = mll

    def forward(self) -> Tensor:
        return get_loss_closure(self.mll)()


class ByModules(StackedObjective):
    """Stacked models, evaluated by the modules of a copy of the first one."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self._find_learned_transforms()
        self._loss = _Loss(stack.template)
        self._stack_state()
        self._models: list[int] | None = None  # whose data the template has

    @property
    def group_size(self) -> int:
        """One if the modules have no batch dimension."""
        return super().group_size if self.stack.is_batched else 1

    def __call__(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        """Losses per point, `a`, and gradients, `a x p`, at `theta`, `a x p`."""
        stack, models = self.stack, list(models)
        if models != self._models:
            self._select(models)
        values = torch.as_tensor(theta, dtype=torch.float64, device=self.device)
        values.requires_grad_()
        lead = torch.Size([len(models)]) if stack.is_batched else torch.Size()
        state = dict(self._chosen)
        converted = values.to(stack.dtype)
        for each in stack.table.parameters:
            name = each.full_name
            rows = self._rows if name in self._learned else torch.Size()
            part = converted[:, stack.table.columns[name]]
            state[f"mll.{name}"] = part.reshape(lead + rows + each.shape)
        with _evaluation_settings():
            losses = functional_call(self._loss, state, (), tie_weights=True)
        losses = losses.reshape(len(models))
        (gradients,) = torch.autograd.grad(losses.sum(), values)
        return losses.detach().double().cpu().numpy(), gradients.cpu().numpy()

    def _find_learned_transforms(self) -> None:
        """Find parameters of input transforms, whose shape has a dimension of rows.

        Without a batch their parameters are of shape `d`, with one `batch x 1 x d`.
        """
        batch_shape = self.stack.batch_shape
        self._learned: set[str] = set()
        self._rows = torch.Size([] if len(batch_shape) > 0 else [1])
        transform = getattr(self.stack.template.model, "input_transform", None)
        if transform is None or not self.stack.is_batched:
            return
        self._learned.update(
            f"model.input_transform.{name}" for name, _ in transform.named_parameters()
        )
        for module in transform.modules():
            if getattr(module, "learn_coefficients", False):
                # It would learn from the chosen models what it learned from all: the
                # `Normalize` in a batched `Warp` has one range for the whole batch.
                module.learn_coefficients = False

    def _stack_state(self) -> None:
        """Buffers and parameters that are not optimized but differ between models."""
        stack = self.stack
        differing: dict[str, Tensor] = {}
        owned = [
            {**dict(mll.named_parameters()), **dict(mll.named_buffers())}
            for mll in stack.mlls
        ]
        template = stack.template
        self._held = [
            (owner, name, stack.flat([value for _, _, value in values]))
            for (owner, name, own), *values in zip(
                held_by_priors(template),
                *(held_by_priors(mll) for mll in stack.mlls),
                strict=True,
            )
            if len(stack.batch_shape) > 0 and stack.has_batch_shape(own)
        ]
        present = {
            **dict(template.named_parameters()),
            **dict(template.named_buffers()),
        }
        for name in present:
            values = [state[name].detach() for state in owned]
            if name in stack.table.columns or not values[0].is_floating_point():
                continue
            if name.startswith("model.outcome_transform"):
                continue  # the targets are transformed already
            if len(stack.batch_shape) > 0 and stack.has_batch_shape(values[0]):
                differing[f"mll.{name}"] = stack.flat(values)
            elif any(not torch.equal(values[0], v) for v in values[1:]):
                each = [v.expand(stack.num_each, *v.shape) for v in values]
                differing[f"mll.{name}"] = torch.cat(each)
        self.state = differing

    def _select(self, models: list[int]) -> None:
        """Give the template the data of the chosen models."""
        stack = self.stack
        index = torch.as_tensor(models, device=self.device)

        def pick(tensor: Tensor) -> Tensor:
            return tensor.index_select(0, index) if stack.is_batched else tensor

        for owner, name, values in self._held:
            setattr(owner, name, pick(values))
        for path, rest in stack.sized.items():
            module: Any = stack.template.get_submodule(path)
            module.batch_shape = torch.Size([len(models), *rest])
        model = stack.template.model
        model.train_inputs = tuple(pick(x) for x in stack.inputs)
        model.train_targets = pick(stack.targets)
        for owner, noise in stack.noise:
            owner.noise = pick(noise)
        self._chosen = {name: pick(value) for name, value in self.state.items()}
        self._models = models


@contextmanager
def _evaluation_settings() -> Iterator[None]:
    """GPyTorch's lazy kernels know the shape of the whole batch, so they are off."""
    with settings.lazily_evaluate_kernels(False), settings.debug(False):
        yield


class Joint(Objective):
    """All models of one mll as a single one: the sum of their losses.

    BoTorch's own way; evaluated by its loss closure.
    """

    num_models = 1

    def __init__(
        self,
        mll: MarginalLogLikelihood,
        parameters: Collection[str] | None,
        bounds: ParameterBounds | None,
    ) -> None:
        self._mll = mll
        targets = mll.model.train_targets
        self.device, self.num_points = targets.device, targets.shape[-1]
        self.table = ParameterTable(mll, torch.Size(), parameters, bounds)
        self._tensors = [each.tensor for each in self.table.parameters]
        self._closure = get_loss_closure(mll)
        self.start, self.bounds = self.table.read(mll), self.table.bounds
        self.softplus = self.table.softplus
        self.untransformed = self.table.untransformed
        self.variances = variances_of(targets.reshape(-1, self.num_points)).mean()[None]

    def __call__(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        """The loss per point and its gradient, `1 x p`, at `theta`, `1 x p`."""
        before = self.table.read(self._mll)
        self.write(theta)
        try:
            loss = self._closure().sum()
            gradients = torch.autograd.grad(loss, self._tensors, allow_unused=True)
        finally:
            self.write(before)  # a fit that is interrupted leaves the model as it was
        parts = [
            (torch.zeros_like(p) if g is None else g).reshape(-1).double().cpu()
            for p, g in zip(self._tensors, gradients, strict=True)
        ]
        return np.array([loss.item()]), torch.cat(parts).numpy()[None]

    def write(self, theta: Array) -> None:
        """Give all models the values `theta`, `1 x p`."""
        self.table.write(self._mll, torch.as_tensor(theta))

    def sample(self, models: Sequence[int]) -> Array:
        """New starting values from the priors, `1 x p`."""
        return sampled(self._mll, self.table)

    def parameters(self, theta: Array, model: int) -> dict[str, Tensor]:
        """The parameters by name, from a row of values, `p`."""
        return self.table.named(torch.as_tensor(theta))
