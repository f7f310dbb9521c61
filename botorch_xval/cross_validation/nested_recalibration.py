"""A recalibration that is tested by nested cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from botorch.models.model import Model
from torch import Tensor

from botorch_xval.cross_validation.cross_validate import cross_validate
from botorch_xval.cross_validation.folds import k_fold, leave_one_out
from botorch_xval.cross_validation.folds_like import (
    FoldsLike,
    Groups,
    list_labels,
    make_folds,
)
from botorch_xval.cross_validation.recalibration import (
    FEWEST_FOLDS,
    FIXED,
    Recalibration,
    recalibrate,
)
from botorch_xval.models.checks import check_data, wrong

__all__ = ["recalibrate_nested"]


def recalibrate_nested(
    model: Callable[..., Model],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None = None,
    *,
    folds: FoldsLike = k_fold(5),  # noqa: B008
    inner: Callable[[int], Any] = leave_one_out,
    groups: Groups | None = None,
    fit: str = "refit",
    **cross_validate_kwargs: Any,
) -> Recalibration:
    """Learn the factors, and test them by nested cross-validation.

    The factor of each fold comes from a cross-validation of its training rows alone. No
    outcome of the fold is in it. With `f` folds these are `f + 2` cross-validations.

    Args:
        model: See :func:`~botorch_xval.cross_validation.cross_validate`.
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`.
        train_Yvar: Known variances of the observation noise, `n x m`.
        folds: The outer ones, on which the factors are tested.
        inner: Makes the folds from which a factor is learned, from a number of rows (of
            labels, with `groups`).
        groups: `n` labels, for the outer and the inner folds.
        fit: How folds are fitted; not "fixed".
        **cross_validate_kwargs: Further arguments of `cross_validate`.

    Returns:
        The factors. `factor` is that of the inner folds of all rows.

    Raises:
        ValueError: If an argument is not as described.
    """
    check_data(train_X, train_Y, train_Yvar, ndim=2, gaps=True)
    if fit == "fixed":
        raise ValueError(FIXED)
    if not callable(inner):
        expected, remedy = "a function of the number of rows", "use k_fold(5)"
        raise wrong("inner", expected, repr(inner), remedy)
    n = len(train_X)
    labels = None if groups is None else list_labels(groups, n)
    outer = make_folds(folds, n, labels)
    if (count := len(outer.names)) < FEWEST_FOLDS:
        expected = f"at least {FEWEST_FOLDS} outer folds"
        raise wrong("folds", expected, count, "use k_fold(5)")

    def learn(rows: Tensor) -> Tensor:
        own = None if labels is None else [labels[i] for i in rows.tolist()]
        rows = rows.to(train_X.device)
        found = cross_validate(
            model,
            train_X[rows],
            train_Y[rows],
            None if train_Yvar is None else train_Yvar[rows],
            folds=inner,
            groups=own,
            fit=fit,
            **cross_validate_kwargs,
        )
        return recalibrate(found).factor

    result = cross_validate(
        model,
        train_X,
        train_Y,
        train_Yvar,
        folds=outer,
        fit=fit,
        **cross_validate_kwargs,
    )
    each = [learn(training.nonzero()[:, 0]) for training in outer.training]
    return Recalibration(result, learn(torch.arange(n)), torch.stack(each), True)
