"""The report by what a parser finds in it, and in a browser."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import noisy_waves, normalized_gp
from pages import BROWSER, Element, Page

from botorch_xval import Comparison, ScalarChoiceGP, compare, cross_validate
from botorch_xval.cross_validation import recalibrate, refit_without
from botorch_xval.reporting.plots import plot_evaluations
from botorch_xval.reporting.plots.comparison import looks_of
from botorch_xval.reporting.report import write_report

HOSTILE = """</style><b>"x"</b> & 'y' $ <img src=x onerror="document.title='hacked'">"""
HEADINGS = [
    "The answer",
    "Scores",
    "Which trials decide?",
    "What to do with it",
    "Each configuration",
    "How the folds are fitted",
    "The fitted models",
    "Data and method",
]


@pytest.fixture(autouse=True)
def no_figures_left_behind() -> Iterator[None]:
    yield
    assert not plt.get_fignums()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory):
    X, Y = noisy_waves(12)
    models = {
        HOSTILE: ScalarChoiceGP,
        "loose & co": partial(ScalarChoiceGP, priors="loosest"),
        "default": normalized_gp,
    }
    comparison = compare(models, X, Y, sizes=[8, 10, 12], fit="warm")
    results = {
        name: cross_validate(model, X, Y, fit="warm", keep_models=True)
        for name, model in models.items()
    }
    names = [f"trial {i} {HOSTILE}" for i in range(12)]
    without = {
        "default": refit_without(
            results["default"], [3], normalized_gp, X, Y, fit="warm", keep_models=True
        )
    }
    without["default"].left_out["name"] = names[3]
    path = tmp_path_factory.mktemp("report") / "report.html"
    records = results["default"].records
    write_report(
        path,
        comparison,
        results,
        target=f"log(loss) {HOSTILE}",
        data="12 of 13 rows; 1 left out: no loss (row 7).",
        features=[f"a {HOSTILE}", "b"],
        row_names=names,
        without=without,
        figures={"What the folds cost.": plot_evaluations(records).figure},
        notes=["Fitted by warm starts."],
    )
    return Page(path), comparison, results, path


def table_of(page: Page, label: str) -> list[list[str]]:
    """The text of the cells of the table with a label, row by row."""
    (region,) = [
        each
        for each in page.root.find("div", role="region")
        if each.attributes["aria-label"] == label
    ]
    return [
        [cell.text for cell in row.children] for row in region.find("tbody")[0].children
    ]


def test_the_answer_and_the_tables_are_those_of_the_comparison(report):
    page, comparison, _, _ = report
    table = comparison.table()
    last = table[table["size"] == 12].sort_values("rank")
    (sentence,) = page.root.find("p", **{"class": "answer"})
    assert sentence.text.startswith("With 12 rows, ")
    assert last.configuration.iloc[0] in sentence.text
    (numbers,) = page.root.find("p", **{"class": "numbers"})
    assert f"{last.mean_log_density.iloc[0]:.3f} nats" in numbers.text
    assert f"{last.configuration.iloc[1]}, is behind by" in numbers.text
    rows = table_of(page, "Scores at 12 rows")
    for row, entry in zip(rows, last.itertuples(), strict=True):
        assert row[0].endswith(entry.configuration)
        assert row[1] == f"{entry.mean_log_density:.3f}"
        assert float(row[7]) == pytest.approx(entry.rmse, rel=5e-3)
        assert entry.caution in row[8]
    rows = table_of(page, "Scores at all sizes, and what they cost")
    expected = table.sort_values(["size", "rank"], ascending=[False, True])
    for row, entry in zip(rows, expected.itertuples(), strict=True):
        assert row[0] == str(entry.size) and row[1].endswith(entry.configuration)
        assert row[2] == f"{entry.mean_log_density:.3f}"
        assert row[10] == f"{entry.evaluations:,}"


def test_one_order_and_one_color_for_each_configuration(report):
    page, comparison, results, _ = report
    looks = looks_of(comparison)
    order = list(looks)
    assert [row[0][2:] for row in table_of(page, "Scores at 12 rows")] == order
    for each in page.root.find("span", **{"class": "name"}):
        color, _ = looks[each.text[2:]]
        assert color in each.children[0].attributes["style"]
    folded = [each for each in page.root.find("section", id="configurations")]
    summaries = [
        each.text[2:]
        for each in folded[0].find("summary")
        if each.find("span", **{"class": "name"})
    ]
    assert summaries == order
    panels = [panel.find("h3")[0].text for panel in page.root.find("article")]
    assert panels == order


def test_weights_groups_and_selection_bias_are_where_one_looks(tmp_path):
    rng = np.random.default_rng(0)
    hard, n = rng.normal(size=24), 24
    points = [
        pd.DataFrame(
            {
                "configuration": f"kernel {k}",
                "size": n,
                "replicate": 0,
                "round": 1,
                "row": range(n),
                "group": np.arange(n) // 2,
                "log_density": hard + 0.3 * rng.normal(size=n),
                "squared_error": 1.0,
            }
        )
        for k in range(12)
    ]
    points = pd.concat(points, ignore_index=True)
    names = [f"kernel {k}" for k in range(12)]
    fits = pd.DataFrame({"configuration": names, "size": n, "replicate": 0, "round": 1})
    fits = fits.assign(folds=n, failed=0, evaluations=1, seconds=0.1)
    comparison = Comparison(points, fits)
    path = tmp_path / "report.html"
    write_report(path, comparison, {}, target="loss", data="24 rows.")
    page, table = Page(path), comparison.table()
    (numbers,) = page.root.find("p", **{"class": "numbers"})
    bias = table.attrs["selection_bias"][n] / n
    assert f"the best of 12, and up to about {bias:.3f} nats per row" in numbers.text
    text = page.root.text
    assert "standard errors take groups of rows as independent" in text
    assert table.caution[0] in text and "having been chosen" in table.caution[0]
    heavy = table.weight.max()
    assert 0.1 < heavy < 1 and f"{heavy:.3f}" in text


def test_the_report_has_all_its_parts_and_needs_nothing_else(report):
    page, _, results, _ = report
    assert [each.text for each in page.root.find("h2")] == HEADINGS
    text = page.root.text
    assert "1 left out: no loss (row 7)" in text and "Fitted by warm starts." in text
    assert "botorch 0." in text and "12 fits: " in text
    # Of the answer, sizes, trials, the learning curve, the figure; of each model.
    assert len(page.root.find("figure")) == 1 + 2 + 1 + 1 + 1 + 7 * len(results)
    assert not page.root.find("img")
    assert not re.findall(r'(?<!xlink:)(?:src|href)="(?!#)', outside_of_text(page))
    assert "@import" not in page.source and not re.search(r"url\((?!#)", page.source)


def outside_of_text(page: Page) -> str:
    """The source without text, so what is in it is markup."""
    return re.sub(r">[^<]*<", "><", page.source)


def test_its_structure_is_one_for_everyone(report):
    page, _, _, _ = report
    ids = [each.attributes["id"] for each in elements(page.root) if has(each, "id")]
    assert len(ids) == len(set(ids))
    links = [
        each.attributes["href"] for each in elements(page.root) if has(each, "href")
    ]
    rows = [
        each.attributes["data-row"]
        for each in elements(page.root)
        if has(each, "data-row")
    ]
    assert links and all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} | set(rows) <= set(ids)
    assert len(set(rows)) == 3 + 12 + 3 * 12  # of the answer, of trials, of models
    (contents,) = page.root.find("nav")
    assert [each.text for each in contents.find("a")] == HEADINGS
    assert len(page.root.find("main")) == 1 and len(page.root.find("h1")) == 1
    levels = [int(e.tag[1]) for e in elements(page.root) if re.match(r"h\d$", e.tag)]
    assert levels[0] == 1
    assert all(then - now <= 1 for now, then in zip(levels, levels[1:], strict=False))
    for image in page.root.find("svg"):
        hidden = image.attributes.get("aria-hidden") == "true"
        assert hidden or image.attributes["aria-label"]
    for head in page.root.find("th"):
        assert head.attributes["scope"] in ("row", "col")
    regions = [e.attributes["aria-label"] for e in page.root.find("div", role="region")]
    assert len(regions) == len(set(regions))


def elements(root: Element) -> Iterator[Element]:
    for child in root.children:
        if isinstance(child, Element):
            yield child
            yield from elements(child)


def has(element: Element, name: str) -> bool:
    return name in element.attributes


def test_names_with_tags_are_text(report):
    page, _, _, _ = report
    assert not page.root.find("img")
    # `b` is for values of models only.
    assert all(has(each, "data-v") for each in page.root.find("b"))
    assert page.root.text.count(HOSTILE) > 20
    assert len(page.root.find("style")) == 1
    assert HOSTILE not in page.source


def test_every_held_out_row_has_its_prediction(report):
    page, _, results, _ = report
    for name, result in results.items():
        rows = table_of(page, f"Held-out log(loss) {HOSTILE} by {name}")
        frame = result.to_frame()
        for row, entry in zip(rows, frame.itertuples(), strict=True):
            assert row[0] == f"trial {entry.row} {HOSTILE}"
            values = entry.observed, entry.mean, entry.deviation, entry.z_score
            assert [float(x.replace(",", "")) for x in row[1:5]] == pytest.approx(
                values, rel=5e-3
            )


def test_several_targets_are_scored_each_by_itself(tmp_path):
    X, Y = noisy_waves(10)
    Y = torch.cat([Y, Y.flip(0) * 10], dim=-1)
    models = {"default": normalized_gp, "other": normalized_gp}
    comparison = compare(models, X, Y, sizes=[10], fit="warm")
    results = {n: cross_validate(m, X, Y, fit="warm") for n, m in models.items()}
    path = tmp_path / "report.html"
    with pytest.raises(ValueError, match="target: expected 2 names, one for each"):
        write_report(path, comparison, results, target="loss", data="10 rows.")
    write_report(path, comparison, results, target=["loss", "cost"], data="10 rows.")
    page = Page(path)
    assert "held-out loss and cost together" in page.root.text
    rows = table_of(page, "Scores of each target")
    assert [(row[0], row[1][2:]) for row in rows] == [
        (target, name) for target in ("loss", "cost") for name in looks_of(comparison)
    ]
    for k in range(2):
        expected = results["default"].summary().loc[k]
        (row,) = [r for r in rows[2 * k : 2 * k + 2] if r[1].endswith("default")]
        assert float(row[2]) == pytest.approx(expected.mean_log_density, abs=1e-3)
        assert float(row[4]) == pytest.approx(expected.rmse, rel=5e-3)
    # No sum of squared errors in different units.
    heads = page.root.find("table")[0].find("thead")[0].find("th")
    assert "RMSE" not in [head.text for head in heads]
    assert len(table_of(page, "Held-out cost by other")) == 10


def test_it_says_what_to_do(report):
    page, _, results, _ = report
    (part,) = page.root.find("section", id="advice")
    assert [each.text for each in part.find("h3")] == [
        "More trials",
        "Suspicious trials",
        "Recalibration",
    ]
    text = page.root.text
    assert "20 more rows than 12 would gain" in text
    assert f"Without trial 3 {HOSTILE} the log density of the other 11 rows" in text
    for name, result in results.items():
        factor = recalibrate(result).factor.item()
        assert f"{name}: Variance times {factor:.2f}" in text


def test_every_fold_can_be_followed_by_its_trial(report):
    page, _, results, _ = report
    options = [
        each.text.removesuffix(" (in another optimum)")
        for each in page.root.find("option")
    ]
    assert options == ["all", *(f"trial {i} {HOSTILE}" for i in range(12))]
    assert len(page.root.find("article")) == len(results)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_browser_shows_it_without_an_error(report, tmp_path: Path):
    _, _, _, path = report
    shot = tmp_path / "report.png"
    done = subprocess.run(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--hide-scrollbars",
            "--window-size=1280,2400",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={shot}",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert shot.stat().st_size > 50_000
    assert "CONSOLE" not in done.stderr


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_its_script_makes_tables_sort_and_names_stay_text(report, tmp_path: Path):
    _, comparison, _, path = report
    source = path.read_text(encoding="utf-8")
    clicks = (
        "<script>const heads = document.querySelectorAll('#scores thead button');"
        "heads[1].click();"  # log density, ascending
        "document.querySelector('#trials .dot')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}));</script>"
    )
    (tmp_path / "page.html").write_text(
        source.replace("</body>", f"{clicks}</body>"), encoding="utf-8"
    )
    done = subprocess.run(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=90,
    )
    (tmp_path / "after.html").write_text(done.stdout, encoding="utf-8")
    page = Page(tmp_path / "after.html")
    assert page.root.find("title")[0].text == "Comparison by cross-validation"
    (head,) = [h for h in page.root.find("th") if has(h, "aria-sort")]
    assert head.text == "log density" and head.attributes["aria-sort"] == "ascending"
    names = [row[0][2:] for row in table_of(page, "Scores at 12 rows")]
    assert names == list(looks_of(comparison))[::-1]
    (row,) = page.root.find("tr", **{"class": "on"})
    dots = page.root.find("section", id="trials")[0].find("g", **{"class": "dot"})
    assert row.attributes["id"] == dots[0].attributes["data-row"]
    (part,) = page.root.find("section", id="trials")[0].find("details")
    assert "open" in part.attributes
