"""Pieces of the report: everything is escaped, everything can be sorted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import Page

from botorch_xval.reporting.markup import Names, cell, folded, listed, table
from botorch_xval.reporting.plots.style import looks

HOSTILE = """<b>"x"</b> & 'y' </td><script>alert(1)</script>"""


def parsed(html: str, path: Path) -> Page:
    path.write_text(html, encoding="utf-8")
    return Page(path)


def test_a_table_holds_its_cells_and_what_they_are_sorted_by(tmp_path):
    names = Names(looks(["best", HOSTILE]))
    html = table(
        HOSTILE,
        [("trial", ""), ("score", 'in "nats" & <i>'), ("model", ""), (HOSTILE, "")],
        [
            [cell(HOSTILE), cell(-1.25), names.cell("best"), cell(float("nan"))],
            [cell("b"), cell(1234.5), names.cell(HOSTILE), cell(7)],
        ],
        ids=["r-0", "r-1"],
        first=1,
    )
    page = parsed(html, tmp_path / "table.html")
    assert not page.root.find("script") and not page.root.find("b")
    (region,) = page.root.find("div", role="region")
    assert region.attributes["aria-label"] == HOSTILE
    assert region.attributes["tabindex"] == "0"
    first, second = page.root.find("tbody")[0].find("tr")
    assert first.attributes == {"id": "r-0", "class": "first"}
    assert first.find("th", scope="row")[0].text == HOSTILE
    assert [each.text for each in first.find("td")][0] == "-1.250"
    assert [each.attributes["data-key"] for each in second.find("td")] == [
        "1234.5",
        "1",  # the second one of the page
        "7",
    ]
    assert second.find("td")[0].text == "1,234.5"
    assert HOSTILE in second.find("td")[1].text
    heads = page.root.find("thead")[0].find("th")
    assert [head.attributes["scope"] for head in heads] == ["col"] * 4
    assert heads[1].attributes["title"] == 'in "nats" & <i>'
    assert heads[3].text == HOSTILE


def test_a_name_has_its_mark(tmp_path):
    names = Names(looks([f"model {i}" for i in range(8)]))
    page = parsed(names.legend(), tmp_path / "legend.html")
    marks = page.root.find("span", **{"class": "mark"})
    looked = {(mark.text, mark.attributes["style"]) for mark in marks}
    assert len(looked) == 8
    assert all(mark.attributes["aria-hidden"] == "true" for mark in marks)
    assert "var(--ink)" in marks[6].attributes["style"]  # black, white if it is dark


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (["a", "b", "c", "d"], "a, b and 2 more"),
    ],
)
def test_words_in_a_sentence(words, text):
    assert listed(words) == text


def test_a_number_keeps_its_digits_without_a_point_at_the_end():
    assert cell(0.1, "#.3g") == ("0.100", "0.1")
    assert cell(123.4, "#.3g")[0] == "123"
    assert cell(float("-inf"))[1] == "-inf"


def test_a_folded_part_is_closed(tmp_path):
    page = parsed(folded("<i>more</i>", "<p>text</p>"), tmp_path / "part.html")
    (details,) = page.root.find("details")
    assert "open" not in details.attributes
    assert details.find("summary")[0].text == "more"
