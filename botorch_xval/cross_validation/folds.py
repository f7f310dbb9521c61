"""Which rows each fold of a cross-validation holds out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "Folds",
    "FoldsLike",
    "by_size",
    "grouped",
    "k_fold",
    "leave_one_out",
    "make_folds",
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


def grouped(labels: Sequence[Hashable]) -> Callable[[int], Folds]:
    """One fold per distinct label, in the order of their first rows.

    For rows that belong together: repetitions of a configuration, the trials of a
    study. A fold's model must not see any of them.

    Args:
        labels: One per row.

    Returns:
        A function from the number of rows to their folds.

    Raises:
        ValueError: If there are fewer than two distinct labels; the function raises it
            if there are not as many labels as rows.
    """
    if isinstance(labels, Tensor):
        labels = labels.tolist()
    names = list(dict.fromkeys(labels))
    if len(names) < 2:
        raise ValueError(
            f"grouped: expected at least 2 distinct labels, got {len(names)}"
        )

    def folds(n: int) -> Folds:
        if len(labels) != n:
            raise ValueError(
                f"grouped: expected one label for each of {n} rows, got {len(labels)}"
            )
        held_out = torch.tensor([[label == name for label in labels] for name in names])
        return Folds(held_out, [str(name) for name in names])

    return folds


FoldsLike = Callable[[int], Folds] | Folds | Tensor


def make_folds(
    folds: FoldsLike, n: int, groups: Sequence[Hashable] | None = None
) -> Folds:
    """The folds of `n` rows.

    Args:
        folds: A function of the number of rows such as :func:`leave_one_out`, finished
            folds, or a boolean mask `folds x n` of the held-out rows.
        n: Number of rows.

    Returns:
        The folds.

    Raises:
        ValueError: If they are not folds of `n` rows.
    """
    if callable(folds):
        folds = folds(n)
    if isinstance(folds, Tensor):
        folds = Folds(folds, [f"fold {i}" for i in range(len(folds))])
    if not isinstance(folds, Folds):
        raise ValueError(
            "folds: expected a function, Folds or a bool mask, got "
            f"{type(folds).__name__}"
        )
    if folds.held_out.shape[1] != n:
        raise ValueError(
            f"folds: expected folds of {n} rows, got {folds.held_out.shape[1]}"
        )
    return folds


def by_size(folds: Folds) -> list[list[int]]:
    """Numbers of the folds that have the same number of training rows."""
    groups: dict[int, list[int]] = {}
    for i, size in enumerate((~folds.held_out).sum(dim=1).tolist()):
        groups.setdefault(size, []).append(i)
    return list(groups.values())


def _check_rows(n: int) -> None:
    if n < 2:
        raise ValueError(f"folds: expected at least 2 rows, got {n}")
