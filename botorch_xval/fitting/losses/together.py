"""Which models may be fitted together: the one place that decides it.

Models are fitted together if they are alike (equal in everything but their data and the
numbers of their parameters, with data of one size) and if no two of them share a
parameter or a transform that learns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import cast

import torch
from botorch.models.gpytorch import BatchedMultiOutputGPyTorchModel
from botorch.models.transforms.input import InputTransform
from botorch.models.transforms.outcome import OutcomeTransform
from botorch.optim.closures import get_loss_closure
from gpytorch.constraints import Interval
from gpytorch.kernels import Kernel
from gpytorch.means import Mean
from gpytorch.mlls import MarginalLogLikelihood
from gpytorch.priors import Prior
from torch import Tensor

__all__ = [
    "DifferentModels",
    "batch_shape_of",
    "check_alike",
    "groups_of",
    "held_by_priors",
    "modules_of_batch",
    "shared_part",
    "trainable_shapes",
]


class DifferentModels(Exception):
    """Models that differ in more than their data and the values of parameters."""


def groups_of(
    mlls: Sequence[MarginalLogLikelihood], alone: Collection[int] = ()
) -> list[list[int]]:
    """Numbers of the mlls that may be fitted together, group by group.

    Args:
        mlls: Of any structures and sizes.
        alone: Numbers of mlls that are not to be fitted with others.
    """
    groups: list[list[int]] = []
    used: list[set[int]] = []  # parts of each group
    for i, mll in enumerate(mlls):
        parts = set(_parts(mll))
        for group, others in zip(groups, used, strict=True):
            if (
                i not in alone
                and group[0] not in alone
                and parts.isdisjoint(others)
                and _are_alike(mlls[group[0]], mll)
            ):
                group.append(i)
                others |= parts
                break
        else:
            groups.append([i])
            used.append(parts)
    return groups


def shared_part(
    mlls: Sequence[MarginalLogLikelihood],
) -> tuple[int, int, str] | None:
    """Two mlls that share a parameter or a transform, and its path; None if none do."""
    owners: dict[int, int] = {}
    for i, mll in enumerate(mlls):
        for part, path in _parts(mll).items():
            if owners.setdefault(part, i) != i:
                return owners[part], i, path
    return None


def _parts(mll: MarginalLogLikelihood) -> dict[int, str]:
    """Ids and paths of what a fit changes: parameters, and transforms that learn."""
    learned = [
        (path, module)
        for path, module in mll.named_modules()
        if isinstance(module, InputTransform | OutcomeTransform)
    ]
    return {id(part): path for path, part in (*mll.named_parameters(), *learned)}


def _are_alike(one: MarginalLogLikelihood, other: MarginalLogLikelihood) -> bool:
    try:
        check_alike([one, other])
    except DifferentModels:
        return False
    return True


def check_alike(mlls: Sequence[MarginalLogLikelihood]) -> None:
    """Whether the first mll's modules can stand for those of the others.

    Priors and constraints may not differ even in their values: GPyTorch does not have
    all of these in buffers, and the closed form reads them once.

    Raises:
        DifferentModels: If not; it names the first one that differs.
    """

    def structure(mll: MarginalLogLikelihood) -> list[object]:
        plain = bool | int | float | str | torch.Size
        modules = [
            (
                path,
                type(module),
                {k: v for k, v in vars(module).items() if isinstance(v, plain)},
            )
            for path, module in mll.named_modules()
        ]
        parameters = [
            (name, parameter.shape, parameter.dtype, parameter.requires_grad)
            for name, parameter in mll.named_parameters()
        ]
        return [modules, parameters]

    def sizes(mll: MarginalLogLikelihood) -> list[torch.Size]:
        model = mll.model
        inputs = getattr(model, "train_inputs", None) or ()
        targets = getattr(model, "train_targets", None)
        return [X.shape for X in inputs] + ([] if targets is None else [targets.shape])

    def fixed(mll: MarginalLogLikelihood) -> list[Tensor]:
        return [
            buffer
            for module in mll.modules()
            for buffer in module.buffers(recurse=False)
            if isinstance(module, Prior | Interval) or not buffer.is_floating_point()
        ]

    def held(mll: MarginalLogLikelihood) -> list[Tensor]:
        return [value for _, _, value in held_by_priors(mll) if value.ndim == 0]

    if len(mlls) == 1:
        return
    first = structure(mlls[0]), sizes(mlls[0])
    first_values = [*fixed(mlls[0]), *held(mlls[0])]
    for i, mll in enumerate(mlls[1:], start=1):
        if (structure(mll), sizes(mll)) != first:
            raise DifferentModels(f"model {i} is of another structure than model 0")
        values = [*fixed(mll), *held(mll)]
        pairs = zip(first_values, values, strict=True)
        if not all(torch.equal(one, other) for one, other in pairs):
            raise DifferentModels(
                f"model {i} has another prior, bound or index than model 0"
            )


def held_by_priors(
    mll: MarginalLogLikelihood,
) -> Iterator[tuple[object, str, Tensor]]:
    """Tensors of objects whose methods are closures of priors: owner, name, tensor.

    BoTorch's SAAS ensembles keep a shrinkage for each model in such an object.
    """
    for _, module, _, closure, _ in mll.named_priors():
        owner = getattr(closure, "__self__", module)
        if owner is not module:
            for name, value in vars(owner).items():
                if isinstance(value, Tensor):
                    yield owner, name, value


def modules_of_batch(
    root: torch.nn.Module, batch_shape: torch.Size
) -> dict[str, torch.Size]:
    """Paths of modules that know the shape of their batch, and what follows the models.

    Args:
        root: A GPyTorch module.
        batch_shape: Of the models that it holds.
    """
    lead, found = len(batch_shape), {}
    for path, module in root.named_modules():
        if lead == 0 or not isinstance(module, InputTransform | Kernel | Mean):
            continue
        shape = getattr(module, "batch_shape", torch.Size())
        known = vars(type(module)).get("batch_shape")
        can_be_set = not isinstance(known, property) or known.fset is not None
        if can_be_set and shape[:lead] == batch_shape:
            found[path] = shape[lead:]
    return found


def trainable_shapes(mll: MarginalLogLikelihood) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the parameters that can be optimized, in order."""
    return [
        (name, tuple(parameter.shape))
        for name, parameter in mll.named_parameters()
        if parameter.requires_grad
    ]


def batch_shape_of(mll: MarginalLogLikelihood) -> torch.Size:
    """The shape of the batch of independent models that an mll holds."""
    model = mll.model
    if isinstance(model, BatchedMultiOutputGPyTorchModel):
        targets = cast(Tensor, model.train_targets)
        return targets.shape[:-1]  # batch shape, and one per output
    with torch.no_grad():
        return get_loss_closure(mll)().shape
