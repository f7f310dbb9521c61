"""Models with this library's fit, for Ax, whose storage knows them and their parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from ax.generators.torch.botorch_modular.input_constructors.covar_modules import (
    covar_module_argparse,
)
from ax.storage.botorch_modular_registry import (
    register_kernel,
    register_mll,
    register_model,
)
from botorch.exceptions.errors import UnsupportedError
from botorch.models import MixedSingleTaskGP, MultiTaskGP, SingleTaskGP
from botorch.models.model import Model
from botorch.utils.datasets import SupervisedDataset
from gpytorch.kernels import Kernel
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from gpytorch.priors import Prior

from botorch_xval.fitting.fit import fit_or_raise
from botorch_xval.fitting.options import FitOptions
from botorch_xval.models import scalar_choice as models
from botorch_xval.models.checks import wrong
from botorch_xval.models.kernels import (
    ChoiceKernel,
    FactorizedScalarChoiceKernel,
    WeightedMixtureKernel,
)
from botorch_xval.models.mlls import LeaveOneOutCRPS
from botorch_xval.models.scalar_choice import PriorConfiguration

__all__ = [
    "IndependentFit",
    "IndependentMixedSingleTaskGP",
    "IndependentMultiTaskGP",
    "IndependentSingleTaskGP",
    "ScalarChoiceGP",
    "are_ours",
    "check_space",
    "choice_columns",
    "fitted_together",
    "with_independent_fit",
]

ONE_HOT = "_OH_PARAM_"  # between a choice's name and the number of its value

# The mlls whose fits wait for the end of `fitted_together`; None outside of it.
_WAITING: ContextVar[list[MarginalLogLikelihood] | None] = ContextVar(
    "waiting", default=None
)


@contextmanager
def fitted_together() -> Iterator[None]:
    """In this context fits of these models are put off, and done together at its end.

    Raises:
        ModelFittingError: If one cannot be fitted; the others are fitted.
    """
    waiting: list[MarginalLogLikelihood] = []
    token = _WAITING.set(waiting)
    try:
        yield
    finally:
        _WAITING.reset(token)
    if waiting:
        fit_or_raise(waiting)


def are_ours(model: Model) -> bool:
    """Whether a model, or every model of a `ModelListGP`, has this library's fit."""
    return all(isinstance(m, IndependentFit) for m in getattr(model, "models", [model]))


def choice_columns(feature_names: Sequence[str]) -> list[int]:
    """The columns of choices in Ax's one-hot code, found by their names.

    Args:
        feature_names: Names of all columns, as of a dataset or search space digest.

    Returns:
        Numbers of the columns.

    Raises:
        ValueError: If these are no names.
    """
    if isinstance(feature_names, str) or not (
        isinstance(feature_names, Sequence)
        and all(isinstance(name, str) for name in feature_names)
    ):
        expected, remedy = "a list of names", "pass those of a dataset or digest"
        raise wrong("feature_names", expected, repr(feature_names), remedy)
    return [i for i, name in enumerate(feature_names) if ONE_HOT in name]


