"""Beta and Dirichlet priors for mixing weights, which GPyTorch does not have.

The concentrations are buffers and the only state. The distribution of
`torch.distributions` is built whenever it is needed, so that a prior can be moved,
copied, pickled and loaded from a state dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from gpytorch.priors import Prior
from torch import Tensor
from torch.distributions import Beta, Dirichlet, Distribution

__all__ = ["BetaPrior", "DirichletPrior"]


class _WeightPrior(Prior):
    """A prior whose moments and density are those of `distribution`."""

    has_rsample = True

    def __init__(
        self, event_dims: int, validate_args: bool, **concentrations: Tensor
    ) -> None:
        shape = next(iter(concentrations.values())).shape
        num_batch_dims = len(shape) - event_dims
        torch.nn.Module.__init__(self)
        # This calls `Module.__init__` again, which drops buffers registered before.
        Distribution.__init__(
            self, shape[:num_batch_dims], shape[num_batch_dims:], validate_args=False
        )
        self._validate_args = validate_args
        self._transform = None  # what `Prior.transform` looks up
        for name, value in concentrations.items():
            if not bool(((value > 0) & value.isfinite()).all()):
                raise ValueError(
                    f"{name}: expected positive numbers, got {value.tolist()}; "
                    "concentrations of 1 are a uniform prior"
                )
            self.register_buffer(name, value.clone())

    @property
    def distribution(self) -> Beta | Dirichlet:
        """The same distribution without the module around it."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        """Mean, `batch_shape + event_shape`."""
        return self.distribution.mean

    @property
    def mode(self) -> Tensor:
        """Mode, `batch_shape + event_shape`; NaN for a uniform prior."""
        return self.distribution.mode

    @property
    def variance(self) -> Tensor:
        """Variance of each weight, `batch_shape + event_shape`."""
        return self.distribution.variance

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of the weights.

        Args:
            x: Weights, `sample_shape + batch_shape + event_shape`.

        Returns:
            Log density, `sample_shape + batch_shape`.
        """
        if self._validate_args:
            self._validate_sample(x)
        return self.distribution.log_prob(x)


class BetaPrior(_WeightPrior):
    r"""Prior of one weight in (0, 1): the first of two, whose sum is 1.

    :math:`p(x) \propto x^{a - 1} (1 - x)^{b - 1}` with `a = concentration1` and
    `b = concentration0`; the mode is :math:`(a - 1) / (a + b - 2)` for a, b > 1.

    Args:
        concentration1: `a`, a number or a tensor of shape `batch_shape`.
        concentration0: `b`, a number or a tensor that broadcasts with `a`.
        validate_args: Whether `log_prob` refuses values outside of [0, 1].

    Raises:
        ValueError: If a concentration is not positive.
    """

    arg_constraints = Beta.arg_constraints
    support = Beta.support
    concentration1: Tensor
    concentration0: Tensor

    def __init__(
        self,
        concentration1: float | Tensor,
        concentration0: float | Tensor,
        validate_args: bool = False,
    ) -> None:
        a = _as_tensor("concentration1", concentration1)
        b = _as_tensor("concentration0", concentration0)
        dtype = torch.promote_types(a.dtype, b.dtype)
        try:
            a, b = torch.broadcast_tensors(a.to(dtype), b.to(dtype))
        except RuntimeError as error:
            raise ValueError(
                "concentration0: expected a shape that broadcasts with "
                f"{tuple(a.shape)}, got {tuple(b.shape)}; give both the same shape"
            ) from error
        super().__init__(0, validate_args, concentration1=a, concentration0=b)

    @property
    def distribution(self) -> Beta:
        """`torch.distributions.Beta` with the present concentrations."""
        return Beta(self.concentration1, self.concentration0, validate_args=False)

    def expand(self, batch_shape: torch.Size | Sequence[int]) -> BetaPrior:
        """The same prior with `batch_shape` members."""
        a, b = (
            value.expand(torch.Size(batch_shape))
            for value in (self.concentration1, self.concentration0)
        )
        return type(self)(a, b, validate_args=self._validate_args)

    def rsample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Samples strictly inside of (0, 1), `sample_shape + batch_shape`."""
        sample = self.distribution.rsample(torch.Size(sample_shape))
        eps = torch.finfo(sample.dtype).eps
        return sample.clamp(eps, 1 - eps)


class DirichletPrior(_WeightPrior):
    r"""Prior of `K` weights on the simplex.

    :math:`p(x) \propto \prod_k x_k^{c_k - 1}` over :math:`x_k > 0, \sum_k x_k = 1`; the
    mode is :math:`(c_k - 1) / \sum_j (c_j - 1)` if all concentrations exceed one.

    Args:
        concentration: `c`, a tensor of shape `batch_shape x K` or `K` numbers.
        validate_args: Whether `log_prob` refuses values off the simplex.

    Raises:
        ValueError: If a concentration is not positive, or if `K < 2`.
    """

    arg_constraints = Dirichlet.arg_constraints
    support = Dirichlet.support
    concentration: Tensor

    def __init__(
        self, concentration: Tensor | Sequence[float], validate_args: bool = False
    ) -> None:
        concentration = _as_tensor("concentration", concentration)
        if concentration.ndim < 1 or concentration.shape[-1] < 2:
            raise ValueError(
                "concentration: expected shape `batch_shape x K` with K > 1, got "
                f"{tuple(concentration.shape)}; use a BetaPrior for one weight of two"
            )
        super().__init__(1, validate_args, concentration=concentration)

    @property
    def distribution(self) -> Dirichlet:
        """`torch.distributions.Dirichlet` with the present concentrations."""
        return Dirichlet(self.concentration, validate_args=False)

    def expand(self, batch_shape: torch.Size | Sequence[int]) -> DirichletPrior:
        """The same prior with `batch_shape` members."""
        shape = torch.Size(batch_shape) + self.event_shape
        expanded = self.concentration.expand(shape)
        return type(self)(expanded, validate_args=self._validate_args)

    def rsample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Samples with no weight of 0 or 1, `sample_shape + batch_shape x K`."""
        sample = self.distribution.rsample(torch.Size(sample_shape))
        sample = sample.clamp_min(torch.finfo(sample.dtype).eps)
        return sample / sample.sum(dim=-1, keepdim=True)


def _as_tensor(name: str, value: Any) -> Tensor:
    """A number or numbers as a tensor, of the default precision; a tensor as it is."""
    if torch.is_tensor(value):
        return value
    several = isinstance(value, Sequence) and not isinstance(value, str)
    if not all(isinstance(v, Real) for v in (value if several else [value])):
        raise ValueError(
            f"{name}: expected a number or a tensor, got {value!r}; pass positive "
            "numbers"
        )
    return torch.tensor([float(v) for v in value] if several else float(value))
