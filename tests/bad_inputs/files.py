"""Damaged and hostile files of results."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import astuple
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from bad_inputs.case import Case, comparison, refitted, search_found, table_of
from botorch_xval import Comparison, CrossValidation, ModelSearch
from botorch_xval.comparison.store import Cell, CellFolder
from botorch_xval.cross_validation import Recalibration, recalibrate

DEEP = "[" * 100_000 + "]" * 100_000


class Opened:
    """Leaves a trace if it is unpickled."""

    def __reduce__(self):
        return open, ("opened", "w")


def header(shape: str, dtype: str = "<f8") -> bytes:
    """The head of an array in NumPy's format, whatever it claims."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def npy(value: Any, pickled: bool = False) -> bytes:
    file = BytesIO()
    np.lib.format.write_array(file, np.asarray(value), allow_pickle=pickled)
    return file.getvalue()


@cache
def content(kind: type) -> dict[str, bytes]:
    """The members of a valid file."""
    made = {
        CrossValidation: refitted,
        Recalibration: lambda: recalibrate(refitted()),
        Comparison: comparison,
    }[kind]()
    folder = Path(mkdtemp())
    made.save(folder / "valid.npz")
    with zipfile.ZipFile(folder / "valid.npz") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(members: dict[str, bytes]) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def text_of(kind: type, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A file whose JSON was changed."""
    members = dict(content(kind))
    text = json.loads(str(np.load(BytesIO(members["text.npy"]))))
    change(text)
    return archive_of(members | {"text.npy": npy(json.dumps(text))})


def loading(kind: type, data: bytes | Callable[[], bytes]) -> Callable[[Path], Any]:
    def call(folder: Path) -> Any:
        path = folder / "saved"
        path.write_bytes(data() if callable(data) else data)
        return kind.load(path)

    return call


def claiming(data: bytes, size: int) -> bytes:
    """An archive whose directory says that its first member has another size."""
    at = data.index(b"PK\x01\x02") + 24
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


def of_arrays(kind: type, first: str, name: str) -> list[Case]:
    """The cases of a file of arrays, in which `first` is one of numbers."""
    where = rf"saved: expected a file written by {name}.save"

    def spoiled(data: bytes) -> Callable[[Path], Any]:
        return loading(kind, lambda: archive_of(content(kind) | {f"{first}.npy": data}))

    half = loading(kind, lambda: archive_of(content(kind))[:300])
    cut = loading(kind, lambda: archive_of(content(kind))[:-30])
    lacking = loading(
        kind,
        lambda: archive_of(
            {k: v for k, v in content(kind).items() if k != f"{first}.npy"}
        ),
    )
    many = loading(kind, lambda: archive_of({f"{i}.npy": npy(i) for i in range(1001)}))
    return table_of(
        f"cross_validation.{kind.__name__}" if kind is Recalibration else kind.__name__,
        ("no file", lambda folder: kind.load(folder / "saved"), where, "no such",
         "save"),
        ("a folder", lambda folder: kind.load(folder), "expected a file written by",
         "no such",
         "save"),
        ("no path", lambda: kind.load(3), "path: expected a path", "int", "save"),
        ("empty", loading(kind, b""), where, "BadZipFile", "save it again"),
        ("text", loading(kind, b"hello"), where, "BadZipFile", "save it again"),
        ("a pickle", loading(kind, pickle.dumps(Opened())), where, "BadZip", "save it"),
        ("a NumPy array", loading(kind, npy(np.ones(3))), where, "BadZip", "save it"),
        ("half of it", half, where, "BadZipFile", "copy"),
        ("without its end", cut, where, "BadZipFile|EOF|invalid", "copy"),
        ("without an array", lacking, where, "Error|missing", "save it again"),
        ("many arrays", many, where, "1001 arrays", "save it again"),
        ("an array of objects", spoiled(npy(np.array([Opened()]), True)), where,
         "object", "save it again"),
        ("an array of dates", spoiled(npy(np.array(["2020"], "M8[D]"))), where,
         "datetime64", "save it again"),
        ("terabytes in its head", spoiled(header("(1000000000000,)")), where,
         "1000000000000", "save it again"),
        ("more than there are", spoiled(header("(1" + "0" * 30 + ",)")), where, "10000",
         "save it again"),
        ("a negative shape", spoiled(header("(-1,)")), where, "Error", "save it again"),
        ("a head of something else", spoiled(b"\x93NUMPY\x01\x00\x05\x00[[[[["), where,
         "Error", "save it again"),
        ("another format", spoiled(b"\x93NUMPY\x09\x00" + bytes(200)), where, "9, 0",
         "save it again"),
        ("gigabytes in its directory", loading(
         kind, lambda: claiming(archive_of(content(kind)), 0xFFFFFFF0)), where, "bytes",
         "save it again"),
        ("fewer in its directory", loading(
         kind, lambda: claiming(archive_of(content(kind)), 140)), where, "Error|BadZip",
         "save it again"),
    )  # fmt: skip


def of_text(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    return loading(CrossValidation, lambda: text_of(CrossValidation, change))


def of_array(name: str, value: Any) -> Callable[[Path], Any]:
    return loading(
        CrossValidation,
        lambda: archive_of(content(CrossValidation) | {f"{name}.npy": npy(value)}),
    )


WHERE = "saved: expected a file written by CrossValidation.save"
AGAIN = "save it again"
RESULTS = table_of(
    "CrossValidation",
    ("JSON of 100,000 brackets", of_array("text", DEEP), WHERE, "RecursionError",
     AGAIN),
    ("no JSON", of_array("text", "{"), WHERE, "JSONDecodeError", AGAIN),
    ("a list", of_array("text", "[1]"), WHERE, "TypeError", AGAIN),
    ("a number of a million digits", of_array("text", "1" * 10**6), WHERE, "Error",
     AGAIN),
    ("no fits", of_text(lambda t: t.pop("fits")), WHERE, "fits", AGAIN),
    ("fits of numbers", of_text(lambda t: t.update(fits=[1])), WHERE, "Error", AGAIN),
    ("a fit with another field", of_text(lambda t: t["fits"][0].update(evil=1)), WHERE,
     "evil", AGAIN),
    ("losses as text", of_text(lambda t: t["fits"][0]["record"].update(losses="a")),
     WHERE, "losses", AGAIN),
    ("evaluations as text", of_text(
     lambda t: t["fits"][0]["record"].update(evaluations="9")), WHERE, "evaluations",
     AGAIN),
    ("an unknown status", of_text(lambda t: t["fits"][0]["record"].update(status="x")),
     WHERE, "KeyError", AGAIN),
    ("a fit of no fold", of_text(lambda t: t["fits"][0].update(fold=99)), WHERE, "99",
     AGAIN),
    ("names of other folds", of_text(lambda t: t.update(names=["a"])), WHERE, "names",
     AGAIN),
    ("failures as a list", of_text(lambda t: t.update(failed=[1])), WHERE, "Error",
     AGAIN),
    ("evaluations as a list", of_text(lambda t: t.update(full_evaluations=[1])), WHERE,
     "TypeError", AGAIN),
    ("an estimate of text", of_text(lambda t: t.update(estimate="x")), WHERE, "Error",
     AGAIN),
    ("a correction of text", of_text(lambda t: t.update(corrected="x")), WHERE,
     "corrected", AGAIN),
    ("links that are not there", of_text(lambda t: t.update(links=[{}])), WHERE,
     "Error",
     AGAIN),
    ("rows that do not exist", of_array("rows", np.arange(8) + 5), WHERE, "exist",
     AGAIN),
    ("negative rows", of_array("rows", np.arange(8) - 5), WHERE, "exist", AGAIN),
    ("rows as floats", of_array("rows", np.arange(8.0)), WHERE, "exist", AGAIN),
    ("folds that do not exist", of_array("fold_of", np.full(8, 3)), WHERE, "exist",
     AGAIN),
    ("means of other points", of_array("mean", np.ones((5, 1))), WHERE, "shape", AGAIN),
    ("means of one dimension", of_array("mean", np.ones(8)), WHERE, "shape", AGAIN),
    ("variances as text", of_array("variance", np.full((8, 1), "a")), WHERE, "Error",
     AGAIN),
    ("variances as whole numbers", of_array("variance", np.ones((8, 1), int)), WHERE,
     "int64", AGAIN),
    ("a mask of numbers", of_array("held_out", np.ones((3, 8))), WHERE, "float64",
     AGAIN),
    ("a mixture of other points", of_array("mixed_weights", np.ones((2, 3))), WHERE,
     "Error", AGAIN),
)  # fmt: skip


def searching(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def call(folder: Path) -> Any:
        search_found().save(folder / "valid")
        text = json.loads((folder / "valid").read_text())
        change(text)
        (folder / "saved").write_text(json.dumps(text))
        return ModelSearch.load(folder / "saved")

    return call


FOUND = "saved: expected a file written by ModelSearch.save"
SEARCHES = table_of(
    "ModelSearch",
    ("no file", lambda folder: ModelSearch.load(folder / "saved"), FOUND, "no such",
     "sa"),
    ("no path", lambda: ModelSearch.load(None), "path: expected a path", "NoneType",
     ";"),
    ("empty", loading(ModelSearch, b""), FOUND, "JSONDecodeError", AGAIN),
    ("a pickle", loading(ModelSearch, pickle.dumps(Opened())), FOUND, "Error", AGAIN),
    ("100,000 brackets", loading(ModelSearch, DEEP.encode()), FOUND, "Recursion",
     AGAIN),
    ("a list", loading(ModelSearch, b"[]"), FOUND, "TypeError", AGAIN),
    ("a number of a million digits", loading(ModelSearch, b"1" * 10**6), FOUND, "Error",
     AGAIN),
    ("half of it", loading(ModelSearch, b'{"format": 1, "specs": ['), FOUND, "JSON",
     AGAIN),
    ("no format", searching(lambda t: t.pop("format")), FOUND, "format", AGAIN),
    ("another format", searching(lambda t: t.update(format=7)), FOUND, "format 7",
     AGAIN),
    ("specs of numbers", searching(lambda t: t.update(specs=[1])), FOUND, "Error",
     AGAIN),
    ("no specs", searching(lambda t: t.update(specs=[])), FOUND, "specs", AGAIN),
    ("an unknown kernel", searching(lambda t: t["specs"][0].update(kernel="x")), FOUND,
     "kernel", AGAIN),
    ("nested columns", searching(lambda t: t["specs"][0].update(choice_dims=[[1]])),
     FOUND, "choice_dims", AGAIN),
    ("points of other lengths", searching(lambda t: t["points"]["row"].pop()), FOUND,
     "Error", AGAIN),
    ("scores as text", searching(lambda t: t["points"].update(
     log_density=["a"] * 40)), FOUND, "log_density", AGAIN),
    ("no fits", searching(lambda t: t.pop("fits")), FOUND, "fits", AGAIN),
    ("failures as a list", searching(lambda t: t.update(failed=[1])), FOUND, "Err",
     AGAIN),
)  # fmt: skip

CELL = Cell("a", 3, 0, (0, 1, 2))
OUTCOME = {
    **{"rows": [0, 1, 2], "log_density": [0.0] * 3, "squared_error": [0.0] * 3},
    **{"folds": 3, "failed": 0, "evaluations": 9, "seconds": 0.1},
}


def opening(
    manifest: str | None = None, cell: str | None = None
) -> Callable[[Path], Any]:
    """A folder with a finished cell, one of whose files was replaced."""

    def call(folder: Path) -> Any:
        cells = CellFolder(folder, {"model": "1"})
        cells.keep(CELL, OUTCOME)
        paths = sorted((folder / "cells").glob("*.json"), key=lambda p: len(p.name))
        for path, text in zip(paths, (manifest, cell), strict=True):
            if text is not None:
                path.write_text(text)
        return CellFolder(folder, {"model": "1"}).load(CELL)

    return call


def other(**changes: Any) -> str:
    own = [*astuple(CELL)[:-1], list(CELL.folds)]
    return json.dumps({"cell": own, "outcome": OUTCOME | changes})


WHOLE, DELETE = (
    "folder: expected a complete file",
    "delete .*(computed again|begin anew)",
)
CELLS = table_of(
    "compare",
    ("an empty manifest", opening(""), WHOLE, "JSONDecodeError", DELETE),
    ("a manifest of brackets", opening(DEEP), WHOLE, "RecursionError", DELETE),
    ("a manifest that is a list", opening("[]"), WHOLE, "Error", DELETE),
    ("a manifest without fingerprints", opening('{"format": 2}'), WHOLE, "KeyErr",
     DELETE),
    ("fingerprints of numbers", opening(
     '{"format": 2, "versions": {}, "fingerprints": {"model": 1}}'), WHOLE, "TypeError",
     DELETE),
    ("another format of cells", opening('{"format": 9}'),
     "folder: expected cells in form",
     "9", "use another folder"),
    ("other cells", opening('{"format": 2, "versions": {}, "fingerprints": '
     '{"model": "2"}}'), "folder: expected cells of the same", "model",
     "another folder"),
    ("an empty cell", opening(cell=""), WHOLE, "JSONDecodeError", DELETE),
    ("a cell of brackets", opening(cell=DEEP), WHOLE, "RecursionError", DELETE),
    ("a cell that is a number", opening(cell="3"), WHOLE, "TypeError", DELETE),
    ("a cell without scores", opening(cell='{"outcome": {}}'), WHOLE, "KeyError",
     DELETE),
    ("that of another cell", opening(cell='{"cell": [], "outcome": {}}'), WHOLE, "cell",
     DELETE),
    ("scores as text", opening(cell=other(log_density="abc")), WHOLE, "Error", DELETE),
    ("scores of other rows", opening(cell=other(log_density=[1.0])), WHOLE, "shape",
     DELETE),
    ("negative rows", opening(cell=other(rows=[-1, 0, 1])), WHOLE, "rows", DELETE),
    ("seconds as text", opening(cell=other(seconds="a")), WHOLE, "seconds", DELETE),
)  # fmt: skip
CASES = [
    *of_arrays(CrossValidation, "mean", "CrossValidation"),
    *of_arrays(Comparison, "points.row", "Comparison"),
    *of_arrays(
        Recalibration, "recalibration_factor", "(Recalibration|CrossValidation)"
    ),
    *RESULTS,
    *SEARCHES,
    *CELLS,
]
