"""Bad arguments of cross-validations, folds and scores."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from botorch.models import SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood

from bad_inputs.case import (
    INF,
    NAN,
    SHORT,
    X,
    Y,
    fixed,
    refitted,
    stepped,
    table_of,
)
from bad_inputs.models import of_data
from botorch_xval.cross_validation import (
    Folds,
    ax_diagnostics,
    buffered,
    cross_validate,
    crps,
    difference,
    find_outliers,
    hold_out_only,
    k_fold,
    leave_future_out,
    leave_one_out,
    log_density,
    optimism,
    outliers,
    pit,
    recalibrate,
    recalibrate_nested,
    refit_without,
    smooth_weights,
    squared_error,
    summarize,
    z_score,
)
from botorch_xval.models import default_model

RUN = partial(cross_validate, default_model, X, Y)
MASK = torch.eye(8, dtype=torch.bool)
SAME = default_model(X, Y)


class NotAGP(torch.nn.Module):
    """Has a likelihood, and nothing else."""

    def __init__(self, train_X, train_Y):
        super().__init__()
        self.likelihood = torch.nn.Identity()


def of_factory(call, of):
    """The cases of a function that builds models."""
    return table_of(
        of,
        ("no model", lambda: call(None), "model: expected a function", "NoneType", ";"),
        ("text", lambda: call("SingleTaskGP"), "model: expected a function", "str",
         ";"),
        ("a model", lambda: call(SAME), "model: expected a function", "SingleTaskGP",
         ";"),
        ("a function that returns nothing", lambda: call(lambda x, y: None),
         "model: expected .*model", "NoneType", "build"),
        ("a function that returns a module", lambda: call(NotAGP),
         "model: expected .*model", "NotAGP", ";"),
        ("a function that returns an mll", lambda: call(lambda x, y:
         ExactMarginalLogLikelihood(SAME.likelihood, SAME)),
         "model: expected .*model", "ExactMarginalLogLikelihood", ";"),
        ("a function that returns the same model", lambda: call(lambda x, y: SAME),
         "model: expected .*training rows", "same object", "build a new"),
        ("a function without arguments", lambda: call(lambda: SAME),
         "model: expected a function of train_X and train_Y", "TypeError", "lambda"),
        ("a batch of models", lambda: call(lambda x, y:
         SingleTaskGP(x.expand(2, *x.shape), y.expand(2, *y.shape))),
         "model: expected .*unbatched", r"\(2,\)", ";"),
    )  # fmt: skip


def of_fit(call, of):
    """The cases of how folds are fitted."""
    return table_of(
        of,
        ("unknown fit", lambda: call(fit="refitt"), "fit: expected one of", "'refitt'",
         ";"),
        ("fit as a list", lambda: call(fit=["warm"]), "fit: expected one of",
         r"\['warm'\]", ";"),
        ("options as a dictionary", lambda: call(fit_options={"timeout_sec": 1}),
         "fit_options: expected FitOptions", "dict", "FitOptions"),
        ("negative threshold", lambda: call(threshold=-1), "threshold: expected", "-1",
         ";"),
        ("threshold as text", lambda: call(threshold="1"), "threshold: expected", "'1'",
         ";"),
        ("no draws", lambda: call(fit="posterior", draws=0), "draws: expected", "0",
         ";"),
        ("draws for another fit", lambda: call(draws=200), "draws: expected none",
         "200",
         "posterior"),
        ("an mll", lambda: call(
         mll=ExactMarginalLogLikelihood(SAME.likelihood, SAME)),
         "mll: expected a class",
         "ExactMarginalLogLikelihood", ";"),
        ("a class of something else", lambda: call(mll=dict), "mll: expected a class",
         "dict", ";"),
        ("a seed as text", lambda: call(seed="x"), "seed: expected", "'x'", ";"),
        ("folds as a number", lambda: call(folds=5), "folds: expected a function",
         "int",
         "k_fold"),
        ("folds as text", lambda: call(folds="loo"), "folds: expected a function",
         "str",
         "k_fold"),
        ("no folds", lambda: call(folds=None), "folds: expected a function", "NoneType",
         ";"),
        ("folds as pairs of nothing", lambda: call(folds=[1, 2]),
         "folds: expected pairs",
         "fold 0", ";"),
        ("folds without one", lambda: call(folds=[]), "folds: expected at least one",
         "none", ";"),
        ("folds beyond the rows", lambda: call(folds=[([0, 1], [9])]),
         "folds: expected pairs .*0 to 7", "9", ";"),
        ("a mask of numbers", lambda: call(folds=MASK.double()),
         "folds: expected a bool tensor", "float64", ";"),
        ("a mask of other rows", lambda: call(folds=MASK[:, :5]),
         "folds: expected", "5|none", ";"),
        ("a function that returns nothing", lambda: call(folds=lambda n: None),
         "folds: expected", "NoneType", ";"),
        ("groups of other rows", lambda: call(groups=[1, 2]), "groups: expected 8", "2",
         ";"),
        ("groups with a gap", lambda: call(groups=[None, *range(7)]),
         "groups: expected a label", "None for row 0", ";"),
        ("one group", lambda: call(groups=["a"] * 8), "groups: expected at least 2",
         "'a'", ";"),
        ("groups of two columns", lambda: call(groups=np.zeros((8, 2))),
         "groups: expected one label", r"\(8, 2\)", "single column"),
        ("groups as a number", lambda: call(groups=3), "groups: expected", "3|int",
         ";"),
        ("groups of lists", lambda: call(groups=[[1]] * 8), "groups: expected",
         r"\[1\]", ";"),
    )  # fmt: skip


def without(cases, *names):
    return [case for case in cases if case.name not in names]


DATA = [
    *without(
        of_data(partial(cross_validate, default_model), "cross_validate"),
        "NaN outcomes",
        "other batch",
    ),
    *table_of(
        "cross_validate",
        ("a batch", lambda: cross_validate(default_model, X[None], Y[None]),
         "train_X: expected a tensor `n x d`", r"\(1, 8, 2\)", "squeeze"),
        ("one row", lambda: cross_validate(default_model, X[:1], Y[:1]),
         "folds: expected at least 2 rows", "1", ";"),
        ("outcomes that are all missing", lambda: cross_validate(
         default_model, X, Y * NAN), "train_Y: expected at least 2 values", "0", ";"),
    ),
]  # fmt: skip
WHOLE = [
    *of_factory(lambda model: cross_validate(model, X, Y, fit="warm"),
    "cross_validate"),
    *of_fit(RUN, "cross_validate"),
    *table_of(
        "cross_validate",
        ("negative error", lambda: RUN(max_error=-1.0), "max_error: expected", "-1",
         ";"),
        ("error as text", lambda: RUN(max_error="1"), "max_error: expected", "'1'",
         ";"),
        ("draws as a float", lambda: RUN(fit="posterior", draws=200.0),
         "draws: expected a whole", "200.0", ";"),
        ("a factory that takes no noise", lambda: cross_validate(
         lambda train_X, train_Y: default_model(train_X, train_Y), X, Y, 0 * Y + 0.1),
         "model: expected .*train_Yvar", "TypeError", ";"),
        ("unknown parameters", lambda: RUN(fit="warm", fit_options=
         type(SHORT)(parameters=["a"])), "parameters: expected names", "'a'", ";"),
    ),
    *table_of(
        "optimism",
        ("inputs as a list", lambda: optimism(default_model, X.tolist(), Y),
         "train_X: expected a tensor", "list", ";"),
        ("unknown fit", lambda: optimism(default_model, X, Y, fit="x"),
         "fit: expected one of", "'x'", ";"),
        ("fixed with fixed", lambda: optimism(default_model, X, Y, fit="fixed"),
         "fit: expected .*refitted", "'fixed'", ";"),
        ("a model", lambda: optimism(SAME, X, Y), "model: expected a function",
         "SingleTaskGP", ";"),
    ),
    *table_of(
        "cross_validation.recalibrate_nested",
        ("inputs as a list", lambda: recalibrate_nested(default_model, X.tolist(), Y),
         "train_X: expected a tensor", "list", ";"),
        ("fixed", lambda: recalibrate_nested(default_model, X, Y, fit="fixed"),
         "fit: expected refitted", "fixed", ";"),
        ("unknown fit", lambda: recalibrate_nested(default_model, X, Y, fit="x"),
         "fit: expected one of", "'x'", ";"),
        ("inner folds as a number", lambda: recalibrate_nested(
         default_model, X, Y, inner=5), "inner: expected a function", "5", ";"),
        ("two outer folds", lambda: recalibrate_nested(
         default_model, X, Y, folds=k_fold(2)), "folds: expected at least 3", "2", ";"),
    ),
]  # fmt: skip


def of_result(call, of, name="result"):
    return table_of(
        of,
        ("no result", lambda: call(None), f"{name}: expected a CrossValidation",
         "NoneType", "cross_validate"),
        ("a table", lambda: call(stepped().to_frame()),
         f"{name}: expected a CrossValidation", "DataFrame", "cross_validate"),
        ("a model", lambda: call(SAME), f"{name}: expected a CrossValidation",
         "SingleTaskGP", "cross_validate"),
    )  # fmt: skip


GIVEN = default_model, X, Y
RESULTS = [
    *of_result(recalibrate, "recalibrate"),
    *of_result(outliers, "cross_validation.outliers"),
    *of_result(lambda r: find_outliers(r, *GIVEN), "find_outliers"),
    *of_result(lambda r: refit_without(r, [0], *GIVEN),
    "cross_validation.refit_without"),
    *of_result(lambda r: difference(r, stepped()), "difference", "first"),
    *of_result(lambda r: difference(stepped(), r), "difference", "second"),
    *table_of(
        "difference",
        ("other folds", lambda: difference(stepped(), refitted()),
         "second: expected .*same points", "other", ";"),
    ),
    *table_of(
        "recalibrate",
        ("fixed", lambda: recalibrate(fixed()), "fit: expected refitted", "fixed",
         "warm"),
    ),
    *table_of(
        "cross_validation.outliers",
        ("other names", lambda: outliers(stepped(), ["a"]), "names: expected .*8", "1",
         ";"),
        ("names as a number", lambda: outliers(stepped(), 3), "names: expected", "3",
         ";"),
        ("level of one", lambda: outliers(stepped(), level=1.0), "level: expected", "1",
         ";"),
        ("level as text", lambda: outliers(stepped(), level="a"), "level: expected",
         "'a'", ";"),
    ),
    *table_of(
        "find_outliers",
        ("other rows", lambda: find_outliers(stepped(), default_model, X[:5], Y[:5]),
         "train_X: expected the 8 rows", "5", ";"),
        ("other outcomes", lambda: find_outliers(stepped(), default_model, X, Y + 1),
         "train_Y: expected the outcomes of the result", "others", ";"),
        ("folds", lambda: find_outliers(stepped(), *GIVEN, folds=leave_one_out),
         "folds: expected none", "some", "leave"),
        ("most as text", lambda: find_outliers(stepped(), *GIVEN, most="1"),
         "most: expected a whole", "'1'", ";"),
        ("negative most", lambda: find_outliers(stepped(), *GIVEN, most=-1),
         "most: expected a whole", "-1", ";"),
        ("inputs as a list", lambda: find_outliers(
         stepped(), default_model, X.tolist(), Y), "train_X: expected a tensor", "list",
         ";"),
        ("no model", lambda: find_outliers(stepped(), None, X, Y),
         "model: expected a function", "NoneType", ";"),
    ),
    *table_of(
        "cross_validation.refit_without",
        ("no rows", lambda: refit_without(stepped(), [], *GIVEN), "rows: expected some",
         r"\[\]", ";"),
        ("no such row", lambda: refit_without(stepped(), [8], *GIVEN),
         "rows: expected some", r"\[8\]", ";"),
        ("a row as text", lambda: refit_without(stepped(), ["a"], *GIVEN),
         "rows: expected", "'a'", ";"),
        ("a number", lambda: refit_without(stepped(), 3, *GIVEN), "rows: expected", "3",
         ";"),
        ("all rows but one", lambda: refit_without(stepped(), range(7), *GIVEN),
         "folds: expected at least 2 folds", "0|1", ";"),
    ),
    *table_of(
        "CrossValidation",
        ("unknown scale", lambda: stepped().to_frame("log"),
         "scale: expected .outcome. or",
         "'log'", ";"),
        ("unknown scale of a summary", lambda: stepped().summary(scale=3),
         "scale: expected .outcome. or", "3", ";"),
        ("labels of other rows", lambda: stepped().summary(by=[1]),
         "by: expected 8", "1", ";"),
    ),
]  # fmt: skip
FOLDS = [
    *table_of(
        "Folds",
        ("a list", lambda: Folds([[True, False]], ["a"]), "held_out: expected a Tensor",
         "list", ";"),
        ("numbers", lambda: Folds(MASK.long(), list("abcdefgh")),
         "folds: expected a bool tensor", "int64", ";"),
        ("one dimension", lambda: Folds(MASK[0], ["a"]),
         "folds: expected a bool tensor",
         r"\(8,\)", ";"),
        ("no fold", lambda: Folds(MASK[:0], []), "folds: expected at least one", "none",
         ";"),
        ("other names", lambda: Folds(MASK, ["a"]), "folds: expected one name per fold",
         "1 names for 8", ";"),
        ("names as a number", lambda: Folds(MASK, 8), "names: expected", "int", ";"),
        ("nothing held out", lambda: Folds(MASK & False, list("abcdefgh")),
         "folds: expected a held-out row", "none in 'a'", ";"),
        ("nothing to train on", lambda: Folds(MASK | True, list("abcdefgh")),
         "folds: expected a training row", "none in 'a'", ";"),
        ("a row in both", lambda: Folds(MASK, list("abcdefgh"), MASK | True),
         "folds: expected every row in training or held out", "row 0", ";"),
        ("training of another shape", lambda: Folds(MASK, list("abcdefgh"), ~MASK[:3]),
         "folds: expected training rows", r"\(3, 8\)", ";"),
        ("training as a list", lambda: Folds(MASK, list("abcdefgh"), [1]),
         "training: expected", "list", ";"),
        ("groups of other rows", lambda: Folds(
         MASK, list("abcdefgh"), groups=torch.arange(3)), "folds: expected a group",
         r"\(3,\)", ";"),
    ),
    *table_of(
        "leave_one_out",
        ("one row", lambda: leave_one_out(1), "folds: expected at least 2 rows", "1",
         ";"),
        ("text", lambda: leave_one_out("8"), "n: expected a whole", "'8'", ";"),
        ("a float", lambda: leave_one_out(8.0), "n: expected a whole", "8.0", ";"),
        ("a tensor", lambda: leave_one_out(X), "n: expected a whole", "tensor", ";"),
    ),
    *table_of(
        "k_fold",
        ("one fold", lambda: k_fold(1), "k: expected .*2", "1", ";"),
        ("a float", lambda: k_fold(2.5), "k: expected a whole", "2.5", ";"),
        ("text", lambda: k_fold("5"), "k: expected a whole", "'5'", ";"),
        ("no repeats", lambda: k_fold(3, repeats=0), "repeats: expected .*1", "0", ";"),
        ("a seed as text", lambda: k_fold(3, seed="a"), "seed: expected a whole", "'a'",
         ";"),
        ("more folds than rows", lambda: k_fold(9)(8), "k: expected at most 8", "9",
         ";"),
    ),
    *table_of(
        "leave_future_out",
        ("one row", lambda: leave_future_out(1), "start: expected .*2", "1", ";"),
        ("text", lambda: leave_future_out("4"), "start: expected .*2", "'?4", ";"),
        ("no horizon", lambda: leave_future_out(4, 0), "horizon: expected .*1", "0",
         ";"),
        ("half a step", lambda: leave_future_out(4, step=0.5), "step: expected .*1",
         "0.5", ";"),
        ("too few rows", lambda: leave_future_out(8)(8), "folds: expected at least 9",
         "8", ";"),
    ),
    *table_of(
        "buffered",
        ("none", lambda: buffered(leave_one_out, 0), "buffer: expected .*1", "0", ";"),
        ("text", lambda: buffered(leave_one_out, "2"), "buffer: expected", "'2'", ";"),
        ("half a row", lambda: buffered(leave_one_out, 1.5), "buffer: expected", "1.5",
         ";"),
        ("of a number", lambda: buffered(5, 1)(8), "folds: expected a function", "int",
         ";"),
        ("nothing left", lambda: buffered(leave_one_out, 8)(8),
         "folds: expected a training row", "none", ";"),
    ),
    *table_of(
        "hold_out_only",
        ("numbers of rows", lambda: hold_out_only([0, 1, 2]),
         "rows: expected a boolean",
         "int64", ";"),
        ("text", lambda: hold_out_only("ab"), "rows: expected a boolean", "str", ";"),
        ("none", lambda: hold_out_only(None), "rows: expected a boolean", "None", ";"),
        ("a matrix", lambda: hold_out_only(MASK), "rows: expected a boolean",
         r"\(8, 8\)", ";"),
        ("one row", lambda: hold_out_only(MASK[0]), "rows: expected at least 2 rows",
         "1",
         ";"),
        ("ragged", lambda: hold_out_only([[True], [True, False]]),
         "rows: expected a boolean", "list", ";"),
        ("groups of other rows", lambda: hold_out_only(~MASK[0], groups=[1]),
         "groups: expected 8", "1", ";"),
    ),
]  # fmt: skip


def of_score(score, of):
    return table_of(
        of,
        ("lists", lambda: score([0.0], [1.0], [0.0]), "mean: expected a Tensor", "list",
         ";"),
        ("other shapes", lambda: score(Y, Y.abs() + 1, Y[:3]),
         "observed: expected the shape of mean", r"\(3, 1\)", ";"),
        ("variances of other shapes", lambda: score(Y, (Y.abs() + 1)[:3], Y),
         "variance: expected the shape of mean", r"\(3, 1\)", ";"),
        ("observed as an array", lambda: score(Y, Y.abs() + 1, Y.numpy()),
         "observed: expected a Tensor", "ndarray", ";"),
    )  # fmt: skip


ONES = np.ones(4)
ROW = torch.ones(4)
SCORES = [
    *of_score(log_density, "cross_validation.log_density"),
    *of_score(crps, "cross_validation.crps"),
    *of_score(pit, "cross_validation.pit"),
    *of_score(z_score, "cross_validation.z_score"),
    *without(
        of_score(lambda m, v, y: squared_error(m, y), "cross_validation.squared_error"),
        "variances of other shapes",
    ),
    *table_of(
        "cross_validation.summarize",
        ("lists", lambda: summarize([1], [1], [1], [1]), "mean: expected a Tensor",
         "list", ";"),
        ("other baseline", lambda: summarize(ROW, ROW, ROW, ROW[:2]),
         "baseline: expected the shape of mean", r"\(2,\)", ";"),
        ("other clusters", lambda: summarize(ROW, ROW, ROW, ROW, clusters=ROW[:2]),
         "clusters: expected the shape of mean", r"\(2,\)", ";"),
        ("two outcomes", lambda: summarize(Y, Y, Y, Y), "mean: expected .*`k`",
         r"\(8, 1\)", ";"),
    ),
    *table_of(
        "cross_validation.ax_diagnostics",
        ("tensors", lambda: ax_diagnostics(ROW, ROW, ROW), "mean: expected an array",
         "Tensor", "numpy"),
        ("other points", lambda: ax_diagnostics(ONES, ONES, ONES[:2]),
         "observed: expected .*4", r"\(2,\)", ";"),
        ("no points", lambda: ax_diagnostics(ONES[:0], ONES[:0], ONES[:0]),
         "mean: expected at least one", r"\(0,\)", ";"),
    ),
    *table_of(
        "cross_validation.smooth_weights",
        ("text", lambda: smooth_weights("abc"), "log_ratios: expected .*numbers",
         "'abc'",
         ";"),
        ("none", lambda: smooth_weights([]), "log_ratios: expected", r"\(1, 0\)", ";"),
        ("three dimensions", lambda: smooth_weights(np.ones((2, 2, 2))),
         "log_ratios: expected", r"\(2, 2, 2\)", ";"),
        ("nothing finite", lambda: smooth_weights([[-INF, NAN]]),
         "log_ratios: expected finite", "none", ";"),
        ("infinite", lambda: smooth_weights([[INF, 0.0]]),
         "log_ratios: expected finite",
         "inf|none", ";"),
        ("no efficiency", lambda: smooth_weights([[0.0, 1.0]], 0.0),
         "efficiency: expected", "0.0", ";"),
        ("an efficiency above one", lambda: smooth_weights([[0.0, 1.0]], 3),
         "efficiency: expected", "3", ";"),
    ),
]  # fmt: skip
CASES = [*DATA, *WHOLE, *RESULTS, *FOLDS, *SCORES]
