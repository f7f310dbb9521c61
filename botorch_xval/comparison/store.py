"""The finished cells of a comparison on disk, so that no finished fit is lost.

Every cell is a file of its own, written in full before it gets its name. A manifest
records what the cells were computed from, and refuses other configurations or data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any
from warnings import warn

from botorch.exceptions.warnings import BotorchWarning

__all__ = ["Cell", "CellFolder", "write_in_full"]

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
        """Open or begin the folder.

        Args:
            folder: Of the comparison.
            fingerprints: Of everything that the cells depend on, by a name for error
                messages. Those that the folder does not know yet are added.

        Raises:
            ValueError: If the folder was begun with another fingerprint of that name.
        """
        self.folder = folder / "cells"
        path = self.folder / "manifest.json"
        versions = _versions()
        manifest: dict[str, Any] = {"versions": versions, "fingerprints": {}}
        if path.exists():
            manifest = _read(path, self.folder)
        known = manifest["fingerprints"]
        changed = [n for n, f in fingerprints.items() if known.get(n, f) != f]
        if changed:
            raise ValueError(
                f"folder: {folder} holds a comparison with other values of "
                f"{', '.join(changed)}; use another folder, or delete {self.folder} to "
                "begin anew"
            )
        if manifest["versions"] != versions:
            pairs = [
                f"{name} {manifest['versions'].get(name)} (now {versions.get(name)})"
                for name in sorted({*versions, *manifest["versions"]})
                if manifest["versions"].get(name) != versions.get(name)
            ]
            warn(
                f"{folder} was begun with {', '.join(pairs)}; scores of old and new "
                "cells may differ for that reason",
                BotorchWarning,
                stacklevel=3,
            )
        manifest["fingerprints"] = {**known, **fingerprints}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_in_full(path, json.dumps(manifest, indent=1))

    def load(self, cell: Cell) -> dict[str, Any] | None:
        """What :meth:`keep` was given for a cell; None if it is not finished."""
        path = self._path(cell)
        return _read(path, path)["outcome"] if path.exists() else None

    def keep(self, cell: Cell, outcome: dict[str, Any]) -> None:
        """Write the outcome of a cell: numbers, text, lists and dictionaries."""
        content = {"cell": astuple(cell), "outcome": outcome}
        write_in_full(self._path(cell), json.dumps(content))

    def _path(self, cell: Cell) -> Path:
        digest = sha256(json.dumps(astuple(cell)).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.json"


def write_in_full(path: Path, text: str) -> None:
    """Write a file that, whenever the process is killed, is there in full or as before.

    Args:
        path: Of the file.
        text: Its content.
    """
    draft = path.with_name(f".{path.name}.new")
    with open(draft, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _read(path: Path, remedy: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"folder: {path} is damaged ({error}); delete {remedy}, and it will be "
            "computed again"
        ) from None


def _versions() -> dict[str, str]:
    found = {"python": python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # used from its source
            continue
    return found
