"""The nested evaluation: its splits, and its scores by BoTorch's own prediction."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import assert_close
from scipy import stats

from botorch_xval import ModelSpec, fit_gpytorch_mll

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def nested() -> ModuleType:
    """The script, which imports others of its folder."""
    for name in ("sklearn", "statsmodels"):
        pytest.importorskip(name)
    sys.path.append(str(FOLDER))
    try:
        spec = spec_from_file_location("nested_search", FOLDER / "search.py")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("name", ["branin", "wine", "accuracy"])
def test_test_rows_are_other_rows(nested, name):
    X, Y, test_X, test_Y, dims = nested.split(name, 1)
    assert len(X) == len(Y) == nested.DATA[name][0]
    assert 100 <= len(test_X) == len(test_Y) <= nested.TEST_ROWS
    assert bool(dims) is (name == "accuracy")
    if name != "accuracy":  # some trials were made twice
        seen, unseen = ({tuple(row) for row in x.tolist()} for x in (X, test_X))
        assert not seen & unseen
    again = nested.split(name, 1)
    assert torch.equal(again[0], X) and not torch.equal(nested.split(name, 0)[0], X)


def test_scores_are_those_of_botorchs_prediction(nested):
    X, Y, test_X, test_Y, _ = data = nested.split("branin", 0)
    scores, errors = nested.predict(ModelSpec(), data)
    model = SingleTaskGP(X, Y, input_transform=Normalize(2))
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(mll, optimizer_kwargs={"starts": "own"})
    with torch.no_grad():
        found = model.posterior(test_X, observation_noise=True)
    mean = found.mean[:, 0].detach().numpy()
    scale = found.variance[:, 0].detach().sqrt().numpy()
    y = test_Y[:, 0].numpy()
    assert_close(scores, stats.norm(mean, scale).logpdf(y), rtol=1e-5, atol=1e-5)
    assert_close(errors, (mean - y) ** 2, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:A not p.d.")
def test_gains_are_paired_with_botorchs_default(nested):
    row = nested.measure("branin", 0, candidates=2)
    base, _ = nested.predict(ModelSpec(), nested.split("branin", 0))
    tight = ModelSpec("matern52", priors="tight")
    scores, _ = nested.predict(tight, nested.split("branin", 0))
    assert row["tight"]["model"] == tight.name and row["tried"] == 2
    assert_close(row["tight"]["gain"], (scores - base).mean())
    error = np.std(scores - base, ddof=1) / np.sqrt(200)
    assert_close(row["tight"]["error"], error)
    text = nested.summary([row, {**row, "split": 1}], "Here")
    assert "Here, 1 data sets" in text and f"{row['tight']['gain']:+.3f}" in text
    assert "| branin, 1 | 25 |" in nested.line(row)
