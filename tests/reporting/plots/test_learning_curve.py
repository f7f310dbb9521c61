"""The plot of learning curves by what its artists hold."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close, noisy_waves, normalized_gp, optimizer
from reporting_helpers import legend, lines_of_color

from botorch_xval import ScalarChoiceGP, compare
from botorch_xval.comparison import LearningCurve, learning_curve
from botorch_xval.reporting.plots import plot_learning_curve
from botorch_xval.reporting.plots.style import COLORS


@pytest.fixture(scope="module")
def curve() -> LearningCurve:
    comparison = compare(
        {"ours": ScalarChoiceGP, "default": normalized_gp},
        *noisy_waves(14),
        sizes=[6, 10, 14],
        fit_options=optimizer(maxiter=4),
    )
    return learning_curve(comparison)


def test_points_lines_and_bands_are_those_of_the_curve(curve):
    ax = plot_learning_curve(curve, more=6)
    assert legend(ax) == ["ours", "default"]
    for i, name in enumerate(["ours", "default"]):
        drawn = lines_of_color(ax, COLORS[i])
        solid, dashed = (line for line in drawn if len(line) > 3)
        grid = np.concatenate([solid[:, 0], dashed[1:, 0]])
        expected = curve.predict(grid)
        expected = expected[expected.configuration == name].set_index("size").score
        assert solid[0, 0] == 6 and solid[-1, 0] == dashed[0, 0] == 14
        assert dashed[-1, 0] == 20
        ends = [solid[0, 1], solid[-1, 1], dashed[-1, 1]]
        assert_close(ends, expected[[6, 14, 20]])
        scores = curve.scores[curve.scores.configuration == name]
        points = next(line for line in drawn if len(line) == 3)
        assert_close(points, scores[["size", "score"]].to_numpy(float))
    assert len(ax.collections) >= 4  # bands and error bars
    bottom = min(p.vertices[:, 1].min() for c in ax.collections for p in c.get_paths())
    assert bottom <= curve.predict(grid).low.min()


def test_some_configurations_keep_their_colors(curve):
    ax = plot_learning_curve(curve, named=["default"])
    assert legend(ax) == ["default"]
    assert lines_of_color(ax, COLORS[0]) == []
    assert np.isfinite(lines_of_color(ax, COLORS[1])[0]).all()


def test_wrong_arguments_are_refused_in_words(curve):
    with pytest.raises(ValueError, match="curve: expected a LearningCurve"):
        plot_learning_curve(curve.scores)
    with pytest.raises(ValueError, match="more: expected a number above 0"):
        plot_learning_curve(curve, more=0)
    with pytest.raises(ValueError, match="named: expected some of"):
        plot_learning_curve(curve, named=["other"])
