"""The benchmark of integrated hyper-parameters, on a problem of its own."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers import noisy_waves, normalized_gp
from torch.distributions import Normal

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(FOLDER))
    try:
        spec = spec_from_file_location("posterior", FOLDER / "posterior.py")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


def test_equal_weights_and_limits(script, monkeypatch):
    X, Y = noisy_waves(5)
    monkeypatch.setitem(script.SINGLE, "waves", lambda: (X, Y, normalized_gp))
    monkeypatch.setattr(script, "DRAWS", 100)
    alone = script.with_limit(float("inf"), "waves")
    exact = script.with_limit(-float("inf"), "waves")
    assert set(alone.fit_table().how) == {"reweighted"}
    assert set(exact.fit_table().how) == {"redrawn"}
    mixture = alone.mixture
    each = Normal(mixture.mean, mixture.variance.sqrt()).log_prob(Y[:, None])
    expected = each.exp().mean(dim=1).log().sum().item()
    assert script.equal_weights(alone) == pytest.approx(expected)
    assert expected > alone.elpd  # it flatters
    row = script.measure("waves")
    assert row["rows"] == 5 and row["parameters"] == 4
    text = script.table([row])
    assert "| waves | 5 | 4 |" in text
    assert torch.isfinite(torch.tensor([row["posterior"], row["equal"]])).all()
