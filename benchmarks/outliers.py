"""How often rows of clean tables are called outliers, and how often wrong rows are.

    python benchmarks/outliers.py            # half an hour on one thread
    python benchmarks/outliers.py 40         # fewer tables of each kind

Tables are drawn from a Gaussian process (RBF, three inputs, lengthscale 0.4, noise of a
tenth of the variance), so that BoTorch's default model is nearly right, and
cross-validated by `fit="warm"`. An outlier is one outcome that is off by 3, 5 or 10
standard deviations of the noise; of a table with heavy tails the noise is Student's t
with three degrees of freedom. Of the rows that are called outliers: found by one look
(`outliers`), and one after the other (`find_outliers`). Writes `results/outliers.md`.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import torch
from fit_speed import RESULTS
from problems import default
from torch import Tensor

from botorch_xval import cross_validate
from botorch_xval.cross_validation import find_outliers, outliers

SIZES = (20, 40, 80)
TABLES = 200
NOISE = 0.1  # variance, of a signal of variance one
KINDS = {"clean": 0.0, "off by 3": 3.0, "off by 5": 5.0, "off by 10": 10.0}


def draw(n: int, seed: int, size: float, heavy: bool = False) -> tuple[Tensor, Tensor]:
    """A table, the first row of which is off by a number of noise deviations."""
    rng = np.random.default_rng([n, seed])
    X = rng.uniform(size=(n, 3))
    squared = ((X[:, None] - X) ** 2).sum(axis=-1)
    K = np.exp(-squared / 2 / 0.4**2) + 1e-8 * np.eye(n)
    noise = rng.standard_t(3, n) / 3**0.5 if heavy else rng.standard_normal(n)
    y = np.linalg.cholesky(K) @ rng.standard_normal(n) + NOISE**0.5 * noise
    y[0] += size * NOISE**0.5
    return torch.from_numpy(X), torch.from_numpy(y)[:, None]


def measure(n: int, tables: int, size: float, heavy: bool = False) -> dict[str, float]:
    found = []
    for seed in range(tables):
        X, Y = draw(n, seed, size, heavy)
        result = cross_validate(default, X, Y, fit="warm")
        table = outliers(result)
        once = set(table.row[table.is_outlier])
        rows = set(find_outliers(result, default, X, Y, fit="warm").rows)
        z = table.z_score.abs().max()
        plain = z > np.sqrt(2) * torch.special.erfinv(torch.tensor(1 - 0.05 / n)).item()
        found.append(
            (bool(rows), 0 in once, len(once - {0}), 0 in rows, len(rows - {0}), plain)
        )
    names = ("any", "once", "others once", "in turn", "others in turn", "plain")
    return dict(zip(names, np.mean(found, axis=0).tolist(), strict=True))


def report(rows: list[dict], tables: int) -> str:
    lines = [
        f"{tables} tables of each kind. Clean tables should have an outlier in 5 %.",
        "",
        "| tables | rows | with an outlier | by Bonferroni's limit of plain z-scores | "
        "the wrong row found by one look | further rows per table | in turn | further "
        "rows |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        wrong = row["kind"].startswith("off")
        shown = (f"{row['once']:.0%}", f"{row['in turn']:.0%}") if wrong else ("", "")
        lines.append(
            f"| {row['kind']} | {row['n']} | {row['any']:.1%} | {row['plain']:.1%} | "
            f"{shown[0]} | {row['others once'] + (not wrong) * row['once']:.2f} | "
            f"{shown[1]} | {row['others in turn'] + (not wrong) * row['in turn']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    tables = int(sys.argv[1]) if len(sys.argv) > 1 else TABLES
    rows = []
    for n in SIZES:
        for kind, size in (*KINDS.items(), ("heavy tails", 0.0)):
            found = measure(n, tables, size, heavy=kind == "heavy tails")
            rows.append({"n": n, "kind": kind, **found})
            print(rows[-1], flush=True)
            (RESULTS / "outliers.md").write_text(report(rows, tables))


if __name__ == "__main__":
    main()
