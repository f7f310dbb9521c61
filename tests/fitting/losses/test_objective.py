"""Models of one structure in stacked tensors, and what is sampled from their priors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Warp
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from gpytorch.priors import GammaPrior
from helpers import (
    TroubledKernel,
    are_equal,
    assert_close,
    batch_mll,
    fold_mlls,
    mll_of,
    noisy_waves,
    normalized_gp,
    unit_waves,
    values_of,
)

from botorch_xval.fitting.losses.modules import ByModules
from botorch_xval.fitting.losses.objective import SharedParameters, Stack, sampled
from botorch_xval.fitting.losses.parameters import ParameterTable, Unsupported
from botorch_xval.fitting.losses.together import DifferentModels

X, Y = unit_waves(8)


def folds(count: int = 3):
    return fold_mlls(normalized_gp, *noisy_waves(8), count)


# --- the stack ----------------------------------------------------------------------


def test_ordinary_models_are_stacked_in_turn():
    mlls = folds()
    stack = Stack(mlls, None, None)
    assert (stack.num_models, stack.num_each, stack.is_batched) == (3, 1, True)
    assert stack.start.shape == (3, stack.table.size)
    for i, mll in enumerate(mlls):
        assert_close(
            stack.inputs[0][i], mll.model.transform_inputs(mll.model.train_inputs[0])
        )
        assert_close(stack.targets[i], mll.model.train_targets)
        assert np.array_equal(stack.start[i], stack.table.read(mll)[0])
    assert stack.template is not mlls[0]  # whose modules would see other data
    assert not hasattr(stack.template.model, "input_transform")  # applied once


def test_one_model_has_no_dimension_of_models():
    stack = Stack(folds(1), None, None)
    assert not stack.is_batched and stack.num_models == 1
    assert stack.targets.ndim == 1 and stack.inputs[0].ndim == 2


@pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
@pytest.mark.parametrize(("batch", "m"), [((3,), 1), ((), 2), ((2, 3), 1), ((3,), 2)])
def test_every_member_of_a_batch_is_one_model(batch, m):
    X, Y = noisy_waves(6, m, batch)
    mlls = [mll_of(SingleTaskGP(X + k, Y + k)) for k in (5, 6)]
    stack = Stack(mlls, None, None)
    each = int(np.prod(batch)) * m
    assert stack.batch_shape == torch.Size((*batch, m) if m > 1 else batch)
    assert stack.num_each == each and stack.num_models == 2 * each
    own = [mll.model.train_targets.reshape(each, -1) for mll in mlls]
    assert_close(stack.targets, torch.cat(own))


def test_known_noise_is_stacked_and_a_learned_transform_is_kept():
    noise = 0.1 + X[:, :1]
    mlls = [mll_of(SingleTaskGP(X, Y, k * noise)) for k in (1, 2)]
    ((module, stacked),) = (stack := Stack(mlls, None, None)).noise
    assert module is stack.template.likelihood.noise_covar
    for row, mll in zip(stacked, mlls, strict=True):
        assert_close(row, mll.likelihood.noise)
    warped = SingleTaskGP(X, Y, input_transform=Warp(d=2, indices=[0]))
    stack = Stack([mll_of(warped)], None, None)
    assert hasattr(stack.template.model, "input_transform")
    assert_close(stack.inputs[0], X)


def test_models_that_differ_or_share_are_refused():
    one = mll_of(SingleTaskGP(X, Y))
    other = mll_of(SingleTaskGP(X, Y, covar_module=MaternKernel()))
    with pytest.raises(DifferentModels, match="model 1"):
        Stack([one, other], None, None)
    cube = X.expand(3, -1, -1)
    kernel = ScaleKernel(RBFKernel(), batch_shape=torch.Size([3]))
    shared = mll_of(SingleTaskGP(cube, Y.expand(3, -1, -1), covar_module=kernel))
    with pytest.raises(SharedParameters, match="raw_lengthscale are shared.*batch"):
        Stack([shared], None, None)


# --- values -------------------------------------------------------------------------


@pytest.mark.parametrize("make", [folds, lambda: [batch_mll(X, Y)]])
def test_values_are_written_to_their_models(make):
    mlls = make()
    objective = ByModules(Stack(mlls, None, None))
    theta = objective.start + np.arange(len(objective.start))[:, None]
    objective.write(theta)
    rows = np.concatenate([objective.stack.table.read(mll) for mll in mlls])
    assert np.array_equal(rows, theta)
    for i, row in enumerate(theta):
        named = objective.parameters(row, i)
        assert_close(torch.cat([p.reshape(-1) for p in named.values()]), row)
        assert named["model.covar_module.raw_lengthscale"].shape == (1, 2)


def test_samples_are_each_models_own():
    torch.manual_seed(0)
    mlls = folds(2)
    before = [values_of(mll) for mll in mlls]
    objective = ByModules(Stack(mlls, None, None))
    drawn = objective.sample([1, 0, 1])
    assert drawn.shape == (3, objective.start.shape[1])
    assert np.array_equal(drawn[0], drawn[2])  # one draw for a model
    assert not np.array_equal(drawn[0], drawn[1])
    constant = objective.stack.table.columns["model.mean_module.raw_constant"]
    assert np.array_equal(drawn[:, constant], objective.start[[1, 0, 1], constant])
    assert all(are_equal(values_of(m), b) for m, b in zip(mlls, before, strict=True))


def test_sampling_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    mll = batch_mll(X, Y)
    before = {name: value.clone() for name, value in mll.state_dict().items()}
    table = ParameterTable(mll, torch.Size([8]))
    drawn = sampled(mll, table)
    assert drawn.shape == (8, table.size)
    assert not np.array_equal(drawn, table.read(mll))
    assert are_equal(before, mll.state_dict())


def test_sampling_that_fails_half_way_leaves_the_model_as_it_was():
    class Broken(GammaPrior):
        def sample(self, *args: object) -> torch.Tensor:
            raise ArithmeticError("no samples")

    kernel = ScaleKernel(
        RBFKernel(lengthscale_prior=GammaPrior(2.0, 3.0)),
        outputscale_prior=Broken(2.0, 3.0),
    )
    mll = mll_of(SingleTaskGP(X, Y, covar_module=kernel))
    before = values_of(mll)
    with pytest.raises(ArithmeticError, match="no samples"):
        sampled(mll, ParameterTable(mll, torch.Size()))
    assert are_equal(values_of(mll), before)


def test_a_prior_without_setter_is_passed_over():
    kernel = RBFKernel(lengthscale_prior=GammaPrior(2.0, 3.0))
    prior = GammaPrior(2.0, 3.0)
    likelihood = SingleTaskGP(X, Y).likelihood
    likelihood.register_prior("sum_prior", prior, lambda m: m.noise.sum())
    mll = mll_of(SingleTaskGP(X, Y, covar_module=kernel, likelihood=likelihood))
    table = ParameterTable(mll, torch.Size())
    torch.manual_seed(0)
    drawn, start = sampled(mll, table), table.read(mll)
    columns = table.columns["model.covar_module.raw_lengthscale"]
    assert not np.array_equal(drawn[:, columns], start[:, columns])


def test_without_a_closed_form_there_are_no_formulas():
    mll = mll_of(SingleTaskGP(X, Y, covar_module=TroubledKernel()))
    objective = ByModules(Stack([mll], None, None))
    folds, numbers = torch.eye(8, dtype=torch.bool), np.zeros((8, 1), dtype=int)
    assert objective.without(objective.start, folds, objective, numbers) is None
    with pytest.raises(Unsupported):
        objective.predict(objective.start, [0], X[None])
    assert objective.workers(3) == [objective]
