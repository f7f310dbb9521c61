"""How the models of folds came to their hyper-parameters, fold by fold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from botorch_xval.fitting.records import FitRecord

__all__ = ["FoldFit", "tabulate_fits"]


@dataclass(frozen=True)
class FoldFit:
    """How a model of a fold came to its hyper-parameters."""

    fold: int
    """Number of the fold."""

    output: int
    """Number of the output; 0 for a model of all outputs."""

    how: str
    """"refit", "warm", "predicted", "fixed", or "custom": by the model's own method.
    Where hyper-parameters are integrated out "reweighted": by draws of all rows,
    "redrawn": by draws of its own, or "nuts": by a run of NUTS of its own."""

    influence: float
    """Length of its Newton step from the fit to all rows, in posterior standard
    deviations; NaN if there was no such fit."""

    record: FitRecord
    """Its losses and costs; of "fixed" only the evaluation behind the influence."""

    cold_loss: float = math.nan
    """Of "warm": the lowest loss, per training point, that searches from the fold's own
    starts have found; NaN if there were none. The lowest of all searches counts."""

    pareto_k: float = math.nan
    """Pareto's shape of the weights that the draws of all rows have in this fold: from
    0.7 on (with `S` draws from `1 - 1 / log10(S)` on, if that is less), or where fewer
    than half of the draws stay effective, it has draws of its own. NaN without such
    draws."""

    effective_draws: float = math.nan
    """How many independent draws of equal weight its draws are worth; NaN without
    draws."""


def tabulate_fits(fits: Sequence[FoldFit], names: Sequence[str]) -> pd.DataFrame:
    """The table of :meth:`CrossValidation.fit_table`, of the names of the folds."""
    records = [fit.record for fit in fits]
    return pd.DataFrame(
        {
            "fold": [names[fit.fold] for fit in fits],
            "output": [fit.output for fit in fits],
            "how": [fit.how for fit in fits],
            "influence": [fit.influence for fit in fits],
            "gradient_norm": [r.gradient_norm for r in records],
            "condition": [r.condition for r in records],
            "step_length": [r.step_length for r in records],
            "at_bounds": [", ".join(r.at_bounds) for r in records],
            "loss": [r.loss for r in records],
            "cold_loss": [fit.cold_loss for fit in fits],
            "pareto_k": [fit.pareto_k for fit in fits],
            "effective_draws": [fit.effective_draws for fit in fits],
            "evaluations": [r.evaluations for r in records],
            "status": [r.status.name for r in records],
            "message": [r.message for r in records],
        }
    )
