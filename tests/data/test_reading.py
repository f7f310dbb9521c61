"""The same table in all formats, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from botorch_xval.data.reading import read_table

TABLE = pd.DataFrame(
    {
        "a": [1.5, 1e-30, None, 4.0],
        "n": [1, 2, 3, 40],
        "c": ["x, y", "z", None, "z"],
        "b": [True, False, False, True],
        "empty": [None] * 4,
    }
)


def write(folder: Path, kind: str) -> Path:
    path = folder / f"t{kind}"
    if kind == ".xlsx":
        TABLE.to_excel(path, index=False)
    elif kind == ".parquet":
        TABLE.to_parquet(path, index=False)
    else:
        separator = {".csv": ",", ".txt": ";", ".tsv": "\t"}[kind]
        TABLE.to_csv(path, index=False, sep=separator, encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("kind", [".csv", ".txt", ".tsv", ".xlsx", ".parquet"])
def test_all_formats_hold_the_same(kind, tmp_path):
    found = read_table(write(tmp_path, kind))
    assert found.columns.tolist() == TABLE.columns.tolist()
    assert found["a"].tolist()[:2] == [1.5, 1e-30] and found["a"].isna()[2]
    assert found["n"].tolist() == [1, 2, 3, 40] and found["n"].dtype == "int64"
    assert found["c"].tolist()[:2] == ["x, y", "z"] and found["c"].isna()[2]
    assert found["b"].tolist() == ["True", "False", "False", "True"]
    assert found["empty"].isna().all()


def test_choices_keep_their_text(tmp_path):
    (tmp_path / "t.csv").write_text("c,y\n1.0,2\n01,3\n")
    assert read_table(tmp_path / "t.csv", ["c"])["c"].tolist() == ["1.0", "01"]
    assert read_table(tmp_path / "t.csv")["c"].tolist() == [1, 1]


def test_a_quoted_header_does_not_decide_the_separator(tmp_path):
    (tmp_path / "t.csv").write_text('"a;b;c",y\n1,2\n')
    assert read_table(tmp_path / "t.csv").columns.tolist() == ["a;b;c", "y"]
    (tmp_path / "one.csv").write_text("y\n1\n2\n")
    assert read_table(tmp_path / "one.csv")["y"].tolist() == [1, 2]


@pytest.mark.parametrize("kind", [".xlsx", ".parquet", ".xls", ".ods"])
def test_what_is_no_such_file(kind, tmp_path):
    path = tmp_path / f"t{kind}"
    with pytest.raises(ValueError, match=f"t{kind}: expected "):
        read_table(path)
    path.write_text("not a table")
    with pytest.raises(ValueError, match=f"t{kind}: expected .*{kind} file"):
        read_table(path)


def test_a_ragged_line_is_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,y\n"1\n1",2\n1,5,2,5\n')
    with pytest.raises(
        ValueError, match=r"line 4: expected 2 cells, got 4; quote.*poin"
    ):
        read_table(path)
