"""Which configuration predicts best? Cross-validation scores over dataset sizes.

Configurations are compared on the same rows: a dataset size takes the first rows of a
seeded shuffle, so that smaller datasets are contained in larger ones, and a replicate
is another shuffle. Scores stay pointwise to the end; differences are paired.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd
import torch
from botorch.models.model import Model
from torch import Tensor
from tqdm import tqdm

from botorch_xval.cross_validation import cross_validate
from botorch_xval.folds import Folds, leave_one_out
from botorch_xval.result import CrossValidation
from botorch_xval.scores import squared_error

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Pointwise scores of all configurations, and what follows from them."""

    points: pd.DataFrame
    """Held-out points: `configuration`, `size`, `replicate`, `row` (of the whole
    data), `log_density` (nats, summed over outputs) and `squared_error` (squared unit
    of the outcome, summed over outputs); NaN where the fold's fit failed."""

    fits: pd.DataFrame
    """Cells: `configuration`, `size`, `replicate`, `folds`, `failed` (folds),
    `evaluations` (all models) and `seconds` (everything)."""

    def table(self) -> pd.DataFrame:
        """Mean log predictive density by size and configuration, best first.

        Columns: `size`, `configuration`, `rows` (scored by every configuration that
        has any score; the others are left out for all), over these rows
        `mean_log_density` and its `standard_error`, the paired `difference` to the best
        configuration of that size and its
        `difference_se`, `rmse`, `failed` folds, `evaluations` and `seconds`. Standard
        errors are over distinct rows (scores of a row are first averaged over the
        replicates); they treat rows as independent, which folds that share training
        rows are only nearly, so they are rather too small.
        """
        totals = self.fits.groupby(["size", "configuration"])[
            ["failed", "evaluations", "seconds"]
        ].sum()
        blocks = []
        for size, part in self.points.groupby("size"):
            scored = part[["row", "configuration", "log_density", "squared_error"]]
            scored = scored.groupby(["row", "configuration"]).mean().unstack()
            # A configuration that fails on hard rows must not win by their absence.
            common = scored.dropna(axis=1, how="all").dropna()
            scored = scored.loc[common.index]
            scores = scored.log_density
            rmse = scored.squared_error.mean() ** 0.5
            means = scores.mean()
            best = means.idxmax() if means.notna().any() else scores.columns[0]
            differences = scores.sub(scores[best], axis=0)
            block = pd.DataFrame(
                {
                    "size": size,
                    "configuration": scores.columns,
                    "rows": len(common),
                    "mean_log_density": scores.mean().to_numpy(),
                    "standard_error": scores.sem().to_numpy(),
                    "difference": differences.mean().to_numpy(),
                    "difference_se": differences.sem().to_numpy(),
                    "rmse": rmse[scores.columns].to_numpy(),
                }
            )
            blocks.append(block.sort_values("mean_log_density", ascending=False))
        table = pd.concat(blocks, ignore_index=True)
        return table.join(totals, on=["size", "configuration"])


def compare(
    configurations: Mapping[str, Callable[..., Model]],
    X: Tensor,
    Y: Tensor,
    Yvar: Tensor | None = None,
    *,
    sizes: Sequence[int],
    replicates: int = 1,
    seed: int = 0,
    folds: Callable[[int], Folds] = leave_one_out,
    folder: str | Path | None = None,
    progress: bool = True,
    **cross_validate_kwargs: Any,
) -> Comparison:
    """Cross-validate every configuration at every dataset size, on the same rows.

    Args:
        configurations: By name a class or function that builds a model, see
            :func:`~botorch_xval.cross_validation.cross_validate`.
        X: Inputs, `n x d`.
        Y: Outcomes, `n x m`.
        Yvar: Known variances of the observation noise, `n x m`.
        sizes: Numbers of rows, each at most `n`.
        replicates: How many shuffles of the rows.
        seed: Of the shuffles.
        folds: A function from the number of rows to the folds.
        folder: Where to write `points.csv`, `fits.csv` and `scores.csv`, anew after
            every cell, so that an interrupted comparison keeps what it has.
        progress: Whether to show a progress bar, one step per cell.
        **cross_validate_kwargs: Further arguments of `cross_validate`.

    Returns:
        The comparison.

    Raises:
        ValueError: If there is no configuration or size, or a size does not fit.
    """
    n = len(X)
    if not configurations:
        raise ValueError("configurations: expected at least one, got none")
    for name, values in (("Y", Y), ("Yvar", Yvar)):
        if values is not None and len(values) != n:
            raise ValueError(f"{name}: expected {n} rows as in X, got {len(values)}")
    wrong = [s for s in sizes if not isinstance(s, Integral) or not 3 <= s <= n]
    if wrong or not sizes or len(set(sizes)) < len(sizes):
        raise ValueError(
            f"sizes: expected different whole numbers from 3 to {n} (the rows of X), "
            f"got {list(sizes)}"
        )
    if replicates < 1:
        raise ValueError(f"replicates: expected at least 1, got {replicates}")
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    points: list[pd.DataFrame] = []
    fits: list[dict[str, Any]] = []
    cells = [
        (size, replicate, name)
        for size in sorted(sizes)
        for replicate in range(replicates)
        for name in configurations
    ]
    for size, replicate, name in (bar := tqdm(cells, disable=not progress)):
        bar.set_description(f"{name}, {size} rows")
        # A list of two seeds keeps replicates apart whatever the seed.
        rows = np.random.default_rng([seed, replicate]).permutation(n)[:size]
        index = torch.as_tensor(rows, device=X.device)
        start = monotonic()
        result = cross_validate(
            configurations[name],
            X[index],
            Y[index],
            None if Yvar is None else Yvar[index],
            folds=folds,
            **cross_validate_kwargs,
        )
        cell = {"configuration": name, "size": size, "replicate": replicate}
        points.append(_points(cell, rows, result))
        fits.append(
            {
                **cell,
                "folds": len(result.folds.names),
                "failed": len(result.failed),
                "evaluations": sum(r.evaluations for r in result.records),
                "seconds": monotonic() - start,
            }
        )
        comparison = Comparison(
            pd.concat(points, ignore_index=True), pd.DataFrame(fits)
        )
        if folder is not None:
            _write(comparison, Path(folder))
    return comparison


def _points(
    cell: dict[str, Any], rows: np.ndarray, result: CrossValidation
) -> pd.DataFrame:
    error = squared_error(result.mean, result.observed)
    return pd.DataFrame(
        {
            **cell,
            "row": rows[result.rows.cpu().numpy()],
            "log_density": result.log_density.sum(dim=-1).cpu().numpy(),
            "squared_error": error.sum(dim=-1).cpu().numpy(),
        }
    )


def _write(comparison: Comparison, folder: Path) -> None:
    tables = {
        "points.csv": comparison.points,
        "fits.csv": comparison.fits,
        "scores.csv": comparison.table(),
    }
    for name, table in tables.items():
        draft = folder / f".{name}.new"
        table.to_csv(draft, index=False)
        os.replace(draft, folder / name)  # a reader never sees half a file
