"""When a model has been searched from enough starts, and what was found."""

from __future__ import annotations

from types import SimpleNamespace

import botorch.fit
import numpy as np
import pytest
import torch
from botorch.exceptions.warnings import OptimizationWarning
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from botorch.optim.core import OptimizationStatus
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior
from helpers import losses_of, mll_of, noisy_waves, normalized_gp, unit_waves
from sklearn.datasets import load_linnerud

from botorch_xval import fit_each, fit_gpytorch_mll
from botorch_xval.fitting import multistart
from botorch_xval.fitting.multistart import ENOUGH, ROUNDS, distinct, is_settled

X, Y = unit_waves(12)
SUCCESS, STOPPED = OptimizationStatus.SUCCESS, OptimizationStatus.STOPPED


def linnerud(output: int) -> ExactMarginalLogLikelihood:
    """Of an output that BoTorch fits 10 nats worse than is possible."""
    inputs, outcomes = map(torch.as_tensor, load_linnerud(return_X_y=True))
    transform = Normalize(inputs.shape[-1])
    return mll_of(
        SingleTaskGP(inputs, outcomes[:, [output]], input_transform=transform)
    )


def tried(*losses: float, status: OptimizationStatus = SUCCESS) -> list:
    return [
        SimpleNamespace(search=SimpleNamespace(best_loss=loss, status=status))
        for loss in losses
    ]


# --- when there are enough ----------------------------------------------------------


def test_a_model_is_settled_when_its_lowest_optimum_was_found_often_enough():
    assert is_settled(tried(*[1.0] * ENOUGH), 10)
    assert not is_settled(tried(*[1.0] * (ENOUGH - 1), 1.5), 10)
    assert not is_settled(tried(0.9, *[1.0] * ENOUGH), 10)
    assert is_settled(tried(*[1.0] * (ENOUGH - 1), 1.0005), 10)  # 0.005 nats
    assert not is_settled(tried(*[1.0] * (ENOUGH - 1), 1.0005), 100)  # 0.05
    assert is_settled(tried(1.0, status=STOPPED), 10)
    assert not is_settled(tried(np.inf), 10)


def test_optima_that_differ_by_less_than_a_hundredth_are_one():
    groups = distinct(tried(1.0, 2.0, 1.0005, 2.5), 10)
    losses = [[t.search.best_loss for t in group] for group in groups]
    assert losses == [[1.0, 1.0005], [2.0], [2.5]]


@pytest.mark.several
def test_a_model_with_one_optimum_has_one_round():
    mll = mll_of(normalized_gp(X, Y))
    fit_gpytorch_mll(mll)
    (record,) = mll.fit_records
    assert len(record.optima) == 1
    assert len(record.optima[0].starts) == ROUNDS[0]
    assert record.gain == 0.0
    assert record.losses[-1] == record.optima[0].loss


@pytest.mark.several
@pytest.mark.parametrize(("output", "gain"), [(0, 9.0), (1, 3.5)])
def test_the_better_optimum_is_found_where_botorch_ends_in_another(
    output: int, gain: float
):
    ours, host = linnerud(output), linnerud(output)
    fit_gpytorch_mll(ours)
    botorch.fit.fit_gpytorch_mll(host)
    lower, higher = (20 * losses_of(mll).item() for mll in (ours, host))
    assert higher - lower > gain
    (record,) = ours.fit_records
    assert 20 * record.loss == pytest.approx(lower, abs=1e-8)
    assert [o.loss for o in record.optima] == sorted(o.loss for o in record.optima)


@pytest.mark.several
def test_several_outputs_threads_and_strategies_end_in_the_same_place():
    inputs, outcomes = map(torch.as_tensor, load_linnerud(return_X_y=True))
    found = []
    for strategy in ("auto", "loop", "batch"):
        transform = Normalize(3)
        mll = mll_of(SingleTaskGP(inputs, outcomes, input_transform=transform))
        fit_gpytorch_mll(mll, optimizer_kwargs={"strategy": strategy})
        found.append([r.losses for r in mll.fit_records])
    assert found[0] == found[1] == found[2]
    alone = [linnerud(k) for k in range(3)]
    fit_each(alone)
    for k, mll in enumerate(alone):
        assert mll.fit_records[0].loss == pytest.approx(found[0][k][-1], abs=1e-9)


