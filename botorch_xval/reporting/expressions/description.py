"""A fitted Gaussian process in words and formulas, or many of one structure at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy

import torch
from botorch.models.gpytorch import BatchedMultiOutputGPyTorchModel, GPyTorchModel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, Likelihood
from gpytorch.likelihoods.noise_models import (
    HomoskedasticNoise,
    MultitaskHomoskedasticNoise,
)
from gpytorch.means import Mean, MultitaskMean
from gpytorch.models import GP, ExactGP, IndependentModelList

from botorch_xval.reporting.expressions.covariances import covariance_formula
from botorch_xval.reporting.expressions.transforms import (
    input_statements,
    outcome_statements,
)
from botorch_xval.reporting.expressions.tree import (
    Description,
    Node,
    Piece,
    Section,
    Statement,
    combine,
)
from botorch_xval.reporting.expressions.values import (
    Reader,
    mean_formula,
    parameters_formula,
)

__all__ = ["describe"]

NOISE = "When comparing a point to itself, add "


def describe(
    model: GP | Sequence[GP],
    names: Sequence[str] | None = None,
    outcomes: Sequence[str] | None = None,
) -> Description:
    r"""Write a fitted Gaussian process as text in which every value has its place.

    A covariance is a formula of the distances between two points: `compare('a')` is
    :math:`|a - a'|`, `differ('a')` is :math:`[a \neq a']`, `multiply('a')` is
    :math:`a a'`, `norm_l1` and `norm_l2` are norms, and of a distance :math:`r`

    .. math::
        \text{rbf}(r) = e^{-r^2 / 2}, \quad \text{matern}_{05}(r) = e^{-r}, \quad
        \text{matern}_{15}(r) = (1 + \sqrt{3} r) e^{-\sqrt{3} r}, \quad
        \text{matern}_{25}(r) = (1 + \sqrt{5} r + 5 r^2 / 3) e^{-\sqrt{5} r},

    `rational_quadratic(r, alpha)` is :math:`(1 + r^2 / 2 \alpha)^{-\alpha}`,
    `inverse_multiquadric(r, alpha, beta)` is :math:`((1 + \alpha) / (\alpha +
    r))^\beta`, and `lookup` reads a covariance from a table. Distances are those after
    the input transform; means, scales and noise (a variance) are in the unit of the
    outcomes after the outcome transform.

    For a batch of models, or several models of one structure such as the folds of a
    cross-validation, every value is shown as median and range. The formula describes
    the Gaussian process before it is conditioned on the training data. Priors of the
    parameters are not shown.

    Args:
        model: An exact GP of BoTorch or GPyTorch with `mean_module`, `covar_module` and
            `likelihood`, a list of such models (`ModelListGP`) for several outcomes, or
            a sequence of models to describe together.
        names: Names of the input columns after the input transform; default: `x0`,
            `x1`, ...
        outcomes: Names of the outcomes, or of the tasks of a multi-task model in their
            order.

    Returns:
        The description; `print` it, or let a notebook show it.

    Raises:
        ValueError: If a model is something else, if there are more or fewer names than
            columns or outcomes, or if several models differ in structure.
    """
    if isinstance(model, Sequence) and not isinstance(model, str):
        if not model:
            raise ValueError(
                "model: expected at least one model to describe, got none; fit one"
            )
        return combine([describe(each, names, outcomes) for each in model])
    _check_names("outcomes", outcomes)
    return _describe_members(members_of(model), names, outcomes)


def _describe_members(
    members: Sequence[ExactGP],
    names: Sequence[str] | None,
    outcomes: Sequence[str] | None,
) -> Description:
    """The members of a model list, one section for each outcome."""
    counts = [_num_outcomes(member) for member in members]
    if outcomes is not None and len(outcomes) != sum(counts):
        raise ValueError(
            f"outcomes: expected {sum(counts)} names, one for each outcome or task of "
            f"the model, got {len(outcomes)}: {list(outcomes)}; pass one name each"
        )
    labels = outcomes
    if labels is None and len(members) > 1:
        labels = [f"y{i}" for i in range(sum(counts))]
    descriptions = []
    for member, count in zip(members, counts, strict=True):
        descriptions.append(_describe(member, names, labels and labels[:count]))
        labels = labels and labels[count:]
    num_models = {description.num_models for description in descriptions}
    if len(num_models) > 1:
        raise ValueError(
            "model: expected members of a model list with batches of one size, got "
            f"{sorted(num_models)} models in them; describe them one by one"
        )
    sections = [section for each in descriptions for section in each.sections]
    return Description(tuple(sections), num_models.pop())


def _describe(
    model: ExactGP, names: Sequence[str] | None, outcomes: Sequence[str] | None
) -> Description:
    features = features_of(model, names)
    batch_shape = batch_shape_of(model)
    if isinstance(model, BatchedMultiOutputGPyTorchModel) and model.num_outputs > 1:
        m = model.num_outputs
        outcomes = outcomes or [f"y{i}" for i in range(m)]
        readers = [Reader(batch_shape, output=i) for i in range(m)]
    elif outcomes is not None and len(outcomes) > 1:
        readers, outcomes = [Reader(batch_shape, tasks=tuple(outcomes))], [""]
    else:
        readers, outcomes = [Reader(batch_shape)], outcomes or [""]
    sections = [
        Section(outcome, tuple(_statements(model, features, reader)))
        for outcome, reader in zip(outcomes, readers, strict=True)
    ]
    num_outputs = 1 if readers[0].output is None else len(readers)
    return Description(tuple(sections), batch_shape.numel() // num_outputs)


def _statements(
    model: ExactGP, features: tuple[str, ...], reader: Reader
) -> Iterator[Statement]:
    if (transform := getattr(model, "input_transform", None)) is not None:
        yield from input_statements(transform, features, reader)
    if (transform := getattr(model, "outcome_transform", None)) is not None:
        yield from outcome_statements(transform, reader)
    yield from _mean(model.mean_module, features, reader)
    yield Statement(
        ("Covariance: compare points as follows",),
        covariance_formula(model.covar_module, features, reader),
    )
    yield _noise(model.likelihood, reader)


def _mean(
    mean: Mean, features: tuple[str, ...], reader: Reader, of: str = ""
) -> Iterator[Statement]:
    if type(mean).forward is MultitaskMean.forward:
        for i, part in enumerate(mean.base_means):
            yield from _mean(part, features, reader, f" of task {reader.task(i)}")
        return
    formula = mean_formula(mean, features, reader)
    if formula.parts:
        yield Statement((f"Mean{of}:",), formula)
    else:
        yield Statement((f"Mean{of}: ", *formula.pieces()))


def _noise(likelihood: Likelihood, reader: Reader) -> Statement:
    kind = "noise variance"
    if isinstance(likelihood, FixedNoiseGaussianLikelihood):
        known = likelihood.noise_covar.noise
        low = reader.value(known.amin(dim=-1), f"smallest known {kind}", kind)
        high = reader.value(known.amax(dim=-1), f"largest known {kind}", kind)
        pieces: list[Piece] = [NOISE + "its known noise, from ", low, " to ", high]
        if likelihood.second_noise_covar is not None:
            more = likelihood.second_noise_covar.noise[..., 0]
            pieces += [", and ", reader.value(more, f"further {kind}", kind), " more"]
        return Statement(tuple(pieces))
    noise_model = getattr(likelihood, "noise_covar", None)
    if isinstance(noise_model, HomoskedasticNoise | MultitaskHomoskedasticNoise):
        num_tasks = noise_model.noise.shape[-1]
        if num_tasks == 1:
            value = reader.value(noise_model.noise[..., 0], kind, kind)
            return Statement((NOISE + "noise ", value))
        names = [f"{kind} of task {reader.task(i)}" for i in range(num_tasks)]
        pieces = []
        for i, value in enumerate(reader.values(noise_model.noise, names, kind)):
            pieces += [", " if i else NOISE + "noise ", value]
            pieces.append(f" (task {reader.task(i)})")
        return Statement(tuple(pieces))
    formula: Node = parameters_formula(likelihood, (), reader)
    return Statement((NOISE + "noise by",), formula)


def members_of(model: GP) -> list[ExactGP]:
    """The models of a model list, or the model itself, checked to be exact GPs.

    Raises:
        ValueError: If one has no mean, covariance, likelihood or training inputs.
    """
    if isinstance(model, IndependentModelList):
        return [each for part in model.models for each in members_of(part)]
    expected = (
        "model: expected an exact GP of BoTorch or GPyTorch with `mean_module`, "
        "`covar_module` and `likelihood`, a ModelListGP, or a sequence of these, got "
    )
    advice = "; pass `mll.model`, or `models` of a cross-validation that keeps them"
    if not isinstance(model, ExactGP):
        raise ValueError(f"{expected}{type(model).__name__}{advice}")
    for name in ("mean_module", "covar_module", "likelihood", "train_inputs"):
        if getattr(model, name, None) is None:
            raise ValueError(
                f"{expected}{type(model).__name__} without `{name}`{advice}"
            )
    return [model]


def _num_outcomes(model: ExactGP) -> int:
    if hasattr(model, "num_tasks"):
        return int(model.num_tasks)
    return model.num_outputs if isinstance(model, GPyTorchModel) else 1


def batch_shape_of(model: ExactGP) -> torch.Size:
    """The batch shape of the model's parameters; batched outputs are the last."""
    if not isinstance(model, GPyTorchModel):
        inputs = model.train_inputs[0].shape[:-2]
        return torch.broadcast_shapes(inputs, model.covar_module.batch_shape)
    if isinstance(model, BatchedMultiOutputGPyTorchModel) and model.num_outputs > 1:
        return model.batch_shape + torch.Size([model.num_outputs])
    return model.batch_shape


def features_of(model: ExactGP, names: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the columns after the input transform."""
    _check_names("names", names)
    inputs = model.train_inputs[0]
    transform = getattr(model, "input_transform", None)
    if transform is not None and model.training:  # else they are transformed already
        with torch.no_grad():
            inputs = deepcopy(transform).preprocess_transform(inputs)
    d = 1 if inputs.ndim == 1 else inputs.shape[-1]
    if names is None:
        return tuple(f"x{i}" for i in range(d))
    if len(names) != d:
        raise ValueError(
            f"names: expected {d} names, one for each input column that the kernel "
            f"sees, got {len(names)}: {list(names)}; name the columns after the input "
            "transform"
        )
    return tuple(names)


def _check_names(argument: str, names: Sequence[str] | None) -> None:
    if names is None:
        return
    if (
        isinstance(names, str)
        or not isinstance(names, Collection)
        or not all(isinstance(name, str) for name in names)
    ):
        raise ValueError(
            f"{argument}: expected a list of names, got {names!r}; pass a list of str"
        )
    if len(set(names)) < len(names):
        raise ValueError(
            f"{argument}: expected distinct names, got {list(names)}; rename some"
        )
