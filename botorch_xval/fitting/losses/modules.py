"""Many models in stacked tensors, of which the chosen ones are evaluated.

The models are one batched GPyTorch model, or several ordinary models of one structure,
or both; every combination of a model and an element of its batch counts as one. Their
parameters, buffers and data are stacked once. An evaluation takes the chosen slices and
passes them to a copy of the first model by :func:`torch.func.functional_call`, so that
models that were not asked for cost nothing; or, where there is one, to their loss in
closed form. Input transforms without trainable parameters are applied once, not per
evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy, deepcopy

import numpy as np
import torch
from botorch.models.gpytorch import BatchedMultiOutputGPyTorchModel
from botorch.models.transforms.input import InputTransform
from botorch.models.transforms.outcome import OutcomeTransform
from botorch.optim.closures import get_loss_closure
from botorch.optim.utils import get_parameters_and_bounds, sample_all_priors
from gpytorch import settings
from gpytorch.constraints import Interval
from gpytorch.likelihoods.noise_models import FixedGaussianNoise
from gpytorch.means import ZeroMean
from gpytorch.mlls import MarginalLogLikelihood
from gpytorch.priors import Prior
from numpy.typing import NDArray
from scipy.optimize import Bounds
from torch import Tensor
from torch.func import functional_call
from torch.nn import Module

from botorch_xval.fitting.losses.exact import ClosedFormLoss
from botorch_xval.fitting.losses.parameters import Unsupported, constraint_kind

__all__ = [
    "DifferentModels",
    "ParameterBounds",
    "SharedParameters",
    "Stacked",
    "are_alike",
    "batch_shape_of",
    "models_within",
    "own_parts",
    "shared_part",
    "transforms_of",
]

Array = NDArray[np.float64]
# Groups on CPU: small enough for the cache, large enough that Python's share is small.
# Found with benchmarks/group_size.py.
GROUP_ELEMENTS = 260_000  # of the covariance matrices of one group
GROUP_LIMITS = (2, 32)  # models
COPIES = 80  # of its covariance matrix that the evaluation of a model may take on CUDA

ParameterBounds = dict[str, tuple[float | Tensor | None, float | Tensor | None]]


def models_within(memory: int, num_points: int, element_size: int) -> int:
    """How many models of `num_points` can be evaluated at once within `memory` bytes.

    Autograd through GPyTorch's modules keeps the most: 52 copies of the covariance
    matrices of 160 models with four kernels each, measured on CPU.
    """
    return max(1, memory // (COPIES * element_size * num_points**2))


class DifferentModels(Exception):
    """Models that differ in more than their data and the values of parameters."""


class SharedParameters(Exception):
    """Parameters without the batch shape of their model."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.names = names


def batch_shape_of(mll: MarginalLogLikelihood) -> torch.Size:
    """The shape of the batch of independent models that an mll holds."""
    model = mll.model
    if isinstance(model, BatchedMultiOutputGPyTorchModel):
        return model.train_targets.shape[:-1]  # batch shape, and one per output
    with torch.no_grad():
        return get_loss_closure(mll)().shape


