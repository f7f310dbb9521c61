"""Six plots of one cross-validation: which ones, and with which names."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close

from botorch_xval.reporting import plots


def test_six_plots_in_two_rows(warm):
    axes = plots.plot_diagnostics(warm, output=1)
    assert axes.shape == (2, 3)
    expected = [
        plots.plot_predictions(warm, output=1),
        plots.plot_residuals(warm, output=1),
        plots.plot_normal_quantiles(warm, output=1),
        plots.plot_pit(warm, output=1),
        plots.plot_calibration(warm, output=1),
        plots.plot_influence(warm),
    ]
    for drawn, alone in zip(axes.flat, expected, strict=True):
        assert drawn.get_ylabel() == alone.get_ylabel()
        for one, other in zip(drawn.lines, alone.lines, strict=True):
            assert_close(np.array(one.get_data()), np.array(other.get_data()))


def test_folds_that_stand_out_are_named(warm):
    names = [f"without {i}" for i in range(len(warm.folds.names))]
    axes = plots.plot_diagnostics(warm, folds=names)
    assert {text.get_text() for text in axes[1, 2].texts} <= set(names)
    assert axes[1, 2].texts


def test_without_influences_the_evaluations_of_every_fold(fixed):
    axes = plots.plot_diagnostics(fixed)
    assert axes[1, 2].get_xlabel() == "folds, sorted"


def test_a_wrong_output_is_refused_before_a_figure_is_made(warm):
    with pytest.raises(ValueError, match="output: expected 0 to 1, got 2"):
        plots.plot_diagnostics(warm, output=2)
    assert not plots.style.plt.get_fignums()
