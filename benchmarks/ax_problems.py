"""Problems of mixed scalars and choices to optimize in Ax, for `ax_optimization.py`.

* "digits": the held-out loss of scikit-learn's MLPClassifier on its bundled digits.
* "Suzuki": the yield of a Suzuki-Miyaura coupling, emulated by extremely randomized
  trees, which are no Gaussian process, from the 96 experiments in `data/suzuki.csv`;
  with the noise that repeated experiments have.
* "Ackley": Ackley's function of three scalars and two choices of five values, with
  noise.

Nothing in the package was chosen on the last two. Priors and kernel of `ScalarChoiceGP`
were chosen on trials of neural networks, and the first is a problem of that kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

__all__ = ["PROBLEMS", "Problem", "emulator", "experiments", "replicate_deviation"]

Parameters = Mapping[str, Any]
SUZUKI = Path(__file__).parent / "data" / "suzuki.csv"
ACKLEY = 0.1  # standard deviation of the noise


@dataclass(frozen=True)
class Problem:
    """Something to minimize."""

    what: str
    """In words, with what is known of its minimum."""

    parameters: list[RangeParameterConfig | ChoiceParameterConfig]

    value: Callable[[Parameters], float]
    """Without noise."""

    noise: Callable[[], float] = lambda: 0.0
    """Its standard deviation."""

    def observe(self, value: float, seed: int, trial: int) -> float:
        """A value with noise: of the same seed and trial the same noise in all ways."""
        draw = np.random.default_rng([seed, trial]).standard_normal()
        return value + self.noise() * draw


def scalar(
    name: str, low: float, high: float, scaling: str = "linear", kind: str = "float"
) -> RangeParameterConfig:
    return RangeParameterConfig(
        name=name, bounds=(low, high), parameter_type=kind, scaling=scaling
    )


def choice(name: str, values: list[str]) -> ChoiceParameterConfig:
    return ChoiceParameterConfig(
        name=name, values=values, parameter_type="str", is_ordered=False
    )


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X[:600] / 16.0, y[:600]


def digits_loss(parameters: Parameters) -> float:
    """Logarithm of the held-out log loss of a small neural network."""
    X, y = _digits()
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


@cache
def experiments() -> pd.DataFrame:
    """The measured yields, see the head of the file."""
    return pd.read_csv(SUZUKI, comment="#")


@cache
def replicate_deviation() -> float:
    """Standard deviation of a yield, in %, pooled over repeated experiments."""
    table = experiments()
    groups = table.groupby(list(table.columns[:-1]))["yield"]
    repeated = groups.var().dropna()
    freedom = groups.size()[repeated.index] - 1
    return math.sqrt((repeated * freedom).sum() / freedom.sum())


def emulator() -> Pipeline:
    """Predicts yields; not fitted."""
    encoder = make_column_transformer(
        (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["catalyst"]),
        remainder="passthrough",
    )
    return make_pipeline(encoder, ExtraTreesRegressor(300, random_state=0))


@cache
def _fitted() -> Pipeline:
    table = experiments()
    return emulator().fit(table.drop(columns="yield"), table["yield"])


def missing_yield(parameters: Parameters) -> float:
    """100 % less the emulated yield."""
    return 100.0 - float(_fitted().predict(pd.DataFrame([dict(parameters)]))[0])


LEVELS = {"a": -1.0, "b": -0.5, "c": 0.0, "d": 0.5, "e": 1.0}
OPTIMUM = {"u": 0.31, "v": -0.42, "w": 0.17, "first": "d", "second": "b"}


def ackley(parameters: Parameters) -> float:
    r"""Ackley's function, whose minimum is 0 at `OPTIMUM`.

    With the distances :math:`z` from there, where values of choices are numbers that no
    model is told,

    .. math:: 20 - 20 e^{-0.2 \sqrt{\sum z_j^2 / 5}} + e - e^{\sum \cos(2 \pi z_j) / 5}.

    Ru et al. (2020, "Bayesian Optimisation over Multiple Continuous and Categorical
    Inputs") make choices of some of its inputs, and so does BoTorch's `AckleyMixed`.
    """
    z = np.array(
        [
            LEVELS.get(parameters[name], parameters[name]) - LEVELS.get(best, best)
            for name, best in OPTIMUM.items()
        ]
    )
    bowl = 20 - 20 * math.exp(-0.2 * math.sqrt(np.mean(z**2)))
    return bowl + math.e - math.exp(np.mean(np.cos(2 * np.pi * z)))


PROBLEMS = {
    "digits": Problem(
        "logarithm of the held-out log loss",
        [
            scalar("learning_rate", 1e-4, 1e-1, "log"),
            scalar("alpha", 1e-6, 1e1, "log"),
            scalar("width", 4, 128, "log", "int"),
            scalar("batch_size", 8, 256, "log", "int"),
            scalar("momentum", 0.0, 0.99),
            choice("activation", ["relu", "tanh", "logistic"]),
            choice("optimizer", ["adam", "sgd", "sgd, invscaling"]),
        ],
        digits_loss,
    ),
    "Suzuki": Problem(
        "100 % less the emulated yield; the lowest on fine grids is 1.9",
        [
            scalar("time", 60.0, 600.0, "log"),
            scalar("temperature", 30.0, 110.0),
            scalar("loading", 0.498, 2.515),
            choice("catalyst", [*(f"P1-L{k}" for k in range(1, 8)), "P2-L1"]),
        ],
        missing_yield,
        replicate_deviation,
    ),
    "Ackley": Problem(
        "the minimum is 0",
        [
            *(scalar(name, -1.0, 1.0) for name in ("u", "v", "w")),
            choice("first", list(LEVELS)),
            choice("second", list(LEVELS)),
        ],
        ackley,
        lambda: ACKLEY,
    ),
}
