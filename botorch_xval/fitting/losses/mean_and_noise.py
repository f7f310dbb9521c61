r"""Means and noise of exact Gaussian processes: values, and their part of a gradient.

A mean is zero, a constant, linear, or a constant for each task; noise is one variance,
known variances, or a variance for each task. With the derivatives :math:`b` of a loss
by the residuals :math:`y - m` and :math:`G` by the covariance, that by a constant is
:math:`-\sum b_i` and that by a variance :math:`\sum G_{ii}`, over the rows that it
belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

import numpy as np
import torch
from gpytorch.kernels import IndexKernel, Kernel
from gpytorch.likelihoods import (
    FixedNoiseGaussianLikelihood,
    GaussianLikelihood,
    HadamardGaussianLikelihood,
)
from gpytorch.likelihoods.noise_models import (
    FixedGaussianNoise,
    HomoskedasticNoise,
    MultitaskHomoskedasticNoise,
)
from gpytorch.means import ConstantMean, LinearMean, MultitaskMean, ZeroMean
from numpy.typing import NDArray
from torch import Tensor

from botorch_xval.fitting.losses.parameters import columns_seen, require

__all__ = ["Mean", "Noise", "task_column"]

ColumnsOf = Callable[[torch.nn.Module, str], slice]
"""Where a parameter of a module is in a row of values."""


def task_column(kernel: Kernel, X: Tensor) -> int | None:
    """The column of inputs, `b x n x d`, that holds numbers of tasks, if one does.

    It is the one that the index kernels of a covariance see.
    """
    seen = columns_seen(kernel, range(X.shape[-1]))
    columns = {seen[part] for part in kernel.modules() if isinstance(part, IndexKernel)}
    if len(columns) != 1 or len(column := columns.pop()) != 1:
        return None
    values = X[..., column[0]]
    return (
        column[0] if bool(((values >= 0) & (values == values.floor())).all()) else None
    )


class _ByTask:
    """Columns of one number for all rows, or of one for each task.

    Attributes:
        columns: `1` or as many as there are tasks; None if nothing is a parameter.
    """

    columns: Tensor | None = None

    @property
    def has_tasks(self) -> bool:
        """Whether it differs between tasks."""
        return self.columns is not None and len(self.columns) > 1

    def rows(self, tasks: Tensor | None, like: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Each column, and ones in the rows of one model that it belongs to, `n`.

        Args:
            tasks: Of the rows, `n`.
            like: A tensor `n`.
        """
        for k, column in enumerate([] if self.columns is None else self.columns):
            own = torch.ones_like(like)
            if self.has_tasks:
                assert tasks is not None
                own = (tasks == k).to(like)
            yield int(column), own

    def _of_rows(self, values: Tensor, tasks: Tensor | None) -> Tensor:
        own = values[:, self.columns]
        if not self.has_tasks:
            return own
        assert tasks is not None
        return own.gather(1, tasks)

    def _sum(self, by_row: Tensor, tasks: Tensor | None, gradients: Tensor) -> None:
        """Write the sums of derivatives by rows, `a x n`, that belong to a column."""
        if not self.has_tasks:
            gradients[:, self.columns] = by_row.sum(dim=-1, keepdim=True)
            return
        assert tasks is not None and self.columns is not None
        sums = by_row.new_zeros(len(by_row), len(self.columns))
        gradients[:, self.columns] = sums.scatter_add_(1, tasks, by_row)


def _require_tasks(tasks: Tensor | None, count: int, part: torch.nn.Module) -> None:
    require(tasks is not None and bool((tasks < count).all()), part)


