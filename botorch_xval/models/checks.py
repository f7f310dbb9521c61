"""What arguments may be. An error says what was expected, what came, and what to do."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from gpytorch.mlls import MarginalLogLikelihood
from torch import Tensor
from torch.nn import ModuleList

__all__ = [
    "check_columns",
    "check_data",
    "check_mlls",
    "check_names",
    "check_number",
    "check_one_of",
    "check_pair",
    "check_tensor",
    "check_type",
    "check_whole",
    "wrong",
]


def wrong(where: str, expected: str, got: object, remedy: str) -> ValueError:
    """An error: what was expected, what came, what to do."""
    return ValueError(f"{where}: expected {expected}, got {got}; {remedy}")


def check_mlls(mlls: object) -> None:
    """Raise a ValueError unless these are one mll or several."""
    advice = "make it by ExactMarginalLogLikelihood(model.likelihood, model)"
    if not isinstance(mlls, Sequence | ModuleList):
        got = type(mlls).__name__
        raise wrong(
            "mlls", "a list of mlls", got, "put a single one into a list, [mll]"
        )
    if not len(mlls):
        raise wrong("mlls", "at least one", "none", advice)
    for mll in mlls:
        check_type("mlls", mll, MarginalLogLikelihood, advice)


def check_names(name: str, names: object, count: int, of: str) -> None:
    """Raise a ValueError unless there is one name for each of `count` things."""
    expected = f"one for each of {count} {of}"
    if isinstance(names, str) or not isinstance(names, Collection):
        raise wrong(name, expected, repr(names), "pass a list of names")
    if len(names) != count:
        raise wrong(name, expected, len(names), "name all, or leave the names out")


def check_type(name: str, value: object, kind: type, advice: str) -> None:
    """Raise a ValueError unless an argument has the expected type.

    Args:
        name: Name of the argument.
        value: What was passed.
        kind: The expected class.
        advice: What to do instead.
    """
    if not isinstance(value, kind):
        raise wrong(name, f"a {kind.__name__}", type(value).__name__, advice)


def check_one_of(
    name: str, value: object, known: Collection[Any], more: str = ""
) -> None:
    """Raise a ValueError unless an argument is one of some values.

    Args:
        name: Name of the argument.
        value: What was passed.
        known: The values, of one type.
        more: What else it may be.
    """
    if type(value) is not type(next(iter(known))) or value not in known:
        remedy = "check the spelling"
        raise wrong(name, f"one of {list(known)}{more}", repr(value), remedy)


def check_whole(
    name: str, value: Any, least: int | None = None, advice: str = ""
) -> None:
    """Raise a ValueError unless an argument is a whole number, from `least` on."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or (least is not None and value < least):
        expected = "a whole number" + ("" if least is None else f" from {least} on")
        raise wrong(name, expected, repr(value), advice or "pass such a number")


def check_number(
    name: str,
    value: object,
    least: float = 0.0,
    advice: str = "",
    above: bool = False,
    nan: bool = False,
) -> None:
    """Raise a ValueError unless an argument is a number; infinity is one.

    Args:
        name: Name of the argument.
        value: What was passed.
        least: The smallest number.
        advice: What to do instead.
        above: Whether it has to be larger than the smallest.
        nan: Whether NaN is one, too.
    """
    known: Any = value
    is_real = isinstance(value, Real) and not isinstance(value, bool)
    if nan and is_real and math.isnan(known):
        return
    if not is_real or not (known > least if above else known >= least):
        expected = f"a number {f'above {least:g}' if above else f'from {least:g} on'}"
        raise wrong(name, expected, repr(value), advice or "pass such a number")


def check_tensor(
    name: str, value: object, shape: str, ndim: int | None = None, gaps: bool = False
) -> Tensor:
    """Check that an argument is a tensor of finite numbers.

    Args:
        name: Name of the argument.
        value: What was passed.
        shape: What its shape is to be, in words.
        ndim: Its number of dimensions; default: two or more.
        gaps: Whether NaN may stand for a missing value.

    Returns:
        The tensor.

    Raises:
        ValueError: If it is something else.
    """
    if not isinstance(value, Tensor):
        got = type(value).__name__
        raise wrong(name, f"a tensor `{shape}`", got, "use torch.as_tensor")
    found = tuple(value.shape)
    if value.ndim < 2 or ndim not in (None, value.ndim):
        remedy = "use .unsqueeze(-1) for a single column, .squeeze() for a batch of one"
        raise wrong(name, f"a tensor `{shape}`", f"the shape {found}", remedy)
    for dim, what in ((-2, "row"), (-1, "column")):
        if value.shape[dim] == 0:
            remedy = "check how it was made"
            raise wrong(name, f"at least one {what}", f"the shape {found}", remedy)
    if not value.is_floating_point():
        remedy = "call .double() on it"
        raise wrong(name, "floating-point numbers", value.dtype, remedy)
    bad = value.isinf() if gaps else ~value.isfinite()
    if bad.any():
        *_, row, column = bad.nonzero()[0].tolist()
        got = f"{value[bad][0].item()} in row {row}, column {column}"
        expected = "finite numbers" + (" (a missing outcome is NaN)" if gaps else "")
        raise wrong(name, expected, got, "correct it, or leave the row out")
    return value


