"""The benchmark of the next trial: in which folds two ways differ."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers import hartmann, normalized_gp

from botorch_xval import cross_validate, leave_future_out

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """A script of the benchmarks, which are no package but import each other."""
    sys.path.insert(0, str(FOLDER))
    try:
        spec = spec_from_file_location("next_trial", FOLDER / "next_trial.py")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    yield module


@pytest.mark.several
def test_a_difference_is_that_of_its_folds(script):
    """Of the six folds one keeps a step above the optimum that its refit finds."""
    X, Y = hartmann(26)
    best, found = (
        cross_validate(normalized_gp, X, Y, folds=leave_future_out(20), fit=fit)
        for fit in ("refit", "adaptive")
    )
    points = np.arange(20, 26)
    gaps = points * [
        own.loss - other.loss
        for own, other in zip(found.records, best.records, strict=True)
    ]
    parts = dict(zip(script.CAUSES, script.causes(found, best, gaps), strict=True))
    assert sum(count for count, _ in parts.values()) == 6
    total = sum(nats for _, nats in parts.values())
    assert total == pytest.approx(found.elpd - best.elpd)
    assert gaps[0] > 0.1 and found.fits[0].how == "predicted"
    assert parts["kept"][0] == 2 and parts["kept"][1] > 3
    assert abs(parts["level"][1]) < 0.01
    moved = dict(zip(script.CAUSES, script.causes(found, best, gaps - 1), strict=True))
    assert [moved[cause][0] for cause in script.CAUSES] == [2, 0, 4, 0]
    assert moved["below"] == parts["level"] and moved["kept"] == parts["kept"]
