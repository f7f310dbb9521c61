"""What ArviZ is given: both of its classes, its `compare`, and its plots."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from helpers import (
    arviz_compare,
    arviz_module,
    assert_close,
    noisy_waves,
    normalized_gp,
)
from scipy import stats

from botorch_xval import FitOptions, cross_validate, k_fold
from botorch_xval.cross_validation import elpd_data
from botorch_xval.cross_validation.elpd_data import make_elpd_data
from botorch_xval.cross_validation.result import CrossValidation

QUICK = {"fit_options": FitOptions(options={"maxiter": 3}, starts="own")}


@pytest.fixture(params=elpd_data.MODULES)
def arviz(request, monkeypatch):
    """Either of them as the one that is installed."""
    monkeypatch.setattr(elpd_data, "MODULES", (request.param,))
    if request.param == "arviz":
        return arviz_module()
    pytest.importorskip("arviz_base")
    return pytest.importorskip(request.param)


def scores(seed: int, n: int = 40) -> pd.Series:
    values = np.random.default_rng(seed).normal(size=n)
    return pd.Series(values, index=3 * np.arange(n))


def elpd_of(found):
    return found["elpd"] if hasattr(found, "kind") else found["elpd_loo"]


def pointwise_of(found):
    return found["elpd_i"] if hasattr(found, "kind") else found["loo_i"]


def test_arviz_takes_it_and_finds_the_same_numbers(arviz):
    one, two = scores(0), scores(1)
    made = {
        "one": make_elpd_data(one, num_folds=40, num_points=40),
        "two": make_elpd_data(two, num_folds=40, num_points=40),
    }
    assert all(isinstance(each, arviz.ELPDData) for each in made.values())
    assert_close(elpd_of(made["one"]), one.sum())
    assert_close(made["one"]["se"], 40 * stats.sem(one))
    assert pointwise_of(made["one"]).row.values.tolist() == one.index.tolist()
    assert "40 observations" in str(made["one"])
    table = arviz_compare(arviz, made)
    first, second = (one, two) if one.sum() > two.sum() else (two, one)
    # In ArviZ 1.3 it is negative: of the worse one minus the best.
    assert_close(table.elpd_diff.abs(), [0, first.sum() - second.sum()])
    assert_close(table.dse.iloc[1], np.sqrt(40) * (first - second).std(ddof=0))
    # A warning of each model: in ArviZ 1.3 a text.
    assert not any(table["warning" if "warning" in table else "diag_elpd"].tolist())


def test_plots_of_arviz_take_it():
    arviz = arviz_module()
    made = {n: make_elpd_data(scores(n), num_folds=40, num_points=40) for n in (0, 1)}
    table = arviz.compare({f"m{n}": each for n, each in made.items()})
    if not issubclass(arviz.ELPDData, pd.Series):
        pytest.skip("plots of ArviZ 1 have other artists")
    ax = arviz.plot_compare(table)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(table.index)
    ax = arviz.plot_elpd({f"m{n}": each for n, each in made.items()})
    (points,) = ax.collections or ax.lines
    drawn = np.asarray(points.get_offsets() if ax.collections else points.get_xydata())
    assert_close(drawn[:, 1], (scores(0) - scores(1)).to_numpy())
    plt.close("all")


def test_folds_of_several_rows_are_said_to_be_so(arviz):
    found = make_elpd_data(scores(0), num_folds=5, num_points=40)
    if hasattr(found, "kind"):
        assert (found.kind, found.n_folds) == ("loo_kfold", 5)
        assert "Computed from 5-fold cross validation" in str(found)


def test_a_result_is_given_by_rows_summed_over_outputs(arviz):
    x, y = noisy_waves(9, 2)
    folds = k_fold(3, repeats=2)
    labels = [0, 0, 1, 1, 2, 2, 3, 3, 4]
    result = cross_validate(normalized_gp, x, y, folds=folds, groups=labels, **QUICK)
    found = result.to_arviz()
    by_row = result.log_density.sum(dim=-1).reshape(2, 9).mean(dim=0)
    assert result.rows.tolist() == [*range(9)] * 2
    assert_close(pointwise_of(found).values, by_row)
    assert_close(elpd_of(found), result.elpd)
    sums = [by_row[2 * g : 2 * g + 2].sum() for g in range(5)]
    sizes = torch.tensor([2, 2, 2, 2, 1])
    deviations = torch.stack(sums) - sizes * by_row.mean()
    assert_close(found["se"], (5 / 4 * (deviations**2).sum()).sqrt())
    assert found["n_data_points"] == 9


def test_what_arviz_would_misread_is_refused():
    arviz_module()
    x, y = noisy_waves(8)
    found = cross_validate(normalized_gp, x, y, fit="sampled", seed=1, **QUICK)
    with pytest.raises(UnsupportedError, match="got an estimate of their sum"):
        found.to_arviz()
    result = cross_validate(normalized_gp, x, y, **QUICK)
    values = vars(result) | {"mean": result.mean.index_fill(0, torch.tensor(2), np.nan)}
    with pytest.raises(ValueError, match="got none of 1 rows, such as 2, whose folds"):
        CrossValidation(**values).to_arviz()


def test_without_arviz_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(elpd_data, "MODULES", ("no_such_arviz",))
    with pytest.raises(ModuleNotFoundError, match=r"botorch-xval\[arviz\]"):
        make_elpd_data(scores(0), num_folds=40, num_points=40)
