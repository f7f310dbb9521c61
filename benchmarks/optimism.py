"""What scores at fixed hyper-parameters hide, and which ways see it at what price.

    python benchmarks/optimism.py                # five minutes
    python benchmarks/optimism.py hartmann-40 wine-60

The sum of log densities of leave-one-out by each way, minus that of refits from several
starts: "fixed", its correction to first order, "adaptive" and "warm", on the problems
of `problems.py` whose folds `fit_quality.py` fits (the threshold of "adaptive" was
chosen on these), and on some larger ones that were not looked at before. A difference
is small where it is within 1 nat or 0.5 % of the sum. "warm" and "adaptive" differ from
refits where a fold has a lower optimum that nothing led to: such folds are counted, by
losses that are more than 0.05 nats above the refit's. Evaluations are those of
"adaptive" by those of "warm". Writes `results/optimism.md`.
"""

from __future__ import annotations

import sys
import warnings
from statistics import median

import numpy as np
from fit_speed import RESULTS, machine
from problems import FOLDS, SINGLE

from botorch_xval import cross_validate

LARGER = (
    *("tuning-160-tight", "accuracy-100-loose", "diabetes-160", "cancer-100"),
    *("star98-100", "hartmann-100", "ackley-80-noisy", "ccard-72"),
)
WAYS = ("fixed", "adaptive", "warm")
NEAR = 0.05  # nats


def measure(name: str) -> dict[str, object]:
    X, Y, build = SINGLE[name]()
    refitted = cross_validate(build, X, Y)
    found = {way: cross_validate(build, X, Y, fit=way) for way in WAYS}
    left = len(X) - 1
    own = np.array([left * record.loss for record in refitted.records])
    corrected = found["fixed"].corrected
    row: dict[str, object] = {
        "problem": name,
        "elpd": refitted.elpd,
        "corrected": None if corrected is None else corrected - refitted.elpd,
        "share": np.mean([f.how != "predicted" for f in found["adaptive"].fits]),
        "ratio": found["adaptive"].evaluations / found["warm"].evaluations,
    }
    for way in WAYS:
        row[way] = found[way].elpd - refitted.elpd
    for way in ("adaptive", "warm"):
        losses = np.array([left * record.loss for record in found[way].records])
        row[f"{way}, missed"] = int((losses - own > NEAR).sum())
    return row


def is_small(row: dict, way: str) -> bool:
    return abs(row[way]) <= max(1.0, 0.005 * abs(row["elpd"]))


def table(rows: list[dict]) -> str:
    lines = [
        machine(),
        "",
        "| problem | refits | fixed | corrected | adaptive | warm | folds refitted "
        "| folds in a higher optimum, adaptive / warm | evaluations, adaptive / warm |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        corrected = row["corrected"]
        lines.append(
            f"| {row['problem']} | {row['elpd']:.2f} | {row['fixed']:+.2f} | "
            f"{'' if corrected is None else f'{corrected:+.2f}'} | "
            f"{row['adaptive']:+.2f} | {row['warm']:+.2f} | {row['share']:.0%} | "
            f"{row['adaptive, missed']} / {row['warm, missed']} | {row['ratio']:.2f} |"
        )
    lines.append("")
    for title, part in (
        ("chosen on", [row for row in rows if row["problem"] in FOLDS]),
        ("larger, not looked at before", [r for r in rows if r["problem"] in LARGER]),
    ):
        if part:
            small = (f"{way} {sum(is_small(row, way) for row in part)}" for way in WAYS)
            ratio = median(float(row["ratio"]) for row in part)
            sizes = {way: [abs(float(row[way])) for row in part] for way in WAYS}
            shown = (f"{w} {median(v):.2f} ({max(v):.1f})" for w, v in sizes.items())
            lines.append(
                f"* {len(part)} problems {title}: within 1 nat or 0.5 % "
                f"{', '.join(small)}; median difference in nats, and largest, "
                f"{', '.join(shown)}; median ratio of evaluations {ratio:.2f}."
            )
    removed = [
        1 - float(row["corrected"]) / float(row["fixed"])
        for row in rows
        if row["corrected"] is not None
    ]
    lines.append(
        f"* The correction removes {median(removed):.0%} of what fixed flatters in the "
        f"median, {min(removed):.0%} to {max(removed):.0%}."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    rows = []
    for name in sys.argv[1:] or [*FOLDS, *LARGER]:
        rows.append(measure(name))
        print(rows[-1], flush=True)
        (RESULTS / "optimism.md").write_text(table(rows))


if __name__ == "__main__":
    main()
