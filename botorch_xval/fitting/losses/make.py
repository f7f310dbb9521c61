"""Which way to evaluate the losses of given models: the fastest that agrees with them.

From fast to general: in closed form, by slices of stacked models, one mll after the
other, and the sum over a batch that cannot be sliced. Each is compared with the models'
own losses and gradients before it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from warnings import warn

import numpy as np
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.optim.closures import get_loss_closure
from gpytorch.mlls import MarginalLogLikelihood

from botorch_xval.fitting.losses.apart import evaluate_apart
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.modules import ByModules, Joint
from botorch_xval.fitting.losses.objective import (
    Objective,
    SharedParameters,
    Stack,
    StackedObjective,
)
from botorch_xval.fitting.losses.parameters import Array, ParameterBounds, Unsupported
from botorch_xval.fitting.losses.separate import Separate
from botorch_xval.fitting.losses.together import (
    DifferentModels,
    batch_shape_of,
    trainable_shapes,
)
from botorch_xval.models.checks import check_mlls

__all__ = ["make_batch_objective", "make_objective"]

LARGE_BATCH = 500_000  # elements of the covariance matrices of one mll
logger = logging.getLogger(__name__)


def make_objective(
    mlls: Sequence[MarginalLogLikelihood],
    parameters: Collection[str] | None = None,
    bounds: ParameterBounds | None = None,
) -> Objective:
    """The fastest objective that agrees with the models' own losses and gradients.

    Args:
        mlls: Marginal log likelihoods in training mode; several must be of one
            structure. Those of one size are evaluated together.
        parameters: Names of the parameters to optimize; default: all that require
            gradients.
        bounds: By name of a parameter its lower and upper bound (numbers, or tensors
            that broadcast to the parameter; None for no bound); they replace those of
            the parameter's constraint.

    Returns:
        An objective that was compared with the `mlls` at their present values.

    Raises:
        ValueError: If there is nothing to optimize, or a name is unknown.
    """
    _check(mlls, parameters, bounds)
    sizes: dict[int, list[int]] = {}
    for i, mll in enumerate(mlls):
        sizes.setdefault(mll.model.train_targets.shape[-1], []).append(i)
    if len(sizes) > 1:
        return Separate(
            [
                make_objective([mlls[i] for i in group], parameters, bounds)
                for group in sizes.values()
            ],
            list(sizes.values()),
        )
    strange = list(range(len(mlls)))
    try:
        objective = _stacked(mlls, parameters, bounds)
        chosen = {i: mlls[i] for i in _first_middle_last(len(mlls))}
        if not (found := _disagreeing(objective, chosen)):
            return _exact(objective) or objective
        strange, reason = found, "it disagrees with the models' own losses"
    except Exception as error:  # any model may be built in a way that we do not foresee
        reason = f"{type(error).__name__}: {error}"
        if len(mlls) > 1:
            strange = _not_stacked(mlls, parameters, bounds) or strange
    if len(mlls) > 1:
        logger.debug("models %s are evaluated one by one: %s", strange, reason)
        others = [i for i in range(len(mlls)) if i not in strange]
        groups = [[i] for i in strange] + ([others] if others else [])
        parts = [[mlls[i] for i in group] for group in groups]
        return Separate(
            [make_objective(part, parameters, bounds) for part in parts], groups
        )
    if batch_shape_of(mlls[0]).numel() > 1:
        warn(
            f"The models of this batched {type(mlls[0].model).__name__} are fitted "
            f"together, by one optimizer on the sum of their losses: {reason}.",
            BotorchWarning,
            stacklevel=4,
        )
    return Joint(mlls[0], parameters, bounds)


def make_batch_objective(
    mll: MarginalLogLikelihood,
    members: Mapping[int, MarginalLogLikelihood],
    parameters: Collection[str] | None = None,
    bounds: ParameterBounds | None = None,
) -> Objective:
    """An objective of one batched mll that agrees with ordinary mlls of its members.

    To compare with the loss of the whole batch would take more memory than the fit.

    Args:
        mll: The batch, in training mode, its first batch dimension that of `members`.
        members: By number of a member an ordinary mll with its data and values.
        parameters: See :func:`make_objective`.
        bounds: See :func:`make_objective`.

    Raises:
        ValueError: See :func:`make_objective`.
        DifferentModels: If the batch is not as its members would be.
    """
    _check([mll], parameters, bounds)
    try:
        stack = Stack([mll], parameters, bounds)
        objective = ByModules(stack)
        if not _disagreeing(objective, members):
            return _exact(objective) or objective
        reason = "other losses"
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    raise DifferentModels(f"a batch is not as its members would be: {reason}")


def _check(
    mlls: Sequence[MarginalLogLikelihood],
    parameters: Collection[str] | None,
    bounds: ParameterBounds | None,
) -> None:
    check_mlls(mlls)
    own = trainable_shapes(mlls[0])
    if not own or (parameters is not None and not parameters):
        raise ValueError(
            "parameters: expected at least one parameter to optimize, got none of the "
            f"{type(mlls[0].model).__name__}; let one require a gradient"
        )
    for i, mll in enumerate(mlls):
        if trainable_shapes(mll) != own:
            raise ValueError(
                "mlls: expected the same parameters to optimize in all, got others in "
                f"mll {i} than in mll 0; fit them apart"
            )
    known = {name for name, _ in mlls[0].named_parameters()}
    for argument, given in (("parameters", parameters), ("bounds", bounds)):
        if unknown := sorted(set(given or ()) - known):
            raise ValueError(
                f"{argument}: expected names of parameters, {sorted(known)}, got "
                f"{unknown}; see mll.named_parameters()"
            )


def _stacked(
    mlls: Sequence[MarginalLogLikelihood],
    parameters: Collection[str] | None,
    bounds: ParameterBounds | None,
) -> ByModules:
    """Models evaluated by modules; an error that does not come again does not count."""
    try:
        return ByModules(Stack(mlls, parameters, bounds))
    except (DifferentModels, SharedParameters):
        raise
    except Exception as error:
        logger.debug("models are stacked once more: %s", error)
    return ByModules(Stack(mlls, parameters, bounds))


def _not_stacked(
    mlls: Sequence[MarginalLogLikelihood],
    parameters: Collection[str] | None,
    bounds: ParameterBounds | None,
) -> list[int]:
    """Numbers of mlls that raise an error also if each of them is alone.

    And of those whose transformed data have another shape than most.
    """
    found, shapes = [], {}
    for i, mll in enumerate(mlls):
        try:
            stack = _stacked([mll], parameters, bounds).stack
        except Exception as error:
            logger.debug("mll %d cannot be stacked: %s", i, error)
            found.append(i)
        else:
            shapes[i] = [each.shape for each in (*stack.inputs, stack.targets)]
    most = max(shapes.values(), key=list(shapes.values()).count, default=None)
    return sorted([*found, *(i for i, own in shapes.items() if own != most)])


def _exact(by_modules: ByModules) -> Exact | None:
    """The closed form, if there is one and it agrees with the modules' values."""
    models = _first_middle_last(by_modules.num_models)
    start, bounds = by_modules.start[models], by_modules.table.bounds[0]
    away = start + 0.1 * np.random.default_rng(0).uniform(size=start.shape)
    try:
        exact = Exact(by_modules)
        # At the start, where the modules agree with the models, numbers may be equal
        # that should not be mistaken for each other.
        for theta in (np.clip(away, bounds.lb, bounds.ub), start):
            found, expected = (_in_parts(o, theta, models) for o in (exact, by_modules))
            if not _agree(found, expected):
                logger.debug("the closed form disagrees with the model's modules")
                return None
            if np.isfinite(expected[0]).all():
                break
    except Unsupported as part:
        logger.debug("no closed form for %s", part)
        return None
    except Exception as error:  # of any kernel; or there is no value to compare with
        logger.debug("no comparison with the closed form: %s", error)
        return None
    return exact


