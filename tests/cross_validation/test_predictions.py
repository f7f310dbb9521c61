"""Predictions of many models together are their posteriors."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import KroneckerMultiTaskGP, MultiTaskGP, SingleTaskGP
from fold_helpers import standard_waves
from helpers import (
    SAME,
    SINGLE,
    CalledKernel,
    assert_close,
    noisy_waves,
    normalized_gp,
    optimizer,
)

from botorch_xval import cross_validate, k_fold
from botorch_xval.cross_validation import predictions as predict
from botorch_xval.cross_validation.arguments import FITS as ALL_FITS
from botorch_xval.cross_validation.links import affine
from botorch_xval.fitting.losses import closed_form
from botorch_xval.fitting.losses.parameters import Unsupported

FITS = [fit for fit in ALL_FITS if fit != "posterior"]  # draws have no optimum
FEW_STEPS = optimizer(maxiter=3)  # where the quality of the fit does not matter


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("m", [1, 2])
def test_predictions_in_closed_form_are_the_posteriors(m, known, monkeypatch):
    """In several parts, and none is asked for its posterior but two for comparison."""
    monkeypatch.setattr(closed_form, "GROUP_ELEMENTS", 500)
    X, Y = noisy_waves(12, m)
    yvar = torch.linspace(2.0, 9.0, 12, dtype=X.dtype)[:, None].expand(-1, m)
    noise = yvar if known else None
    asked, original = [], predict._by_posterior

    def counted(*arguments):
        asked.append(1)
        return original(*arguments)

    monkeypatch.setattr(predict, "_by_posterior", counted)
    kwargs = {"folds": k_fold(4), "fit": "warm", "fit_options": FEW_STEPS}
    found = cross_validate(normalized_gp, X, Y, noise, **kwargs)
    assert len(asked) == 2

    def unsupported(*arguments):
        raise Unsupported("on purpose")

    monkeypatch.setattr(closed_form.ClosedForm, "predict", unsupported)
    expected = cross_validate(normalized_gp, X, Y, noise, **kwargs)
    assert len(asked) == 6
    for name in ("mean", "variance", "noise_variance", "location", "scale"):
        assert_close(getattr(found, name), getattr(expected, name), **SAME)


@pytest.mark.filterwarnings("ignore:The model inputs are of type torch.float32")
def test_an_outcome_transform_is_affine_up_to_rounding():
    """Also where rounding hides the scale, in single precision or far from zero."""
    X, Y = noisy_waves(6)
    for shift, dtype in ((0.0, torch.float32), (1e12, torch.float64)):
        train_Y = (Y + shift).to(dtype)
        model = normalized_gp(X.to(dtype), train_Y)
        location, scale = affine(model, 1)
        tolerance = {"rtol": 1e-5, "atol": 0}
        assert_close(location, train_Y.mean(dim=0, keepdim=True), **tolerance)
        assert_close(scale, train_Y.std(dim=0, keepdim=True), **tolerance)


@pytest.mark.filterwarnings("ignore:The model inputs are of type torch.float32")
@pytest.mark.parametrize("fit", FITS)
def test_single_precision_has_the_scores_of_double(fit):
    X, Y = noisy_waves(20)  # enough rows for a single optimum
    kwargs = {"fit": fit, "folds": k_fold(4), "threshold": 0.0}
    double = cross_validate(normalized_gp, X, Y, **kwargs)
    single = cross_validate(normalized_gp, X.float(), Y.float(), **kwargs)
    assert single.mean.dtype == torch.float32 and single.failed == {}
    if fit != "sampled":  # those of a quadratic model
        losses = [[r.loss for r in each.records] for each in (single, double)]
        assert_close(*losses, **SINGLE)
    tolerance = {"rtol": 0.02, "atol": 0.02}  # fits end apart in their flat minima
    assert_close(single.log_density, double.log_density, **tolerance)


def seeded(model):
    """The model with the initial values that GPyTorch draws at random."""

    def build(X, Y):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return model(X, Y)

    return build


two_tasks = seeded(partial(MultiTaskGP, task_feature=-1))
correlated = seeded(KroneckerMultiTaskGP)


@pytest.mark.parametrize("fit", FITS)
def test_models_of_several_tasks_predict_the_task_of_a_row(fit):
    X, Y = standard_waves(8)
    X = torch.cat([X, torch.arange(8)[:, None] % 2], dim=-1)
    options = optimizer(maxiter=25)  # a Newton step begins near an optimum
    found = cross_validate(
        two_tasks, X, Y, fit=fit, fit_options=options, keep_models=True, threshold=0
    )
    assert found.mean.shape == (8, 1) and found.failed == {}
    if fit == "fixed":
        return
    for i in (0, 5):
        posterior = found.models[i].posterior(X[[i]], observation_noise=True)
        # A step alone predicts to first order in what its model has taken whole.
        is_first_order = found.fits[i].how == "predicted"
        close = {"rtol": 0, "atol": 0.01} if is_first_order else SAME
        assert_close(found.mean[i], posterior.mean[0], **close)
        assert_close(found.variance[i], posterior.variance[0], **close)


@pytest.mark.parametrize("fit", ["refit", "warm", "adaptive"])
def test_correlated_outputs_are_predicted_together(fit):
    X, Y = standard_waves(7, 2)
    found = cross_validate(
        correlated, X, Y, fit=fit, fit_options=FEW_STEPS, keep_models=True
    )
    assert [(each.fold, each.output) for each in found.fits] == [
        (i, 0) for i in range(7)
    ]
    posterior = found.models[3].posterior(X[[3]], observation_noise=True)
    assert_close(found.mean[3], posterior.mean[0], **SAME)
    assert found.whitened is None


class Undecided(CalledKernel):
    """It has no covariance in evaluation mode without the marked row."""

    def __init__(self, marked):
        super().__init__(ard_num_dims=2)
        self.marked = marked

    def forward(self, x1, x2, diag=False, **params):
        covariance = super().forward(x1, x2, diag=diag, **params)
        seen = (x1 == self.marked).all(dim=-1).any() or x1.shape[-2] == 1
        return covariance if self.training or diag or seen else -9 * covariance


@pytest.mark.filterwarnings("ignore:A not p.d.")
@pytest.mark.parametrize("fit", ["refit", "warm", "adaptive"])
def test_a_fold_that_cannot_predict_costs_no_other_its_score(fit):
    X, Y = standard_waves(6)

    def model(train_X, train_Y):
        kernel = Undecided(X[2])
        return SingleTaskGP(
            train_X, train_Y, covar_module=kernel, outcome_transform=None
        )

    with pytest.warns(BotorchWarning, match="1 of 6 folds .*row 2 .no prediction, Not"):
        found = cross_validate(
            model, X, Y, fit=fit, fit_options=FEW_STEPS, threshold=0.0
        )
    assert list(found.failed) == ["row 2"]
    missing = found.log_density.isnan()[:, 0].nonzero()[:, 0]
    assert missing.tolist() == [2]
