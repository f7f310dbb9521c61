"""Which rows compare, by small tables made by hand; the table itself: test_table."""

from __future__ import annotations

import numpy as np
import pandas as pd
from helpers import assert_close

from botorch_xval.comparison.paired import (
    common_rows,
    groups_of,
    mean_by_row,
    stayed,
)


def points(**scores: list[float]) -> pd.DataFrame:
    """Two replicates of the rows 4, 2 and 9, of which 4 and 9 are one group."""
    parts = [
        pd.DataFrame(
            {
                "configuration": name,
                "replicate": [0, 0, 0, 1, 1, 1],
                "round": 1,
                "row": [4, 2, 9, 9, 4, 2],
                "group": [0, 1, 0, 0, 0, 1],
                "log_density": values,
                "squared_error": 0.0,
            }
        )
        for name, values in scores.items()
    ]
    return pd.concat(parts, ignore_index=True)


def test_a_row_has_the_mean_of_its_replicates():
    found = mean_by_row(points(a=[1, 2, 3, 5, 7, 2])).log_density.a
    assert found.index.to_list() == [2, 4, 9]
    assert_close(found.to_numpy(), [2.0, 4.0, 4.0])


def test_only_rows_that_all_have_compare():
    nan = np.nan
    table = points(a=[1, 2, 3, 5, 7, 2], b=[nan, 1, nan, 1, 1, 1], none=[nan] * 6)
    common, groups = common_rows(table)
    assert list(common["log_density"]) == ["a", "b"]
    assert common.index.to_list() == [2, 4, 9]  # each has a score in a replicate
    # Of the rows 4 and 9 only that of the second replicate has both.
    assert_close(common.log_density.a.to_numpy(), [2.0, 7.0, 5.0])
    assert groups.to_dict() == {2: 1, 4: 0, 9: 0}
    table.loc[(table.configuration == "b") & (table.row == 9), "log_density"] = nan
    common, groups = common_rows(table)
    assert common.index.to_list() == [2, 4] and groups.to_list() == [1, 0]
    assert groups_of(table.drop(columns="group")) is None


def test_a_repetition_without_a_score_counts_for_none():
    nan = np.nan
    twice = [points(a=[1, 2, 3, 5, 7, 2], b=[1, 2, 3, 5, 7, 2])] * 2
    table = pd.concat([twice[0], twice[1].assign(log_density=0.0)], ignore_index=True)
    first = (table.configuration == "b") & (table.replicate == 0) & (table.row == 4)
    table.loc[first.idxmax(), "log_density"] = nan
    scores = common_rows(table)[0].log_density
    assert_close(scores.a.to_numpy(), scores.b.to_numpy())


def test_who_left_a_race_did_not_stay():
    table = points(a=[1] * 6, b=[2] * 6)
    later = table[table.configuration == "b"].assign(round=2)
    assert set(stayed(pd.concat([table, later])).configuration) == {"b"}
    assert len(stayed(table)) == 12
