"""Where searches begin, and when a model has had enough of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.optim.core import OptimizationStatus
from gpytorch.kernels import LinearKernel, RBFKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import fold_mlls, mll_of, normalized_gp, unit_waves
from scipy.stats import qmc

from botorch_xval import FitOptions, fit_gpytorch_mll, make_objective
from botorch_xval.fitting import starts
from botorch_xval.fitting.retries import log_coordinates
from botorch_xval.fitting.starts import MOST, starts_of

X, Y = unit_waves(12)
SUCCESS, STOPPED = OptimizationStatus.SUCCESS, OptimizationStatus.STOPPED


def labels_and_values(mll: ExactMarginalLogLikelihood) -> dict[str, np.ndarray]:
    objective = make_objective([mll.train()])
    starts = list(starts_of(objective, 0, log_coordinates(objective)))
    return {start.label: start.values for start in starts}


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


def test_an_interruption_that_scipy_loses_is_raised(monkeypatch):
    """SciPy's directions are then zero, and every point is the first one."""

    class Interrupted(qmc.Sobol):
        def random(self, n):
            return np.zeros((n, self.d))

    starts._points.cache_clear()
    with monkeypatch.context() as changed:
        changed.setattr(qmc, "Sobol", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            starts._points(3)
    assert len({point[0].tobytes() for point in starts._points(3)}) == MOST


def test_starts_do_not_depend_on_the_other_models():
    mlls = fold_mlls(normalized_gp, X, Y, 3)
    alone = labels_and_values(fold_mlls(normalized_gp, X, Y, 3)[1])
    for mll in mlls:
        mll.train()
    objective = make_objective(mlls)
    starts = list(starts_of(objective, 1, log_coordinates(objective)))
    for start in starts:
        assert np.array_equal(start.values, alone[start.label])


def test_starts_are_those_of_a_fit_alone_to_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    outcomes = torch.randn(6, 12, 1, dtype=torch.float64, generator=generator)
    mlls = [mll_of(normalized_gp(X, each)).train() for each in outcomes]
    together = make_objective(mlls)
    for i, mll in enumerate(mlls):
        alone = make_objective([mll])
        assert alone.variances[0] == together.variances[i]
        pairs = zip(
            starts_of(alone, 0, log_coordinates(alone)),
            starts_of(together, i, log_coordinates(together)),
            strict=True,
        )
        assert all(np.array_equal(a.values, b.values) for a, b in pairs)


def test_starts_are_inside_of_the_bounds():
    mll = mll_of(normalized_gp(X, Y)).train()
    name = "model.covar_module.raw_lengthscale"
    objective = make_objective([mll], bounds={name: (0.2, 0.9)})
    columns = objective.table.columns[name]
    for start in starts_of(objective, 0, log_coordinates(objective)):
        assert (start.values >= objective.bounds[0].lb).all()
        assert (start.values <= objective.bounds[0].ub).all()
        assert (start.values[columns] <= 0.9).all()


def test_values_beyond_a_bound_are_moved_to_it_before_there_are_logarithms():
    mll = mll_of(SingleTaskGP(X, Y))
    mll.model.mean_module.constant = -0.5
    name = "model.mean_module.raw_constant"
    objective = make_objective([mll.train()], bounds={name: (0.1, 1.0)})
    starts = list(starts_of(objective, 0, log_coordinates(objective)))
    assert len(starts) == 1 + 3 + MOST
    column = objective.table.columns[name]
    assert starts[0].values[column] == 0.1
    assert all(np.isfinite(start.values).all() for start in starts)


def test_a_kernel_without_lengthscales_has_starts_of_other_noise_only():
    model = SingleTaskGP(X, Y, covar_module=LinearKernel())
    starts = labels_and_values(mll_of(model))
    assert "lengthscales x 16" not in starts  # it would be the model's own
    assert len(starts) > MOST


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
