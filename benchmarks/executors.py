"""Whether a comparison of 200 cells has the same numbers on Dask, and what it takes.

    python benchmarks/executors.py                  # a few minutes

The default configurations, five sizes and ten shuffles of the bundled table,
leave-one-out by "warm" fits: once in this process, and once on eight Dask workers of
this machine, each a process of one thread. Every number of the tables of points and of
fits is compared, but seconds. Writes `results/executors.md`.
"""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from distributed import Client, LocalCluster
from fit_speed import machine

from botorch_xval.comparison import Comparison, compare
from botorch_xval.data.trials import encode_tuning_trials
from botorch_xval.models.configurations import default_configurations

SIZES, REPLICATES, WORKERS = (15, 20, 25, 30, 35), 10, 8


def comparison(executor: Executor | None = None) -> tuple[Comparison, float]:
    table = encode_tuning_trials()
    start = perf_counter()
    found = compare(
        default_configurations(table.choice_dims),
        table.X,
        table.Y,
        sizes=SIZES,
        replicates=REPLICATES,
        fit="warm",
        executor=executor,
    )
    return found, perf_counter() - start


def largest_difference(one: Comparison, other: Comparison) -> dict[str, float]:
    """By column of the tables, over all rows; NaN equals NaN."""
    found = {}
    for name in ("points", "fits"):
        left, right = getattr(one, name), getattr(other, name)
        keys = [c for c in left if left[c].dtype.kind not in "fc"]
        left, right = (each.sort_values(keys, kind="stable") for each in (left, right))
        for column in left:
            a, b = left[column].to_numpy(), right[column].to_numpy()
            if column == "seconds":
                continue
            if a.dtype.kind in "fc":
                both = np.isnan(a) & np.isnan(b)
                gap = np.abs(np.where(both, 0.0, a - b)).max()
            else:
                gap = float((a != b).mean())
            found[f"{name}.{column}"] = float(gap)
    return found


def main() -> None:
    torch.set_num_threads(1)
    here, seconds = comparison()
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(WORKERS)
        there, elsewhere = comparison(client.get_executor())
    gaps = largest_difference(here, there)
    cells = here.points.groupby(["configuration", "size", "replicate"]).ngroups
    lines = [
        machine(),
        "",
        f"{cells} cells, {len(here.points)} predicted points, {len(here.fits)} fits, "
        f"{len(gaps)} columns: {seconds:.0f} s in this process, {elsewhere:.0f} s on "
        f"{WORKERS} Dask workers of this machine.",
        "",
        f"Largest difference of any number: {max(gaps.values()):.1e}.",
        "",
    ]
    lines += [f"* {name}: {gap:.1e}" for name, gap in gaps.items() if gap > 0]
    path = Path(__file__).parent / "results" / "executors.md"
    path.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
