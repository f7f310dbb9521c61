"""What leave-one-out cross-validation costs: BoTorch's two ways and each of ours.

    python benchmarks/cross_validation_speed.py               # about half an hour
    python benchmarks/cross_validation_speed.py --rows tuning-100 --repeats 3

Everything is included: building the models, fits, Hessian, predictions, scores. Each
measurement is a process of its own; the ways of a row run in turn, in the default
environment. What importing takes is not counted. Results are kept in
`results/cross_validation_speed.jsonl`, the next call goes on from there, and the table
is `results/cross_validation_speed.md`.

The summed loss is the sum over folds of BoTorch's loss per training point (the closed
form at fixed hyper-parameters has none). "difference" is the largest pointwise
difference in log density to our cold refit. "one start": folds (and the fit to all
rows) from their models' initial values alone, as BoTorch; without it the default. The
exponent is the slope of log seconds against log n between a way's smallest and largest
table. One ordinary fit of all rows by BoTorch stands beside them.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import warnings
from pathlib import Path
from statistics import median
from time import perf_counter

import botorch.fit
import fit_speed
import numpy as np
import torch
from botorch.cross_validation import batch_cross_validation, gen_loo_cv_folds
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from botorch.optim.closures import get_loss_closure
from gpytorch.mlls import ExactMarginalLogLikelihood

from botorch_xval import FitOptions, ScalarChoiceGP, cross_validate
from botorch_xval.cross_validation.scores import log_density
from botorch_xval.data.trials import encode_tuning_trials

RESULTS = Path(__file__).parent / "results"
FITS = ("refit", "warm", "fixed", "adaptive")
ONE_START = ", one start"  # the models' initial values only, as BoTorch
OURS = (*FITS, *(f"{fit}{ONE_START}" for fit in FITS))
WAYS = ["one BoTorch fit", "BoTorch batch", "BoTorch fold by fold", *OURS]
ROWS = {
    **{f"tuning-{n}": ("tuning", n) for n in (30, 60, 100, 160)},
    "tuning-all": ("tuning", len(encode_tuning_trials().X)),
    **{f"hartmann-{n}": ("hartmann", n) for n in (30, 60, 100, 160)},
}
# Where BoTorch would take over ten minutes or 8 GiB: its memory grows with n^3 from 1.9
# GiB at 160 rows, its time with n^4 from 228 s.
TOO_LONG = {
    ("tuning-all", "BoTorch batch"): "not run: over 8 GiB by extrapolation",
    ("tuning-all", "BoTorch fold by fold"): "not run: over 10 min by extrapolation",
}


def measure(row: str, way: str) -> dict[str, object]:
    kind, n = ROWS[row]
    make = fit_speed._tuning if kind == "tuning" else fit_speed._hartmann
    X, Y, build = make(n)
    build(X, Y)  # torch imports a part of itself for the first model: 0.7 s
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = perf_counter()
    losses, densities, evaluations = [], None, 0
    if way == "one BoTorch fit":
        mll = fit_speed._wrap(build(X, Y))
        botorch.fit.fit_gpytorch_mll(mll)
        seconds = perf_counter() - start
        losses = [get_loss_closure(mll.train())().item()]
    elif way == "BoTorch batch":
        kwargs = (
            {"choice_dims": encode_tuning_trials().choice_dims}
            if kind == "tuning"
            else {"input_transform": Normalize(6, batch_shape=torch.Size([n]))}
        )
        results = batch_cross_validation(
            ScalarChoiceGP if kind == "tuning" else SingleTaskGP,
            ExactMarginalLogLikelihood,
            gen_loo_cv_folds(X, Y),
            observation_noise=True,
            model_init_kwargs=kwargs,
        )
        posterior = results.posterior
        mean, variance = posterior.mean[:, 0], posterior.variance[:, 0]
        densities = log_density(mean, variance, Y)
        seconds = perf_counter() - start
        mll = ExactMarginalLogLikelihood(results.model.likelihood, results.model)
        with torch.no_grad():
            losses = get_loss_closure(mll.train())().tolist()
    elif way == "BoTorch fold by fold":
        cv = gen_loo_cv_folds(X, Y)
        found, seconds = [], 0.0
        for i in range(n):
            mll = fit_speed._wrap(build(cv.train_X[i], cv.train_Y[i]))
            botorch.fit.fit_gpytorch_mll(mll)
            with torch.no_grad():
                posterior = mll.model.posterior(cv.test_X[i], observation_noise=True)
                found.append(log_density(posterior.mean, posterior.variance, Y[[i]]))
            seconds += perf_counter() - start
            with torch.no_grad():
                losses.append(get_loss_closure(mll.train())().item())
            start = perf_counter()
        densities = torch.cat(found)
    else:
        options = FitOptions(starts="own" if way.endswith(ONE_START) else "several")
        fit = way.removesuffix(ONE_START)
        result = cross_validate(build, X, Y, fit=fit, fit_options=options)
        densities = result.log_density
        seconds = perf_counter() - start
        evaluations = result.evaluations / n
        if not way.startswith("fixed"):
            losses = [record.loss for record in result.records]
        assert not result.failed
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": seconds,
        "mebibytes": (after - before) / 1024,
        "evaluations": evaluations,
        # Of these no fold, or not every one, ends at an optimum of its own.
        "loss": None if way.startswith(("fixed", "adaptive")) else sum(losses),
        "densities": None if densities is None else densities[:, 0].tolist(),
    }


def table(found: list[dict]) -> str:
    lines = [
        fit_speed.machine(),
        "",
        "| rows | way | seconds | MiB | evaluations per fold | summed loss | elpd "
        "| difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        mine = [m for m in found if m["row"] == row]
        names = ("refit", f"refit{ONE_START}")
        cold = next((m for m in mine if m["way"] in names and "error" not in m), None)
        for way in WAYS:
            part = [m for m in mine if m["way"] == way]
            if (row, way) in TOO_LONG:
                lines.append(f"| {row} | {way} | {TOO_LONG[row, way]} | | | | | |")
            if not part:
                continue
            if "error" in part[0]:
                lines.append(f"| {row} | {way} | {part[0]['error']} | | | | | |")
                continue
            seconds = [m["seconds"] for m in part]
            spread = f" ({min(seconds):.2f} to {max(seconds):.2f})" * (len(part) > 1)
            first = part[0]
            cells = [
                row,
                way,
                f"{median(seconds):.2f}{spread}",
                f"{median(m['mebibytes'] for m in part):.0f}",
                f"{first['evaluations']:.1f}" if first["evaluations"] else "",
                "" if first["loss"] is None else f"{first['loss']:.5f}",
            ]
            if first["densities"] is None:
                cells += ["", ""]
            else:
                density = np.array(first["densities"])
                cells.append(f"{density.sum():.2f}")
                if cold is None:
                    cells.append("")
                else:
                    reference = np.array(cold["densities"])
                    cells.append(f"{np.abs(density - reference).max():.2g}")
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| way | exponent, tuning | exponent, hartmann |", "|---|---|---|"]
    for way in WAYS[1:]:
        cells = []
        for kind in ("tuning", "hartmann"):
            times = {
                ROWS[m["row"]][1]: m["seconds"]
                for m in found
                if m["way"] == way and ROWS[m["row"]][0] == kind and "error" not in m
            }
            if len(times) < 2:
                cells.append("")
                continue
            low, high = min(times), max(times)
            slope = np.log(times[high] / times[low]) / np.log(high / low)
            cells.append(f"{slope:.1f} ({low} to {high})")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        warnings.simplefilter("ignore")
        print(json.dumps(measure(*args.one)))
        return
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "cross_validation_speed.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    done = [json.loads(line) for line in lines]
    for row in args.rows:
        for repeat in range(args.repeats):
            for way in args.ways:
                key = {"row": row, "way": way, "repeat": repeat}
                if (row, way) in TOO_LONG or any(
                    {k: m[k] for k in key} == key
                    or (m["row"], m["way"]) == (row, way)
                    and "error" in m
                    for m in done
                ):
                    continue
                command = [sys.executable, __file__, "--one", row, way]
                result = {**key, **fit_speed.run_apart(command, "default", 600)}
                done.append(result)
                with path.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                print({k: v for k, v in result.items() if k != "densities"}, flush=True)
            (RESULTS / "cross_validation_speed.md").write_text(table(done))


if __name__ == "__main__":
    main()
