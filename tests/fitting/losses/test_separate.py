"""Several objectives as one: numbers of models, sizes, and who evaluates what."""

from __future__ import annotations

import numpy as np
import torch
from botorch.models import SingleTaskGP
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import RBFKernel
from gpytorch.mlls import MarginalLogLikelihood
from helpers import are_equal, assert_close, fold_mlls, mll_of, unit_waves

from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.modules import ByModules
from botorch_xval.fitting.losses.objective import Objective, Stack
from botorch_xval.fitting.losses.separate import Separate

X, Y = unit_waves(8)


def two_outputs(X, Y):
    return SingleTaskGP(X, torch.cat([Y, Y**2], dim=-1))


def separate() -> tuple[Separate, list[MarginalLogLikelihood]]:
    """Mll 2 alone, and the others together."""
    mlls = fold_mlls(two_outputs, X, Y, 4)
    groups = [[2], [0, 1, 3]]
    parts = [ByModules(Stack([mlls[i] for i in g], None, None)) for g in groups]
    return Separate(parts, groups), mlls


def test_models_keep_their_numbers():
    objective, mlls = separate()
    together = ByModules(Stack(mlls, None, None))
    assert objective.num_models == 8
    assert np.array_equal(objective.start, together.start)
    theta = objective.start + 0.1 * np.arange(8)[:, None]
    for models in (list(range(8)), [5], [7, 4, 0, 4]):
        found = objective(theta[models], models)
        expected = together(theta[models], models)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other, rtol=1e-9)
    for i in (0, 5):
        found = objective.parameters(theta[i], i)
        assert are_equal(found, together.parameters(theta[i], i))


def test_values_reach_the_right_models():
    torch.manual_seed(0)
    objective, mlls = separate()
    theta = objective.start + 0.1 * np.arange(8)[:, None]
    objective.write(theta)
    table = Stack(mlls, None, None).table
    rows = np.concatenate([table.read(mll) for mll in mlls])
    assert np.array_equal(rows, theta)
    drawn = objective.sample([4, 1])
    constant = table.columns["model.mean_module.raw_constant"]  # without a prior
    assert np.array_equal(drawn[:, constant], theta[[4, 1], constant])


def test_bounds_are_each_models_own_and_logarithms_those_of_all():
    name = "model.covar_module.raw_lengthscale"

    def part(low: float, **kwargs: object) -> Objective:
        kernel = RBFKernel(ard_num_dims=2, **kwargs)
        mll = mll_of(SingleTaskGP(X, Y, covar_module=kernel))
        return ByModules(Stack([mll], None, {name: (low, None)}))

    other = part(0.2, lengthscale_constraint=GreaterThan(0.01, transform=None))
    objective = Separate([part(0.1), other], [[1], [0]])
    columns = other.stack.table.columns[name]
    assert [b.lb[columns][0] for b in objective.bounds] == [0.2, 0.1]
    assert not objective.softplus[columns].any()
    assert not objective.untransformed[columns].any()
    assert objective.group_size == 1


# --- models of several sizes --------------------------------------------------------


def of_sizes(*sizes: int) -> tuple[Objective, list[MarginalLogLikelihood]]:
    mlls = [mll_of(two_outputs(X[:n], Y[:n])) for n in sizes]
    return make_objective([mll.train() for mll in mlls]), mlls


def test_models_of_other_sizes_are_those_of_their_own_objectives():
    objective, mlls = of_sizes(8, 5, 8, 6, 5)
    assert isinstance(objective, Separate) and objective.is_parallel
    assert objective.num_points == 8
    assert [objective.points_of(i) for i in range(10)] == [8, 8, 5, 5, 8, 8, 6, 6, 5, 5]
    theta = objective.start + 0.1 * np.arange(10)[:, None]
    for worker in (objective, *objective.workers(2)):
        losses, gradients = worker(theta, list(range(10)))
        for j, mll in enumerate(mlls):
            alone = make_objective([mll])
            expected = alone(theta[2 * j : 2 * j + 2], [0, 1])
            assert_close(losses[2 * j : 2 * j + 2], expected[0], rtol=1e-12)
            assert_close(gradients[2 * j : 2 * j + 2], expected[1], rtol=1e-9)


def test_the_part_of_models_of_one_size_has_their_numbers():
    objective, mlls = of_sizes(8, 5, 8)
    part, numbers = objective.part_of([4, 5])
    assert part.num_points == 8 and numbers == [2, 3]
    assert objective.part_of([1, 2]) == (objective, [1, 2])


def test_predictions_come_in_the_order_that_was_asked_for():
    objective, mlls = of_sizes(8, 5, 8)
    theta = objective.start + 0.1 * np.arange(6)[:, None]
    models = [3, 0, 5, 2]
    points = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(0)).to(X)
    mean, variance, noise = objective.predict(theta[models], models, points)
    for a, i in enumerate(models):
        part, (number,) = objective.part_of([i])
        own = part.predict(theta[[i]], [number], points[[a]])
        assert_close(mean[a], own[0][0])
        assert_close(variance[a], own[1][0])
        assert_close(noise[a], own[2][0].expand_as(noise[a]))


def test_fewer_points_are_those_that_a_model_has():
    objective, _ = of_sizes(8, 5)
    few = objective.of_rows(np.array([1, 4, 6]))
    assert few is not None
    assert [few.points_of(i) for i in (0, 2)] == [3, 2]
    part, numbers = objective.part_of([2, 3])
    own = part.of_rows(np.array([1, 4]))  # of the smaller model
    assert own is not None
    found, expected = few(few.start[[2, 3]], [2, 3]), own(own.start, numbers)
    assert_close(found[0], expected[0], rtol=1e-12)
    assert_close(found[1], expected[1], rtol=1e-12)
