"""What is kept of a fit."""

from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError

import pytest
from botorch.optim.core import OptimizationStatus

from botorch_xval import FitRecord


def record(*losses: float) -> FitRecord:
    return FitRecord(
        losses=losses,
        evaluations=5,
        iterations=max(len(losses) - 1, 0),
        status=OptimizationStatus.SUCCESS,
        message="",
        seconds=0.1,
        attempts=1,
    )


def test_the_loss_is_the_last_one():
    assert record(2.0, 1.0).loss == 1.0
    assert math.isnan(record().loss)


def test_a_record_cannot_be_changed_but_sent():
    one = record(2.0, 1.0)
    with pytest.raises(FrozenInstanceError):
        one.seconds = 2.0
    again = pickle.loads(pickle.dumps(one))
    assert again.losses == one.losses and again.status is one.status


def test_what_is_unknown_is_nan():
    one = record(1.0)
    for unknown in (one.gradient_norm, one.step_length, one.condition):
        assert math.isnan(unknown)
    assert one.at_bounds == ()
