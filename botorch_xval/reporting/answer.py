"""The answer of a comparison, and what differences in log density mean, in words.

A configuration whose mean log density is higher by `d` nats per row gives held-out rows
a density that is `exp(d)` times as high, as a geometric mean over rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape
from typing import Any

import pandas as pd

from botorch_xval.comparison.paired import half_width, is_clear
from botorch_xval.reporting.markup import listed

__all__ = ["answer", "higher", "in_words", "lower", "numbers"]

WITHIN = "(within one standard error)"
Named = Callable[[str], str]


def answer(table: pd.DataFrame, target: str, named: Named) -> str:
    """Which configuration is best at the largest size, in one sentence.

    Args:
        table: See :meth:`~botorch_xval.comparison.Comparison.table`.
        target: Name of the outcome, or of all together.
        named: The HTML of a name of a configuration.

    Returns:
        HTML.
    """
    best, others, size = _last(table)
    beginning = f"With {size:,} rows, {named(best.configuration)} "
    unknown = [o for o in others if math.isnan(o.difference)]
    others = [o for o in others if o not in unknown]
    missing = _clause(unknown, "has", "have", "no score", named)
    missing = f"; {missing}." if missing else "."
    if not others:
        return (
            f"{beginning}predicts held-out {escape(target)} with a mean log density "
            f"of {best.mean_log_density:.3f} nats per row{missing}"
        )
    owed = table.attrs["selection_bias"].get(size, 0.0) / best.rows
    near = [o for o in others if not (is_clear(o) and -o.difference > owed)]
    if not near:
        following = others[0]
        half = half_width(following.difference_se, following.groups)
        words = higher(-following.difference, half)
        compared = "as" if " times " in words.partition("(")[0] else "than"
        return (
            f"{beginning}predicts held-out {escape(target)} best: it gives held-out "
            f"trials a density {words} {compared} the next, "
            f"{named(following.configuration)}, does{missing}"
        )
    close = [o for o in near if -o.difference <= o.difference_se]
    far = [o for o in near if o not in close]
    rest = [o for o in others if o not in near]
    clauses = [
        _clause(
            close, "does", "do", "about as well (within one standard error)", named
        ),
        _clause(far, "is", "are", "not clearly worse", named),
        _clause(rest, "is", "are", "clearly worse", named),
    ]
    return (
        f"{beginning}scores best on held-out {escape(target)}, but "
        f"{'; '.join(filter(None, clauses))}{missing}"
    )


def _clause(entries: list[Any], one: str, many: str, words: str, named: Named) -> str:
    if not entries:
        return ""
    verb = many if len(entries) > 1 else one
    return f"{listed([named(e.configuration) for e in entries])} {verb} {words}"


def numbers(table: pd.DataFrame, named: Named) -> str:
    """The numbers behind the answer, as HTML.

    Args:
        table: As for :func:`answer`.
        named: As for :func:`answer`.
    """
    best, others, size = _last(table)
    text = (
        f"{named(best.configuration)}: {best.mean_log_density:.3f} nats per row, "
        f"standard error {best.standard_error:.3f}."
    )
    if not others or math.isnan(others[0].difference):
        return text
    if "chosen" in best.caution:
        bias = table.attrs["selection_bias"][size] / best.rows
        text += (
            f" It is the best of {len(others) + 1}, and up to about {bias:.3f} nats "
            "per row of that come from having been chosen."
        )
    second = others[0]
    text += (
        f" The next, {named(second.configuration)}, is behind by "
        f"{abs(second.difference):.3f} nats per row, standard error "
        f"{second.difference_se:.3f}"
    )
    if (probability := second.probability_worse) == probability:
        known = "over 99%" if probability > 0.99 else f"{probability:.0%}"
        text += f", and worse with a probability of {known}"
    return f"{text} ({escape(second.caution)})." if second.caution else f"{text}."


def in_words(entry: Any) -> str:
    """How a configuration compares with the best one of its size, in words.

    Args:
        entry: A row of the table, as a named tuple.

    Returns:
        Text; for the best one, and without a score, only its caution.
    """
    words = ""
    if entry.rank > 1 and math.isfinite(entry.difference):
        words = "not clearly worse"
        if -entry.difference <= entry.difference_se:
            words = f"about as good {WITHIN}"
        if is_clear(entry):
            half = half_width(entry.difference_se, entry.groups)
            words = f"a density {lower(-entry.difference, half)}"
    return "; ".join(filter(None, (words, entry.caution)))


def higher(nats: float, half: float) -> str:
    """By how much a density is higher, in words.

    Args:
        nats: The difference per row, positive.
        half: Half of its interval of 95 %.

    Returns:
        Such as "12 % higher (geometric mean per trial; 95 %: 3 % to 22 %)".
    """
    ends = nats - half, nats + half
    if nats < math.log(2):
        value, low, high = (_percent(math.expm1(x)) for x in (nats, *ends))
        return f"{value} % higher (geometric mean per trial; 95 %: {low} % to {high} %)"
    value, low, high = (_short(_exp(x)) for x in (nats, *ends))
    return (
        f"{value} times as high (geometric mean per trial; 95 %: {low} to {high} times)"
    )


def lower(nats: float, half: float) -> str:
    """By how much a density is lower, in words; see :func:`higher`."""
    ends = nats - half, nats + half
    if nats < math.log(10):
        value, low, high = (_percent(-math.expm1(-x)) for x in (nats, *ends))
        return f"{value} % lower (95 %: {low} % to {high} %)"
    value, low, high = (_short(_exp(x)) for x in (nats, *ends))
    return f"{value} times lower (95 %: {low} to {high} times)"


def _last(table: pd.DataFrame) -> tuple[Any, list[Any], int]:
    """The best configuration at the largest size, the others, and the size."""
    size = int(table["size"].max())
    last = table[table["size"] == size].sort_values("rank")
    best, *others = last.itertuples()
    return best, others, size


def _percent(share: float) -> str:
    return _short(100 * share)


def _short(number: float) -> str:
    """Two digits, more of large numbers, and no exponent before a million."""
    if not abs(number) < 1e6:
        return f"{number:.1e}"
    return f"{number:,.0f}" if abs(number) >= 10 else f"{number:.2g}"


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf
