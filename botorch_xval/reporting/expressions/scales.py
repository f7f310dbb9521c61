"""The scales of a page: where a number stands on the strip of its kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from botorch_xval.reporting.expressions.tree import Value

__all__ = ["HEIGHT", "MARGIN", "WIDTH", "Kind", "Scale", "kind_of", "scales_of"]

WIDTH, HEIGHT, MARGIN = 180, 20, 8  # of a strip, in units of its SVG image

Kind: TypeAlias = tuple[str, bool]


@dataclass(frozen=True)
class Scale:
    """A scale from `low` to `high`, drawn as a strip."""

    kind: str
    low: float
    high: float
    logarithmic: bool

    def position(self, number: float) -> float:
        """The distance of a number from the left end of the strip, in SVG units."""
        low, high = self.low, self.high
        if self.logarithmic:
            number, low, high = math.log(number), math.log(low), math.log(high)
        return MARGIN + (WIDTH - 2 * MARGIN) * (number - low) / (high - low)

    def ticks(self) -> list[float]:
        """Some round numbers from `low` to `high`."""
        if not self.logarithmic:
            step = _round_up((self.high - self.low) / 4)
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            return [i * step for i in range(first, last + 1)]
        first, last = (math.floor(math.log10(x) + 1e-9) for x in (self.low, self.high))
        digits = (1, 2, 5) if last - first < 2 else (1,)
        marks = [m * 10.0**e for e in range(first, last + 1) for m in digits]
        ticks = [x for x in marks if self.low * 0.999 <= x <= self.high * 1.001]
        return ticks[:: math.ceil(len(ticks) / 5)]

    def line(self) -> str:
        """The line with its ticks, as SVG."""
        ticks = "".join(f"M{self.position(tick):.1f} 7v6" for tick in self.ticks())
        return f'<path class="axis" d="M{MARGIN} 10H{WIDTH - MARGIN}{ticks}"/>'


def kind_of(value: Value) -> Kind:
    """What values on one scale have in common: their kind, and whether ratios count."""
    return value.kind, value.logarithmic


def scales_of(values: Sequence[Value]) -> dict[Kind, Scale]:
    """One scale for every kind of values.

    Args:
        values: All values that are shown.

    Returns:
        By :func:`kind_of`, a scale that holds all finite numbers of that kind.
    """
    numbers: dict[Kind, list[float]] = {}
    for value in values:
        found = numbers.setdefault(kind_of(value), [])
        found += filter(math.isfinite, value.numbers)
    return {key: _scale(*key, found) for key, found in numbers.items()}


def _scale(kind: str, logarithmic: bool, numbers: list[float]) -> Scale:
    if kind == "weight" and all(0 <= number <= 1 for number in numbers):
        return Scale(kind, 0.0, 1.0, False)
    numbers = numbers or [1.0]
    low, high = min(numbers), max(numbers)
    if logarithmic and low > 0:
        low, high = _round_down(low), _round_up(high)
        return Scale(kind, low, high if high > low else 10 * low, True)
    if max(abs(low), abs(high)) < 10 * (high - low) or low == high:
        low, high = min(low, 0.0), max(high, 0.0)
    step = _round_up((high - low) / 4 or 0.25)
    low, high = step * math.floor(low / step), step * math.ceil(high / step)
    return Scale(kind, low, high if high > low else low + step, False)


def _round_up(number: float) -> float:
    """The next number of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(number) - 1e-9)
    return next(m * power for m in (1, 2, 5, 10) if m * power >= number * (1 - 1e-9))


def _round_down(number: float) -> float:
    return 1 / _round_up(1 / number)
