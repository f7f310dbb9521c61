"""Values of every kind, made anew at each call, for tests of fingerprints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any

import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import MaternKernel, PolynomialKernel, RBFKernel, ScaleKernel

from botorch_xval.cross_validation.folds import Folds, k_fold, leave_one_out
from botorch_xval.models.scalar_choice import PRIOR_CONFIGURATIONS, ScalarChoiceGP

WIDTH = 2.0


def with_global() -> float:
    return WIDTH


def factory(width: float) -> Callable[..., Any]:
    def model(x: Any, y: Any, scale: float = 1.0) -> Any:
        return inner(x) * width * scale

    def inner(x: Any) -> Any:
        return x if x in {"red", "green", "blue"} else model(x, x)  # refers back

    return model


def local_class(number: int) -> type:
    class Local(RBFKernel):
        limit = number

        def forward(self, x1: Any, x2: Any, **params: Any) -> Any:
            return super().forward(x1, x2, **params) * self.limit

    return Local


class Factory:
    def __init__(self, width: float) -> None:
        self.width, self.me = width, self

    def __call__(self, x: Any, y: Any) -> Any:
        return x * self.width


def decorated(factor: float) -> Callable[..., Any]:
    def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapper(x: Any) -> Any:
            return factor * function(x)

        return wrapper

    @decorator
    def model(x: Any) -> Any:
        return x

    return model


def local_dataclass(default: float) -> type:
    @dataclass
    class Options:
        width: float = default
        names: list[str] = field(default_factory=list)

    return Options


def pair(first: bool) -> Callable[[Any], Any]:
    return (lambda x: x + 1) if first else (lambda x: x + 2)  # one line


def kernel(value: float) -> RBFKernel:
    made = RBFKernel()
    made.lengthscale = value
    return made


# Equal within, different across.
MAKERS: dict[str, list[Callable[[], Any]]] = {
    "numbers": [lambda: 1, lambda: 1.0, lambda: True, lambda: None, lambda: "1"],
    "tensors": [
        lambda: torch.arange(3.0),
        lambda: torch.arange(3.0).double(),
        lambda: torch.arange(3.0).reshape(3, 1),
        lambda: torch.arange(3.0) + 1e-7,
        lambda: np.arange(3.0),
    ],
    "containers": [
        lambda: {"a": 1, "b": [2, (3,)]},
        lambda: {"a": 1, "b": [2, [3]]},
        lambda: {"a": 1, "b": [2, (3,)], "c": None},
        lambda: {"red", "green", "blue"},
        lambda: {"red", "green"},
    ],
    "partial": [
        lambda: partial(ScalarChoiceGP, choice_dims=[1], priors="tight"),
        lambda: partial(ScalarChoiceGP, choice_dims=[1], priors="loose"),
        lambda: partial(ScalarChoiceGP, choice_dims=[1, 2], priors="tight"),
        lambda: partial(SingleTaskGP),
        lambda: ScalarChoiceGP,
    ],
    "closures": [lambda: factory(1.0), lambda: factory(2.0), lambda: k_fold(3)],
    "lambdas": [
        lambda: lambda x: x + 1,
        lambda: lambda x: x + 2,
        lambda: lambda x: x - 1,
        lambda: lambda x, y=1: x + 1,
        lambda: lambda x: x.mean,
        lambda: lambda x: x.sum,
    ],
    "classes": [lambda: local_class(1), lambda: local_class(2), lambda: MaternKernel],
    "decorated": [lambda: decorated(1.0), lambda: decorated(2.0)],
    "dataclass types": [lambda: local_dataclass(1.0), lambda: local_dataclass(2.0)],
    "lambdas of one line": [lambda: pair(True), lambda: pair(False)],
    "modules": [lambda: kernel(0.3), lambda: kernel(0.4), lambda: MaternKernel()],
    "settings of modules": [
        lambda: MaternKernel(nu=0.5),
        lambda: MaternKernel(nu=1.5),
        lambda: ScaleKernel(MaternKernel(nu=0.5)),
        lambda: ScaleKernel(MaternKernel(nu=1.5)),
        lambda: PolynomialKernel(2),
        lambda: PolynomialKernel(3),
        lambda: Standardize(1),
        lambda: Standardize(1, min_stdv=0.1),
        lambda: GreaterThan(0.1),
        lambda: GreaterThan(0.1, transform=torch.exp, inv_transform=torch.log),
    ],
    "dataclasses": [
        lambda: leave_one_out(4),
        lambda: leave_one_out(5),
        lambda: Folds(torch.eye(4, dtype=torch.bool), list("abcd")),
        lambda: PRIOR_CONFIGURATIONS["tight"],
        lambda: PRIOR_CONFIGURATIONS["loose"],
    ],
    "methods": [lambda: kernel(0.3).forward, lambda: kernel(0.4).forward],
    "factories": [lambda: Factory(1.0), lambda: Factory(2.0), lambda: Factory],
    "objects": [lambda: object(), lambda: torch.float64, lambda: torch.device("cpu")],
}
