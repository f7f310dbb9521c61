"""Tables to tensors: small tables worked out by hand, files, and what is refused."""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from botorch_xval.data.reading import read_table
from botorch_xval.data.tables import EncodedTable, encode_table
from botorch_xval.data.trials import encode_tuning_trials, load_tuning_trials

BUNDLED = Path(str(resources.files("botorch_xval") / "data" / "tuning_trials.csv"))
NAN = math.nan


def trials(**columns: Any) -> pd.DataFrame:
    """Five good trials: scalars `a`, `b`; choice `c`; target `y`."""
    table = {
        "a": [1.0, 10.0, 100.0, NAN, 10.0],
        "c": ["sgd", "adam", "adam", None, "sgd"],
        "b": [1, 2, 3, 4, 8],
        "y": [0.5, 1.0, 2.0, 4.0, 8.0],
    }
    return pd.DataFrame(table | columns)


def encode(table: pd.DataFrame | str | Path, **options: Any) -> EncodedTable:
    return encode_table(table, **({"target": "y", "choices": ["c"]} | options))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def assert_same(found: EncodedTable, expected: EncodedTable) -> None:
    assert torch.equal(found.X, expected.X)
    assert torch.equal(found.Y, expected.Y)
    names = ["feature_names", "scalar_dims", "choice_dims", "choices", "target_names"]
    for name in [*names, "rows", "left_out", "inactive"]:
        assert getattr(found, name) == getattr(expected, name), name


# A table by hand


def test_by_hand():
    found = encode(trials(), log_scalars=["a"], log_target=True)
    log10 = math.log(10)
    X = [
        [0, 1, 0, 1],
        [log10, 2, 1, 0],
        [2 * log10, 3, 1, 0],
        [log10, 4, 0, 0],  # both inactive: the middle of 0 and log(100), and zeros
        [log10, 8, 0, 1],
    ]
    assert_close(found.X, torch.tensor(X, dtype=torch.float64))
    Y = [[-math.log(2)], [0], [math.log(2)], [2 * math.log(2)], [3 * math.log(2)]]
    assert_close(found.Y, torch.tensor(Y, dtype=torch.float64))
    assert found.feature_names == ["log(a)", "b", "c=adam", "c=sgd"]
    assert found.scalar_dims == [0, 1]
    assert found.choice_dims == [2, 3]
    assert found.choices == {"c": [2, 3]}
    assert found.target_name == "log(y)"
    assert found.rows == [0, 1, 2, 3, 4]
    assert found.left_out == {}
    assert found.inactive == {"a": 1, "c": 1}
    assert str(found) == (
        "5 of 5 rows; none left out. Scalars: 2; choices: c (adam, sgd); "
        "target: log(y). Empty cells, taken as inactive: a (1), c (1)."
    )


def test_without_logarithms_the_middle_is_of_the_raw_range():
    found = encode(trials())
    assert found.X[:, 0].tolist() == [1, 10, 100, 50.5, 10]
    assert found.Y.squeeze(-1).tolist() == [0.5, 1, 2, 4, 8]
    assert found.feature_names == ["a", "b", "c=adam", "c=sgd"]
    assert found.target_name == "y"


def test_middle_of_a_very_wide_range_is_finite():
    found = encode(trials(a=[1.6e308, 0.8e308, NAN, 1e308, NAN]))
    assert found.X[:, 0].tolist() == [1.6e308, 0.8e308, 1.2e308, 1e308, 1.2e308]


def test_scalars_are_in_table_order_and_others_unused():
    table = trials(z=["x"] * 5)
    found = encode(table, scalars=["b", "a"], log_scalars="all")
    assert found.feature_names == ["log(a)", "log(b)", "c=adam", "c=sgd"]
    assert_same(encode(table, ignore=["z"], log_scalars=["b", "a"]), found)


