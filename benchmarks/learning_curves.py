"""Do learning curves from the smaller sizes predict the scores of the larger ones?

    python benchmarks/learning_curves.py [folder]         # an hour on one thread
    python benchmarks/learning_curves.py folder wine branin-noisy

Comparisons at 20, 28, 40, 60 and 80 rows with three shuffles of the problems of
`problems.py`, one model each, leave-one-out by warm starts. Curves are fitted to the
smaller sizes, of each shuffle alone and of all three, and predict the score at a larger
size that was held out. That is compared with what was found, and with the prediction
that nothing is gained any more. Priors and the Brownian motion around the power law
were chosen on `CURVES` (an earlier choice without that motion, on a few of them, had
bands that were far too narrow on the others), and nothing on `FRESH_CURVES`. A folder
keeps the comparisons. Writes `results/learning_curves.md`.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from fit_speed import RESULTS
from problems import CURVES, FRESH_CURVES

from botorch_xval import Comparison, compare
from botorch_xval.comparison import check_learning_curve

SIZES = (20, 28, 40, 60, 80)
FITTED = {60: (20, 28, 40), 80: (20, 28, 40, 60)}
FAR = {80: (20, 28, 40)}
REPLICATES = 3


def comparison_of(name: str, folder: Path | None) -> Comparison:
    path = None if folder is None else folder / f"{name}.npz"
    if path is not None and path.exists():
        return Comparison.load(path)
    X, Y, build = {**CURVES, **FRESH_CURVES}[name]()
    sizes = [size for size in SIZES if size <= len(X)]
    model = {"model": build}
    found = compare(model, X, Y, sizes=sizes, replicates=REPLICATES, fit="warm")
    if path is not None:
        path.parent.mkdir(exist_ok=True, parents=True)
        found.save(path)
    return found


def part_of(comparison: Comparison, sizes: list[int], replicates: list[int]):
    return Comparison(
        *(
            frame[frame["size"].isin(sizes) & frame.replicate.isin(replicates)]
            for frame in (comparison.points, comparison.fits)
        )
    )


def measure(name: str, comparison: Comparison) -> list[dict[str, object]]:
    rows = []
    known = set(comparison.points["size"])
    all_of = list(range(REPLICATES))
    for target, fitted in (*FITTED.items(), *FAR.items()):
        if target not in known:
            continue
        for chosen in (*([i] for i in all_of), all_of):
            part = part_of(comparison, [*fitted, target], chosen)
            (entry,) = check_learning_curve(part).to_dict("records")
            rows.append({"problem": name, "shuffles": len(chosen), **entry})
    return rows


def summarize(rows: pd.DataFrame, title: str) -> list[str]:
    lines = []
    for shuffles in (1, REPLICATES):
        for (last, size), part in rows[rows.shuffles == shuffles].groupby(
            ["last", "size"]
        ):
            own, naive = (
                (part.found - part[column]).abs() for column in ("score", "last_score")
            )
            z = (part.found - part.score) / part.standard_error
            inside = (part.found >= part.low) & (part.found <= part.high)
            nearer = (own < naive).sum()
            lines.append(
                f"| {title} | {shuffles} | {last} to {size} | {inside.sum()} of "
                f"{len(part)} ({inside.mean():.0%}) | {own.mean():.3f} | "
                f"{naive.mean():.3f} | {own.median():.3f} | {naive.median():.3f} | "
                f"{nearer} of {len(part)} | {np.sqrt((z**2).mean()):.2f} |"
            )
    return lines


def report(rows: pd.DataFrame) -> str:
    is_seen = rows.problem.isin(list(CURVES))
    lines = [
        "Scores at a held-out size, predicted from smaller ones, in nats per row. "
        "Naive: the score of the largest size of the fit, as if nothing were gained; "
        "z: root mean square of errors in predicted standard errors.",
        "",
        "| problems | shuffles | rows | inside the 95 % band | mean error | naive | "
        "median error | naive | nearer than naive | z |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for title, chosen in (("fresh", ~is_seen), ("chosen on", is_seen)):
        if chosen.any():
            lines += summarize(rows[chosen], title)
    lines += [
        "",
        f"All {REPLICATES} shuffles together:",
        "",
        "| problem | rows | score at the smaller | predicted at the larger (95 %) | "
        "found | inside |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows[rows.shuffles == REPLICATES].itertuples():
        inside = row.low <= row.found <= row.high
        lines.append(
            f"| {row.problem} | {row.last} to {row.size} | {row.last_score:.3f} | "
            f"{row.score:.3f} ({row.low:.3f} to {row.high:.3f}) | {row.found:.3f} | "
            f"{'yes' if inside else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    rows = []
    for name in sys.argv[2:] or [*FRESH_CURVES, *CURVES]:
        rows += measure(name, comparison_of(name, folder))
        print(pd.DataFrame(rows).tail(12).to_string(), flush=True)
    (RESULTS / "learning_curves.md").write_text(report(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
