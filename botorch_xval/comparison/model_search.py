"""What a search has found: all models that were tried, and the one to take."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from botorch.models.model import Model
from scipy import stats

from botorch_xval.comparison.files import write_in_full
from botorch_xval.comparison.paired import (
    FEW_ROWS,
    groups_of,
    in_common,
    mean_by_row,
    probability_worse,
)
from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.clusters import count_clusters, standard_error
from botorch_xval.cross_validation.files import checked, read_json
from botorch_xval.models.checks import check_type, wrong
from botorch_xval.models.configurations import BOTORCH_DEFAULT
from botorch_xval.models.grammar import ModelSpec
from botorch_xval.models.structured import StructuredGP

__all__ = ["ModelSearch", "is_worth_a_change", "rank"]

FORMAT = 1  # of saved searches
WORTH = 1.0  # standard errors for which BoTorch's default is left
CLEAR = 2.0  # standard errors that decide, for one rival


@dataclass(frozen=True)
class ModelSearch:
    """The models that a search has tried, and their pointwise scores.

    The model to take, `spec`, is the one with the highest sum of log densities if that
    is more than one standard error of the paired difference above BoTorch's default,
    else BoTorch's default. The best of many scores is better than it will be on new
    rows (Cawley & Talbot 2010), and one standard error is a usual protection (Breiman
    et al. 1984, Section 3.4.3). Of fewer than 20 rows BoTorch's default is taken, too:
    a standard error of so few says little. `is_clear` says whether the gain is more
    than chance. `benchmarks/results/search.md` has what these rules gain on rows that
    no search has seen, beside a `ScalarChoiceGP` without any search.
    """

    comparison: Comparison
    """The scores of all models."""

    specs: tuple[ModelSpec, ...]
    """All models in the order in which they were tried, BoTorch's default first."""

    failed: dict[str, str] = field(default_factory=dict)
    """By name of a model that could not be fitted to all rows the reason."""

    def __post_init__(self) -> None:
        advice = "see `search`, which makes them"
        check_type("comparison", self.comparison, Comparison, advice)
        found = isinstance(self.specs, tuple) and self.specs
        if not found or not all(isinstance(s, ModelSpec) for s in self.specs):
            raise wrong("specs", "a tuple of ModelSpec", repr(self.specs), advice)
        names = set(self.comparison.points.configuration)
        known = {spec.name for spec in self.specs}
        if BOTORCH_DEFAULT not in names or not names <= known:
            expected = f"those of the configurations, {BOTORCH_DEFAULT!r} among them"
            got = f"{sorted(known)} for {sorted(names)}"
            raise wrong("specs", expected, got, advice)

    def table(self) -> pd.DataFrame:
        r"""All models, best first, beside BoTorch's default.

        Returns:
            Columns: `rank`, `configuration` (the name of a specification), `changes`
            (of six choices, those that are not BoTorch's default), what :func:`rank`
            says, and of all fits `failed` (folds), `evaluations` and `seconds`. A model
            without a score of some row has NaN and is last.
        """
        table = rank(self.comparison.points)
        table.insert(0, "rank", np.arange(1, len(table) + 1))
        changes = {spec.name: spec.changes for spec in self.specs}
        table.insert(2, "changes", table.configuration.map(changes))
        counts = ["failed", "evaluations", "seconds"]
        totals = self.comparison.fits.groupby("configuration")[counts].sum()
        return table.join(totals, on="configuration")

    @property
    def spec(self) -> ModelSpec:
        """The specification of the model to take."""
        first = rank(self.comparison.points).iloc[0]
        numbers = first[["difference", "difference_se", "rows"]]
        if not is_worth_a_change(*numbers):
            return self.specs[0]
        return next(spec for spec in self.specs if spec.name == first.configuration)

    @property
    def best(self) -> Callable[..., Model]:
        """The model to take, as a factory: `best(train_X, train_Y, train_Yvar)`."""
        return partial(StructuredGP, spec=self.spec)

    @property
    def is_clear(self) -> bool:
        r"""Whether the paired difference says that `spec` beats BoTorch's default.

        With the mean :math:`\bar d` of the differences, its standard error :math:`e`,
        `G` rows (groups, if there are some), and `c` models beside BoTorch's default
        (Bonferroni):

        .. math:: T_{G-1}(-\bar d / 2 e) < \Phi(-2) / c.

        The 2 on the left is for folds that share training rows, as in
        :meth:`Comparison.table`: with many rows one rival is clear from 4 standard
        errors on, and the best of nineteen from 6 on.
        """
        table = rank(self.comparison.points)
        (chosen,) = table[table.configuration == self.spec.name].itertuples()
        if chosen.configuration == BOTORCH_DEFAULT:
            return False
        level = stats.norm.sf(CLEAR) / (len(self.specs) - 1)
        return bool(chosen.probability_worse < level)

    def summary(self) -> str:
        """In words: the model to take, and how sure it is that it is better."""
        table = self.table()
        (chosen,) = table[table.configuration == self.spec.name].itertuples()
        (default,) = table[table.configuration == BOTORCH_DEFAULT].itertuples()
        tried = f"{len(self.specs)} models tried"
        if self.failed:
            tried += f", {len(self.failed)} of them without a fit"
        text = f"{chosen.configuration} ({tried}).\n"
        if chosen.configuration == BOTORCH_DEFAULT:
            if default.rows < FEW_ROWS:
                return f"{text}Fewer than {FEW_ROWS} rows do not tell models apart."
            return text + (
                "No model is ahead of BoTorch's default by more than one standard "
                "error."
            )
        text += (
            f"Held-out rows: {chosen.difference:+.4f} nats per row compared with "
            f"BoTorch's default, standard error {chosen.difference_se:.4f}; RMSE "
            f"{chosen.rmse:.4g} instead of {default.rmse:.4g}.\n"
        )
        if self.is_clear:
            return text + "More than chance, also as the best of so many."
        return text + (
            "As the best of so many this may be chance: expect less on new rows."
        )

    def save(self, path: str | Path) -> None:
        """Write everything to one file (JSON)."""
        content = {
            "format": FORMAT,
            "specs": [asdict(spec) for spec in self.specs],
            "failed": self.failed,
            "points": self.comparison.points.to_dict("list"),
            "fits": self.comparison.fits.to_dict("list"),
        }
        write_in_full(Path(path), json.dumps(content))

    @classmethod
    def load(cls, path: str | Path) -> ModelSearch:
        """Read what :meth:`save` has written.

        Raises:
            ValueError: If the file is something else.
        """
        with checked(path, "ModelSearch.save") as file:
            content = read_json(file)
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}, expected {FORMAT}")
            frames = (pd.DataFrame(content[name]) for name in ("points", "fits"))
            specs = tuple(ModelSpec(**spec) for spec in content["specs"])
            failed = {str(k): str(v) for k, v in content["failed"].items()}
            return cls(Comparison(*frames), specs, failed)


