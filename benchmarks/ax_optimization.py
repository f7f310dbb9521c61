"""Real optimizations in Ax: its default model and fit against ours, over ten seeds.

    python benchmarks/ax_optimization.py [--seeds 10] [--time]

Forty trials of each problem of `ax_problems.py`, of which Ax's default strategy takes
the first five without a model, in three ways:

* "Ax": that strategy as it is, with BoTorch's default model and fit;
* "ours": `ScalarChoiceGP` with our fit (several starts) in its place;
* "chosen": the same, but after 10, 20 and 30 trials the model is chosen anew, by warm
  leave-one-out cross-validation of all trials (`compare_models`, `best_model_config`):
  that model with three degrees of priors, or BoTorch's default with our fit.

Nothing else is changed. A seed goes through all problems and ways before the next. Runs
are kept in `results/ax_optimization.jsonl`, where the next call goes on; the tables are
`results/ax_optimization.md`. With `--time` one seed is run anew, for the seconds alone,
into `results/ax_optimization_time.md`.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np
from ax.api.client import Client
from ax.generators.torch.botorch_modular.generator import BoTorchGenerator
from ax.generators.torch.botorch_modular.surrogate import ModelConfig, SurrogateSpec
from ax_problems import PROBLEMS
from fit_speed import RESULTS, machine

from botorch_xval.ax import ScalarChoiceGP, best_model_config, compare_models

TRIALS, SEEDS = 40, 10
CHECKS = (10, 20, 30, 40)  # trials after which ways are compared, models are chosen
WAYS = ("Ax", "ours", "chosen")
OURS = ModelConfig(botorch_model_class=ScalarChoiceGP, name="tight priors")
Run = dict[str, Any]


def client_of(problem: str, seed: int) -> Client:
    """A client with Ax's default strategy."""
    client = Client(random_seed=seed)
    client.configure_experiment(parameters=PROBLEMS[problem].parameters)
    client.configure_optimization(objective="-loss")
    client.configure_generation_strategy(initialization_random_seed=seed)
    return client


def set_model(client: Client, config: ModelConfig) -> None:
    """Put a model in the place of that of the strategy."""
    (spec,) = client._generation_strategy._nodes[-1].generator_specs
    spec.generator_kwargs["surrogate_spec"] = SurrogateSpec(model_configs=[config])


def choose(client: Client, trial: int) -> ModelConfig:
    """The model that predicts held-out trials best."""
    return best_model_config(compare_models(client, fit="warm", sizes=[trial]))


@contextmanager
def timed_fits(seconds: list[float]) -> Iterator[None]:
    """Within this context, fits add their seconds to the last of a list."""
    fit = BoTorchGenerator.fit

    def timed(self, *args, **kwargs):
        start = perf_counter()
        fit(self, *args, **kwargs)
        seconds[-1] += perf_counter() - start

    BoTorchGenerator.fit = timed
    try:
        yield
    finally:
        BoTorchGenerator.fit = fit


def run(problem: str, way: str, seed: int, trials: int = TRIALS) -> Run:
    """One optimization.

    Returns:
        By trial `values` without noise, and seconds for a suggestion with everything
        (`suggesting`) and for the fit in it (`fitting`); by the trial after which a
        model was chosen its name (`chosen`) and the seconds that took (`choosing`).
    """
    client, task = client_of(problem, seed), PROBLEMS[problem]
    values, suggesting, fitting = [], [], []
    chosen, choosing = {}, {}
    if way != "Ax":
        set_model(client, OURS)
    with timed_fits(fitting):
        for trial in range(1, trials + 1):
            fitting.append(0.0)
            start = perf_counter()
            ((index, parameters),) = client.get_next_trials(max_trials=1).items()
            suggesting.append(perf_counter() - start)
            values.append(task.value(parameters))
            observed = task.observe(values[-1], seed, trial)
            client.complete_trial(index, raw_data={"loss": observed})
            if way == "chosen" and trial in CHECKS and trial < trials:
                start = perf_counter()
                config = choose(client, trial)
                set_model(client, config)
                choosing[trial] = perf_counter() - start
                chosen[trial] = config.name
    result = {
        "problem": problem,
        "way": way,
        "seed": seed,
        "values": values,
        "suggesting": suggesting,
        "fitting": fitting,
        "chosen": chosen,
        "choosing": choosing,
    }
    return json.loads(json.dumps(result))  # as it will be read


def quartiles(values: Sequence[float]) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def paired(first: np.ndarray, second: np.ndarray) -> str:
    """The mean difference of two ways by seed, its standard error, and who wins."""
    difference = first - second
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    wins, ties = (difference < 0).sum(), (difference == 0).sum()
    text = f"{difference.mean():+.3f} ({error:.3f}), {wins} of {len(difference)}"
    return text + (f", {ties} equal" if ties else "")


