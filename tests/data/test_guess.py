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


def test_other_outcomes_are_no_inputs_of_a_target_that_is_given():
    frame = table(accuracy=np.linspace(0, 1, N), seconds=np.linspace(1, 2, N))
    for target in ("loss", "accuracy", "depth"):
        found = guess_roles(frame, target=[target])
        others = {"loss", "accuracy", "seconds"} - {target}
        assert set(found.ignore) == {"run", *others}
        assert all("another outcome" in found.reasons[name] for name in others)
    both = guess_roles(frame, target=["loss", "seconds"], log_scalars=["accuracy"])
    assert both.ignore == ["run"]  # what has a role keeps it


def test_a_scalar_with_one_value_or_none():
    frame = table(additive=[1.0, None] * (N // 2), salt=["NaCl", None] * (N // 2))
    found = guess_roles(frame)
    assert found.reasons["additive"] == "ignored: always 1.0 or empty"
    assert "salt" in found.choices  # an empty choice has a value of its own
    encode_table(frame, **found.arguments())  # would refuse a constant scalar


def test_columns_that_number_trials_in_any_order():
    frame = table(
        sample_id=range(1001, 1001 + N),
        RunDate=["2026-01-01", "2026-01-02"] * (N // 2),
        order=np.random.default_rng(0).permutation(N) + 1,
        index_of_refraction=np.linspace(1, 2, N),
    )
    found = guess_roles(frame)
    assert found.ignore == ["run", "sample_id", "RunDate", "order"]
    assert "order" not in guess_roles(frame.assign(order=[*range(2, N + 1), 0])).ignore


def test_repeated_identifiers_are_choices():
    own = [17, 4] * (N // 2)
    frame = table(catalyst_id=own, ligandId=["L1", "L2", "L1"] * (N // 3), run_id=own)
    frame["base_id"] = own  # last, and of numbers: no target
    found = guess_roles(frame.drop(columns="loss").assign(x=np.linspace(0, 1, N)))
    assert found.choices == ["solver", "catalyst_id", "ligandId", "base_id"]
    assert found.reasons["catalyst_id"] == "a choice: 2 values, numbers that are names"
    assert found.target == ["x"] and "run_id" in found.ignore


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("loss", "failed"),
        ("loss", "0,5"),
        ("loss", "1,000.5"),
        ("loss", "97.5 %"),
        ("rate", "<0.1"),
    ],
)
def test_a_column_of_numbers_with_another_cell_is_named(name, cell):
    frame = table().astype({name: object})
    frame.loc[3, name] = cell
    with pytest.raises(ValueError, match=f"column '{name}', row 3: expected a number"):
        guess_roles(frame)
    assert name in guess_roles(frame, ignore=["run", name]).ignore
    frame.loc[3, name] = None
    assert guess_roles(frame).target == ["loss"]
    frame = table(**{name: [cell] * N})
    if cell != "failed":  # all of them
        frame[name] = [cell.replace("0", str(i), 1) for i in range(N)]
        with pytest.raises(ValueError, match=f"column '{name}', row 0: expected a num"):
            guess_roles(frame)


def test_choices_with_some_numbers_are_no_columns_of_numbers():
    frame = table(size=["auto", "0.5", "1"] * (N // 3), run_id=[*range(N - 1), "x"])
    frame["score"] = ["good", "bad", "3"] * (N // 3)
    found = guess_roles(frame)
    assert found.choices == ["solver", "size", "score"] and "run_id" in found.ignore


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


@pytest.mark.parametrize("name", ["-logK", "none", "all", '"a", b', "a\nb", "$x `y`"])
def test_the_printed_options_say_any_name(name):
    frame = table(**{name: np.geomspace(1, 1e4, N)})
    for roles in ({"target": [name]}, {"log_scalars": [name]}, {"ignore": [name]}):
        found = guess_roles(frame, **roles)
        args = make_parser().parse_args(["fit", "t", *shlex.split(found.options())])
        parsed = {key: getattr(args, key) for key in found.arguments()}
        if parsed["log_target"] is True:
            parsed["log_target"] = parsed["target"]
        assert parsed == found.arguments()


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
