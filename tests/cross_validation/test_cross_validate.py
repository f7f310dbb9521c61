"""Refit cross-validation against plain loops over BoTorch's own fits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import MixedSingleTaskGP, SingleTaskGP
from botorch.models.model import Model
from botorch.models.transforms import (
    Normalize,
    Standardize,
)
from botorch.optim.core import OptimizationStatus
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from helpers import (
    IDENTITY,
    SAME,
    SCORED,
    SOLVED,
    TIGHT,
    accept_abnormal,
    assert_close,
    hartmann,
    noisy_waves,
    normalized_gp,
    optimizer,
    tuning_trials,
)
from scipy.stats import norm
from torch import Tensor

from botorch_xval.cross_validation.arguments import FITS
from botorch_xval.cross_validation.cross_validate import cross_validate, optimism
from botorch_xval.cross_validation.folds import k_fold, leave_one_out
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.records import FitRecord
from botorch_xval.models.scalar_choice import ScalarChoiceGP

RAW = optimizer(coordinates="raw")  # BoTorch's path
FEW_STEPS = optimizer(maxiter=3)  # where the quality of the fit does not matter


def plain_loop(
    model: Callable[..., Model],
    x: Tensor,
    y: Tensor,
    yvar: Tensor | None = None,
    held_out: Tensor | None = None,
    options: dict[str, float] = TIGHT,
) -> tuple[Tensor, Tensor, Tensor, list[float]]:
    """What `cross_validate` promises, written out with BoTorch, one fold at a time."""
    mean, variance = torch.full_like(y, torch.nan), torch.full_like(y, torch.nan)
    losses = []
    for test in torch.eye(len(x), dtype=torch.bool) if held_out is None else held_out:
        noise = () if yvar is None else (yvar[~test],)
        fold = model(x[~test], y[~test], *noise)
        mll = ExactMarginalLogLikelihood(fold.likelihood, fold)
        fit_gpytorch_mll(
            mll,
            optimizer_kwargs={"options": options},
            warning_handler=accept_abnormal,
        )
        mll.train()
        losses.append(-mll(fold(*fold.train_inputs), fold.train_targets).item())
        mll.eval()
        with torch.no_grad():
            posterior = fold.posterior(x[test], observation_noise=yvar is None)
            mean[test], variance[test] = posterior.mean, posterior.variance
            if yvar is not None:
                variance[test] += yvar[test]
    scale = variance.sqrt().numpy()
    return mean, variance, torch.from_numpy(norm.logpdf(y, mean, scale)), losses


def without_seconds(records: list[FitRecord]) -> list[dict[str, object]]:
    # As dictionaries: from Python 3.13 on records that have the same NaN are not equal.
    return [vars(replace(record, seconds=0.0)) for record in records]


def assert_same_scores(
    found: CrossValidation, expected: CrossValidation, **tolerance: float
) -> None:
    for name in ("mean", "variance", "log_density"):
        assert_close(getattr(found, name), getattr(expected, name), **tolerance)


class OwnKernelGP(SingleTaskGP):
    """A user's subclass, with a kernel, a prior and a noise bound of its own."""

    def __init__(self, train_X: Tensor, train_Y: Tensor) -> None:
        super().__init__(
            train_X,
            train_Y,
            likelihood=GaussianLikelihood(noise_constraint=GreaterThan(1e-3)),
            covar_module=ScaleKernel(
                RBFKernel(
                    ard_num_dims=train_X.shape[-1],
                    lengthscale_prior=LogNormalPrior(0.0, 1.0),
                ),
                outputscale_prior=GammaPrior(2.0, 1.0),
            ),
            input_transform=Normalize(train_X.shape[-1]),
        )


# Agreement with BoTorch


def test_agrees_with_a_plain_loop_over_botorchs_fits():
    x, y = noisy_waves(13)
    mean, variance, density, losses = plain_loop(normalized_gp, x, y)
    found = cross_validate(normalized_gp, x, y, fit_options=RAW)
    assert_close([record.loss for record in found.records], losses, **SOLVED)
    assert_close(found.log_density, density, **SCORED)
    # On a scale where outcomes vary by tens.
    assert_close(found.mean, mean, rtol=1e-4, atol=1e-4)
    assert_close(found.variance, variance, rtol=1e-4, atol=1e-4)
    assert_close(found.elpd, density.sum(), rtol=0, atol=13 * SCORED["atol"])
    assert torch.equal(found.observed, y)
    assert found.failed == {}