def complete_seeds(runs: list[Run]) -> list[int]:
    """The seeds that have all problems and ways."""
    done = {(r["problem"], r["way"], r["seed"]) for r in runs}
    return sorted(
        seed
        for seed in {r["seed"] for r in runs}
        if all((p, w, seed) in done for p in PROBLEMS for w in WAYS)
    )


def best_values(runs: list[Run], problem: str, way: str, trial: int) -> np.ndarray:
    """By complete seed the best value so far."""
    by_seed = {
        r["seed"]: min(r["values"][:trial])
        for r in runs
        if r["problem"] == problem and r["way"] == way
    }
    return np.array([by_seed[seed] for seed in complete_seeds(runs)])


def values_table(runs: list[Run], problem: str) -> list[str]:
    pairs = [("ours", "Ax"), ("chosen", "Ax"), ("chosen", "ours")]
    heads = [
        "after trials",
        *(f"best value, {way}" for way in WAYS),
        *(f"{one} less {other}" for one, other in pairs),
    ]
    lines = [
        "",
        f"**{problem}** ({PROBLEMS[problem].what})",
        "",
        f"| {' | '.join(heads)} |",
    ]
    lines.append("|---" * len(heads) + "|")
    for trial in CHECKS:
        best = {way: best_values(runs, problem, way, trial) for way in WAYS}
        cells = [str(trial), *(quartiles(best[way]) for way in WAYS)]
        cells += [paired(best[one], best[other]) for one, other in pairs]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def choices_table(runs: list[Run]) -> list[str]:
    """How often each model was chosen."""
    lines = ["", "| chosen after trials | " + " | ".join(PROBLEMS) + " |"]
    lines.append("|---" * (len(PROBLEMS) + 1) + "|")
    for trial in map(str, CHECKS[:-1]):
        cells = []
        for problem in PROBLEMS:
            names = [r["chosen"].get(trial) for r in runs if r["problem"] == problem]
            names = [name for name in names if name]
            counted = {name: names.count(name) for name in sorted(set(names))}
            cells.append(", ".join(f"{name} {k}" for name, k in counted.items()))
        lines.append(f"| {trial} | {' | '.join(cells)} |")
    return lines


def seconds_table(runs: list[Run]) -> list[str]:
    heads = ["problem", "seconds per trial", *WAYS]
    lines = ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for problem in PROBLEMS:
        own = {
            w: [r for r in runs if r["problem"] == problem and r["way"] == w]
            for w in WAYS
        }
        for name in ("fitting", "suggesting"):
            cells = [
                f"{np.mean([s for r in own[w] for s in r[name][5:]]):.2f}" for w in WAYS
            ]
            label = "fit" if name == "fitting" else "fit and suggestion"
            lines.append(f"| {problem} | {label} | {' | '.join(cells)} |")
        chosen = [s for r in own["chosen"] for s in r["choosing"].values()]
        lines.append(f"| {problem} | choosing, each time | | | {np.mean(chosen):.2f} |")
    return lines


def table(runs: list[Run]) -> str:
    seeds = complete_seeds(runs)
    runs = [r for r in runs if r["seed"] in seeds]
    lines = [
        machine(),
        "",
        f"{len(seeds)} seeds. The best value so far, without noise (lower is better): "
        "median, and quartiles in brackets. Differences of the best values by seed: "
        "mean, its standard error in brackets, and the seeds where the first is lower.",
    ]
    for problem in PROBLEMS:
        lines += values_table(runs, problem)
    lines += choices_table(runs)
    lines += [
        "",
        "Mean seconds of trials with a model. Other work ran on the machine, and ways "
        "took turns: read them as ratios (`--time` takes them alone).",
    ]
    return "\n".join([*lines, *seconds_table(runs)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--time", action="store_true", help="one seed, for the seconds")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    path = RESULTS / "ax_optimization.jsonl"
    known = path.exists() and not args.time
    runs = [json.loads(line) for line in path.read_text().splitlines()] if known else []
    done = {(r["problem"], r["way"], r["seed"]) for r in runs}
    for seed in range(1 if args.time else args.seeds):
        for problem in PROBLEMS:
            for way in WAYS:
                if (problem, way, seed) in done:
                    continue
                runs.append(run(problem, way, seed))
                best, total = min(runs[-1]["values"]), sum(runs[-1]["suggesting"])
                print(f"{seed} {problem} {way}: {best:.4f}, {total:.0f} s", flush=True)
                if not args.time:
                    with path.open("a") as file:
                        file.write(json.dumps(runs[-1]) + "\n")
        if args.time:
            text = "\n".join([machine(), *seconds_table(runs)]) + "\n"
            (RESULTS / "ax_optimization_time.md").write_text(text)
        else:
            (RESULTS / "ax_optimization.md").write_text(table(runs))


if __name__ == "__main__":
    main()
