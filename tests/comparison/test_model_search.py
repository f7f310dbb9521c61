"""What a search says, by scores that are known."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import assert_close, assert_same
from scipy import stats

from botorch_xval.comparison.model_search import ModelSearch, rank
from botorch_xval.comparison.table import Comparison
from botorch_xval.models.configurations import BOTORCH_DEFAULT
from botorch_xval.models.grammar import ModelSpec
from botorch_xval.models.structured import StructuredGP

SPECS = (
    ModelSpec(),
    ModelSpec("matern52", priors="tight"),
    ModelSpec("matern12", linear=True),
    ModelSpec(warped=True),
)


def searched(scores: dict[int, np.ndarray], **changes: object) -> ModelSearch:
    """A search whose models have these log densities by row."""
    points, fits = [], []
    for i, values in scores.items():
        labels = {"configuration": SPECS[i].name, "size": len(values)}
        labels |= {"replicate": 0, "round": 1}
        errors = np.arange(len(values)) * (i + 1.0)
        points.append(
            pd.DataFrame(
                {
                    **labels,
                    "row": np.arange(len(values)),
                    "log_density": values,
                    "squared_error": np.where(np.isnan(values), np.nan, errors),
                }
            )
        )
        failed = int(np.isnan(values).sum())
        counts = {"folds": len(values), "failed": failed}
        fits.append({**labels, **counts, "evaluations": 10 * (i + 1), "seconds": 0.5})
    comparison = Comparison(pd.concat(points, ignore_index=True), pd.DataFrame(fits))
    return ModelSearch(comparison, tuple(SPECS[i] for i in scores), **changes)


def around(mean: float, error: float, n: int = 30, seed: int = 0) -> np.ndarray:
    """Differences with exactly this mean and standard error."""
    values = np.random.default_rng(seed).normal(size=n)
    values = (values - values.mean()) / values.std(ddof=1)
    return mean + error * np.sqrt(n) * values


BASE = np.random.default_rng(9).normal(size=30)


def test_a_table_compares_with_botorchs_default():
    found = searched(
        {0: BASE, 1: BASE + around(0.3, 0.1), 2: BASE + around(-0.2, 0.4, seed=1)}
    )
    table = found.table()
    assert table.configuration.tolist() == [SPECS[i].name for i in (1, 0, 2)]
    assert table["rank"].tolist() == [1, 2, 3]
    assert table.changes.tolist() == [2, 0, 2]
    assert_close(table.difference, [0.3, 0.0, -0.2])
    assert_close(table.difference_se, [0.1, 0.0, 0.4])
    expected = [stats.t.cdf(-1.5, 29), np.nan, stats.t.cdf(0.25, 29)]
    assert_close(table.probability_worse, expected)
    assert_close(table.elpd, BASE.sum() + 30 * np.array([0.3, 0.0, -0.2]))
    mean = np.arange(30).mean()
    assert_close(table.rmse, np.sqrt([2 * mean, mean, 3 * mean]))
    assert table.evaluations.tolist() == [20, 10, 30]


def test_rows_of_a_group_are_one_cluster():
    """Pairs of equal rows: half as many independent ones."""
    half = around(0.3, 0.2, n=15)
    found = searched({0: np.repeat(BASE[:15], 2), 1: np.repeat(BASE[:15] + half, 2)})
    points = found.comparison.points.assign(group=lambda frame: frame.row // 2)
    table = rank(points).set_index("configuration")
    assert table.difference_se[SPECS[1].name] == pytest.approx(0.2)
    assert_close(table.probability_worse[SPECS[1].name], stats.t.cdf(-0.75, 14))
    without = rank(found.comparison.points).set_index("configuration")
    assert without.difference_se[SPECS[1].name] < 0.15


def test_a_model_that_fails_in_one_repetition_has_no_rank():
    """The mean of its other repetitions is over other points than the default's."""
    points = searched({0: BASE, 1: BASE + 0.5}).comparison.points
    twice = pd.concat([points, points], ignore_index=True)
    lacks = (twice.configuration == SPECS[1].name) & (twice.row == 3)
    twice.loc[lacks.idxmax(), ["log_density", "squared_error"]] = np.nan
    table = rank(twice).set_index("configuration")
    assert table.loc[SPECS[1].name, ["elpd", "difference", "rmse"]].isna().all()
    assert_close(table.elpd[SPECS[0].name], BASE.sum())


