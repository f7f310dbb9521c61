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
too. :func:`~botorch_xval.cross_validation.find_outliers` takes away the strangest row,
cross-validates again, and looks for the next. Two wrong rows beside each other predict
each other well, and are not found: hold them out together (`groups`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Real

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from botorch_xval.cross_validation.result import PASS, CrossValidation
from botorch_xval.models.checks import check_names, check_type, wrong

__all__ = ["FEWEST", "WithoutRows", "limit_of", "outliers"]

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
    check_type("result", result, CrossValidation, PASS)
    n, m = result.folds.held_out.shape[1], result.mean.shape[-1]
    if names is not None:
        check_names("names", names, n, "rows")
    if not isinstance(level, Real) or not 0 < level < 1:
        remedy = "the default is 0.05"
        raise wrong("level", "a number between 0 and 1", repr(level), remedy)
    frame = result.to_frame()
    # By number: folds of labels such as 1 and "1" have one name.
    influence = pd.Series([fit.influence for fit in result.fits], dtype=float)
    influence = influence.groupby([fit.fold for fit in result.fits]).max()
    fold_of = np.repeat(result.fold_of.cpu().numpy(), m)
    frame["influence"] = influence.reindex(fold_of).to_numpy()
    columns = ["observed", "mean", "z_score", "log_density", "influence"]
    rows = frame.groupby(["output", "row"])[columns].mean().reset_index()
    rows = rows.dropna(subset="z_score")
    parts = []
    for _, part in rows.groupby("output"):
        if len(part) < FEWEST:
            raise ValueError(
                f"result: expected at least {FEWEST} rows with a score, got {len(part)}"
                "; hold out more rows"
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
