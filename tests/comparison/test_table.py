"""The table recomputed by hand, cautions, refusals, and the file of a comparison."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import arviz_compare, arviz_module, assert_close
from scipy import stats

from botorch_xval.comparison.selection import selection_bias
from botorch_xval.comparison.table import Comparison


def made(
    scores: dict[str, np.ndarray],
    rows: list[int] | None = None,
    replicates: list[int] | None = None,
    rounds: dict[str, list[int]] | None = None,
    groups: list[int] | None = None,
) -> Comparison:
    """A comparison of these scores at one size, one fold per point."""
    parts, fits = [], []
    for name, values in scores.items():
        k = len(values)
        part = pd.DataFrame(
            {
                "configuration": name,
                "size": 50,
                "replicate": (replicates or [0] * k)[:k],
                "round": ((rounds or {}).get(name) or [1] * k)[:k],
                "row": (rows or list(range(k)))[:k],
                "log_density": values,
                "squared_error": np.asarray(values) ** 2,
            }
        )
        if groups is not None:
            part["group"] = groups[:k]
        parts.append(part)
        for (replicate, number), own in part.groupby(["replicate", "round"]):
            fits.append(
                {
                    "configuration": name,
                    "size": 50,
                    "replicate": replicate,
                    "round": number,
                    "folds": len(own),
                    "failed": int(own.log_density.isna().sum()),
                    "evaluations": 7 * len(own),
                    "seconds": 0.5,
                }
            )
    return Comparison(pd.concat(parts, ignore_index=True), pd.DataFrame(fits))


def noise(k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=k)


# The table


def test_sums_ranks_and_probabilities_by_hand():
    base, own = noise(30), 0.3 * noise(30, 1)
    scores = {"b": base - 0.1 + own, "a": base, "c": base - 1.0 + own}
    table = made(scores).table()
    order = sorted(scores, key=lambda name: -scores[name].mean())
    assert table.configuration.to_list() == order
    assert table["rank"].to_list() == [1, 2, 3]
    assert list(table)[:3] == ["size", "rank", "configuration"]
    best = scores[order[0]]
    for entry in table.itertuples():
        values = scores[entry.configuration]
        assert entry.rows == 30 and entry.folds == 30 and entry.evaluations == 210
        assert_close(entry.elpd, values.sum())
        assert_close(entry.mean_log_density, values.mean())
        difference = values - best
        assert_close(entry.difference, difference.mean())
        error = stats.sem(difference)
        assert_close(entry.difference_se, error)
        assert_close(entry.rmse, np.sqrt(np.mean(values**2)))
        if entry.rank > 1:
            scale = 2 * error  # folds share training rows
            expected = stats.t.cdf(0.0, 29, loc=difference.mean(), scale=scale)
            assert_close(entry.probability_worse, expected)
        else:
            assert np.isnan(entry.probability_worse)


def test_a_row_of_several_replicates_counts_once_with_its_mean():
    rows, replicates = [3, 5, 8, 5, 3, 9], [0, 0, 0, 1, 1, 1]
    values = np.array([1.0, 2.0, 4.0, 3.0, 2.0, 0.5])
    table = made({"a": values}, rows, replicates).table()
    assert table.rows.to_list() == [4]
    assert_close(table.elpd[0], 1.5 + 2.5 + 4.0 + 0.5)


def test_cautions_are_in_plain_words():
    base, own = noise(40), 0.3 * noise(40, 1)
    own -= own.mean()
    error = stats.sem(own)
    scores = {
        "best": base,
        "close": base + own - 1.5 * error,
        "far": base + own - 4.5 * error,
        "twin": base.copy(),
    }
    cautions = made(scores).table().set_index("configuration").caution
    assert cautions["best"] == cautions["far"] == ""
    assert cautions["close"] == (
        "1.5 standard errors behind the best, less than 4.1: not decisive"
    )
    assert cautions["twin"].startswith("0.0 standard errors behind")
    few = made({name: values[:12] for name, values in scores.items()}).table()
    assert few.caution.str.contains(
        "only 12 rows: standard errors are unreliable"
    ).all()


def test_equal_scores_are_as_likely_better_as_worse():
    table = made({"a": noise(30), "b": noise(30)}).table()
    assert table.difference.to_list() == [0, 0]
    assert table.probability_worse.isna().to_list() == [True, False]
    assert table.probability_worse[1] == 0.5


def test_failed_folds_leave_their_rows_out_for_all_and_are_named():
    base = noise(30)
    lacking = base - 0.5 + 0.1 * noise(30, 1)
    lacking[[4, 6]] = np.nan
    table = made({"a": base, "b": lacking, "none": np.full(30, np.nan)}).table()
    table = table.set_index("configuration")
    kept = np.delete(np.arange(30), [4, 6])
    assert table.rows.to_list() == [28] * 3
    assert_close(table.elpd["a"], base[kept].sum())
    assert "2 of 30 folds failed" in table.caution["b"] and table.caution["a"] == ""
    assert table["rank"]["none"] == 3 and np.isnan(table.elpd["none"])
    assert "no row has a score" in table.caution["none"]


# What ArviZ has


def scores_of(count: int, n: int = 60, seed: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    hard = rng.standard_t(4, size=(n, 1))
    scores = hard + 0.5 * rng.normal(size=(n, count)) - 0.02 * np.arange(count)
    return {f"m{i}": column for i, column in enumerate(scores.T)}


def test_sums_have_arvizs_names_and_values_beside_the_means():
    arviz = arviz_module()
    result = made(scores_of(4))
    table = result.table().set_index("configuration")
    theirs = arviz_compare(arviz, result.to_arviz())
    elpd = "elpd" if "elpd" in theirs else "elpd_loo"
    assert list(theirs.index) == list(table.index)
    assert (theirs["rank"] == table["rank"] - 1).all()
    assert_close(table.elpd, theirs[elpd].to_numpy())
    # Of the best minus the other, in ArviZ 1.3 the other way round.
    assert_close(table.elpd_diff, theirs.elpd_diff.abs().to_numpy(), 1e-8, 1e-8)
    assert_close(table.se, theirs.se.to_numpy())
    # ArviZ's variance of a difference is that of the rows, ours that of the population.
    assert_close(table.dse, theirs.dse.to_numpy() * np.sqrt(60 / 59))
    assert_close(table.weight, theirs.weight.to_numpy(), 0, 1e-3)
    assert (table.weight > 0.01).sum() > 1


@pytest.mark.parametrize("name", ["stacking", "pseudo_bma", "pseudo_bma_plus"])
def test_weights_are_arvizs(name):
    arviz = arviz_module()
    result = made(scores_of(5, seed=4))
    found = result.weights().set_index("configuration")
    assert list(found.index) == result.table().configuration.to_list()
    assert_close(found[name].sum(), 1.0)
    method = {"pseudo_bma_plus": "BB-pseudo-BMA"}.get(name, name.replace("_", "-"))
    theirs = arviz_compare(arviz, result.to_arviz(), method=method)
    theirs = theirs.weight[found.index]
    # ArviZ has 1,000 samples, and an optimizer with a loose tolerance.
    tolerance = {"pseudo_bma": 1e-9, "stacking": 1e-3}.get(name, 0.02)
    assert_close(found[name], theirs.to_numpy(), 0, tolerance)


def test_weights_and_arviz_leave_out_who_left_and_who_failed(raced):
    assert set(raced.weights().configuration) == {"winner", "second"}
    table = raced.table().set_index("configuration")
    assert table.weight.isna().to_dict() == {
        "winner": False,
        "second": False,
        "late": True,
        "early": True,
    }
    assert_close(table.weight.sum(), 1.0)
    arviz_module()
    found = raced.to_arviz()
    assert set(found) == {"winner", "second"}
    assert found["winner"]["n_data_points"] == 40
    some = noise(30)
    some[[3, 4]] = np.nan
    failed = made({"a": noise(30, 1), "b": some, "none": np.full(30, np.nan)})
    assert set(failed.weights().configuration) == {"a", "b"}
    found = failed.to_arviz()
    assert set(found) == {"a", "b"} and found["a"]["n_data_points"] == 28
    with pytest.raises(ValueError, match=r"size: expected one of \[50\], got 7"):
        failed.to_arviz(7)
    nothing = made({"none": np.full(30, np.nan)})
    with pytest.raises(ValueError, match="expected rows with a score of every conf"):
        nothing.to_arviz()
    assert len(nothing.weights()) == 0 and "stacking" in nothing.weights()


# Groups


def test_rows_of_a_group_are_one_cluster_of_every_error():
    base, own = noise(40), 0.3 * noise(40, 1)
    groups = np.repeat(np.arange(10), 4).tolist()
    scores = {"a": base, "b": base + own - 0.1}
    table = made(scores, groups=groups).table().set_index("configuration")
    means = {
        name: values.reshape(10, 4).mean(axis=1) for name, values in scores.items()
    }
    worse, best = ("b", "a") if scores["a"].mean() > scores["b"].mean() else ("a", "b")
    for name, values in means.items():
        assert_close(table.standard_error[name], stats.sem(values))
        assert_close(table.se[name], 40 * stats.sem(values))
    statistic = stats.ttest_rel(means[best], means[worse]).statistic
    expected = stats.t.cdf(statistic / 2, 9)
    assert_close(table.probability_worse[worse], expected)
    assert table.groups.to_list() == [10, 10] and table.rows.to_list() == [40, 40]
    assert "only 10 groups of rows: standard errors" in table.caution[best]
    plain = made(scores).table()
    assert plain.groups.to_list() == [40, 40]
    assert_close(plain.elpd, table.elpd.to_numpy())


def test_a_row_has_one_group():
    result = made({"a": noise(6), "b": noise(6)}, groups=[0, 0, 1, 1, 2, 2])
    points = result.points.assign(group=[0, 0, 1, 1, 2, 2] + [0, 0, 1, 1, 2, 3])
    with pytest.raises(ValueError, match="expected one group for every row, got 2 fo"):
        Comparison(points, result.fits)


# Many configurations


def test_the_best_of_many_says_by_how_much_it_may_flatter():
    scores = scores_of(12)
    table = made(scores).table()
    best = table[table["rank"] == 1].iloc[0]
    bias = table.attrs["selection_bias"][50]
    values = np.column_stack([scores[name] for name in sorted(scores)])
    per_row, near = selection_bias(values)
    assert_close(bias, 60 * per_row)
    assert best.caution.startswith(
        f"the best of 12 configurations, {near} of them within 2 standard errors: for "
        f"having been chosen its elpd is too good by up to about {bias:.2g} nats"
    )
    assert not table[table["rank"] > 1].caution.str.contains("chosen").any()
    few = made(scores_of(10)).table()
    assert few.attrs["selection_bias"][50] > 0  # known, but not worth a warning
    assert not few.caution.str.contains("chosen").any()


# Races


@pytest.fixture
def raced() -> Comparison:
    base = noise(40)
    scores = {
        "early": base[:10] - 3 + 0.1 * noise(10, 1),
        "winner": base,
        "late": base[:20] - 2 + 0.1 * noise(20, 2),
        "second": base - 0.05 + 0.2 * noise(40, 3),
    }
    numbers = [1] * 10 + [2] * 10 + [3] * 20
    return made(scores, rounds=dict.fromkeys(scores, numbers))


def test_those_who_left_come_last_over_the_rows_shared_with_the_best(raced):
    table = raced.table().set_index("configuration")
    assert list(table.index) == ["winner", "second", "late", "early"]
    assert table["rank"].to_list() == [1, 2, 3, 4]
    assert table.rows.to_list() == [40, 40, 20, 10]
    points = raced.points.set_index(["configuration", "row"]).log_density
    own = points["early"] - points["winner"][:10]
    assert_close(table.difference["early"], own.mean())
    assert_close(table.difference_se["early"], stats.sem(own))
    assert table.caution["late"].startswith(
        "left the race after round 2 and is compared over the 20 rows that it shares"
    )
    assert "race" not in table.caution["second"]


def test_a_race_says_what_it_saved(raced):
    found = raced.race().set_index("configuration")
    assert found.rounds.to_dict() == {"early": 1, "winner": 3, "late": 2, "second": 3}
    assert found.left.to_list() == [True, False, True, False]
    assert found.folds.to_dict() == {
        "early": 10,
        "winner": 40,
        "late": 20,
        "second": 40,
    }
    assert_close(found.saved.to_numpy(), [0.75, 0.0, 0.5, 0.0])
    assert_close(raced.race().attrs["saved"], 1 - 110 / 160)


def test_no_race_saved_nothing():
    found = made({"a": noise(5), "b": noise(5)}).race()
    assert not found.left.any() and found.attrs["saved"] == 0


# Refusals


def test_refuses_scores_of_different_rows():
    result = made({"a": noise(6), "b": noise(6)})
    points = result.points
    missing = points.drop(index=8)
    with pytest.raises(
        ValueError, match=r"others of 'b' at size 50 than .* row 2, rou"
    ):
        Comparison(missing, result.fits)
    moved = points.assign(replicate=[0] * 11 + [1])
    with pytest.raises(ValueError, match="compare scores of the same points only"):
        Comparison(moved, result.fits)
    other_size = points.assign(size=[50] * 6 + [60] * 6)
    with pytest.raises(ValueError, match="others of 'b' at size 50 than those"):
        Comparison(other_size, result.fits)
    nan = points.assign(log_density=[np.nan] + [0.0] * 11)
    assert len(Comparison(nan, result.fits).table()) == 2  # a failed fold is there


def test_refuses_who_comes_back_into_a_race(raced):
    points = raced.points
    back = points[(points.configuration != "late") | (points["round"] != 2)]
    third = points[(points.configuration == "winner") & (points["round"] == 3)]
    back = pd.concat([back, third.assign(configuration="late")])
    with pytest.raises(ValueError, match="round 3"):
        Comparison(back, raced.fits)


def test_refuses_tables_without_a_column():
    result = made({"a": noise(6)})
    with pytest.raises(ValueError, match="points: expected the columns .* row missing"):
        Comparison(result.points.drop(columns="row"), result.fits)
    with pytest.raises(ValueError, match="fits: .* seconds missing"):
        Comparison(result.points, result.fits.drop(columns="seconds"))


# The file


def test_a_file_brings_back_every_bit(tmp_path, raced):
    values = noise(30) / 3
    values[3], values[5] = np.nan, -np.inf
    odd = {"NA": values, '1, "ä"': noise(30, 4) * 1e-300}
    for result in (made(odd, groups=[i // 3 for i in range(30)]), raced):
        result.save(tmp_path / "comparison.npz")
        found = Comparison.load(tmp_path / "comparison.npz")
        exact = {"check_exact": True}
        pd.testing.assert_frame_equal(found.points, result.points, **exact)
        pd.testing.assert_frame_equal(found.fits, result.fits, **exact)
    pd.testing.assert_frame_equal(found.table(), raced.table(), **exact)


def test_refuses_a_file_of_something_else(tmp_path):
    text, arrays = tmp_path / "text", tmp_path / "arrays"
    text.write_text("configuration,size\n")
    with open(arrays, "wb") as file:
        np.savez(file, points=np.arange(3))
    for path in (text, arrays, tmp_path / "nothing"):
        with pytest.raises(ValueError, match="a file written by Comparison.save"):
            Comparison.load(path)


def test_a_frame_is_a_copy():
    result = made({"a": noise(6)})
    frame = result.to_frame()
    frame["log_density"] = 0.0
    assert (result.points.log_density != 0).all()
