"""Everything that a `folds=` argument takes, as :class:`Folds`, and groups of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from botorch_xval.cross_validation.folds import Folds, leave_one_out
from botorch_xval.models.checks import check_whole, wrong

__all__ = [
    "FoldsLike",
    "Groups",
    "buffered",
    "fits_any_size",
    "hold_out_only",
    "is_in_order",
    "list_labels",
    "make_folds",
    "number_labels",
]


class Splitter(Protocol):
    """What splitters of scikit-learn have."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterable[Any]: ...

    def get_n_splits(self) -> int: ...


Splits: TypeAlias = Iterable[tuple[Sequence[int] | NDArray[np.integer] | Tensor, ...]]
FoldsLike: TypeAlias = (
    Callable[[int], Any] | Folds | Tensor | NDArray[np.bool_] | Splits | Splitter
)
"""What :func:`make_folds` takes as `folds`."""

Groups: TypeAlias = Sequence[Hashable] | Tensor | NDArray[Any] | pd.Series | pd.Index
"""What :func:`make_folds` takes as `groups`."""


def make_folds(folds: FoldsLike, n: int, groups: Groups | None = None) -> Folds:
    """The folds of `n` rows.

    Args:
        folds: One of

            * a function of the number of rows, such as :func:`leave_one_out` and what
              :func:`k_fold` returns; it may return any of the following,
            * :class:`Folds`,
            * a boolean mask `folds x n` of the held-out rows; all others train,
            * an iterable of `(train, test)` pairs of row numbers,
            * a splitter of scikit-learn, such as `KFold(5)` or `TimeSeriesSplit(5)`,
              which sees numbers of rows only.
        n: Number of rows.
        groups: `n` labels. Rows with the same label belong together (repetitions of a
            configuration, the trials of a study): a fold holds out all of them or none.
            A function is then called with the number of distinct labels, and its folds
            of labels, in the order of their first rows, become folds of rows. With
            :func:`leave_one_out` this is one fold per label, with the label as name.
            :func:`leave_future_out`, :func:`buffered` and `TimeSeriesSplit` need the
            rows of each label one after another: the past of a label that another one
            goes on through would have rows of its future.

    Returns:
        The folds, which know the groups.

    Raises:
        ValueError: If they are not folds of `n` rows, if there are fewer than two
            distinct labels, if finished folds separate rows with the same label, or if
            the order of rows counts and labels alternate in it.
    """
    labels = None if groups is None else list_labels(groups, n)
    if hasattr(folds, "get_n_splits"):
        folds = partial(_split, folds)
    if labels is None:
        return _finished(folds(n) if callable(folds) else folds, n)
    distinct = list(dict.fromkeys(labels))
    if len(distinct) < 2:
        raise ValueError(
            f"groups: expected at least 2 distinct labels, got only {distinct[0]!r}; "
            "label the rows that belong together"
        )
    label_of_row = number_labels(labels)
    if callable(folds):
        of_labels = _finished(folds(len(distinct)), len(distinct))
        if is_in_order(folds) or _is_of_the_past(of_labels):
            _check_order(labels)
        known = {f"row {i}": str(label) for i, label in enumerate(distinct)}
        names = [known.get(name, name) for name in of_labels.names]
        columns = label_of_row.to(of_labels.held_out.device)
        return replace(of_labels.of_rows(columns), names=names, groups=label_of_row)
    finished = _finished(folds, n)
    masks = finished.held_out.cpu(), finished.training.cpu()
    for name, held_out, training in zip(finished.names, *masks, strict=True):
        both = set(label_of_row[held_out].tolist()) & set(
            label_of_row[training].tolist()
        )
        if both:
            raise ValueError(
                "folds: expected all rows of a label on the same side, got rows with "
                f"{distinct[min(both)]!r} on both sides of {name!r}; hold out whole "
                "groups, or give a function such as `k_fold(5)`"
            )
    return replace(finished, groups=label_of_row)


def fits_any_size(folds: FoldsLike) -> bool:
    """Whether `folds` makes folds of any number of rows: a function or a splitter."""
    return callable(folds) or hasattr(folds, "get_n_splits")


def is_in_order(folds: FoldsLike) -> bool:
    """Whether `folds` takes rows to be in an order, as in time."""
    return getattr(folds, "in_order", False)


