"""The study of learning curves counts what it says, on simulated scores."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from botorch_xval import Comparison
from botorch_xval.comparison import check_learning_curve

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("sklearn")  # for the data of the scripts beside it
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = spec_from_file_location("learning_curves", FOLDER / "learning_curves.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def simulated(sizes: tuple[int, ...], replicates: int) -> Comparison:
    rng = np.random.default_rng(0)
    hard = rng.standard_normal(100)
    cells = []
    for replicate in range(replicates):
        order = rng.permutation(100)
        for size in sizes:
            rows = order[:size]
            noise = 0.1 * rng.standard_normal(size)
            scores = -10 / size + hard[rows] + noise
            cell = {"configuration": "model", "size": size, "replicate": replicate}
            cells.append(
                pd.DataFrame(
                    {**cell, "round": 1, "row": rows, "log_density": scores}
                ).assign(squared_error=1.0)
            )
    points = pd.concat(cells, ignore_index=True)
    keys = ["configuration", "size", "replicate", "round"]
    fits = points[keys].drop_duplicates().assign(folds=1, failed=0)
    return Comparison(points, fits.assign(evaluations=1, seconds=0.0))


def test_every_size_is_predicted_from_smaller_ones_alone(study):
    comparison = simulated(study.SIZES, study.REPLICATES)
    rows = pd.DataFrame(study.measure("wine", comparison))
    assert len(rows) == 3 * (study.REPLICATES + 1)
    assert (rows["last"] < rows["size"]).all()
    part = study.part_of(comparison, [20, 28, 40, 60], [1])
    (alone,) = check_learning_curve(part).itertuples()
    (mine,) = rows[(rows["size"] == 60) & (rows.shuffles == 1)].iloc[1:2].itertuples()
    assert (alone.score, alone.found) == (mine.score, mine.found)


def test_the_report_counts_what_is_inside_of_the_bands(study):
    rows = pd.DataFrame(
        {
            "problem": ["wine", "engel", "engel"],
            "shuffles": [study.REPLICATES, 1, 1],
            "last": 40,
            "size": 60,
            "last_score": [-1.0, -1.0, -2.0],
            "score": [-0.9, -0.8, -1.0],
            "standard_error": [0.1, 0.1, 0.1],
            "low": [-1.1, -1.0, -1.2],
            "high": [-0.7, -0.6, -0.8],
            "found": [-0.95, -0.7, -1.4],
        }
    )
    text = study.report(rows)
    assert "| fresh | 1 | 40 to 60 | 1 of 2 (50%) | 0.250 | 0.450 |" in text
    assert "| chosen on | 3 | 40 to 60 | 1 of 1 (100%) |" in text
    assert (
        "| wine | 40 to 60 | -1.000 | -0.900 (-1.100 to -0.700) | -0.950 | yes |"
        in text
    )
