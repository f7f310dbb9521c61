"""The model of a specification: every point of the grammar as a `SingleTaskGP`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from botorch.models.transforms.input import (
    ChainedInputTransform,
    InputTransform,
    Warp,
)
from botorch.models.transforms.outcome import OutcomeTransform
from botorch.utils.types import DEFAULT, _DefaultType
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import (
    AdditiveKernel,
    Kernel,
    LinearKernel,
    MaternKernel,
    ProductKernel,
    RBFKernel,
    ScaleKernel,
)
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior, Prior
from torch import Tensor

from botorch_xval.models.checks import check_data, check_type
from botorch_xval.models.grammar import BOTORCH_PRIORS, ModelSpec
from botorch_xval.models.kernels import ChoiceKernel, WeightedMixtureKernel
from botorch_xval.models.priors import BetaPrior
from botorch_xval.models.scalar_choice import (
    MIN_NOISE,
    PRIOR_CONFIGURATIONS,
    START,
    OutputsOfOneModel,
    normalize_columns,
    normalize_dims,
)

__all__ = ["StructuredGP"]

SCALE = math.sqrt(3)  # of BoTorch's log-normal priors (Hvarfner et al. 2024)
SHORTEST = 0.025  # BoTorch's bound on lengthscales
WEIGHT = (1.5, 1.5)  # of the Beta prior of weights with BoTorch's priors
WARP_SCALE = math.sqrt(0.75)  # of the concentrations, as in BoTorch's tutorial
KERNELS = {
    "rbf": RBFKernel,
    "matern52": partial(MaternKernel, nu=2.5),
    "matern32": partial(MaternKernel, nu=1.5),
    "matern12": partial(MaternKernel, nu=0.5),
}


class StructuredGP(OutputsOfOneModel):
    r"""The Gaussian process of a :class:`~botorch_xval.models.ModelSpec`.

    With the default specification it is BoTorch's default with inputs scaled to [0, 1].
    With a Matern-5/2 kernel, factorized and joint choices and named priors it is the
    :class:`~botorch_xval.models.ScalarChoiceGP` with these. In between:

    * With BoTorch's priors lengthscales of `d` columns are
      :math:`\mathrm{LogNormal}(\sqrt 2 + \tfrac12 \log d, \sqrt 3)` and above 0.025
      (Hvarfner et al. 2024), also those of one-hot columns, and weights Beta(1.5, 1.5).
      There is no output scale. Values begin at modes of priors, as in BoTorch.
    * Named priors, and where their values begin, are those of `ScalarChoiceGP`.
    * The variances of a linear kernel and of the `d` terms of an additive one, within
      an output scale if there is one, are :math:`\mathrm{LogNormal}(-\log d, \sqrt 3)`
      and begin at `1 / d`: together they are about as large as a kernel that is one.
    * The concentrations of a warping are :math:`\mathrm{LogNormal}(0, \sqrt{0.75})`.

    The mean is constant, the noise inferred unless it is given.

    Args:
        train_X: `batch_shape x n x d`, in the units of the user.
        train_Y: `batch_shape x n x m`, in the units of the user.
        train_Yvar: Known noise variances, `batch_shape x n x m`; inferred if None.
        spec: What it consists of.
        outcome_transform: By default BoTorch's `Standardize`; none if None.
        input_transform: By default BoTorch's `Normalize` of the scalars, of each member
            of a batch; none if None. A warping comes after it, of inputs in [0, 1].

    Attributes:
        spec: The specification.
        scalar_dims: Columns of the scalars; all, if choices enter as numbers.
        choice_dims: Columns of the choices, unless they enter as numbers.

    Raises:
        ValueError: If data are no finite tensors of these shapes and of one precision,
            if `spec` is something else, or if a choice column does not exist or is
            given twice.
    """

    def __init__(
        self,
        train_X: Tensor,
        train_Y: Tensor,
        train_Yvar: Tensor | None = None,
        spec: ModelSpec = ModelSpec(),  # noqa: B008
        outcome_transform: OutcomeTransform | _DefaultType | None = DEFAULT,
        input_transform: InputTransform | _DefaultType | None = DEFAULT,
    ) -> None:
        check_data(train_X, train_Y, train_Yvar)
        check_type("spec", spec, ModelSpec, "make one by ModelSpec(kernel=...)")
        d, m, batch_shape = train_X.shape[-1], train_Y.shape[-1], train_X.shape[:-2]
        choices = normalize_dims(spec.choice_dims, d)
        if spec.choices == "numbers":
            choices = ()
        scalars = tuple(dim for dim in range(d) if dim not in choices)
        if isinstance(input_transform, _DefaultType):
            input_transform = normalize_columns(d, scalars, batch_shape, m)
        if spec.warped and scalars:
            input_transform = _then_warp(input_transform, d, scalars, batch_shape)
        parts = _Parts(spec, batch_shape + torch.Size([m] if m > 1 else []), train_X)
        super().__init__(
            train_X=train_X,
            train_Y=train_Y,
            train_Yvar=train_Yvar,
            likelihood=None if train_Yvar is not None else parts.likelihood(),
            covar_module=parts.kernel(scalars, choices),
            outcome_transform=outcome_transform,
            input_transform=input_transform,
        )
        self.spec, self.scalar_dims, self.choice_dims = spec, scalars, choices
        parts.start(self)
        self.name_output_dims()

    @classmethod
    def builds_independent_batches(cls, **kwargs: Any) -> bool:
        """Whether a batched model learns for each member what an ordinary model would.

        Returns:
            True if there is only a `spec` without warping among the arguments, see
            :meth:`~botorch_xval.models.ScalarChoiceGP.builds_independent_batches`.
        """
        warped = kwargs.get("spec", ModelSpec()).warped
        return kwargs.keys() <= {"spec"} and not warped


@dataclass(frozen=True)
class _Parts:
    """Makes the parts of a model with the priors of its specification."""

    spec: ModelSpec
    batch_shape: torch.Size
    like: Tensor

    @property
    def is_named(self) -> bool:
        return self.spec.priors != BOTORCH_PRIORS

    def kernel(self, scalars: Sequence[int], choices: Sequence[int]) -> Kernel:
        """The whole covariance."""
        if not choices:
            kernel = self._scalars(scalars)
        elif not scalars:
            kernel = self._choices(choices)
        elif self.spec.choices == "factorized":
            kernel = self._mean(self._scalars(scalars), self._choices(choices))
        else:
            joint = [self._scalars(scalars), self._choices(choices)]
            kernel = ProductKernel(*joint)
            if self.spec.choices == "both":
                apart = [self._scalars(scalars), self._choices(choices)]
                kernel = self._mean(self._mean(*apart), kernel)
        if self.spec.linear and scalars:
            kernel = AdditiveKernel(kernel, self._linear(scalars))
        if not self.is_named:
            return kernel
        prior = self._gamma(PRIOR_CONFIGURATIONS[self.spec.priors].outputscale)
        return self._scaled(kernel, prior)

    def likelihood(self) -> GaussianLikelihood | None:
        """That of named priors; BoTorch's own if None."""
        if not self.is_named:
            return None
        return GaussianLikelihood(
            noise_prior=self._gamma(PRIOR_CONFIGURATIONS[self.spec.priors].noise),
            noise_constraint=GreaterThan(
                MIN_NOISE, transform=None, initial_value=START["noise"]
            ),
            batch_shape=self.batch_shape,
        )

    def start(self, model: StructuredGP) -> None:
        """Set the initial values."""
        # After the parameters have their final precision, else 1/3 is a float32.
        d = max(len(model.scalar_dims), 1)
        for module in model.covar_module.modules():
            if isinstance(module, WeightedMixtureKernel):
                module.weights = [0.5, 0.5]
            elif isinstance(module, LinearKernel):
                module.variance = 1 / d
            elif isinstance(module, ScaleKernel):
                whole = module is model.covar_module and self.is_named
                module.outputscale = START["outputscale"] if whole else 1 / d
            elif self.is_named and isinstance(module, ChoiceKernel):
                module.lengthscale = START["lengthscale"]
            elif self.is_named and isinstance(module, RBFKernel | MaternKernel):
                module.lengthscale = math.sqrt(d) * START["lengthscale"]
        if self.is_named and isinstance(model.likelihood, GaussianLikelihood):
            model.likelihood.noise = START["noise"]

    def _scalars(self, dims: Sequence[int]) -> Kernel:
        make, d = KERNELS[self.spec.kernel], len(dims)
        if self.spec.inputs == "additive" and d > 1:
            terms = [make(**self._lengthscales([dim], d)) for dim in dims]
            return AdditiveKernel(*(self._scaled(t, _share(d)) for t in terms))
        ard = self.spec.inputs != "isotropic"
        return make(**self._lengthscales(dims, d, ard))

    def _choices(self, dims: Sequence[int]) -> Kernel:
        return ChoiceKernel(**self._lengthscales(dims, len(dims)))

    def _linear(self, dims: Sequence[int]) -> Kernel:
        return LinearKernel(
            variance_prior=_share(len(dims)),
            active_dims=self._active(dims),
            batch_shape=self.batch_shape,
        )

    def _scaled(self, kernel: Kernel, prior: Prior) -> Kernel:
        return ScaleKernel(
            kernel, outputscale_prior=prior, batch_shape=self.batch_shape
        )

    def _mean(self, *kernels: Kernel) -> Kernel:
        """A weighted mean of two."""
        weight = WEIGHT
        if self.is_named:
            weight = PRIOR_CONFIGURATIONS[self.spec.priors].weight
        first, second = map(self.like.new_tensor, weight)
        prior = BetaPrior(first, second)
        return WeightedMixtureKernel(kernels, self.batch_shape, prior)

    def _lengthscales(
        self, dims: Sequence[int], d: int, ard: bool = True
    ) -> dict[str, Any]:
        """Arguments of a kernel of some columns, with the priors of `d`."""
        arguments: dict[str, Any] = {
            "ard_num_dims": len(dims) if ard else None,
            "active_dims": self._active(dims),
            "batch_shape": self.batch_shape,
        }
        if self.is_named:
            prior = self._gamma(PRIOR_CONFIGURATIONS[self.spec.priors].lengthscale)
            return {**arguments, "lengthscale_prior": prior}
        prior = LogNormalPrior(loc=math.sqrt(2) + 0.5 * math.log(d), scale=SCALE)
        constraint = GreaterThan(SHORTEST, transform=None, initial_value=prior.mode)
        return {
            **arguments,
            "lengthscale_prior": prior,
            "lengthscale_constraint": constraint,
        }

    def _active(self, dims: Sequence[int]) -> tuple[int, ...] | None:
        return None if len(dims) == self.like.shape[-1] else tuple(dims)

    def _gamma(self, pair: tuple[float, float]) -> GammaPrior:
        return GammaPrior(*map(self.like.new_tensor, pair))


def _share(d: int) -> Prior:
    """Of the variance of one of `d` terms."""
    return LogNormalPrior(loc=-math.log(d), scale=SCALE)


def _then_warp(
    before: InputTransform | None,
    d: int,
    dims: Sequence[int],
    batch_shape: torch.Size,
) -> InputTransform:
    """A transform of inputs, and after it a warping of scalars in [0, 1]."""
    prior = {f"concentration{i}_prior": LogNormalPrior(0.0, WARP_SCALE) for i in (0, 1)}
    warp = Warp(
        d,
        indices=list(dims),
        bounds=torch.tensor([[0.0] * d, [1.0] * d]),  # those of no batch are learned
        batch_shape=batch_shape,
        **prior,
    )
    if before is None:
        return warp
    return ChainedInputTransform(before=before, warp=warp)
