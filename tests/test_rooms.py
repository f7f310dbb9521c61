"""The plan of the house: which module may import which, read from the source."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "botorch_xval"
# What a room may import, besides itself.
ROOMS = {
    "data": set(),
    "models": set(),
    "fitting.losses": {"models"},
    "fitting": {"models", "fitting.losses"},
    "cross_validation": {"models", "fitting", "fitting.losses"},
    "comparison": {"models", "fitting", "cross_validation"},
    "reporting": {"data", "models", "fitting", "fitting.losses", "cross_validation"}
    | {"comparison"},
    "command_line": {"data", "models", "cross_validation", "comparison", "reporting"},
    "ax": {"data", "models", "fitting", "cross_validation", "comparison"},
}
LONGEST = 14  # files in a chain of imports
# Modules whose tests are elsewhere, and where.
TESTED_BY = {
    "__main__": "test_main.py",
    "comparison.arguments": "test_bad_inputs.py",
    "cross_validation.arguments": "cross_validation/test_cross_validate.py",
    "cross_validation.files": "test_bad_inputs.py",
    "command_line.reports": "test_main.py",
    "command_line.tables": "test_main.py",
    "cross_validation.centers": "cross_validation/test_full_fit.py",
    "fitting.losses.closed_form": "fitting/losses/test_exact.py",
    "cross_validation.fold_fits": "cross_validation/test_fit_options.py",
    "cross_validation.fold_records": "cross_validation/test_result.py",
    "cross_validation.difference": "cross_validation/test_result.py",
    "cross_validation.linked": "cross_validation/test_links.py",
    "reporting.assessments": "reporting/test_report.py",
    "reporting.score_tables": "reporting/test_report.py",
    "cross_validation.work": "cross_validation/test_cross_validate.py",
}


def name_of(path: Path) -> str:
    """Without the package: `fitting.search`; of a face that of its room."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
FACES = {name for name, path in FILES.items() if path.name == "__init__.py"}
MODULES = [name for name in FILES if name not in FACES]


def room_of(name: str) -> str:
    return next((r for r in ROOMS if name == r or name.startswith(f"{r}.")), "")


@cache
def imports_of(name: str) -> frozenset[str]:
    """Modules and faces of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name}: relative import"
            deeper = [f"{node.module}.{alias.name}" for alias in node.names]
            known = [d for d in deeper if d.removeprefix("botorch_xval.") in FILES]
            names = known or [node.module]
        for each in names:
            if each == "botorch_xval" or each.startswith("botorch_xval."):
                found.add(each.removeprefix("botorch_xval").removeprefix("."))
    return frozenset(found)


@cache
def others_of(name: str) -> frozenset[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


@cache
def chain(name: str) -> tuple[str, ...]:
    """The longest chain of imports that begins at a module; a face stands for all
    that it lists."""
    below = set()
    for each in imports_of(name):
        below |= imports_of(each) if each in FACES else {each}
    below -= FACES | {name}
    return (name, *max(map(chain, below), key=len, default=()))


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_from_left_to_right(name):
    room = room_of(name)
    for each in imports_of(name):
        assert each != "__main__", f"{name} imports the command line"
        if room:
            assert each, f"{name} imports the package as a whole"
            allowed = {room, *ROOMS[room]}
            assert room_of(each) in allowed, f"{name} imports {each}"
            assert each != room, f"{name} imports the face of its own room"


def test_no_module_is_in_a_circle_and_no_chain_is_long():
    longest = max(map(chain, MODULES), key=len)  # a circle would not end
    assert len(longest) <= LONGEST, " -> ".join(longest)


@pytest.mark.parametrize("name", MODULES)
def test_ax_and_matplotlib_stay_in_their_rooms(name):
    if room_of(name) != "ax":
        assert "ax" not in others_of(name)
    if not name.startswith("reporting.plots") and name not in (
        "reporting.report",
        "__main__",  # within functions
        "command_line.reports",
    ):
        assert "matplotlib" not in others_of(name)


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_what_it_is_and_what_is_public(name):
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    if name in FACES and name in ("ax", "fitting.losses"):
        return
    (public,) = (
        [element.value for element in node.value.elts]
        for node in tree.body
        if isinstance(node, ast.Assign)
        and getattr(node.targets[0], "id", "") == "__all__"
    )
    defined = set()
    lazy = [node.body for node in tree.body if isinstance(node, ast.If)]
    for node in [*tree.body, *sum(lazy, [])]:  # names for checkers of types
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign):
            names = [n for target in node.targets for n in ast.walk(target)]
            defined |= {n.id for n in names if isinstance(n, ast.Name)}
        elif isinstance(node, ast.AnnAssign):
            defined.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            defined |= {alias.asname or alias.name for alias in node.names}
    assert set(public) <= defined
    assert sorted(set(public)) == sorted(public)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_its_tests(name):
    *rooms, module = name.split(".")
    default = "/".join([*rooms, f"test_{module}.py"])
    path = ROOT / "tests" / TESTED_BY.get(name, default)
    assert path.exists(), f"{name} has no {default}"


def test_no_test_module_imports_another():
    modules = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                last = node.module.rpartition(".")[2]
                assert last not in modules, f"{path.name}: {node.module}"