class IndependentFit:
    """A model whose `custom_fit` BoTorch's `fit_gpytorch_mll` calls."""

    def custom_fit(
        self,
        mll: MarginalLogLikelihood,
        closure: Any = None,
        closure_kwargs: dict[str, Any] | None = None,
        optimizer_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> MarginalLogLikelihood:
        """Fit the models by independent optimizers, as in this library's function.

        Raises:
            UnsupportedError: If there is a closure or another optimizer, or if the mll
                is no exact marginal log likelihood.
            ModelFittingError: See :func:`~botorch_xval.fitting.fit_gpytorch_mll`.
        """
        if (
            closure is None
            and closure_kwargs is None
            and kwargs.get("optimizer") is None
            and isinstance(mll, ExactMarginalLogLikelihood)
        ):
            if (waiting := _WAITING.get()) is not None:
                waiting.append(mll)
                return mll.eval()
            fit_or_raise([mll], FitOptions.of_botorch(optimizer_kwargs, **kwargs))
            return mll
        raise UnsupportedError(
            f"{type(self).__name__}: expected a fit of an exact marginal log "
            "likelihood without closure and optimizer, got another one; for closures, "
            "other optimizers or other marginal log likelihoods use a model class "
            "without `custom_fit`"
        )


# Folds of a cross-validation are then fitted together.
IndependentFit.custom_fit.is_independent = True  # type: ignore[attr-defined]


def with_independent_fit(
    model_class: type[Model], name: str | None = None
) -> type[Model]:
    """A model class with this library's fit, registered with Ax's storage.

    The new class is a subclass that differs from `model_class` in its `custom_fit`
    only, which BoTorch's `fit_gpytorch_mll` calls, and so Ax. Before you load what was
    saved with it, make it again under the same name.

    Args:
        model_class: A BoTorch model with an exact marginal log likelihood.
        name: The name of the new class, also in storage; default: `Independent` and the
            name of `model_class`.

    Returns:
        The class.

    Raises:
        ValueError: If `model_class` is no model class, or has a `custom_fit`.
    """
    if not (isinstance(model_class, type) and issubclass(model_class, Model)):
        named = isinstance(model_class, type)
        got = model_class.__name__ if named else f"a {type(model_class).__name__}"
        expected, remedy = "a class of BoTorch models", "pass one such as SingleTaskGP"
        raise wrong("model_class", expected, got, remedy)
    if hasattr(model_class, "custom_fit"):
        raise ValueError(
            "model_class: expected a class without `custom_fit`, got "
            f"{model_class.__name__}, which has one; use it as it is"
        )
    if not isinstance(name, str | None):
        remedy = "leave it out for the name of the class"
        raise wrong("name", "text or None", repr(name), remedy)
    name = name or f"Independent{model_class.__name__}"
    made = type(
        name,
        (IndependentFit, model_class),
        {"__doc__": model_class.__doc__, "__module__": __name__},
    )
    register_model(made)
    return made


IndependentSingleTaskGP = with_independent_fit(SingleTaskGP)
IndependentMixedSingleTaskGP = with_independent_fit(MixedSingleTaskGP)
IndependentMultiTaskGP = with_independent_fit(MultiTaskGP)


class ScalarChoiceGP(IndependentFit, models.ScalarChoiceGP):
    """The :class:`~botorch_xval.models.ScalarChoiceGP` for Ax.

    The columns of one-hot choices are found by their names. In `model_options` of a
    `ModelConfig`, `priors` names a prior configuration.
    """

    @classmethod
    def construct_inputs(
        cls,
        training_data: SupervisedDataset,
        priors: str | PriorConfiguration = "tight",
        categorical_features: Sequence[int] = (),
        **others: Any,
    ) -> dict[str, Any]:
        """Keyword arguments of the model for Ax's data.

        Args:
            training_data: One outcome, or several with the same inputs.
            priors: See :class:`~botorch_xval.models.ScalarChoiceGP`.
            categorical_features: Columns of choices that are not in one-hot code.
            **others: What else the search space has.

        Returns:
            The arguments.

        Raises:
            UnsupportedError: If there are choices without one-hot code, fidelities, or
                dependencies between parameters.
        """
        check_space("ScalarChoiceGP", training_data, categorical_features, others)
        return {
            **super().construct_inputs(training_data),
            "choice_dims": choice_columns(training_data.feature_names),
            "priors": priors,
        }


def check_space(
    name: str,
    training_data: SupervisedDataset,
    categorical_features: Sequence[int],
    others: dict[str, Any],
) -> None:
    """Refuse search spaces of other things than scalars and one-hot choices.

    Args:
        name: Of the model, for the message.
        training_data: Names its columns.
        categorical_features: Columns of choices that are not in one-hot code.
        others: What else the search space has.

    Raises:
        UnsupportedError: If there are such columns, or something else.
    """
    if len(categorical_features):
        names = [training_data.feature_names[i] for i in categorical_features]
        raise UnsupportedError(
            f"{name}: expected choices in one-hot code, got {names} as numbers; keep "
            "Ax's OneHot among the transforms"
        )
    if others:
        raise UnsupportedError(
            f"{name}: expected a search space of scalars and choices, got one with "
            f"{sorted(others)}; use another botorch_model_class"
        )


@covar_module_argparse.register(FactorizedScalarChoiceKernel)
def _factorized_arguments(
    covar_module_class: type[Kernel],
    botorch_model_class: type[Model],
    dataset: SupervisedDataset,
    lengthscale_prior: Prior | None = None,
    outputscale_prior: Prior | None = None,
    weights_prior: Prior | None = None,
    **unknown: Any,
) -> dict[str, Any]:
    """Arguments of the kernel: its columns by their names, and its batch shape."""
    unknown.pop("remove_task_features", None)
    if unknown:
        raise ValueError(
            "covar_module_options: expected lengthscale_prior, outputscale_prior or "
            f"weights_prior, got {sorted(unknown)}"
        )
    choices = choice_columns(dataset.feature_names)
    scalars = [i for i in range(len(dataset.feature_names)) if i not in choices]
    num_outcomes = dataset.Y.shape[-1]
    several = issubclass(botorch_model_class, SingleTaskGP) and num_outcomes > 1
    return {
        "scalar_dims": scalars,
        "choice_dims": choices,
        "batch_shape": dataset.Y.shape[:-2]
        + torch.Size([num_outcomes] if several else []),
        "lengthscale_prior": lengthscale_prior,
        "outputscale_prior": outputscale_prior,
        "weights_prior": weights_prior,
    }


register_model(ScalarChoiceGP)
register_mll(LeaveOneOutCRPS)
for _kernel in (ChoiceKernel, FactorizedScalarChoiceKernel, WeightedMixtureKernel):
    register_kernel(_kernel)
