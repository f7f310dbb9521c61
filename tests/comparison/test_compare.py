"""Comparisons: who is scored on which rows, and the table recomputed by hand."""

from __future__ import annotations

import math
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood, LeaveOneOutPseudoLikelihood
from helpers import (
    assert_close,
    assert_same,
    noisy_waves,
    normalized_gp,
    optimizer,
    short_sighted,
    tuning_trials,
    unfittable,
)
from torch import Tensor

from botorch_xval.comparison.compare import compare
from botorch_xval.comparison.table import Comparison
from botorch_xval.cross_validation.clusters import standard_error
from botorch_xval.cross_validation.cross_validate import cross_validate
from botorch_xval.cross_validation.folds import Folds, k_fold, leave_one_out
from botorch_xval.cross_validation.folds_like import make_folds
from botorch_xval.models.mlls import LeaveOneOutCRPS
from botorch_xval.models.scalar_choice import ScalarChoiceGP

CELL = ["configuration", "size", "replicate"]
QUICK = {"fit_options": optimizer(maxiter=4)}


# linear_operator says so on every attempt to save the factorization.
no_jitter_warnings = pytest.mark.filterwarnings("ignore:A not p.d.")

CONFIGURATIONS = {"short sighted": short_sighted, "default": normalized_gp}


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    return noisy_waves(14, seed=5)


@pytest.fixture(scope="module")
def comparison(data: tuple[Tensor, Tensor]) -> Comparison:
    sizes, seed = [10, 6], 3
    return compare(CONFIGURATIONS, *data, sizes=sizes, replicates=3, seed=seed, **QUICK)


def rows_of(comparison: Comparison) -> dict[tuple[str, int, int], list[int]]:
    groups = comparison.points.groupby(CELL)
    return {cell: part.row.to_list() for cell, part in groups}


# Which rows


def test_every_configuration_is_scored_on_the_same_rows(comparison):
    rows = rows_of(comparison)
    assert len(rows) == 2 * 2 * 3
    for size in (6, 10):
        for replicate in range(3):
            default = rows["default", size, replicate]
            assert rows["short sighted", size, replicate] == default
            assert len(set(default)) == size
            assert set(default) <= set(range(14))


def test_smaller_datasets_are_contained_in_larger_ones(comparison):
    rows = rows_of(comparison)
    for replicate in range(3):
        assert rows["default", 10, replicate][:6] == rows["default", 6, replicate]


def test_replicates_are_other_shuffles(comparison):
    rows = rows_of(comparison)
    shuffles = {tuple(rows["default", 10, replicate]) for replicate in range(3)}
    assert len(shuffles) == 3


def test_the_seed_decides_on_the_rows_and_sizes_do_not(data, comparison):
    def rows(seed: int, size: int) -> list[int]:
        # Two rows held out, to be quick.
        result = compare(
            {"default": normalized_gp},
            *data,
            sizes=[size],
            seed=seed,
            folds=lambda n: torch.eye(n, dtype=torch.bool),
            **QUICK,
        )
        return result.points.row.to_list()

    assert rows(3, 8) == rows_of(comparison)["default", 10, 0][:8]
    assert rows(4, 8) != rows(3, 8)


def test_groups_are_held_out_together(data):
    x, y = data
    labels = [f"study {i % 4}" for i in range(14)]
    result = compare(
        CONFIGURATIONS, x, y, sizes=[7, 9], groups=labels, replicates=2, **QUICK
    )
    part = result.points.query("configuration == 'default' and size == 9")
    part = part[part.replicate == 1]
    rows = part.row.to_list()
    expected = cross_validate(
        normalized_gp,
        x[rows],
        y[rows],
        folds=make_folds(leave_one_out, 9, [labels[row] for row in rows]),
        fit_options=QUICK["fit_options"],
    )
    assert_close(part.log_density.to_numpy(), expected.log_density[:, 0])
    fit = result.fits.set_index(CELL).loc[("default", 9, 1)]
    assert fit.folds == len({labels[row] for row in rows})
    other = torch.tensor([i % 4 for i in range(14)])
    again = compare(CONFIGURATIONS, x, y, sizes=[7], groups=other, **QUICK)
    first = result.points.query("size == 7 and replicate == 0")
    assert again.points.log_density.to_list() == first.log_density.to_list()
    # And they are one cluster of the standard errors, in all sizes and replicates.
    assert (result.points.group == result.points.row % 4).all()
    table = result.table().set_index(["size", "configuration"])
    by_row = result.points.query("configuration == 'default' and size == 9")
    by_row = by_row.groupby("row").log_density.mean()
    own = by_row.index % 4
    assert_close(
        table.standard_error[9, "default"], standard_error(by_row.to_numpy(), own)
    )
    assert table.groups.to_list() == [4] * len(table)


