"""Whether models of many points lose an optimum by looking for it with fewer first.

    python benchmarks/many_points.py      # half a minute

Models of 400 points or more are searched from several starts with 200 of the points,
and from the best of those optima with all (`botorch_xval/fitting/multistart.py`). Here
each problem is fitted in both ways, one after the other; the table is
`results/many_points.md`. None of the problems was looked at when that was written.
"""

from __future__ import annotations

import warnings
from functools import partial
from time import perf_counter

import torch
from botorch.test_functions import Ackley, Branin, Hartmann
from fit_speed import RESULTS, Build, _normalized, _wrap, machine
from sklearn.datasets import load_diabetes
from torch import Tensor

from botorch_xval import ScalarChoiceGP, fit_gpytorch_mll
from botorch_xval.data.trials import encode_tuning_trials
from botorch_xval.fitting import multistart

FEW, NEVER = multistart.MANY, 10**9


def problems() -> dict[str, tuple[Build, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)

    def points(n: int, d: int) -> Tensor:
        return torch.rand(n, d, generator=generator, dtype=torch.float64)

    def noise(n: int, deviation: float) -> Tensor:
        shape = (n, 1)
        return deviation * torch.randn(shape, generator=generator, dtype=torch.float64)

    hartmann, ackley, branin = points(450, 6), 4 * points(500, 8) - 2, points(400, 2)
    smooth = Hartmann(negate=True)(hartmann)[:, None]
    plane = 15 * branin - torch.tensor([5.0, 0.0], dtype=torch.float64)
    X, y = map(torch.as_tensor, load_diabetes(return_X_y=True))
    found: dict[str, tuple[Build, Tensor, Tensor]] = {
        "hartmann-450": (_normalized, hartmann, smooth),
        "hartmann-450, noisy": (_normalized, hartmann, smooth + noise(450, 0.5)),
        "ackley-500": (_normalized, ackley, Ackley(8)(ackley)[:, None]),
        "branin-400, noisy": (
            _normalized,
            branin,
            Branin()(plane)[:, None] + noise(400, 5.0),
        ),
        "diabetes-442": (_normalized, X, y[:, None]),
    }
    table = encode_tuning_trials()
    for priors in ("tight", "loose"):
        build = partial(ScalarChoiceGP, choice_dims=table.choice_dims, priors=priors)
        found[f"tuning-{len(table.X)}, {priors}"] = build, table.X, table.Y
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    lines = [
        machine(),
        "",
        "| problem | seconds, all points | few first | evaluations with all points "
        "| few first | loss (nats) | few first |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (build, X, Y) in problems().items():
        cells = []
        for many in (NEVER, FEW):
            multistart.MANY = many
            mll = _wrap(build(X, Y))
            start = perf_counter()
            fit_gpytorch_mll(mll)
            seconds, record = perf_counter() - start, mll.fit_records[0]
            loss = record.loss * len(X)
            cells.append((f"{seconds:.1f}", str(record.evaluations), f"{loss:.3f}"))
        row = [each for pair in zip(*cells, strict=True) for each in pair]
        lines.append(f"| {name} | {' | '.join(row)} |")
        print(lines[-1], flush=True)
    (RESULTS / "many_points.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
