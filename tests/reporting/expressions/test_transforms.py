"""Input and outcome transforms in words."""

from __future__ import annotations

import pytest
import torch
from botorch.models.transforms import Log, Normalize, Standardize
from botorch.models.transforms.input import (
    ChainedInputTransform,
    FilterFeatures,
    InputStandardize,
    InputTransform,
    Log10,
    Round,
    Warp,
)
from botorch.models.transforms.outcome import Bilog, ChainedOutcomeTransform, Power
from helpers import IDENTITY, assert_close
from reporting_helpers import model_with, numbers, unit_waves

from botorch_xval.reporting.expressions.description import describe

NAMES = ["u", "v"]


@pytest.mark.parametrize(
    "transform, expected",
    [
        (Normalize(2), "scaled to [0, 1]"),
        (Normalize(2, center=0.0), "scaled to [-0.5, 0.5]"),
        (Normalize(2, indices=[1]), "scaled to [0, 1] ('v')"),
        (InputStandardize(2), "standardized"),
        (Log10([0]), "as logarithms to base 10 ('u')"),
        (Log10([0], reverse=True), "as logarithms to base 10 backwards ('u')"),
        (Round(integer_indices=[0]), "rounded"),
    ],
)
def test_input_transforms(transform: InputTransform, expected: str) -> None:
    assert f"\nInputs: {expected}\n" in str(describe(model_with(transform), NAMES))


def test_chained_transforms_and_fitted_warps() -> None:
    warp = Warp(d=2, indices=[1])
    warp.concentration1.data.fill_(1.25)
    warp.concentration0.data.fill_(0.75)
    chain = ChainedInputTransform(scale=Normalize(2), warp=warp)
    text = str(describe(model_with(chain), NAMES))
    assert "\nInputs: scaled to [0, 1]\n" in text
    assert "\nInputs: 'v' as 1 - (1 - x**1.25)**0.75\n" in text
    fewer = ChainedInputTransform(
        log=Log10([1]), keep=FilterFeatures(torch.tensor([1]))
    )
    model = model_with(fewer)
    assert "\nInputs: as logarithms to base 10 (column 1)\n" in str(describe(model))
    assert "\nInputs: transformed by FilterFeatures\n" in str(describe(model))
    assert "compare('v')" in str(describe(model, ["v"]))
    with pytest.raises(
        ValueError, match=r"names: expected 1 names.* got 2: \['u', 'v'\]"
    ):
        describe(model, NAMES)


def test_outcome_transforms() -> None:
    chain = ChainedOutcomeTransform(log=Log(), standardize=Standardize(1))
    description = describe(model_with(outcome_transform=chain))
    assert "\nOutcomes: as natural logarithms\n" in str(description)
    logs = unit_waves()[1].log()
    found = (
        numbers(description, "outcome mean"),
        numbers(description, "outcome deviation"),
    )
    assert_close(found, [[[logs.mean()]], [[logs.std()]]], **IDENTITY)
    text = str(describe(model_with(outcome_transform=Power(0.5))))
    assert "\nOutcomes: to the power of 0.5\n" in text
    text = str(describe(model_with(outcome_transform=Bilog())))
    assert "\nOutcomes: transformed by Bilog\n" in text
