"""Files with tables: CSV, Excel and Parquet, cell by cell."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection, Hashable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

__all__ = [
    "SECOND_HEADER",
    "check_distinct",
    "check_known",
    "check_table",
    "is_empty",
    "is_second_header",
    "number",
    "read_cells",
    "read_table",
    "wrong",
]

# "none" and "NA" may be values of a choice: they are empty in columns of numbers only.
EMPTY_CHOICE = frozenset({"", "nan"})
EMPTY_NUMBER = EMPTY_CHOICE | {"na", "n/a", "<na>", "none", "null"}
DELIMITERS = ",;\t"
SHEETS = frozenset({".xlsx", ".xlsm", ".xls", ".ods"})
PARQUET = frozenset({".parquet", ".pq"})
SECOND_HEADER = (
    "all below it are numbers: if this row is a second header, of types or units, "
    "delete it"
)
TEXT_FILE = "a UTF-8 file separated by commas, semicolons or tabs"


def read_table(path: str | Path, choices: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table with a header line: CSV, Excel or Parquet, by the end of its name.

    A text file (UTF-8) is separated by commas, semicolons or tabs, by whichever its
    header has most of. Of a workbook it is the first sheet.

    Args:
        path: The file. Blank lines are skipped. `.xlsx`, `.xls`, `.xlsm` and `.ods`
            need an engine of pandas, `.parquet` needs one, too; the extra `tables`
            brings those of `.xlsx` and `.parquet`.
        choices: Columns to keep as text, as written: "true", "1", "1.0", "None".

    Returns:
        One row per record, labeled 0, 1, ...; other columns become numbers where every
        cell is a number or empty.

    Raises:
        ValueError: If the file is missing, empty or malformed, or lacks a choice.
    """
    table, _ = read_cells(path)
    check_known(choices, "choices", table)
    return pd.DataFrame(
        {k: list(v) if k in choices else _typed(v) for k, v in table.items()}
    )


def wrong(where: str, expected: str, got: str, remedy: str) -> ValueError:
    """An error: what was expected, what came, what to do."""
    return ValueError(f"{where}: expected {expected}, got {got}; {remedy}")


def read_cells(path: str | Path) -> tuple[pd.DataFrame, dict[Hashable, str]]:
    """All cells as text (NaN: empty), and where in the file each row starts."""
    if not isinstance(path, str | Path):
        remedy = "pass a DataFrame to encode_table, and the name of a file to read it"
        raise wrong("path", "the path of a file", type(path).__name__, remedy)
    path = Path(path)
    kind = path.suffix.lower()
    if kind in SHEETS or kind in PARQUET:
        records = _read_by_pandas(path, kind)
    else:
        records = _read_text(path)
    if len(records) < 2:
        expected, got = "a header line and rows", f"{len(records)} lines with text"
        raise wrong(str(path), expected, got, "check the file")
    (_, header), *body = records
    for line, row in body:
        if len(row) != len(header):
            remedy = "quote cells that contain the separator"
            if len(header) < len(row) <= 2 * len(header):
                remedy += ", and write decimals with a point"
            expected = f"{len(header)} cells"
            raise wrong(f"{path}, line {line}", expected, str(len(row)), remedy)
    cells = [[np.nan if is_empty(cell) else cell for cell in row] for _, row in body]
    table = pd.DataFrame(cells, columns=header, dtype=object)
    check_table(table)
    return table, {i: f" (line {k} of {path.name})" for i, (k, _) in enumerate(body)}


