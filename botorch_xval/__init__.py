"""Fast, independent fits and honest cross-validation of GPs for BoTorch."""

from botorch_xval.compare import Comparison as Comparison
from botorch_xval.compare import compare as compare
from botorch_xval.course import Course as Course
from botorch_xval.cross_validation import cross_validate as cross_validate
from botorch_xval.cross_validation import optimism as optimism
from botorch_xval.datasets import load_tuning_trials as load_tuning_trials
from botorch_xval.describe import describe as describe
from botorch_xval.fit import fit_each as fit_each
from botorch_xval.fit import fit_gpytorch_mll as fit_gpytorch_mll
from botorch_xval.fit import fit_independently as fit_independently
from botorch_xval.folds import Folds as Folds
from botorch_xval.folds import grouped as grouped
from botorch_xval.folds import k_fold as k_fold
from botorch_xval.folds import leave_one_out as leave_one_out
from botorch_xval.hyperparameters import hyperparameters as hyperparameters
from botorch_xval.hyperparameters import summarize_fits as summarize_fits
from botorch_xval.kernels import ChoiceKernel as ChoiceKernel
from botorch_xval.kernels import (
    FactorizedScalarChoiceKernel as FactorizedScalarChoiceKernel,
)
from botorch_xval.kernels import WeightedMixtureKernel as WeightedMixtureKernel
from botorch_xval.minimize import minimize_each as minimize_each
from botorch_xval.models import PRIOR_CONFIGURATIONS as PRIOR_CONFIGURATIONS
from botorch_xval.models import PriorConfiguration as PriorConfiguration
from botorch_xval.models import ScalarChoiceGP as ScalarChoiceGP
from botorch_xval.objective import make_objective as make_objective
from botorch_xval.page import write_page as write_page
from botorch_xval.priors import BetaPrior as BetaPrior
from botorch_xval.priors import DirichletPrior as DirichletPrior
from botorch_xval.records import FitRecord as FitRecord
from botorch_xval.result import CrossValidation as CrossValidation
from botorch_xval.result import difference as difference
from botorch_xval.tables import encode_table as encode_table
