"""The search on real trials: its order, budgets, resumption, failures."""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import BotorchWarning
from helpers import assert_same, hartmann, tuning_trials, unit_waves

from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.model_search import ModelSearch
from botorch_xval.comparison.search import BEAM, search
from botorch_xval.cross_validation.folds import k_fold
from botorch_xval.fitting.options import FitOptions
from botorch_xval.models.configurations import BOTORCH_DEFAULT, default_configurations
from botorch_xval.models.grammar import first_specs, neighbors
from botorch_xval.models.structured import StructuredGP

# Of data without noise, by kernels that are nearly singular.
pytestmark = pytest.mark.filterwarnings("ignore:A not p.d.")

# Fixtures of a module are made before `one_start`.
ONE = FitOptions(starts="own", options={"maxiter": 5})
QUICK = {"seconds": math.inf, "folds": k_fold(4), "fit": "fixed", "fit_options": ONE}


@pytest.fixture(scope="module")
def trials():
    table = tuning_trials(24)
    return {
        "train_X": table.X,
        "train_Y": table.Y,
        "choice_dims": table.choice_dims,
    }


@pytest.fixture(scope="module")
def found(trials) -> ModelSearch:
    return search(**trials, candidates=9, **QUICK)


def test_scores_are_those_of_a_comparison(trials):
    X, Y, dims = trials.values()
    result = search(X, Y, choice_dims=dims, seconds=math.inf, candidates=4, seed=3)
    default, *ours = first_specs(X.shape[-1], dims)
    assert result.specs[:4] == (default, *ours)
    names = ["BoTorch default", "tight priors", "loose priors", "loosest priors"]
    expected = compare(
        {name: default_configurations(dims)[name] for name in names},
        X,
        Y,
        sizes=[24],
        fit="warm",
        seed=3,
    )
    for name, spec in zip(names, result.specs[:4], strict=True):
        one, other = (
            comparison.points[comparison.points.configuration == configuration]
            for comparison, configuration in (
                (result.comparison, spec.name),
                (expected, name),
            )
        )
        assert one.row.tolist() == other.row.tolist()
        # Models of all folds are built as a batch or one by one.
        assert one.log_density.to_numpy() == pytest.approx(
            other.log_density.to_numpy(), abs=2e-3
        )


def test_neighbors_of_the_best_come_next(trials, found):
    d = trials["train_X"].shape[-1]
    known = list(found.specs[:4])
    points = found.comparison.points
    mean = points.groupby("configuration").log_density.mean()
    while len(known) < len(found.specs):
        best = sorted(known, key=lambda spec: -mean[spec.name])[:BEAM]
        near = (n for spec in best for n in neighbors(spec, d) if n not in known)
        expected = next(near)
        # The neighbors of one model are tried all before scores are looked at again.
        owner = next(s for s in best if expected in neighbors(s, d))
        new = [n for n in neighbors(owner, d) if n not in known]
        new = new[: len(found.specs) - len(known)]
        assert list(found.specs[len(known) : len(known) + len(new)]) == new
        known += new
    assert len(found.specs) == 9
    assert (points.groupby("configuration").size() == 24).all()


def test_a_search_ends_where_the_best_have_no_new_neighbors():
    X, Y = unit_waves(10)
    result = search(X[:8, :1], Y[:8], candidates=100, **QUICK)
    names = result.table().configuration[:BEAM]
    assert len(result.specs) < 64
    for spec in result.specs:
        if spec.name in set(names):
            assert set(neighbors(spec, 1)) <= set(result.specs)


def test_the_clock_ends_a_search_and_a_folder_goes_on(trials, found, tmp_path: Path):
    arguments = {**trials, **QUICK, "folder": tmp_path}
    first = search(**{**arguments, "seconds": 0.0})
    assert [spec.name for spec in first.specs] == [BOTORCH_DEFAULT]
    assert first.spec == first.specs[0] and not first.is_clear
    part = search(**arguments, candidates=6)
    assert part.specs == found.specs[:6]
    files = set((tmp_path / "cells").glob("*.json"))
    times = {path: path.stat().st_mtime_ns for path in files}
    whole = search(**arguments, candidates=9)
    assert_same(whole.comparison, found.comparison)
    assert whole.specs == found.specs
    same = [path for path in files if path.name != "manifest.json"]
    assert len(same) == 6  # computed once
    assert all(path.stat().st_mtime_ns == times[path] for path in same)
    with pytest.raises(ValueError, match="cells of other values of train_Y"):
        search(**{**arguments, "train_Y": 2 * trials["train_Y"]})


