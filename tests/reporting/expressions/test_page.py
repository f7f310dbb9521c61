"""The page by what a parser finds in it, and what a browser makes of its script."""

from __future__ import annotations

import math
import re
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import assert_close, noisy_waves
from pages import BROWSER, Page

from botorch_xval import ScalarChoiceGP
from botorch_xval.reporting.expressions.description import describe
from botorch_xval.reporting.expressions.page import write_page
from botorch_xval.reporting.expressions.tree import (
    Description,
    Node,
    Section,
    Statement,
    Value,
)


def folds(seed: int, count: int = 3) -> Description:
    """Unfitted models with a few different values each."""
    x, y = noisy_waves(8)
    x = torch.cat([x, torch.eye(2, dtype=torch.float64).repeat(4, 1)], dim=-1)
    models = []
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        model = ScalarChoiceGP(x[i:], y[i:], choice_dims=[2, 3])
        for parameter in model.parameters():
            noise = torch.rand(parameter.shape, generator=generator)
            parameter.data = parameter.data + 0.3 * noise
        models.append(model)
    return describe(models, ["log epochs", "rate", "kind=<a>", "kind=b"], ["loss"])


@pytest.fixture(scope="module")
def both() -> dict[str, Description]:
    return {"tight": folds(0), "loose": folds(1)}


def written(tmp_path: Path, *args: Any, **kwargs: Any) -> Page:
    path = tmp_path / "page.html"
    write_page(path, *args, **kwargs)
    return Page(path)


def test_every_value_has_its_number_and_its_marks(
    tmp_path: Path, both: dict[str, Description]
) -> None:
    names = ["row 3", "row 5", "row 8"]
    page = written(tmp_path, both, title="Folds", held_out=names)
    assert [e.text for e in page.root.find("h1")] == ["Folds"]
    articles = page.root.find("article")
    assert [e.find("h2")[0].text for e in articles] == list(both)
    offset = 0
    for article, description in zip(articles, both.values(), strict=True):
        values = description.values()
        numbers, strips = article.find("b"), article.find("svg")
        assert [e.text for e in numbers] == [v.middle for v in values]
        assert [e.text for e in article.find("small")] == [v.spread for v in values]
        for i, (value, strip) in enumerate(zip(values, strips, strict=True)):
            assert numbers[i].attributes["data-v"] == str(offset + i)
            assert strip.attributes["data-v"] == str(offset + i)
            assert strip.attributes["aria-label"] == f"{value.name}: {value}"
            tips = [e.text for e in strip.find("title")]
            shown = [f"{number:.3g}" for number in value.numbers]
            assert [tip.split(": ")[0] for tip in tips] == names
            assert_close(
                [float(tip.split(": ")[1]) for tip in tips], list(map(float, shown))
            )
            frame = page.data["values"][offset + i]["frames"]
            assert_close(frame, [value.numbers], rtol=1e-5)
        offset += len(values)
    assert [e.text for e in page.root.find("option")] == ["all", *names]


def test_the_formula_reads_as_in_the_text(
    tmp_path: Path, both: dict[str, Description]
) -> None:
    description = folds(0, count=1)
    page = written(tmp_path, {"one": description}, title="One model")
    rows = page.root.find("article")[0].find("div")
    texts = [
        row.text
        for row in rows
        if row.attributes["class"] in ("sentence", "note", "code")
    ]
    found = "".join("".join(texts).split())
    _, *lines = str(description).splitlines()
    assert found == "".join("".join(lines).split())


def test_marks_lie_on_the_axis_of_their_kind(tmp_path: Path) -> None:
    values = [
        Value("l1", "lengthscale", (0.1, 10.0)),
        Value("l2", "lengthscale", (1.0, 0.1)),
        Value("w", "weight", (0.25, 0.75), False),
        Value("m", "mean", (-1.0, 1.0), False),
        Value("broken", "noise variance", (0.01, math.nan)),
    ]
    nodes = tuple(Node(("x / ", value)) for value in values)
    statement = Statement(("As follows",), Node(("f(",), nodes, (")",)))
    description = Description((Section("", (statement,)),), 2)
    page = written(tmp_path, {"a": description}, title="Marks")
    strips = page.root.find("article")[0].find("svg")
    at = [[float(c.attributes["cx"]) for c in s.find("circle")] for s in strips]
    low, high = at[0]
    assert_close(at[1], [(low + high) / 2, low], atol=0.06, rtol=0)
    assert_close(at[2], [low + (high - low) * w for w in (0.25, 0.75)], atol=0.06)
    assert_close(sum(at[3]), low + high, atol=0.11, rtol=0)
    assert len(at[4]) == 1
    assert strips[4].attributes["aria-label"] == "broken: nan"
    assert page.data["values"][4]["frames"] == [[0.01, None]]
    (legend,) = page.root.find("ul", **{"class": "scales"})
    first, *_ = legend.find("li")
    assert "lengthscale logarithmic" in first.text
    ticks = [(float(t.attributes["x"]), float(t.text)) for t in first.find("text")]
    for position, number in ticks:
        expected = low + (high - low) * (math.log10(number) + 1) / 2
        assert_close(position, expected, atol=0.06, rtol=0)
    assert len(ticks) >= 3


