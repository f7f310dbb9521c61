"""How many models to evaluate at a time on CPU.

    python benchmarks/group_size.py                 # about three minutes

Milliseconds per model evaluation (loss and gradient in closed form) for groups of
several sizes, by one thread and by two that evaluate a group each at the same time,
over the number of points and of parameters. A group of one is `strategy="loop"`. The
constants `GROUP_ELEMENTS` and `GROUP_LIMITS` were read off
this table, `results/group_size.md`.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter

import fit_speed
import torch

from botorch_xval import make_objective

GROUPS = [1, 2, 4, 8, 16, 32, 64]
PROBLEMS = {
    "20 scalars, 2 choices (53 parameters)": (
        fit_speed._tuning,
        [30, 60, 100, 160, 300],
    ),
    "6 scalars (8 parameters)": (fit_speed._hartmann, [30, 60, 100, 160, 300]),
}
SECONDS = 1.0  # per cell


def cost(objective, group: int, threads: int) -> float:
    """Milliseconds per evaluation, all threads together."""
    models = [i % objective.num_models for i in range(group)]
    workers = objective.workers(threads)

    def work(worker) -> list[float]:
        worker(objective.start[models], models)
        times, start = [], perf_counter()
        while perf_counter() - start < SECONDS:
            begin = perf_counter()
            worker(objective.start[models], models)
            times.append(perf_counter() - begin)
        return times

    if threads == 1:
        times = work(workers[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            times = [t for part in pool.map(work, workers) for t in part]
    return 1000 * median(times) / group / threads


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    lines = [
        fit_speed.machine(),
        "",
        "Milliseconds per model evaluation, one thread / two threads; in bold the "
        "group size that is used.",
        "",
        f"| model | points | {' | '.join(f'groups of {g}' for g in GROUPS)} |",
        f"|---|---|{'---|' * len(GROUPS)}",
    ]
    for name, (make, sizes) in PROBLEMS.items():
        for n in sizes:
            X, Y, build = make(n + 1)
            mlls = []
            for i in range(min(max(GROUPS), n)):
                kept = torch.arange(n + 1) != i
                mlls.append(fit_speed._wrap(build(X[kept], Y[kept])).train())
            objective = make_objective(mlls)
            cells = []
            for group in GROUPS:
                pair = [cost(objective, group, threads) for threads in (1, 2)]
                cells.append(" / ".join(f"{each:.2f}" for each in pair))
            used = min(GROUPS, key=lambda g: abs(g - objective.group_size))  # noqa: B023
            cells[GROUPS.index(used)] = f"**{cells[GROUPS.index(used)]}**"
            lines.append(f"| {name} | {n} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    path = Path(__file__).parent / "results" / "group_size.md"
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
