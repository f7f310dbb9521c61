r"""How the models of folds are fitted: each from its own starts, or from all rows.

**What a fit to all rows says about those without some.** Let :math:`\theta^*` minimize
the summed loss :math:`L`, the negative log marginal likelihood minus log priors of all
rows, with the Hessian :math:`H` there, by logarithms of positive parameters. The loss
without the rows :math:`S` has at :math:`\theta^*` a gradient :math:`g_{-S}`, and one
Newton step (the infinitesimal jackknife: Giordano et al. 2019; Rad & Maleki 2020)

.. math:: \theta_{-S} \approx \theta^* - H^{-1} g_{-S}, \qquad
    \mathrm{influence}_S = \| H^{-1/2} g_{-S} \|,

starts, or stands for, its fit. The influence is the length of that step in posterior
standard deviations, in the role that Pareto's :math:`k` has for importance sampling.
Where the folds transform their data as the model of all rows does, all :math:`g_{-S}`
come from one factorization, :math:`O(p n^3)` for leave-one-out; else each takes an
evaluation of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from botorch_xval.cross_validation.exchange import ALL_ROWS, share
from botorch_xval.cross_validation.fold_fits import FoldFits, FoldWork, Key
from botorch_xval.cross_validation.fold_models import FoldBatch, FoldModels
from botorch_xval.cross_validation.full_fit import FullFit
from botorch_xval.fitting.coordinates import Array
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.threads import evaluate_each

__all__ = ["fit_folds"]

# Posterior standard deviations from which on a fold is fitted from its own starts, too.
INFLUENTIAL = 0.5


def fit_folds(
    models: FoldModels,
    full: FullFit | None,
    how: str,
    threshold: float,
    options: FitOptions,
) -> FoldFits:
    """Fit the models of folds, from their own starts or the fit to all rows.

    Args:
        models: Of folds of one size.
        full: The fit to all rows; None for "refit".
        how: "refit": from their own starts. "warm": one Newton step, refined with
            L-BFGS-B, in coordinates whitened by the Hessian, to the tolerance of a cold
            fit. "predicted": that step alone. "adaptive": as "warm" where the influence
            of a fold exceeds `threshold`; other folds stay as they are.
        threshold: In posterior standard deviations.
        options: The options of the fit.

    Returns:
        The fitted models, and for each fold and output in turn how it was fitted.

    Raises:
        DifferentModels: If a batch is not as ordinary models are.
        ValueError: If models have other hyper-parameters than others of their size, or
            than the model of all rows.
    """
    objective = models.objective(options)
    numbers = models.models(objective)
    options = options.named(models.names, numbers.shape[1])
    work = FoldWork(objective, numbers, options)
    if full is None:
        keys = list(np.ndindex(numbers.shape))
        scouts = [i for i in keys if i[0] in work.scouts]
        work.fit_cold(scouts, most=None)
        work.fit_cold([i for i in keys if i not in scouts])
        share(work)
        return work.end(models)
    full.check_parameters(objective, models.names[0])
    losses, gradients = _at_full(work, full, models)
    steps = _take_steps(work, full, losses, gradients)
    chosen = np.full(len(numbers), True)
    if how == "adaptive":
        influences = np.nan_to_num(work.influences, nan=np.inf)
        chosen = influences.max(axis=1) > threshold
        _keep_fixed(work, full, ~chosen, losses, gradients)
    steps = {i: start for i, start in steps.items() if chosen[i[0]]}
    if how == "predicted":
        _keep_steps(work, full, steps)
    else:
        work.how = "warm"
        work.refine(
            [(i, start, full.centers[i[1]][0]) for i, start in steps.items()], ALL_ROWS
        )
        # Where all rows have several optima, so may any fold.
        unclear = [
            i
            for i in steps
            if work.influences[i] > INFLUENTIAL or len(full.centers[i[1]]) > 1
        ]
        scouts = [i for i in steps if i[0] in work.scouts]
        work.search_own_starts(scouts, most=None)
        work.search_own_starts([i for i in unclear if i not in scouts])
        share(work, full)
    return work.end(models)


def _at_full(work: FoldWork, full: FullFit, models: FoldModels) -> tuple[Array, Array]:
    """Losses, `f x m`, and gradients, `f x m x p`, at the fit to all rows.

    Of folds that transform their data as the model of all rows does, they come from
    one factorization.
    """
    theta = np.tile(full.fitted.theta, (len(work.numbers), 1, 1))
    losses, gradients = np.empty(work.numbers.shape), np.empty(theta.shape)
    rest = np.full(len(losses), True)
    if not isinstance(models, FoldBatch):  # a batch learns its transforms by fold
        alike = np.array(
            [
                full.contains(mll, ~rows.to(work.objective.device))
                for mll, rows in zip(models.mlls, models.held_out, strict=True)
            ]
        )
        held_out = models.held_out[alike.tolist()]
        found = None
        if alike.any():
            found = full.fitted.objective.without(full.fitted.theta, held_out)
        if found is not None:
            losses[alike], gradients[alike] = found
            rest = ~alike
    if rest.any():
        numbers = work.numbers[rest]
        found = evaluate_each(
            work.objective,
            theta[rest].reshape(-1, theta.shape[-1]),
            numbers.reshape(-1).tolist(),
        )
        losses[rest] = found[0].reshape(numbers.shape)
        gradients[rest] = found[1].reshape(theta[rest].shape)
    for i in np.ndindex(work.numbers.shape):
        work.spend(i, 1)
    return losses, gradients


def _take_steps(
    work: FoldWork, full: FullFit, losses: Array, gradients: Array
) -> dict[Key, Array]:
    """Influences of all models, and the parameters of those that have one."""
    steps = {}
    for j, k in np.argwhere(np.isfinite(gradients).all(axis=-1)):
        i, center = (int(j), int(k)), full.centers[k][0]
        steps[i], work.influences[i], _ = work.step(i, center, losses[i], gradients[i])
        work.conditions[i] = center.whitened.condition
    return steps


def _keep_fixed(
    work: FoldWork,
    full: FullFit,
    which: NDArray[np.bool_],
    losses: Array,
    slopes: Array,
) -> None:
    """Folds that stay at the fit to all rows."""
    for j, k in np.ndindex(work.numbers.shape):
        if which[j]:
            values = full.fitted.theta[k]
            work.keep((j, k), values, float(losses[j, k]), slopes[j, k], "fixed")


def _keep_steps(work: FoldWork, full: FullFit, steps: dict[Key, Array]) -> None:
    """Folds that keep the values after the Newton step; evaluates their losses."""
    if not steps:
        return
    theta = np.stack(list(steps.values()))
    found = evaluate_each(work.objective, theta, [int(work.numbers[i]) for i in steps])
    for i, values, loss, gradient in zip(steps, theta, *found, strict=True):
        work.spend(i, 1)
        if np.isfinite(loss):
            work.keep(i, values, loss, gradient, "predicted")
