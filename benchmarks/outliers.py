"""How often rows of clean tables are called outliers, and how often wrong rows are.

    python benchmarks/outliers.py            # half an hour on one thread
    python benchmarks/outliers.py 10         # ten tables of each kind

Tables are drawn from a Gaussian process and cross-validated by BoTorch's default model
with `fit="warm"`. The limit was chosen on clean tables of three inputs (of other
seeds), and nothing on the other kinds. An outlier is one outcome that is off by 5 or 10
standard deviations of the noise; heavy tails are Student's noise with three degrees of
freedom. Rows are called outliers by one look (`outliers`), and one after the other
(`find_outliers`). Writes `results/outliers.md`.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import torch
from fit_speed import RESULTS
from problems import default
from scipy.stats import norm
from torch import Tensor

from botorch_xval import cross_validate
from botorch_xval.cross_validation import find_outliers, outliers

TABLES = {20: 60, 40: 20}  # by number of rows
# Inputs, smoothness (nu), lengthscale, variance of the noise, its degrees of freedom,
# and by how many deviations of the noise the first row is off; signals have variance 1.
KINDS = {
    "clean, 3 inputs": (3, np.inf, 0.4, 0.1, np.inf, 0.0),
    "clean, 1 input, rough": (1, 1.5, 0.2, 0.05, np.inf, 0.0),
    "clean, 6 inputs, noisy": (6, np.inf, 1.0, 0.5, np.inf, 0.0),
    "heavy tails": (3, np.inf, 0.4, 0.1, 3.0, 0.0),
    "off by 5": (3, np.inf, 0.4, 0.1, np.inf, 5.0),
    "off by 10": (3, np.inf, 0.4, 0.1, np.inf, 10.0),
}


def draw(kind: str, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """A table, the first row of which may be wrong."""
    d, nu, lengthscale, variance, freedom, size = KINDS[kind]
    rng = np.random.default_rng([n, seed])
    X = rng.uniform(size=(n, d))
    r = np.sqrt(((X[:, None] - X) ** 2).sum(axis=-1)) / lengthscale
    smooth = np.isinf(nu)
    K = np.exp(-(r**2) / 2) if smooth else (1 + 3**0.5 * r) * np.exp(-(3**0.5) * r)
    noise = rng.standard_normal(n)
    if np.isfinite(freedom):
        noise = rng.standard_t(freedom, n) / (freedom / (freedom - 2)) ** 0.5
    signal = np.linalg.cholesky(K + 1e-8 * np.eye(n)) @ rng.standard_normal(n)
    noise[0] += size
    y = signal + variance**0.5 * noise
    return torch.from_numpy(X), torch.from_numpy(y)[:, None]


def measure(kind: str, n: int, tables: int) -> dict[str, object]:
    found = []
    for seed in range(tables):
        X, Y = draw(kind, n, seed)
        result = cross_validate(default, X, Y, fit="warm")
        table = outliers(result)
        once = set(table.row[table.is_outlier])
        rows = once
        if once:
            rows = set(find_outliers(result, default, X, Y, fit="warm").rows)
        plain = table.z_score.abs().max() > norm.isf(0.05 / 2 / n)
        found.append((bool(once), plain, 0 in once, len(once), 0 in rows, len(rows)))
    names = ("any", "plain", "wrong once", "once", "wrong in turn", "in turn")
    means = np.mean(found, axis=0).tolist()
    return {
        "kind": kind,
        "n": n,
        "tables": tables,
        **dict(zip(names, means, strict=True)),
    }


def report(rows: list[dict]) -> str:
    lines = [
        "Clean tables should have an outlier in 5 %; plain z-scores are those beyond "
        "Bonferroni's limit of a normal distribution.",
        "",
        "| tables | number | rows | with an outlier | with a plain z-score beyond its "
        "limit | outliers per table by one look | in turn | the wrong row found by one "
        "look | in turn |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        wrong = row["kind"].startswith("off")
        found = [f"{row[k]:.0%}" * wrong for k in ("wrong once", "wrong in turn")]
        lines.append(
            f"| {row['kind']} | {row['tables']} | {row['n']} | {row['any']:.0%} | "
            f"{row['plain']:.0%} | {row['once']:.2f} | {row['in turn']:.2f} | "
            f"{found[0]} | {found[1]} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    rows = []
    for n, tables in TABLES.items():
        for kind in KINDS:
            count = int(sys.argv[1]) if len(sys.argv) > 1 else tables
            rows.append(measure(kind, n, count))
            print(rows[-1], flush=True)
            (RESULTS / "outliers.md").write_text(report(rows))


if __name__ == "__main__":
    main()