def test_a_value_after_its_parts_has_a_line_of_its_own(tmp_path: Path) -> None:
    values = [Value(name, "lengthscale", (1.5,)) for name in ("a", "b", "c")]
    inner = Node(("n([",), (Node(("a / ", values[0])),), ("]) + ", values[1], ")"))
    outer = Node(("f(",), (inner, Node(("c / ", values[2]))), (")",))
    statement = Statement(("As follows",), outer)
    description = Description((Section("", (statement,)),), 1)
    page = written(tmp_path, {"one": description}, title="Order")
    codes = page.root.find("div", **{"class": "code"})
    texts = [e.text for e in codes]
    assert texts == ["f(", "n([", "a / 1.5", "]) + 1.5),", "c / 1.5)"]
    strips = page.root.find("article")[0].find("svg")
    assert [s.attributes["aria-label"][0] for s in strips] == ["a", "b", "c"]
    assert not page.root.find("form")


def test_page_needs_nothing_else_and_escapes_text(tmp_path: Path) -> None:
    evil = "</script><script>alert('&\"')</script>"
    names = [f"{evil} {i}" for i in range(3)]
    page = written(tmp_path, {evil: folds(0)}, title=evil, held_out=names)
    assert len(page.root.find("script")) == 2
    assert page.root.find("h1")[0].text == evil
    assert page.root.find("h2")[0].text == evil
    assert page.data["names"] == names
    assert page.root.find("option")[1].text == names[0]
    assert page.source.count("alert") == page.source.count("&lt;script&gt;alert") + len(
        re.findall(r"u003cscript>alert", page.source)
    )
    assert "compare('kind=<a>')" in unescape(page.source)
    for needle in ("http:", "https:", "src=", "href=", "@import", "url("):
        assert needle not in page.source


def test_slider_has_the_values_of_every_iteration(
    tmp_path: Path, both: dict[str, Description]
) -> None:
    course = [folds(2), folds(3), both["tight"]]
    page = written(tmp_path, both, title="Fits", courses={"tight": course})
    (slider,) = page.root.find("input", type="range")
    assert (slider.attributes["min"], slider.attributes["max"]) == ("0", "2")
    num_values = len(both["tight"].values())
    for i, moving in enumerate(page.data["values"][:num_values]):
        expected = [description.values()[i].numbers for description in course]
        assert_close(moving["frames"], expected, rtol=1e-5)
        low, high, _ = page.data["axes"][moving["axis"]]
        assert low <= min(map(min, expected)) <= max(map(max, expected)) <= high
    for moving in page.data["values"][num_values:]:
        assert len(moving["frames"]) == 1


def test_wrong_input(tmp_path: Path, both: dict[str, Description]) -> None:
    def refused(match: str, *args: Any, **kwargs: Any) -> None:
        with pytest.raises(ValueError, match=match):
            write_page(tmp_path / "none.html", *args, title="", **kwargs)

    refused("descriptions: expected at least one, got none", {})
    refused("held_out: .* each of 3 models, got 2", both, held_out=["a", "b"])
    refused(
        "descriptions: expected one number of models",
        {**both, "few": folds(0, count=2)},
    )
    refused(
        "courses: expected names of .*, got 'none'", both, courses={"none": [folds(0)]}
    )
    other = replace(both["tight"], sections=both["tight"].sections * 2)
    refused("one description of 'tight', got none", both, courses={"tight": []})
    refused("courses: .* numbers only", both, courses={"tight": [other]})
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_script_lights_dots_and_moves_marks(
    tmp_path: Path, both: dict[str, Description]
) -> None:
    page = written(
        tmp_path,
        both,
        title="Fits",
        held_out=["r0", "r1", "r2"],
        courses={"tight": [folds(2), both["tight"]]},
    )
    act = """
    const strip = document.querySelector("svg[tabindex]");
    const box = strip.querySelector('circle[data-m="2"]').getBoundingClientRect();
    const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
    strip.dispatchEvent(new PointerEvent("pointermove", at));
    const seen = [document.getElementById("model").value];
    strip.dispatchEvent(new PointerEvent("pointerleave"));
    seen.push(document.getElementById("model").value);
    for (const key of ["ArrowLeft", "ArrowLeft", "ArrowLeft"])
      strip.dispatchEvent(new KeyboardEvent("keydown", { key }));
    seen.push(document.getElementById("model").value);
    document.body.dataset.seen = seen.join();
    const slider = document.getElementById("iteration");
    slider.value = 0;
    slider.dispatchEvent(new Event("input"));
    const model = document.getElementById("model");
    model.value = "1";
    model.dispatchEvent(new Event("change"));
    """
    path = tmp_path / "acting.html"
    source = page.source.replace("</body>", f"<script>{act}</script></body>")
    path.write_text(source, encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [*command, profile, path.as_uri()], capture_output=True, text=True, timeout=120
    )
    path.write_text(done.stdout, encoding="utf-8")
    after = Page(path)
    assert after.root.find("form")[0].attributes.get("hidden", "no") == "no"
    on = [c for c in after.root.find("circle") if c.attributes.get("class") == "on"]
    assert {c.attributes["data-m"] for c in on} == {"1"}
    assert len(on) == sum(len(d.values()) for d in both.values())
    first = both["tight"].values()[0].numbers
    (body,) = after.root.find("body")
    assert body.attributes["data-seen"] == f"2,,{first.index(min(first))}"
    tight, loose = after.root.find("article")
    for article, description in ((tight, folds(2)), (loose, both["loose"])):
        shown = [float(b.text) for b in article.find("b")]
        expected = [float(f"{v.numbers[1]:.3g}") for v in description.values()]
        assert_close(shown, expected)
