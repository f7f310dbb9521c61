"""Which configuration predicts best? Cross-validation scores over dataset sizes.

Configurations are compared on the same rows: a dataset takes the first rows of a seeded
shuffle, so that smaller datasets are contained in larger ones. A replicate is another
shuffle. Scores stay pointwise to the end; differences are paired.

The work is cut into cells. A cell is one configuration on one dataset, or in a race
some of its folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any
from warnings import warn

import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.models.model import Model
from botorch.utils.sampling import manual_seed
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from torch import Tensor
from tqdm import tqdm

from botorch_xval.comparison.arguments import (
    check_configurations,
    check_places,
    check_sizes,
)
from botorch_xval.comparison.datasets import Rows, make_datasets, make_schedule
from botorch_xval.comparison.execution import check_executor, submit_cells
from botorch_xval.comparison.files import only_run
from botorch_xval.comparison.fingerprint import fingerprint
from botorch_xval.comparison.race import leaving, significance
from botorch_xval.comparison.store import Cell, CellFolder, Outcomes
from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.arguments import (
    DRAWS,
    check_fit,
    check_mll,
)
from botorch_xval.cross_validation.cross_validate import cross_validate
from botorch_xval.cross_validation.folds import Folds, leave_one_out
from botorch_xval.cross_validation.folds_like import (
    FoldsLike,
    Groups,
    fits_any_size,
    list_labels,
    make_folds,
    number_labels,
)
from botorch_xval.cross_validation.nuts import makes_draws
from botorch_xval.cross_validation.outputs import build_with_gaps
from botorch_xval.cross_validation.scores import squared_error
from botorch_xval.fitting.options import FitOptions
from botorch_xval.models.checks import (
    check_data,
    check_number,
    check_whole,
)

__all__ = ["compare", "score_cell"]

Criterion = type[MarginalLogLikelihood]


def compare(
    configurations: Mapping[str, Callable[..., Model]],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None = None,
    *,
    sizes: Sequence[int],
    folds: FoldsLike = leave_one_out,
    groups: Groups | None = None,
    fit: str = "refit",
    fit_options: FitOptions | None = None,
    threshold: float = 0.25,
    draws: int | None = None,
    mll: Criterion | Mapping[str, Criterion] = ExactMarginalLogLikelihood,
    replicates: int = 1,
    seed: int = 0,
    race: bool = False,
    seconds: float = math.inf,
    folder: str | Path | None = None,
    executor: Executor | None = None,
    progress: bool = False,
) -> Comparison:
    """Cross-validate every configuration at every dataset size, on the same rows.

    Args:
        configurations: By name a class or function that builds a model, see
            :func:`~botorch_xval.cross_validation.cross_validate`.
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`.
        train_Yvar: Known variances of the observation noise, `n x m`.
        sizes: Numbers of rows, each at most `n`.
        folds: See :func:`~botorch_xval.cross_validation.folds_like.make_folds`. A
            function is called for each dataset with its number of rows. All else is
            folds of the `n` rows, of which a dataset takes those that hold out some of
            its rows and leave others.
        groups: `n` labels; rows with the same label are held out together, see
            :func:`~botorch_xval.cross_validation.folds_like.make_folds`, and standard
            errors take labels, not rows, as independent.
        fit: How folds are fitted, see
            :func:`~botorch_xval.cross_validation.cross_validate`. One that begins with
            a fit to all rows repeats that in every round of a race. Of "sampled" the
            scores of folds that were not refitted are approximate, with `max_error=1`.
        fit_options: Options of every fit.
        threshold: For `fit="adaptive"`, in posterior standard deviations.
        draws: For `fit="posterior"`, and those configurations that are fully Bayesian
            models; default: 1,000.
        mll: What hyper-parameters are fitted by, see
            :func:`~botorch_xval.cross_validation.cross_validate`: of all
            configurations, or by their names that of some (others: the evidence). Then
            one model may be two configurations that differ in this only.
        replicates: How many shuffles of the rows. They share rows and training sets;
            a row counts once in every standard error, with its mean score.
        seed: Of the shuffles, of draws (of "sampled", "posterior" and fully Bayesian
            models), and of the values that a failed fit starts from again.
        race: Whether a configuration that is clearly behind at some size is not fitted
            any more at that size. At each size the truly best configuration leaves in
            at most 5 % of races if rows are independent, and in simulations of
            leave-one-out in less than 10 %, all looks together, see
            :func:`~botorch_xval.comparison.leaving`.
        seconds: After these no further cell is begun, and a warning says what is
            missing; small sizes come first, of which the first dataset is finished in
            any case. The result has the datasets that all configurations were scored
            on. With a folder the same call goes on from there.
        folder: Where to keep every finished cell, in `cells`. The same call, after an
            interruption at any moment, computes only what is not there yet; sizes,
            replicates and configurations may be added. The folder is locked: it is that
            of one run at a time. Beside the cells `points.csv`, `fits.csv` and
            `scores.csv` are written anew after every cell (where cells are fast, only
            so often that it takes at most a tenth of the time) and in the end.
        executor: Computes cells elsewhere (a process pool,
            `dask.distributed.Client.get_executor()`, ...); configurations then have to
            be picklable. What is lost with a worker is computed here. Results are the
            same, except that threads share the random numbers of repeated attempts,
            and GPyTorch's settings, which are global: prefer processes.
        progress: Whether to show a progress bar, one step per cell.

    Returns:
        The comparison. What a configuration cannot be scored on, because it raises an
        error, has no scores and is named in a warning; with a folder the same call
        tries again. If nothing has scores, the first error is raised.

    Raises:
        ValueError: If there is no configuration or size, if a size, a number of rows,
            seconds, folds, labels or names in `mll` do not fit, if there are `draws`
            and no configuration draws, if the folder has cells of other
            configurations or data, a damaged file, or another run at this time, or if
            the executor was shut down, or cannot be sent a configuration.
        OSError: If the folder cannot be written to. What was kept before is not lost.
    """
    check_number("seconds", seconds)
    end = monotonic() + seconds
    check_data(train_X, train_Y, train_Yvar, ndim=2, gaps=True)
    check_configurations(configurations, train_X, train_Y, train_Yvar)
    check_sizes(sizes, len(train_X))
    check_fit(fit, fit_options, threshold, draws, seed)
    check_whole("replicates", replicates, 1)
    check_places(folder, executor)
    mlls = _mlls(mll, configurations)
    drawn = _draws(draws, configurations, (train_X, train_Y, train_Yvar), fit)
    sizes = sorted(int(size) for size in sizes)
    labels = None if groups is None else list_labels(groups, len(train_X))
    if not fits_any_size(folds):
        folds = make_folds(folds, len(train_X), labels)
    datasets = make_datasets(len(train_X), sizes, replicates, seed, folds, labels)
    numbers = folds.groups if isinstance(folds, Folds) else None
    if labels is not None:
        numbers = number_labels(labels)
    schedule = {size: make_schedule(datasets, size, replicates, race) for size in sizes}
    options = {"fit": fit, "fit_options": fit_options, "threshold": threshold}
    common = ExactMarginalLogLikelihood if isinstance(mll, Mapping) else mll
    inputs: dict[str, Any] = {"train_X": train_X, "train_Y": train_Y}
    inputs |= {"train_Yvar": train_Yvar, "seed": seed, **options, "mll": common}
    if draws not in (None, DRAWS):  # folders of before have none
        inputs["fit"] = fit, draws
    for name, model in configurations.items():
        own = mlls[name]
        inputs[f"configuration {name!r}"] = model if own is common else (model, own)
    check_executor(executor, inputs)
    folder = None if folder is None else Path(folder)

    def arguments(cell: Cell) -> tuple[Any, ...]:
        rows, whole = datasets[cell.size, cell.replicate]
        index = torch.as_tensor(rows, device=train_X.device)
        return (
            configurations[cell.configuration],
            train_X[index],
            train_Y[index],
            None if train_Yvar is None else train_Yvar[index],
            whole.take(cell.folds),
            seed,
            {
                **options,
                "draws": drawn[cell.configuration],
                "mll": mlls[cell.configuration],
            },
        )

    remaining = {size: list(configurations) for size in sizes}
    with (
        _opened(folder, inputs, datasets) as kept,
        tqdm(total=0, disable=not progress) as bar,
    ):
        rows_of = {key: rows for key, (rows, _) in datasets.items()}
        outcomes = Outcomes(rows_of, bar, folder, kept, numbers)

        def fail(cell: Cell, error: Exception) -> None:
            _, whole = datasets[cell.size, cell.replicate]
            outcomes.fail(cell, whole.take(cell.folds), error)

        def compute(cells: Sequence[Cell], until: float) -> None:
            if executor is not None and cells and monotonic() < until:
                keep = outcomes.keep
                cells = submit_cells(
                    score_cell, cells, arguments, executor, keep, fail, until
                )
            for cell in cells:
                if monotonic() >= until:
                    break
                bar.set_description(f"{cell.configuration}, {cell.size} rows")
                try:
                    outcome = score_cell(*arguments(cell))
                except Exception as error:  # of one configuration
                    fail(cell, error)
                else:
                    outcomes.keep(cell, outcome)

        try:
            for number in range(max(len(plan) for plan in schedule.values())):
                running = [size for size in sizes if number < len(schedule[size])]
                cells = [
                    Cell(name, size, replicate, chosen)
                    for size in running
                    for replicate, chosen in schedule[size][number].items()
                    for name in remaining[size]
                ]
                waiting = outcomes.plan(cells, number + 1)
                if not number and end < math.inf:  # the first dataset is due
                    key = cells[0].size, cells[0].replicate
                    due = [c for c in waiting if (c.size, c.replicate) == key]
                    compute(due, math.inf)
                    waiting = [cell for cell in waiting if cell not in due]
                compute(waiting, end)
                if outcomes.missing():
                    _warn_of_missing(outcomes, seconds)
                    break
                for size in running:
                    if number + 1 < len(schedule[size]):
                        level = significance(number + 1, len(configurations))
                        scores, clusters = outcomes.look(size, remaining[size])
                        gone = leaving(scores, level, clusters)
                        remaining[size] = [c for c in remaining[size] if c not in gone]
        finally:
            outcomes.write()
    outcomes.check()
    return Comparison(*outcomes.finished())


def _warn_of_missing(outcomes: Outcomes, seconds: float) -> None:
    missing = outcomes.missing()
    sizes = ", ".join(map(str, sorted({cell.size for cell in missing})))
    warn(
        f"time is over: after {seconds:g} seconds {len(missing)} cells are missing, of "
        f"{sizes} rows; the result has the datasets that all configurations were "
        "scored on. The same call with the same folder and more seconds goes on",
        BotorchWarning,
        stacklevel=3,
    )


def score_cell(
    model: Callable[..., Model],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None,
    folds: Folds,
    seed: int,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Cross-validate one configuration on one dataset, maybe in another process.

    Args:
        model: A configuration, see :func:`~botorch_xval.comparison.compare`.
        train_X: Inputs of the dataset, `size x d`.
        train_Y: Outcomes of the dataset, `size x m`.
        train_Yvar: Known variances of the observation noise, `size x m`.
        folds: The folds to fit.
        seed: Of draws, and of the values that a failed fit starts from again.
        options: The arguments `fit`, `fit_options`, `threshold`, `draws` and `mll` of
            :func:`~botorch_xval.cross_validation.cross_validate`.

    Returns:
        For every held-out point the number of its row in the dataset (`rows`),
        `log_density` and `squared_error`; for the cell `folds`, `failed`, `single`,
        `evaluations` and `seconds`. Numbers and lists, which come back from JSON as
        they were.
    """
    start = monotonic()
    with manual_seed(seed % 2**63):
        data = train_X, train_Y, train_Yvar
        result = cross_validate(model, *data, folds=folds, seed=seed, **options)
    error = squared_error(result.mean, result.observed)
    error = error.where(~result.observed.isnan(), 0.0)
    return {
        "rows": result.rows.tolist(),
        "log_density": result.summed_log_density.tolist(),
        "squared_error": error.sum(dim=-1).tolist(),
        "folds": len(result.folds.names),
        "failed": len(result.failed),
        "single": len({f.fold for f in result.fits if f.record.num_points == 1}),
        "evaluations": result.evaluations,
        "seconds": monotonic() - start,
    }


def _mlls(
    mll: Criterion | Mapping[str, Criterion],
    configurations: Mapping[str, Callable[..., Model]],
) -> dict[str, Criterion]:
    """By name of a configuration what it is fitted by."""
    for each in mll.values() if isinstance(mll, Mapping) else [mll]:
        check_mll(each)
    if not isinstance(mll, Mapping):
        return dict.fromkeys(configurations, mll)
    if unknown := sorted(set(mll) - set(configurations)):
        raise ValueError(
            f"mll: expected names of configurations, {sorted(configurations)}, got "
            f"{unknown}; name those that have a criterion of their own"
        )
    return {n: mll.get(n, ExactMarginalLogLikelihood) for n in configurations}


def _draws(
    draws: int | None,
    configurations: Mapping[str, Callable[..., Model]],
    data: tuple[Tensor, Tensor, Tensor | None],
    fit: str,
) -> dict[str, int | None]:
    """By name of a configuration how many draws it is told to make."""
    if draws is None or fit == "posterior":
        return dict.fromkeys(configurations, draws)
    found = {
        name: draws if makes_draws(build_with_gaps(model, *data), fit) else None
        for name, model in configurations.items()
    }
    if set(found.values()) == {None}:
        raise ValueError(
            f"draws: expected none for fit={fit!r} of configurations that draw no "
            f"hyper-parameters, got {draws}; leave it out, or use fit='posterior'"
        )
    return found


@contextmanager
def _opened(
    folder: Path | None,
    inputs: Mapping[str, Any],
    datasets: Mapping[tuple[int, int], tuple[Rows, Folds]],
) -> Iterator[CellFolder | None]:
    """The folder of the cells, if it belongs to these inputs and folds."""
    if folder is None:
        yield None
        return
    known = {name: fingerprint(value) for name, value in inputs.items()}
    for (size, replicate), (_, folds) in datasets.items():
        name = f"folds of {size} rows, replicate {replicate}"
        own = (folds.training,) if folds.omits_rows else ()
        known[name] = fingerprint((folds.held_out, folds.names, *own))
    with only_run(folder / "cells"):
        yield CellFolder(folder, known)
