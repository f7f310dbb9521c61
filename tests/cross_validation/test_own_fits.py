"""Folds of models that have a fit of their own."""

from __future__ import annotations

import math

import botorch.fit
import pytest
import torch
from botorch.exceptions.errors import ModelFittingError, UnsupportedError
from botorch.models import SingleTaskGP
from botorch.models.robust_relevance_pursuit_model import (
    RobustRelevancePursuitSingleTaskGP,
)
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import SAME, assert_close, unit_waves

from botorch_xval import FitOptions, compare, cross_validate
from botorch_xval.cross_validation import FITS, k_fold
from botorch_xval.cross_validation.own_fits import fit_by_itself, has_own_fit
from botorch_xval.fitting.fit import fit_independently
from botorch_xval.reporting.plots import plot_predictions


class Named(SingleTaskGP):
    """A fit that takes no optimizer, and is short."""

    def custom_fit(self, mll, closure=None, optimizer_kwargs=None, **kwargs):
        mll.model.covar_module.lengthscale = 0.4
        return mll.eval()


class Strict(SingleTaskGP):
    """A fit without any argument but the mll's, that fails for some rows."""

    def custom_fit(self, mll, **kwargs):
        if (self.train_inputs[0][:, 0] > 0.9).sum() < 2:
            raise ModelFittingError("on purpose")
        return mll.eval()


def with_outlier(n: int = 16):
    X, Y = unit_waves(n)
    Y[3] += 30.0
    return X, Y


def test_which_models_have_one():
    X, Y = unit_waves(6)
    assert has_own_fit(Named(X, Y)) and not has_own_fit(SingleTaskGP(X, Y))
    assert has_own_fit(RobustRelevancePursuitSingleTaskGP(X, Y))


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True")
@pytest.mark.filterwarnings("ignore:SparseOutlierNoise")  # where it predicts
def test_folds_are_those_of_botorchs_own_fit():
    X, Y = with_outlier(12)
    options = FitOptions(starts="own", coordinates="raw")
    found = cross_validate(
        RobustRelevancePursuitSingleTaskGP,
        X,
        Y,
        folds=k_fold(2),
        fit_options=options,
        keep_models=True,
    )
    assert found.failed == {}
    assert {fit.how for fit in found.fits} == {"custom"}
    assert min(record.evaluations for record in found.records) > 20
    for i, rows in enumerate(found.folds.held_out):
        model = RobustRelevancePursuitSingleTaskGP(X[~rows], Y[~rows])
        mll = ExactMarginalLogLikelihood(model.likelihood, model)
        botorch.fit.fit_gpytorch_mll(
            mll,
            optimizer=fit_independently,
            optimizer_kwargs={"starts": "own", "coordinates": "raw"},
        )
        posterior = mll.model.posterior(X[rows], observation_noise=True)
        mine = found.fold_of == i
        assert_close(found.mean[mine], posterior.mean, **SAME)
    # The outlier does not spoil the others.
    plain = cross_validate(SingleTaskGP, X, Y, folds=k_fold(2), fit_options=options)
    others = torch.arange(12) != 3
    errors = [(r.mean - r.observed).abs()[others].mean() for r in (found, plain)]
    assert errors[0] < 0.5 * errors[1]


def test_a_method_without_an_optimizer():
    X, Y = unit_waves(8)
    found = cross_validate(Named, X, Y, keep_models=True)
    for model, record in zip(found.models, found.records, strict=True):
        assert_close(model.covar_module.lengthscale, [[0.4, 0.4]], rtol=1e-6)
        assert math.isfinite(record.loss)
    plot_predictions(found)


@pytest.mark.filterwarnings("ignore:.* folds could not be fitted")
def test_a_fold_that_fails_is_named():
    X, Y = unit_waves(10)
    X = torch.cat([X, torch.tensor([[0.95, 0.1], [0.97, 0.8]]).double()])
    Y = torch.cat([Y, Y[:2]])
    X[:10, 0] *= 0.8
    found = cross_validate(Strict, X, Y)
    assert len(found.failed) == 2
    assert all("on purpose" in why for why in found.failed.values())
    assert int(found.mean.isnan().sum()) == 2


@pytest.mark.parametrize("fit", [name for name in FITS if name != "refit"])
def test_other_ways_are_refused_by_name(fit):
    X, Y = unit_waves(6)
    with pytest.raises(UnsupportedError, match="Named, which has a fit of its own"):
        cross_validate(Named, X, Y, fit=fit)


def test_several_outcomes_are_refused():
    X, Y = unit_waves(6)
    with pytest.raises(UnsupportedError, match="one by one"):
        cross_validate(Named, X, torch.cat([Y, Y], dim=-1))


def test_a_comparison_takes_it():
    X, Y = unit_waves(8)
    result = compare({"own": Named, "plain": SingleTaskGP}, X, Y, sizes=[8])
    assert set(result.table().configuration) == {"own", "plain"}


def test_a_record_of_a_fit_that_fails():
    X, Y = unit_waves(6)
    model = Strict(0.5 * X, Y)
    record = fit_by_itself(
        ExactMarginalLogLikelihood(model.likelihood, model), FitOptions()
    )
    assert record.status.name == "FAILURE" and "on purpose" in record.message
    assert math.isnan(record.loss) and not model.training
