"""One cross-validation in six plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.models.checks import check_names
from botorch_xval.reporting.plots.calibration import (
    plot_calibration,
    plot_normal_quantiles,
    plot_pit,
)
from botorch_xval.reporting.plots.fits import plot_evaluations
from botorch_xval.reporting.plots.hyperparameters import (
    plot_influence,
    plot_pareto_k,
)
from botorch_xval.reporting.plots.style import points_of
from botorch_xval.reporting.plots.validation import (
    plot_predictions,
    plot_residuals,
)

__all__ = ["plot_diagnostics"]


def plot_diagnostics(
    result: CrossValidation,
    axes: NDArray[Any] | Sequence[Axes] | None = None,
    *,
    output: int = 0,
    names: Sequence[str] | None = None,
    folds: Sequence[str] | None = None,
) -> NDArray[Any]:
    """Draw six plots of one cross-validation.

    They are predictions, residuals, normal quantiles, PIT values, calibration, and the
    influence of every fold. A result without influences (`fit="refit"` or "fixed") has
    the evaluations of every fold instead, one by `fit="posterior"` Pareto's `k`.

    Args:
        result: A cross-validation.
        axes: Where to draw, six axes; default: new ones, two rows of three.
        output: Number of the output.
        names: Names of all rows of the data, for the rows that stand out.
        folds: Names of all folds, for the folds that stand out.

    Returns:
        The axes, an array of the shape of `axes` (`2 x 3` if these are new).

    Raises:
        ValueError: If an argument is not as described, or every fold has failed.
    """
    points_of(result, output)  # before a figure is made: are the arguments right?
    for argument, given, count, of in (
        ("names", names, result.folds.held_out.shape[1], "rows"),
        ("folds", folds, len(result.folds.names), "folds"),
    ):
        if given is not None:
            check_names(argument, given, count, of)
    if axes is None:
        axes = plt.subplots(2, 3, figsize=(13, 7.4), layout="constrained")[1]
    drawn: NDArray[Any] = np.array(axes, dtype=object)
    if drawn.size != 6:
        raise ValueError(
            f"axes: expected 6 axes, got {drawn.size}; make them by "
            "`plt.subplots(2, 3)[1]`"
        )
    each = list(drawn.flat)
    plot_predictions(result, each[0], output=output)
    plot_residuals(result, each[1], output=output, names=names)
    plot_normal_quantiles(result, each[2], output=output)
    plot_pit(result, each[3], output=output)
    plot_calibration(result, each[4], output=output)
    if result.fit_table().influence.notna().any():
        plot_influence(result, each[5], names=folds)
    elif result.fit_table().pareto_k.notna().any():
        plot_pareto_k(result, each[5], names=folds)
    else:
        plot_evaluations(result.records, each[5], label="fold")
    return drawn
