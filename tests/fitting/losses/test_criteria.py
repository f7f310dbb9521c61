"""Criteria in closed form: against modules and autograd, differences, and folds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.fit import fit_gpytorch_mll as botorch_fit
from botorch.models import ModelListGP, MultiTaskGP, SingleTaskGP
from botorch.models.transforms import Warp
from covariances import COVARIANCES, OTHERS, B, batch_with, mixed_data, scalar
from gpytorch.kernels import RBFKernel
from gpytorch.means import LinearMean, ZeroMean
from gpytorch.mlls import (
    ExactMarginalLogLikelihood,
    LeaveOneOutPseudoLikelihood,
    SumMarginalLogLikelihood,
)
from helpers import assert_close, hartmann, losses_of, mll_of, noisy_waves, unit_waves

from botorch_xval import LeaveOneOutCRPS, fit_gpytorch_mll
from botorch_xval.cross_validation.scores import crps, log_density
from botorch_xval.fitting.losses import fused, make
from botorch_xval.fitting.losses.criteria import CRITERIA
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.modules import ByModules
from botorch_xval.fitting.losses.objective import Stack

# Categories are numbers beyond one.
pytestmark = pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")

LEAVE_ONE_OUT = [LeaveOneOutPseudoLikelihood, LeaveOneOutCRPS]
of_each = pytest.mark.parametrize("criterion", LEAVE_ONE_OUT)


@pytest.fixture(params=["compiled", "torch"])
def way(request, monkeypatch):
    """With and without compiled code."""
    if request.param == "torch":
        monkeypatch.setattr(fused, "fused_library", lambda: None)
    elif fused.fused_library() is None:
        pytest.skip("no C++ compiler")
    return request.param


def tasks_mll(criterion):
    torch.manual_seed(1)
    X, Y = unit_waves(20)
    task = (torch.arange(20)[:, None] % 3).to(X)
    return mll_of(MultiTaskGP(torch.cat([X, task], -1), Y + task, -1), criterion)


def mlls_of(criterion):
    yield from (
        mll_of(batch_with(COVARIANCES[name]()).model, criterion)
        for name in ("rbf", "nested mixtures", "product of sums", "priors")
    )
    yield mll_of(batch_with(OTHERS["of a user"]()).model, criterion)
    for kwargs in (
        {"mean_module": ZeroMean(batch_shape=B)},
        {"mean_module": LinearMean(7, batch_shape=B)},
        {"train_Yvar": 0.01 + mixed_data()[0][..., :1]},
    ):
        yield mll_of(batch_with(scalar(RBFKernel), **kwargs).model, criterion)
    yield tasks_mll(criterion)
    yield mll_of(SingleTaskGP(*noisy_waves(13, 2)), criterion)
    warp = Warp(d=2, indices=[0, 1])
    yield mll_of(SingleTaskGP(*unit_waves(12), input_transform=warp), criterion)


@of_each
def test_losses_and_gradients_are_those_of_modules(way, criterion):
    for mll in mlls_of(criterion):
        objective = make_objective([mll])
        assert type(objective) is Exact
        by_modules = ByModules(Stack([mll], None, None))
        generator = np.random.default_rng(0)
        theta = by_modules.start + 0.3 * generator.uniform(size=by_modules.start.shape)
        models = list(range(len(theta)))
        found, expected = (o(theta, models) for o in (objective, by_modules))
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
        scale = np.abs(expected[1]).max()
        np.testing.assert_allclose(found[1] / scale, expected[1] / scale, atol=1e-9)


@pytest.mark.parametrize("criterion", list(CRITERIA))
def test_the_gradient_is_that_of_the_loss(way, criterion):
    objective = make_objective([tasks_mll(criterion)])
    assert type(objective) is Exact
    theta = objective.start + 0.2
    _, (gradient,) = objective(theta, [0])
    for k, slope in enumerate(gradient):
        step = np.zeros_like(theta)
        step[0, k] = 1e-5
        ahead, behind = (objective(theta + s * step, [0])[0][0] for s in (1, -1))
        assert slope == pytest.approx((ahead - behind) / 2e-5, rel=1e-5, abs=1e-9)


@of_each
def test_it_is_the_score_of_rows_without_which_models_are_built(way, criterion):
    X, Y = unit_waves(11)
    model = SingleTaskGP(X, Y, outcome_transform=None)
    (loss,), _ = (objective := make_objective([mll_of(model, criterion)]))(
        objective.start, [0]
    )
    found = []
    for i in range(11):
        rest = torch.arange(11) != i
        fold = SingleTaskGP(X[rest], Y[rest], outcome_transform=None)
        fold.load_state_dict(model.state_dict())
        with torch.no_grad():
            posterior = fold.posterior(X[[i]], observation_noise=True)
        found.append((posterior.mean, posterior.variance, Y[[i]]))
    parts = [torch.cat(part) for part in zip(*found, strict=True)]
    score = log_density(*parts).mean()
    if criterion is LeaveOneOutCRPS:
        score = -crps(*parts).mean().log()
    priors = sum(p.log_prob(of(m)).sum() for _, m, p, of, _ in model.named_priors())
    assert_close(-loss, score + priors / 11, rtol=1e-9)


@of_each
@pytest.mark.parametrize("n", [13, 16, 40])
def test_a_loss_does_not_depend_on_its_company_to_the_last_bit(way, criterion, n):
    mll = mll_of(batch_with(COVARIANCES["nested mixtures"](), n).model, criterion)
    objective = make_objective([mll])
    losses, gradients = objective(objective.start, range(5))
    for models in ([0], [4], [3, 1, 0], [4, 3, 2, 1, 0]):
        found = objective(objective.start[models], models)
        assert np.array_equal(found[0], losses[models])
        assert np.array_equal(found[1], gradients[models])


@of_each
def test_compiled_code_agrees_with_torch_for_any_number_of_points(criterion):
    if fused.fused_library() is None:
        pytest.skip("no C++ compiler")
    for n in (2, 7, 8, 9, 64, 101):
        mll = mll_of(batch_with(COVARIANCES["priors"](), n).model, criterion)
        objective = make_objective([mll])
        assert isinstance(objective, Exact) and objective._fused is not None
        losses, gradients, is_found = objective._fused(objective.start, range(5))
        assert is_found.all()
        expected = objective._in_torch(objective.start, range(5))
        assert_close(losses, expected[0], rtol=1e-10)
        scale = np.abs(expected[1]).max()
        assert_close(gradients / scale, expected[1] / scale, rtol=0, atol=1e-9)


@of_each
def test_some_rows_are_a_model_of_these_rows(way, criterion):
    X, Y = unit_waves(20)
    rows = np.array([0, 3, 4, 8, 11, 12, 19])
    whole = mll_of(SingleTaskGP(X, Y, outcome_transform=None), criterion)
    few = make_objective([whole]).of_rows(rows)
    other = mll_of(SingleTaskGP(X[rows], Y[rows], outcome_transform=None), criterion)
    expected = make_objective([other])
    for one, two in zip(few(few.start, [0]), expected(few.start, [0]), strict=True):
        assert_close(one, two, rtol=1e-10)


@of_each
def test_no_folds_come_from_the_factor_of_all_rows(criterion):
    """Those of the evidence do; these have other losses."""
    objective = make_objective([mll_of(SingleTaskGP(*unit_waves(9)), criterion)])
    held_out = torch.eye(9, dtype=torch.bool)
    assert objective.without(objective.start, held_out) is None


@of_each
@pytest.mark.parametrize("data", [unit_waves(18), hartmann(20), noisy_waves(15, 2)])
def test_fits_end_where_those_by_modules_do(criterion, data, monkeypatch):
    fitted = [mll_of(SingleTaskGP(*data), criterion) for _ in range(2)]
    fit_gpytorch_mll(fitted[0])
    monkeypatch.setattr(make, "_exact", lambda objective: None)
    fit_gpytorch_mll(fitted[1])
    assert_close(losses_of(fitted[0]), losses_of(fitted[1]), rtol=0, atol=1e-6)
    theirs = mll_of(SingleTaskGP(*data), criterion)
    botorch_fit(theirs)
    assert (losses_of(fitted[0]) <= losses_of(theirs) + 1e-5).all()


@of_each
def test_members_of_a_list_are_fitted_by_it(criterion):
    X, Y = unit_waves(14)
    Y = torch.cat([Y, Y.flip(0)], dim=-1)
    models = [SingleTaskGP(X, y[:, None]) for y in Y.mT]
    listed = ModelListGP(*models)
    mll = SumMarginalLogLikelihood(listed.likelihood, listed, criterion)
    fit_gpytorch_mll(mll)
    own = [mll_of(SingleTaskGP(X, y[:, None]), criterion) for y in Y.mT]
    for member, alone in zip(mll.mlls, own, strict=True):
        fit_gpytorch_mll(alone)
        assert_close(losses_of(member), losses_of(alone), rtol=0, atol=1e-9)


def test_what_is_changed_by_a_subclass_has_no_closed_form():
    class Halved(LeaveOneOutPseudoLikelihood):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs) / 2

    model = SingleTaskGP(*unit_waves(9))
    assert type(make_objective([mll_of(model, Halved)])) is ByModules


@pytest.mark.parametrize("z", [0.0, 0.3, 2.0, 9.0, 40.0])
def test_no_share_is_negative(z):
    """Of the derivatives by the diagonal, roots are taken."""
    spread = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) - 0.5 / math.sqrt(math.pi)
    assert z * math.erf(z / math.sqrt(2)) + spread > 0.1


def test_the_evidence_is_first():
    """As in the compiled code."""
    assert list(CRITERIA) == [ExactMarginalLogLikelihood, *LEAVE_ONE_OUT]
