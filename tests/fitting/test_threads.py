"""Groups and threads: they change the order of the work, never what comes out."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from helpers import (
    TroubledKernel,
    batch_mll,
    fold_mlls,
    mll_of,
    normalized_gp,
    troubled_mlls,
    unit_waves,
)

from botorch_xval import FitOptions, fit_each, fit_gpytorch_mll, make_objective
from botorch_xval.fitting.search import Start
from botorch_xval.fitting.threads import (
    evaluate_each,
    search_each,
    single_threaded_torch,
    threads_for,
)

X, Y = unit_waves(12)


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def folds(count: int = 5):
    return fold_mlls(normalized_gp, X, Y, count)


@pytest.mark.parametrize("coordinates", ["raw", "log"])
def test_strategies_agree_to_the_last_bit_in_closed_form(coordinates):
    ends = []
    for strategy in ("loop", "batch", "auto"):
        mll = batch_mll(X, Y)
        kwargs = {"strategy": strategy, "coordinates": coordinates}
        fit_gpytorch_mll(mll, optimizer_kwargs=kwargs)
        ends.append([record.losses for record in mll.fit_records])
    assert ends[0] == ends[1] == ends[2]


@pytest.mark.filterwarnings("ignore:Method CG cannot handle bounds")
@pytest.mark.parametrize("method", ["CG", "L-BFGS-B"])
def test_warning_filters_and_threads_are_as_before(method, threads):
    before = list(warnings.filters), torch.get_num_threads()
    assert before[1] == threads
    fit_each(folds(), FitOptions(method=method, strategy="batch"))
    assert (list(warnings.filters), torch.get_num_threads()) == before


@pytest.mark.parametrize(
    "given", [{"callback": lambda *_: None}, {"strategy": "loop"}, {}]
)
@pytest.mark.parametrize("elements", [1, 250])  # two models of 11 points have 242
def test_how_many_threads_search(given, elements, threads, monkeypatch):
    """One for a callback, the loop or little work; otherwise the user's number."""
    monkeypatch.setattr("botorch_xval.fitting.threads.THREAD_ELEMENTS", elements)
    objective, seen = make_objective(folds()), []
    kept = type(objective).workers

    def workers(self, count):
        seen.append(count)
        return kept(self, count)

    monkeypatch.setattr(type(objective), "workers", workers)
    options = FitOptions(**given, options={"maxiter": 2})
    searches = search_each(
        objective,
        [Start(objective.start[i], "own") for i in (3, 1)],
        [3, 1],
        options,
        coordinates=None,
    )
    assert seen == [1 if given or elements > 1 else threads]
    for model, search in zip((3, 1), searches, strict=True):
        loss, _ = objective(search.best_point[None], [model])
        assert search.best_loss == loss[0]


def test_any_number_of_points_is_evaluated_as_one_by_one():
    objective = make_objective(folds())
    models = [i % 5 for i in range(70)]  # more than a group has
    away = np.random.default_rng(0).uniform(size=(70, objective.start.shape[1]))
    theta = objective.start[models] + 0.1 * away
    losses, gradients = evaluate_each(objective, theta, models)
    for i in (0, 33, 69):
        loss, gradient = objective(theta[[i]], [models[i]])
        assert losses[i] == loss[0] and np.array_equal(gradients[i], gradient[0])


@pytest.mark.filterwarnings("ignore:A not p.d.")
@pytest.mark.parametrize("trouble", ["error", "nan", "not positive definite"])
def test_a_point_without_a_value_is_nan(trouble):
    objective = make_objective(troubled_mlls(trouble))
    losses, gradients = evaluate_each(objective, objective.start, range(6))
    assert np.isnan(losses).tolist() == [i == 2 for i in range(6)]
    assert np.isnan(gradients[2]).all() and np.isfinite(gradients[[0, 5]]).all()


@pytest.mark.parametrize("leaves_first", ["this", "other"])
def test_two_threads_that_fit_have_their_own_setting(leaves_first, threads):
    """With OpenMP it belongs to the thread, although a new one takes the last value."""
    inside, go_on, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        with single_threaded_torch():
            seen.append(torch.get_num_threads())
            inside.set()
            go_on.wait(10)
            with single_threaded_torch():
                seen.append(torch.get_num_threads())
            seen.append(torch.get_num_threads())
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=other)
    with single_threaded_torch():
        thread.start()
        inside.wait(10)
        if leaves_first == "other":
            go_on.set()
            thread.join()
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads
    go_on.set()
    thread.join()
    assert seen == [1, 1, 1, threads]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("n", "large"), [(12, False), (100, True)])
def test_small_models_are_compared_with_one_thread(n, large, threads, monkeypatch):
    seen = []

    def watching(*arguments):
        seen.append(torch.get_num_threads())
        return make_objective(*arguments)

    monkeypatch.setattr("botorch_xval.fitting.fit.make_objective", watching)
    mll = mll_of(normalized_gp(*unit_waves(n)))
    fit_each([mll], FitOptions(options={"maxiter": 1}))
    assert seen == [threads if large else 1]


def test_a_large_model_alone_has_all_threads(threads):
    exact = make_objective(folds(2))
    modules = make_objective(
        [mll_of(SingleTaskGP(X, Y, covar_module=TroubledKernel()))]
    )
    for objective, large in ((exact, 1000), (modules, 100)):
        for n, expected in ((large - 1, 1), (large, threads)):
            objective.num_points = n
            with threads_for(objective):
                assert torch.get_num_threads() == expected
