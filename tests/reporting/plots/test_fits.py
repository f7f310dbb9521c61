"""Plots of fits by what their artists hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from botorch.optim.core import OptimizationStatus
from helpers import assert_close, fold_mlls, noisy_waves, normalized_gp, optimizer
from matplotlib.colors import to_rgba
from reporting_helpers import legend, lines_of_color, record

from botorch_xval import FitOptions, FitRecord, cross_validate, fit_each
from botorch_xval.reporting.plots import (
    LiveLosses,
    plot_active_models,
    plot_evaluations,
    plot_losses,
)
from botorch_xval.reporting.plots.style import COLORS

COURSES = [  # two of them get worse on single steps
    record(5.0, 3.0, 3.5, 2.0, 2.25, 1.0),
    record(4.0, 3.0, 2.0),
    record(4.5, 4.75, 2.5, 2.75, 1.5),
]


def test_every_record_is_a_line_of_negative_losses():
    ax = plot_losses(COURSES)
    courses = lines_of_color(ax, COLORS[0])
    assert len(courses) == len(COURSES)
    for course, expected in zip(courses, COURSES, strict=True):
        steps = len(expected.losses)
        assert course[:, 0].tolist() == list(range(steps))
        assert_close(course[:, 1], [-loss for loss in expected.losses])


def test_worse_steps_are_orange_and_counted():
    ax = plot_losses(COURSES, label="fold")
    expected = [
        [[k, -before], [k + 1, -after]]
        for r in COURSES
        for k, (before, after) in enumerate(pairwise(r.losses))
        if after > before + 1e-9
    ]
    assert len(expected) == 4
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
    assert "per\ntraining point" in ax.get_ylabel()


def test_defect_losses_are_drawn_if_a_fit_failed_at_its_start():
    failed = FitRecord((), 1, 0, OptimizationStatus.FAILURE, "NotPSDError", 0.1, 5)
    ax = plot_losses([record(3.0, 1.0), failed, record(5.0, 4.0)])
    assert len(lines_of_color(ax, COLORS[0])) == 2
    (mean,) = lines_of_color(ax, "black")
    assert mean[:, 1].tolist() == [-4.0, -2.5]


def test_a_cross_validation_has_the_records_of_its_folds():
    found = cross_validate(
        normalized_gp, *noisy_waves(6), fit_options=optimizer(maxiter=4)
    )
    courses = lines_of_color(plot_losses(found.records), COLORS[0])
    assert [len(course) for course in courses] == [5] * 6


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
    with pytest.raises(ValueError, match="records: expected at least one fit"):
        plot([])


def test_records_without_a_loss_are_refused():
    failed = FitRecord((), 1, 0, OptimizationStatus.FAILURE, "NotPSDError", 0.1, 5)
    with pytest.raises(ValueError, match="one fit with a loss, got 2 without"):
        plot_losses([failed, failed])


def test_a_live_plot_has_the_losses_of_the_records():
    mlls = fold_mlls(normalized_gp, *noisy_waves(6))[:3]
    live = LiveLosses(interval=0.25)  # drawing after every iteration takes seconds
    fit_each(mlls, FitOptions(callback=live))
    assert live.draw() is live.ax
    (ax,) = live.ax.figure.axes
    drawn = sorted(-line.get_ydata()[-1] for line in ax.lines[:-1])
    expected = [mll.fit_records[0].losses for mll in mlls]
    assert_close(np.array(drawn), np.array(sorted(each[-1] for each in expected)))
    assert live.losses[2, "own"] == list(expected[2][1:])
    assert f"mean {np.mean([-each[-1] for each in expected]):.4f}" in ax.get_title(
        loc="left"
    )
