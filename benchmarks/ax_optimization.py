"""A real optimization in Ax: its default model and fit against ours, over ten seeds.

    python benchmarks/ax_optimization.py

Tunes scikit-learn's MLPClassifier on its bundled digits: five scalars, four of them
logarithmic, and two choices of three values; forty trials, of which Ax's default
strategy takes the first few from a Sobol sequence. "Ax" is that strategy as it is;
"ours" has `ScalarChoiceGP` with our fit in its place and nothing else changed. The
objective is the natural logarithm of the log loss of held-out digits, in
cross-validation with three folds of 600 digits.

After 10, 20, 30 and 40 trials each strategy's adapter is cross-validated with refits,
by Ax's loop and by ours. Runs are kept in `results/ax_optimization.jsonl`, where the
next call goes on; the table is `results/ax_optimization.md`.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from time import perf_counter
from typing import Any

import numpy as np
from ax.adapter.cross_validation import cross_validate as ax_cross_validate
from ax.adapter.registry import Generators
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.generation_strategy.generator_spec import GeneratorSpec
from ax.generators.torch.botorch_modular.generator import BoTorchGenerator
from ax.generators.torch.botorch_modular.surrogate import ModelConfig, SurrogateSpec
from fit_speed import RESULTS, machine
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier

from botorch_xval.ax import RefitGenerators, ScalarChoiceGP, cross_validate

TRIALS, SEEDS = 40, 10
CHECKS = (10, 20, 30, 40)  # trials after which the model is cross-validated
PARAMETERS = [
    RangeParameterConfig(
        name="learning_rate",
        bounds=(1e-4, 1e-1),
        parameter_type="float",
        scaling="log",
    ),
    RangeParameterConfig(
        name="alpha", bounds=(1e-6, 1e1), parameter_type="float", scaling="log"
    ),
    RangeParameterConfig(
        name="width", bounds=(4, 128), parameter_type="int", scaling="log"
    ),
    RangeParameterConfig(
        name="batch_size", bounds=(8, 256), parameter_type="int", scaling="log"
    ),
    RangeParameterConfig(name="momentum", bounds=(0.0, 0.99), parameter_type="float"),
    ChoiceParameterConfig(
        name="activation",
        values=["relu", "tanh", "logistic"],
        parameter_type="str",
        is_ordered=False,
    ),
    ChoiceParameterConfig(
        name="optimizer",
        values=["adam", "sgd", "sgd, invscaling"],
        parameter_type="str",
        is_ordered=False,
    ),
]


def objective(parameters: dict[str, Any]) -> float:
    """Logarithm of the held-out log loss of a small neural network."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:600] / 16.0, y[:600]
    solver, _, schedule = parameters["optimizer"].partition(", ")
    losses = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(X, y):
        model = MLPClassifier(
            hidden_layer_sizes=(int(parameters["width"]),),
            activation=parameters["activation"],
            solver=solver,
            learning_rate=schedule or "constant",
            learning_rate_init=parameters["learning_rate"],
            alpha=parameters["alpha"],
            batch_size=int(parameters["batch_size"]),
            momentum=parameters["momentum"],
            max_iter=15,
            random_state=0,
        )
        model.fit(X[train], y[train])
        probabilities = model.predict_proba(X[test])
        losses.append(log_loss(y[test], probabilities, labels=range(10)))
    return float(np.log(np.mean(losses)))


def client_of(way: str, seed: int) -> Client:
    """A client with Ax's default strategy; for "ours" with our model in it."""
    client = Client(random_seed=seed)
    client.configure_experiment(parameters=PARAMETERS)
    client.configure_optimization(objective="-loss")
    client.configure_generation_strategy(initialization_random_seed=seed)
    if way == "ours":
        config = ModelConfig(botorch_model_class=ScalarChoiceGP)
        spec = SurrogateSpec(model_configs=[config])
        for node in client._generation_strategy._nodes:
            for i, own in enumerate(node.generator_specs):
                if own.generator_enum is Generators.BOTORCH_MODULAR:
                    node.generator_specs[i] = GeneratorSpec(
                        generator_enum=RefitGenerators.BOTORCH_MODULAR,
                        generator_kwargs={
                            **own.generator_kwargs,
                            "surrogate_spec": spec,
                        },
                    )
    return client


