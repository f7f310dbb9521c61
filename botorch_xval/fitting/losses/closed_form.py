r"""Losses and gradients of common exact Gaussian processes in closed form.

One Cholesky factor of the covariance (with noise) gives a criterion, such as the
evidence, and its derivatives :math:`G` by the covariance and by the residuals
(:mod:`~botorch_xval.fitting.losses.criteria`). A kernel of the scaled squared distance
:math:`R_{ij} = \sum_k (z_{ik} - z_{jk})^2` needs, with
:math:`W = G \circ \partial k / \partial R`, only

.. math::
    \sum_{ij} W_{ij} (z_{ik} - z_{jk})^2 =
    2 \sum_i z_{ik} \left[ z_{ik} (W 1)_i - (W z)_{ik} \right]

for the gradients of all its lengthscales: one matrix product, no `n x n x d` tensor.
The choice and categorical kernels are such kernels, too, since
:math:`|c - c'| = (c - c')^2` for zeros and ones.

What is covered: the evidence, leave-one-out log density and leave-one-out CRPS; a
constant, linear or zero mean, or a constant for each task; RBF, Matern, `ChoiceKernel`
(on zeros and ones) and BoTorch's `CategoricalKernel`, their sums, products, scales and
weighted mixtures, and any other kernel by its own `forward` and autograd; homoskedastic
or fixed noise, or a variance for each task; Gamma, log-normal, normal and Beta priors
of parameters, and any other prior by autograd; a `Warp` of the inputs. All in float64,
on any device. Anything else raises `Unsupported`. Predictions are those of Rasmussen &
Williams 2006, eq. 2.25 and 2.26.

Where a covariance is singular to rounding, GPyTorch's own modules are asked, so that no
search ends where the model itself has no loss
(:mod:`~botorch_xval.fitting.losses.factorized`).

Most models are evaluated by the same formulas in compiled code, where there is some
(:mod:`~botorch_xval.fitting.losses.fused`); what that leaves, here.

Rows are padded to a multiple of four, so that every matrix of a batch starts at the
same alignment: BLAS rounds by alignment, and a model's loss must not depend, even in
the last bit, on the place in a group at which it is evaluated.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import nullcontext
from copy import copy, deepcopy
from threading import RLock
from typing import Self

import numpy as np
import torch
from gpytorch import settings
from linear_operator.utils.errors import NanError, NotPSDError
from numpy.typing import NDArray
from torch import Tensor
from torch.linalg import LinAlgError
from torch.nn.functional import pad

from botorch_xval.fitting.losses.by_autograd import Batch, Learned
from botorch_xval.fitting.losses.covariances import build_node
from botorch_xval.fitting.losses.criteria import CRITERIA
from botorch_xval.fitting.losses.factorized import doubt_of, factorize
from botorch_xval.fitting.losses.fused import MOST_POINTS, Fused
from botorch_xval.fitting.losses.mean_and_noise import Mean, Noise, task_column
from botorch_xval.fitting.losses.nodes import Node, Workspace
from botorch_xval.fitting.losses.objective import (
    GROUP_ELEMENTS,
    StackedObjective,
)
from botorch_xval.fitting.losses.parameters import (
    Array,
    Unsupported,
    require,
)
from botorch_xval.fitting.losses.values import Values

__all__ = ["ClosedForm"]

logger = logging.getLogger(__name__)
PAD = 4


class ClosedForm(StackedObjective):
    """Stacked models, evaluated in closed form.

    Raises:
        Unsupported: If a part of the model has no closed form here.
    """

    def __init__(self, by_modules: StackedObjective) -> None:
        """
        Args:
            by_modules: The models, evaluated by GPyTorch's modules.
        """
        stack = by_modules.stack
        super().__init__(stack)
        self.state = by_modules.state
        self._by_modules: StackedObjective | None = by_modules
        self._lock = RLock()
        mll = stack.template
        model = mll.model
        require(type(mll) in CRITERIA, mll)
        self._criterion = CRITERIA[type(mll)]
        require(not any(hasattr(o, "compute_custom_loss") for o in (mll, model)), mll)
        require(len(stack.inputs) == 1 and stack.dtype == torch.float64, model)
        require(next(model.added_loss_terms(), None) is None, model)
        lead = () if stack.is_batched else (1,)
        self._inputs = stack.inputs[0].reshape(*lead, *stack.inputs[0].shape)
        targets = stack.targets.reshape(*lead, *stack.targets.shape)
        self._extra = -self.num_points % PAD
        self._targets = pad(targets, (0, self._extra))
        self._values = Values(stack.table, self.device)
        self._task_column = None
        if self._learned() is None:
            self._task_column = task_column(model.covar_module, self._inputs)
        tasks = self._tasks(self._inputs)
        columns_of = self._values.of
        self._mean = Mean(model.mean_module, columns_of, tasks, self.device)
        known = stack.noise[0][1].reshape(targets.shape) if stack.noise else None
        self._noise = Noise(mll.likelihood, columns_of, known, tasks, self.device)
        require(self._mean.weights is None or self._learned() is None, "warped means")
        self._workspace = Workspace()
        self._kernel = self._node(None, self._inputs, self._extra, self._workspace)
        self._values.check_all_used()
        self._models: list[int] | None = None
        self._fused = self._compiled()

    def _tasks(self, X: Tensor) -> Tensor | None:
        """Numbers of the tasks of rows, `a x n`, if they have some."""
        if self._task_column is None:
            return None
        return X[..., self._task_column].long().contiguous()

    def _compiled(self) -> Fused | None:
        """The same in compiled code, where that is possible."""
        if self.device.type != "cpu" or self.num_points > MOST_POINTS:
            return None
        has_tasks = self._mean.has_tasks or self._noise.has_tasks
        try:
            return Fused(
                self._kernel,
                self._values,
                self._mean,
                self._noise,
                self._targets,
                self._inputs.contiguous(),
                self._tasks(self._inputs) if has_tasks else None,
                self.num_points,
                list(CRITERIA.values()).index(self._criterion),
                doubt_of(self.num_points),
            )
        except Unsupported as part:
            logger.debug("no compiled code for %s", part)
            return None

    def _node(
        self, index: Tensor | None, X: Tensor, extra: int, workspace: Workspace
    ) -> Node:
        """Covariances of `X`, `b x n x d`, of all models or those of an index."""
        whole = self._batch(index)
        return build_node(
            self.stack.template.model.covar_module,
            self._values,
            X,
            extra,
            workspace,
            whole.part("mll.model.covar_module"),
            self._learned(),
        )

    def _batch(self, index: Tensor | None) -> Batch:
        """What modules are to be told of all models or those of an index."""
        return Batch(
            self.stack.batch_shape,
            {f"mll.{path}": rest for path, rest in self.stack.sized.items()},
            {
                name: values if index is None else values[index]
                for name, values in self.state.items()
            },
            is_training=index is None,
        )

    def _learned(self) -> Learned | None:
        """A transform of the inputs that has parameters, such as `Warp`."""
        template = getattr(self.stack.template.model, "input_transform", None)
        if template is None:
            return None
        # That of the model has learned its ranges; it is not to do so again.
        own = deepcopy(self.stack.mlls[0].model.input_transform)
        for module in own.modules():
            if hasattr(module, "learn_coefficients"):
                module.learn_coefficients = False
        columns = {}
        for name, _ in template.named_parameters():
            path, _, raw_name = name.rpartition(".")
            columns[name] = self._values.of(template.get_submodule(path), raw_name)
        return Learned(
            own,
            self._batch(None).part("mll.model.input_transform"),
            columns,
            torch.Size([] if self.stack.batch_shape else [1]),
        )

    @property
    def is_parallel(self) -> bool:
        """Several threads may evaluate on CPU."""
        in_torch = self._fused is not None or self._kernel.is_parallel
        return self.device.type == "cpu" and in_torch

    def workers(self, count: int) -> list[Self]:
        """Up to `count` equal objectives, each with a workspace of its own."""
        if not self.is_parallel:
            return [self]
        others = [copy(self) for _ in range(count - 1)]
        for other in others:
            data = [self._targets, *self._kernel.data()]
            other._workspace, other._kernel, other._models = deepcopy(
                (self._workspace, self._kernel, None),
                {id(tensor): tensor for tensor in data},
            )
            if self._fused is not None:
                other._fused = self._fused.another()
        return [self, *others]

    def __call__(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        """Losses per point, `a`, and gradients, `a x p`, at `theta`, `a x p`.

        A model whose covariance is not positive definite, even with the jitter that
        GPyTorch adds, has the loss NaN.
        """
        if self._fused is None:
            return self._in_torch(theta, models)
        losses, gradients, is_found = self._fused(theta, models)
        if not is_found.all():
            rest = np.flatnonzero(~is_found).tolist()
            with nullcontext() if self._kernel.is_parallel else self._lock:
                own = self._in_torch(theta[rest], [models[i] for i in rest])
            losses[rest], gradients[rest] = own
        return losses, gradients

    def _in_torch(self, theta: Array, models: Sequence[int]) -> tuple[Array, Array]:
        """The same by the formulas of this module."""
        with torch.no_grad():
            self._select(list(models))
            values = torch.as_tensor(theta, device=self.device)
            losses, gradients, is_doubtful = self._evaluate(values)
        found = losses.cpu().numpy(), gradients.cpu().numpy()
        for i in is_doubtful.nonzero()[:, 0].tolist():
            found[0][i], found[1][i] = self._asked(theta[[i]], models[i])
        return found

    def _asked(self, theta: Array, model: int) -> tuple[float, Array]:
        """Loss and gradient of one model by its modules; NaN where they have none."""
        if self._by_modules is None:
            return math.nan, np.full(theta.shape[-1], np.nan)
        try:
            with self._lock, torch.enable_grad():  # threads share the modules
                losses, gradients = self._by_modules(theta, [model])
        except (NotPSDError, NanError, LinAlgError):
            return math.nan, np.full(theta.shape[-1], np.nan)
        return losses[0], gradients[0]

    def of_rows(self, rows: NDArray[np.intp]) -> Self:
        """See :meth:`Objective.of_rows`."""
        other = copy(self)
        other.num_points, other._extra = len(rows), -len(rows) % PAD
        other._inputs = self._inputs[:, rows]
        other._targets = pad(self._targets[:, rows], (0, other._extra))
        other._noise = self._noise.of_rows(rows)
        other._by_modules, other._models = None, None  # it has all rows
        other._workspace = Workspace()
        other._kernel = other._node(None, other._inputs, other._extra, other._workspace)
        other._fused = other._compiled()
        return other

    def _select(self, models: list[int]) -> None:
        if models == self._models:
            return
        index = torch.as_tensor(models, device=self.device)
        self._chosen_targets = self._targets.index_select(0, index)
        self._chosen_inputs = self._inputs.index_select(0, index)
        self._chosen_tasks = self._tasks(self._chosen_inputs)
        self._index = index
        self._kernel.select(index)
        self._models = models

    def _evaluate(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, gradients, and whose covariance is singular to rounding."""
        n = self.num_points
        values, slopes = self._values.transform(theta)
        covariance, residuals = self._covariance(values)
        given = factorize(covariance, residuals, n, self._workspace)
        losses, by_covariance, by_residuals = self._criterion(given)
        gradients = self._pull_back(values, by_covariance, by_residuals)
        self._values.add_priors(values, losses, gradients)
        gradients *= slopes
        losses[~given.is_definite] = torch.nan
        return losses / n, gradients / n, given.is_doubtful

    def _covariance(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Covariances with noise, and residuals, of the chosen models."""
        n = self.num_points
        residuals = self._chosen_targets.clone()
        means = self._mean(values, self._chosen_inputs, self._chosen_tasks)
        residuals[:, :n] -= means
        covariance, scale = self._kernel.forward(values)
        if scale is not None or self._kernel.keeps_result:
            own = self._workspace.matrices("covariance", covariance)
            times = 1.0 if scale is None else scale[:, None, None]
            covariance = torch.mul(covariance, times, out=own)
        diagonal = covariance.diagonal(dim1=-2, dim2=-1)
        if self._extra:  # the padded rows are independent of all others
            covariance[:, n:] = 0
            covariance[:, :, n:] = 0
            diagonal[:, n:] = 1
        diagonal[:, :n] += self._noise(values, self._index, self._chosen_tasks)
        return covariance, residuals

    def _pull_back(
        self, values: Tensor, by_covariance: Tensor, by_residuals: Tensor
    ) -> Tensor:
        """Derivatives by the values from those by the covariances (overwritten)."""
        gradients = torch.zeros_like(values)
        if self._extra:
            by_covariance[:, self.num_points :] = 0
            by_covariance[:, :, self.num_points :] = 0
        n, tasks = self.num_points, self._chosen_tasks
        by_noise = by_covariance.diagonal(dim1=-2, dim2=-1)[:, :n]
        self._noise.pull_back(by_noise, tasks, gradients)
        self._mean.pull_back(by_residuals[:, :n], self._chosen_inputs, tasks, gradients)
        self._kernel.backward(by_covariance, None, values, gradients)
        return gradients

    @torch.no_grad()
    def predict(
        self, theta: Array, models: Sequence[int], X: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        r"""Predict other points, see :meth:`Objective.predict`.

        .. math::
            \mu = m + K_{st} K^{-1} (y - m), \quad
            \sigma^2 = \mathrm{diag}(K_{ss} - K_{st} K^{-1} K_{ts}),

        with `t` the training and `s` the other points.

        Raises:
            NotPSDError: If a covariance is not positive definite.
        """
        require(self._learned() is None, "inputs that are warped already")
        index = torch.as_tensor(models, device=self.device)
        rows = torch.cat([self._inputs[index], X], dim=-2)
        node = self._node(index, rows, 0, Workspace())
        width = max(1, GROUP_ELEMENTS // rows.shape[-2] ** 2)
        values = torch.as_tensor(theta, device=self.device)
        found = []
        for group in torch.arange(len(rows), device=self.device).split(width):
            node.select(group)
            found.append(
                self._condition(node, values[group], index[group], rows[group])
            )
        means, variances, noise = (
            torch.cat(parts) for parts in zip(*found, strict=True)
        )
        return means, variances, noise

    def _condition(
        self, node: Node, theta: Tensor, models: Tensor, X: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        n = self.num_points
        targets = self._targets[models, :n]
        values, _ = self._values.transform(theta)
        tasks = self._tasks(X)
        means = self._mean(values, X, tasks).expand(-1, X.shape[-2])
        of_rows = None if tasks is None else tasks[:, :n]
        noise = self._noise(values, models, of_rows).expand(-1, n)
        covariance, scale = node.forward(values)
        if scale is not None:
            covariance = covariance * scale[:, None, None]
        inner = covariance[:, :n, :n].clone()
        inner.diagonal(dim1=-2, dim2=-1).add_(noise)
        factor, info = torch.linalg.cholesky_ex(inner)
        if info.any():
            raise NotPSDError("a covariance is not positive definite")
        residuals = (targets - means[:, :n])[..., None]
        sides = torch.cat([residuals, covariance[:, :n, n:]], dim=-1)
        solved = torch.linalg.solve_triangular(factor, sides, upper=False)
        half = solved[..., 1:]  # L^-1 K_ts
        mean = means[:, n:] + (half.mT @ solved[..., :1])[..., 0]
        prior = covariance[:, n:, n:].diagonal(dim1=-2, dim2=-1)
        # Rounding must not make it negative; GPyTorch does the same.
        least = settings.min_variance.value(prior.dtype)
        variance = (prior - (half**2).sum(dim=-2)).clamp_min(least)
        if self._noise.known is None:
            own = None if tasks is None else tasks[:, n:]
            return mean, variance, self._noise(values, models, own)
        return mean, variance, noise[:, :1]
