"""The next trial by those before it: what each way costs, and what it finds.

    python benchmarks/next_trial.py              # five minutes
    python benchmarks/next_trial.py hartmann-40 wine-60

Folds of `leave_future_out`, from a third of the rows on, of problems of `problems.py`
in the order of their rows: by "refit", and by "warm" and "adaptive", which follow the
trace, with one start and with several; and "fixed", whose hyper-parameters and
transforms know the future. Scores are sums of log densities minus that of refits from
several starts; folds are missed whose loss is more than 0.05 nats above the lowest that
any way found. A second table says in which folds the two differ: of several starts,
those that keep a step, and those searched that end above the refit's loss, below it, or
within 0.05 nats of it, where the loss does not say which of two optima is better.
Writes `results/next_trial.md`.
"""

from __future__ import annotations

import sys
import warnings
from statistics import median

import numpy as np
from fit_speed import RESULTS, machine
from problems import SINGLE

from botorch_xval import (
    CrossValidation,
    FitOptions,
    cross_validate,
    leave_future_out,
)

PROBLEMS = (
    *("tuning-40-tight", "hartmann-40", "diabetes-40", "wine-60"),
    *("ackley-80-noisy", "cancer-100", "star98-100", "tuning-160-tight"),
)
WAYS = ("refit", "warm", "adaptive")
STARTS = ("own", "several")
NEAR = 0.05  # nats
CAUSES = ("kept", "above", "below", "level")


def measure(name: str) -> dict[str, object]:
    X, Y, build = SINGLE[name]()
    folds = leave_future_out(len(X) // 3)
    found = {
        (way, starts): cross_validate(
            build, X, Y, folds=folds, fit=way, fit_options=FitOptions(starts=starts)
        )
        for way in WAYS
        for starts in STARTS
    }
    losses = {
        key: np.array([r.loss * r.num_points for r in result.records])
        for key, result in found.items()
    }
    lowest = np.min([each for each in losses.values()], axis=0)
    best = found["refit", "several"]
    fixed = cross_validate(build, X, Y, folds=folds, fit="fixed")
    row: dict[str, object] = {
        "problem": name,
        "folds": len(folds(len(X)).names),
        "elpd": best.elpd,
        "fixed": fixed.elpd - best.elpd,
    }
    for key, result in found.items():
        row[f"{key[0]}, {key[1]}"] = (
            result.elpd - best.elpd,
            result.evaluations,
            int((losses[key] > lowest + NEAR).sum()),
        )
    for way in WAYS[1:]:
        key = way, "several"
        gaps = losses[key] - losses["refit", "several"]
        row[f"{way}, causes"] = causes(found[key], best, gaps)
    return row


def causes(
    found: CrossValidation, best: CrossValidation, gaps: np.ndarray
) -> list[tuple[int, float]]:
    """For each of `CAUSES` the folds, and their scores minus those of refits.

    Args:
        found: Folds of one row each, in their order.
        best: By refits.
        gaps: Losses minus those of refits, in nats.
    """
    differences = (found.summed_log_density - best.summed_log_density).numpy()
    kept = np.array([fit.how == "predicted" for fit in found.fits])
    above, below = ~kept & (gaps > NEAR), ~kept & (gaps < -NEAR)
    parts = kept, above, below, ~(kept | above | below)
    return [(int(part.sum()), float(differences[part].sum())) for part in parts]


def table(rows: list[dict]) -> str:
    keys = [f"{way}, {starts}" for starts in STARTS for way in WAYS]
    lines = [
        machine(),
        "",
        "Score minus that of refits from several starts / evaluations / folds missed",
        "",
        f"| problem | folds | refits, several | fixed | {' | '.join(keys)} |",
        "|---|---|---|---|" + "---|" * len(keys),
    ]
    for row in rows:
        cells = [f"{a:+.2f} / {b} / {c}" for a, b, c in (row[key] for key in keys)]
        lines.append(
            f"| {row['problem']} | {row['folds']} | {row['elpd']:.2f} | "
            f"{row['fixed']:+.2f} | {' | '.join(cells)} |"
        )
    lines.append("")
    for starts in STARTS:
        for way in WAYS[1:]:
            parts = [(row[f"{way}, {starts}"], row[f"refit, {starts}"]) for row in rows]
            ratios = [own[1] / refit[1] for own, refit in parts]
            lines.append(
                f"* {way}, {starts} starts: {median(ratios):.2f} of the evaluations of "
                f"refits in the median ({min(ratios):.2f} to {max(ratios):.2f})."
            )
    ratios = [row["adaptive, several"][1] / row["warm, several"][1] for row in rows]
    lines.append(
        f"* adaptive, several starts: {median(ratios):.2f} of the evaluations of warm "
        f"in the median ({min(ratios):.2f} to {max(ratios):.2f})."
    )
    titles = [f"{way}, {cause}" for way in WAYS[1:] for cause in CAUSES]
    lines += [
        "",
        "Where they differ from refits, several starts: folds, and their part of the "
        "difference in nats",
        "",
        f"| problem | {' | '.join(titles)} |",
        "|---|" + "---|" * len(titles),
    ]
    for row in rows:
        parts = [part for way in WAYS[1:] for part in row[f"{way}, causes"]]
        cells = [f"{count}: {nats:+.2f}" if count else "" for count, nats in parts]
        lines.append(f"| {row['problem']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    rows = []
    for name in sys.argv[1:] or PROBLEMS:
        rows.append(measure(name))
        print(rows[-1], flush=True)
        (RESULTS / "next_trial.md").write_text(table(rows))


if __name__ == "__main__":
    main()
