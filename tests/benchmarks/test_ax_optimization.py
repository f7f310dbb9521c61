"""The benchmark of optimizations: problems, models and tables, each by other means."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from botorch.test_functions import Ackley
from helpers import assert_close

pytest.importorskip("ax")
pytest.importorskip("sklearn")

from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.model_selection import cross_val_score as sklearn_score
from sklearn.neural_network import MLPClassifier

from botorch_xval import cross_validate
from botorch_xval.ax import (
    IndependentSingleTaskGP,
    ScalarChoiceGP,
    encode_experiment,
    model_configs,
)
from botorch_xval.models.configurations import default_configurations

FOLDER = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.filterwarnings("default")  # Ax's and scikit-learn's own


def script(name: str) -> ModuleType:
    sys.path.insert(0, str(FOLDER))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


problems = script("ax_problems")
benchmark = script("ax_optimization")


def test_ackley_is_botorchs_function_moved_to_its_optimum():
    assert_close(problems.ackley(problems.OPTIMUM), 0.0)
    function = Ackley(5, dtype=torch.float64)
    random = np.random.default_rng(0)
    names = list(problems.LEVELS)
    for _ in range(5):
        point = dict(zip("uvw", random.uniform(-1, 1, 3), strict=True))
        point |= {"first": random.choice(names), "second": random.choice(names)}
        levels = [problems.LEVELS[point[name]] for name in ("first", "second")]
        x = np.array([point["u"], point["v"], point["w"], *levels])
        z = torch.tensor(x - [0.31, -0.42, 0.17, 0.5, -0.5])
        assert_close(problems.ackley(point), function(z[None]).item())


def test_digits_are_scored_as_by_scikit_learn():
    point = {"learning_rate": 0.01, "alpha": 1e-3, "width": 8, "batch_size": 200}
    point |= {"momentum": 0.5, "activation": "tanh", "optimizer": "sgd, invscaling"}
    model = MLPClassifier(
        (8,),
        "tanh",
        solver="sgd",
        learning_rate="invscaling",
        learning_rate_init=0.01,
        alpha=1e-3,
        batch_size=200,
        momentum=0.5,
        max_iter=15,
        random_state=0,
    )
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    scores = sklearn_score(model, *problems._digits(), cv=folds, scoring="neg_log_loss")
    assert_close(problems.digits_loss(point), np.log(-scores.mean()))


def test_the_emulator_has_the_measured_yields_and_predicts_others():
    table = problems.experiments()
    X, y = table.drop(columns="yield"), table["yield"].to_numpy()
    assert len(table) == 96 and X.catalyst.nunique() == 8
    once = ~X.duplicated(keep=False).to_numpy()
    for i in np.flatnonzero(once)[::10]:
        found = problems.missing_yield(X.iloc[i].to_dict())
        assert_close(found, 100 - y[i])
    folds = KFold(5, shuffle=True, random_state=0)
    held_out = cross_val_predict(problems.emulator(), X, y, cv=folds)
    assert r2_score(y, held_out) > 0.8


def test_noise_is_that_of_repeated_experiments_and_the_same_in_all_ways():
    table = problems.experiments()
    squares = freedom = 0.0
    for _, group in table.groupby(list(table.columns[:-1])):
        squares += group["yield"].var(ddof=0) * len(group)
        freedom += len(group) - 1
    deviation = np.sqrt(squares / freedom)
    assert_close(problems.replicate_deviation(), deviation)
    observe = problems.PROBLEMS["Suzuki"].observe
    noise = np.array([[observe(0.0, s, t) for t in range(40)] for s in range(10)])
    assert abs(noise.std() / deviation - 1) < 0.1
    assert observe(5.0, 3, 7) - 5.0 == pytest.approx(noise[3, 7])
    assert len(np.unique(noise)) == noise.size
    assert problems.PROBLEMS["digits"].observe(1.0, 3, 7) == 1.0


def test_a_strategy_gets_the_model_that_predicts_best():
    client = benchmark.client_of("Ackley", 0)
    random = np.random.default_rng(1)
    names = list(problems.LEVELS)
    for trial in range(1, 10):
        point = dict(zip("uvw", random.uniform(-1, 1, 3).tolist(), strict=True))
        point |= {"first": names[trial % 5], "second": names[trial % 3]}
        index = client.attach_trial(point)
        loss = problems.PROBLEMS["Ackley"].observe(problems.ackley(point), 0, trial)
        client.complete_trial(index, raw_data={"loss": loss})
    table = encode_experiment(client).table
    scores = {
        name: cross_validate(model, table.X, table.Y, fit="warm").elpd
        for name, model in default_configurations(table.choice_dims).items()
    }
    chosen = benchmark.choose(client, 9)
    assert chosen.name == max(scores, key=scores.get)

    default = model_configs()["BoTorch default"]
    for config, kind in (
        (benchmark.OURS, ScalarChoiceGP),
        (default, IndependentSingleTaskGP),
    ):
        benchmark.set_model(client, config)
        node = client._generation_strategy._nodes[-1]
        node._fit(experiment=client._experiment)
        adapter = node.generator_specs[0].fitted_adapter
        assert type(adapter.generator.surrogate.model) is kind


def test_a_run_notes_every_trial(monkeypatch):
    monkeypatch.setattr(benchmark, "CHECKS", (5, 6))
    row = benchmark.run("Ackley", "chosen", 0, trials=6)
    assert len(row["values"]) == len(row["suggesting"]) == len(row["fitting"]) == 6
    assert row["fitting"][:5] == [0.0] * 5 and 0 < row["fitting"][5]
    assert list(row["chosen"]) == list(row["choosing"]) == ["5"]
    assert row["chosen"]["5"] in model_configs()


def test_tables_pair_the_ways_by_seed():
    random = np.random.default_rng(0)

    def made(problem: str, way: str, seed: int) -> dict:
        return {
            "problem": problem,
            "way": way,
            "seed": seed,
            "values": random.normal(size=40).tolist(),
            "suggesting": [0.0] * 5 + [2.0] * 35,
            "fitting": [0.0] * 5 + [0.25] * 35,
            "chosen": {"10": "tight priors"} if way == "chosen" else {},
            "choosing": {"10": 3.0} if way == "chosen" else {},
        }

    runs = [
        made(problem, way, seed)
        for seed in range(4)
        for problem in problems.PROBLEMS
        for way in benchmark.WAYS
    ][:-1]
    assert benchmark.complete_seeds(runs) == [0, 1, 2]

    def best(way: str) -> np.ndarray:
        return np.array(
            [
                min(r["values"][:20])
                for r in runs
                if (r["problem"], r["way"]) == ("Suzuki", way) and r["seed"] < 3
            ]
        )

    text = benchmark.table(runs)
    assert "\n3 seeds." in text
    difference = best("ours") - best("Ax")
    error = np.std(difference, ddof=1) / 3**0.5
    expected = f"{difference.mean():+.3f} ({error:.3f}), {(difference < 0).sum()} of 3"
    lines = text.partition("**Suzuki** (")[2].splitlines()
    (line,) = [line for line in lines[:8] if line.startswith("| 20 |")]
    assert expected == line.split(" | ")[4]
    assert f"{np.median(best('Ax')):.3f} (" in line.split(" | ")[1]
    assert "| 10 | tight priors 3 | tight priors 3 | tight priors 3 |" in text
    assert "| Ackley | fit | 0.25 | 0.25 | 0.25 |" in text
    assert "| Ackley | choosing, each time | | | 3.00 |" in text
    same = np.array([1.0, 2.0, 3.0])
    assert benchmark.paired(same, same) == "+0.000 (0.000), 0 of 3, 3 equal"