@pytest.mark.parametrize("strategy", ["loop", "batch"])
def test_every_strategy_agrees_with_the_default(strategy):
    x, y = noisy_waves(12, seed=1)
    expected = cross_validate(normalized_gp, x, y, fit_options=optimizer())
    found = cross_validate(normalized_gp, x, y, fit_options=optimizer(strategy))
    assert_same_scores(found, expected, **SCORED)


def test_known_noise_agrees_with_a_plain_loop():
    x, y = noisy_waves(12, seed=2)
    yvar = torch.linspace(4.0, 12.0, 12, dtype=torch.float64).unsqueeze(-1)
    # Three rows in a fold, so that each must find its own noise.
    folds = k_fold(4)(12)
    mean, variance, density, losses = plain_loop(
        normalized_gp, x, y, yvar, folds.held_out
    )
    found = cross_validate(normalized_gp, x, y, yvar, folds=folds, fit_options=RAW)
    assert_close([record.loss for record in found.records], losses, **SOLVED)
    assert_close(found.log_density, density, **SCORED)
    assert_close(found.mean, mean, rtol=1e-4, atol=1e-4)
    assert_close(found.variance, variance, rtol=1e-4, atol=1e-4)


def test_the_variance_contains_the_rows_own_known_noise():
    x, y = noisy_waves(8)
    yvar = torch.full_like(y, 4.0)
    more = yvar.clone()
    more[5] += 100.0
    # Evaluated one by one the folds cannot touch each other even in the last bit.
    kwargs = {"fit_options": optimizer("loop", maxiter=3)}
    before = cross_validate(normalized_gp, x, y, yvar, **kwargs)
    after = cross_validate(normalized_gp, x, y, more, **kwargs)
    assert torch.equal(after.mean[5], before.mean[5])
    assert_close(after.variance[5] - before.variance[5], [100.0])
    others = torch.arange(8) != 5  # but their training data have changed
    assert (after.mean[others] != before.mean[others]).all()


def test_several_outputs_are_scored_as_if_alone():
    x, y = noisy_waves(12, m=2)
    both = cross_validate(normalized_gp, x, y, fit_options=optimizer())
    for k in range(2):
        one = cross_validate(normalized_gp, x, y[:, [k]], fit_options=optimizer())
        assert_close(both.log_density[:, [k]], one.log_density, **SCORED)
        assert_close(both.mean[:, [k]], one.mean, rtol=1e-4, atol=1e-4)
        losses = [record.loss for record in both.records[k::2]]
        assert_close(losses, [record.loss for record in one.records], **SOLVED)


@pytest.mark.parametrize("model", [OwnKernelGP, ScalarChoiceGP])
def test_other_models_agree_with_a_plain_loop(model):
    x, y = noisy_waves(9, seed=5)
    *_, density, losses = plain_loop(model, x, y)
    found = cross_validate(model, x, y, fit_options=RAW)
    assert_close([record.loss for record in found.records], losses, **SOLVED)
    assert_close(found.log_density, density, **SCORED)


def test_a_mixed_model_agrees_with_a_plain_loop():
    x, y = noisy_waves(9, seed=4)
    x = torch.cat([(x + 5.0) / x.new_tensor([1.0, 100.0]), x[:, :1]], dim=-1)
    x[:, 2] = torch.arange(9) % 3  # three categories, each in all folds
    y = y + 5 * x[:, 2:]

    def mixed(train_X: Tensor, train_Y: Tensor) -> MixedSingleTaskGP:
        return MixedSingleTaskGP(train_X, train_Y, cat_dims=[2])

    # Its loss has long flat valleys; after so few steps rounding has not yet grown.
    options = {"maxiter": 10}
    *_, density, losses = plain_loop(mixed, x, y, options=options)
    found = cross_validate(mixed, x, y, fit_options=optimizer("auto", "raw", **options))
    assert_close([record.loss for record in found.records], losses, **SAME)
    assert_close(found.log_density, density, **SAME)


