"""Factors of covariances: jitter, padding, and which of them are doubtful."""

from __future__ import annotations

import pytest
import torch
from helpers import assert_close
from torch import Tensor

from botorch_xval.fitting.losses.factorized import factorize
from botorch_xval.fitting.losses.nodes import Workspace


def padded(*covariances: Tensor) -> tuple[Tensor, Tensor]:
    """Covariances of six rows and two padded ones, and residuals."""
    whole = torch.eye(8, dtype=torch.float64).repeat(len(covariances), 1, 1)
    whole[:, :6, :6] = torch.stack(covariances)
    residuals = torch.zeros(len(covariances), 8, dtype=torch.float64)
    residuals[:, :6] = torch.linspace(-1, 2, 6, dtype=torch.float64)
    return whole, residuals


def exponential(scale: float = 1.0) -> Tensor:
    x = torch.arange(6, dtype=torch.float64)
    return scale * (-(x[:, None] - x).abs()).exp()


def test_inverses_and_weights():
    covariance, residuals = padded(exponential(), exponential(3.0))
    found = factorize(covariance.clone(), residuals, 6, Workspace())
    assert_close(found.factor @ found.factor.mT, covariance)
    assert_close(found.inverse @ covariance, torch.eye(8).expand(2, 8, 8))
    assert_close(covariance @ found.weights[..., None], residuals[..., None])
    assert found.is_definite.all() and not found.is_doubtful.any()


@pytest.mark.filterwarnings("ignore:A not p.d.")
def test_each_is_mended_or_named_alone():
    singular = torch.ones(6, 6, dtype=torch.float64)
    bad = -exponential()
    covariance, residuals = padded(exponential(), singular, bad)
    found = factorize(covariance, residuals, 6, Workspace())
    assert found.is_definite.tolist() == [True, True, False]
    assert found.is_doubtful.tolist() == [False, False, False]
    mended = found.factor[1] @ found.factor[1].mT
    assert_close(mended, covariance[1] + 1e-8 * torch.eye(8), rtol=0, atol=1e-12)
    alone = factorize(covariance[:1], residuals[:1], 6, Workspace())
    assert torch.equal(alone.inverse[0], found.inverse[0])


@pytest.mark.parametrize("scale, is_doubtful", [(1e6, False), (1e14, True)])
def test_a_pivot_far_below_the_largest_covariance_is_doubtful(scale, is_doubtful):
    ones = torch.ones(6, 6, dtype=torch.float64)
    covariance, residuals = padded(scale * ones + torch.eye(6))
    found = factorize(covariance, residuals, 6, Workspace())
    assert found.is_doubtful.tolist() == [is_doubtful]