@pytest.mark.parametrize("kind", ["function", "Folds", "mask", "splits"])
def test_folds_of_labels_whatever_they_are_given_as(data, kind):
    """Three folds of five labels; all but a function are of the whole table."""
    labels = [f"study {i % 5}" for i in range(14)]
    whole = make_folds(k_fold(3), 14, labels)
    splits = [((~m).nonzero()[:, 0], m.nonzero()[:, 0]) for m in whole.held_out]
    folds = {
        "function": k_fold(3),
        "Folds": whole,
        "mask": whole.held_out,
        "splits": iter(splits),
    }[kind]
    result = compare(
        {"default": normalized_gp},
        *data,
        sizes=[8, 14],
        folds=folds,
        groups=labels,
        **QUICK,
    )
    for size in (8, 14):
        rows = result.points.row[result.points["size"] == size].to_list()
        if kind == "function":
            expected = make_folds(k_fold(3), size, [labels[row] for row in rows])
        else:
            held_out = whole.held_out[:, rows]
            held_out = held_out[held_out.any(dim=1)]  # one has none of the eight rows
            assert len(held_out) == (2 if size == 8 else 3)
            expected = Folds(held_out, whole.names[: len(held_out)])
        scored = cross_validate(
            normalized_gp,
            data[0][rows],
            data[1][rows],
            folds=expected,
            fit_options=QUICK["fit_options"],
        )
        assert (result.points.group == result.points.row % 5).all()
        found = result.points.log_density[result.points["size"] == size]
        assert sorted(found) == sorted(scored.log_density[:, 0].tolist())


def test_a_cell_is_a_cross_validation_of_its_rows(data, comparison):
    x, y = data
    part = comparison.points.query("configuration == 'default' and size == 10")
    part = part[part.replicate == 1]
    rows = part.row.to_list()
    expected = cross_validate(
        normalized_gp, x[rows], y[rows], fit_options=QUICK["fit_options"]
    )
    assert_close(part.log_density.to_numpy(), expected.log_density[:, 0])
    error = (expected.mean - y[rows]) ** 2
    assert_close(part.squared_error.to_numpy(), error[:, 0])
    fit = comparison.fits.set_index(CELL).loc[("default", 10, 1)]
    assert fit.folds == 10 and fit.failed == 0 and fit.seconds > 0
    assert fit.evaluations == sum(record.evaluations for record in expected.records)


def test_folds_and_known_noise_are_passed_on(data):
    x, y = data
    yvar = torch.linspace(1.0, 9.0, 14, dtype=torch.float64).unsqueeze(-1)
    result = compare(
        {"default": normalized_gp}, x, y, yvar, sizes=[9], folds=k_fold(3), **QUICK
    )
    rows = result.points.row.to_list()
    expected = cross_validate(
        normalized_gp,
        x[rows],
        y[rows],
        yvar[rows],
        folds=k_fold(3),
        fit_options=QUICK["fit_options"],
    )
    assert_close(result.points.log_density.to_numpy(), expected.log_density[:, 0])
    assert result.fits.folds.to_list() == [3]


def test_rows_that_no_fold_holds_out_are_no_points(data):
    def first_two(n: int) -> Tensor:
        return torch.eye(n, dtype=torch.bool)[:2]

    result = compare(
        {"default": normalized_gp}, *data, sizes=[8], folds=first_two, **QUICK
    )
    assert len(result.points) == 2
    assert result.points.log_density.notna().all()