def transforms_of(
    mll: MarginalLogLikelihood, shapes: dict[str, torch.Size]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the numbers of all parameters are by softplus, and which as they are.

    A parameter whose constraint has bounds of its own for every model, or another
    transform, is neither.
    """
    kinds = dict.fromkeys(shapes, "other")
    for name, _, constraint in mll.named_parameters_and_constraints():
        with suppress(Unsupported):
            kinds[name] = constraint_kind(constraint)[0]
    counts = [shape.numel() for shape in shapes.values()]
    each = np.repeat([kinds[name] for name in shapes], counts)
    return each == "softplus", each == "identity"


def shared_part(
    mlls: Sequence[MarginalLogLikelihood],
) -> tuple[int, int, str] | None:
    """Two mlls that share a parameter or a transform, and its path; None if none do."""
    owners: dict[int, int] = {}
    for i, mll in enumerate(mlls):
        for part, path in own_parts(mll).items():
            if owners.setdefault(part, i) != i:
                return owners[part], i, path
    return None


def own_parts(mll: MarginalLogLikelihood) -> dict[int, str]:
    """Ids and paths of what a fit changes: parameters, and transforms that learn."""
    learned = [
        (path, module)
        for path, module in mll.named_modules()
        if isinstance(module, InputTransform | OutcomeTransform)
    ]
    return {id(part): path for path, part in (*mll.named_parameters(), *learned)}


def are_alike(one: MarginalLogLikelihood, other: MarginalLogLikelihood) -> bool:
    """Whether two mlls can be stacked: equal in structure and in the size of data."""

    def sizes(mll: MarginalLogLikelihood) -> list[torch.Size]:
        model = mll.model
        return [X.shape for X in model.train_inputs] + [model.train_targets.shape]

    if sizes(one) != sizes(other):
        return False
    try:
        _check_equal_structure([one, other])
    except DifferentModels:
        return False
    return True


def _check_equal_structure(mlls: Sequence[MarginalLogLikelihood]) -> None:
    """Models are stacked on the first one's modules, so these must be alike.

    Priors and constraints may not differ even in their values: GPyTorch does not have
    all of these in buffers, and the closed form reads them once.
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

    def fixed(mll: MarginalLogLikelihood) -> list[Tensor]:
        return [
            buffer
            for module in mll.modules()
            for buffer in module.buffers(recurse=False)
            if isinstance(module, Prior | Interval) or not buffer.is_floating_point()
        ]

    def held(mll: MarginalLogLikelihood) -> list[Tensor]:
        return [value for _, _, value in _held_by_priors(mll) if value.ndim == 0]

    first_structure, first_fixed = structure(mlls[0]), fixed(mlls[0])
    first_held = held(mlls[0])
    for i, mll in enumerate(mlls[1:], start=1):
        if structure(mll) != first_structure:
            raise DifferentModels(f"model {i} is of another structure than model 0")
        pairs = [
            *zip(first_fixed, fixed(mll), strict=True),
            *zip(first_held, held(mll), strict=True),
        ]
        if not all(torch.equal(one, other) for one, other in pairs):
            raise DifferentModels(
                f"model {i} has another prior, bound or index than model 0"
            )


def _held_by_priors(
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


class _Loss(Module):
    """The loss of an mll as a module's forward pass, for `functional_call`."""

    def __init__(self, mll: MarginalLogLikelihood) -> None:
        super().__init__()
        self.mll = mll

    def forward(self) -> Tensor:
        return get_loss_closure(self.mll)()


class Stacked:
    """All models in stacked tensors, evaluated by a copy of the first one."""

    def __init__(
        self,
        mlls: Sequence[MarginalLogLikelihood],
        parameters: Sequence[str] | None,
        bounds: ParameterBounds | None,
    ) -> None:
        self._mlls = list(mlls)
        first = self._mlls[0]
        _check_equal_structure(self._mlls)
        self._batch_shape = batch_shape_of(first)
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
            raise SharedParameters(shared)
        self._num_parameters = sum(shape.numel() for shape in self._shapes.values())
        self.start = np.concatenate([self._read(mll) for mll in self._mlls])
        self.bounds = self._make_bounds()
        self.softplus, self.untransformed = transforms_of(first, self._shapes)
        template = deepcopy(first)
        for module in template.modules():
            if isinstance(module, ZeroMean):  # its zeros have the shape of all models
                module.batch_shape = torch.Size()
        self._stack_data(template)
        self._find_learned_transforms(template)
        self._loss = _Loss(template)
        self._stack_state(template)
        self._models: list[int] | None = None  # whose data the template has
        self._closed_form: ClosedFormLoss | None = None

    def __call__(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        models = list(models)
        if self._closed_form is not None:
            values = torch.as_tensor(theta, device=self.device)
            losses, gradients = self._closed_form(values, models)
            return losses.cpu().numpy(), gradients.cpu().numpy()
        if models != self._models:
            self._select(models)
        values = torch.as_tensor(theta, dtype=torch.float64, device=self.device)
        values.requires_grad_()
        lead = torch.Size([len(models)]) if self._is_batched else torch.Size()
        state = dict(self._chosen)
        for name, part in self._split(values.to(self.dtype)):
            rows = self._rows if name in self._learned else torch.Size()
            state[f"mll.{name}"] = part.reshape(lead + rows + self._shapes[name])
        with _evaluation_settings():
            losses = functional_call(self._loss, state, (), tie_weights=True)
        losses = losses.reshape(len(models))
        (gradients,) = torch.autograd.grad(losses.sum(), values)
        return losses.detach().double().cpu().numpy(), gradients.cpu().numpy()

    def without(self, theta: Array, held_out: Tensor) -> tuple[Array, Array] | None:
        """Losses and gradients of models without the rows of each fold, at one point.

        From one factorization, and only in closed form; else None.

        Args:
            theta: One point for each model, `m x p`.
            held_out: Boolean mask, `f x n`, as many rows in each fold.

        Returns:
            Losses per training point, `f m` (models within folds), and their gradients,
            `f m x p`.
        """
        if self._closed_form is None:
            return None
        parts = [
            self._closed_form.without(values, i, held_out, self.group_size)
            for i, values in enumerate(torch.as_tensor(theta, device=self.device))
        ]
        losses, gradients = (
            torch.stack(each, dim=1).flatten(0, 1).cpu().numpy()
            for each in zip(*parts, strict=True)
        )
        return losses, gradients

    def use_closed_form(self) -> None:
        """Evaluate in closed form from now on.

        Raises:
            Unsupported: If a part of the model has none.
        """

        def stacked(tensor: Tensor) -> Tensor:
            return tensor if self._is_batched else tensor[None]

        self._closed_form = ClosedFormLoss(
            self._loss.mll,
            self._shapes,
            [stacked(X) for X in self._inputs],
            stacked(self._targets),
            stacked(self._noise[0][1]) if self._noise else None,
        )

    @property
    def num_points(self) -> int:
        return self._targets.shape[-1]

    @property
    def group_size(self) -> int:
        """On CPU as many models as fit into the cache, on CUDA into free memory."""
        if not self._is_batched and self._closed_form is None:
            return 1  # its modules have no batch dimension
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            return models_within(free, self.num_points, self._targets.element_size())
        least, most = GROUP_LIMITS
        return min(max(GROUP_ELEMENTS // self.num_points**2, least), most)

    @property
    def is_parallel(self) -> bool:
        """Whether several threads may evaluate: the closed form on CPU.

        GPyTorch's modules and settings belong to one thread.
        """
        return self._closed_form is not None and self.device.type == "cpu"

    def workers(self, count: int) -> list[Stacked]:
        """Up to `count` equal objectives that different threads may evaluate."""
        if not self.is_parallel:
            return [self]
        others = [copy(self) for _ in range(count - 1)]
        for other in others:
            other._closed_form = self._closed_form.copy()
        return [self, *others]

    def forget_modules(self) -> None:
        """Let go of what only the modules need: a copy of all inputs."""
        self._inputs, self._state, self._loss = [], {}, None

    def use_modules(self) -> None:
        """Evaluate by the model's own modules and autograd from now on."""
        self._closed_form = None

    def write(self, theta: Array) -> None:
        rows = torch.as_tensor(theta).split(self._num_each)
        for mll, values in zip(self._mlls, rows, strict=True):
            own = dict(mll.named_parameters())
            with torch.no_grad():
                for name, part in self._split(values):
                    own[name].copy_(part.reshape(own[name].shape))

    def sample(self, models: Sequence[int]) -> Array:
        owners = sorted({model // self._num_each for model in models})
        drawn = {i: self._sample(self._mlls[i]) for i in owners}
        rows = [divmod(model, self._num_each) for model in models]
        return np.stack([drawn[i][j] for i, j in rows])

    def parameters(self, theta: Array, model: int) -> dict[str, Tensor]:
        values = torch.as_tensor(theta, device=self.device, dtype=self.dtype)
        return {n: part.reshape(self._shapes[n]) for n, part in self._split(values)}

    def _sample(self, mll: MarginalLogLikelihood) -> Array:
        sampled = deepcopy(mll)  # an interrupt must not find the model changed
        sample_all_priors(sampled.model)
        return self._read(sampled)

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
                    value = torch.as_tensor(bound, dtype=torch.float64).detach().cpu()
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
            if transform is not None:  # so that it has learned what it learns
                for model in models:
                    model.transform_inputs(*model.train_inputs)
            inputs = [list(model.train_inputs) for model in models]
        self._inputs = [self._flat(parts) for parts in zip(*inputs, strict=True)]
        self._targets = self._flat([model.train_targets for model in models])
        self.device, self.dtype = self._targets.device, self._targets.dtype
        self._noise = []
        for path, module in template.named_modules():
            if isinstance(module, FixedGaussianNoise):
                noise = [mll.get_submodule(path).noise for mll in self._mlls]
                self._noise.append((module, self._flat(noise)))

    def _find_learned_transforms(self, template: MarginalLogLikelihood) -> None:
        """Input transforms with parameters know their batch, and act on rows.

        Without a batch their parameters are of shape `d`, with one `batch x 1 x d`.
        """
        self._sized: list[InputTransform] = []
        self._learned: set[str] = set()
        self._rows = torch.Size([] if len(self._batch_shape) > 0 else [1])
        transform = getattr(template.model, "input_transform", None)
        if transform is None or not self._is_batched:
            return
        self._learned.update(
            f"model.input_transform.{name}" for name, _ in transform.named_parameters()
        )
        for module in transform.modules():
            if getattr(module, "batch_shape", None) == self._batch_shape:
                self._sized.append(module)
            if getattr(module, "learn_coefficients", False):
                # It would learn from the chosen models what it learned from all: the
                # `Normalize` in a batched `Warp` has one range for the whole batch.
                module.learn_coefficients = False

    def _stack_state(self, template: MarginalLogLikelihood) -> None:
        """Buffers and parameters that are not optimized but differ between models."""
        self._state: dict[str, Tensor] = {}
        owned = [
            {**dict(mll.named_parameters()), **dict(mll.named_buffers())}
            for mll in self._mlls
        ]
        self._held = [
            (owner, name, self._flat([value for _, _, value in values]))
            for (owner, name, own), *values in zip(
                _held_by_priors(template),
                *(_held_by_priors(mll) for mll in self._mlls),
                strict=True,
            )
            if len(self._batch_shape) > 0 and self._has_batch_shape(own)
        ]
        present = {
            **dict(template.named_parameters()),
            **dict(template.named_buffers()),
        }
        for name in present:
            values = [state[name].detach() for state in owned]
            if name in self._shapes or not values[0].is_floating_point():
                continue
            if name.startswith("model.outcome_transform"):
                continue  # the targets are transformed already
            if len(self._batch_shape) > 0 and self._has_batch_shape(values[0]):
                self._state[f"mll.{name}"] = self._flat(values)
            elif any(not torch.equal(values[0], v) for v in values[1:]):
                each = [v.expand(self._num_each, *v.shape) for v in values]
                self._state[f"mll.{name}"] = torch.cat(each)

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
            index = torch.as_tensor(models, device=self.device)

            def pick(tensor: Tensor) -> Tensor:
                return tensor.index_select(0, index)
        else:

            def pick(tensor: Tensor) -> Tensor:
                return tensor

        for owner, name, values in self._held:
            setattr(owner, name, pick(values))
        for transform in self._sized:
            transform.batch_shape = torch.Size([len(models)])
        model = self._loss.mll.model
        model.train_inputs = tuple(pick(x) for x in self._inputs)
        model.train_targets = pick(self._targets)
        for module, noise in self._noise:
            module.noise = pick(noise)
        self._chosen = {name: pick(value) for name, value in self._state.items()}
        self._models = models


@contextmanager
def _evaluation_settings() -> Iterator[None]:
    """GPyTorch's lazy kernels know the shape of the whole batch, so they are off."""
    with settings.lazily_evaluate_kernels(False), settings.debug(False):
        yield
