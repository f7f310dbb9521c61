"""Means and noise against GPyTorch's modules and autograd."""

from __future__ import annotations

import pytest
import torch
from botorch.models import MultiTaskGP, SingleTaskGP
from gpytorch.kernels import IndexKernel, RBFKernel
from gpytorch.likelihoods import StudentTLikelihood
from gpytorch.means import ConstantMean, ConstantMeanGrad, LinearMean, ZeroMean
from helpers import assert_close, mll_of, unit_waves

from botorch_xval.fitting.losses.mean_and_noise import Mean, Noise, task_column
from botorch_xval.fitting.losses.parameters import ParameterTable, Unsupported
from botorch_xval.fitting.losses.values import Values

# Known noise is with outcomes as they are.
pytestmark = pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
CPU = torch.device("cpu")
X, Y = unit_waves(12)
TASKS = (torch.arange(12) % 3)[None]
WITH_TASKS = torch.cat([X, TASKS.T.to(X)], dim=-1)


def model_of(kind: str):
    torch.manual_seed(0)
    if kind == "tasks":
        return MultiTaskGP(WITH_TASKS, Y + TASKS.T, task_feature=-1)
    mean = {"constant": ConstantMean, "zero": ZeroMean}.get(kind, lambda: LinearMean(2))
    return SingleTaskGP(X, Y, mean_module=mean())


@pytest.mark.parametrize("kind", ["constant", "zero", "linear", "tasks"])
def test_values_and_derivatives_are_those_of_the_modules(kind):
    model = model_of(kind)
    mll = mll_of(model)
    table = ParameterTable(mll, torch.Size())
    values = Values(table, CPU)
    tasks = TASKS if kind == "tasks" else None
    inputs = WITH_TASKS if kind == "tasks" else X
    mean = Mean(model.mean_module, values.of, tasks, CPU)
    noise = Noise(model.likelihood, values.of, None, tasks, CPU)
    assert mean.has_tasks == noise.has_tasks == (kind == "tasks")
    theta = torch.as_tensor(table.read(mll)) + 0.1 * torch.arange(table.size)
    table.write(mll, theta)
    own, slopes = values.transform(theta)
    means = mean(own, inputs[None], tasks).expand(1, 12)
    expected = model.mean_module(inputs)
    if kind == "tasks":  # a mean for each, of which the model takes its own
        expected = expected.gather(1, TASKS.T)[:, 0]
    variances = noise(own, torch.tensor([0]), tasks).expand(1, 12)
    call = (X, inputs) if kind == "tasks" else (X,)
    expected_noise = model.likelihood(model(*model.train_inputs), *call[1:]).variance
    expected_noise = expected_noise - model(*model.train_inputs).variance
    assert_close(means[0], expected)
    assert_close(variances[0], expected_noise)
    weights = torch.linspace(-1.0, 2.0, 12).double()[None]
    for found, part, parameters, weighted in (
        (mean, -weights, model.mean_module, expected),
        (noise, weights, model.likelihood, expected_noise),
    ):
        gradients = torch.zeros_like(own)
        if found is mean:
            mean.pull_back(part, inputs[None], tasks, gradients)
        else:
            noise.pull_back(part, tasks, gradients)
        tensors = list(parameters.parameters())
        by_raw = (
            torch.autograd.grad(weights[0] @ weighted, tensors, retain_graph=True)
            if tensors
            else []
        )
        names = {id(each.tensor): each.full_name for each in table.parameters}
        expected_gradients = torch.zeros_like(own)
        for tensor, slope in zip(tensors, by_raw, strict=True):
            columns = table.columns[names[id(tensor)]]
            expected_gradients[0, columns] = slope.reshape(-1)
        assert_close(gradients * slopes, expected_gradients)


def test_rows_of_each_column():
    model = model_of("tasks")
    values = Values(ParameterTable(mll_of(model), torch.Size()), CPU)
    noise = Noise(model.likelihood, values.of, None, TASKS, CPU)
    found = list(noise.rows(TASKS[0], Y[:, 0]))
    assert [column for column, _ in found] == noise.columns.tolist()
    for task, (_, where) in enumerate(found):
        assert_close(where, (TASKS[0] == task).double())


def test_known_noise_of_some_rows():
    known = 0.1 + X[:, :1]
    model = SingleTaskGP(X, Y, known, outcome_transform=None)
    values = Values(ParameterTable(mll_of(model), torch.Size()), CPU)
    noise = Noise(model.likelihood, values.of, known.T, None, CPU)
    few = noise.of_rows([1, 4])
    nothing = torch.zeros(1, values.size).double()
    assert_close(few(nothing, torch.tensor([0]), None), known[[1, 4]].T)
    assert not list(noise.rows(None, Y[:, 0])) and noise.columns is None


def test_the_column_of_tasks():
    kernel = RBFKernel(active_dims=(0, 1)) * IndexKernel(3, active_dims=(2,))
    assert task_column(kernel, WITH_TASKS[None]) == 2
    assert task_column(kernel, WITH_TASKS[None] + 0.5) is None
    assert task_column(RBFKernel(), X[None]) is None
    other = kernel * IndexKernel(2, active_dims=(1,))
    assert task_column(other, WITH_TASKS[None]) is None


def test_what_is_of_another_kind():
    values = Values(ParameterTable(mll_of(model_of("zero")), torch.Size()), CPU)
    with pytest.raises(Unsupported, match="ConstantMeanGrad"):
        Mean(ConstantMeanGrad(), values.of, None, CPU)
    with pytest.raises(Unsupported, match="StudentTLikelihood"):
        Noise(StudentTLikelihood(), values.of, None, None, CPU)
    with pytest.raises(Unsupported, match="Hadamard"):
        Noise(model_of("tasks").likelihood, values.of, None, None, CPU)
