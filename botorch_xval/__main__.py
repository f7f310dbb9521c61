"""The command line: which kernel and priors predict a table of trials best?"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from time import monotonic

from botorch.exceptions.errors import BotorchError
from botorch.models.model import Model
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood

from botorch_xval.command_line.arguments import (
    CRITERIA,
    default_sizes,
    make_parser,
)
from botorch_xval.command_line.executors import open_executor
from botorch_xval.command_line.reports import (
    cross_validate_each,
    list_other_optima,
    plain_warnings,
    write_comparison,
)
from botorch_xval.command_line.tables import Trials, read_trials
from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.files import write_in_full
from botorch_xval.comparison.search import search
from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.cross_validate import cross_validate
from botorch_xval.data.tables import EncodedTable
from botorch_xval.fitting.fit import fit_gpytorch_mll
from botorch_xval.models.configurations import default_configurations
from botorch_xval.reporting import Course, describe, summarize_fits, write_page

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the name of the program; default: that of this process.

    Returns:
        The exit status: 0, or 2 after an error, which is printed to stderr; 130 after
        an interruption.

    Raises:
        SystemExit: With status 0 after `--help`, with status 2 if arguments are wrong.
    """
    parser = make_parser()
    args = parser.parse_args(arguments)
    if args.print_completion is not None:
        return _print_completion(parser, args.print_completion)
    if args.command is None:
        parser.error("COMMAND: expected a command, got none")
    try:
        with plain_warnings():
            trials = read_trials(args)
            for text in (trials.table.summary(), *trials.notes):
                print(text)
            {"fit": _fit, "search": _search}.get(args.command, _compare)(trials, args)
    except (ValueError, OSError, BotorchError) as error:
        print(f"botorch-xval: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = (
            "nothing is written"
            if args.command == "fit"
            else f"finished cells are kept in {args.out}, and the same command goes on "
            "from there"
        )
        print(f"\nbotorch-xval: interrupted; {kept}", file=sys.stderr)
        return 130
    return 0


def _print_completion(parser: argparse.ArgumentParser, shell: str) -> int:
    try:
        import shtab
    except ImportError:
        print(
            "botorch-xval: --print-completion: expected the package shtab, got none; "
            "pip install 'botorch-xval[completion]'",
            file=sys.stderr,
        )
        return 2
    print(shtab.complete(parser, shell))
    return 0


