"""Which rows each fold of a cross-validation holds out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Folds",
    "FoldsLike",
    "by_size",
    "k_fold",
    "leave_one_out",
    "make_folds",
    "restrict",
]


@dataclass(frozen=True)
class Folds:
    """Rows held out by each fold; the other rows train it."""

    held_out: Tensor  # `folds x n`, bool
    names: list[str]  # one per fold, for tables, plots and messages

    def __post_init__(self) -> None:
        held_out = self.held_out
        if held_out.ndim != 2 or held_out.dtype != torch.bool:
            raise ValueError(
                "folds: expected a bool tensor `folds x n`, got "
                f"{held_out.dtype} of shape {tuple(held_out.shape)}"
            )
        if len(self.names) != len(held_out):
            raise ValueError(
                f"folds: expected one name per fold, got {len(self.names)} names for "
                f"{len(held_out)} folds"
            )
        for what, missing in (
            ("holds out no row", ~held_out.any(dim=1)),
            ("has no training row", held_out.all(dim=1)),
        ):
            if missing.any():
                first = self.names[int(missing.nonzero()[0])]
                raise ValueError(f"folds: fold {first!r} {what}")


def leave_one_out(n: int) -> Folds:
    """Every row once, alone: `n` folds of `n - 1` training rows."""
    _check_rows(n)
    return Folds(torch.eye(n, dtype=torch.bool), [f"row {i}" for i in range(n)])


def k_fold(k: int, seed: int = 0, repeats: int = 1) -> Callable[[int], Folds]:
    """`k` folds of nearly equal size after a seeded shuffle, or several such shuffles.

    Args:
        k: Number of folds, at least 2.
        seed: Of the shuffles.
        repeats: How many shuffles; every row is held out once in each.

    Returns:
        A function from the number of rows to their folds.

    Raises:
        ValueError: If `k < 2` or `repeats < 1`; the function raises it if there are
            fewer rows than `k`.
    """
    if k < 2:
        raise ValueError(f"k_fold: expected at least 2 folds, got k={k}")
    if repeats < 1:
        raise ValueError(f"k_fold: expected at least 1 repeat, got {repeats}")

    def folds(n: int) -> Folds:
        _check_rows(n)
        if k > n:
            raise ValueError(f"k_fold: expected k <= n, got k={k} folds of n={n} rows")
        generator = torch.Generator().manual_seed(seed)
        held_out = torch.zeros(repeats, k, n, dtype=torch.bool)
        for one in held_out:
            one[torch.arange(n) % k, torch.randperm(n, generator=generator)] = True
        names = [
            f"fold {i}" if repeats == 1 else f"repeat {r}, fold {i}"
            for r in range(repeats)
            for i in range(k)
        ]
        return Folds(held_out.reshape(-1, n), names)

    return folds


FoldsLike = (
    Callable[[int], Folds]
    | Folds
    | Tensor
    | Iterable[tuple[Sequence[int], Sequence[int]]]
)
"""What every function takes as `folds`, see :func:`make_folds`."""


def make_folds(
    folds: FoldsLike, n: int, groups: Sequence[Hashable] | None = None
) -> Folds:
    """The folds of `n` rows.

    Args:
        folds: A function of the number of rows such as :func:`leave_one_out`, finished
            folds, a boolean mask `folds x n` of the held-out rows, or an iterable of
            `(train, test)` row numbers, as scikit-learn's splitters make them; each row
            has to be in one of the two.
        n: Number of rows.
        groups: A label for each row; rows of one label are held out together. A
            function is called with the number of labels, and its folds are those of
            labels in the order of their first rows; :func:`leave_one_out` makes a fold
            for each label, with its name.

    Returns:
        The folds.

    Raises:
        ValueError: If they are not folds of `n` rows, if there are not as many labels
            as rows or fewer than two distinct ones, or if finished folds have rows of
            one label on both sides.
    """
    labels = None if groups is None else _labels(groups, n)
    if callable(folds):
        if labels is not None:
            return _of_labels(folds, labels)
        folds = folds(n)
    if isinstance(folds, Tensor):
        made = Folds(folds, [f"fold {i}" for i in range(len(folds))])
    elif isinstance(folds, Folds):
        made = folds
    elif isinstance(folds, Iterable) and not isinstance(folds, str):
        made = _of_splits(folds, n)
    else:
        raise ValueError(
            "folds: expected a function of the number of rows, Folds, a bool mask or "
            f"(train, test) splits, got {type(folds).__name__}"
        )
    if made.held_out.shape[1] != n:
        raise ValueError(
            f"folds: expected folds of {n} rows, got {made.held_out.shape[1]}"
        )
    if labels is not None:
        _check_together(made, labels)
    return made


def restrict(folds: Folds, rows: Sequence[int]) -> Folds:
    """The folds of some of the rows, in this order.

    Folds that hold out none of the rows, or leave none to train on, are left out.

    Args:
        folds: Of all rows.
        rows: Numbers of the rows to keep.

    Raises:
        ValueError: If fewer than two folds are left.
    """
    held_out = folds.held_out[:, torch.as_tensor(rows)]
    kept = (held_out.any(dim=1) & ~held_out.all(dim=1)).nonzero()[:, 0].tolist()
    if len(kept) < 2:
        raise ValueError(
            f"folds: expected at least 2 folds that hold out some of {len(rows)} rows "
            f"and train on others, got {len(kept)}; use more rows, or other folds"
        )
    return Folds(held_out[kept], [folds.names[i] for i in kept])


def _labels(groups: Sequence[Hashable], n: int) -> list[Hashable]:
    """Labels as a list, of a tensor, an array or a column by position."""
    labels = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    if len(labels) != n:
        raise ValueError(
            f"groups: expected one label for each of {n} rows, got {len(labels)}"
        )
    if len(set(labels)) < 2:
        raise ValueError(
            f"groups: expected at least 2 distinct labels among {n} rows, got "
            f"{len(set(labels))}; use more rows"
        )
    return labels


def _of_labels(folds: Callable[[int], Folds], labels: list[Hashable]) -> Folds:
    """Folds of labels, as folds of the rows that have them."""
    distinct = list(dict.fromkeys(labels))
    made = make_folds(folds, len(distinct))
    numbers = torch.tensor([distinct.index(label) for label in labels])
    names = list(made.names)
    for i, held_out in enumerate(made.held_out):
        if folds is leave_one_out:
            names[i] = str(distinct[int(held_out.nonzero()[0])])
    return Folds(made.held_out[:, numbers], names)


def _of_splits(splits: Iterable[Any], n: int) -> Folds:
    masks = []
    for i, split in enumerate(splits):
        try:
            train, test = (
                torch.as_tensor(np.asarray(part), dtype=torch.long) for part in split
            )
            rows = torch.cat([train, test])
            is_whole = torch.equal(rows.sort().values, torch.arange(n))
        except (TypeError, ValueError, RuntimeError):
            is_whole = False
        if not is_whole:
            raise ValueError(
                f"folds: expected split {i} to be (train, test) with each of the {n} "
                "row numbers in one of the two; leave no row out of both"
            )
        mask = torch.zeros(n, dtype=torch.bool)
        mask[test] = True
        masks.append(mask)
    if not masks:
        raise ValueError("folds: expected at least one (train, test) split, got none")
    return Folds(torch.stack(masks), [f"fold {i}" for i in range(len(masks))])


def _check_together(folds: Folds, labels: list[Hashable]) -> None:
    for label in dict.fromkeys(labels):
        rows = torch.tensor([each == label for each in labels])
        held_out = folds.held_out[:, rows]
        split = held_out.any(dim=1) & ~held_out.all(dim=1)
        if split.any():
            name = folds.names[int(split.nonzero()[0])]
            raise ValueError(
                f"folds: expected rows of one label on one side of each fold, but fold "
                f"{name!r} holds out only some of the rows of {label!r}"
            )


def by_size(folds: Folds) -> list[list[int]]:
    """Numbers of the folds that have the same number of training rows."""
    groups: dict[int, list[int]] = {}
    for i, size in enumerate((~folds.held_out).sum(dim=1).tolist()):
        groups.setdefault(size, []).append(i)
    return list(groups.values())


def _check_rows(n: int) -> None:
    if n < 2:
        raise ValueError(f"folds: expected at least 2 rows, got {n}")
