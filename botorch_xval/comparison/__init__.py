"""Which configuration predicts best: comparisons over dataset sizes, and searches."""

from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.model_search import ModelSearch
from botorch_xval.comparison.race import leaving, rounds
from botorch_xval.comparison.search import search
from botorch_xval.comparison.table import Comparison

__all__ = ["Comparison", "ModelSearch", "compare", "leaving", "rounds", "search"]
