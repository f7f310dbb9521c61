"""Scales of a page: every number stands inside, at its place, with round ticks."""

from __future__ import annotations

import math

import pytest
from helpers import assert_close

from botorch_xval.reporting.expressions.scales import (
    MARGIN,
    WIDTH,
    Scale,
    kind_of,
    scales_of,
)
from botorch_xval.reporting.expressions.tree import Value


@pytest.mark.parametrize("logarithmic", [True, False])
@pytest.mark.parametrize(
    "numbers", [(0.03, 7.0), (1.0, 1.0), (250.0, 260.0), (1e-9, 1e6), (math.nan,)]
)
def test_a_scale_holds_its_numbers_between_round_ends(numbers, logarithmic):
    (scale,) = scales_of([Value("a", "scale", numbers, logarithmic)]).values()
    for number in filter(math.isfinite, numbers):
        assert MARGIN - 1e-9 <= scale.position(number) <= WIDTH - MARGIN + 1e-9
    assert_close(scale.position(scale.low), MARGIN)
    assert_close(scale.position(scale.high), WIDTH - MARGIN)
    ticks = scale.ticks()
    assert ticks == sorted(set(ticks)) and 1 <= len(ticks) <= 6
    assert all(scale.low * 0.999 <= tick <= scale.high * 1.001 for tick in ticks)


def test_one_scale_for_each_kind():
    values = [
        Value("a", "lengthscale", (0.5, 2.0)),
        Value("b", "lengthscale", (8.0, 16.0)),
        Value("c", "weight", (0.25, 0.5), False),
        Value("d", "lengthscale", (1.0, 2.0), False),
    ]
    scales = scales_of(values)
    assert list(scales) == [
        ("lengthscale", True),
        ("weight", False),
        ("lengthscale", False),
    ]
    assert scales[kind_of(values[1])] == Scale("lengthscale", 0.5, 20.0, True)
    assert scales["weight", False] == Scale("weight", 0.0, 1.0, False)


def test_a_logarithmic_scale_is_even_in_ratios():
    scale = Scale("scale", 0.01, 100.0, True)
    assert_close(scale.position(1.0), WIDTH / 2)
    assert scale.ticks() == [0.01, 0.1, 1.0, 10.0, 100.0]
    assert scale.line().count("v6") == 5
