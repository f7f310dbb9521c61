"""Options reach every fit of a cross-validation, whichever way its folds are fitted."""

from __future__ import annotations

import math
from functools import partial
from time import sleep

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from botorch.optim.core import OptimizationStatus
from gpytorch.kernels import RBFKernel
from helpers import (
    TIGHT,
    accept_abnormal,
    noisy_waves,
    normalized_gp,
    tuning_trials,
)

from botorch_xval import FitOptions, ScalarChoiceGP, cross_validate, k_fold
from botorch_xval.cross_validation import warm
from botorch_xval.cross_validation.arguments import FITS as ALL_FITS
from botorch_xval.fitting import drive, search
from botorch_xval.fitting.coordinates import LogCoordinates, WhitenedCoordinates

NOISE = "likelihood.noise_covar.raw_noise"
MEAN = "model.mean_module.raw_constant"
FOLDED = ("refit", "warm", "adaptive")  # ways that search for each fold
# Draws are no searches.
FITS = [fit for fit in ALL_FITS if fit != "posterior"]
FULL = ("warm", "fixed", "adaptive", "sampled")  # ways with a fit to all rows
TABLE = tuning_trials(9)
MODELS = {
    "ordinary": (normalized_gp, *noisy_waves(9, seed=1)),
    "batch": (
        partial(ScalarChoiceGP, choice_dims=TABLE.choice_dims),
        TABLE.X,
        TABLE.Y,
    ),
}


def run(fit, options, data="ordinary", **kwargs):
    """With every fold of "adaptive" refitted."""
    return cross_validate(
        *MODELS[data], fit=fit, fit_options=options, threshold=0.0, **kwargs
    )


def noises(result):
    models = [*(result.models or []), result.full_model]
    return [m.likelihood.raw_noise.item() for m in models if m is not None]


@pytest.mark.parametrize("data", MODELS)
@pytest.mark.parametrize("fit", FITS)
def test_bounds(fit, data):
    free = noises(run(fit, None, data, keep_models=True))
    low = 2 * max(free)
    options = FitOptions(bounds={NOISE: (low, None)})
    result = run(fit, options, data, keep_models=True)
    assert len(noises(result)) == len(free)
    assert min(noises(result)) >= low * (1 - 1e-9)
    assert all(NOISE in record.at_bounds for record in result.records)


@pytest.mark.parametrize("fit", FITS)
def test_no_time(fit):
    result = run(fit, FitOptions(timeout_sec=0.0))
    assert {record.status for record in result.records} == {OptimizationStatus.STOPPED}
    assert max(record.iterations for record in result.records) <= 1
    # Nothing is searched after the time is over; the Hessian is no search.
    most = {"refit": 9, "fixed": 1}.get(fit, 1 + 9 * 4)
    p = 4
    assert result.evaluations <= most + (2 * p if fit != "refit" else 0)


@pytest.mark.parametrize("data", MODELS)
@pytest.mark.parametrize("fit", FITS)
def test_few_iterations_in_every_stage(fit, data, monkeypatch):
    monkeypatch.setattr(warm, "INFLUENTIAL", 0.0)  # every fold has a second start
    calls = []
    options = FitOptions(
        options={"maxiter": 2}, callback=lambda _, result: calls.append(result)
    )
    result = run(fit, options, data)
    assert max(record.iterations for record in result.records) <= 2
    assert max(call.step for call in calls) <= 2
    assert result.failed == {}


@pytest.mark.parametrize("data", MODELS)
@pytest.mark.parametrize("fit", FITS)
def test_a_callback_is_told_which_fold_and_output(fit, data):
    told = []

    def callback(parameters, result):
        assert all(torch.isfinite(value).all() for value in parameters.values())
        told.append((result.fold, result.output))

    result = run(fit, FitOptions(callback=callback), data, folds=k_fold(3))
    expected = set()
    if fit in FULL:
        expected.add(("all rows", 0))
    if fit in FOLDED:
        expected |= {(name, 0) for name in result.folds.names}
    if fit == "sampled":
        names = result.folds.names
        expected |= {(names[f.fold], 0) for f in result.fits if f.how == "warm"}
    assert set(told) == expected


