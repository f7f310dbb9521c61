"""What the columns of a table are: a guess to begin with, and its reasons.

The guess goes by names, types and ranges only; it has been tried on a few tables, not
studied. It does not look at how well anything is predicted.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Literal

import numpy as np
import pandas as pd

from botorch_xval.data.reading import (
    EMPTY_NUMBER,
    SECOND_HEADER,
    check_known,
    check_table,
    is_empty,
    is_second_header,
    number,
    wrong,
)

__all__ = ["Roles", "guess_roles"]

# From a ratio of the largest to the smallest value on, a logarithm is considered.
WIDE = 100.0
MIN_IDENTIFIERS = 10  # so many different texts in so many rows are names, not choices
# A number as one writes it, such as 1,234 or 0,5 or 97.5 % or <1e-3.
NUMBER = re.compile(r"[<>~]?\s*[+-]?(\d[\d,]*\.?\d*|\.\d+)(e[+-]?\d+)?\s*%?", re.I)
# Words in the name of an outcome, the more telling ones first.
OUTCOMES = (
    *("target", "objective", "outcome", "response", "y"),
    *("loss", "yield", "score", "metric", "error"),
    *("rmse", "mae", "mse", "nll", "r2", "auc", "accuracy", "f1"),
    *("yld", "conversion", "selectivity", "ee", "purity", "activity", "strength"),
    *("ton", "tof"),  # turnover number and frequency
    *("cost", "duration", "runtime", "seconds"),
)
# Names of columns that count or describe trials.
LABELS = frozenset(
    {"id", "index", "seed", "trial", "run", "experiment", "timestamp", "date"}
    | {"arm", "status", "comment", "notes", "random state", "random seed"}
    | {"trial index", "arm name", "trial status", "generation method", "unnamed 0"}
    | {"generation node", "created at", "updated at"}
    | {"trial id", "run id", "experiment id"}
)
TIMES = ("date", "timestamp")  # as the last word of a name


@dataclass(frozen=True)
class Roles:
    """What each column of a table is used as, and why."""

    target: list[str]
    """The columns to predict."""

    log_target: list[str]
    """Targets to replace by their logarithms."""

    choices: list[str]
    """Columns with unordered values."""

    log_scalars: list[str]
    """Scalars to replace by their logarithms."""

    ignore: list[str]
    """Columns that are left aside."""

    reasons: dict[str, str]
    """By column why it was guessed to be what it is; nothing of what was given."""

    def arguments(self) -> dict[str, Any]:
        """The arguments of :func:`~botorch_xval.data.encode_table` that say this."""
        names = ("target", "log_target", "choices", "log_scalars", "ignore")
        return {name: getattr(self, name) for name in names}

    def options(self) -> str:
        """The same as options of the command line."""
        words: list[str] = []
        for name, columns in self.arguments().items():
            option, value = f"--{name.replace('_', '-')}", _listed(columns)
            if name == "log_target" and set(columns) == set(self.target):
                words += [option]
            elif value.startswith("-"):  # would be read as an option
                words += [f"{option}={value}"]
            else:
                words += [option, value]
        return shlex.join(words)

    def summary(self) -> str:
        """What was guessed, one line per column, with its reason."""
        return "\n".join(f"  {name}: {why}" for name, why in self.reasons.items())


def guess_roles(
    table: pd.DataFrame,
    *,
    target: Sequence[str] | None = None,
    log_target: Sequence[str] | bool | None = None,
    choices: Sequence[str] | None = None,
    log_scalars: Sequence[str] | Literal["all"] | None = None,
    ignore: Sequence[str] | None = None,
) -> Roles:
    """Guess which column is to be predicted, and what the others are.

    An argument that is given is not guessed. Otherwise, over the rows of the table:

    * `ignore`: columns with one value or none, whose name says that they number or
      describe trials (`trial`, `seed`, `date`, ...), whole numbers that count the rows,
      text that differs in each of more than ten rows, and columns of numbers whose
      name says that they are further outcomes.
    * `target`: the column of numbers whose name says so (`loss`, `yield`, ...); else
      the last one with numbers.
    * `choices`: columns with text or truth values, and repeated identifiers
      (`catalyst_id`).
    * `log_scalars`, `log_target`: positive columns whose largest value is at least 100
      times the smallest, and less skewed by their logarithm.

    Args:
        table: One row per trial, see :func:`~botorch_xval.data.read_table`.
        target: The columns to predict.
        log_target: Targets to replace by their logarithms; True: all.
        choices: Columns with unordered values.
        log_scalars: Scalars to replace by their logarithms, or "all".
        ignore: Columns to leave aside.

    Returns:
        The roles, and why.

    Raises:
        ValueError: If a column is unknown, one that seems to be of numbers has other
            cells, or none is left to predict or to predict from.
    """
    check_table(table)
    known = table.columns.tolist()
    for argument, names in (
        ("target", target),
        ("choices", choices),
        ("ignore", ignore),
        ("log_scalars", () if log_scalars == "all" else log_scalars),
    ):
        check_known(() if names is None else names, argument, known)
    given = {*(target or ()), *(choices or ()), *(ignore or ())}
    if isinstance(log_scalars, list | tuple):
        given |= set(log_scalars)
    reasons: dict[str, str] = {}
    numbers = {n: values for n in known if (values := _numbers(table[n])) is not None}
    used_as_is = {*(choices or ()), *(ignore or ())}
    for name in (n for n in known if n not in numbers and n not in used_as_is):
        if is_second_header(table[name].tolist()):
            raise wrong(
                f"column {name!r}, row {table.index[0]!r}",
                "a number",
                repr(table[name].iloc[0]),
                SECOND_HEADER,
            )
        if name in (target or ()) or _is_spoiled(table[name]):
            cells = enumerate(table[name].tolist())
            at = next(i for i, cell in cells if not _is_number(cell))
            remedy = (
                "write numbers with a decimal point and nothing else, or empty the "
                "cell if there is none"
            )
            if name not in (target or ()):
                remedy += "; or name the column in choices or ignore"
            raise wrong(
                f"column {name!r}, row {table.index[at]!r}",
                "a number",
                repr(table[name].iloc[at]),
                remedy,
            )
    ignored = list(ignore or ())
    for name in known if ignore is None else ():
        if name not in given and (why := _is_no_input(table[name], numbers.get(name))):
            ignored.append(name)
            reasons[name] = f"ignored: {why}"
    rest = [name for name in known if name not in ignored]
    if target is None:
        free = [n for n in rest if n in numbers and n not in (choices or ())]
        free = [name for name in free if not _is_identifier(name)]
        if not free:
            raise wrong("table", "a column with numbers to predict", "none", "add one")
        target = [_guess_target(free)]
        word = _outcome_of(target[0])
        reasons[target[0]] = "the target: " + (
            f"its name says {word!r}" if word else "the last column with numbers"
        )
    for name in rest if ignore is None else ():
        if name in numbers and name not in {*given, *target} and _outcome_of(name):
            ignored.append(name)
            reasons[name] = "ignored: looks like another outcome"
    if ignore is None:  # what is constant where there is something to predict
        known_y = [numbers[n] for n in target if n in numbers]
        used = table[np.isfinite(known_y).any(axis=0)] if known_y else table
        for name in (n for n in rest if n not in given and n not in target):
            own = numbers.get(name)
            if name not in ignored and len(used) and _is_no_input(used[name], own):
                ignored.append(name)
                reasons[name] = f"ignored: {_is_no_input(used[name], own)}"
    inputs = [n for n in rest if n not in ignored and n not in target]
    if not inputs:
        got, remedy = f"none besides {target}", "add some, or name what to ignore"
        raise wrong("table", "columns to predict from", got, remedy)
    if choices is None:
        choices = [n for n in inputs if n not in numbers or _is_identifier(n)]
        for name in choices:
            kind = "that are no numbers"
            if name in numbers:
                kind = "numbers that are names"
            reasons[name] = f"a choice: {table[name].nunique()} values, {kind}"
    scalars = [name for name in inputs if name not in choices]
    if log_scalars is None:
        log_scalars = [n for n in scalars if n in numbers and _is_wide(numbers[n])]
        reasons |= {n: f"its logarithm: {_range(numbers[n])}" for n in log_scalars}
    elif log_scalars == "all":
        log_scalars = scalars
    if log_target is None:
        log_target = [n for n in target if n in numbers and _is_wide(numbers[n])]
        for name in log_target:
            why = f"its logarithm: {_range(numbers[name])}"
            reasons[name] = "; ".join(filter(None, (reasons.get(name), why)))
    elif isinstance(log_target, bool):
        log_target = list(target) * log_target
    else:
        check_known(log_target, "log_target", target, "targets")
    return Roles(
        target=list(target),
        log_target=list(log_target),
        choices=list(choices),
        log_scalars=list(log_scalars),
        ignore=ignored,
        reasons={n: reasons[n] for n in known if n in reasons},
    )


def _listed(names: list[str]) -> str:
    """Names separated by commas, in quotes where there is one in a name."""
    if not names:
        return "none"
    text = StringIO()
    csv.writer(text).writerow(names)
    found = text.getvalue().removesuffix("\r\n")
    return f'"{found}"' if found in ("none", "all") else found


def _numbers(column: pd.Series) -> np.ndarray | None:
    """The numbers of a column, NaN where it is empty; None if some cell is none."""
    try:
        return np.array([number(cell) for cell in column.tolist()], dtype=float)
    except ValueError:
        return None


def _is_number(cell: object) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return True


def _is_spoiled(column: pd.Series) -> bool:
    """Whether a column with other cells was meant to be of numbers.

    Such a column has numbers, as one writes them, in half of its cells or more, and
    more different ones than a choice would have, or the name of an outcome.
    """
    name = str(column.name)
    filled = [str(cell) for cell in column.tolist() if not is_empty(cell, EMPTY_NUMBER)]
    meant = [cell for cell in filled if NUMBER.fullmatch(cell.strip())]
    if _is_label(column) or not meant or 2 * len(meant) < len(filled):
        return False
    return len(set(meant)) > MIN_IDENTIFIERS or _outcome_of(name) is not None


def _is_no_input(column: pd.Series, numbers: np.ndarray | None) -> str:
    """Why a column is neither an input nor an outcome; nothing if it may be."""
    filled = [cell for cell in column.tolist() if not is_empty(cell)]
    if not filled:
        return "empty"
    if len(set(map(str, filled))) == 1:
        if len(filled) == len(column):
            return f"always {filled[0]}"
        if numbers is not None:  # of a choice what is empty differs
            return f"always {filled[0]} or empty"
    if _is_label(column):
        return "its name says that it describes trials"
    if numbers is not None:
        # Few numbers in another order may well be levels of an input.
        counts = np.sort(numbers) if len(numbers) > MIN_IDENTIFIERS else numbers
        steps = np.diff(counts)
        if len(numbers) > 2 and counts[0] in (0.0, 1.0) and bool((steps == 1).all()):
            return "it counts the rows"
    elif len(set(map(str, filled))) == len(column) > MIN_IDENTIFIERS:
        return "its text differs in every row"
    return ""


def _is_label(column: pd.Series) -> bool:
    """Whether the name of a column says that it numbers or describes trials."""
    words = _words(str(column.name))
    if " ".join(words) in LABELS or words[-1:] in [[word] for word in TIMES]:
        return True
    filled = [str(cell) for cell in column.tolist() if not is_empty(cell)]
    return _is_identifier(str(column.name)) and len(set(filled)) == len(filled)


def _is_identifier(name: str) -> bool:
    """Whether numbers in a column are names, such as in "sample_id"."""
    return _words(name)[-1:] == ["id"]


def _words(name: str) -> list[str]:
    """The words of a name in lower case: `valLoss_2 (%)` is val, loss, 2."""
    parts = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return re.findall(r"[^\W_]+", parts.lower())


def _outcome_of(name: str) -> str | None:
    words = _words(name)
    return next((word for word in OUTCOMES if word in words), None)


def _guess_target(names: list[str]) -> str:
    """The most telling word; of two the shorter name; of these the later column."""
    order = {word: i for i, word in enumerate((*OUTCOMES, None))}
    return min(
        reversed(names),
        key=lambda name: (
            order[word := _outcome_of(name)],
            len(_words(name)) * (word is not None),
        ),
    )


def _is_wide(numbers: np.ndarray) -> bool:
    values = numbers[np.isfinite(numbers)]
    if len(np.unique(values)) < 3 or values.min() <= 0:
        return False
    if values.max() < WIDE * values.min():
        return False
    return abs(_skewness(np.log(values))) < abs(_skewness(values))


def _skewness(values: np.ndarray) -> float:
    centered = values / np.abs(values).max()
    centered = centered - centered.mean()
    return float((centered**3).mean() / (centered**2).mean() ** 1.5)


def _range(numbers: np.ndarray) -> str:
    values = numbers[np.isfinite(numbers)]
    return f"from {values.min():.4g} to {values.max():.4g}, and less skewed by it"
