"""The same inside Ax: models whose fit is ours, known to Ax's storage.

    from ax.generators.torch.botorch_modular.surrogate import ModelConfig, SurrogateSpec
    from botorch_xval.ax import ScalarChoiceGP

    SurrogateSpec(model_configs=[ModelConfig(botorch_model_class=ScalarChoiceGP)])

Importing this module registers its models and this library's kernels with Ax's storage,
and has Ax find the one-hot columns of choices by their names. Whoever loads what was
saved with them has to import it, too.

Ax's default transforms put an unordered choice of three or more values into one-hot
code; one of two values, and an ordered one, arrives as a single number and is a scalar
here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

try:
    from ax.adapter.base import Adapter
    from ax.adapter.cross_validation import CVData, CVResult, FoldGenerator
    from ax.adapter.cross_validation import cross_validate as ax_cross_validate
    from ax.adapter.data_utils import ExperimentData
    from ax.core.observation import Observation
    from ax.generators.torch.botorch_modular.generator import BoTorchGenerator
    from ax.generators.torch.botorch_modular.input_constructors.covar_modules import (
        covar_module_argparse,
    )
    from ax.generators.torch.botorch_modular.surrogate import Surrogate
    from ax.storage.botorch_modular_registry import register_kernel, register_model
except ImportError as error:
    raise ImportError(
        "botorch_xval.ax needs Ax, which is not installed: "
        'pip install "botorch-xval[ax]"'
    ) from error

import numpy as np
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models import MixedSingleTaskGP, MultiTaskGP, SingleTaskGP
from botorch.models.model import Model
from botorch.utils.datasets import SupervisedDataset
from gpytorch.kernels import Kernel
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from gpytorch.priors import Prior
from torch import Tensor

from botorch_xval import models
from botorch_xval.fit import fit_alike, fit_or_raise
from botorch_xval.kernels import (
    ChoiceKernel,
    FactorizedScalarChoiceKernel,
    WeightedMixtureKernel,
)
from botorch_xval.models import PriorConfiguration

__all__ = [
    "IndependentMixedSingleTaskGP",
    "IndependentMultiTaskGP",
    "IndependentSingleTaskGP",
    "ScalarChoiceGP",
    "choice_columns",
    "cross_validate",
    "with_independent_fit",
]

ONE_HOT = "_OH_PARAM_"  # between a choice's name and the number of its value

# Fits that wait to be done together, while there is somebody who will do them.
_WAITING: ContextVar[list[MarginalLogLikelihood] | None] = ContextVar(
    "waiting", default=None
)


def choice_columns(feature_names: Sequence[str]) -> list[int]:
    """The columns that Ax's one-hot code has made of choices.

    Args:
        feature_names: Names of all columns, as of a dataset or search space digest.
    """
    return [i for i, name in enumerate(feature_names) if ONE_HOT in name]


class _IndependentFit:
    """What BoTorch's `fit_gpytorch_mll` calls instead of its own fit."""

    def custom_fit(
        self,
        mll: MarginalLogLikelihood,
        closure: Any = None,
        closure_kwargs: dict[str, Any] | None = None,
        optimizer_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> MarginalLogLikelihood:
        """Fit each model by its own optimizer, as this library's `fit_gpytorch_mll`.

        Raises:
            UnsupportedError: If there is a closure or another optimizer, or if the mll
                is no exact marginal log likelihood.
            ModelFittingError: See :func:`~botorch_xval.fit.fit_gpytorch_mll`.
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
            return fit_or_raise(mll, optimizer_kwargs, **kwargs)
        raise UnsupportedError(
            f"{type(self).__name__} fits exact marginal log likelihoods by its own "
            "optimizers; for closures, other optimizers or other marginal log "
            "likelihoods use the model without `custom_fit`"
        )


def with_independent_fit(model_class: type[Model], name: str | None = None) -> type:
    """A model class with our fit, registered with Ax's storage.

    A subclass that differs from `model_class` in its fit only: in `custom_fit`, which
    BoTorch's `fit_gpytorch_mll`, and so Ax, calls. To load what was saved with it, make
    it again under the same name first.

    Args:
        model_class: A BoTorch model with an exact marginal log likelihood.
        name: Of the new class, by which storage knows it; default: `Independent` and
            that of `model_class`.

    Returns:
        The class.

    Raises:
        ValueError: If `model_class` is no model class, or has a fit of its own.
    """
    if not (isinstance(model_class, type) and issubclass(model_class, Model)):
        raise ValueError(
            f"model_class: expected a class of BoTorch models, got {model_class!r}"
        )
    if hasattr(model_class, "custom_fit"):
        raise ValueError(
            f"model_class: {model_class.__name__} has a `custom_fit` of its own"
        )
    name = name or f"Independent{model_class.__name__}"
    made = type(
        name,
        (_IndependentFit, model_class),
        {"__doc__": model_class.__doc__, "__module__": __name__},
    )
    register_model(made)
    return made


IndependentSingleTaskGP = with_independent_fit(SingleTaskGP)
IndependentMixedSingleTaskGP = with_independent_fit(MixedSingleTaskGP)
IndependentMultiTaskGP = with_independent_fit(MultiTaskGP)


class ScalarChoiceGP(_IndependentFit, models.ScalarChoiceGP):
    """The :class:`~botorch_xval.models.ScalarChoiceGP` for Ax, with our fit.

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
            **others: What the search space has besides.

        Raises:
            UnsupportedError: If there are choices without one-hot code, fidelities, or
                dependencies between parameters.
        """
        if len(categorical_features):
            names = [training_data.feature_names[i] for i in categorical_features]
            raise UnsupportedError(
                f"ScalarChoiceGP: expected choices in one-hot code, got {names} as "
                "numbers; keep Ax's OneHot among the transforms"
            )
        if others:
            raise UnsupportedError(
                f"ScalarChoiceGP: the search space has {sorted(others)}, which this "
                "model does not know; use another botorch_model_class"
            )
        return {
            **super().construct_inputs(training_data),
            "choice_dims": choice_columns(training_data.feature_names),
            "priors": priors,
        }


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
    """Arguments of the kernel: its columns by name, its batch shape of the outcomes."""
    unknown.pop("remove_task_features", None)
    if unknown:
        raise ValueError(f"covar_module_options: unknown names {sorted(unknown)}")
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
for _kernel in (ChoiceKernel, FactorizedScalarChoiceKernel, WeightedMixtureKernel):
    register_kernel(_kernel)


def cross_validate(
    adapter: Adapter,
    folds: int = -1,
    test_selector: Callable[[Observation], bool] | None = None,
    untransform: bool = True,
    use_posterior_predictive: bool = False,
    fold_generator: FoldGenerator | None = None,
) -> list[CVResult]:
    """Ax's refit cross-validation, with the models of all folds fitted together.

    Ax's own function makes the folds and the results, so they are its own in every
    respect: arms stay together, transforms are those of all data. It runs twice; in the
    first run the models of this module wait with their fits, which are then done at
    once, and in the second they predict. As in Ax each fold starts from the fit of all
    data unless the generator has `warm_start_refit=False`.

    Args:
        adapter: A fitted adapter with a `BoTorchGenerator` and a model of this module.
        folds: Number of folds; -1 for leave-one-out.
        test_selector: Which observations to hold out.
        untransform: Whether predictions are to be in the outcome's unit.
        use_posterior_predictive: Whether variances have observation noise.
        fold_generator: Makes the folds instead.

    Returns:
        One result per held-out observation.

    Raises:
        UnsupportedError: If the generator is no `BoTorchGenerator`, or if its models
            are not of this module: Ax fits those one by one.
        ModelFittingError: If a fold cannot be fitted.
    """
    generator = getattr(adapter, "generator", None)
    if not isinstance(generator, BoTorchGenerator):
        raise UnsupportedError(
            "cross_validate: expected an adapter with a BoTorchGenerator, got "
            f"{type(generator).__name__}; use Ax's own cross_validate"
        )
    fitted = generator.surrogate.model
    for model in getattr(fitted, "models", [fitted]):
        if not isinstance(model, _IndependentFit):
            raise UnsupportedError(
                f"cross_validate: expected models of botorch_xval.ax, got a "
                f"{type(model).__name__}; set botorch_model_class, for example to "
                "IndependentSingleTaskGP, or use Ax's own cross_validate"
            )

    kept: list[CVData] = []

    def same_folds(data: ExperimentData) -> list[CVData]:
        if not kept:
            kept.extend(fold_generator(data))
        return kept

    state = np.random.get_state()  # Ax shuffles the arms of k folds

    def run() -> list[CVResult]:
        np.random.set_state(state)
        return ax_cross_validate(
            adapter,
            folds=folds,
            test_selector=test_selector,
            untransform=untransform,
            use_posterior_predictive=use_posterior_predictive,
            fold_generator=None if fold_generator is None else same_folds,
        )

    before = generator.refit_on_cv
    together = _Folds(generator)
    generator.refit_on_cv, generator.cross_validate = True, together.prepare
    try:
        run()
        fit_alike(together.mlls)
        generator.cross_validate = together.predict
        return run()
    finally:
        del generator.cross_validate  # the class has it
        generator.refit_on_cv = before


@dataclass
class _Folds:
    """The folds of one cross-validation, in the order in which Ax asks for them."""

    generator: BoTorchGenerator
    mlls: list[MarginalLogLikelihood] = field(default_factory=list)
    surrogates: list[Surrogate] = field(default_factory=list)
    held_out: list[Tensor] = field(default_factory=list)
    next: int = 0

    def prepare(
        self, datasets: Sequence[SupervisedDataset], X_test: Tensor, **arguments: Any
    ) -> tuple[Tensor, Tensor]:
        """Make the models of a fold; what it predicts counts for nothing."""
        token = _WAITING.set(self.mlls)

        def keep(X: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
            self.surrogates.append(self.generator.surrogate)
            self.held_out.append(X)
            m = sum(dataset.Y.shape[-1] for dataset in datasets)
            return X.new_zeros(len(X), m), torch.eye(m).to(X).expand(len(X), m, m)

        self.generator.predict = keep
        try:
            return type(self.generator).cross_validate(
                self.generator, datasets=datasets, X_test=X_test, **arguments
            )
        finally:
            _WAITING.reset(token)
            del self.generator.predict

    def predict(
        self,
        datasets: Sequence[SupervisedDataset],
        X_test: Tensor,
        use_posterior_predictive: bool = False,
        **_: Any,
    ) -> tuple[Tensor, Tensor]:
        """What the fitted models of the next fold predict."""
        current, generator = self.generator.surrogate, self.generator
        if not torch.equal(X_test, self.held_out[self.next]):
            raise RuntimeError(
                "Ax made other folds in its second run than in its first"
            )
        generator._surrogate = self.surrogates[self.next]
        self.next += 1
        try:
            return generator.predict(
                X=X_test, use_posterior_predictive=use_posterior_predictive
            )
        finally:
            generator._surrogate = current
