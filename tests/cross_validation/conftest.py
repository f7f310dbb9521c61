"""A cross-validation with an outlier."""

from __future__ import annotations

import pytest
import torch
from fold_helpers import planted

from botorch_xval import CrossValidation


@pytest.fixture(scope="session")
def wrong() -> tuple[torch.Tensor, torch.Tensor, CrossValidation]:
    """Of thirty rows, of which row 7 is far off."""
    return planted(40.0)
