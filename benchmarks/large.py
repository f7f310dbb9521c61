"""Leave-one-out of hundreds and thousands of rows: seconds, memory, and scores.

    python benchmarks/large.py                       # half an hour
    python benchmarks/large.py --rows 1000 --ways "one BoTorch fit" adaptive
    python benchmarks/large.py --rows 300 --ways coverage   # of the estimates

SingleTaskGP with inputs scaled and outcomes standardized by each fold, on Hartmann-6
with noise of a standard deviation of 0.05, starts of the default. Every measurement is
a process of its own in the default environment; memory is what it takes beyond the
imports and the data. "adaptive, no refits" has an infinite threshold. Results are
kept in `results/large.jsonl`, where the next call goes on; the table is
`results/large.md`.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import warnings
from time import perf_counter

import botorch.fit
import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from botorch.test_functions import Hartmann
from fit_speed import RESULTS, _wrap, machine, run_apart
from torch import Tensor

from botorch_xval import cross_validate
from botorch_xval.cross_validation.sampling import estimate_sum
from botorch_xval.cross_validation.warm import INFLUENTIAL

ROWS = (300, 500, 1000, 2000)
WAYS = {
    "one BoTorch fit": None,
    "fixed": {"fit": "fixed"},
    "adaptive": {"fit": "adaptive"},
    "adaptive, no refits": {"fit": "adaptive", "threshold": math.inf},
    "sampled": {"fit": "sampled"},
    "warm": {"fit": "warm"},
}
TIMEOUT = 600


def model(X: Tensor, Y: Tensor) -> SingleTaskGP:
    return SingleTaskGP(X, Y, input_transform=Normalize(X.shape[-1]))


def data(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(n, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    return X, Hartmann(negate=True)(X)[:, None] + 0.05 * noise


def measure(n: int, way: str) -> dict[str, object]:
    X, Y = data(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = perf_counter()
    found: dict[str, object] = {}
    if WAYS[way] is None:
        botorch.fit.fit_gpytorch_mll(_wrap(model(X, Y)))
    else:
        result = cross_validate(model, X, Y, **WAYS[way])
        found["elpd"] = result.elpd
        if result.estimate is not None:
            found["error"] = result.estimate.standard_error
            found["refitted"] = result.estimate.refitted
        else:
            found["refitted"] = sum(f.how in ("warm", "refit") for f in result.fits)
    found["seconds"] = perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**found, "mebibytes": (after - before) / 1024}


def coverage(n: int, seeds: int = 400) -> dict[str, float]:
    """How often an interval of two standard errors has the sum of all refits."""
    X, Y = data(n)
    first, refitted = (
        cross_validate(model, X, Y, fit=f, threshold=math.inf)
        for f in ("adaptive", "warm")
    )
    scores = [r.log_density[:, 0].numpy() for r in (first, refitted)]
    influences = np.array([fit.influence for fit in first.fits])
    certain = (influences > INFLUENTIAL).nonzero()[0].tolist()
    found = [
        estimate_sum(
            scores[0], influences, certain, lambda i: scores[1][list(i)], 1.0, seed
        )
        for seed in range(seeds)
    ]
    errors = np.array([each.elpd for each in found]) - scores[1].sum()
    deviations = np.array([each.standard_error for each in found])
    return {
        "covered": float((np.abs(errors) <= 2 * deviations).mean()),
        "root mean square": float(np.sqrt((errors**2).mean())),
        "mean standard error": float(deviations.mean()),
        "largest error": float(np.abs(errors).max()),
        "refitted": float(np.mean([each.refitted for each in found])),
        "steps minus refitted": float(scores[0].sum() - scores[1].sum()),
    }


def table(done: list[dict]) -> str:
    lines = [
        machine(),
        "",
        "| rows | way | seconds | / one BoTorch fit | MiB | folds refitted | elpd |",
        "|---|---|---|---|---|---|---|",
    ]
    by_key = {(m["rows"], m["way"]): m for m in done}
    for n in ROWS:
        for way in WAYS:
            if (m := by_key.get((n, way))) is None:
                continue
            if "seconds" not in m:
                lines.append(f"| {n} | {way} | {m.get('why')} | | | | |")
                continue
            one = by_key.get((n, "one BoTorch fit"), {}).get("seconds", np.nan)
            elpd = f"{m['elpd']:.2f}" if "elpd" in m else ""
            if "error" in m:
                elpd += f" ({m['error']:.2f})"
            lines.append(
                f"| {n} | {way} | {m['seconds']:.1f} | {m['seconds'] / one:.1f} | "
                f"{m['mebibytes']:.0f} | {m.get('refitted', '')} | {elpd} |"
            )
    lines += [
        "",
        "Of an estimate its standard error, by which folds were drawn.",
        "",
    ]
    for m in done:
        if m["way"] == "coverage":
            lines += [
                f"With {m['rows']} rows and 400 seeds the interval of two standard "
                f"errors has the sum of all refits in {m['covered']:.1%}; root mean "
                f"square error {m['root mean square']:.3f} nats, mean standard error "
                f"{m['mean standard error']:.3f}, largest error "
                f"{m['largest error']:.2f}, {m['refitted']:.0f} folds refitted; "
                f"steps alone: {m['steps minus refitted']:+.2f}.",
                "",
            ]
    for way in WAYS:
        points = [
            (n, by_key[n, way]["seconds"])
            for n in ROWS
            if "seconds" in by_key.get((n, way), {})
        ]
        if len(points) > 1:
            (low, first), (high, last) = points[-2:]
            exponent = math.log(last / first) / math.log(high / low)
            lines.append(
                f"* {way}: time grows with the power {exponent:.1f} of n from {low} to "
                f"{high}."
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=list(ROWS))
    choices = [*WAYS, "coverage"]
    parser.add_argument("--ways", nargs="+", choices=choices, default=list(WAYS))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        warnings.simplefilter("ignore")
        n, way = int(args.one[0]), args.one[1]
        print(json.dumps(coverage(n) if way == "coverage" else measure(n, way)))
        return
    path = RESULTS / "large.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    done = [json.loads(line) for line in lines]
    for n in args.rows:
        for way in args.ways:
            if any((m["rows"], m["way"]) == (n, way) for m in done):
                continue
            command = [sys.executable, __file__, "--one", str(n), way]
            found = run_apart(command, "default", TIMEOUT)
            if "error" in found and "seconds" not in found:
                found = {"why": found["error"]}
            done.append({"rows": n, "way": way, **found})
            with path.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
            print(done[-1], flush=True)
            (RESULTS / "large.md").write_text(table(done))


if __name__ == "__main__":
    main()
