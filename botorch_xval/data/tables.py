"""From a table of trials to tensors.

:func:`encode_table` turns a table of trials (a DataFrame or a CSV file) into inputs `X`
(scalars first, then one-hot columns of all choices) and a target `Y`. A scalar may be
replaced by its natural logarithm. An empty cell of an input is a parameter that was not
active in that trial. A scalar then takes the middle of its range, `(min + max) / 2` of
its active values (after the logarithm); the one-hot columns of a choice are all zero. A
row without a finite target is left out, and :class:`EncodedTable` says so.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

__all__ = [
    "EncodedTable",
    "encode_table",
    "read_table",
]

MIN_ROWS = 3
# "none" and "NA" may be values of a choice: they are empty in columns of numbers only.
EMPTY_CHOICE = frozenset({"", "nan"})
EMPTY_NUMBER = EMPTY_CHOICE | {"na", "n/a", "<na>", "none", "null"}


@dataclass(frozen=True, eq=False)  # tensors do not compare to one bool
class EncodedTable:
    """A table as tensors, with the names of their rows and columns."""

    X: Tensor  # `n x d`, float64: scalars in table order, then one-hot columns
    Y: Tensor  # `n x 1`, float64, in the table's unit or its natural logarithm
    feature_names: list[str]  # `d` names: `a`, `log(a)`, or `optimizer=adam`
    scalar_dims: list[int]  # columns of X that are scalars
    choice_dims: list[int]  # columns of X that are one-hot, all choices together
    choices: dict[str, list[int]]  # columns of X by choice, sorted by value
    target_name: str  # `loss` or `log(loss)`
    rows: list[Hashable]  # `n` index labels of the used rows
    left_out: dict[Hashable, str]  # index label of a left-out row: reason
    inactive: dict[str, int]  # input with empty cells: how many, of the used rows

    def summary(self) -> str:
        """The rows used and left out, the inputs and the target, as one paragraph."""
        rows: dict[str, list[str]] = {}
        for label, reason in self.left_out.items():
            rows.setdefault(reason, []).append(str(label))
        reasons = "; ".join(
            f"{reason} (row{'s' * (len(labels) > 1)} {', '.join(labels[:10])}"
            f"{', ...' * (len(labels) > 10)})"
            for reason, labels in rows.items()
        )
        choices = ", ".join(
            f"{name} ({', '.join(self.feature_names[i][len(name) + 1 :] for i in at)})"
            for name, at in self.choices.items()
        )
        text = (
            f"{len(self.rows)} of {len(self.rows) + len(self.left_out)} rows; "
            f"{len(self.left_out) or 'none'} left out{': ' * bool(reasons)}{reasons}. "
            f"Scalars: {len(self.scalar_dims)}; choices: {choices or 'none'}; "
            f"target: {self.target_name}."
        )
        empty = ", ".join(f"{name} ({n})" for name, n in self.inactive.items())
        return text + f" Empty cells, taken as inactive: {empty}." * bool(empty)

    __str__ = summary


def read_table(path: str | Path, choices: Sequence[str] = ()) -> pd.DataFrame:
    """Read a comma-separated file with a header line (UTF-8).

    Args:
        path: The file. Blank lines are skipped.
        choices: Columns to keep as text, as written: "true", "1", "1.0", "None".

    Returns:
        One row per record, labeled 0, 1, ...; other columns become numbers where every
        cell is a number or empty.

    Raises:
        ValueError: If the file is missing, empty or malformed, or lacks a choice.
    """
    table, _ = _read_cells(Path(path))
    _check_known(choices, "choices", table)
    return pd.DataFrame(
        {k: list(v) if k in choices else _typed(v) for k, v in table.items()}
    )


def encode_table(
    table: pd.DataFrame | str | Path,
    target: str,
    choices: Sequence[str] = (),
    scalars: Sequence[str] | None = None,
    log_scalars: Sequence[str] | Literal["all"] = (),
    log_target: bool = False,
    ignore: Sequence[str] = (),
) -> EncodedTable:
    """Turn a table into `X` and `Y`; say which rows were left out.

    Text that reads as a number ("0.1") is a number. Values of a choice become text
    without surrounding blanks. A whole float loses its point ("1" for 1.0, as pandas
    writes an integer beside missing values). Values sort as numbers if all are numbers.
    Left-out rows neither raise errors nor widen a range. Near duplicates of rows or
    columns are not checked.

    Args:
        table: One row per trial, or a CSV file as in `read_table`.
        target: The column to predict. Rows where it is empty or infinite are left out.
        choices: Columns with unordered values: text, bool or integers.
        scalars: Columns with numbers. None: every column without another role; then
            name row numbers, seeds and further results in `ignore`.
        log_scalars: Scalars to replace by their natural logarithm, or "all".
        log_target: Whether to replace the target by its natural logarithm.
        ignore: Columns to leave aside.

    Returns:
        Inputs (`n x d`) and target (`n x 1`) in float64, with names and left-out rows.

    Raises:
        ValueError: If columns are unknown, without a name, named twice or without
            information, if a cell does not suit its column, or if fewer than 3 rows
            have a target.
    """
    lines: dict[Hashable, str] = {}
    if isinstance(table, str | Path):
        table, lines = _read_cells(Path(table))
    _check_table(table)
    roles = {"target": [target], "choices": choices, "ignore": ignore}
    scalars, choices = _roles(table, roles, scalars)
    logged = scalars if log_scalars == "all" else log_scalars
    _check_known(logged, "log_scalars", scalars, "scalars (a target: log_target)")

    y = _numbers(table[target], lines, "correct it, or empty it to leave the row out")
    used, all_labels = np.isfinite(y), y.index.tolist()
    left_out: dict[Hashable, str] = {
        label: f"no {target}" if math.isnan(value) else f"{target} is {value}"
        for label, value in zip(all_labels, y.tolist(), strict=True)
        if not math.isfinite(value)
    }
    y, table, n = y[used], table[used], int(used.sum())
    if n < MIN_ROWS:
        expected = f"a finite number in at least {MIN_ROWS} rows"
        raise _wrong(f"column {target!r}", expected, f"{n} of {len(used)}", "add rows")
    y = _transformed(y, log_target, lines, "use log_target=False or leave the row out")
    if y.min() == y.max():
        expected = f"a target that varies over the {n} used rows"
        raise _wrong(f"column {target!r}", expected, "one value", "choose another")

    columns: list[list[float]] = []
    names: list[str] = []
    dims: dict[str, list[int]] = {}
    inactive: dict[str, int] = {}
    constant: list[str] = []
    for name in scalars:
        x = _numbers(table[name], lines, "name the column in choices or ignore")
        inactive[name] = int(x.isna().sum())
        _check_active(name, n - inactive[name], n)
        x = _transformed(
            x,
            name in logged,
            lines,
            "leave it out of log_scalars, or name it in ignore",
        )
        low, high = x.min(), x.max()
        columns.append(x.fillna(low / 2 + high / 2).tolist())  # low + high may overflow
        names.append(f"log({name})" if name in logged else name)
        constant += [name] * bool(low == high)
    for name in choices:
        values = [_value(cell) for cell in table[name].tolist()]
        levels = _sorted({value for value in values if value is not None})
        inactive[name] = values.count(None)
        _check_active(name, n - inactive[name], n)
        if len(levels) == n > 10:
            got = f"{n} values in {n} rows, which looks like an identifier"
            raise _wrong(
                f"column {name!r}", "repeated values", got, "name it in ignore"
            )
        dims[name] = list(range(len(names), len(names) + len(levels)))
        columns += [[float(value == level) for value in values] for level in levels]
        names += [f"{name}={level}" for level in levels]
        constant += [name] * (len(levels) == 1 and None not in values)
    if constant:
        expected = f"inputs that vary over the {n} used rows"
        where = f"column{'s' * (len(constant) > 1)} {', '.join(map(repr, constant))}"
        raise _wrong(where, expected, "one value", "move to ignore")
    _check_distinct(names, "names of inputs", "rename a column")
    return EncodedTable(
        X=torch.tensor(columns, dtype=torch.float64).mT.contiguous(),
        Y=torch.tensor(y.tolist(), dtype=torch.float64).unsqueeze(-1),
        feature_names=names,
        scalar_dims=list(range(len(scalars))),
        choice_dims=list(range(len(scalars), len(names))),
        choices=dims,
        target_name=f"log({target})" if log_target else target,
        rows=y.index.tolist(),
        left_out=left_out,
        inactive={name: count for name, count in inactive.items() if count},
    )


def _wrong(where: str, expected: str, got: str, remedy: str) -> ValueError:
    return ValueError(f"{where}: expected {expected}, got {got}; {remedy}")


def _read_cells(path: Path) -> tuple[pd.DataFrame, dict[Hashable, str]]:
    """All cells as text (NaN: empty), and where in the file each row starts."""
    # Not pandas.read_csv, which pads short lines and renames repeated columns.
    records: list[tuple[int, list[str]]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader, line = csv.reader(file, strict=True), 1
            for row in reader:
                if len(row) > 1 or any(map(str.strip, row)):
                    records.append((line, [cell.strip() for cell in row]))
                line = reader.line_num + 1  # a quoted cell may span lines
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        expected = "a comma-separated UTF-8 file"
        raise _wrong(str(path), expected, str(error), "check the path") from error
    if len(records) < 2:
        expected, got = "a header line and rows", f"{len(records)} lines with text"
        raise _wrong(str(path), expected, got, "check the file")
    (_, header), *body = records
    for line, row in body:
        if len(row) != len(header):
            expected, remedy = f"{len(header)} cells", "quote cells that contain commas"
            raise _wrong(f"{path}, line {line}", expected, str(len(row)), remedy)
    cells = [[np.nan if _is_empty(cell) else cell for cell in row] for _, row in body]
    table = pd.DataFrame(cells, columns=header, dtype=object)
    _check_table(table)
    return table, {i: f" (line {k} of {path.name})" for i, (k, _) in enumerate(body)}


def _typed(column: pd.Series) -> list[Any] | np.ndarray:
    """The cells as int64 or float64 if all are numbers or empty, else unchanged."""
    cells = column.tolist()
    if all(re.fullmatch(r"[+-]?\d{1,18}", str(cell)) for cell in cells):
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    try:
        return np.array([_number(cell) for cell in cells], dtype=np.float64)
    except ValueError:
        return cells


def _is_empty(cell: Any, texts: frozenset[str] = EMPTY_CHOICE) -> bool:
    if isinstance(cell, str):
        return cell.strip().lower() in texts
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def _number(cell: Any) -> float:
    """The cell as a float, NaN if empty; ValueError for text, bool and the rest."""
    if _is_empty(cell, EMPTY_NUMBER):
        return math.nan
    if isinstance(cell, bool | np.bool_) or (isinstance(cell, str) and "_" in cell):
        raise ValueError(cell)  # float() would take True as 1 and "1_0" as 10
    try:
        return float(cell)
    except (TypeError, OverflowError) as error:
        raise ValueError(cell) from error


def _numbers(column: pd.Series, lines: dict[Hashable, str], remedy: str) -> pd.Series:
    numbers = []
    for label, cell in zip(column.index.tolist(), column.tolist(), strict=True):
        try:
            numbers.append(_number(cell))
        except ValueError as error:
            where = f"column {column.name!r}, row {label!r}{lines.get(label, '')}"
            raise _wrong(where, "a number", repr(cell), remedy) from error
    return pd.Series(numbers, column.index, dtype=np.float64, name=column.name)


def _transformed(
    numbers: pd.Series, logged: bool, lines: dict[Hashable, str], remedy: str
) -> pd.Series:
    """The numbers or their natural logarithms, all finite or NaN."""
    checks = [("a finite number", np.isinf(numbers), "correct it or drop the row")]
    if logged:
        checks += [("a positive number under a logarithm", numbers <= 0, remedy)]
    for expected, bad, todo in checks:
        if bad.any():
            label = numbers.index[bad.to_numpy()].tolist()[0]
            where = f"column {numbers.name!r}, row {label!r}{lines.get(label, '')}"
            raise _wrong(where, expected, str(numbers[label]), todo)
    return np.log(numbers) if logged else numbers


def _value(cell: Any) -> str | None:
    """A choice's value as text; None if empty."""
    if _is_empty(cell):
        return None
    if isinstance(cell, float | np.floating) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _sorted(values: set[str]) -> list[str]:
    try:
        return sorted(values, key=lambda value: (float(value), value))
    except ValueError:
        return sorted(values)


