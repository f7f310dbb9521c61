"""Results of cross-validations in files: NumPy's `.npz`, of numbers and text only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from botorch.optim.core import OptimizationStatus
from torch import Tensor

from botorch_xval.cross_validation.files import checked, read_arrays
from botorch_xval.cross_validation.fold_records import FoldFit
from botorch_xval.cross_validation.folds import Folds
from botorch_xval.cross_validation.linked import LINKED, POINTS, Linked
from botorch_xval.cross_validation.links import Link
from botorch_xval.cross_validation.mixtures import MIXED, Mixture
from botorch_xval.cross_validation.sampling import Estimate
from botorch_xval.fitting.records import FitRecord, Optimum

__all__ = ["read_result", "write_result"]


def write_result(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a result to one file.

    Args:
        path: Of the file, which is replaced.
        content: The fields of a :class:`CrossValidation`; its models are not written.
    """
    fits, folds = content["fits"], content["folds"]
    records = [fit.record for fit in fits]
    estimate, linked = content["estimate"], content["linked"]
    whitened, mixture = content["whitened"], content["mixture"]
    text = {
        "names": folds.names,
        "failed": content["failed"],
        "full_evaluations": content["full_evaluations"],
        "corrected": content["corrected"],
        "estimate": None if estimate is None else asdict(estimate),
        "fits": [
            {**asdict(fit), "record": {**asdict(r), "status": r.status.name}}
            for fit, r in zip(fits, records, strict=True)
        ],
    }
    arrays = {n: content[n].cpu().numpy() for n in ("rows", "fold_of", *POINTS)}
    arrays["held_out"] = folds.held_out.numpy()
    if folds.omits_rows:
        arrays["training"] = folds.training.numpy()
    if folds.groups is not None:
        arrays["groups"] = folds.groups.numpy()
    if whitened is not None:
        arrays["whitened"] = whitened.cpu().numpy()
    if linked is not None:
        text["links"] = [asdict(link) for link in linked.links]
        for name in LINKED:
            arrays[f"linked_{name}"] = getattr(linked, name).cpu().numpy()
    if mixture is not None:
        for name in MIXED:
            arrays[f"mixed_{name}"] = getattr(mixture, name).cpu().numpy()
    with open(path, "wb") as file:  # `savez` would append to a name
        np.savez_compressed(file, text=np.array(json.dumps(text)), **arrays)


def read_result(path: str | Path) -> dict[str, Any]:
    """The fields that :func:`write_result` has written; tensors are on the CPU.

    Raises:
        ValueError: If the file is something else.
    """
    with checked(path, "CrossValidation.save") as file:
        data = read_arrays(file)
        text = json.loads(str(data["text"]))
        found = _tensors(data, text)
        found["folds"] = folds = Folds(
            names=list(map(str, text["names"])),
            **{
                name: torch.from_numpy(data[name])
                for name in ("held_out", "training", "groups")
                if name in data
            },
        )
        estimate = text.get("estimate")
        found |= {
            "fits": [_fit(saved, len(folds.names)) for saved in text["fits"]],
            "failed": {str(k): str(v) for k, v in text["failed"].items()},
            "full_evaluations": int(text["full_evaluations"]),
            "corrected": text.get("corrected"),
            "estimate": None if estimate is None else _of(Estimate, estimate),
        }
        if not isinstance(found["corrected"], float | None):
            raise TypeError(f"corrected: {found['corrected']!r}")
        _check_numbers(found["rows"], folds.held_out.shape[1])
        _check_numbers(found["fold_of"], len(folds.names))
    return found


def _tensors(data: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    """The predictions, of one shape."""

    def take(prefix: str, names: Iterable[str]) -> dict[str, Tensor]:
        return {n: torch.from_numpy(data[f"{prefix}{n}"]) for n in names}

    found: dict[str, Any] = take("", ("rows", "fold_of", *POINTS))
    shape = found["mean"].shape
    same = [found[name] for name in POINTS]
    if "whitened" in data:
        found |= take("", ["whitened"])
        same.append(found["whitened"])
    if "links" in text:
        parts = take("linked_", LINKED)
        same += parts.values()
        found["linked"] = Linked(tuple(_of(Link, k) for k in text["links"]), **parts)
        if len(text["links"]) != shape[1]:
            raise ValueError(f"{len(text['links'])} links of {shape[1]} outputs")
    if "mixed_weights" in data:
        parts = take("mixed_", MIXED)
        found["mixture"] = Mixture(**parts)
        if any(len(part) != len(found["mean"]) for part in parts.values()):
            raise ValueError("a mixture of other points")
    if len(shape) != 2 or len(found["rows"]) != shape[0]:
        raise ValueError(f"predictions of shape {tuple(shape)}")
    for values in same:
        if values.shape != shape or not values.is_floating_point():
            raise ValueError(f"{values.dtype} of shape {tuple(values.shape)}")
    return found


def _check_numbers(numbers: Tensor, count: int) -> None:
    """Refuse numbers of rows or folds that do not exist."""
    is_whole = numbers.dtype == torch.int64 and numbers.ndim == 1
    if not is_whole or bool(((numbers < 0) | (numbers >= count)).any()):
        raise ValueError(f"numbers of {count} rows or folds that do not exist")


def _fit(saved: dict[str, Any], count: int) -> FoldFit:
    """The fit of one of so many folds as it was written to a file."""
    record = dict(saved["record"])
    for name in ("losses", "at_bounds"):
        record[name] = tuple(record.get(name, ()))
    record["status"] = OptimizationStatus[record["status"]]
    record["optima"] = tuple(map(_optimum, record.get("optima", ())))
    fit = _of(FoldFit, {**saved, "record": _of(FitRecord, record)})
    if not 0 <= fit.fold < count:
        raise ValueError(f"the fit of fold {fit.fold} of {count}")
    return fit


def _optimum(saved: dict[str, Any]) -> Optimum:
    """An optimum of a record as it was written to a file."""
    values = {name: tuple(numbers) for name, numbers in saved["values"].items()}
    lists = {name: tuple(saved[name]) for name in ("starts", "at_modes")}
    return _of(Optimum, {**saved, "values": values, **lists})


TYPES: dict[str, Any] = {
    "int": int,
    "float": (int, float),
    "str": str,
    "bool": bool,
    "tuple[float, ...]": (int, float),
    "tuple[str, ...]": str,
}


def _of(kind: Any, saved: dict[str, Any]) -> Any:
    """A record of a file, whose fields have the types that they should have."""
    for each in fields(kind):
        written = str(each.type)
        expected = TYPES.get(written)
        if expected is None or each.name not in saved:
            continue
        value = saved[each.name]
        for one in value if written.startswith("tuple") else [value]:
            if not isinstance(one, expected):
                raise TypeError(f"{kind.__name__}.{each.name}: {value!r}")
    return kind(**saved)
