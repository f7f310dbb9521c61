"""The tree of a described model, and its layout as text.

A `Node` is a part of a formula, for example `0.7 * sum([...])`. Its pieces are text and
`Value`s; a value holds one number for every model that is described. Nothing here knows
Gaussian processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from html import escape
from typing import Any, TypeAlias

import numpy as np

from botorch_xval.models.checks import check_number, check_type

__all__ = [
    "Description",
    "Node",
    "Piece",
    "Section",
    "Statement",
    "Value",
    "combine",
    "format_number",
    "names_text",
]

WIDTH = 100  # columns of a terminal
INDENT = 2


@dataclass(frozen=True)
class Value:
    """A fitted value, as one number for every model."""

    name: str
    """What it is, for example `lengthscale of 'epochs'`."""

    kind: str
    """Values of one kind are shown on one axis: `lengthscale`, `noise variance`."""

    numbers: tuple[float, ...]
    """The constrained value in every model."""

    logarithmic: bool = True
    """Whether it is always positive, so that it is shown on a logarithmic scale."""

    @property
    def middle(self) -> str:
        """The number, or the median of several models' numbers."""
        return format_number(float(np.median(self.numbers)))

    @property
    def spread(self) -> str:
        """The range of several models' numbers; empty if all look the same in text."""
        ends = [format_number(float(end(self.numbers))) for end in (np.min, np.max)]
        return "" if set(ends) == {self.middle} else f"[{', '.join(ends)}]"

    def __str__(self) -> str:
        return f"{self.middle} {self.spread}".rstrip()


Piece: TypeAlias = str | Value


@dataclass(frozen=True)
class Node:
    """A part of a formula: `head`, then its parts with commas between, then `end`."""

    head: tuple[Piece, ...]
    parts: tuple[Node, ...] = ()
    end: tuple[Piece, ...] = ()
    comment: tuple[Piece, ...] = ()
    """An explanation of this part, on a line above it."""

    def pieces(self) -> Iterator[Piece]:
        """All text and values in reading order, with commas, without comments."""
        yield from self.head
        for i, part in enumerate(self.parts):
            yield from ((", ",) if i else ())
            yield from part.pieces()
        yield from self.end

    def values(self) -> Iterator[Value]:
        """All values in reading order, those of comments first."""
        for piece in (*self.comment, *self.head):
            if isinstance(piece, Value):
                yield piece
        for part in self.parts:
            yield from part.values()
        yield from (piece for piece in self.end if isinstance(piece, Value))

    @property
    def has_comments(self) -> bool:
        """Whether any part of this node, at any depth, has a comment."""
        return any(part.comment or part.has_comments for part in self.parts)


@dataclass(frozen=True)
class Statement:
    """A sentence about the model, and the formula that it announces."""

    pieces: tuple[Piece, ...]
    formula: Node | None = None

    def values(self) -> Iterator[Value]:
        """All values in reading order."""
        yield from (piece for piece in self.pieces if isinstance(piece, Value))
        if self.formula is not None:
            yield from self.formula.values()


@dataclass(frozen=True)
class Section:
    """All statements about the model of one outcome."""

    outcome: str
    """Name of the outcome; empty if there is only one, without a name."""

    statements: tuple[Statement, ...]


@dataclass(frozen=True)
class Description:
    """A fitted model, or several of one structure, in words and formulas.

    `print` it; notebooks show it by themselves.
    """

    sections: tuple[Section, ...]
    """One for every outcome."""

    num_models: int
    """How many models: folds, or members of a batch."""

    def values(self) -> list[Value]:
        """All values in reading order."""
        return [
            value
            for section in self.sections
            for statement in section.statements
            for value in statement.values()
        ]

    def heading(self, section: Section) -> str:
        """The first line of a section."""
        of = f" of {section.outcome!r}" if section.outcome else ""
        if self.num_models == 1:
            return f"Gaussian process{of}"
        return f"{self.num_models} Gaussian processes{of}: median [smallest, largest]"

    def _lines(self) -> Iterator[list[Piece]]:
        for i, section in enumerate(self.sections):
            yield from ([[]] if i else [])
            yield [self.heading(section)]
            for statement in section.statements:
                yield from _fill(_words(statement.pieces), " ", 0, (), hang=INDENT)
                if statement.formula is not None:
                    yield from _layout(statement.formula, INDENT, ())

    def __str__(self) -> str:
        return "\n".join("".join(map(str, line)) for line in self._lines())

    def _repr_html_(self) -> str:
        lines = ("".join(map(_markup, line)) for line in self._lines())
        return "<pre>" + "\n".join(lines) + "</pre>"


def combine(descriptions: Sequence[Description]) -> Description:
    """Combine descriptions of one structure into one, with the values of all models.

    Args:
        descriptions: One or more, in the order of the models.

    Returns:
        The description whose values hold the numbers of all models.

    Raises:
        ValueError: If there is none, or they differ in more than numbers.
    """
    if not descriptions:
        raise ValueError(
            "descriptions: expected at least one, got none; describe a model first"
        )
    for each in descriptions:
        check_type("descriptions", each, Description, "make one by describe(model)")
    return Description(
        sections=_combine([description.sections for description in descriptions]),
        num_models=sum(description.num_models for description in descriptions),
    )


