"""Fast, independent fits and honest cross-validation of GPs for BoTorch.

The rooms of the package, from left to right: `data`, `models`, `fitting`,
`cross_validation`, `comparison`, `reporting` and, with the extra `ax`, `ax`. Here are
their main names. Each is imported when it is first used, so that a fit does not wait
for what a comparison needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botorch_xval.comparison import (
        Comparison,
        ModelSearch,
        compare,
        learning_curve,
        search,
    )
    from botorch_xval.cross_validation import (
        CrossValidation,
        FoldFit,
        Folds,
        buffered,
        cross_validate,
        difference,
        find_outliers,
        hold_out_only,
        k_fold,
        leave_future_out,
        leave_one_out,
        optimism,
        recalibrate,
    )
    from botorch_xval.data import EncodedTable, encode_table, load_tuning_trials
    from botorch_xval.fitting import (
        FitOptions,
        FitRecord,
        IndependentResult,
        ModelResult,
        Objective,
        Search,
        fit_each,
        fit_gpytorch_mll,
        fit_independently,
        make_objective,
        minimize_each,
    )
    from botorch_xval.models import (
        PRIOR_CONFIGURATIONS,
        BetaPrior,
        ChoiceKernel,
        DirichletPrior,
        FactorizedScalarChoiceKernel,
        LeaveOneOutCRPS,
        ModelSpec,
        PriorConfiguration,
        ScalarChoiceGP,
        StructuredGP,
        WeightedMixtureKernel,
    )
    from botorch_xval.reporting import (
        Course,
        Description,
        describe,
        hyperparameters,
        summarize_fits,
        write_page,
    )

__version__ = "0.2.0"

__all__ = [
    "PRIOR_CONFIGURATIONS",
    "BetaPrior",
    "ChoiceKernel",
    "Comparison",
    "Course",
    "CrossValidation",
    "Description",
    "DirichletPrior",
    "EncodedTable",
    "FactorizedScalarChoiceKernel",
    "FitOptions",
    "FitRecord",
    "FoldFit",
    "Folds",
    "IndependentResult",
    "LeaveOneOutCRPS",
    "ModelResult",
    "ModelSearch",
    "ModelSpec",
    "Objective",
    "PriorConfiguration",
    "ScalarChoiceGP",
    "Search",
    "StructuredGP",
    "WeightedMixtureKernel",
    "buffered",
    "compare",
    "cross_validate",
    "describe",
    "difference",
    "encode_table",
    "find_outliers",
    "fit_each",
    "fit_gpytorch_mll",
    "fit_independently",
    "hold_out_only",
    "hyperparameters",
    "k_fold",
    "learning_curve",
    "leave_future_out",
    "leave_one_out",
    "load_tuning_trials",
    "make_objective",
    "minimize_each",
    "optimism",
    "recalibrate",
    "search",
    "summarize_fits",
    "write_page",
]

ROOMS = ("models", "fitting", "data", "cross_validation", "comparison", "reporting")


def __getattr__(name: str) -> Any:
    """A main name, or a room, from where it is."""
    if name in ROOMS:
        return import_module(f"{__name__}.{name}")
    if name in __all__:
        for room in ROOMS:
            module = import_module(f"{__name__}.{room}")
            if name in module.__all__:
                globals()[name] = found = getattr(module, name)
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *ROOMS})