def test_scores_are_summed_over_outputs():
    x, y = noisy_waves(8, m=2)
    result = compare({"default": normalized_gp}, x, y, sizes=[8], **QUICK)
    rows = result.points.row.to_list()
    kwargs = {"fit_options": QUICK["fit_options"]}
    expected = cross_validate(normalized_gp, x[rows], y[rows], **kwargs)
    found = result.points.log_density.to_numpy()
    assert_close(found, expected.log_density[:, 0] + expected.log_density[:, 1])


def test_how_folds_are_fitted_is_passed_on(data):
    x, y = data
    how = {"fit": "adaptive", "threshold": 0.2}
    result = compare({"default": normalized_gp}, x, y, sizes=[9], **how, **QUICK)
    rows = result.points.row.to_list()
    expected = cross_validate(
        normalized_gp, x[rows], y[rows], fit_options=QUICK["fit_options"], **how
    )
    assert_close(result.points.log_density.to_numpy(), expected.log_density[:, 0])


def test_a_configuration_may_have_a_criterion_of_its_own(data, tmp_path):
    models = {"evidence": normalized_gp, "leave-one-out": normalized_gp}
    mll = {"leave-one-out": LeaveOneOutPseudoLikelihood}
    kwargs = {"sizes": [9], "folder": tmp_path, **QUICK}
    result = compare(models, *data, mll=mll, **kwargs)
    rows = rows_of(result)["evidence", 9, 0]
    for name, kind in (("evidence", ExactMarginalLogLikelihood), *mll.items()):
        own = result.points[result.points.configuration == name]
        expected = cross_validate(
            normalized_gp, data[0][rows], data[1][rows], mll=kind, **QUICK
        )
        assert_close(own.log_density.to_numpy(), expected.log_density[:, 0])
    # One more goes on in the same folder; another criterion of a known one does not.
    mll["CRPS"] = LeaveOneOutCRPS
    found = compare({**models, "CRPS": normalized_gp}, *data, mll=mll, **kwargs)
    assert_close(
        found.points.log_density.to_numpy()[: len(result.points)],
        result.points.log_density.to_numpy(),
    )
    for other in ({}, {"leave-one-out": LeaveOneOutCRPS}):
        with pytest.raises(ValueError, match="values of configuration 'leave-one-out'"):
            compare(models, *data, mll=other, **kwargs)


def test_draws_are_passed_on_and_part_of_the_folder(data, tmp_path):
    X, Y = data
    kwargs = {"sizes": [8], "fit": "posterior", "folder": tmp_path}
    found = compare({"default": normalized_gp}, X, Y, draws=120, **kwargs)
    rows = found.points.row.tolist()
    own = cross_validate(normalized_gp, X[rows], Y[rows], fit="posterior", draws=120)
    assert_close(found.points.log_density.to_numpy(), own.log_density[:, 0], rtol=1e-6)
    with pytest.raises(ValueError, match="fit"):
        compare({"default": normalized_gp}, X, Y, draws=150, **kwargs)


def test_the_seed_is_that_of_draws(data):
    X, Y = data
    kwargs = {"fit": "posterior", "draws": 100, "seed": 5}
    found = compare(
        {"default": normalized_gp}, X, Y, sizes=[8], folds=k_fold(3), **kwargs
    )
    rows = np.random.default_rng([5, 0]).permutation(14)[:8]
    own = cross_validate(normalized_gp, X[rows], Y[rows], folds=k_fold(3), **kwargs)
    assert_close(found.points.log_density.to_numpy(), own.log_density[:, 0], rtol=1e-9)


def test_an_executor_is_sent_criteria(data):
    kwargs = {"sizes": [9], "folds": k_fold(3), "mll": {"default": LeaveOneOutCRPS}}
    expected = compare(CONFIGURATIONS, *data, **kwargs, **QUICK)
    with ThreadPoolExecutor(1) as pool:
        found = compare(CONFIGURATIONS, *data, executor=pool, **kwargs, **QUICK)
    assert_same(found, expected)
    assert pickle.loads(pickle.dumps(LeaveOneOutCRPS)) is LeaveOneOutCRPS


