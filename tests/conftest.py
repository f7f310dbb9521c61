"""Plots are drawn without a screen, and the devices that a test is run on."""

import importlib.util
import sys
from pathlib import Path

import matplotlib
import pytest
import torch

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


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=no_cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)
