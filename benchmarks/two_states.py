"""Whether a change of this library made it faster or slower, or moved a result.

    git worktree add ../before main~1
    python benchmarks/two_states.py ../before . --repeats 5

Two checkouts in turn, each measurement a process of its own with that checkout first on
the path, in the default environment. Both fit the same leave-one-out folds of the
bundled table with `ScalarChoiceGP`: once as one batch by `fit_gpytorch_mll`, once by
`cross_validate(fit="warm")`. Printed are medians of seconds and, as evidence that the
work is the same, the summed loss of all folds, the model evaluations (a batch of b
models that is evaluated once counts b), and the summed log predictive density; a
difference between the checkouts, or between the repeats of one, is an error.

Only names that the package itself exports are used, so that old checkouts run, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

COMMON = """
import json, warnings
from functools import partial
from pathlib import Path
from time import perf_counter
from botorch.cross_validation import gen_loo_cv_folds
from gpytorch.mlls import ExactMarginalLogLikelihood
import botorch_xval
from botorch_xval import (
    ScalarChoiceGP,
    cross_validate,
    encode_table,
    fit_gpytorch_mll,
    load_tuning_trials,
)

warnings.simplefilter("ignore")
assert Path(botorch_xval.__file__).is_relative_to({checkout!r}), botorch_xval.__file__
trials = load_tuning_trials()
choices = ["optimizer", "nesterov"]
others = ["trial", "loss", "accuracy", "seconds", "seed", *choices]
scalars = [name for name in trials.columns if name not in others]
table = encode_table(trials, "loss", choices, scalars, "all", True)
X, Y = table.X[:{rows}], table.Y[:{rows}]
model = partial(ScalarChoiceGP, choice_dims=table.choice_dims)
"""
WAYS = {
    "fit": """
folds = gen_loo_cv_folds(X, Y)
batch = model(folds.train_X, folds.train_Y)
mll = ExactMarginalLogLikelihood(batch.likelihood, batch)
start = perf_counter()
fit_gpytorch_mll(mll)
seconds, records, elpd = perf_counter() - start, mll.fit_records, None
""",
    "warm": """
start = perf_counter()
result = cross_validate(model, X, Y, fit="warm")
seconds, records, elpd = perf_counter() - start, result.records, result.elpd
""",
}
END = """
losses, evaluations = (sum(getattr(r, n) for r in records) for n in {numbers!r})
print(json.dumps([seconds, [losses, evaluations, elpd]]))
"""


def measure(checkout: Path, way: str, rows: int) -> tuple[float, list]:
    """Seconds of one process, and what it found."""
    code = COMMON.format(checkout=str(checkout), rows=rows)
    code += WAYS[way] + END.format(numbers=("loss", "evaluations"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{checkout}: {way} failed\n{done.stderr}")
    seconds, found = json.loads(done.stdout.splitlines()[-1])
    return seconds, found


def main() -> None:
    """Measure both checkouts in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    checkouts = [arguments.before.resolve(), arguments.after.resolve()]
    print("way   before s  after s  ratio  summed loss, evaluations, elpd")
    differ = False
    for way in WAYS:
        seconds: list[list[float]] = [[], []]
        found: list[list] = []
        for _ in range(arguments.repeats):
            for spent, checkout in zip(seconds, checkouts, strict=True):
                one, numbers = measure(checkout, way, arguments.rows)
                spent.append(one)
                if numbers not in found:
                    found.append(numbers)
        before, after = map(median, seconds)
        row = f"{way:5} {before:8.3f} {after:8.3f} {before / after:6.2f}"
        print(row, *found, flush=True)
        differ |= len(found) > 1
    if differ:
        sys.exit("the numbers differ")


if __name__ == "__main__":
    main()
