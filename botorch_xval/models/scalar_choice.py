"""The ready-made Gaussian process over scalars and choices, and its named priors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms.input import InputTransform, Normalize
from botorch.models.transforms.outcome import OutcomeTransform
from botorch.utils.types import DEFAULT, _DefaultType
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, MaternKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.priors import GammaPrior
from torch import Tensor

from botorch_xval.models.checks import (
    check_columns,
    check_data,
    check_one_of,
    check_pair,
)
from botorch_xval.models.kernels import (
    ChoiceKernel,
    FactorizedScalarChoiceKernel,
    WeightedMixtureKernel,
)
from botorch_xval.models.priors import BetaPrior

__all__ = ["PRIOR_CONFIGURATIONS", "PriorConfiguration", "ScalarChoiceGP"]

# The modes of all named priors. The lengthscales of the scalars begin at these modes
# times the root of their number: distances grow with it, and in 20 dimensions no point
# of a small dataset is near another at the mode itself (Hvarfner et al. 2024).
START = {"lengthscale": 1 / 3, "outputscale": 1 / 0.15, "noise": 2.0}
MIN_NOISE = 1e-6


@dataclass(frozen=True)
class PriorConfiguration:
    """Priors of a `ScalarChoiceGP`, for standardized outcomes and scalars in [0, 1].

    Attributes:
        lengthscale: Concentration and rate of the Gamma prior of each lengthscale.
        outputscale: Concentration and rate of the Gamma prior of the output scale.
        noise: Concentration and rate of the Gamma prior of the noise variance.
        weight: `concentration1` and `concentration0` of the Beta prior of each weight.

    Raises:
        ValueError: If one is not a pair of positive numbers.
    """

    lengthscale: tuple[float, float]
    outputscale: tuple[float, float]
    noise: tuple[float, float]
    weight: tuple[float, float]

    def __post_init__(self) -> None:
        for each in fields(self):
            check_pair(each.name, getattr(self, each.name))


PRIOR_CONFIGURATIONS: dict[str, PriorConfiguration] = {
    "tight": PriorConfiguration(
        lengthscale=(3.0, 6.0),
        outputscale=(2.0, 0.15),
        noise=(1.1, 0.05),
        weight=(3.0, 3.0),
    ),
    "loose": PriorConfiguration(
        lengthscale=(1.5, 1.5),
        outputscale=(1.5, 0.075),
        noise=(1.05, 0.025),
        weight=(1.5, 1.5),
    ),
    "loosest": PriorConfiguration(
        lengthscale=(1.1, 0.3),
        outputscale=(1.1, 0.015),
        noise=(1.01, 0.005),
        weight=(1.1, 1.1),
    ),
}
"""Three degrees of looseness: looser priors have the same modes and are wider."""


class OutputsOfOneModel(SingleTaskGP):
    """A model of this package whose outputs can be taken apart by `subset_output`."""

    def name_output_dims(self) -> None:
        """Say which dimension of each parameter is that of the outputs."""
        output_dims = {
            "raw_constant": -1,
            "raw_outputscale": -1,
            "raw_noise": -2,
            "raw_fractions": -2,
            "raw_lengthscale": -3,
            "raw_variance": -3,
        }
        self._subset_batch_dict = {
            name: output_dims[name.rsplit(".", 1)[-1]]
            for name, _ in self.named_parameters()
            if name.rsplit(".", 1)[-1] in output_dims
        }

    def subset_output(self, idcs: list[int]) -> OutputsOfOneModel:
        """The model of some of the outputs.

        Args:
            idcs: Positions of the outputs to keep.
        """
        model = super().subset_output(idcs)
        if hasattr(self, "input_transform"):
            # BoTorch would take its last batch dimension for the outputs.
            model.input_transform = deepcopy(self.input_transform)
        return cast(OutputsOfOneModel, model)


class ScalarChoiceGP(OutputsOfOneModel):
    r"""A Gaussian process over scalar and one-hot choice parameters.

    Its covariance is a `FactorizedScalarChoiceKernel`; with scalars only a scaled
    Matern-5/2 kernel, with choices only a scaled `ChoiceKernel`. The mean is constant,
    the noise inferred unless it is given.

    The initial values are the modes of the named prior configurations, which are the
    same in all three: lengthscales of choices 1/3, output scale 1/0.15, noise variance
    2, weights 1/2. Lengthscales of `d` scalars begin at :math:`\sqrt{d} / 3`. With any
    other configuration it begins at these values, too.

    Args:
        train_X: `batch_shape x n x d`, in the units of the user.
        train_Y: `batch_shape x n x m`, in the units of the user.
        train_Yvar: Known noise variances, `batch_shape x n x m`; inferred if None.
        choice_dims: The columns with choices in one-hot code (not checked; all zero
            where a parameter is inactive). Negative numbers count from the end, as in
            Python. All other columns are scalars.
        priors: A name in `PRIOR_CONFIGURATIONS`, or a configuration.
        outcome_transform: By default BoTorch's `Standardize`; none if None.
        input_transform: By default BoTorch's `Normalize` of the scalars, which learns
            their ranges from `train_X`, one range for each member of a batch; none if
            None.

    Attributes:
        scalar_dims: Columns of the scalars, ascending, none negative.
        choice_dims: Columns of the choices, ascending, none negative.
        priors: The `PriorConfiguration`.

    Raises:
        ValueError: If data are no finite tensors of these shapes and of one precision,
            if a choice column does not exist or is given twice, or if there is no
            configuration with the name given.
    """

    def __init__(
        self,
        train_X: Tensor,
        train_Y: Tensor,
        train_Yvar: Tensor | None = None,
        choice_dims: Sequence[int] = (),
        priors: str | PriorConfiguration = "tight",
        outcome_transform: OutcomeTransform | _DefaultType | None = DEFAULT,
        input_transform: InputTransform | _DefaultType | None = DEFAULT,
    ) -> None:
        check_data(train_X, train_Y, train_Yvar)
        d, m, batch_shape = train_X.shape[-1], train_Y.shape[-1], train_X.shape[:-2]
        choice_dims = normalize_dims(choice_dims, d)
        scalar_dims = tuple(dim for dim in range(d) if dim not in choice_dims)
        priors = _find_priors(priors)
        kernel_batch_shape = batch_shape + torch.Size([m] if m > 1 else [])
        if isinstance(input_transform, _DefaultType):
            input_transform = normalize_columns(d, scalar_dims, batch_shape, m)

        def gamma(pair: tuple[float, float]) -> GammaPrior:
            return GammaPrior(*map(train_X.new_tensor, pair))

        likelihood = None
        if train_Yvar is None:
            likelihood = GaussianLikelihood(
                noise_prior=gamma(priors.noise),
                noise_constraint=GreaterThan(
                    MIN_NOISE, transform=None, initial_value=START["noise"]
                ),
                batch_shape=kernel_batch_shape,
            )
        if scalar_dims and choice_dims:
            first, second = map(train_X.new_tensor, priors.weight)
            covar_module: Kernel = FactorizedScalarChoiceKernel(
                scalar_dims,
                choice_dims,
                batch_shape=kernel_batch_shape,
                lengthscale_prior=gamma(priors.lengthscale),
                outputscale_prior=gamma(priors.outputscale),
                weights_prior=BetaPrior(first, second),
            )
        else:
            base_kernel = MaternKernel if scalar_dims else ChoiceKernel
            covar_module = ScaleKernel(
                base_kernel(
                    ard_num_dims=d,
                    batch_shape=kernel_batch_shape,
                    lengthscale_prior=gamma(priors.lengthscale),
                ),
                batch_shape=kernel_batch_shape,
                outputscale_prior=gamma(priors.outputscale),
            )
        super().__init__(
            train_X=train_X,
            train_Y=train_Y,
            train_Yvar=train_Yvar,
            likelihood=likelihood,
            covar_module=covar_module,
            outcome_transform=outcome_transform,
            input_transform=input_transform,
        )
        self.scalar_dims = scalar_dims
        self.choice_dims = choice_dims
        self.priors = priors
        self._initialize_hyperparameters()
        self.name_output_dims()

    @classmethod
    def builds_independent_batches(cls, **kwargs: Any) -> bool:
        """Whether a batched model learns for each member what an ordinary model would.

        :func:`~botorch_xval.cross_validation.cross_validate` asks this before it builds
        the models of several folds as one batched model, which takes less time than to
        build them one by one. Your classes may define this method, too. The answer may
        be True only if the model, called as `cls(train_X, train_Y, **kwargs)` with
        `batch_shape x n x d` and `batch_shape x n x m` tensors (and `train_Yvar`),

        * has all parameters, priors and transforms with this batch shape, and
        * learns whatever it learns from data (ranges of inputs, standardization) for
          each member from that member alone.

        Else folds would see their held-out rows: a `Normalize` without `batch_shape`,
        for example, has one range for all members. A subclass may break this contract,
        so it is only asked if it defines the method in its body; what it inherits does
        not count.

        Args:
            **kwargs: The further keyword arguments of the model.

        Returns:
            True if there are at most `choice_dims` and `priors` among them. Transforms
            that the user gives may share what they learn.
        """
        return kwargs.keys() <= {"choice_dims", "priors"}

    def _initialize_hyperparameters(self) -> None:
        # After the parameters have their final precision, else 1/3 is a float32.
        self.covar_module.outputscale = START["outputscale"]
        for module in self.covar_module.modules():
            if isinstance(module, WeightedMixtureKernel):
                module.weights = [0.5, 0.5]
            elif isinstance(module, ChoiceKernel):
                module.lengthscale = START["lengthscale"]
            elif isinstance(module, MaternKernel):
                root = math.sqrt(len(self.scalar_dims))
                module.lengthscale = root * START["lengthscale"]
        if isinstance(self.likelihood, GaussianLikelihood):
            self.likelihood.noise = START["noise"]


class _NormalizeEachMember(Normalize):
    """`Normalize` for a batch of models with several outputs.

    Training inputs are then `m` equal copies, `batch_shape x m x n x d`. `Normalize`
    takes `m` for the batch: an error, or where the two sizes agree the ranges of other
    members.
    """

    def forward(self, X: Tensor) -> Tensor:
        """Transform inputs; those for training may have the outputs' dimension."""
        if self.training:
            return self._without_outputs(super().forward, X)
        return super().forward(X)

    def preprocess_transform(self, X: Tensor) -> Tensor:
        """Transform training inputs without learning their ranges again."""
        return self._without_outputs(super().preprocess_transform, X)

    def _without_outputs(
        self, transform: Callable[[Tensor], Tensor], X: Tensor
    ) -> Tensor:
        if X.ndim < len(self.batch_shape) + 3:
            return transform(X)
        return transform(X[..., 0, :, :]).unsqueeze(-3).expand(X.shape)


def normalize_columns(
    d: int, scalar_dims: tuple[int, ...], batch_shape: torch.Size, m: int
) -> Normalize | None:
    """The default input transform."""
    if not scalar_dims:
        return None
    normalize = _NormalizeEachMember if m > 1 and batch_shape else Normalize
    return normalize(d, indices=list(scalar_dims), batch_shape=batch_shape)


def normalize_dims(dims: Sequence[int], d: int) -> tuple[int, ...]:
    """Column numbers of 0 or more, ascending."""
    return tuple(sorted(dim % d for dim in check_columns("choice_dims", dims, d)))


def _find_priors(priors: str | PriorConfiguration) -> PriorConfiguration:
    if isinstance(priors, PriorConfiguration):
        return priors
    check_one_of("priors", priors, PRIOR_CONFIGURATIONS, " or a PriorConfiguration")
    return PRIOR_CONFIGURATIONS[priors]
