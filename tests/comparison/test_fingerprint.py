"""Fingerprints: equal for what is equal, in any process, and other for what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import values
from values import MAKERS

from botorch_xval.comparison.fingerprint import fingerprint


@pytest.mark.parametrize("makers", MAKERS.values(), ids=MAKERS)
def test_equal_for_equal_values_only(makers):
    found = [fingerprint(make()) for make in makers]
    assert len(set(found)) == len(found)
    assert [fingerprint(make()) for make in makers] == found


def test_shared_and_equal_parts_are_the_same():
    part = (1.5, "text")
    assert fingerprint([part, part]) == fingerprint([(1.5, "text"), (1.5, "text")])


def test_a_changed_global_number_is_seen(monkeypatch):
    before = fingerprint(values.with_global)
    monkeypatch.setattr(values, "WIDTH", 3.0)
    assert fingerprint(values.with_global) != before


def module(folder: Path, text: str) -> ModuleType:
    """A module named `script` whose file has this text."""
    folder.mkdir()
    path = folder / "script.py"
    path.write_text(text)
    made = ModuleType("script")
    exec(compile(text, str(path), "exec"), vars(made))
    return made


SCRIPT = """
WIDTH = 2.0

class Model:
    def __init__(self, x):
        self.x = x

    def value(self, y):
        return helper(self.x) * WIDTH * y

def helper(x):
    return [i for i in x]

model = lambda x: Model(x)
"""


def of_script(folder: Path, before: str = "", after: str = "") -> list[str]:
    assert before in SCRIPT
    made = module(folder, SCRIPT.replace(before, after))
    return [fingerprint(value) for value in (made.Model, made.helper, made.model)]


def test_comments_blank_lines_and_places_do_not_count(tmp_path):
    expected = of_script(tmp_path / "first")
    for i, (before, after) in enumerate(
        {
            "WIDTH = 2.0": "# Now wider.\n\nWIDTH = 2.0  # mm",
            "    def value": "    # See helper.\n\n\n    def value",
            "        return helper": "\n# why\n        return helper",
            "for i in x]": "for i in x]  # a list",
            "Model(x)": "Model(x)  # built",
        }.items()
    ):
        assert of_script(tmp_path / str(i), before, after) == expected


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("* y", "+ y", [True, False, True]),
        ("for i in x", "for i in x if i", [True, True, True]),
        ("WIDTH = 2.0", "WIDTH = 2.5", [True, False, True]),
        ("lambda x: Model(x)", "lambda x: Model(-x)", [False, False, True]),
        ("self.x = x", "self.x = 2 * x", [True, False, True]),
    ],
)
def test_what_is_computed_counts_wherever_it_stands(tmp_path, before, after, changed):
    found = of_script(tmp_path / "changed", before, after)
    expected = of_script(tmp_path / "script")
    assert [a != b for a, b in zip(found, expected, strict=True)] == changed


def test_without_source_the_bytecode_counts():
    def made(text: str) -> str:
        names: dict = {"__name__": "made"}
        exec(text, names)
        return fingerprint(names["f"])

    assert made("def f(x): return x + 1") == made("def f(x):  # why\n    return x + 1")
    assert made("def f(x): return x + 1") != made("def f(x): return x + 2")
    assert made("def f(x): return x + 1") != made("def f(x): return x - 1")


def test_a_function_without_a_module_has_one():
    made: list[dict] = [{}, {}]
    for space, number in zip(made, (1, 2), strict=True):
        space["__builtins__"] = {}
        exec(f"def model(x): return {number} * x", space)
        assert space["model"].__module__ is None
    found = [fingerprint(space["model"]) for space in made]
    assert found[0] != found[1]


def test_equal_in_another_process():
    script = (
        "import values; from botorch_xval.comparison.fingerprint import fingerprint as "
        "f; print(*[f(m()) for ms in values.MAKERS.values() for m in ms])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONHASHSEED": "5", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert found == [fingerprint(m()) for ms in MAKERS.values() for m in ms]
