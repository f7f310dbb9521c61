"""Arguments of the command line: lists of names, and what holds without them."""

from __future__ import annotations

import pytest

from botorch_xval.command_line.arguments import default_sizes, make_parser


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        ([], "target", None),
        (["--target", "a, b"], "target", ["a", "b"]),
        (["--choices", '"a, b",c'], "choices", ["a, b", "c"]),
        (["--ignore", "none"], "ignore", []),
        (["--ignore", ""], "ignore", []),
        (["--log-scalars", "all"], "log_scalars", "all"),
        (["--log-scalars", "a"], "log_scalars", ["a"]),
        (["--log-target"], "log_target", True),
        (["--log-target", "none"], "log_target", []),
        (["--log-target", "a"], "log_target", ["a"]),
    ],
)
def test_names(words, name, expected):
    args = make_parser().parse_args(["compare", "t.csv", *words])
    assert getattr(args, name) == expected


def test_a_budget_is_a_minute_for_a_search_only():
    parse = make_parser().parse_args
    assert parse(["search", "t.csv"]).budget == 60
    assert parse(["compare", "t.csv"]).budget is None
    assert parse(["demo", "--budget", "2.5"]).budget == 2.5


def test_without_sizes_small_tables_are_compared_whole():
    cases = {5: [5], 24: [24], 25: [20, 25], 41: [20, 41], 50: [20, 40, 50]}
    for n, sizes in {**cases, 60: [20, 40, 60], 900: [20, 40, 60]}.items():
        assert default_sizes(n) == sizes