def test_an_executor_finds_the_same(trials, found):
    # One worker: settings of GPyTorch are global, and not those of a thread.
    with ThreadPoolExecutor(1) as executor:
        threads = search(**trials, candidates=9, executor=executor, **QUICK)
    assert_same(threads.comparison, found.comparison)
    assert threads.specs == found.specs


def test_models_go_to_other_processes(trials):
    context = get_context("spawn")
    arguments = {**trials, **QUICK, "candidates": 2}
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        elsewhere = search(**arguments, executor=executor)
    assert_same(elsewhere.comparison, search(**arguments).comparison)


@pytest.mark.parametrize("known", [False, True])
def test_several_outputs(known):
    X, Y = hartmann(10)
    Y = torch.cat([Y, Y.square() + X[:, :1]], dim=-1)
    Yvar = torch.full_like(Y, 0.01) if known else None
    result = search(X, Y, Yvar, candidates=6, **QUICK)
    assert len(result.specs) == 6
    assert result.comparison.points.log_density.notna().all()
    noise = {} if Yvar is None else {"train_Yvar": Yvar}
    assert result.best(X, Y, **noise).num_outputs == 2


def test_rows_of_a_group_are_held_out_together():
    X, Y = unit_waves(12)
    groups = [i // 2 for i in range(12)]
    result = search(X, Y, seconds=math.inf, candidates=2, groups=groups, fit="warm")
    assert (result.comparison.fits.folds == 6).all()


def test_what_cannot_be_fitted_is_named_and_left_out(monkeypatch):
    X, Y = unit_waves(12)
    built, bad = StructuredGP.__init__, {"matern52"}

    def broken(self, *args, spec, **kwargs):
        built(self, *args, spec=spec, **kwargs)
        if spec.kernel in bad:  # a NaN that no start is without
            self.train_targets.fill_(torch.nan)

    monkeypatch.setattr(StructuredGP, "__init__", broken)
    with ThreadPoolExecutor(1) as executor, pytest.warns(BotorchWarning) as warned:
        result = search(
            X,
            Y,
            candidates=6,
            executor=executor,
            **QUICK,
        )
    failed = {spec.name for spec in result.specs if spec.kernel == "matern52"}
    assert set(result.failed) == failed and len(failed) >= 3
    assert any("Matern-5/2" in str(w.message) for w in warned)
    assert failed.isdisjoint(result.table().configuration)
    assert len(result.specs) == 6
    assert f"{len(failed)} of them without a fit" in result.summary()
    bad.add("rbf")
    with pytest.raises(ModelFittingError):
        search(X, Y, candidates=2, **QUICK)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seconds": -1.0}, "seconds: expected a number from 0 on, got -1.0"),
        ({"seconds": math.nan}, "seconds: expected a number from 0 on, got nan"),
        ({"candidates": 0}, "candidates: expected a whole number from 1 on, got 0"),
        ({"choice_dims": [2]}, r"choice_dims: .* columns from -2 to 1, got 2"),
        ({"choice_dims": [1, 1]}, r"choice_dims: expected different .*\[1, 1\]"),
        (
            {"train_Y": torch.ones(8)},
            r"train_Y: .* `n x m`, got .*\(8,\)",
        ),
        (
            {
                "train_X": torch.ones(2, 2).double(),
                "train_Y": torch.ones(2, 1).double(),
            },
            "train_X: expected at least 3 rows, got 2",
        ),
        ({"train_Y": torch.ones(7, 1)}, r"train_Y: expected the shape \(8, m\)"),
        ({"fit": "cold"}, "fit: expected"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    X, Y = unit_waves(8)
    with pytest.raises(ValueError, match=message):
        search(**{"train_X": X, "train_Y": Y, "candidates": 1, **wrong})
