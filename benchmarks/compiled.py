"""What compiled code is worth: evaluations and whole fits, with it and in torch.

    python benchmarks/compiled.py            # about three minutes

Evaluations of loss and gradient by one thread, of one model and of as many as a fit
evaluates together; then the cold leave-one-out fits of `fit_speed.py` from one start,
in the default environment. Both ways in turn in one process, medians of five; the
largest difference of any loss or scaled gradient stands beside them. The table is
`results/compiled.md`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from unittest.mock import patch

import numpy as np
from botorch.cross_validation import gen_loo_cv_folds
from fit_speed import RESULTS, ROWS, _hartmann, _tuning, _wrap, machine

from botorch_xval import fit_gpytorch_mll
from botorch_xval.fitting.losses import fused
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.threads import single_threaded_torch

POINTS = (30, 60, 100, 200, 400, 1000)
FITS = ("hartmann-30", "hartmann-60", "hartmann-100", "tuning-60", "tuning-100")
FITS += ("fixed-noise-60", "outputs-100", "diabetes-80")
REPEATS = 5


@contextmanager
def in_torch() -> Iterator[None]:
    with patch.object(fused, "fused_library", lambda: None):
        yield


def milliseconds(objective: Exact, theta: np.ndarray, models: list[int]) -> float:
    """Of one evaluation."""
    count, total = 0, 0.0
    while count < 3 or total < 0.1:
        start = perf_counter()
        objective(theta, models)
        total, count = total + perf_counter() - start, count + 1
    return 1e3 * total / count / len(models)


def evaluations() -> Iterator[str]:
    for name, make in (("SingleTaskGP", _hartmann), ("ScalarChoiceGP", _tuning)):
        for n in POINTS:
            X, Y, build = make(n)
            if len(X) < n:
                continue
            copies = 32 if n <= 400 else 2
            X, Y = (each.expand(copies, *each.shape) for each in (X, Y))
            compiled = make_objective([_wrap(build(X, Y)).train()])
            with in_torch():
                torch_only = make_objective([_wrap(build(X, Y)).train()])
            theta = compiled.start + 0.1
            found, expected = (o(theta, range(copies)) for o in (compiled, torch_only))
            scale = np.abs(expected[1]).max()
            gap = max(
                np.abs(found[0] - expected[0]).max(),
                np.abs(found[1] - expected[1]).max() / scale,
            )
            group = list(range(min(compiled.group_size, copies)))
            cells = []
            for models in ([0], group):
                seconds: list[list[float]] = [[], []]
                for _ in range(REPEATS):
                    for each, objective in zip(
                        seconds, (torch_only, compiled), strict=True
                    ):
                        each.append(milliseconds(objective, theta[models], models))
                slow, fast = map(median, seconds)
                cells += [f"{slow:.3f}", f"{fast:.3f}", f"{slow / fast:.1f}"]
            cells += [str(len(group)), f"{gap:.0e}"]
            yield f"| {name} | {n} | {' | '.join(cells)} |"


def fits() -> Iterator[str]:
    for row in FITS:
        make, n = ROWS[row]
        X, Y, build = make(n)
        if Y.shape[-1] == 1:
            folds = gen_loo_cv_folds(X, Y)
            X, Y = folds.train_X, folds.train_Y
        seconds: dict[str, list[float]] = {"torch": [], "compiled": []}
        losses = {}
        for repeat in range(REPEATS + 1):
            for way, each in seconds.items():
                mll = _wrap(build(X, Y))
                start = perf_counter()
                if way == "torch":
                    with in_torch():
                        fit_gpytorch_mll(mll, optimizer_kwargs={"starts": "own"})
                else:
                    fit_gpytorch_mll(mll, optimizer_kwargs={"starts": "own"})
                if repeat:
                    each.append(perf_counter() - start)
                losses[way] = sum(record.loss for record in mll.fit_records)
        slow, fast = (median(each) for each in seconds.values())
        yield (
            f"| {row} | {slow:.3f} | {fast:.3f} | {slow / fast:.1f} | "
            f"{losses['torch']:.6f} | {losses['compiled']:.6f} |"
        )


def main() -> None:
    warnings.simplefilter("ignore")
    if fused.fused_library() is None:
        raise SystemExit("there is no compiler")
    lines = [
        machine(),
        "",
        f"Medians of {REPEATS}, in turn. Milliseconds of one loss and gradient, one "
        "thread, of one model and of each of a group:",
        "",
        "| model | points | alone: torch | compiled | ratio | in a group: torch "
        "| compiled | ratio | models of the group | largest difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    with single_threaded_torch():
        for line in evaluations():
            print(line, flush=True)
            lines.append(line)
    lines += [
        "",
        "Seconds of leave-one-out fits from one start, default environment:",
        "",
        "| models | torch | compiled | ratio | summed loss, torch | compiled |",
        "|---|---|---|---|---|---|",
    ]
    for line in fits():
        print(line, flush=True)
        lines.append(line)
    (RESULTS / "compiled.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