def check_data(
    train_X: object,
    train_Y: object,
    train_Yvar: object = None,
    *,
    ndim: int | None = None,
    gaps: bool = False,
) -> None:
    """Check training data.

    Args:
        train_X: Inputs, `batch_shape x n x d`.
        train_Y: Outcomes, `batch_shape x n x m`.
        train_Yvar: Known variances of the observation noise, of the same shape.
        ndim: 2 if there is to be no batch.
        gaps: Whether outcomes may be missing: NaN.

    Raises:
        ValueError: If something else came.
    """
    batch = "" if ndim == 2 else "batch_shape x "
    X = check_tensor("train_X", train_X, f"{batch}n x d", ndim)
    Y = check_tensor("train_Y", train_Y, f"{batch}n x m", ndim, gaps)
    if Y.shape[:-1] != X.shape[:-1]:
        shape = ", ".join(map(str, [*X.shape[:-1], "m"]))
        expected = f"the shape ({shape}), one row for each of train_X"
        remedy = "take the outcomes of the same rows"
        raise wrong("train_Y", expected, tuple(Y.shape), remedy)
    parts = [("train_Y", Y)]
    if train_Yvar is not None:
        Yvar = check_tensor("train_Yvar", train_Yvar, f"{batch}n x m", ndim, gaps)
        if Yvar.shape != Y.shape:
            expected = f"the shape of train_Y, {tuple(Y.shape)}"
            remedy = "give a variance for each outcome"
            raise wrong("train_Yvar", expected, tuple(Yvar.shape), remedy)
        if (bad := (Yvar < 0) | (Yvar.isnan() & ~Y.isnan())).any():
            remedy = "square standard errors; leave train_Yvar out if they are unknown"
            got = Yvar[bad][0].item()
            raise wrong("train_Yvar", "variances from 0 on", got, remedy)
        parts.append(("train_Yvar", Yvar))
    for name, values in parts:
        if values.dtype != X.dtype:
            expected = f"the precision of train_X, {X.dtype}"
            raise wrong(name, expected, values.dtype, "use .to(train_X)")


def check_columns(name: str, dims: object, d: int | None = None) -> tuple[int, ...]:
    """Check numbers of columns; negative ones count from the end, as in Python.

    Args:
        name: Name of the argument.
        dims: The numbers.
        d: How many columns there are, if that is known.

    Returns:
        The numbers, as they came.

    Raises:
        ValueError: If there is something else among them, or a column twice.
    """
    expected = "numbers of columns"
    advice = f"pass one flat list, such as {name}=[4, 5]"
    if isinstance(dims, str) or not isinstance(dims, Sequence | np.ndarray | Tensor):
        raise wrong(name, expected, repr(dims), advice)
    if len(shape := getattr(dims, "shape", (0,))) != 1:
        raise wrong(name, expected, f"the shape {tuple(shape)}", advice)
    found: Any = dims if isinstance(dims, Sequence) else dims.tolist()
    for dim in found:
        if not isinstance(dim, Integral) or isinstance(dim, bool):
            raise wrong(name, expected, repr(dim), advice)
        if d is not None and not -d <= int(dim) < d:
            last = f"columns from {-d} to {d - 1}"
            raise wrong(name, last, dim, f"there are {d} columns, counted from 0")
    if len({dim % d for dim in found} if d else set(found)) < len(found):
        raise wrong(name, "different columns", found, "name each once")
    return tuple(int(dim) for dim in found)


def check_pair(name: str, value: Any) -> None:
    """Raise a ValueError unless an argument is two positive, finite numbers."""
    is_pair = isinstance(value, Sequence) and len(value) == 2
    is_pair = is_pair and all(isinstance(each, Real) for each in value)
    if not is_pair or not all(0 < each < math.inf for each in value):
        advice = "pass the two parameters of a Gamma or Beta prior, such as (3.0, 6.0)"
        raise wrong(name, "two positive numbers", repr(value), advice)
