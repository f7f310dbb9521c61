"""Folds in blocks: the same results, whatever memory there is."""

from __future__ import annotations

import math
import os
from importlib import import_module

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from fold_helpers import noisy_waves
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import IDENTITY, SOLVED, assert_close

from botorch_xval import FitOptions, cross_validate
from botorch_xval.cross_validation import memory
from botorch_xval.cross_validation.fold_models import FoldData, FoldModels
from botorch_xval.cross_validation.folds import leave_one_out
from botorch_xval.cross_validation.folds_like import make_folds


def model(X, Y):
    return SingleTaskGP(X, Y, input_transform=Normalize(X.shape[-1]))


def data_of(n: int, d: int = 2, m: int = 1) -> FoldData:
    X, Y = torch.rand(n, d, dtype=torch.float64), torch.rand(n, m, dtype=torch.float64)
    folds = make_folds(leave_one_out, n)
    return FoldData(model, ExactMarginalLogLikelihood, X, Y, None, folds)


@pytest.fixture
def built(monkeypatch):
    """How many folds' models are built at a time."""
    counts = []
    build = FoldModels._build_all

    def counted(self):
        counts.append(len(self.numbers))
        return build(self)

    monkeypatch.setattr(FoldModels, "_build_all", counted)
    return counts


def bound_of(folds: int, n: int) -> float:
    """GiB that hold the models of so many folds of noisy waves."""
    own = memory.BYTES_OF_MODEL + memory.COPIES * 8 * n * 4
    return (folds + 0.5) * own / 2**30


def test_blocks_are_of_nearly_equal_size_and_have_every_fold_once():
    blocks = list(memory.blocks_of(range(100, 201), data_of(101), bound_of(30, 101)))
    assert [i for block in blocks for i in block] == list(range(100, 201))
    assert sorted(len(block) for block in blocks) == [25, 25, 25, 26]


def test_more_rows_columns_or_outputs_are_fewer_folds_at_a_time():
    def first(**kwargs):
        size = {"n": 200, "d": 2, "m": 1} | kwargs
        data = data_of(**size)
        return len(next(memory.blocks_of(range(200), data, 0.02)))

    assert first(n=2000) < first() > first(d=50)
    assert first() > first(m=20)
    assert len(next(memory.blocks_of(range(200), data_of(200), 1e-9))) == memory.LEAST


@pytest.mark.parametrize("fit", ["adaptive", "warm", "refit", "sampled"])
def test_results_do_not_depend_on_blocks(fit, built):
    """With starts of their own; with several, what a fold is offered may differ."""
    X, Y = noisy_waves(20, seed=1)
    results = []
    for bound in (None, bound_of(8, 20)):
        options = FitOptions(starts="own", max_memory=bound)
        results.append(cross_validate(model, X, Y, fit=fit, fit_options=options))
    assert max(built) == 20 and built[-1] <= 8
    whole, blocks = results
    assert_close(blocks.log_density, whole.log_density, **IDENTITY)
    assert [f.how for f in blocks.fits] == [f.how for f in whole.fits]
    assert blocks.failed == {} and blocks.evaluations == whole.evaluations


def test_several_starts_end_in_the_same_optima(built):
    X, Y = noisy_waves(20, seed=1)
    losses = []
    for bound in (None, bound_of(8, 20)):
        found = cross_validate(
            model, X, Y, fit="warm", fit_options=FitOptions(max_memory=bound)
        )
        losses.append([fit.record.loss for fit in found.fits])
    assert_close(*losses, **SOLVED)


def test_what_a_block_has_found_is_offered_to_later_ones(monkeypatch):
    given = []

    def fit_folds(models, full, how, threshold, options, known):
        given.append(dict(known))
        known[0] = [*known.get(0, []), len(given)]
        raise InterruptedError if len(given) == 3 else NotImplementedError

    module = import_module("botorch_xval.cross_validation.work")
    work = module.Work(data_of(24), FitOptions(max_memory=bound_of(8, 24)), False)
    monkeypatch.setattr(module, "fit_folds", fit_folds)
    for block in range(3):
        with pytest.raises((InterruptedError, NotImplementedError)):
            work._fit_block([block], None, "refit", 0.5)
    assert given == [{}, {0: [1]}, {0: [1, 2]}]


def test_progress_says_which_folds(capsys):
    X, Y = noisy_waves(16, seed=1)
    options = FitOptions(starts="own", max_memory=bound_of(8, 16))
    cross_validate(model, X, Y, fit_options=options, progress=True)
    said = capsys.readouterr()
    assert "folds 1 to 8 of 16" in said.out + said.err
    assert "folds 9 to 16 of 16" in said.out + said.err


def test_free_memory_is_what_the_system_says():
    free = memory.free_memory(torch.device("cpu"))
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < free <= physical


def test_without_a_word_of_the_system_there_is_no_bound(monkeypatch):
    def nothing(*_):
        raise OSError

    monkeypatch.setattr(memory.os, "sysconf", nothing)
    monkeypatch.setattr(memory.Path, "read_text", nothing)
    assert memory.free_memory(torch.device("cpu")) == math.inf
    assert len(list(memory.blocks_of(range(50), data_of(50), None))) == 1


def test_a_container_may_have_less_than_the_machine(monkeypatch):
    files = {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    4000000 kB\n",
        "/sys/fs/cgroup/memory.max": "3000000\n",
        "/sys/fs/cgroup/memory.current": "1000000\n",
        "/sys/fs/cgroup/memory.stat": "file 900000\ninactive_file 600000\n",
    }
    monkeypatch.setattr(memory.Path, "read_text", lambda self: files[str(self)])
    assert memory.free_memory(torch.device("cpu")) == 2_600_000
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert memory.free_memory(torch.device("cpu")) == 4_096_000_000


@pytest.mark.parametrize("bad", [0, -1.0, "2", np.nan])
def test_a_bound_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="max_memory: expected GiB above 0"):
        FitOptions(max_memory=bad)
