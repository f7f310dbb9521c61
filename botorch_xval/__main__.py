"""The command line: which kernel and priors predict a table of trials best?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from botorch.exceptions.errors import ModelFittingError
from botorch.models.model import Model
from gpytorch.mlls import (
    ExactMarginalLogLikelihood,
    LeaveOneOutPseudoLikelihood,
    MarginalLogLikelihood,
)

from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.search import search
from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.arguments import FITS
from botorch_xval.cross_validation.cross_validate import cross_validate
from botorch_xval.cross_validation.outliers import FEWEST, WithoutRows
from botorch_xval.cross_validation.result import CrossValidation
from botorch_xval.cross_validation.without_rows import find_outliers
from botorch_xval.data.reading import read_table
from botorch_xval.data.tables import EncodedTable, encode_table
from botorch_xval.data.trials import encode_tuning_trials
from botorch_xval.fitting.fit import fit_gpytorch_mll
from botorch_xval.models.configurations import default_configurations
from botorch_xval.models.mlls import LeaveOneOutCRPS
from botorch_xval.reporting import Course, describe, summarize_fits, write_page
from botorch_xval.reporting.expressions import format_number

__all__ = ["main"]

DEFAULT_SIZES = (20, 40, 60)
CRITERIA = {
    "evidence": ExactMarginalLogLikelihood,
    "leave-one-out": LeaveOneOutPseudoLikelihood,
    "crps": LeaveOneOutCRPS,
}
EPILOG = (
    "Every column that is not the target, a choice or ignored is a scalar. Empty cells "
    "are parameters that were inactive in that trial; rows without a target are left "
    "out. Example: botorch-xval {} trials.csv --target loss --log-target --log-scalars "
    "all --choices optimizer --ignore trial"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the name of the program; default: that of this process.

    Returns:
        The exit status: 0, or 2 after an error, which is printed to stderr.

    Raises:
        SystemExit: With status 0 after `--help`, with status 2 if arguments are wrong.
    """
    args = _parser().parse_args(arguments)
    try:
        if args.command == "demo":
            table = encode_tuning_trials()
        else:
            table = encode_table(
                _read(args),
                target=args.target,
                choices=args.choices,
                log_scalars="all" if args.log_scalars == ["all"] else args.log_scalars,
                log_target=args.log_target,
                ignore=args.ignore,
            )
        print(table.summary())
        run = {"fit": _fit, "search": _search}.get(args.command, _compare)
        run(table, args)
    except (ValueError, OSError, ModelFittingError) as error:
        print(f"botorch-xval: {error}", file=sys.stderr)
        return 2
    return 0


def _read(args: argparse.Namespace) -> pd.DataFrame | str:
    """The table, with the names of its rows as index, if there is such a column."""
    if args.label is None:
        return args.table
    frame = read_table(args.table, choices=args.choices)
    if args.label not in frame:
        raise ValueError(
            f"--label: expected a column of the table, got {args.label!r}; known: "
            f"{', '.join(frame)}"
        )
    args.ignore = [name for name in args.ignore if name != args.label]
    frame.index = [f"{args.label} {value}" for value in frame.pop(args.label)]
    return frame


