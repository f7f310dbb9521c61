"""Real executors by their names."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from children import alive, begin, wait_for

from botorch_xval.command_line.executors import open_executor


def test_none():
    with open_executor(None) as executor:
        assert executor is None


def test_processes_have_one_thread_each():
    with open_executor("processes") as executor:
        assert executor is not None
        assert executor.submit(torch.get_num_threads).result() == 1
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(pow, 2, 2)


def use_processes(folder: Path) -> None:
    os.setsid()
    with open_executor("processes") as executor:
        (folder / "worker").write_text(str(executor.submit(os.getpid).result()))
        executor.submit(time.sleep, 600).result()


def test_no_worker_outlives_a_process_that_is_killed(tmp_path):
    process = begin(use_processes, tmp_path)
    wait_for((tmp_path / "worker").exists, process)
    process.kill()
    process.join()
    wait_for(lambda: not alive(process.pid))
    assert alive(process.pid) == []


@pytest.mark.filterwarnings("default")  # what Dask warns of is not ours
def test_dask_on_this_machine():
    with open_executor("dask") as executor:
        assert executor is not None
        assert executor.submit(torch.get_num_threads).result() == 1
        assert executor.submit(pow, 2, 5).result() == 32


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("threads", "expected 'processes', 'dask' or an address.*got 'threads'"),
        ("tcp://127.0.0.1:9", "expected the address of a Dask scheduler.*127.0.0.1:9"),
        ("ftp://nowhere", "expected the address of a Dask scheduler, got 'ftp"),
    ],
)
def test_wrong_names(name, message, monkeypatch):
    monkeypatch.setattr("botorch_xval.command_line.executors.PATIENCE", 1)
    with pytest.raises(ValueError, match=f"--executor: {message}"):
        with open_executor(name):
            raise AssertionError
