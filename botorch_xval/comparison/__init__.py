"""Which configuration predicts best: comparisons over dataset sizes, and searches."""

from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.learning_curve import (
    LearningCurve,
    check_learning_curve,
    learning_curve,
)
from botorch_xval.comparison.model_search import ModelSearch
from botorch_xval.comparison.race import leaving, rounds, significance
from botorch_xval.comparison.search import search
from botorch_xval.comparison.selection import selection_bias
from botorch_xval.comparison.table import Comparison
from botorch_xval.comparison.weights import (
    pseudo_bma_plus_weights,
    pseudo_bma_weights,
    stacking_weights,
)

__all__ = [
    "Comparison",
    "LearningCurve",
    "ModelSearch",
    "check_learning_curve",
    "compare",
    "learning_curve",
    "leaving",
    "pseudo_bma_plus_weights",
    "pseudo_bma_weights",
    "rounds",
    "search",
    "selection_bias",
    "significance",
    "stacking_weights",
]
