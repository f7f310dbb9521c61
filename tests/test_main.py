"""The command line through its real code, on a few rows of the bundled table."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from botorch.exceptions.warnings import BotorchWarning
from children import alive, begin, wait_for
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import assert_same, noisy_waves, normalized_gp

from botorch_xval import FitOptions
from botorch_xval.__main__ import main
from botorch_xval.command_line.arguments import make_parser
from botorch_xval.command_line.reports import list_other_optima
from botorch_xval.command_line.tables import read_trials
from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.model_search import ModelSearch
from botorch_xval.comparison.search import search
from botorch_xval.cross_validation.cross_validate import cross_validate
from botorch_xval.data.tables import encode_table
from botorch_xval.data.trials import encode_tuning_trials, load_tuning_trials
from botorch_xval.fitting.fit import fit_gpytorch_mll
from botorch_xval.models.configurations import default_configurations
from botorch_xval.models.mlls import LeaveOneOutCRPS
from botorch_xval.reporting.expressions import describe, format_number

FILES = ["cells", "fits.csv", "losses.png", "points.csv", "report.html"]
FILES += ["scores.csv", "scores.png"]
NAMES = ["tight priors", "loose priors", "loosest priors", "BoTorch default"]
CHOICES, LOGGED = ["optimizer"], ["lr_max", "batch_size"]
SIZES = ["--sizes", "8"]
OPTIONS = (
    "--target loss --log-target --choices optimizer --log-scalars lr_max,batch_size "
    "--ignore seed --sizes 8"
).split()


@pytest.fixture(autouse=True)
def no_figures_left_behind() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some columns of the first 14 trials, as a user might have them."""
    path = tmp_path_factory.mktemp("table") / "trials.csv"
    columns = ["optimizer", "lr_max", "epochs", "batch_size", "loss", "seed"]
    load_tuning_trials().head(14)[columns].to_csv(path, index=False)
    return path


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the scores: its charts take most of the time."""
    monkeypatch.setattr(
        "botorch_xval.reporting.report.write_report", lambda *_, **__: None
    )


def scores(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "scores.csv")


def width_and_height(path: Path) -> tuple[int, int]:
    height, width, _ = plt.imread(path).shape
    return width, height


# A demo


def test_a_demo_writes_its_report(tmp_path, capsys):
    folder = tmp_path / "report"
    assert main(["demo", "--sizes", "6", "--seed", "1", "--out", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == FILES
    table = scores(folder)
    assert sorted(table.configuration) == sorted(NAMES)
    assert table["size"].to_list() == [6] * 4
    assert table.mean_log_density.is_monotonic_decreasing
    points, fits = (pd.read_csv(folder / name) for name in ("points.csv", "fits.csv"))
    assert len(points) == 4 * 6 and points.log_density.notna().all()
    assert fits.folds.to_list() == [6] * 4 and fits.failed.to_list() == [0] * 4
    for name in ("scores.png", "losses.png"):
        assert min(width_and_height(folder / name)) > 500
    report = (folder / "report.html").read_text(encoding="utf-8")
    best = table.configuration[0]
    assert f"The 6 folds of &#x27;{best}&#x27;, each with its own" in report

    output = capsys.readouterr().out
    assert "441 of 448 rows; 7 left out: no loss" in output
    assert "held-out log(loss)" in output
    for entry in table.itertuples():
        (line,) = (
            text
            for text in output.splitlines()
            if text.startswith(f"    6  {entry.configuration} ")
        )
        assert f"{entry.mean_log_density:.4f}" in line
        assert f"{entry.rmse:.4g}" in line
    assert all(name in output.split("Written to")[1] for name in FILES)


def test_a_demo_scores_as_the_python_interface_does(tmp_path, no_report):
    table = encode_tuning_trials()
    main(["demo", "--sizes", "4,5", "--fit", "fixed", "--out", str(tmp_path)])
    expected = compare(
        default_configurations(table.choice_dims),
        table.X,
        table.Y,
        sizes=[4, 5],
        fit="fixed",
    )
    points = pd.read_csv(tmp_path / "points.csv")
    pd.testing.assert_frame_equal(points, expected.points, rtol=1e-10)


# A search


def test_a_search_writes_what_it_found(trials, tmp_path, capsys):
    arguments = [*OPTIONS[:-2], "--candidates", "3", "--fit", "fixed"]
    arguments += ["--budget", "1000", "--out", str(tmp_path)]
    assert main(["search", str(trials), *arguments]) == 0
    found = ModelSearch.load(tmp_path / "search.json")
    table = encode_table(
        pd.read_csv(trials),
        "loss",
        choices=CHOICES,
        log_scalars=LOGGED,
        log_target=True,
        ignore=["seed"],
    )
    expected = search(
        table.X,
        table.Y,
        choice_dims=table.choice_dims,
        candidates=3,
        fit="fixed",
    )
    assert found.specs == expected.specs
    assert_same(found.comparison, expected.comparison)
    output = capsys.readouterr().out
    assert f"To predict log(loss): {found.summary()}" in output
    scores = pd.read_csv(tmp_path / "search.csv")
    assert scores.configuration.tolist() == found.table().configuration.tolist()
    assert min(width_and_height(tmp_path / "search.png")) > 150
    assert all(f"{elpd:.4f}" in output for elpd in scores.elpd)
    assert main(["search", str(trials), *arguments, "--budget", "-1"]) == 2
    assert "seconds: expected a number from 0 on" in capsys.readouterr().err


# One model


def test_a_page_of_one_model(trials, tmp_path, capsys):
    out = tmp_path / "new" / "model.html"
    arguments = [*OPTIONS[:-2], "--out", str(out)]
    assert main(["fit", str(trials), *arguments]) == 0
    output = capsys.readouterr().out
    table = encode_table(
        pd.read_csv(trials),
        "loss",
        choices=CHOICES,
        log_scalars=LOGGED,
        log_target=True,
        ignore=["seed"],
    )
    model = default_configurations(table.choice_dims)["loose priors"](table.X, table.Y)
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(mll)
    assert str(describe(model, table.feature_names)) in output
    assert f"{mll.fit_records[0].evaluations:,} evaluations" in output
    assert "14 fits: " in output and "Held-out log(loss): log density" in output
    page = out.read_text()
    assert "All rows" in page and "Without one row each" in page
    assert 'type="range"' in page  # the iterations
    assert f"row 3 (log(loss) {format_number(table.Y[3].item())})" in page


def test_a_page_of_an_unknown_column_names_it(trials, tmp_path, capsys):
    arguments = ["--target", "los", "--out", str(tmp_path / "model.html")]
    assert main(["fit", str(trials), *arguments]) == 2
    assert "did you mean 'loss'" in capsys.readouterr().err


def test_a_page_into_a_folder_is_refused_before_the_work(trials, tmp_path, capsys):
    assert main(["fit", str(trials), *OPTIONS[:-2], "--out", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "--out: expected a file" in captured.err
    assert "Fitting" not in captured.out


# A user's table


def test_a_users_table_is_scored_as_by_the_python_interface(
    trials, tmp_path, capsys, no_report
):
    arguments = ["--replicates", "2", "--seed", "4"]
    out = ["--out", str(tmp_path)]
    assert main(["compare", str(trials), *OPTIONS, *arguments, *out]) == 0
    table = encode_table(
        pd.read_csv(trials).drop(columns="seed"),
        "loss",
        choices=CHOICES,
        log_scalars=LOGGED,
        log_target=True,
    )
    expected = compare(
        default_configurations(table.choice_dims),
        table.X,
        table.Y,
        sizes=[8],
        replicates=2,
        seed=4,
    )
    found, expected = scores(tmp_path), expected.table()
    del found["seconds"], expected["seconds"]
    pd.testing.assert_frame_equal(found, expected, rtol=1e-10)
    assert "14 of 14 rows; none left out" in capsys.readouterr().out


def test_rows_have_the_names_of_a_column(trials, tmp_path):
    table = pd.read_csv(trials)
    table.insert(0, "run", [f"b-{i}" for i in range(len(table))])
    table.to_csv(tmp_path / "named.csv", index=False)
    out = tmp_path / "model.html"
    arguments = [*OPTIONS[:-2], "--label", "run", "--out", str(out)]
    assert main(["fit", str(tmp_path / "named.csv"), *arguments]) == 0
    assert "run b-3 (log(loss) " in out.read_text()


def test_a_column_may_be_label_and_group(trials, tmp_path):
    table = pd.read_csv(trials)
    table.insert(0, "run", [f"b-{i}" for i in range(len(table))])
    table.to_csv(tmp_path / "named.csv", index=False)
    names = ["--label", "run", "--groups", "run"]
    arguments = [str(tmp_path / "named.csv"), *OPTIONS, *names]
    found = read_trials(make_parser().parse_args(["compare", *arguments]))
    assert found.groups == table.run.tolist()
    assert found.row_names[3].startswith("run b-3 (log(loss) ")


def test_what_a_model_does_not_support_is_named_with_status_2(trials, tmp_path, capsys):
    arguments = [*OPTIONS, "--criteria", "crps", "--fit", "posterior"]
    assert main(["compare", str(trials), *arguments, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert (
        "botorch-xval: mll: expected ExactMarginalLogLikelihood for fit='pos" in error
    )


def test_a_race_on_the_command_line(trials, tmp_path, capsys, no_report):
    arguments = [*OPTIONS[:-1], "12", "--race", "--out", str(tmp_path)]
    assert main(["compare", str(trials), *arguments]) == 0
    fits = pd.read_csv(tmp_path / "fits.csv")
    assert fits["round"].max() == 2
    rounds = fits.groupby("configuration")["round"].max()
    output = capsys.readouterr().out
    assert ("The race saved" in output) == (rounds.min() == 1)
    assert "only 10 rows" in output or "only 12 rows" in output  # a caution
    # The same once more is read from the folder.
    assert main(["compare", str(trials), *arguments]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "fits.csv"), fits)


def test_folds_from_the_full_fit_on_the_command_line(trials, tmp_path, no_report):
    arguments = [*OPTIONS[:-1], "12", "--fit", "fixed", "--out", str(tmp_path)]
    assert main(["compare", str(trials), *arguments]) == 0
    fits = pd.read_csv(tmp_path / "fits.csv")
    assert (fits.folds == 12).all()
    # One fit and its Hessian for twelve folds.
    assert (fits.evaluations < 12 * 20).all()


def test_criteria_on_the_command_line(trials, tmp_path, no_report):
    arguments = [*OPTIONS[:-1], "5", "--criteria", "evidence,crps", "--fit", "fixed"]
    assert main(["compare", str(trials), *arguments, "--out", str(tmp_path)]) == 0
    found = scores(tmp_path).set_index("configuration")
    assert sorted(found.index) == sorted([*NAMES, *(f"{n}, crps" for n in NAMES)])
    table = encode_table(
        trials,
        target="loss",
        choices=CHOICES,
        log_scalars=LOGGED,
        log_target=True,
        ignore=["seed"],
    )
    model = default_configurations(table.choice_dims)["BoTorch default"]
    rows = np.random.default_rng([0, 0]).permutation(14)[:5]
    result = cross_validate(
        model, table.X[rows], table.Y[rows], fit="fixed", mll=LeaveOneOutCRPS
    )
    expected = result.log_density.mean().item()
    assert found.loc["BoTorch default, crps"].mean_log_density == pytest.approx(
        expected
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--target", "los"], "did you mean 'loss'"),
        (["--choices", "optimizer,nesterov"], "'nesterov'"),
        (["--ignore", "sed"], "did you mean 'seed'"),
        (["--log-scalars", "optimizer"], "'optimizer'"),
        (["--label", "name"], "--label: expected a column of the table, got 'name'"),
        (["--label", "epochs"], "--label: expected another value in every row, got "),
        (["--label", "loss"], "column 'loss': expected one role, got it in --target"),
        (["--groups", "optimizer"], "got it in --choices and in --groups; name it"),
        (["--sizes", "15"], "from 3 to 14 (the rows of train_X), got [15]"),
        (["--replicates", "0"], "replicates: expected a whole number from 1 on, got 0"),
    ],
)
def test_a_mistake_is_named_with_status_2(trials, tmp_path, capsys, change, message):
    folder = tmp_path / "report"
    arguments = ["compare", str(trials), *OPTIONS, "--out", str(folder)]
    assert main([*arguments, *change]) == 2
    error = capsys.readouterr().err
    assert error.startswith("botorch-xval: ") and error.count("\n") == 1
    assert message in error
    assert not folder.exists()


def test_a_missing_table_is_named(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "nowhere.csv"), "--target", "loss"]) == 2
    assert "nowhere.csv" in capsys.readouterr().err


def test_defect_a_folder_that_cannot_be_made_is_named(trials, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("not a folder")
    assert main(["compare", str(trials), *OPTIONS, "--out", str(file)]) == 2
    assert str(file) in capsys.readouterr().err


# Arguments


@pytest.mark.parametrize("command", [[], ["demo"], ["compare"]])
def test_help_is_there(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert "usage: botorch-xval" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a command, got none"),
        (["compare"], "required: TABLE"),
        (["demo", "--sizes", "6,x"], "whole numbers separated by commas, got '6,x'"),
        (["demo", "--criteria", "loo"], "evidence, leave-one-out, crps, got 'loo'"),
        (["demo", "--replicates", "x"], "--replicates: invalid int value"),
    ],
)
def test_wrong_arguments_are_explained(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


# Guessed roles, replicates, several targets


def test_a_table_without_any_option(trials, tmp_path, capsys, no_report):
    out = ["--out", str(tmp_path / "a"), "--fit", "fixed"]
    assert main(["compare", str(trials), *out]) == 0
    first = capsys.readouterr().out
    assert "loss: the target: its name says 'loss'\n" in first
    assert "seed: ignored" in first and "lr_max: its logarithm: from" in first
    assert "Compared at" not in first  # all rows are
    (options,) = (
        line.partition("all of them as options: ")[2]
        for line in first.splitlines()
        if "as options: " in line
    )
    # The printed options give the same, and nothing is guessed any more.
    out = ["--out", str(tmp_path / "b"), "--fit", "fixed"]
    assert main(["compare", str(trials), *shlex.split(options), *out]) == 0
    assert "Guessed" not in capsys.readouterr().out
    found, again = scores(tmp_path / "a"), scores(tmp_path / "b")
    del found["seconds"], again["seconds"]
    pd.testing.assert_frame_equal(found, again)
    assert sorted(found.configuration) == sorted(NAMES)


def test_rows_that_are_in_no_dataset_are_told(tmp_path, capsys, no_report, monkeypatch):
    monkeypatch.setattr("botorch_xval.command_line.arguments.DEFAULT_SIZES", (4, 6, 8))
    columns = ["lr_max", "epochs", "loss"]
    load_tuning_trials().head(9)[columns].to_csv(tmp_path / "t.csv", index=False)
    arguments = ["compare", str(tmp_path / "t.csv"), "--fit", "fixed"]
    text = "Compared at up to 8 of 9 rows (--sizes 4,6,8,9: all)."
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 0
    assert text in capsys.readouterr().out
    arguments += ["--sizes", "8", "--out", str(tmp_path / "b")]  # as it was asked for
    assert main(arguments) == 0
    assert "Compared at" not in capsys.readouterr().out


def test_warnings_are_told_once_without_their_place():
    """In a process of its own, since pytest keeps warnings to itself."""
    code = """if True:
        import warnings
        from botorch_xval.command_line.reports import plain_warnings

        with plain_warnings():
            for text in ("one", "one", "two"):
                warnings.warn(text, RuntimeWarning)
        warnings.warn("after")
    """
    command = [sys.executable, "-W", "always", "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    told = "".join(f"botorch-xval: warning: {text}\n" for text in ("one", "two"))
    assert told in ended.stderr and "UserWarning: after" in ended.stderr


def test_guessed_choices_keep_their_text(tmp_path):
    path = tmp_path / "t.csv"
    rows = ["a,c,y", *(f"{i * 3},{'x' if i % 2 else '01'},{i * i}" for i in range(8))]
    path.write_text("\n".join(rows))
    args = make_parser().parse_args(["fit", str(path)])
    assert read_trials(args).table.choices == {"c": [1, 2]}
    assert read_trials(args).table.feature_names == ["a", "c=01", "c=x"]


def test_replicates_are_held_out_together(tmp_path, capsys, no_report):
    frame = load_tuning_trials()[["optimizer", "lr_max", "epochs", "loss"]].head(8)
    twice = pd.concat([frame, frame.assign(loss=frame.loss * 1.1)], ignore_index=True)
    twice["batch"] = np.arange(16) // 2
    twice.to_csv(tmp_path / "t.csv", index=False)
    base = ["compare", str(tmp_path / "t.csv"), "--sizes", "16", "--fit", "fixed"]
    found = {}
    for groups in ("inputs", "none", "batch"):
        own = [] if groups == "inputs" else ["--groups", groups]
        ignored = [] if groups == "batch" else ["--ignore", "batch"]
        out = tmp_path / groups
        assert main([*base, *own, *ignored, "--out", str(out)]) == 0
        output = capsys.readouterr().out
        points = pd.read_csv(out / "points.csv")
        if groups == "none":
            assert "held out together" not in output and "group" not in points
            continue
        same = "inputs" if groups == "inputs" else "batch, which is no input,"
        assert f"the same {same} are held out together: 8 groups of 16 rows" in output
        found[groups] = points.drop_duplicates("row").sort_values("row").group.to_list()
    assert found["inputs"][:8] == found["inputs"][8:]
    assert len(set(found["inputs"])) == 8
    assert found["batch"] == list(np.arange(16) // 2)


def test_several_targets_with_all_commands(tmp_path, capsys):
    frame = load_tuning_trials()[["lr_max", "epochs", "loss", "accuracy"]].head(9)
    frame.to_csv(tmp_path / "t.csv", index=False)
    base = [str(tmp_path / "t.csv"), "--target", "loss,accuracy", "--log-target"]
    base[-1:] = ["--log-target", "loss"]
    out = tmp_path / "model.html"
    assert main(["fit", *base, "--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert "targets: log(loss), accuracy." in output
    assert "Held-out log(loss): log density" in output
    assert "Held-out accuracy: log density" in output
    assert "log(loss), accuracy by loose priors" in out.read_text()
    # Without one of the outcomes:
    frame.loc[2, "accuracy"] = None
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert main(["fit", *base, "--out", str(out)]) == 2
    assert "got 1 rows that lack some; fit them one by one" in capsys.readouterr().err
    out = tmp_path / "report"
    compared = [*base, "--sizes", "9", "--fit", "fixed", "--out", str(out)]
    assert main(["compare", *compared]) == 0
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert "some rows lack a target" in (out / "report.html").read_text()
    out = tmp_path / "search"
    searched = [*base, "--candidates", "2", "--fit", "fixed", "--out", str(out)]
    assert main(["search", *searched]) == 0
    assert "To predict log(loss), accuracy" in capsys.readouterr().out


def test_time_is_over(trials, tmp_path, capsys):
    arguments = ["compare", str(trials), *OPTIONS[:-1], "6,8", "--fit", "fixed"]
    with pytest.warns(BotorchWarning, match="time is over: after 0 seconds 4 cells"):
        assert main([*arguments, "--budget", "0", "--out", str(tmp_path)]) == 0
    assert set(scores(tmp_path)["size"]) == {6}
    page = (tmp_path / "report.html").read_text()
    assert page.count("time was over") == 3  # all but the best have no charts
    assert "with seed 0, at 6 rows." in page
    assert "Time was over before all were scored at 8 rows" in page


def test_charts_in_other_optima_than_the_scores_are_told(tmp_path):
    X, Y = noisy_waves(8)
    rows = [5, 3, 0, 1, 2, 4, 6, 7]
    how = {"fit_options": FitOptions(starts="own")}
    result = cross_validate(normalized_gp, X[rows], Y[rows], **how)
    points = compare({"gp": normalized_gp}, X, Y, sizes=[8], **how).points
    assert list_other_optima(points, {"gp": result}, rows) == []
    points.loc[points.row.isin([5, 7]), "log_density"] += 1.5
    (note,) = list_other_optima(points, {"gp": result}, rows)
    assert note.startswith(
        "gp: 2 of 8 held-out rows of the charts have another optimum"
    )
    assert "differs by -3.00 nats in all" in note


@pytest.mark.several  # processes do not know of the one start of other tests
def test_processes_compute_the_same(trials, tmp_path, no_report):
    found = []
    for own in ([], ["--executor", "processes"]):
        out = tmp_path / str(len(own))
        arguments = [*OPTIONS, "--fit", "fixed", "--out", str(out), *own]
        assert main(["compare", str(trials), *arguments]) == 0
        found.append(pd.read_csv(out / "points.csv"))
    pd.testing.assert_frame_equal(*found)


# Ctrl-C


def command(arguments: list[str], log: Path) -> None:
    """The command in a terminal of its own, as it were."""
    os.setsid()
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main(arguments))


PHASES = {
    "before the first cell": ("compare", "manifest.json", ""),
    "in a cell": ("compare", "[0-9a-f]*.json", ""),
    "in a process": ("compare --executor processes", "[0-9a-f]*.json", ""),
    "in the report": ("compare", "[0-9a-f]*.json", "Charts: all"),
    "in a search": ("search", "[0-9a-f]*.json", ""),
    "in a fit": ("fit", "", "Fitting "),
}


@pytest.mark.parametrize(("how", "file", "text"), PHASES.values(), ids=PHASES)
def test_an_interrupt_says_how_to_go_on(trials, tmp_path, how, file, text):
    name, *more = how.split()
    options = [option for option in OPTIONS if name == "compare" or option not in SIZES]
    folder, log = tmp_path / "out", tmp_path / "log"
    arguments = [name, str(trials), *options, *more, "--out", str(folder)]
    process = begin(command, arguments, log)
    wait_for(
        lambda: (
            log.exists()
            and text in log.read_text()
            and (not file or any((folder / "cells").glob(file)))
        ),
        process,
    )
    os.killpg(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    said = log.read_text()
    assert "Traceback" not in said
    last = "nothing is written"
    if name != "fit":
        last = f"finished cells are kept in {folder}, and the same command goes on from"
        last += " there"
    assert said.splitlines()[-1] == f"botorch-xval: interrupted; {last}"
    wait_for(lambda: not alive(process.pid))
    for path in (folder / "cells").glob("*.json"):
        assert json.loads(path.read_text())


def test_completion(capsys):
    assert main(["--print-completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "--log-scalars" in script and "_shtab_botorch_xval botorch-xval" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
