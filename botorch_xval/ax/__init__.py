"""Models, refit cross-validation and comparison for Ax.

A model of this library in Ax::

    from ax.generators.torch.botorch_modular.surrogate import ModelConfig, SurrogateSpec
    from botorch_xval.ax import ScalarChoiceGP

    SurrogateSpec(model_configs=[ModelConfig(botorch_model_class=ScalarChoiceGP)])

Importing this package registers its models, this library's kernels and criterion and
the generator with Ax's storage, and lets Ax find the one-hot columns of choices by
their names. Import it also where you load what was saved with them.

Ax's default transforms put an unordered choice of three or more values into one-hot
code. A choice of two values, and an ordered one, becomes a single number and is a
scalar here.
"""

try:
    import ax  # noqa: F401
except ImportError as error:
    raise ImportError(
        "botorch_xval.ax needs Ax, which is not installed: "
        'pip install "botorch-xval[ax]"'
    ) from error

from botorch_xval.ax.cross_validation import cross_validate
from botorch_xval.ax.experiment import (
    ExperimentTable,
    best_model_config,
    compare_models,
    encode_experiment,
    model_configs,
    search_models,
)
from botorch_xval.ax.generator import BatchedRefitGenerator, RefitGenerators
from botorch_xval.ax.models import (
    IndependentMixedSingleTaskGP,
    IndependentMultiTaskGP,
    IndependentSingleTaskGP,
    ScalarChoiceGP,
    choice_columns,
    with_independent_fit,
)
from botorch_xval.ax.selector import RefitModelSelector
from botorch_xval.ax.structured import StructuredGP, spec_model_config

__all__ = [
    "BatchedRefitGenerator",
    "ExperimentTable",
    "IndependentMixedSingleTaskGP",
    "IndependentMultiTaskGP",
    "IndependentSingleTaskGP",
    "RefitGenerators",
    "RefitModelSelector",
    "ScalarChoiceGP",
    "StructuredGP",
    "best_model_config",
    "choice_columns",
    "compare_models",
    "cross_validate",
    "encode_experiment",
    "model_configs",
    "search_models",
    "spec_model_config",
    "with_independent_fit",
]
