"""The arguments of the command line."""

from __future__ import annotations

import argparse
import csv
from io import StringIO
from typing import NoReturn

from gpytorch.mlls import ExactMarginalLogLikelihood, LeaveOneOutPseudoLikelihood

from botorch_xval.cross_validation.arguments import FITS
from botorch_xval.models.configurations import default_configurations
from botorch_xval.models.mlls import LeaveOneOutCRPS

__all__ = ["CRITERIA", "default_sizes", "make_parser"]

DEFAULT_SIZES = (20, 40, 60)  # the last one: at most

CRITERIA = {
    "evidence": ExactMarginalLogLikelihood,
    "leave-one-out": LeaveOneOutPseudoLikelihood,
    "crps": LeaveOneOutCRPS,
}
EPILOG = (
    "What is not said is guessed, and the guess is printed as options. Every column "
    "that is not a target, a choice or ignored is a scalar. Empty cells are parameters "
    "that were inactive in that trial; rows without a target are left out. A name with "
    "a comma in it is written as '\"a, b\"'. Example: "
    "botorch-xval {} trials.csv --target loss --log-target --log-scalars all --choices "
    "optimizer --ignore trial"
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as all errors of the command line."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"botorch-xval: {message}; see {self.prog} --help\n")


def default_sizes(n: int) -> list[int]:
    """At how many of `n` rows to compare: all, at most 60, and clearly fewer before."""
    *smaller, last = DEFAULT_SIZES
    last = min(last, n)
    return [*(size for size in smaller if size <= 0.8 * last), last]


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="botorch-xval",
        description="Compare Gaussian-process models by refit leave-one-out "
        "cross-validation: three degrees of prior looseness over a factorized kernel, "
        "and BoTorch's default model.",
    )
    parser.add_argument(
        "--print-completion",
        choices=("bash", "zsh", "tcsh"),
        help="print a script that completes this command in a shell, and end "
        "(needs the extra `completion`)",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="compare on the bundled table of 448 real tuning trials"
    )
    comparison = commands.add_parser(
        "compare",
        help="compare on your table of trials",
        description="Which kernel and priors predict your target best? Writes "
        "report.html with scores, charts and the fitted models.",
        epilog=EPILOG.format("compare"),
    )
    fit = commands.add_parser(
        "fit",
        help="fit one model to your table and write it as a page",
        description="Fit one model to all rows, and to all but one each. Prints it as "
        "an expression with its values, says what looks wrong, and writes a page with "
        "every fold's values and a slider through the iterations.",
        epilog=EPILOG.format("fit"),
    )
    searching = commands.add_parser(
        "search",
        help="search kernels and priors for your table",
        description="Begins with the models of `compare` and goes on with the "
        "neighbors of the best: other kernels, choices, priors, warped inputs. Takes "
        "BoTorch's default unless another model is more than one standard error "
        "better in leave-one-out.",
        epilog=EPILOG.format("search"),
    )
    for command in (comparison, fit, searching):
        _add_table(command)
    searching.add_argument(
        "--candidates", type=int, default=20, help="at most so many models (20)"
    )
    searching.add_argument(
        "--fit",
        default="warm",
        choices=FITS,
        help='how folds are fitted, see compare; "adaptive" for many rows (warm)',
    )
    searching.add_argument(
        "--out", default="search", metavar="FOLDER", help="(default: search)"
    )
    fit.add_argument(
        "--model",
        default="loose priors",
        choices=list(default_configurations(())),
        help="(default: loose priors)",
    )
    fit.add_argument(
        "--out", default="model.html", metavar="FILE", help="(default: model.html)"
    )
    for command in (demo, comparison):
        _add_comparison(command)
    for command in (demo, comparison, searching):
        _add_resources(command, 60.0 if command is searching else None)
    return parser


def _add_comparison(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--sizes",
        type=_sizes,
        metavar="N,N",
        help="numbers of rows to compare at (default: 20,40 and 60, or all rows "
        "if there are fewer)",
    )
    command.add_argument(
        "--replicates", type=int, default=1, help="shuffles of the rows (1)"
    )
    command.add_argument("--seed", type=int, default=0, help="of the shuffles (0)")
    command.add_argument(
        "--fit",
        default="refit",
        choices=FITS,
        help='how folds are fitted: "refit" from initial values, "warm" from the '
        "fit to all rows (much faster), ... (refit)",
    )
    command.add_argument(
        "--criteria",
        type=_criteria,
        default=["evidence"],
        metavar="A,B",
        help="what models are fitted by, each one apart: some of "
        f"{','.join(CRITERIA)} (evidence)",
    )
    command.add_argument(
        "--race",
        action="store_true",
        help="stop fitting configurations that are clearly behind",
    )
    command.add_argument(
        "--out", default="report", metavar="FOLDER", help="(default: report)"
    )


def _add_resources(command: argparse.ArgumentParser, seconds: float | None) -> None:
    command.add_argument(
        "--budget",
        type=float,
        default=seconds,
        metavar="SECONDS",
        help="nothing more is begun after these; the same command goes on from there "
        f"({'no limit' if seconds is None else f'{seconds:g}'})",
    )
    command.add_argument(
        "--executor",
        metavar="NAME",
        help='"processes" of this machine, "dask" (a cluster on this machine) or the '
        "address of a Dask scheduler, such as tcp://host:8786 (none)",
    )


def _add_table(table: argparse.ArgumentParser) -> None:
    table.add_argument(
        "table", metavar="TABLE", help="one row per trial: .csv, .xlsx or .parquet"
    )
    table.add_argument("--target", type=_names, metavar="A,B", help="to predict")
    table.add_argument(
        "--log-target",
        type=_names,
        nargs="?",
        const=True,
        metavar="A,B|none",
        help="targets to predict as logarithms; without names all",
    )
    table.add_argument(
        "--log-scalars",
        type=_names_or_all,
        metavar="A,B|all|none",
        help="scalars to use as logarithms",
    )
    table.add_argument(
        "--choices", type=_names, metavar="A,B|none", help="unordered columns"
    )
    table.add_argument(
        "--ignore", type=_names, metavar="A,B|none", help="columns to leave out"
    )
    table.add_argument(
        "--label", metavar="COLUMN", help="names of the rows, for reports"
    )
    table.add_argument(
        "--groups",
        metavar="COLUMN|none",
        help="rows with the same value of this column, which is no input, are held out "
        "together (default: rows with the same inputs)",
    )


def _names(text: str) -> list[str]:
    """Names separated by commas; one with a comma in it is in quotes."""
    if text.strip() == "none":
        return []
    lines = StringIO(text, newline="")  # a name may have several
    (names,) = csv.reader(lines, skipinitialspace=True) if text else [[]]
    return [name.strip() for name in names if name.strip()]


def _names_or_all(text: str) -> list[str] | str:
    return "all" if text.strip() == "all" else _names(text)


def _criteria(text: str) -> list[str]:
    found = list(dict.fromkeys(_names(text)))
    if not found or not set(found) <= set(CRITERIA):
        raise argparse.ArgumentTypeError(
            f"expected some of {', '.join(CRITERIA)}, got {text!r}"
        )
    return found


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers separated by commas, got {text!r}"
        ) from None
