"""What a comparison found: pointwise scores, and the paired table made of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from botorch_xval.comparison.paired import common_rows, stayed, tabulate
from botorch_xval.comparison.weights import (
    pseudo_bma_plus_weights,
    pseudo_bma_weights,
    stacking_weights,
)
from botorch_xval.cross_validation.elpd_data import make_elpd_data
from botorch_xval.cross_validation.files import checked, read_arrays
from botorch_xval.models.checks import check_type, wrong

__all__ = ["Comparison"]

CELL = ("configuration", "size", "replicate", "round")
POINTS = (*CELL, "row", "log_density", "squared_error")
FITS = (*CELL, "folds", "failed", "evaluations", "seconds")
REMEDY = "take both tables from a result of `compare`"


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
    the fit of the fold failed. With `groups` also `group`, the number of its label."""

    fits: pd.DataFrame
    """One row per cell: `configuration`, `size`, `replicate`, `round`, `folds`,
    `failed` (folds), `single` (folds that are fitted to a single value of an output;
    optional), `evaluations` (of all models) and `seconds` (in all)."""

    def __post_init__(self) -> None:
        for name, frame, columns in (
            ("points", self.points, POINTS),
            ("fits", self.fits, FITS),
        ):
            check_type(name, frame, pd.DataFrame, REMEDY)
            if missing := [c for c in columns if c not in frame]:
                expected = f"the columns {', '.join(columns)}"
                raise wrong(name, expected, f"{', '.join(missing)} missing", REMEDY)
            if frame.empty:
                raise wrong(name, "at least one row", "none", REMEDY)
            for column in columns[1:]:
                if not pd.api.types.is_numeric_dtype(frame[column]):
                    got = f"{frame[column].iloc[0]!r}"
                    raise wrong(name, f"numbers in {column}", got, REMEDY)
        _check_same_rows(self.points)
        if "group" in self.points:
            labels = self.points.groupby("row")["group"].nunique(dropna=False)
            if (labels > 1).any():
                raise ValueError(
                    "points: expected one group for every row, got "
                    f"{labels.max()} for row {labels.idxmax()}; {REMEDY}"
                )

    def table(self) -> pd.DataFrame:
        r"""Log predictive density by size and configuration, best first.

        Scores of a row are first averaged over the replicates, which share rows and
        training sets. Rows of one group are one cluster of the standard errors
        (:mod:`~botorch_xval.cross_validation.clusters`). With the mean :math:`\bar d`
        of the paired differences to the best configuration, its standard error
        :math:`e` and Student's distribution function, `probability_worse` is
        :math:`T_{G-1}(-\bar d / 2 e)` for :math:`G` groups: about the probability that
        the configuration is worse than the best one on further such rows. The 2 is for
        what standard errors do not know, that folds share training rows
        (:data:`~botorch_xval.cross_validation.clusters.OVERLAP`).
        `benchmarks/calibration.py` simulates how often it holds. It takes all
        differences as equally probable beforehand, and does not know that the best one
        was chosen: among many configurations, nearly equal ones, or with fitted
        hyper-parameters and few rows it is too sure.

        Returns:
            Columns: `size`, `rank` (1: best), `configuration`, `rows`, the number of
            rows that count: those with a score of every configuration that has any, and
            `groups`, that of their groups (of rows, without groups). Over these rows
            `elpd` (sum), its standard error `se`, how far it is behind the best,
            `elpd_diff` (from 0 on), and the paired standard error `dse` of that, and
            the stacking `weight`, by ArviZ's names; as means `mean_log_density`, its
            `standard_error`, the paired `difference` to the best (up to 0) and its
            `difference_se` (all in nats); `probability_worse` (NaN for the best) and
            `rmse`. Then `folds`, `failed` folds, `evaluations`, `seconds`, and
            `caution`, in words, where the difference or its standard error is not
            reliable, and where the best is one of more than ten. A configuration that
            left a race comes after all others, is compared over the rows that it has
            in common with the best, and has no weight. In `attrs["selection_bias"]` by
            size by how many nats the `elpd` of the best is too good for having been
            chosen, see :func:`~botorch_xval.comparison.selection_bias`.
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

    def weights(self) -> pd.DataFrame:
        """Weights for a mixture of the configurations' predictions.

        Over the same rows as :meth:`table`.

        Returns:
            One row per size and configuration with a score, in the order of the table:
            `size`, `configuration`, and the weights `stacking`, `pseudo_bma` and
            `pseudo_bma_plus` (ArviZ's "BB-pseudo-BMA"), each with the sum 1, see
            :mod:`~botorch_xval.comparison.weights`. Those that left a race are not
            there: they have no scores of the later rows.
        """
        columns = ["size", "configuration", "stacking", "pseudo_bma", "pseudo_bma_plus"]
        rows: list[tuple[Any, ...]] = []
        for size, points in self.points.groupby("size"):
            common, groups = common_rows(stayed(points))
            if common.empty:
                continue
            scores = common["log_density"]
            values = scores.to_numpy()
            found = zip(
                scores.columns,
                stacking_weights(values),
                pseudo_bma_weights(values),
                pseudo_bma_plus_weights(values, groups),
                strict=True,
            )
            own = [(size, *each) for each in found]
            order = np.argsort(-values.mean(axis=0), kind="stable")
            rows += [own[i] for i in order]
        return pd.DataFrame(rows, columns=columns)

    def to_arviz(self, size: int | None = None) -> dict[str, Any]:
        """Pointwise scores by configuration as ArviZ's `compare` and plots take them.

        `arviz.compare(result.to_arviz())` has the numbers of :meth:`table` by the same
        names, but takes rows as independent. Needs the extra `arviz`.

        Args:
            size: Number of rows of the datasets; default: the largest.

        Returns:
            By name an `ELPDData` of the rows that count in :meth:`table`, see
            :func:`~botorch_xval.cross_validation.elpd_data.make_elpd_data`. Those that
            left a race and those without a score are not there.

        Raises:
            ModuleNotFoundError: If there is no ArviZ.
            ValueError: If there is no dataset of that size, or no row counts.
        """
        sizes = sorted(self.points["size"].unique().tolist())
        size = sizes[-1] if size is None else size
        if size not in sizes:
            raise wrong("size", f"one of {sizes}", size, "see `table()`")
        points = stayed(self.points[self.points["size"] == size])
        common, groups = common_rows(points)
        if common.empty:
            raise ValueError(
                f"to_arviz: expected rows with a score of every configuration at size "
                f"{size}, got none; leave out those that fail"
            )
        of_size = self.fits[self.fits["size"] == size]
        found = {}
        for name in common["log_density"]:
            found[name] = make_elpd_data(
                common["log_density"][name],
                groups,
                num_folds=int(of_size.folds[of_size.configuration == name].sum()),
                num_points=int((points.configuration == name).sum()),
            )
        return found

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
        with checked(path, "Comparison.save") as file:
            for key, values in read_arrays(file).items():
                name, _, column = key.partition(".")
                frames[name][column] = (
                    json.loads(str(values)) if values.ndim == 0 else values
                )
            return cls(*(pd.DataFrame(frame) for frame in frames.values()))


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
                        "points: expected every configuration on the same rows, got "
                        f"others of {name!r} at size {size} than those of "
                        f"{reference!r} (replicate {replicate}, row {row}, round "
                        f"{number}); compare scores of the same points only"
                    )
            previous = set(rows)
