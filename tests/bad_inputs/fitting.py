"""Bad arguments of fits."""

from __future__ import annotations

import numpy as np
from botorch.exceptions.errors import UnsupportedError
from botorch.models import ModelListGP
from gpytorch.mlls import SumMarginalLogLikelihood

from bad_inputs.case import NAN, X, Y, mll, table_of
from botorch_xval.fitting import (
    FitOptions,
    Search,
    fit_each,
    fit_gpytorch_mll,
    fit_independently,
    fit_or_raise,
    make_objective,
    minimize_each,
)
from botorch_xval.models import default_model


def of_list():
    model = ModelListGP(default_model(X, Y))
    return SumMarginalLogLikelihood(model.likelihood, model)


def frozen():
    return [mll().requires_grad_(False)]


def square(points, models):
    return (points**2).sum(1), 2 * points


START = np.ones((2, 3))
OPTIONS = table_of(
    "FitOptions",
    ("unknown strategy", lambda: FitOptions(strategy="lop"),
     "strategy: expected one of",
     "'lop'", ";"),
    ("strategy as a list", lambda: FitOptions(strategy=["loop"]),
     "strategy: expected one",
     r"\['loop'\]", ";"),
    ("unknown coordinates", lambda: FitOptions(coordinates="ln"),
     "coordinates: expected",
     "'ln'", ";"),
    ("unknown starts", lambda: FitOptions(starts="many"), "starts: expected one of",
     "'many'", ";"),
    ("no starts", lambda: FitOptions(starts=[]), "starts: expected one of", r"\[\]",
     ";"),
    ("starts as numbers", lambda: FitOptions(starts=[1.0]), "starts: expected one of",
     r"\[1.0\]", ";"),
    ("a start without a list", lambda: FitOptions(starts={"a": 1.0}),
     "starts: expected one of", "'a'", ";"),
    ("no attempt", lambda: FitOptions(max_attempts=0), "max_attempts: expected", "0",
     ";"),
    ("half an attempt", lambda: FitOptions(max_attempts=1.5), "max_attempts: expected",
     "1.5", ";"),
    ("attempts as text", lambda: FitOptions(max_attempts="5"), "max_attempts: expected",
     "'5'", ";"),
    ("negative time", lambda: FitOptions(timeout_sec=-1), "timeout_sec: expected", "-1",
     ";"),
    ("time as text", lambda: FitOptions(timeout_sec="1"), "timeout_sec: expected",
     "'1'",
     ";"),
    ("NaN time", lambda: FitOptions(timeout_sec=NAN), "timeout_sec: expected", "nan",
     ";"),
    ("no memory", lambda: FitOptions(max_memory=0), "max_memory: expected", "0", ";"),
    ("memory as text", lambda: FitOptions(max_memory="1G"), "max_memory: expected",
     "'1G'",
     ";"),
    ("options as a list", lambda: FitOptions(options=["maxiter"]), "options: expected",
     r"\['maxiter'\]", ";"),
    ("bounds as pairs", lambda: FitOptions(bounds=[(0, 1)]), "bounds: expected",
     r"\[\(0, 1\)\]", ";"),
    ("bounds without a pair", lambda: FitOptions(bounds={"a": 3.0}),
     "bounds: expected .*'a'", "3.0", ";"),
    ("parameters as text", lambda: FitOptions(parameters="a"), "parameters: expected",
     "'a'", "list"),
    ("parameters as a number", lambda: FitOptions(parameters=3), "parameters: expected",
     "3", ";"),
    ("method as a function", lambda: FitOptions(method=print), "method: expected",
     "print", ";"),
    ("method without gradients", lambda: FitOptions(method="Nelder-Mead"),
     "method: expected", "'Nelder-Mead'", ";"),
    ("unknown method", lambda: FitOptions(method="LBFGS"), "method: expected",
     "'LBFGS'",
     "gradients"),
    ("a callback as text", lambda: FitOptions(callback="print"), "callback: expected",
     "'print'", ";"),
    ("a handler as text", lambda: FitOptions(warning_handler="ignore"),
     "warning_handler: expected", "'ignore'", ";"),
    ("exceptions as text", lambda: FitOptions(caught_exception_types="ValueError"),
     "caught_exception_types: expected", "'ValueError'", ";"),
    ("an exception alone", lambda: FitOptions(caught_exception_types=ValueError),
     "caught_exception_types: expected", "ValueError", ";"),
)  # fmt: skip


def of_mll(call, of):
    """The cases of an mll."""
    where = "mlls: expected"
    return table_of(
        of,
        ("a model", lambda: call(default_model(X, Y)), where, "SingleTaskGP",
         "ExactMarginalLogLikelihood"),
        ("none", lambda: call(None), where, "NoneType", ";"),
        ("text", lambda: call("mll"), where, "str", ";"),
        ("a class", lambda: call(type(mll())), where, "type", ";"),
    )  # fmt: skip


