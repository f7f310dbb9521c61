r"""One answer: what the fits of folds tell each other.

A fold's loss has several optima, and the lowest one that is known is the fold's. So an
optimum of any fold is offered to all others, in the way that the fit to all rows is:
one Newton step from there, by its Hessian, and a search where the quadratic model
promises a lower loss, until no fold has an optimum that the others have not seen. A
fold that only keeps the step from the fit to all rows is searched if it finds a lower
loss elsewhere. Folds
that were fitted from their own starts and folds that began at the fit to all rows end
in the same places. Only hyper-parameters are offered; a fold's loss never knows its
held-out values.
"""

from __future__ import annotations

from time import monotonic

import numpy as np

from botorch_xval.cross_validation.centers import Center, centers_at
from botorch_xval.cross_validation.fold_fits import ALL_ROWS, FoldWork, Key
from botorch_xval.cross_validation.full_fit import MOST_OPTIMA, FullFit
from botorch_xval.fitting.multistart import SAME, distinct
from botorch_xval.fitting.starts import OWN
from botorch_xval.fitting.threads import evaluate_each

__all__ = ["share"]

OTHER_FOLD = "another fold"  # label of a start
# Nats between what the quadratic model promises a fold and its own optimum: up to NEAR
# they are one; beyond REACH a search is not worth its price.
NEAR, REACH = 0.03, 2.0
KEPT = 0.1  # by so much a fold that was not searched has to be promised a lower loss
MOST_CENTERS = 16  # optima that are offered, for each output


def share(
    work: FoldWork,
    full: FullFit | None = None,
    known: dict[int, list[Center]] | None = None,
) -> None:
    """Offer every optimum to all folds, until none has one that is new to others.

    Args:
        work: The fits of the folds; gets what they lead to.
        full: The fit to all rows, whose further optima are offered first.
        known: By output optima of folds that are not among these; gets new ones.
    """
    if work.options.starts == OWN or work.has_limits():
        return
    for k in range(work.numbers.shape[1]):
        folds = [
            j
            for j in range(len(work.numbers))
            if work.tried.get((j, k)) or (j, k) in work.cold or (j, k) in work.fixed
        ]
        waiting = _other_optima(work, (len(work.numbers) // 2, k))
        if full is not None:
            waiting += full.centers[k][1:]
        waiting += (known or {}).get(k, [])
        # Folds in an optimum that others have been offered.
        good = [j for j in folds if work.tried[j, k]]
        seen = {j for j in good if work.best((j, k)).start.label == ALL_ROWS}
        if len(folds) < 2 and not waiting:
            continue
        for _ in range(MOST_CENTERS):
            if monotonic() > work.deadline:
                return
            if waiting:
                center = waiting.pop(0)
                is_full = full is not None and center in full.centers[k]
                label = ALL_ROWS if is_full else OTHER_FOLD
            else:
                new = [j for j in folds if j not in seen and work.tried[j, k]]
                if not new:
                    break
                j = min(new, key=lambda j: work.loss((j, k)))
                seen.add(j)
                center, label = _center(work, (j, k)), OTHER_FOLD
                if known is not None:
                    known.setdefault(k, []).append(center)
            _offer(work, center, label, folds, k, seen)


def _offer(
    work: FoldWork, center: Center, label: str, folds: list[int], k: int, seen: set[int]
) -> None:
    """Offer one optimum to folds; those that it leads to their own are `seen`."""
    keys = [(j, k) for j in folds]
    theta = np.tile(center.theta, (len(keys), 1))
    losses, gradients = evaluate_each(
        work.objective, theta, [int(work.numbers[i]) for i in keys]
    )
    todo = []
    for i, loss, gradient in zip(keys, losses, gradients, strict=True):
        work.spend(i, 1)
        if not (np.isfinite(loss) and np.isfinite(gradient).all()):
            continue
        start, _, promised = work.step(i, center, float(loss), gradient)
        gap = promised - work.loss(i)
        if abs(gap) < NEAR:
            seen.add(i[0])
        is_kept = i in work.fixed  # what it has is a promise, too
        if gap < -KEPT if is_kept else gap < -SAME or NEAR <= gap < REACH:
            todo.append((i, start, center))
    before = [work.loss(i) for i, _, _ in todo]
    ends = work.refine(todo, label)
    for (i, _, _), own, end in zip(todo, before, ends, strict=True):
        if end < own + SAME:
            seen.add(i[0])
        if i in work.fixed:
            work.settle(i, end < own - SAME)


def _other_optima(work: FoldWork, i: Key) -> list[Center]:
    """What a fold that has looked further has found beside its own optimum."""
    points = work.objective.points_of(int(work.numbers[i]))
    groups = distinct(work.tried.get(i, []), points)
    found = [g[0].search.best_point for g in groups[1:MOST_OPTIMA]]
    if not found:
        return []
    work.spend(i, 2 * len(found) * len(found[0]))
    models = [int(work.numbers[i])] * len(found)
    return centers_at(work.objective, models, np.stack(found), work.coordinates)


def _center(work: FoldWork, i: Key) -> Center:
    """The optimum of a fold, with its Hessian."""
    theta = work.best(i).search.best_point
    model = int(work.numbers[i])
    (center,) = centers_at(work.objective, [model], theta[None], work.coordinates)
    work.spend(i, 2 * len(theta))
    return center
