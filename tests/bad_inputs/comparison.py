"""Bad arguments of comparisons and searches."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from bad_inputs.case import (
    NAN,
    X,
    Y,
    comparison,
    curve,
    search_found,
    stepped,
    table_of,
)
from bad_inputs.cross_validation import without
from bad_inputs.models import of_choices, of_data
from botorch_xval.comparison import (
    Comparison,
    ModelSearch,
    check_learning_curve,
    compare,
    learning_curve,
    leaving,
    pseudo_bma_plus_weights,
    pseudo_bma_weights,
    rounds,
    search,
    selection_bias,
    significance,
    stacking_weights,
)
from botorch_xval.models import default_model

ONE = {"default": default_model}
RUN = partial(compare, ONE, X, Y, sizes=[8])
FIND = partial(search, X, Y)


def of_resources(call, of):
    """What comparisons and searches have in common."""
    return table_of(
        of,
        ("unknown fit", lambda: call(fit="wram"), "fit: expected one of", "'wram'",
         ";"),
        ("options as a dictionary", lambda: call(fit_options={}),
         "fit_options: expected FitOptions", "dict", ";"),
        ("negative seconds", lambda: call(seconds=-1), "seconds: expected", "-1", ";"),
        ("seconds as text", lambda: call(seconds="60"), "seconds: expected", "'60'",
         ";"),
        ("NaN seconds", lambda: call(seconds=NAN), "seconds: expected", "nan", ";"),
        ("a seed as text", lambda: call(seed="a"), "seed: expected a whole", "'a'",
         ";"),
        ("a negative seed", lambda: call(seed=-1), "seed: expected .*0", "-1", ";"),
        ("folds as a number", lambda: call(folds=5), "folds: expected a function",
         "int",
         "k_fold"),
        ("other groups", lambda: call(groups=[1]), "groups: expected 8", "1", ";"),
        ("a folder as a number", lambda: call(folder=3), "folder: expected a path",
         "int",
         ";"),
        ("a folder that is a file", lambda folder: call(folder=file_in(folder)),
         "folder: expected a folder", "a file", ";"),
        ("an executor as text", lambda: call(executor="dask"),
         "executor: expected", "str", "open|ProcessPool"),
    )  # fmt: skip


def file_in(folder):
    path = folder / "file"
    path.write_text("")
    return path


def frames(**columns):
    """The frames of a comparison with some columns of points replaced."""
    whole = comparison()
    return whole.points.assign(**columns), whole.fits


COMPARE = [
    *without(
        of_data(lambda *data: compare(ONE, *data, sizes=[8]), "compare"),
        "NaN outcomes",
        "other batch",
    ),
    *of_resources(RUN, "compare"),
    *table_of(
        "compare",
        ("no configurations", lambda: compare({}, X, Y, sizes=[8]),
         "configurations: expected at least one", "none", ";"),
        ("a list of models", lambda: compare([default_model], X, Y, sizes=[8]),
         "configurations: expected a Mapping", "list", ";"),
        ("a model without a name", lambda: compare(default_model, X, Y, sizes=[8]),
         "configurations: expected a Mapping", "function", ";"),
        ("a name that is a number", lambda: compare({1: default_model}, X, Y,
         sizes=[8]),
         "configurations: expected names as text", "1", ";"),
        ("text for a model", lambda: compare({"a": "SingleTaskGP"}, X, Y, sizes=[8]),
         "configurations: .*'a'.*model: expected a function", "str", ";"),
        ("a model", lambda: compare({"a": default_model(X, Y)}, X, Y, sizes=[8]),
         "configurations: .*'a'.*model: expected a function", "SingleTaskGP", ";"),
        ("no sizes", lambda: RUN(sizes=[]), "sizes: expected different", r"\[\]", ";"),
        ("a size", lambda: RUN(sizes=8), "sizes: expected", "8", "pass a list"),
        ("sizes as text", lambda: RUN(sizes="8"), "sizes: expected", "'8'", ";"),
        ("sizes that are text", lambda: RUN(sizes=["8"]), "sizes: expected", "'8'",
         ";"),
        ("a size too large", lambda: RUN(sizes=[9]), "sizes: expected", r"\[9\]", ";"),
        ("a size twice", lambda: RUN(sizes=[8, 8]), "sizes: expected different",
         r"\[8, 8\]", ";"),
        ("a size of two", lambda: RUN(sizes=[2]), "sizes: expected", r"\[2\]", ";"),
        ("no replicates", lambda: RUN(replicates=0), "replicates: expected", "0", ";"),
        ("half a replicate", lambda: RUN(replicates=1.5), "replicates: expected", "1.5",
         ";"),
        ("draws for a fit without", lambda: RUN(draws=200), "draws: expected", "200",
         ";"),
        ("few draws", lambda: RUN(fit="posterior", draws=5), "draws: expected", "5",
         ";"),
        ("a criterion as text", lambda: RUN(mll="loo"), "mll: expected a class", "str",
         ";"),
        ("a criterion of another name", lambda: RUN(mll={"x": default_model}),
         "mll: expected", "x|function", ";"),
        ("negative threshold", lambda: RUN(threshold=-1), "threshold: expected", "-1",
         ";"),
    ),
]  # fmt: skip
SEARCH = [
    *without(of_data(search, "search"), "NaN outcomes", "other batch"),
    *of_resources(FIND, "search"),
    *of_choices(lambda dims: FIND(choice_dims=dims), "search"),
    *table_of(
        "search",
        ("no such column", lambda: FIND(choice_dims=[2]), "choice_dims: expected", "2",
         ";"),
        ("a column twice", lambda: FIND(choice_dims=[1, 1]),
         "choice_dims: expected diff",
         r"\[1, 1\]", ";"),
        ("no candidates", lambda: FIND(candidates=0), "candidates: expected", "0", ";"),
        ("candidates as text", lambda: FIND(candidates="9"), "candidates: expected",
         "'9'", ";"),
        ("two rows", lambda: search(X[:2], Y[:2]), "train_X: expected at least 3 rows",
         "2", ";"),
    ),
]  # fmt: skip


def of_comparison(call, of):
    return table_of(
        of,
        ("none", lambda: call(None), "comparison: expected a Comparison", "NoneType",
         "compare"),
        ("a table", lambda: call(comparison().points),
         "comparison: expected a Comparison", "DataFrame", "compare"),
        ("a cross-validation", lambda: call(stepped()),
         "comparison: expected a Comparison", "CrossValidation", "compare"),
    )  # fmt: skip


RESULTS = [
    *table_of(
        "Comparison",
        ("lists", lambda: Comparison([1], [2]), "points: expected a DataFrame", "list",
         ";"),
        ("fits as text", lambda: Comparison(comparison().points, "fits"),
         "fits: expected a DataFrame", "str", ";"),
        ("no columns", lambda: Comparison(pd.DataFrame(), pd.DataFrame()),
         "points: expected .*columns", "missing", ";"),
        ("no rows", lambda: Comparison(*(frame[:0] for frame in frames())),
         "points: expected at least one", "none", ";"),
        ("text for scores", lambda: Comparison(*frames(log_density="a")),
         "points: expected numbers in log_density", "'?a", ";"),
        ("other rows", lambda: Comparison(frames()[0][:-1], frames()[1]),
         "points: expected every configuration on the same rows", "others", "compare"),
        ("two groups of a row", lambda: Comparison(
         *frames(group=np.arange(90))), "points: expected one group", "\\d", ";"),
        ("no such size for ArviZ", lambda: comparison().to_arviz(7),
         "size: expected one of", "7", ";"),
    ),
    *of_comparison(learning_curve, "learning_curve"),
    *of_comparison(check_learning_curve, "comparison.check_learning_curve"),
    *table_of(
        "learning_curve",
        ("two sizes", lambda: learning_curve(comparison((10, 20))),
         "comparison: expected at least 3 sizes", r"\[10, 20\]", ";"),
        ("a seed as text", lambda: learning_curve(comparison(), seed="a"),
         "seed: expected a whole", "'a'", ";"),
    ),
    *table_of(
        "comparison.check_learning_curve",
        ("nothing held out", lambda: check_learning_curve(comparison(), 0),
         "num_held_out: expected", "0", ";"),
        ("text", lambda: check_learning_curve(comparison(), "1"),
         "num_held_out: expected", "'1'", ";"),
        ("three sizes", lambda: check_learning_curve(comparison()),
         "comparison: expected at least 4 sizes", "15", ";"),
    ),
    *table_of(
        "comparison.LearningCurve",
        ("no gain", lambda: curve().gain(0), "more: expected", "0", ";"),
        ("gain as text", lambda: curve().gain("20"), "more: expected", "'20'", ";"),
        ("sizes as text", lambda: curve().predict("20"), "sizes: expected", "'20'",
         ";"),
        ("a size", lambda: curve().predict(20), "sizes: expected", "20", "pass a list"),
        ("no rows", lambda: curve().predict([0]), "sizes: expected", "0", ";"),
        ("NaN", lambda: curve().predict([NAN]), "sizes: expected", "nan", ";"),
        ("unknown configuration", lambda: curve().sentence("x"),
         "configuration: expected one of", "'x'", ";"),
    ),
    *table_of(
        "ModelSearch",
        ("no comparison", lambda: ModelSearch(None, search_found().specs),
         "comparison: expected a Comparison", "NoneType", ";"),
        ("specs as text", lambda: ModelSearch(search_found().comparison, "rbf"),
         "specs: expected", "'rbf'", ";"),
        ("no specs", lambda: ModelSearch(search_found().comparison, ()),
         "specs: expected", r"\(\)", ";"),
        ("specs of others", lambda: ModelSearch(comparison((20,)),
         search_found().specs),
         "specs: expected .*configurations", "BoTorch default", ";"),
    ),
]  # fmt: skip
SCORES = np.zeros((4, 2))


def of_scores(call, of):
    return table_of(
        of,
        ("a list", lambda: call([[1.0, 2.0]]), "scores: expected an array `n x c`",
         "list", ";"),
        ("one dimension", lambda: call(np.zeros(4)),
         "scores: expected an array `n x c`",
         r"\(4,\)", ";"),
        ("no configurations", lambda: call(SCORES[:, :0]),
         "scores: expected an array `n x c`", r"\(4, 0\)", ";"),
        ("text", lambda: call(np.array([["a"]])), "scores: expected .*numbers", "<U1",
         ";"),
        ("NaN", lambda: call(SCORES * NAN), "scores: expected numbers", "nan", ";"),
    )  # fmt: skip


def frame(n=12):
    return pd.DataFrame(np.zeros((n, 2)), columns=["a", "b"])


NUMBERS = [
    *of_scores(stacking_weights, "comparison.stacking_weights"),
    *of_scores(pseudo_bma_weights, "comparison.pseudo_bma_weights"),
    *of_scores(pseudo_bma_plus_weights, "comparison.pseudo_bma_plus_weights"),
    *of_scores(selection_bias, "comparison.selection_bias"),
    *table_of(
        "comparison.pseudo_bma_plus_weights",
        ("other clusters", lambda: pseudo_bma_plus_weights(SCORES, [1]),
         "clusters: expected .*4", "1", ";"),
        ("no samples", lambda: pseudo_bma_plus_weights(SCORES, samples=0),
         "samples: expected", "0", ";"),
        ("a seed as text", lambda: pseudo_bma_plus_weights(SCORES, seed="a"),
         "seed: expected", "'a'", ";"),
    ),
    *table_of(
        "comparison.selection_bias",
        ("other clusters", lambda: selection_bias(SCORES, [1]),
         "clusters: expected .*4",
         "1", ";"),
        ("a seed as text", lambda: selection_bias(SCORES, seed="a"), "seed: expected",
         "'a'", ";"),
    ),
    *table_of(
        "comparison.rounds",
        ("none", lambda: rounds([]), "points: expected .*whole numbers", r"\[\]", ";"),
        ("a number", lambda: rounds(8), "points: expected .*whole numbers", "8", ";"),
        ("text", lambda: rounds("8"), "points: expected .*whole numbers", "'8'", ";"),
        ("negative", lambda: rounds([-1]), "points: expected .*whole numbers", "-1",
         ";"),
    ),
    *table_of(
        "comparison.significance",
        ("look zero", lambda: significance(0, 2), "look: expected", "0", ";"),
        ("text", lambda: significance("1", 2), "look: expected", "'1'", ";"),
        ("no configurations", lambda: significance(1, 0), "configurations: expected",
         "0",
         ";"),
    ),
    *table_of(
        "comparison.leaving",
        ("an array", lambda: leaving(SCORES, 0.05), "scores: expected a DataFrame",
         "ndarray", ";"),
        ("a level of two", lambda: leaving(frame(), 2.0), "significance: expected", "2",
         ";"),
        ("a level as text", lambda: leaving(frame(), "0.05"), "significance: expected",
         "'0.05'", ";"),
        ("groups as a list", lambda: leaving(frame(), 0.05, [1] * 12),
         "groups: expected a Series", "list", ";"),
        ("groups of other rows", lambda: leaving(frame(), 0.05, pd.Series([1, 2])),
         "groups: expected a label", "2", ";"),
    ),
]  # fmt: skip
CASES = [*COMPARE, *SEARCH, *RESULTS, *NUMBERS]