def _check_table(table: Any) -> None:
    if not isinstance(table, pd.DataFrame):
        got = type(table).__name__
        raise _wrong("table", "a DataFrame or the path of a CSV file", got, "make one")
    names = table.columns.tolist()
    if not all(isinstance(name, str) and name for name in names):
        remedy = "rename them (to_csv with index=False writes no unnamed index)"
        raise _wrong("table", "column names that are text", str(names), remedy)
    _check_distinct(names, "column names", "rename or drop a column")
    if table.empty:
        got = f"{len(table)} rows and {len(names)} columns"
        raise _wrong("table", "rows and columns", got, "check how it was made")
    remedy = "call table.reset_index(drop=True)"
    _check_distinct(table.index.tolist(), "index labels", remedy)


def _check_distinct(names: list[Any], what: str, remedy: str) -> None:
    if len(set(names)) < len(names):
        name = next(name for i, name in enumerate(names) if name in names[:i])
        raise _wrong("table", f"distinct {what}", f"{name!r} twice", remedy)


def _check_known(
    names: Collection[str],
    argument: str,
    known: Collection[str],
    what: str = "columns of the table",
) -> None:
    if isinstance(names, str):
        raise _wrong(argument, "a list of names", repr(names), f"pass [{names!r}]")
    for name in names:
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            remedy = f"did you mean {close[0]!r}? " if close else ""
            remedy += f"Known: {', '.join(known)}"
            raise _wrong(argument, what, repr(name), remedy)


def _roles(
    table: pd.DataFrame, roles: dict[str, Sequence[str]], scalars: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """Scalars and choices in table order, once no column has two roles."""
    role_of: dict[str, str] = {}
    for role, names in (roles | {"scalars": scalars or ()}).items():
        _check_known(names, role, table.columns)
        for name in names:
            if name in role_of:
                got = f"it in {role_of[name]} and in {role}"
                raise _wrong(f"column {name!r}", "one role", got, "name it once")
            role_of[name] = role
    rest = "scalars" if scalars is None else "ignore"
    columns = {name: role_of.get(name, rest) for name in table.columns}
    found = [name for name, role in columns.items() if role == "scalars"]
    chosen = [name for name, role in columns.items() if role == "choices"]
    if not found + chosen:
        raise _wrong("table", "at least one scalar or choice", "none", "name some")
    return found, chosen


def _check_active(name: str, num_active: int, num_rows: int) -> None:
    if not num_active:
        expected = f"values in the {num_rows} used rows"
        raise _wrong(f"column {name!r}", expected, "none", "name it in ignore")
