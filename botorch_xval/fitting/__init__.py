"""Fits of many models: one SciPy minimizer per model, evaluated together."""

from botorch_xval.fitting.drive import minimize_each
from botorch_xval.fitting.fit import (
    IndependentResult,
    fit_each,
    fit_gpytorch_mll,
    fit_independently,
    fit_or_raise,
)
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.options import FitOptions, ModelResult
from botorch_xval.fitting.records import FitRecord
from botorch_xval.fitting.search import Search

__all__ = [
    "FitOptions",
    "FitRecord",
    "IndependentResult",
    "ModelResult",
    "Objective",
    "Search",
    "fit_each",
    "fit_gpytorch_mll",
    "fit_independently",
    "fit_or_raise",
    "make_objective",
    "minimize_each",
]
