"""What a comparison found: pointwise scores, and the paired table made of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from scipy.special import ndtr

__all__ = ["Comparison", "mean_by_row", "tabulate"]

DECISIVE = 2.0  # standard errors of the paired difference
FEW_ROWS = 20  # fewer, and the estimate of a standard error is itself too noisy
CELL = ("configuration", "size", "replicate", "round")
POINTS = (*CELL, "row", "log_density", "squared_error")
FITS = (*CELL, "folds", "failed", "evaluations", "seconds")


@dataclass(frozen=True)
class Comparison:
    """Pointwise scores of all configurations, and the tables made of them.

    Raises:
        ValueError: If configurations were scored on different rows. Rows whose fit
            failed have NaN as score. Only a configuration that left a race may lack
            rows, those of later rounds.
    """

    points: pd.DataFrame
    """One row per held-out point: `configuration`, `size`, `replicate`, `round` (of a
    race; else 1), `row` (of the whole data), `log_density` (nats, summed over outputs)
    and `squared_error` (squared unit of the outcome, summed over outputs); NaN where
    the fit of the fold failed."""

    fits: pd.DataFrame
    """One row per cell: `configuration`, `size`, `replicate`, `round`, `folds`,
    `failed` (folds), `evaluations` (of all models) and `seconds` (in all)."""

    def __post_init__(self) -> None:
        for name, frame, columns in (
            ("points", self.points, POINTS),
            ("fits", self.fits, FITS),
        ):
            if missing := [c for c in columns if c not in frame]:
                raise ValueError(
                    f"{name}: expected the columns {', '.join(columns)}; "
                    f"{', '.join(missing)} missing"
                )
        _check_same_rows(self.points)

    def table(self) -> pd.DataFrame:
        r"""Log predictive density by size and configuration, best first.

        Scores of a row are first averaged over the replicates. With the mean
        :math:`\bar d` of the paired differences to the best configuration and its
        standard error :math:`e`, `probability_worse` is :math:`\Phi(-\bar d / e)`: the
        probability that the configuration is worse than the best one on further
        such rows, if the mean difference is normal and rows are independent. Folds
        share training rows, so rows are not quite independent, and standard errors are
        rather too small.

        Returns:
            Columns: `size`, `rank` (1: best), `configuration`, and `rows`, the number
            of rows that count: those with a score of every configuration that has any.
            Over these rows `elpd` (sum), `mean_log_density` and its `standard_error`,
            the paired `difference` of the means and its `difference_se` (all in nats),
            `probability_worse` (NaN for the best) and `rmse`. Then `folds`, `failed`
            folds, `evaluations`, `seconds`, and `caution`, in words, where the
            difference or its standard error is not reliable. A configuration that left
            a race comes after all others, and is compared over the rows that it has in
            common with the best.
        """
        return tabulate(self.points, self.fits)

    def race(self) -> pd.DataFrame:
        """How many fits a race saved.

        Returns:
            One row per size and configuration: the number of `rounds` that it took part
            in, whether it `left` before the last one, the number of `folds` that were
            fitted, and the share of all folds that was `saved`. `attrs["saved"]` is
            that share over all configurations and sizes.
        """
        by = ["size", "configuration"]
        table = self.fits.groupby(by, sort=False)[["round", "folds"]].agg(
            {"round": "max", "folds": "sum"}
        )
        table = table.rename(columns={"round": "rounds"}).reset_index()
        sizes = table.groupby("size")
        table.insert(3, "left", table.rounds < sizes.rounds.transform("max"))
        full = sizes.folds.transform("max")
        table["saved"] = 1 - table.folds / full
        table.attrs["saved"] = float(1 - table.folds.sum() / full.sum())
        return table

    def to_frame(self) -> pd.DataFrame:
        """A copy of the points."""
        return self.points.copy()

    def save(self, path: str | Path) -> None:
        """Write everything to one file (NumPy's `.npz`; numbers and text only)."""
        arrays = {}
        for name, frame in (("points", self.points), ("fits", self.fits)):
            for column in frame:
                values = frame[column]
                text = not pd.api.types.is_numeric_dtype(values)
                arrays[f"{name}.{column}"] = (
                    np.array(json.dumps([str(value) for value in values]))
                    if text
                    else values.to_numpy()
                )
        with open(path, "wb") as file:  # `savez` would append to a name
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """Read what :meth:`save` has written.

        Raises:
            ValueError: If the file is something else.
        """
        frames: dict[str, dict[str, object]] = {"points": {}, "fits": {}}
        try:
            with np.load(path, allow_pickle=False) as data:
                for key in data.files:
                    name, _, column = key.partition(".")
                    values = data[key]
                    frames[name][column] = (
                        json.loads(str(values)) if values.ndim == 0 else values
                    )
            points, fits = (pd.DataFrame(frame) for frame in frames.values())
            return cls(points, fits)
        except (KeyError, ValueError, TypeError, EOFError, BadZipFile) as error:
            raise ValueError(
                f"{path}: expected a file written by Comparison.save ({error})"
            ) from error


def tabulate(points: pd.DataFrame, fits: pd.DataFrame) -> pd.DataFrame:
    """The table of points and fits, see :meth:`Comparison.table`.

    Args:
        points: See :class:`Comparison`.
        fits: See :class:`Comparison`.

    Returns:
        The table.
    """
    counts = ["folds", "failed", "evaluations", "seconds"]
    totals = fits.groupby(["size", "configuration"])[counts].sum()
    by_size = points.groupby("size")
    blocks = [_block(of_size).assign(size=size) for size, of_size in by_size]
    table = pd.concat(blocks, ignore_index=True)
    table = table.join(totals, on=["size", "configuration"])
    table["caution"] = [_caution(entry) for entry in table.itertuples()]
    first = ["size", "rank", "configuration"]
    others = [c for c in table if c not in (*first, "left_after")]
    return table[first + others]


def mean_by_row(points: pd.DataFrame) -> pd.DataFrame:
    """Scores averaged over replicates.

    Args:
        points: See :class:`Comparison`.

    Returns:
        One row per row of the data; columns are pairs of a score (`log_density`,
        `squared_error`) and a configuration.
    """
    columns = ["row", "configuration", "log_density", "squared_error"]
    return points[columns].groupby(["row", "configuration"]).mean().unstack()


def _block(points: pd.DataFrame) -> pd.DataFrame:
    """The table of one size, without counts and cautions."""
    last = points.groupby("configuration")["round"].max()
    stayed = last.index[last == last.max()]
    block = _paired(points[points.configuration.isin(stayed)])
    block = block.sort_values("mean_log_density", ascending=False, kind="stable")
    best = block.configuration.iloc[0]
    gone = []
    for name in last.index.difference(stayed):
        # Only the same rounds of the best one: the same rows in the same replicates.
        shared = points.configuration.isin([best, name]) & (
            points["round"] <= last[name]
        )
        pair = _paired(points[shared], best)
        gone.append(pair[pair.configuration == name].assign(left_after=last[name]))
    if gone:
        left = pd.concat(gone).sort_values(
            ["left_after", "difference"], ascending=False, kind="stable"
        )
        block = pd.concat([block, left])
    block["rank"] = np.arange(1, len(block) + 1)
    return block


def _paired(points: pd.DataFrame, best: str | None = None) -> pd.DataFrame:
    """Scores over the common rows, and paired differences to the best configuration."""
    scored = mean_by_row(points)
    # A configuration must not win because it fails, and so has no score, on hard rows.
    common = scored.dropna(axis=1, how="all").dropna()
    scored = scored.loc[common.index]
    scores = scored.log_density
    means = scores.mean()
    if best is None:
        best = means.idxmax() if means.notna().any() else scores.columns[0]
    differences = scores.sub(scores[best], axis=0)
    difference, error = differences.mean(), differences.sem()
    with np.errstate(invalid="ignore", divide="ignore"):
        behind = (-difference / error).mask((difference == 0) & (error == 0), 0.0)
    return pd.DataFrame(
        {
            "configuration": scores.columns,
            "rows": len(common),
            "elpd": scores.sum(min_count=1).to_numpy(),
            "mean_log_density": means.to_numpy(),
            "standard_error": scores.sem().to_numpy(),
            "difference": difference.to_numpy(),
            "difference_se": error.to_numpy(),
            "probability_worse": ndtr(behind.mask(scores.columns == best).to_numpy()),
            "rmse": (scored.squared_error.mean() ** 0.5)[scores.columns].to_numpy(),
            "left_after": np.nan,
        }
    )


def _caution(entry: Any) -> str:
    """Why not to rely on an entry of the table (a named tuple), in words."""
    words = []
    if np.isnan(entry.mean_log_density):
        words.append("no row has a score")
    if not np.isnan(entry.left_after):
        words.append(
            f"left the race after round {entry.left_after:.0f} and is compared over "
            f"the {entry.rows} rows that it shares with the best"
        )
    if entry.probability_worse < ndtr(DECISIVE):
        behind = (
            -entry.difference / entry.difference_se if entry.difference_se > 0 else 0.0
        )
        words.append(
            f"{behind:.1f} standard errors behind the best, less than {DECISIVE:.0f}: "
            "not decisive"
        )
    if entry.rows < FEW_ROWS:
        words.append(f"only {entry.rows} rows: standard errors are unreliable")
    if entry.failed:
        words.append(
            f"{entry.failed} of {entry.folds} folds failed: rows without a score are "
            "left out for all"
        )
    return "; ".join(words)


def _check_same_rows(points: pd.DataFrame) -> None:
    """Refuse configurations with different rows in the same size and round."""
    names = list(dict.fromkeys(points.configuration))
    for size, of_size in points.groupby("size"):
        previous: set[str] | None = None
        for number, of_round in of_size.groupby("round"):
            rows = {
                name: sorted(zip(scored.replicate, scored.row, strict=True))
                for name, scored in of_round.groupby("configuration")
            }
            # Later rounds of a race may lack configurations, for good.
            expected = names if previous is None else list(rows)
            reference = next(name for name in names if name in rows)
            for name in expected:
                found = rows.get(name, [])
                back = previous is not None and name not in previous
                if found != rows[reference] or back:
                    other = sorted(set(found) ^ set(rows[reference]))
                    replicate, row = other[0] if other else rows[reference][0]
                    raise ValueError(
                        "points: expected every configuration on the same rows, but at "
                        f"size {size} those of {name!r} are not those of "
                        f"{reference!r} (replicate {replicate}, row {row}, round "
                        f"{number}); compare scores of the same points only"
                    )
            previous = set(rows)
