"""Private names of other packages: which ones we use, and that they are still there.

Any release may move them. So the installed ones are asked, by CI the oldest and the
newest that `pyproject.toml` allows, and Ax has an upper bound there.
"""

from __future__ import annotations

import ast
import inspect
import tomllib
import warnings
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Where each is, and how we call it; None for what is no function.
NAMES = {
    "_client": ("distributed.cfexecutor:ClientExecutor", None),
    "_interleaved": ("gpytorch.distributions:MultitaskMultivariateNormal", None),
    "_is_ensemble": ("botorch.models.model:Model", None),
    "_is_fully_bayesian": ("botorch.models.model:Model", None),
    "_DefaultType": ("botorch.utils.types", None),
    "_add_other_terms": (
        "gpytorch.mlls:ExactMarginalLogLikelihood",
        ["res", "params"],
    ),
    "_validate_sample": ("torch.distributions:Distribution", ["value"]),
    "_extended_shape": ("botorch.posteriors:Posterior", ["sample_shape"]),
    "_maybe_experiment": ("ax.api.client:Client", None),
    "_kfold_train_test_split": (
        "ax.adapter.cross_validation",
        ["folds", "training_data"],
    ),
    "_last_experiment_data": ("ax.adapter.torch:TorchAdapter", None),
    "_transform_inputs_for_cv": (
        "ax.adapter.base:Adapter",
        ["cv_training_data", "cv_test_points"],
    ),
    "_get_fit_args": (
        "ax.adapter.torch:TorchAdapter",
        ["search_space", "experiment_data", "update_outcomes_and_parameters"],
    ),
}
# Where an object gets those that its class does not have.
MADE = {"_last_experiment_data", "_client", "_interleaved"}
ASKED = ("getattr", "hasattr", "setattr")  # by the name as text
PUBLIC = {"_exit", "_replace"}  # of os, and of named tuples


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_these_are_all():
    used, own = set(), set()
    for path in (ROOT / "botorch_xval").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                used.update(alias.name for alias in node.names)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Attribute):
                ours = isinstance(node.value, ast.Name) and node.value.id == "self"
                is_made = isinstance(node.ctx, ast.Store)
                (own if ours and is_made else used).add(node.attr)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ASKED:
                used.update(a.value for a in node.args if is_text(a))
    used = {name for name in used if name.startswith("_") and not name.startswith("__")}
    assert used - own - PUBLIC == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_private_name_is_where_it_was(name):
    place, called_with = NAMES[name]
    module, _, owner = place.partition(":")
    pytest.importorskip(module.split(".")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ax's own
        holder = import_module(module)
    holder = getattr(holder, owner) if owner else holder
    if name in MADE:
        assert name in holder.__init__.__code__.co_names
        return
    found = getattr(holder, name)
    if called_with is not None:
        parameters = inspect.signature(found).parameters
        assert set(called_with) <= set(parameters)
        needed = {
            n for n, p in parameters.items() if p.default is p.empty and n != "self"
        }
        assert needed <= set(called_with)


def test_ax_has_an_upper_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (ax,) = project["project"]["optional-dependencies"]["ax"]
    assert ",<" in ax
