"""All folds of one size in one batched model: results are those of ordinary models."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from botorch.exceptions.errors import InputDataError
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import SAME, SCORED, assert_close, noisy_waves, tuning_trials

from botorch_xval import FitOptions, ScalarChoiceGP, cross_validate, k_fold
from botorch_xval.cross_validation import fold_models
from botorch_xval.cross_validation.cross_validate import FITS
from botorch_xval.cross_validation.fold_models import FoldBatch, builds_batches
from botorch_xval.cross_validation.warm import _FoldWork

TABLE = tuning_trials(9)
BATCHED = partial(ScalarChoiceGP, choice_dims=TABLE.choice_dims)


def ordinary(train_X, train_Y, train_Yvar=None):
    return ScalarChoiceGP(train_X, train_Y, train_Yvar, choice_dims=TABLE.choice_dims)


@pytest.fixture
def batches(monkeypatch):
    """The batches that are made."""
    made = []

    class Counted(FoldBatch):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(fold_models, "FoldBatch", Counted)
    return made


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("m", "known"), [(1, False), (2, True)], ids=["one output", "two, known noise"]
)
def test_a_batch_of_folds_gives_what_ordinary_models_give(fit, m, known, batches):
    Y = torch.cat([TABLE.Y, TABLE.Y.flip(0) ** 2], dim=-1)[:, :m]
    Yvar = 0.01 * Y.var(dim=0).expand_as(Y) if known else None
    kwargs = {"fit": fit, "keep_models": True, "threshold": 0.2}
    expected = cross_validate(ordinary, TABLE.X, Y, Yvar, **kwargs)
    assert not batches
    found = cross_validate(BATCHED, TABLE.X, Y, Yvar, **kwargs)
    assert len(batches) == (fit != "fixed")
    for name in ("mean", "variance", "noise_variance", "location", "scale"):
        assert_close(getattr(found, name), getattr(expected, name), **SAME)
    assert found.evaluations == expected.evaluations
    losses = [[record.loss for record in each.records] for each in (found, expected)]
    assert_close(*losses, **SAME)
    for one, other in zip(found.models or [], expected.models or [], strict=True):
        own = one.posterior(TABLE.X[:3])
        assert_close(own.mean, other.posterior(TABLE.X[:3]).mean, **SAME)


def test_folds_of_several_sizes_make_a_batch_each(batches):
    kwargs = {"folds": k_fold(6, repeats=2), "fit": "predicted"}  # of one and two rows
    expected = cross_validate(ordinary, TABLE.X, TABLE.Y, **kwargs)
    found = cross_validate(BATCHED, TABLE.X, TABLE.Y, **kwargs)
    assert len(batches) == 2
    assert_close(found.log_density, expected.log_density, **SAME)


def test_known_are_our_models_with_their_own_transforms():
    kinds = (
        (ScalarChoiceGP, True),
        (BATCHED, True),
        (partial(BATCHED, priors="loose"), True),
        (partial(BATCHED, input_transform=Normalize(4)), False),
        (partial(BATCHED, TABLE.X), False),
        (ordinary, False),
        (SingleTaskGP, False),
    )
    for model, known in kinds:
        assert builds_batches(model, ExactMarginalLogLikelihood, 4) == known
    assert not builds_batches(BATCHED, ExactMarginalLogLikelihood, 3)


@pytest.mark.filterwarnings("ignore:.*folds could not be fitted")
def test_folds_of_a_batch_fail_as_ordinary_ones_do(batches):
    table = tuning_trials(14)
    # Two steps in each line search: too few for some folds.
    few = {"options": {"maxls": 2, "ftol": 1e-13, "gtol": 1e-9}}
    kwargs = {"fit_options": FitOptions(max_attempts=1, **few)}
    found, expected = (
        cross_validate(model, table.X, table.Y, **kwargs)
        for model in (BATCHED, ordinary)
    )
    assert len(batches) == 1
    assert 0 < len(found.failed) < len(table.X)
    assert found.failed == expected.failed
    assert_close(found.mean, expected.mean, **SAME)


def test_a_fold_without_a_step_is_fitted_from_its_initial_values(monkeypatch, batches):
    steps = _FoldWork.take_steps

    def without(self, gradients):
        gradients[5] = torch.nan
        steps(self, gradients)

    monkeypatch.setattr(_FoldWork, "take_steps", without)
    found = cross_validate(BATCHED, TABLE.X, TABLE.Y, fit="warm", keep_models=True)
    assert len(batches) == 1
    assert [i for i, fit in enumerate(found.fits) if fit.how == "refit"] == [5]
    cold = cross_validate(ordinary, TABLE.X, TABLE.Y)
    assert_close(found.log_density[5], cold.log_density[5], **SCORED)
    assert_close(found.records[5].loss, cold.records[5].loss, **SAME)
    posterior = found.models[5].posterior(TABLE.X[[5]])
    assert_close(posterior.mean, found.mean[[5]], **SAME)


@pytest.mark.parametrize("fit", ["refit", "warm"])
def test_a_batch_that_shares_what_it_learns_is_not_used(fit, monkeypatch):
    """One range for all folds, whose extreme row the first fold must not see."""

    def model(train_X, train_Y):
        return SingleTaskGP(train_X, train_Y, input_transform=Normalize(2))

    X, Y = noisy_waves(12)
    X[0] *= 3.0
    expected = cross_validate(model, X, Y, fit=fit)
    monkeypatch.setattr(fold_models, "builds_batches", lambda *arguments: True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold_models.FoldBatch, "ordinary", None)  # not reached
        found = cross_validate(model, X, Y, fit=fit)
    assert_close(found.log_density, expected.log_density, **SAME)


def test_an_error_names_the_fold_that_has_it():
    Y = TABLE.Y.clone()
    Y[3] = torch.inf  # standardized it is NaN
    with pytest.raises(InputDataError, match="NaN") as caught:
        cross_validate(BATCHED, TABLE.X, Y)
    assert caught.value.__notes__ == ["raised by the model of fold 'row 0'"]
