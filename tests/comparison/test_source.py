"""The text of functions: what counts in it, and the same by every version of Python."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from botorch_xval.comparison import source
from botorch_xval.comparison.source import source_text


def decorator(function: Callable) -> Callable:
    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return function(*arguments)

    return wrapper


@decorator  # a comment
def decorated(x: Any) -> Any:
    """A line,

    and another one.  # no comment
    """
    # a comment
    text = f"a{x}#b"  # a comment

    return [text for y in x]


# fmt: off
first, second = (lambda x: x + 1), (lambda x: (x - 1))
several_lines = lambda: (lambda x:  # noqa: E731
    # a comment
    x.mean)
constant = lambda: None  # noqa: E731
others = [lambda x, y="éé": {k: v for k, v in x}, lambda x: x or (lambda: x)()]
# fmt: on


class Owner:
    @property
    def inner(self) -> Any:
        return lambda: self.inner


DECORATED = '''@decorator
def decorated(x: Any) -> Any:
    """A line,

    and another one.  # no comment
    """
    text = f"a{x}#b"
    return [text for y in x]'''
EXPECTED: list[tuple[Callable, str]] = [
    (decorated.__wrapped__, DECORATED),
    (
        decorated,
        "@functools.wraps(function)\ndef wrapper(*arguments: Any) -> Any:\n"
        "    return function(*arguments)",
    ),
    (first, "(lambda x: x + 1)"),
    (second, "(lambda x: (x - 1))"),
    (several_lines, "(lambda: (lambda x:\n    x.mean))"),
    (several_lines(), "(lambda x:\n    x.mean)"),
    (constant, "(lambda: None)"),
    (others[0], '(lambda x, y="éé": {k: v for k, v in x})'),
    (others[1], "(lambda x: x or (lambda: x)())"),
    (
        Owner.inner.fget,
        "@property\ndef inner(self) -> Any:\n    return lambda: self.inner",
    ),
    (Owner().inner, "(lambda: self.inner)"),
]


@pytest.mark.parametrize(("function", "text"), EXPECTED)
def test_the_text_of_a_function(function, text):
    assert source_text(function.__code__) == text


def test_there_is_none_without_a_file():
    names: dict = {}
    exec("def f(x): return x\ng = lambda x: x", names)
    assert source_text(names["f"].__code__) is None
    assert source_text(names["g"].__code__) is None
    exec(compile("def f(x): return x", "nowhere.py", "exec"), names)
    assert source_text(names["f"].__code__) is None


OTHERS = [f"python3.{i}" for i in range(11, 16) if sys.version_info[:2] != (3, i)]


@pytest.mark.parametrize("python", OTHERS)
def test_another_python_finds_the_same(python):
    """It may have neither torch nor pytest, so it runs this file up to its tests."""
    script = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("source", {source.__file__!r})
source = importlib.util.module_from_spec(spec)
spec.loader.exec_module(source)
path = {__file__!r}
text = open(path, encoding="utf-8").read().split("@pytest", 1)[0]
text = text.replace("import pytest", "").replace("from botorch_xval", "#")
names = {{"__name__": "script"}}
exec(compile(text, path, "exec"), names)
for function, _ in names["EXPECTED"]:
    print(repr(source.source_text(function.__code__)))
"""
    try:
        subprocess.run([python, "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no {python}")
    done = subprocess.run([python, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [repr(text) for _, text in EXPECTED]
