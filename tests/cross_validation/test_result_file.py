"""Results in files."""

from __future__ import annotations

import pandas as pd
import torch
from helpers import noisy_waves, normalized_gp
from torch import Tensor

from botorch_xval import cross_validate, k_fold
from botorch_xval.cross_validation.result import CrossValidation


def test_results_survive_saving_to_a_file(tmp_path):
    x, y = noisy_waves(10, 2)
    for fit in ("refit", "warm", "fixed"):
        found = cross_validate(normalized_gp, x, y, folds=k_fold(4), fit=fit)
        found.save(tmp_path / "result")
        loaded = CrossValidation.load(tmp_path / "result")
        for name, value in vars(found).items():
            other = getattr(loaded, name)
            if isinstance(value, Tensor):
                assert torch.equal(value, other), name
            elif name == "folds":
                assert torch.equal(value.held_out, other.held_out)
                assert value.names == other.names
            else:
                assert repr(value) == repr(other), name  # NaN is not equal to NaN
        assert loaded.elpd == found.elpd
        pd.testing.assert_frame_equal(loaded.to_frame(), found.to_frame())
