"""Plots by what their artists hold: the numbers of the result and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from botorch.optim.core import OptimizationStatus
from botorch_xval.fitting.summed import fit_summed
from helpers import (
    assert_close,
    fold_mlls,
    noisy_waves,
    normalized_gp,
    optimizer,
)
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from botorch_xval.comparison.compare import Comparison, compare
from botorch_xval.cross_validation.cross_validate import cross_validate
from botorch_xval.cross_validation.folds import k_fold
from botorch_xval.fitting.fit import fit_each
from botorch_xval.fitting.records import FitRecord
from botorch_xval.models.scalar_choice import ScalarChoiceGP
from botorch_xval.reporting.plots.fits import (
    COLORS,
    LiveLosses,
    plot_active_models,
    plot_comparison,
    plot_differences,
    plot_evaluations,
    plot_losses,
    plot_scores,
    plot_summed_and_independent,
)


@pytest.fixture(autouse=True)
def no_figures_or_settings_left_behind() -> Iterator[None]:
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(
        {"ours": ScalarChoiceGP, "default": normalized_gp},
        *noisy_waves(10),
        sizes=[10, 6],
        folds=k_fold(4),
        progress=False,
        fit_options=optimizer(maxiter=4),
    )


@pytest.fixture(scope="module")
def summed() -> list[FitRecord]:
    return fit_summed(fold_mlls(normalized_gp, *noisy_waves(8)))


def record(*losses: float, evaluations: int = 5) -> FitRecord:
    success = OptimizationStatus.SUCCESS
    return FitRecord(losses, evaluations, len(losses) - 1, success, "", 0.1, 1)


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


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def lines_of_color(ax: Axes, color: str) -> list[np.ndarray]:
    return [
        np.column_stack(line.get_data())
        for line in ax.lines
        if to_rgba(line.get_color()) == to_rgba(color)
    ]


# Scores by dataset size


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
        progress=False,
        fit_options=optimizer(maxiter=2),
    )
    (drawn,) = bars(plot_scores(result)).values()
    assert drawn.x.tolist() == [6]
    assert_close(drawn.y, [result.points.log_density.mean()])


def test_a_comparison_has_scores_above_differences(comparison):
    top, bottom = plot_comparison(comparison).axes
    for ax, plot in ((top, plot_scores), (bottom, plot_differences)):
        alone = bars(plot(comparison))
        for name, drawn in bars(ax).items():
            assert_close(drawn.y, alone[name].y)
    assert top.get_xlabel() == "" and bottom.get_xlabel() == "dataset size (rows)"
    assert top.get_xlim() == bottom.get_xlim()


# Losses


def test_every_record_is_a_line_of_negative_losses(summed):
    ax = plot_losses(summed)
    courses = lines_of_color(ax, COLORS[0])
    assert len(courses) == len(summed)
    for course, expected in zip(courses, summed, strict=True):
        steps = len(expected.losses)
        assert course[:, 0].tolist() == list(range(steps))
        assert_close(course[:, 1], [-loss for loss in expected.losses])


def test_worse_steps_are_red_and_counted(summed):
    ax = plot_losses(summed, label="fold")
    expected = [
        [[k, -before], [k + 1, -after]]
        for r in summed
        for k, (before, after) in enumerate(pairwise(r.losses))
        if after > before + 1e-9
    ]
    assert len(expected) > 5
    assert_close(np.array(lines_of_color(ax, COLORS[1])), np.array(expected))
    worse = f"steps on which a fold got worse ({len(expected):,})"
    assert legend(ax) == ["each fold", worse, "mean of all"]


def test_a_model_that_is_done_keeps_its_last_value_in_the_mean():
    ax = plot_losses([record(3.0, 1.0), record(5.0, 4.0, 2.0, 1.5)])
    (mean,) = lines_of_color(ax, "black")
    assert mean[:, 1].tolist() == [-4.0, -2.5, -1.5, -1.25]
    assert lines_of_color(ax, COLORS[1]) == []  # nothing got worse
    assert legend(ax) == ["each model", "mean of all"]
    assert ax.get_xlabel() == "iteration"
    assert "per training point" in ax.get_ylabel()


def test_summed_and_independent_side_by_side():
    first = [record(3.0, 1.0, 2.0, 0.5, evaluations=800), record(2.0, 1.5, 1.0, 0.75)]
    second = [record(3.0, 0.5), record(2.0, 0.75, evaluations=7)]
    left, right = plot_summed_and_independent(first, second).axes
    for ax, records in ((left, first), (right, second)):
        courses = lines_of_color(ax, COLORS[0])
        for course, expected in zip(courses, records, strict=True):
            assert course[:, 1].tolist() == [-loss for loss in expected.losses]
    assert "805 model evaluations, summed loss 1.2500" in left.get_title(loc="left")
    assert "12 model evaluations, summed loss 1.2500" in right.get_title(loc="left")
    assert len(lines_of_color(left, COLORS[1])) == 1
    assert lines_of_color(right, COLORS[1]) == []
    low, high = left.get_ylim()
    assert low < -0.75 < -0.5 < high  # where the models end
    assert right.get_ylim() == (low, high)


@pytest.mark.filterwarnings("ignore:A not p.d.")
def test_defect_losses_are_drawn_if_a_fit_failed_at_its_start():
    failed = FitRecord((), 1, 0, OptimizationStatus.FAILURE, "NotPSDError", 0.1, 5)
    ax = plot_losses([record(3.0, 1.0), failed, record(5.0, 4.0)])
    assert len(lines_of_color(ax, COLORS[0])) == 2
    (mean,) = lines_of_color(ax, "black")
    assert mean[:, 1].tolist() == [-4.0, -2.5]


# All of them


PLOTS = {
    "scores": lambda ax, comparison, records: plot_scores(comparison, ax),
    "differences": lambda ax, comparison, records: plot_differences(comparison, ax),
    "losses": lambda ax, comparison, records: plot_losses(records, ax),
}


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_draws_on_the_axes_it_is_given(plot: Callable, comparison, summed):
    figure, (ours, other) = plt.subplots(1, 2)
    assert plot(ours, comparison, summed) is ours
    assert plt.get_fignums() == [figure.number]  # no further figure
    assert not other.has_data()
    assert ours.has_data()


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_makes_axes_if_it_is_given_none(plot: Callable, comparison, summed):
    figure, _ = plt.subplots()
    ax = plot(None, comparison, summed)
    assert ax.figure is not figure
    ax.figure.canvas.draw()  # no warning on the way to a file


def test_more_configurations_than_colors(comparison):
    names = [f"model {i}" for i in range(9)]
    many = Comparison(
        *(
            pd.concat([frame[:10].assign(configuration=name) for name in names])
            for frame in (comparison.points, comparison.fits)
        )
    )
    assert list(bars(plot_scores(many))) == names


def test_a_cross_validation_has_the_records_of_its_folds():
    found = cross_validate(
        normalized_gp, *noisy_waves(6), fit_options=optimizer(maxiter=4)
    )
    courses = lines_of_color(plot_losses(found.records), COLORS[0])
    assert [len(course) for course in courses] == [5] * 6


# What a fit costs


def test_active_models_fill_the_area_of_all_evaluations():
    records = [record(1.0, 0.5, evaluations=count) for count in (3, 5, 5, 9)]
    ax = plot_active_models(records, label="fold")
    whole, running = ax.collections
    corners = running.get_paths()[0].vertices
    x, y = corners[:, 0], corners[:, 1]
    area = 0.5 * abs(x @ np.roll(y, 1) - y @ np.roll(x, 1))
    assert area == pytest.approx(3 + 5 + 5 + 9)
    assert whole.get_paths()[0].vertices.max(axis=0).tolist() == [9, 4]
    assert ax.get_title(loc="left") == "22 evaluations instead of 36 (39% less)"


def test_evaluations_are_sorted_and_colored_by_their_end():
    records = [record(1.0, evaluations=count) for count in (7, 3, 5)]
    stopped = OptimizationStatus.STOPPED
    records[1] = FitRecord((1.0,), 3, 0, stopped, "maxiter", 0.1, 1)
    ax = plot_evaluations(records)
    heights = {
        bar.get_x() + bar.get_width() / 2: (bar.get_height(), bar.get_facecolor())
        for bar in ax.patches
    }
    assert [heights[i][0] for i in range(3)] == [3, 5, 7]
    assert [heights[i][1] == to_rgba(COLORS[4]) for i in range(3)] == [True] + [
        False
    ] * 2
    assert legend(ax) == ["converged (2)", "stopped early (1)"]


@pytest.mark.parametrize("plot", [plot_active_models, plot_evaluations])
def test_costs_of_no_fits_are_refused(plot):
    with pytest.raises(ValueError, match="at least one fit"):
        plot([])


def test_a_live_plot_has_the_losses_of_the_records():
    mlls = fold_mlls(normalized_gp, *noisy_waves(6))
    live = LiveLosses(interval=0.0)
    fit_each(mlls, {"callback": live})
    live.draw()
    (ax,) = live.figure.axes
    drawn = sorted(-line.get_ydata()[-1] for line in ax.lines[:-1])
    expected = [mll.fit_records[0].losses for mll in mlls]
    assert_close(np.array(drawn), np.array(sorted(each[-1] for each in expected)))
    assert live.losses[2] == list(expected[2][1:])
    assert f"mean {np.mean([-each[-1] for each in expected]):.4f}" in ax.get_title(
        loc="left"
    )
