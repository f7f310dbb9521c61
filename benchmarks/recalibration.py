"""Does a factor on the variance, learned from leave-one-out, help with new rows?

    python benchmarks/recalibration.py            # ten minutes on one thread
    python benchmarks/recalibration.py wine branin-noisy

Of the problems of `problems.py` 20 or 40 rows are cross-validated by `fit="warm"`, and
all others (up to 160) are new rows, which the model of all 20 or 40 predicts with and
without the factor. What that gains there is compared with what the two tests promised:
factors learned from other folds, and by nested cross-validation (five outer folds).
Nothing was chosen on these problems. Writes `results/recalibration.md`.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pandas as pd
import torch
from fit_speed import RESULTS
from problems import CURVES

from botorch_xval import cross_validate
from botorch_xval.cross_validation import (
    crps,
    log_density,
    recalibrate,
    recalibrate_nested,
)

SIZES = (20, 40)


def measure(name: str, n: int) -> dict[str, object]:
    X, Y, build = CURVES[name]()
    data = build, X[:n], Y[:n]
    result = cross_validate(*data, fit="warm", keep_models=True)
    found = recalibrate(result)
    nested = recalibrate_nested(*data, fit="warm")
    with torch.no_grad():
        new = result.full_model.posterior(X[n:], observation_noise=True)
    factor = found.factor
    parts = new.mean, new.variance, Y[n:]
    scaled = new.mean, new.variance * factor, Y[n:]
    before, after = log_density(*parts), log_density(*scaled)
    row, outer = found.table().iloc[0], nested.table().iloc[0]
    return {
        "problem": name,
        "n": n,
        "factor": row.factor,
        "low": row.low,
        "high": row.high,
        "mean_square_z": row.mean_square_z,
        "cheap": row.log_density_gain,
        "cheap_se": row.log_density_gain_se,
        "nested": outer.log_density_gain,
        "nested_se": outer.log_density_gain_se,
        "advice": row.advice,
        "nested_advice": outer.advice,
        "new": float((after - before).mean()),
        "new_z": float(((new.mean - Y[n:]) ** 2 / new.variance).mean()),
        "new_by_log": float(
            (
                log_density(new.mean, new.variance * row.mean_square_z, Y[n:]) - before
            ).mean()
        ),
        "new_crps": float(1 - crps(*scaled).mean() / crps(*parts).mean()),
    }


def report(rows: pd.DataFrame) -> str:
    lines = [
        "Gains of log density in nats per row, standard errors in brackets; of new "
        "rows with the factor of all rows.",
        "",
        "| problem | rows | factor (95 %) | mean z² | gain by other folds | by nested "
        "folds | of new rows | CRPS of new rows | advice by other folds | by nested |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows.itertuples():
        lines.append(
            f"| {r.problem} | {r.n} | {r.factor:.2f} ({r.low:.2f} to {r.high:.2f}) | "
            f"{r.mean_square_z:.2f} | {r.cheap:+.3f} ({r.cheap_se:.3f}) | "
            f"{r.nested:+.3f} ({r.nested_se:.3f}) | {r.new:+.3f} | {-r.new_crps:+.1%} "
            f"| {r.advice} | {r.nested_advice} |"
        )
    lines.append("")
    for n, part in rows.groupby("n"):
        better = part.new > 0
        use = {
            "other folds": part.advice == "use it",
            "nested folds": part.nested_advice == "use it",
        }
        words = "; ".join(
            f"{how} say 'use it' of {own.sum()}, of which {(own & better).sum()} gain "
            "on new rows"
            + f" ({part.new[own].mean():+.3f} in the mean)"
            * bool(own.any())
            for how, own in use.items()
        )
        gains = (
            f"{part[c].mean():+.3f} ({part[c].median():+.3f})"
            for c in ("cheap", "nested", "new", "new_by_log")
        )
        cheap, outer, new, by_log = gains
        lines.append(
            f"* {len(part)} problems of {n} rows: the factor gains on new rows of "
            f"{better.sum()}; {words}. Mean gains (medians): promised by other folds "
            f"{cheap}, by nested folds {outer}; of new rows {new}, with the factor of "
            f"the log density (mean z²) {by_log}. Rank correlation of the promised "
            "gains with those of new rows "
            f"{part.cheap.corr(part.new, method='spearman'):.2f} (other folds), "
            f"{part.nested.corr(part.new, method='spearman'):.2f} (nested)."
        )
    lines.append(
        "* Of new rows the mean z² is above 1 on "
        f"{(rows.new_z > 1).sum()} of {len(rows)}; geometric mean of the factors "
        f"{np.exp(np.log(rows.factor).mean()):.2f}, of what the new rows would ask for "
        f"{np.exp(np.log(rows.new_z).mean()):.2f}."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    rows = []
    for n in SIZES:
        for name in sys.argv[1:] or CURVES:
            rows.append(measure(name, n))
            print(rows[-1], flush=True)
            (RESULTS / "recalibration.md").write_text(report(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