def test_choices_only_and_scalars_only():
    found = encode(trials(), scalars=[])
    assert found.X.tolist() == [[0, 1], [1, 0], [1, 0], [0, 0], [0, 1]]
    assert found.scalar_dims == [] and found.choice_dims == [0, 1]
    found = encode(trials(), choices=(), ignore=["c"])
    assert found.feature_names == ["a", "b"]
    assert found.choice_dims == [] and found.choices == {}


@pytest.mark.parametrize(
    ("values", "one_hot"),
    [
        ([True, False, False, True, True], {"False": "01100", "True": "10011"}),
        ([2, 10, 10, 2, 2], {"2": "10011", "10": "01100"}),  # not sorted as text
        ([1.0, 2.0, NAN, 2.0, 1.0], {"1": "10001", "2": "01010"}),
        ([0.5, 1.0, 1.0, 1.0, 0.5], {"0.5": "10001", "1": "01110"}),
        ([True, None, None, False, False], {"False": "00011", "True": "10000"}),
        (["true", "", "false", " true", "true"], {"false": "00100", "true": "10011"}),
        (["None", "x", "x", "None", "x"], {"None": "10010", "x": "01101"}),
        ([pd.NA, "x", None, NAN, "x"], {"x": "01001"}),  # one value, or inactive
        (pd.Categorical(list("vuuuv"), list("vuw")), {"u": "01110", "v": "10001"}),
    ],
    ids=str,
)
def test_values_of_a_choice(values, one_hot):
    found = encode(trials(c=values))
    assert found.feature_names[2:] == [f"c={name}" for name in one_hot]
    columns = found.X[:, 2:].T.int().tolist()
    assert ["".join(map(str, column)) for column in columns] == list(one_hot.values())


def test_nullable_types_and_numbers_as_text():
    table = trials(a=["1", "10.0", "1e2", "NA", " 10 "])
    assert_same(encode(table), encode(trials()))
    table = trials().convert_dtypes()
    assert isinstance(table["b"].dtype, pd.Int64Dtype)
    assert_same(encode(table), encode(trials()))


# Several targets


def test_several_targets_are_outputs():
    table = trials(z=[NAN, 10.0, 100.0, NAN, 1.0], w=[1.0, NAN, 5.0, NAN, 7.0])
    table["y"] = [0.5, NAN, 2.0, NAN, 8.0]
    found = encode(table, target=["y", "z", "w"], log_target=["z"])
    log10 = math.log(10)
    expected = [[0.5, NAN, 1], [NAN, log10, NAN], [2, 2 * log10, 5], [8, 0, 7]]
    assert_close(found.Y, torch.tensor(expected, dtype=torch.float64), equal_nan=True)
    assert found.target_names == ["y", "log(z)", "w"]
    assert found.target_name == "y, log(z), w"
    assert found.rows == [0, 1, 2, 4] and found.left_out == {3: "no target"}
    assert "targets: y, log(z), w." in str(found)
    both = encode(
        trials(z=[1.0, 2.0, 3.0, 4.0, 6.0]), target=["y", "z"], log_target=True
    )
    assert both.target_names == ["log(y)", "log(z)"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": []}, "target: expected the name of a column, got none"),
        ({"target": ["y", "yy"]}, "target: expected columns.*did you mean 'y'"),
        ({"target": ["y", "y"]}, "'y': expected one role, got it in target and"),
        ({"target": ["y", "b"], "log_target": ["a"]}, "log_target: expected targets"),
        ({"log_target": "y"}, r"log_target: expected a list of names, got 'y'"),
        ({"target": ["y", "z"]}, "'z': expected a finite number in at least 3 rows"),
    ],
)
def test_wrong_targets(options, message):
    with pytest.raises(ValueError, match=message):
        encode(trials(z=[1.0, 2.0, NAN, NAN, NAN]), **options)


