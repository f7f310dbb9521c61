"""Factors on variances: known ones, SciPy's minimum, no leakage, files."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models import SingleTaskGP
from botorch.models.transforms import Log
from helpers import assert_close, noisy_waves, normalized_gp, unit_waves
from scipy.optimize import minimize_scalar
from torch import Tensor

from botorch_xval import CrossValidation, cross_validate, k_fold, leave_one_out
from botorch_xval.cross_validation import (
    Recalibration,
    crps,
    recalibrate,
)


def simulated(z: Tensor, folds=leave_one_out) -> CrossValidation:
    """A result with such errors in predicted deviations, `n x m`."""
    n, m = z.shape
    made = folds(n)
    fold_of, rows = made.held_out.nonzero(as_tuple=True)
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(len(rows), m, generator=generator, dtype=torch.float64)
    deviation = 0.5 + torch.rand(len(rows), m, generator=generator, dtype=mean.dtype)
    one = torch.ones_like(mean)
    return CrossValidation(
        rows=rows,
        fold_of=fold_of,
        mean=mean,
        variance=deviation**2,
        noise_variance=0.5 * deviation**2,
        observed=mean + deviation * z[rows],
        location=0 * one,
        scale=one,
        baseline=0 * one,
        folds=made,
        fits=[],
        failed={},
    )


def errors(n: int, *deviations: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, len(deviations), generator=generator, dtype=torch.float64)
    return z * torch.tensor(deviations, dtype=torch.float64)


def test_recovers_known_factors_of_over_and_underconfidence():
    found = recalibrate(simulated(errors(1000, 2.0, 0.5, 1.0)))
    table = found.table()
    for truth, row in zip((4.0, 0.25, 1.0), table.itertuples(), strict=True):
        assert row.low < truth < row.high
        assert abs(row.factor / truth - 1) < 0.15
        assert abs(row.mean_square_z / truth - 1) < 0.15
        assert abs(row.coverage_95_after - 0.95) < 0.02
    assert table.coverage_95[0] < 0.7 and table.coverage_95[1] > 0.99
    assert list(table.advice[:2]) == ["use it", "use it"]
    assert table.advice[2] in ("not decisive", "no gain, leave it")


def test_the_factor_has_the_least_crps():
    result = simulated(errors(40, 1.7))
    found = recalibrate(result)

    def mean_crps(log_factor: float) -> float:
        variance = result.variance * math.exp(log_factor)
        return crps(result.mean, variance, result.observed).mean().item()

    best = minimize_scalar(mean_crps, bracket=(-1, 1), tol=1e-10)
    assert_close(found.factor.log(), [best.x], atol=1e-6)
    assert_close(found.apply().summary().crps, [best.fun])


def test_the_mean_square_has_the_highest_log_density():
    result = simulated(errors(40, 1.7))
    (factor,) = recalibrate(result).table().mean_square_z

    def loss(log_factor: float) -> float:
        scaled = replace(result, variance=result.variance * math.exp(log_factor))
        return -scaled.elpd

    best = minimize_scalar(loss, bracket=(-1, 1), tol=1e-10)
    assert_close(math.log(factor), best.x, atol=1e-6)


def test_a_wild_row_moves_the_factor_little():
    z = errors(60, 1.0)
    before = recalibrate(simulated(z)).table().iloc[0]
    z[5] = 60.0
    after = recalibrate(simulated(z)).table().iloc[0]
    assert after.mean_square_z > 50 > 1.5 > after.factor > before.factor


def test_standard_errors_are_the_spread_of_factors_of_other_data():
    found = [recalibrate(simulated(errors(60, 1.5, seed=i))) for i in range(120)]
    logs = np.array([each.factor.log().item() for each in found])
    stated = np.array([each.log_error.item() for each in found])
    assert 0.85 < stated.mean() / logs.std(ddof=1) < 1.15
    inside = np.abs(logs - math.log(1.5**2)) < 1.96 * stated
    assert 0.88 < inside.mean() < 0.99


def test_repetitions_are_no_further_rows():
    z = errors(60, 1.5)
    once = recalibrate(simulated(z, k_fold(10))).log_error
    often = recalibrate(simulated(z, k_fold(10, repeats=8))).log_error
    assert 0.6 < float(often / once) < 1.5


def test_the_factor_of_a_fold_has_not_seen_it():
    z = errors(12, 1.5, 0.7)
    for folds in (leave_one_out, k_fold(4), k_fold(4, repeats=3)):
        result = simulated(z, folds)
        held_out = result.folds.held_out
        found = recalibrate(result)
        for j in (0, len(held_out) - 1):
            changed = z.clone()
            changed[held_out[j]] = 25.0
            other = recalibrate(simulated(changed, folds))
            assert torch.equal(found.fold_factor[j], other.fold_factor[j])
            assert not torch.equal(found.factor, other.factor)
            alone = recalibrate(simulated(z, folds)).tested()
            own = result.fold_of == j
            scale = alone.variance[own] / result.variance[own]
            assert_close(scale, found.fold_factor[j].expand_as(scale))


def test_real_folds_are_scaled_in_all_that_is_shown():
    X, Y = noisy_waves(14, 2)
    result = cross_validate(normalized_gp, X, Y, fit="warm")
    found = recalibrate(result)
    scaled = found.apply()
    assert_close(scaled.variance, result.variance * found.factor)
    assert_close(scaled.noise_variance, result.noise_variance * found.factor)
    assert_close(scaled.z_scores, result.z_scores / found.factor.sqrt())
    assert_close(scaled.whitened, result.whitened / found.factor.sqrt())
    assert torch.equal(scaled.mean, result.mean)
    assert found.tested().whitened is None
    gain = found.tested().log_density - result.log_density
    assert_close(found.table().log_density_gain, gain.mean(dim=0))
    error = gain.std(dim=0) / math.sqrt(14)
    assert_close(found.table().log_density_gain_se, error)


@pytest.mark.filterwarnings("ignore:Data .* is not standardized")
def test_after_a_logarithm_the_factor_is_that_of_the_gaussian():
    X, Y = unit_waves(14)

    def logged(X: Tensor, Y: Tensor) -> SingleTaskGP:
        return SingleTaskGP(X, Y, outcome_transform=Log())

    def plain(X: Tensor, Y: Tensor) -> SingleTaskGP:
        return SingleTaskGP(X, Y, outcome_transform=None)

    result = cross_validate(logged, X, Y.exp(), fit="warm")
    found, other = (
        recalibrate(result),
        recalibrate(cross_validate(plain, X, Y, fit="warm")),
    )
    assert_close(found.factor, other.factor)
    # Densities of an outcome and of its logarithm differ by the slope alone.
    column = "log_density_gain"
    assert_close(found.table()[column], other.table()[column])
    scaled = found.apply()
    variance = other.apply().variance
    mean = (other.result.mean + variance / 2).exp()
    assert_close(scaled.mean, mean)
    assert_close(scaled.variance, mean**2 * variance.expm1())
    with pytest.raises(UnsupportedError, match="transform train_Y beforehand"):
        found.posterior_transform()
    assert_close(other.posterior_transform().factor, other.factor)


def test_a_file_has_all_of_it(tmp_path):
    X, Y = noisy_waves(10, 2)
    found = recalibrate(cross_validate(normalized_gp, X, Y, fit="warm"))
    found.save(tmp_path / "factors.npz")
    loaded = Recalibration.load(tmp_path / "factors.npz")
    assert str(loaded) == str(found) and loaded.is_nested is False
    assert torch.equal(loaded.fold_factor, found.fold_factor)
    assert CrossValidation.load(tmp_path / "factors.npz").elpd == found.result.elpd
    found.result.save(tmp_path / "result.npz")
    with pytest.raises(ValueError, match="a cross-validation without factors"):
        Recalibration.load(tmp_path / "result.npz")


def test_points_without_a_score_and_errors_of_zero():
    result = simulated(errors(12, 1.5))
    mean = result.mean.clone()
    mean[4] = torch.nan
    gap = replace(result, mean=mean, failed={"row 4": "no"})
    found = recalibrate(gap)
    assert found.table().points.item() == 11
    assert torch.equal(found.factor, recalibrate(result).fold_factor[4])
    assert "only 11 points" in str(found)
    exact = replace(result, observed=result.mean)
    assert 0 < recalibrate(exact).factor.item() < 1e-5


def test_wrong_arguments_are_refused_in_words():
    X, Y = unit_waves(8)
    fixed = cross_validate(normalized_gp, X, Y, fit="fixed")
    with pytest.raises(ValueError, match="got fixed hyper-parameters"):
        recalibrate(fixed)
    with pytest.raises(ValueError, match="result: expected a CrossValidation"):
        recalibrate(X)
    with pytest.raises(ValueError, match="at least 3 folds with a score, got 2"):
        recalibrate(simulated(errors(8, 1.0), k_fold(2)))
