"""What all plots have in common: axes in, axes out, and clear errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import assert_close, noisy_waves, normalized_gp, optimizer
from reporting_helpers import record

from botorch_xval import (
    Comparison,
    compare,
    cross_validate,
    difference,
    hyperparameters,
    search,
)
from botorch_xval.comparison import LearningCurve
from botorch_xval.reporting import plots
from botorch_xval.reporting.plots.style import axes_of, figure_of, looks, name_points

RECORDS = [record(3.0, 1.0), record(5.0, 4.0, 4.5)]
OF_RECORDS = [plots.plot_losses, plots.plot_active_models, plots.plot_evaluations]
OF_COMPARISON = [plots.plot_ranking, plots.plot_scores, plots.plot_differences]
OF_RESULT = [
    plots.plot_predictions,
    plots.plot_residuals,
    plots.plot_trace,
    plots.plot_normal_quantiles,
    plots.plot_pit,
    plots.plot_calibration,
    plots.plot_influence,
]
OF_TABLE = [plots.plot_pointwise, plots.plot_hyperparameters]
SEVERAL = [plots.plot_comparison, plots.plot_diagnostics]
OF_SEARCH = [plots.plot_search]
ONE = [
    *OF_SEARCH,
    *OF_RECORDS,
    *OF_COMPARISON,
    *OF_RESULT,
    *OF_TABLE,
    plots.plot_learning_curve,
    plots.plot_pareto_k,
]


@pytest.fixture(scope="module")
def subjects(warm, fixed) -> dict[Callable[..., Any], Any]:
    """By plot what it draws."""
    comparison: Comparison = compare(
        {"default": normalized_gp},
        *noisy_waves(6),
        sizes=[6],
        fit_options=optimizer(maxiter=2),
    )
    searched = search(
        *noisy_waves(6), candidates=1, fit="fixed", fit_options=optimizer(maxiter=2)
    )
    drawn = cross_validate(normalized_gp, *noisy_waves(6), fit="posterior", draws=100)
    return {
        plots.plot_pareto_k: drawn,
        **dict.fromkeys(OF_SEARCH, searched),
        **dict.fromkeys(OF_RECORDS, RECORDS),
        **dict.fromkeys([*OF_COMPARISON, plots.plot_comparison], comparison),
        **dict.fromkeys([*OF_RESULT, plots.plot_diagnostics], warm),
        plots.plot_pointwise: difference(warm, fixed),
        plots.plot_hyperparameters: hyperparameters(warm.models),
        plots.plot_learning_curve: LearningCurve(
            pd.DataFrame(
                {
                    "configuration": "default",
                    "size": [4, 6, 8],
                    "score": [-2.0, -1.5, -1.4],
                    "standard_error": 0.1,
                }
            ),
            {"default": 0.01 * np.eye(3)},
            {"default": np.array([[-1.4, 0.6, 1.0], [-1.3, 0.5, 1.0]])},
        ),
    }


def test_every_public_plot_is_tested_here():
    assert {plot.__name__ for plot in (*ONE, *SEVERAL)} == {
        name for name in plots.__all__ if name.startswith("plot_")
    }


@pytest.mark.parametrize("plot", ONE)
def test_draws_on_the_axes_it_is_given(plot, subjects):
    figure, (first, second) = plt.subplots(1, 2)
    assert plot(subjects[plot], ax=first) is first
    assert plt.get_fignums() == [figure.number]  # no further figure
    assert first.has_data() and not second.has_data()


@pytest.mark.parametrize("plot", ONE)
def test_makes_axes_if_it_is_given_none(plot, subjects):
    figure, _ = plt.subplots()
    ax = plot(subjects[plot])
    assert ax.figure is not figure
    ax.figure.canvas.draw()  # no warning on the way to a file


@pytest.mark.parametrize(("plot", "count"), list(zip(SEVERAL, (2, 6), strict=True)))
def test_several_axes_are_those_that_are_given(plot, count, subjects):
    figure, axes = plt.subplots(count, 1)
    drawn = plot(subjects[plot], axes=list(axes))
    assert list(drawn) == list(axes)
    assert all(ax.has_data() for ax in axes)
    assert plt.get_fignums() == [figure.number]
    with pytest.raises(ValueError, match=f"axes: expected {count} axes, got 1; "):
        plot(subjects[plot], axes=axes[:1])


@pytest.mark.parametrize("plot", [*ONE, *SEVERAL])
@pytest.mark.parametrize("wrong", [None, "result", 3.0])
def test_another_thing_than_a_result_is_refused(plot, wrong):
    names = "records|comparison|result|differences|table|curve|search"
    pattern = rf"({names}): expected .*, got .*; "
    with pytest.raises(ValueError, match=pattern):
        plot(wrong)
    assert not plt.get_fignums()


@pytest.mark.parametrize("plot", [*OF_RECORDS, *OF_TABLE])
def test_a_cross_validation_instead_of_its_parts_is_refused(plot, warm):
    with pytest.raises(ValueError, match="got CrossValidation; pass "):
        plot(warm)


def test_tables_with_other_columns_are_refused(warm, fixed):
    with pytest.raises(ValueError, match=r"table: .* without the columns \['output'"):
        plots.plot_hyperparameters(difference(warm, fixed))
    with pytest.raises(ValueError, match="differences: .* columns row and difference"):
        plots.plot_pointwise(hyperparameters(warm.models))


@pytest.mark.parametrize("plot", ONE)
def test_axes_that_are_none_are_refused(plot, subjects):
    with pytest.raises(ValueError, match="ax: expected one Axes of matplotlib, got"):
        plot(subjects[plot], ax="here")


def test_new_axes_and_their_figure():
    ax = axes_of(None, figsize=(3, 2))
    assert figure_of(ax) is ax.figure
    assert_close(ax.figure.get_size_inches(), [3, 2])
    whole = plt.figure()
    part = whole.subfigures(1, 2)[0].subplots()
    assert figure_of(part) is whole


def test_names_beside_points_do_not_overlap_and_stay_inside():
    ax = axes_of(None)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    x, y = np.array([0.1, 0.12, 0.9]), np.array([0.5, 0.51, 0.5])
    name_points(ax, x, y, ["a", "b", "c"])
    at = {text.get_text(): text for text in ax.texts}
    heights = {name: text.xyann[1] for name, text in at.items()}
    assert heights["b"] - heights["a"] > 0.05
    assert heights["c"] == 0.5  # on the other side there is room
    assert at["a"].get_ha() == "left" and at["c"].get_ha() == "right"


def test_every_name_has_a_look_of_its_own():
    names = [f"model {i}" for i in range(49)]
    found = looks(names)
    assert list(found) == names and len(set(found.values())) == 49
    assert looks(names[:5]) == {name: found[name] for name in names[:5]}
