"""Plots of predictions, errors and single points by what their artists hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import assert_close, noisy_waves, normalized_gp
from matplotlib.colors import to_rgba
from reporting_helpers import dots, lines_of_color, sorted_rows

from botorch_xval import cross_validate, difference, optimism
from botorch_xval.cross_validation import outliers
from botorch_xval.reporting.plots import (
    plot_pointwise,
    plot_predictions,
    plot_residuals,
)
from botorch_xval.reporting.plots.style import COLORS


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


def test_outliers_are_orange_and_named():
    X, Y = noisy_waves(20)
    Y[7] += 90.0
    result = cross_validate(normalized_gp, X, Y, fit="warm")
    ax = plot_residuals(result, names=[f"trial {i}" for i in range(20)])
    table = outliers(result)
    wrong = table[table.is_outlier]
    (orange,) = lines_of_color(ax, COLORS[1])
    assert_close(np.sort(orange[:, 1]), np.sort(wrong.z_score))
    assert len(dots(ax)) == 20
    assert {f"trial {row}" for row in wrong.row} <= {t.get_text() for t in ax.texts}


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


def test_only_failed_folds_are_refused(warm):
    nothing = replace(warm, mean=torch.full_like(warm.mean, torch.nan))
    with pytest.raises(ValueError, match="result: expected at least one fold"):
        plot_predictions(nothing)
