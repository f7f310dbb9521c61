"""How far the probabilities, standard errors and biases of a comparison can be trusted.

    python benchmarks/calibration.py        # six minutes on one thread
    python benchmarks/calibration.py 2      # fewer functions of each design

Functions are drawn from a Gaussian process with known noise, and two configurations are
compared by leave-one-out on a few of their rows. The truth is the difference of their
expected log predictive densities on new rows, over 1,000 new inputs and, in closed
form, their outcomes. Hyper-parameters are known ("known"), or fitted with `fit="warm"`
("fitted"). Then the selection bias of the best of many: simulated scores, and Gaussian
processes. Writes `results/calibration.md`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from botorch.models import SingleTaskGP
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist
from torch import Tensor

from botorch_xval import FitOptions, cross_validate
from botorch_xval.comparison import selection_bias
from botorch_xval.cross_validation import difference
from botorch_xval.cross_validation.clusters import OVERLAP

Array = NDArray[np.float64]
NEW, DESIGNS = 1000, 4
SIZES, NOISES = (20, 40, 80), (0.1, 0.5)  # rows; standard deviations of the noise
TRUE = np.array([0.4, 0.6, 1.5])  # lengthscales of three inputs in the unit cube
EDGES = [0.5, 0.6, 0.7, 0.8, 0.9, 0.9772, 1.0]  # of stated probabilities


def matern(first: Array, second: Array, lengthscales: Array) -> Array:
    """The covariance of functions: Matern-5/2 with unit variance."""
    r = np.sqrt(5) * cdist(first / lengthscales, second / lengthscales)
    return (1 + r + r**2 / 3) * np.exp(-r)


def rbf(first: Array, second: Array, lengthscales: Array) -> Array:
    return np.exp(-0.5 * cdist(first / lengthscales, second / lengthscales) ** 2)


# Pairs of configurations: covariances with known hyper-parameters, and fitted models.
KNOWN = {
    "true, half the lengthscales": (
        partial(matern, lengthscales=TRUE),
        partial(matern, lengthscales=TRUE / 2),
    ),
    "true, RBF": (
        partial(matern, lengthscales=TRUE),
        partial(rbf, lengthscales=0.8 * TRUE),
    ),
    "1.2 and 1/1.2 of the lengthscales": (
        partial(matern, lengthscales=TRUE * 1.2),
        partial(matern, lengthscales=TRUE / 1.2),
    ),
}


TWELVE = [
    partial(kernel, lengthscales=factor * TRUE)
    for factor in np.geomspace(0.7, 1.5, 6)
    for kernel in (matern, rbf)
]


def gp(train_X: Tensor, train_Y: Tensor, kernel: type, **options) -> SingleTaskGP:
    return SingleTaskGP(train_X, train_Y, covar_module=ScaleKernel(kernel(**options)))


FITTED = {
    "Matern-5/2, RBF": (
        partial(gp, kernel=MaternKernel, nu=2.5, ard_num_dims=3),
        partial(gp, kernel=RBFKernel, ard_num_dims=3),
    ),
    "with and without the third input": (
        partial(gp, kernel=MaternKernel, nu=2.5, ard_num_dims=3),
        partial(gp, kernel=MaternKernel, nu=2.5, ard_num_dims=2, active_dims=(0, 1)),
    ),
}


@dataclass
class Design:
    """Rows and new inputs, and what draws functions there."""

    X: Array  # n x 3
    new: Array  # NEW x 3
    root: Array  # (n + NEW) x (n + NEW)

    @classmethod
    def draw(cls, n: int, seed: int) -> Design:
        points = np.random.default_rng([seed, n]).random((n + NEW, 3))
        covariance = matern(points, points, TRUE) + 1e-8 * np.eye(n + NEW)
        return cls(points[:n], points[n:], np.linalg.cholesky(covariance))

    def function(self, rng: np.random.Generator) -> tuple[Array, Array]:
        values = self.root @ rng.standard_normal(len(self.root))
        return values[: len(self.X)], values[len(self.X) :]


def log_density(y: Array, mean: Array, variance: Array) -> Array:
    return stats.norm.logpdf(y, mean, np.sqrt(variance))


def expected_log_density(f: Array, noise: float, mean: Array, variance: Array) -> float:
    """Over the new inputs and their outcomes, which are normal around `f`."""
    spread = ((mean - f) ** 2 + noise**2) / variance
    return float(np.mean(-0.5 * (spread + np.log(2 * np.pi * variance))))


def by_known(design: Design, y: Array, f: Array, noise: float, covariance) -> tuple:
    """Leave-one-out in closed form (Sundararajan & Keerthi 2001), and the truth."""
    eye = noise**2 * np.eye(len(y))
    inverse = np.linalg.inv(covariance(design.X, design.X) + eye)
    variance = 1 / inverse.diagonal()
    scores = log_density(y, y - variance * (inverse @ y), variance)
    cross = covariance(design.new, design.X)
    weights = cross @ inverse
    spread = 1 - (weights * cross).sum(axis=1) + noise**2
    return scores, expected_log_density(f, noise, weights @ y, spread)


def by_fit(design: Design, y: Array, f: Array, noise: float, model) -> tuple:
    X, Y = torch.from_numpy(design.X), torch.from_numpy(y[:, None])
    own = FitOptions(starts="own")
    found = cross_validate(model, X, Y, fit="warm", fit_options=own, keep_models=True)
    posterior = found.full_model.posterior(
        torch.from_numpy(design.new), observation_noise=True
    )
    parts = posterior.mean, posterior.variance
    mean, variance = (part[:, 0].detach().numpy() for part in parts)
    return found, expected_log_density(f, noise, mean, variance)


def compare_both(kind: str, design: Design, noise: float, pair, rng) -> dict:
    """The stated difference of two configurations, and the true one."""
    f, new = design.function(rng)
    y = f + noise * rng.standard_normal(len(f))
    way = by_known if kind == "known" else by_fit
    (first, true_first), (second, true_second) = (
        way(design, y, new, noise, each) for each in pair
    )
    n = len(y)
    if kind == "known":
        mean, error = (first - second).mean(), stats.sem(first - second)
    else:
        found = difference(first, second).attrs
        mean, error = found["sum"] / n, found["standard_error"] / n
    truth = true_first - true_second
    return {
        "stated": stats.t.cdf(abs(mean) / (OVERLAP * error), n - 1),
        "ordinary": stats.t.cdf(abs(mean) / error, n - 1),
        "right": np.sign(mean) == np.sign(truth),
        "error": mean - truth,
        "se": error,
        "within": abs(mean - truth) < stats.t.ppf(0.97725, n - 1) * error,
        "within twice": abs(mean - truth) < 2 * stats.t.ppf(0.97725, n - 1) * error,
    }


def simulate(kind: str, pairs: dict, functions: int) -> pd.DataFrame:
    found = []
    for n, noise, seed in product(SIZES, NOISES, range(DESIGNS)):
        design = Design.draw(n, seed)
        for number, (name, pair) in enumerate(pairs.items()):
            rng = np.random.default_rng([seed, n, int(100 * noise), number])
            for _ in range(functions):
                one = compare_both(kind, design, noise, pair, rng)
                found.append(
                    {"kind": kind, "pair": name, "n": n, "noise": noise, **one}
                )
        print(kind, n, noise, seed, len(found), flush=True)
    return pd.DataFrame(found)


def errors(found: pd.DataFrame) -> list[str]:
    lines = []
    for (kind, name, n), part in found.groupby(["kind", "pair", "n"], sort=False):
        spread = np.sqrt((part.error**2).mean())
        lines.append(
            f"| {kind} | {name} | {n} | {len(part)} | {part.error.mean():+.3f} | "
            f"{spread:.3f} | {np.sqrt((part.se**2).mean()):.3f} | "
            f"{part.within.mean():.0%} | {part['within twice'].mean():.0%} |"
        )
    return lines


def reliability(found: pd.DataFrame, column: str) -> list[str]:
    lines = []
    bins = pd.cut(found[column], EDGES, include_lowest=True)
    for (kind, n), part in found.groupby(["kind", "n"], sort=False):
        cells = []
        for _, own in part.groupby(bins[part.index], observed=False):
            rate = own.right.mean()
            cells.append(f"{rate:.0%} ({len(own)})" if len(own) >= 10 else "")
        lines.append(f"| {kind} | {n} | {' | '.join(cells)} |")
    return lines


def brier(found: pd.DataFrame, column: str) -> str:
    parts = found.assign(loss=(found[column] - found.right) ** 2).groupby("kind").loss
    return ", ".join(f"{value:.3f} ({kind})" for kind, value in parts.mean().items())


# Selection bias


def gaps(count: int) -> dict[str, Array]:
    half = count // 2
    return {
        "alike": np.zeros(count),
        "0 to 0.2": np.linspace(0, 0.2, count),
        "0 to 1": np.linspace(0, 1, count),
        "half of them by 2": np.r_[np.zeros(half), np.full(count - half, 2.0)],
        "all but one by 0.4": np.r_[0.0, np.full(count - 1, 0.4)],
    }


def selection(tables: int) -> list[str]:
    """Heavy tails; a part that is common to all configurations, as rows have it."""
    lines, rng = [], np.random.default_rng(0)
    for count, n in product((12, 30), (40, 120)):
        for name, behind in gaps(count).items():
            truth, stated = [], []
            for _ in range(tables):
                own = 0.5 * rng.standard_t(4, size=(n, count))
                scores = rng.standard_t(4, size=(n, 1)) + own - behind
                means = scores.mean(axis=0)
                truth.append(n * (means + behind)[means.argmax()])
                stated.append(n * selection_bias(scores)[0])
            lines.append(
                f"| {count} | {n} | {name} | {np.mean(truth):.1f} "
                f"± {stats.sem(truth):.1f} | {np.mean(stated):.1f} |"
            )
            print(lines[-1], flush=True)
    return lines


def selection_of_known(functions: int) -> list[str]:
    """Twelve covariances, by their leave-one-out scores and truly."""
    lines = []
    for n, noise in product((40, 80), NOISES):
        truth, stated = [], []
        for seed in range(DESIGNS):
            design, rng = Design.draw(n, seed), np.random.default_rng([seed, n])
            for _ in range(functions):
                f, new = design.function(rng)
                y = f + noise * rng.standard_normal(n)
                pairs = [by_known(design, y, new, noise, each) for each in TWELVE]
                scores = np.column_stack([own for own, _ in pairs])
                errors = scores.mean(axis=0) - [true for _, true in pairs]
                best = scores.mean(axis=0).argmax()
                # What all have in common selects nothing.
                truth.append(n * (errors[best] - errors.mean()))
                stated.append(n * selection_bias(scores)[0])
        lines.append(
            f"| 12 | {n} | Gaussian process, noise {noise} | {np.mean(truth):.1f} "
            f"± {stats.sem(truth):.1f} | {np.mean(stated):.1f} |"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    functions = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    found = pd.concat(
        [
            simulate("known", KNOWN, 10 * functions),
            simulate("fitted", FITTED, functions),
        ],
        ignore_index=True,
    )
    bias = selection(30 * functions) + selection_of_known(4 * functions)
    ranges = " | ".join(f"{a:.0%} to {b:.0%}" for a, b in pairwise(EDGES))
    columns = (
        "hyper-parameters | configurations | rows | tables | bias | root mean square "
        "error | standard error | within | within twice |"
    )
    text = f"""# Calibration of a comparison