def test_a_callback_is_told_outputs():
    told = set()
    X, Y = noisy_waves(9, m=2)
    options = FitOptions(
        callback=lambda _, result: told.add((result.fold, result.output))
    )
    cross_validate(normalized_gp, X, Y, folds=k_fold(3), fit_options=options)
    assert told == {(f"fold {i}", k) for i in range(3) for k in range(2)}


def test_a_callback_ends_the_second_start_of_influential_folds(monkeypatch):
    monkeypatch.setattr(warm, "INFLUENTIAL", 0.0)
    told = []
    options = FitOptions(callback=lambda _, result: told.append(result.fold))
    result = run("warm", options)
    once = sum(record.evaluations for record in result.records)
    assert set(told) == {*result.folds.names, "all rows"}
    assert not any(math.isnan(fit.cold_loss) for fit in result.fits)

    def stop(_, result):
        if result.fold != "all rows":
            raise StopIteration

    stopped = run("warm", FitOptions(callback=stop))
    assert sum(record.evaluations for record in stopped.records) < 0.5 * once
    assert {r.status for r in stopped.records} == {OptimizationStatus.STOPPED}


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    "given",
    [
        {"strategy": "loop"},
        {"strategy": "batch"},
        {"coordinates": "raw"},
    ],
    ids=["loop", "batch", "raw"],
)
def test_the_way_there_changes_no_result(fit, given):
    X, Y = noisy_waves(20)  # enough rows for a single optimum
    tight = {"options": TIGHT, "warning_handler": accept_abnormal}
    expected, found = (
        cross_validate(
            normalized_gp,
            X,
            Y,
            folds=k_fold(4),
            fit=fit,
            fit_options=FitOptions(**options),
            threshold=0.0,
        )
        for options in (tight, {**tight, **given})
    )
    losses = [[record.loss for record in each.records] for each in (found, expected)]
    np.testing.assert_allclose(*losses, rtol=0, atol=2e-6)
    assert found.evaluations != expected.evaluations or "strategy" in given


@pytest.mark.parametrize("fit", FITS)
def test_another_method(fit, monkeypatch):
    monkeypatch.setattr(warm, "INFLUENTIAL", 0.0)
    asked, minimize = [], search.minimize

    def spy(*arguments, method, **others):
        asked.append(method)
        return minimize(*arguments, method=method, **others)

    monkeypatch.setattr(search, "minimize", spy)
    run(fit, FitOptions(method="TNC", options={"maxfun": 50}))
    each = {"refit": 9, "warm": 18, "adaptive": 18}.get(fit, 0)
    assert set(asked) == {"TNC"} and len(asked) >= each + (fit in FULL)


@pytest.mark.parametrize("data", MODELS)
@pytest.mark.parametrize("fit", FITS)
def test_chosen_parameters(fit, data):
    result = run(fit, FitOptions(parameters=[NOISE]), data, keep_models=True)
    models = [*(result.models or []), result.full_model]
    build, X, Y = MODELS[data]
    start = build(X, Y).state_dict()
    for model in models:
        if model is None:
            continue
        changed = {
            name
            for name, value in model.named_parameters()
            if not torch.equal(value, start[name])
        }
        assert changed == {NOISE}


@pytest.mark.parametrize("fit", FITS)
def test_progress(fit, capsys):
    run(fit, FitOptions(progress=True))
    text = capsys.readouterr().err
    if fit != "sampled":
        assert ("1/1" in text) == (fit in FULL)
        assert ("9/9" in text) == (fit in FOLDED)
    run(fit, None, progress=True)
    assert "fit/s" in capsys.readouterr().err


