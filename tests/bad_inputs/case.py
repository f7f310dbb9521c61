"""What a case is, and valid things to spoil."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from botorch_xval import Comparison, CrossValidation, FitOptions, ModelSearch
from botorch_xval.comparison import LearningCurve, learning_curve
from botorch_xval.cross_validation import cross_validate, k_fold
from botorch_xval.fitting import fit_gpytorch_mll
from botorch_xval.models import default_model, first_specs

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Case:
    """A call that has to end in an error before any work."""

    of: str
    """What is called, by its path in the package: `data.encode_table`."""

    name: str
    """What is wrong."""

    call: Callable[..., Any]
    """The call, with an empty folder if it takes one."""

    expected: str
    """Of the message, as a regular expression: where, and what was expected."""

    got: str
    """What came."""

    do: str
    """What to do about it."""

    error: type[Exception] = ValueError

    def __str__(self) -> str:
        return f"{self.of}: {self.name}"


def table_of(of: str, *rows: tuple[Any, ...]) -> list[Case]:
    """The cases of one function."""
    return [Case(of, *row) for row in rows]


def inputs(n: int = 8, d: int = 2) -> Tensor:
    """Inputs, `n x d`."""
    rng = np.random.default_rng(0)
    return torch.tensor(rng.uniform(size=(n, d)))


def outcomes(n: int = 8, m: int = 1) -> Tensor:
    """Outcomes, `n x m`."""
    x = inputs(n, 2)
    return torch.stack([(5 * x[:, 0] + j).sin() + x[:, 1] for j in range(m)], dim=-1)


def spoiled(values: Tensor, value: float) -> Tensor:
    """The same with one wrong number."""
    values = values.clone()
    values[2, 0] = value
    return values


X, Y = inputs(), outcomes()
SHORT = FitOptions(starts="own")


@cache
def stepped() -> CrossValidation:
    """A cross-validation with influences, without refits."""
    return cross_validate(
        default_model,
        *(X, Y),
        fit="adaptive",
        threshold=INF,
        fit_options=SHORT,
        keep_models=True,
    )


@cache
def fixed() -> CrossValidation:
    """One at fixed hyper-parameters."""
    return cross_validate(default_model, X, Y, fit="fixed", fit_options=SHORT)


@cache
def refitted() -> CrossValidation:
    """One of refitted folds."""
    return cross_validate(default_model, X, Y, folds=k_fold(3), fit_options=SHORT)


@cache
def comparison(sizes: tuple[int, ...] = (10, 15, 20)) -> Comparison:
    """Of made-up scores."""
    rng, points, fits = np.random.default_rng(0), [], []
    for name in ("BoTorch default", "RBF, ARD, tight priors"):
        for size in sizes:
            where = {"configuration": name, "size": size, "replicate": 0, "round": 1}
            scores = {"row": np.arange(size), "log_density": rng.normal(size=size)}
            own = pd.DataFrame({**where, **scores, "squared_error": 1.0})
            points.append(own)
            counts = {"folds": size, "failed": 0, "evaluations": 9, "seconds": 0.1}
            fits.append({**where, **counts})
    return Comparison(pd.concat(points, ignore_index=True), pd.DataFrame(fits))


@cache
def search_found() -> ModelSearch:
    """Of made-up scores."""
    default, *others = first_specs(2)
    whole = comparison((20,))
    names = {whole.points.configuration.unique()[1]: others[0].name}
    points, fits = (
        frame.assign(configuration=frame.configuration.replace(names))
        for frame in (whole.points, whole.fits)
    )
    return ModelSearch(Comparison(points, fits), (default, others[0]))


@cache
def curve() -> LearningCurve:
    """The learning curve of made-up scores."""
    return learning_curve(comparison())


def mll() -> ExactMarginalLogLikelihood:
    """Of a model that was not fitted."""
    model = default_model(X, Y)
    return ExactMarginalLogLikelihood(model.likelihood, model)


@cache
def fitted() -> ExactMarginalLogLikelihood:
    """Of a fitted model."""
    return fit_gpytorch_mll(mll(), optimizer_kwargs={"starts": "own"})


def written(folder: Path, text: str | bytes, name: str = "table.csv") -> Path:
    """A file with this content."""
    path = folder / name
    content = text.encode() if isinstance(text, str) else text
    path.write_bytes(content)
    return path
