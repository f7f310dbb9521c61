"""Comparisons that are killed at random moments and go on: what is lost or changed?

    python benchmarks/kills.py                  # 250 kills, ten minutes
    python benchmarks/kills.py threads 10       # so many of one kind, for a look

Every run is a process group of its own, forked from this process, which has imported
everything. It is killed with SIGKILL, begun again in the same folder, killed again, and
so on to its end; then comes the next one in a new folder. After every kill: each cell
that was finished is there to the last byte, all cells and the manifest are complete,
the tables can be read, and each line of `points.csv` is one of the undisturbed run. In
the end points and fits (but their seconds) are the undisturbed ones, to the last bit.
Writes `results/kills.md`.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import json
import math
import multiprocessing
import pickle
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pandas as pd
import torch
from fit_speed import machine

from botorch_xval.comparison import Comparison, compare, search
from botorch_xval.cross_validation import k_fold
from botorch_xval.fitting import FitOptions
from botorch_xval.models.configurations import default_configurations

FORK = multiprocessing.get_context("fork")
WORKERS, TOGETHER = 2, 5  # of a pool; studies at a time, which disturb each other
QUICK = FitOptions(starts="own", options={"maxiter": 3})
Moment = Callable[[Path, int, np.random.Generator], int]


def trials(n: int = 14) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    return x, torch.sin(6 * x[:, :1]) + x[:, 1:] + 0.3 * noise


def run(folder: Path, executor: Any = None, **changes: Any) -> Comparison:
    how = {"sizes": [6, 8], "replicates": 3, "fit_options": QUICK, "folds": k_fold(3)}
    models = default_configurations([])
    return compare(models, *trials(), folder=folder, executor=executor, **how | changes)


def find(folder: Path) -> Comparison:
    options = {"seconds": math.inf, "candidates": 8, "fit_options": QUICK}
    return search(*trials(8), folder=folder, folds=k_fold(3), **options).comparison


def by_processes(folder: Path) -> Comparison:
    with ProcessPoolExecutor(WORKERS, FORK) as pool:
        return run(folder, pool)


def by_threads(folder: Path) -> Comparison:
    with ThreadPoolExecutor(WORKERS) as pool:
        return run(folder, pool)


def by_dask(folder: Path) -> Comparison:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        return run(folder, client.get_executor())


# Who is killed: a function from the folder, the process that leads the group and a
# generator to the number of processes killed. It has waited for its moment.


def group(_: Path, leader: int, __: np.random.Generator) -> int:
    os.killpg(leader, signal.SIGKILL)
    return 1


def only_leader(_: Path, leader: int, __: np.random.Generator) -> int:
    os.kill(leader, signal.SIGKILL)  # its workers live on
    return 1


def a_worker(_: Path, leader: int, rng: np.random.Generator) -> int:
    if not (workers := children(leader)):
        return 0
    os.kill(int(rng.choice(workers)), signal.SIGKILL)
    return 1


def while_it_writes(folder: Path, leader: int, rng: np.random.Generator) -> int:
    until = monotonic() + 5
    while not any(folder.rglob(".*.new")):
        if monotonic() > until or not alive(leader):
            return 0
    sleep(rng.uniform(0, 0.002))
    return group(folder, leader, rng)


def children(leader: int) -> list[int]:
    text = Path(f"/proc/{leader}/task/{leader}/children")
    with suppress(OSError):
        return [int(each) for each in text.read_text().split()]
    return []


def alive(leader: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{leader}/stat").read_text().split(") ")[1][0] != "Z"
    return False


@dataclass(frozen=True)
class Kind:
    work: Callable[[Path], Comparison]
    kill: Moment
    kills: int
    later: int = 4
    """Waits for 0 to so many further cells, and then for up to the time of two."""


KINDS = {
    "in this process": Kind(run, group, 60),
    "in this process, while it writes": Kind(run, while_it_writes, 40),
    "a race": Kind(partial(run, sizes=[10, 12], race=True), group, 30),
    "processes": Kind(by_processes, group, 40),
    "processes, the main one only": Kind(by_processes, only_leader, 20),
    "processes, a worker only": Kind(by_processes, a_worker, 10),
    "threads": Kind(by_threads, group, 30),
    "Dask": Kind(by_dask, group, 6),
    "a search": Kind(find, group, 20),
}


def lead(work: Callable[[Path], Comparison], folder: Path, result: Path) -> None:
    """What the leader of a group does."""
    os.setsid()
    with open(result.with_name("errors"), "w") as errors:
        os.dup2(errors.fileno(), sys.stderr.fileno())
    torch.set_num_threads(1)
    found = work(folder)
    result.write_bytes(pickle.dumps((found.points, found.fits)))


def inspect(folder: Path, expected: Comparison) -> dict[str, bytes]:
    """The cells of a folder, all of which must be complete, as the tables must be."""
    files = {p.name: p.read_bytes() for p in (folder / "cells").glob("*.json")}
    content = {name: json.loads(text) for name, text in files.items()}
    if manifest := content.pop("manifest.json", None):
        assert manifest["format"] and manifest["fingerprints"]
    else:
        assert not content
    assert all(each["outcome"]["log_density"] for each in content.values())
    for name in ("points", "fits", "scores"):
        if (path := folder / f"{name}.csv").exists():
            assert len(pd.read_csv(path))
    if (path := folder / "points.csv").exists():
        lines = expected.points.to_csv(index=False).splitlines()
        # The rounds of a configuration that joins a search are those of the others.
        assert set(path.read_text().splitlines()) <= set(lines)
    return {name: files[name] for name in content}


def count(folder: Path) -> int:
    return len(list((folder / "cells").glob("[0-9a-f]*.json")))


def disturbed(
    kind: Kind, number: int, expected: Comparison, seconds: float, base: Path, seed: int
) -> Counter[str]:
    """Kill runs until there are so many kills; what was seen, counted.

    A cell takes so many seconds.
    """
    rng, seen = np.random.default_rng(seed), Counter[str]()
    while seen["kills"] < number:
        folder, result = base / f"run {seen['runs']}", base / "result"
        result.unlink(missing_ok=True)
        cells: dict[str, bytes] = {}
        drafts: set[Path] = set()
        before: int | None = None  # the group that lives on without its leader
        while True:
            process = FORK.Process(target=lead, args=(kind.work, folder, result))
            process.start()
            leader = process.pid
            wanted = len(cells) + rng.integers(0, kind.later + 1)
            while process.is_alive() and count(folder) < wanted:
                sleep(0.002)
            sleep(rng.uniform(0, 2 * seconds))
            killed = 0
            if process.is_alive():
                with suppress(ProcessLookupError):  # has no group yet
                    killed = kind.kill(folder, leader, rng)
            while process.exitcode is None:  # `join` would wait for workers, too
                sleep(0.001)
            if process.exitcode not in (0, -signal.SIGKILL):
                sys.exit((base / "errors").read_text())
            seen["kills"] += killed
            seen["orphans"] += bool(before and group_lives(before))
            drafts, old = set(folder.rglob(".*.new")), drafts
            seen["drafts"] += bool(drafts - old)
            end_group(before)
            before = leader
            now = inspect(folder, expected)
            assert now.keys() >= cells.keys()
            assert all(now[name] == text for name, text in cells.items())
            seen["cells found finished"] += len(cells)
            if process.exitcode == 0:
                break
            cells = now
        end_group(before)
        points, fits = pickle.loads(result.read_bytes())
        pd.testing.assert_frame_equal(points, expected.points, check_exact=True)
        pd.testing.assert_frame_equal(
            fits.drop(columns="seconds"),
            expected.fits.drop(columns="seconds"),
            check_exact=True,
        )
        seen["runs"] += 1
        shutil.rmtree(folder)
    return seen


def group_lives(leader: int) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(leader, 0)
        return True
    return False


def end_group(leader: int | None) -> None:
    with suppress(ProcessLookupError):
        if leader is not None:
            os.killpg(leader, signal.SIGKILL)


def study(name: str, kind: Kind, kills: int, seed: int) -> str:
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        start = monotonic()
        process = FORK.Process(
            target=lead, args=(kind.work, base / "whole", base / "result")
        )
        process.start()
        process.join()
        seconds = monotonic() - start
        expected = Comparison(*pickle.loads((base / "result").read_bytes()))
        whole = len(inspect(base / "whole", expected))
        start = monotonic()
        seen = disturbed(kind, kills, expected, seconds / whole, base, seed)
    print(f"{name}: {dict(seen)}, {monotonic() - start:.0f} s", flush=True)
    return (
        f"| {name} | {seen['kills']} | {seen['runs']} | {whole} | "
        f"{seen['cells found finished']} | {seen['drafts']} | {seen['orphans']} |"
    )


def main() -> None:
    chosen = {n: k for n, k in KINDS.items() if n in sys.argv[1:]} or KINDS
    numbers = [int(each) for each in sys.argv[1:] if each.isdigit()]
    with ProcessPoolExecutor(TOGETHER, FORK) as pool:
        studies = [
            pool.submit(study, name, kind, numbers[0] if numbers else kind.kills, seed)
            for seed, (name, kind) in enumerate(chosen.items())
        ]
        rows = [each.result() for each in studies]
    total = sum(int(row.split("|")[2]) for row in rows)
    lines = [
        machine(),
        "",
        f"{total} kills. No finished cell was lost or changed by a byte, every table "
        "could be read, and in the end all points and fits were those of an "
        "undisturbed run, to the last bit.",
        "",
        "| what is killed | kills | runs that were completed | cells of a run | "
        "finished cells found again | kills that left a draft | "
        "workers of the killed one outlived the next |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    if chosen is KINDS and not numbers:
        path = Path(__file__).parent / "results" / "kills.md"
        path.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
