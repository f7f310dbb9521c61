"""Comparisons that are killed and go on; changes that a folder notices."""

from __future__ import annotations

import json
import multiprocessing
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import SingleTaskGP
from gpytorch.mlls import LeaveOneOutPseudoLikelihood
from helpers import assert_same, noisy_waves, normalized_gp, optimizer, short_sighted
from torch import Tensor

import botorch_xval.comparison.store
from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.store import Cell, CellFolder
from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.folds import k_fold

QUICK = {"fit_options": optimizer(maxiter=4)}
CONFIGURATIONS = {"default": normalized_gp, "short sighted": short_sighted}


def run(folder: Path | None = None, **changes: object) -> Comparison:
    arguments = {"sizes": [8, 12], "replicates": 3, "race": True, **QUICK, **changes}
    configurations = arguments.pop("configurations", CONFIGURATIONS)
    data = arguments.pop("data", noisy_waves(14))
    return compare(configurations, *data, folder=folder, **arguments)


def run_in_a_process(folder: Path) -> None:
    torch.set_num_threads(1)
    run(folder)


def cells(folder: Path) -> dict[str, int]:
    """By name of a cell's file when it was written."""
    files = (folder / "cells").glob("*.json") if folder.exists() else ()
    return {p.name: p.stat().st_mtime_ns for p in files if p.name != "manifest.json"}


@pytest.fixture(scope="module")
def expected() -> Comparison:
    return run()


# Interruptions


def test_killed_again_and_again_a_comparison_is_completed(tmp_path, expected):
    # A server that has imported torch, so that each process starts at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["botorch_xval.comparison.compare"])
    rng = np.random.default_rng(1)
    kills, written = 0, {}
    while True:
        process = context.Process(target=run_in_a_process, args=(tmp_path,))
        process.start()
        wanted = len(cells(tmp_path)) + int(rng.integers(2, 6))
        patience = time.monotonic() + 60
        while process.is_alive() and len(cells(tmp_path)) < wanted:
            assert time.monotonic() < patience
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
        now = cells(tmp_path)
        assert {name: now[name] for name in written} == written  # no cell twice
        written = now
        if process.exitcode == 0:
            break
        kills += 1
    assert kills >= 3
    assert_same(run(tmp_path), expected)
    assert cells(tmp_path) == written
    points = pd.read_csv(tmp_path / "points.csv")
    pd.testing.assert_frame_equal(points, expected.points, rtol=1e-12)