def buffered(folds: FoldsLike, buffer: int) -> Callable[[int], Folds]:
    """Folds that do not train on the neighbors of the rows that they hold out.

    For rows in an order in which neighbors are alike, as in time (h-block
    cross-validation: Burman, Chow & Nolan 1994; Racine 2000).

    Args:
        folds: See :func:`make_folds`.
        buffer: How far from a held-out row another one has to be, in rows (in labels,
            if there are groups), to train a model: by more than so many.

    Returns:
        A function from the number of rows to their folds.

    Raises:
        ValueError: If `buffer < 1`; the function raises it if a fold is left without a
            training row.
    """
    check_whole("buffer", buffer, 1, "leave buffered out for no buffer")

    def made(n: int) -> Folds:
        own = make_folds(folds, n)
        near = own.held_out.clone()
        for distance in range(1, min(buffer, n - 1) + 1):
            near[:, distance:] |= own.held_out[:, :-distance]
            near[:, :-distance] |= own.held_out[:, distance:]
        return replace(own, training=own.training & ~near)

    made.in_order = True  # type: ignore[attr-defined]
    return made


def hold_out_only(
    rows: Sequence[bool] | Tensor | NDArray[np.bool_],
    folds: FoldsLike = leave_one_out,
    groups: Groups | None = None,
) -> Folds:
    """Folds of some rows; all others train every model.

    How well are the rows of a target task or of the highest fidelity predicted, with
    the help of all others?

    Args:
        rows: Boolean mask, `n`, of the rows that folds hold out.
        folds: Folds of these rows, see :func:`make_folds`.
        groups: A label of each of all rows, `n`: those of one label are held out
            together, also rows that are not scored, as the same design in other tasks.

    Returns:
        The folds of all rows.

    Raises:
        ValueError: If `rows` is no mask, if there are fewer than two such rows, or
            see :func:`make_folds`.
    """
    expected = "a boolean mask of one dimension"
    remedy = "pass one such as `train_X[:, -1] == 0`"
    try:
        mask = torch.as_tensor(rows).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise wrong("rows", expected, type(rows).__name__, remedy) from error
    if mask.dtype != torch.bool or mask.ndim != 1:
        got = f"{mask.dtype} of shape {tuple(mask.shape)}"
        raise wrong("rows", expected, got, remedy)
    chosen = mask.nonzero()[:, 0]
    if len(chosen) < 2:
        raise ValueError(
            f"rows: expected at least 2 rows to hold out, got {len(chosen)}; mark "
            "more of them"
        )
    labels = None if groups is None else list_labels(groups, len(mask))
    chosen_labels = None if labels is None else [labels[i] for i in chosen.tolist()]
    made = make_folds(folds, len(chosen), chosen_labels)
    held_out = torch.zeros(len(made.names), len(mask), dtype=torch.bool)
    training = (~mask).expand(len(made.names), -1).clone()
    held_out[:, chosen], training[:, chosen] = made.held_out, made.training
    names = made.names
    if labels is None:
        known = {f"row {j}": f"row {i}" for j, i in enumerate(chosen.tolist())}
        names = [known.get(name, name) for name in names]
    else:
        for i, mine in enumerate(held_out):
            gone = {labels[j] for j in mine.nonzero()[:, 0].tolist()}
            training[i] &= torch.tensor([label not in gone for label in labels])
    own = None if labels is None else number_labels(labels)
    return Folds(held_out, names, training, own)


def number_labels(labels: Sequence[Hashable]) -> Tensor:
    """The number of each label, `n`, counted in the order of their first rows."""
    number = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return torch.tensor([number[label] for label in labels])


def list_labels(groups: Groups, n: int, argument: str = "groups") -> list[Hashable]:
    """The labels of `n` rows as Python values.

    Raises:
        ValueError: If there are not `n` labels, or if one is missing.
    """
    if len(shape := getattr(groups, "shape", (n,))) != 1:
        got = f"the shape {tuple(shape)}"
        raise wrong(argument, "one label per row", got, "pass a single column")
    if isinstance(groups, str) or not isinstance(groups, Iterable):
        got, remedy = repr(groups), "pass a list or a column of labels"
        raise wrong(argument, "one label per row", got, remedy)
    labels = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    if len(labels) != n:
        remedy = "label all rows of the data"
        raise wrong(argument, f"{n} labels, one per row", len(labels), remedy)
    for i, label in enumerate(labels):
        if not isinstance(label, Hashable):
            remedy = "pass text or numbers, or make it a tuple"
            raise wrong(argument, "labels", f"{label!r} for row {i}", remedy)
        if pd.api.types.is_scalar(label) and pd.isna(label):
            raise ValueError(
                f"{argument}: expected a label for every row, got {label} for row {i}; "
                "give rows that stand alone a label of their own"
            )
    return labels