def test_real_trials_with_one_hot_choices():
    table = tuning_trials(9)

    def ours(train_X: Tensor, train_Y: Tensor) -> ScalarChoiceGP:
        return ScalarChoiceGP(train_X, train_Y, choice_dims=table.choice_dims)

    configurations = {"ours": ours, "default": normalized_gp}
    result = compare(configurations, table.X, table.Y, sizes=[8], **QUICK)
    assert result.points.log_density.notna().all()
    assert (result.table().failed == 0).all()


# The table


def test_the_table_by_hand(comparison):
    points, table = comparison.points, comparison.table()
    assert len(table) == 4
    for size in (6, 10):
        scores, errors = {}, {}
        for name in CONFIGURATIONS:
            own = points[(points["size"] == size) & (points.configuration == name)]
            by_row: dict[int, list[float]] = {}
            for row, score in zip(own.row, own.log_density, strict=True):
                by_row.setdefault(row, []).append(score)
            # A row that several replicates hold out counts once, with its mean score.
            scores[name] = np.array([np.mean(by_row[row]) for row in sorted(by_row)])
            by_row = {row: own.squared_error[own.row == row].mean() for row in by_row}
            errors[name] = math.sqrt(np.mean(list(by_row.values())))
        best = max(scores, key=lambda name: scores[name].mean())
        block = table[table["size"] == size]
        assert block.configuration.iloc[0] == best
        for entry in block.itertuples():
            own = scores[entry.configuration]
            difference = own - scores[best]
            num_rows = len(own)
            assert 6 <= num_rows <= 14
            assert entry.rows == num_rows
            root = math.sqrt(num_rows)
            assert_close(entry.mean_log_density, own.mean())
            assert_close(entry.standard_error, own.std(ddof=1) / root)
            assert_close(entry.difference, difference.mean())
            assert_close(entry.difference_se, difference.std(ddof=1) / root)
            assert_close(entry.rmse, errors[entry.configuration])


def test_the_best_configuration_comes_first_with_difference_zero(comparison):
    table = comparison.table()
    assert table["size"].to_list() == [6, 6, 10, 10]
    best = table.groupby("size").first()
    assert (best.difference == 0).all() and (best.difference_se == 0).all()
    assert (table.difference <= 0).all()


def test_the_table_sums_cells_over_replicates(comparison):
    table = comparison.table().set_index(["size", "configuration"])
    for (size, name), entry in table.iterrows():
        cells = [
            cell
            for cell in comparison.fits.to_dict("records")
            if (cell["size"], cell["configuration"]) == (size, name)
        ]
        assert len(cells) == 3
        for column in ("failed", "evaluations", "seconds"):
            assert_close(entry[column], sum(cell[column] for cell in cells))


def test_folds_of_a_single_value_are_a_caution_of_any_process(data):
    """The warning is one of the process that computes the cell."""
    X, Y = data
    Y = torch.cat([Y, Y], dim=-1)
    Y[2:, 1] = math.nan
    kwargs = {"sizes": [14], "executor": ThreadPoolExecutor(1)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BotorchWarning)
        found = compare({"default": normalized_gp}, X, Y, **kwargs, **QUICK)
        own = cross_validate(normalized_gp, X, Y, **QUICK)
    alone = {fit.fold for fit in own.fits if fit.record.num_points == 1}
    assert found.fits.single.tolist() == [len(alone)] and len(alone) == 2
    (caution,) = found.table().caution
    assert "2 of 14 folds are fitted to a single value" in caution
    without = Comparison(found.points, found.fits.drop(columns="single"))
    assert "single" not in without.table().caution[0]


