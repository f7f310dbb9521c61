"""Described models as one HTML page that needs nothing but itself.

All numbers and marks are static HTML and SVG. A script adds what moves: one fold's dots
light up everywhere on the page, and a slider runs through the iterations of a fit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from botorch_xval.reporting.expressions.page_style import SCRIPT, STYLE
from botorch_xval.reporting.expressions.tree import (
    Description,
    Node,
    Piece,
    Value,
    format_number,
)

__all__ = ["document", "model_panels", "write_page"]

WIDTH, HEIGHT, MARGIN = 180, 20, 8  # of a strip, in its own units
GOLDEN = 0.618034  # spreads the dots of neighboring folds over the height
TABBED = ' tabindex="0"'


def write_page(
    path: str | Path,
    descriptions: Mapping[str, Description],
    *,
    title: str,
    held_out: Sequence[str] | None = None,
    courses: Mapping[str, Sequence[Description]] | None = None,
) -> None:
    """Write described models as one self-contained HTML page.

    Formulas are laid out as nested lines. Every value has a mark on a scale that all
    values of its kind share, or a strip of dots, one for each model; a short bar is
    the median. With JavaScript a dot that is pointed at, touched or reached by the
    arrow keys shows its fold everywhere. Several descriptions stand side by side, below
    each other on a phone.

    Args:
        path: The file to write (UTF-8); an existing one is replaced.
        descriptions: By name of the configuration, its model or models.
        title: Heading of the page.
        held_out: Names of the models of a description, such as the rows that each fold
            holds out; by default their numbers.
        courses: By name of a configuration, descriptions of the same structure for one
            iteration of a fit after the other; a slider runs through them.

    Raises:
        ValueError: If there are no descriptions, if there are more or fewer names than
            models, or if a course does not belong to a description.
    """
    body = model_panels(descriptions, held_out=held_out, courses=courses)
    num_models = max(each.num_models for each in descriptions.values())
    Path(path).write_text(document(title, _lead(num_models), body), encoding="utf-8")


def document(title: str, lead: str, body: str, style: str = "") -> str:
    """A whole page, with the style and the script of :func:`model_panels`.

    Args:
        title: Heading of the page, as text.
        lead: What stands below it, as HTML.
        body: The rest, as HTML; with one result of :func:`model_panels`.
        style: Further style rules.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n"
        f"<body>\n<header>\n<h1>{escape(title)}</h1>\n{lead}\n</header>\n"
        f"{body}<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def model_panels(
    descriptions: Mapping[str, Description],
    *,
    held_out: Sequence[str] | None = None,
    courses: Mapping[str, Sequence[Description]] | None = None,
) -> str:
    """The HTML of described models side by side, for :func:`document`.

    See :func:`write_page`, which puts it into a page of its own.
    """
    courses = {} if courses is None else courses
    _check(descriptions, held_out, courses)
    num_models = max(each.num_models for each in descriptions.values())
    label = "Held out" if held_out else "Model"
    names = held_out or [f"model {i}" for i in range(num_models)]
    frames = {
        name: [each.values() for each in (*courses.get(name, ()), description)]
        for name, description in descriptions.items()
    }
    axes = _axes([v for course in frames.values() for each in course for v in each])
    writer = _Writer(axes, names)
    panels = "".join(writer.panel(*each) for each in descriptions.items())
    kinds = list(axes)
    moving = [
        {
            "axis": kinds.index(_kind(value)),
            "frames": [[_rounded(n) for n in frame[i].numbers] for frame in course],
        }
        for course in (each[:-1] or each for each in frames.values())
        for i, value in enumerate(course[-1])
    ]
    num_frames = max((len(course) for course in courses.values()), default=0)
    content = {
        "axes": [[x.low, x.high, x.logarithmic] for x in axes.values()],
        "values": moving,
        "names": list(names),
        "margin": MARGIN,
        "width": WIDTH,
    }
    return (
        f"{_controls(label, names if num_models > 1 else [], num_frames)}"
        f"<main>\n{panels}</main>\n"
        f"{_legend(axes)}"
        f'<script type="application/json" id="data">{_json(content)}</script>\n'
    )


