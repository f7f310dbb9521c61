"""From a table of trials to tensors.

:func:`encode_table` turns a table of trials (a DataFrame or a CSV file) into inputs `X`
(scalars first, then one-hot columns of all choices) and a target `Y`. A scalar may be
replaced by its natural logarithm. An empty cell of an input is a parameter that was not
active in that trial. A scalar then takes the middle of its range, `(min + max) / 2` of
its active values (after the logarithm); the one-hot columns of a choice are all zero. A
row without a finite target is left out, and :class:`EncodedTable` says so.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from botorch_xval.data.reading import (
    SECOND_HEADER,
    check_distinct,
    check_known,
    check_table,
    is_empty,
    is_second_header,
    number,
    read_cells,
    wrong,
)

__all__ = ["EncodedTable", "encode_table"]

MIN_ROWS = 3
# BoTorch's Normalize and Standardize leave smaller ranges and deviations as they are.
SMALLEST = 1e-8


@dataclass(frozen=True, eq=False)  # tensors do not compare to one bool
class EncodedTable:
    """A table as tensors, with the names of their rows and columns."""

    X: Tensor  #: `n x d`, float64: scalars in table order, then one-hot columns
    Y: Tensor  #: `n x m`, float64, in the table's unit or its natural logarithm
    feature_names: list[str]  #: `d` names: `a`, `log(a)`, or `optimizer=adam`
    scalar_dims: list[int]  #: columns of X that are scalars
    choice_dims: list[int]  #: columns of X that are one-hot, all choices together
    choices: dict[str, list[int]]  #: columns of X by choice, sorted by value
    target_names: list[str]  #: `m` names: `loss` or `log(loss)`
    rows: list[Hashable]  #: `n` index labels of the used rows
    left_out: dict[Hashable, str]  #: index label of a left-out row: reason
    inactive: dict[str, int]  #: input with empty cells: how many, of the used rows

    @property
    def target_name(self) -> str:
        """The names of all targets, separated by commas."""
        return ", ".join(self.target_names)

    @property
    def same_inputs(self) -> list[int] | None:
        """A label of each row, the same for rows with equal inputs (replicates).

        None if all rows differ. Held out together, as the argument `groups` of
        :func:`~botorch_xval.cross_validation.cross_validate`, replicates do not tell
        a model what it is asked to predict.
        """
        labels = torch.unique(self.X, dim=0, return_inverse=True)[1]
        return labels.tolist() if len(labels.unique()) < len(labels) else None

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
            f"target{'s' * (len(self.target_names) > 1)}: {self.target_name}."
        )
        empty = ", ".join(f"{name} ({n})" for name, n in self.inactive.items())
        return text + f" Empty cells, taken as inactive: {empty}." * bool(empty)

    __str__ = summary


def encode_table(
    table: pd.DataFrame | str | Path,
    target: str | Sequence[str],
    choices: Sequence[str] = (),
    scalars: Sequence[str] | None = None,
    log_scalars: Sequence[str] | Literal["all"] = (),
    log_target: bool | Sequence[str] = False,
    ignore: Sequence[str] = (),
) -> EncodedTable:
    """Turn a table into `X` and `Y`; say which rows were left out.

    Text that reads as a number ("0.1") is a number. Values of a choice become text
    without surrounding blanks. A whole float loses its point ("1" for 1.0, as pandas
    writes an integer beside missing values). Values sort as numbers if all are numbers.
    Left-out rows neither raise errors nor widen a range. Near duplicates of rows or
    columns are not checked.

    Args:
        table: One row per trial, or a file as in `read_table`.
        target: The column to predict. Rows where it is empty or infinite are left out.
            Several columns are outputs of one model: then rows that lack all of them
            are left out, and one that is missing is NaN.
        choices: Columns with unordered values: text, bool or integers.
        scalars: Columns with numbers. None: every column without another role; then
            name row numbers, seeds and further results in `ignore`.
        log_scalars: Scalars to replace by their natural logarithm, or "all".
        log_target: Whether to replace the target by its natural logarithm; of several
            targets all, or those that are named.
        ignore: Columns to leave aside.

    Returns:
        Inputs (`n x d`) and targets (`n x m`) in float64, with names and left-out rows.

    Raises:
        ValueError: If columns are unknown, without a name, named twice, without
            information or in so large a unit that BoTorch would not scale them, if a
            cell does not suit its column, or if fewer than 3 rows have a target.
    """
    lines: dict[Hashable, str] = {}
    if isinstance(table, str | Path):
        table, lines = read_cells(table)
    check_table(table)
    targets = [target] if isinstance(target, str) else target
    check_known(targets, "target", table.columns)
    if not (targets := list(targets)):
        raise wrong("target", "the name of a column", "none", "name one")
    roles = {"target": targets, "choices": choices, "ignore": ignore}
    scalars, choices = _roles(table, roles, scalars)
    logged = scalars if log_scalars == "all" else log_scalars
    check_known(logged, "log_scalars", scalars, "scalars (a target: log_target)")
    logs = log_target if not isinstance(log_target, bool) else targets * log_target
    check_known(logs, "log_target", targets, "targets")

    todo = "correct it, or empty it to leave the row out"
    all_y = pd.concat([_numbers(table[name], lines, todo) for name in targets], axis=1)
    used = np.isfinite(all_y).any(axis=1)
    left_out: dict[Hashable, str] = {
        label: _without_target(values)
        for label, (_, values) in zip(
            all_y.index[~used].tolist(), all_y[~used].iterrows(), strict=True
        )
    }
    all_y, table, n = all_y[used], table[used], int(used.sum())
    outcomes = [
        _outcome(all_y[name], name in logs, lines, len(used)) for name in targets
    ]

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
        if 0 < high / 2 - low / 2 < SMALLEST / 2:
            raise _too_small(name, "range", high - low)
    for name in choices:
        values = [_value(cell) for cell in table[name].tolist()]
        levels = _sorted({value for value in values if value is not None})
        inactive[name] = values.count(None)
        _check_active(name, n - inactive[name], n)
        if len(levels) == n > 10:
            got = f"{n} values in {n} rows, which looks like an identifier"
            raise wrong(f"column {name!r}", "repeated values", got, "name it in ignore")
        dims[name] = list(range(len(names), len(names) + len(levels)))
        columns += [[float(value == level) for value in values] for level in levels]
        names += [f"{name}={level}" for level in levels]
        constant += [name] * (len(levels) == 1 and None not in values)
    if constant:
        expected = f"inputs that vary over the {n} used rows"
        where = f"column{'s' * (len(constant) > 1)} {', '.join(map(repr, constant))}"
        raise wrong(where, expected, "one value", "move to ignore")
    check_distinct(names, "names of inputs", "rename a column")
    return EncodedTable(
        X=torch.tensor(columns, dtype=torch.float64).mT.contiguous(),
        Y=torch.tensor(outcomes, dtype=torch.float64).mT.contiguous(),
        feature_names=names,
        scalar_dims=list(range(len(scalars))),
        choice_dims=list(range(len(scalars), len(names))),
        choices=dims,
        target_names=[f"log({k})" if k in logs else k for k in targets],
        rows=table.index.tolist(),
        left_out=left_out,
        inactive={name: count for name, count in inactive.items() if count},
    )


def _without_target(values: pd.Series) -> str:
    """Why a row without any finite target is left out."""
    if len(values) > 1:
        return "no target"
    return (
        f"no {values.index[0]}"
        if values.isna().all()
        else (f"{values.index[0]} is {values.iloc[0]}")
    )


def _outcome(
    y: pd.Series, logged: bool, lines: dict[Hashable, str], num_rows: int
) -> list[float]:
    """A target or its logarithm; NaN where it is not finite."""
    y = y.where(np.isfinite(y))
    where, n = f"column {y.name!r}", int(y.notna().sum())
    if n < MIN_ROWS:
        expected = f"a finite number in at least {MIN_ROWS} rows"
        raise wrong(where, expected, f"{n} of {num_rows}", "add rows")
    y = _transformed(y, logged, lines, "use log_target=False or leave the row out")
    if y.min() == y.max():
        expected = f"a target that varies over the {n} used rows"
        raise wrong(where, expected, "one value", "choose another")
    if y.max() / 2 - y.min() / 2 < 1 and y.std() < SMALLEST:
        raise _too_small(y.name, "standard deviation", y.std())
    return y.tolist()


def _too_small(name: Hashable, what: str, value: float) -> ValueError:
    expected = f"a {what} of {SMALLEST} or more, below which BoTorch does not scale"
    return wrong(f"column {name!r}", expected, f"{value:.2g}", "use a smaller unit")


def _numbers(column: pd.Series, lines: dict[Hashable, str], remedy: str) -> pd.Series:
    numbers, cells = [], column.tolist()
    for label, cell in zip(column.index.tolist(), cells, strict=True):
        try:
            numbers.append(number(cell))
        except ValueError as error:
            where = f"column {column.name!r}, row {label!r}{lines.get(label, '')}"
            if re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", str(cell)):
                remedy = "write decimals with a point"
            elif not numbers and is_second_header(cells):
                remedy = SECOND_HEADER
            raise wrong(where, "a number", repr(cell), remedy) from error
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
            raise wrong(where, expected, str(numbers[label]), todo)
    return np.log(numbers) if logged else numbers


def _value(cell: Any) -> str | None:
    """A choice's value as text; None if empty."""
    if is_empty(cell):
        return None
    if isinstance(cell, float | np.floating) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _sorted(values: set[str]) -> list[str]:
    try:
        return sorted(values, key=lambda value: (float(value), value))
    except ValueError:
        return sorted(values)


def _roles(
    table: pd.DataFrame, roles: dict[str, Sequence[str]], scalars: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """Scalars and choices in table order, once no column has two roles."""
    role_of: dict[str, str] = {}
    for role, names in (roles | {"scalars": scalars or ()}).items():
        check_known(names, role, table.columns)
        for name in names:
            if name in role_of:
                got = f"it in {role_of[name]} and in {role}"
                raise wrong(f"column {name!r}", "one role", got, "name it once")
            role_of[name] = role
    rest = "scalars" if scalars is None else "ignore"
    columns = {name: role_of.get(name, rest) for name in table.columns}
    found = [name for name, role in columns.items() if role == "scalars"]
    chosen = [name for name, role in columns.items() if role == "choices"]
    if not found + chosen:
        raise wrong("table", "at least one scalar or choice", "none", "name some")
    return found, chosen


def _check_active(name: str, num_active: int, num_rows: int) -> None:
    if not num_active:
        expected = f"values in the {num_rows} used rows"
        raise wrong(f"column {name!r}", expected, "none", "name it in ignore")