@no_jitter_warnings
def test_failed_folds_are_counted_and_left_out_of_paired_differences(data):
    x, y = data
    configurations = {"default": normalized_gp, "fragile": unfittable(x[[2]])}
    with pytest.warns(BotorchWarning, match="1 of 14 folds could not be fitted"):
        result = compare(configurations, x, y, sizes=[14], **QUICK)
    scores = result.points.pivot(
        index="row", columns="configuration", values="log_density"
    )
    assert scores.fragile.isna().to_numpy().nonzero()[0].tolist() == [2]
    table = result.table().set_index("configuration")
    assert table.failed.to_dict() == {"default": 0, "fragile": 1}
    first, second = table.index
    paired = (scores[second] - scores[first]).dropna()
    assert len(paired) == 13
    assert_close(table.difference[second], np.mean(paired))
    assert_close(table.difference_se[second], np.std(paired, ddof=1) / 13**0.5)


@no_jitter_warnings
@pytest.mark.filterwarnings("ignore:.* folds could not be fitted")
@pytest.mark.parametrize("order", [1, -1], ids=["first", "last"])
def test_defect_a_configuration_of_which_all_fits_fail_comes_last(
    data, tmp_path, order
):
    x, y = data
    hopeless = unfittable(torch.full((1, 2), torch.inf, dtype=torch.float64))
    configurations = [("hopeless", hopeless), ("default", normalized_gp)][::order]
    result = compare(dict(configurations), x, y, sizes=[6], folder=tmp_path, **QUICK)
    table = result.table()
    assert table.configuration.to_list() == ["default", "hopeless"]
    assert table.failed.to_list() == [0, 6]
    assert table.mean_log_density.isna().to_list() == [False, True]


@no_jitter_warnings
@pytest.mark.filterwarnings("ignore:.* folds could not be fitted")
def test_defect_a_table_without_any_score_is_still_a_table(data):
    hopeless = unfittable(torch.full((1, 2), torch.inf, dtype=torch.float64))
    table = compare({"hopeless": hopeless}, *data, sizes=[6], **QUICK).table()
    assert table.failed.to_list() == [6]
    assert table.mean_log_density.isna().all()


# The folder


def test_the_folder_has_the_result(data, tmp_path):
    folder = tmp_path / "new" / "folder"
    result = compare(CONFIGURATIONS, *data, sizes=[5, 7], folder=folder, **QUICK)
    assert sorted(path.name for path in folder.iterdir()) == [
        "cells",
        "fits.csv",
        "points.csv",
        "scores.csv",
    ]
    for name, expected in (
        ("points.csv", result.points),
        ("fits.csv", result.fits),
        ("scores.csv", result.table()),
    ):
        pd.testing.assert_frame_equal(pd.read_csv(folder / name), expected, rtol=1e-12)


