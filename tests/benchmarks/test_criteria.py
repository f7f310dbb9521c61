"""The study of criteria on one small problem, and its table by hand."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from fold_helpers import standard_waves, untransformed
from gpytorch.mlls import LeaveOneOutPseudoLikelihood

from botorch_xval import cross_validate, difference

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    if "criteria" in sys.modules:
        monkeypatch.delitem(sys.modules, "criteria")
    return import_module("criteria")


def test_differences_are_paired_and_their_tables_count_them(study, monkeypatch):
    data = (*standard_waves(12), untransformed)
    monkeypatch.setitem(study.SINGLE, "waves-12", lambda: data)
    rows = study.measure("waves-12")
    by_evidence, by_log_density = (
        cross_validate(untransformed, *data[:2], **kwargs)
        for kwargs in ({}, {"mll": LeaveOneOutPseudoLikelihood})
    )
    paired = difference(by_log_density, by_evidence).difference.to_numpy()
    found = rows["log density"]
    assert found["change"] == pytest.approx(paired.sum(), abs=1e-3)
    assert found["error"] == pytest.approx(paired.std(ddof=1) * 12**0.5, abs=1e-3)
    assert found["flattered"] > 0
    (row,) = [line for line in study.table({"waves-12": rows}) if "waves" in line]
    assert f"{found['change']:+.1f} ± {found['error']:.1f}" in row
    better = int(np.sign(found["change"]) > 0)
    summary = study.summary({"waves-12": rows})
    assert f"than the evidence on {better} of 1 problems" in summary[0]
