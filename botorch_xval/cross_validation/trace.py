"""Folds whose training rows are those of the next one and fewer, as in time.

The fit to all rows says little about a fold of its first rows. But the fit to `t + 1`
rows says nearly all about that to the first `t`: folds are fitted one after the other,
from the most training rows to the fewest, each by one Newton step from the one before,
which is refined or kept. A path knows one optimum of each fold: one that keeps its step
may have a lower one elsewhere (see `benchmarks/results/next_trial.md`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from botorch_xval.cross_validation.centers import centers_at
from botorch_xval.cross_validation.fold_fits import ALL_ROWS, FoldWork, Key
from botorch_xval.cross_validation.folds import Folds
from botorch_xval.cross_validation.full_fit import FullFit
from botorch_xval.fitting.threads import evaluate_each

__all__ = ["follow", "is_trace"]

# Share of the training rows of a Hessian from which on it is taken again.
RENEWED = 0.8


def is_trace(folds: Folds) -> bool:
    """Whether folds leave out a future: each trains on rows of the next and fewer."""
    training = folds.training[folds.training.sum(dim=1).argsort()]
    nested = not bool((training[:-1] & ~training[1:]).any())
    return folds.omits_rows and nested and len(training) > 1


def follow(work: FoldWork, full: FullFit, folds: Folds, threshold: float) -> list[Key]:
    """Fit folds from the most training rows to the fewest.

    Args:
        work: The fits of the folds; gets influences, searches and values that are kept.
        full: The fit to all rows, where the first one begins.
        folds: The folds.
        threshold: The influence, here of the rows that the fold before has more, up to
            which a step is kept; summed over folds that keep theirs one after another.

    Returns:
        Which models have been searched.
    """
    sizes = folds.training.sum(dim=1)
    order = torch.argsort(sizes, descending=True, stable=True).tolist()
    searched = []
    for k in range(work.numbers.shape[1]):
        center = full.centers[k][0]
        of_center, since = full.fitted.objective.num_points, 0.0
        for j in order:
            i, n = (j, k), int(sizes[j])
            model = int(work.numbers[i])
            if n < RENEWED * of_center:
                theta = center.theta[None]
                (center,) = centers_at(work.objective, [model], theta, work.coordinates)
                work.spend(i, 2 * theta.shape[1])
                of_center = n
            losses, gradients = evaluate_each(
                work.objective, center.theta[None], [model]
            )
            work.spend(i, 1)
            if not (np.isfinite(losses).all() and np.isfinite(gradients).all()):
                continue
            moved, influence, _ = work.step(i, center, float(losses[0]), gradients[0])
            work.influences[i] = influence
            work.conditions[i] = center.whitened.condition
            since += influence
            if since <= threshold:
                found = evaluate_each(work.objective, moved[None], [model])
                work.spend(i, 1)
                if np.isfinite(found[0]).all():
                    work.keep(i, moved, found[0][0], found[1][0], "predicted")
                    center = replace(center, theta=moved)
                continue
            searched.append(i)
            since = 0.0
            (end,) = work.refine([(i, moved, center)], ALL_ROWS)
            if np.isfinite(end):
                center = replace(center, theta=work.best(i).search.best_point)
    return searched
