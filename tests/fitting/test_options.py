"""The options of a fit: what is refused, and what reaches SciPy and the callbacks."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace
from time import monotonic

import pytest
import torch
from helpers import accept_abnormal

from botorch_xval import FitOptions, ModelResult


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategy": "fast"}, "strategy: expected one of .*got 'fast'"),
        ({"coordinates": "ln"}, "coordinates: expected one of .*got 'ln'"),
        ({"max_attempts": 0}, "max_attempts: expected a whole number from 1 on, got 0"),
        ({"max_attempts": 1.5}, "max_attempts: expected a whole number"),
        ({"timeout_sec": -1.0}, "timeout_sec: expected seconds from 0 on .*got -1.0"),
        ({"timeout_sec": "1"}, "timeout_sec: expected seconds"),
        ({"options": 3}, "options: expected a dictionary or None, got 3"),
        ({"bounds": [1]}, r"bounds: expected a dictionary or None, got \[1\]"),
        ({"parameters": "noise"}, "parameters: expected names .*put a single name"),
    ],
)
def test_what_is_not_as_described_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        FitOptions(**given)


def test_they_cannot_be_changed_but_sent_and_replaced():
    options = FitOptions(options={"ftol": 1e-3}, warning_handler=accept_abnormal)
    with pytest.raises(FrozenInstanceError):
        options.strategy = "loop"
    again = pickle.loads(pickle.dumps(options))
    assert again.options == options.options
    assert again.warning_handler is accept_abnormal
    assert replace(options, strategy="loop").options == options.options


def test_the_arguments_of_botorchs_function():
    options = FitOptions.of_botorch(
        {"timeout_sec": 3.0, "coordinates": "raw"}, max_attempts=2, data_loader=None
    )
    assert options.timeout_sec == 3.0 and options.coordinates == "raw"
    assert options.max_attempts == 2
    assert FitOptions.of_botorch(None).max_attempts == 5
    for name in ("stratgy", "max_attempts"):  # the latter belongs outside
        with pytest.raises(TypeError, match=rf"got unexpected names \['{name}'\]"):
            FitOptions.of_botorch({name: 1})


@pytest.mark.several
def test_what_the_optimizer_is_given_and_back():
    given = {"timeout_sec": 3.0, "coordinates": "raw", "options": {"maxiter": 3}}
    options = FitOptions(**given, max_attempts=2, max_memory=1.0)
    assert options.of_optimizer() == given
    assert FitOptions.of_botorch(given).of_optimizer() == given
    assert FitOptions().of_optimizer() == {}
    bounds = {"a": (torch.zeros(2), None)}
    assert FitOptions(bounds=bounds).of_optimizer() == {"bounds": bounds}


def test_what_scipy_is_given():
    assert FitOptions().scipy_options == {"maxcor": 30}
    assert FitOptions(options={"maxcor": 5, "ftol": 1.0}).scipy_options == {
        "maxcor": 5,
        "ftol": 1.0,
    }
    assert FitOptions(coordinates="raw").scipy_options == {}
    assert FitOptions(method="CG").scipy_options == {}
    assert not FitOptions(method="CG").has_logarithms


def test_one_thread_is_for_callbacks_other_methods_and_the_loop():
    assert not FitOptions().is_for_one_thread
    for given in ({"callback": print}, {"method": "CG"}, {"strategy": "loop"}):
        assert FitOptions(**given).is_for_one_thread


def test_a_deadline_is_reckoned_from_now():
    assert FitOptions().deadline() == float("inf")
    before = monotonic()
    found = FitOptions(timeout_sec=5).deadline()
    assert before + 5 <= found <= monotonic() + 5


def test_a_callback_of_folds_is_told_which_one():
    told = []
    options = FitOptions(callback=lambda parameters, result: told.append(result))
    named = options.named(["row 0", "row 1"], 2)
    for model in range(4):
        named.callback({}, ModelResult(0, 1.0, None, model=model))
    assert [(r.fold, r.output, r.model) for r in told] == [
        ("row 0", 0, 0),
        ("row 0", 1, 1),
        ("row 1", 0, 2),
        ("row 1", 1, 3),
    ]
    plain = FitOptions()
    assert plain.named(["row 0"], 1) is plain
