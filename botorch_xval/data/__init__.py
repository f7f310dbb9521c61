"""Tables of trials as tensors, and the bundled table."""

from botorch_xval.data.guess import Roles, guess_roles
from botorch_xval.data.reading import read_table
from botorch_xval.data.tables import EncodedTable, encode_table
from botorch_xval.data.trials import (
    TUNING_CHOICES,
    TUNING_SCALARS,
    encode_tuning_trials,
    load_tuning_trials,
)

__all__ = [
    "TUNING_CHOICES",
    "TUNING_SCALARS",
    "EncodedTable",
    "Roles",
    "encode_table",
    "encode_tuning_trials",
    "guess_roles",
    "load_tuning_trials",
    "read_table",
]