def _combine(items: Sequence[Any]) -> Any:
    first = items[0]
    if isinstance(first, tuple) and len({len(item) for item in items}) == 1:
        return tuple(_combine(group) for group in zip(*items, strict=True))
    if isinstance(first, Node | Section | Statement | Value):
        for item in items:
            if type(item) is not type(first):
                raise _differ(first, item)
        together = {f.name: [getattr(i, f.name) for i in items] for f in fields(first)}
        numbers = together.pop("numbers", None)
        combined = {name: _combine(group) for name, group in together.items()}
        if numbers is not None:
            combined["numbers"] = tuple(n for group in numbers for n in group)
        return type(first)(**combined)
    for item in items:
        if item != first:
            raise _differ(first, item)
    return first


def _differ(first: Any, other: Any) -> ValueError:
    return ValueError(
        "model: expected models of one structure, which differ in numbers only, got "
        f"{_short(first)} and {_short(other)}; describe them one by one"
    )


def _short(item: Any) -> str:
    if isinstance(item, Node):
        text = "".join(map(str, item.pieces()))
    elif isinstance(item, tuple):
        return f"{len(item)} parts"
    else:
        text = str(item)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def format_number(number: float) -> str:
    """Write a number with three significant digits.

    Args:
        number: Any number.

    Returns:
        Such as "0.431", "123000" or "1e-5": an exponent below 1e-4 and from 1e6 on.

    Raises:
        ValueError: If it is none.
    """
    check_number("number", number, -math.inf, nan=True)
    if not math.isfinite(number):
        return str(number)
    rounded = float(f"{number:.2e}")
    if rounded == 0 or 1e-4 <= abs(rounded) < 1e6:
        return f"{rounded + 0.0:.10g}"  # never "-0"
    mantissa, exponent = f"{rounded:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def names_text(names: Sequence[str], most: int = 4) -> str:
    """Write a list of names.

    Args:
        names: The names.
        most: How many to write if there are too many.

    Returns:
        All names, or the first ones and how many more there are.
    """
    shown = names if len(names) <= most + 1 else names[:most]
    text = ", ".join(map(repr, shown))
    rest = len(names) - len(shown)
    return f"{text} and {rest} more" if rest else text


def _markup(piece: Piece) -> str:
    if isinstance(piece, str):
        return escape(piece)
    numbers = ", ".join(map(format_number, piece.numbers))
    title = escape(f"{piece.name}: {numbers}")
    return f'<b title="{title}">{escape(str(piece))}</b>'


def _length(pieces: Sequence[Piece]) -> int:
    return sum(len(str(piece)) for piece in pieces)


def _layout(
    node: Node, indent: int, trailing: tuple[Piece, ...]
) -> Iterator[list[Piece]]:
    """Lines of a node: one if it fits, else head, indented parts and end."""
    if node.comment:
        words = _words(("# ", *node.comment))
        yield from _fill(words, " ", indent, (), hang=indent, again="# ")
    line = [" " * indent, *node.pieces(), *trailing]
    if not node.parts or (not node.has_comments and _length(line) <= WIDTH):
        yield line
        return
    yield [" " * indent, *node.head]
    trailing = (*node.end, *trailing)
    if not any(part.parts or part.comment for part in node.parts):
        items = [list(part.pieces()) for part in node.parts]
        yield from _fill(items, ", ", indent + INDENT, trailing, indent + INDENT)
        return
    for part in node.parts[:-1]:
        yield from _layout(part, indent + INDENT, (",",))
    yield from _layout(node.parts[-1], indent + INDENT, trailing)


def _fill(
    items: Sequence[list[Piece]],
    separator: str,
    indent: int,
    trailing: tuple[Piece, ...],
    hang: int,
    again: str = "",
) -> Iterator[list[Piece]]:
    """Items side by side; lines that do not fit go on indented by `hang`."""
    line: list[Piece] = [" " * indent]
    is_empty = True
    for i, item in enumerate(items):
        after = trailing if i == len(items) - 1 else (separator.rstrip(),)
        room = WIDTH - _length(line) - _length(item) - _length(after)
        if not is_empty and room < len(separator):
            yield [*line, separator.rstrip()]
            line, is_empty = [" " * hang, again], True
        line += item if is_empty else [separator, *item]
        is_empty = False
    yield [*line, *trailing]


def _words(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces split at blanks; a value stays whole."""
    words: list[list[Piece]] = [[]]
    for piece in pieces:
        if isinstance(piece, Value):
            words[-1].append(piece)
            continue
        first, *others = piece.split(" ")
        words[-1].append(first)
        words += [[word] for word in others]
    return [word for word in words if any(word)]
