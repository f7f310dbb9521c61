"""Refit cross-validation: folds, their fits and predictions, and scores."""

from botorch_xval.cross_validation.cross_validate import (
    FITS,
    cross_validate,
    optimism,
)
from botorch_xval.cross_validation.folds import Folds, k_fold, leave_one_out
from botorch_xval.cross_validation.nested_recalibration import recalibrate_nested
from botorch_xval.cross_validation.outliers import WithoutRows, outliers
from botorch_xval.cross_validation.recalibration import Recalibration, recalibrate
from botorch_xval.cross_validation.result import (
    CrossValidation,
    FoldFit,
    difference,
)
from botorch_xval.cross_validation.sampling import Estimate
from botorch_xval.cross_validation.scores import (
    ax_diagnostics,
    crps,
    log_density,
    pit,
    squared_error,
    summarize,
    z_score,
)
from botorch_xval.cross_validation.without_rows import find_outliers, refit_without

__all__ = [
    "FITS",
    "CrossValidation",
    "Estimate",
    "FoldFit",
    "Folds",
    "Recalibration",
    "WithoutRows",
    "ax_diagnostics",
    "cross_validate",
    "crps",
    "difference",
    "find_outliers",
    "k_fold",
    "leave_one_out",
    "log_density",
    "optimism",
    "outliers",
    "pit",
    "recalibrate",
    "recalibrate_nested",
    "refit_without",
    "squared_error",
    "summarize",
    "z_score",
]
