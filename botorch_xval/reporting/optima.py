"""The optima that the searches of each model ended in, as a table and in words."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from gpytorch.mlls import MarginalLogLikelihood

from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.fitting.records import Optimum
from botorch_xval.reporting.expressions.tree import format_number

__all__ = ["describe_optimum", "optima"]

NOTICEABLE = math.log(1.5)  # by which parameters differ that are named
NAMED = 3  # parameters, at most


def optima(fitted: MarginalLogLikelihood | CrossValidation) -> pd.DataFrame:
    """List the optima that were found for every model.

    Args:
        fitted: An mll after :func:`~botorch_xval.fit_gpytorch_mll`, or the result of
            a cross-validation.

    Returns:
        One row per model and optimum, the lowest of each model first:

        * `model`: number of the model, in batch order (of a cross-validation `fold`
          and `output` instead).
        * `optimum`: 0 for the lowest, which the model has now.
        * `loss`: per training point; `above`: over the lowest, in nats for all points.
        * `starts`: how many searches ended there; `from`: their starts.
        * `words`: what is remarkable about it, see :func:`describe_optimum`.

    Raises:
        ValueError: If the mll has no records.
    """
    if isinstance(fitted, CrossValidation):
        records = fitted.records
        owners = [
            {"fold": fitted.folds.names[fit.fold], "output": fit.output}
            for fit in fitted.fits
        ]
    else:
        records = list(getattr(fitted, "fit_records", ()))
        owners = [{"model": i} for i in range(len(records))]
    if not records:
        raise ValueError(
            "fitted: expected an mll with fit_records, got one without; fit it by "
            "fit_gpytorch_mll of this package"
        )
    rows = [
        {
            **owner,
            "optimum": k,
            "loss": each.loss,
            "above": (each.loss - record.optima[0].loss) * record.num_points,
            "starts": len(each.starts),
            "from": "; ".join(each.starts),
            "words": describe_optimum(each, record.optima[0] if k else None),
        }
        for owner, record in zip(owners, records, strict=True)
        for k, each in enumerate(record.optima)
    ]
    columns = ["optimum", "loss", "above", "starts", "from", "words"]
    return pd.DataFrame(rows, columns=[*owners[0], *columns])


def describe_optimum(optimum: Optimum, lowest: Optimum | None = None) -> str:
    """Say what is remarkable about an optimum.

    Args:
        optimum: Any.
        lowest: With which it is compared.

    Returns:
        Whether it is dead (every lengthscale at its prior's mode: the data say nothing
        about how near two points are), and up to three parameters in which it differs
        from the lowest one, by the geometric means of their values.
    """
    words = []
    if optimum.is_dead:
        words.append(
            "all lengthscales at the prior's mode: the data say nothing of them"
        )
    elif optimum.at_modes:
        words.append(f"at the prior's mode: {', '.join(map(_short, optimum.at_modes))}")
    if lowest is not None:
        found = []
        for name, values in optimum.values.items():
            own, other = np.array(values), np.array(lowest.values[name])
            if (own > 0).all() and (other > 0).all():
                ratio = float(np.log(own / other).mean())
                if abs(ratio) > NOTICEABLE:
                    middle = np.exp(np.log(own).mean()), np.exp(np.log(other).mean())
                    found.append((abs(ratio), name, middle))
        for _, name, (own, other) in sorted(found, reverse=True)[:NAMED]:
            words.append(
                f"{_short(name)} {format_number(float(own))} instead of "
                f"{format_number(float(other))}"
            )
    return "; ".join(words)


def _short(name: str) -> str:
    """A parameter's name without what is the same for all models."""
    path, _, raw = name.removeprefix("model.").rpartition(".")
    path = path.removeprefix("covar_module").replace("likelihood.noise_covar", "")
    path = path.strip(".")
    return raw.removeprefix("raw_") + (f" ({path})" if path else "")
