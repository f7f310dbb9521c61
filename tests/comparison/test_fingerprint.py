"""Fingerprints: equal for what is equal, in any process, and other for what is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from gpytorch.kernels import MaternKernel, RBFKernel

from botorch_xval.comparison.fingerprint import fingerprint
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


def kernel(value: float) -> RBFKernel:
    made = RBFKernel()
    made.lengthscale = value
    return made


# Pairs that are made anew for each fingerprint: equal within, different across.
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
    "modules": [lambda: kernel(0.3), lambda: kernel(0.4), lambda: MaternKernel()],
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


@pytest.mark.parametrize("makers", MAKERS.values(), ids=MAKERS)
def test_equal_for_equal_values_only(makers):
    found = [fingerprint(make()) for make in makers]
    assert len(set(found)) == len(found)
    assert [fingerprint(make()) for make in makers] == found


def test_shared_and_equal_parts_are_the_same():
    part = (1.5, "text")
    assert fingerprint([part, part]) == fingerprint([(1.5, "text"), (1.5, "text")])


def test_a_changed_global_number_is_seen(monkeypatch):
    before = fingerprint(with_global)
    monkeypatch.setitem(globals(), "WIDTH", 3.0)
    assert fingerprint(with_global) != before


def test_equal_in_another_process():
    script = (
        "import test_fingerprint as t; from botorch_xval.comparison.fingerprint import "
        "fingerprint as f; print(*[f(m()) for ms in t.MAKERS.values() for m in ms])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent,
        env={"PYTHONHASHSEED": "5", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert found == [fingerprint(m()) for ms in MAKERS.values() for m in ms]
