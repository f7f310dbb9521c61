"""The same without some rows: one outlier after the other, or rows of your choice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import index
from typing import Any

import numpy as np
import pandas as pd
import torch
from botorch.models.model import Model
from numpy.typing import NDArray
from torch import Tensor

from botorch_xval.cross_validation.arguments import check_model, noise_of
from botorch_xval.cross_validation.cross_validate import cross_validate
from botorch_xval.cross_validation.folds import restrict
from botorch_xval.cross_validation.outliers import WithoutRows, outliers
from botorch_xval.cross_validation.result import PASS, CrossValidation
from botorch_xval.models.checks import check_data, check_type, check_whole, wrong

__all__ = ["find_outliers", "refit_without"]


def find_outliers(
    result: CrossValidation,
    model: Callable[..., Model],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None = None,
    *,
    names: Sequence[Hashable] | None = None,
    level: float = 0.05,
    most: int | None = None,
    **cross_validate_kwargs: Any,
) -> WithoutRows:
    """Leave out one outlier after the other, the strangest first, until none is left.

    Each costs a cross-validation of the other rows.

    Args:
        result: The cross-validation of all rows.
        model: See :func:`refit_without`, also for the data.
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`.
        train_Yvar: Known variances of the observation noise, `n x m`.
        names: Names of all rows; default: their numbers.
        level: See :func:`~botorch_xval.cross_validation.outliers`; that of the first
            one.
        most: How many rows to leave out at most; default: a tenth. If more stand out,
            it is the model that is wrong.
        **cross_validate_kwargs: Further arguments of `cross_validate` but `folds` and
            `groups`.

    Returns:
        The outliers, in the order in which they were found, and scores of the other
        rows with and without them.

    Raises:
        ValueError: If the data are not those of the result, or if fewer than five rows
            have a score.
    """
    _check(result, model, (train_X, train_Y, train_Yvar), cross_validate_kwargs)
    n = result.folds.held_out.shape[1]
    if most is not None:
        check_whole("most", most, 0)
    labels = list(range(n) if names is None else names)
    outliers(result, labels, level=level)  # are the arguments right?
    found: list[pd.Series] = []
    current, kept = result, np.arange(n)
    while len(found) < (n // 10 if most is None else most):
        worst = outliers(current, level=level).iloc[0]
        if not worst.is_outlier:
            break
        row = int(kept[worst.row])
        found.append(pd.Series({**worst, "row": row, "name": labels[row]}))
        rows = [each["row"] for each in found]
        data = train_X, train_Y, train_Yvar
        current = refit_without(
            result, rows, model, *data, **cross_validate_kwargs
        ).result
        kept = np.setdiff1d(np.arange(n), rows)
    table = pd.DataFrame(found, columns=outliers(result).columns)
    return WithoutRows(
        table.reset_index(drop=True), _pairs(result, current, kept), current
    )


def refit_without(
    result: CrossValidation,
    rows: Sequence[int],
    model: Callable[..., Model],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None = None,
    **cross_validate_kwargs: Any,
) -> WithoutRows:
    """Cross-validate without some rows, and compare over the others.

    The difference says how much the rows disturb what is learned of the others. It does
    not say that they are wrong; rows that are left out because they are predicted badly
    flatter every score of what is left.

    Args:
        result: The cross-validation of all rows.
        rows: Numbers of the rows to leave out, such as outliers.
        model: See :func:`~botorch_xval.cross_validation.cross_validate`, also for the
            other arguments; the same as those of the result, whose folds are taken.
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`.
        train_Yvar: Known variances of the observation noise, `n x m`.
        **cross_validate_kwargs: Further arguments of `cross_validate` but `folds` and
            `groups`.

    Returns:
        Scores of the other rows with and without.

    Raises:
        ValueError: If there are no such rows, or the data are not those of the result.
    """
    _check(result, model, (train_X, train_Y, train_Yvar), cross_validate_kwargs)
    n = result.folds.held_out.shape[1]
    expected, remedy = (
        f"some numbers from 0 to {n - 1}",
        "see `row` of outliers(result)",
    )
    try:
        left = sorted({index(row) for row in rows})
    except TypeError as error:
        raise wrong("rows", expected, repr(rows), remedy) from error
    if not left or left[0] < 0 or left[-1] >= n:
        raise wrong("rows", expected, list(rows), remedy)
    kept = np.setdiff1d(np.arange(n), left)
    chosen = torch.as_tensor(kept, device=train_X.device)
    found = cross_validate(
        model,
        train_X[chosen],
        train_Y[chosen],
        None if train_Yvar is None else train_Yvar[chosen],
        folds=restrict(result.folds, kept),
        **cross_validate_kwargs,
    )
    table = outliers(result).drop_duplicates("row")
    table = table[table.row.isin(left)].reset_index(drop=True)
    return WithoutRows(table, _pairs(result, found, kept), found)


def _check(
    result: CrossValidation,
    model: Callable[..., Model],
    data: tuple[Tensor, Tensor, Tensor | None],
    cross_validate_kwargs: Mapping[str, Any],
) -> None:
    check_type("result", result, CrossValidation, PASS)
    check_data(*data, ndim=2, gaps=True)
    train_X, train_Y, train_Yvar = data
    noise: Any = noise_of(train_Yvar)
    check_model(model, train_X, train_Y, **noise)
    for name in ("folds", "groups"):
        if name in cross_validate_kwargs:
            raise ValueError(
                f"{name}: expected none, as those of the result are used, got some; "
                "leave them out"
            )
    n = result.folds.held_out.shape[1]
    for name, values in (("train_X", train_X), ("train_Y", train_Y)):
        if len(values) != n:
            raise ValueError(
                f"{name}: expected the {n} rows of the result, got {len(values)}; pass "
                "what was cross-validated"
            )
    own = train_Y[result.rows.to(train_Y.device)]
    observed = result.observed.to(own)
    same = own.shape == observed.shape and torch.equal(
        *(values.nan_to_num(torch.inf) for values in (own, observed))
    )
    if not same:
        raise ValueError(
            "train_Y: expected the outcomes of the result, got others; pass what was "
            "cross-validated"
        )


def _pairs(
    before: CrossValidation, after: CrossValidation, kept: NDArray[np.int64]
) -> pd.DataFrame:
    """Log densities of the rows that are kept, with and without the others."""
    without = _by_row(after)
    both = {"with": _by_row(before), "without": without.set_axis(kept[without.index])}
    points = pd.DataFrame(both)
    points = points.loc[points.index.isin(kept)].rename_axis("row").reset_index()
    return points.assign(difference=points["without"] - points["with"])


def _by_row(result: CrossValidation) -> pd.Series:
    """Log density of each row, the mean of its repetitions; NaN if it lacks one.

    The mean of fewer would have no partner in a paired difference.
    """
    density = pd.Series(result.summed_log_density.cpu().numpy())
    of_rows = density.groupby(result.rows.cpu().numpy())
    return of_rows.agg(lambda own: own.mean(skipna=False))
