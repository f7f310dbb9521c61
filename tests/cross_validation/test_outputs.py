"""Outputs with rows or models of their own, and several tasks and fidelities."""

from __future__ import annotations

import math
import pickle
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import (
    KroneckerMultiTaskGP,
    ModelListGP,
    MultiTaskGP,
    SingleTaskGP,
    SingleTaskMultiFidelityGP,
)
from botorch.models.transforms import Log, Normalize, Standardize
from botorch.models.transforms.outcome import StratifiedStandardize
from helpers import SAME, SOLVED, assert_close, hartmann, noisy_waves, normalized_gp
from matplotlib import pyplot as plt

from botorch_xval import (
    CrossValidation,
    FitOptions,
    compare,
    cross_validate,
    difference,
    hold_out_only,
    k_fold,
    leave_one_out,
)
from botorch_xval.cross_validation.arguments import FITS
from botorch_xval.cross_validation.folds import Folds
from botorch_xval.cross_validation.folds_like import make_folds
from botorch_xval.cross_validation.outputs import rows_of_outputs, single_values
from botorch_xval.reporting.diagnosis import summarize_fits
from botorch_xval.reporting.plots import plot_predictions

FEW = FitOptions(options={"maxiter": 4}, starts="own")


def with_gaps(n: int = 14):
    """Two outcomes; three rows lack the second one, another the first one."""
    X, Y = noisy_waves(n, 2)
    Y[[2, 5, 6], 1] = math.nan
    Y[9, 0] = math.nan
    return X, Y


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("fit", FITS)
def test_outputs_with_gaps_are_those_of_their_own_rows(fit, known):
    X, Y = with_gaps()
    noise = torch.linspace(1, 4, 28, dtype=X.dtype).reshape(14, 2) if known else None
    found = cross_validate(normalized_gp, X, Y, noise, fit=fit, fit_options=FEW)
    assert found.rows.tolist() == list(range(14)) and found.failed == {}
    assert torch.equal(found.observed.isnan(), Y.isnan())
    for j in range(2):
        rows = (~Y[:, j].isnan()).nonzero()[:, 0]
        own = cross_validate(
            normalized_gp,
            X[rows],
            Y[rows, j : j + 1],
            None if noise is None else noise[rows, j : j + 1],
            fit=fit,
            fit_options=FEW,
            max_error=1 / math.sqrt(2),
            seed=j,
        )
        assert_close(found.mean[rows, j], own.mean[:, 0], **SAME)
        assert_close(found.variance[rows, j], own.variance[:, 0], **SAME)
        assert_close(found.baseline[rows, j], own.baseline[:, 0], **SAME)
        mine = [f for f in found.fits if f.output == j]
        assert [f.fold for f in mine] == rows.tolist()
        summary, expected = found.summary().loc[j], own.summary().loc[0]
        assert_close(summary.to_numpy(), expected.to_numpy(), **SAME)
        diagnostics = found.ax_diagnostics().loc[j], own.ax_diagnostics().loc[0]
        assert_close(*(d.to_numpy() for d in diagnostics), **SAME)
    if fit != "sampled":
        assert_close(found.elpd, torch.nansum(found.log_density).item())
    assert difference(found, found).attrs["sum"] == 0.0
    plot_predictions(found, output=1)
    plt.close("all")


def test_joined_results_are_saved_and_keep_their_models(tmp_path):
    X, Y = with_gaps()
    found = cross_validate(
        normalized_gp, X, Y, fit="fixed", fit_options=FEW, keep_models=True
    )
    assert isinstance(found.full_model, ModelListGP) and found.models is None
    found.save(tmp_path / "gaps.npz")
    again = CrossValidation.load(tmp_path / "gaps.npz")
    assert_close(again.elpd, found.elpd)
    assert torch.equal(again.observed.isnan(), Y.isnan())
    assert_close(again.mean.nan_to_num(), found.mean.nan_to_num())
    whole = cross_validate(a_list, X, noisy_waves(14, 2)[1], fit_options=FEW)
    assert whole.models is None
    whole = cross_validate(
        a_list, X, noisy_waves(14, 2)[1], fit_options=FEW, keep_models=True
    )
    with torch.no_grad():
        posterior = whole.models[3].posterior(X[[3]], observation_noise=True)
    assert_close(posterior.mean, whole.mean[[3]], **SAME)
    assert_close(posterior.variance, whole.variance[[3]], **SAME)


