"""All models in one optimizer, by the sum of their losses: what that does to a fit.

BoTorch fitted a batch of models like this before 0.18. L-BFGS-B judges a step by the
loss, so with the sum of all losses it improves only the sum: single models get worse on
some steps, and all models are evaluated until the last one has converged.

For the notebook `fitting.ipynb`; nothing here is part of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from gpytorch.mlls import MarginalLogLikelihood
from matplotlib.axes import Axes
from scipy.optimize import Bounds

from botorch_xval.fitting import FitRecord, make_objective, minimize_each
from botorch_xval.fitting.coordinates import Array
from botorch_xval.reporting.plots import plot_losses

__all__ = ["fit_summed", "plot_summed_and_independent"]


def fit_summed(
    mlls: Sequence[MarginalLogLikelihood], options: dict[str, Any] | None = None
) -> list[FitRecord]:
    r"""Fit all models by one L-BFGS-B on :math:`\sum_i L_i(\theta_i)`.

    For comparison only: `botorch_xval.fit_each` is faster and reaches better losses.

    Args:
        mlls: Marginal log likelihoods of one structure and size, as for
            `botorch_xval.fit_each`. They are left with the fitted values.
        options: Options of SciPy's L-BFGS-B.

    Returns:
        One record for each model: its loss per training point (nats) after every
        iteration of the joint search, which may increase, and its evaluations.
    """
    for mll in mlls:
        mll.train()
    objective = make_objective(mlls)
    shape = objective.start.shape
    everyone = list(range(objective.num_models))
    evaluated: list[tuple[Array, Array]] = []  # points and losses of all models
    accepted: list[Array] = []

    def evaluate(points: Array, _: list[int]) -> tuple[Array, Array]:
        losses, gradients = objective(points.reshape(shape), everyone)
        if not accepted:
            accepted.append(losses)
        evaluated.append((points[0], losses))
        return losses.sum(keepdims=True), gradients.reshape(1, -1)

    def on_iteration(_: int, point: Array, iteration: int, loss: float) -> None:
        accepted.append(
            next(v for x, v in reversed(evaluated) if np.array_equal(x, point))
        )
        evaluated.clear()

    (search,) = minimize_each(
        evaluate,
        objective.start.reshape(1, -1),
        [
            Bounds(
                np.concatenate([b.lb for b in objective.bounds]),
                np.concatenate([b.ub for b in objective.bounds]),
            )
        ],
        options=options,
        on_iteration=on_iteration,
    )
    objective.write(search.best_point.reshape(shape))
    return [
        FitRecord(
            losses=tuple(float(losses[i]) for losses in accepted),
            evaluations=search.evaluations,
            iterations=max(len(accepted) - 1, 0),
            status=search.status,
            message=search.message,
            seconds=search.seconds / len(everyone),
            attempts=1,
        )
        for i in everyone
    ]


def plot_summed_and_independent(
    summed: Sequence[FitRecord],
    independent: Sequence[FitRecord],
    axes: Sequence[Axes] | None = None,
    *,
    label: str = "fold",
) -> Sequence[Axes]:
    """Draw the losses of the same models fitted by one optimizer, and by one each.

    Args:
        summed: Records of :func:`fit_summed`.
        independent: Records of `botorch_xval.fit_each`.
        axes: Where to draw, two axes; default: new ones, side by side.
        label: What one model is, for the legend.

    Returns:
        The two axes.
    """
    if axes is None:
        axes = plt.subplots(
            1, 2, sharex=True, sharey=True, figsize=(11, 4.8), layout="constrained"
        )[1]
    for ax, title, records in zip(
        axes,
        ("Summed loss, one optimizer for all", "One optimizer each"),
        (summed, independent),
        strict=True,
    ):
        plot_losses(records, ax, label=label)
        evaluations = sum(record.evaluations for record in records)
        loss = sum(record.losses[-1] for record in records if record.losses)
        ax.set_title(
            f"{title}\n{evaluations:,} model evaluations, summed loss {loss:.4f}",
            loc="left",
            fontsize=11,
        )
    # The first values are far below the others; show where most iterations are.
    ends = np.array(
        [(-r.losses[0], -r.losses[-1]) for r in (*summed, *independent) if r.losses]
    )
    spread = np.ptp(ends[:, 1])
    climb = np.median(ends[:, 1] - ends[:, 0])
    margin = max(4 * spread, 0.15 * climb)
    axes[0].set_ylim(
        max(ends[:, 0].min(), ends[:, 1].min() - margin),
        ends[:, 1].max() + 0.1 * margin,
    )
    axes[1].set_ylabel("")
    return axes
