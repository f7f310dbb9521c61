"""Which rows each fold of a cross-validation holds out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Folds", "by_size", "k_fold", "leave_one_out", "make_folds"]


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


def k_fold(k: int, seed: int = 0) -> Callable[[int], Folds]:
    """`k` folds of nearly equal size after a seeded shuffle.

    Args:
        k: Number of folds, at least 2.
        seed: Of the shuffle.

    Returns:
        A function from the number of rows to their folds.

    Raises:
        ValueError: If `k < 2`; the function raises it if there are fewer rows than `k`.
    """
    if k < 2:
        raise ValueError(f"k_fold: expected at least 2 folds, got k={k}")

    def folds(n: int) -> Folds:
        _check_rows(n)
        if k > n:
            raise ValueError(f"k_fold: expected k <= n, got k={k} folds of n={n} rows")
        generator = torch.Generator().manual_seed(seed)
        held_out = torch.zeros(k, n, dtype=torch.bool)
        order = torch.randperm(n, generator=generator)
        held_out[torch.arange(n) % k, order] = True
        return Folds(held_out, [f"fold {i}" for i in range(k)])

    return folds


def make_folds(folds: Callable[[int], Folds] | Folds | Tensor, n: int) -> Folds:
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
