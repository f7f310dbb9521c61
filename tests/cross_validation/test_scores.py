"""Scores against SciPy and against numbers made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import assert_close
from scipy import stats
from scipy.integrate import quad
from scipy.stats import norm

from botorch_xval.cross_validation.scores import (
    ax_diagnostics,
    crps,
    log_density,
    pit,
    squared_error,
    summarize,
    z_score,
)


def test_log_density_is_that_of_the_normal_distribution():
    generator = np.random.default_rng(0)
    mean, observed = generator.normal(size=(2, 4, 5, 3))
    variance = 10 ** generator.uniform(-6, 4, size=(4, 5, 3))
    found = log_density(*map(torch.from_numpy, (mean, variance, observed)))
    assert_close(found, norm.logpdf(observed, mean, variance**0.5))


def test_log_density_of_an_unpredicted_point_is_nan():
    nan, one = torch.tensor([torch.nan, 0.0]), torch.ones(2)
    assert log_density(nan, one, one).isnan().tolist() == [True, False]
    assert log_density(one, nan.where(nan.isnan(), one), one).isnan()[0]


def test_log_density_moves_with_the_unit_of_the_outcome():
    # Outcomes in another unit, y' = 1000 y, have the density p(y') = p(y) / 1000.
    mean, variance, observed = torch.tensor([[0.3], [0.5], [1.1]]).double()
    found = log_density(1e3 * mean, 1e6 * variance, 1e3 * observed)
    assert_close(found, log_density(mean, variance, observed) - np.log(1e3))


def test_squared_errors_by_hand():
    mean = torch.tensor([[1.0, -2.0], [0.5, 10.0]])
    observed = torch.tensor([[3.0, -2.0], [0.0, -10.0]])
    expected = torch.tensor([[4.0, 0.0], [0.25, 400.0]])
    assert torch.equal(squared_error(mean, observed), expected)


def predictions(k: int = 40, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = np.random.default_rng(seed)
    mean = generator.normal(3.0, 2.0, size=k)
    variance = 10 ** generator.uniform(-1, 1, size=k)
    observed = mean + 1.3 * np.sqrt(variance) * generator.normal(size=k)
    return tuple(map(torch.from_numpy, (mean, variance, observed)))


def test_crps_by_quadrature():
    mean, variance, observed = (part[:8] for part in predictions())
    found = crps(mean, variance, observed)
    for i in range(8):
        m, s, y = mean[i].item(), variance[i].sqrt().item(), observed[i].item()
        below, _ = quad(lambda x: norm.cdf(x, m, s) ** 2, m - 12 * s, y, epsabs=1e-12)  # noqa: B023
        above, _ = quad(lambda x: norm.sf(x, m, s) ** 2, y, m + 12 * s, epsabs=1e-12)  # noqa: B023
        assert found[i].item() == pytest.approx(below + above, abs=1e-8)


def test_crps_of_a_certain_prediction_is_the_absolute_error():
    mean, observed = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 2.0])
    assert_close(crps(mean, torch.zeros(2), observed), [3.0, 0.0])


def test_z_scores_and_pit_are_those_of_the_normal_distribution():
    mean, variance, observed = predictions()
    z = (observed.numpy() - mean.numpy()) / np.sqrt(variance.numpy())
    assert_close(z_score(mean, variance, observed), z)
    assert_close(pit(mean, variance, observed), norm.cdf(z))


def test_summaries_by_hand():
    mean, variance, observed = predictions()
    baseline = torch.full_like(mean, 2.5)
    found = summarize(mean, variance, observed, baseline)
    m, v, y = (part.numpy() for part in (mean, variance, observed))
    density = norm.logpdf(y, m, np.sqrt(v))
    assert found["points"] == 40
    assert found["elpd"] == pytest.approx(density.sum())
    assert found["mean_log_density"] == pytest.approx(density.mean())
    assert found["standard_error"] == pytest.approx(stats.sem(density))
    assert found["rmse"] ** 2 == pytest.approx(found["mse"])
    assert found["mse"] == pytest.approx(((y - m) ** 2).mean())
    assert found["mae"] == pytest.approx(np.abs(y - m).mean())
    assert found["r2"] == pytest.approx(1 - ((y - m) ** 2).sum() / (40 * y.var()))
    assert found["q2"] == pytest.approx(
        1 - ((y - m) ** 2).sum() / ((y - 2.5) ** 2).sum()
    )
    for level in (0.5, 0.8, 0.95):
        low, high = norm.interval(level, m, np.sqrt(v))
        share = ((low <= y) & (y <= high)).mean()
        assert found[f"coverage_{100 * level:.0f}"] == pytest.approx(share)
    z = (y - m) / np.sqrt(v)
    assert found["z_mean"] == pytest.approx(z.mean())
    assert found["z_deviation"] == pytest.approx(z.std(ddof=1))


def test_summaries_of_no_and_of_one_point():
    none = summarize(*(torch.zeros(0) for _ in range(4)))
    assert none["points"] == 0
    assert all(math.isnan(v) for name, v in none.items() if name != "points")
    one = summarize(*(torch.ones(1) for _ in range(4)))
    assert math.isnan(one["z_deviation"]) and one["mse"] == 0.0


def test_ax_diagnostics_by_their_definitions():
    mean, variance, observed = (part.numpy() for part in predictions(31))
    se = np.sqrt(variance)
    found = ax_diagnostics(mean, se, observed)
    assert list(found) == [
        "Mean prediction CI",
        "MAPE",
        "wMAPE",
        "Total raw effect",
        "Correlation coefficient",
        "Rank correlation",
        "Kendall tau rank correlation",
        "Fisher exact test p",
        "Log likelihood",
        "MSE",
    ]
    size = np.abs(observed)
    expected = {
        "Mean prediction CI": np.mean(3.92 * se / size),
        "MAPE": np.mean(np.abs(mean - observed) / size),
        "wMAPE": np.abs(mean - observed).sum() / size.sum(),
        "Total raw effect": (observed.max() - observed.min()) / observed.min(),
        "Correlation coefficient": np.corrcoef(mean, observed)[0, 1],
        "Rank correlation": stats.spearmanr(mean, observed)[0],
        "Kendall tau rank correlation": stats.kendalltau(mean, observed)[0],
        "Log likelihood": norm.logpdf(observed, mean, se).sum(),
        "MSE": np.mean((mean - observed) ** 2),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
    # The better halves, of 15 of 31 points each, by the hypergeometric distribution.
    both = len(set(np.argsort(mean)[-15:]) & set(np.argsort(observed)[-15:]))
    chance = stats.hypergeom.sf(both - 1, 31, 15, 15)
    assert found["Fisher exact test p"] == pytest.approx(chance)


def test_ax_diagnostics_are_ax_s_own():
    ax = pytest.importorskip("ax.utils.stats.model_fit_stats")
    mean, variance, observed = (part.numpy() for part in predictions(24, seed=1))
    found = ax_diagnostics(mean, np.sqrt(variance), observed)
    assert set(found) == set(ax.DIAGNOSTIC_FNS)
    for name, function in ax.DIAGNOSTIC_FNS.items():
        theirs = function(y_obs=observed, y_pred=mean, se_pred=np.sqrt(variance))
        assert found[name] == pytest.approx(theirs, rel=1e-9), name


def test_scores_of_a_right_model_are_as_they_should_be():
    generator = torch.Generator().manual_seed(0)
    mean, noise = torch.randn(2, 20_000, generator=generator, dtype=torch.float64)
    found = summarize(mean, torch.full_like(mean, 4.0), mean + 2 * noise, 0 * mean)
    assert found["coverage_80"] == pytest.approx(0.8, abs=0.01)
    assert found["z_deviation"] == pytest.approx(1.0, abs=0.02)
    assert_close(found["crps"], 2 / math.sqrt(math.pi), rtol=0.02, atol=0)
