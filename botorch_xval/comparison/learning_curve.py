r"""What would more trials bring? The learning curve of a comparison, extrapolated.

Mean log densities by dataset size follow a power law and a Brownian motion around it
(:mod:`~botorch_xval.comparison.power_law`). Sizes share rows, and a row that is hard is
hard at every size, so the noise of the means and its covariances come from the scores
of each row at all sizes. What is common to all rows of one dataset is noise, too, and
only replicates show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from botorch_xval.comparison.paired import common_rows
from botorch_xval.comparison.power_law import (
    draw_laws,
    drift,
    normal_draws,
    shape,
    total,
)
from botorch_xval.comparison.table import Comparison
from botorch_xval.models.checks import (
    check_number,
    check_one_of,
    check_type,
    check_whole,
    wrong,
)

__all__ = ["LearningCurve", "check_learning_curve", "learning_curve"]

Array: TypeAlias = NDArray[Any]
INTERVAL = 0.95
FEWEST = 3


@dataclass(frozen=True)
class LearningCurve:
    """Curves of all configurations, as draws of what they may be."""

    scores: pd.DataFrame
    """One line per configuration and size: `configuration`, `size`, `score` (nats per
    row) and its `standard_error`; what the curves were fitted to."""

    covariances: dict[str, Array]
    """By configuration the covariance of the noise of its scores, `sizes x sizes`."""

    draws: dict[str, Array]
    """By configuration draws of `a` and `b` (nats per row) and `c`, `draws x 3`."""

    def predict(self, sizes: Sequence[float] | Array) -> pd.DataFrame:
        """The curves at some sizes.

        Args:
            sizes: Numbers of rows.

        Returns:
            One line per configuration and size: `configuration`, `size`, `score` (the
            median), `standard_error`, `low` and `high` (95 %), in nats per row. It is
            the expected score, without the noise of a score of finitely many rows.

        Raises:
            ValueError: If these are no positive numbers.
        """
        at = np.asarray(sizes)
        if at.ndim != 1 or at.dtype.kind not in "iuf" or not (at > 0).all():
            remedy = "pass a list, such as [100, 200]"
            raise wrong("sizes", "positive numbers of rows", repr(sizes), remedy)
        rows = []
        for name in self.draws:
            for size, values in zip(sizes, self._at(name, sizes).T, strict=True):
                rows.append({"configuration": name, "size": size, **_band(values)})
        return pd.DataFrame(rows)

    def gain(self, more: int = 20) -> pd.DataFrame:
        """What further rows would bring; negative if they would harm.

        Args:
            more: How many rows more than the largest size.

        Returns:
            One line per configuration: `configuration`, `size` (the largest), `more`,
            `gain` (the median), `standard_error`, `low` and `high` (95 %), in nats per
            row.

        Raises:
            ValueError: If `more` is not a positive number.
        """
        check_number("more", more, advice="say how many rows more", above=True)
        rows = []
        for name in self.draws:
            last = self.scores["size"].max()
            now, then = self._at(name, [last, last + more]).T
            entry: dict[str, Any] = {
                "configuration": name,
                "size": int(last),
                "more": more,
            }
            band = _band(then - now)
            rows.append({**entry, "gain": band.pop("score"), **band})
        return pd.DataFrame(rows)

    def sentence(self, configuration: str, more: int = 20) -> str:
        """What further rows would bring to one configuration, in words.

        Raises:
            ValueError: If there is no such configuration, or `more` is no number.
        """
        check_one_of("configuration", configuration, self.draws)
        table = self.gain(more)
        row = next(table[table.configuration == configuration].itertuples())
        return (
            f"{more} more rows than {row.size} would gain {configuration!r} about "
            f"{row.gain:.3f} nats a row, standard error {row.standard_error:.3f} "
            f"(95 %: {row.low:.3f} to {row.high:.3f})."
        )

    def __str__(self) -> str:
        """What twenty further rows would bring."""
        return "\n".join(self.sentence(name) for name in self.draws)

    def _at(self, name: str, sizes: Sequence[float] | Array) -> Array:
        """Draws of the curve at some sizes, `draws x sizes`."""
        own = self.scores[self.scores.configuration == name]
        known, score = (own[c].to_numpy(dtype=float) for c in ("size", "score"))
        new, (a, b, c) = np.asarray(sizes, float), self.draws[name].T[..., None]
        law, found = (a - b * shape(n, c, known[0], known[-1]) for n in (new, known))
        shared = drift(known[0], new, known)
        weights = np.linalg.solve(total(known, self.covariances[name]), shared.T).T
        rest = drift(known[0], new, new) - weights @ shared.T
        noise = normal_draws(rest, len(law), seed=len(known))
        return law + (score - found) @ weights.T + noise


def learning_curve(comparison: Comparison, *, seed: int = 0) -> LearningCurve:
    """Fit the learning curve of every configuration.

    Args:
        comparison: Of at least three sizes. Configurations that left a race at some
            size have no curve.
        seed: Of the draws.

    Returns:
        The curves.

    Raises:
        ValueError: If there are fewer sizes, or rows without a score leave too few.
    """
    check_whole("seed", seed, 0)
    sizes = _check(comparison, FEWEST)
    lines, covariances, draws = [], {}, {}
    at = np.array(sizes, float)
    for name in _complete(comparison):
        means, covariance = _moments(comparison, name, sizes)
        draws[name] = draw_laws(at, means, total(at, covariance), seed)
        covariances[name] = covariance
        lines.append(
            pd.DataFrame(
                {
                    "configuration": name,
                    "size": sizes,
                    "score": means,
                    "standard_error": np.sqrt(np.diag(covariance)),
                }
            )
        )
    if not lines:
        raise ValueError(
            "comparison: expected a configuration that took part in all rounds of all "
            "sizes, got none; compare without a race"
        )
    return LearningCurve(pd.concat(lines, ignore_index=True), covariances, draws)


def check_learning_curve(
    comparison: Comparison, num_held_out: int = 1, *, seed: int = 0
) -> pd.DataFrame:
    """Fit curves to the smaller sizes, and predict the scores of the larger ones.

    Such a score is the curve, and the noise of its rows, which are partly those of the
    smaller sizes. Both are in the band.

    Args:
        comparison: Of at least three sizes more than are held out.
        num_held_out: How many of the largest sizes to predict.
        seed: Of the draws.

    Returns:
        One line per configuration and held-out size: `configuration`, `size`, `last`
        (the largest size of the fit), `last_score`, `score` (predicted), its
        `standard_error`, `low`, `high` (95 %), and `found`, in nats per row.

    Raises:
        ValueError: If there are too few sizes.
    """
    check_whole("num_held_out", num_held_out, 1)
    check_whole("seed", seed, 0)
    sizes = _check(comparison, FEWEST + num_held_out)
    at, kept = np.array(sizes, float), len(sizes) - num_held_out
    rows = []
    for name in _complete(comparison):
        means, full = _moments(comparison, name, sizes)
        full = total(at, full)
        draws = draw_laws(at[:kept], means[:kept], full[:kept, :kept], seed)
        a, b, c = draws.T[..., None]
        curve = a - b * shape(at, c, at[0], at[kept - 1])  # draws x sizes
        # What is left of the held-out means, given that of the others.
        weights = np.linalg.solve(full[:kept, :kept], full[:kept, kept:]).T
        rest = full[kept:, kept:] - weights @ full[:kept, kept:]
        noise = (means[:kept] - curve[:, :kept]) @ weights.T
        noise += normal_draws(rest, len(draws), seed + 1)
        for j, size in enumerate(sizes[kept:]):
            band = _band(curve[:, kept + j] + noise[:, j])
            entry: dict[str, Any] = {"configuration": name, "size": size}
            entry["last"] = sizes[kept - 1]
            last = float(means[kept - 1])
            found = float(means[kept + j])
            rows.append({**entry, "last_score": last, **band, "found": found})
    return pd.DataFrame(rows)


def _check(comparison: Comparison, fewest: int) -> list[int]:
    """The sizes, in order."""
    check_type("comparison", comparison, Comparison, "pass a result of `compare`")
    sizes = sorted(int(size) for size in comparison.points["size"].unique())
    if len(sizes) < fewest:
        raise ValueError(
            f"comparison: expected at least {fewest} sizes for a curve, got {sizes}; "
            "compare at more `sizes`, which may be added to a folder"
        )
    return sizes


def _complete(comparison: Comparison) -> list[str]:
    """Configurations that took part in every round of every size."""
    points = comparison.points
    rounds = points.groupby(["size", "configuration"])["round"].max().unstack()
    stayed = rounds.eq(rounds.max(axis=1), axis=0).all()
    return [name for name in dict.fromkeys(points.configuration) if stayed[name]]


def _moments(
    comparison: Comparison, name: str, sizes: Sequence[int]
) -> tuple[Array, Array]:
    """Mean scores at all sizes, and their covariance by the rows that they share.

    Rows of one group, if there is a column `group`, are one.
    """
    points = comparison.points
    columns = {}
    for size, part in points.groupby("size"):
        columns[size] = common_rows(part)[0]["log_density"][name]
    scores = pd.DataFrame(columns)[list(sizes)]  # rows x sizes, NaN: not part of it
    groups = scores.index.to_numpy()
    if "group" in points:
        groups = points.groupby("row")["group"].first()[scores.index].to_numpy()
    known = scores.notna()
    count = known.groupby(groups).any().sum()
    if (count < 3).any():
        raise ValueError(
            "comparison: expected at least 3 rows (or groups) with a score at every "
            f"size, got {count.to_dict()} of {name!r}; leave out small sizes"
        )
    means = scores.mean()
    away = ((scores - means) / known.sum()).fillna(0.0).groupby(groups).sum()
    away = (away * np.sqrt(count / (count - 1))).to_numpy()
    return means.to_numpy(), away.T @ away


def _band(values: Array) -> dict[str, float]:
    low, middle, high = np.quantile(
        values, [(1 - INTERVAL) / 2, 0.5, (1 + INTERVAL) / 2]
    )
    deviation = values.std(ddof=1)
    return {
        "score": float(middle),
        "standard_error": float(deviation),
        "low": float(low),
        "high": float(high),
    }
