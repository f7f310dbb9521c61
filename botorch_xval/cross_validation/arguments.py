"""What the arguments of a cross-validation may be."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

from botorch.models.model import Model
from gpytorch.mlls import MarginalLogLikelihood
from torch import Tensor

from botorch_xval.fitting.options import FitOptions

__all__ = ["DRAWS", "FITS", "check_arguments", "check_mll"]

FITS = ("refit", "warm", "fixed", "adaptive", "sampled", "posterior")
DRAWS, FEWEST_DRAWS = 1000, 100


def check_mll(mll: Any) -> None:
    """Refuse what is no class of a criterion.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(mll, type):
        raise ValueError(
            "mll: expected a class such as ExactMarginalLogLikelihood or "
            f"LeaveOneOutCRPS, got {mll!r}"
        )


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
    fit_options: FitOptions | None,
) -> None:
    """Refuse what :func:`~botorch_xval.cross_validation.cross_validate` does not take.

    Args are those of it.

    Raises:
        ValueError: If an argument is not as described there.
    """
    for name, values in (("train_X", train_X), ("train_Y", train_Y)):
        if not isinstance(values, Tensor):
            raise ValueError(
                f"{name}: expected a tensor, got {type(values).__name__}; use "
                "torch.as_tensor"
            )
    check_mll(mll)
    if isinstance(model, Model) or not callable(model):
        raise ValueError(
            "model: expected a function of train_X and train_Y that builds a model, or "
            f"a class, got {type(model).__name__}"
        )
    if train_X.ndim != 2:
        raise ValueError(f"train_X: expected `n x d`, got shape {tuple(train_X.shape)}")
    if train_Y.ndim != 2 or len(train_Y) != len(train_X):
        raise ValueError(
            f"train_Y: expected `n x m` with n = {len(train_X)}, got shape "
            f"{tuple(train_Y.shape)}"
        )
    if train_Yvar is not None and train_Yvar.shape != train_Y.shape:
        raise ValueError(
            f"train_Yvar: expected the shape of train_Y, {tuple(train_Y.shape)}, got "
            f"{tuple(train_Yvar.shape)}"
        )
    for name, wrong in (
        ("train_X", ~train_X.isfinite()),
        ("train_Y", train_Y.isinf()),
    ):
        if wrong.any():
            row, column = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"{name}: expected finite numbers (a missing outcome is NaN), got "
                f"{(train_X if name == 'train_X' else train_Y)[row, column].item()} in "
                f"row {row}, column {column}"
            )
    if fit not in FITS:
        raise ValueError(f"fit: expected one of {FITS}, got {fit!r}")
    if not threshold >= 0:
        raise ValueError(f"threshold: expected a number from 0 on, got {threshold}")
    if not max_error > 0:
        raise ValueError(f"max_error: expected a positive number, got {max_error}")
    if draws is not None and (not isinstance(draws, Integral) or draws < FEWEST_DRAWS):
        raise ValueError(
            f"draws: expected a whole number from {FEWEST_DRAWS} on, got {draws!r}"
        )
    if not isinstance(fit_options, FitOptions | None):
        raise ValueError(
            "fit_options: expected FitOptions or None, got "
            f"{type(fit_options).__name__}; use FitOptions(timeout_sec=60, ...)"
        )
