"""Some cases of the study of faults: no other model is changed by any."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    if "faults" in sys.modules:
        monkeypatch.delitem(sys.modules, "faults")
    return import_module("faults")


@pytest.mark.parametrize(
    ("name", "every", "least"),
    [
        ("fit_each, kernel by modules", 60, 15),
        ("fit_each, likelihood", 80, 8),
        ("fit_each, prior", 80, 8),
        ("cross_validate, refit, construction", 9, 3),
        ("compare, refit, construction", 60, 1),
        ("cross_validate, warm, input transform", 48, 3),
        ("cross_validate, adaptive, kernel by modules", 120, 8),
    ],
)
def test_one_models_fault_is_its_own(study, name, every, least):
    found = list(study.measure([name], every))
    assert len(found) > least
    assert [each for each in found if each.outcome.startswith("wrong")] == []
    table = study.tabulate(found)
    kinds = [each.kind for each in found]
    for kind in set(kinds):
        assert f"| {kind} | {kinds.count(kind)} |" in table


def test_a_fault_that_changes_others_would_be_seen(study):
    expected = study.Found({"a": b"1", "b": b"2"}, b"3", None)
    fault = study.Fault("kernel", "nan", 1)

    def judged(others, own=b"3", reason=None, told=(), error="", kind="nan"):
        fault.kind = kind
        found = None if error else study.Found(others, own, reason)
        return study.judge(expected, found, error, told, fault)

    same = {"a": b"1", "b": b"2"}
    assert judged(same) == "as without"
    assert judged(same, b"4") == "fitted"
    assert judged(same, b"4", "it broke") == "named"
    assert judged({"a": b"1", "b": b"5"}) == "wrong: changed b"
    assert judged(same, told=["odd"]) == "wrong: warned odd"
    assert judged(same, error="RuntimeError: x") == "wrong: raised RuntimeError: x"
    fault.count = 1
    assert judged(same, kind="KeyboardInterrupt").startswith("wrong: interrupt swallow")