def test_rows_with_the_same_inputs():
    assert encode(trials()).same_inputs is None
    table = trials(a=[1.0, 10.0, 10.0, NAN, 1.0], b=[1, 2, 2, 4, 1])
    labels = encode(table).same_inputs
    assert labels is not None
    assert labels[0] == labels[4] and labels[1] == labels[2]
    assert len(set(labels)) == 3


# Rows left out


def test_left_out_rows_are_counted_and_named():
    y = [NAN, 1.0, 2.0, 3.0, math.inf, 4.0, -math.inf, NAN]
    index = list("pqrstuvw")
    table = pd.DataFrame({"a": [-1.0, 1, 2, NAN, 0, 4, math.inf, 9], "y": y}, index)
    found = encode_table(table, "y", log_scalars="all", log_target=True)
    assert found.rows == ["q", "r", "s", "u"]
    assert found.left_out == {
        "p": "no y",
        "t": "y is inf",
        "v": "y is -inf",
        "w": "no y",
    }
    # left-out values are neither errors under a logarithm nor part of the range
    log2 = math.log(2)
    assert_close(found.X.squeeze(-1).tolist(), [0.0, log2, log2, 2 * log2])
    assert str(found) == (
        "4 of 8 rows; 4 left out: no y (rows p, w); y is inf (row t); y is -inf "
        "(row v). Scalars: 1; choices: none; target: log(y). Empty cells, taken as "
        "inactive: a (1)."
    )


def test_summary_names_ten_rows_at_most():
    table = pd.DataFrame({"a": range(20), "y": [NAN] * 12 + list(range(8))})
    text = encode_table(table, "y").summary()
    assert text.startswith("8 of 20 rows; 12 left out: no y (rows 0, 1, 2, ")
    assert "8, 9, ...)" in text


def test_row_order_does_not_matter():
    table = load_tuning_trials()
    order = np.random.default_rng(0).permutation(len(table))
    straight, shuffled = encode_tuning_trials(), encode_tuning_trials(table.iloc[order])
    place = {label: i for i, label in enumerate(shuffled.rows)}
    back = [place[label] for label in straight.rows]
    assert torch.equal(shuffled.X[back], straight.X)
    assert torch.equal(shuffled.Y[back], straight.Y)
    assert shuffled.feature_names == straight.feature_names
    assert shuffled.left_out == straight.left_out
    assert shuffled.inactive == straight.inactive


def test_the_table_is_not_changed():
    table = trials()
    encode(table, log_scalars="all")
    pd.testing.assert_frame_equal(table, trials())


# Files


def test_file_and_frame_give_the_same():
    options = {
        "target": "loss",
        "choices": ["nesterov", "optimizer"],
        "log_scalars": "all",
        "log_target": True,
        "ignore": ["trial", "accuracy", "seconds", "seed"],
    }
    expected = encode_tuning_trials()
    assert_same(encode_table(BUNDLED, **options), expected)
    assert_same(encode_table(str(BUNDLED), **options), expected)
    assert_same(encode_table(load_tuning_trials(), **options), expected)


def test_read_table(tmp_path):
    text = "\ufeffn, flag,x,word\n1,true,0.1,None\n\n-02,,NA,\n3,1.0,,relu\n"
    table = read_table(write(tmp_path / "t.csv", text), choices=["flag"])
    assert table["n"].tolist() == [1, -2, 3] and table["n"].dtype == np.int64
    assert table["x"].dtype == np.float64 and table["x"][0] == 0.1
    assert table["x"].isna().tolist() == [False, True, True]
    assert table["flag"].astype(object).fillna("-").tolist() == ["true", "-", "1.0"]
    assert table["word"].astype(object).fillna("-").tolist() == ["None", "-", "relu"]
    assert table.index.tolist() == [0, 1, 2]


