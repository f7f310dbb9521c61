"""The parts of the command line: its arguments, a table's roles, executors, reports."""

from botorch_xval.command_line.arguments import make_parser
from botorch_xval.command_line.executors import open_executor
from botorch_xval.command_line.reports import cross_validate_each, write_comparison
from botorch_xval.command_line.tables import Trials, read_trials

__all__ = [
    "Trials",
    "cross_validate_each",
    "make_parser",
    "open_executor",
    "read_trials",
    "write_comparison",
]