def test_real_trials_with_one_hot_choices():
    table = tuning_trials(10)

    def model(train_X: Tensor, train_Y: Tensor) -> ScalarChoiceGP:
        return ScalarChoiceGP(train_X, train_Y, choice_dims=table.choice_dims)

    found = cross_validate(model, table.X, table.Y)
    assert found.failed == {}
    assert found.mean.shape == table.Y.shape
    assert found.log_density.isfinite().all()


# Properties


@pytest.mark.parametrize("options", [TIGHT, {}], ids=["tight", "default options"])
def test_a_held_out_row_never_touches_its_own_prediction(options):
    x, y = noisy_waves(8)
    other_x, other_y = x.clone(), y.clone()
    other_y[4] = 1e3
    other_x[4] = torch.tensor([-50.0, 4e3])  # far outside the range of all others
    # Evaluated one by one, so that not even the order of additions is another one.
    kwargs = FitOptions(strategy="loop", options=options)
    before = cross_validate(normalized_gp, x, y, fit_options=kwargs)
    changed_y = cross_validate(normalized_gp, x, other_y, fit_options=kwargs)
    changed_x = cross_validate(normalized_gp, other_x, y, fit_options=kwargs)
    assert torch.equal(changed_y.mean[4], before.mean[4])
    assert torch.equal(changed_y.variance[4], before.variance[4])
    expected = without_seconds(before.records[4:5])
    assert without_seconds(changed_y.records[4:5]) == expected
    assert without_seconds(changed_x.records[4:5]) == expected
    others = torch.arange(8) != 4
    assert (changed_y.mean[others] != before.mean[others]).all()
    assert (changed_x.mean[others] != before.mean[others]).all()


@pytest.mark.parametrize("strategy", ["auto", "batch"])
def test_nor_does_it_if_folds_are_evaluated_together(strategy):
    # The other folds end at other times, and how many are multiplied together decides
    # on the order of additions, so equal up to rounding.
    x, y = noisy_waves(12)
    other = y.clone()
    other[4] = 1e3
    before = cross_validate(normalized_gp, x, y, fit_options=optimizer(strategy))
    after = cross_validate(normalized_gp, x, other, fit_options=optimizer(strategy))
    assert_close(after.mean[4], before.mean[4], **SCORED)
    assert_close(after.variance[4], before.variance[4], **SCORED)
    assert_close(after.records[4].loss, before.records[4].loss, **SOLVED)


