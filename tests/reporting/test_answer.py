"""The answer in words, against the numbers that it is made of."""

from __future__ import annotations

import math
from html import escape

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from botorch_xval import Comparison
from botorch_xval.reporting.answer import answer, higher, in_words, lower, numbers


def comparison(shifts: dict[str, float], n: int = 40, noise: float = 0.1) -> Comparison:
    """Scores that differ by a shift and independent noise."""
    rng = np.random.default_rng(0)
    hard = rng.normal(size=n)
    points = [
        pd.DataFrame(
            {
                "configuration": name,
                "size": n,
                "replicate": 0,
                "round": 1,
                "row": range(n),
                "log_density": hard + shift + noise * rng.normal(size=n),
                "squared_error": 1.0,
            }
        )
        for name, shift in shifts.items()
    ]
    fits = pd.DataFrame(
        {"configuration": list(shifts), "size": n, "replicate": 0, "round": 1}
    ).assign(folds=n, failed=0, evaluations=1, seconds=0.1)
    return Comparison(pd.concat(points, ignore_index=True), fits)


def test_a_clear_answer_says_how_much_denser():
    found = comparison({"a & b": 0.0, "c": -0.2, "d": -3.0})
    table = found.table()
    text = answer(table, "<loss>", escape)
    assert text.startswith(
        "With 40 rows, a &amp; b predicts held-out &lt;loss&gt; best"
    )
    scores = found.points.pivot(index="row", columns="configuration")["log_density"]
    gap = scores["a & b"] - scores["c"]
    # Independently: geometric mean of the ratios of densities, Student's interval with
    # twice the standard error.
    ratio = stats.gmean(np.exp(gap))
    half = 2 * stats.t.ppf(0.975, 39) * stats.sem(gap)
    low, high = ratio * math.exp(-half), ratio * math.exp(half)
    expected = (
        f"a density {100 * (ratio - 1):.0f} % higher (geometric mean per trial; 95 %: "
        f"{100 * (low - 1):.0f} % to {100 * (high - 1):.0f} %)"
    )
    assert f"{expected} than the next, c, does." in text
    assert "worse with a probability of over 99%." in numbers(table, str)
    far = comparison({"a": 0.0, "b": -1.0}).table()
    assert " times) as the next, b, does." in answer(far, "loss", str)
    third = next(table[table.configuration == "d"].itertuples())
    assert in_words(third).startswith("a density 2") and "times lower" in in_words(
        third
    )
    assert in_words(next(table.itertuples())) == ""


def test_no_percentage_without_a_clear_difference():
    table = comparison({"a": 0.0, "b": 0.02, "c": -0.2}).table()
    text = answer(table, "loss", str)
    first, second = table.configuration[:2]
    assert f"{first} scores best on held-out loss, but {second} does about as" in text
    assert text.endswith("c is clearly worse.") and "%" not in text
    entry = next(table[table["rank"] == 2].itertuples())
    assert in_words(entry).startswith("about as good (within one standard error); ")


def test_between_one_standard_error_and_a_clear_difference_it_says_neither():
    found = comparison({"a": 0.0, "b": -0.06}, noise=0.1)
    entry = next(found.table().query("rank == 2").itertuples())
    assert 1 < -entry.difference / entry.difference_se < 4.1
    assert in_words(entry).startswith("not clearly worse; ")
    assert "but b is not clearly worse." in answer(found.table(), "loss", str)


def test_few_rows_are_never_clear():
    table = comparison({"a": 0.0, "b": -3.0}, n=10).table()
    assert "b is not clearly worse" in answer(table, "loss", str)
    assert "only 10 rows" in numbers(table, str)


def test_one_configuration_is_no_comparison():
    table = comparison({"a": 0.0}).table()
    score = f"{table.mean_log_density[0]:.3f} nats per row"
    assert score in answer(table, "loss", str) and score in numbers(table, str)


def test_the_best_of_many_may_owe_its_lead_to_having_been_chosen():
    shifts = {f"kernel {i}": 0.001 * i for i in range(12)}
    table = comparison(shifts, noise=0.3).table()
    bias = table.attrs["selection_bias"][40] / 40
    assert f"the best of 12, and up to about {bias:.3f} nats" in numbers(table, str)
    assert "more" in answer(table, "loss", str)


def test_a_configuration_without_a_score():
    found = comparison({"a": 0.0, "b": -0.2, "c": 0.0})
    points = found.points.copy()
    points.loc[points.configuration == "c", "log_density"] = math.nan
    table = Comparison(points, found.fits).table()
    text = answer(table, "loss", str)
    assert "than the next, b, does; c has no score." in text
    last = next(table[table.configuration == "c"].itertuples())
    assert in_words(last) == last.caution and "no row has a score" in last.caution
    alone = Comparison(points[points.configuration != "b"], found.fits).table()
    assert answer(alone, "loss", str).endswith("nats per row; c has no score.")
    assert numbers(alone, str).count("nats") == 1


@pytest.mark.parametrize(
    ("nats", "half", "text"),
    [
        (0.005, 0.001, "0.5 % higher (geometric mean per trial; 95 %: 0.4 % to 0.6 %)"),
        (math.log(1.12), 0.0, "12 % higher"),
        (math.log(2.5), math.log(2), "2.5 times as high (geometric mean per trial"),
        (800.0, 1.0, "inf times as high"),
    ],
)
def test_how_much_higher(nats, half, text):
    assert higher(nats, half).startswith(text)


def test_how_much_lower():
    assert lower(math.log(2), math.log(1.5)) == "50 % lower (95 %: 25 % to 67 %)"
    assert lower(math.log(250), 0.0).startswith("250 times lower (95 %: 250 to 250 t")
