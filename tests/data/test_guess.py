"""Guessed roles of columns, on tables where it is known what they are."""

from __future__ import annotations

import shlex

import numpy as np
import pandas as pd
import pytest

from botorch_xval.command_line.arguments import make_parser
from botorch_xval.data.guess import guess_roles
from botorch_xval.data.tables import encode_table
from botorch_xval.data.trials import (
    TUNING_CHOICES,
    encode_tuning_trials,
    load_tuning_trials,
)

N = 12


def table(**columns: object) -> pd.DataFrame:
    random = np.random.default_rng(0)
    start = {
        "run": [f"r{i}" for i in range(N)],
        "rate": 10.0 ** random.uniform(-5, -1, N),
        "depth": random.integers(1, 9, N),
        "solver": random.choice(["a", "b"], N),
        "loss": random.normal(size=N),
    }
    return pd.DataFrame(start | columns)


def test_the_bundled_table():
    trials = load_tuning_trials()
    found = guess_roles(trials)
    assert found.target == found.log_target == ["loss"]
    assert found.choices == list(TUNING_CHOICES)
    assert found.ignore == ["trial", "seed", "accuracy", "seconds"]
    assert "lr_max" in found.log_scalars and "beta2_damping" in found.log_scalars
    assert "epochs" not in found.log_scalars
    encoded, known = encode_table(trials, **found.arguments()), encode_tuning_trials()
    assert encoded.choices == known.choices and encoded.X.shape == known.X.shape
    assert np.array_equal(encoded.Y, known.Y)


def test_roles_and_reasons():
    found = guess_roles(table(constant=3, part=range(N), notes=""))
    assert found.target == ["loss"] and found.log_target == []
    assert found.choices == ["solver"] and found.log_scalars == ["rate"]
    assert found.ignore == ["run", "constant", "part", "notes"]
    assert found.reasons["constant"] == "ignored: always 3"
    assert found.reasons["part"] == "ignored: it counts the rows"
    assert found.reasons["loss"] == "the target: its name says 'loss'"
    assert "from " in found.reasons["rate"] and "depth" not in found.reasons
    assert found.summary().count("\n") == len(found.reasons) - 1


@pytest.mark.parametrize(
    ("names", "target"),
    [
        (["b", "a"], "a"),  # the last one
        (["Yield (%)", "b"], "Yield (%)"),
        (["val_loss", "accuracy", "b"], "val_loss"),
        (["train_loss_step", "loss", "b"], "loss"),
        (["testLoss", "b"], "testLoss"),
        (["lossless", "yields", "b"], "b"),  # other words
        (["seconds", "objective", "b"], "objective"),
    ],
)
def test_a_target_by_its_name(names, target):
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"x": random.normal(size=N)})
    for name in names:
        frame[name] = random.normal(size=N)
    assert guess_roles(frame).target == [target]


def test_text_that_differs_in_every_row_is_a_name_only_from_eleven_rows_on():
    frame = table(formula=[f"C{i}H" for i in range(N)])
    assert "formula" in guess_roles(frame).ignore
    assert "formula" in guess_roles(frame.head(10)).choices


def test_what_is_constant_where_there_is_a_target():
    late = table(mode=["x"] * (N - 2) + ["y"] * 2)
    late.loc[N - 2 :, "loss"] = None
    found = guess_roles(late)
    assert "mode" in found.ignore
    encode_table(late, **found.arguments())  # would refuse a constant


def test_logarithms_need_a_wide_range_that_they_straighten():
    straight = table(
        wide=np.linspace(1, 1000, N),  # its logarithm is more skewed
        negative=np.r_[-1.0, np.geomspace(1e-3, 1e3, N - 1)],
        narrow=np.geomspace(1, 50, N),
        loss=np.geomspace(1e-4, 1, N),
    )
    found = guess_roles(straight)
    assert found.log_scalars == ["rate"] and found.log_target == ["loss"]


def test_what_is_given_is_not_guessed():
    given = {
        "target": ["depth"],
        "log_target": True,
        "choices": ["solver"],
        "log_scalars": [],
        "ignore": ["run"],
    }
    found = guess_roles(table(), **given)
    assert found.arguments() == {**given, "log_target": ["depth"]}
    assert found.reasons == {}
    assert guess_roles(table(), choices=["solver", "depth"]).choices == [
        "solver",
        "depth",
    ]
    # A column that was given a role is not ignored.
    assert guess_roles(table(), choices=["run", "solver"]).ignore == []


def test_the_printed_options_say_the_same():
    frame = table(**{"a, b": np.geomspace(1, 1e4, N), "loss": np.geomspace(1, 1e4, N)})
    found = guess_roles(frame)
    args = make_parser().parse_args(["fit", "t.csv", *shlex.split(found.options())])
    again = guess_roles(
        frame,
        target=args.target,
        log_target=args.log_target,
        choices=args.choices,
        log_scalars=args.log_scalars,
        ignore=args.ignore,
    )
    assert again.arguments() == found.arguments() and again.reasons == {}


def test_a_remark_in_the_first_row_is_no_second_header():
    frame = table(remark=["first try"] + [None] * (N - 1))
    assert guess_roles(frame, ignore=["run", "remark"]).target == ["loss"]
    assert guess_roles(frame).choices == ["solver", "remark"]
    mixed = table(size=["auto", *range(N - 1)])
    assert guess_roles(mixed, ignore=["run", "size"]).choices == ["solver"]
    assert "size" in guess_roles(mixed, choices=["solver", "size"]).choices


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (table()[["run", "solver"]], {}, "a column with numbers to predict, got none"),
        (table()[["run", "loss"]], {}, "columns to predict from, got none besides"),
        (table(), {"target": ["los"]}, "target: expected columns.*mean 'loss'"),
        (table(), {"ignore": ["x"]}, "ignore: expected columns of the table, got 'x'"),
        (
            pd.concat([table().head(1).assign(loss="DATA"), table()]).reset_index(),
            {},
            "column 'loss', row 0: expected a number, got 'DATA'; all below it are nu",
        ),
        ({"a": [1]}, {}, "table: expected a DataFrame"),
    ],
)
def test_errors(frame, options, message):
    with pytest.raises(ValueError, match=message):
        guess_roles(frame, **options)
