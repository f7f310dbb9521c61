"""The finished cells of a comparison, in memory and on disk, and the tables of them.

No finished fit is lost: every cell is a file, which is there in full or not at all. A
manifest records what the cells were computed from. A folder with cells of
other configurations or data is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import partial
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from time import monotonic
from typing import Any
from warnings import warn

import numpy as np
import pandas as pd
from botorch.exceptions.warnings import BotorchWarning
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from botorch_xval.comparison.files import write_in_full
from botorch_xval.comparison.paired import (
    groups_of,
    in_common,
    mean_by_row,
    scored_names,
    tabulate,
)
from botorch_xval.cross_validation.files import read_json
from botorch_xval.cross_validation.folds import Folds

__all__ = ["Cell", "CellFolder", "Outcomes"]

FORMAT = 2  # goes up when fingerprints or cells get another meaning (1: by bytecode)
COUNTS = ("folds", "failed", "single", "evaluations", "seconds")
PACKAGES = (
    *("botorch-xval", "botorch", "gpytorch", "linear_operator"),
    *("numpy", "scipy", "torch"),
)


@dataclass(frozen=True)
class Cell:
    """What is computed in one go: folds of one configuration on one dataset."""

    configuration: str
    size: int
    replicate: int
    folds: tuple[int, ...]
    """Numbers of the folds: all, or those of one round of a race."""


class CellFolder:
    """The folder `cells` of a comparison: `manifest.json` and a file per cell."""

    def __init__(self, folder: Path, fingerprints: Mapping[str, str]) -> None:
        """Open or begin the folder, which must be that of this run alone.

        Args:
            folder: The folder of the comparison.
            fingerprints: What the cells depend on, by a name for error messages. Those
                that the folder does not know yet are added.

        Raises:
            ValueError: If the folder has cells of another fingerprint of that name, or
                cells in another format, or if its manifest is damaged.
            OSError: If the folder cannot be written to.
        """
        self.folder = folder / "cells"
        path = self.folder / "manifest.json"
        versions, known = _versions(), dict[str, str]()
        if any(other != path for other in self.folder.glob("*.json")):
            remedy = f"restore it, or delete {self.folder} to begin anew"
            manifest = _read(path, remedy, _manifest_of)
            self._check(manifest, fingerprints)
            _warn_of_versions(folder, manifest["versions"], versions)
            versions, known = manifest["versions"], manifest["fingerprints"]
        manifest = {"format": FORMAT, "versions": versions}
        manifest["fingerprints"] = {**known, **fingerprints}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_in_full(path, json.dumps(manifest, indent=1))

    def _check(self, manifest: dict[str, Any], fingerprints: Mapping[str, str]) -> None:
        """Raise an error if the cells were computed from something else."""
        remedy = f"use another folder, or delete {self.folder} to begin anew"
        if (found := manifest.get("format", 1)) != FORMAT:
            raise ValueError(
                f"folder: expected cells in format {FORMAT} in {self.folder.parent}, "
                f"got format {found} of another version of botorch_xval; {remedy}"
            )
        known = manifest["fingerprints"]
        changed = [n for n, f in fingerprints.items() if known.get(n, f) != f]
        if changed:
            raise ValueError(
                f"folder: expected cells of the same comparison in {self.folder.parent}"
                f", got cells of other values of {', '.join(changed)}; {remedy}"
            )

    def load(self, cell: Cell) -> dict[str, Any] | None:
        """What :meth:`keep` was given for a cell; None if it is not finished."""
        path = self._path(cell)
        if not path.exists():
            return None
        remedy = f"delete {path}, and it will be computed again"
        return _read(path, remedy, partial(_outcome_of, cell=cell))

    def keep(self, cell: Cell, outcome: dict[str, Any]) -> None:
        """Write the outcome of a cell: numbers, text, lists and dictionaries."""
        content = {"cell": astuple(cell), "outcome": outcome}
        write_in_full(self._path(cell), json.dumps(content))

    def _path(self, cell: Cell) -> Path:
        digest = sha256(json.dumps(astuple(cell)).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.json"


class Outcomes:
    """The outcomes of all cells so far, in the order in which cells were planned."""

    def __init__(
        self,
        rows: Mapping[tuple[int, int], NDArray[np.int64]],
        bar: tqdm,
        folder: Path | None = None,
        cells: CellFolder | None = None,
        groups: Tensor | None = None,
    ) -> None:
        """
        Args:
            rows: By size and replicate the rows of the table.
            bar: Shows how many cells are finished.
            folder: Where to write tables.
            cells: Where to keep cells.
            groups: The number of the label of each row of the table, if there are some.
        """
        self._rows, self._bar, self._folder, self._cells = rows, bar, folder, cells
        self._groups = None if groups is None else groups.numpy()
        self._rounds: dict[Cell, int] = {}
        self._outcomes: dict[Cell, dict[str, Any]] = {}
        self.errors: dict[Cell, Exception] = {}  # of cells without a score
        # When tables were last written and how long that took, in seconds: many small
        # cells must not wait for them.
        self._written, self._cost = -math.inf, 0.0

    def plan(self, cells: list[Cell], number: int) -> list[Cell]:
        """Add the cells of a round; returns those that are not on disk."""
        self._rounds |= dict.fromkeys(cells, number)
        self._bar.total = len(self._rounds)
        if self._cells is not None:
            found = {cell: self._cells.load(cell) for cell in cells}
            loaded = {cell: each for cell, each in found.items() if each is not None}
            self._outcomes |= loaded
            self._bar.update(len(loaded))
        return [cell for cell in cells if cell not in self._outcomes]

    def keep(self, cell: Cell, outcome: dict[str, Any]) -> None:
        """Take over the outcome of a cell, see `compare.score_cell`."""
        self._outcomes[cell] = outcome
        if self._cells is not None:
            self._cells.keep(cell, outcome)
        if monotonic() - self._written > 10 * self._cost:
            self.write()
        self._bar.update()

    def fail(self, cell: Cell, folds: Folds, error: Exception) -> None:
        """A cell that has no score; the same call will compute it again.

        Args:
            cell: The cell.
            folds: Its folds.
            error: What it raised.
        """
        rows = folds.held_out.nonzero()[:, 1].tolist()
        blank = [math.nan] * len(rows)
        count = len(folds.names)
        self._outcomes[cell] = {
            **{"rows": rows, "log_density": blank, "squared_error": blank},
            **{"folds": count, "failed": count, "single": 0},
            **{"evaluations": 0, "seconds": 0.0},
        }
        self.errors[cell] = error
        self._bar.update()

    def check(self) -> None:
        """Name the configurations that have cells without a score.

        Raises:
            Exception: That of the first cell, if no cell has a score.
        """
        if not self.errors:
            return
        if len(self.errors) == len(self._outcomes):
            raise next(iter(self.errors.values()))
        named = [
            f"{cell.configuration!r} of {cell.size} rows ({type(e).__name__}: {e})"
            for cell, e in self.errors.items()
        ]
        warn(
            f"{len(named)} of {len(self._outcomes)} cells could not be computed and "
            "have no scores: " + ", ".join(named[:5]),
            BotorchWarning,
            stacklevel=3,
        )

    def look(
        self, size: int, names: list[str]
    ) -> tuple[pd.DataFrame, pd.Series | None]:
        """Log densities by row and configuration, averaged over replicates.

        Returns:
            These and the groups of rows, as :func:`leaving` takes them.
        """
        points, _ = self.frames()
        points = points[(points["size"] == size) & points.configuration.isin(names)]
        means = mean_by_row(in_common(points, scored_names(points)))
        return means["log_density"][names], groups_of(points)

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Points and fits of the finished cells, see :class:`Comparison`."""
        points, fits = [], []
        for cell, number in self._rounds.items():
            if (outcome := self._outcomes.get(cell)) is None:
                continue
            rows = self._rows[cell.size, cell.replicate]
            labels = {
                "configuration": cell.configuration,
                "size": cell.size,
                "replicate": cell.replicate,
                "round": number,
            }
            scores = {name: outcome[name] for name in ("log_density", "squared_error")}
            own = {"row": rows[outcome["rows"]]}
            if self._groups is not None:
                own["group"] = self._groups[own["row"]]
            points.append(pd.DataFrame({**labels, **own, **scores}))
            counts = {name: outcome[name] for name in COUNTS}
            fits.append({**labels, **counts})
        return pd.concat(points, ignore_index=True), pd.DataFrame(fits)

    def missing(self) -> list[Cell]:
        """The cells that were planned and are not finished."""
        return [cell for cell in self._rounds if cell not in self._outcomes]

    def finished(self, begun: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Points and fits of the datasets that all configurations were scored on.

        Args:
            begun: Whether to take, of a size without such a dataset, the first one that
                some configurations were scored on.
        """
        points, fits = self.frames()
        waiting = {
            (cell.size, cell.replicate, self._rounds[cell]) for cell in self.missing()
        }
        chosen: list[tuple[int, int, int]] = []
        datasets = points[["size", "replicate", "round"]].drop_duplicates()
        for _, of_size in datasets.groupby("size"):
            keys = list(of_size.itertuples(index=False, name=None))
            known = [key for key in keys if key not in waiting]
            chosen += known or keys[:begun]
        found = [
            frame[pd.MultiIndex.from_frame(frame[list(datasets)]).isin(chosen)]
            for frame in (points, fits)
        ]
        return found[0].reset_index(drop=True), found[1].reset_index(drop=True)

    def write(self) -> None:
        """Write the tables of what is finished."""
        if self._folder is None or not self._outcomes:
            return
        start = monotonic()
        points, fits = self.frames()
        # Of a size where no dataset is finished the scores of the first that is begun.
        finished = self.finished(begun=True)
        tables = {"points": points, "fits": fits, "scores": tabulate(*finished)}
        for name, table in tables.items():
            write_in_full(self._folder / f"{name}.csv", table.to_csv(index=False))
        self._written = monotonic()
        self._cost = self._written - start


def _outcome_of(content: dict[str, Any], cell: Cell) -> dict[str, Any]:
    """The outcome of a cell in its file."""
    own, outcome = [*astuple(cell)[:-1], list(cell.folds)], content["outcome"]
    if content["cell"] != own:
        raise ValueError(f"the cell {content['cell']!r}")
    for name in ("rows", "log_density", "squared_error"):
        values = np.array(outcome[name])
        if values.shape != (len(outcome["rows"]),):
            raise ValueError(f"{name} of shape {values.shape}")
        if values.dtype.kind not in ("i" if name == "rows" else "if"):
            raise TypeError(f"{name} of type {values.dtype}")
    rows = outcome["rows"]
    if not all(0 <= row < cell.size for row in rows):
        raise ValueError(f"rows {rows!r} of {cell.size}")
    outcome.setdefault("single", 0)  # of cells of before
    for name in COUNTS:
        if not isinstance(outcome[name], int | float):
            raise TypeError(f"{name}: {outcome[name]!r}")
    return outcome


def _manifest_of(content: dict[str, Any]) -> dict[str, Any]:
    """The manifest in its file."""
    if content.get("format", 1) == FORMAT:
        for name in ("versions", "fingerprints"):
            if not all(isinstance(v, str) for v in content[name].values()):
                raise TypeError(f"{name}: {content[name]!r}")
    return content


def _read(
    path: Path, remedy: str, part: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    try:
        return part(read_json(path))
    except Exception as error:  # of a damaged or hostile file: RecursionError, ...
        raise ValueError(
            f"folder: expected a complete file {path}, got a damaged one "
            f"({type(error).__name__}: {str(error)[:200]}); "
            f"{remedy}"
        ) from None


def _versions() -> dict[str, str]:
    found = {"python": python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # used from its source
            continue
    return found


def _warn_of_versions(
    folder: Path, before: Mapping[str, str], now: Mapping[str, str]
) -> None:
    changed = [
        f"{name} {before.get(name)} (now {now.get(name)})"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changed:
        warn(
            f"{folder} was begun with {', '.join(changed)}; scores of old and new "
            "cells may differ for that reason",
            BotorchWarning,
            stacklevel=6,
        )
