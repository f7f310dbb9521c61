"""The bundled table of real tuning trials, see `benchmarks/sweep.py`."""

from __future__ import annotations

from importlib import resources

import pandas as pd

from botorch_xval.data.reading import read_table
from botorch_xval.data.tables import EncodedTable, encode_table

__all__ = [
    "TUNING_CHOICES",
    "TUNING_SCALARS",
    "encode_tuning_trials",
    "load_tuning_trials",
]

TUNING_CHOICES = ("optimizer", "nesterov")
TUNING_SCALARS = tuple(
    "epochs batch_size conv1_weight_decay conv2_weight_decay conv3_weight_decay "
    "dense1_weight_decay dense2_weight_decay lr_initial_fraction lr_final_fraction "
    "lr_warmup_fraction lr_max momentum_damping_max momentum_damping_min_fraction "
    "beta1_damping_max beta1_damping_min_fraction beta2_damping conv1_channels "
    "conv2_channels conv3_channels dense1_units".split()
)


def load_tuning_trials() -> pd.DataFrame:
    """The bundled table: 448 trials of a small CNN on 8x8 digits.

    Made by `benchmarks/sweep.py`, which says what every column means. `loss` is the
    validation cross-entropy (nats per image), empty for 7 diverged trials. Columns of
    the optimizer that was not used are empty.

    Returns:
        `trial`, `TUNING_CHOICES` (text; `nesterov` is "true", "false" or NaN),
        `TUNING_SCALARS`, `loss`, `accuracy`, `seconds` and `seed`; one row per trial.
    """
    resource = resources.files("botorch_xval") / "data" / "tuning_trials.csv"
    with resources.as_file(resource) as path:
        return read_table(path, choices=TUNING_CHOICES)


def encode_tuning_trials(frame: pd.DataFrame | None = None) -> EncodedTable:
    """Logarithms of the 20 scalars and of the loss; one-hot optimizer and nesterov.

    Args:
        frame: Rows of `load_tuning_trials()`, for example a sample; None: all rows.

    Returns:
        Inputs (`n x 24`) and `log(loss)` (`n x 1`, nats per image before the log).
    """
    frame = load_tuning_trials() if frame is None else frame
    return encode_table(frame, "loss", TUNING_CHOICES, TUNING_SCALARS, "all", True)
