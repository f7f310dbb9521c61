"""Bad arguments of reports and plots."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from bad_inputs.case import (
    NAN,
    X,
    Y,
    comparison,
    curve,
    fitted,
    fixed,
    mll,
    search_found,
    stepped,
    table_of,
)
from bad_inputs.comparison import of_comparison
from bad_inputs.cross_validation import of_result
from botorch_xval.models import default_model
from botorch_xval.reporting import (
    Course,
    describe,
    describe_optimum,
    hyperparameters,
    optima,
    plots,
    summarize_fits,
    write_page,
)
from botorch_xval.reporting.expressions import (
    combine,
    document,
    format_number,
    model_panels,
)

GP = default_model(X, Y)


def records():
    return fitted().fit_records


def text():
    return {"GP": describe(GP)}


def of_model(call, of):
    return table_of(
        of,
        ("none", lambda: call(None), "model: expected", "NoneType", ";"),
        ("text", lambda: call("SingleTaskGP"), "model: expected", "str", ";"),
        ("a class", lambda: call(type(GP)), "model: expected", "ABCMeta", ";"),
        ("an mll", lambda: call(mll()), "model: expected", "ExactMarginalLog", ";"),
        ("a result", lambda: call(stepped()), "model: expected", "CrossValidation",
         ";"),
        ("no models", lambda: call([]), "model: expected at least one", "none", ";"),
        ("models of nothing", lambda: call([None]), "model: expected", "NoneType", ";"),
        ("other names", lambda: call(GP, ["a"]), "names: expected 2", "1", ";"),
        ("names as text", lambda: call(GP, "ab"), "names: expected", "'?ab", ";"),
        ("names as a number", lambda: call(GP, 2), "names: expected", "2", ";"),
    )  # fmt: skip


def of_records(call, of):
    return table_of(
        of,
        ("none", lambda: call(None), "records: expected", "NoneType", "fit_records"),
        ("a record", lambda: call(records()[0]), "records: expected", "FitRecord", ";"),
        ("an mll", lambda: call(fitted()), "records: expected", "ExactMarg", ";"),
        ("a result", lambda: call(stepped()), "records: expected", "CrossVal", ";"),
        ("no records", lambda: call([]), "records: expected at least one", "none", ";"),
        ("numbers", lambda: call([1.0]), "records: expected a FitRecord", "float", ";"),
    )  # fmt: skip


def of_page(call, of):
    return table_of(
        of,
        ("a description", lambda: call(describe(GP)),
         "descriptions: expected a Mapping",
         "Description", ";"),
        ("none", lambda: call({}), "descriptions: expected at least one", "none", ";"),
        ("text", lambda: call({"GP": "k = 1"}), "descriptions: expected .*Description",
         "str", "describe"),
        ("a model", lambda: call({"GP": GP}), "descriptions: expected .*Description",
         "SingleTaskGP", "describe"),
        ("other names", lambda: call(text(), held_out=["a", "b"]),
         "held_out: expected", "2", ";"),
        ("names as a number", lambda: call(text(), held_out=1), "held_out: expected",
         "1",
         ";"),
        ("a course of another", lambda: call(text(), courses={"x": [describe(GP)]}),
         "courses: expected", "'x'", ";"),
        ("a course as a list", lambda: call(text(), courses=[describe(GP)]),
         "courses: expected", "list", ";"),
        ("an empty course", lambda: call(text(), courses={"GP": [None]}),
         "courses: expected", "NoneType", ";"),
    )  # fmt: skip


PAGES = [
    *of_model(describe, "describe"),
    *of_model(hyperparameters, "hyperparameters"),
    *of_records(summarize_fits, "summarize_fits"),
    *of_page(model_panels, "reporting.expressions.model_panels"),
    *of_page(
        lambda *args, **kwargs: write_page("no.html", *args, title="GP", **kwargs),
        "write_page",
    ),
    *table_of(
        "describe",
        ("other outcomes", lambda: describe(GP, outcomes=["a", "b"]),
         "outcomes: expected 1", "2", ";"),
        ("outcomes as text", lambda: describe(GP, outcomes="y"), "outcomes: expected",
         "'?y", ";"),
        ("other structures", lambda: describe([GP, default_model(X[:, :1], Y)]),
         "expected", ".", ";"),
    ),
    *table_of(
        "summarize_fits",
        ("no model", lambda: summarize_fits(records(), 3), "model: expected", "int",
         ";"),
    ),
    *table_of(
        "write_page",
        ("a folder", lambda folder: write_page(folder, text(), title="GP"),
         "path: expected a file", "folder", ";"),
        ("no folder", lambda folder: write_page(folder / "no" / "a.html", text(),
         title="GP"), "path: expected .*folder", "no", ";"),
        ("a number", lambda: write_page(3, text(), title="GP"), "path: expected a path",
         "int", ";"),
        ("a title that is none", lambda: write_page("no.html", text(), title=None),
         "title: expected", "None", ";"),
    ),
    *table_of(
        "reporting.expressions.document",
        ("a number", lambda: document(3, "", ""), "title: expected", "int", ";"),
        ("no body", lambda: document("", "", None), "body: expected", "NoneType", ";"),
    ),
    *table_of(
        "reporting.expressions.combine",
        ("none", lambda: combine([]), "descriptions: expected at least one", "none",
         ";"),
        ("models", lambda: combine([GP]), "descriptions: expected .*Description",
         "SingleTaskGP", "describe"),
    ),
    *table_of(
        "reporting.expressions.format_number",
        ("text", lambda: format_number("1"), "number: expected", "'1'", ";"),
        ("none", lambda: format_number(None), "number: expected", "None", ";"),
    ),
    *table_of(
        "reporting.optima",
        ("none", lambda: optima(None), "fitted: expected", "None", ";"),
        ("an mll before its fit", lambda: optima(mll()), "fitted: expected an mll",
         "without", "fit_gpytorch_mll"),
        ("a model", lambda: optima(GP), "fitted: expected an mll", "SingleTaskGP|one",
         ";"),
    ),
    *table_of(
        "reporting.describe_optimum",
        ("none", lambda: describe_optimum(None), "optimum: expected an? Optimum",
         "NoneType", ";"),
        ("a record", lambda: describe_optimum(records()[0]),
         "optimum: expected an? Optimum", "FitRecord", ";"),
        ("the lowest is text", lambda: describe_optimum(records()[0].optima[0], "own"),
         "lowest: expected an? Optimum", "str", ";"),
    ),
    *table_of(
        "Course",
        ("before a fit", lambda: Course().descriptions(GP), "model: expected the 0 mod",
         "1", ";"),
        ("no model", lambda: Course().descriptions(None), "model: expected",
         "NoneType|1",
         ";"),
        ("no descriptions", lambda: Course().descriptions(GP, longest=0),
         "longest: expected", "0", ";"),
    ),
]  # fmt: skip


def of_axes(call, of):
    return table_of(
        of,
        ("axes as a figure", lambda: call(ax=plt.figure()), "ax: expected one Axes",
         "Figure", "subplots"),
        ("axes as text", lambda: call(ax="left"), "ax: expected one Axes", "str", ";"),
        ("several axes", lambda: call(ax=[1, 2]), "ax: expected one Axes", "list", ";"),
    )  # fmt: skip


def of_output(call, of):
    return table_of(
        of,
        ("no such output", lambda: call(output=1), "output: expected 0 to 0", "1", ";"),
        ("a negative output", lambda: call(output=-1), "output: expected 0 to 0", "-1",
         ";"),
        ("an output as text", lambda: call(output="y"), "output: expected", "'y'", ";"),
    )  # fmt: skip


def of_names(call, of, count=8, name="names"):
    return table_of(
        of,
        (f"other {name}", lambda: call(**{name: ["a"]}), f"{name}: expected .*{count}",
         "1", ";"),
        (f"{name} as text", lambda: call(**{name: "a" * count}), f"{name}: expected",
         "'aaa", ";"),
        (f"{name} as a number", lambda: call(**{name: 3}), f"{name}: expected", "3",
         ";"),
    )  # fmt: skip


def of_plot(function, result, axes=True, output=True):
    """The cases of a plot of one result."""
    of = f"reporting.plots.{function.__name__}"

    def call(**kwargs):
        return function(result(), **kwargs)

    return [
        *of_result(function, of),
        *(of_axes(call, of) if axes else []),
        *(of_output(call, of) if output else []),
    ]


def influence(**kwargs):
    return plots.plot_influence(stepped(), **kwargs)


def pointwise(**kwargs):
    table = pd.DataFrame({"row": range(8), "difference": [0.1] * 8})
    return plots.plot_pointwise(table, **kwargs)


PLACE = "reporting.plots."
OF_RESULTS = [
    *of_plot(plots.plot_predictions, stepped),
    *of_plot(plots.plot_residuals, stepped),
    *of_plot(plots.plot_trace, stepped),
    *of_plot(plots.plot_normal_quantiles, stepped),
    *of_plot(plots.plot_pit, stepped),
    *of_plot(plots.plot_calibration, stepped),
    *of_plot(plots.plot_diagnostics, stepped, axes=False),
    *of_plot(plots.plot_influence, stepped, output=False),
    *of_result(plots.plot_pareto_k, f"{PLACE}plot_pareto_k"),
    *of_names(lambda **k: plots.plot_residuals(stepped(), **k),
    f"{PLACE}plot_residuals"),
    *of_names(
        lambda **k: plots.plot_diagnostics(stepped(), **k), f"{PLACE}plot_diagnostics"
    ),
    *of_names(
        lambda **k: plots.plot_diagnostics(stepped(), **k),
        f"{PLACE}plot_diagnostics",
        name="folds",
    ),
    *of_names(influence, f"{PLACE}plot_influence"),
    *table_of(
        f"{PLACE}plot_predictions",
        ("unknown scale", lambda: plots.plot_predictions(stepped(), scale="log"),
         "scale: expected", "'log'", ";"),
    ),
    *table_of(
        f"{PLACE}plot_trace",
        ("unknown scale", lambda: plots.plot_trace(stepped(), scale=1),
         "scale: expected", "1", ";"),
    ),
    *table_of(
        f"{PLACE}plot_diagnostics",
        ("two axes", lambda: plots.plot_diagnostics(stepped(), plt.subplots(2)[1]),
         "axes: expected 6", "2", "subplots"),
        ("axes as text", lambda: plots.plot_diagnostics(stepped(), "abcdef"),
         "axes: expected 6", "1|'abcdef'", ";"),
        ("six numbers", lambda: plots.plot_diagnostics(stepped(), range(6)),
         "ax: expected one Axes", "int", ";"),
    ),
    *table_of(
        f"{PLACE}plot_influence",
        ("no influences", lambda: plots.plot_influence(fixed()),
         "result: expected .*influences", "none", "warm"),
        ("threshold as text", lambda: influence(threshold="a"), "threshold: expected",
         "'a'", ";"),
        ("named as text", lambda: influence(named="a"), "named: expected a whole",
         "'a'",
         ";"),
        ("negative named", lambda: influence(named=-1), "named: expected a whole", "-1",
         ";"),
    ),
    *table_of(
        f"{PLACE}plot_pareto_k",
        ("no weights", lambda: plots.plot_pareto_k(stepped()),
         "result: expected .*weights", "none", "posterior"),
    ),
]  # fmt: skip
OF_OTHERS = [
    *of_comparison(plots.plot_scores, f"{PLACE}plot_scores"),
    *of_axes(lambda **k: plots.plot_scores(comparison(), **k), f"{PLACE}plot_scores"),
    *of_comparison(plots.plot_differences, f"{PLACE}plot_differences"),
    *of_comparison(plots.plot_ranking, f"{PLACE}plot_ranking"),
    *of_axes(
        lambda **k: plots.plot_ranking(comparison(), **k), f"{PLACE}plot_ranking"
    ),
    *of_axes(
        lambda **k: plots.plot_differences(comparison(), **k),
        f"{PLACE}plot_differences"
    ),
    *of_comparison(plots.plot_comparison, f"{PLACE}plot_comparison"),
    *of_records(plots.plot_losses, f"{PLACE}plot_losses"),
    *of_records(plots.plot_active_models, f"{PLACE}plot_active_models"),
    *of_records(plots.plot_evaluations, f"{PLACE}plot_evaluations"),
    *of_axes(lambda **k: plots.plot_losses(records(), **k), f"{PLACE}plot_losses"),
    *of_axes(lambda **k: plots.LiveLosses(**k), f"{PLACE}LiveLosses"),
    *of_names(pointwise, f"{PLACE}plot_pointwise"),
    *of_axes(pointwise, f"{PLACE}plot_pointwise"),
    *table_of(
        f"{PLACE}plot_comparison",
        ("one axes", lambda: plots.plot_comparison(comparison(), plt.subplots()[1]),
         "axes: expected 2", "1", "subplots"),
        ("numbers", lambda: plots.plot_comparison(comparison(), [1, 2]),
         "ax: expected one Axes", "int", ";"),
    ),
    *table_of(
        f"{PLACE}LiveLosses",
        ("negative interval", lambda: plots.LiveLosses(interval=-1.0),
         "interval: expected", "-1", ";"),
        ("NaN interval", lambda: plots.LiveLosses(interval=NAN), "interval: expected",
         "nan", ";"),
    ),
    *table_of(
        f"{PLACE}plot_pointwise",
        ("a result", lambda: plots.plot_pointwise(stepped()),
         "differences: expected a DataFrame", "CrossValidation", "difference"),
        ("another table", lambda: plots.plot_pointwise(stepped().to_frame()),
         "differences: expected .*columns", "row", "difference"),
        ("no points", lambda: plots.plot_pointwise(
         pd.DataFrame({"row": [], "difference": []})),
         "differences: expected at least one", "none", ";"),
        ("one label", lambda: pointwise(labels="a"), "labels: expected two", "'a'",
         ";"),
        ("three labels", lambda: pointwise(labels=["a", "b", "c"]),
         "labels: expected two", "'c'", ";"),
        ("named as text", lambda: pointwise(named="a"), "named: expected a whole",
         "'a'",
         ";"),
    ),
    *table_of(
        f"{PLACE}plot_hyperparameters",
        ("a result", lambda: plots.plot_hyperparameters(stepped()),
         "table: expected a DataFrame", "CrossValidation", "hyperparameters"),
        ("a model", lambda: plots.plot_hyperparameters(GP),
         "table: expected a DataFrame",
         "SingleTaskGP", "hyperparameters"),
        ("another table", lambda: plots.plot_hyperparameters(stepped().to_frame()),
         "table: expected a table of hyper-parameters", "without", "hyperparameters"),
        ("full of another kind", lambda: plots.plot_hyperparameters(
         hyperparameters(GP), full=GP), "full: expected a DataFrame", "SingleTaskGP",
         ";"),
        ("no such output", lambda: plots.plot_hyperparameters(
         hyperparameters(GP), output=3), "table: expected .*output 3", "none", ";"),
        ("axes as text", lambda: plots.plot_hyperparameters(hyperparameters(GP), "a"),
         "ax: expected one Axes", "str", ";"),
    ),
    *table_of(
        f"{PLACE}plot_learning_curve",
        ("a comparison", lambda: plots.plot_learning_curve(comparison()),
         "curve: expected a LearningCurve", "Comparison", "learning_curve"),
        ("nothing more", lambda: plots.plot_learning_curve(curve(), more=0),
         "more: expected", "0", ";"),
        ("more as text", lambda: plots.plot_learning_curve(curve(), more="9"),
         "more: expected", "'9'", ";"),
        ("unknown name", lambda: plots.plot_learning_curve(curve(), named=["x"]),
         "named: expected some of", "'x'", ";"),
        ("a name as text", lambda: plots.plot_learning_curve(curve(), named="x"),
         "named: expected", "'x'", ";"),
        ("axes as text", lambda: plots.plot_learning_curve(curve(), "a"),
         "ax: expected one Axes", "str", ";"),
    ),
    *table_of(
        f"{PLACE}plot_search",
        ("a comparison", lambda: plots.plot_search(comparison()),
         "search: expected a ModelSearch", "Comparison", "search"),
        ("none", lambda: plots.plot_search(None), "search: expected a ModelSearch",
         "NoneType", "search"),
        ("axes as text", lambda: plots.plot_search(search_found(), "a"),
         "ax: expected one Axes", "str", ";"),
    ),
]  # fmt: skip
CASES = [*PAGES, *OF_RESULTS, *OF_OTHERS]