`python benchmarks/calibration.py {functions}`. Rows are drawn from a Gaussian process
with a Matern-5/2 kernel of three inputs and noise of a standard deviation of
{" or ".join(map(str, NOISES))}, by {DESIGNS} designs. Two configurations are compared
by leave-one-out. The truth is the difference of their expected log predictive densities
on new rows, given these data ({NEW:,} new inputs).

## Probability of being worse

How often the configuration that is behind is truly worse, by its stated
`probability_worse` (and the number of tables), whose standard error counts
{OVERLAP:.0f} times:

| hyper-parameters | rows | {ranges} |
|---|---|{"---|" * (len(EDGES) - 1)}
{chr(10).join(reliability(found, "stated"))}

The same if the standard error counted once, as if rows were independent:

| hyper-parameters | rows | {ranges} |
|---|---|{"---|" * (len(EDGES) - 1)}
{chr(10).join(reliability(found, "ordinary"))}

Mean squared error of the probability (Brier score): {brier(found, "stated")}, and
{brier(found, "ordinary")} with one standard error.

## Standard error of the difference

Means over tables, in nats per row. "Within": the share of tables of which the true
difference is within the central 95.4 % of Student's distribution around the stated one,
with the standard error, and with twice that.

| {columns}
|---|---|---|---|---|---|---|---|---|
{chr(10).join(errors(found))}

## Selection bias

The `elpd` of the best of many, minus its expectation on further rows, in nats, and what
is stated. Scores of a row are Student's t with 4 degrees of freedom for the row, half
of another for the row and the configuration, minus the configuration's gap to the best
one. In the last lines they are leave-one-out scores of covariances with known
lengthscales.

| configurations | rows | gaps to the best | truth | stated |
|---|---|---|---|---|
{chr(10).join(bias)}
"""
    (Path(__file__).parent / "results" / "calibration.md").write_text(text)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
