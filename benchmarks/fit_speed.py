"""How fast, and how well, a batch of models is fitted: BoTorch's three ways and ours.

    python benchmarks/fit_speed.py                       # every row, about an hour
    python benchmarks/fit_speed.py --rows tuning-60 tuning-100 --repeats 3

Each measurement is a process of its own that builds the row's models, fits them once
and prints what it cost. The ways of a row run in turn, `--repeats` times, in the
default environment and with one thread. Finished measurements are kept in
`results/fit_speed.jsonl`, and the next call goes on from there; the table is
`results/fit_speed.md`.

Evaluations are model evaluations: a batch of b models that is evaluated once counts b.
Ours with a strategy and coordinates begin where BoTorch does, from the models' initial
values alone; "several starts" is the default, which looks for the lowest optimum.
The summed loss is the sum over the models of BoTorch's loss, the negative log marginal
likelihood minus log priors per training point, at the end, by BoTorch's own closure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter

import botorch
import gpytorch
import numpy as np
import scipy
import torch
from botorch.cross_validation import gen_loo_cv_folds
from botorch.models import MixedSingleTaskGP, SingleTaskGP
from botorch.models.transforms import Normalize, Warp
from botorch.optim.closures import get_loss_closure, get_loss_closure_with_grads
from botorch.test_functions import Hartmann
from gpytorch.constraints import Interval
from gpytorch.kernels import Kernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior
from sklearn.datasets import load_diabetes
from torch import Tensor

from botorch_xval import ScalarChoiceGP, fit_gpytorch_mll
from botorch_xval.data.trials import encode_tuning_trials
from botorch_xval.models.priors import BetaPrior

RESULTS = Path(__file__).parent / "results"
TIMEOUT = 400  # seconds per measurement
Build = Callable[[Tensor, Tensor], SingleTaskGP]  # `(batch x) n x d`, `(batch x) n x m`


def _tuning(n: int) -> tuple[Tensor, Tensor, Build]:
    table = encode_tuning_trials()
    rows = np.random.default_rng([0, 0]).permutation(len(table.X))[:n]
    choices = table.choice_dims
    return (
        table.X[rows],
        table.Y[rows],
        partial(ScalarChoiceGP, choice_dims=choices),
    )


def _normalized(X: Tensor, Y: Tensor) -> SingleTaskGP:
    transform = Normalize(X.shape[-1], batch_shape=X.shape[:-2])
    return SingleTaskGP(X, Y, input_transform=transform)


def _points(n: int, d: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, d, generator=generator, dtype=torch.float64)


def _hartmann(n: int) -> tuple[Tensor, Tensor, Build]:
    X = _points(n)
    return X, Hartmann(negate=True)(X)[:, None], _normalized


def _mixed(n: int) -> tuple[Tensor, Tensor, Build]:
    X = _points(n)
    Y = Hartmann(negate=True)(X)[:, None]
    X = torch.cat([X[:, :4], (3 * X[:, 4:]).floor()], dim=-1)
    return X, Y, lambda X, Y: MixedSingleTaskGP(X, Y, cat_dims=[4, 5])


def _warped(n: int) -> tuple[Tensor, Tensor, Build]:
    X = _points(n)

    def build(X: Tensor, Y: Tensor) -> SingleTaskGP:
        batch_shape = X.shape[:-2] if X.ndim > 2 else None
        warp = Warp(d=6, indices=list(range(6)), batch_shape=batch_shape)
        return SingleTaskGP(X, Y, input_transform=warp)

    return X, Hartmann(negate=True)(X)[:, None], build


def _fixed_noise(n: int) -> tuple[Tensor, Tensor, Build]:
    X, Y, _ = _hartmann(n)

    def build(X: Tensor, Y: Tensor) -> SingleTaskGP:
        transform = Normalize(6, batch_shape=X.shape[:-2])
        return SingleTaskGP(X, Y, torch.full_like(Y, 1e-3), input_transform=transform)

    return X, Y, build


def _diabetes(n: int) -> tuple[Tensor, Tensor, Build]:
    X, y = load_diabetes(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(X))[:n]
    return torch.as_tensor(X[rows]), torch.as_tensor(y[rows])[:, None], _normalized


def _eight_outputs(n: int) -> tuple[Tensor, Tensor, Build]:
    X = _points(n)
    Y = torch.stack([Hartmann(negate=True)(X.roll(k, dims=-1)) for k in range(8)], -1)
    return X, Y, lambda X, Y: SingleTaskGP(X, Y, input_transform=Normalize(6))


class CdistMixture(Kernel):
    """A kernel as users write them: two parts by `torch.cdist`, a weight, priors."""

    has_lengthscale = True

    def __init__(self, **kwargs: object) -> None:
        super().__init__(lengthscale_prior=GammaPrior(3.0, 6.0), **kwargs)
        weight = torch.nn.Parameter(torch.zeros(*self.batch_shape, 1))
        self.register_parameter("raw_weight", weight)
        self.register_constraint("raw_weight", Interval(0.0, 1.0))
        self.register_prior("weight_prior", BetaPrior(2.0, 2.0), lambda m: m.weight)

    @property
    def weight(self) -> Tensor:
        return self.raw_weight_constraint.transform(self.raw_weight)

    def forward(
        self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object
    ) -> Tensor:
        x1, x2 = x1 / self.lengthscale, x2 / self.lengthscale
        if diag:
            return torch.ones_like(x1[..., 0])
        weight = self.weight[..., None]
        smooth = (-0.5 * torch.cdist(x1, x2) ** 2).exp()
        rough = (-torch.cdist(x1, x2, p=1.0)).exp()
        return weight * smooth + (1 - weight) * rough


def _own_kernel(n: int) -> tuple[Tensor, Tensor, Build]:
    X, Y, _ = _hartmann(n)

    def build(X: Tensor, Y: Tensor) -> SingleTaskGP:
        shape = X.shape[:-2]
        kernel = ScaleKernel(
            CdistMixture(ard_num_dims=6, batch_shape=shape),
            batch_shape=shape,
            outputscale_prior=GammaPrior(2.0, 0.15),
        )
        transform = Normalize(6, batch_shape=shape)
        return SingleTaskGP(X, Y, covar_module=kernel, input_transform=transform)

    return X, Y, build


# botorch-rust (of PyPI), a port of BoTorch's own models; measured if it is installed,
# on rows of SingleTaskGP, with its constructor, by losses that BoTorch evaluates.
RUST = "botorch-rust"
RUST_ROWS = ("hartmann-30", "hartmann-60", "hartmann-100")
ROWS: dict[str, tuple[Callable[[int], tuple[Tensor, Tensor, Build]], int]] = {
    "tuning-30": (_tuning, 30),
    "tuning-60": (_tuning, 60),
    "tuning-100": (_tuning, 100),
    "tuning-160": (_tuning, 160),
    "hartmann-30": (_hartmann, 30),
    "hartmann-60": (_hartmann, 60),
    "hartmann-100": (_hartmann, 100),
    "mixed-40": (_mixed, 40),
    "warp-20": (_warped, 20),
    "fixed-noise-60": (_fixed_noise, 60),
    "outputs-100": (_eight_outputs, 100),
    "diabetes-80": (_diabetes, 80),
    "own-kernel-60": (_own_kernel, 60),
    "own-kernel-100": (_own_kernel, 100),
}
WAYS = {
    "BoTorch one by one": None,
    "BoTorch summed": None,
    "BoTorch default": None,
    **{
        f"ours {strategy}, {coordinates}": {
            "strategy": strategy,
            "coordinates": coordinates,
            "starts": "own",
        }
        for coordinates in ("raw", "log")
        for strategy in ("loop", "batch", "auto")
    },
    "ours, several starts": {},
    RUST: None,
}


def _wrap(model: SingleTaskGP) -> ExactMarginalLogLikelihood:
    return ExactMarginalLogLikelihood(model.likelihood, model)


def measure(row: str, way: str) -> dict[str, object]:
    """Fit the models of a row once, in one way."""
    make, n = ROWS[row]
    X, Y, build = make(n)
    outputs = Y.shape[-1] > 1
    if way == "BoTorch one by one" and outputs:
        mlls = [_wrap(build(X, Y[:, [k]])) for k in range(Y.shape[-1])]
    elif way == "BoTorch one by one":
        cv = gen_loo_cv_folds(X, Y)
        mlls = [_wrap(build(x, y)) for x, y in zip(cv.train_X, cv.train_Y, strict=True)]
    elif outputs:
        mlls = [_wrap(build(X, Y))]
    else:
        cv = gen_loo_cv_folds(X, Y)
        mlls = [_wrap(build(cv.train_X, cv.train_Y))]
    if way == RUST:
        return fit_by_rust(mlls[0])
    calls = [0]
    for mll in mlls if WAYS[way] is None else ():  # GPyTorch has no forward hooks
        mll.forward = _counted(mll.forward, calls)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = perf_counter()
    for mll in mlls:
        if way == "BoTorch summed":
            mll.train()
            parameters = dict(mll.named_parameters())
            closure = get_loss_closure_with_grads(mll, parameters)
            botorch.fit.fit_gpytorch_mll(mll, closure=closure)
        elif WAYS[way] is None:
            botorch.fit.fit_gpytorch_mll(mll)
        else:
            fit_gpytorch_mll(mll, optimizer_kwargs=WAYS[way])
    seconds = perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if WAYS[way] is None:
        num_models = 8 if outputs else n
        evaluations = calls[0] * (num_models if len(mlls) == 1 else 1)
    else:
        evaluations = sum(r.evaluations for r in mlls[0].fit_records)
    with torch.no_grad():
        losses = [get_loss_closure(mll.train())().reshape(-1) for mll in mlls]
    return {
        "seconds": seconds,
        "evaluations": evaluations,
        "losses": torch.cat(losses).tolist(),
        "mebibytes": (after - before) / 1024,
    }


def fit_by_rust(mll: ExactMarginalLogLikelihood) -> dict[str, object]:
    """Fit a model, or a batch, by the port, and give BoTorch's models its values."""
    from botorch_rs.fit import fit_gpytorch_mll as fit
    from botorch_rs.mlls import ExactMarginalLogLikelihood as Mll
    from botorch_rs.models import SingleTaskGP as Model
    from botorch_rs.models.transforms import Normalize as Transform

    X = mll.model.train_inputs[0]
    Y = mll.model.outcome_transform.untransform(mll.model.train_targets[..., None])[0]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = perf_counter()
    transform = Transform(X.shape[-1], batch_shape=X.shape[:-2])
    model = Model(X, Y, input_transform=transform)
    fit(Mll(model.likelihood, model))
    seconds = perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, own = dict(model.named_parameters()), dict(mll.model.named_parameters())
    assert found.keys() == own.keys(), (found.keys(), own.keys())
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(torch.as_tensor(found[name]).reshape(parameter.shape))
        losses = get_loss_closure(mll.train())().reshape(-1)
    return {
        "seconds": seconds,
        "evaluations": 0,
        "losses": losses.tolist(),
        "mebibytes": (after - before) / 1024,
    }


