"""From the arguments to a table with roles, and groups of its rows."""

from __future__ import annotations

import argparse
from collections.abc import Hashable
from dataclasses import dataclass

import pandas as pd

from botorch_xval.data.guess import Roles, guess_roles
from botorch_xval.data.reading import read_table, wrong
from botorch_xval.data.tables import EncodedTable, encode_table
from botorch_xval.data.trials import encode_tuning_trials
from botorch_xval.reporting.expressions import format_number

__all__ = ["Trials", "read_trials"]


@dataclass(frozen=True)
class Trials:
    """A table that is ready to be fitted, and what is said of it."""

    table: EncodedTable
    """Inputs and targets."""

    groups: list[Hashable] | None
    """Labels of the used rows: those of one label are held out together."""

    notes: list[str]
    """What was guessed, and what is held out together."""

    @property
    def row_names(self) -> list[str]:
        """Names of the used rows, with their targets."""
        targets = [
            ", ".join(
                f"{name} {format_number(value)}"
                for name, value in zip(self.table.target_names, values, strict=True)
            )
            for values in self.table.Y.tolist()
        ]
        rows = [f"row {k}" if isinstance(k, int) else str(k) for k in self.table.rows]
        return [f"{row} ({y})" for row, y in zip(rows, targets, strict=True)]


def read_trials(args: argparse.Namespace) -> Trials:
    """Read and encode the table that the arguments name, or the bundled one.

    Raises:
        ValueError: If the file or a name is wrong.
    """
    if args.command == "demo":
        return Trials(encode_tuning_trials(), None, [])
    # Choices keep their text ("1.0", "true") also where they are guessed.
    frame = read_table(args.table, choices=args.choices or ())
    labels = {
        option: _column(frame, args, option, name)
        for option, name in (("--label", args.label), ("--groups", args.groups))
        if name is not None and (option, name) != ("--groups", "none")
    }
    frame = frame.drop(columns={column.name for column in labels.values()})
    ignore = args.ignore and [n for n in args.ignore if n not in _names_of(args)]
    if (names := labels.get("--label")) is not None:
        if (twice := names[names.duplicated()]).size:
            remedy = "leave it out, or name it in --groups"
            got = f"{str(twice.iloc[0])!r} in several"
            raise wrong("--label", "another value in every row", got, remedy)
        frame.index = pd.Index([f"{args.label} {value}" for value in names])
    roles = guess_roles(
        frame,
        target=args.target,
        log_target=args.log_target,
        choices=args.choices,
        log_scalars=args.log_scalars,
        ignore=ignore,
    )
    if args.choices is None and roles.choices:
        text = read_table(args.table, choices=roles.choices)[roles.choices]
        frame[roles.choices] = text.set_axis(frame.index)
    table = encode_table(frame, **roles.arguments())
    own = labels.get("--groups")
    groups: list[Hashable] | None
    if own is not None:
        by_row = dict(zip(frame.index.tolist(), own.tolist(), strict=True))
        groups = [by_row[row] for row in table.rows]
    else:
        same = table.same_inputs if args.groups is None else None
        groups = None if same is None else list(same)
    return Trials(table, groups, _notes(args, roles, groups))


def _names_of(args: argparse.Namespace) -> set[str]:
    return {name for name in (args.label, args.groups) if name is not None}


def _column(
    frame: pd.DataFrame, args: argparse.Namespace, option: str, name: str
) -> pd.Series:
    """A column that is neither an input nor a target."""
    for other in ("target", "choices", "log_scalars"):
        named = getattr(args, other)
        if isinstance(named, list) and name in named:
            got = f"it in --{other.replace('_', '-')} and in {option}"
            raise wrong(f"column {name!r}", "one role", got, "name it once")
    if name not in frame:
        remedy = f"known: {', '.join(frame)}"
        raise wrong(option, "a column of the table", repr(name), remedy)
    return frame[name]


def _notes(
    args: argparse.Namespace, roles: Roles, groups: list[Hashable] | None
) -> list[str]:
    notes = []
    if roles.reasons:
        notes.append(
            f"Guessed of the columns:\n{roles.summary()}\nAn option replaces a guess; "
            f"all of them as options: {roles.options()}"
        )
    if groups is not None:
        number, n = len(set(groups)), len(groups)
        what = "the same inputs"
        if args.groups is not None:
            what = f"the same {args.groups}, which is no input,"
        notes.append(
            f"Rows with {what} are held out together: {number} groups of {n} rows"
            + (" (--groups none: each apart)." if args.groups is None else ".")
        )
    return notes
