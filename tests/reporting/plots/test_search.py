"""The plot of a search by what its artists hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import assert_close, unit_waves
from matplotlib.colors import to_hex
from reporting_helpers import legend, lines_of_color

from botorch_xval import FitOptions, ModelSearch, search
from botorch_xval.reporting.plots import plot_search
from botorch_xval.reporting.plots.style import COLORS


@pytest.fixture(scope="module")
def found() -> ModelSearch:
    return search(
        *unit_waves(20),
        seconds=math.inf,
        candidates=5,
        fit="fixed",
        fit_options=FitOptions(starts="own"),
    )


def test_points_and_bars_are_those_of_the_table(found):
    ax = plot_search(found)
    table = found.table()
    drawn = {}
    for container in ax.containers:
        line, _, (segments,) = container.lines
        for x, y, ends in zip(
            line.get_xdata(), line.get_ydata(), segments.get_segments(), strict=True
        ):
            drawn[int(y)] = x, ends[:, 0], to_hex(line.get_color())
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names[::-1] == table.configuration.tolist()  # the best one on top
    for place, entry in zip(reversed(range(5)), table.itertuples(), strict=True):
        x, ends, color = drawn[place]
        assert_close(x, entry.difference)
        error = entry.difference_se
        assert_close(ends, [entry.difference - error, entry.difference + error])
        taken = entry.configuration == found.spec.name
        assert color == COLORS[int(taken)].lower()


def test_models_that_are_far_behind_are_arrows(found):
    ax = plot_search(found)
    table = found.table()
    half = table.head(3)
    lowest = min((half.difference - half.difference_se).min(), 0.0)
    left = ax.get_xlim()[0]
    assert left <= lowest
    arrows = [line for line in ax.lines if line.get_marker() == "<"]
    beyond = table.index[table.difference < lowest]
    assert len(beyond) >= 1
    (arrow,) = arrows
    assert sorted(4 - arrow.get_ydata()) == list(beyond)
    assert (left < arrow.get_xdata()).all() and (arrow.get_xdata() < lowest).all()


def test_axes_say_what_they_show(found):
    ax = plot_search(found)
    assert "BoTorch's default" in ax.get_xlabel() and "nats" in ax.get_xlabel()
    assert legend(ax) == ["taken"]
    assert "5 models" in ax.get_title(loc="left")
    (zero,) = lines_of_color(ax, "0.7")
    assert np.array_equal(zero[:, 0], [0, 0])
    with pytest.raises(ValueError, match="search: expected a ModelSearch, got dict"):
        plot_search({})
