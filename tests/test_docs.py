"""The documentation, as far as it can be checked without building it.

Every public name is in the reference, links lead somewhere, and code names what is
there; `sphinx-build -b doctest` runs it.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from botorch_xval.__main__ import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BUILT = {DOCS / name for name in ("_build", "benchmarks", "notebooks")}  # not in git
PAGES = [
    path for path in sorted(DOCS.rglob("*.md")) if not BUILT.intersection(path.parents)
]
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
REFERENCE = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("reference/*.rst"))
)
# Where names are described; those of `botorch_xval` itself are in the table.
FACES = ["data", "models", "fitting", "cross_validation", "comparison", "reporting"]
FACES += ["reporting.plots", "reporting.expressions", "ax"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks_of(path: Path, *kinds: str) -> Iterator[str]:
    """The fenced blocks of some kinds in a page."""
    text = path.read_text(encoding="utf-8")
    for kind, block in re.findall(r"^```(\S+)\n(.*?)^```$", text, re.M | re.S):
        if kind in kinds:
            yield re.sub(r"^:\w+:.*\n", "", block)


def described() -> set[str]:
    """The full names that the reference describes."""
    found, module = set(), ""
    for kind, name in re.findall(r"^\.\. ([a-z:]+):: (\S+)", REFERENCE, re.M):
        if kind == "automodule":
            module = name
        elif kind.startswith("py:"):
            found.add(f"{module}.{name}")
        elif kind.startswith("auto"):
            found.add(name)
    return found


@pytest.mark.parametrize("room", FACES)
def test_every_public_name_is_in_the_reference(room):
    if room == "ax":
        pytest.importorskip("ax")
    face = import_module(f"botorch_xval.{room}")
    there = {name.removeprefix(f"{face.__name__}.") for name in described()}
    missing = set(face.__all__) - there
    if room == "reporting.expressions":  # these are in `reporting`
        missing -= set(import_module("botorch_xval.reporting").__all__)
    assert not missing


def test_every_main_name_is_in_the_table_of_the_reference():
    package = import_module("botorch_xval")
    table = (DOCS / "reference" / "index.rst").read_text(encoding="utf-8")
    named = re.findall(r":py:obj:`~botorch_xval\.([\w.]+)\.(\w+)`", table)
    assert {name for _, name in named} == set(package.__all__)
    for room, name in named:
        in_room = getattr(import_module(f"botorch_xval.{room}"), name)
        assert in_room is getattr(package, name)


def test_what_the_reference_describes_is_there():
    for name in described():
        module, _, attribute = name.rpartition(".")
        if not module.startswith("botorch_xval.ax"):
            assert hasattr(import_module(module), attribute), name


def anchors_of(path: Path) -> set[str]:
    """What a heading is called in a link, as GitHub and MyST have it."""
    text = re.sub(
        r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {
        re.sub(r"[^\w\- ]", "", t.lower()).strip().replace(" ", "-") for t in titles
    }


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_links_lead_to_files_and_headings(path):
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target), link


def test_every_page_is_in_a_table_of_contents():
    listed = {DOCS / "index.md"}
    for path in PAGES:
        for block in blocks_of(path, "{toctree}"):
            names = [line for line in block.splitlines() if line and line[0] != ":"]
            listed |= {path.parent / f"{name}.md" for name in names}
    assert set(PAGES) <= listed
    shown = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    contents = (DOCS / "tutorials.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^notebooks/(\w+)$", contents, re.M)) == shown


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_code_compiles_and_imports_what_is_there(path):
    for block in blocks_of(path, "python", "{testcode}", "{testsetup}"):
        for node in ast.walk(ast.parse(block)):
            source = ast.unparse(node) if isinstance(node, ast.ImportFrom) else ""
            if source.startswith("from botorch_xval"):
                if re.search(r"botorch_xval(\.| import )ax\b", source):
                    pytest.importorskip("ax")
                names: dict[str, object] = {}
                exec(source, names)  # an error where a name is not there
                assert {a.asname or a.name for a in node.names} <= set(names)


def test_commands_know_their_options(capsys):
    """Of `botorch-xval ...`, wherever it stands in a block of commands."""
    seen = set()
    for path in FILES:
        for block in blocks_of(path, "bash"):
            lines = block.replace("\\\n", " ").replace("&&", "\n").splitlines()
            for words in map(shlex.split, lines):
                if words[:1] != ["botorch-xval"]:
                    continue
                command, options = words[1], {w for w in words if w.startswith("--")}
                with pytest.raises(SystemExit) as ended:
                    main([command, "--help"])
                assert ended.value.code == 0
                known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
                assert options <= known, f"{path.name}: {options - known}"
                seen.add(command)
    assert {"demo", "compare", "search", "fit"} <= seen


def test_the_readme_is_short_and_shows_a_picture():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 75  # a screen and a half
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert (ROOT / picture).stat().st_size > 10_000