@pytest.mark.several
def test_a_start_that_fails_costs_that_start_only():
    class Picky(RBFKernel):
        """Cannot be evaluated with long lengthscales."""

        has_lengthscale = True

        def forward(self, x1, x2, **params):
            if self.lengthscale.max() > 5:
                raise RuntimeError("too long")
            return super().forward(x1, x2, **params)

    mll, plain = (
        mll_of(SingleTaskGP(X, Y, covar_module=kernel(2, GammaPrior(3.0, 6.0))))
        for kernel in (
            lambda d, prior: Picky(ard_num_dims=d, lengthscale_prior=prior),
            lambda d, prior: RBFKernel(ard_num_dims=d, lengthscale_prior=prior),
        )
    )
    with pytest.warns(OptimizationWarning, match="1 of 1 models ended in an error"):
        fit_gpytorch_mll(mll)
    fit_gpytorch_mll(plain)
    (record,), (other,) = mll.fit_records, plain.fit_records
    assert record.status is SUCCESS
    assert record.attempts == 1
    assert "lengthscales x 16" not in [s for o in record.optima for s in o.starts]
    assert record.loss == pytest.approx(other.loss, abs=1e-6)


# --- what is said of optima ---------------------------------------------------------


@pytest.mark.several
def test_the_dead_optimum_is_named():
    """In twelve dimensions a tight prior around 1/3 keeps all points apart."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(15, 12, generator=generator, dtype=torch.float64)
    outcomes = inputs[:, :1].sin()
    for prior, is_dead in ((GammaPrior(300.0, 900.0), True), (None, False)):
        kernel = ScaleKernel(RBFKernel(ard_num_dims=12, lengthscale_prior=prior))
        mll = mll_of(SingleTaskGP(inputs, outcomes, covar_module=kernel))
        fit_gpytorch_mll(mll)
        (record,) = mll.fit_records
        assert record.optima[0].is_dead is is_dead


@pytest.mark.several
def test_a_callback_that_stops_a_model_stops_all_of_its_searches():
    seen = []

    def callback(parameters, result):
        seen.append((result.model, result.start))
        if result.model == 0:
            raise StopIteration

    mll = mll_of(SingleTaskGP(X, torch.cat([Y, Y**2], dim=-1)))
    fit_gpytorch_mll(mll, optimizer_kwargs={"callback": callback})
    first, second = mll.fit_records
    assert first.status is STOPPED
    assert second.status is SUCCESS
    assert sum(model == 0 for model, _ in seen) == 1
    assert len({start for model, start in seen if model == 1}) >= ROUNDS[0]


@pytest.mark.several
def test_models_of_many_points_look_for_optima_with_fewer_first(monkeypatch):
    x, y = noisy_waves(60)
    expected, found = (mll_of(normalized_gp(x, y)) for _ in range(2))
    fit_gpytorch_mll(expected)
    monkeypatch.setattr(multistart, "MANY", 60)
    monkeypatch.setattr(multistart, "SOME", 30)
    losses = []
    options = {"callback": lambda _, result: losses.append(result.fval)}
    fit_gpytorch_mll(found, optimizer_kwargs=options)
    (record,), (whole,) = found.fit_records, expected.fit_records
    assert record.loss == pytest.approx(whole.loss, abs=1e-7)
    assert record.evaluations < 0.6 * whole.evaluations
    labels = [label for optimum in record.optima for label in optimum.starts]
    assert "own" in labels
    assert any("first with 30 points" in label for label in labels)
    assert len(labels) <= 1 + multistart.BEST
    # Nobody is told the losses of some points.
    assert min(losses) == pytest.approx(record.loss, abs=1e-9)
    # "own" and starts of the user have all points.
    for starts in ("own", [{}]):
        mll = mll_of(normalized_gp(x, y))
        fit_gpytorch_mll(mll, optimizer_kwargs={"starts": starts})
        assert len(mll.fit_records[0].optima[0].starts) == 1
