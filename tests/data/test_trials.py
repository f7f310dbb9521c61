"""The bundled trials, by the csv module alone."""

from __future__ import annotations

import csv
import math
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch.testing import assert_close

from botorch_xval.data.trials import (
    TUNING_CHOICES,
    TUNING_SCALARS,
    encode_tuning_trials,
    load_tuning_trials,
)

BUNDLED = Path(str(resources.files("botorch_xval") / "data" / "tuning_trials.csv"))
DIVERGED = [29, 84, 152, 233, 257, 293, 444]
NAN = math.nan


def test_load_tuning_trials():
    table = load_tuning_trials()
    names = ["trial", *TUNING_CHOICES, *TUNING_SCALARS]
    assert list(table) == [*names, "loss", "accuracy", "seconds", "seed"]
    assert table.shape == (448, 27) and len(TUNING_SCALARS) == 20
    assert table["loss"].isna().sum() == 7
    assert table["epochs"].dtype == np.int64
    values = table["nesterov"].tolist()
    assert {v for v in values if isinstance(v, str)} == {"true", "false"}
    assert all(math.isnan(v) for v in values if not isinstance(v, str))
    assert table["nesterov"].isna().tolist() == (table["optimizer"] == "adam").tolist()
    with BUNDLED.open(newline="") as file:
        records = list(csv.DictReader(file))
    assert table["lr_max"].tolist() == [float(record["lr_max"]) for record in records]


def test_encode_tuning_trials():
    found = encode_tuning_trials()
    assert found.X.shape == (441, 24) and found.X.dtype == torch.float64
    assert found.Y.shape == (441, 1) and found.Y.dtype == torch.float64
    assert found.left_out == dict.fromkeys(DIVERGED, "no loss")
    assert str(found).startswith(
        "441 of 448 rows; 7 left out: no loss (rows 29, 84, 152, 233, 257, 293, 444). "
        "Scalars: 20; choices: optimizer (adam, sgd), nesterov (false, true); "
        "target: log(loss). Empty cells"
    )
    assert found.feature_names[:20] == [f"log({name})" for name in TUNING_SCALARS]
    assert found.choices == {"optimizer": [20, 21], "nesterov": [22, 23]}
    assert found.scalar_dims + found.choice_dims == list(range(24))
    with BUNDLED.open(newline="") as file:  # the same by the csv module alone
        records = [r for r in csv.DictReader(file) if r["loss"]]
    adam, sgd, plain, nesterov = found.X[:, 20:].bool().T
    assert adam.tolist() == [r["optimizer"] == "adam" for r in records]
    assert sgd.tolist() == [r["optimizer"] == "sgd" for r in records]
    assert plain.tolist() == [r["nesterov"] == "false" for r in records]
    assert nesterov.tolist() == [r["nesterov"] == "true" for r in records]
    assert found.X[:, 20:].unique().tolist() == [0, 1]
    assert torch.equal(sgd, plain | nesterov)
    assert_close(
        found.Y.squeeze(-1).tolist(), [math.log(float(r["loss"])) for r in records]
    )
    for i, name in enumerate(TUNING_SCALARS):
        logs = [math.log(float(r[name])) if r[name] else NAN for r in records]
        active = [v for v in logs if not math.isnan(v)]
        middle = (min(active) + max(active)) / 2
        expected = [middle if math.isnan(v) else v for v in logs]
        assert_close(found.X[:, i].tolist(), expected)


def test_inactive_scalars_are_exactly_in_the_middle():
    found = encode_tuning_trials()
    sgd = found.X[:, 21].bool()
    for i, name in enumerate(TUNING_SCALARS):
        if name.startswith(("momentum", "beta")):
            inactive = sgd if name.startswith("beta") else ~sgd
            x = found.X[:, i]
            middle = (x.min() + x.max()) / 2
            assert (x[inactive] == middle).all() and (x[~inactive] != middle).all()
            assert found.inactive[name] == inactive.sum()