def is_worth_a_change(difference: float, error: float, rows: float) -> bool:
    """Whether the best of several models is to take the place of the default.

    Args:
        difference: Mean over the held-out rows of the paired difference, in nats.
        error: Its standard error.
        rows: Number of held-out rows.

    Returns:
        Whether the difference is more than one standard error, of at least 20 rows.
    """
    return bool(difference > WORTH * error and rows >= FEW_ROWS)


def rank(points: pd.DataFrame) -> pd.DataFrame:
    r"""Scores of all models, best first, and their differences to BoTorch's default.

    Args:
        points: See :class:`~botorch_xval.comparison.Comparison`, of one size.

    Returns:
        Columns: `configuration`, `rows` (those with a score of BoTorch's default), over
        them `elpd` (sum), the paired `difference` of the means to BoTorch's default and
        its standard error `difference_se` (of groups of rows, if there are some; all in
        nats), `probability_worse` (that it is worse than BoTorch's default on further
        such rows, if it had not been chosen among many, see
        :func:`~botorch_xval.comparison.paired.probability_worse`) and `rmse`.
    """
    points = in_common(points, [BOTORCH_DEFAULT])
    counts = points.groupby("configuration")["log_density"].count()
    # A model must not win because it fails, and so has no score, on hard rows.
    lacks = points.configuration.map(counts) < counts[BOTORCH_DEFAULT]
    own = ["log_density", "squared_error"]
    scored = mean_by_row(points.assign(**points[own].mask(lacks)))
    scored = scored[scored.log_density[BOTORCH_DEFAULT].notna()]
    scores = scored.log_density
    differences = scores.sub(scores[BOTORCH_DEFAULT], axis=0)
    complete = scores.notna().all()
    difference = differences.mean()[complete]
    groups = groups_of(points)
    clusters = None if groups is None else groups[scored.index]
    error = differences.loc[:, complete].apply(
        lambda own: standard_error(own.to_numpy(), clusters)
    )
    count = count_clusters(len(scored), clusters)
    worse = probability_worse(difference, error, count)
    worse = worse.mask(worse.index == BOTORCH_DEFAULT)
    table = pd.DataFrame(
        {
            "rows": len(scored),
            "elpd": scores.sum(skipna=False),
            "difference": difference,
            "difference_se": error,
            "probability_worse": worse,
            "rmse": scored.squared_error.mean(skipna=False) ** 0.5,
        },
        index=scores.columns,
    )
    table = table.rename_axis("configuration").reset_index()
    return table.sort_values("elpd", ascending=False, kind="stable", ignore_index=True)
