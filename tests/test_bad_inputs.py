"""Every public function and the command line against bad inputs.

The cases are in `bad_inputs`. An error says what was expected, what came, and what to
do, it comes before any work, and nothing is half-written.
"""

from __future__ import annotations

import importlib
import inspect
import re
from types import ModuleType

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from bad_inputs import (
    command_line,
    comparison,
    cross_validation,
    data,
    files,
    fitting,
    models,
    reporting,
)
from bad_inputs.case import SHORT, Case, inputs, outcomes

from botorch_xval.__main__ import main
from botorch_xval.cross_validation import cross_validate
from botorch_xval.data import encode_table, read_table
from botorch_xval.models import ScalarChoiceGP, default_model

ax: ModuleType | None
try:
    from bad_inputs import ax
except ModuleNotFoundError:  # without Ax
    ax = None

PARTS = [data, models, fitting, cross_validation, comparison, reporting, files]
CASES: list[Case] = [case for part in PARTS for case in part.CASES]
AX_CASES: list[Case] = [] if ax is None else ax.CASES
FACES = [
    *("", ".data", ".models", ".fitting", ".cross_validation", ".comparison"),
    *(".reporting", ".reporting.plots", ".reporting.expressions", ".ax"),
]
# Public names without a case, and why.
WITHOUT = {
    **dict.fromkeys(
        ("FitRecord", "IndependentResult", "ModelResult", "FoldFit", "Objective"),
        "made by fits only; those of files are checked there",
    ),
    **dict.fromkeys(
        ("Estimate", "Mixture", "WithoutRows"), "made by cross-validations only"
    ),
    **dict.fromkeys(
        ("EncodedTable", "Roles", "ExperimentTable"), "made by functions of tables only"
    ),
    **dict.fromkeys(
        ("Description", "Node", "Piece", "Section", "Statement", "Value"),
        "made by `describe` only",
    ),
    **dict.fromkeys(
        ("ChoiceKernel", "LeaveOneOutCRPS"), "the constructor is GPyTorch's"
    ),
    **dict.fromkeys(
        ("IndependentMixedSingleTaskGP", "IndependentMultiTaskGP")
        + ("IndependentSingleTaskGP", "BatchedRefitGenerator", "RefitGenerators"),
        "the constructor is BoTorch's or Ax's",
    ),
    **dict.fromkeys(("load_tuning_trials", "model_configs"), "takes no argument"),
}


def check(case: Case, message: str) -> None:
    """What was expected, what came, what to do, in this order."""
    said = rf"{case.expected}.*\bgot\b.*?({case.got}).*({case.do})"
    assert re.search(said, message, re.DOTALL), message
    assert "expected" in message and ";" in message, message


@pytest.mark.parametrize("case", [*CASES, *AX_CASES], ids=str)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_says_what_was_expected_what_came_and_what_to_do(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "place"
    place.mkdir()
    takes_folder = inspect.signature(case.call).parameters
    try:
        with pytest.raises(case.error) as found:
            case.call(place) if takes_folder else case.call()
    finally:
        plt.close("all")
    assert type(found.value) is case.error
    check(case, str(found.value))
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_there_are_enough_cases():
    assert len(CASES) + len(command_line.LINES) >= 300


@pytest.mark.parametrize("face", FACES)
def test_every_public_function_has_a_case(face):
    if face == ".ax":
        pytest.importorskip("ax")
    module = importlib.import_module(f"botorch_xval{face}")
    known = [_object(case.of) for case in [*CASES, *AX_CASES]]
    lacking = [
        name
        for name in module.__all__
        if callable(own := getattr(module, name))
        and name not in WITHOUT
        and not any(own is other for other in known)
    ]
    assert not lacking


def _object(path: str):
    room, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"botorch_xval.{room}".strip(".")), name)