def test_line_numbers_skip_blank_lines_and_follow_quoted_ones(tmp_path):
    text = 'c,a,y\n"two\nlines",1,1\n\n"two\nlines",2,2\nx,3,3\n\nx,oops,4\n'
    with pytest.raises(ValueError, match=r"'a', row 3 \(line 9 of t.csv\).*'oops'"):
        encode(write(tmp_path / "t.csv", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header line and rows, got 0 lines"),
        ("\n  \n", "header line and rows, got 0 lines"),
        ("a,c,y\n", "header line and rows, got 1 lines"),
        ("a,c,y\n1,x,2\n3,x\n", r"t\.csv, line 3: expected 3 cells, got 2"),
        ("a,c,y\n\n1,x,2,3\n", r"t\.csv, line 3: expected 3 cells, got 4"),
        ("a,c,a,y\n1,x,2,3\n", "distinct column names, got 'a' twice"),
        (",a,c,y\n0,1,x,3\n", "names that are text.*index=False"),
        ("a|c|y\n1|x|3\n", r"target: expected columns.*Known: a\|c\|y"),
        ('a,c,y\n"1,x,3\n', "UTF-8 file separated by .*, got unexpected end"),
        (
            "a;c;y\n1,5;x;3\n2;x;4\n3;z;5\n",
            r"column 'a', row 0 \(line 2.*'1,5'; write decimals",
        ),
        ("a,c,y\n1,5,x,3\n", "4; quote cells .* write decimals with a point"),
        (
            "a,c,y\nfloat,str,float\n1,x,2\n3,y,4\n",
            "'float'; all below .* second header",
        ),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        encode(write(tmp_path / "t.csv", text))


def test_missing_and_undecodable_files(tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv.*No such file"):
        encode(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="Is a directory|Permission denied"):
        encode(str(tmp_path))
    (tmp_path / "t.csv").write_bytes(b"a,c,y\n1,\xe9,2\n")
    with pytest.raises(
        ValueError, match="UTF-8 file .*, got 'utf-8' codec.*save it as"
    ):
        encode(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="choices: expected columns.*did you mean 'c'"):
        read_table(write(tmp_path / "u.csv", "a,c\n1,2\n"), choices=["cc"])


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target": "loss"},
            "target: expected columns of the table, got 'loss'; Known",
        ),
        ({"choices": ["cc"]}, "choices:.*'cc'; did you mean 'c'. Known: a, c, b, y"),
        ({"scalars": ["aa"]}, "scalars:.*'aa'; did you mean 'a'"),
        ({"ignore": ["bb"]}, "ignore:.*'bb'; did you mean 'b'"),
        ({"log_scalars": ["aa"]}, "log_scalars: expected scalars.*'aa'; did you mean"),
        ({"log_scalars": ["c"]}, "log_scalars: expected scalars.*got 'c'; Known: a, b"),
        ({"log_scalars": ["y"]}, "log_scalars: .*log_target.*got 'y'"),
        ({"log_scalars": "a"}, r"log_scalars: expected a list.*pass \['a'\]"),
        ({"choices": "c"}, r"choices: expected a list.*got 'c'; pass \['c'\]"),
        ({"scalars": ["a", "y"]}, "'y': expected one role, .*in target and in scalars"),
        ({"scalars": ["a", "c"]}, "'c': expected one role, .*choices and in scalars"),
        ({"ignore": ["c"]}, "'c': expected one role, .*in choices and in ignore"),
        ({"ignore": ["y"]}, "'y': expected one role, .*in target and in ignore"),
        ({"choices": ["c", "c"]}, "'c': expected one role, .*choices and in choices"),
        ({"choices": [], "scalars": []}, "at least one scalar or choice"),
        ({"choices": []}, "column 'c', row 0: expected a number, got 'sgd'; .*choices"),
        ({"target": "c", "choices": []}, "column 'c', row 0: expected a number"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        encode(trials(), **options)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"b": [1, 2, "x", 4, 5]}, "'b', row 2: expected a number, got 'x'.*ignore"),
        ({"b": [1, 2, 3, "1_0", 5]}, "'b', row 3: expected a number, got '1_0'"),
        ({"b": [True, False] * 2 + [True]}, "'b', row 0: expected a number, got True"),
        (
            {"b": pd.to_datetime(["2020"] * 5)},
            "'b', row 0: expected a number, got Time",
        ),
        ({"b": [1, 2, 3, math.inf, 5]}, "'b', row 3: expected a finite.*got inf"),
        ({"b": [1, 2, 0, 4, 5]}, "'b', row 2: .*positive.* got 0.0; .*log_scalars"),
        ({"b": [1, -2, 0, 4, 5]}, "'b', row 1: .*positive.* got -2.0"),
        (
            {"b": [NAN] * 5},
            "'b': expected values in the 5 used rows, got none; .*ignore",
        ),
        ({"c": [None] * 5}, "'c': expected values in the 5 used rows, got none"),
        ({"b": [2] * 5}, "column 'b': .*5 used rows, got one value; move to ignore"),
        ({"b": [2, 2, 2, 2, NAN]}, "column 'b': .*one value"),
        ({"c": ["x"] * 5}, "column 'c': .*one value; move to ignore"),
        ({"b": [2] * 5, "c": [1] * 5}, "columns 'b', 'c': .*one value"),
        (
            {"y": [1, 2, 0, 4, 5]},
            "'y', row 2: .*positive.*got 0.0; use log_target=False",
        ),
        (
            {"y": ["1", "2", "bad", "4", "5"]},
            "'y', row 2: .*number, got 'bad'; .*empty",
        ),
        ({"y": [True, False, True, False, True]}, "'y', row 0: expected a number"),
        ({"y": [1, 2, NAN, NAN, math.inf]}, "'y': .*at least 3 rows, got 2 of 5"),
        ({"y": [3] * 5}, "'y': expected a target that varies over the 5 used rows"),
    ],
)
def test_bad_cells(columns, message):
    with pytest.raises(ValueError, match=message):
        encode(trials(**columns), log_scalars="all", log_target=True)


