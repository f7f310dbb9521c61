"""Fast, independent fits and honest cross-validation of GPs for BoTorch."""

__version__ = "0.2.0.dev0"

from botorch_xval.comparison.compare import Comparison as Comparison
from botorch_xval.comparison.compare import compare as compare
from botorch_xval.cross_validation import CrossValidation as CrossValidation
from botorch_xval.cross_validation import Folds as Folds
from botorch_xval.cross_validation import cross_validate as cross_validate
from botorch_xval.cross_validation import difference as difference
from botorch_xval.cross_validation import k_fold as k_fold
from botorch_xval.cross_validation import leave_one_out as leave_one_out
from botorch_xval.cross_validation import optimism as optimism
from botorch_xval.data.tables import encode_table as encode_table
from botorch_xval.data.trials import load_tuning_trials as load_tuning_trials
from botorch_xval.fitting import FitOptions as FitOptions
from botorch_xval.fitting import FitRecord as FitRecord
from botorch_xval.fitting import fit_each as fit_each
from botorch_xval.fitting import fit_gpytorch_mll as fit_gpytorch_mll
from botorch_xval.fitting import fit_independently as fit_independently
from botorch_xval.fitting import make_objective as make_objective
from botorch_xval.fitting import minimize_each as minimize_each
from botorch_xval.models.kernels import ChoiceKernel as ChoiceKernel
from botorch_xval.models.kernels import (
    FactorizedScalarChoiceKernel as FactorizedScalarChoiceKernel,
)
from botorch_xval.models.kernels import WeightedMixtureKernel as WeightedMixtureKernel
from botorch_xval.models.priors import BetaPrior as BetaPrior
from botorch_xval.models.priors import DirichletPrior as DirichletPrior
from botorch_xval.models.scalar_choice import (
    PRIOR_CONFIGURATIONS as PRIOR_CONFIGURATIONS,
)
from botorch_xval.models.scalar_choice import PriorConfiguration as PriorConfiguration
from botorch_xval.models.scalar_choice import ScalarChoiceGP as ScalarChoiceGP
from botorch_xval.reporting.course import Course as Course
from botorch_xval.reporting.diagnosis import summarize_fits as summarize_fits
from botorch_xval.reporting.expressions.description import describe as describe
from botorch_xval.reporting.expressions.page import write_page as write_page
from botorch_xval.reporting.hyperparameters import hyperparameters as hyperparameters