MLLS = [
    *of_mll(fit_gpytorch_mll, "fit_gpytorch_mll"),
    *of_mll(fit_independently, "fit_independently"),
    *of_mll(lambda one: fit_each([one]), "fit_each"),
    *of_mll(lambda one: fit_or_raise([one]), "fitting.fit_or_raise"),
    *of_mll(lambda one: make_objective([one]), "make_objective"),
]
FITS = [
    *table_of(
        "fit_gpytorch_mll",
        ("options as a list", lambda: fit_gpytorch_mll(mll(), optimizer_kwargs=[1]),
         "optimizer_kwargs: expected a dict", "list", ";"),
        ("unknown options", lambda: fit_gpytorch_mll(
         mll(), optimizer_kwargs={"maxiter": 3}), "optimizer_kwargs: expected names",
         "'maxiter'", "fit_independently", TypeError),
        ("an option of another kind", lambda: fit_gpytorch_mll(
         mll(), optimizer_kwargs={"timeout_sec": "soon"}), "timeout_sec: expected",
         "'soon'", ";"),
        ("no attempt", lambda: fit_gpytorch_mll(mll(), max_attempts=0),
         "max_attempts: expected", "0", ";"),
        ("an optimizer as text", lambda: fit_gpytorch_mll(mll(), optimizer="adam"),
         "optimizer: expected a function", "'adam'", ";"),
        ("a closure as text", lambda: fit_gpytorch_mll(mll(), closure="loss"),
         "closure: expected a function", "'loss'", ";"),
        ("unknown parameters", lambda: fit_gpytorch_mll(
         mll(), optimizer_kwargs={"parameters": ["noise"]}),
         "parameters: expected names",
         "'noise'", ";"),
        ("unknown bounds", lambda: fit_gpytorch_mll(
         mll(), optimizer_kwargs={"bounds": {"noise": (0, 1)}}),
         "bounds: expected names",
         "'noise'", ";"),
        ("nothing to optimize", lambda: fit_gpytorch_mll(frozen()[0]),
         "expected at least one parameter", "none", ";"),
        ("a start of another name", lambda: fit_gpytorch_mll(
         mll(), optimizer_kwargs={"starts": [{"noise": 1.0}]}), "starts: expected",
         "'noise'", ";"),
    ),
    *table_of(
        "fit_independently",
        ("unknown strategy", lambda: fit_independently(mll(), strategy="x"),
         "strategy: expected one of", "'x'", ";"),
        ("parameters as text", lambda: fit_independently(mll(), parameters="noise"),
         "parameters: expected", "'noise'", "list"),
    ),
    *table_of(
        "fit_each",
        ("none", lambda: fit_each([]), "mlls: expected at least one", "none", ";"),
        ("an mll", lambda: fit_each(mll()), "mlls: expected a list",
         "ExactMarginalLogLikelihood", r"\[mll\]"),
        ("of a list", lambda: fit_each([of_list()]), "mlls: expected mlls of single",
         "ModelListGP", ";", UnsupportedError),
        ("one twice", lambda: fit_each([mll()] * 2), "mlls: expected models without",
         "mll 0 and mll 1", ";"),
        ("options as a dictionary", lambda: fit_each([mll()], {"timeout_sec": 1}),
         "fit_options: expected FitOptions", "dict", "FitOptions"),
        ("unknown parameters", lambda: fit_each([mll()], FitOptions(parameters=["a"])),
         "parameters: expected names", "'a'", ";"),
        ("nothing to optimize", lambda: fit_each(frozen()),
         "expected at least one parameter", "none", ";"),
    ),
    *table_of(
        "fitting.fit_or_raise",
        ("none", lambda: fit_or_raise([]), "mlls: expected at least one", "none", ";"),
        ("options as a dictionary", lambda: fit_or_raise([mll()], {}),
         "fit_options: expected FitOptions", "dict", ";"),
    ),
    *table_of(
        "make_objective",
        ("none", lambda: make_objective([]), "mlls: expected at least one", "none",
         ";"),
        ("no parameters", lambda: make_objective([mll()], []),
         "expected at least one parameter", "none", ";"),
        ("unknown parameters", lambda: make_objective([mll()], ["a"]),
         "parameters: expected names", "'a'", ";"),
        ("others", lambda: make_objective([mll(), frozen()[0]]),
         "mlls: expected the same parameters", "mll 1", "apart"),
    ),
    *table_of(
        "minimize_each",
        ("no function", lambda: minimize_each(None, START),
         "evaluate: expected a function",
         "None", ";"),
        ("a list of no functions", lambda: minimize_each([], START),
         "evaluate: expected a function", r"\[\]", ";"),
        ("starts as a list", lambda: minimize_each(square, [1.0]),
         "starts: expected an array `b x p`", "list", ";"),
        ("one start", lambda: minimize_each(square, np.ones(3)),
         "starts: expected an array `b x p`", r"\(3,\)", r"\[None\]"),
        ("other bounds", lambda: minimize_each(square, START, [None]),
         "bounds: expected one for each of 2", "1", ";"),
        ("other models", lambda: minimize_each(square, START, models=[1]),
         "models: expected one for each of 2", "1", ";"),
        ("no width", lambda: minimize_each(square, START, width=0),
         "width: expected a whole number", "0", ";"),
        ("unknown method", lambda: minimize_each(square, START, method="LBFGS"),
         "method: expected", "'LBFGS'", ";"),
    ),
    *table_of(
        "Search",
        ("a number", lambda: Search(1.0), "start: expected an array", r"\(\)", ";"),
        ("two dimensions", lambda: Search(START), "start: expected an array `p`",
         r"\(2, 3\)", ";"),
        ("unknown method", lambda: Search(np.ones(2), method="LBFGS"),
         "method: expected", "'LBFGS'", ";"),
    ),
]  # fmt: skip
CASES = [*OPTIONS, *MLLS, *FITS]