def a_list(X, Y):
    """Another model for each outcome; both are noisy."""
    one = SingleTaskGP(X, Y[:, :1], input_transform=Normalize(X.shape[-1]))
    two = normalized_gp(X, Y[:, 1:])
    two.covar_module.raw_lengthscale.data += 0.1
    return ModelListGP(one, two)


def logarithmic(X, Y):
    """The first outcome has a link, the second none."""
    transforms = Log(), None
    return ModelListGP(
        *(
            SingleTaskGP(
                X,
                Y[:, [j]],
                input_transform=Normalize(X.shape[-1]),
                outcome_transform=transform or Standardize(1),
            )
            for j, transform in enumerate(transforms)
        )
    )


@pytest.mark.parametrize("fit", ["refit", "warm", "fixed"])
def test_a_list_has_a_model_for_each_output(fit):
    X, Y = noisy_waves(12, 2)
    found = cross_validate(a_list, X, Y, fit=fit, fit_options=FEW)
    assert len(found.fits) == 24

    def member(j, X, Y):
        return a_list(X, torch.cat([Y, Y], dim=-1)).models[j]

    for j in range(2):
        own = cross_validate(partial(member, j), X, Y[:, [j]], fit=fit, fit_options=FEW)
        assert_close(found.mean[:, [j]], own.mean, **SAME)
        assert_close(found.log_density[:, [j]], own.log_density, **SAME)


@pytest.mark.filterwarnings("ignore:Data .outcome observations. is not standardized")
def test_outputs_may_differ_in_their_links(tmp_path):
    X, Y = noisy_waves(12, 2)
    Y = (0.1 * Y).exp() + 0.5
    found = cross_validate(logarithmic, X, Y, fit="fixed", fit_options=FEW)
    assert [link.kind for link in found.linked.links] == ["log", "identity"]
    own = cross_validate(
        lambda X, Y: logarithmic(X, Y.expand(-1, 2)).models[0],
        X,
        Y[:, :1],
        fit="fixed",
        fit_options=FEW,
    )
    assert_close(found.log_density[:, [0]], own.log_density, **SAME)
    assert_close(found.to_frame().crps[::2].to_numpy(), own.to_frame().crps.to_numpy())
    expected = torch.distributions.Normal(found.mean[:, 1], found.variance[:, 1].sqrt())
    assert_close(found.log_density[:, 1], expected.log_prob(Y[:, 1]), **SAME)
    found.save(tmp_path / "links.npz")
    again = CrossValidation.load(tmp_path / "links.npz")
    assert_close(again.log_density, found.log_density, **SAME)


@pytest.mark.parametrize("fit", ["refit", "warm", "fixed"])
def test_a_fold_of_a_single_value_is_named(fit):
    """It knows no scale and no noise; "fixed" has those of all rows."""
    X, Y = noisy_waves(7, 2)
    Y[[0, 1, 3, 5, 6], 1] = math.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BotorchWarning)
        found = cross_validate(normalized_gp, X, Y, fit=fit, fit_options=FEW)
    said = [str(w.message) for w in caught if "single value" in str(w.message)]
    assert found.failed == {} and not found.log_density[[2, 4], 1].isnan().any()
    if fit == "fixed":
        assert said == [] and "single value" not in summarize_fits(found.records)
        return
    (text,) = said
    assert "noise: row 2 (output 1), row 4 (output 1); do not rely on the" in text
    assert caught[0].filename == __file__
    assert_close(found.scale[[2, 4], 1], [1.0, 1.0])  # in any unit
    assert "Fitted to a single value" in summarize_fits(found.records)


def test_rows_that_hold_out_nothing_of_an_output_are_not_named():
    Y = torch.tensor([[1.0, 2.0], [3.0, math.nan], [math.nan, 4.0], [5.0, math.nan]])
    held_out = torch.tensor([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]).bool()
    folds = Folds(held_out, ["a", "b", "c"])
    # Of output 1 "a" trains on row 2, "b" on row 0, and "c" holds out none.
    assert single_values(Y, folds) == ["a (output 1)", "b (output 1)"]
    assert single_values(Y[:, :1].nan_to_num(), folds) == []


