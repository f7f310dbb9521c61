"""Plots of a comparison by what their artists hold."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import assert_close, noisy_waves, normalized_gp, optimizer
from matplotlib.axes import Axes
from reporting_helpers import legend, lines_of_color

from botorch_xval import Comparison, ScalarChoiceGP, compare, k_fold
from botorch_xval.comparison.paired import half_width
from botorch_xval.reporting.plots import (
    plot_comparison,
    plot_differences,
    plot_ranking,
    plot_scores,
)
from botorch_xval.reporting.plots.comparison import looks_of


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(
        {"ours": ScalarChoiceGP, "default": normalized_gp},
        *noisy_waves(10),
        sizes=[10, 6],
        folds=k_fold(4),
        fit_options=optimizer(maxiter=4),
    )


def bars(ax: Axes) -> dict[str, SimpleNamespace]:
    """By configuration its points and the lower and upper ends of its bars."""
    found = {}
    for container in ax.containers:
        line, _, (segments,) = container.lines
        ends = np.array(segments.get_segments())  # sizes x 2 ends x (x, y)
        found[container.get_label()] = SimpleNamespace(
            x=line.get_xdata(), y=line.get_ydata(), ends=ends[..., 1]
        )
    return found


@pytest.mark.parametrize(
    ("plot", "value", "error"),
    [
        (plot_scores, "mean_log_density", "standard_error"),
        (plot_differences, "difference", "difference_se"),
    ],
)
def test_points_and_bars_are_those_of_the_table(comparison, plot, value, error):
    found = bars(plot(comparison))
    assert list(found) == ["ours", "default"]
    table = comparison.table()
    for name, drawn in found.items():
        part = table[table.configuration == name].sort_values("size")
        assert np.abs(drawn.x - [6, 10]).max() < 0.5  # beside each other
        assert_close(drawn.y, part[value].to_numpy())
        below_and_above = [part[value] - part[error], part[value] + part[error]]
        assert_close(drawn.ends, np.column_stack(below_and_above))


def test_points_of_one_size_do_not_hide_each_other(comparison):
    found = bars(plot_scores(comparison))
    assert (found["ours"].x != found["default"].x).all()


def test_axes_say_what_they_show(comparison):
    ax = plot_scores(comparison)
    assert ax.get_xlabel() == "dataset size (rows)"
    assert "log predictive density" in ax.get_ylabel() and "nats" in ax.get_ylabel()
    assert ax.get_xticks().tolist() == [6, 10]
    assert legend(ax) == ["ours", "default"]
    ax = plot_differences(comparison)
    assert "difference" in ax.get_ylabel() and "nats" in ax.get_ylabel()
    (zero,) = lines_of_color(ax, "0.7")
    assert zero[:, 1].tolist() == [0, 0]


def test_one_size_and_one_configuration_are_enough():
    result = compare(
        {"default": normalized_gp},
        *noisy_waves(6),
        sizes=[6],
        fit_options=optimizer(maxiter=2),
    )
    (drawn,) = bars(plot_scores(result)).values()
    assert drawn.x.tolist() == [6]
    assert_close(drawn.y, [result.points.log_density.mean()])


def test_a_comparison_has_scores_above_differences(comparison):
    top, bottom = plot_comparison(comparison)
    for ax, plot in ((top, plot_scores), (bottom, plot_differences)):
        alone = bars(plot(comparison))
        for name, drawn in bars(ax).items():
            assert_close(drawn.y, alone[name].y)
    assert top.get_xlabel() == "" and bottom.get_xlabel() == "dataset size (rows)"
    assert top.get_xlim() == bottom.get_xlim()


def many(comparison: Comparison, count: int) -> Comparison:
    """Its first configuration under many names, with some noise."""
    rng = np.random.default_rng(0)
    points, fits = (
        frame[frame.configuration == "ours"]
        for frame in (comparison.points, comparison.fits)
    )
    scores = points.log_density
    parts = [
        points.assign(
            configuration=f"model {i}",
            log_density=scores + 0.1 * rng.normal(size=len(points)),
        )
        for i in range(count)
    ]
    names = [fits.assign(configuration=f"model {i}") for i in range(count)]
    return Comparison(pd.concat(parts), pd.concat(names))


def test_more_configurations_than_colors(comparison):
    result = many(comparison, 9)
    ax = plot_scores(result)
    table = result.table()
    last = table[table["size"] == 10].sort_values("rank")
    assert list(bars(ax)) == list(last.configuration)
    looks = {(c.lines[0].get_color(), c.lines[0].get_marker()) for c in ax.containers}
    assert len(looks) == 9
    box, axes = ax.get_legend().get_window_extent(), ax.get_window_extent()
    assert box.x0 > axes.x1  # beside the lines, not over them


def test_a_band_shows_what_the_best_of_many_owes_to_having_been_chosen(comparison):
    assert not plot_differences(many(comparison, 10)).collections[10:]
    result = many(comparison, 11)
    ax = plot_differences(result)
    (band,) = [c for c in ax.collections if c.zorder < 0]
    table = result.table()
    best = table[table["rank"] == 1].set_index("size")
    ends = band.get_paths()[0].vertices
    for size, bias in table.attrs["selection_bias"].items():
        assert bias > 0
        drawn = ends[ends[:, 0] == size][:, 1]
        assert_close(drawn.min(), -bias / best.rows[size])
        assert drawn.max() == 0
    assert legend(ax) == ["selection bias of the best"]


def test_a_ranking_shows_differences_and_their_intervals(comparison):
    result = many(comparison, 4)
    table = result.table()
    last = table[table["size"] == 10].sort_values("rank")
    ax = plot_ranking(result)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == list(last.configuration)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the best one on top
    looks = looks_of(result)
    for y, entry in enumerate(last.itertuples()):
        own = [line for line in ax.lines if set(line.get_ydata()) == {y}]
        assert {line.get_color() for line in own} == {looks[entry.configuration][0]}
        (mark,) = [line for line in own if len(line.get_xdata()) == 1]
        assert_close(mark.get_xdata()[0], entry.difference)
        ends = sorted(
            np.ptp(line.get_xdata()) / 2 for line in own if len(line.get_xdata()) == 2
        )
        if entry.rank > 1:
            half = half_width(entry.difference_se, entry.groups)
            assert_close(ends, [entry.difference_se, half])


def test_a_configuration_far_behind_is_a_number_at_the_edge(comparison):
    result = many(comparison, 4)
    points = result.points.copy()
    points.loc[points.configuration == "model 2", "log_density"] -= 500.0
    ax = plot_ranking(Comparison(points, result.fits))
    (text,) = ax.texts
    assert text.get_color() == looks_of(Comparison(points, result.fits))["model 2"][0]
    assert "-500" in text.get_text() and ax.get_xlim()[0] > -100


def test_colors_go_with_the_rank_at_the_largest_size(comparison):
    result = many(comparison, 9)
    looks = looks_of(result)
    table = result.table()
    last = table[table["size"] == 10].sort_values("rank")
    assert list(looks) == list(last.configuration)
    for ax in (plot_scores(result), plot_differences(result)):
        for container in ax.containers:
            line = container.lines[0]
            look = line.get_color(), line.get_marker()
            assert look == looks[container.get_label()]
