"""Plots are drawn without a screen, and the devices that a test is run on."""

import matplotlib
import pytest
import torch

matplotlib.use("agg")

no_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=no_cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)