def _is_of_the_past(folds: Folds) -> bool:
    """Whether every fold trains on what comes before it, and some leave out the rest.

    These are folds in time of another library, which does not say so.
    """
    first = folds.held_out.int().argmax(dim=1, keepdim=True)
    later = torch.arange(folds.training.shape[1], device=first.device) > first
    return folds.omits_rows and not bool((folds.training & later).any())


def _check_order(labels: Sequence[Hashable]) -> None:
    """Refuse a label that comes again after another one."""
    last: dict[Hashable, int] = {}
    for i, label in enumerate(labels):
        if last.get(label, i - 1) != i - 1:
            raise ValueError(
                "groups: expected the rows of a label one after another, where folds "
                f"are in the order of rows, got row {i} of {label!r} after row {i - 1} "
                f"of {labels[i - 1]!r}, which comes after row {last[label]} of "
                f"{label!r}; sort the rows by label, or give labels that overlap in "
                "time the same label"
            )
        last[label] = i


def _finished(folds: Any, n: int) -> Folds:
    """Folds of `n` rows from anything but a function."""
    if isinstance(folds, np.ndarray) and folds.dtype == bool:
        folds = torch.from_numpy(folds)
    if not isinstance(folds, Folds):
        training = None
        if not isinstance(folds, Tensor):
            training, folds = _masks_of_splits(folds, n)
        count = len(folds) if folds.ndim else 0
        names = [f"fold {i}" for i in range(count)]
        folds = Folds(folds, names, training)  # type: ignore[arg-type]
    if folds.held_out.shape[1] != n:
        raise ValueError(
            f"folds: expected folds of {n} rows, got {folds.held_out.shape[1]}; make "
            "them for these rows"
        )
    return folds


def _split(splitter: Any, n: int) -> list[Any]:
    """The splits of a splitter of scikit-learn, which sees numbers of rows only."""
    rows = np.arange(n)
    with warnings.catch_warnings():  # some say that they ignore groups
        warnings.filterwarnings("ignore", message=".*groups", category=UserWarning)
        return list(splitter.split(rows[:, None], None, rows))


def _masks_of_splits(splits: Any, n: int) -> tuple[Tensor, Tensor]:
    """`folds x n` of training and of held-out rows, for pairs of row numbers."""
    if not isinstance(splits, Iterable) or isinstance(splits, (str, bytes)):
        raise ValueError(
            "folds: expected a function such as k_fold(5), Folds, a bool mask, (train, "
            f"test) splits or a splitter of scikit-learn, got {type(splits).__name__}; "
            "use k_fold(5) for five folds"
        )
    masks = []
    for i, split in enumerate(splits):
        try:
            train, test = (_mask_of_rows(numbers, n) for numbers in split)
        except (TypeError, ValueError) as error:
            raise ValueError(
                "folds: expected pairs (train, test) of row numbers from 0 to "
                f"{n - 1}, got something else in fold {i} ({error}); give each fold "
                "two lists of rows"
            ) from error
        masks.append(torch.stack([train, test]))
    if not masks:
        return (torch.zeros(0, n, dtype=torch.bool),) * 2
    training, held_out = torch.stack(masks, dim=1)
    return training, held_out


def _mask_of_rows(numbers: Any, n: int) -> Tensor:
    index = torch.as_tensor(numbers).cpu()
    if index.numel() == 0:
        return torch.zeros(n, dtype=torch.bool)
    if index.ndim != 1 or index.dtype == torch.bool or index.is_floating_point():
        raise ValueError(f"{index.dtype} of shape {tuple(index.shape)}")
    if not 0 <= int(index.min()) <= int(index.max()) < n:
        raise ValueError(f"numbers from {int(index.min())} to {int(index.max())}")
    return torch.zeros(n, dtype=torch.bool).index_fill(0, index.long(), True)
