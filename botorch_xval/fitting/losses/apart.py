"""Values of models together, of which none pays for another one's trouble.

This module knows no Gaussian process: a model is a row of an array of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Apart", "Evaluate", "evaluate_apart"]

Array = NDArray[np.float64]
Evaluate = Callable[[Array, list[int]], tuple[Array, Array]]


class Apart(NamedTuple):
    """What models have, each by itself."""

    losses: Array
    """Their losses, `a`; NaN where there is none."""

    gradients: Array
    """Their gradients, `a x p`."""

    errors: dict[int, Exception]
    """By row of a model what it raises alone."""

    together: Exception | None = None
    """What several models raise together."""


def evaluate_apart(evaluate: Evaluate, points: Array, models: Sequence[int]) -> Apart:
    """Values of models, together as far as they have some.

    If that raises, each is evaluated alone; and so are those without a finite value: of
    what is no number for one its whole group may be none.

    Args:
        evaluate: `losses, gradients = evaluate(points, models)`, of any models.
        points: Parameters, `a x p`.
        models: The numbers of the `a` models.
    """
    losses, gradients = np.full(len(points), np.nan), np.full(points.shape, np.nan)
    together = None
    try:
        losses[:], gradients[:] = evaluate(points, list(models))
    except Exception as error:  # of any kind of model
        together = error
    if len(points) == 1:
        return Apart(losses, gradients, {} if together is None else {0: together})
    errors: dict[int, Exception] = {}
    is_finite = np.isfinite(losses) & np.isfinite(gradients).all(axis=1)
    for i in np.flatnonzero(~is_finite).tolist():
        own = evaluate_apart(evaluate, points[[i]], [models[i]])
        losses[i], gradients[i] = own.losses[0], own.gradients[0]
        if own.errors:
            errors[i] = own.errors[0]
    return Apart(losses, gradients, errors, together)
