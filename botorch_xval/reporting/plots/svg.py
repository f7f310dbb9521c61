"""Charts as SVG within a web page: text that is text, colors of the page.

Gray, black and white become the page's own colors, so that a chart can be read on a
dark page, too. All charts have one width, at which their text is large enough on a
phone. A name that is too long for a chart is shortened, and in full where one points.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from xml.etree import ElementTree

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from botorch_xval.reporting.plots.style import axes_of, figure_of

__all__ = ["Charts", "Dots"]

WIDTH = 4.0  # inches; a phone shows 288 points as about 358 pixels
NO_BREAK = "\N{NO-BREAK SPACE}%"
LONG = 28  # characters of a name
SETTINGS: Any = {
    "font.size": 9.0,
    "legend.fontsize": 8.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "botorch_xval",
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
HREF = "{http://www.w3.org/1999/xlink}href"
COLOR = re.compile(r"#[0-9a-f]{6}\b")
# Before matplotlib 3.11 family and size are one.
FONT = re.compile(r"(font:[^;]*?px|font-family:) [^;]*")
FINE = re.compile(r"-?\d+\.\d{3,}")  # finer than a hundredth of a point
REFERENCE = re.compile(r"url\(#([^)]+)\)")
# By the least lightness of a gray what it becomes.
GRAYS = ((0.99, "--paper"), (0.85, "--guide"), (0.6, "--line"), (0.1, "--soft"))


@dataclass(frozen=True)
class Dots:
    """Where the dots of a chart are, and the row of a table that each belongs to."""

    x: NDArray[np.float64]
    """Of `k` dots, in units of the axes."""

    y: NDArray[np.float64]
    """Of `k` dots, in units of the axes."""

    ids: Sequence[str]
    """The `k` ids of rows in the page."""

    tips: Sequence[str]
    """What is said where one points at a dot."""


class Charts:
    """Draws the charts of one page.

    Attributes:
        number: How many have been drawn: part of their ids.
    """

    def __init__(self) -> None:
        self.number = 0
        self._full: dict[str, str] = {}  # by shortened name

    def short(self, name: str) -> str:
        """A name as charts take it: not too long, and no formula.

        Different names stay different.
        """
        text = " ".join(name.split())
        if len(text) > LONG:
            start, end = text[: LONG - 9], text[-8:]
            text, k = f"{start}\N{HORIZONTAL ELLIPSIS}{end}", 1
            while self._full.setdefault(text, name) != name:
                k += 1
                text = f"{start}\N{HORIZONTAL ELLIPSIS}{k}\N{HORIZONTAL ELLIPSIS}{end}"
        return text.replace("$", r"\$")

    def chart(
        self,
        draw: Callable[[Axes], object],
        caption: str,
        *,
        height: float = 3.0,
        colors: Mapping[str, str] | None = None,
        dots: Dots | None = None,
        has_legend: bool = True,
    ) -> str:
        """A new chart.

        Args:
            draw: Draws on the axes that it is given. Their title is written above the
                chart, where there is room.
            caption: What the chart shows, as text.
            height: In inches; its width is 4.
            colors: Other colors (or names of colors of the page), by hexadecimal color.
            dots: Dots that lead to rows.
            has_legend: Whether to keep the legend.

        Returns:
            The HTML.
        """
        with matplotlib.rc_context(SETTINGS):
            ax = axes_of(None, figsize=(WIDTH, height))
            try:
                draw(ax)
                if not has_legend and (legend := ax.get_legend()) is not None:
                    legend.remove()
                if dots is not None:
                    _link(ax, dots)
                return self._html(figure_of(ax), caption, colors, dots)
            finally:
                plt.close(figure_of(ax))

    def figure(self, figure: Figure, caption: str) -> str:
        """A figure that has been drawn elsewhere, at the width of the others.

        Args:
            figure: The figure; it is closed.
            caption: What it shows, as text.

        Returns:
            The HTML.
        """
        with matplotlib.rc_context(SETTINGS):
            width, height = figure.get_size_inches()
            figure.set_size_inches(WIDTH, max(WIDTH * height / width, 2.6))
            try:
                return self._html(figure, caption, None, None)
            finally:
                plt.close(figure)

    def _html(
        self,
        figure: Figure,
        caption: str,
        colors: Mapping[str, str] | None,
        dots: Dots | None,
    ) -> str:
        title = ""
        if len(figure.axes) == 1:
            title = figure.axes[0].get_title(loc="left")
            figure.axes[0].set_title("", loc="left")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=NO_METADATA)
        root = ElementTree.fromstring(buffer.getvalue())
        title = self._in_full(title.replace(r"\$", "$"))
        self._rewrite(root, {} if colors is None else colors, dots)
        root.attrib = {
            "viewBox": root.attrib["viewBox"],
            "role": "img",
            "aria-label": f"{title}. {caption}" if title else caption,
        }
        image = ElementTree.tostring(root, encoding="unicode")
        heading = f"<strong>{escape(title)}.</strong> " if title else ""
        return (
            f'<figure class="chart">{image}<figcaption>{heading}'
            f"{escape(caption).replace(' %', NO_BREAK)}</figcaption></figure>"
        )

    def _rewrite(
        self, root: ElementTree.Element, colors: Mapping[str, str], dots: Dots | None
    ) -> None:
        """Own ids, colors of the page, full names, and no namespaces, in place."""
        self.number += 1
        prefix = f"c{self.number}-"
        used = {e.attrib[HREF][1:] for e in root.iter() if HREF in e.attrib}
        for element in root.iter():
            for value in element.attrib.values():
                used |= set(REFERENCE.findall(value))
        tips = {} if dots is None else dict(zip(dots.ids, dots.tips, strict=True))
        for element in root.iter():
            for child in [
                c for c in element if c.tag.endswith(("}style", "}metadata"))
            ]:
                element.remove(child)
            element.tag = element.tag.rpartition("}")[2]
            target = element.attrib.pop(HREF, "")[1:]
            if element.tag == "a":
                element.tag = "g"
                element.attrib.clear()
                element.attrib.update({"class": "dot", "data-row": target})
                _say(element, tips[target])
            elif target:
                element.attrib["href"] = f"#{prefix}{target}"
            name = element.attrib.pop("id", "")
            if name in used:
                element.attrib["id"] = prefix + name
            for key, value in element.attrib.items():
                if key in ("d", "x", "y"):
                    element.attrib[key] = FINE.sub(
                        lambda m: f"{float(m[0]):.2f}", value
                    )
                if key in ("style", "clip-path"):
                    value = REFERENCE.sub(rf"url(#{prefix}\1)", value)
                    value = FONT.sub(r"\1 var(--sans)", value)
                    value = COLOR.sub(lambda m: _color(m[0], colors), value)
                    element.attrib[key] = value
            element.tail = None if not (element.tail or "").strip() else element.tail
            if element.tag != "text":
                element.text = (element.text or "").strip() or None
            elif (full := self._in_full(element.text or "")) != element.text:
                _say(element, full)
        for group in root.iter("g"):
            _share_style(group)

    def _in_full(self, text: str) -> str:
        """A text with its shortened names in full."""
        for short, full in self._full.items():
            text = text.replace(short, full)
        return text


def _link(ax: Axes, dots: Dots) -> None:
    """Lay invisible dots over those of a chart; as SVG they are links."""
    limits = ax.axis()
    ax.scatter(
        dots.x, dots.y, s=60, alpha=0.0, zorder=10, urls=[f"#{i}" for i in dots.ids]
    )
    ax.axis(limits)


def _share_style(group: ElementTree.Element) -> None:
    """Give a group the style that all of its marks have, instead of each of them."""
    marks = [child for child in group if child.tag == "use"]
    if len({mark.get("style") for mark in marks}) == 1 < len(marks) and (
        {child.tag for child in group} <= {"use", "defs"} and "style" in marks[0].attrib
    ):
        group.set("style", marks[0].get("style", ""))
        for mark in marks:
            del mark.attrib["style"]


def _say(element: ElementTree.Element, text: str) -> None:
    """Let an element say a text where one points at it."""
    title = ElementTree.Element("title")
    title.text = text
    title.tail, element.text = (element.text, None)
    element.insert(0, title)


def _color(color: str, colors: Mapping[str, str]) -> str:
    """A color in the page: another one, one of the page if it is gray, or itself."""
    if color in colors:
        return colors[color]
    red, green, blue = color[1:3], color[3:5], color[5:]
    if not red == green == blue:
        return color
    lightness = int(red, 16) / 255
    return f"var({next((n for least, n in GRAYS if lightness >= least), '--ink')})"
