"""Who leaves a race, by SciPy's paired test; races on simulated and on real scores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from helpers import (
    assert_close,
    noisy_waves,
    normalized_gp,
    optimizer,
    unfittable,
)
from scipy import stats
from torch import Tensor

from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.race import leaving, rounds, significance
from botorch_xval.cross_validation.folds import k_fold

# GPyTorch warns when it adds jitter and tries again.
no_jitter_warnings = pytest.mark.filterwarnings("ignore:A not p.d.")

QUICK = {"fit_options": optimizer(maxiter=4)}


def frame(*columns: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(dict(zip("abcdefgh", columns, strict=False)))


# Rounds


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([1] * 60, [10, 15, 23, 34, 51, 60]),
        ([1] * 120, [10, 15, 23, 34, 51, 76, 120]),
        ([1] * 20, [10, 15, 20]),
        ([1] * 11, [11]),  # a second round would be too short
        ([1] * 4, [4]),
        ([4] * 5, [3, 4, 5]),  # folds of several points
        ([3, 3, 30], [3]),
        ([2] * 20, [5, 8, 12, 17, 20]),
    ],
)
def test_rounds_have_half_as_many_points_more(points, expected):
    assert rounds(points) == expected


def test_earlier_rounds_do_not_depend_on_how_many_points_there_are():
    for n in range(30, 200, 7):
        assert rounds([1] * (2 * n))[: len(rounds([1] * n)) - 1] == rounds([1] * n)[:-1]


# Who leaves


@pytest.mark.parametrize("seed", range(20))
def test_leaving_is_a_paired_test(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(10, 50))
    shift = np.array([0.0, -0.1, -0.3, -0.6, -1.0])
    scores = frame(*(rng.normal(size=(k, 1)) + shift + rng.normal(size=(k, 5))).T)
    ranked = scores.mean().sort_values(ascending=False).index
    expected = []
    for name in ranked[1:]:
        test = stats.ttest_rel(scores[name], scores[ranked[0]], alternative="less")
        if test.pvalue < 0.01:
            expected.append(name)
    assert sorted(leaving(scores, 0.01)) == sorted(expected)


def test_nobody_leaves_before_ten_points_or_for_equal_scores():
    base = np.random.default_rng(0).normal(size=12)
    worse = base - 5 + 0.1 * np.random.default_rng(1).normal(size=12)
    assert leaving(frame(base, worse), 0.01) == ["b"]
    assert leaving(frame(base, worse)[:9], 0.01) == []
    assert leaving(frame(base, base), 0.01) == []
    assert leaving(frame(base), 0.01) == []


def test_a_difference_without_any_spread_is_clear():
    base = np.arange(12.0)
    assert leaving(frame(base, base - 0.5), 0.01) == ["b"]


def test_rows_without_a_score_do_not_count():
    base = np.random.default_rng(0).normal(size=14)
    worse = base - 5 + 0.1 * np.random.default_rng(1).normal(size=14)
    worse[:5] = np.nan
    assert leaving(frame(base, worse), 0.01) == []
    worse[4] = base[4] - 5
    assert leaving(frame(base, worse), 0.01) == ["b"]


def test_what_cannot_be_fitted_leaves_but_never_all():
    base, none = np.arange(12.0), np.full(12, np.nan)
    assert leaving(frame(base, none), 0.01) == ["b"]
    assert leaving(frame(base, none)[:9], 0.01) == []
    assert leaving(frame(none, none), 0.01) == []


# Simulated comparisons


def simulated(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Scores of eight configurations: some near the best, some far, heavy tails."""
    gaps = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.1, 1.4, 1.8])
    hard = rng.standard_t(4, size=(n, 1))  # rows that are hard for all
    own = 0.5 * rng.standard_t(4, size=(n, 8))
    return frame(*rng.permutation((hard + own - gaps).T))


def replay(scores: pd.DataFrame) -> tuple[list[str], float]:
    """Who is left in the end of a race, and its share of the fits."""
    ends = rounds([1] * len(scores))
    remaining, fits = list(scores), 0
    for look, (first, last) in enumerate(pairwise([0, *ends]), start=1):
        fits += (last - first) * len(remaining)
        if last < len(scores):
            level = significance(look, scores.shape[1])
            gone = leaving(scores[remaining][:last], level)
            remaining = [name for name in remaining if name not in gone]
    return remaining, fits / scores.size


