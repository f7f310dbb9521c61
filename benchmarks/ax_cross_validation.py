"""Refit cross-validation in Ax: its own loop against one batched fit.

    python benchmarks/ax_cross_validation.py

Both have the same models, folds and starts (the fit of all data, Ax's default), and
each is timed in turn on the same fitted adapter, in the default environment. "Ax" is
Ax's loop with BoTorch's fit (SingleTaskGP); "Ax, our fit" the same loop with ours
(IndependentSingleTaskGP), "ours" `botorch_xval.ax.cross_validate`. Results are kept in
`results/ax_cross_validation.jsonl`, where the next call goes on; the table is
`results/ax_cross_validation.md`.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from time import perf_counter

import numpy as np
from ax.adapter.cross_validation import CVResult
from ax.adapter.cross_validation import cross_validate as ax_cross_validate
from ax.adapter.registry import Generators
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.generation_strategy.generation_node import GenerationNode
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.generation_strategy.generator_spec import GeneratorSpec
from ax.generators.torch.botorch_modular.surrogate import ModelConfig, SurrogateSpec
from botorch.models import SingleTaskGP
from fit_speed import RESULTS, machine

from botorch_xval.ax import IndependentSingleTaskGP, cross_validate

PARAMETERS = [
    *(
        RangeParameterConfig(name=f"x{i}", bounds=(0.0, 1.0), parameter_type="float")
        for i in range(4)
    ),
    *(
        ChoiceParameterConfig(
            name=f"c{i}", values=["a", "b", "c"], parameter_type="str", is_ordered=False
        )
        for i in range(2)
    ),
]


def fitted_adapter(model_class: type, arms: int, metrics: int):
    """An adapter fitted to a noisy function of four scalars and two choices."""
    client = Client(random_seed=0)
    client.configure_experiment(parameters=PARAMETERS)
    names = [f"m{k}" for k in range(metrics)]
    client.configure_optimization(
        objective=f"-{names[0]}", outcome_constraints=[f"{n} <= 3" for n in names[1:]]
    )
    spec = SurrogateSpec(model_configs=[ModelConfig(botorch_model_class=model_class)])
    generator = GeneratorSpec(
        generator_enum=Generators.BOTORCH_MODULAR,
        generator_kwargs={"surrogate_spec": spec},
    )
    node = GenerationNode(name="BO", generator_specs=[generator])
    client.set_generation_strategy(GenerationStrategy(name="BO", nodes=[node]))
    rng = np.random.default_rng(0)
    for _ in range(arms):
        x = rng.uniform(size=4)
        choices = rng.choice(["a", "b", "c"], size=2)
        data = {}
        for k, name in enumerate(names):
            value = np.sin(3 * x[0] + k) + x[1] ** 2 + 0.5 * (choices[0] == "b") * x[2]
            data[name] = float(value + 0.1 * rng.normal())
        index = client.attach_trial(
            parameters={f"x{i}": float(v) for i, v in enumerate(x)}
            | {f"c{i}": str(v) for i, v in enumerate(choices)}
        )
        client.complete_trial(trial_index=index, raw_data=data)
    client.get_next_trials(max_trials=1)
    adapter = client._generation_strategy.adapter
    adapter.generator.refit_on_cv = True
    return adapter


def mean_log_density(results: list[CVResult]) -> float:
    """Of the observed means, over folds and metrics."""
    values = [
        -0.5 * ((o - p) ** 2 / v + np.log(2 * np.pi * v))
        for r in results
        for o, p, v in zip(
            r.observed.data.means,
            r.predicted.means,
            r.predicted.covariance.diagonal(),
            strict=True,
        )
    ]
    return float(np.mean(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", type=int, default=[12, 30, 60, 100])
    parser.add_argument("--metrics", nargs="+", type=int, default=[1, 3])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    ways = {
        "Ax": (SingleTaskGP, ax_cross_validate),
        "Ax, our fit": (IndependentSingleTaskGP, ax_cross_validate),
        "ours": (IndependentSingleTaskGP, cross_validate),
    }
    path = RESULTS / "ax_cross_validation.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    done = [json.loads(line) for line in lines]
    for metrics in args.metrics:
        for arms in args.arms:
            key = {"arms": arms, "metrics": metrics}
            if any({k: row[k] for k in key} == key for row in done):
                continue
            row = dict(key)
            for way, (model_class, function) in ways.items():
                adapter = fitted_adapter(model_class, arms, metrics)
                start = perf_counter()
                results = function(adapter, use_posterior_predictive=True)
                row[way] = perf_counter() - start
                row[f"log density, {way}"] = mean_log_density(results)
            done.append(row)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            (RESULTS / "ax_cross_validation.md").write_text(table(done))
            print(row, flush=True)


def table(rows: list[dict[str, float]]) -> str:
    lines = [
        machine(),
        "",
        "| arms | metrics | Ax, s | Ax, our fit, s | ours, s | Ax / ours "
        "| log density, Ax | ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["metrics"], row["arms"])):
        cells = [str(row["arms"]), str(row["metrics"])]
        cells += [f"{row[way]:.2f}" for way in ("Ax", "Ax, our fit", "ours")]
        cells.append(f"{row['Ax'] / row['ours']:.1f}")
        cells += [f"{row[f'log density, {way}']:.4f}" for way in ("Ax", "ours")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