def test_the_order_of_the_rows_does_not_matter():
    x, y = noisy_waves(12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    expected = cross_validate(normalized_gp, x, y, fit_options=optimizer())
    found = cross_validate(normalized_gp, x[order], y[order], fit_options=optimizer())
    assert torch.equal(found.observed, expected.observed[order])
    assert_close(found.log_density, expected.log_density[order], **SCORED)
    assert_close(found.mean, expected.mean[order], rtol=1e-4, atol=1e-4)


def test_the_unit_of_the_outcome_only_shifts_the_score():
    x, y = noisy_waves(10)
    expected = cross_validate(normalized_gp, x, y, fit_options=optimizer())
    found = cross_validate(normalized_gp, x, 1e3 * y + 7, fit_options=optimizer())
    shift = torch.tensor(1e3).double().log()
    assert_close(found.log_density, expected.log_density - shift, **SCORED)


def test_the_arguments_are_left_as_they_are():
    x, y = noisy_waves(6)
    copies = x.clone(), y.clone()
    found = cross_validate(normalized_gp, x, y, fit_options=FEW_STEPS)
    assert torch.equal(x, copies[0]) and torch.equal(y, copies[1])
    assert not found.mean.requires_grad and not found.log_density.requires_grad


# Folds


def test_folds_of_unequal_sizes_agree_with_a_plain_loop():
    x, y = noisy_waves(14)
    folds = k_fold(4, seed=1)
    held_out = folds(14).held_out
    assert set(held_out.sum(dim=1).tolist()) == {3, 4}
    mean, _, density, losses = plain_loop(normalized_gp, x, y, held_out=held_out)
    found = cross_validate(normalized_gp, x, y, folds=folds, fit_options=RAW)
    assert torch.equal(found.folds.held_out, held_out)
    assert_close([record.loss for record in found.records], losses, **SOLVED)
    assert_close(found.mean, mean, rtol=1e-4, atol=1e-4)
    assert_close(found.log_density, density, **SCORED)


def test_rows_that_no_fold_holds_out_are_no_points():
    x, y = noisy_waves(8)
    held_out = torch.zeros(2, 8, dtype=torch.bool)
    held_out[0, 1] = held_out[1, 4] = held_out[1, 6] = True
    found = cross_validate(normalized_gp, x, y, folds=held_out, fit_options=FEW_STEPS)
    assert found.rows.tolist() == [1, 4, 6]
    assert found.fold_of.tolist() == [0, 1, 1]
    assert torch.equal(found.observed, y[[1, 4, 6]])
    assert found.log_density.shape == (3, 1)
    assert_close(found.elpd, found.log_density.sum())
    assert len(found.records) == 2
    assert found.failed == {}  # so nothing is warned about


def test_folds_that_hold_out_one_row_are_leave_one_out_in_any_order():
    x, y = noisy_waves(7)
    order = torch.tensor([3, 1, 6, 0, 5, 2, 4])
    one = cross_validate(normalized_gp, x, y, fit_options=optimizer("loop", maxiter=3))
    two = cross_validate(
        normalized_gp,
        x,
        y,
        folds=torch.eye(7, dtype=torch.bool)[order],
        fit_options=optimizer("loop", maxiter=3),
    )
    assert_same_scores(two, one, **IDENTITY)
    expected = [without_seconds(one.records)[i] for i in order]
    assert without_seconds(two.records) == expected


# Records


@pytest.mark.parametrize("m", [1, 2])
def test_one_record_for_every_fold_and_output(m):
    x, y = noisy_waves(9, m=m)
    found = cross_validate(normalized_gp, x, y)
    assert len(found.records) == 9 * m
    for record in found.records:
        assert record.status is OptimizationStatus.SUCCESS
        assert record.attempts == 1
        assert record.iterations == len(record.losses) - 1 > 0
        assert record.evaluations >= len(record.losses)
        assert record.seconds > 0
        assert all(b <= a for a, b in pairwise(record.losses))


def test_records_are_in_the_order_of_the_folds():
    # Folds of one size are fitted together, here the first and the last one.
    x, y = noisy_waves(8)
    held_out = torch.zeros(3, 8, dtype=torch.bool)
    held_out[0, 0] = held_out[1, 1:4] = held_out[2, 5] = True
    kwargs = {"fit_options": optimizer("loop")}
    found = cross_validate(normalized_gp, x, y, folds=held_out, **kwargs)
    for i in range(3):
        alone = cross_validate(normalized_gp, x, y, folds=held_out[[i]], **kwargs)
        assert_close(found.records[i].losses[0], alone.records[0].losses[0], **SAME)
        assert_close(found.records[i].loss, alone.records[0].loss, **SOLVED)


def test_options_reach_the_optimizer():
    x, y = hartmann(8)
    found = cross_validate(normalized_gp, x, y, fit_options=optimizer(maxiter=2))
    assert {record.iterations for record in found.records} == {2}
    assert {r.status for r in found.records} == {OptimizationStatus.STOPPED}
    assert found.failed == {}  # a limit is no failure, in BoTorch neither
    with pytest.raises(ValueError, match="expected FitOptions or None, got dict"):
        cross_validate(normalized_gp, x, y, fit_options={"maxiter": 2})


# Folds that fail


class MarkedKernel(MaternKernel):
    """No covariance in training unless the marked point is among the training data.

    So exactly the folds that hold out that point cannot be fitted.
    """

    def __init__(self, marked: Tensor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.marked = marked

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # by modules
        return super().__call__(*args, **kwargs)

    def forward(self, x1: Tensor, x2: Tensor, **params: Any) -> Tensor:
        covariance = super().forward(x1, x2, **params)
        seen = (x1 == self.marked).all(dim=-1).any(dim=-1)
        sign = torch.where(seen, 1.0, -1.0) if self.training else x1.new_ones(())
        return covariance * sign.to(covariance)[..., None, None]


def marked_model(marked: Tensor) -> Callable[[Tensor, Tensor], SingleTaskGP]:
    """A model that cannot be fitted without that point among its training data."""

    def model(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        kernel = MarkedKernel(
            marked, ard_num_dims=2, lengthscale_prior=LogNormalPrior(0.0, 1.0)
        )
        return SingleTaskGP(train_X, train_Y, covar_module=kernel)

    return model


def unit_problem(n: int) -> tuple[Tensor, Tensor]:
    x, y = noisy_waves(n)
    return (x + 5.0) / x.new_tensor([1.0, 100.0]), y


# linear_operator says so on every attempt to save the factorization.
no_jitter_warnings = pytest.mark.filterwarnings("ignore:A not p.d.")


@no_jitter_warnings
@pytest.mark.parametrize(("strategy", "row"), [("loop", 0), ("auto", 3), ("batch", 8)])
def test_a_fold_that_fails_is_recorded_and_the_others_are_as_ever(strategy, row):
    x, y = unit_problem(9)
    nothing_wrong = leave_one_out(9).held_out[torch.arange(9) != row]
    kwargs = {"fit_options": optimizer(strategy, maxiter=10)}
    expected = cross_validate(marked_model(x[row]), x, y, folds=nothing_wrong, **kwargs)
    with pytest.warns(BotorchWarning, match=f"1 of 9 folds .*row {row} .NotPSDError"):
        found = cross_validate(marked_model(x[row]), x, y, **kwargs)
    assert list(found.failed) == [f"row {row}"]
    assert "NotPSDError" in found.failed[f"row {row}"]
    for values in (found.mean, found.variance, found.log_density):
        assert values.isnan().squeeze(-1).nonzero().squeeze(-1).tolist() == [row]
    others = found.rows != row
    for name in ("mean", "variance", "log_density"):
        # In groups other folds are multiplied together, which changes last bits.
        tolerance = {"rtol": 0, "atol": 0} if strategy == "loop" else SAME
        assert_close(getattr(found, name)[others], getattr(expected, name), **tolerance)
    assert_close(found.elpd, found.log_density.nansum())
    for i, record in enumerate(found.records):
        assert (record.status is OptimizationStatus.FAILURE) == (i == row)
    assert found.records[row].attempts == 5  # as many as BoTorch makes


@no_jitter_warnings
def test_a_fold_that_fails_is_recorded_if_no_other_fold_has_its_size():
    x, y = unit_problem(8)
    x[[1, 4]] = x[0].clone()  # the marked point, which the first fold holds out
    held_out = torch.zeros(4, 8, dtype=torch.bool)
    held_out[0, [0, 1, 4]] = held_out[1, [2, 3]] = True
    held_out[2, 5] = held_out[3, 6] = True
    with pytest.warns(BotorchWarning) as caught:
        found = cross_validate(
            marked_model(x[0]), x, y, folds=held_out, fit_options=FEW_STEPS
        )
    (warning,) = (w for w in caught if w.category is BotorchWarning)
    assert str(warning.message).startswith("1 of 4 folds could not be fitted")
    assert warning.filename == __file__  # it points at the caller
    assert list(found.failed) == ["fold 0"]
    missing = found.mean.isnan().squeeze(-1).nonzero().squeeze(-1)
    assert missing.tolist() == [0, 1, 4]
    assert found.rows.tolist() == list(range(7))  # row 7 is in no fold


class RaisingKernel(MarkedKernel):
    """As above, but with an error of its own instead of a matrix."""

    def forward(self, x1: Tensor, x2: Tensor, **params: Any) -> Tensor:
        if self.training and not (x1 == self.marked).all(dim=-1).any(dim=-1).all():
            raise RuntimeError("the marked point is missing")
        return super().forward(x1, x2, **params)


@pytest.mark.parametrize("num_held_out", [1, 3], ids=["same size", "alone in its size"])
def test_defect_any_error_of_one_fold_is_recorded_whatever_its_size(num_held_out):
    x, y = unit_problem(8)
    marked = x[0].clone()
    x[:num_held_out] = marked
    held_out = torch.zeros(3, 8, dtype=torch.bool)
    held_out[0, :num_held_out] = held_out[1, 4] = held_out[2, 5] = True

    def model(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        return SingleTaskGP(train_X, train_Y, covar_module=RaisingKernel(marked))

    with pytest.warns(BotorchWarning, match="1 of 3 folds .* marked point is missing"):
        found = cross_validate(model, x, y, folds=held_out, fit_options=FEW_STEPS)
    assert list(found.failed) == ["fold 0"]


@no_jitter_warnings
@pytest.mark.filterwarnings("ignore:.* folds could not be fitted")
def test_defect_a_cross_validation_without_any_score_has_no_elpd():
    x, y = unit_problem(5)
    nowhere = torch.full((2,), 2.0, dtype=torch.float64)
    found = cross_validate(marked_model(nowhere), x, y, fit_options=FEW_STEPS)
    assert len(found.failed) == 5
    assert math.isnan(found.elpd)  # not 0.0, which would beat a good model


def test_an_error_of_the_model_names_the_fold():
    x, y = noisy_waves(6)

    def model(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        if not (train_Y == y[2]).any():
            raise RuntimeError("no such model")
        return normalized_gp(train_X, train_Y)

    expected = cross_validate(normalized_gp, x, y, keep_models=True)
    with pytest.warns(
        BotorchWarning, match="1 of 6 .* row 2 .no model, RuntimeError: n"
    ):
        found = cross_validate(model, x, y, keep_models=True)
    assert found.failed == {"row 2": "no model, RuntimeError: no such model"}
    rest = found.fold_of != 2
    assert torch.equal(found.log_density[rest], expected.log_density[rest])
    assert found.log_density[~rest].isnan().all()
    assert len(found.models) == 5 and len(found.records) == 6


def test_an_error_of_every_model_is_raised():
    def model(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        raise RuntimeError("no such model")

    with pytest.raises(RuntimeError, match="no such model") as caught:
        cross_validate(model, *noisy_waves(6))
    assert caught.value.__notes__ == ["raised by the model of fold 'row 0'"]


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match="expected a BoTorch model, got a NoneTyp"):
        cross_validate(lambda X, Y: None, *noisy_waves(6))


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train_X": torch.zeros(6)},
            r"train_X: .* `n x d`, got the shape \(6,\)",
        ),
        ({"train_X": torch.zeros(2, 6, 2)}, r"train_X: .* got the shape \(2, 6, 2\)"),
        (
            {"train_Y": torch.zeros(6)},
            r"train_Y: .* `n x m`, got the shape \(6,\)",
        ),
        (
            {"train_Y": torch.zeros(5, 1)},
            r"train_Y: .* shape \(6, m\), .*, got \(5, 1\)",
        ),
        (
            {"train_Yvar": torch.zeros(6, 2)},
            r"train_Yvar: expected the shape of train_Y, \(6, 1\), got \(6, 2\)",
        ),
        ({"fit": "quick"}, r"fit: expected one of \['refit', .*, got 'quick'"),
        ({"threshold": -1.0}, "threshold: expected a number from 0 on, got -1.0"),
        ({"folds": torch.eye(5).bool()}, "folds of 6 rows, got 5"),
        ({"folds": torch.eye(6)}, "folds: expected a bool tensor"),
        ({"folds": k_fold(7)}, "k: expected at most 6 folds .*, got 7"),
    ],
)
def test_refuses_what_is_no_cross_validation(change, message):
    x, y = noisy_waves(6)
    arguments = {"train_X": x, "train_Y": y, **change}
    with pytest.raises(ValueError, match=message):
        cross_validate(normalized_gp, **arguments)


def test_modules_that_a_factory_shares_between_folds_do_not_mix_them():
    X, Y = shared_data()
    standardize, normalize = Standardize(m=1), Normalize(X.shape[-1])

    def sharing(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        return SingleTaskGP(
            train_X, train_Y, outcome_transform=standardize, input_transform=normalize
        )

    def own(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        transform = Normalize(X.shape[-1])
        return SingleTaskGP(train_X, train_Y, input_transform=transform)

    shared, separate = cross_validate(sharing, X, Y), cross_validate(own, X, Y)
    assert torch.equal(shared.log_density, separate.log_density)


def shared_data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    X = 4 * torch.rand(10, 2, generator=generator, dtype=torch.float64)
    return X, 3 * X.sin().sum(dim=-1, keepdim=True) + 5


@pytest.mark.parametrize("fit", ["refit", "warm"])
def test_a_bar_counts_the_folds(fit, capsys):
    X, Y = noisy_waves(8)
    cross_validate(normalized_gp, X, Y, fit=fit, progress=True)
    text = capsys.readouterr().err
    assert "8/8" in text and "worst gradient norm" in text


# Ways of fitting


@pytest.mark.parametrize("m", [1, 2])
def test_adaptive_is_between_fixed_and_warm(m):
    X, Y = noisy_waves(14, m)
    fixed, warm = (
        cross_validate(normalized_gp, X, Y, fit=how) for how in ("fixed", "warm")
    )
    none, every, some = (
        cross_validate(normalized_gp, X, Y, fit="adaptive", threshold=threshold)
        for threshold in (math.inf, 0.0, 0.5)
    )
    assert {fit.how for fit in none.fits} == {"predicted"}
    assert warm.elpd < none.elpd < fixed.elpd
    assert_close(every.log_density, warm.log_density, **SOLVED)
    hows = some.fit_table().groupby("fold", sort=False).how.first()
    influence = some.fit_table().groupby("fold", sort=False).influence.max()
    assert (hows[influence > 0.5] == "warm").all()
    chosen = torch.tensor((hows == "warm").to_numpy())
    assert_close(some.log_density[chosen], warm.log_density[chosen], **SOLVED)
    error = (some.log_density - warm.log_density).abs()[~chosen]
    flattery = (fixed.log_density - warm.log_density).abs()[~chosen]
    assert error.sum() < 0.6 * flattery.sum()


@pytest.mark.parametrize("fit", FITS)
def test_every_way_to_fit_takes_all_kinds_of_folds(fit):
    X, Y = noisy_waves(12)
    labels = [i // 3 for i in range(12)]
    given = {"fit": fit, **({"draws": 100} if fit == "posterior" else {})}
    result = cross_validate(normalized_gp, X, Y, groups=labels, **given)
    assert result.folds.names == ["0", "1", "2", "3"]
    assert result.rows.tolist() == list(range(12))
    assert not result.log_density.isnan().any()
    repeated = cross_validate(normalized_gp, X, Y, folds=k_fold(3, 0, 2), **given)
    assert repeated.rows.tolist() == 2 * list(range(12))
    assert (repeated.fold_of[:12] < 3).all() and (repeated.fold_of[12:] >= 3).all()
    assert repeated.elpd == pytest.approx(repeated.log_density.sum().item() / 2)


@pytest.mark.parametrize("fit", [fit for fit in FITS if fit != "posterior"])
def test_draws_of_a_fit_that_draws_nothing_are_refused(fit):
    """Also the number that is the default elsewhere, and with gaps."""
    X, Y = noisy_waves(8)
    Y[2] = math.nan
    for rows in (slice(3, None), slice(None)):
        with pytest.raises(
            ValueError, match=f"draws: expected none for fit='{fit}' of"
        ):
            cross_validate(normalized_gp, X[rows], Y[rows], fit=fit, draws=1000)


def test_optimism_is_refit_minus_fixed():
    X, Y = hartmann(20)
    found = optimism(normalized_gp, X, Y, fit="warm")
    fixed = cross_validate(normalized_gp, X, Y, fit="fixed")
    warm = cross_validate(normalized_gp, X, Y, fit="warm")
    assert found.attrs["sum"] == pytest.approx(warm.elpd - fixed.elpd, abs=1e-6)
    assert found.attrs["sum"] < 0  # fixed hyper-parameters flatter
    spread = found.difference.std() * math.sqrt(20)
    assert found.attrs["standard_error"] == pytest.approx(spread)
    data = X[:6], Y[:6]
    drawn = optimism(normalized_gp, *data, fit="posterior", draws=100)
    own = cross_validate(normalized_gp, *data, fit="posterior", draws=100)
    assert_close(drawn["first"].to_numpy(), own.log_density[:, 0])