def _fit(trials: Trials, args: argparse.Namespace) -> None:
    """Fit one model to all rows and to the folds of leave-one-out, and write a page."""
    table, out = trials.table, Path(args.out)
    if out.is_dir():  # before the work, not after it
        raise ValueError(
            f"--out: expected a file such as model.html, got folder {out}; name a "
            "file in it"
        )
    if gaps := int(table.Y.isnan().any(dim=-1).sum()):
        raise ValueError(
            f"--target: expected all of {table.target_name} in every row, got {gaps} "
            "rows that lack some; fit them one by one (compare takes such rows)"
        )
    if any(place.is_file() for place in out.parents):
        raise ValueError(
            f"--out: expected a file in a folder, got {out}, where a file is a folder; "
            "name another place"
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
    parts = "row" if trials.groups is None else "group of rows"
    print(f"Leaving out one {parts} at a time ...", flush=True)
    result = cross_validate(
        model,
        table.X,
        table.Y,
        groups=trials.groups,
        fit="warm",
        keep_models=True,
        progress=True,
    )
    print(summarize_fits(result.records, result.models, names))
    for name, scores in zip(
        table.target_names, result.summary().itertuples(), strict=True
    ):
        print(
            f"Held-out {name}: log density {scores.mean_log_density:.4f} nats per row, "
            f"RMSE {scores.rmse:.4g}, R2 {scores.r2:.3f}."
        )
    row_names = trials.row_names
    write_page(
        out,
        {
            "All rows": described,
            f"Without one {parts} each": describe(result.models, names),
        },
        title=f"{table.target_name} by {args.model}",
        held_out=[
            ", ".join(row_names[i] for i in rows.nonzero()[:, 0].tolist())
            for rows in result.folds.held_out
        ],
        courses=(
            {"All rows": course.descriptions(built, names)}
            if len(table.target_names) == 1  # one model for each of its fits
            else None
        ),
    )
    print(f"\nWritten to {out}")


def _compare(trials: Trials, args: argparse.Namespace) -> None:
    """Compare all configurations, print their scores and write the report."""
    table, folder = trials.table, Path(args.out)
    if args.budget is not None and not args.budget >= 0:
        raise ValueError(
            f"--budget: expected at least 0 seconds, got {args.budget}; leave it out "
            "for no limit"
        )
    end = monotonic() + (math.inf if args.budget is None else args.budget)
    n = len(table.X)
    models, mlls = _configurations(table, args.criteria)
    sizes = args.sizes or default_sizes(n)
    extent = []
    if args.sizes is None and max(sizes) < n:
        all_rows = ",".join(map(str, [*sizes, n]))
        extent = [
            f"Compared at up to {max(sizes)} of {n} rows (--sizes {all_rows}: all)."
        ]
        print(*extent)
    with open_executor(args.executor) as executor:
        comparison = compare(
            models,
            table.X,
            table.Y,
            sizes=sizes,
            groups=trials.groups,
            replicates=args.replicates,
            seed=args.seed,
            race=args.race,
            fit=args.fit,
            mll=mlls,
            seconds=max(end - monotonic(), 0.0)
            if args.budget is not None
            else math.inf,
            folder=folder,
            executor=executor,
            progress=True,
        )
    _print(comparison, table.target_name)
    points = comparison.points
    scored = set(points["size"])
    size = max(scored)
    rows = points[points["size"] == size].drop_duplicates("row").row.head(size)
    last = comparison.table().query("size == @size")
    print(f"Charts: all configurations once more, {size} rows, warm starts ...")
    results, without, notes = cross_validate_each(
        trials,
        rows.to_list(),
        {name: models[name] for name in last.sort_values("rank").configuration},
        mlls,
        end,
    )
    notes += [
        *trials.notes,
        *extent,
        f"Scores are of leave-one-out cross-validation with fit={args.fit!r}, "
        f"{args.replicates} shuffle(s) of the rows with seed {args.seed}, at "
        f"{_listed(scored)} rows.",
        f"The charts of single configurations are of the first shuffle's {size} rows, "
        "with folds that start from the fit to all of them and go to the same "
        "tolerance.",
    ]
    if args.fit == "refit":
        other = list_other_optima(
            points[points["size"] == size], results, rows.to_list()
        )
        for text in other:
            print(text)
        notes += other
    if missing := set(sizes) - scored:
        notes.append(
            f"Time was over before all were scored at {_listed(missing)} rows; the "
            "same command with a larger --budget goes on from there."
        )
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
    write_comparison(
        folder, trials, comparison, results, without, rows.to_list(), notes
    )
    print(
        f"\nWritten to {folder}: report.html with everything, scores.csv, points.csv, "
        "fits.csv, scores.png, losses.png, and cells/ to go on from after an "
        "interruption"
    )


def _search(trials: Trials, args: argparse.Namespace) -> None:
    """Search the grammar, print what was found, and write it with a chart."""
    table, folder = trials.table, Path(args.out)
    with open_executor(args.executor) as executor:
        found = search(
            table.X,
            table.Y,
            choice_dims=table.choice_dims,
            seconds=args.budget,
            candidates=args.candidates,
            groups=trials.groups,
            fit=args.fit,
            folder=folder,
            executor=executor,
            progress=True,
        )
    print(f"\nTo predict {table.target_name}: {found.summary()}\n")
    scores = found.table()
    print(scores.to_string(index=False, float_format="{:.4f}".format))
    write_in_full(folder / "search.csv", scores.to_csv(index=False))
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


def _listed(sizes: Collection[int]) -> str:
    return ", ".join(map(str, sorted(sizes)))


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
                f"{row.difference_se:>8.4f}{row.rmse:>9.4g}{row.failed:>8}"
                f"{row.seconds:>9.1f}"
            )
            if row.caution:
                print(f"{'':>7}{row.caution}")
        print()
    if (saved := result.race().attrs["saved"]) > 0:
        print(f"The race saved {saved:.0%} of the fits.\n")


if __name__ == "__main__":
    sys.exit(main())
