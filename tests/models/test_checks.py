"""What checks of arguments let pass; what they refuse is in `test_bad_inputs.py`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from botorch_xval.models.checks import (
    check_columns,
    check_data,
    check_number,
    check_one_of,
    check_pair,
    check_type,
    check_whole,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_lets_batches_of_any_precision_pass(dtype, batch):
    x, y = torch.ones(*batch, 5, 2, dtype=dtype), torch.ones(*batch, 5, 1, dtype=dtype)
    check_data(x, y)
    check_data(1e300 * x.double(), y.double(), 0 * y.double())


def test_lets_missing_outcomes_pass_where_they_may_be():
    x, y = torch.ones(3, 2), torch.tensor([[1.0], [math.nan], [2.0]])
    check_data(x, y, y, ndim=2, gaps=True)
    with pytest.raises(ValueError, match="got nan in row 1, column 0"):
        check_data(x, y)
    with pytest.raises(ValueError, match="variances from 0 on, got nan"):
        check_data(x, x[:, :1], y, gaps=True)


@pytest.mark.parametrize("dims", [(), [1, 0], (-1,), range(2), np.arange(2)])
def test_lets_columns_pass(dims):
    assert check_columns("dims", dims, 2) == tuple(dims)
    assert check_columns("dims", torch.tensor([0, 1])) == (0, 1)


def test_lets_numbers_of_any_kind_pass():
    check_whole("n", np.int64(3), 3)
    check_number("x", np.float32(0.0))
    check_number("x", math.inf, above=True)
    check_one_of("x", "a", {"a": 1})
    check_type("x", True, bool, "")
    check_pair("x", [1, 2.0])
