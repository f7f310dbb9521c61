"""Folds from one factorization against dense algebra of their own rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import assert_close, mll_of, noisy_waves, normalized_gp
from torch import Tensor
from torch.func import jacrev

from botorch_xval.fitting.losses.left_out import leave_out
from botorch_xval.fitting.losses.make import make_objective

N = 9


def symmetric(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(N, N, generator=generator, dtype=torch.float64)
    return root @ root.T / N


PARTS = symmetric(1), symmetric(2)
TARGETS = torch.randn(N, generator=torch.Generator().manual_seed(3)).double()


# Columns of the noise and of the mean, and ones in the rows that have it.
TASK = (torch.arange(N) % 3 == 0).double()
ONE_TASK = [(2, torch.ones(N).double())], [(3, torch.ones(N).double())]
TWO_TASKS = [(2, 1 - TASK), (4, TASK)], [(3, 1 - TASK), (5, TASK)]


def of_rows(theta: Tensor, columns: list[tuple[int, Tensor]]) -> Tensor:
    return sum(theta[column] * where for column, where in columns)


def covariance(theta: Tensor, noise: list[tuple[int, Tensor]]) -> Tensor:
    first, second = theta[0] * PARTS[0], theta[1] ** 2 * PARTS[1]
    return first + second + torch.diag(of_rows(theta, noise))


def of_own_rows(
    theta: Tensor, tasks: tuple, rows: Tensor, scale: Tensor, shift: Tensor
) -> Tensor:
    """Loss, errors, variances and noise of a fold, from its own rows alone."""
    rest = [i for i in range(N) if i not in rows.tolist()]
    noise, mean = tasks[0], of_rows(theta, tasks[1])
    K, y = covariance(theta, noise), scale * TARGETS + shift
    inner, across = K[rest][:, rest], K[rows][:, rest]
    residuals = y[rest] - mean[rest]
    loss = -torch.distributions.MultivariateNormal(
        torch.zeros_like(residuals), inner
    ).log_prob(residuals)
    errors = y[rows] - mean[rows] - across @ torch.linalg.solve(inner, residuals)
    left = K[rows][:, rows] - across @ torch.linalg.solve(inner, across.T)
    return torch.cat([loss[None], errors, left.diagonal(), of_rows(theta, noise)[rows]])


@pytest.mark.parametrize("s", [1, 3])
@pytest.mark.parametrize("tasks", [ONE_TASK, TWO_TASKS], ids=["one task", "two tasks"])
def test_folds_are_those_of_their_own_rows(tasks, s):
    theta = torch.tensor([0.7, 0.9, 0.3, 0.2, 0.5, -0.4], dtype=torch.float64)
    noise, means = tasks
    rows = torch.arange(N).view(-1, s)
    f = len(rows)
    scales = torch.linspace(0.8, 1.3, f, dtype=torch.float64)
    shifts = torch.linspace(-0.4, 0.3, f, dtype=torch.float64)
    K = covariance(theta, noise)
    found = leave_out(
        torch.linalg.inv(K),
        torch.logdet(K),
        TARGETS,
        rows,
        scales,
        shifts,
        [(0, PARTS[0]), (1, 2 * theta[1] * PARTS[1]), *noise],
        [(column, theta[column], where) for column, where in means],
        of_rows(theta, noise),
        len(theta),
    )
    for i in range(f):
        given = tasks, rows[i], scales[i], shifts[i]
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


def test_folds_at_many_points_are_those_at_each():
    X, Y = noisy_waves(9)
    full, folds = (
        make_objective([mll_of(normalized_gp(x, y)) for x, y in parts])
        for parts in (
            [(X, Y)],
            [(X[rest], Y[rest]) for rest in ~torch.eye(9, dtype=torch.bool)],
        )
    )
    generator = np.random.default_rng(0)
    theta = full.start + 0.3 * generator.standard_normal((5, full.start.shape[1]))
    theta = np.maximum(theta, full.bounds[0].lb + 0.1)
    held_out, numbers = torch.eye(9, dtype=torch.bool), np.arange(9)[:, None]
    found = full.hold_out(theta, 0, held_out, folds)
    assert 1 < found.alike.sum() < 9  # some hold out the extreme value of an input
    for a, point in enumerate(theta):
        alike, (one,) = full.without(point[None], held_out, folds, numbers)
        assert (alike == found.alike).all()
        observed = one.scales * full.stack.targets.reshape(-1)[alike] + one.shifts
        assert_close(found.losses[a], one.losses)
        assert_close(observed - found.means[a, :, 0], one.errors[:, 0])
        assert_close(found.variances[a], one.variances)
        assert_close(found.noise[a], one.noise)
