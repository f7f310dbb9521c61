"""What fitting one ordinary model costs: BoTorch's fit and ours.

    python benchmarks/single_fit.py

BoTorch's fit, ours with several starts (the default) and ours from the model's own
initial values, in turn, each of a fresh model on the same data, in one process after
fits that do not count, in the default environment; and botorch-rust, a port of
BoTorch's own models, where it is installed and has the model. The table is
`results/single_fit.md`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from statistics import median
from time import perf_counter

import botorch.fit
import torch
from botorch.models import MultiTaskGP
from botorch.optim.closures import get_loss_closure
from fit_speed import (
    RESULTS,
    _hartmann,
    _mixed,
    _tuning,
    _wrap,
    fit_by_rust,
    machine,
)
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from botorch_xval import fit_gpytorch_mll


def _tasks(n: int) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor], MultiTaskGP]]:
    """Three tasks, each the same function of other size."""
    X, Y, _ = _hartmann(n)
    task = (torch.arange(n)[:, None] % 3).to(X)

    def build(X: Tensor, Y: Tensor) -> MultiTaskGP:
        torch.manual_seed(0)  # it samples its initial values
        return MultiTaskGP(X, Y, task_feature=-1)

    return torch.cat([X, task], dim=-1), Y * (1 + 0.3 * task), build


ROWS = {
    "ScalarChoiceGP": (_tuning, (20, 60, 100, 300)),
    "SingleTaskGP": (_hartmann, (20, 60, 100, 300)),
    "MixedSingleTaskGP": (_mixed, (20, 60, 100)),
    "MultiTaskGP": (_tasks, (40, 100)),
}


def timed(
    fit: Callable[[ExactMarginalLogLikelihood], object], mll: ExactMarginalLogLikelihood
) -> tuple[float, float]:
    """Seconds of a fit, and the loss per point that it reaches."""
    start = perf_counter()
    fit(mll)
    seconds = perf_counter() - start
    with torch.no_grad():
        return seconds, get_loss_closure(mll.train())().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    warnings.simplefilter("ignore")
    lines = [
        machine(),
        "",
        f"Medians of {repeats} fits each, in turn, with the range.",
        "",
        "| model | rows | BoTorch, s | ours, s | one start, s | BoTorch / ours "
        "| / one start | loss per point, BoTorch | ours | one start "
        "| botorch-rust, s | loss |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, (make, sizes) in ROWS.items():
        for n in sizes:
            X, Y, build = make(n)
            fits = {
                "BoTorch": botorch.fit.fit_gpytorch_mll,
                "ours": fit_gpytorch_mll,
                "one start": partial(
                    fit_gpytorch_mll, optimizer_kwargs={"starts": "own"}
                ),
            }
            found: dict[str, list[tuple[float, float]]] = {way: [] for way in fits}
            rust = []
            for repeat in range(repeats + 1):
                for way, fit in fits.items():
                    measured = timed(fit, _wrap(build(X, Y)))
                    if repeat:
                        found[way].append(measured)
                if name == "SingleTaskGP" and find_spec("botorch_rs"):
                    rust.append(fit_by_rust(_wrap(build(X, Y))))
            seconds = {w: [s for s, _ in each] for w, each in found.items()}
            cells = [
                f"{median(s):.3f} ({min(s):.3f} to {max(s):.3f})"
                for s in seconds.values()
            ]
            ratios = [
                f"{median(seconds['BoTorch']) / median(seconds[way]):.1f}"
                for way in list(fits)[1:]
            ]
            losses = [f"{each[0][1]:.5f}" for each in found.values()]
            anchor = ["-", "-"]
            if rust:
                middle = median(each["seconds"] for each in rust[1:])
                anchor = [f"{middle:.3f}", f"{rust[-1]['losses'][0]:.5f}"]
            row = [name, str(n), *cells, *ratios, *losses, *anchor]
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
    (RESULTS / "single_fit.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
