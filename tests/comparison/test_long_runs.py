"""Comparisons that meet a full disk, a closed folder, each other, or Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from botorch.models import SingleTaskGP
from children import begin, limit_files, open_to_all, outcome_of, without_rights
from helpers import assert_same, noisy_waves, normalized_gp, optimizer, short_sighted
from torch import Tensor

from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.cross_validate import cross_validate

QUICK = {"fit_options": optimizer(maxiter=4)}
CONFIGURATIONS = {"default": normalized_gp, "short sighted": short_sighted}


def run(folder: Path | None = None, **changes: object) -> Comparison:
    arguments = {"sizes": [6, 8], "replicates": 2, **QUICK, **changes}
    configurations = arguments.pop("configurations", CONFIGURATIONS)
    return compare(configurations, *noisy_waves(14), folder=folder, **arguments)


def after(change: Callable[[], None], folder: Path, **changes: object) -> Comparison:
    change()
    return run(folder, **changes)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def cells_of(folder: Path) -> dict[str, bytes]:
    found = files_of(folder / "cells")
    return {n: text for n, text in found.items() if n not in ("manifest.json", "lock")}


@pytest.fixture(scope="module")
def expected() -> Comparison:
    return run()


# Disks and folders


@pytest.mark.parametrize(
    ("room", "file", "least"),
    [(100, "manifest.json", 0), (4200, "points.csv", 1)],
    ids=["before the first cell", "after some"],
)
def test_on_a_full_disk_no_finished_cell_is_lost(tmp_path, expected, room, file, least):
    with pytest.raises(OSError, match=f"could not write .*{file} .*see that there is"):
        outcome_of(partial(after, replicates=4), partial(limit_files, room), tmp_path)
    cells = cells_of(tmp_path)
    assert least <= len(cells) <= 16  # tables are written when that costs little
    assert not any(name.endswith(".new") for name in files_of(tmp_path))
    for name in ("points", "fits", "scores"):  # those that there are can be read
        if (path := tmp_path / f"{name}.csv").exists():
            assert len(pd.read_csv(path))
    assert_same(run(tmp_path), expected)
    now = files_of(tmp_path / "cells")
    assert all(now[name] == text for name, text in cells.items())


def test_what_is_in_a_folder_that_was_closed_is_kept(expected):
    with open_to_all() as folder:
        run(folder, sizes=[6])
        before = files_of(folder)
        for each in (folder, folder / "cells"):
            each.chmod(0o555)
        for each in before:
            (folder / each).chmod(0o444)
        with pytest.raises(PermissionError, match="could not write .*, and the right"):
            outcome_of(after, without_rights, folder)
        assert files_of(folder) == before
        for each in (folder, folder / "cells"):
            each.chmod(0o755)
        for each in before:
            (folder / each).chmod(0o644)
        assert_same(run(folder), expected)


# Half-written files


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"cell": [', "\0" * 90])
def test_a_cell_that_is_none_is_named_and_computed_again(tmp_path, expected, content):
    run(tmp_path)
    before = files_of(tmp_path)
    name = max(cells_of(tmp_path))
    path = tmp_path / "cells" / name
    path.write_text(content)
    with pytest.raises(ValueError, match=f"got a damaged one .*; delete .*{name}, and"):
        run(tmp_path)
    now = files_of(tmp_path)
    for each in before:  # nor did the tables lose a line
        assert now[each] == before[each] or each == f"cells/{name}"
    path.unlink()
    (tmp_path / "points.csv").write_text("configuration,si")
    (tmp_path / "cells" / f".{name}.new").write_text(
        '{"cell"'
    )  # of one that was killed
    assert_same(run(tmp_path), expected)
    assert files_of(tmp_path)["points.csv"] == before["points.csv"]
    assert not (tmp_path / "cells" / f".{name}.new").exists()


@pytest.mark.parametrize("content", [None, "", "[]", '{"format": 2}', "{", "\0" * 90])
def test_without_its_manifest_no_cell_is_taken(tmp_path, expected, content):
    run(tmp_path)
    path, before = tmp_path / "cells" / "manifest.json", files_of(tmp_path)
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ValueError, match="manifest.json, got a damaged .*; restore it"):
        run(tmp_path)
    path.write_bytes(before["cells/manifest.json"])
    assert_same(run(tmp_path), expected)
    assert (
        cells_of(tmp_path).items()
        <= {name.removeprefix("cells/"): text for name, text in before.items()}.items()
    )


# Two at a time


def gated(train_X: Tensor, train_Y: Tensor, gate: Path) -> SingleTaskGP:
    """The default model, for which one has to wait."""
    gate.with_name("waits").touch()
    while not gate.exists():
        time.sleep(0.01)
    return normalized_gp(train_X, train_Y)


def test_the_second_of_two_runs_is_refused_and_the_first_is_right(tmp_path, expected):
    folder = tmp_path / "folder"
    first = {**CONFIGURATIONS, "default": partial(gated, gate=tmp_path / "gate")}
    process = begin(partial(run, configurations=first), folder)
    while not (tmp_path / "waits").exists():
        assert process.is_alive()
        time.sleep(0.01)
    # Before the first cell, when nothing else tells that the folder is another's.
    with pytest.raises(ValueError, match=f"no other run in .*process {process.pid} on"):
        run(folder, seed=1)
    (tmp_path / "gate").touch()
    process.join()
    assert process.exitcode == 0
    assert_same(run(folder, configurations=first), expected)


def start_together(folder: Path, number: int) -> str:
    while not (folder.parent / "go").exists():
        time.sleep(0.0001)
    try:
        run(folder)
    except ValueError as error:
        assert "expected no other run" in str(error)
        return "refused"
    return "finished"


def test_of_two_that_start_together_one_gets_the_folder(tmp_path, expected):
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(outcome_of, start_together, tmp_path / "folder", number)
            for number in range(2)
        ]
        time.sleep(1)
        (tmp_path / "go").touch()
        assert "finished" in [each.result() for each in both]
    before = cells_of(tmp_path / "folder")
    assert_same(run(tmp_path / "folder"), expected)
    assert cells_of(tmp_path / "folder") == before


# Ctrl-C


def interrupt_after(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def interrupt_again_and_again(
    work: Callable[[], object], state: Callable[[], object], times: int, seconds: float
) -> tuple[int, object, object, object]:
    """Interrupt work at random moments within some seconds.

    Returns:
        How often that hit, what the work gave in the end, the state before and after.
    """
    rng = np.random.default_rng(0)
    validate("own")  # imports what is imported late: Python does not take that up again
    before, hit = state(), 0
    for _ in range(times):
        try:
            timer = interrupt_after(rng.uniform(0, seconds))
            try:
                work()
            finally:
                timer.join()
        except KeyboardInterrupt:
            hit += 1
    return hit, work(), before, state()


def threads_and_numbers() -> object:
    return (
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
        threading.active_count(),
    )


def validate(starts: str) -> list[float]:
    options = optimizer(starts=starts, maxiter=8)
    result = cross_validate(normalized_gp, *noisy_waves(10), fit_options=options)
    return result.summed_log_density.tolist()


@pytest.mark.parametrize("starts", ["own", "several"])
def test_an_interrupted_cross_validation_leaves_nothing_behind(starts):
    work = partial(validate, starts)
    hit, found, before, after = outcome_of(
        interrupt_again_and_again, work, threads_and_numbers, 10, 0.2
    )
    assert hit >= 3
    assert after == before
    assert found == outcome_of(work)


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor])
def test_an_interrupted_comparison_goes_on(tmp_path, executor):
    options = {"replicates": 3}
    work = partial(compare_somewhere, executor, tmp_path, options)
    hit, found, _, _ = outcome_of(interrupt_again_and_again, work, dict, 6, 0.8)
    assert hit >= 2
    assert_same(found, run(**options))
    assert not any(name.endswith(".new") for name in files_of(tmp_path))


def compare_somewhere(executor: type | None, folder: Path, options: dict) -> Comparison:
    before = cells_of(folder) if folder.exists() else {}
    try:
        if executor is None:
            return run(folder, **options)
        with executor(1) as pool:
            return run(folder, executor=pool, **options)
    finally:
        now = cells_of(folder) if (folder / "cells").exists() else {}
        assert before.items() <= now.items()
