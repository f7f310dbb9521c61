"""Plots of hyper-parameters over folds by what their artists hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import assert_close, noisy_waves, normalized_gp, tuning_trials
from reporting_helpers import dots

from botorch_xval import ScalarChoiceGP, cross_validate, hyperparameters
from botorch_xval.reporting.plots import (
    plot_diagnostics,
    plot_hyperparameters,
    plot_influence,
    plot_pareto_k,
)


def test_influences_are_those_of_the_fits(warm):
    ax = plot_influence(warm, threshold=0.5)
    by_fold = warm.fit_table().groupby("fold", sort=False).influence.max()
    assert_close(np.sort(dots(ax)[:, 1]), np.sort(by_fold.to_numpy()))
    largest = by_fold.nlargest(5).index
    assert {text.get_text() for text in ax.texts} == set(largest)
    assert any((np.array(line.get_ydata()) == 0.5).all() for line in ax.lines)


def test_a_result_without_influences_says_so(fixed):
    with pytest.raises(ValueError, match="with none of them"):
        plot_influence(fixed)


def test_shapes_are_those_of_the_weights(fixed):
    X, Y = noisy_waves(9)
    Y[4] += 60
    result = cross_validate(normalized_gp, X, Y, fit="posterior", draws=200)
    ax = plot_pareto_k(result, named=2)
    table = result.fit_table()
    assert_close(np.sort(dots(ax)[:, 1]), np.sort(table.pareto_k.to_numpy()))
    largest = table.fold[table.pareto_k.nlargest(2).index]
    assert {text.get_text() for text in ax.texts} == set(largest)
    redrawn = (table.how == "redrawn").sum()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert redrawn > 0 and f"drawn again ({redrawn})" in labels
    assert any((np.array(line.get_ydata()) > 0.5).all() for line in ax.lines)
    # Some are drawn again whatever their shapes.
    low = replace(result, fits=[replace(fit, pareto_k=0.1) for fit in result.fits])
    labels = [text.get_text() for text in plot_pareto_k(low).get_legend().get_texts()]
    assert f"drawn again ({redrawn})" in labels
    drawn = plot_diagnostics(result)
    assert "Pareto" in drawn[1, 2].get_ylabel()
    with pytest.raises(ValueError, match="has none; cross-validate with fit"):
        plot_pareto_k(fixed)


def test_hyperparameters_over_folds_with_prior_and_full_fit():
    table = tuning_trials(12)

    def model(X, Y):
        return ScalarChoiceGP(X, Y, choice_dims=table.choice_dims)

    result = cross_validate(model, table.X, table.Y, fit="warm", keep_models=True)
    folds = hyperparameters(result.models, table.feature_names)
    full = hyperparameters(result.full_model, table.feature_names)
    ax = plot_hyperparameters(folds, full=full)
    assert ax.get_xscale() == "log"
    positive = folds[folds.positive]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    groups = positive.groupby(["part", "parameter"], sort=False)
    assert labels == [parameter for (_, parameter), _ in groups]
    assert_close(np.sort(dots(ax)[:, 0]), np.sort(positive.value.to_numpy()))
    diamonds = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "D"]
    assert_close(np.sort(diamonds), np.sort(full[full.positive].value.to_numpy()))
    bars = [line.get_xdata() for line in ax.lines if line.get_linewidth() == 6]
    assert len(bars) == positive.groupby(["part", "parameter"]).ngroups
