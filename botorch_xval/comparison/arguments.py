"""What the arguments of a comparison may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from botorch.models.model import Model
from numpy.typing import ArrayLike
from torch import Tensor

from botorch_xval.cross_validation.arguments import check_model, noise_of
from botorch_xval.models.checks import check_type, wrong

__all__ = [
    "check_clusters",
    "check_configurations",
    "check_places",
    "check_scores",
    "check_sizes",
]


def check_configurations(
    configurations: Mapping[str, Callable[..., Model]],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None,
) -> None:
    """Raise a ValueError unless these are functions that build models, by name."""
    remedy = 'pass functions that build models by name, {"default": SingleTaskGP}'
    check_type("configurations", configurations, Mapping, remedy)
    if not configurations:
        raise wrong("configurations", "at least one", "none", remedy)
    for name, model in configurations.items():
        if not isinstance(name, str):
            raise wrong("configurations", "names as text", repr(name), remedy)
        where = f"configurations: {name!r}: model"
        noise: Any = noise_of(train_Yvar)
        check_model(model, train_X, train_Y, where=where, **noise)


def check_sizes(sizes: Any, n: int) -> None:
    """Raise a ValueError unless these are sizes of datasets of `n` rows."""
    expected = f"different whole numbers from 3 to {n} (the rows of train_X)"
    remedy = f"pass a list of numbers of rows, such as [{max(3, n // 2)}, {n}]"
    if isinstance(sizes, str) or not isinstance(sizes, Iterable):
        raise wrong("sizes", expected, repr(sizes), remedy)
    found: list[Any] = list(sizes)
    bad = [s for s in found if not isinstance(s, Integral) or not 3 <= int(s) <= n]
    if bad or not found or len(set(found)) < len(found):
        raise wrong("sizes", expected, found, remedy)


def check_places(folder: Any, executor: Any) -> None:
    """Raise a ValueError unless these are a folder and an executor, or None."""
    if folder is not None:
        if not isinstance(folder, str | Path):
            got, remedy = type(folder).__name__, "pass its name, or leave it out"
            raise wrong("folder", "a path or None", got, remedy)
        if Path(folder).exists() and not Path(folder).is_dir():
            remedy = "name another place"
            raise wrong("folder", "a folder", f"a file, {folder}", remedy)
    if executor is not None and not hasattr(executor, "submit"):
        remedy = "pass one such as concurrent.futures.ProcessPoolExecutor()"
        got = type(executor).__name__
        raise wrong("executor", "an executor or None", got, remedy)


def check_scores(scores: object) -> None:
    """Raise a ValueError unless these are scores, an array `n x c` without NaN.

    Minus infinity is one: the density of what a model takes to be impossible.
    """
    expected, remedy = "an array `n x c`", "use .to_numpy() of a table of scores"
    if not isinstance(scores, np.ndarray):
        raise wrong("scores", expected, type(scores).__name__, remedy)
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise wrong("scores", expected, f"the shape {scores.shape}", remedy)
    if scores.dtype.kind not in "fiu":
        expected += " of numbers"
        raise wrong("scores", expected, f"the type {scores.dtype}", remedy)
    if np.isnan(scores).any():
        row = int(np.isnan(scores).any(axis=1).argmax())
        remedy = "leave out rows without a score of every configuration"
        raise wrong("scores", "numbers", f"nan in row {row}", remedy)


def check_clusters(clusters: ArrayLike | None, n: int) -> None:
    """Raise a ValueError unless there is a cluster for each of `n` points."""
    if clusters is not None and np.shape(clusters) != (n,):
        got = f"the shape {np.shape(clusters)}"
        raise wrong("clusters", f"one for each of {n} rows", got, "label all rows")
