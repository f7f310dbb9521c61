"""Rows left out in closed form, against deleted rows and BoTorch."""

from __future__ import annotations

import botorch.cross_validation
import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models import KroneckerMultiTaskGP
from fold_helpers import standard_waves, untransformed
from helpers import (
    SAME,
    accept_abnormal,
    assert_close,
    hartmann,
    mll_of,
    noisy_waves,
    normalized_gp,
)

from botorch_xval import FitOptions, cross_validate, k_fold
from botorch_xval.cross_validation.folds import (
    Folds,
    leave_future_out,
    leave_one_out,
)
from botorch_xval.cross_validation.folds_like import buffered, make_folds
from botorch_xval.cross_validation.full_fit import fit_all_rows
from botorch_xval.cross_validation.leave_out import LeaveOut

FIT = FitOptions(warning_handler=accept_abnormal, starts="own")


def windows(n: int) -> list[tuple[range, range]]:
    """Rows that three earlier ones predict: no fold has all rows of another."""
    return [(range(t - 3, t), range(t, t + 2)) for t in range(3, n - 1)]


def earlier(n: int) -> Folds:
    """The future of a shuffle: neither part is in the order of rows."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(3))
    return leave_future_out(4, horizon=2)(n).of_rows(order)


@pytest.mark.parametrize(
    "folds",
    [
        leave_one_out,
        k_fold(4),
        k_fold(3, repeats=2),
        leave_future_out(2),
        earlier,
        windows,
        buffered(leave_one_out, 2),
    ],
)
@pytest.mark.parametrize("m", [1, 2])
def test_closed_forms_are_those_of_conditioned_models(folds, m):
    X, Y = standard_waves(11, m)
    full = fit_all_rows(mll_of(untransformed(X, Y)), FIT)
    made = make_folds(folds, 11)
    found = LeaveOut.of(full.mll).predict(made)
    for fold, train, parts in zip(made.held_out, made.training, found, strict=True):
        mean, variance, noise = parts
        rest = untransformed(X[train], Y[train])
        rest.load_state_dict(full.mll.model.state_dict())
        rest.eval()
        with torch.no_grad():
            posterior = rest.posterior(X[fold], observation_noise=True)
            quiet = rest.posterior(X[fold])
        assert_close(mean, posterior.mean, **SAME)
        assert_close(variance, posterior.variance, **SAME)
        assert_close(variance - noise, quiet.variance, **SAME)


@pytest.mark.parametrize("folds", [leave_one_out, k_fold(4)])
def test_whitening_removes_the_correlation_of_the_errors(folds):
    """The map from outcomes to whitened errors turns their covariance into 1."""
    X, Y = standard_waves(9)
    full = fit_all_rows(mll_of(untransformed(X, Y)), FIT)
    closed = LeaveOut.of(full.mll)
    held_out = folds(9).held_out
    (covariance,) = closed.residual_covariance(held_out)
    (inverse,) = closed.inverse
    errors = torch.zeros(9, 9, dtype=torch.float64)  # of outcomes, by columns
    for fold in held_out:
        rows = fold.nonzero()[:, 0]
        own = torch.linalg.inv(inverse[rows[:, None], rows])
        errors[rows] = own @ inverse[rows]
    expected = errors @ torch.linalg.inv(inverse) @ errors.mT
    assert_close(covariance, expected, **SAME)
    result = cross_validate(untransformed, X, Y, folds=folds, fit="fixed")
    error = (result.observed - result.mean)[:, 0]
    factor = torch.linalg.cholesky(expected)
    by_hand = torch.linalg.solve_triangular(factor, error[:, None], upper=False)
    assert_close(result.whitened, by_hand, rtol=1e-4, atol=1e-4)  # of another fit


@pytest.mark.skipif(
    not hasattr(botorch.cross_validation, "loo_cv"), reason="BoTorch has it since 0.17"
)
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("m", [1, 2])
def test_fixed_equals_botorchs_leave_one_out(known, m):
    X, Y = noisy_waves(13, m)
    yvar = torch.linspace(2.0, 9.0, 13, dtype=X.dtype)[:, None].expand(-1, m)
    noise = yvar if known else None
    found = cross_validate(normalized_gp, X, Y, noise, fit="fixed")
    full = mll_of(normalized_gp(X, Y, noise))
    fit_all_rows(full, FitOptions())
    theirs = botorch.cross_validation.loo_cv(full.model)
    mean, variance = theirs.posterior.mean, theirs.posterior.variance
    transform = full.model.outcome_transform
    if mean.shape[-1] != m:
        mean, variance = mean.mT, variance.mT
    if not torch.allclose(mean.reshape(13, m), found.mean):
        location = transform.means.reshape(1, m)
        scale = transform.stdvs.reshape(1, m)
        mean = location + scale * mean.reshape(13, m)
        variance = scale**2 * variance.reshape(13, m)
    assert_close(found.mean, mean.reshape(13, m), rtol=1e-8, atol=1e-8)
    assert_close(found.variance, variance.reshape(13, m), rtol=1e-8, atol=1e-8)


def test_correlated_outputs_have_no_closed_form_here():
    X, Y = hartmann(7)

    def model(X, Y):
        return KroneckerMultiTaskGP(X, torch.cat([Y, Y**2], dim=-1))

    with pytest.raises(UnsupportedError, match="independent outputs"):
        LeaveOut.of(mll_of(model(X, Y)))
