"""Scores for ArviZ: its `ELPDData`, which its `compare` and plots take.

ArviZ 1 (`arviz_stats`) and the versions before have classes of the same name, which do
not take each other's place. Here the installed one is made.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from botorch_xval.cross_validation.clusters import standard_error

__all__ = ["make_elpd_data"]

MODULES = ("arviz", "arviz_stats")  # the first that is there


def make_elpd_data(
    scores: pd.Series,
    clusters: ArrayLike | None = None,
    *,
    num_folds: int,
    num_points: int,
    omits_rows: bool = False,
) -> Any:
    r"""ArviZ's `ELPDData` of held-out log densities.

    What has no meaning here says so: there is one set of hyper-parameters, so
    `n_samples` is 1; nothing is importance sampled, so there is no Pareto
    :math:`\hat k`; and the effective number of parameters `p` (`p_loo`) is NaN, as it
    needs the log density of all rows by a model of all rows.

    Args:
        scores: Log predictive densities in nats, one per row, with numbers of rows as
            index; none missing (not checked).
        clusters: The cluster of each row, for the standard error; default: each is one.
        num_folds: How many folds held them out.
        num_points: How many predictions they are made of: as many as folds for
            leave-one-out, else they are said to be of "loo_kfold" (ArviZ 1 only).
        omits_rows: Whether folds have rows in neither part: no leave-one-out either.

    Returns:
        The `ELPDData` of `arviz` if it is installed, of any version; else that of
        `arviz_stats`.

    Raises:
        ModuleNotFoundError: If neither is there.
    """
    module, DataArray = _find()
    from_arviz = module.ELPDData
    count, elpd = len(scores), float(scores.sum())
    se = count * standard_error(scores.to_numpy(), clusters)
    index = scores.index.to_numpy()
    values = DataArray(scores.to_numpy(), dims="row", coords={"row": index})
    shared: dict[str, Any] = {
        "se": se,
        "n_samples": 1,
        "n_data_points": count,
        "warning": False,
    }
    if issubclass(from_arviz, pd.Series):  # before ArviZ 1, in the order of its text
        old: dict[str, Any] = {"elpd_loo": elpd, "se": se, "p_loo": np.nan, **shared}
        old |= {"loo_i": values.rename("loo_i"), "scale": "log", "good_k": np.nan}
        return from_arviz(data=list(old.values()), index=list(old))
    is_loo = num_folds == num_points and not omits_rows
    shared |= {"elpd": elpd, "p": np.nan, "scale": "log", "good_k": np.nan}
    shared |= {"elpd_i": values.rename("elpd_i")}
    if not hasattr(module, "ELPDDataLOO"):  # ArviZ 1 had one class at first
        kind = "loo" if is_loo else "loo_kfold"
        return from_arviz(kind=kind, n_folds=None if is_loo else num_folds, **shared)
    if is_loo:
        return module.ELPDDataLOO(**shared)
    return module.ELPDDataLOOKFold(n_folds=num_folds, **shared)


def _find() -> tuple[Any, type]:
    """The module of ArviZ that has `ELPDData`, and the class `DataArray` of xarray."""
    for name in MODULES:
        try:
            with warnings.catch_warnings():
                # ArviZ 0.23 announces ArviZ 1.
                warnings.simplefilter("ignore", FutureWarning)
                found = import_module(name)
            found.ELPDData  # noqa: B018
            return found, import_module("xarray").DataArray
        except (ModuleNotFoundError, AttributeError):  # `arviz_stats` without xarray
            continue
    raise ModuleNotFoundError(
        "to_arviz: expected ArviZ, got neither arviz nor arviz_stats with xarray; "
        'install it by `pip install "botorch-xval[arviz]"`'
    )
