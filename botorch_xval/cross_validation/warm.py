r"""How the models of folds are fitted: each from its own starts, or from all rows.

**What a fit to all rows says about those without some.** Let :math:`\theta^*` minimize
the summed loss :math:`L`, the negative log marginal likelihood (or another criterion)
minus log priors of all rows, with the Hessian :math:`H` there, by logarithms of
positive parameters. The loss without the rows :math:`S` has at :math:`\theta^*` a
gradient :math:`g_{-S}`, and one Newton step (the infinitesimal jackknife: Giordano et
al. 2019; Rad & Maleki 2020)

.. math:: \theta_{-S} \approx \theta^* - H^{-1} g_{-S}, \qquad
    \mathrm{influence}_S = \| H^{-1/2} g_{-S} \|,

starts, or stands for, its fit. The influence is the length of that step in posterior
standard deviations, in the role that Pareto's :math:`k` has for importance sampling.
Where the folds transform their inputs as the model of all rows does, and their outcomes
up to an affine change (each standardizes its own), all :math:`g_{-S}` of the evidence
come from one factorization, :math:`O(p n^3)` for leave-one-out; a fold that holds out
the extreme value of an input takes an evaluation of its own, and so does every fold by
another criterion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from botorch_xval.cross_validation.centers import Center
from botorch_xval.cross_validation.exchange import share
from botorch_xval.cross_validation.fold_fits import ALL_ROWS, FoldFits, FoldWork, Key
from botorch_xval.cross_validation.fold_models import FoldModels
from botorch_xval.cross_validation.folds import Folds, by_size
from botorch_xval.cross_validation.full_fit import FullFit
from botorch_xval.cross_validation.links import affine
from botorch_xval.cross_validation.trace import follow, is_trace
from botorch_xval.fitting.coordinates import Array
from botorch_xval.fitting.losses.left_out import LeftOut
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.threads import evaluate_each

__all__ = ["INFLUENTIAL", "fit_folds", "squared_influences"]

# Posterior standard deviations from which on a fold is fitted from its own starts, too.
INFLUENTIAL = 0.5
MATRICES = 10  # products of matrices that the evaluation of a model may cost


def fit_folds(
    models: FoldModels,
    full: FullFit | None,
    how: str,
    threshold: float,
    options: FitOptions,
    known: dict[int, list[Center]] | None = None,
) -> FoldFits:
    """Fit the models of folds, from their own starts or the fit to all rows.

    Args:
        models: Of the folds.
        full: The fit to all rows; None for "refit".
        how: "refit": from their own starts. "warm": one Newton step, refined with
            L-BFGS-B, in coordinates whitened by the Hessian, to the tolerance of a cold
            fit. "adaptive": so where the influence of a fold exceeds `threshold`, or
            where another fold's optimum promises it a lower loss; others keep that
            step, and predict to first order in it. "sampled": as "warm", but no fold is
            searched from more starts than its influence asks for.
        threshold: In posterior standard deviations; with infinity nothing is refitted.
        options: The options of the fit.
        known: By output optima that other folds have found, which are offered to
            these; gets those that these find.

    Returns:
        The fitted models, and for each fold and output in turn how it was fitted.

    Raises:
        DifferentModels: If a batch is not as ordinary models are.
        ValueError: If models have other hyper-parameters than others of their size, or
            than the model of all rows.
    """
    objective = models.objective(options)
    numbers = models.models(objective)
    options = options.named(models.folds.names, numbers.shape[1])
    work = FoldWork(objective, numbers, options)
    if full is None:
        keys = list(np.ndindex(numbers.shape))
        scouts = [i for i in keys if i[0] in work.scouts]
        work.fit_cold(scouts, most=None)
        work.fit_cold([i for i in keys if i not in scouts])
        share(work, known=known)
        return work.end(models.numbers)
    full.check_parameters(objective, models.folds.names[0])
    work.how = "warm"
    kept_up_to = threshold if how == "adaptive" else -math.inf
    if is_trace(models.folds):
        searched = follow(work, full, models.folds, kept_up_to)
    else:
        searched = _step_from_all_rows(work, full, models, kept_up_to)
    # Where all rows have several optima, so may any fold.
    unclear = [
        i
        for i in searched
        if work.influences[i] > INFLUENTIAL or len(full.centers[i[1]]) > 1
    ]
    scouts = [i for i in searched if i[0] in work.scouts and how != "sampled"]
    work.search_own_starts(scouts, most=None)
    work.search_own_starts([i for i in unclear if i not in scouts])
    if how != "adaptive" or threshold < math.inf:
        share(work, full, known)
    return work.end(models.numbers)


def squared_influences(full: FullFit, folds: Folds) -> float | None:
    r"""Sum over folds of their squared influence, :math:`g^\top H^{-1} g`, in nats.

    To first order the log density of a fold's held-out rows falls by so much when its
    hyper-parameters are fitted without them: at the optimum of all rows the gradient of
    the fold's loss is that of this log density. Its sum is the penalty of Takeuchi's
    information criterion (Takeuchi 1976; Stone 1977). That holds for fits by the
    evidence only. Folds have the transforms of all rows; a row that is held out several
    times counts once.

    Args:
        full: The fit to all rows.
        folds: The folds.

    Returns:
        The sum over all outputs; None if there is no closed form, if the model is not
        fitted by the evidence, or if folds leave out other rows than they predict.
    """
    if folds.omits_rows:
        return None
    total, times = 0.0, folds.held_out.sum(dim=0)
    for numbers in by_size(folds.training):
        held_out = folds.held_out[numbers]
        found = full.fitted.objective.without(full.fitted.theta, held_out)
        if found is None:
            return None
        shares = torch.stack([(1 / times[rows]).mean() for rows in held_out]).numpy()
        left = held_out.shape[1] - int(held_out[0].sum())
        for k, each in enumerate(found[1]):
            whitened = full.centers[k][0].whitened
            _, pull_back = whitened.at(whitened.from_raw(full.centers[k][0].theta))
            slopes = pull_back(each.gradients.cpu().numpy() * left)
            squares = (slopes[:, ~whitened.resting] ** 2).sum(axis=1)
            total += float(shares @ squares)
    return total


def _step_from_all_rows(
    work: FoldWork, full: FullFit, models: FoldModels, threshold: float
) -> list[Key]:
    """One Newton step for each fold, which is kept up to an influence, or refined.

    Returns:
        Which models have been searched.
    """
    there = _at_full(work, full, models)
    steps = _take_steps(work, full, there)
    influences = np.nan_to_num(work.influences, nan=np.inf)
    chosen = influences.max(axis=1) > threshold
    kept = {i: step for i, step in steps.items() if not chosen[i[0]]}
    _keep_steps(work, full, models, kept, there)
    steps = {i: step for i, step in steps.items() if chosen[i[0]]}
    work.refine(
        [(i, s.values, full.centers[i[1]][0]) for i, s in steps.items()], ALL_ROWS
    )
    return list(steps)


@dataclass(frozen=True)
class _There:
    """The folds at the fit to all rows."""

    losses: Array  # f x m
    gradients: Array  # f x m x p
    # By position of a fold what one factorization says of its size, for each output,
    # and its place there.
    left: dict[int, tuple[list[LeftOut], int]]


class _Step(NamedTuple):
    values: Array
    loss: float  # summed, as promised by the quadratic model


def _at_full(work: FoldWork, full: FullFit, models: FoldModels) -> _There:
    """Losses and gradients of folds at the fit to all rows.

    Of folds that transform their data as the model of all rows does, they come from
    one factorization.
    """
    theta = np.tile(full.fitted.theta, (len(work.numbers), 1, 1))
    losses, gradients = np.empty(work.numbers.shape), np.empty(theta.shape)
    alike = np.full(len(losses), False)
    left: dict[int, tuple[list[LeftOut], int]] = {}
    for whole in by_size(models.folds.training):
        omitted = int((~models.folds.training[whole[0]]).sum())
        if not _is_worth_it(full, len(whole), omitted):
            continue
        for part, own, numbers in _by_objective(work, whole):
            left_out = ~models.folds.training[own]
            found = full.fitted.objective.without(
                full.fitted.theta, left_out, part, np.array(numbers)
            )
            if found is None:
                continue
            known = np.array(own)[found[0]]
            alike[known] = True
            for k, each in enumerate(found[1]):
                losses[known, k] = each.losses.cpu().numpy()
                gradients[known, k] = each.gradients.cpu().numpy()
            left |= {int(j): (found[1], place) for place, j in enumerate(known)}
    if not alike.all():
        numbers = work.numbers[~alike]
        rest = evaluate_each(
            work.objective,
            theta[~alike].reshape(-1, theta.shape[-1]),
            numbers.reshape(-1).tolist(),
        )
        losses[~alike] = rest[0].reshape(numbers.shape)
        gradients[~alike] = rest[1].reshape(theta[~alike].shape)
    for i in np.ndindex(work.numbers.shape):
        work.spend(i, 1)
    return _There(losses, gradients, left)


def _by_objective(
    work: FoldWork, folds: Sequence[int]
) -> list[tuple[Objective, list[int], list[list[int]]]]:
    """Objectives, the folds that each evaluates, and the numbers of their models there.

    A fold that is in trouble may have an objective of its own.
    """
    found: dict[int, tuple[Objective, list[int], list[list[int]]]] = {}
    for j in folds:
        part, numbers = work.objective.part_of(work.numbers[j].tolist())
        _, own, models = found.setdefault(id(part), (part, [], []))
        own.append(j)
        models.append(numbers)
    return list(found.values())


def _is_worth_it(full: FullFit, f: int, s: int) -> bool:
    """Whether one factorization of all rows says more cheaply what `f` folds ask.

    It takes a product of `n x n` matrices for each of `p` parameters; a fold without
    `s` rows a factorization, its inverse and its gradient.
    """
    n, p = full.fitted.objective.num_points, full.fitted.theta.shape[1]
    return (1 + p) * n**3 <= MATRICES * f * (n - s) ** 3


def _take_steps(work: FoldWork, full: FullFit, there: _There) -> dict[Key, _Step]:
    """Influences of all models, and the parameters of those that have one."""
    steps = {}
    for j, k in np.argwhere(np.isfinite(there.gradients).all(axis=-1)):
        i, center = (int(j), int(k)), full.centers[k][0]
        values, work.influences[i], loss = work.step(
            i, center, there.losses[i], there.gradients[i]
        )
        steps[i] = _Step(values, loss)
        work.conditions[i] = center.whitened.condition
    return steps


def _keep_steps(
    work: FoldWork,
    full: FullFit,
    models: FoldModels,
    steps: dict[Key, _Step],
    there: _There,
) -> None:
    """Folds that keep the values after the Newton step.

    Those of no large influence predict to first order; others are evaluated.
    """
    outputs = range(work.numbers.shape[1])
    small = {
        j
        for j in there.left
        if all((j, k) in steps for k in outputs)
        and work.influences[j].max() <= INFLUENTIAL
    }
    if small:
        _predict_first_order(work, full, models, steps, there, sorted(small))
    rest = {i: step for i, step in steps.items() if i[0] not in small}
    if not rest:
        return
    theta = np.stack([step.values for step in rest.values()])
    found = evaluate_each(work.objective, theta, [int(work.numbers[i]) for i in rest])
    for i, values, loss, gradient in zip(rest, theta, *found, strict=True):
        work.spend(i, 1)
        if np.isfinite(loss):
            work.keep(i, values, loss, gradient, "predicted")


def _predict_first_order(
    work: FoldWork,
    full: FullFit,
    models: FoldModels,
    steps: dict[Key, _Step],
    there: _There,
    folds: Sequence[int],
) -> None:
    """Keep the steps of folds, and their predictions to first order."""
    outputs = range(work.numbers.shape[1])
    location, scale = affine(full.mll.model, len(outputs))
    targets = full.mll.model.train_targets.reshape(len(outputs), -1).mT
    observed = location + scale * targets
    for j in folds:
        for k in outputs:
            step = steps[j, k]
            loss = step.loss / work.objective.points_of(int(work.numbers[j, k]))
            work.keep((j, k), step.values, loss, None, "predicted")
        moments = [_moments(work, full, there, (j, k), steps[j, k]) for k in outputs]
        # Those of all rows that it does not train on, of which it predicts some.
        predicted = models.folds.held_out[j][~models.folds.training[j]]
        moments = [each[:, predicted.to(each.device)] for each in moments]
        errors, variances, noise, scales, shifts = torch.stack(moments, dim=-1)
        own = scale / scales  # the fold standardizes by itself
        rows = models.folds.held_out[j].to(observed.device)
        work.predictions[j] = {
            "mean": observed[rows] - own * errors,
            "variance": own**2 * variances,
            "noise_variance": own**2 * noise,
            "location": location - own * shifts,
            "scale": own,
        }


def _moments(
    work: FoldWork, full: FullFit, there: _There, i: Key, step: _Step
) -> Tensor:
    """Errors, variances and noise variances of left-out rows after a step.

    And the scale and shift of the fold's outcomes, `5 x s`, all on the scale of its own
    model. To first order in logarithms of positive parameters and of variances, so that
    these stay positive.
    """
    of_outputs, place = there.left[i[0]]
    left = of_outputs[i[1]]
    at = work.coordinates.from_raw(full.fitted.theta[i[1]])
    _, slopes = work.coordinates.with_slopes(at)
    moved = slopes * (work.coordinates.from_raw(step.values) - at)
    change = torch.as_tensor(moved).to(left.errors)
    errors = left.errors[place] + left.error_slopes[place] @ change
    variances, noise = (
        now * (slope @ change / now.clamp_min(torch.finfo(now.dtype).tiny)).exp()
        for now, slope in (
            (left.variances[place], left.variance_slopes[place]),
            (left.noise[place], left.noise_slopes[place]),
        )
    )
    affine_change = (
        each[place].expand_as(noise) for each in (left.scales, left.shifts)
    )
    return torch.stack([errors, torch.maximum(variances, noise), noise, *affine_change])
