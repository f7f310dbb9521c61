"""The package as it is installed: version, names, and what an import costs."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import botorch_xval

ROOT = Path(__file__).parents[1]


def test_the_version_is_in_one_place():
    assert version("botorch-xval") == botorch_xval.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {botorch_xval.__version__}\n" in citation
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", botorch_xval.__all__)
def test_every_public_name_is_there_and_explained(name):
    found = getattr(botorch_xval, name)
    if not isinstance(found, dict):
        assert (found.__doc__ or "").strip()


def test_an_import_brings_neither_matplotlib_nor_ax():
    code = "import sys, botorch_xval; print({'matplotlib', 'ax'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_the_readme_has_its_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for which in ("demo", "test"):
        found = re.search(rf"<!-- {which} command -->\n```bash\n(.*)\n```", readme)
        assert found and found[1].startswith("pip install -c constraints.txt")
