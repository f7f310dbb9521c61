"""Folds end in the lowest optimum that is known, in whatever way they are fitted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from gpytorch.kernels import AdditiveKernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.priors import GammaPrior
from helpers import fold_mlls, hartmann, normalized_gp, unit_waves
from sklearn.datasets import load_linnerud
from torch import Tensor

from botorch_xval import CrossValidation, FitOptions, cross_validate, fit_each
from botorch_xval.comparison import compare
from botorch_xval.cross_validation import k_fold

pytestmark = pytest.mark.several
NATS = 0.01
X, Y = hartmann(30)


def a_sum(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
    """A sum of kernels without priors, which has many optima."""
    kernel = AdditiveKernel(
        ScaleKernel(RBFKernel(ard_num_dims=6)), ScaleKernel(MaternKernel(nu=1.5))
    )
    return SingleTaskGP(
        train_X, train_Y, covar_module=kernel, input_transform=Normalize(6)
    )


def summed(result: CrossValidation) -> np.ndarray:
    return np.array([r.loss * r.num_points for r in result.records])


def test_refit_and_warm_end_in_the_same_optima():
    cold = cross_validate(normalized_gp, X, Y, fit="refit")
    warm = cross_validate(normalized_gp, X, Y, fit="warm")
    assert np.abs(summed(cold) - summed(warm)).max() < NATS
    assert cold.elpd == pytest.approx(warm.elpd, abs=0.1)


def test_with_a_dozen_optima_nearly_all_folds_do():
    """The hardest model that we have: single folds differ, by less than a nat."""
    cold = cross_validate(a_sum, X, Y, fit="refit")
    warm = cross_validate(a_sum, X, Y, fit="warm")
    gap = np.abs(summed(cold) - summed(warm))
    assert (gap < NATS).sum() >= 29
    assert gap.max() < 1
    own = cross_validate(a_sum, X, Y, fit_options=FitOptions(starts="own"))
    assert (np.abs(summed(own) - summed(cold)) > NATS).sum() > 3


def test_one_start_ends_elsewhere():
    """Else the tests here would show nothing."""
    inputs, outcomes = map(torch.as_tensor, load_linnerud(return_X_y=True))
    data = normalized_gp, inputs, outcomes[:, :1]
    own = cross_validate(*data, fit_options=FitOptions(starts="own"))
    several = cross_validate(*data)
    gain = summed(own) - summed(several)
    assert gain.max() > 5
    assert gain.min() > -NATS
    assert abs(own.elpd - several.elpd) > 0.1


def test_no_single_search_finds_a_lower_optimum():
    """Compared with many more starts of every fold, each fitted by itself."""
    result = cross_validate(normalized_gp, X, Y)
    rng = np.random.default_rng(3)
    name, noise = (
        "model.covar_module.raw_lengthscale",
        "likelihood.noise_covar.raw_noise",
    )
    starts = [
        {
            name: torch.as_tensor(rng.normal(scale=2.0, size=(1, 6))),
            noise: float(np.exp(rng.uniform(-8, 0))),
        }
        for _ in range(15)
    ]
    mlls = fold_mlls(normalized_gp, X, Y, 30)
    fit_each(mlls, FitOptions(starts=starts))
    others = np.array([mll.fit_records[0].loss * 29 for mll in mlls])
    assert (summed(result) < others + NATS).all()


def test_what_another_fold_has_found_is_in_the_record():
    result = cross_validate(a_sum, X, Y)
    starts = {s for r in result.records for o in r.optima for s in o.starts}
    assert {"own", "lengthscales x 16", "another fold"} <= starts
    for record in result.records:
        assert record.loss == record.optima[0].loss


def test_a_held_out_value_does_not_change_its_own_fold():
    """What other folds offer is where to begin; the fold's loss is its own."""
    changed = Y.clone()
    changed[3] += 5.0
    before, after = (
        cross_validate(normalized_gp, X, Y),
        cross_validate(normalized_gp, X, changed),
    )
    assert summed(after)[3] == pytest.approx(summed(before)[3], abs=NATS)
    assert after.mean[3].item() == pytest.approx(before.mean[3].item(), abs=1e-3)
    others = np.delete(summed(after) - summed(before), 3)
    assert np.abs(others).min() > 0.1


def test_the_order_of_the_folds_does_not_matter():
    held_out = k_fold(6, seed=1)(len(X)).held_out
    turned = held_out.flip(0)
    one = cross_validate(a_sum, X, Y, folds=held_out)
    other = cross_validate(a_sum, X, Y, folds=turned)
    assert summed(one) == pytest.approx(summed(other)[::-1], abs=NATS)


def test_own_starts_are_not_told_of_others():
    options = FitOptions(starts="own", coordinates="raw")
    result = cross_validate(normalized_gp, X, Y, fit_options=options)
    mlls = fold_mlls(normalized_gp, X, Y, 30)
    fit_each(mlls, options)
    for record, mll in zip(result.records, mlls, strict=True):
        assert record.loss == pytest.approx(mll.fit_records[0].loss, abs=1e-10)
        assert [o.starts for o in record.optima] == [("own",)]


def test_comparisons_rank_alike_in_both_ways():
    configurations = {"default": normalized_gp, "sum": a_sum}
    cold, warm = (
        compare(configurations, X, Y, sizes=[20, 30], fit=fit).table()
        for fit in ("refit", "warm")
    )
    columns = ["size", "rank", "configuration"]
    assert cold[columns].to_numpy().tolist() == warm[columns].to_numpy().tolist()


class FencedKernel(RBFKernel):
    """It raises where a row is missing and the lengthscale is outside of a fence."""

    def __init__(self, missing: Tensor, fence: tuple[float, float]) -> None:
        super().__init__(lengthscale_prior=GammaPrior(3.0, 6.0))
        self.missing, self.fence = missing, fence

    def forward(self, x1: Tensor, x2: Tensor, **params: object) -> Tensor:
        has_row = (x1 == self.missing).all(dim=-1).any(dim=-1)  # of each model
        length, (low, high) = self.lengthscale.flatten(), self.fence
        if (~has_row & ((length < low) | (length > high))).any():
            raise ArithmeticError("the kernel broke")
        return super().forward(x1, x2, **params)


@pytest.mark.parametrize("is_fenced", [True, False])
def test_a_fold_whose_own_starts_all_fail_begins_where_others_ended(is_fenced):
    inputs, outcomes = unit_waves(12)

    def fenced(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        fence = (end / 1.2, end * 1.2) if is_fenced else (0.0, np.inf)
        kernel = FencedKernel(inputs[3], fence)
        return SingleTaskGP(train_X, train_Y, covar_module=kernel)

    end = 1.0
    plain = cross_validate(
        lambda train_X, train_Y: SingleTaskGP(
            train_X,
            train_Y,
            covar_module=RBFKernel(lengthscale_prior=GammaPrior(3.0, 6.0)),
        ),
        inputs,
        outcomes,
        keep_models=True,
    )
    end = plain.models[3].covar_module.lengthscale.item()
    result = cross_validate(fenced, inputs, outcomes)
    assert not result.failed
    starts = [start for o in result.records[3].optima for start in o.starts]
    assert (starts == ["another fold"]) == is_fenced
    assert summed(result)[3] == pytest.approx(summed(plain)[3], abs=NATS)
