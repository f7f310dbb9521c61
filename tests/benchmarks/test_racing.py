"""Races of the benchmark: what is dropped, and at what cost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """A script of the benchmarks, which are no package but import each other."""
    sys.path.insert(0, str(FOLDER))
    try:
        spec = spec_from_file_location("racing", FOLDER / "racing.py")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    sys.modules["calibration"].NEW = 100
    yield module
    del sys.modules["calibration"]


def test_a_hopeless_configuration_leaves_at_the_first_look(script):
    rng = np.random.default_rng(0)
    base = rng.normal(size=40)
    scores = pd.DataFrame({0: base, 1: base - 5 + 0.1 * rng.normal(size=40)})
    found = script.outcome(scores, 0)
    assert not found["lost"] and found["same winner"] and found["known winner, race"]
    assert found["share"] == found["share before"] == (2 * 10 + 30) / 80
    assert script.outcome(scores, 1)["lost"]


def test_every_look_had_the_whole_error_rate_before(script):
    rng = np.random.default_rng(1)
    lost, before = 0, 0
    for _ in range(40):
        found = script.outcome(script.simulate(rng, [0.0, 0.0], 60), 0)
        lost, before = lost + found["lost"], before + found["lost before"]
        assert found["share"] >= found["share before"]
    assert lost <= before


def test_the_known_winner_of_a_gaussian_process_is_found_by_new_rows(script):
    script.FUNCTIONS = 2
    found = script.known([1.0, 0.1], 30)
    assert len(found) == 2 * script.DESIGNS * len(script.NOISES)
    assert found["known winner, full"].mean() > 0.8
