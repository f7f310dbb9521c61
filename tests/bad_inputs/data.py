"""Bad tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bad_inputs.case import INF, table_of, written
from botorch_xval.data import (
    encode_table,
    encode_tuning_trials,
    guess_roles,
    read_table,
)

GOOD = pd.DataFrame(
    {
        "a": [1.0, 2.0, 3.0, 4.0],
        "kind": ["u", "v", "u", "v"],
        "loss": [0.1, 0.4, 0.2, 0.3],
    }
)


def reading(content: str | bytes, name: str = "table.csv") -> Callable[[Path], Any]:
    return lambda folder: read_table(written(folder, content, name))


def encoding(target: Any = "loss", /, **columns: Any) -> Callable[[], Any]:
    """Of the good table with some columns replaced, and `kind` a choice."""
    return lambda: encode_table(GOOD.assign(**columns), target, ["kind"])


READ = table_of(
    "data.read_table",
    ("missing", lambda f: read_table(f / "no.csv"), "no.csv: expected", "No such",
     "path"),
    ("a folder", lambda f: read_table(f), "expected a UTF-8 file", "director", "path"),
    ("a number", lambda: read_table(3), "path: expected .*path", "int", "pass"),
    ("none", lambda: read_table(None), "path: expected .*path", "NoneType", "pass"),
    ("a table", lambda: read_table(GOOD), "path: expected .*path", "DataFrame",
     "encode"),
    ("empty", reading(""), "expected a header line and rows", "0 lines", "check"),
    ("blank lines", reading("\n\n \n"), "a header line and rows", "0 lines", "check"),
    ("only a header", reading("a,b\n"), "a header line and rows", "1 lines", "check"),
    ("BOM alone", reading(b"\xef\xbb\xbf"), "a header line and rows", "0 lines",
     "check"),
    ("latin-1", reading("a,b\n1,\xe9\n".encode("latin-1")), "UTF-8", "can't",
     "save it"),
    ("UTF-16", reading("a,b\n1,2\n".encode("utf-16")), "UTF-8", "can't", "save it"),
    ("binary", reading(bytes(range(256))), "UTF-8", "can't", "save it"),
    ("UTF-16 without a mark", reading("a,b\n1,2\n".encode("utf-16-le")), "UTF-8", "NUL",
     "check"),
    ("a long line", reading("a,b\n1,2,3\n"), "line 2: expected 2 cells", "3", "quote"),
    ("a short line", reading("a,b\n1\n"), "line 2: expected 2 cells", "1", "quote"),
    ("decimal commas", reading("a,b\n1,5,2,5\n"), "expected 2 cells", "4", "point"),
    ("an open quote", reading('a,b\n"1,2\n'), "expected", "end of data", "check"),
    ("a name twice", reading("a,a\n1,2\n"), "distinct column names", "'a' twice", "re"),
    ("no name", reading("a,\n1,2\n"), "names that are text", "nan|''", "rename"),
    ("unknown choice", lambda f: read_table(written(f, "a,b\n1,2\n"), ["c"]),
     "choices: expected columns", "'c'", "Known: a, b"),
    ("a choice as text", lambda f: read_table(written(f, "a,b\n1,2\n"), "a"),
     "choices: expected a list", "'a'", r"pass \['a'\]"),
    ("a choice that is a number", lambda f: read_table(written(f, "a,b\n1,2\n"), [3]),
     "choices: expected columns", "3", "Known"),
    ("choices as a number", lambda f: read_table(written(f, "a,b\n1,2\n"), 3),
     "choices: expected a list", "3", "pass"),
    ("no workbook", reading("a,b\n1,2\n", "t.xlsx"), "a .xlsx file", "Error", "check"),
    ("no Parquet", reading("a,b\n1,2\n", "t.parquet"), "a .parquet file", "Invalid",
     "check"),
)  # fmt: skip
ENCODE = table_of(
    "data.encode_table",
    ("a list", lambda: encode_table([[1, 2]], "a"), "table: expected", "list", "make"),
    ("an array", lambda: encode_table(np.eye(3), "a"), "table: expected", "ndarr",
     "mak"),
    ("none", lambda: encode_table(None, "a"), "table: expected", "NoneType", "make"),
    ("no rows", lambda: encode_table(GOOD[:0], "loss"), "rows and columns", "0 rows",
     ";"),
    ("one row", lambda: encode_table(GOOD[:1], "loss", ["kind"]),
     "finite number in at least 3 rows", "1 of 1", "add rows"),
    ("no columns", lambda: encode_table(pd.DataFrame(index=[0, 1]), "loss"),
     "rows and columns", "0 columns", "check"),
    ("names that are numbers", lambda: encode_table(pd.DataFrame(np.eye(3)), "loss"),
     "names that are text", r"\[0, 1, 2\]", "rename"),
    ("labels twice", lambda: encode_table(GOOD.set_axis([0, 0, 1, 2]), "loss",
     ["kind"]),
     "distinct index labels", "0 twice", "reset_index"),
    ("a column twice", lambda: encode_table(GOOD[["a", "a", "loss"]], "loss"),
     "distinct column names", "'a' twice", "rename"),
    ("unknown target", encoding("los"), "target: expected columns", "'los'", "'loss'"),
    ("target that is a number", encoding(3), "target: expected", "3", "pass|name"),
    ("target that is none", encoding(None), "target: expected", "None", "pass|name"),
    ("no target", encoding([]), "target: expected", "none", "name one"),
    ("the target is a choice", encoding("kind"), "one role", "target and in choices",
     ";"),
    ("the target is a scalar", lambda: encode_table(GOOD, "loss", ["kind"], ["loss"]),
     "one role", "target and in scalars", "name it once"),
    ("a target twice", encoding(["loss", "loss"]), "role", "target and in target", ";"),
    ("unknown choice", lambda: encode_table(GOOD, "loss", ["kin"]),
     "choices: expected columns", "'kin'", "'kind'"),
    ("choices as text", lambda: encode_table(GOOD, "loss", "kind"),
     "choices: expected a list", "'kind'", r"pass \['kind'\]"),
    ("choices as a number", lambda: encode_table(GOOD, "loss", 1),
     "choices: expected a list", "1", "pass"),
    ("nested choices", lambda: encode_table(GOOD, "loss", [["kind"]]),
     "choices: expected columns", r"\['kind'\]", "Known"),
    ("unknown scalar", lambda: encode_table(GOOD, "loss", ["kind"], ["b"]),
     "scalars: expected columns", "'b'", "Known"),
    ("unknown ignored", lambda: encode_table(GOOD, "loss", ["kind"], ignore=["b"]),
     "ignore: expected columns", "'b'", "Known"),
    ("unknown logarithm", lambda: encode_table(GOOD, "loss", ["kind"],
     log_scalars=["b"]),
     "log_scalars: expected scalars", "'b'", "Known"),
    ("logarithm of the target as a scalar",
     lambda: encode_table(GOOD, "loss", ["kind"], log_scalars=["loss"]),
     "log_scalars: expected scalars", "'loss'", "Known"),
    ("logarithms as text", lambda: encode_table(GOOD, "loss", ["kind"],
     log_scalars="a"),
     "log_scalars: expected a list", "'a'", "pass"),
    ("unknown logarithm of a target",
     lambda: encode_table(GOOD, "loss", ["kind"], log_target=["a"]),
     "log_target: expected targets", "'a'", "Known"),
    ("log_target as a number", lambda: encode_table(GOOD, "loss", ["kind"],
     log_target=1),
     "log_target: expected", "1", "pass"),
    ("nothing to predict from", lambda: encode_table(GOOD[["loss"]], "loss"),
     "at least one scalar or choice", "none", "name some"),
    ("text in a scalar", encoding(a=["1", "two", "3", "4"]),
     "'a', row 1: expected a number", "'two'", "choices or ignore"),
    ("decimal commas", encoding(a=["1,5", "2,5", "3", "4"]),
     "'a', row 0: expected a number", "'1,5'", "point"),
    ("units in a second header", encoding(a=["mL", 2, 3, 4]),
     "'a', row 0: expected a number", "'mL'", "second header"),
    ("a truth value in a scalar", encoding(a=[True, 2.0, 3.0, 4.0]),
     "'a', row 0: expected a number", "True", "choices"),
    ("underscores", encoding(a=["1_0", "2", "3", "4"]), "a number", "'1_0'", ";"),
    ("a list in a cell", encoding(a=[[1], 2, 3, 4]), "a number", r"\[1\]", ";"),
    ("a huge whole number", encoding(a=[10**400, 2, 3, 4]), "a number", "1000", ";"),
    ("infinite scalar", encoding(a=[INF, 2.0, 3.0, 4.0]), "finite number", "inf",
     "corr"),
    ("text 1e999", encoding(a=["1e999", "2", "3", "4"]), "a finite number", "inf", ";"),
    ("a constant scalar", encoding(a=1.0), "'a': expected inputs that vary", "one",
     "ign"),
    ("a constant choice", encoding(kind="u"), "'kind': expected inputs that vary", "o",
     ";"),
    ("an empty scalar", encoding(a=np.nan), "'a': expected values", "none", "ignore"),
    ("an empty choice", encoding(kind=None), "'kind': expected values", "none",
     "ignore"),
    ("a constant target", encoding(loss=1.0), "target that varies", "one value",
     "choose"),
    ("an empty target", encoding(loss=np.nan), "in at least 3 rows", "0 of 4",
     "add rows"),
    ("text in the target", encoding(loss=["x", "1", "2", "y"]), "a number", "'x'",
     "corr"),
    ("infinite targets", encoding(loss=[INF, INF, 1, 2]), "least 3 rows", "2 of 4",
     "add"),
    ("logarithm of zero", lambda: encode_table(GOOD.assign(a=[0, 1, 2, 3]), "loss",
     ["kind"], log_scalars=["a"]), "a positive number", "0.0", "log_scalars"),
    ("logarithm of a negative target", lambda: encode_table(
     GOOD.assign(loss=[-1, 1, 2, 3]), "loss", ["kind"], log_target=True),
     "a positive number", "-1.0", "log_target=False"),
    ("an identifier as a choice", lambda: encode_table(
     pd.DataFrame({"id": list(map(str, range(12))), "y": np.arange(12.0)}), "y",
     ["id"]),
     "repeated values", "12 values in 12 rows", "ignore"),
    ("names that become one", lambda: encode_table(
     pd.DataFrame({"a": ["u", "v", "u"], "a=u": [1, 2, 3], "y": [1, 2, 4]}), "y",
     ["a"]),
     "distinct names of inputs", "'a=u' twice", "rename"),
    ("a missing file", lambda: encode_table("no.csv", "y"), "no.csv: expected", "No s",
     ";"),
)  # fmt: skip
GUESS = table_of(
    "data.guess_roles",
    ("a list", lambda: guess_roles([1]), "table: expected a DataFrame", "list", "make"),
    ("a path", lambda: guess_roles("a.csv"), "table: expected a DataFrame", "str",
     "make"),
    ("no rows", lambda: guess_roles(GOOD[:0]), "rows and columns", "0 rows", "check"),
    ("no numbers", lambda: guess_roles(GOOD[["kind"]]), "numbers to predict", "none",
     "add"),
    ("nothing to predict from", lambda: guess_roles(GOOD[["loss"]]),
     "columns to predict from", "none", "add some, or name what to ignore"),
    ("a cell that is no number",
     lambda: guess_roles(GOOD.assign(loss=["1", "failed", "2", "3"])),
     "column 'loss', row 1: expected a number", "'failed'", "empty the cell"),
    ("too small a range", encoding(a=[1e-9, 2e-9, 3e-9, 4e-9]),
     "'a': expected a range of 1e-08 or more", "3e-09", "smaller unit"),
    ("target as text", lambda: guess_roles(GOOD, target="loss"),
     "target: expected a list", "'loss'", r"pass \['loss'\]"),
    ("unknown target", lambda: guess_roles(GOOD, target=["x"]),
     "target: expected columns", "'x'", "Known"),
    ("choices as a number", lambda: guess_roles(GOOD, choices=7),
     "choices: expected a list", "7", "pass"),
    ("unknown ignored", lambda: guess_roles(GOOD, ignore=["x"]),
     "ignore: expected columns", "'x'", "Known"),
    ("unknown logarithm", lambda: guess_roles(GOOD, log_scalars=["x"]),
     "log_scalars: expected", "'x'", "Known"),
    ("unknown logarithm of a target", lambda: guess_roles(GOOD, log_target=["a"]),
     "log_target: expected", "'a'", "Known"),
)  # fmt: skip
TRIALS = table_of(
    "data.encode_tuning_trials",
    ("no table", lambda: encode_tuning_trials(7), "table: expected", "int", "make"),
    ("another table", lambda: encode_tuning_trials(GOOD), "expected columns", "'optim",
     ";"),
    ("no rows", lambda: encode_tuning_trials(GOOD[:0]), "rows and columns", "0 rows",
     ";"),
)  # fmt: skip
CASES = [*READ, *ENCODE, *GUESS, *TRIALS]