def test_a_race_has_the_winner_of_the_full_comparison_for_less():
    rng = np.random.default_rng(7)
    same, shares = 0, []
    for _ in range(200):
        scores = simulated(rng, 60)
        remaining, share = replay(scores)
        same += scores.mean().idxmax() == scores[remaining].mean().idxmax()
        shares.append(share)
    assert same >= 0.95 * 200
    assert np.mean(shares) < 0.55


@pytest.mark.parametrize("count", [2, 4])
def test_noise_drops_the_best_in_at_most_one_race_of_twenty(count):
    rng = np.random.default_rng(8)
    left = 0
    for _ in range(150):
        hard = rng.normal(size=(60, 1))
        scores = frame(*(hard + 0.5 * rng.normal(size=(60, count))).T)
        left += count - len(replay(scores)[0])
    # Each of these is a best one, and is looked at five times.
    assert 0 < left <= 0.05 * 150 * count


def test_looks_and_rivals_share_one_error_rate():
    for count in (2, 9):
        levels = [significance(look, count) for look in range(1, 2000)]
        assert 0.0499 < (count - 1) * sum(levels) < 0.05
    assert significance(1, 1) == significance(1, 2)  # a race of one has no rival


def test_groups_of_equal_size_are_compared_by_their_means():
    rng = np.random.default_rng(5)
    base = rng.normal(size=12)
    worse = base - 0.3 + 0.5 * rng.normal(size=12)
    repeated = frame(np.repeat(base, 4), np.repeat(worse, 4))
    groups = pd.Series(np.repeat(np.arange(12), 4))
    chance = stats.ttest_rel(worse, base, alternative="less").pvalue
    assert 0.001 < chance < 0.05
    assert leaving(repeated, 1.01 * chance, groups) == ["b"]
    assert leaving(repeated, 0.99 * chance, groups) == []
    assert leaving(repeated, 0.99 * chance) == ["b"]  # 48 rows would be too certain
    assert leaving(repeated[:36], 0.5, groups) == []  # nine groups


# Real comparisons


@pytest.fixture(scope="module")
def data():
    return noisy_waves(30, seed=2)


