"""The configurations that are compared unless there are others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from botorch.models import SingleTaskGP
from botorch.models.model import Model
from botorch.models.transforms.input import Normalize
from torch import Tensor

from botorch_xval.models.checks import check_columns, check_data, check_one_of
from botorch_xval.models.scalar_choice import PRIOR_CONFIGURATIONS, ScalarChoiceGP

__all__ = [
    "BOTORCH_DEFAULT",
    "default_configurations",
    "default_model",
    "name_of_priors",
]

BOTORCH_DEFAULT = "BoTorch default"


def default_model(
    train_X: Tensor, train_Y: Tensor, train_Yvar: Tensor | None = None
) -> SingleTaskGP:
    """BoTorch's default SingleTaskGP with all inputs, one-hot or not, scaled to [0, 1].

    Args:
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`.
        train_Yvar: Known variances of the observation noise, `n x m`.

    Returns:
        The model, with its own ranges and standardization.

    Raises:
        ValueError: If data are no finite tensors of these shapes and of one precision.
    """
    check_data(train_X, train_Y, train_Yvar)
    return SingleTaskGP(
        train_X,
        train_Y,
        train_Yvar,
        input_transform=Normalize(train_X.shape[-1], batch_shape=train_X.shape[:-2]),
    )


def default_configurations(
    choice_dims: Sequence[int],
) -> dict[str, Callable[..., Model]]:
    """A `ScalarChoiceGP` for each named prior configuration, and BoTorch's default.

    Args:
        choice_dims: The one-hot columns of the inputs.

    Returns:
        By name what :func:`~botorch_xval.comparison.compare` takes.

    Raises:
        ValueError: If something else is given than numbers of columns.
    """
    dims = list(check_columns("choice_dims", choice_dims))
    ours = {
        name_of_priors(priors): partial(ScalarChoiceGP, choice_dims=dims, priors=priors)
        for priors in PRIOR_CONFIGURATIONS
    }
    return {**ours, BOTORCH_DEFAULT: default_model}


def name_of_priors(priors: str) -> str:
    """The name of a `ScalarChoiceGP` with a prior configuration.

    Raises:
        ValueError: If there is no such configuration.
    """
    check_one_of("priors", priors, PRIOR_CONFIGURATIONS)
    return f"{priors} priors"
