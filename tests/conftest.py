"""Plots are drawn without a screen, and the devices that a test is run on."""

import importlib.util
import os
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported. Two processes with two threads each on two cores wait
    # for each other: all tests take 8:14 minutes instead of 5:06.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib
import pytest
import torch

from botorch_xval.fitting import FitOptions, fit_independently

matplotlib.use("agg")

# This folder is on the path for the helpers' sake. Where Ax is not installed, `ax`
# would be the folder of its tests, and nothing that needs Ax would be skipped.
found = importlib.util.find_spec("ax")
if found is not None and found.origin is None:
    sys.modules["ax"] = None  # so that it is not found

# Other processes find functions of test modules as `tests.room.module`. At the end, so
# that the package is the installed one.
sys.path.append(str(Path(__file__).parents[1]))

no_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no process waits for another one in the end."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=no_cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def one_start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One start for each model, but for tests that are marked `several`.

    Most tests are about the path and the costs of a search. The other default takes
    several times as long, and has tests of its own.
    """
    if request.node.get_closest_marker("several") is not None:
        return
    monkeypatch.setitem(FitOptions.__init__.__kwdefaults__, "starts", "own")
    defaults = tuple(
        "own" if value == "several" else value
        for value in fit_independently.__defaults__
    )
    monkeypatch.setattr(fit_independently, "__defaults__", defaults)
