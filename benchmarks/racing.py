"""How often a race drops the best configuration, and what it saves.

    python benchmarks/racing.py            # half an hour on one thread
    python benchmarks/racing.py 4          # four fitted tables of each kind, not 30

Eight configurations or two, on scores that are simulated point by point, on leave-one-
out scores of Gaussian processes with known hyper-parameters, whose truth is known, and
on tables with leave-one-out folds fitted by eight models. The rule before, of which
every look had the whole error rate, is run beside. A race takes its decisions from the
points of the full comparison: they are those that it would compute itself but for folds
whose optimum another fold has told them, which is checked on the first tables. Writes
`results/racing.md`.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from calibration import DESIGNS, NOISES, TRUE, Design, by_known
from calibration import matern as covariance_of
from gpytorch.kernels import (
    Kernel,
    LinearKernel,
    MaternKernel,
    PolynomialKernel,
    RBFKernel,
    ScaleKernel,
)
from scipy import stats
from torch import Tensor

from botorch_xval.comparison import Comparison, compare, leaving, rounds, significance

SIMULATED, FUNCTIONS = 500, 50
SCENARIOS = {
    "well apart": [0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1],
    "mixed": [0.0, 0.1, 0.2, 0.4, 0.6, 0.9, 1.3, 1.8],
    "two leaders": [0.0, 0.05, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    "close": [0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4],
    "all alike": [0.0] * 8,
    "two alike": [0.0] * 2,
}
# Factors of the true lengthscales; the first are the true ones.
KNOWN = {
    "eight known lengthscales, apart": [1.0, 0.5, 0.7, 0.85, 1.2, 1.5, 2.0, 3.0],
    "eight known lengthscales, close": [1.0, 0.9, 0.95, 1.05, 1.1, 1.15, 1.2, 1.3],
    "two known lengthscales": [1 / 1.2, 1.2],
}
ROWS, DIMS, CHECKED = 60, 3, 3


def simulate(rng: np.random.Generator, gaps: list[float], n: int) -> pd.DataFrame:
    """Scores with heavy tails: some rows are hard for all, some for one."""
    hard = rng.standard_t(4, size=(n, 1))
    own = 0.5 * rng.standard_t(4, size=(n, len(gaps)))
    return pd.DataFrame(hard + own - np.array(gaps))


def before(look: int, remaining: int) -> float:
    """The level of every look until there was an error rate of the whole race."""
    return stats.norm.sf(2.0) / max(remaining - 1, 1)


def replay(scores: pd.DataFrame, old: bool = False) -> tuple[list, float]:
    """Who is left in the end of a race, and its share of the fits."""
    remaining, fits = list(scores), 0
    for look, (first, last) in enumerate(pairwise([0, *rounds([1] * len(scores))]), 1):
        fits += (last - first) * len(remaining)
        if last < len(scores):
            level = significance(look, scores.shape[1])
            if old:
                level = before(look, len(remaining))
            gone = leaving(scores[remaining][:last], level)
            remaining = [name for name in remaining if name not in gone]
    return remaining, fits / scores.size


def outcome(scores: pd.DataFrame, winner: object) -> dict[str, float]:
    remaining, share = replay(scores)
    old, old_share = replay(scores, old=True)
    full, raced = scores.mean().idxmax(), scores[remaining].mean().idxmax()
    return {
        "lost": winner not in remaining,
        "lost before": winner not in old,
        "share": share,
        "share before": old_share,
        "same winner": full == raced,
        "known winner, race": raced == winner,
        "known winner, full": full == winner,
    }


def known(factors: list[float], n: int) -> pd.DataFrame:
    """Leave-one-out in closed form; the winner is truly best on new rows."""
    found = []
    for seed, noise in product(range(DESIGNS), NOISES):
        design, rng = Design.draw(n, seed), np.random.default_rng([seed, n])
        for _ in range(FUNCTIONS):
            f, new = design.function(rng)
            y = f + noise * rng.standard_normal(n)
            pairs = [
                by_known(
                    design, y, new, noise, partial(covariance_of, lengthscales=own)
                )
                for own in (TRUE * factor for factor in factors)
            ]
            scores = pd.DataFrame(dict(enumerate(own for own, _ in pairs)))
            found.append(outcome(scores, int(np.argmax([true for _, true in pairs]))))
    return pd.DataFrame(found)


# Real tables


def gp(train_X: Tensor, train_Y: Tensor, kernel: type[Kernel], **options) -> Kernel:
    covariance = ScaleKernel(kernel(**options))
    transform = Normalize(train_X.shape[-1])
    return SingleTaskGP(
        train_X, train_Y, covar_module=covariance, input_transform=transform
    )


def matern(*active: int) -> partial:
    dims = {"ard_num_dims": len(active), "active_dims": active}
    return partial(gp, kernel=MaternKernel, nu=2.5, **dims)


# The first of each is what the tables are drawn from.
KERNELS = {
    "Matern-5/2, ARD": matern(0, 1, 2),
    "RBF, ARD": partial(gp, kernel=RBFKernel, ard_num_dims=DIMS),
    "Matern-3/2, ARD": partial(gp, kernel=MaternKernel, nu=1.5, ard_num_dims=DIMS),
    "Matern-1/2, ARD": partial(gp, kernel=MaternKernel, nu=0.5, ard_num_dims=DIMS),
    "Matern-5/2": partial(gp, kernel=MaternKernel, nu=2.5),
    "RBF": partial(gp, kernel=RBFKernel),
    "quadratic": partial(gp, kernel=PolynomialKernel, power=2),
    "linear": partial(gp, kernel=LinearKernel),
}
INPUTS = {
    "all inputs": matern(0, 1, 2),
    "0 and 1": matern(0, 1),
    "0 and 2": matern(0, 2),
    "1 and 2": matern(1, 2),
    "0": matern(0),
    "1": matern(1),
    "2": matern(2),
    "all, linear": partial(gp, kernel=LinearKernel),
}
LENGTHSCALES = {"kernels": [0.25, 0.6, 3.0], "inputs": [0.3, 0.45, 0.6]}


def draw(seed: int, lengthscales: list[float]) -> tuple[Tensor, Tensor]:
    """A function drawn from a Gaussian process, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(ROWS, DIMS, generator=generator, dtype=torch.float64)
    kernel = MaternKernel(nu=2.5, ard_num_dims=DIMS).double()
    kernel.lengthscale = torch.tensor(lengthscales, dtype=torch.float64)
    with torch.no_grad():
        covariance = kernel(X).to_dense() + 0.01 * torch.eye(ROWS, dtype=torch.float64)
    normal = torch.randn(ROWS, 1, generator=generator, dtype=torch.float64)
    return X, torch.linalg.cholesky(covariance) @ normal


