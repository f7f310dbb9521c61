"""What all plots of a cross-validation have in common."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
import torch
from reporting_helpers import dots

from botorch_xval.reporting.plots import (
    plot_calibration,
    plot_normal_quantiles,
    plot_pit,
    plot_predictions,
    plot_residuals,
)

OF_POINTS = [plot_predictions, plot_residuals, plot_normal_quantiles]
EACH = [*OF_POINTS, plot_pit, plot_calibration]


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
    if plot in OF_POINTS:
        assert len(dots(ax)) == 18


@pytest.mark.parametrize("plot", EACH)
def test_an_output_that_is_not_there_is_refused(warm, plot):
    if plot is plot_normal_quantiles:
        warm = replace(warm, whitened=None)
    with pytest.raises(ValueError, match="output: expected 0 to 1, got 2"):
        plot(warm, output=2)