@pytest.mark.parametrize("line", command_line.LINES, ids=str)
def test_the_command_line_says_it_in_one_line(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "table.csv"
    content = line.table
    table.write_bytes(content.encode() if isinstance(content, str) else content)
    words = line.arguments.replace("TABLE", "table.csv").replace("OUT", "out").split()
    try:
        status = main(words)
    except SystemExit as end:  # argparse's own
        status = end.code
    said = capsys.readouterr().err
    assert status == 2
    assert said.startswith("botorch-xval: ") and said.count("\n") == 1, said
    pattern = f"{line.expected}.*({line.got}).*({line.do})"
    assert re.search(pattern, said), said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def fits(train_X, train_Y, model=default_model):
    """Whether a cross-validation of these data has finite scores."""
    result = cross_validate(model, train_X, train_Y, fit="fixed", fit_options=SHORT)
    return bool(result.log_density.isfinite().all())


AWKWARD = {
    "BOM": "\ufeffa,kind,loss\n1,u,0.5\n2,v,0.7\n3,u,0.2\n4,v,0.9\n",
    "semicolons": "a;kind;loss\n1;u;0.5\n2;v;0.7\n3;u;0.2\n4;v;0.9\n",
    "tabs and Windows": "a\tkind\tloss\r\n1\tu\t0.5\r\n2\tv\t0.7\r\n3\tu\t0.2\r\n",
    "blanks around": " a , kind , loss \n 1 , u , 0.5\n2,v ,0.7\n3, u,0.2\n\n",
    "Unicode": "a,kind,loss\n1,ü ß,0.5\n2,日本,0.7\n3,ü ß,0.2\n",
    "quotes": 'a,kind,loss\n1,"u, v",0.5\n2,"a ""b""",0.7\n3,"u, v",0.2\n',
    "1e300": "a,kind,loss\n-1e300,u,0.5\n1e300,v,0.7\n3e299,u,0.2\n",
    "empty cells": "a,kind,loss\n1,,0.5\n,v,0.7\n3,u,0.2\n4,v,\n",
    "the same rows": "a,kind,loss\n1,u,0.5\n1,u,0.7\n1,u,0.2\n4,v,0.9\n",
}


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD)
def test_takes_awkward_tables(text, tmp_path):
    path = tmp_path / "täble 1.csv"
    path.write_text(text, encoding="utf-8", newline="")
    table = encode_table(read_table(path, ["kind"]), "loss", ["kind"])
    assert table.feature_names[0] == "a"
    assert table.X.isfinite().all() and table.Y.isfinite().all()


def test_takes_names_with_blanks_and_signs():
    frame = pd.DataFrame(
        {"Größe (µm)": [1.0, 2, 4], "a=b, c": [2.0, 1, 5], " y\n": [0.1, 0.3, 0.2]}
    )
    table = encode_table(frame, " y\n")
    assert table.feature_names == ["Größe (µm)", "a=b, c"]


@pytest.mark.filterwarnings("ignore:.*contained in the unit cube|.*standardized")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda x, y: (x * 1e100, y), id="inputs of 1e100"),
        pytest.param(lambda x, y: (x, y * 1e100), id="outcomes of 1e100"),
        pytest.param(lambda x, y: (x.repeat(2, 1), y.repeat(2, 1)), id="rows twice"),
        pytest.param(lambda x, y: (x[:, [0, 0, 1]], y), id="a column twice"),
        pytest.param(
            lambda x, y: (torch.cat([x, torch.ones(len(x), 1)], -1), y),
            id="a constant column",
        ),
        pytest.param(
            lambda x, y: (torch.eye(2).double()[(x[:, 0] > 0.5).long()], y),
            id="one-hot columns",
        ),
        pytest.param(
            lambda x, y: (x.requires_grad_(False), y.T.contiguous().T),
            id="other strides",
        ),
    ],
)
def test_takes_awkward_data(change):
    assert fits(*change(inputs(), outcomes()))


@pytest.mark.filterwarnings("ignore:The model inputs are of type torch.float32")
def test_takes_single_precision_and_columns_of_any_kind():
    x, y = inputs(10, 3), outcomes(10)
    for dims in ((2,), [-1], range(2, 3), torch.tensor([2])):
        model = ScalarChoiceGP(x.float(), y.float(), choice_dims=dims)
        assert model.choice_dims == (2,)
