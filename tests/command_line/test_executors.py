"""Real executors by their names."""

from __future__ import annotations

import pytest
import torch

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
def test_wrong_names(name, message):
    with pytest.raises(ValueError, match=f"--executor: {message}"):
        with open_executor(name):
            raise AssertionError
