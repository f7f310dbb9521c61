"""The datasets of a comparison, and in which order their folds are fitted."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import groupby, pairwise, product

import numpy as np
from numpy.typing import NDArray

from botorch_xval.comparison.race import rounds
from botorch_xval.cross_validation.folds import Folds, restrict
from botorch_xval.cross_validation.folds_like import (
    FoldsLike,
    is_in_order,
    make_folds,
)

__all__ = ["Rows", "make_datasets", "make_schedule"]

Rows = NDArray[np.int64]


def make_datasets(
    n: int,
    sizes: list[int],
    replicates: int,
    seed: int,
    folds: FoldsLike,
    labels: list[Hashable] | None,
) -> dict[tuple[int, int], tuple[Rows, Folds]]:
    """The datasets of a comparison.

    Args:
        n: Rows of the table.
        sizes: Rows of the datasets.
        replicates: How many shuffles.
        seed: Of the shuffles.
        folds: Of all rows, or what makes folds of any number of rows.
        labels: `n`, if rows of one label are held out together.

    Returns:
        By size and replicate the rows of the table, and the folds of these.

    Raises:
        ValueError: If there are no such folds of a dataset, which is named.
    """
    datasets = {}
    for size, replicate in product(sizes, range(replicates)):
        # A list of two seeds keeps replicates apart whatever the seed.
        rows = np.random.default_rng([seed, replicate]).permutation(n)[:size]
        try:
            if isinstance(folds, Folds):
                made = restrict(folds, rows)
            else:
                own = _labels_of(rows, labels)
                count = size if own is None else len(set(own))
                # What omits rows may be in time, of another library.
                if is_in_order(folds) or (
                    count > 1 and make_folds(folds, count).omits_rows
                ):
                    rows = np.sort(rows)
                made = make_folds(folds, size, _labels_of(rows, labels))
        except ValueError as error:
            raise ValueError(
                f"{error} (in the dataset of {size} rows, replicate {replicate})"
            ) from error
        datasets[size, replicate] = rows, made
    return datasets


def _labels_of(rows: Rows, labels: list[Hashable] | None) -> list[Hashable] | None:
    return None if labels is None else [labels[i] for i in rows.tolist()]


def make_schedule(
    datasets: Mapping[tuple[int, int], tuple[Rows, Folds]],
    size: int,
    replicates: int,
    race: bool,
) -> list[dict[int, tuple[int, ...]]]:
    """The folds of one size that are fitted in each round.

    Args:
        datasets: See :func:`make_datasets`.
        size: Of the datasets.
        replicates: How many shuffles.
        race: Whether there are several rounds.

    Returns:
        By round and replicate the numbers of the folds.
    """
    # One replicate after the other: the rows are shuffled already, and new rows tell
    # more than rows that another replicate has.
    units, points = [], []
    for replicate in range(replicates):
        _, folds = datasets[size, replicate]
        counts = folds.held_out.sum(dim=1).tolist()
        order = np.arange(len(counts))
        if race and folds.omits_rows:  # rows are in their own order
            order = np.random.default_rng([len(counts), replicate]).permutation(order)
        for number in order.tolist():
            units.append((replicate, number))
            points.append(counts[number])
    ends = rounds(points) if race else [len(units)]
    return [
        {
            replicate: tuple(number for _, number in members)
            for replicate, members in groupby(units[first:last], lambda unit: unit[0])
        }
        for first, last in pairwise([0, *ends])
    ]
