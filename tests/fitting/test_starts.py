"""Where searches begin, and when a model has had enough of them."""

from __future__ import annotations

from types import SimpleNamespace

import botorch.fit
import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from botorch.optim.core import OptimizationStatus
from gpytorch.kernels import LinearKernel, RBFKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior
from helpers import fold_mlls, losses_of, mll_of, normalized_gp, unit_waves
from sklearn.datasets import load_linnerud

from botorch_xval import FitOptions, fit_each, fit_gpytorch_mll, make_objective
from botorch_xval.fitting.multistart import ENOUGH, ROUNDS, distinct, is_settled
from botorch_xval.fitting.retries import log_coordinates
from botorch_xval.fitting.starts import MOST, starts_of

X, Y = unit_waves(12)
SUCCESS, STOPPED = OptimizationStatus.SUCCESS, OptimizationStatus.STOPPED


def labels_and_values(mll: ExactMarginalLogLikelihood) -> dict[str, np.ndarray]:
    objective = make_objective([mll.train()])
    starts = starts_of(objective, 0, log_coordinates(objective))
    return {start.label: start.values for start in starts}


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


# --- starts -------------------------------------------------------------------------


def test_the_first_start_is_the_models_own_and_all_differ():
    mll = mll_of(normalized_gp(X, Y))
    own = make_objective([mll.train()]).start[0]
    starts = labels_and_values(mll)
    assert next(iter(starts)) == "own"
    assert np.array_equal(starts["own"], own)
    assert len(starts) == 1 + 3 + MOST
    assert len({tuple(values) for values in starts.values()}) == len(starts)


def test_lengthscales_get_a_common_factor_and_noise_a_share_of_the_variance():
    kernel = ScaleKernel(RBFKernel(ard_num_dims=2)).to(X)
    model = SingleTaskGP(X, 3 * Y, outcome_transform=None, covar_module=kernel)
    kernel.base_kernel.lengthscale = X.new_tensor([[0.3, 0.6]])
    mll = mll_of(model)
    long = labels_and_values(mll)["lengthscales x 4, noise 0.01"]
    table = make_objective([mll.train()]).table
    values = table.constrained(long)
    found = values["model.covar_module.base_kernel.raw_lengthscale"]
    assert found == pytest.approx([1.2, 2.4], rel=1e-10)
    noise = values["likelihood.noise_covar.raw_noise"][0]
    assert noise == pytest.approx(0.01 * (3 * Y).var(correction=0).item(), rel=1e-10)
    other = "model.covar_module.raw_outputscale"
    assert values[other] == pytest.approx([kernel.outputscale.item()], rel=1e-10)


def test_starts_are_the_same_every_time_and_do_not_touch_the_generators():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one = labels_and_values(mll_of(normalized_gp(X, Y)))
    other = labels_and_values(mll_of(normalized_gp(X, Y)))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert all(np.array_equal(one[label], other[label]) for label in one)


def test_starts_do_not_depend_on_the_other_models():
    mlls = fold_mlls(normalized_gp, X, Y, 3)
    alone = labels_and_values(fold_mlls(normalized_gp, X, Y, 3)[1])
    for mll in mlls:
        mll.train()
    objective = make_objective(mlls)
    starts = starts_of(objective, 1, log_coordinates(objective))
    for start in starts:
        assert np.array_equal(start.values, alone[start.label])


def test_starts_are_inside_of_the_bounds():
    mll = mll_of(normalized_gp(X, Y)).train()
    name = "model.covar_module.raw_lengthscale"
    objective = make_objective([mll], bounds={name: (0.2, 0.9)})
    columns = objective.table.columns[name]
    for start in starts_of(objective, 0, log_coordinates(objective)):
        assert (start.values >= objective.bounds[0].lb).all()
        assert (start.values <= objective.bounds[0].ub).all()
        assert (start.values[columns] <= 0.9).all()


def test_a_kernel_without_lengthscales_has_starts_of_other_noise_only():
    model = SingleTaskGP(X, Y, covar_module=LinearKernel())
    starts = labels_and_values(mll_of(model))
    assert "lengthscales x 16" not in starts  # it would be the model's own
    assert len(starts) > MOST


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
    fit_gpytorch_mll(mll)
    fit_gpytorch_mll(plain)
    (record,), (other,) = mll.fit_records, plain.fit_records
    assert record.status is SUCCESS
    assert record.attempts == 1
    assert "lengthscales x 16" not in [s for o in record.optima for s in o.starts]
    assert record.loss == pytest.approx(other.loss, abs=1e-6)


# --- starts of the user -------------------------------------------------------------


def test_starts_of_the_user():
    name = "model.covar_module.raw_lengthscale"
    mll = mll_of(normalized_gp(X, Y))
    starts = [{name: 0.5}, {name: torch.tensor([[1.0, -1.0]])}]
    fit_gpytorch_mll(mll, optimizer_kwargs={"starts": starts})
    (record,) = mll.fit_records
    labels = [label for optimum in record.optima for label in optimum.starts]
    assert sorted(labels) == ["given 0", "given 1"]
    assert np.isnan(record.gain)  # there was no search from the initial values


def test_starts_of_the_user_for_each_model_of_a_batch():
    mll = mll_of(SingleTaskGP(X, torch.cat([Y, Y**2], dim=-1)))
    name = "likelihood.noise_covar.raw_noise"
    values = torch.tensor([[0.25], [0.5]], dtype=torch.float64)
    objective = make_objective([mll.train()])
    columns = objective.table.columns[name]
    for model, expected in ((0, 0.25), (1, 0.5)):
        start = objective.start_from({name: values}, model)
        assert start[columns] == pytest.approx([expected])
        rest = np.delete(start, np.r_[columns])
        assert np.array_equal(rest, np.delete(objective.start[model], np.r_[columns]))


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ("many", "starts: expected one of"),
        ([], "starts: expected one of"),
        ([1.0], "starts: expected one of"),
    ],
)
def test_starts_that_are_none_are_refused(starts: object, message: str):
    with pytest.raises(ValueError, match=message):
        FitOptions(starts=starts)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"lengthscale": 1.0}, "starts: expected names among"),
        (
            {"model.covar_module.raw_lengthscale": torch.ones(3)},
            r"starts: expected values .* broadcast to \(1, 2\), got shape \(3,\)",
        ),
    ],
)
def test_starts_for_no_parameter_are_refused(start: dict, message: str):
    mll = mll_of(normalized_gp(X, Y))
    before = {k: v.clone() for k, v in mll.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        fit_gpytorch_mll(mll, optimizer_kwargs={"starts": [start]})
    assert all(torch.equal(v, before[k]) for k, v in mll.state_dict().items())


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
