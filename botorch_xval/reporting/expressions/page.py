"""Described models as one self-contained HTML page.

All numbers and marks are static HTML and SVG. A script (`page.js`) adds what moves: the
dots of one fold are highlighted everywhere on the page, and a slider runs through the
iterations of a fit. The colors in `page.css` are those of Okabe & Ito (2008).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from botorch_xval.comparison.files import write_in_full
from botorch_xval.models.checks import check_names, check_type, wrong
from botorch_xval.reporting.expressions.scales import (
    HEIGHT,
    MARGIN,
    WIDTH,
    Kind,
    Scale,
    kind_of,
    scales_of,
)
from botorch_xval.reporting.expressions.tree import (
    Description,
    Node,
    Piece,
    Value,
    format_number,
)

__all__ = ["document", "model_panels", "write_page"]

GOLDEN = 0.618034  # golden ratio: spreads dots of neighboring folds over the height
TABBED = ' tabindex="0"'
DATA = '<script type="application/json" id="data">'


def write_page(
    path: str | Path,
    descriptions: Mapping[str, Description],
    *,
    title: str,
    held_out: Sequence[str] | None = None,
    courses: Mapping[str, Sequence[Description]] | None = None,
) -> None:
    """Write described models as one self-contained HTML page.

    Formulas are nested lines. Every value has a mark on a scale that all values of its
    kind share. With several models it has a dot for each, and a short bar at the
    median. With JavaScript, pointing at a dot (or tapping it, or reaching it by the
    arrow keys) highlights its fold everywhere. Several descriptions stand side by side,
    on a phone below each other.

    Args:
        path: The file to write (UTF-8); an existing one is replaced.
        descriptions: By name of a configuration, the description of its model or
            models.
        title: Heading of the page.
        held_out: Names of the models of a description, such as the row that each fold
            holds out; default: their numbers.
        courses: By name of a configuration, descriptions of its models after one
            iteration of a fit and the next, for a slider; see
            :class:`~botorch_xval.reporting.Course`.

    Raises:
        ValueError: If the path is that of no file, if there are no descriptions, if
            there are more or fewer names than models, or if a course does not belong to
            a description.
    """
    if not isinstance(path, str | Path):
        got, remedy = type(path).__name__, "pass the name of a file"
        raise wrong("path", "a path", got, remedy)
    path = Path(path)
    if path.is_dir():
        raise wrong("path", "a file", f"the folder {path}", "name a file in it")
    if not path.parent.is_dir():
        remedy = "make the folder first"
        raise wrong("path", "a file in a folder that is there", path, remedy)
    body = model_panels(descriptions, held_out=held_out, courses=courses)
    num_models = max(each.num_models for each in descriptions.values())
    write_in_full(path, document(title, _lead(num_models), body))


def document(
    title: str,
    lead: str,
    body: str,
    *,
    style: str = "",
    script: str = "",
    beside: str = "",
) -> str:
    """The HTML of a whole page, with the style and script of :func:`model_panels`.

    Args:
        title: Heading of the page, as text.
        lead: The introduction below it, as HTML.
        body: The rest, as HTML, with at most one result of :func:`model_panels` in it.
        style: Further style rules.
        script: A further script.
        beside: What stands beside the body, as HTML, such as a table of contents.

    Returns:
        The page.

    Raises:
        ValueError: If one is no text.
    """
    for name, text in (("title", title), ("lead", lead), ("body", body)):
        check_type(name, text, str, "pass text")
    folder = files(__package__)
    style = "\n" + folder.joinpath("page.css").read_text("utf-8") + style
    if DATA in body:
        script = "\n" + folder.joinpath("page.js").read_text("utf-8") + script
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n<header>\n<h1>{escape(title)}</h1>\n{lead}\n</header>\n"
        f"{beside}<main>\n{body}</main>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def model_panels(
    descriptions: Mapping[str, Description],
    *,
    held_out: Sequence[str] | None = None,
    courses: Mapping[str, Sequence[Description]] | None = None,
    level: int = 2,
) -> str:
    """The HTML of described models side by side, for the body of :func:`document`.

    Args:
        descriptions: As for :func:`write_page`.
        held_out: As for :func:`write_page`.
        courses: As for :func:`write_page`.
        level: Of the headings.

    Returns:
        The controls, the panels, the scales and the data of the script.

    Raises:
        ValueError: As for :func:`write_page`.
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
    scales = scales_of(
        [v for course in frames.values() for each in course for v in each]
    )
    writer = _Writer(scales, names, level)
    panels = "".join(writer.panel(*each) for each in descriptions.items())
    kinds = list(scales)
    moving = [
        {
            "axis": kinds.index(kind_of(value)),
            "frames": [[_rounded(n) for n in frame[i].numbers] for frame in course],
        }
        for course in (each[:-1] or each for each in frames.values())
        for i, value in enumerate(course[-1])
    ]
    num_frames = max((len(course) for course in courses.values()), default=0)
    content = {
        "axes": [[x.low, x.high, x.logarithmic] for x in scales.values()],
        "values": moving,
        "names": list(names),
        "margin": MARGIN,
        "width": WIDTH,
    }
    return (
        f"{_controls(label, names if num_models > 1 else [], num_frames)}"
        f'<div class="panels">\n{panels}</div>\n'
        f"{_legend(scales, level)}{DATA}{_json(content)}</script>\n"
    )


