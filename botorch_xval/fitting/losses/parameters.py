"""The parameters of a model as one table, and what their values and priors are.

:class:`ParameterTable` says which parameters a model has: names, shapes, constraints,
priors, bounds, and the columns that they take in a row of numbers. Objectives,
coordinates, tables of hyper-parameters and descriptions all read it.
:func:`columns_seen` says which columns of the inputs each part of a kernel gets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from botorch.optim.utils import get_parameters_and_bounds
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import Kernel, MultitaskKernel, ScaleKernel
from gpytorch.mlls import MarginalLogLikelihood
from gpytorch.module import Module
from gpytorch.priors import Prior
from numpy.typing import NDArray
from scipy.optimize import Bounds
from torch import Tensor
from torch.nn.functional import softplus

__all__ = [
    "Array",
    "OtherPrior",
    "Parameter",
    "ParameterBounds",
    "ParameterTable",
    "Unsupported",
    "columns_seen",
    "copy_of",
    "parameters_of",
    "require",
    "without_constraints",
]

Array = NDArray[np.float64]
ParameterBounds = dict[str, tuple[float | Tensor | None, float | Tensor | None]]
Column = TypeVar("Column")
# Of parameters whose prior has another name.
OTHER_NAMES = {"weights": "raw_fractions", "mean": "raw_constant"}


class Unsupported(Exception):
    """A part of a model for which there is no closed form here."""


def require(condition: bool, part: object) -> None:
    """Raise `Unsupported`, naming the part of a model, unless the condition holds."""
    if not condition:
        raise Unsupported(part if isinstance(part, str) else type(part).__name__)


def copy_of(module: Any) -> Any:
    """A deep copy of a module, also of one that keeps a tensor of an autograd graph.

    `OrthogonalAdditiveKernel` keeps such a one, which cannot be copied.
    """
    kept = [
        value
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    return deepcopy(module, {id(value): value.detach().clone() for value in kept})


def without_constraints(module: Any) -> Any:
    """A copy of a GPyTorch module whose parameters are their own values."""
    own = copy_of(module)
    for name, _, constraint in module.named_parameters_and_constraints():
        if constraint is not None:
            path, _, raw_name = name.rpartition(".")
            free = GreaterThan(-torch.inf, transform=None)
            own.get_submodule(path).register_constraint(raw_name, free)
    return own


def columns_seen(
    kernel: Kernel, columns: Sequence[Column]
) -> dict[Kernel, tuple[Column, ...]]:
    """Which columns of the inputs the `forward` of a kernel and of its parts gets.

    A kernel selects its `active_dims` when it is called. A `ScaleKernel` and the data's
    kernel of a `MultitaskKernel` are exceptions: their part's `forward` is called
    directly, so that its `active_dims` have no effect (a `ScaleKernel` takes over those
    of its part).

    Args:
        kernel: Any kernel.
        columns: What to select from, one entry for each column of the inputs of the
            kernel: numbers, or names.

    Returns:
        By kernel, the columns that it computes with.
    """
    found: dict[Kernel, tuple[Column, ...]] = {}

    def visit(kernel: Kernel, columns: tuple[Column, ...], is_called: bool) -> None:
        if is_called and kernel.active_dims is not None:
            columns = tuple(columns[i] for i in kernel.active_dims.tolist())
        found[kernel] = columns
        forward = type(kernel).forward
        for part in _parts(kernel):
            if forward is MultitaskKernel.forward and part is kernel.task_covar_module:
                visit(part, (), False)
            else:
                direct = (ScaleKernel.forward, MultitaskKernel.forward)
                visit(part, columns, forward not in direct)

    visit(kernel, tuple(columns), True)
    return found


def _parts(kernel: Kernel) -> Iterator[Kernel]:
    for child in kernel.children():
        children = child if isinstance(child, torch.nn.ModuleList) else [child]
        yield from (each for each in children if isinstance(each, Kernel))


@dataclass(frozen=True, eq=False)
class Parameter:
    """One parameter of a model, or of each model of a batch."""

    path: str
    """Of the module that has it: `covar_module.base_kernel`; empty for the root."""

    raw_name: str
    """Its name there: `raw_lengthscale`."""

    module: torch.nn.Module
    """The module that has it."""

    tensor: Tensor
    """The unconstrained values, `batch_shape x shape`, or `shape` if all models of the
    batch share them."""

    batch_shape: torch.Size
    """Of the model."""

    constraint: Interval | None
    """What makes constrained values of it."""

    prior: Prior | None = None
    """The prior of its constrained value, if that has one of its own."""

    @property
    def full_name(self) -> str:
        """As in `named_parameters`."""
        return f"{self.path}.{self.raw_name}" if self.path else self.raw_name

    @property
    def name(self) -> str:
        """Of the constrained value: `lengthscale`."""
        return self.raw_name.removeprefix("raw_")

    @property
    def has_batch_shape(self) -> bool:
        """Whether each model of the batch has a part of its own."""
        return self.tensor.shape[: len(self.batch_shape)] == self.batch_shape

    @property
    def shape(self) -> torch.Size:
        """Of one model's part."""
        return self.tensor.shape[len(self.batch_shape) if self.has_batch_shape else 0 :]

    @property
    def value(self) -> Tensor:
        """The constrained values, one row of numbers for each model of the batch."""
        value = self.tensor
        if self.constraint is not None:
            value = self.constraint.transform(value)
        lead = self.batch_shape if self.has_batch_shape else torch.Size()
        return value.reshape(*lead, -1)

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value that the constraint allows."""
        if self.constraint is None:
            return -math.inf, math.inf
        bounds = self.constraint.lower_bound.min(), self.constraint.upper_bound.max()
        return bounds[0].item(), bounds[1].item()

    def labels(self, features: Sequence[str] = ()) -> list[str]:
        """A label for each number of one model's part, such as `lengthscale['a']`.

        Args:
            features: Names for the numbers of a parameter that has one for each.
        """
        count = self.shape.numel()
        if count == 1:
            return [self.name]
        is_named = self.shape[-1] == count == len(features)
        keys = map(repr, features) if is_named else range(count)
        return [f"{self.name}[{key}]" for key in keys]

    def kind(self) -> tuple[str, float, float]:
        """How the value comes from the parameter.

        As "identity", "softplus", "sigmoid", or "exp" (BoTorch's
        `LogTransformedInterval`).

        Found by trying the constraint, since its transform is private.

        Returns:
            The kind, and the lower and upper bound.

        Raises:
            Unsupported: If it is another transform, or bounds differ within it.
        """
        constraint = self.constraint
        if constraint is None or not constraint.enforced:
            return "identity", 0.0, 0.0
        bounds = constraint.lower_bound, constraint.upper_bound
        require(all(bound.numel() == 1 for bound in bounds), constraint)
        low, high = (bound.item() for bound in bounds)
        raw = torch.linspace(-4, 4, 9, dtype=torch.float64)
        found = constraint.transform(raw)
        if math.isfinite(low) and not math.isfinite(high):
            kind, expected = "softplus", softplus(raw) + low
        else:
            require(math.isfinite(low) and math.isfinite(high), constraint)
            kind, expected = "sigmoid", low + (high - low) * torch.sigmoid(raw)
            if torch.equal(found, raw.exp()):
                kind, expected = "exp", found
        require(torch.allclose(found, expected, rtol=1e-12, atol=1e-12), constraint)
        return kind, low, high


def parameters_of(
    module: Module,
    batch_shape: torch.Size = torch.Size(),  # noqa: B008
) -> list[Parameter]:
    """All parameters of a module and of its parts, with their priors.

    Args:
        module: Any GPyTorch module.
        batch_shape: Of the independent models that it holds.

    Returns:
        The parameters, in the order of `named_parameters`.
    """
    priors, _ = _priors(module)
    found = []
    for full_name, tensor, constraint in module.named_parameters_and_constraints():
        path, _, raw_name = full_name.rpartition(".")
        owner, prior = module.get_submodule(path), priors.get(id(tensor))
        found.append(
            Parameter(path, raw_name, owner, tensor, batch_shape, constraint, prior)
        )
    return found


class OtherPrior(NamedTuple):
    """A prior that is not of the value of one parameter."""

    full_name: str
    module: Module
    prior: Prior
    closure: Callable[[Any], Tensor]
    """Makes of the module what the prior is of."""


def _priors(module: Module) -> tuple[dict[int, Prior], list[OtherPrior]]:
    """Priors by id of the parameter whose value they are of, and other priors.

    An mll lists the priors of its likelihood twice, its model lists them once.
    """
    if isinstance(module, MarginalLogLikelihood):
        module = module.model
    priors: dict[int, Prior] = {}
    others: list[OtherPrior] = []
    for full_name, owner, prior, closure, _ in module.named_priors():
        name = full_name.rsplit(".", 1)[-1].removesuffix("_prior")
        for raw in (f"raw_{name}", name, OTHER_NAMES.get(name, "")):
            tensor = getattr(owner, raw, None)
            if isinstance(tensor, torch.nn.Parameter):
                if _is_value_of(closure(owner), owner, raw):
                    priors[id(tensor)] = prior
                    break
        else:
            others.append(OtherPrior(full_name, owner, prior, closure))
    return priors, others


def _is_value_of(found: Tensor, owner: Module, raw_name: str) -> bool:
    """Whether what a prior is of is the constrained value of a parameter.

    `OrthogonalAdditiveKernel` has coefficients whose constraint it does not register.
    """
    value: Any = getattr(owner, raw_name)
    constraint = owner.constraint_for_parameter_name(raw_name)
    if constraint is not None:
        value = constraint.transform(value)
    is_of_size = found.numel() == value.numel()
    return is_of_size and torch.allclose(found.reshape(-1), value.reshape(-1))


class ParameterTable:
    """The parameters of an mll that are optimized, and their columns in a row.

    Attributes:
        parameters: In the order of the columns.
        columns: By full name, the columns of a parameter.
        size: Number of columns.
        num_members: Of the batch.
        is_complete: Whether these are all parameters of the mll.
        with_priors: Those with a prior, in the order of `named_priors`.
        other_priors: Priors that are not of the value of one parameter.
        softplus: Whether a number is the softplus of its column, `size`.
        untransformed: Whether it is the column itself, `size`. A number whose
            constraint differs between the models, or is another one, is neither.
        bounds: Of the columns, for each model of the batch.
    """

    def __init__(
        self,
        mll: MarginalLogLikelihood,
        batch_shape: torch.Size,
        names: Collection[str] | None = None,
        bounds: ParameterBounds | None = None,
    ) -> None:
        """
        Args:
            mll: The marginal log likelihood.
            batch_shape: Of the models that it holds; empty to take them as one.
            names: Which parameters; default: all that require a gradient.
            bounds: See :class:`~botorch_xval.fitting.FitOptions`.
        """
        own, limits = get_parameters_and_bounds(mll)
        everything = parameters_of(mll, batch_shape)
        wanted = (
            [n for n, p in own.items() if p.requires_grad] if names is None else names
        )
        by_name = {each.full_name: each for each in everything}
        chosen = [name for name in own if name in wanted]
        self.parameters = [by_name[name] for name in chosen]
        self.is_complete = len(chosen) == len(everything)
        priors, self.other_priors = _priors(mll)
        by_tensor = {id(each.tensor): each for each in self.parameters}
        self.with_priors = [by_tensor[key] for key in priors if key in by_tensor]
        self._batch_shape = batch_shape
        self.num_members = batch_shape.numel()
        self.columns: dict[str, slice] = {}
        self.size = 0
        for each in self.parameters:
            end = self.size + each.shape.numel()
            self.columns[each.full_name] = slice(self.size, end)
            self.size = end
        kinds = np.repeat(
            [_kind(each) for each in self.parameters],
            [each.shape.numel() for each in self.parameters],
        )
        self.softplus, self.untransformed = kinds == "softplus", kinds == "identity"
        self.bounds = self._bounds({**limits, **(bounds or {})})

    @property
    def shared(self) -> list[str]:
        """Full names of parameters that the models of the batch share."""
        return [p.full_name for p in self.parameters if not p.has_batch_shape]

    def columns_of(self, raw_name: str) -> list[NDArray[np.intp]]:
        """Columns of each parameter with this name, in whatever module it is."""
        numbers = np.arange(self.size)
        return [
            numbers[self.columns[each.full_name]]
            for each in self.parameters
            if each.raw_name == raw_name
        ]

    def numbers_of(self, name: str, given: float | Tensor, member: int) -> Array:
        """The numbers of a parameter of one model, from values that broadcast to it.

        Args:
            name: Its full name.
            given: Unconstrained values that broadcast to the parameter of one model, or
                to that of all models of the batch.
            member: Which model of the batch.

        Raises:
            ValueError: If there is no such parameter, or values do not broadcast.
        """
        found = [each for each in self.parameters if each.full_name == name]
        if not found:
            raise ValueError(
                f"starts: expected names among {sorted(self.columns)}, got {name!r}; "
                "see mll.named_parameters()"
            )
        (own,) = found
        values = torch.as_tensor(given, dtype=torch.float64).detach().cpu()
        with suppress(RuntimeError):
            return values.expand(own.shape).reshape(-1).numpy()
        with suppress(RuntimeError):
            whole = values.expand(own.tensor.shape)
            return whole.reshape(-1, own.shape.numel())[member].numpy()
        raise ValueError(
            f"starts: expected values of {name!r} that broadcast to "
            f"{tuple(own.shape)}, got shape {tuple(values.shape)}"
        )

    def read(self, mll: MarginalLogLikelihood) -> Array:
        """The numbers of an mll of this structure, a row for each model."""
        own = dict(mll.named_parameters())
        parts = [
            own[name].detach().reshape(self._batch_shape.numel(), -1)
            for name in self.columns
        ]
        return torch.cat(parts, dim=-1).double().cpu().numpy()

    def write(self, mll: MarginalLogLikelihood, values: Tensor) -> None:
        """Give an mll of this structure the numbers, a row for each model."""
        own = dict(mll.named_parameters())
        with torch.no_grad():
            for name, columns in self.columns.items():
                own[name].copy_(values[:, columns].reshape(own[name].shape))

    def constrained(self, row: Array) -> dict[str, tuple[float, ...]]:
        """The constrained values of one model, by full name, from its numbers."""
        found = {}
        for each in self.parameters:
            values = torch.as_tensor(row[self.columns[each.full_name]])
            if each.constraint is not None:
                with torch.no_grad():
                    values = each.constraint.transform(values.reshape(each.shape))
            found[each.full_name] = tuple(values.reshape(-1).tolist())
        return found

    def at_prior_modes(self, row: Array) -> tuple[list[str], bool]:
        """Lengthscales of one model that are where their priors alone would have them.

        Args:
            row: The numbers of the model.

        Returns:
            Full names of those whose numbers are all within a tenth of the mode of
            their prior, and whether these are all that there are.
        """
        values = self.constrained(row)
        lengths = [p for p in self.parameters if p.raw_name == "raw_lengthscale"]
        found = []
        for each in lengths:
            # Not every prior has a mode, and a fit does not depend on it.
            with suppress(Exception):
                prior: Any = each.prior
                mode = prior.mode.detach().cpu().double().numpy().max()
                if np.allclose(values[each.full_name], mode, rtol=0.1, atol=0.0):
                    found.append(each.full_name)
        return found, bool(lengths) and len(found) == len(lengths)

    def named(self, values: Tensor) -> dict[str, Tensor]:
        """The numbers of one model, `size`, by full name and in their shapes."""
        return {
            each.full_name: values[self.columns[each.full_name]].reshape(each.shape)
            for each in self.parameters
        }

    def _bounds(self, limits: ParameterBounds) -> list[Bounds]:
        shape = (self._batch_shape.numel(), self.size)
        low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
        for each in self.parameters:
            columns = self.columns[each.full_name]
            pair = limits.get(each.full_name, (None, None))
            for values, bound in zip((low, high), pair, strict=True):
                if bound is not None:
                    numbers = torch.as_tensor(bound, dtype=torch.float64).detach().cpu()
                    numbers = numbers.expand(each.tensor.shape)
                    lead = len(values) if each.has_batch_shape else 1
                    values[:, columns] = numbers.reshape(lead, -1).numpy()
        return [Bounds(*pair) for pair in zip(low, high, strict=True)]


def _kind(parameter: Parameter) -> str:
    with suppress(Unsupported):
        return parameter.kind()[0]
    return "other"
