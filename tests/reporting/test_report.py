"""The report by what a parser finds in it, and in a browser."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import noisy_waves, normalized_gp
from pages import BROWSER, Page

from botorch_xval import Comparison, ScalarChoiceGP, compare, cross_validate
from botorch_xval.cross_validation import recalibrate, refit_without
from botorch_xval.reporting.plots import plot_evaluations
from botorch_xval.reporting.report import write_report


@pytest.fixture(autouse=True)
def no_figures_left_behind() -> Iterator[None]:
    yield
    assert not plt.get_fignums()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory):
    X, Y = noisy_waves(12)
    models = {
        "tight <b>": ScalarChoiceGP,
        "loose & co": partial(ScalarChoiceGP, priors="loosest"),
        "default": normalized_gp,
    }
    comparison = compare(models, X, Y, sizes=[8, 10, 12], fit="warm")
    results = {
        name: cross_validate(model, X, Y, fit="warm", keep_models=True)
        for name, model in models.items()
    }
    names = [f"trial {i}" for i in range(12)]
    without = {
        "default": refit_without(
            results["default"], [3], normalized_gp, X, Y, fit="warm", keep_models=True
        )
    }
    without["default"].left_out["name"] = "trial 3"
    path = tmp_path_factory.mktemp("report") / "report.html"
    records = results["default"].records
    write_report(
        path,
        comparison,
        results,
        target="log(loss)",
        data="12 of 13 rows; 1 left out: no loss (row 7).",
        features=["a", "b"],
        row_names=names,
        without=without,
        figures={"What the folds cost.": plot_evaluations(records).figure},
        notes=["Fitted by warm starts."],
    )
    return Page(path), comparison, results, path


def test_the_answer_and_the_table_are_those_of_the_comparison(report):
    page, comparison, _, _ = report
    table = comparison.table()
    last = table[table["size"] == 12].sort_values("rank")
    (answer,) = page.root.find("p", **{"class": "answer"})
    assert f"With 12 rows, {last.configuration.iloc[0]!r} predicts" in answer.text
    assert f"{last.mean_log_density.iloc[0]:.3f} nats" in answer.text
    assert f"{last.configuration.iloc[1]!r}, is behind by" in answer.text
    text = page.root.text
    for row in table.itertuples():
        assert row.configuration in text
        assert f"{row.mean_log_density:.3f}" in text
        assert row.caution in text
    rows = page.root.find("tbody")[0].find("tr")
    assert len(rows) == len(table) + (table.caution != "").sum()


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
    (answer,) = page.root.find("p", **{"class": "answer"})
    bias = table.attrs["selection_bias"][n] / n
    assert f"the best of 12, and up to about {bias:.3f} nats per row" in answer.text
    text = page.root.text
    assert "Standard errors take groups of rows as independent" in text
    assert table.caution[0] in text and "having been chosen" in table.caution[0]
    heavy = table.weight.max()
    assert 0.1 < heavy < 1 and f"{heavy:.3f}" in text


def test_the_report_has_all_its_parts_and_needs_nothing_else(report):
    page, _, results, _ = report
    headings = [each.text for each in page.root.find("h2")]
    assert headings[:7] == [
        "The answer",
        "Scores",
        "Which points decide?",
        "What to do with it",
        "Each configuration",
        "How the folds are fitted",
        "Data and method",
    ]
    assert {*results} <= {each.text for each in page.root.find("summary")}
    text = page.root.text
    assert "1 left out: no loss (row 7)" in text and "Fitted by warm starts." in text
    assert "botorch 0." in text and "12 fits: " in text
    images = page.root.find("img")
    assert len(images) == 1 + 1 + 1 + 2 * 3 + 1
    for image in images:
        kind, data = image.attributes["src"].split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        assert base64.b64decode(data).lstrip().startswith(b"<?xml")
        assert image.attributes["alt"]
    assert not re.search(r'(src|href)="(?!data:)', page.source)


def test_it_says_what_to_do(report):
    page, _, results, _ = report
    assert [each.text for each in page.root.find("h3")][:3] == [
        "More trials",
        "Suspicious trials",
        "Recalibration",
    ]
    text = page.root.text
    assert "20 more rows than 12 would gain" in text
    assert "Without trial 3 the log density of the other 11 rows" in text
    for name, result in results.items():
        factor = recalibrate(result).factor.item()
        assert f"{name}: Variance times {factor:.2f}" in text


def test_every_fold_can_be_followed_by_its_trial(report):
    page, _, results, _ = report
    options = [
        each.text.removesuffix(" (in another optimum)")
        for each in page.root.find("option")
    ]
    assert options == ["all", *(f"trial {i}" for i in range(12))]
    panels = page.root.find("main")[0].find("article")
    assert len(panels) == len(results)


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