def in_order(result: Comparison) -> pd.DataFrame:
    """Scores by point, in the order of a race."""
    points = result.points
    order = points.assign(place=points.groupby("configuration").cumcount())
    return order.pivot(index="place", columns="configuration", values="log_density")


def real(
    configurations: dict[str, partial], lengthscales: list[float], tables: int
) -> tuple[pd.DataFrame, str]:
    found, agree = [], 0
    for seed in range(tables):
        X, Y = draw(seed, lengthscales)
        full = compare(configurations, X, Y, sizes=[ROWS])
        found.append(outcome(in_order(full), next(iter(configurations))))
        if seed < CHECKED:
            raced = compare(configurations, X, Y, sizes=[ROWS], race=True)
            stayed = set(replay(in_order(full))[0])
            race = raced.race()
            same = stayed == set(race.configuration[~race.left])
            agree += same and np.isclose(1 - race.attrs["saved"], found[-1]["share"])
        print(seed, found[-1], flush=True)
    note = (
        f"on the first {min(tables, CHECKED)} tables the race was also run itself; the "
        f"same configurations left after the same number of fits on {agree} of them."
    )
    return pd.DataFrame(found), note


def line(name: str, rows: int, found: pd.DataFrame) -> str:
    mean = found.astype(float).mean()
    return (
        f"| {name} | {rows} | {len(found):,} | {mean['lost']:.1%} | "
        f"{mean['lost before']:.1%} | {mean['share']:.0%} | {mean['share before']:.0%} "
        f"| {mean['same winner']:.1%} | {mean['known winner, race']:.1%} | "
        f"{mean['known winner, full']:.1%} |"
    )


HEAD = (
    "| | points | tables | best one dropped | before | share of fits | before | "
    "same winner as the full comparison | known winner found: race | "
    "full comparison |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    tables = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    rng = np.random.default_rng(0)
    lines = []
    for name, gaps in SCENARIOS.items():
        for n in (40, 60, 120):
            found = [outcome(simulate(rng, gaps, n), 0) for _ in range(SIMULATED)]
            lines.append(line(name, n, pd.DataFrame(found)))
            print(lines[-1], flush=True)
    for name, factors in KNOWN.items():
        for n in (40, 80):
            lines.append(line(name, n, known(factors, n)))
            print(lines[-1], flush=True)
    notes = []
    for name, configurations in (("kernels", KERNELS), ("inputs", INPUTS)):
        found, note = real(configurations, LENGTHSCALES[name], tables)
        lines.append(line(f"Gaussian process, eight {name}", ROWS, found))
        notes.append(f"Eight {name} ({'; '.join(configurations)}): {note}")
    gaps = "\n".join(
        f"* {name}: {', '.join(map(str, gaps))}" for name, gaps in SCENARIOS.items()
    )
    text = f"""# Racing

`python benchmarks/racing.py {tables}`. A race drops the best configuration in at most
5 % of races if points are independent, all looks together; leave-one-out scores are
not quite. "Before" is the rule until there was such a rate: two standard errors,
corrected for the rivals, at every look.

{HEAD}
{chr(10).join(lines)}

Simulated scores of a point are Student's t with 4 degrees of freedom for the point,
half of another for the point and the configuration, minus the configuration's gap to
the best one in nats:

{gaps}

Of known lengthscales, those that the rows are drawn with by factors, the best one is
that with the highest expected log density on new rows, given the table, as in
[the calibration](calibration.md).

In the last two lines tables of {ROWS} rows are drawn from a Gaussian process with the
Matern-5/2 kernel of the first of eight configurations, the known winner, and
leave-one-out folds are fitted: with other kernels, or without some of the inputs. That
a model is true does not make it the best predictor of a table.

* {(chr(10) + "* ").join(notes)}

Where the full comparison itself finds the known winner hardly more often than by chance
("all alike", "close"), another winner than its own is no loss; such configurations
mostly stay in the race to its end, so that it saves little.
"""
    (Path(__file__).parent / "results" / "racing.md").write_text(text)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
