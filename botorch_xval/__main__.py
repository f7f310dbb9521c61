"""Command line: a table of trials in, "which kernel and priors predict best" out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from botorch.exceptions.errors import ModelFittingError
from botorch.models.model import Model
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from botorch_xval.comparison.compare import Comparison, compare
from botorch_xval.cross_validation.cross_validate import FITS, cross_validate
from botorch_xval.cross_validation.folds import leave_one_out
from botorch_xval.data.tables import EncodedTable, encode_table
from botorch_xval.data.trials import encode_tuning_trials
from botorch_xval.fitting.fit import fit_each, fit_gpytorch_mll
from botorch_xval.fitting.summed import fit_summed
from botorch_xval.models.configurations import configurations
from botorch_xval.reporting.course import Course
from botorch_xval.reporting.expressions.description import describe
from botorch_xval.reporting.expressions.page import write_page
from botorch_xval.reporting.expressions.tree import format_number
from botorch_xval.reporting.hyperparameters import summarize_fits

__all__ = ["main"]

DEFAULT_SIZES = (20, 40, 60)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        if args.command == "demo":
            table = encode_tuning_trials()
        else:
            table = encode_table(
                args.table,
                target=args.target,
                choices=args.choices,
                log_scalars="all" if args.log_scalars == ["all"] else args.log_scalars,
                log_target=args.log_target,
                ignore=args.ignore,
            )
        print(table.summary())
        (_fit if args.command == "fit" else _compare)(table, args)
    except (ValueError, OSError, ModelFittingError) as error:
        print(f"botorch-xval: {error}", file=sys.stderr)
        return 2
    return 0


def _fit(table: EncodedTable, args: argparse.Namespace) -> None:
    """The page of one model: all rows, and the folds of leave-one-out."""
    out = Path(args.out)
    if out.is_dir():  # before the work, not after it
        raise ValueError(f"--out: expected a file such as model.html, got folder {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    model = configurations(table.choice_dims)[args.model]
    mll = _mll(model, table.X, table.Y)
    course = Course()
    print(f"Fitting {len(table.X)} rows with {args.model} ...", flush=True)
    fit_gpytorch_mll(mll, optimizer_kwargs={"callback": course})
    print(summarize_fits(mll.fit_records, mll.model, table.feature_names), "\n")
    described = describe(mll.model, table.feature_names)
    print(described, "\n")
    print("Leaving out one row at a time ...", flush=True)
    result = cross_validate(
        model, table.X, table.Y, fit="warm", keep_models=True, progress=True
    )
    print(summarize_fits(result.records, result.models, table.feature_names))
    scores = result.summary().iloc[0]
    print(
        f"Held-out log density {scores.elpd / len(table.X):.4f} nats per row, "
        f"RMSE {scores.rmse:.4g}, R2 {scores.r2:.3f}."
    )
    described = {
        "All rows": described,
        "Without one row each": describe(result.models, table.feature_names),
    }
    courses = {"All rows": course.descriptions(mll.model, table.feature_names)}
    title = f"{table.target_name} by {args.model}"
    write_page(
        out,
        described,
        title=title,
        held_out=_row_names(table),
        courses=courses,
    )
    print(f"\nWritten to {out}")


def _row_names(table: EncodedTable) -> list[str]:
    values = table.Y[:, 0].tolist()
    return [
        f"row {row} ({table.target_name} {format_number(value)})"
        for row, value in zip(table.rows, values, strict=True)
    ]


def _compare(table: EncodedTable, args: argparse.Namespace) -> None:
    # Here, so that `--help` and errors in the table do not wait for matplotlib.
    from matplotlib import pyplot

    from botorch_xval.reporting.plots import fits as plots
    from botorch_xval.reporting.report import write_report

    pyplot.switch_backend("agg")  # files only, no window
    folder = Path(args.out)
    n = len(table.X)
    sizes = args.sizes or [size for size in DEFAULT_SIZES if size <= n] or [n]
    result = compare(
        configurations(table.choice_dims),
        table.X,
        table.Y,
        sizes=sizes,
        replicates=args.replicates,
        seed=args.seed,
        race=args.race,
        fit=args.fit,
        folder=folder,
    )
    _print(result, table.target_name)
    plots.plot_comparison(result).savefig(folder / "scores.png", dpi=150)
    size = max(sizes)
    rows = result.points[result.points["size"] == size].drop_duplicates("row").row
    rows = rows.head(size).to_list()
    X, Y = table.X[rows], table.Y[rows]
    print(f"Charts: all configurations once more, {size} rows, warm starts ...")
    shown, notes = {}, []
    for name, model in configurations(table.choice_dims).items():
        try:
            shown[name] = cross_validate(model, X, Y, fit="warm", keep_models=True)
        except ModelFittingError as error:
            notes.append(f"No charts of {name}: {error}")
    name, model = next(iter(configurations(table.choice_dims).items()))
    print(f"Fitting the {size} folds with {name} once more, with the sum of losses ...")
    summed, independent = (_leave_one_out_mlls(model, X, Y) for _ in range(2))
    summed_records = fit_summed(summed)
    # The same coordinates on both sides: what differs is who is fitted with whom.
    fit_each(independent, {"coordinates": "raw"})
    records = [record for mll in independent for record in mll.fit_records]
    figure = plots.plot_summed_and_independent(summed_records, records)
    figure.savefig(folder / "losses.png", dpi=150)
    active = plots.plot_active_models(records, label="fold").figure
    active.set_size_inches(7, 3.4)
    notes += [
        f"Scores are of leave-one-out cross-validation with fit={args.fit!r}, "
        f"{args.replicates} shuffle(s) of the rows with seed {args.seed}, at "
        f"{', '.join(map(str, sorted(sizes)))} rows.",
        f"The charts of single configurations are of the first {size} rows, with folds "
        "that start from the fit to all rows and go to the same tolerance.",
    ]
    write_report(
        folder / "report.html",
        result,
        shown,
        target=table.target_name,
        data=table.summary(),
        features=table.feature_names,
        row_names=[_row_names(table)[i] for i in rows],
        figures={
            f"The {size} folds of {name!r}, fitted by one optimizer on the sum of "
            "their losses, and by one each.": figure,
            "The same, one each: a fold that is done costs nothing more.": active,
        },
        notes=notes,
    )
    pyplot.close("all")
    print(
        f"model evaluations: {sum(r.evaluations for r in summed_records):,} summed, "
        f"{sum(r.evaluations for r in records):,} independent\n"
        f"\nWritten to {folder}: report.html with everything, scores.csv, points.csv, "
        "fits.csv, scores.png, losses.png, and cells/ to go on from after an "
        "interruption"
    )


def _leave_one_out_mlls(
    model: Callable[..., Model], X: Tensor, Y: Tensor
) -> list[ExactMarginalLogLikelihood]:
    mlls = []
    for held_out in leave_one_out(len(X)).held_out:
        mlls.append(_mll(model, X[~held_out], Y[~held_out]))
    return mlls


def _mll(
    model: Callable[..., Model], X: Tensor, Y: Tensor
) -> ExactMarginalLogLikelihood:
    built = model(X, Y)
    return ExactMarginalLogLikelihood(built.likelihood, built)


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
    epilog = (
        "Every column that is not the target, a choice or ignored is a scalar. "
        "Empty cells are parameters that were inactive in that trial; rows without a "
        "target are left out. Example: botorch-xval %s trials.csv --target loss "
        "--log-target --log-scalars all --choices optimizer --ignore trial"
    )
    comparison = commands.add_parser(
        "compare",
        help="compare on your table of trials (CSV)",
        description="Which kernel and priors predict your target best? Writes "
        "report.html with scores, charts and the fitted models.",
        epilog=epilog % "compare",
    )
    fit = commands.add_parser(
        "fit",
        help="fit one model to your table and write it as a page",
        description="Fit one model to all rows, and to all but one each. Prints it as "
        "an expression with its values, says what looks wrong, and writes a page with "
        "every fold's values and a slider through the iterations.",
        epilog=epilog % "fit",
    )
    for command in (comparison, fit):
        _add_table(command)
    fit.add_argument(
        "--model",
        default="tight priors",
        choices=list(configurations(())),
        help="(default: tight priors)",
    )
    fit.add_argument(
        "--out", default="model.html", metavar="FILE", help="(default: model.html)"
    )
    for command in (demo, comparison):
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
            "--race",
            action="store_true",
            help="stop fitting configurations that are clearly behind",
        )
        command.add_argument(
            "--out", default="report", metavar="FOLDER", help="(default: report)"
        )
    return parser


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
        "--ignore", type=_names, default=[], metavar="A,B", help="columns to leave out"
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers separated by commas, got {text!r}"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
