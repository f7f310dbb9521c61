"""Comparisons computed elsewhere: the same result, whoever dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import SingleTaskGP
from helpers import assert_same, noisy_waves, normalized_gp, optimizer, short_sighted
from torch import Tensor

from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.table import Comparison

# A test of NUTS in the same process has imported JAX, which warns of forks.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")

QUICK = {"fit_options": optimizer(maxiter=4)}
CONFIGURATIONS = {"default": normalized_gp, "short sighted": short_sighted}


def dies_once(train_X: Tensor, train_Y: Tensor, flag: Path) -> SingleTaskGP:
    """The default model, but the first process that builds it is killed."""
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return normalized_gp(train_X, train_Y)


def kills_once(train_X: Tensor, train_Y: Tensor, flag: Path) -> SingleTaskGP:
    """The default model, but the first one kills the process that a file names."""
    if flag.exists():
        number = int(flag.read_text())
        flag.unlink()
        os.kill(number, signal.SIGKILL)
    return normalized_gp(train_X, train_Y)


def run(**changes: object) -> Comparison:
    arguments = {"sizes": [6, 8], "replicates": 2, **QUICK, **changes}
    configurations = arguments.pop("configurations", CONFIGURATIONS)
    return compare(configurations, *noisy_waves(14), **arguments)


@pytest.fixture(scope="module")
def expected() -> Comparison:
    return run()


@pytest.fixture
def mortal(tmp_path: Path) -> dict[str, object]:
    """The configurations, of which one kills the first process that builds it."""
    return {**CONFIGURATIONS, "default": partial(dies_once, flag=tmp_path / "flag")}


# Processes


def test_processes_compute_the_same_and_may_die(tmp_path, expected, mortal):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        assert_same(run(executor=executor), expected)
        raced = run(sizes=[14], race=True, executor=executor)
        assert_same(raced, run(sizes=[14], race=True))
        with pytest.warns(BotorchWarning, match="the executor lost .*BrokenProcessP"):
            found = run(executor=executor, configurations=mortal, folder=tmp_path)
        assert (tmp_path / "flag").exists()
        assert_same(found, expected)
        # What is left of the pool takes no cell at all.
        with pytest.warns(BotorchWarning, match="the executor lost 8 of 8 cells"):
            assert_same(run(executor=executor), expected)


@pytest.mark.filterwarnings("ignore")
def test_dask_computes_the_same_and_may_die(expected, mortal):
    distributed = pytest.importorskip("distributed")
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert_same(run(executor=client.get_executor()), expected)
        with pytest.warns(BotorchWarning, match="the executor lost .*KilledWorker"):
            found = run(executor=client.get_executor(), configurations=mortal)
        assert_same(found, expected)
        # A lambda can be sent, a lock cannot.
        found = run(executor=client.get_executor(), configurations=of_a_lambda())
        assert_same(found, expected)
        locked = {**CONFIGURATIONS, "locked": partial(normalized_gp, threading.Lock())}
        with pytest.raises(ValueError, match="got configuration 'locked' .*; use wh"):
            run(executor=client.get_executor(), configurations=locked)
        with pytest.raises(ValueError, match="Executor, got Client; .*get_executor"):
            run(executor=client)
        executor = client.get_executor()
        executor.shutdown()
        with pytest.raises(ValueError, match="got ClientExecutor with RuntimeError"):
            run(executor=executor)
        executor = client.get_executor()
    for _ in range(2):
        with pytest.raises(ValueError, match="that of a closed Dask client; check"):
            run(executor=executor)


@pytest.mark.filterwarnings("ignore")
def test_dask_may_lose_its_scheduler(tmp_path, expected):
    distributed = pytest.importorskip("distributed")
    address, flag = tmp_path / "address", tmp_path / "flag"
    command = [sys.executable, "-m", "distributed.cli.dask_"]
    options = ["--scheduler-file", str(address), "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    quiet["env"] = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    mortal = {**CONFIGURATIONS, "default": partial(kills_once, flag=flag)}
    with ExitStack() as ended:
        for kind, own in (
            ("scheduler", ["--port", "0", "--host", "127.0.0.1"]),
            ("worker", ["--nthreads", "1", "--no-nanny"]),
        ):
            run_it = [*command[:-1], command[-1] + kind, *options, *own]
            process = subprocess.Popen(run_it, **quiet)
            ended.callback(process.wait)
            ended.callback(process.kill)
            if kind == "scheduler":
                flag.write_text(str(process.pid))
                while not address.exists():
                    assert process.poll() is None
                    time.sleep(0.01)
        client = ended.enter_context(distributed.Client(scheduler_file=str(address)))
        with pytest.warns(BotorchWarning, match="the executor lost .*computed in this"):
            found = run(executor=client.get_executor(), configurations=mortal)
        assert not flag.exists()
        assert_same(found, expected)


def of_a_lambda() -> dict[str, object]:
    return {**CONFIGURATIONS, "default": lambda x, y: normalized_gp(x, y)}


def test_what_cannot_be_sent_is_named(tmp_path):
    with ProcessPoolExecutor(1) as executor:
        with pytest.raises(ValueError, match="executor: .*got configuration 'default'"):
            run(configurations=of_a_lambda(), executor=executor, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [ProcessPoolExecutor, ThreadPoolExecutor])
def test_an_executor_that_was_shut_down_is_named(tmp_path, kind, expected):
    run(sizes=[6], folder=tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "cells").glob("?*.json")}
    with kind(1) as executor:
        pass
    message = f"got {kind.__name__} with RuntimeError .*shutdown.*; open a new one, and"
    with pytest.raises(ValueError, match=message):
        run(executor=executor, folder=tmp_path)
    for path, content in before.items():
        assert path.read_bytes() == content or path.name == "manifest.json"
    with kind(1) as executor:
        assert_same(run(executor=executor, folder=tmp_path), expected)


# Other executors


def test_a_thread_computes_the_same(expected):
    with ThreadPoolExecutor(1) as executor:
        assert_same(run(executor=executor), expected)


class Backwards(ThreadPoolExecutor):
    """Runs what it was given in reverse, and cancels every third task."""

    def __init__(self) -> None:
        super().__init__(1)
        self.gate = threading.Event()
        self.tasks: list[tuple[Future, tuple]] = []

    def submit(self, *call: object) -> Future:
        self.tasks.append((Future(), call))
        if len(self.tasks) == 8:
            super().submit(self._work)
        return self.tasks[-1][0]

    def _work(self) -> None:
        for i, (future, (function, *arguments)) in reversed([*enumerate(self.tasks)]):
            if i % 3 == 0:
                future.cancel()
                future.set_running_or_notify_cancel()
            else:
                future.set_result(function(*arguments))


def test_neither_order_nor_cancelled_tasks_matter(expected):
    with Backwards() as executor:
        with pytest.warns(BotorchWarning, match="the executor lost 3 of 8 cells"):
            assert_same(run(executor=executor), expected)


def test_an_interrupt_cancels_and_keeps_what_is_finished(tmp_path, expected):
    started = []

    def model(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        started.append(len(train_X))
        if len(started) == 6 * 2 + 1:  # in the replicate after the first one
            raise KeyboardInterrupt
        return normalized_gp(train_X, train_Y)

    configurations = {"default": model, "again": model}
    many = {"replicates": 20, "configurations": configurations, "sizes": [6]}
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(KeyboardInterrupt):
            run(executor=executor, folder=tmp_path, **many)
    fits = pd.read_csv(tmp_path / "fits.csv")
    assert 2 <= len(fits) < 40
    assert len(started) < 40 * 6  # the other tasks were cancelled
    points = pd.read_csv(tmp_path / "points.csv")
    own = points[(points.configuration == "default") & (points.replicate == 0)]
    whole = expected.points.query("configuration == 'default' and size == 6")
    assert (
        own.log_density.to_list() == whole[whole.replicate == 0].log_density.to_list()
    )


def test_an_error_of_a_model_is_named_and_the_rest_computed(tmp_path, expected):
    def failing(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        raise RuntimeError("no such model")

    configurations = {"default": normalized_gp, "failing": failing}
    with ThreadPoolExecutor(1) as executor:
        with pytest.warns(BotorchWarning, match="have no scores: 'failing' of 6 rows"):
            found = run(
                executor=executor, folder=tmp_path, configurations=configurations
            )
    own, whole = (
        each.points.query("configuration == 'default'").log_density.to_list()
        for each in (found, expected)
    )
    assert own == whole


# A budget of seconds


def small_first(found: Comparison, whole: Comparison) -> None:
    """It has some datasets of the whole, all configurations, the smallest one first."""
    keys = ["size", "replicate"]
    datasets = found.points[keys].drop_duplicates()
    assert tuple(datasets.iloc[0]) == (6, 0) and len(datasets) < 4
    expected = whole.points.merge(datasets, on=keys)
    pd.testing.assert_frame_equal(found.points, expected)
    assert (found.points.groupby(keys).configuration.nunique() == 2).all()


def test_without_time_there_is_the_first_dataset_and_the_rest_later(tmp_path, expected):
    with pytest.warns(BotorchWarning, match="0 seconds 6 cells are missing, of 6, 8 r"):
        found = run(seconds=0, folder=tmp_path)
    small_first(found, expected)
    assert found.points[["size", "replicate"]].drop_duplicates().shape == (1, 2)
    assert (pd.read_csv(tmp_path / "fits.csv").replicate == 0).all()
    assert_same(run(seconds=1e9, folder=tmp_path), expected)


class Slow:
    """The default model; the fifth one that is built waits until time is over."""

    def __init__(self, seconds: float, event: threading.Event | None = None) -> None:
        self.built, self.seconds = 0, seconds
        self.event = event or threading.Event()

    def __call__(self, train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        self.built += 1
        if self.built > 5:  # one per fold batch: those of the later cells
            self.event.wait(self.seconds)
        return normalized_gp(train_X, train_Y)


def test_an_executor_finishes_what_has_begun_when_time_is_over(expected):
    configurations = {**CONFIGURATIONS, "default": Slow(1.0)}
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.warns(BotorchWarning, match="cells are missing"),
    ):
        found = run(seconds=0.5, executor=executor, configurations=configurations)
    small_first(found, expected)


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_no_such_budget(seconds):
    with pytest.raises(ValueError, match="seconds: expected a number from 0 on, got"):
        run(seconds=seconds)