def test_a_finished_comparison_is_not_computed_again(tmp_path, expected):
    def counting(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        calls.append(len(train_X))
        return normalized_gp(train_X, train_Y)

    calls: list[int] = []
    configurations = {**CONFIGURATIONS, "default": counting}
    first = run(tmp_path, configurations=configurations)
    assert_same(first, expected)
    (tmp_path / "scores.csv").unlink()
    calls.clear()
    again = run(tmp_path, configurations=configurations)
    assert calls == []
    pd.testing.assert_frame_equal(again.table(), first.table(), check_exact=True)
    assert (tmp_path / "scores.csv").exists()


@pytest.mark.parametrize(
    "smaller",
    [
        {"sizes": [8]},
        {"replicates": 2},
        {"configurations": {"default": normalized_gp}},
    ],
    ids=["sizes", "replicates", "configurations"],
)
def test_sizes_replicates_and_configurations_can_be_added(tmp_path, expected, smaller):
    run(tmp_path, **smaller)
    before = cells(tmp_path)
    assert_same(run(tmp_path), expected)
    after = cells(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(after) > len(before)


# Changes


X, Y = noisy_waves(14)
CHANGES = {
    "train_X": ({"data": (X + 1e-12, Y)}, "train_X"),
    "train_Y": ({"data": (X, Y.roll(1, 0))}, "train_Y"),
    "train_Yvar": ({"data": (X, Y, torch.ones_like(Y))}, "train_Yvar"),
    "seed": ({"seed": 1}, "seed"),
    "folds": ({"folds": k_fold(4)}, "folds of 8 rows, replicate 0"),
    "groups": ({"groups": list("ab") * 7}, "folds of 8 rows, replicate 0"),
    "fit": ({"fit": "warm"}, "fit"),
    "fit_options": ({"fit_options": optimizer(maxiter=5)}, "fit_options"),
    "threshold": ({"threshold": 0.3}, "threshold"),
    "mll": ({"mll": LeaveOneOutPseudoLikelihood}, "mll"),
    "configuration": (
        {"configurations": {"default": short_sighted}},
        "configuration 'default'",
    ),
    "partial": (
        {"configurations": {"default": partial(normalized_gp, train_Yvar=None)}},
        "configuration 'default'",
    ),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("begun")
    run(folder, sizes=[8], replicates=1)
    return folder


@pytest.mark.parametrize(("change", "name"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_named_and_refused(begun, change, name):
    before = {path: path.read_bytes() for path in begun.rglob("*.*") if path.is_file()}
    with pytest.raises(ValueError) as caught:
        run(begun, **{"sizes": [8], "replicates": 1, **change})
    message = str(caught.value)
    assert f"got cells of other values of {name}; use" in message
    assert f"; use another folder, or delete {begun / 'cells'}" in message
    after = {path: path.read_bytes() for path in begun.rglob("*.*") if path.is_file()}
    assert after == before


def test_other_versions_are_only_named(begun, monkeypatch):
    monkeypatch.setattr(botorch_xval.comparison.store, "version", lambda name: "0.0")
    with pytest.warns(BotorchWarning, match=r"torch .* \(now 0.0\)"):
        run(begun, sizes=[8], replicates=1)


OUTCOME = {
    **{"rows": [0, 1], "log_density": [0.1, 0.2], "squared_error": [1.0, 2.0]},
    **{"folds": 2, "failed": 1, "evaluations": 9, "seconds": 0.1},
}


def test_a_damaged_file_is_named(tmp_path):
    store = CellFolder(tmp_path, {"X": "1"})
    cell = Cell("a", 5, 0, (1, 2))
    assert store.load(cell) is None
    store.keep(cell, {**OUTCOME, "log_density": [0.1, float("nan")]})
    assert store.load(cell)["log_density"][0] == 0.1
    assert store.load(Cell("a", 5, 0, (1,))) is None
    (name,) = cells(tmp_path)
    (tmp_path / "cells" / name).write_text("{")
    with pytest.raises(
        ValueError, match=f"{name}, got a damaged one .*; delete .*{name}"
    ):
        store.load(cell)
    (tmp_path / "cells" / "manifest.json").write_text("")
    with pytest.raises(
        ValueError, match="manifest.json, got a damaged one .*; restore it, or del"
    ):
        CellFolder(tmp_path, {"X": "1"})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cell", ["a", 5, 1, [1, 2]], "the cell"),  # a copy of another file
        ("rows", [0, 5], "rows"),
        ("log_density", [0.1, "0.2"], "log_density of type"),
        ("squared_error", [1.0], "squared_error of shape"),
    ],
)
def test_a_file_that_was_edited_is_named(tmp_path, key, value, message):
    store = CellFolder(tmp_path, {"X": "1"})
    cell = Cell("a", 5, 0, (1, 2))
    store.keep(cell, OUTCOME)
    (name,) = cells(tmp_path)
    path = tmp_path / "cells" / name
    content = json.loads(path.read_text())
    (content if key == "cell" else content["outcome"])[key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{name}, got a damaged one .*{message}"):
        store.load(cell)


def test_a_folder_of_another_format_is_refused(tmp_path):
    store = CellFolder(tmp_path, {"X": "1"})
    store.keep(Cell("a", 5, 0, (1, 2)), {"log_density": [0.1]})
    path = tmp_path / "cells" / "manifest.json"
    manifest = json.loads(path.read_text())
    assert manifest.pop("format") == 2
    path.write_text(json.dumps(manifest))  # as it was when bytecode counted
    with pytest.raises(
        ValueError, match="format 2 in .*, got format 1 .*; use another"
    ):
        CellFolder(tmp_path, {"X": "1"})


def test_a_mistake_before_the_first_cell_does_not_spoil_the_folder(tmp_path, expected):
    with pytest.raises(ValueError, match="fit: expected"):
        run(tmp_path, fit="worm")
    assert cells(tmp_path) == {}
    assert_same(run(tmp_path), expected)


def test_the_manifest_is_readable(begun):
    manifest = json.loads((begun / "cells" / "manifest.json").read_text())
    assert manifest["versions"]["torch"]
    assert {"train_X", "train_Y", "seed", "configuration 'default'"} <= set(
        manifest["fingerprints"]
    )
