r"""Kernels over scalar and one-hot choice parameters, and their weighted mixtures.

`FactorizedScalarChoiceKernel` is ready-made. It is built from `ChoiceKernel` and
`WeightedMixtureKernel`, and so are richer structures, such as two groups of parameters,
each factorized and joint::

    def group(scalar_dims, choice_dims):
        def parts():
            return (
                MaternKernel(ard_num_dims=len(scalar_dims), active_dims=scalar_dims),
                ChoiceKernel(ard_num_dims=len(choice_dims), active_dims=choice_dims),
            )

        factorized = WeightedMixtureKernel(parts(), weights_prior=BetaPrior(3, 3))
        return WeightedMixtureKernel([factorized, ProductKernel(*parts())])

    def regime():
        return group((0, 1), (2, 3))

    def architecture():
        return group((4, 5), (6, 7, 8))

    kernel = ScaleKernel(
        WeightedMixtureKernel(
            [regime(), architecture(), ProductKernel(regime(), architecture())],
            weights_prior=DirichletPrior([3.0, 3.0, 3.0]),
        )
    )
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

import torch
from gpytorch import settings
from gpytorch.constraints import Interval
from gpytorch.kernels import Kernel, MaternKernel, ProductKernel, ScaleKernel
from gpytorch.priors import Prior
from linear_operator import to_dense
from torch import Tensor
from torch.nn import ModuleList, Parameter

from botorch_xval.models.checks import check_columns, check_type

__all__ = ["ChoiceKernel", "FactorizedScalarChoiceKernel", "WeightedMixtureKernel"]


class _BatchOfKernels(Kernel):
    """Indexing and expanding the batch of a kernel with nested kernels.

    GPyTorch's methods are right for flat kernels only: they index `active_dims` as if
    they were parameters, and attach copies of nested kernels to the wrong parent. Here
    the shape of every parameter must begin with the batch shape of the whole kernel.
    """

    def __getitem__(self, index: Any) -> Kernel:
        """The members of a batched kernel that `index` selects."""
        if len(self.batch_shape) == 0:
            return self
        return self._select_members(self._members()[index])

    def expand_batch(self, *sizes: Any) -> Kernel:
        """The kernel expanded to a batch shape, given as an iterable or as ints."""
        new_shape = torch.Size(sizes if isinstance(sizes[0], int) else sizes[0])
        if new_shape == self.batch_shape:
            return self
        return self._select_members(self._members().expand(new_shape))

    def _members(self) -> Tensor:
        """Positions in the flattened batch, `batch_shape`."""
        num_members = self.batch_shape.numel()
        return torch.arange(num_members, device=self.device).view(self.batch_shape)

    def _select_members(self, members: Tensor) -> Kernel:
        num_batch_dims = len(self.batch_shape)
        new_kernel = deepcopy(self)
        for module in new_kernel.modules():
            if isinstance(module, Kernel):
                for parameter in module.parameters(recurse=False):
                    rest = parameter.shape[num_batch_dims:]
                    parameter.data = parameter.data.reshape(-1, *rest)[members]
                module.batch_shape = members.shape
        return new_kernel


class ChoiceKernel(_BatchOfKernels):
    r"""Kernel of choices in one-hot code: a Laplace kernel in the L1 norm.

    .. math::
        k(c, c') = \exp\Bigl(-\sum_k |c_k - c'_k| / \ell_k\Bigr)

    Two different choices `i` and `j` of one parameter have
    :math:`k = \exp(-1 / \ell_i - 1 / \ell_j)`. An inactive parameter is all zeros;
    between it and choice `i` is :math:`k = \exp(-1 / \ell_i)`. The formula is defined
    and positive definite for any real inputs, of shape `batch_shape x n x c`.

    `torch.cdist` avoids an `n x n x c` tensor and was the fastest of three ways (with
    its backward pass 0.5 ms for 16 x 60 x 4 inputs; broadcasting 1.0 ms, a loop over
    the columns 0.7 ms), but it has no second derivative.

    Args (those of `gpytorch.kernels.Kernel`):
        ard_num_dims: `c`, for one lengthscale per column; None for one in common.
        batch_shape: Leading shape of the lengthscales, `batch_shape x 1 x c`.
        active_dims: The columns to look at, all if None.
        lengthscale_prior: Prior of the lengthscales, none if None.
        lengthscale_constraint: `Positive` if None.
    """

    has_lengthscale = True

    def forward(
        self,
        x1: Tensor,
        x2: Tensor,
        diag: bool = False,
        last_dim_is_batch: bool = False,
        **params: Any,
    ) -> Tensor:
        """Covariance of `batch_shape x n x c` and `batch_shape x m x c` inputs.

        Returns:
            `batch_shape x n x m`, or `batch_shape x n` if `diag`.

        Raises:
            NotImplementedError: If `last_dim_is_batch` (deprecated in GPyTorch).
        """
        if last_dim_is_batch:
            raise NotImplementedError("last_dim_is_batch: expected False, got True")
        lengthscale = self.lengthscale
        x1 = x1 / lengthscale
        x2 = x2 / lengthscale
        if diag:
            return (x1 - x2).abs().sum(dim=-1).neg().exp()
        return torch.cdist(x1, x2, p=1.0).neg().exp()


class WeightedMixtureKernel(_BatchOfKernels):
    r"""Weighted mean of kernels, with weights on the simplex.

    .. math::
        k(x, x') = \sum_{i=1}^K w_i k_i(x, x'), \quad w_i > 0, \quad \sum_i w_i = 1

    The parameters are `K - 1` stick-breaking fractions in (0, 1). The first weight is
    the first fraction, each further weight a fraction of what is left,
    :math:`w_i = f_i \prod_{j < i} (1 - f_j)`, and the last weight is the rest. All
    weights start at `1 / K`. A prior density is that of the weights, not of the
    fractions, as in GPyTorch.

    Args:
        kernels: The kernels, all of the batch shape `batch_shape`.
        batch_shape: Leading shape of the weights.
        weights_prior: With two kernels the prior of the first weight (a `BetaPrior`),
            with more the prior of all weights (a `DirichletPrior`); none if None.
        active_dims: The columns that the kernels see; their `active_dims` count from
            there. All if None.

    Raises:
        ValueError: If there are fewer than two kernels, if one has another batch
            shape, or if the prior is not one of the first weight (two kernels) or of
            `K` weights (more kernels).
        TypeError: If `weights_prior` is not a GPyTorch prior.
    """

    def __init__(
        self,
        kernels: Sequence[Kernel],
        batch_shape: torch.Size = torch.Size(),  # noqa: B008
        weights_prior: Prior | None = None,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        batch_shape = torch.Size(batch_shape)
        super().__init__(
            batch_shape=batch_shape,
            active_dims=None if active_dims is None else tuple(active_dims),
        )
        # A kernel has `__getitem__`, so that a loop over one would not end.
        check_type("kernels", kernels, Sequence, "pass a list of two kernels or more")
        kernels = list(kernels)
        if len(kernels) < 2:
            raise ValueError(
                f"kernels: expected at least 2, got {len(kernels)}; a single kernel "
                "needs no mixture"
            )
        for kernel in kernels:
            check_type("kernels", kernel, Kernel, "pass kernels of GPyTorch")
            if kernel.batch_shape != batch_shape:
                raise ValueError(
                    f"kernels: expected batch shape {tuple(batch_shape)}, got a "
                    f"{type(kernel).__name__} of {tuple(kernel.batch_shape)}; give all "
                    "kernels the same `batch_shape`"
                )
        self.kernels = ModuleList(kernels)
        self.register_parameter(
            "raw_fractions", Parameter(torch.zeros(*batch_shape, len(kernels) - 1))
        )
        self.register_constraint("raw_fractions", Interval(0.0, 1.0))
        self.weights = torch.full((len(kernels),), 1 / len(kernels))
        if weights_prior is not None:
            _check_weights_prior(weights_prior, len(kernels))
            self.register_prior(
                "weights_prior",
                weights_prior,
                self._weights_param,
                self._weights_closure,
            )

    @property
    def fractions(self) -> Tensor:
        """Stick-breaking fractions, `batch_shape x (K - 1)`, inside of (0, 1)."""
        fractions = self.raw_fractions_constraint.transform(self.raw_fractions)
        # The sigmoid reaches 1 from 37 on, where log(1 - weight) has no gradient.
        eps = torch.finfo(fractions.dtype).eps
        return fractions.clamp(eps, 1 - eps)

    @property
    def weights(self) -> Tensor:
        """Weights of the kernels, `batch_shape x K`, positive with sum one."""
        fractions = self.fractions
        one = torch.ones_like(fractions[..., :1])
        left = torch.cat([one, (1 - fractions).cumprod(dim=-1)], dim=-1)
        return left * torch.cat([fractions, one], dim=-1)

    @weights.setter
    def weights(self, value: Tensor | Sequence[float]) -> None:
        self._set_weights(value)

    def _set_weights(self, value: Tensor | Sequence[float]) -> None:
        if not torch.is_tensor(value):
            value = torch.as_tensor(value, dtype=self.raw_fractions.dtype)
        num_kernels = len(self.kernels)
        if value.ndim == 0 or value.shape[-1] != num_kernels:
            raise ValueError(
                f"weights: expected shape `batch_shape x {num_kernels}`, got "
                f"{tuple(value.shape)}; give one for each kernel"
            )
        total = value.sum(dim=-1, keepdim=True)
        tolerance = torch.finfo(value.dtype).eps ** 0.5
        if not bool((value > 0).all() and ((total - 1).abs() < tolerance).all()):
            raise ValueError(
                f"weights: expected positive ones of sum 1, got {value}; divide them "
                "by their sum"
            )
        value = value.to(self.raw_fractions)
        left = value.flip(-1).cumsum(dim=-1).flip(-1)  # w_i + w_{i+1} + ... + w_K
        eps = torch.finfo(value.dtype).eps
        fractions = (value / left)[..., :-1].clamp(eps, 1 - eps)
        raw = self.raw_fractions_constraint.inverse_transform(fractions)
        self.initialize(raw_fractions=raw.expand_as(self.raw_fractions))

    def _weights_param(self, module: WeightedMixtureKernel) -> Tensor:
        weights = module.weights
        return weights[..., 0] if weights.shape[-1] == 2 else weights

    def _weights_closure(self, module: WeightedMixtureKernel, value: Tensor) -> None:
        if len(module.kernels) == 2:
            value = torch.as_tensor(value)
            value = torch.stack([value, 1 - value], dim=-1)
        module._set_weights(value)

    @property
    def is_stationary(self) -> bool:
        """Whether all kernels are stationary."""
        return all(kernel.is_stationary for kernel in self.kernels)

    def forward(
        self,
        x1: Tensor,
        x2: Tensor,
        diag: bool = False,
        last_dim_is_batch: bool = False,
        **params: Any,
    ) -> Tensor:
        """Covariance of `batch_shape x n x d` and `batch_shape x m x d` inputs.

        Shapes are those of the tensors, so parameters may be replaced by others of
        another batch shape (`torch.func.functional_call`).

        Returns:
            `batch_shape x n x m`, or `batch_shape x n` if `diag`.

        Raises:
            NotImplementedError: If `last_dim_is_batch` (deprecated in GPyTorch).
        """
        if last_dim_is_batch:
            raise NotImplementedError("last_dim_is_batch: expected False, got True")
        weights = self.weights
        if diag:
            # `Kernel.__call__` takes an `n x n` result of `n x d` inputs, which may be
            # n batch members here, for a matrix.
            batch_shape = torch.broadcast_shapes(weights.shape[:-1], x1.shape[:-2])
            x1 = x1.expand(*batch_shape, *x1.shape[-2:])
            x2 = x2.expand(*batch_shape, *x2.shape[-2:])
        # A lazily evaluated kernel would compare its shape with a stale `batch_shape`.
        with settings.lazily_evaluate_kernels(False):
            covariances = [
                to_dense(kernel(x1, x2, diag=diag, **params)) for kernel in self.kernels
            ]
        shape = (*weights.shape[:-1], 1) if diag else (*weights.shape[:-1], 1, 1)
        return sum(
            weight.view(shape) * covariance
            for weight, covariance in zip(
                weights.unbind(dim=-1), covariances, strict=True
            )
        )

    def num_outputs_per_input(self, x1: Tensor, x2: Tensor) -> int:
        """Rows of the covariance per row of the inputs."""
        first = cast(Kernel, self.kernels[0])
        return first.num_outputs_per_input(x1, x2)


class FactorizedScalarChoiceKernel(_BatchOfKernels, ScaleKernel):
    r"""Kernel over scalars `s` and one-hot choices `c`, factorized and joint.

    .. math::
        k = w \bigl( v [u M(s; \ell_1) + (1 - u) C(c; \ell_2)]
            + (1 - v) M(s; \ell_3) C(c; \ell_4) \bigr)

    with `M` a Matern-5/2 kernel and `C` a `ChoiceKernel`, one lengthscale per column,
    weights `u` and `v` in (0, 1), and `w` the `outputscale`.

    Args:
        scalar_dims: Columns of the scalars.
        choice_dims: Columns of the one-hot choices.
        batch_shape: Leading shape of all parameters.
        lengthscale_prior: Prior of all lengthscales, copied for each kernel.
        outputscale_prior: Prior of `w`.
        weights_prior: Prior of `u` and of `v`, a `BetaPrior`, copied for each.

    Raises:
        ValueError: If there are no scalars or no choices, or if columns are negative,
            repeated, or in both lists.
    """

    def __init__(
        self,
        scalar_dims: Sequence[int],
        choice_dims: Sequence[int],
        batch_shape: torch.Size = torch.Size(),  # noqa: B008
        lengthscale_prior: Prior | None = None,
        outputscale_prior: Prior | None = None,
        weights_prior: Prior | None = None,
    ) -> None:
        scalar_dims = check_columns("scalar_dims", scalar_dims)
        choice_dims = check_columns("choice_dims", choice_dims)
        for name, dims in (("scalar_dims", scalar_dims), ("choice_dims", choice_dims)):
            if not dims:
                raise ValueError(
                    f"{name}: expected at least one column, got none; use a "
                    "ScaleKernel over a MaternKernel (only scalars) or over a "
                    "ChoiceKernel (only choices) instead"
                )
            if min(dims) < 0:
                raise ValueError(
                    f"{name}: expected columns from 0 on, got {dims}; count from the "
                    "first column"
                )
        if both := sorted(set(scalar_dims) & set(choice_dims)):
            raise ValueError(
                "choice_dims: expected no column that is in scalar_dims, got "
                f"{both} in both; a column is a scalar or a choice"
            )

        def parts() -> tuple[Kernel, Kernel]:
            shared = {"batch_shape": torch.Size(batch_shape)}
            return (
                MaternKernel(
                    nu=2.5,
                    ard_num_dims=len(scalar_dims),
                    active_dims=scalar_dims,
                    lengthscale_prior=deepcopy(lengthscale_prior),
                    **shared,
                ),
                ChoiceKernel(
                    ard_num_dims=len(choice_dims),
                    active_dims=choice_dims,
                    lengthscale_prior=deepcopy(lengthscale_prior),
                    **shared,
                ),
            )

        factorized = WeightedMixtureKernel(
            parts(), batch_shape, deepcopy(weights_prior)
        )
        mixture = WeightedMixtureKernel(
            [factorized, ProductKernel(*parts())], batch_shape, deepcopy(weights_prior)
        )
        super().__init__(
            mixture,
            outputscale_prior=outputscale_prior,
            batch_shape=torch.Size(batch_shape),
        )

    @property
    def factorized(self) -> WeightedMixtureKernel:
        """`u M(s; l1) + (1 - u) C(c; l2)`; its weights are `u` and `1 - u`."""
        return self.base_kernel.kernels[0]

    @property
    def joint(self) -> ProductKernel:
        """`M(s; l3) C(c; l4)`."""
        return self.base_kernel.kernels[1]

    @property
    def scalar_kernels(self) -> tuple[MaternKernel, MaternKernel]:
        """`M(s; l1)` of the factorized and `M(s; l3)` of the joint kernel."""
        return self.factorized.kernels[0], self.joint.kernels[0]

    @property
    def choice_kernels(self) -> tuple[ChoiceKernel, ChoiceKernel]:
        """`C(c; l2)` of the factorized and `C(c; l4)` of the joint kernel."""
        choices = self.factorized.kernels[1], self.joint.kernels[1]
        return cast(tuple[ChoiceKernel, ChoiceKernel], choices)

    @property
    def factorized_weight(self) -> Tensor:
        """`v`, the weight of the factorized kernel, `batch_shape`."""
        return self.base_kernel.weights[..., 0]

    @property
    def scalar_weight(self) -> Tensor:
        """`u`, the weight of the scalars in the factorized kernel, `batch_shape`."""
        return self.factorized.weights[..., 0]


def _check_weights_prior(prior: Prior, num_kernels: int) -> None:
    if not isinstance(prior, Prior):
        raise TypeError(
            f"weights_prior: expected a GPyTorch prior, got {type(prior).__name__}; "
            "use a BetaPrior for two kernels, a DirichletPrior for more"
        )
    expected = torch.Size() if num_kernels == 2 else torch.Size([num_kernels])
    if prior.event_shape != expected:
        raise ValueError(
            f"weights_prior: expected event shape {tuple(expected)} for {num_kernels} "
            f"kernels, got {tuple(prior.event_shape)}; use a BetaPrior for two "
            "kernels, a DirichletPrior for more"
        )