@dataclass(frozen=True)
class _Axis:
    """A scale from `low` to `high`."""

    kind: str
    low: float
    high: float
    logarithmic: bool

    def position(self, number: float) -> float:
        """Where a number is on a strip, from its left end."""
        low, high = self.low, self.high
        if self.logarithmic:
            number, low, high = math.log(number), math.log(low), math.log(high)
        return MARGIN + (WIDTH - 2 * MARGIN) * (number - low) / (high - low)

    def ticks(self) -> list[float]:
        """Some round numbers from `low` to `high`."""
        if not self.logarithmic:
            step = _round_up((self.high - self.low) / 4)
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            return [i * step for i in range(first, last + 1)]
        first, last = (math.floor(math.log10(x) + 1e-9) for x in (self.low, self.high))
        digits = (1, 2, 5) if last - first < 2 else (1,)
        marks = [m * 10.0**e for e in range(first, last + 1) for m in digits]
        ticks = [x for x in marks if self.low * 0.999 <= x <= self.high * 1.001]
        return ticks[:: math.ceil(len(ticks) / 5)]

    def line(self) -> str:
        """The line and its ticks."""
        ticks = "".join(f"M{self.position(tick):.1f} 7v6" for tick in self.ticks())
        return f'<path class="axis" d="M{MARGIN} 10H{WIDTH - MARGIN}{ticks}"/>'


def _axes(values: Sequence[Value]) -> dict[tuple[str, bool], _Axis]:
    """One axis for every kind of values, over all numbers that are shown."""
    numbers: dict[tuple[str, bool], list[float]] = {}
    for value in values:
        found = numbers.setdefault(_kind(value), [])
        found += filter(math.isfinite, value.numbers)
    return {key: _axis(*key, found) for key, found in numbers.items()}


def _axis(kind: str, logarithmic: bool, numbers: list[float]) -> _Axis:
    if kind == "weight" and all(0 <= number <= 1 for number in numbers):
        return _Axis(kind, 0.0, 1.0, False)
    numbers = numbers or [1.0]
    low, high = min(numbers), max(numbers)
    if logarithmic and low > 0:
        low, high = _round_down(low), _round_up(high)
        return _Axis(kind, low, high if high > low else 10 * low, True)
    if max(abs(low), abs(high)) < 10 * (high - low) or low == high:
        low, high = min(low, 0.0), max(high, 0.0)
    step = _round_up((high - low) / 4 or 0.25)
    low, high = step * math.floor(low / step), step * math.ceil(high / step)
    return _Axis(kind, low, high if high > low else low + step, False)