@pytest.mark.parametrize(("name", "what"), [("b", "range"), ("y", "standard devia")])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_what_botorch_would_not_scale_is_refused(name, what, offset):
    values = np.linspace(1, 9, 5)
    with pytest.raises(ValueError, match=f"'{name}': expected a {what}.*smaller unit"):
        encode(trials(**{name: offset + values * 1e-9}))
    assert len(encode(trials(**{name: offset + values * 1e-8})).rows) == 5
    assert (
        len(
            encode(
                trials(**{name: values * 1e-9}),
                log_scalars=["b"],
                log_target=name == "y",
            ).rows
        )
        == 5
    )


def test_constant_after_leaving_out_rows():
    table = trials(b=[5, 5, 5, 5, 8], y=[1.0, 2.0, 3.0, 4.0, NAN])
    with pytest.raises(ValueError, match="column 'b': .*over the 4 used rows"):
        encode(table)
    assert encode(table, ignore=["b"]).feature_names == ["a", "c=adam", "c=sgd"]


@pytest.mark.parametrize("n", [10, 11])
def test_identifiers(n):
    table = pd.DataFrame({"c": [f"run {i}" for i in range(n)], "y": range(n)})
    if n > 10:
        with pytest.raises(ValueError, match="'c': .*repeated.*identifier.*ignore"):
            encode(table)
    else:
        assert torch.equal(encode(table).X, torch.eye(n, dtype=torch.float64))


def test_bad_tables():
    with pytest.raises(ValueError, match="rows and columns, got 0 rows and 4 columns"):
        encode(trials().iloc[:0])
    with pytest.raises(ValueError, match="distinct column names, got 'y' twice"):
        encode(pd.concat([trials(), trials()[["y"]]], axis=1))
    with pytest.raises(
        ValueError, match="distinct index labels, got 0 twice.*reset_in"
    ):
        encode(pd.concat([trials(), trials()]))
    with pytest.raises(ValueError, match="expected a DataFrame or the path.*got list"):
        encode([[1.0, 2.0]])