class _Writer:
    """Writes descriptions as nested lists, and numbers their values in reading order.

    Args:
        scales: By kind of a value its scale.
        names: Names of the models.
        level: Of the headings.
    """

    def __init__(
        self, scales: Mapping[Kind, Scale], names: Sequence[str], level: int
    ) -> None:
        self.scales, self.names, self.level = scales, names, level
        self.num_values = 0

    def panel(self, name: str, description: Description) -> str:
        """The HTML of one configuration."""
        one, two = f"h{self.level}", f"h{self.level + 1}"
        text = f"<{one}>{escape(name)}</{one}>\n"
        for section in description.sections:
            text += f"<{two}>{escape(description.heading(section))}</{two}>\n<ul>"
            for statement in section.statements:
                formula = statement.formula
                below = "" if formula is None else f"<ul>{self.item(formula, ())}</ul>"
                text += f"<li>{self.row(statement.pieces, 'sentence')}{below}</li>\n"
            text += "</ul>\n"
        return f"<article>\n{text}</article>\n"

    def item(self, node: Node, after: tuple[Piece, ...]) -> str:
        """The HTML of a part of a formula, with its parts as a list inside."""
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
        """The numbers of a value as marks on their scale, as SVG."""
        scale = self.scales[kind_of(value)]
        many = _is_many(value)
        marks = ""
        for i, number in enumerate(value.numbers):
            if not math.isfinite(number):
                continue
            y = 10 + (10 * ((i * GOLDEN) % 1 - 0.5) if many else 0)
            tip = f"{self.names[i]}: {format_number(number)}" if many else str(value)
            marks += (
                f'<circle data-m="{i}" cx="{scale.position(number):.1f}" cy="{y:.1f}" '
                f'r="{2.4 if many else 4}"><title>{escape(tip)}</title></circle>'
            )
        middle = float(np.median(value.numbers))
        if many and math.isfinite(middle):
            marks += f'<path class="median" d="M{scale.position(middle):.1f} 1v18"/>'
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"{TABBED * many} '
            f'aria-label="{escape(f"{value.name}: {value}")}" '
            f'data-v="{self.num_values}">{scale.line()}{marks}</svg>'
        )


def _is_many(value: Value) -> bool:
    return len(value.numbers) > 1


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
    """The controls, hidden until the script shows them."""
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


def _legend(scales: Mapping[Kind, Scale], level: int) -> str:
    """All scales with their numbers."""
    items = ""
    for scale in scales.values():
        labels = "".join(
            f'<text x="{scale.position(tick):.1f}" y="30">{format_number(tick)}</text>'
            for tick in scale.ticks()
        )
        what = "logarithmic" if scale.logarithmic else "linear"
        items += (
            f"<li><span>{escape(scale.kind)} <small>{what}</small></span>"
            f'<svg viewBox="0 0 {WIDTH} 34" aria-hidden="true">{scale.line()}{labels}'
            "</svg></li>\n"
        )
    heading = f"<h{level}>Scales</h{level}>"
    return f'<div class="key">\n{heading}\n<ul class="scales">{items}</ul>\n</div>\n'


def _rounded(number: float) -> float | None:
    """A number for the script, None if it is not finite."""
    return float(f"{number:.6g}") if math.isfinite(number) else None


def _json(content: object) -> str:
    """JSON without `<`, which could end the script element that it is in."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _check(
    descriptions: Mapping[str, Description],
    held_out: Sequence[str] | None,
    courses: Mapping[str, Sequence[Description]],
) -> None:
    remedy = "pass {name: describe(model)}"
    check_type("descriptions", descriptions, Mapping, remedy)
    if not descriptions:
        raise wrong("descriptions", "at least one", "none", remedy)
    for each in descriptions.values():
        check_type("descriptions", each, Description, remedy)
    check_type("courses", courses, Mapping, "pass {name: course.descriptions(model)}")
    counts = {name: each.num_models for name, each in descriptions.items()}
    if len(set(counts.values()) - {1}) > 1:
        raise ValueError(
            f"descriptions: expected one number of models in all, got {counts}; write "
            "a page for each"
        )
    if held_out is not None:
        check_names("held_out", held_out, max(counts.values()), "models")
    for name, course in courses.items():
        if name not in descriptions:
            raise ValueError(
                f"courses: expected names of descriptions, {list(descriptions)}, got "
                f"{name!r}; use the same name for both"
            )
        if not course:
            raise ValueError(
                f"courses: expected at least one description of {name!r}, got none; "
                "leave it out instead"
            )
        for each in course:
            check_type("courses", each, Description, "see `Course.descriptions`")
        expected = _structure(descriptions[name])
        if any(_structure(each) != expected for each in course):
            raise ValueError(
                f"courses: expected descriptions that differ from that of {name!r} in "
                "numbers only, got other values; describe the same models by "
                "`Course.descriptions`"
            )


def _structure(description: Description) -> list[tuple[str, str, int]]:
    return [(v.name, v.kind, len(v.numbers)) for v in description.values()]
