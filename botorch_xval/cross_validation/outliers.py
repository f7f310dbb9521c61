r"""Which trials look wrong? Held-out errors that stand out, and what they disturb.

If a model is right, the leave-one-out error :math:`z_i` in predicted deviations is
standard normal, and it is the statistic that tests whether the mean of row `i` alone is
shifted (Cook & Weisberg 1982, section 2.2.2; for a Gaussian process with covariance
:math:`K`, :math:`z_i = [K^{-1} (y - m)]_i / [K^{-1}]_{ii}^{1/2}`). So errors are taken
as they are. Whitened ones mix rows, and do not tell which one is wrong. The robust
score is

.. math:: r_i = (z_i - \bar z) \, / \, (1.4826 \, \mathrm{median} |z_j - \bar z|),
    \quad \bar z = \mathrm{median}(z_j),

which a few wild rows do not move, and which does not call all rows wrong where all
variances are too small. The largest of `n` scores grows with `n`, the more so as median
and spread are of the same few rows, and errors of refitted folds have heavier tails
than a normal distribution, as their variances are estimated from few rows. So an
outlier is one beyond the limit that the largest of `n` independent errors, of Student's
distribution with `n / 4` (at least 3) degrees of freedom, passes with a probability of
`level` (by simulation). For many rows this is Bonferroni's limit, :math:`\Phi^{-1}(1 -
\alpha / 2n)`. The degrees of freedom are a rule of thumb, found with simulated tables;
`benchmarks/outliers.py` says how often clean tables of other kinds have an outlier.

A wrong row also spoils the predictions of its neighbors, whose errors then stand out,
too. :func:`find_outliers` takes away the strangest row, cross-validates again, and
looks for the next. Two wrong rows beside each other predict each other well, and are
not found: hold them out together (`groups`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from botorch.models.model import Model
from numpy.typing import NDArray
from torch import Tensor

from botorch_xval.cross_validation.cross_validate import cross_validate
from botorch_xval.cross_validation.folds import restrict
from botorch_xval.cross_validation.result import CrossValidation

__all__ = ["WithoutRows", "find_outliers", "limit_of", "outliers", "refit_without"]

INFLUENTIAL = 1.0  # posterior deviations
SIMULATIONS, BLOCK = 4000, 250
TO_DEVIATION = 1.4826  # of a normal distribution, from its median absolute deviation
FEWEST = 5


def outliers(
    result: CrossValidation,
    names: Sequence[Hashable] | None = None,
    *,
    level: float = 0.05,
) -> pd.DataFrame:
    """Every row with its robust error and its influence, the strangest ones first.

    Args:
        result: A cross-validation. Of a row that is held out several times the mean
            error counts.
        names: Names of all rows, such as `EncodedTable.rows`; default: their numbers.
        level: The probability that a table without an outlier has one here, over all
            outputs; roughly, see above.

    Returns:
        One line per row and output: `row`, `name`, `output`, `observed`, `mean`,
        `z_score`, `robust_z`, `limit` (of its size), `log_density` (nats), `influence`
        of its fold (posterior standard deviations of the hyper-parameters; NaN if not
        known), `is_outlier` (beyond the limit), and `is_influential`: an influence from
        1 on, which costs the row's log density about 1 nat when it is left out. The
        latter is no error, but says that much hangs on one row.

    Raises:
        ValueError: If fewer than five rows have a score, or an argument does not fit.
    """
    if not isinstance(result, CrossValidation):
        raise ValueError(
            f"result: expected a CrossValidation, got {type(result).__name__}; pass "
            "one of `cross_validate`"
        )
    n, m = result.folds.held_out.shape[1], result.mean.shape[-1]
    if names is not None and len(names) != n:
        raise ValueError(f"names: expected one for each of {n} rows, got {len(names)}")
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level}")
    frame = result.to_frame()
    influence = result.fit_table().groupby("fold").influence.max()
    frame["influence"] = frame.fold.map(influence)
    columns = ["observed", "mean", "z_score", "log_density", "influence"]
    rows = frame.groupby(["output", "row"])[columns].mean().reset_index()
    rows = rows.dropna(subset="z_score")
    parts = []
    for _, part in rows.groupby("output"):
        if len(part) < FEWEST:
            raise ValueError(
                f"result: expected at least {FEWEST} rows with a score, got {len(part)}"
            )
        robust = _robust(part.z_score.to_numpy())
        limit = limit_of(len(part), level / m)
        parts.append(part.assign(robust_z=robust, limit=limit))
    table = pd.concat(parts)
    table["is_outlier"] = table.robust_z.abs() > table.limit
    table["is_influential"] = table.influence >= INFLUENTIAL
    labels = range(n) if names is None else names
    table["name"] = [labels[row] for row in table.row]
    order = ["row", "name", "output", "observed", "mean", "z_score", "robust_z"]
    order += ["limit", "log_density", "influence", "is_outlier", "is_influential"]
    return table.sort_values(
        "robust_z", key=np.abs, ascending=False, kind="stable", ignore_index=True
    )[order]


@cache
def limit_of(n: int, level: float) -> float:
    """What the largest of `n` robust errors passes with a probability of `level`.

    Args:
        n: How many independent errors of Student's distribution with `n / 4` degrees of
            freedom, at least three.
        level: The probability.

    Returns:
        The limit, from 4,000 simulations with a fixed seed.
    """
    rng = np.random.default_rng(0)
    largest = [
        np.abs(_robust(rng.standard_t(max(3, n / 4), (BLOCK, n)))).max(axis=1)
        for _ in range(SIMULATIONS // BLOCK)
    ]
    return float(np.quantile(np.concatenate(largest), 1 - level))


def _robust(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors minus their median, in robust deviations, along the last axis."""
    away = z - np.median(z, axis=-1, keepdims=True)
    spread = TO_DEVIATION * np.median(np.abs(away), axis=-1, keepdims=True)
    return away / np.maximum(spread, np.finfo(z.dtype).tiny)


