"""Refit cross-validation: folds, their fits and predictions, and scores."""

from botorch_xval.cross_validation.arguments import FITS
from botorch_xval.cross_validation.cross_validate import cross_validate, optimism
from botorch_xval.cross_validation.difference import difference
from botorch_xval.cross_validation.fold_records import FoldFit
from botorch_xval.cross_validation.folds import (
    Folds,
    k_fold,
    leave_future_out,
    leave_one_out,
)
from botorch_xval.cross_validation.folds_like import buffered, hold_out_only
from botorch_xval.cross_validation.mixtures import Mixture
from botorch_xval.cross_validation.nested_recalibration import recalibrate_nested
from botorch_xval.cross_validation.outliers import WithoutRows, outliers
from botorch_xval.cross_validation.psis import smooth_weights
from botorch_xval.cross_validation.recalibration import Recalibration, recalibrate
from botorch_xval.cross_validation.result import CrossValidation
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
    "Mixture",
    "Recalibration",
    "WithoutRows",
    "ax_diagnostics",
    "buffered",
    "cross_validate",
    "crps",
    "difference",
    "find_outliers",
    "hold_out_only",
    "k_fold",
    "leave_future_out",
    "leave_one_out",
    "log_density",
    "optimism",
    "outliers",
    "pit",
    "recalibrate",
    "recalibrate_nested",
    "refit_without",
    "smooth_weights",
    "squared_error",
    "summarize",
    "z_score",
]
