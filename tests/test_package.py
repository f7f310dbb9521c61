"""The package as it is installed: version, files, what an import brings, docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module, resources
from pathlib import Path
from types import ModuleType

import pytest

import botorch_xval

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")

ROOMS = ["", ".data", ".models", ".fitting", ".cross_validation", ".comparison"]
ROOMS += [".reporting", ".ax"]


def test_the_version_stands_in_one_place():
    assert PROJECT["project"]["dynamic"] == ["version"]
    dynamic = PROJECT["tool"]["setuptools"]["dynamic"]
    assert dynamic["version"] == {"attr": "botorch_xval.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", botorch_xval.__version__)


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^([a-z-]+): +(.+)$", text, flags=re.MULTILINE))
    assert fields["cff-version"] == "1.2.0"
    assert fields["version"] == botorch_xval.__version__
    assert fields["license"] == PROJECT["project"]["license"]
    assert {"message", "title", "abstract", "type"} <= set(fields)
    assert "\nauthors:\n  - name: " in text


def test_the_conda_recipe_is_of_this_version_and_these_dependencies():
    text = (ROOT / ".ci" / "conda" / "meta.yaml").read_text(encoding="utf-8")
    assert f'version: "{botorch_xval.__version__}"' in text
    project = PROJECT["project"]
    (program, target), *rest = project["scripts"].items()
    assert not rest and f"    - {program} = {target}\n" in text
    parts = dict(re.findall(r"  (host|run):\n((?:    - .+\n)+)", text))
    run, host = (re.findall(r"- (.+)", parts[name]) for name in ("run", "host"))
    names = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # conda-forge's
    expected = [f"python {project['requires-python']}"]
    for requirement in project["dependencies"]:
        name, bound = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()
        expected.append(f"{names.get(name, name)} {bound}")
    assert run == expected
    needed = [each.replace(">", " >") for each in PROJECT["build-system"]["requires"]]
    assert host == [expected[0], "pip", *needed]


def test_the_release_is_in_the_changelog_with_its_date():
    """A release has its section, and the citation its date; another has none yet."""
    if not re.fullmatch(r"[\d.]+", botorch_xval.__version__):
        return
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.escape(f"## {botorch_xval.__version__} (")
    (date,) = re.findall(rf"^{heading}(\d{{4}}-\d\d-\d\d)\)$", text, re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\ndate-released: {date}\n" in citation


def test_all_files_of_the_package_are_installed():
    """Data, styles and scripts, too: setuptools installs only what it is told of."""
    source, installed = ROOT / "botorch_xval", resources.files("botorch_xval")
    files = [
        path.relative_to(source)
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert Path("py.typed") in files
    missing = [path for path in files if not installed.joinpath(*path.parts).is_file()]
    assert not missing, missing


def test_an_import_waits_for_nothing_that_it_does_not_use():
    code = "import sys, botorch; before = set(sys.modules); import botorch_xval\n"
    code += "print(*set(sys.modules) - before)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["botorch_xval"]


def test_main_names_are_those_that_checkers_of_types_see():
    tree = ast.parse((ROOT / "botorch_xval" / "__init__.py").read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    listed = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom) and node.module
        listed |= {alias.name: node.module for alias in node.names}
    assert sorted(listed) == sorted(botorch_xval.__all__)
    for name, module in listed.items():
        assert getattr(botorch_xval, name) is getattr(import_module(module), name)
    assert set(botorch_xval.__all__) <= set(dir(botorch_xval))
    with pytest.raises(AttributeError, match="no attribute 'fit_all'"):
        _ = botorch_xval.fit_all


def test_an_import_brings_neither_matplotlib_nor_ax():
    """Nor does the start of the command line, which imports the package first."""
    code = "import sys, botorch_xval.__main__\n"
    code += "print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    found = set(done.stdout.split())
    assert "botorch_xval" in found
    assert not found & {"matplotlib", "ax", "IPython", "distributed"}


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_has_a_docstring(room):
    if room == ".ax":
        pytest.importorskip("ax")
    face = import_module(f"botorch_xval{room}")
    assert face.__doc__
    bare = [name for name, value in _public(face) if not _has_docstring(value)]
    assert not bare, f"{face.__name__}: {bare}"


def _public(face: ModuleType) -> Iterator[tuple[str, object]]:
    """The functions and classes of our own that a face shows."""
    shown = getattr(face, "__all__", None) or [n for n in vars(face) if n[0] != "_"]
    for name in shown:
        value = getattr(face, name)  # every listed name exists
        if inspect.isroutine(value) or inspect.isclass(value):
            if value.__module__.startswith("botorch_xval"):
                yield name, value


def _has_docstring(value: object) -> bool:
    """Of its own: neither inherited nor what `dataclass` writes."""
    text = value.__doc__ or ""
    return bool(text) and not text.startswith(f"{getattr(value, '__name__', '')}(")


def test_the_documented_commands_can_be_run():
    """`.ci/run` takes the second one from the text, so its form matters."""
    commands = dict(
        re.findall(
            r"<!-- (\w+) command -->\n```bash\n(pip install [^\n]+)\n```", README
        )
    )
    assert set(commands) == {"demo", "test"}
    first, then = commands["test"].split(" && ")
    assert then == "pytest -n 2"
    extras = re.findall(r"\[(.+?)\]", first)
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    program = commands["demo"].split(" && ")[1].split()[0]
    assert program in PROJECT["project"]["scripts"]
    for command in commands.values():
        assert "-c constraints.txt " in command
    assert (ROOT / "constraints.txt").is_file()


def test_tools_are_pinned():
    """Formatter and type checker of other releases may judge differently."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert {"torch", "build", "twine", "mypy", "ruff"} <= set(
        re.findall(r"^(\w+)==", pins, re.MULTILINE)
    )