class Broken(RBFKernel):
    """It fails in training as long as there are just eight rows."""

    def forward(self, x1, x2, **params):
        if self.training and x1.shape[-2] == 8:
            raise ArithmeticError("eight rows")
        return super().forward(x1, x2, **params)


def broken(train_X, train_Y):
    transform = Normalize(train_X.shape[-1])
    return SingleTaskGP(
        train_X, train_Y, covar_module=Broken(), input_transform=transform
    )


@pytest.mark.filterwarnings("ignore:.*folds could not be fitted")
@pytest.mark.parametrize("fit", FOLDED)
def test_attempts_and_exceptions_in_folds_that_fail(fit):
    X, Y = noisy_waves(9, seed=1)
    attempts = {}
    for kinds in ((), (ArithmeticError,)):
        options = FitOptions(max_attempts=3, caught_exception_types=kinds)
        result = cross_validate(
            broken, X, Y, fit=fit, fit_options=options, threshold=0.0
        )
        assert len(result.failed) == 9
        assert {fit.how for fit in result.fits} == {"refit"}
        attempts[kinds] = {record.attempts for record in result.records}
    assert attempts == {(): {1}, (ArithmeticError,): {3}}


@pytest.mark.parametrize("fit", FULL)
def test_all_attempts_of_the_fit_to_all_rows(fit):
    options = FitOptions(max_attempts=2, pick_best_of_all_attempts=True)
    once = run(fit, FitOptions(max_attempts=1)).full_evaluations
    assert run(fit, options).full_evaluations > once


@pytest.mark.parametrize("fit", FOLDED)
def test_the_warning_handler_decides_what_fails(fit):
    table = tuning_trials(14)
    model = partial(ScalarChoiceGP, choice_dims=table.choice_dims)
    rough = {"maxls": 2, "ftol": 1e-15, "gtol": 1e-12}
    asked = []

    def accept(warning):
        asked.append(str(warning.message))
        return True

    options = FitOptions(options=rough, warning_handler=accept)
    result = cross_validate(
        model, table.X, table.Y, fit=fit, fit_options=options, threshold=0.0
    )
    assert asked and result.failed == {}
    assert {r.attempts for r in result.records} == {1}


@pytest.mark.parametrize("data", MODELS)
@pytest.mark.parametrize("fit", FITS)
def test_bounds_of_each_output(fit, data):
    model, X, Y = MODELS[data]
    Y = torch.cat([Y, Y.flip(0) ** 2], dim=-1)
    low = torch.tensor([[0.5], [2.0]], dtype=Y.dtype)  # more than both want
    options = FitOptions(bounds={NOISE: (low, None)})
    kwargs = {"fit": fit, "fit_options": options, "folds": k_fold(4)}
    result = cross_validate(model, X, Y, **kwargs, keep_models=True, threshold=0.0)
    models = [*(result.models or []), result.full_model]
    assert len([m for m in models if m is not None]) == {"refit": 4, "fixed": 1}.get(
        fit, 5
    )
    for each in models:
        if each is not None:
            noise = each.likelihood.raw_noise.detach()
            assert (noise >= low * (1 - 1e-9)).all()
            np.testing.assert_allclose(noise, low, rtol=1e-6)


@pytest.fixture
def rescued(monkeypatch):
    """The number of a fold that no warm start can be found for."""
    steps = warm._take_steps

    def without(work, full, there):
        there.gradients[3] = np.nan
        return steps(work, full, there)

    monkeypatch.setattr(warm, "_take_steps", without)
    return 3


