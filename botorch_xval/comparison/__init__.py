"""Which configuration predicts best: comparisons over dataset sizes."""

from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.learning_curve import (
    LearningCurve,
    check_learning_curve,
    learning_curve,
)
from botorch_xval.comparison.race import leaving, rounds
from botorch_xval.comparison.table import Comparison

__all__ = [
    "Comparison",
    "LearningCurve",
    "check_learning_curve",
    "compare",
    "learning_curve",
    "leaving",
    "rounds",
]