@pytest.mark.parametrize("mean", [0.38, 0.45])
def test_a_search_is_as_sure_as_a_comparison(mean):
    """What beats the default clearly, the default is decisively behind, and else not.

    For one rival both ask for two deviations: 4.2 standard errors of thirty rows.
    """
    found = searched({0: BASE, 1: BASE + around(mean, 0.1)})
    compared = found.comparison.table()
    assert_close(found.table().probability_worse[0], 1 - compared.probability_worse[1])
    assert found.spec == SPECS[1] and found.is_clear is (mean > 0.42)
    assert ("not decisive" in compared.caution[1]) is not found.is_clear


@pytest.mark.parametrize(
    ("mean", "error", "taken", "clear"),
    [
        (-0.1, 0.1, 0, False),
        (0.09, 0.1, 0, False),  # within one standard error
        (0.11, 0.1, 1, False),
        (0.45, 0.1, 1, False),  # enough for one rival, but not for three
        (0.6, 0.1, 1, True),
    ],
)
def test_botorchs_default_is_left_for_one_standard_error(mean, error, taken, clear):
    others = {2: BASE - 1 + around(0.0, 0.1, seed=2), 3: BASE - 2}
    found = searched({0: BASE, 1: BASE + around(mean, error), **others})
    assert found.spec == SPECS[taken] and found.is_clear is clear
    model = found.best
    assert model.func is StructuredGP and model.keywords == {"spec": SPECS[taken]}
    text = found.summary()
    assert text.startswith(f"{SPECS[taken].name} (4 models tried).")
    assert ("More than chance" in text) is clear
    assert ("may be chance" in text) is (taken == 1 and not clear)
    if taken:
        assert f"{mean:+.4f} nats per row" in text


def test_what_is_clear_is_rarely_chance():
    """Of three models that are as good as the default one seldom is clearly better."""
    rng = np.random.default_rng(5)
    clear = 0
    for _ in range(40):
        scores = {i: BASE + rng.normal(size=30) for i in (1, 2, 3)}
        clear += searched({0: BASE, **scores}).is_clear
    assert clear <= 4  # 0.9 by the formula, and three standard errors


def test_few_rows_do_not_tell_models_apart():
    found = searched({0: BASE[:19], 1: BASE[:19] + around(0.3, 0.1, n=19)})
    assert found.spec == SPECS[0] and not found.is_clear
    assert "Fewer than 20 rows" in found.summary()
    more = searched({0: BASE[:20], 1: BASE[:20] + around(0.3, 0.1, n=20)})
    assert more.spec == SPECS[1]


def test_a_model_without_a_score_of_some_row_cannot_win():
    better = BASE + 1.0
    better[4] = np.nan
    found = searched({0: BASE, 1: better, 2: BASE + around(0.2, 0.1)})
    assert found.spec == SPECS[2]
    last = found.table().iloc[-1]
    assert last.configuration == SPECS[1].name and np.isnan(last.elpd)
    assert last.failed == 1
    default = BASE.copy()
    default[4] = np.nan  # then the row counts for none
    again = searched({0: default, 1: better})
    assert again.spec == SPECS[1]
    assert again.table().rows.tolist() == [29, 29]


def test_equal_models_and_a_single_one():
    found = searched({0: BASE, 1: BASE.copy()})
    assert found.spec == SPECS[0] and not found.is_clear
    alone = searched({0: BASE})
    assert alone.spec == SPECS[0] and not alone.is_clear
    assert "No model is ahead" in alone.summary()
    assert rank(alone.comparison.points).configuration.tolist() == [BOTORCH_DEFAULT]


def test_what_is_saved_is_loaded(tmp_path: Path):
    values = BASE + around(0.2, 0.1)
    values[3] = np.nan
    found = searched({0: BASE, 1: values}, failed={"x": "no fit"})
    found.save(tmp_path / "search.json")
    again = ModelSearch.load(tmp_path / "search.json")
    assert again.specs == found.specs and again.failed == found.failed
    assert_same(again.comparison, found.comparison)
    pd.testing.assert_frame_equal(again.table(), found.table(), check_exact=True)
    assert pickle.loads(pickle.dumps(found)).specs == found.specs
    spec = found.specs[1]
    assert ModelSpec(**json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize("text", ["", "[1]", '{"format": 0}', '{"format": 1}'])
def test_other_files_are_refused(tmp_path: Path, text: str):
    path = tmp_path / "search.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="expected a file written by ModelSearch.save"):
        ModelSearch.load(path)