def overconfident(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
    """A bad model: it expects a tenth of the deviations that there are."""
    kernel = ScaleKernel(RBFKernel())
    kernel.outputscale = 0.01
    kernel.base_kernel.lengthscale = 0.05
    kernel.requires_grad_(False)
    likelihood = GaussianLikelihood()
    likelihood.noise = 0.01
    likelihood.requires_grad_(False)
    transform = Normalize(train_X.shape[-1])
    return SingleTaskGP(
        train_X,
        train_Y,
        covar_module=kernel,
        likelihood=likelihood,
        input_transform=transform,
    )


CONFIGURATIONS = {
    "overconfident": overconfident,
    "default": normalized_gp,
    "also default": normalized_gp,
}


@pytest.fixture(scope="module")
def full(data):
    return compare(CONFIGURATIONS, *data, sizes=[20, 24], replicates=2, **QUICK)


@pytest.fixture(scope="module")
def raced(data):
    return compare(
        CONFIGURATIONS, *data, sizes=[20, 24], replicates=2, race=True, **QUICK
    )


def test_a_race_fits_less_and_scores_the_same(full, raced):
    by = ["configuration", "size", "replicate", "row"]
    expected = full.points.set_index(by).log_density
    found = raced.points.set_index(by).log_density
    assert 0.5 * len(expected) < len(found) < 0.9 * len(expected)
    assert_close(found.to_numpy(), expected[found.index].to_numpy(), 1e-7, 1e-7)
    summary = raced.race()
    assert summary[summary.left].configuration.to_list() == ["overconfident"] * 2
    assert_close(summary.attrs["saved"], 1 - len(found) / len(expected))
    first = full.table().groupby("size").configuration.first()
    assert (raced.table().groupby("size").configuration.first() == first).all()
    last = raced.table().groupby("size").last()
    assert (last.configuration == "overconfident").all()
    assert last.caution.str.startswith("left the race after round").all()


def test_a_race_decides_by_the_points_of_each_round(full, raced):
    for size in (20, 24):
        part = full.points[full.points["size"] == size]
        ends = rounds([1] * (2 * size))
        remaining = list(CONFIGURATIONS)
        for number, end in enumerate(ends, start=1):
            took_part = raced.points[
                (raced.points["size"] == size) & (raced.points["round"] == number)
            ]
            assert list(took_part.configuration.unique()) == remaining
            # One replicate after the other, in the order of their rows.
            done = part[part.groupby("configuration").cumcount() < end]
            scores = done.groupby(["row", "configuration"]).log_density.mean()
            level = significance(number, len(CONFIGURATIONS))
            gone = leaving(scores.unstack()[remaining], level)
            remaining = [name for name in remaining if name not in gone]


def test_a_race_goes_on_from_its_folder(data, raced, tmp_path):
    arguments = {"sizes": [20, 24], "race": True, "folder": tmp_path, **QUICK}
    begun, flag = [], tmp_path / "interrupted"

    def model(train_X, train_Y):
        begun.append(len(train_X))
        if len(begun) == 50 and not flag.exists():
            flag.touch()
            raise KeyboardInterrupt
        return normalized_gp(train_X, train_Y)

    configurations = {**CONFIGURATIONS, "also default": model}
    with pytest.raises(KeyboardInterrupt):
        compare(configurations, *data, replicates=2, **arguments)
    kept = len(list((tmp_path / "cells").glob("*.json")))
    assert kept > 4
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert set(scores.configuration) == set(CONFIGURATIONS)
    begun.clear()
    with ThreadPoolExecutor(1) as executor:
        result = compare(
            configurations, *data, replicates=2, executor=executor, **arguments
        )
    pd.testing.assert_frame_equal(result.points, raced.points, check_exact=True)
    assert len(begun) < 88 - 40  # the finished cells were not fitted again


@no_jitter_warnings
@pytest.mark.filterwarnings("ignore:.* folds could not be fitted")
def test_what_cannot_be_fitted_stops_costing(data):
    x, y = data
    hopeless = unfittable(torch.full((1, 2), torch.inf, dtype=torch.float64))
    configurations = {"hopeless": hopeless, "default": normalized_gp}
    result = compare(configurations, x, y, sizes=[24], race=True, **QUICK)
    found = result.race().set_index("configuration")
    assert found.left.to_dict() == {"hopeless": True, "default": False}
    assert found.folds.to_dict() == {"hopeless": 10, "default": 24}
    caution = result.table().set_index("configuration").caution["hopeless"]
    assert "no row has a score" in caution and "10 of 10 folds failed" in caution


def test_a_race_over_folds_of_several_rows(data):
    result = compare(
        CONFIGURATIONS, *data, sizes=[30], folds=k_fold(10), race=True, **QUICK
    )
    ends = rounds([3] * 10)
    assert result.fits["round"].max() == len(ends) > 1
    first = result.points[
        (result.points.configuration == "default") & (result.points["round"] == 1)
    ]
    assert len(first) == 3 * ends[0]


def test_a_race_decides_by_groups(data):
    labels = [i // 2 for i in range(30)]
    two = {name: CONFIGURATIONS[name] for name in ("overconfident", "default")}
    result = compare(two, *data, sizes=[30], groups=labels, race=True, **QUICK)
    points = result.points
    scores = points.pivot(index="row", columns="configuration", values="log_density")
    number_of = points.query("configuration == 'default'").set_index("row")["round"]
    groups = pd.Series(labels)
    left = None
    for number in range(1, number_of.max()):
        done = scores.loc[number_of.index[number_of <= number]]
        if left is None and leaving(done, significance(number, 2), groups):
            left = number
    race = result.race().set_index("configuration")
    assert race.left["overconfident"] == (left is not None)
    if left is not None:
        assert race.rounds["overconfident"] == left
    # Ten rows of the first look are of fewer than ten groups.
    assert number_of.eq(1).sum() == 10 and race.rounds["overconfident"] > 1
