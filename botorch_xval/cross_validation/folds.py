"""Which rows each fold of a cross-validation holds out, and which it trains on.

Rows may be in neither part: the future of a trial, or the neighbors of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from botorch_xval.models.checks import check_type, check_whole

__all__ = [
    "Folds",
    "by_size",
    "k_fold",
    "leave_future_out",
    "leave_one_out",
    "restrict",
]


@dataclass(frozen=True)
class Folds:
    """Rows held out by each fold, and those that train its model.

    Raises:
        ValueError: If there is no fold, if a mask or the names have another shape, or
            if a fold holds out no row, trains on none, or has one in both parts.
    """

    held_out: Tensor  #: `folds x n`, bool
    names: list[str]  #: one per fold, for tables, plots and messages
    # `folds x n`, bool; by default all rows that are not held out
    training: Tensor = None  # type: ignore[assignment]
    groups: Tensor | None = None
    """Number of the label of each row, `n`. Rows of one label are not independent of
    each other, which standard errors have to know; None: every row stands alone."""

    def __post_init__(self) -> None:
        for name in ("held_out", "training", "groups"):
            if (mask := getattr(self, name)) is not None or name == "held_out":
                check_type(name, mask, Tensor, "use torch.as_tensor")
                object.__setattr__(self, name, mask.cpu())
        held_out = self.held_out
        if self.training is None and held_out.dtype == torch.bool:
            object.__setattr__(self, "training", ~held_out)
        if held_out.ndim != 2 or held_out.dtype != torch.bool:
            raise ValueError(
                "folds: expected a bool tensor `folds x n`, got "
                f"{held_out.dtype} of shape {tuple(held_out.shape)}; mark the rows "
                "that each fold holds out"
            )
        if len(held_out) == 0:
            raise ValueError(
                "folds: expected at least one fold, got none; see k_fold(5)"
            )
        check_type("names", self.names, Sequence, "pass a list of one name per fold")
        if len(self.names) != len(held_out):
            raise ValueError(
                f"folds: expected one name per fold, got {len(self.names)} names for "
                f"{len(held_out)} folds; give each a name"
            )
        training = self.training
        if training.shape != held_out.shape or training.dtype != torch.bool:
            raise ValueError(
                "folds: expected training rows as a bool tensor of shape "
                f"{tuple(held_out.shape)}, as held-out ones, got {training.dtype} of "
                f"shape {tuple(training.shape)}; leave them out for all other rows"
            )
        for what, missing in (
            ("held-out row", ~held_out.any(dim=1)),
            ("training row", ~training.any(dim=1)),
        ):
            if missing.any():
                first = self.names[int(missing.nonzero()[0])]
                raise ValueError(
                    f"folds: expected a {what} in every fold, got none in {first!r}; "
                    "leave out such folds, or take fewer"
                )
        if (both := held_out & training).any():
            fold, row = both.nonzero()[0].tolist()
            raise ValueError(
                "folds: expected every row in training or held out, got row "
                f"{row} in both of {self.names[fold]!r}; let no fold train on what it "
                "holds out"
            )
        if self.groups is not None and self.groups.shape != held_out.shape[1:]:
            raise ValueError(
                f"folds: expected a group for each of {held_out.shape[1]} rows, got "
                f"the shape {tuple(self.groups.shape)}; number the labels of all rows"
            )

    @property
    def omits_rows(self) -> bool:
        """Whether a fold has rows that it neither holds out nor trains on."""
        return not bool((self.held_out | self.training).all())

    def take(self, numbers: Sequence[int]) -> Folds:
        """Some of the folds, by their numbers."""
        chosen = list(numbers)
        names = [self.names[i] for i in chosen]
        return Folds(self.held_out[chosen], names, self.training[chosen], self.groups)

    def of_rows(self, columns: Tensor) -> Folds:
        """The same folds of other rows: each as that of this number here."""
        masks = self.held_out[:, columns], self.training[:, columns]
        groups = None if self.groups is None else self.groups[columns.cpu()]
        return Folds(masks[0], self.names, masks[1], groups)


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
    check_whole("k", k, 2, "use k_fold(5)")
    check_whole("seed", seed)
    check_whole("repeats", repeats, 1)

    def folds(n: int) -> Folds:
        _check_rows(n)
        if k > n:
            raise ValueError(
                f"k: expected at most {n} folds for {n} rows or labels, got {k}; use "
                "leave_one_out for one row each"
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


def leave_future_out(
    start: int, horizon: int = 1, step: int = 1
) -> Callable[[int], Folds]:
    r"""Rows in the order of time: some are predicted by all earlier ones.

    Fold :math:`j` trains on the rows before :math:`t_j = start + j \cdot step`, holds
    out the `horizon` rows from :math:`t_j` on, and leaves out all later ones
    (Bürkner, Gabry & Vehtari 2020). With `horizon=1` it predicts the next trial of an
    optimization's trace from those that were known then.

    Args:
        start: Training rows of the first fold, at least 2.
        horizon: Rows that each fold holds out.
        step: Rows from one fold to the next.

    Returns:
        A function from the number of rows to their folds.

    Raises:
        ValueError: If an argument is too small; the function raises it if there are not
            `start + horizon` rows.
    """
    for name, value, least in (
        ("start", start, 2),
        ("horizon", horizon, 1),
        ("step", step, 1),
    ):
        check_whole(name, value, least)

    def folds(n: int) -> Folds:
        if n < start + horizon:
            raise ValueError(
                f"folds: expected at least {start + horizon} rows (labels, with groups)"
                f", for a start of {start} and a horizon of {horizon}, got {n}; begin "
                "earlier"
            )
        first = torch.arange(start, n - horizon + 1, step)[:, None]
        rows = torch.arange(n)
        held_out = (rows >= first) & (rows < first + horizon)
        names = [
            f"row {t}" if horizon == 1 else f"rows {t} to {t + horizon - 1}"
            for t in first[:, 0].tolist()
        ]
        return Folds(held_out, names, rows < first)

    folds.in_order = True  # type: ignore[attr-defined]
    return folds


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
    kept = folds.held_out[:, columns].any(dim=1)
    kept &= folds.training[:, columns].any(dim=1)
    if (count := int(kept.sum())) < 2:
        raise ValueError(
            "folds: expected at least 2 folds that hold out some of the rows and leave "
            f"others, got {count}; use more rows"
        )
    return folds.take(kept.nonzero()[:, 0].tolist()).of_rows(columns)


def by_size(training: Tensor) -> list[list[int]]:
    """Numbers of the folds that have the same number of training rows.

    Args:
        training: Boolean mask, `f x n`.
    """
    groups: dict[int, list[int]] = {}
    for i, size in enumerate(training.sum(dim=1).tolist()):
        groups.setdefault(size, []).append(i)
    return list(groups.values())


def _check_rows(n: int) -> None:
    check_whole("n", n, advice="pass the number of rows")
    if n < 2:
        raise ValueError(f"folds: expected at least 2 rows, got {n}; add rows")
