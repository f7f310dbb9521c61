"""Learning curves: planted laws, their bands, and what was held out."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from helpers import assert_close, noisy_waves, normalized_gp, optimizer
from scipy.optimize import curve_fit

from botorch_xval import Comparison, compare
from botorch_xval.comparison import check_learning_curve, learning_curve

MODULE = import_module("botorch_xval.comparison.power_law")
SIZES = (20, 28, 40, 60, 80)


def law(n: np.ndarray | float, a: float = -1.0, b: float = 20.0, c: float = 1.0):
    return a - b * np.asarray(n, float) ** -c


@pytest.fixture
def no_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves that are power laws and nothing else."""
    monkeypatch.setattr(MODULE, "DRIFT", 0.0)


def simulated(
    rng: np.random.Generator,
    *laws: tuple[float, float, float],
    drift: np.ndarray | None = None,
    sizes: tuple[int, ...] = SIZES,
    replicates: int = 1,
    hard: float = 0.5,
    own: float = 0.2,
) -> Comparison:
    """Scores by a law; a row is hard at all sizes, and has noise at each."""
    lines = []
    difficulty = hard * rng.standard_normal(120)
    for k, numbers in enumerate(laws):
        for replicate in range(replicates):
            order = np.random.default_rng(replicate).permutation(120)
            for size in sizes:
                rows = order[:size]
                noise = own * rng.standard_normal(size)
                lines.append(
                    pd.DataFrame(
                        {
                            "configuration": f"model {k}",
                            "size": size,
                            "replicate": replicate,
                            "round": 1,
                            "row": rows,
                            "log_density": law(size, *numbers)
                            + (0.0 if drift is None else drift[sizes.index(size)])
                            + difficulty[rows]
                            + noise,
                            "squared_error": 1.0,
                        }
                    )
                )
    points = pd.concat(lines, ignore_index=True)
    cells = ["configuration", "size", "replicate", "round"]
    fits = points[cells].drop_duplicates()
    fits = fits.assign(folds=fits["size"], failed=0, evaluations=1, seconds=0.0)
    return Comparison(points, fits)


def test_recovers_a_planted_law(no_drift):
    truth = (-1.0, 20.0, 1.0)
    exact = simulated(np.random.default_rng(0), truth, hard=0.001, own=0.001)
    curve = learning_curve(exact)
    found = curve.predict([30, 80, 100, 200])
    assert_close(found.score, law(found["size"], *truth), atol=5e-3)
    (row,) = curve.gain(20).itertuples()
    assert row.size == 80 and row.more == 20
    assert_close(row.gain, law(100, *truth) - law(80, *truth), atol=5e-3)
    assert row.low < row.gain < row.high and row.standard_error < 0.01
    assert "20 more rows than 80 would gain 'model 0' about 0.05" in str(curve)


def test_with_one_exponent_it_is_least_squares_of_scipy(no_drift, monkeypatch):
    monkeypatch.setattr(MODULE, "EXPONENTS", np.array([1.0]))
    monkeypatch.setattr(MODULE, "PER_DOUBLING", 1e3)
    comparison = simulated(np.random.default_rng(1), (-1.0, 30.0, 1.0))
    curve = learning_curve(comparison)
    points = comparison.points
    scores = points.pivot(index="row", columns="size", values="log_density")
    assert_close(curve.scores.score, scores.mean())
    assert_close(curve.scores.standard_error, scores.sem())
    # Covariances of means over rows that are partly the same.
    counts = scores.notna().sum().to_numpy()
    away = (scores - scores.mean()).fillna(0.0).to_numpy()
    scale = np.sqrt(counts * (counts - 1))
    covariance = away.T @ away / np.outer(scale, scale)
    center, _ = curve_fit(
        lambda n, a, b: law(n, a, b), SIZES, scores.mean(), sigma=covariance
    )
    found = curve.predict([60, 100])
    assert_close(found.score, law(found["size"], *center), atol=0.01)


def test_rows_of_a_group_are_one_cluster():
    comparison = simulated(np.random.default_rng(1), (-1.0, 30.0, 1.0))
    plain = learning_curve(comparison).scores
    own = comparison.points.assign(group=lambda frame: frame.row)
    found = learning_curve(Comparison(own, comparison.fits)).scores
    assert_close(found.standard_error, plain.standard_error)
    points = comparison.points.assign(group=lambda frame: frame.row % 10)
    found = learning_curve(Comparison(points, comparison.fits)).scores
    at = points[points["size"] == 40]
    sums = (at.log_density - at.log_density.mean()).groupby(at.group).sum()
    error = np.sqrt(10 / 9 * (sums**2).sum()) / 40
    assert_close(found.standard_error[found["size"] == 40], [error])


def test_a_curve_may_leave_its_law_by_a_brownian_motion():
    truth = (-1.0, 20.0, 1.0)
    exact = simulated(np.random.default_rng(0), truth, hard=0.001, own=0.001)
    curve = learning_curve(exact)
    (row,) = curve.gain(20).itertuples()
    spread = MODULE.DRIFT * np.log2(100 / 80) ** 0.5
    assert spread < row.standard_error < 1.3 * spread
    # At the sizes it goes through the scores, whatever the law is.
    found = curve.predict(SIZES)
    assert_close(found.score, curve.scores.score, atol=1e-3)
    assert found.standard_error.max() < 0.01


