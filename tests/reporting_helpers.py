"""Models to describe, the meaning of the words of a formula, and artists of plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms.input import InputTransform
from botorch.models.transforms.outcome import OutcomeTransform
from botorch.optim.core import OptimizationStatus
from gpytorch.kernels import Kernel, RBFKernel
from gpytorch.means import Mean
from helpers import noisy_waves
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from torch import Tensor

from botorch_xval import FitRecord
from botorch_xval.reporting.expressions.tree import Description

NAMES = ["a", "b", "c", "p=1", "p=2", "t"]  # three scalars, a one-hot choice, a task


def inputs(n: int = 7) -> Tensor:
    """Points with the columns `NAMES`, `n x 6`."""
    generator = torch.Generator().manual_seed(0)
    scalars = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    choice = torch.nn.functional.one_hot(torch.arange(n) % 2, 2)
    return torch.cat([scalars, choice, (torch.arange(n) % 3).unsqueeze(-1)], dim=-1)


def with_round_values(module: Any, seed: int = 0) -> Any:
    """The module with constrained parameters of two decimals, all of them different."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    for _, parameter, constraint in module.named_parameters_and_constraints():
        values = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        values = (0.25 + 0.5 * values).round(decimals=2)
        if constraint is not None:
            values = constraint.inverse_transform(values)
        parameter.data = values
    return module


def gp(kernel: Kernel | None = None, mean: Mean | None = None) -> SingleTaskGP:
    x, kernel = inputs(), kernel or RBFKernel()
    y = x.sum(dim=-1, keepdim=True).sin()
    return SingleTaskGP(
        x, y, covar_module=kernel, mean_module=mean, outcome_transform=None
    )


def formula(description: Description, announced_by: str = "Covariance") -> str:
    """The indented lines below a line."""
    lines = str(description).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(announced_by))
    found = []
    for line in lines[start + 1 :]:
        if not line.startswith(" "):
            break
        found.append(line)
    return "\n".join(found)


def evaluate(text: str, names: Sequence[str], x: Tensor, z: Tensor) -> float:
    """A printed formula at a pair of points, by what `describe` says of its words."""
    at = {name: (x[i].item(), z[i].item()) for i, name in enumerate(names)}
    scope = {
        "compare": lambda name: abs(at[name][0] - at[name][1]),
        "differ": lambda *group: float(any(at[n][0] != at[n][1] for n in group)),
        "multiply": lambda name: at[name][0] * at[name][1],
        "value": lambda name: at[name][0],
        "lookup": lambda name, table: table[tuple(sorted(map(int, at[name])))],
        "norm_l1": lambda terms: sum(map(abs, terms)),
        "norm_l2": lambda terms: math.hypot(*terms),
        "mean": fmean,
        "prod": math.prod,
        "rbf": lambda r: math.exp(-(r**2) / 2),
        "matern_05": lambda r: math.exp(-r),
        "matern_15": lambda r: (1 + 3**0.5 * r) * math.exp(-(3**0.5) * r),
        "matern_25": lambda r: (
            (1 + 5**0.5 * r + 5 * r**2 / 3) * math.exp(-(5**0.5) * r)
        ),
        "rational_quadratic": lambda r, alpha: (1 + r**2 / (2 * alpha)) ** -alpha,
        "inverse_multiquadric": lambda r, alpha, beta: (
            ((1 + alpha) / (alpha + r)) ** beta
        ),
        **{name: getattr(math, name) for name in ("exp", "sin", "cos", "pi")},
    }
    return eval(f"(\n{text}\n)", scope)


def numbers(description: Description, kind: str) -> list[tuple[float, ...]]:
    return [v.numbers for v in description.values() if v.kind == kind]


def unit_waves(n: int = 7) -> tuple[Tensor, Tensor]:
    """Inputs in the unit square and positive outcomes."""
    x, y = noisy_waves(n)
    return (x + 5.0) / torch.tensor([1.0, 100.0], dtype=torch.float64), y.exp() ** 0.05


def model_with(
    input_transform: InputTransform | None = None,
    outcome_transform: OutcomeTransform | None = None,
) -> SingleTaskGP:
    return SingleTaskGP(
        *unit_waves(),
        input_transform=input_transform,
        outcome_transform=outcome_transform,
        covar_module=RBFKernel(),
    )


PLAIN = {"covar_module": RBFKernel(), "outcome_transform": None}


def record(*losses: float, evaluations: int = 5) -> FitRecord:
    success = OptimizationStatus.SUCCESS
    return FitRecord(losses, evaluations, len(losses) - 1, success, "", 0.1, 1)


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def lines_of_color(ax: Axes, color: str) -> list[np.ndarray]:
    return [
        np.column_stack(line.get_data())
        for line in ax.lines
        if to_rgba(line.get_color()) == to_rgba(color)
    ]


def dots(ax: Axes) -> np.ndarray:
    """All points drawn as single marks, `k x 2`."""
    found = [
        np.column_stack(line.get_data())
        for line in ax.lines
        if line.get_marker() in ("o", ".") and line.get_linestyle() == "None"
    ]
    return np.concatenate(found) if found else np.empty((0, 2))


def sorted_rows(values: np.ndarray) -> np.ndarray:
    return values[np.lexsort(values.T)]