def _round_up(number: float) -> float:
    """The next number of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(number) - 1e-9)
    return next(m * power for m in (1, 2, 5, 10) if m * power >= number * (1 - 1e-9))


def _round_down(number: float) -> float:
    return 1 / _round_up(1 / number)


class _Writer:
    """Writes descriptions as nested lists and numbers their values."""

    def __init__(
        self, axes: Mapping[tuple[str, bool], _Axis], names: Sequence[str]
    ) -> None:
        self.axes, self.names = axes, names
        self.num_values = 0

    def panel(self, name: str, description: Description) -> str:
        """One configuration."""
        text = f"<h2>{escape(name)}</h2>\n"
        for section in description.sections:
            text += f"<h3>{escape(description.heading(section))}</h3>\n<ul>"
            for statement in section.statements:
                formula = statement.formula
                below = "" if formula is None else f"<ul>{self.item(formula, ())}</ul>"
                text += f"<li>{self.row(statement.pieces, 'sentence')}{below}</li>\n"
            text += "</ul>\n"
        return f"<article>\n{text}</article>\n"

    def item(self, node: Node, after: tuple[Piece, ...]) -> str:
        """A part of a formula, and its own parts as a list in it."""
        note = self.row(("# ", *node.comment), "note") if node.comment else ""
        if not any(True for part in node.parts for _ in part.values()):
            return f"<li>{note}{self.row((*node.pieces(), *after), 'code')}</li>\n"
        text = note + self.row(node.head, "code")
        own_line = any(isinstance(piece, Value) for piece in node.end)
        end = (*node.end, *after)
        afters = [(",",)] * (len(node.parts) - 1) + [() if own_line else end]
        items = (self.item(*each) for each in zip(node.parts, afters, strict=True))
        text += f"<ul>{''.join(items)}</ul>"
        return f"<li>{text}{self.row(end, 'code') if own_line else ''}</li>\n"

    def row(self, pieces: Sequence[Piece], style: str) -> str:
        """A line of text, and the strips of its values beside it."""
        text = strips = ""
        for piece in pieces:
            if isinstance(piece, str):
                text += escape(piece)
                continue
            text += f'<b data-v="{self.num_values}">{escape(piece.middle)}</b>'
            strips += self.strip(piece)
            if _is_many(piece):
                spread = escape(piece.spread)
                strips += f'<small data-v="{self.num_values}">{spread}</small>'
            self.num_values += 1
        many = " many" * ("<small" in strips)
        strips = f'<div class="strips{many}">{strips}</div>' * bool(strips)
        return f'<div class="row"><div class="{style}">{text}</div>{strips}</div>'

    def strip(self, value: Value) -> str:
        """The numbers of a value as marks on their axis."""
        axis = self.axes[_kind(value)]
        many = _is_many(value)
        marks = ""
        for i, number in enumerate(value.numbers):
            if not math.isfinite(number):
                continue
            y = 10 + (10 * ((i * GOLDEN) % 1 - 0.5) if many else 0)
            tip = f"{self.names[i]}: {format_number(number)}" if many else str(value)
            marks += (
                f'<circle data-m="{i}" cx="{axis.position(number):.1f}" cy="{y:.1f}" '
                f'r="{2.4 if many else 4}"><title>{escape(tip)}</title></circle>'
            )
        middle = float(np.median(value.numbers))
        if many and math.isfinite(middle):
            marks += f'<path class="median" d="M{axis.position(middle):.1f} 1v18"/>'
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"{TABBED * many} '
            f'aria-label="{escape(f"{value.name}: {value}")}" '
            f'data-v="{self.num_values}">{axis.line()}{marks}</svg>'
        )


def _is_many(value: Value) -> bool:
    return len(value.numbers) > 1


def _kind(value: Value) -> tuple[str, bool]:
    return value.kind, value.logarithmic


def _lead(num_models: int) -> str:
    if num_models == 1:
        return (
            "<p>Every value stands where it acts, with a mark on the scale of its "
            "kind.</p>"
        )
    return (
        f"<p>Every value stands where it acts: the median of {num_models} models, "
        "with the smallest and the largest in brackets. A dot is one model, the bar "
        'the median.<span class="script" hidden> Point at a dot, or tap it, to follow '
        "its model through the page; arrow keys go from dot to dot.</span></p>"
    )


def _controls(label: str, names: Sequence[str], num_frames: int) -> str:
    """What only works with the script, which shows it."""
    controls = ""
    if names:
        options = "".join(
            f'<option value="{i}">{escape(name)}</option>'
            for i, name in enumerate(names)
        )
        controls += (
            f'<label>{label} <select id="model"><option value="">all</option>'
            f"{options}</select></label>\n"
        )
    if num_frames:
        last = num_frames - 1
        controls += (
            f'<label>Iteration <input type="range" id="iteration" min="0" max="{last}" '
            f'value="{last}"><output id="at">{last}</output></label>\n'
        )
    return f'<form class="script" hidden>\n{controls}</form>\n' if controls else ""


def _legend(axes: Mapping[tuple[str, bool], _Axis]) -> str:
    """Every axis with its numbers."""
    items = ""
    for axis in axes.values():
        labels = "".join(
            f'<text x="{axis.position(tick):.1f}" y="30">{format_number(tick)}</text>'
            for tick in axis.ticks()
        )
        what = "logarithmic" if axis.logarithmic else "linear"
        items += (
            f"<li><span>{escape(axis.kind)} <small>{what}</small></span>"
            f'<svg viewBox="0 0 {WIDTH} 34" aria-hidden="true">{axis.line()}{labels}'
            "</svg></li>\n"
        )
    return f'<footer>\n<h2>Scales</h2>\n<ul class="scales">{items}</ul>\n</footer>\n'


def _rounded(number: float) -> float | None:
    """A number for the script, None if there is none."""
    return float(f"{number:.6g}") if math.isfinite(number) else None


def _json(content: object) -> str:
    """JSON that cannot end the script element it is in."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _check(
    descriptions: Mapping[str, Description],
    held_out: Sequence[str] | None,
    courses: Mapping[str, Sequence[Description]],
) -> None:
    if not descriptions:
        raise ValueError("Expected one or more descriptions, got none.")
    counts = {name: each.num_models for name, each in descriptions.items()}
    if len(set(counts.values()) - {1}) > 1:
        raise ValueError(f"Expected as many models in all descriptions, got {counts}.")
    if held_out is not None and len(held_out) != max(counts.values()):
        raise ValueError(
            f"Expected {max(counts.values())} names in `held_out`, one for each model, "
            f"got {len(held_out)}."
        )
    for name, course in courses.items():
        if name not in descriptions:
            raise ValueError(
                f"Expected courses of {list(descriptions)}, got one of {name!r}."
            )
        expected = _structure(descriptions[name])
        if not course or any(_structure(each) != expected for each in course):
            raise ValueError(
                f"Expected the course of {name!r} to be one or more descriptions that "
                "differ from its own in numbers only."
            )


def _structure(description: Description) -> list[tuple[str, str, int]]:
    return [(v.name, v.kind, len(v.numbers)) for v in description.values()]
