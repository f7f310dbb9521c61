"""Scores against SciPy and against numbers made by hand."""

from __future__ import annotations

import numpy as np
import torch
from helpers import assert_close
from scipy.stats import norm

from botorch_xval.scores import log_density, squared_error


def test_log_density_is_that_of_the_normal_distribution():
    generator = np.random.default_rng(0)
    mean, observed = generator.normal(size=(2, 4, 5, 3))
    variance = 10 ** generator.uniform(-6, 4, size=(4, 5, 3))
    found = log_density(*map(torch.from_numpy, (mean, variance, observed)))
    assert_close(found, norm.logpdf(observed, mean, variance**0.5))


def test_log_density_of_an_unpredicted_point_is_nan():
    nan, one = torch.tensor([torch.nan, 0.0]), torch.ones(2)
    assert log_density(nan, one, one).isnan().tolist() == [True, False]
    assert log_density(one, nan.where(nan.isnan(), one), one).isnan()[0]


def test_log_density_moves_with_the_unit_of_the_outcome():
    # Outcomes in another unit, y' = 1000 y, have the density p(y') = p(y) / 1000.
    mean, variance, observed = torch.tensor([[0.3], [0.5], [1.1]]).double()
    found = log_density(1e3 * mean, 1e6 * variance, 1e3 * observed)
    assert_close(found, log_density(mean, variance, observed) - np.log(1e3))


def test_squared_errors_by_hand():
    mean = torch.tensor([[1.0, -2.0], [0.5, 10.0]])
    observed = torch.tensor([[3.0, -2.0], [0.0, -10.0]])
    expected = torch.tensor([[4.0, 0.0], [0.25, 400.0]])
    assert torch.equal(squared_error(mean, observed), expected)