def test_folds_of_an_output_are_those_that_hold_out_its_values():
    _, Y = with_gaps()
    Y = Y[:6]
    folds = make_folds(k_fold(3, seed=1, repeats=2), 6)
    for j, part in enumerate(rows_of_outputs(Y, folds)):
        assert part.rows.tolist() == (~Y[:, j].isnan()).nonzero()[:, 0].tolist()
        for number, held_out, training in zip(
            part.numbers, part.folds.held_out, part.folds.training, strict=True
        ):
            assert torch.equal(held_out, folds.held_out[number, part.rows])
            assert torch.equal(training, folds.training[number, part.rows])
        gone = set(range(6)) - set(part.numbers)
        for number in gone:
            assert not folds.held_out[number, part.rows].any()
    X, Y = with_gaps()
    found = cross_validate(
        normalized_gp, X, Y, folds=k_fold(4, repeats=2), fit_options=FEW
    )
    assert found.rows.tolist() == [*range(14), *range(14)]
    assert found.failed == {} and torch.equal(found.observed[:14].isnan(), Y.isnan())
    density = found.log_density.nansum(dim=-1).reshape(2, 14).mean(dim=0).sum()
    assert_close(found.elpd, density.item())


@pytest.mark.parametrize("name", ["gaps", "list"])
def test_comparisons_know_such_outputs(name):
    X, Y = with_gaps() if name == "gaps" else noisy_waves(14, 2)
    model = normalized_gp if name == "gaps" else a_list
    found = compare({"one": model}, X, Y, sizes=[14], fit_options=FEW)
    own = cross_validate(model, X, Y, fit_options=FEW)
    assert_close(found.points.log_density.sum(), own.elpd)
    assert found.points.squared_error.notna().all()
    pickle.dumps(partial(model))


def kronecker(X, Y):
    return KroneckerMultiTaskGP(X, Y)


@pytest.mark.parametrize(
    ("model", "change", "error", "message"),
    [
        (kronecker, math.nan, UnsupportedError, "correlated outputs, a Kronecker"),
        (
            lambda X, Y: ModelListGP(SingleTaskGP(X, Y[:, :1])),
            0.0,
            ValueError,
            "a ModelListGP of 2 models, .* got 1",
        ),
        (
            lambda X, Y: ModelListGP(SingleTaskGP(X, Y), SingleTaskGP(X, Y)),
            0.0,
            ValueError,
            "models of one output, got 2 of model 0",
        ),
    ],
)
def test_refuses_models_that_do_not_fit(model, change, error, message):
    X, Y = hartmann(8)
    Y = torch.cat([Y, Y**2], dim=-1)
    Y[3, 1] += change
    with pytest.raises(error, match=message):
        cross_validate(model, X, Y)


def test_refuses_outcomes_without_values():
    X, Y = noisy_waves(8, 2)
    Y[1:, 1] = math.nan
    with pytest.raises(
        ValueError, match="2 values of each outcome, got 1 of outcome 1"
    ):
        cross_validate(normalized_gp, X, Y)
    Y = noisy_waves(8, 2)[1]
    Y[[0, 1], 1] = math.nan
    held_out = torch.zeros(1, 8, dtype=torch.bool)
    held_out[0, :2] = True
    with pytest.raises(ValueError, match="one that holds out a value of outcome 1"):
        cross_validate(normalized_gp, X, Y, folds=held_out)


# Several tasks and fidelities


