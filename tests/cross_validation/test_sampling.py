"""Estimates of a sum from exact refits of some folds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import assert_close, noisy_waves, normalized_gp

from botorch_xval import CrossValidation, FitOptions, cross_validate
from botorch_xval.cross_validation import warm
from botorch_xval.cross_validation.sampling import estimate_sum

OWN = FitOptions(starts="own")


def population(f: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Approximate and exact scores whose differences grow with the influence."""
    generator = np.random.default_rng(5)
    influences = generator.gamma(2.0, 0.1, size=f)
    exact = generator.normal(-1.0, 1.0, size=f)
    errors = influences**2 * generator.normal(1.0, 1.0, size=f)
    return exact + errors, exact, influences


def test_estimates_are_unbiased_and_their_standard_errors_cover():
    approximate, exact, influences = population()
    certain = (influences > 0.6).nonzero()[0].tolist()
    found = [
        estimate_sum(approximate, influences, certain, lambda i: exact[i], 3.0, seed)
        for seed in range(300)
    ]
    errors = np.array([each.elpd for each in found]) - exact.sum()
    deviations = np.array([each.standard_error for each in found])
    assert abs(errors.mean()) < 4 * errors.std() / math.sqrt(300)
    assert 0.9 < (np.abs(errors) < 2 * deviations).mean() < 0.99
    assert (deviations <= 3.0).all() and (deviations > 0).all()
    assert max(each.refitted for each in found) < 150


def test_only_folds_that_were_drawn_or_are_certain_are_refitted():
    approximate, exact, influences = population()
    asked: list[int] = []

    def refit(folds):
        assert not set(folds) & set(asked)  # none twice
        asked.extend(folds)
        return exact[list(folds)]

    found = estimate_sum(approximate, influences, [3, 7], refit, 3.0, 1)
    assert asked[:2] == [3, 7] and len(asked) == found.refitted < 150
    assert found.draws >= 16


def test_a_small_error_refits_all():
    approximate, exact, influences = population(40)
    found = estimate_sum(approximate, influences, [], lambda i: exact[i], 1e-9, 0)
    assert found.elpd == pytest.approx(exact.sum(), abs=1e-9)
    assert (found.standard_error, found.refitted) == (0.0, 40)
    # Of approximations without an error one round is enough.
    found = estimate_sum(exact, influences, [], lambda i: exact[i], 1e-9, 0)
    assert found.elpd == pytest.approx(exact.sum()) and found.standard_error < 1e-9


def test_a_fold_that_fails_counts_with_neither_score():
    approximate, exact, influences = population()
    exact[3] = np.nan
    found = estimate_sum(approximate, influences, [3], lambda i: exact[i], 3.0, 0)
    rest = np.delete(exact, 3).sum()
    assert abs(found.elpd - rest) < 4 * found.standard_error


def test_sampled_folds_estimate_the_sum_of_refits(tmp_path):
    X, Y = noisy_waves(60)
    refitted = cross_validate(normalized_gp, X, Y, fit="warm", fit_options=OWN)
    found = cross_validate(
        normalized_gp, X, Y, fit="sampled", max_error=0.5, fit_options=OWN
    )
    assert found.estimate is not None and found.elpd == found.estimate.elpd
    assert abs(found.elpd - refitted.elpd) < 4 * found.estimate.standard_error + 1e-3
    hows = [fit.how for fit in found.fits]
    assert hows.count("warm") == found.estimate.refitted < 60
    assert set(hows) == {"warm", "predicted"}
    same = [how == "warm" for how in hows]
    assert_close(found.mean[same], refitted.mean[same], rtol=1e-3, atol=1e-3)
    found.save(tmp_path / "sampled.npz")
    assert CrossValidation.load(tmp_path / "sampled.npz").estimate == found.estimate
    again = cross_validate(
        normalized_gp, X, Y, fit="sampled", max_error=0.5, fit_options=OWN
    )
    assert again.estimate == found.estimate
    exact = cross_validate(
        normalized_gp, X, Y, fit="sampled", max_error=1e-9, fit_options=OWN
    )
    assert exact.estimate.standard_error == 0
    assert exact.elpd == pytest.approx(refitted.elpd, abs=1e-3)


def test_an_error_that_is_none_is_refused():
    with pytest.raises(ValueError, match="max_error: expected a number above 0"):
        cross_validate(normalized_gp, *noisy_waves(8), fit="sampled", max_error=0.0)


def test_a_fold_that_cannot_be_predicted_is_refitted(monkeypatch):
    X, Y = noisy_waves(40)
    options = {"max_error": 50.0, "fit_options": OWN}
    expected = cross_validate(normalized_gp, X, Y, fit="sampled", **options)
    quiet = [f.fold for f in expected.fits if f.how == "predicted"][0]
    original = warm._predict_first_order

    def without(work, full, models, steps, there, folds):
        original(work, full, models, steps, there, folds)
        if len(models.numbers) == 40:
            work.predictions[quiet]["variance"] *= torch.nan

    monkeypatch.setattr(warm, "_predict_first_order", without)
    found = cross_validate(normalized_gp, X, Y, fit="sampled", **options)
    assert found.fits[quiet].how == "warm" and found.failed == {}
    assert math.isfinite(found.elpd)
    assert found.elpd == pytest.approx(expected.elpd, abs=0.5)
