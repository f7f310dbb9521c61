"""Results of cross-validations in files: NumPy's `.npz`, of numbers and text only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from botorch.optim.core import OptimizationStatus

from botorch_xval.cross_validation.fold_records import FoldFit
from botorch_xval.cross_validation.folds import Folds
from botorch_xval.cross_validation.linked import LINKED, Linked
from botorch_xval.cross_validation.links import Link
from botorch_xval.cross_validation.mixtures import MIXED, Mixture
from botorch_xval.cross_validation.points import POINTS
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
    """The fields that :func:`write_result` has written; tensors are on the CPU."""
    with np.load(path, allow_pickle=False) as data:
        text = json.loads(str(data["text"]))
        tensors: dict[str, Any] = {
            name: torch.from_numpy(data[name]) for name in ("rows", "fold_of", *POINTS)
        }
        masks = {
            name: torch.from_numpy(data[name])
            for name in ("held_out", "training", "groups")
            if name in data
        }
        if "whitened" in data:
            tensors["whitened"] = torch.from_numpy(data["whitened"])
        if "links" in text:
            parts = {n: torch.from_numpy(data[f"linked_{n}"]) for n in LINKED}
            links = tuple(Link(**link) for link in text["links"])
            tensors["linked"] = Linked(links, **parts)
        if "mixed_weights" in data:
            parts = {n: torch.from_numpy(data[f"mixed_{n}"]) for n in MIXED}
            tensors["mixture"] = Mixture(**parts)
    fits = []
    for fit in text["fits"]:
        record = fit["record"]
        for name in ("losses", "at_bounds"):
            record[name] = tuple(record.get(name, ()))
        record["status"] = OptimizationStatus[record["status"]]
        record["optima"] = tuple(map(_optimum, record.get("optima", ())))
        fits.append(FoldFit(**{**fit, "record": FitRecord(**record)}))
    folds = Folds(names=text["names"], **masks)
    estimate = text.get("estimate")
    return {
        **tensors,
        "folds": folds,
        "fits": fits,
        "failed": text["failed"],
        "full_evaluations": text["full_evaluations"],
        "corrected": text.get("corrected"),
        "estimate": None if estimate is None else Estimate(**estimate),
    }


def _optimum(saved: dict[str, Any]) -> Optimum:
    """An optimum of a record as it was written to a file."""
    values = {name: tuple(numbers) for name, numbers in saved["values"].items()}
    lists = {name: tuple(saved[name]) for name in ("starts", "at_modes")}
    return Optimum(**{**saved, "values": values, **lists})
