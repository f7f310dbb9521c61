"""Plots of calibration by what their artists hold, and their bands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import assert_close
from reporting_helpers import dots
from scipy import stats

from botorch_xval.reporting.plots import (
    plot_calibration,
    plot_normal_quantiles,
    plot_pit,
)
from botorch_xval.reporting.plots.calibration import (
    distribution_band,
    order_statistics_band,
)


def test_quantiles_are_of_the_whitened_errors_if_there_are_any(warm):
    ax = plot_normal_quantiles(warm)
    expected = np.sort(warm.whitened[:, 0].numpy())
    assert_close(np.sort(dots(ax)[:, 1]), expected)
    assert ax.get_ylabel() == "whitened errors"
    plain = plot_normal_quantiles(replace(warm, whitened=None))
    z = ((warm.observed - warm.mean) / warm.variance.sqrt())[:, 0]
    assert_close(np.sort(dots(plain)[:, 1]), z.sort().values.numpy())
    assert "correlated" in plain.get_ylabel()


def test_pit_and_calibration_are_empirical_distributions(warm):
    pit = warm.to_frame().query("output == 0").pit.to_numpy()
    for plot, values, minus in ((plot_pit, pit, 1), (plot_calibration, None, 0)):
        values = np.abs(2 * pit - 1) if values is None else values
        (curve,) = (
            line for line in plot(warm).lines if line.get_drawstyle() == "steps-mid"
        )
        at, share = curve.get_data()
        expected = np.array([(values <= x).mean() for x in at]) - minus * at
        assert_close(share, expected)
    # What the calibration curve means: observations inside of central intervals.
    inside = (warm.observed - warm.mean).abs() <= stats.norm.ppf(
        0.9
    ) * warm.variance.sqrt()
    at, share = curve.get_data()
    assert share[at.searchsorted(0.8 - 1e-9)] == inside[:, 0].double().mean()


@pytest.mark.parametrize("band", [distribution_band, order_statistics_band])
@pytest.mark.parametrize("n", [12, 60])
def test_bands_hold_95_percent_of_uniform_samples(band, n):
    low, high = band(n)
    rng = np.random.default_rng(1)  # others than the band was made of
    inside = []
    for _ in range(3000):
        values = np.sort(rng.uniform(size=n))
        if band is distribution_band:
            at = np.arange(1, 100) / 100
            values = np.searchsorted(values, at, side="right") / n
        inside.append(((low <= values) & (values <= high)).all())
    assert np.mean(inside) == pytest.approx(0.95, abs=0.025)
