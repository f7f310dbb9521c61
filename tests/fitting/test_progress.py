"""The bar of the models that are done."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import fold_mlls, noisy_waves, normalized_gp

from botorch_xval import FitOptions, fit_each
from botorch_xval.fitting.progress import FitProgress
from botorch_xval.fitting.search import Search


def folds(n: int):
    return fold_mlls(normalized_gp, *noisy_waves(n))


@pytest.mark.parametrize("coordinates", ["log", "raw"])
def test_a_bar_counts_the_models_that_are_done(coordinates, capsys):
    mlls = folds(7)
    fit_each(mlls, FitOptions(progress=True, coordinates=coordinates))
    text = capsys.readouterr().err
    assert "7/7" in text and "fit/s" in text
    worst = max(mll.fit_records[0].gradient_norm for mll in mlls)
    assert f"worst gradient norm {worst:.1e}" in text.split("\r")[-1]


def test_a_model_that_is_tried_again_counts_once(capsys):
    mlls = folds(5)
    options = FitOptions(progress=True, max_attempts=3, pick_best_of_all_attempts=True)
    fit_each(mlls, options)
    assert all(mll.fit_records[0].attempts == 3 for mll in mlls)
    text = capsys.readouterr().err
    assert "5/5" in text and "6/5" not in text


def test_without_a_bar_nothing_is_written(capsys):
    with FitProgress(5, shown=False) as bar:
        assert bar.on_end([], None) is None
    fit_each(folds(5))
    assert capsys.readouterr().err == ""


def test_a_model_without_a_gradient_counts_too(capsys):
    search = Search(np.zeros(2))
    search.fail(ArithmeticError("no value"))
    with FitProgress(1, shown=True) as bar:
        bar.on_end([None], None)(0, search)
    text = capsys.readouterr().err
    assert "1/1" in text and "worst gradient norm 0.0e+00" in text
