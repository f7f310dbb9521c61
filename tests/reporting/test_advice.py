"""What the report says about more trials, suspicious trials and recalibration."""

from __future__ import annotations

from html import unescape

import numpy as np
import pytest
from helpers import noisy_waves, normalized_gp

from botorch_xval import ScalarChoiceGP, compare, cross_validate, hyperparameters
from botorch_xval.comparison import check_learning_curve
from botorch_xval.cross_validation import find_outliers, recalibrate
from botorch_xval.reporting import advice

NAMES = [f"trial <{i}>" for i in range(20)]


@pytest.fixture(scope="module")
def found():
    X, Y = noisy_waves(20)
    Y[7] += 60.0
    models = {"default": normalized_gp, "ours & co": ScalarChoiceGP}
    fit = {"fit": "warm", "keep_models": True}
    results = {n: cross_validate(m, X, Y, **fit) for n, m in models.items()}
    without = {
        n: find_outliers(results[n], m, X, Y, names=NAMES, most=1, **fit)
        for n, m in models.items()
    }
    comparison = compare(models, X, Y, sizes=[5, 7, 9, 11], fit="warm")
    return comparison, results, without


def test_more_rows_of_the_best_configuration(found):
    comparison, _, _ = found
    curve = advice.curve_of(comparison)
    assert advice.first_of(curve, ["ours & co", "default"]) == "ours & co"
    assert advice.first_of(curve, ["left a race"]) == "default"
    text = advice.more_rows(comparison, curve, "default")
    (gain,) = curve.gain(20).query("configuration == 'default'").itertuples()
    assert f"about {gain.gain:.3f} nats a row" in text
    (check,) = (
        check_learning_curve(comparison)
        .query("configuration == 'default'")
        .itertuples()
    )
    assert f"predicts {check.score:.3f} at 11" in text
    inside = check.low <= check.found <= check.high
    assert ("inside the band" in text) == inside


def test_two_sizes_are_no_curve(found):
    comparison, _, _ = found
    points, fits = (
        frame[frame["size"] > 7] for frame in (comparison.points, comparison.fits)
    )
    assert advice.curve_of(type(comparison)(points, fits)) is None


def test_suspicious_trials_are_named_with_what_changes(found):
    _, results, without = found
    text = advice.suspicious(without, results)
    assert text.count(">trial &lt;7&gt;</th>") == 2
    assert ">ours &amp; co</td>" in text
    for name in results:
        change = without[name].difference
        assert f"changes by {change:+.3f} nats per row" in text
        assert f"{without[name].left_out.robust_z[0]:.3g}" in text
    clean = {
        name: type(each)(each.left_out[:0], each.points, each.result)
        for name, each in without.items()
    }
    assert "No trial stands out" in advice.suspicious(clean, results)


def test_hyper_parameters_that_change_are_named(found):
    _, results, without = found
    first, second = (
        hyperparameters(model)
        for model in (
            results["default"].full_model,
            without["default"].result.full_model,
        )
    )
    text = advice.changed_values(first, second)
    change = np.log(second.value / first.value).abs().where(first.positive)
    row = change.idxmax()
    assert change[row] > 0.25
    words = f"from {first.value[row]:.3g} to {second.value[row]:.3g}"
    part = first.part[row].replace("covar_module", "covariance")
    assert f"{first.parameter[row]} ({part}) {words}" in text
    assert advice.changed_values(first, first) == ""
    assert text in unescape(advice.suspicious(without, results))


def test_recalibration_is_offered_where_there_are_refits(found):
    _, results, _ = found
    text = advice.recalibrations(results, ["y"])
    for result in results.values():
        assert f"Variance times {recalibrate(result).factor.item():.2f}" in text
    fixed = cross_validate(normalized_gp, *noisy_waves(8), fit="fixed")
    assert advice.recalibrations({"fixed": fixed}, ["y"]) == ""


def test_recalibrations_of_several_targets_name_them():
    result = cross_validate(normalized_gp, *noisy_waves(8, 2), fit="warm")
    text = advice.recalibrations({"default": result}, ["yield", "purity"])
    assert "default: yield: variance times" in text and "Output" not in text
    assert "default: purity: variance times" in text
