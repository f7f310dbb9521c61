"""Outputs that have rows or models of their own: assessed one by one, in one result.

An outcome that was not observed everywhere has its own rows, and a `ModelListGP` a
model for each outcome. Their outputs are independent, so each is cross-validated alone,
with the same folds of its rows; what was not observed is NaN in the joined result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models import ModelListGP
from botorch.models.model import Model
from gpytorch.distributions import MultitaskMultivariateNormal
from torch import Tensor

from botorch_xval.cross_validation.fold_records import FoldFit
from botorch_xval.cross_validation.folds import Folds
from botorch_xval.cross_validation.linked import LINKED, POINTS, Linked
from botorch_xval.cross_validation.links import IDENTITY
from botorch_xval.cross_validation.mixtures import MIXED, Mixture
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.cross_validation.sampling import Estimate

__all__ = [
    "OfOutput",
    "OutputRows",
    "build_with_gaps",
    "join",
    "models_of_outputs",
    "rows_of_outputs",
    "single_values",
]


@dataclass(frozen=True)
class OfOutput:
    """Builds the model of one output of a function that builds a `ModelListGP`."""

    model: Callable[..., Model]
    """The function; each model of its list is to see its own column only."""

    output: int
    """The number of the output."""

    num_outputs: int
    """How many columns the function expects."""

    def __call__(self, train_X: Tensor, train_Y: Tensor, **noise: Tensor) -> Model:
        """The model of the output; `train_Y` is its column, `n x 1`."""
        noise = {name: v.expand(-1, self.num_outputs) for name, v in noise.items()}
        built: Any = self.model(train_X, train_Y.expand(-1, self.num_outputs), **noise)
        return built.models[self.output]


def build_with_gaps(
    model: Callable[..., Model],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None,
) -> Model:
    """A model of the rows that have the first outcome, in the place of all outcomes.

    Args:
        model: Builds a model of all outputs.
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`; NaN where there is none.
        train_Yvar: Known noise variances, `n x m`.

    Raises:
        ValueError: If an outcome has fewer than two values.
    """
    m, missing = train_Y.shape[-1], train_Y.isnan()
    for j, count in enumerate((~missing).sum(dim=0).tolist()):
        if count < 2:
            raise ValueError(
                f"train_Y: expected at least 2 values of each outcome, got {count} of "
                f"outcome {j}; leave that outcome out"
            )
    rows = (~missing[:, 0]).nonzero()[:, 0]
    noise = {}
    if train_Yvar is not None:
        noise["train_Yvar"] = train_Yvar[rows, :1].expand(-1, m)
    try:
        return model(train_X[rows], train_Y[rows, :1].expand(-1, m), **noise)
    except Exception as error:
        error.add_note("raised by the model of the rows of outcome 0")
        raise


def models_of_outputs(
    model: Callable[..., Model], built: Model, num_outputs: int
) -> list[Callable[..., Model]]:
    """A function for the model of each output, `m` functions.

    Args:
        model: Builds a model of all outputs.
        built: A model that it has built.
        num_outputs: Columns of the outcomes, `m`.

    Raises:
        ValueError: If it is a list, but not of one model of one output for each.
        UnsupportedError: If outputs are correlated.
    """
    if isinstance(built, ModelListGP):
        return _models_of_list(model, built, num_outputs)
    if num_outputs > 1:
        own: Any = built.train()
        with torch.no_grad():
            prior = own(*own.train_inputs)
        if isinstance(prior, MultitaskMultivariateNormal):
            raise UnsupportedError(
                "train_Y: expected no missing values for a model of correlated outputs,"
                f" a {type(own).__name__}; use a MultiTaskGP, whose rows have a task"
            )
    return [model] * num_outputs


def _models_of_list(
    model: Callable[..., Model], built: ModelListGP, num_outputs: int
) -> list[Callable[..., Model]]:
    members: Any = built.models
    if len(members) != num_outputs:
        raise ValueError(
            f"model: expected a ModelListGP of {num_outputs} models, one per column of "
            f"train_Y, got {len(members)}"
        )
    for j, each in enumerate(members):
        if each.num_outputs > 1:
            raise ValueError(
                "model: expected a ModelListGP of models of one output, got "
                f"{each.num_outputs} of model {j}"
            )
    return [OfOutput(model, j, num_outputs) for j in range(num_outputs)]


@dataclass(frozen=True)
class OutputRows:
    """The rows of one output, and its folds of them."""

    rows: Tensor
    """Numbers of the rows among all."""

    folds: Folds
    """The folds of these rows."""

    numbers: list[int]
    """Of these folds among all."""


def rows_of_outputs(train_Y: Tensor, folds: Folds) -> list[OutputRows]:
    """For each output its rows and folds, `m`.

    A fold that holds out no value of an output, or leaves none to train on, is not
    among those of the output.

    Raises:
        ValueError: If there is no fold of an output.
    """
    found = []
    for j, known in enumerate((~train_Y.isnan()).cpu().unbind(dim=1)):
        rows = known.nonzero()[:, 0]
        kept = folds.held_out[:, rows].any(dim=1) & folds.training[:, rows].any(dim=1)
        numbers = kept.nonzero()[:, 0].tolist()
        if not numbers:
            raise ValueError(
                f"folds: expected one that holds out a value of outcome {j} and trains "
                "on another, got none"
            )
        found.append(OutputRows(rows, folds.take(numbers).of_rows(rows), numbers))
    return found


def single_values(train_Y: Tensor, folds: Folds) -> list[str]:
    """Where an output has one training value, which says nothing of its spread.

    Args:
        train_Y: Outcomes, `n x m`; NaN where there is none.
        folds: The folds of these rows.

    Returns:
        The names of such folds that hold out another value, and the number of the
        output.
    """
    found = []
    for j, known in enumerate((~train_Y.isnan()).cpu().unbind(dim=1)):
        alone = (folds.training & known).sum(dim=1) == 1
        alone &= (folds.held_out & known).any(dim=1)
        numbers = alone.nonzero()[:, 0].tolist()
        found += [f"{folds.names[i]} (output {j})" for i in numbers]
    return found


def join(
    results: Sequence[CrossValidation],
    parts: Sequence[OutputRows],
    folds: Folds,
    train_Y: Tensor,
) -> CrossValidation:
    """One result of the results of single outputs.

    Args:
        results: Of each output alone, `m`.
        parts: Their rows and folds.
        folds: The folds of all rows.
        train_Y: Outcomes, `n x m`; NaN where there is none.

    Returns:
        The points of rows that have any outcome. Models are `ModelListGP`s.
    """
    observed = (~train_Y.isnan()).any(dim=-1).cpu()
    fold_of, rows = (folds.held_out & observed).nonzero(as_tuple=True)
    # The first predictions of all rows come before all second ones.
    earlier = (folds.held_out.cumsum(dim=0) - 1)[fold_of, rows]
    order = torch.argsort(earlier * len(train_Y) + rows, stable=True)
    fold_of, rows = fold_of[order], rows[order]
    place = torch.full(folds.held_out.shape, -1)
    place[fold_of, rows] = torch.arange(len(rows))

    places = [
        place[torch.tensor(p.numbers)[r.fold_of.cpu()], p.rows[r.rows.cpu()]]
        for p, r in zip(parts, results, strict=True)
    ]

    def gather(values: Sequence[Tensor]) -> Tensor:
        """Columns of points from those of single outputs, `... x 1` each."""
        shape = (len(rows), *values[0].shape[1:-1], len(values))
        whole = values[0].new_full(shape, torch.nan)
        for j, (own, points) in enumerate(zip(values, places, strict=True)):
            whole[points.to(whole.device), ..., j] = own[..., 0]
        return whole

    fits: list[FoldFit] = []
    failed: dict[str, str] = {}
    for j, (result, part) in enumerate(zip(results, parts, strict=True)):
        for fit in result.fits:
            fits.append(replace(fit, fold=part.numbers[fit.fold], output=j))
        for name, why in result.failed.items():
            before = f"{failed[name]}; " if name in failed else ""
            failed[name] = f"{before}output {j}: {why}"
    for j, missing in enumerate(train_Y.isnan().cpu().unbind(dim=1)):
        lost = (folds.held_out & ~missing).any(dim=1)
        lost &= ~(folds.training & ~missing).any(dim=1)
        for i in lost.nonzero()[:, 0].tolist():
            name = folds.names[i]
            before = f"{failed[name]}; " if name in failed else ""
            failed[name] = f"{before}output {j}: no training value"
    fits.sort(key=_place)
    corrected = [r.corrected for r in results]
    values: dict[str, Any] = {
        n: gather([getattr(r, n) for r in results]) for n in POINTS
    }
    values["observed"] = train_Y[rows.to(train_Y.device)]
    return CrossValidation(
        rows=rows,
        fold_of=fold_of,
        **values,
        folds=folds,
        fits=fits,
        failed=failed,
        linked=_linked(results, gather),
        mixture=_mixture(results, gather),
        estimate=_estimate(results),
        corrected=None if None in corrected else math.fsum(c for c in corrected if c),
        full_evaluations=sum(r.full_evaluations for r in results),
        models=_models(results, parts, folds),
        full_model=_list_of([r.full_model for r in results]),
    )


def _place(fit: FoldFit) -> tuple[int, int]:
    return fit.fold, fit.output


def _linked(
    results: Sequence[CrossValidation], gather: Callable[[Sequence[Tensor]], Tensor]
) -> Linked | None:
    if all(r.linked is None for r in results):
        return None
    whole = [_links_of(r) for r in results]
    values = {n: gather([getattr(each, n) for each in whole]) for n in LINKED}
    return Linked(tuple(each.links[0] for each in whole), **values)


def _links_of(result: CrossValidation) -> Linked:
    """The links of one output; those of a Gaussian one are its outcomes themselves."""
    if result.linked is not None:
        return result.linked
    return Linked((IDENTITY,), **{name: getattr(result, name) for name in LINKED})


def _mixture(
    results: Sequence[CrossValidation], gather: Callable[[Sequence[Tensor]], Tensor]
) -> Mixture | None:
    if all(r.mixture is None for r in results):
        return None
    mixtures = [_mixture_of(r) for r in results]
    most = max(each.weights.shape[1] for each in mixtures)
    padded = [each.padded(most) for each in mixtures]
    return Mixture(*(gather([getattr(each, n) for each in padded]) for n in MIXED))


def _mixture_of(result: CrossValidation) -> Mixture:
    """The mixture of one output; a Gaussian prediction is one of a single component."""
    if result.mixture is not None:
        return result.mixture
    parts = _links_of(result)
    moments = parts.mean, parts.variance, parts.noise_variance
    return Mixture(torch.ones_like(parts.mean)[:, None], *(m[:, None] for m in moments))


def _estimate(results: Sequence[CrossValidation]) -> Estimate | None:
    """The sum of independent estimates."""
    found = [r.estimate for r in results if r.estimate is not None]
    if len(found) < len(results):
        return None
    return Estimate(
        math.fsum(each.elpd for each in found),
        math.sqrt(math.fsum(each.standard_error**2 for each in found)),
        sum(each.draws for each in found),
        sum(each.refitted for each in found),
    )


def _models(
    results: Sequence[CrossValidation], parts: Sequence[OutputRows], folds: Folds
) -> list[Model] | None:
    """By fold the models of all outputs, if every output has every fold."""
    whole = []
    for i in range(len(folds.names)):
        own = [
            None
            if result.models is None
            or len(result.models) < len(part.numbers)
            or i not in part.numbers
            else result.models[part.numbers.index(i)]
            for result, part in zip(results, parts, strict=True)
        ]
        whole.append(_list_of(own))
    found = [model for model in whole if model is not None]
    return found if len(found) == len(folds.names) else None


def _list_of(models: Sequence[Model | None]) -> Model | None:
    found = [model for model in models if model is not None]
    return ModelListGP(*found) if len(found) == len(models) else None
