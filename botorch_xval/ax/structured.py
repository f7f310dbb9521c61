"""The models of a search in Ax: their class, and the `ModelConfig` of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ax.generators.torch.botorch_modular.surrogate import ModelConfig
from ax.storage.botorch_modular_registry import register_model
from botorch.utils.datasets import SupervisedDataset

from botorch_xval.ax.models import IndependentFit, check_space, choice_columns
from botorch_xval.models import structured
from botorch_xval.models.checks import check_type
from botorch_xval.models.grammar import BOTORCH_PRIORS, ModelSpec

__all__ = ["StructuredGP", "spec_model_config"]


class StructuredGP(IndependentFit, structured.StructuredGP):
    """The :class:`~botorch_xval.models.StructuredGP` for Ax.

    In `model_options` of a `ModelConfig` are the fields of its
    :class:`~botorch_xval.models.ModelSpec` but `choice_dims`: the columns of one-hot
    choices are found by their names.
    """

    @classmethod
    def construct_inputs(
        cls,
        training_data: SupervisedDataset,
        kernel: str = "rbf",
        inputs: str = "ard",
        choices: str = "numbers",
        linear: bool = False,
        warped: bool = False,
        priors: str = BOTORCH_PRIORS,
        categorical_features: Sequence[int] = (),
        **others: Any,
    ) -> dict[str, Any]:
        """Keyword arguments of the model for Ax's data.

        Args:
            training_data: One outcome, or several with the same inputs.
            kernel: See :class:`~botorch_xval.models.ModelSpec`, as all up to `priors`.
            inputs: See there.
            choices: See there.
            linear: See there.
            warped: See there.
            priors: See there.
            categorical_features: Columns of choices that are not in one-hot code.
            **others: What else the search space has.

        Returns:
            The arguments.

        Raises:
            UnsupportedError: See :meth:`ScalarChoiceGP.construct_inputs`.
            ValueError: If a field has none of its values, or if `choices` is not
                "numbers" and there are no one-hot columns.
        """
        check_space("StructuredGP", training_data, categorical_features, others)
        columns = tuple(choice_columns(training_data.feature_names))
        spec = ModelSpec(kernel, inputs, choices, linear, warped, priors, columns)
        return {**super().construct_inputs(training_data), "spec": spec}


def spec_model_config(spec: ModelSpec) -> ModelConfig:
    """The `ModelConfig` of a specification.

    Args:
        spec: Such as `spec` of a search. Ax's own one-hot columns take the place of its
            `choice_dims`.

    Returns:
        For the `SurrogateSpec` of a generator.

    Raises:
        ValueError: If it is no specification.
    """
    check_type("spec", spec, ModelSpec, "pass `spec` of a search")
    options = spec.to_dict()
    options.pop("choice_dims", None)
    return ModelConfig(
        botorch_model_class=StructuredGP, model_options=options, name=spec.name
    )


register_model(StructuredGP)