class Mean(_ByTask):
    """A prior mean.

    Attributes:
        weights: Columns of the weights of a linear mean.
    """

    def __init__(
        self,
        mean: torch.nn.Module,
        columns_of: ColumnsOf,
        tasks: Tensor | None,
        device: torch.device,
    ) -> None:
        """
        Args:
            mean: The module.
            columns_of: Where its parameters are.
            device: Of the rows of values.
            tasks: Of the training rows of all models, `b x n`, if they have some.

        Raises:
            Unsupported: If it is of another kind.
        """
        known = ConstantMean, LinearMean, MultitaskMean, ZeroMean
        require(type(mean) in known, mean)
        self.weights: slice | None = None
        found: list[slice] = []
        if isinstance(mean, ConstantMean):
            found = [columns_of(mean, "raw_constant")]
        elif isinstance(mean, MultitaskMean):
            parts = list(mean.base_means)
            require(all(type(part) is ConstantMean for part in parts), mean)
            _require_tasks(tasks, len(parts), mean)
            found = [columns_of(part, "raw_constant") for part in parts]
        elif isinstance(mean, LinearMean):
            self.weights = columns_of(mean, "weights")
            if mean.bias is not None:
                found = [columns_of(mean, "bias")]
        if found:
            columns = [column.start for column in found]
            self.columns = torch.tensor(columns, device=device)

    def __call__(self, values: Tensor, X: Tensor, tasks: Tensor | None) -> Tensor:
        """Prior means at `X`, `a x n x d`: `a x n`, or `a x 1`."""
        means = torch.zeros_like(values[:, :1])
        if self.columns is not None:
            means = means + self._of_rows(values, tasks)
        if self.weights is not None:  # sums do not depend on the number of models
            means = means + (X * values[:, None, self.weights]).sum(dim=-1)
        return means

    def pull_back(
        self, by_residuals: Tensor, X: Tensor, tasks: Tensor | None, gradients: Tensor
    ) -> None:
        """Write the derivatives by its parameters, from those by residuals, `a x n`."""
        if self.columns is not None:
            self._sum(-by_residuals, tasks, gradients)
        if self.weights is not None:
            gradients[:, self.weights] = -(X * by_residuals[..., None]).sum(dim=-2)


class Noise(_ByTask):
    """Variances of the noise.

    Attributes:
        known: Those that are known, `b x n`.
    """

    def __init__(
        self,
        likelihood: torch.nn.Module,
        columns_of: ColumnsOf,
        known: Tensor | None,
        tasks: Tensor | None,
        device: torch.device,
    ) -> None:
        """
        Args:
            likelihood: The module.
            columns_of: Where its parameters are.
            device: Of the rows of values.
            known: Known variances of all models, `b x n`, where it has some.
            tasks: Of the training rows of all models, `b x n`, if they have some.

        Raises:
            Unsupported: If it is of another kind.
        """
        self.known: Tensor | None = None
        module = getattr(likelihood, "noise_covar", None)
        if type(likelihood) is FixedNoiseGaussianLikelihood:
            require(likelihood.second_noise_covar is None, likelihood)
            require(isinstance(module, FixedGaussianNoise), likelihood)
            self.known = known
            return
        if type(likelihood) is HadamardGaussianLikelihood:
            require(type(module) is MultitaskHomoskedasticNoise, likelihood)
            count: Any = likelihood.num_tasks
            _require_tasks(tasks, count, likelihood)
        else:
            require(type(likelihood) is GaussianLikelihood, likelihood)
            require(type(module) is HomoskedasticNoise, likelihood)
        assert module is not None
        columns = columns_of(module, "raw_noise")
        self.columns = torch.arange(columns.start, columns.stop, device=device)

    def of_rows(self, rows: NDArray[np.intp]) -> Noise:
        """That of some of the training rows."""
        other = copy(self)
        if self.known is not None:
            other.known = self.known[:, rows]
        return other

    def __call__(self, values: Tensor, models: Tensor, tasks: Tensor | None) -> Tensor:
        """Variances of the training rows of models, `a`: `a x n`, or `a x 1`."""
        if self.known is not None:
            return self.known.index_select(0, models)
        return self._of_rows(values, tasks)

    def pull_back(
        self, by_row: Tensor, tasks: Tensor | None, gradients: Tensor
    ) -> None:
        """Write the derivatives by its parameters, from those by rows, `a x n`."""
        if self.columns is not None:
            self._sum(by_row, tasks, gradients)
