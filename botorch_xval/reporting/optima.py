"""The optima that the searches of each model ended in, as a table and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from gpytorch.mlls import MarginalLogLikelihood

from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.fitting.records import FitRecord, Optimum
from botorch_xval.models.checks import check_type
from botorch_xval.reporting.expressions.tree import format_number

__all__ = ["describe_optimum", "in_other_optima", "optima"]

NOTICEABLE = math.log(1.5)  # by which parameters differ that are named
NAMED = 3  # parameters, at most
# Models agree about a parameter where four of five are within AGREEING of the median;
# one that is ELSEWHERE is in another optimum.
AGREEING, ELSEWHERE = math.log(1.5), math.log(4.0)
FEWEST = 5  # models that say what most do


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
            "fitted: expected an mll with fit_records, or a CrossValidation, got "
            f"{type(fitted).__name__} without; fit it by fit_gpytorch_mll of this "
            "package"
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
    remedy = "see `optima` of a FitRecord"
    check_type("optimum", optimum, Optimum, remedy)
    if lowest is not None:
        check_type("lowest", lowest, Optimum, remedy)
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


def in_other_optima(records: Sequence[FitRecord]) -> dict[int, str]:
    """Which models, such as those of folds, sit in another optimum than most.

    Args:
        records: Of models that are alike, such as those of one output.

    Returns:
        By number of a model in words the parameter in which it differs most: the
        geometric mean of its values is four times that of the median model, or a
        quarter, and most models agree about it. Empty for fewer than five.
    """
    known = [i for i, record in enumerate(records) if record.optima]
    if len(known) < FEWEST:
        return {}
    values = {i: records[i].optima[0].values for i in known}
    found: dict[int, tuple[float, str]] = {}
    for name in values[known[0]]:
        table = [np.array(values[i].get(name, (np.nan,))) for i in known]
        # A constant mean has a location, not a scale: ratios of it say nothing.
        if name.endswith("raw_constant") or not all((row > 0).all() for row in table):
            continue
        logs = np.array([np.log(row).mean() for row in table])
        far = np.abs(logs - np.median(logs))
        if np.quantile(far, 0.8) > AGREEING:
            continue
        for i, distance, own in zip(known, far, logs, strict=True):
            if distance > max(ELSEWHERE, found.get(i, (0.0, ""))[0]):
                own, middle = (
                    format_number(float(np.exp(value)))
                    for value in (own, np.median(logs))
                )
                words = f"{_short(name)} {own}, the median of all {middle}"
                found[i] = distance, words
    return {i: words for i, (_, words) in sorted(found.items())}


def _short(name: str) -> str:
    """A parameter's name without what is the same for all models."""
    path, _, raw = name.removeprefix("model.").rpartition(".")
    path = path.removeprefix("covar_module").replace("likelihood.noise_covar", "")
    path = path.strip(".")
    return raw.removeprefix("raw_") + (f" ({path})" if path else "")