def test_an_interrupted_comparison_keeps_what_it_has(data, tmp_path):
    def interrupted(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        if len(train_X) > 5:
            raise KeyboardInterrupt
        return normalized_gp(train_X, train_Y)

    configurations = {"default": normalized_gp, "interrupted": interrupted}
    with pytest.raises(KeyboardInterrupt):
        compare(configurations, *data, sizes=[6, 8], folder=tmp_path, **QUICK)
    complete = compare({"default": normalized_gp}, *data, sizes=[6, 8], **QUICK)
    fits, points = (
        pd.read_csv(tmp_path / "fits.csv"),
        pd.read_csv(tmp_path / "points.csv"),
    )
    cells = [("default", 6), ("interrupted", 6), ("default", 8)]
    assert list(zip(fits.configuration, fits["size"], strict=True)) == cells
    found = points[points.configuration == "default"].log_density
    assert_close(found.to_numpy(), complete.points.log_density.to_numpy())
    assert len(pd.read_csv(tmp_path / "scores.csv")) == 3


def test_the_files_are_there_after_the_first_cell(data, tmp_path):
    def interrupted(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        raise KeyboardInterrupt

    configurations = {"default": normalized_gp, "interrupted": interrupted}
    with pytest.raises(KeyboardInterrupt):
        compare(configurations, *data, sizes=[6], folder=tmp_path, **QUICK)
    assert pd.read_csv(tmp_path / "scores.csv").configuration.to_list() == ["default"]
    assert len(pd.read_csv(tmp_path / "points.csv")) == 6


def failing(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
    raise RuntimeError("no such model")


@pytest.mark.parametrize("order", [1, -1], ids=["first", "last"])
def test_a_configuration_that_raises_has_no_scores(data, tmp_path, order):
    configurations = dict([("bad", failing), ("default", normalized_gp)][::order])
    kwargs = {"sizes": [6, 8], "folder": tmp_path, **QUICK}
    with pytest.warns(BotorchWarning, match="2 of 4 cells .* 'bad' of 6 rows .Runtime"):
        found = compare(configurations, *data, **kwargs)
    alone = compare({"default": normalized_gp}, *data, sizes=[6, 8], **QUICK)
    own = found.points[found.points.configuration == "default"]
    assert own.log_density.to_list() == alone.points.log_density.to_list()
    assert found.fits.set_index("configuration").failed["bad"].to_list() == [6, 8]
    # What has failed is not kept: two cells and the manifest.
    assert len(list((tmp_path / "cells").glob("*.json"))) == 3


def test_if_all_configurations_raise_the_first_error_is_raised(data):
    with pytest.raises(RuntimeError, match="no such model"):
        compare({"bad": failing, "worse": failing}, *data, sizes=[6], **QUICK)


def test_progress_goes_to_the_screen_only_if_wanted(data, capsys):
    kwargs = {**QUICK, "folds": k_fold(2), "sizes": [6]}
    compare({"default": normalized_gp}, *data, **kwargs)
    assert capsys.readouterr() == ("", "")
    compare({"default": normalized_gp}, *data, **{**kwargs, "progress": True})
    output = capsys.readouterr()
    assert output.out == "" and "default, 6 rows" in output.err


# Refusals


@pytest.mark.parametrize("sizes", [[], [2], [6, 15], [6, 6], [-3]])
def test_refuses_sizes_that_do_not_fit(data, sizes):
    with pytest.raises(ValueError, match="sizes: expected different whole numbers fro"):
        compare(CONFIGURATIONS, *data, sizes=sizes)


def test_refuses_an_empty_comparison(data, tmp_path):
    with pytest.raises(ValueError, match="configurations: expected at least one"):
        compare({}, *data, sizes=[6])
    with pytest.raises(ValueError, match="replicates: .* whole number from 1 on"):
        compare(CONFIGURATIONS, *data, sizes=[6], replicates=0)


def test_nothing_is_written_for_a_comparison_that_is_refused(data, tmp_path):
    with pytest.raises(ValueError, match="sizes"):
        compare(CONFIGURATIONS, *data, sizes=[99], folder=tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_defect_refuses_sizes_that_are_no_whole_numbers(data):
    with pytest.raises(ValueError, match="sizes: expected different whole numbers"):
        compare(CONFIGURATIONS, *data, sizes=[6.5])


def test_defect_refuses_outcomes_of_another_length(data):
    x, y = data
    with pytest.raises(ValueError, match="train_Y: expected the shape \\(14, m\\)"):
        compare(CONFIGURATIONS, x, y[:5], sizes=[6])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mll": {"other": LeaveOneOutCRPS}}, "mll: expected names of conf"),
        ({"groups": [1, 2]}, "groups: expected 14 labels, one per row, got 2"),
        ({"groups": [1] * 14}, "only 1; .* .in the dataset of 6 rows, replicate 0"),
        ({"folds": k_fold(7)}, r"at most 6 folds .* \(in the dataset of 6 rows"),
        ({"folds": leave_one_out(9)}, "expected folds of 14 rows, got 9"),
        ({"folds": [(range(7), range(7, 14))]}, "at least 2 folds that .*, got 1"),
        ({"configurations": {1: normalized_gp}}, "expected names as text, got 1"),
    ],
)
def test_refuses_groups_and_names_that_do_not_fit(data, change, message):
    arguments = {"configurations": CONFIGURATIONS, "sizes": [6], **change}
    with pytest.raises(ValueError, match=message):
        compare(arguments.pop("configurations"), *data, **arguments)
