"""All folds of one size in one batched model: results are those of ordinary models."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import InputDataError
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from fold_helpers import standard_waves
from gpytorch.mlls import (
    ExactMarginalLogLikelihood,
    LeaveOneOutPseudoLikelihood,
    MarginalLogLikelihood,
)
from helpers import (
    SAME,
    SCORED,
    assert_close,
    losses_of,
    noisy_waves,
    normalized_gp,
    tuning_trials,
)

from botorch_xval import (
    FitOptions,
    LeaveOneOutCRPS,
    ScalarChoiceGP,
    cross_validate,
    k_fold,
    leave_one_out,
)
from botorch_xval.cross_validation import fold_models, warm
from botorch_xval.cross_validation.arguments import FITS
from botorch_xval.cross_validation.fold_models import (
    FoldBatch,
    FoldData,
    builds_batches,
)
from botorch_xval.cross_validation.folds_like import make_folds

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


@pytest.mark.parametrize("fit", [each for each in FITS if each != "posterior"])
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
    if fit == "sampled":  # one for all folds, and for folds that are refitted
        assert len(batches) > 1
    else:
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
    kwargs = {"folds": k_fold(6, repeats=2), "fit": "adaptive"}  # of one and two rows
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
    assert builds_batches(BATCHED, LeaveOneOutPseudoLikelihood, 4)
    assert not builds_batches(BATCHED, MarginalLogLikelihood, 4)


@pytest.mark.parametrize("fit", ["refit", "warm"])
@pytest.mark.parametrize("mll", [LeaveOneOutPseudoLikelihood, LeaveOneOutCRPS])
def test_a_batch_may_be_fitted_by_another_criterion(fit, mll, batches):
    found, expected = (
        cross_validate(model, TABLE.X, TABLE.Y, fit=fit, mll=mll)
        for model in (BATCHED, ordinary)
    )
    assert len(batches) == 1
    assert_close(found.log_density, expected.log_density, **SAME)
    assert found.evaluations == expected.evaluations


@pytest.mark.filterwarnings("ignore:.*folds could not be fitted")
def test_folds_of_a_batch_fail_as_ordinary_ones_do(batches):
    table = tuning_trials(14)
    # Two steps in each line search: too few for some folds.
    few = {"options": {"maxls": 2, "ftol": 1e-15, "gtol": 1e-12}}
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
    steps = warm._take_steps

    def without(work, full, there):
        there.gradients[5] = torch.nan
        return steps(work, full, there)

    monkeypatch.setattr(warm, "_take_steps", without)
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
    Y[3:6] = 1e308  # their sum is infinite, and standardized they are NaN
    with pytest.raises(InputDataError, match="NaN") as caught:
        cross_validate(BATCHED, TABLE.X, Y)
    assert caught.value.__notes__ == ["raised by the model of fold 'row 0'"]


class Plain(SingleTaskGP):
    """A user's model that says that its batches are independent."""

    def __init__(self, train_X, train_Y, scaled=False):
        shape = train_X.shape[:-2]
        transform = Normalize(2, batch_shape=shape) if scaled else None
        super().__init__(
            train_X, train_Y, input_transform=transform, outcome_transform=None
        )

    @classmethod
    def builds_independent_batches(cls, **kwargs):
        return kwargs.keys() <= {"scaled"}


class Changed(Plain):
    """It does not say it again, and may have changed what is learned."""


@pytest.mark.filterwarnings("ignore:Data .outcome observations. is not standardized")
@pytest.mark.parametrize(
    ("model", "count"),
    [(Plain, 1), (partial(Plain, scaled=True), 1), (Changed, 0)],
    ids=["plain", "with a keyword", "a subclass"],
)
def test_a_users_class_says_that_it_builds_batches(model, count, batches):
    X, Y = standard_waves(8)
    kwargs = {"fit": "warm", "fit_options": FitOptions(options={"maxiter": 9})}
    found = cross_validate(model, X, Y, **kwargs)
    assert len(batches) == count

    def build(train_X, train_Y):
        return model(train_X, train_Y)

    expected = cross_validate(build, X, Y, **kwargs)
    assert len(batches) == count
    assert_close(found.log_density, expected.log_density, **SAME)


def test_ordinary_models_have_the_values_of_the_batch():
    data = FoldData(
        BATCHED,
        ExactMarginalLogLikelihood,
        TABLE.X,
        TABLE.Y,
        None,
        make_folds(leave_one_out, 9),
    )
    models = data.models_of(range(9))
    assert isinstance(models, FoldBatch)
    objective = models.objective(FitOptions())
    theta = objective.start + 0.1 * np.arange(objective.start.size).reshape(9, -1) / 9
    objective.write(theta)
    losses, _ = objective(theta, list(range(9)))
    assert models.models(objective).tolist() == [[i] for i in range(9)]
    for i in (0, 3, 8):  # two of them are members, with which the batch is compared
        mll = models.ordinary(i)
        assert_close(losses_of(mll), losses[i], **SAME)
        rows = torch.arange(9) != i
        X = mll.model.transform_inputs(TABLE.X[[i]])
        assert_close(models.transform_inputs([i], [TABLE.X[[i]]])[0], X)
        assert torch.equal(mll.model.train_inputs[0], TABLE.X[rows])


def test_models_that_were_refitted_and_others_are_kept():
    X, Y = standard_waves(10)
    Y[0] += 5.0
    held_out = torch.eye(10, dtype=torch.bool)
    held_out[0, 1] = True  # the only fold of its size, of large influence
    kwargs = {"folds": held_out, "fit": "adaptive", "keep_models": True}
    some = cross_validate(normalized_gp, X, Y, **kwargs, threshold=1.0)
    hows = [fit.how for fit in some.fits]
    assert hows[0] == "warm" and "predicted" in hows
    assert len(some.models) == 10 and some.full_model is not None
    every = cross_validate(normalized_gp, X, Y, **kwargs, threshold=0.0)
    assert len(every.models) == 10
    assert not any(model.training for model in [*every.models, every.full_model])
