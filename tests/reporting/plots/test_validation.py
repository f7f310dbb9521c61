"""Plots of cross-validations by what their artists hold, and by their bands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from helpers import assert_close, noisy_waves, normalized_gp, tuning_trials
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from scipy import stats

from botorch_xval import (
    CrossValidation,
    ScalarChoiceGP,
    cross_validate,
    difference,
    hyperparameters,
    optimism,
)
from botorch_xval.reporting.plots.fits import COLORS
from botorch_xval.reporting.plots.validation import (
    _distribution_band,
    _order_statistics_band,
    plot_calibration,
    plot_hyperparameters,
    plot_influence,
    plot_normal_quantiles,
    plot_pit,
    plot_pointwise,
    plot_predictions,
    plot_residuals,
)

EACH = [
    plot_predictions,
    plot_residuals,
    plot_normal_quantiles,
    plot_pit,
    plot_calibration,
]


@pytest.fixture(autouse=True)
def no_figures_left_behind() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def warm() -> CrossValidation:
    X, Y = noisy_waves(20, 2)
    return cross_validate(normalized_gp, X, Y, fit="warm", keep_models=True)


@pytest.fixture(scope="module")
def fixed() -> CrossValidation:
    return cross_validate(normalized_gp, *noisy_waves(20, 2), fit="fixed")


def dots(ax: Axes) -> np.ndarray:
    """All points drawn as single marks, `k x 2`."""
    found = [
        np.column_stack(line.get_data())
        for line in ax.lines
        if line.get_marker() in ("o", ".") and line.get_linestyle() == "None"
    ]
    return np.concatenate(found) if found else np.empty((0, 2))


def sorted_rows(values: np.ndarray) -> np.ndarray:
    return values[np.lexsort(values.T)]


@pytest.mark.parametrize("output", [0, 1])
def test_predictions_are_the_points_of_the_result(warm, output):
    ax = plot_predictions(warm, output=output)
    expected = torch.stack([warm.observed[:, output], warm.mean[:, output]], dim=-1)
    assert_close(sorted_rows(dots(ax)), sorted_rows(expected.numpy()))
    missed = (warm.observed - warm.mean).abs() > 1.959964 * warm.variance.sqrt()
    orange = [
        line
        for line in ax.lines
        if line.get_marker() == "o" and to_rgba(line.get_color()) == to_rgba(COLORS[1])
    ]
    drawn = sum(len(line.get_xdata()) for line in orange)
    assert drawn == missed[:, output].sum()
    observed, mean = warm.observed[:, output], warm.mean[:, output]
    r2 = 1 - ((observed - mean) ** 2).sum() / ((observed - observed.mean()) ** 2).sum()
    assert f"R2 = {r2:.3f}" in ax.get_title(loc="left")


def test_residuals_are_standardized(warm):
    ax = plot_residuals(warm, output=1, scale="model")
    z = (warm.observed - warm.mean) / warm.variance.sqrt()
    mean = (warm.mean - warm.location) / warm.scale
    expected = torch.stack([mean[:, 1], z[:, 1]], dim=-1)
    assert_close(sorted_rows(dots(ax)), sorted_rows(expected.numpy()))


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


@pytest.mark.parametrize("band", [_distribution_band, _order_statistics_band])
@pytest.mark.parametrize("n", [12, 60])
def test_bands_hold_95_percent_of_uniform_samples(band, n):
    low, high = band(n)
    rng = np.random.default_rng(1)  # others than the band was made of
    inside = []
    for _ in range(3000):
        values = np.sort(rng.uniform(size=n))
        if band is _distribution_band:
            at = np.arange(1, 100) / 100
            values = np.searchsorted(values, at, side="right") / n
        inside.append(((low <= values) & (values <= high)).all())
    assert np.mean(inside) == pytest.approx(0.95, abs=0.025)


def test_a_pointwise_difference_names_the_rows_that_decide(warm, fixed):
    points = difference(warm, fixed)
    names = [f"trial {i}" for i in range(20)]
    ax = plot_pointwise(points, labels=("refit", "fixed"), names=names, named=3)
    assert_close(np.sort(dots(ax)[:, 1]), np.sort(points.difference.to_numpy()))
    largest = points.difference.abs().nlargest(3).index
    texts = {text.get_text() for text in ax.texts}
    assert texts == {f"trial {points.row[i]}" for i in largest}
    title = ax.get_title(loc="left")
    assert f"{points.attrs['sum']:+.2f}" in title
    assert f"{points.attrs['standard_error']:.2f}" in title


def test_refit_minus_fixed_is_drawn_as_it_is():
    points = optimism(normalized_gp, *noisy_waves(12))
    ax = plot_pointwise(points, labels=("refit", "fixed"))
    assert f"{points.difference.sum():+.2f} nats" in ax.get_title(loc="left")


def test_influences_are_those_of_the_fits(warm):
    ax = plot_influence(warm, threshold=0.5)
    by_fold = warm.fit_table().groupby("fold", sort=False).influence.max()
    assert_close(np.sort(dots(ax)[:, 1]), np.sort(by_fold.to_numpy()))
    largest = by_fold.nlargest(5).index
    assert {text.get_text() for text in ax.texts} == set(largest)
    assert any((np.array(line.get_ydata()) == 0.5).all() for line in ax.lines)


def test_a_result_without_influences_says_so(fixed):
    with pytest.raises(ValueError, match="no influences"):
        plot_influence(fixed)


def test_hyperparameters_over_folds_with_prior_and_full_fit():
    table = tuning_trials(12)

    def model(X, Y):
        return ScalarChoiceGP(X, Y, choice_dims=table.choice_dims)

    result = cross_validate(model, table.X, table.Y, fit="warm", keep_models=True)
    folds = hyperparameters(result.models, table.feature_names)
    full = hyperparameters(result.full_model, table.feature_names)
    ax = plot_hyperparameters(folds, full)
    assert ax.get_xscale() == "log"
    positive = folds[folds.positive]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    groups = positive.groupby(["part", "parameter"], sort=False)
    assert labels == [parameter for _, parameter in groups.groups]
    assert_close(np.sort(dots(ax)[:, 0]), np.sort(positive.value.to_numpy()))
    diamonds = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "D"]
    assert_close(np.sort(diamonds), np.sort(full[full.positive].value.to_numpy()))
    bars = [line.get_xdata() for line in ax.lines if line.get_linewidth() == 6]
    assert len(bars) == positive.groupby(["part", "parameter"]).ngroups


@pytest.mark.parametrize("plot", EACH)
def test_axes_in_axes_out_and_failed_folds_are_left_out(warm, plot):
    blank = {
        name: getattr(warm, name).clone() for name in ("mean", "variance", "whitened")
    }
    for values in blank.values():
        values[:2] = torch.nan
    failed = replace(warm, **{**blank, "whitened": None})
    ax = plt.subplots()[1]
    assert plot(failed, ax) is ax
    if plot in (plot_predictions, plot_residuals, plot_normal_quantiles):
        assert len(dots(ax)) == 18


@pytest.mark.parametrize("plot", EACH)
def test_an_output_that_is_not_there_is_refused(warm, plot):
    if plot is plot_normal_quantiles:
        warm = replace(warm, whitened=None)
    with pytest.raises(ValueError, match="output: expected 0 to 1, got 2"):
        plot(warm, output=2)


def test_only_failed_folds_are_refused(warm):
    nothing = replace(warm, mean=torch.full_like(warm.mean, torch.nan))
    with pytest.raises(ValueError, match="every fold has failed"):
        plot_predictions(nothing)