def _agree(found: tuple[Array, Array], expected: tuple[Array, Array]) -> bool:
    """Whether models have the same values, as far as they have some.

    One that is in trouble says nothing of the others.
    """
    known = np.isfinite(found[0]) & np.isfinite(expected[0])
    if not known.any():
        known[:] = True
    return all(
        np.allclose(one[known], other[known], 1e-7, 1e-7, equal_nan=True)
        for one, other in zip(found, expected, strict=True)
    )


def _in_parts(
    objective: StackedObjective, theta: Array, models: list[int]
) -> tuple[Array, Array]:
    """Values of models, few at a time if they are large; NaN where one raises.

    Raises:
        Exception: That of models that cannot be evaluated together, though they can be
            alone; or the first one if all raise.
    """
    width = max(1, LARGE_BATCH // objective.num_points**2)
    parts = [slice(i, i + width) for i in range(0, len(models), width)]
    found = [evaluate_apart(objective, theta[part], models[part]) for part in parts]
    for part, each in zip(parts, found, strict=True):
        if each.together is not None and not each.errors:
            objective(theta[part], models[part])  # twice would be no accident
    errors = [error for each in found for error in each.errors.values()]
    if len(errors) == len(models):
        raise errors[0]
    return (
        np.concatenate([each.losses for each in found]),
        np.concatenate([each.gradients for each in found]),
    )


def _disagreeing(
    objective: StackedObjective, mlls: Mapping[int, MarginalLogLikelihood]
) -> list[int]:
    """Numbers of mlls whose own losses and gradients the objective does not have.

    At the start all are compared in one evaluation, so that a value that belongs to
    another model would show, and the last one alone, since some modules can be
    evaluated for the whole batch only. An mll that has no loss of its own there cannot
    be compared; its fit will say why. Of a large batch no gradients are compared: they
    would take the memory that we want to save.

    Args:
        objective: Of stacked models.
        mlls: By number of an mll, or of a member of a batch, that mll.
    """
    each = batch_shape_of(next(iter(mlls.values()))).numel()
    numbers = np.arange(objective.num_models).reshape(-1, each)
    rows = _first_middle_last(each)
    size = each * objective.num_points**2
    expected: dict[int, tuple[Array, ...]] = {}
    for i, mll in mlls.items():
        try:
            own = _own_values(mll, objective, size < LARGE_BATCH)
        except Exception as error:
            logger.debug("mll %d has no loss at the start: %s", i, error)
        else:
            expected |= {
                int(numbers[i, row]): tuple(values[row] for values in own)
                for row in rows
            }
    if not expected:
        return []
    tolerance = 1e-7 if objective.stack.dtype == torch.float64 else 1e-2
    models = list(expected)
    compared = [(models, _in_parts(objective, objective.start[models], models))]
    if objective.num_models > 1 and objective.num_points**2 < LARGE_BATCH:
        compared.append(_alone(objective, models))
    strange = set()
    for numbers_of, found in compared:
        for k, model in enumerate(numbers_of):
            # Without expected gradients only losses are compared.
            pairs = zip((part[k] for part in found), expected[model], strict=False)
            if not all(
                np.allclose(one, other, tolerance, tolerance, equal_nan=True)
                for one, other in pairs
            ):
                strange.add(model // each)
    return sorted(strange)


def _alone(
    objective: StackedObjective, models: list[int]
) -> tuple[list[int], tuple[Array, Array]]:
    """The last model that can be evaluated alone, and its values at the start.

    Raises:
        Exception: That of the first model, if none can be.
    """
    for model in reversed(models):
        try:
            return [model], objective(objective.start[[model]], [model])
        except Exception as error:  # it may be the trouble of this one
            reason = error
    raise reason


def _first_middle_last(count: int) -> list[int]:
    return sorted({0, count // 2, count - 1})


def _own_values(
    mll: MarginalLogLikelihood, objective: StackedObjective, with_gradients: bool
) -> tuple[Array, ...]:
    """Losses, and gradients if wanted, of an mll by BoTorch's closure and autograd."""
    with torch.set_grad_enabled(with_gradients):
        losses = get_loss_closure(mll)().reshape(-1)
    values = losses.detach().double().cpu().numpy()
    if not with_gradients:
        return (values,)
    own = dict(mll.named_parameters())
    tensors = [own[name] for name in objective.stack.table.columns]
    gradients = torch.autograd.grad(losses.sum(), tensors, allow_unused=True)
    parts = [
        (torch.zeros_like(tensor) if gradient is None else gradient)
        .reshape(len(losses), -1)
        .double()
        for tensor, gradient in zip(tensors, gradients, strict=True)
    ]
    return values, torch.cat(parts, dim=-1).cpu().numpy()