def tasks(n: int = 20):
    """Two tasks of the same designs, of another mean and scale each."""
    X, Y = hartmann(n // 2)
    both = torch.cat([torch.cat([X, torch.full_like(Y, t)], dim=-1) for t in (0, 1)])
    other = 50 + 20 * Y + torch.sin(9 * X[:, :1])
    return both, torch.cat([Y, other])


def stratified(X, Y):
    values = torch.tensor([0, 1])
    transform = StratifiedStandardize(stratification_idx=-1, all_task_values=values)
    return seeded_tasks(X, Y, outcome_transform=transform)


def seeded_tasks(X, Y, **kwargs):
    """With the initial values of the index kernel that GPyTorch draws at random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MultiTaskGP(X, Y, task_feature=-1, **kwargs)


@pytest.mark.parametrize("fit", ["refit", "warm", "adaptive", "fixed"])
def test_the_outcomes_of_a_task_have_a_scale_of_their_own(fit):
    X, Y = tasks()
    kwargs = {"folds": k_fold(4), "fit": fit, "fit_options": FEW, "threshold": 0.0}
    found = cross_validate(stratified, X, Y, keep_models=True, **kwargs)
    for j in range(20):
        i = int(found.fold_of[j])
        row, training = int(found.rows[j]), found.folds.training[i]
        if fit == "fixed":
            training = torch.ones_like(training)
        own = Y[training & (X[:, -1] == X[row, -1])]
        assert_close(found.location[j], own.mean(dim=0), **SAME)
        assert_close(found.scale[j], own.std(dim=0), **SAME)
        if fit != "fixed":
            with torch.no_grad():
                posterior = found.models[i].posterior(X[[row]], observation_noise=True)
            assert_close(found.mean[j], posterior.mean[0], **SOLVED)
            assert_close(found.variance[j], posterior.variance[0], **SOLVED)


def test_the_rows_of_a_target_are_held_out_alone():
    X, Y = tasks()
    target = X[:, -1] == 1
    folds = hold_out_only(target)
    assert folds.held_out.sum(dim=1).tolist() == [1] * 10
    assert folds.names[0] == "row 10" and not folds.omits_rows
    found = cross_validate(seeded_tasks, X, Y, folds=folds, fit="warm", fit_options=FEW)
    assert found.rows.tolist() == list(range(10, 20))
    whole = cross_validate(seeded_tasks, X, Y, fit="warm", fit_options=FEW)
    assert_close(found.mean, whole.mean[10:], **SOLVED)
    of_tasks = whole.summary(by=X[:, -1].int())
    assert of_tasks.index.tolist() == [(0, 0), (1, 0)]
    expected = found.summary().iloc[0].drop("q2")
    assert_close(
        of_tasks.loc[(1, 0)].drop("q2").to_numpy(), expected.to_numpy(), rtol=1e-4
    )
    assert of_tasks.elpd.sum() == pytest.approx(whole.elpd)
    designs = [*range(10), *range(10)]
    without = hold_out_only(target, k_fold(5, seed=1), designs)
    assert without.omits_rows
    for held_out, training in zip(without.held_out, without.training, strict=True):
        gone = {designs[i] for i in held_out.nonzero()[:, 0].tolist()}
        expected = {i for i in range(20) if designs[i] not in gone}
        assert set(training.nonzero()[:, 0].tolist()) == expected
        assert not (held_out & ~target).any()


def test_refuses_a_mask_that_is_none():
    with pytest.raises(
        ValueError,
        match=r"a boolean mask .* got torch.int64 of shape .*`train_X",
    ):
        hold_out_only(torch.tensor([0, 1]))
    with pytest.raises(
        ValueError, match="rows: expected at least 2 rows to hold out, got 1"
    ):
        hold_out_only([True, False])
    X, Y = noisy_waves(6)
    found = cross_validate(normalized_gp, X, Y, fit="fixed", fit_options=FEW)
    with pytest.raises(ValueError, match="expected 6 labels, one per row, got 2"):
        found.summary(by=["a", "b"])


@pytest.mark.parametrize("truncated", [True, False])
@pytest.mark.parametrize("fit", ["refit", "warm", "adaptive", "fixed"])
def test_fidelities_are_inputs_of_a_kernel_of_their_own(fit, truncated):
    X, Y = hartmann(18)
    fidelity = torch.tensor([0.25, 0.5, 1.0]).to(X)[torch.arange(18) % 3, None]
    X = torch.cat([X, fidelity], dim=-1)
    model = partial(
        SingleTaskMultiFidelityGP, data_fidelities=[6], linear_truncated=truncated
    )
    target = hold_out_only(X[:, -1] == 1)
    found = cross_validate(
        model,
        X,
        Y,
        folds=target,
        fit=fit,
        fit_options=FEW,
        keep_models=True,
        threshold=0,
    )
    assert found.rows.tolist() == list(range(2, 18, 3)) and found.failed == {}
    assert math.isfinite(found.elpd)
    if fit != "fixed":
        with torch.no_grad():
            posterior = found.models[2].posterior(X[[8]], observation_noise=True)
        assert_close(found.mean[2], posterior.mean[0], **SOLVED)
        assert_close(found.variance[2], posterior.variance[0], **SOLVED)
    by_fidelity = cross_validate(model, X, Y, fit="fixed", fit_options=FEW).summary(
        by=pd.Series(fidelity[:, 0].numpy())
    )
    assert by_fidelity.points.tolist() == [6, 6, 6]
    assert np.isfinite(by_fidelity.elpd).all()


def test_leave_one_out_of_a_list_equals_that_of_a_batch():
    """The same models, one by one."""
    X, Y = noisy_waves(12, 2)

    def listed(X, Y):
        return ModelListGP(*(normalized_gp(X, Y[:, [j]]) for j in range(2)))

    one = cross_validate(listed, X, Y, folds=leave_one_out)
    other = cross_validate(normalized_gp, X, Y, folds=leave_one_out)
    assert_close(one.mean, other.mean, rtol=1e-3, atol=1e-3)
    assert_close(one.elpd, other.elpd, rtol=1e-3)