def _counted(forward: Callable, calls: list[int]) -> Callable:
    def counting(*args, **kwargs):
        calls[0] += 1
        return forward(*args, **kwargs)

    return counting


def _environment(threads: str) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    env = {k: v for k, v in os.environ.items() if k not in names}
    return env if threads == "default" else {**env, **dict.fromkeys(names, threads)}


def run_apart(command: list[str], threads: str, timeout: int) -> dict[str, object]:
    """What a process prints as JSON on its last line, or why there is nothing."""
    try:
        output = subprocess.run(
            command,
            env=_environment(threads),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"over {timeout} s"}
    if output.returncode:
        lines = output.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"exit status {output.returncode}"}
    return json.loads(output.stdout.splitlines()[-1])


def machine() -> str:
    """The machine and the versions, for the head of a table."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return (
        f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"torch {torch.__version__}, GPyTorch {gpytorch.__version__}, "
        f"BoTorch {botorch.__version__}, SciPy {scipy.__version__}."
    )


def table(measurements: list[dict]) -> str:
    """The measurements as a Markdown table: medians, with the range of the seconds."""
    lines = [
        machine(),
        "",
        "Seconds are medians (with the range) in the default environment and with one "
        "thread. Worse and better: models whose loss per point ends more than 1e-3 "
        "above or below the best of BoTorch's three.",
        "",
        "| models | way | seconds | one thread | evaluations | summed loss | worse "
        "| better | MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        found = [m for m in measurements if m["row"] == row]
        hosts = [
            m["losses"]
            for m in found
            if m["way"].startswith("BoTorch") and "losses" in m
        ]
        best = np.min(hosts, axis=0) if hosts else None
        for way in WAYS:
            mine = [m for m in found if m["way"] == way]
            if not mine:
                continue
            cells = [row, way]
            for threads in ("default", "1"):
                part = [m for m in mine if m["threads"] == threads]
                seconds = [m["seconds"] for m in part if "seconds" in m]
                if seconds:
                    spread = f" ({min(seconds):.2f} to {max(seconds):.2f})"
                    cells.append(f"{median(seconds):.2f}{spread * (len(seconds) > 1)}")
                else:
                    cells.append(part[0]["error"] if part else "-")
            good = [m for m in mine if "losses" in m]
            if good:
                first = good[0]  # in the default environment
                losses = np.array(first["losses"])
                evaluations = (
                    f"{first['evaluations']:,}" if first["evaluations"] else "-"
                )
                cells += [evaluations, f"{losses.sum():.5f}"]
                if best is None:
                    cells += ["-", "-"]
                else:
                    cells += [
                        str(int((losses > best + 1e-3).sum())),
                        str(int((losses < best - 1e-3).sum())),
                    ]
                cells.append(f"{median(m['mebibytes'] for m in good):.0f}")
            else:
                cells += ["-"] * 5
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def summary(measurements: list[dict]) -> str:
    """Seconds of BoTorch's ways and of our default, and their ratios, row by row."""

    def seconds(row: str, way: str) -> float | None:
        found = [
            m["seconds"] if "seconds" in m else TIMEOUT
            for m in measurements
            if (m["row"], m["way"], m["threads"]) == (row, way, "default")
            and ("seconds" in m or m["error"].startswith("over"))
        ]
        return median(found) if found else None

    lines = [
        "| seconds | BoTorch one by one | summed | default | ours (auto, log) "
        "| default / ours | best of BoTorch / ours | ours, several starts "
        "| default / several |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ratios, best_ratios, several_ratios = [], [], []
    for row in ROWS:
        ours = seconds(row, "ours auto, log")
        theirs = [seconds(row, way) for way in list(WAYS)[:3]]
        if ours is None or theirs[2] is None:
            continue
        ratios.append(theirs[2] / ours)
        # Only where all three were measured.
        best = "-" if None in theirs else f"{min(theirs) / ours:.1f}"
        if None not in theirs:
            best_ratios.append(min(theirs) / ours)
        cells = [_shown(t) for t in theirs]
        cells += [f"{ours:.2f}", f"{ratios[-1]:.1f}", best]
        several = seconds(row, "ours, several starts")
        if several is not None:
            several_ratios.append(theirs[2] / several)
            cells += [f"{several:.2f}", f"{several_ratios[-1]:.1f}"]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    means = [
        f"{np.exp(np.mean(np.log(each))):.1f}" if each else "-"
        for each in (ratios, best_ratios, several_ratios)
    ]
    lines.append(f"| geometric mean | | | | | {means[0]} | {means[1]} | | {means[2]} |")
    return "\n".join(lines) + "\n"


def _shown(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"over {TIMEOUT}" if seconds == TIMEOUT else f"{seconds:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-single", action="store_true", help="not with one thread")
    parser.add_argument(
        "--one", nargs=2, metavar=("ROW", "WAY"), help=argparse.SUPPRESS
    )
    parser.add_argument("--fresh", action="store_true", help="measure our ways again")
    args = parser.parse_args()
    if args.one:
        warnings.simplefilter("ignore")
        print(json.dumps(measure(*args.one)))
        return
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "fit_speed.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    done = [json.loads(line) for line in lines]
    if args.fresh:
        done = [
            m for m in done if m["row"] not in args.rows or m["way"] not in args.ways
        ]
        path.write_text("".join(json.dumps(m) + "\n" for m in done))
    for row in args.rows:
        for repeat in range(args.repeats + (not args.no_single)):
            # The last round is the one with one thread.
            threads = "default" if repeat < args.repeats else "1"
            repeat = repeat if threads == "default" else 0
            for way in args.ways:
                if way == RUST and (
                    row not in RUST_ROWS or not find_spec("botorch_rs")
                ):
                    continue
                key = {"row": row, "way": way, "threads": threads, "repeat": repeat}
                old = [m for m in done if {k: m[k] for k in key} == key]
                if old:
                    continue
                if any(
                    m["row"] == row and m["way"] == way and "error" in m for m in done
                ):
                    continue  # once is enough
                command = [sys.executable, __file__, "--one", row, way]
                result = {**key, **run_apart(command, threads, TIMEOUT)}
                done.append(result)
                with path.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                shown = {k: v for k, v in result.items() if k != "losses"}
                print(shown, sum(result.get("losses", [])), flush=True)
            (RESULTS / "fit_speed.md").write_text(table(done) + "\n" + summary(done))


if __name__ == "__main__":
    main()
