"""Which configuration predicts best? Cross-validation scores over dataset sizes.

Configurations are compared on the same rows: a dataset size takes the first rows of a
seeded shuffle, so that smaller datasets are contained in larger ones, and a replicate
is another shuffle. Scores stay pointwise to the end; differences are paired.

The work is cut into cells: one configuration on one dataset, or in a race some of its
folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import groupby, pairwise, product
from numbers import Integral
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd
import torch
from botorch.models.model import Model
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from botorch_xval.comparison.execution import check_picklable, score_cell, submit_cells
from botorch_xval.comparison.fingerprint import fingerprint
from botorch_xval.comparison.race import leaving, rounds
from botorch_xval.comparison.store import Cell, CellFolder, write_in_full
from botorch_xval.comparison.table import Comparison, tabulate
from botorch_xval.cross_validation.folds import (
    Folds,
    FoldsLike,
    leave_one_out,
    make_folds,
    restrict,
)
from botorch_xval.fitting.options import FitOptions

__all__ = ["Comparison", "compare"]


def compare(
    configurations: Mapping[str, Callable[..., Model]],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None = None,
    *,
    sizes: Sequence[int],
    folds: FoldsLike = leave_one_out,
    groups: Sequence[Hashable] | None = None,
    fit: str = "refit",
    fit_options: FitOptions | None = None,
    threshold: float = 0.5,
    mll: type[MarginalLogLikelihood] = ExactMarginalLogLikelihood,
    progress: bool = False,
    replicates: int = 1,
    seed: int = 0,
    race: bool = False,
    folder: str | Path | None = None,
    executor: Executor | None = None,
) -> Comparison:
    """Cross-validate every configuration at every dataset size, on the same rows.

    Args:
        configurations: By name a class or function that builds a model, see
            :func:`~botorch_xval.cross_validate`.
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`.
        train_Yvar: Known variances of the observation noise, `n x m`.
        sizes: Numbers of rows, each at most `n`.
        folds: As for :func:`~botorch_xval.cross_validate`. A function is called for
            each dataset with its number of rows. Finished folds are of all `n` rows; a
            dataset has those that hold out some of its rows.
        groups: `n` labels; rows of one label are held out together.
        fit: How folds are fitted, see :func:`~botorch_xval.cross_validate`.
        fit_options: Options of all fits.
        threshold: For `fit="adaptive"`: posterior standard deviations.
        mll: The marginal log likelihood of a model.
        progress: Whether to show a progress bar, one step per cell.
        replicates: How many shuffles of the rows.
        seed: Of the shuffles, and of the values that a failed fit starts from again.
        race: Whether a configuration that is clearly behind at some size stops costing
            there, see :mod:`~botorch_xval.comparison.race`. With a `fit` that begins
            with all rows that one is repeated in every round.
        folder: Where to keep every finished cell, in `cells`. The same call, after an
            interruption at any moment, computes only what is not there yet; sizes,
            replicates and configurations may be added. Beside it `points.csv`,
            `fits.csv` and `scores.csv` are written anew after every cell (where cells
            are fast, not more often than a tenth of the time allows) and in the end.
        executor: Computes cells elsewhere (a process pool,
            `dask.distributed.Client.get_executor()`, ...); configurations then have to
            be picklable. What is lost with a worker is computed here. Results are the
            same, except that threads share the random numbers of repeated attempts.

    Returns:
        The comparison.

    Raises:
        ValueError: If there is no configuration or size, a size, folds, labels or a
            number of rows do not fit, the folder was begun with other configurations or
            data, or a configuration cannot be sent to a process pool.
    """
    _check(configurations, train_X, train_Y, train_Yvar, sizes, replicates, groups)
    sizes = sorted(int(size) for size in sizes)
    datasets = _datasets(len(train_X), sizes, replicates, seed, folds, groups)
    schedule = {size: _schedule(datasets, size, replicates, race) for size in sizes}
    ways = {"fit": fit, "fit_options": fit_options, "threshold": threshold, "mll": mll}
    everything: dict[str, Any] = {
        "train_X": train_X,
        "train_Y": train_Y,
        "train_Yvar": train_Yvar,
        "seed": seed,
        **ways,
        **{f"configuration {name!r}": m for name, m in configurations.items()},
    }
    check_picklable(everything, executor)
    store = None
    if folder is not None:
        for (size, replicate), (_, own) in datasets.items():
            name = f"folds of {size} rows, replicate {replicate}"
            everything[name] = (own.held_out, own.names)
        Path(folder).mkdir(parents=True, exist_ok=True)
        known = {name: fingerprint(value) for name, value in everything.items()}
        store = CellFolder(Path(folder), known)

    def arguments(cell: Cell) -> tuple[Any, ...]:
        rows, own = datasets[cell.size, cell.replicate]
        names = [own.names[i] for i in cell.folds]
        index = torch.as_tensor(rows, device=train_X.device)
        return (
            configurations[cell.configuration],
            train_X[index],
            train_Y[index],
            None if train_Yvar is None else train_Yvar[index],
            Folds(own.held_out[list(cell.folds)], names),
            seed,
            ways,
        )

    remaining = {size: list(configurations) for size in sizes}
    with tqdm(total=0, disable=not progress) as bar:
        work = _Work(datasets, None if folder is None else Path(folder), store, bar)
        try:
            for number in range(max(len(own) for own in schedule.values())):
                running = [size for size in sizes if number < len(schedule[size])]
                cells = [
                    Cell(name, size, replicate, chosen)
                    for size in running
                    for replicate, chosen in schedule[size][number].items()
                    for name in remaining[size]
                ]
                waiting = work.begin(cells, number + 1)
                if executor is not None:
                    waiting = submit_cells(waiting, arguments, executor, work.keep)
                for cell in waiting:
                    bar.set_description(f"{cell.configuration}, {cell.size} rows")
                    work.keep(cell, score_cell(*arguments(cell)))
                for size in running:
                    if number + 1 < len(schedule[size]):
                        gone = leaving(work.scores(size, remaining[size]))
                        remaining[size] = [c for c in remaining[size] if c not in gone]
        finally:
            work.write()
    return Comparison(*work.frames())


@dataclass
class _Work:
    """The cells of a comparison so far, in the order of the plan."""

    datasets: dict[tuple[int, int], tuple[NDArray[np.int64], Folds]]
    folder: Path | None
    store: CellFolder | None
    bar: tqdm
    rounds: dict[Cell, int] = field(default_factory=dict)
    outcomes: dict[Cell, dict[str, Any]] = field(default_factory=dict)
    # When tables were last written and how long that took, in seconds: many small cells
    # must not wait for them.
    written: float = -math.inf
    cost: float = 0.0

    def begin(self, cells: list[Cell], number: int) -> list[Cell]:
        """Add the cells of a round; returns those that are not on disk."""
        self.rounds |= dict.fromkeys(cells, number)
        self.bar.total = len(self.rounds)
        if self.store is not None:
            for cell in cells:
                if (outcome := self.store.load(cell)) is not None:
                    self.outcomes[cell] = outcome
                    self.bar.update()
        return [cell for cell in cells if cell not in self.outcomes]

    def keep(self, cell: Cell, outcome: dict[str, Any]) -> None:
        self.outcomes[cell] = outcome
        if self.store is not None:
            self.store.keep(cell, outcome)
        if monotonic() - self.written > 10 * self.cost:
            self.write()
        self.bar.update()

    def scores(self, size: int, names: list[str]) -> pd.DataFrame:
        """Log densities by row and configuration, averaged over replicates."""
        points = self.frames()[0]
        points = points[(points["size"] == size) & points.configuration.isin(names)]
        by = points.groupby(["row", "configuration"]).log_density
        return by.mean().unstack()[names]

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Points and fits of the finished cells."""
        points, fits = [], []
        for cell, number in self.rounds.items():
            if cell not in self.outcomes:
                continue
            outcome = self.outcomes[cell]
            rows, _ = self.datasets[cell.size, cell.replicate]
            own = {
                "configuration": cell.configuration,
                "size": cell.size,
                "replicate": cell.replicate,
                "round": number,
            }
            values = {name: outcome[name] for name in ("log_density", "squared_error")}
            points.append(pd.DataFrame({**own, "row": rows[outcome["rows"]], **values}))
            counts = ("folds", "failed", "evaluations", "seconds")
            fits.append({**own, **{name: outcome[name] for name in counts}})
        return pd.concat(points, ignore_index=True), pd.DataFrame(fits)

    def write(self) -> None:
        """Write the tables of what is finished."""
        if self.folder is None or not self.outcomes:
            return
        start = monotonic()
        points, fits = self.frames()
        waiting = {
            (cell.size, cell.replicate, number)
            for cell, number in self.rounds.items()
            if cell not in self.outcomes
        }
        # Scores are of datasets that all configurations were scored on; of a size that
        # has none yet, of the first one that some were.
        chosen: list[tuple[int, int, int]] = []
        groups = points[["size", "replicate", "round"]].drop_duplicates()
        for _, own in groups.groupby("size"):
            found = list(own.itertuples(index=False, name=None))
            chosen += [group for group in found if group not in waiting] or found[:1]
        parts = [
            frame[pd.MultiIndex.from_frame(frame[list(groups)]).isin(chosen)]
            for frame in (points, fits)
        ]
        tables = {"points": points, "fits": fits, "scores": tabulate(*parts)}
        for name, table in tables.items():
            write_in_full(self.folder / f"{name}.csv", table.to_csv(index=False))
        self.written = monotonic()
        self.cost = self.written - start


def _datasets(
    n: int,
    sizes: list[int],
    replicates: int,
    seed: int,
    folds: FoldsLike,
    groups: Sequence[Hashable] | None,
) -> dict[tuple[int, int], tuple[NDArray[np.int64], Folds]]:
    """By size and replicate the rows of the table, and the folds of these."""
    given: Any = groups
    labels = given.tolist() if hasattr(given, "tolist") else given
    if not callable(folds):  # of all rows
        folds = make_folds(folds, n, groups)
    datasets = {}
    for size, replicate in product(sizes, range(replicates)):
        # A list of two seeds keeps replicates apart whatever the seed.
        rows = np.random.default_rng([seed, replicate]).permutation(n)[:size]
        if isinstance(folds, Folds):
            own = restrict(folds, rows.tolist())
        else:
            own = make_folds(
                folds, size, None if labels is None else [labels[i] for i in rows]
            )
        datasets[size, replicate] = rows, own
    return datasets


def _schedule(
    datasets: dict[tuple[int, int], tuple[NDArray[np.int64], Folds]],
    size: int,
    replicates: int,
    race: bool,
) -> list[dict[int, tuple[int, ...]]]:
    """By round and replicate the numbers of the folds to fit."""
    # One replicate after the other: the rows are shuffled already, and new rows tell
    # more than rows that another replicate has.
    units, points = [], []
    for replicate in range(replicates):
        _, folds = datasets[size, replicate]
        for number, count in enumerate(folds.held_out.sum(dim=1).tolist()):
            units.append((replicate, number))
            points.append(count)
    ends = rounds(points) if race else [len(units)]
    return [
        {
            replicate: tuple(number for _, number in own)
            for replicate, own in groupby(units[first:last], key=lambda unit: unit[0])
        }
        for first, last in pairwise([0, *ends])
    ]


def _check(
    configurations: Mapping[str, Callable[..., Model]],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None,
    sizes: Sequence[int],
    replicates: int,
    groups: Sequence[Hashable] | None,
) -> None:
    n = len(train_X)
    if not configurations:
        raise ValueError("configurations: expected at least one, got none")
    if wrong := [name for name in configurations if not isinstance(name, str)]:
        raise ValueError(f"configurations: expected names as text, got {wrong[0]!r}")
    for name, values in (
        ("train_Y", train_Y),
        ("train_Yvar", train_Yvar),
        ("groups", groups),
    ):
        if values is not None and len(values) != n:
            raise ValueError(
                f"{name}: expected {n} rows as in train_X, got {len(values)}"
            )
    misfits = [s for s in sizes if not isinstance(s, Integral) or not 3 <= s <= n]
    if misfits or not len(sizes) or len(set(sizes)) < len(sizes):
        raise ValueError(
            f"sizes: expected different whole numbers from 3 to {n} (the rows of "
            f"train_X), got {list(sizes)}"
        )
    if replicates < 1:
        raise ValueError(f"replicates: expected at least 1, got {replicates}")
