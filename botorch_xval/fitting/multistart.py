"""Several searches for each model, until its lowest optimum was reached often enough.

All models' searches of a round run in one batch. A model has a further round while
fewer than `ENOUGH` of its searches have ended in its lowest optimum: how often optima
are found again says how likely there is another one (Boender & Rinnooy Kan 1987,
Mathematical Programming 37). Models of many points are searched from all starts with
some of their points, and from the best of those optima with all. To stop searches that
are behind after some iterations (successive halving) was tried and lost: those that end
lowest may be behind for long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from time import monotonic

import numpy as np
from botorch.optim.core import OptimizationStatus

from botorch_xval.fitting.coordinates import LogCoordinates
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.progress import FitProgress
from botorch_xval.fitting.search import Search, Start
from botorch_xval.fitting.starts import OWN, SAMPLED, starts_of
from botorch_xval.fitting.threads import search_each

__all__ = ["SAME", "WARM_UP", "Tried", "distinct", "search_from", "search_starts"]

# Iterations on the raw parameters before those in logarithmic coordinates, from a
# model's own start: the first steps decide in which optimum a search ends, and so it is
# mostly BoTorch's. Of the 1,065 models of benchmarks/coordinates.py 79 end more than
# 1e-3 worse than in raw coordinates without these steps, 14 with them (and 132 and 46
# better).
WARM_UP = 8
ROUNDS = (8, 4, 4, 4)  # starts
ENOUGH = 5  # searches in the lowest optimum
SAME = 0.01  # nats by which optima may differ that count as one
MANY = 400  # points from which on starts are searched with `SOME` of them
SOME = 200
BEST = 3  # optima of some points that all points are searched from


@dataclass(frozen=True, eq=False)
class Tried:
    """A start, and the search that began there."""

    start: Start
    search: Search


def search_starts(
    objective: Objective,
    models: Sequence[int],
    options: FitOptions,
    coordinates: LogCoordinates,
    bar: FitProgress,
    deadline: float,
    most: int | None = None,
) -> dict[int, list[Tried]]:
    """Search from the starts that the options ask for.

    Args:
        objective: Of the models.
        models: Numbers of the models.
        options: The options of the fit.
        coordinates: Logarithms of the positive parameters.
        bar: Is told of every search.
        deadline: By `time.monotonic`, when every search stops.
        most: How many of several starts there are at most.

    Returns:
        By model its searches, in the order of the starts, its own first.
    """
    given = coordinates, bar, deadline
    few, is_several = None, isinstance(options.starts, str) and options.starts != OWN
    if is_several and objective.num_points >= MANY:
        rows = np.random.default_rng(0).permutation(objective.num_points)[:SOME]
        few = objective.of_rows(np.sort(rows))
    if few is None:
        return _rounds(objective, models, options, *given, most)
    pairs = []
    quiet = replace(options, callback=None)  # it is told the losses of all points
    for i, tried in _rounds(few, models, quiet, *given, most).items():
        if most is None:  # a fold's values are among those of fewer points
            pairs.append((i, Start(objective.start[i], OWN)))
        good = [t for t in tried if np.isfinite(t.search.best_loss)]
        for group in distinct(good, few.points_of(i))[:BEST]:
            label = f"{group[0].start.label}, first with {SOME} points"
            pairs.append((i, Start(group[0].search.best_point, label)))
    bar.expect(len(pairs))
    searches = search_from(objective, pairs, options, *given)
    found: dict[int, list[Tried]] = {i: [] for i in models}
    for (i, start), search in zip(pairs, searches, strict=True):
        found[i].append(Tried(start, search))
    return found


def _rounds(
    objective: Objective,
    models: Sequence[int],
    options: FitOptions,
    coordinates: LogCoordinates,
    bar: FitProgress,
    deadline: float,
    most: int | None,
) -> dict[int, list[Tried]]:
    """Searches of models from their starts, until their lowest optima are settled."""
    left = {i: _starts_of(objective, i, options, coordinates, most) for i in models}
    sizes = ROUNDS if isinstance(options.starts, str) else (len(options.starts),)
    found: dict[int, list[Tried]] = {i: [] for i in models}
    for size in sizes:
        if any(found.values()) and monotonic() > deadline:
            break
        pairs = [
            (i, start)
            for i in models
            if not (found[i] and is_settled(found[i], objective.points_of(i)))
            for start in islice(left[i], size)
        ]
        if not pairs:
            break
        bar.expect(len(pairs))
        searches = search_from(objective, pairs, options, coordinates, bar, deadline)
        for (i, start), search in zip(pairs, searches, strict=True):
            found[i].append(Tried(start, search))
    return found


def _starts_of(
    objective: Objective,
    model: int,
    options: FitOptions,
    coordinates: LogCoordinates,
    most: int | None,
) -> Iterator[Start]:
    if isinstance(options.starts, str):
        count = 1 if options.starts == OWN else most
        yield from islice(starts_of(objective, model, coordinates), count)
        return
    for k, given in enumerate(options.starts):
        yield Start(objective.start_from(given, model), f"given {k}")


def search_from(
    objective: Objective,
    pairs: Sequence[tuple[int, Start]],
    options: FitOptions,
    coordinates: LogCoordinates,
    bar: FitProgress,
    deadline: float,
) -> list[Search]:
    """Search from one start each, in the coordinates of the options."""
    return search_each(
        objective,
        [start for _, start in pairs],
        [i for i, _ in pairs],
        options,
        coordinates=coordinates if options.has_logarithms else None,
        warm_up=[WARM_UP * (start.label in (OWN, SAMPLED)) for _, start in pairs],
        on_end=bar.on_end(
            objective.bounds, coordinates if options.has_logarithms else None
        ),
        deadline=deadline,
    )


def is_settled(tried: Sequence[Tried], num_points: int) -> bool:
    """Whether a model needs no further round: its lowest optimum was found again.

    A limit that the user has set also ends it.
    """
    if any(t.search.status is OptimizationStatus.STOPPED for t in tried):
        return True
    losses = np.array([t.search.best_loss for t in tried]) * num_points
    if not np.isfinite(losses).any():
        return False
    return int((losses < losses.min() + SAME).sum()) >= ENOUGH


def distinct(tried: Sequence[Tried], num_points: int) -> list[list[Tried]]:
    """Searches by the optimum that they ended in, the lowest first.

    Args:
        tried: Searches of one model that succeeded.
        num_points: Its training points; losses of searches are per point.
    """
    groups: list[list[Tried]] = []
    for each in sorted(tried, key=lambda t: t.search.best_loss):
        gap = np.inf
        if groups:
            gap = each.search.best_loss - groups[-1][0].search.best_loss
        if gap * num_points < SAME:
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups
