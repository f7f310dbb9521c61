"""The same inside Ax: models, refit cross-validation, and the comparison.

    from ax.generators.torch.botorch_modular.surrogate import ModelConfig, SurrogateSpec
    from botorch_xval.ax import ScalarChoiceGP

    SurrogateSpec(model_configs=[ModelConfig(botorch_model_class=ScalarChoiceGP)])

Importing this package registers its models, this library's kernels and the generator
with Ax's storage, and has Ax find the one-hot columns of choices by their names.
Whoever loads what was saved with them has to import it, too.

Ax's default transforms put an unordered choice of three or more values into one-hot
code; one of two values, and an ordered one, arrives as a single number and is a scalar
here.
"""

try:
    import ax  # noqa: F401
except ImportError as error:
    raise ImportError(
        "botorch_xval.ax needs Ax, which is not installed: "
        'pip install "botorch-xval[ax]"'
    ) from error

from botorch_xval.ax.cross_validation import cross_validate as cross_validate
from botorch_xval.ax.experiment import ExperimentTable as ExperimentTable
from botorch_xval.ax.experiment import best_model_config as best_model_config
from botorch_xval.ax.experiment import compare_models as compare_models
from botorch_xval.ax.experiment import encode_experiment as encode_experiment
from botorch_xval.ax.experiment import model_configs as model_configs
from botorch_xval.ax.generator import BatchedRefitGenerator as BatchedRefitGenerator
from botorch_xval.ax.generator import RefitGenerators as RefitGenerators
from botorch_xval.ax.models import (
    IndependentMixedSingleTaskGP as IndependentMixedSingleTaskGP,
)
from botorch_xval.ax.models import IndependentMultiTaskGP as IndependentMultiTaskGP
from botorch_xval.ax.models import IndependentSingleTaskGP as IndependentSingleTaskGP
from botorch_xval.ax.models import ScalarChoiceGP as ScalarChoiceGP
from botorch_xval.ax.models import choice_columns as choice_columns
from botorch_xval.ax.models import with_independent_fit as with_independent_fit
