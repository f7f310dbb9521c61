"""Which model of the grammar predicts a table best? A search within a budget.

It begins with what is compared by default, and goes on with the neighbors of the best
model found so far, until those of the best three have been tried (a best-first version
of the greedy search of Duvenaud et al. 2013, Section 3, by held-out scores instead of
marginal likelihoods). All models are scored on all rows: warm folds need a fit to all
rows first, which a race by rows would repeat in every round.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from torch import Tensor
from tqdm import tqdm

from botorch_xval.comparison.arguments import check_places
from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.model_search import ModelSearch, rank
from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.arguments import check_fit
from botorch_xval.cross_validation.folds import leave_one_out
from botorch_xval.cross_validation.folds_like import FoldsLike, Groups
from botorch_xval.fitting.options import FitOptions
from botorch_xval.models.checks import check_data, check_number, check_whole, wrong
from botorch_xval.models.grammar import ModelSpec, first_specs, neighbors
from botorch_xval.models.scalar_choice import normalize_dims
from botorch_xval.models.structured import StructuredGP

__all__ = ["search"]

BEAM = 3  # of so many of the best models all neighbors are tried


def search(
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None = None,
    *,
    choice_dims: Sequence[int] = (),
    seconds: float = 60.0,
    candidates: int = 20,
    folds: FoldsLike = leave_one_out,
    groups: Groups | None = None,
    fit: str = "warm",
    fit_options: FitOptions | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    executor: Executor | None = None,
    progress: bool = False,
) -> ModelSearch:
    """Search the grammar of models for the one that predicts held-out rows best.

    The order in which models are tried depends on the scores of those before only. The
    clock decides when the search ends, and nothing else; with `seconds=math.inf` a
    search is the same on any machine, but for the last digits of fits.

    Args:
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`.
        train_Yvar: Known variances of the observation noise, `n x m`.
        choice_dims: The columns with choices in one-hot code (not checked).
        seconds: After these no further model is begun. BoTorch's default always is.
            With an executor all neighbors of a model are begun together.
        candidates: At most so many models.
        folds: See :func:`~botorch_xval.comparison.compare`.
        groups: `n` labels; rows with the same label are held out together.
        fit: How folds are fitted, see
            :func:`~botorch_xval.cross_validation.cross_validate`. Of a thousand rows
            "adaptive".
        fit_options: Options of every fit.
        seed: See :func:`~botorch_xval.comparison.compare`.
        folder: Where to keep every model that is scored, see
            :func:`~botorch_xval.comparison.compare`. The same call goes on from there,
            also with more seconds or candidates.
        executor: Scores models elsewhere, by processes or machines; several threads of
            one process share the global settings of GPyTorch.
        progress: Whether to show a bar, one step per model.

    Returns:
        All models that were tried, and the one to take.

    Raises:
        ValueError: If a budget, a shape or a column is not as described; see also
            :func:`~botorch_xval.comparison.compare`.
        ModelFittingError: If BoTorch's default cannot be fitted to all rows. Another
            model that cannot be is in `failed` of the result, and named in a warning.
    """
    check_number("seconds", seconds)
    end = monotonic() + seconds
    check_data(train_X, train_Y, train_Yvar, ndim=2, gaps=True)
    if len(train_X) < 3:
        remedy = "add rows"
        raise wrong("train_X", "at least 3 rows", len(train_X), remedy)
    check_whole("candidates", candidates, 1)
    check_fit(fit, fit_options, 0.0, None, seed)
    check_places(folder, executor)
    choice_dims = normalize_dims(choice_dims, train_X.shape[-1])
    d, m = train_X.shape[-1], train_Y.shape[-1]
    default, *waiting = first_specs(d, choice_dims)
    with (
        TemporaryDirectory() as temporary,
        tqdm(total=candidates, disable=not progress) as bar,
    ):
        work = _Work(
            (train_X, train_Y, train_Yvar),
            {
                "sizes": [len(train_X)],
                "folds": folds,
                "groups": groups,
                "fit": fit,
                "fit_options": fit_options,
                "seed": seed,
                "folder": temporary if folder is None else folder,
                "executor": executor,
            },
            bar,
        )
        work.score([default])
        while waiting := waiting[: candidates - len(work.tried)]:
            step = 1 if executor is None else len(waiting)
            for first in range(0, len(waiting), step):
                if monotonic() >= end:
                    return work.found()
                work.score(waiting[first : first + step])
            waiting = work.next(d, m)
        return work.found()


@dataclass
class _Work:
    """The models that were tried so far."""

    data: tuple[Tensor, Tensor, Tensor | None]
    arguments: dict[str, Any]
    bar: tqdm
    tried: list[ModelSpec] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    comparison: Comparison | None = None

    def score(self, specs: Sequence[ModelSpec]) -> None:
        """Score further models; the cells of those before are in the folder."""
        self.bar.set_description(specs[0].name)
        scored = [spec for spec in self.tried if spec.name not in self.failed]
        models = {s.name: partial(StructuredGP, spec=s) for s in [*scored, *specs]}
        found = compare(models, *self.data, **self.arguments)
        scores = found.points.groupby("configuration")["log_density"].count()
        for name in (spec.name for spec in specs if not scores[spec.name]):
            try:  # alone, which raises what it is
                compare({name: models[name]}, *self.data, **self.arguments)
            except Exception as error:  # of any kind of model
                self.failed[name] = str(error)
        self.comparison = Comparison(
            *(
                frame[~frame.configuration.isin(list(self.failed))].reset_index(
                    drop=True
                )
                for frame in (found.points, found.fits)
            )
        )
        self.tried += specs
        self.bar.update(len(specs))

    def next(self, d: int, num_outputs: int) -> list[ModelSpec]:
        """Neighbors that were not tried, of the best model that has some."""
        best = rank(self.found().comparison.points).configuration[:BEAM]
        by_name = {spec.name: spec for spec in self.tried}
        for name in best:
            near = neighbors(by_name[name], d, num_outputs)
            if new := [spec for spec in near if spec not in self.tried]:
                return new
        return []

    def found(self) -> ModelSearch:
        assert self.comparison is not None
        return ModelSearch(self.comparison, tuple(self.tried), dict(self.failed))