def _read_text(path: Path) -> list[tuple[int, list[str]]]:
    """The number of its first line and the cells of each record that is not blank."""
    # Not pandas.read_csv, which pads short lines and renames repeated columns.
    records: list[tuple[int, list[str]]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = next((text for text in file if text.strip()), "")
            if "\0" in first:  # UTF-16 without a mark
                raise csv.Error("NUL bytes")
            unquoted = re.sub(r'"[^"]*"', "", first)
            delimiter = max(DELIMITERS, key=unquoted.count)  # of none: a comma
            file.seek(0)
            reader, line = csv.reader(file, delimiter=delimiter, strict=True), 1
            for row in reader:
                if len(row) > 1 or any(map(str.strip, row)):
                    records.append((line, [cell.strip() for cell in row]))
                line = reader.line_num + 1  # a quoted cell may span lines
    except UnicodeDecodeError as error:
        remedy = "save it as CSV in UTF-8"
        raise wrong(str(path), TEXT_FILE, str(error), remedy) from error
    except (OSError, ValueError, csv.Error) as error:
        raise wrong(str(path), TEXT_FILE, str(error), "check the path") from error
    return records


def _read_by_pandas(path: Path, kind: str) -> list[tuple[int, list[str]]]:
    """The same of a workbook's first sheet, or of a Parquet file."""
    try:
        if kind in PARQUET:
            frame = pd.read_parquet(path)
            rows = [[str(name) for name in frame.columns], *frame.to_numpy(object)]
        else:
            frame = pd.read_excel(path, header=None, dtype=object, na_filter=False)
            rows = list(frame.to_numpy(object))
    except ImportError as error:
        remedy = "pip install 'botorch-xval[tables]', or save it as CSV"
        expected = f"what pandas needs to read {kind} files"
        raise wrong(str(path), expected, str(error), remedy) from error
    except Exception as error:  # of any kind, by the engine
        got = f"{type(error).__name__}: {error}"
        raise wrong(str(path), f"a {kind} file", got, "check the path") from error
    records = [(i, [_text(cell) for cell in row]) for i, row in enumerate(rows, 1)]
    return [(i, row) for i, row in records if any(row)]


def _text(cell: Any) -> str:
    """A cell of another format as a CSV would have it."""
    if is_empty(cell):
        return ""
    return repr(float(cell)) if isinstance(cell, float) else str(cell).strip()


def _typed(column: pd.Series) -> list[Any] | np.ndarray:
    """The cells as int64 or float64 if all are numbers or empty, else unchanged."""
    cells = column.tolist()
    if all(re.fullmatch(r"[+-]?\d{1,18}", str(cell)) for cell in cells):
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    try:
        return np.array([number(cell) for cell in cells], dtype=np.float64)
    except ValueError:
        return cells


def is_empty(cell: Any, texts: frozenset[str] = EMPTY_CHOICE) -> bool:
    """Whether a cell has no value."""
    if isinstance(cell, str):
        return cell.strip().lower() in texts
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def number(cell: Any) -> float:
    """The cell as a float, NaN if empty; ValueError for text, bool and the rest."""
    if is_empty(cell, EMPTY_NUMBER):
        return math.nan
    if isinstance(cell, bool | np.bool_) or (isinstance(cell, str) and "_" in cell):
        raise ValueError(cell)  # float() would take True as 1 and "1_0" as 10
    try:
        return float(cell)
    except (TypeError, OverflowError) as error:
        raise ValueError(cell) from error


def is_second_header(cells: list[Any]) -> bool:
    """Whether the first cell is text, and below are numbers and nothing else."""
    try:
        below = [number(cell) for cell in cells[1:]]
    except ValueError:
        return False
    return isinstance(cells[0], str) and not all(map(math.isnan, below))


def check_table(table: Any) -> None:
    """Check that it is a table with names that differ and rows."""
    if not isinstance(table, pd.DataFrame):
        got = type(table).__name__
        raise wrong("table", "a DataFrame or the path of a CSV file", got, "make one")
    names = table.columns.tolist()
    if not all(isinstance(name, str) and name for name in names):
        remedy = "rename them (to_csv with index=False writes no unnamed index)"
        raise wrong("table", "column names that are text", str(names), remedy)
    check_distinct(names, "column names", "rename or drop a column")
    if table.empty:
        got = f"{len(table)} rows and {len(names)} columns"
        raise wrong("table", "rows and columns", got, "check how it was made")
    remedy = "call table.reset_index(drop=True)"
    check_distinct(table.index.tolist(), "index labels", remedy)


def check_distinct(names: list[Any], what: str, remedy: str) -> None:
    """Check that no name comes twice."""
    if len(set(names)) < len(names):
        name = next(name for i, name in enumerate(names) if name in names[:i])
        raise wrong("table", f"distinct {what}", f"{name!r} twice", remedy)


def check_known(
    names: Collection[str],
    argument: str,
    known: Collection[str],
    what: str = "columns of the table",
) -> None:
    """Check that all names are known; the error proposes a similar one."""
    if isinstance(names, str) or not isinstance(names, Collection):
        raise wrong(argument, "a list of names", repr(names), f"pass [{names!r}]")
    for name in names:
        if not isinstance(name, str) or name not in known:
            close = get_close_matches(str(name), known, n=1)
            remedy = f"did you mean {close[0]!r}? " if close else ""
            remedy += f"Known: {', '.join(known)}"
            raise wrong(argument, what, repr(name), remedy)