def run(way: str, seed: int) -> dict[str, Any]:
    """One optimization: values, and seconds by trial."""
    fits: list[float] = []
    fit = BoTorchGenerator.fit

    def timed(self, *args, **kwargs):
        start = perf_counter()
        fit(self, *args, **kwargs)
        fits[-1] += perf_counter() - start

    BoTorchGenerator.fit = timed
    client, values, suggesting, checks = client_of(way, seed), [], [], {}
    try:
        for trial in range(1, TRIALS + 1):
            fits.append(0.0)
            start = perf_counter()
            ((index, parameters),) = client.get_next_trials(max_trials=1).items()
            suggesting.append(perf_counter() - start)
            values.append(objective(parameters))
            client.complete_trial(index, raw_data={"loss": values[-1]})
            if trial in CHECKS:
                checks[trial] = check(client, way)
    finally:
        BoTorchGenerator.fit = fit
    return {
        "values": values,
        "suggesting": suggesting,
        "fitting": fits,
        "cross-validating": checks,
    }


def check(client: Client, way: str) -> float:
    """Seconds of a refit cross-validation of the client's present model."""
    client._generation_strategy.current_node._fit(experiment=client._experiment)
    adapter = client._generation_strategy.adapter
    adapter.generator.refit_on_cv = True
    start = perf_counter()
    (cross_validate if way == "ours" else ax_cross_validate)(adapter)
    return perf_counter() - start


def table(runs: list[dict[str, Any]]) -> str:
    def quartiles(values: list[float]) -> str:
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        return f"{middle:.3f} ({low:.3f} to {high:.3f})"

    ways = ("Ax", "ours")
    both = set.intersection(*({r["seed"] for r in runs if r["way"] == w} for w in ways))
    own = {w: [r for r in runs if r["way"] == w and r["seed"] in both] for w in ways}
    lines = [
        machine(),
        "",
        f"{len(both)} seeds; medians, and quartiles in brackets.",
        "",
        "| after trials | best loss, Ax | ours | seeds where ours is better "
        "| cross-validation, Ax, s | ours, s |",
        "|---|---|---|---|---|---|",
    ]
    for trial in (8, *CHECKS):
        best = {w: {r["seed"]: min(r["values"][:trial]) for r in own[w]} for w in ways}
        wins = sum(best["ours"][seed] < best["Ax"][seed] for seed in both)
        cells = [str(trial), *(quartiles(list(best[w].values())) for w in ways)]
        cells.append(f"{wins} of {len(both)}")
        for w in ways:
            seconds = [
                r["cross-validating"][str(trial)] for r in own[w] if trial in CHECKS
            ]
            cells.append(f"{np.median(seconds):.2f}" if seconds else "")
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| seconds per trial, with a model | Ax | ours |", "|---|---|---|"]
    for name, label in (("fitting", "fitting"), ("suggesting", "fit and suggestion")):
        cells = [
            f"{np.median([s for r in own[w] for s in r[name][10:]]):.2f}" for w in ways
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    path = RESULTS / "ax_optimization.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    runs = [json.loads(line) for line in lines]
    for seed in range(args.seeds):
        for way in ("Ax", "ours"):
            if any((r["way"], r["seed"]) == (way, seed) for r in runs):
                continue
            # Through JSON, so that what was read and what is new are alike.
            text = json.dumps({"way": way, "seed": seed, **run(way, seed)})
            runs.append(json.loads(text))
            with path.open("a") as file:
                file.write(text + "\n")
            best = min(runs[-1]["values"])
            print(f"seed {seed}, {way}: best {best:.4f}", flush=True)
        (RESULTS / "ax_optimization.md").write_text(table(runs))


if __name__ == "__main__":
    main()
