"""Files of results: numbers and text only, of bounded size, whatever is in them.

Nothing in a file is run (no pickle), and no size is believed: an array is read if its
bytes are there, and if all of them take no more than a gibibyte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from botorch_xval.models.checks import wrong

__all__ = ["checked", "read_arrays", "read_json"]

MOST = 2**30  # bytes of all arrays of a file
MOST_TEXT = 2**28  # bytes of JSON, whose objects take some ten times as much
MOST_ARRAYS = 1000
KINDS = "biufU"  # of arrays: truth values, numbers, text


@contextmanager
def checked(path: str | Path, written_by: str) -> Iterator[Path]:
    """Turn any error of reading a file into one that names it.

    Args:
        path: The file.
        written_by: The function that writes such files.

    Yields:
        The path.

    Raises:
        ValueError: If the path is no path, or an error was raised within.
    """
    if not isinstance(path, str | Path):
        remedy = f"pass that of a file written by {written_by}"
        raise wrong("path", "a path", type(path).__name__, remedy)
    try:
        if not Path(path).is_file():
            raise OSError("no such file")
        yield Path(path)
    except Exception as error:  # a damaged or hostile file may raise any
        remedy = "save it again, and check that the copy is complete"
        got = f"something else ({type(error).__name__}: {str(error)[:200]})"
        raise wrong(
            str(path), f"a file written by {written_by}", got, remedy
        ) from error


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz`, each as large as its bytes.

    Args:
        path: The file.

    Returns:
        By name the arrays.

    Raises:
        Exception: Of many kinds, if the file is something else.
    """
    found: dict[str, NDArray[Any]] = {}
    with ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MOST_ARRAYS:
            raise ValueError(f"{len(members)} arrays, more than {MOST_ARRAYS}")
        if (size := sum(member.file_size for member in members)) > MOST:
            raise ValueError(f"{size} bytes, more than {MOST}")
        for member in members:
            found[member.filename.removesuffix(".npy")] = _array(archive.read(member))
    return found


def read_json(path: Path) -> Any:
    """What is in a JSON file.

    Raises:
        Exception: Of several kinds, if the file is something else.
    """
    if (size := path.stat().st_size) > MOST_TEXT:
        raise ValueError(f"{size} bytes, more than {MOST_TEXT}")
    return json.loads(path.read_text(encoding="utf-8"))


def _array(content: bytes) -> NDArray[Any]:
    """An array in NumPy's format."""
    file = BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"version {version} of NumPy's format")
    shape, is_fortran, dtype = header
    if dtype.kind not in KINDS:
        raise ValueError(f"an array of {dtype}, which is neither numbers nor text")
    size, there = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if size != there or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape} in {there} bytes")
    values = np.frombuffer(content, dtype, offset=file.tell())
    # A copy, which can be written to.
    return values.reshape(shape, order="F" if is_fortran else "C").copy()
