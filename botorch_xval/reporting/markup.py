"""Pieces of the report as HTML: names in their colors, tables that sort, folded parts.

Everything that is no HTML is escaped here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["Cell", "Column", "Names", "cell", "folded", "listed", "paragraph", "table"]

GLYPHS = dict(zip("osD^vPX", "●■◆▲▼✚✖", strict=True))  # of markers of matplotlib

Cell = tuple[str, str]  # HTML, and what it is sorted by
Column = tuple[str, str]  # a short heading, and what it means


class Names:
    """Names of configurations as HTML, each in front of its mark.

    Args:
        looks: By name a color and a marker of matplotlib, in the order of the page.
    """

    def __init__(self, looks: Mapping[str, tuple[str, str]]) -> None:
        self.looks = looks

    def __call__(self, name: str) -> str:
        """A name as HTML."""
        color, marker = self.looks[name]
        color = "var(--ink)" if color == "#000000" else color
        return (
            f'<span class="name"><span class="mark" style="color: {color}" '
            f'aria-hidden="true">{GLYPHS[marker]}</span>\N{NO-BREAK SPACE}'
            f"{escape(name)}</span>"
        )

    def cell(self, name: str) -> Cell:
        """A name as a cell, sorted by the order of the page."""
        return self(name), str(list(self.looks).index(name))

    def legend(self) -> str:
        """All names."""
        return f'<p class="legend">{" ".join(map(self, self.looks))}</p>'


def cell(value: str | float, digits: str = "") -> Cell:
    """A number or text as a cell of a table.

    Args:
        value: Text, a whole number, or another one; NaN is not known, an empty cell.
        digits: Format of a number that is not whole; default: three digits after the
            point, from 100 on one.
    """
    if isinstance(value, str):
        return escape(value), value.casefold()
    if value != value:
        return "", ""
    if isinstance(value, float):
        digits = digits or (",.1f" if abs(value) >= 100 else ".3f")
        return format(value, digits).rstrip("."), repr(float(value))
    return f"{value:,}", str(value)


def table(
    label: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    ids: Sequence[str] | None = None,
    first: int = 0,
) -> str:
    """A table; the script lets it be sorted.

    Args:
        label: What it shows, for those who do not see it.
        columns: Its headings.
        rows: Its cells. The first of a row is its heading.
        ids: Ids of the rows.
        first: How many of the first rows are emphasized.

    Returns:
        The HTML.
    """
    are_words = [any(map(_is_words, values)) for values in zip(*rows, strict=True)]
    styles = [' class="words"' * each for each in are_words] or [""] * len(columns)
    head = "".join(
        f'<th scope="col"{style}{f" title={_quoted(note)}" * bool(note)}>'
        f"{escape(word)}</th>"
        for (word, note), style in zip(columns, styles, strict=True)
    )
    body = ""
    for i, (heading, *others) in enumerate(rows):
        own = f" id={_quoted(ids[i])}" if ids is not None else ""
        own += ' class="first"' * (i < first)
        cells = "".join(
            f"<td{style} data-key={_quoted(key)}>{html}</td>"
            for (html, key), style in zip(others, styles[1:], strict=True)
        )
        text, key = heading
        body += (
            f'<tr{own}><th scope="row"{styles[0]} data-key={_quoted(key)}>{text}</th>'
            f"{cells}</tr>"
        )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label={_quoted(label)}>'
        f'<table class="sorted"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def folded(summary: str, content: str, *, is_open: bool = False) -> str:
    """A part that opens by its summary; both are HTML."""
    return (
        f"<details{' open' * is_open}><summary>{summary}</summary>"
        f'<div class="inside">{content}</div></details>\n'
    )


def paragraph(text: str) -> str:
    """Text as a paragraph."""
    return f"<p>{escape(text)}</p>"


def listed(words: Sequence[str], most: int = 3) -> str:
    """HTML of things in a sentence: "a, b and c", of many "a, b and 5 more"."""
    shown = list(words)
    if len(shown) > most:
        shown = [*shown[: most - 1], f"{len(shown) - most + 1} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _is_words(value: Cell) -> bool:
    """Whether a cell is a name or text, no number."""
    html, key = value
    return html.startswith("<span") or not re.fullmatch(r"|-?(\d.*|inf)", key)


def _quoted(text: str) -> str:
    return f'"{escape(text)}"'
