"""What input and outcome transforms do, in words."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from botorch.models.transforms.input import (
    AffineInputTransform,
    ChainedInputTransform,
    InputStandardize,
    InputTransform,
    Log10,
    Normalize,
    Round,
    Warp,
)
from botorch.models.transforms.outcome import (
    ChainedOutcomeTransform,
    Log,
    OutcomeTransform,
    Power,
    Standardize,
)

from botorch_xval.reporting.expressions.tree import Statement, Value, format_number
from botorch_xval.reporting.expressions.values import Reader

__all__ = ["input_statements", "outcome_statements"]


def input_statements(
    transform: InputTransform, features: tuple[str, ...], reader: Reader
) -> Iterator[Statement]:
    """Say what an input transform does, one statement for each part of a chain.

    Args:
        transform: Any input transform; an unknown one is named.
        features: Names of the columns after the transform. The columns before it have
            the same names, or numbers if a part is not known to keep the columns.
        reader: Reads the numbers of fitted parameters.

    Yields:
        The statements, in the order of the parts.
    """
    parts = list(_parts(transform))
    keeps = (AffineInputTransform, Log10, Round, Warp)
    if all(isinstance(part, keeps) for part in parts):
        names = [repr(name) for name in features]
    else:
        names = []
    for part in parts:
        yield from _input_statements(part, names, reader)


def _parts(transform: InputTransform) -> Iterator[InputTransform]:
    if isinstance(transform, ChainedInputTransform):
        for part in transform.values():
            yield from _parts(part)
    else:
        yield transform


def _input_statements(
    transform: InputTransform, names: list[str], reader: Reader
) -> Iterator[Statement]:
    some = names or ["all columns"]
    if torch.is_tensor(indices := getattr(transform, "indices", None)):
        some = [names[i] if names else f"column {i}" for i in indices.tolist()]
    is_reverse = getattr(transform, "reverse", False)
    if isinstance(transform, Warp) and not is_reverse:
        for i, name in enumerate(some):
            c0, c1 = (
                reader.value(
                    concentration.flatten(len(transform.batch_shape))[..., i],
                    f"{which} concentration of {name}",
                    "concentration",
                )
                for which, concentration in (
                    ("outer", transform.concentration0),
                    ("inner", transform.concentration1),
                )
            )
            yield Statement((f"Inputs: {name} as 1 - (1 - x**", c1, ")**", c0))
        return
    other = [name for name in names if name not in some]
    which = f" ({', '.join(some)})"
    if some in (names, ["all columns"]):
        which = ""
    elif names and len(other) < len(some):
        which = f" (all but {', '.join(other)})"
    if isinstance(transform, Normalize):
        low, high = (format_number(transform.center + half) for half in (-0.5, 0.5))
        what = f"scaled to [{low}, {high}]"
    elif isinstance(transform, InputStandardize):
        what = "standardized"
    elif isinstance(transform, Log10):
        what = "as logarithms to base 10"
    elif isinstance(transform, Round):
        what, which = "rounded", ""
    else:
        what, which = f"transformed by {type(transform).__name__}", ""
    yield Statement((f"Inputs: {what}{' backwards' * is_reverse}{which}",))


def outcome_statements(
    transform: OutcomeTransform, reader: Reader
) -> Iterator[Statement]:
    """Say what an outcome transform does, one statement for each part of a chain.

    Args:
        transform: Any outcome transform; an unknown one is named.
        reader: Reads the numbers of means and deviations.

    Yields:
        The statements, in the order of the parts.
    """
    if isinstance(transform, ChainedOutcomeTransform):
        for part in transform.values():
            yield from outcome_statements(part, reader)
    elif isinstance(transform, Standardize):
        yield from _standardized(transform, reader)
    elif isinstance(transform, Log):
        yield Statement(("Outcomes: as natural logarithms",))
    elif isinstance(transform, Power):
        power = format_number(transform.power)
        yield Statement((f"Outcomes: to the power of {power}",))
    else:
        yield Statement((f"Outcomes: transformed by {type(transform).__name__}",))


def _standardized(transform: Standardize, reader: Reader) -> Iterator[Statement]:
    """One statement, or one for each task that has its own mean."""
    kinds = {"outcome mean": transform.means, "outcome deviation": transform.stdvs}
    each: list[list[Value]] = []
    for kind, tensor in kinds.items():
        tensor = tensor.flatten(-2)  # 1 x m or, stratified, tasks x 1
        logarithmic = kind == "outcome deviation"
        if reader.output is not None:
            each.append([reader.value(tensor, kind, kind, logarithmic)])
        else:
            names = [kind] * tensor.shape[-1]
            each.append(reader.values(tensor, names, kind, logarithmic))
    for i, (mean, deviation) in enumerate(zip(*each, strict=True)):
        which = f" of task {reader.task(i)}" if len(each[0]) > 1 else ""
        yield Statement(
            (
                f"Outcomes{which}: standardized (mean ",
                mean,
                ", deviation ",
                deviation,
                ")",
            )
        )
