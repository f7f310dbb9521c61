"""Folds from one factorization against dense algebra of their own rows."""

from __future__ import annotations

import pytest
import torch
from helpers import assert_close
from torch import Tensor
from torch.func import jacrev

from botorch_xval.fitting.losses.left_out import leave_out

N, MEAN, NOISE = 9, slice(3, 4), slice(2, 3)


def symmetric(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(N, N, generator=generator, dtype=torch.float64)
    return root @ root.T / N


PARTS = symmetric(1), symmetric(2)
TARGETS = torch.randn(N, generator=torch.Generator().manual_seed(3)).double()


def covariance(theta: Tensor) -> Tensor:
    first, second, noise = theta[0] * PARTS[0], theta[1] ** 2 * PARTS[1], theta[2]
    return first + second + noise * torch.eye(N, dtype=torch.float64)


def of_own_rows(theta: Tensor, rows: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Loss, errors, variances and noise of a fold, from its own rows alone."""
    rest = [i for i in range(N) if i not in rows.tolist()]
    K, y = covariance(theta), scale * TARGETS + shift
    inner, across = K[rest][:, rest], K[rows][:, rest]
    residuals = y[rest] - theta[3]
    loss = -torch.distributions.MultivariateNormal(
        torch.zeros_like(residuals), inner
    ).log_prob(residuals)
    errors = y[rows] - theta[3] - across @ torch.linalg.solve(inner, residuals)
    left = K[rows][:, rows] - across @ torch.linalg.solve(inner, across.T)
    return torch.cat([loss[None], errors, left.diagonal(), theta[2].expand(len(rows))])


@pytest.mark.parametrize("s", [1, 3])
def test_folds_are_those_of_their_own_rows(s):
    theta = torch.tensor([0.7, 0.9, 0.3, 0.2], dtype=torch.float64)
    rows = torch.arange(N).view(-1, s)
    f = len(rows)
    scales = torch.linspace(0.8, 1.3, f, dtype=torch.float64)
    shifts = torch.linspace(-0.4, 0.3, f, dtype=torch.float64)
    K = covariance(theta)
    found = leave_out(
        torch.linalg.inv(K),
        torch.logdet(K),
        TARGETS,
        rows,
        scales,
        shifts,
        [
            (slice(0, 1), PARTS[0]),
            (slice(1, 2), 2 * theta[1] * PARTS[1]),
            (NOISE, None),
        ],
        (MEAN, theta[3]),
        theta[2].expand(N),
        4,
    )
    for i in range(f):
        given = rows[i], scales[i], shifts[i]
        value, slopes = (
            of_own_rows(theta, *given),
            jacrev(of_own_rows)(theta, *given),
        )
        parts = value.split([1, s, s, s]), slopes.split([1, s, s, s])
        (loss, errors, variances, noise), by = parts
        assert_close(found.losses[i], loss[0])
        assert_close(found.gradients[i], by[0][0])
        assert_close(found.errors[i], errors)
        assert_close(found.error_slopes[i], by[1])
        assert_close(found.variances[i], variances)
        assert_close(found.variance_slopes[i], by[2])
        assert_close(found.noise[i], noise)
        assert_close(found.noise_slopes[i], by[3])
