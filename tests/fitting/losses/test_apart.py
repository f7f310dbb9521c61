"""Values of several models, one of which is in trouble."""

from __future__ import annotations

import numpy as np
import pytest

from botorch_xval.fitting.losses.apart import evaluate_apart

POINTS = np.arange(8.0).reshape(4, 2)


def squares(points, models):
    return (points**2).sum(axis=1), 2 * points


@pytest.mark.parametrize("trouble", ["raises", "raises once", "own NaN", "NaN for all"])
def test_one_model_in_trouble_costs_no_other_its_value(trouble):
    calls = []

    def evaluate(points, models):
        calls.append(models)
        losses, gradients = squares(points, models)
        if 7 in models:
            if trouble == "raises" or (trouble == "raises once" and len(calls) == 1):
                raise ArithmeticError("seven")
            if "NaN" in trouble:
                losses[[m == 7 or "all" in trouble for m in models]] = np.nan
        return losses, gradients

    found = evaluate_apart(evaluate, POINTS, [3, 7, 5, 9])
    expected = squares(POINTS, None)
    rest = [0, 2, 3]
    np.testing.assert_array_equal(found.losses[rest], expected[0][rest])
    np.testing.assert_array_equal(found.gradients[rest], expected[1][rest])
    assert calls[0] == [3, 7, 5, 9] and all(len(each) == 1 for each in calls[1:])
    assert np.isnan(found.losses[1]) == (trouble != "raises once")
    assert list(found.errors) == ([1] if trouble == "raises" else [])
    assert (found.together is None) == ("NaN" in trouble)


def test_sound_models_are_evaluated_once():
    calls = []

    def evaluate(points, models):
        calls.append(models)
        return squares(points, models)

    found = evaluate_apart(evaluate, POINTS, [0, 1, 2, 3])
    assert len(calls) == 1 and not found.errors and found.together is None


def test_an_interrupt_is_no_trouble_of_a_model():
    def evaluate(points, models):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_apart(evaluate, POINTS, [0, 1, 2, 3])
