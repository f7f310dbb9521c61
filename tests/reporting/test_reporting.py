"""The public face of the room: what is there."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files

import pytest

ROOM = "botorch_xval.reporting"


@pytest.mark.parametrize("name", [ROOM, f"{ROOM}.expressions", f"{ROOM}.plots"])
def test_public_names_are_there_and_sorted(name):
    module = import_module(name)
    assert module.__doc__
    assert module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, each) for each in module.__all__)


@pytest.mark.parametrize(
    ("package", "name"),
    [
        (ROOM, "report.css"),
        (f"{ROOM}.expressions", "page.css"),
        (f"{ROOM}.expressions", "page.js"),
    ],
)
def test_style_and_script_are_files_of_the_package(package, name):
    text = files(package).joinpath(name).read_text("utf-8")
    assert text.isascii() and "</s" not in text  # would end its element
