"""How many starts? Success against evaluations, over the problems of `problems.py`.

    python benchmarks/starts_curve.py    # some ten minutes; resumable

Every single model is searched from all of its starts, to the usual tolerance, and what
each start ends in and costs goes to `results/starts.jsonl`. From these the rules "the
first k starts" and "rounds of 8 and then 4 until the lowest optimum was found h times"
follow without another fit. The default is h = 5. Regrets are against
`results/best_known.json`, which `fit_quality.py` keeps.
"""

from __future__ import annotations

import json
import math
import warnings
from itertools import accumulate
from pathlib import Path

import numpy as np
from fit_quality import improve, read_best, wrap
from fit_speed import machine
from matplotlib import pyplot as plt
from problems import CHOSEN_ON, SINGLE, data_of

from botorch_xval import FitOptions, make_objective
from botorch_xval.fitting.multistart import ENOUGH, ROUNDS, SAME, search_from
from botorch_xval.fitting.progress import FitProgress
from botorch_xval.fitting.retries import log_coordinates
from botorch_xval.fitting.starts import starts_of

RESULTS = Path(__file__).parent / "results"
LINES = RESULTS / "starts.jsonl"
HITS = (1, 2, 3, 4, 5, 6, 8)
COUNTS = (1, 2, 4, 6, 8, 12, 16, 20)
Ends = list[list[float]]  # of each start the summed loss and the evaluations


def search(name: str) -> list[Ends]:
    """The ends of all starts of each model of a problem."""
    X, Y, build = SINGLE[name]()
    objective = make_objective([wrap(build, X, Y).train()])
    coordinates = log_coordinates(objective)
    found = []
    for i in range(objective.num_models):
        pairs = [(i, start) for start in starts_of(objective, i, coordinates)]
        bar = FitProgress(len(pairs), False)
        searches = search_from(
            objective, pairs, FitOptions(), coordinates, bar, math.inf
        )
        found.append(
            [[s.best_loss * objective.num_points, s.evaluations] for s in searches]
        )
    improve(name, np.array([min(loss for loss, _ in ends) for ends in found]))
    return found


def first(ends: Ends, count: int) -> tuple[float, float]:
    """The lowest loss and the evaluations of the first starts."""
    chosen = ends[:count]
    return min(loss for loss, _ in chosen), sum(price for _, price in chosen)


def in_rounds(ends: Ends, hits: int) -> tuple[float, float]:
    """The same of rounds, until the lowest optimum was found so often."""
    for count in accumulate(ROUNDS):
        losses = np.array([loss for loss, _ in ends[:count]])
        if (losses < losses.min() + SAME).sum() >= hits:
            break
    return first(ends, count)


def table(lines: list[dict]) -> str:
    """What each rule reaches and costs, and the picture of it."""
    known = read_best()
    models = [
        (line["problem"], ends, best)
        for line in lines
        for ends, best in zip(line["models"], known[line["problem"]], strict=True)
    ]
    text = [str(__doc__).split("\n")[0], "", machine(), ""]
    text.append(f"{len(models)} models of {len(lines)} problems.\n")
    text.append("| rule | starts | within 0.01 nats | the same, not looked at | ")
    text[-1] += "mean regret | evaluations / own start |"
    text.append("|---|---|---|---|---|---|")
    figure, ax = plt.subplots(figsize=(6, 4))
    for rule, values, words in (
        (first, COUNTS, "the first {} starts"),
        (in_rounds, HITS, "rounds of 8, 4, 4, 4 until found {} times"),
    ):
        points = []
        for value in values:
            found = [rule(ends, value) for _, ends, _ in models]
            regrets = np.array(
                [
                    loss - best
                    for (loss, _), (_, _, best) in zip(found, models, strict=True)
                ]
            )
            prices = np.array([price for _, price in found])
            own = np.array([ends[0][1] for _, ends, _ in models])
            unseen = [data_of(name) not in CHOSEN_ON for name, _, _ in models]
            starts = np.mean(
                [
                    list(accumulate(p for _, p in ends)).index(price) + 1
                    for (_, ends, _), price in zip(models, prices, strict=True)
                ]
            )
            good = regrets < SAME
            ratio = float(np.exp(np.log(prices / own).mean()))
            points.append((ratio, 100 * good.mean()))
            text.append(
                f"| {words.format(value)} | {starts:.1f} | {good.mean():.1%} | "
                f"{good[unseen].mean():.1%} | {np.maximum(regrets, 0).mean():.4f} | "
                f"{ratio:.1f} |"
            )
        ax.plot(*zip(*points, strict=True), "o-", label=words.format("k"))
        for value, point in zip(values, points, strict=True):
            if rule is first:
                ax.annotate(str(value), point, (5, -11), textcoords="offset points")
            elif value == ENOUGH:
                words = f"the default: {value} times"
                ax.annotate(words, point, (-6, 8), textcoords="offset points")
    ax.set(xlabel="evaluations / those of the own start")
    ax.set_ylabel("models within 0.01 nats of the best known, %")
    ax.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(RESULTS / "starts.png", dpi=150)
    return "\n".join(text) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    lines = []
    if LINES.exists():
        lines = [json.loads(line) for line in LINES.read_text().splitlines()]
    done = {line["problem"] for line in lines}
    for name in SINGLE:
        if name not in done:
            lines.append({"problem": name, "models": search(name)})
            with LINES.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
            print(name, flush=True)
    text = table(lines)
    (RESULTS / "starts.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