def _fit(table: EncodedTable, args: argparse.Namespace) -> None:
    """Fit one model to all rows and to the folds of leave-one-out, and write a page."""
    out = Path(args.out)
    if out.is_dir():  # before the work, not after it
        raise ValueError(
            f"--out: expected a file such as model.html, got folder {out}; name a "
            "file in it"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    model = default_configurations(table.choice_dims)[args.model]
    built = model(table.X, table.Y)
    mll = ExactMarginalLogLikelihood(built.likelihood, built)
    course = Course()
    print(f"Fitting {len(table.X)} rows with {args.model} ...", flush=True)
    fit_gpytorch_mll(mll, optimizer_kwargs={"callback": course})
    names = table.feature_names
    print(summarize_fits(mll.fit_records, built, names), "\n")
    described = describe(built, names)
    print(described, "\n")
    print("Leaving out one row at a time ...", flush=True)
    result = cross_validate(
        model, table.X, table.Y, fit="warm", keep_models=True, progress=True
    )
    print(summarize_fits(result.records, result.models, names))
    scores = result.summary().iloc[0]
    print(
        f"Held-out log density {scores.elpd / len(table.X):.4f} nats per row, "
        f"RMSE {scores.rmse:.4g}, R2 {scores.r2:.3f}."
    )
    write_page(
        out,
        {
            "All rows": described,
            "Without one row each": describe(result.models, names),
        },
        title=f"{table.target_name} by {args.model}",
        held_out=_row_names(table),
        courses={"All rows": course.descriptions(built, names)},
    )
    print(f"\nWritten to {out}")


def _row_names(table: EncodedTable) -> list[str]:
    values = table.Y[:, 0].tolist()
    return [
        f"{f'row {row}' if isinstance(row, int) else row} "
        f"({table.target_name} {format_number(value)})"
        for row, value in zip(table.rows, values, strict=True)
    ]


def _compare(table: EncodedTable, args: argparse.Namespace) -> None:
    """Compare all configurations, print their scores and write the report."""
    folder = Path(args.out)
    n = len(table.X)
    models, mlls = _configurations(table, args.criteria)
    sizes = args.sizes or [size for size in DEFAULT_SIZES if size <= n] or [n]
    comparison = compare(
        models,
        table.X,
        table.Y,
        sizes=sizes,
        replicates=args.replicates,
        seed=args.seed,
        race=args.race,
        fit=args.fit,
        mll=mlls,
        folder=folder,
        progress=True,
    )
    _print(comparison, table.target_name)
    size = max(sizes)
    points = comparison.points[comparison.points["size"] == size]
    rows = points.drop_duplicates("row").row.head(size).to_list()
    print(f"Charts: all configurations once more, {size} rows, warm starts ...")
    results, without, notes = _results(table, rows, models, mlls)
    notes += [
        f"Scores are of leave-one-out cross-validation with fit={args.fit!r}, "
        f"{args.replicates} shuffle(s) of the rows with seed {args.seed}, at "
        f"{', '.join(map(str, sorted(sizes)))} rows.",
        f"The charts of single configurations are of the first {size} rows, with folds "
        "that start from the fit to all rows and go to the same tolerance.",
    ]
    if args.fit == "fixed":
        notes.append(
            "These folds have the hyper-parameters of all rows, which have seen what "
            "is held out: such scores flatter."
        )
    if args.criteria != ["evidence"]:
        notes.append(
            "A configuration that is named after a criterion is fitted by that, of its "
            "training rows; the others by the evidence."
        )
    _write_report(folder, table, comparison, results, without, rows, notes)
    print(
        f"\nWritten to {folder}: report.html with everything, scores.csv, points.csv, "
        "fits.csv, scores.png, losses.png, and cells/ to go on from after an "
        "interruption"
    )


def _search(table: EncodedTable, args: argparse.Namespace) -> None:
    """Search the grammar, print what was found, and write it with a chart."""
    folder = Path(args.out)
    found = search(
        table.X,
        table.Y,
        choice_dims=table.choice_dims,
        seconds=args.seconds,
        candidates=args.candidates,
        fit=args.fit,
        folder=folder,
        progress=True,
    )
    print(f"\nTo predict {table.target_name}: {found.summary()}\n")
    scores = found.table()
    print(scores.to_string(index=False, float_format="{:.4f}".format))
    scores.to_csv(folder / "search.csv", index=False)
    found.save(folder / "search.json")
    # Here, so that nothing else waits for matplotlib.
    from matplotlib import pyplot as plt

    from botorch_xval.reporting.plots import plot_search
    from botorch_xval.reporting.plots.style import figure_of

    plt.switch_backend("agg")  # files only, no window
    figure_of(plot_search(found)).savefig(folder / "search.png", dpi=150)
    plt.close("all")
    print(
        f"\nWritten to {folder}: search.csv, search.png, search.json (see "
        "ModelSearch.load), and cells/ to go on from with more seconds or candidates"
    )


def _configurations(
    table: EncodedTable, criteria: Sequence[str]
) -> tuple[dict[str, Callable[..., Model]], dict[str, type[MarginalLogLikelihood]]]:
    """Every model by every criterion, and the criteria, by name."""
    models, mlls = {}, {}
    for name, model in default_configurations(table.choice_dims).items():
        for criterion in criteria:
            own = name if criterion == "evidence" else f"{name}, {criterion}"
            models[own], mlls[own] = model, CRITERIA[criterion]
    return models, mlls


def _results(
    table: EncodedTable,
    rows: list[int],
    models: dict[str, Callable[..., Model]],
    mlls: dict[str, type[MarginalLogLikelihood]],
) -> tuple[dict[str, CrossValidation], dict[str, WithoutRows], list[str]]:
    """A cross-validation of every configuration, with and without outliers, and notes
    on those that failed.
    """
    results, without, notes = {}, {}, []
    names = _row_names(table)
    for name, model in models.items():
        data = model, table.X[rows], table.Y[rows]
        how: dict[str, Any] = {"fit": "warm", "mll": mlls[name], "keep_models": True}
        try:
            results[name] = cross_validate(*data, progress=True, **how)
            if len(rows) - len(results[name].failed) < FEWEST:
                continue
            without[name] = find_outliers(
                results[name], *data, names=[names[row] for row in rows], **how
            )
        except ModelFittingError as error:
            what = "outliers" if name in results else "charts"
            notes.append(f"No {what} of {name}: {error}")
    return results, without, notes


def _write_report(
    folder: Path,
    table: EncodedTable,
    comparison: Comparison,
    results: dict[str, CrossValidation],
    without: dict[str, WithoutRows],
    rows: list[int],
    notes: list[str],
) -> None:
    """Write scores.png, losses.png and report.html."""
    # Here, so that `--help` and errors in the table do not wait for matplotlib.
    from matplotlib import pyplot as plt

    from botorch_xval.reporting.plots import (
        plot_active_models,
        plot_comparison,
        plot_losses,
    )
    from botorch_xval.reporting.plots.style import figure_of
    from botorch_xval.reporting.report import write_report

    plt.switch_backend("agg")  # files only, no window
    top, _ = plot_comparison(comparison)
    figure_of(top).savefig(folder / "scores.png", dpi=150)
    figures = {}
    for name, result in list(results.items())[:1]:
        ax = plt.subplots(figsize=(7, 4.8), layout="constrained")[1]
        plot_losses(result.records, ax, label="fold")
        figure_of(ax).savefig(folder / "losses.png", dpi=150)
        caption = f"The {len(rows)} folds of {name!r}, each with its own optimizer."
        figures[caption] = figure_of(ax)
        ax = plt.subplots(figsize=(7, 3.4), layout="constrained")[1]
        plot_active_models(result.records, ax, label="fold")
        figures["A fold that has converged costs nothing more."] = figure_of(ax)
    names = _row_names(table)
    write_report(
        folder / "report.html",
        comparison,
        results,
        target=table.target_name,
        data=table.summary(),
        features=table.feature_names,
        row_names=[names[row] for row in rows],
        without=without,
        figures=figures,
        notes=notes,
    )
    plt.close("all")


def _print(result: Comparison, target: str) -> None:
    print(
        f"\nMean log predictive density of held-out {target}, in nats; larger is better"
    )
    print(f"{'rows':>5}  {'configuration':<20}{'score':>9}{'se':>8}", end="")
    print(f"{'difference':>12}{'se':>8}{'RMSE':>9}{'failed':>8}{'seconds':>9}")
    for size, block in result.table().groupby("size"):
        for row in block.itertuples():
            print(
                f"{size:>5}  {row.configuration:<20}{row.mean_log_density:>9.4f}"
                f"{row.standard_error:>8.4f}{row.difference:>12.4f}"
                f"{row.difference_se:>8.4f}{row.rmse:>9.4f}{row.failed:>8}"
                f"{row.seconds:>9.1f}"
            )
            if row.caution:
                print(f"{'':>7}{row.caution}")
        print()
    if (saved := result.race().attrs["saved"]) > 0:
        print(f"The race saved {saved:.0%} of the fits.\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="botorch-xval",
        description="Compare Gaussian-process models by refit leave-one-out "
        "cross-validation: three degrees of prior looseness over a factorized kernel, "
        "and BoTorch's default model.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="compare on the bundled table of 448 real tuning trials"
    )
    comparison = commands.add_parser(
        "compare",
        help="compare on your table of trials (CSV)",
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
        help="search kernels and priors for your table (CSV)",
        description="Begins with the models of `compare` and goes on with the "
        "neighbors of the best: other kernels, choices, priors, warped inputs. Takes "
        "BoTorch's default unless another model is more than one standard error "
        "better in leave-one-out.",
        epilog=EPILOG.format("search"),
    )
    for command in (comparison, fit, searching):
        _add_table(command)
    searching.add_argument(
        "--seconds", type=float, default=60.0, help="no model is begun later (60)"
    )
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
    return parser


def _add_comparison(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--sizes",
        type=_sizes,
        metavar="N,N",
        help="numbers of rows to compare at (default: those of 20,40,60 that fit)",
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


def _add_table(table: argparse.ArgumentParser) -> None:
    table.add_argument("table", metavar="TABLE.csv", help="one row per trial")
    table.add_argument("--target", required=True, help="column to predict")
    table.add_argument(
        "--log-target", action="store_true", help="predict the target's logarithm"
    )
    table.add_argument(
        "--log-scalars",
        type=_names,
        default=[],
        metavar="A,B|all",
        help="scalars to use as logarithms",
    )
    table.add_argument(
        "--choices", type=_names, default=[], metavar="A,B", help="unordered columns"
    )
    table.add_argument(
        "--label", metavar="COLUMN", help="names of the rows, for reports"
    )
    table.add_argument(
        "--ignore", type=_names, default=[], metavar="A,B", help="columns to leave out"
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


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


if __name__ == "__main__":
    sys.exit(main())
