"""The summed loss against BoTorch's own fit of a batch by the sum of its losses."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.optim.closures import get_loss_closure, get_loss_closure_with_grads
from botorch.optim.core import OptimizationResult, OptimizationStatus
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.kernels import RBFKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import SAME, assert_close, fold_mlls, noisy_waves, normalized_gp
from reporting_helpers import lines_of_color, record
from torch import Tensor

from botorch_xval import FitOptions, fit_each

FILE = Path(__file__).parents[2] / "benchmarks" / "summed.py"


def load(path: Path) -> ModuleType:
    """A script of the benchmarks, which are no package."""
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


summed_losses = load(FILE)
fit_summed = summed_losses.fit_summed


def batch_mll(num_models: int = 4, n: int = 10) -> ExactMarginalLogLikelihood:
    x, y = noisy_waves(n, batch=(num_models,), seed=2)
    model = normalized_gp(x, y)
    return ExactMarginalLogLikelihood(model.likelihood, model)


def botorchs_sum(
    mll: ExactMarginalLogLikelihood, options: dict[str, float]
) -> tuple[OptimizationResult, list[float]]:
    """BoTorch fits a batch by one optimizer if it is handed a closure."""
    mll.train()
    parameters = {n: p for n, p in mll.named_parameters() if p.requires_grad}
    course: list[float] = []
    result = fit_gpytorch_mll_scipy(
        mll,
        closure=get_loss_closure_with_grads(mll, parameters),
        options=options,
        callback=lambda _, state: course.append(state.fval),
    )
    return result, course


def own_losses(mlls: list[ExactMarginalLogLikelihood]) -> list[float]:
    return [get_loss_closure(mll.train())().item() for mll in mlls]


@pytest.mark.parametrize("num_steps", [1, 20])
def test_takes_the_steps_of_botorchs_sum(num_steps):
    # Later steps differ, as rounding differences grow from step to step.
    result, course = botorchs_sum(batch_mll(), {"maxiter": num_steps})
    records = fit_summed([batch_mll()], {"maxiter": num_steps})
    found = np.array([record.losses for record in records]).sum(axis=0)
    assert [record.iterations for record in records] == [num_steps] * 4
    assert len(course) == num_steps
    assert_close(found[1:], course, **SAME)
    assert {r.status for r in records} == {OptimizationStatus.STOPPED}
    assert result.status is OptimizationStatus.STOPPED


def test_single_models_get_worse_while_the_sum_never_does():
    records = fit_summed(fold_mlls(normalized_gp, *noisy_waves(10)))
    losses = np.array([record.losses for record in records])  # models x steps
    assert (np.diff(losses) > 1e-6).any(axis=1).sum() >= 5
    assert (np.diff(losses.sum(axis=0)) <= 0).all()


def test_independent_fits_never_get_worse_and_need_fewer_evaluations():
    data = noisy_waves(10)
    summed = fit_summed(fold_mlls(normalized_gp, *data))
    mlls = fold_mlls(normalized_gp, *data)
    fit_each(mlls)
    alone = [record for mll in mlls for record in mll.fit_records]
    assert_close([r.losses[0] for r in summed], [r.losses[0] for r in alone], **SAME)
    assert all((np.diff(record.losses) <= 0).all() for record in alone)
    spent = [sum(r.evaluations for r in records) for records in (summed, alone)]
    assert spent[1] < spent[0]


def test_writes_the_values_into_every_model():
    mlls = fold_mlls(normalized_gp, *noisy_waves(8))
    starts = own_losses(mlls)
    records = fit_summed(mlls, {"maxiter": 15})
    assert_close([record.losses[0] for record in records], starts)
    assert_close([record.loss for record in records], own_losses(mlls))
    assert sum(own_losses(mlls)) < sum(starts)
    # One optimizer: what is spent on one is spent on all.
    assert len({(r.evaluations, r.iterations, r.message) for r in records}) == 1
    assert all(record.attempts == 1 and record.seconds > 0 for record in records)


def test_one_model_is_fitted_as_if_alone():
    summed, alone = (fold_mlls(normalized_gp, *noisy_waves(10))[0] for _ in range(2))
    (record,) = fit_summed([summed], {"maxiter": 15})
    fit_each([alone], FitOptions(options={"maxiter": 15}, coordinates="raw"))
    assert_close(record.losses, alone.fit_records[0].losses, **SAME)


class Impossible(RBFKernel):
    """Not a covariance."""

    def forward(self, x1: Tensor, x2: Tensor, **params: object) -> Tensor:
        return -super().forward(x1, x2, **params)


@pytest.mark.filterwarnings("ignore:A not p.d.")
def test_defect_models_without_a_loss_have_no_iterations():
    def model(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        unit = (train_X - train_X.min(dim=0).values) / 100
        return SingleTaskGP(unit.clamp(max=1.0), train_Y, covar_module=Impossible())

    records = fit_summed(fold_mlls(model, *noisy_waves(5)))
    assert {record.status for record in records} == {OptimizationStatus.FAILURE}
    assert {record.losses for record in records} == {()}
    assert {record.iterations for record in records} == {0}
    assert torch.tensor([record.loss for record in records]).isnan().all()


def test_summed_and_independent_side_by_side():
    first = [record(3.0, 1.0, 2.0, 0.5, evaluations=800), record(2.0, 1.5, 1.0, 0.75)]
    second = [record(3.0, 0.5), record(2.0, 0.75, evaluations=7)]
    left, right = summed_losses.plot_summed_and_independent(first, second)
    for ax, records in ((left, first), (right, second)):
        courses = lines_of_color(ax, "#0072B2")
        for course, expected in zip(courses, records, strict=True):
            assert course[:, 1].tolist() == [-loss for loss in expected.losses]
    assert "805 model evaluations, summed loss 1.2500" in left.get_title(loc="left")
    assert "12 model evaluations, summed loss 1.2500" in right.get_title(loc="left")
    assert len(lines_of_color(left, "#D55E00")) == 1
    assert lines_of_color(right, "#D55E00") == []
    low, high = left.get_ylim()
    assert low < -0.75 < -0.5 < high  # where the models end
    assert right.get_ylim() == (low, high)
    plt.close("all")
