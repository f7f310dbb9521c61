"""Kernels and priors over scalars and choices, a model of them, and a criterion."""

from botorch_xval.models.configurations import (
    BOTORCH_DEFAULT,
    default_configurations,
    default_model,
    name_of_priors,
)
from botorch_xval.models.grammar import ModelSpec, first_specs, neighbors
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
from botorch_xval.models.structured import StructuredGP

__all__ = [
    "BOTORCH_DEFAULT",
    "PRIOR_CONFIGURATIONS",
    "BetaPrior",
    "ChoiceKernel",
    "DirichletPrior",
    "FactorizedScalarChoiceKernel",
    "LeaveOneOutCRPS",
    "ModelSpec",
    "PriorConfiguration",
    "ScalarChoiceGP",
    "ScaledVariance",
    "StructuredGP",
    "WeightedMixtureKernel",
    "default_configurations",
    "default_model",
    "first_specs",
    "name_of_priors",
    "neighbors",
]