@pytest.mark.parametrize("data", MODELS)
@pytest.mark.parametrize("fit", ["warm", "adaptive"])
def test_options_reach_second_starts_and_rescues(fit, data, rescued, monkeypatch):
    """Bounds, parameters and iterations, as the callback sees them in every stage."""
    monkeypatch.setattr(warm, "INFLUENTIAL", 0.0)
    told = []
    options = FitOptions(
        bounds={NOISE: (0.7, None)},
        parameters=[NOISE, MEAN],
        options={"maxiter": 3},
        callback=lambda parameters, result: told.append((parameters, result)),
    )
    result = run(fit, options, data, keep_models=True)
    assert [i for i, each in enumerate(result.fits) if each.how == "refit"] == [rescued]
    assert all(set(parameters) == {NOISE, MEAN} for parameters, _ in told)
    assert min(parameters[NOISE].item() for parameters, _ in told) >= 0.7 * (1 - 1e-9)
    assert min(noises(result)) >= 0.7 * (1 - 1e-9)
    assert max(each.step for _, each in told) <= 3
    names = {each.fold for _, each in told}
    alone = f"row {rescued}"
    expected = {"all rows", *result.folds.names}
    searched = [not math.isnan(each.cold_loss) for each in result.fits]
    assert searched == [i != rescued for i in range(9)]
    assert names <= expected and {"all rows", alone} <= names


@pytest.mark.parametrize("fit", ["warm", "adaptive"])
@pytest.mark.parametrize("coordinates", ["log", "raw"])
def test_coordinates_of_every_stage(fit, coordinates, rescued, monkeypatch):
    monkeypatch.setattr(warm, "INFLUENTIAL", 0.0)
    seen = []

    class Seen(search.Search):
        def __init__(self, *arguments):
            seen.append((type(arguments[5]), arguments[3].get("maxcor")))
            super().__init__(*arguments)

    monkeypatch.setattr(drive, "Search", Seen)
    options = FitOptions(coordinates=coordinates, options={"maxiter": 2})
    run(fit, options)
    cold = (LogCoordinates, 30) if coordinates == "log" else (type(None), None)
    # All rows, eight second starts, and the rescue.
    whitened = (WhitenedCoordinates, cold[1])
    assert seen.count(whitened) == 8
    assert {each for each in seen if each != whitened} == {cold}
    assert len(seen) >= 18


@pytest.mark.parametrize("fit", ["warm", "adaptive"])
def test_a_rescue_has_the_time_that_is_left(fit, rescued):
    slept = []

    def callback(_, result):
        if result.fold != "all rows" and not slept:
            slept.append(sleep(0.4))

    options = FitOptions(timeout_sec=0.3, callback=callback)
    result = run(fit, options)
    record = result.records[rescued]
    assert slept and result.fits[rescued].how == "refit"
    assert record.status is OptimizationStatus.STOPPED and record.iterations <= 1


@pytest.mark.parametrize("fit", ["refit", "warm"])
def test_attempts_of_folds(fit, rescued):
    options = FitOptions(
        max_attempts=2, pick_best_of_all_attempts=True, options={"maxiter": 5}
    )
    attempts = [record.attempts for record in run(fit, options).records]
    # A fold from the fit to all rows has other starts only where that one fails.
    expected = [2 if fit == "refit" or i == rescued else 1 for i in range(9)]
    assert attempts == expected


def test_a_callback_is_told_the_output_that_is_rescued(monkeypatch):
    steps, told = warm._take_steps, set()

    def without(work, full, there):
        there.gradients[2, 1] = np.nan
        return steps(work, full, there)

    monkeypatch.setattr(warm, "_take_steps", without)
    X, Y = noisy_waves(8, m=2)
    options = FitOptions(
        callback=lambda _, result: told.add((result.fold, result.output))
    )
    kwargs = {"fit": "adaptive", "threshold": math.inf, "fit_options": options}
    result = cross_validate(normalized_gp, X, Y, **kwargs)
    assert told == {("all rows", 0), ("all rows", 1), ("row 2", 1)}
    hows = result.fit_table().set_index(["fold", "output"]).how
    assert hows["row 2", 1] == "refit" and (hows == "predicted").sum() == 15
