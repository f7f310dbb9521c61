"""The notebooks run from the first cell to the last, and are kept with outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def test_the_notebooks_are_there():
    assert {"ax", "chemistry", "cross_validation", "fitting"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("default")  # of the notebook tools
def test_a_notebook_runs_and_keeps_what_it_printed(name):
    if name == "ax":
        pytest.importorskip("ax")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    kept = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in kept)
    assert not any(o.output_type == "error" for cell in kept for o in cell.outputs)
    pictures = _pictures(notebook)
    assert pictures
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": "."}}
    )
    client.execute()  # raises if a cell does
    assert _pictures(notebook) == pictures


def _pictures(notebook: nbformat.NotebookNode) -> list[int]:
    """Numbers of the cells that show a picture."""
    return [
        i
        for i, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
