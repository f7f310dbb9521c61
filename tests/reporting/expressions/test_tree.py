"""The tree of a description: its numbers, its layout and its HTML."""

from __future__ import annotations

import pytest

from botorch_xval.reporting.expressions.tree import (
    Description,
    Node,
    Section,
    Statement,
    Value,
    combine,
    format_number,
)


@pytest.mark.parametrize(
    "number, text",
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (0.43128, "0.431"),
        (-12.3456, "-12.3"),
        (123456.0, "123000"),
        (0.00012345, "0.000123"),
        (0.00001, "1e-5"),
        (-1.2345e-7, "-1.23e-7"),
        (999999.0, "1e6"),
        (2.5e12, "2.5e12"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_numbers(number: float, text: str) -> None:
    assert format_number(number) == text


def leaf(text: str, *values: float) -> Node:
    return Node((f"{text} / ", Value(text, "lengthscale", values)))


def test_long_formulas_are_filled_and_nested() -> None:
    leaves = tuple(leaf(f"feature_{i}", 0.5, 1.5, 4.0) for i in range(9))
    inner = Node(("f(",), leaves, (")",), comment=("word " * 30 + "end",))
    outer = Node(("g([",), (leaf("short", 1.0, 1.0, 1.0), inner), ("])",))
    section = Section("", (Statement(("As follows",), outer),))
    lines = str(Description((section,), 3)).splitlines()
    assert lines[:4] == [
        "3 Gaussian processes: median [smallest, largest]",
        "As follows",
        "  g([",
        "    short / 1,",
    ]
    assert max(map(len, lines)) <= 100
    comments = [line for line in lines if "word" in line]
    assert len(comments) == 2
    assert all(line.startswith("    # word") for line in comments)
    assert "    f(" in lines
    assert lines[-1].endswith("feature_8 / 1.5 [0.5, 4])])")
    text = " ".join(line.strip() for line in lines)
    assert text.count(" / 1.5 [0.5, 4]") == 9


def test_html_is_the_text_with_all_numbers_at_hand() -> None:
    node = leaf("<b>&'\"", 0.5, 1.5)
    description = Description((Section("", (Statement(("<i>",), node),)),), 2)
    html = description._repr_html_()
    assert "&lt;i&gt;" in html
    assert "&lt;b&gt;&amp;&#x27;&quot; / " in html
    title = 'title="&lt;b&gt;&amp;&#x27;&quot;: 0.5, 1.5"'
    assert f"<b {title}>1 [0.5, 1.5]</b>" in html


def test_descriptions_combine_in_order() -> None:
    each = [
        Description((Section("", (Statement(("is",), leaf("a", *numbers)),)),), count)
        for numbers, count in (((3.0,), 1), ((1.0, 2.0), 2))
    ]
    together = combine(each)
    assert together.num_models == 3
    assert together.values()[0].numbers == (3.0, 1.0, 2.0)
    assert combine(each[:1]) == each[0]
