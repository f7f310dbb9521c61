"""Pointwise differences of two cross-validations of the same points."""

from __future__ import annotations

import pandas as pd
import torch

from botorch_xval.cross_validation.clusters import standard_error
from botorch_xval.cross_validation.result import PASS, CrossValidation
from botorch_xval.models.checks import check_type

__all__ = ["difference"]


def difference(first: CrossValidation, second: CrossValidation) -> pd.DataFrame:
    """Pointwise differences of two results in log density, `first - second`.

    Args:
        first: A result.
        second: Another one of the same folds of the same data.

    Returns:
        One row per point: `row`, `fold`, `first`, `second` and `difference` (nats,
        summed over outputs); in `attrs` their `sum` and its `standard_error` (rows, or
        groups of rows, taken as independent), and in `other_optimum` the folds whose
        losses per point differ by more than 1e-3: those where two ways to fit ended in
        different minima.

    Raises:
        ValueError: If the results are of different points.
    """
    for name, result in (("first", first), ("second", second)):
        check_type(name, result, CrossValidation, PASS)
    same = (
        torch.equal(first.rows.cpu(), second.rows.cpu())
        and torch.equal(first.fold_of.cpu(), second.fold_of.cpu())
        and torch.equal(first.observed.isnan().cpu(), second.observed.isnan().cpu())
        and torch.equal(
            first.observed.cpu().nan_to_num(), second.observed.cpu().nan_to_num()
        )
    )
    if not same:
        raise ValueError(
            "second: expected a result of the same points, got other rows, folds or "
            "outcomes than those of the first; cross-validate both by the same folds"
        )
    densities = [r.summed_log_density.cpu().numpy() for r in (first, second)]
    frame = pd.DataFrame(
        {
            "row": first.rows.cpu().numpy(),
            "fold": [first.folds.names[i] for i in first.fold_of],
            "first": densities[0],
            "second": densities[1],
            "difference": densities[0] - densities[1],
        }
    )
    known = frame.dropna(subset="difference").groupby("row").difference.mean()
    groups = first.folds.groups
    clusters = None if groups is None else groups.numpy()[known.index]
    error = standard_error(known.to_numpy(), clusters)
    other = []
    if len(first.fits) == len(second.fits):
        for one, two in zip(first.fits, second.fits, strict=True):
            fixed = "fixed" in (one.how, two.how)
            if not fixed and abs(one.record.loss - two.record.loss) > 1e-3:
                other.append(first.folds.names[one.fold])
    frame.attrs.update(
        sum=float(known.sum()),
        standard_error=len(known) * error,
        other_optimum=list(dict.fromkeys(other)),
    )
    return frame