@dataclass(frozen=True)
class WithoutRows:
    """How the other rows are predicted with and without some rows."""

    left_out: pd.DataFrame
    """One line per row that was left out, as in :func:`outliers`, by the
    cross-validation that still had it; of several outputs the strangest one."""

    points: pd.DataFrame
    """One line per other row: `row`, `with`, `without` and `difference`, without minus
    with: log densities in nats, summed over outputs."""

    result: CrossValidation
    """The cross-validation without them; its rows are numbered anew, in order."""

    @property
    def rows(self) -> list[int]:
        """The rows that were left out."""
        return self.left_out.row.to_list()

    @property
    def difference(self) -> float:
        """Mean difference per row, in nats; positive where the rows disturb others."""
        return float(self.points.difference.mean())

    @property
    def standard_error(self) -> float:
        """Of `difference`; rows are taken as independent."""
        return float(self.points.difference.sem())

    def __str__(self) -> str:
        """One sentence, with names."""
        if not self.rows:
            return "No row stands out."
        names = ", ".join(map(str, self.left_out.name))
        return (
            f"Without {names} the log density of the other {len(self.points)} rows "
            f"changes by {self.difference:+.3f} nats per row, standard error "
            f"{self.standard_error:.3f}."
        )


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
        level: See :func:`outliers`; of the search for the first one.
        most: How many rows to leave out at most; default: a tenth. If more stand out,
            it is the model that is wrong.
        **cross_validate_kwargs: Further arguments of `cross_validate` but `folds`.

    Returns:
        The outliers, in the order in which they were found, and scores of the other
        rows with and without them.

    Raises:
        ValueError: See :func:`outliers` and :func:`refit_without`.
    """
    n = result.folds.held_out.shape[1]
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
        rows: Numbers of the rows to leave out, such as those of :func:`outliers`.
        model: See :func:`~botorch_xval.cross_validation.cross_validate`, also for the
            other arguments; the same as those of the result, whose folds are taken.
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`.
        train_Yvar: Known variances of the observation noise, `n x m`.
        **cross_validate_kwargs: Further arguments of `cross_validate` but `folds`.

    Returns:
        Scores of the other rows with and without.

    Raises:
        ValueError: If there are no such rows, or the data are not those of the result.
    """
    n = result.folds.held_out.shape[1]
    left = sorted({int(row) for row in rows})
    if not left or left[0] < 0 or left[-1] >= n:
        raise ValueError(
            f"rows: expected some numbers from 0 to {n - 1}, got {list(rows)}"
        )
    observed = result.observed
    if len(train_Y) != n or not torch.equal(train_Y[result.rows], observed.to(train_Y)):
        raise ValueError("train_Y: expected the outcomes of the result, got others")
    kept = np.setdiff1d(np.arange(n), left)
    index = torch.as_tensor(kept, device=train_X.device)
    found = cross_validate(
        model,
        train_X[index],
        train_Y[index],
        None if train_Yvar is None else train_Yvar[index],
        folds=restrict(result.folds, kept),
        **cross_validate_kwargs,
    )
    table = outliers(result).drop_duplicates("row")
    table = table[table.row.isin(left)].reset_index(drop=True)
    return WithoutRows(table, _pairs(result, found, kept), found)


def _pairs(
    before: CrossValidation, after: CrossValidation, kept: NDArray[np.int64]
) -> pd.DataFrame:
    """Log densities of the rows that are kept, with and without the others."""
    without = _by_row(after)
    both = {"with": _by_row(before), "without": without.set_axis(kept[without.index])}
    points = pd.DataFrame(both).loc[kept].rename_axis("row").reset_index()
    return points.assign(difference=points["without"] - points["with"])


def _by_row(result: CrossValidation) -> pd.Series:
    """Log density of each row, the mean of its repetitions."""
    density = result.log_density.sum(dim=-1).cpu().numpy()
    return pd.Series(density).groupby(result.rows.cpu().numpy()).mean()
