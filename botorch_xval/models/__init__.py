"""Kernels and priors over scalars and choices, a model of them, and a criterion."""

from botorch_xval.models.configurations import (
    BOTORCH_DEFAULT,
    default_configurations,
    default_model,
    name_of_priors,
)
from botorch_xval.models.kernels import (
    ChoiceKernel,
    FactorizedScalarChoiceKernel,
    WeightedMixtureKernel,
)
from botorch_xval.models.mlls import LeaveOneOutCRPS
from botorch_xval.models.priors import BetaPrior, DirichletPrior
from botorch_xval.models.scalar_choice import (
    PRIOR_CONFIGURATIONS,
    PriorConfiguration,
    ScalarChoiceGP,
)
from botorch_xval.models.scaled_variance import ScaledVariance

__all__ = [
    "BOTORCH_DEFAULT",
    "PRIOR_CONFIGURATIONS",
    "BetaPrior",
    "ChoiceKernel",
    "DirichletPrior",
    "FactorizedScalarChoiceKernel",
    "LeaveOneOutCRPS",
    "PriorConfiguration",
    "ScalarChoiceGP",
    "ScaledVariance",
    "WeightedMixtureKernel",
    "default_configurations",
    "default_model",
    "name_of_priors",
]
