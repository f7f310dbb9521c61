"""What the arguments of a cross-validation may be."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from botorch.models.model import Model
from gpytorch.mlls import MarginalLogLikelihood
from torch import Tensor

from botorch_xval.fitting.options import FitOptions, check_options
from botorch_xval.models.checks import (
    check_data,
    check_number,
    check_one_of,
    check_whole,
    wrong,
)

__all__ = [
    "DRAWS",
    "FITS",
    "check_arguments",
    "check_fit",
    "check_mll",
    "check_model",
    "noise_of",
]

FITS = ("refit", "warm", "fixed", "adaptive", "sampled", "posterior")
DRAWS, FEWEST_DRAWS = 1000, 100


def check_mll(mll: Any) -> None:
    """Refuse what is no class of a criterion.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(mll, type) or not issubclass(mll, MarginalLogLikelihood):
        expected = "a class such as ExactMarginalLogLikelihood or LeaveOneOutCRPS"
        got = mll.__name__ if isinstance(mll, type) else f"a {type(mll).__name__}"
        raise wrong("mll", expected, got, "pass the class itself, which makes the mlls")


def check_model(model: Any, *data: Tensor, where: str = "model", **noise: Any) -> None:
    """Refuse what builds no model.

    Args:
        model: What is to build it.
        where: What it is called, for the message.
        *data: What it is to be called with.
        **noise: By keyword, likewise.

    Raises:
        ValueError: If it is a model itself, or no function of such arguments.
    """
    expected = "a function of train_X and train_Y that builds a model, or a class"
    remedy = "pass SingleTaskGP, or lambda train_X, train_Y: SingleTaskGP(...)"
    if isinstance(model, Model) or not callable(model):
        raise wrong(where, expected, type(model).__name__, remedy)
    try:
        arguments = signature(model)
    except (TypeError, ValueError):  # of compiled code: the call will tell
        return
    try:
        arguments.bind(*data, **noise)
    except TypeError as error:
        if noise:
            expected += f", and of the keyword {', '.join(noise)}"
        got = f"one that does not take them (TypeError: {error})"
        raise wrong(where, expected, got, remedy) from error


def check_arguments(
    model: Callable[..., Model],
    mll: type[MarginalLogLikelihood],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None,
    fit: str,
    threshold: float,
    max_error: float,
    draws: int | None,
    seed: int,
    fit_options: FitOptions | None,
) -> None:
    """Refuse what :func:`~botorch_xval.cross_validation.cross_validate` does not take.

    Args are those of it.

    Raises:
        ValueError: If an argument is not as described there.
    """
    check_data(train_X, train_Y, train_Yvar, ndim=2, gaps=True)
    check_mll(mll)
    noise: Any = noise_of(train_Yvar)
    check_model(model, train_X, train_Y, **noise)
    check_number("max_error", max_error, above=True)
    check_fit(fit, fit_options, threshold, draws, seed)


def check_fit(
    fit: str,
    fit_options: FitOptions | None,
    threshold: float,
    draws: int | None,
    seed: int,
) -> None:
    """Refuse ways to fit folds that are not known.

    Args are those of :func:`~botorch_xval.cross_validation.cross_validate`.

    Raises:
        ValueError: If an argument is not as described there.
    """
    check_one_of("fit", fit, FITS)
    check_options(fit_options)
    check_number("threshold", threshold)
    if draws is not None:
        check_whole("draws", draws, FEWEST_DRAWS)
    check_whole("seed", seed, 0)


def noise_of(train_Yvar: Tensor | None) -> dict[str, Tensor]:
    """The keyword that a function gets that builds a model, if noise is known."""
    return {} if train_Yvar is None else {"train_Yvar": train_Yvar}
