"""Charts within a page, by what is in their SVG."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from pages import Page

from botorch_xval.reporting.plots.svg import Charts, Dots

HOSTILE = """<b>"x"</b> & 'y' id="z" $a_1$ url(#k) </svg><script>alert(1)</script>"""


@pytest.fixture(autouse=True)
def no_figures_left_behind() -> Iterator[None]:
    before = dict(plt.rcParams)
    yield
    assert not plt.get_fignums()
    assert dict(plt.rcParams) == before


def parsed(html: str, path: Path) -> Page:
    path.write_text(html, encoding="utf-8")
    return Page(path)


def draw(ax: plt.Axes) -> None:
    ax.plot([0, 1], [0, 1], "o-", color="#0072B2")
    ax.axhline(0.5, color="0.9")
    ax.fill_between([0, 1], 0, 1, color="0.95")


def test_ids_of_charts_do_not_clash_and_all_are_used(tmp_path):
    charts = Charts()
    html = charts.chart(draw, "One.") + charts.chart(draw, "Two.")
    page = parsed(html, tmp_path / "page.html")
    ids = re.findall(r' id="([^"]+)"', html)
    used = re.findall(r'href="#([^"]+)"', html) + re.findall(r"url\(#([^)]+)\)", html)
    assert len(ids) == len(set(ids)) and set(ids) == set(used)
    images = page.root.find("svg", role="img")
    assert [each.attributes["aria-label"] for each in images] == ["One.", "Two."]
    assert not page.root.find("style") and not page.root.find("metadata")


def test_gray_becomes_a_color_of_the_page_and_others_what_they_are_told(tmp_path):
    html = Charts().chart(draw, "One.", colors={"#0072b2": "#123456"})
    assert "#0072b2" not in html and "#123456" in html
    assert not re.search(r"#(?!123456)[0-9a-f]{6}\b", html)
    assert {"--paper", "--guide", "--ink"} <= set(re.findall(r"var\((--\w+)\)", html))


def test_text_is_text_and_large_enough_on_a_phone(tmp_path):
    def named(ax: plt.Axes) -> None:
        draw(ax)
        ax.set_xlabel("iteration")
        ax.annotate("a name", (0.5, 0.5), fontsize=8)

    page = parsed(Charts().chart(named, "One."), tmp_path / "page.html")
    texts = page.root.find("text")
    assert {"iteration", "a name"} <= {each.text for each in texts}
    (image,) = page.root.find("svg")
    width = float(image.attributes["viewbox"].split()[2])
    for each in texts:
        assert "var(--sans)" in each.attributes["style"]
        assert "DejaVu" not in each.attributes["style"]
        size = float(re.search(r"([\d.]+)px", each.attributes["style"])[1])
        assert size * 358 / width > 9.9


def test_marks_of_one_style_share_it_and_coordinates_are_short(tmp_path):
    """Of marks in several colors each keeps its own."""

    def scattered(ax: plt.Axes) -> None:
        ax.scatter(np.linspace(0, 1, 7), np.linspace(0, 1, 7) ** 2, color="#123456")
        ax.scatter([0, 1], [1, 0], color=["#654321", "#abcdef"])

    html = Charts().chart(scattered, "One.")
    page = parsed(html, tmp_path / "page.html")
    assert html.count("fill: #123456") == 1
    assert html.count("fill: #654321") == html.count("fill: #abcdef") == 1
    for name in ("x", "y", "d"):
        values = [e.attributes.get(name, "") for e in page.root.find("use")]
        values += [e.attributes.get(name, "") for e in page.root.find("path")]
        assert not re.search(r"\d\.\d{3}", " ".join(values))


def test_a_title_stands_above_in_full(tmp_path):
    charts = Charts()
    name = "a configuration with a name that is much too long"

    def titled(ax: plt.Axes) -> None:
        draw(ax)
        ax.set_title(f"{charts.short(name)} minus $2", loc="left")

    page = parsed(charts.chart(titled, "A caption."), tmp_path / "page.html")
    (caption,) = page.root.find("figcaption")
    assert caption.text == f"{name} minus $2. A caption."
    (image,) = page.root.find("svg")
    assert image.attributes["aria-label"] == f"{name} minus $2. A caption."


def test_names_are_escaped_shortened_and_in_full_where_one_points(tmp_path):
    charts = Charts()

    def named(ax: plt.Axes) -> None:
        draw(ax)
        ax.set_yticks([0, 1], [charts.short(HOSTILE), "short"])

    page = parsed(charts.chart(named, HOSTILE), tmp_path / "page.html")
    assert not page.root.find("script") and not page.root.find("b")
    titles = [each.text for each in page.root.find("title")]
    assert titles == [HOSTILE]
    assert HOSTILE in page.root.find("figcaption")[0].text


def test_different_names_stay_different():
    charts = Charts()
    names = [f"the beginning of all names {i} and their end" for i in range(5)]
    found = [charts.short(name) for name in names]
    assert len(set(found)) == 5 and max(map(len, found)) < 32
    assert found == [charts.short(name) for name in names]
    assert charts.short("cost in $") == r"cost in \$"


def test_dots_lead_to_their_rows(tmp_path):
    x = np.array([0.0, 1.0])
    dots = Dots(x, x, ["row-a", "row-b"], ["a: 0", HOSTILE])
    page = parsed(Charts().chart(draw, "One.", dots=dots), tmp_path / "page.html")
    found = page.root.find("g", **{"class": "dot"})
    assert [each.attributes["data-row"] for each in found] == ["row-a", "row-b"]
    assert [each.find("title")[0].text for each in found] == ["a: 0", HOSTILE]


def test_a_figure_of_another_size_has_the_width_of_the_others(tmp_path):
    figure, ax = plt.subplots(figsize=(12, 6), layout="constrained")
    draw(ax)
    page = parsed(Charts().figure(figure, "One."), tmp_path / "page.html")
    (image,) = page.root.find("svg")
    assert image.attributes["viewbox"].split()[2] == "288"
