"""Which rows each fold of a cross-validation holds out.

:func:`make_folds` turns everything that a `folds=` argument takes into :class:`Folds`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Folds",
    "FoldsLike",
    "Groups",
    "by_size",
    "k_fold",
    "leave_one_out",
    "list_labels",
    "make_folds",
    "number_labels",
    "restrict",
]


@dataclass(frozen=True)
class Folds:
    """Rows held out by each fold; the other rows train its model.

    Raises:
        ValueError: If there is no fold, if the mask or the names have another shape, or
            if a fold holds out no row or all rows.
    """

    held_out: Tensor  # `folds x n`, bool
    names: list[str]  # one per fold, for tables, plots and messages
    groups: Tensor | None = None
    """Number of the label of each row, `n`. Rows of one label are not independent of
    each other, which standard errors have to know; None: every row stands alone."""

    def __post_init__(self) -> None:
        held_out = self.held_out
        if held_out.ndim != 2 or held_out.dtype != torch.bool:
            raise ValueError(
                "folds: expected a bool tensor `folds x n`, got "
                f"{held_out.dtype} of shape {tuple(held_out.shape)}"
            )
        if len(held_out) == 0:
            raise ValueError("folds: expected at least one fold, got none")
        if len(self.names) != len(held_out):
            raise ValueError(
                f"folds: expected one name per fold, got {len(self.names)} names for "
                f"{len(held_out)} folds"
            )
        for what, missing in (
            ("held-out row", ~held_out.any(dim=1)),
            ("training row", held_out.all(dim=1)),
        ):
            if missing.any():
                first = self.names[int(missing.nonzero()[0])]
                raise ValueError(
                    f"folds: expected a {what} in every fold, got none in {first!r}"
                )
        if self.groups is not None and self.groups.shape != held_out.shape[1:]:
            raise ValueError(
                f"folds: expected a group for each of {held_out.shape[1]} rows, got "
                f"the shape {tuple(self.groups.shape)}"
            )


Splits: TypeAlias = Iterable[tuple[Sequence[int] | NDArray[np.integer] | Tensor, ...]]
FoldsLike: TypeAlias = (
    Callable[[int], Any] | Folds | Tensor | NDArray[np.bool_] | Splits
)
"""What :func:`make_folds` takes as `folds`."""

Groups: TypeAlias = Sequence[Hashable] | Tensor | NDArray[Any] | pd.Series | pd.Index
"""What :func:`make_folds` takes as `groups`."""


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
        raise ValueError(f"k: expected at least 2 folds, got {k}")
    if repeats < 1:
        raise ValueError(f"repeats: expected at least 1, got {repeats}")

    def folds(n: int) -> Folds:
        _check_rows(n)
        if k > n:
            raise ValueError(
                f"k: expected at most {n} folds for {n} rows or labels, got {k}"
            )
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


def make_folds(folds: FoldsLike, n: int, groups: Groups | None = None) -> Folds:
    """The folds of `n` rows.

    Args:
        folds: One of

            * a function of the number of rows, such as :func:`leave_one_out` and what
              :func:`k_fold` returns; it may return any of the following,
            * :class:`Folds`,
            * a boolean mask `folds x n` of the held-out rows,
            * an iterable of `(train, test)` pairs of row numbers, such as
              scikit-learn's `KFold(5).split(X)`. Every row must be in one of the two,
              since a fold trains on all rows that it does not hold out.
        n: Number of rows.
        groups: `n` labels. Rows with the same label belong together (repetitions of a
            configuration, the trials of a study): a fold holds out all of them or none.
            A function is then called with the number of distinct labels, and its folds
            of labels, in the order of their first rows, become folds of rows. With
            :func:`leave_one_out` this is one fold per label, with the label as name.

    Returns:
        The folds, which know the groups.

    Raises:
        ValueError: If they are not folds of `n` rows, if there are fewer than two
            distinct labels, or if finished folds separate rows with the same label.
    """
    labels = None if groups is None else list_labels(groups, n)
    if labels is None:
        return _finished(folds(n) if callable(folds) else folds, n)
    distinct = list(dict.fromkeys(labels))
    if len(distinct) < 2:
        raise ValueError(
            f"groups: expected at least 2 distinct labels, got only {distinct[0]!r}"
        )
    label_of_row = number_labels(labels)
    if callable(folds):
        of_labels = _finished(folds(len(distinct)), len(distinct))
        names = of_labels.names
        if names == leave_one_out(len(distinct)).names:
            names = [str(label) for label in distinct]
        columns = label_of_row.to(of_labels.held_out.device)
        return Folds(of_labels.held_out[:, columns], names, groups=label_of_row)
    finished = _finished(folds, n)
    for name, held_out in zip(finished.names, finished.held_out.cpu(), strict=True):
        both = set(label_of_row[held_out].tolist()) & set(
            label_of_row[~held_out].tolist()
        )
        if both:
            raise ValueError(
                "folds: expected all rows of a label on the same side, got rows with "
                f"{distinct[min(both)]!r} on both sides of {name!r}; hold out whole "
                "groups, or give a function such as `k_fold(5)`"
            )
    return replace(finished, groups=label_of_row)


def restrict(folds: Folds, rows: Sequence[int] | NDArray[np.integer]) -> Folds:
    """The folds of some of the rows.

    Args:
        folds: Folds of all rows.
        rows: Numbers of the rows to keep, in the order that the result has them.

    Returns:
        The folds of these rows, with the same names. A fold that holds out none of
        them, or leaves none to train on, is dropped.

    Raises:
        ValueError: If fewer than two folds are left.
    """
    columns = torch.as_tensor(rows, device=folds.held_out.device)
    held_out = folds.held_out[:, columns]
    kept = held_out.any(dim=1) & ~held_out.all(dim=1)
    if (count := int(kept.sum())) < 2:
        raise ValueError(
            "folds: expected at least 2 folds that hold out some of the rows and leave "
            f"others, got {count}; use more rows"
        )
    numbers = kept.nonzero()[:, 0].tolist()
    groups = None if folds.groups is None else folds.groups[columns.cpu()]
    return Folds(held_out[kept], [folds.names[i] for i in numbers], groups=groups)


def number_labels(labels: Sequence[Hashable]) -> Tensor:
    """The number of each label, `n`, counted in the order of their first rows."""
    number = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return torch.tensor([number[label] for label in labels])


def list_labels(groups: Groups, n: int) -> list[Hashable]:
    """The labels of `n` rows as Python values.

    Raises:
        ValueError: If there are not `n` labels, or if one is missing.
    """
    if len(shape := getattr(groups, "shape", (n,))) != 1:
        raise ValueError(
            f"groups: expected one label per row, got the shape {tuple(shape)}; pass a "
            "single column"
        )
    labels = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    if len(labels) != n:
        raise ValueError(f"groups: expected {n} labels, one per row, got {len(labels)}")
    for i, label in enumerate(labels):
        if pd.api.types.is_scalar(label) and pd.isna(label):
            raise ValueError(
                f"groups: expected a label for every row, got {label} for row {i}; "
                "give rows that stand alone a label of their own"
            )
    return labels


def by_size(folds: Folds) -> list[list[int]]:
    """Numbers of the folds that have the same number of training rows."""
    groups: dict[int, list[int]] = {}
    for i, size in enumerate((~folds.held_out).sum(dim=1).tolist()):
        groups.setdefault(size, []).append(i)
    return list(groups.values())


def _finished(folds: Any, n: int) -> Folds:
    """Folds of `n` rows from anything but a function."""
    if isinstance(folds, np.ndarray) and folds.dtype == bool:
        folds = torch.from_numpy(folds)
    if not isinstance(folds, Folds):
        if not isinstance(folds, Tensor):
            folds = _mask_of_splits(folds, n)
        count = len(folds) if folds.ndim else 0
        folds = Folds(folds, [f"fold {i}" for i in range(count)])
    if folds.held_out.shape[1] != n:
        raise ValueError(
            f"folds: expected folds of {n} rows, got {folds.held_out.shape[1]}"
        )
    return folds


def _mask_of_splits(splits: Any, n: int) -> Tensor:
    """`folds x n` for pairs of training and held-out row numbers."""
    if not isinstance(splits, Iterable) or isinstance(splits, (str, bytes)):
        raise ValueError(
            "folds: expected a function, Folds, a bool mask or (train, test) splits, "
            f"got {type(splits).__name__}; for a splitter of scikit-learn pass "
            "`splitter.split(X)`"
        )
    masks = []
    for i, split in enumerate(splits):
        try:
            train, test = (_mask_of_rows(numbers, n) for numbers in split)
        except (TypeError, ValueError) as error:
            raise ValueError(
                "folds: expected pairs (train, test) of row numbers from 0 to "
                f"{n - 1}, got something else in fold {i} ({error})"
            ) from error
        both, neither = train & test, ~(train | test)
        for where, wrong in (("both", both), ("neither", neither)):
            if wrong.any():
                raise ValueError(
                    f"folds: expected every row in train or in test, got row "
                    f"{int(wrong.nonzero()[0])} in {where} of fold {i}; a fold trains "
                    "on all rows that it does not hold out"
                )
        masks.append(test)
    return torch.stack(masks) if masks else torch.zeros(0, n, dtype=torch.bool)


def _mask_of_rows(numbers: Any, n: int) -> Tensor:
    index = torch.as_tensor(numbers).cpu()
    if index.numel() == 0:
        return torch.zeros(n, dtype=torch.bool)
    if index.ndim != 1 or index.dtype == torch.bool or index.is_floating_point():
        raise ValueError(f"{index.dtype} of shape {tuple(index.shape)}")
    if not 0 <= int(index.min()) <= int(index.max()) < n:
        raise ValueError(f"numbers from {int(index.min())} to {int(index.max())}")
    return torch.zeros(n, dtype=torch.bool).index_fill(0, index.long(), True)


def _check_rows(n: int) -> None:
    if n < 2:
        raise ValueError(f"folds: expected at least 2 rows, got {n}")