def test_bands_hold_the_held_out_score_and_the_gain():
    rng = np.random.default_rng(2)
    logs = np.log2([*SIZES, 100])
    held_out, gains = [], []
    for _ in range(60):
        numbers = -1.0, rng.uniform(0, 10), rng.uniform(0.5, 2.0)
        steps = MODULE.DRIFT * np.sqrt(np.diff(logs)) * rng.standard_normal(5)
        drift = np.array([0.0, *np.cumsum(steps)])
        comparison = simulated(rng, numbers, drift=drift)
        (row,) = check_learning_curve(comparison).itertuples()
        held_out.append(row.low <= row.found <= row.high)
        (row,) = learning_curve(comparison).gain(20).itertuples()
        truth = law(100, *numbers) - law(80, *numbers) + drift[5] - drift[4]
        gains.append(row.low <= truth <= row.high)
    assert 0.87 < np.mean(held_out) and 0.87 < np.mean(gains)
    assert np.mean([*held_out, *gains]) < 0.995


def test_noise_is_not_taken_for_a_gain():
    rng = np.random.default_rng(4)
    gains, naive = [], []
    for _ in range(30):
        comparison = simulated(rng, (-1.0, 0.0, 1.0), hard=1.0, own=0.5)
        (row,) = learning_curve(comparison).gain(20).itertuples()
        assert row.low < 0 < row.high
        gains.append(row.gain)
        last = comparison.points.groupby("size").log_density.mean()
        naive.append(last[80] - last[60])
    assert np.std(gains) < 0.5 * np.std(naive)
    assert np.mean(gains) < 0.05


def test_the_check_sees_smaller_sizes_only():
    rng = np.random.default_rng(6)
    comparison = simulated(rng, (-1.0, 20.0, 1.0), (-2.0, 5.0, 0.5))
    table = check_learning_curve(comparison, 2)
    assert table["size"].to_list() == [60, 80] * 2
    assert set(table["last"]) == {40}
    scores = comparison.points.groupby(["configuration", "size"]).log_density.mean()
    for row in table.itertuples():
        assert_close(row.found, scores[row.configuration, row.size])
        assert_close(row.last_score, scores[row.configuration, 40])
    changed = comparison.points.copy()
    changed.loc[changed["size"] > 40, "log_density"] += 3.0
    other = check_learning_curve(Comparison(changed, comparison.fits), 2)
    assert_close(other.score, table.score)
    assert_close(other.found, table.found + 3.0)


def test_real_scores_of_several_configurations_and_replicates():
    comparison = compare(
        {"one": normalized_gp, "two": normalized_gp},
        *noisy_waves(16),
        sizes=[6, 10, 14],
        replicates=2,
        fit="warm",
        fit_options=optimizer(maxiter=20),
    )
    curve = learning_curve(comparison)
    table = comparison.table()
    for row in curve.scores.itertuples():
        own = table[
            (table.configuration == row.configuration) & (table["size"] == row.size)
        ]
        assert_close(row.score, own.mean_log_density.item())
        assert_close(row.standard_error, own.standard_error.item())
    one, two = (part for _, part in curve.predict([14, 20]).groupby("configuration"))
    assert_close(one.score, two.score)  # they are the same model
    assert (one.high > one.score).all() and (one.score > one.low).all()
    again = learning_curve(comparison)
    assert all((again.draws[name] == curve.draws[name]).all() for name in curve.draws)


def test_rows_without_a_score_and_races():
    comparison = simulated(np.random.default_rng(8), (-1.0, 9.0, 1.0), (-2, 9.0, 1.0))
    points = comparison.points.copy()
    points.loc[3, "log_density"] = np.nan  # of the first configuration
    curve = learning_curve(Comparison(points, comparison.fits))
    table = Comparison(points, comparison.fits).table()
    own = table[table.configuration == "model 1"].sort_values("size")
    mine = curve.scores[curve.scores.configuration == "model 1"]
    assert_close(mine.score.to_numpy(), own.mean_log_density.to_numpy())
    second = (points["size"] == 80) & (points.row % 2 == 0)
    points.loc[second, "round"] = 2
    raced = points[~(second & (points.configuration == "model 1"))]
    assert list(learning_curve(Comparison(raced, comparison.fits)).draws) == ["model 0"]


def test_too_few_sizes_and_other_arguments_are_refused_in_words():
    two = simulated(np.random.default_rng(0), (-1.0, 9.0, 1.0), sizes=(20, 40))
    with pytest.raises(ValueError, match=r"at least 3 sizes for a curve, got \[20, 40"):
        learning_curve(two)
    three = simulated(np.random.default_rng(0), (-1.0, 9.0, 1.0), sizes=(20, 40, 60))
    with pytest.raises(ValueError, match="at least 4 sizes"):
        check_learning_curve(three)
    with pytest.raises(ValueError, match="num_held_out: .* number from 1 on"):
        check_learning_curve(three, 0)
    with pytest.raises(ValueError, match="more: expected a number above 0"):
        learning_curve(three).gain(0)
    with pytest.raises(ValueError, match="comparison: expected a Comparison"):
        learning_curve(three.points)
