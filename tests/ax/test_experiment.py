"""From an experiment to a comparison, and from that to a `ModelConfig`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ax_helpers import (
    client_with_data,
    fitted_adapter,
    fitted_model,
    loss,
    with_repeated_arms,
)
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import SingleTaskGP
from helpers import assert_close

from botorch_xval.ax.experiment import (
    best_model_config,
    compare_models,
    encode_experiment,
    model_configs,
    search_models,
)
from botorch_xval.ax.models import IndependentSingleTaskGP, ScalarChoiceGP
from botorch_xval.ax.structured import spec_model_config
from botorch_xval.cross_validation.folds import k_fold

pytestmark = pytest.mark.filterwarnings("default")  # Ax's own


def test_an_experiment_becomes_a_table_as_axs_models_see_it():
    client = client_with_data()
    found = encode_experiment(client)
    table = found.table
    assert table.feature_names == [
        *("log(rate)", "depth", "drop", "batch", "flag"),
        *("kind=a", "kind=b", "kind=c"),
    ]
    assert found.arms == [client._experiment.trials[i].arm.name for i in range(10)]
    assert table.rows[3] == f"3 {found.arms[3]}"
    assert found.Yvar is None
    for i, row in enumerate(table.X.tolist()):
        parameters = client._experiment.trials[i].arm.parameters
        assert row[0] == pytest.approx(np.log(parameters["rate"]))
        assert row[1:3] == [parameters["depth"], parameters["drop"]]
        assert row[3] == [16, 32, 64].index(parameters["batch"])
        assert row[4] == ["no", "yes"].index(parameters["flag"])
        assert row[5:] == [float(parameters["kind"] == kind) for kind in "abc"]
        assert table.Y[i].item() == pytest.approx(loss(parameters))
    # Ax's own columns, up to their scale
    adapter = fitted_adapter(client)
    names = [name.replace("_OH_PARAM_", "=") for name in adapter.parameters]
    (dataset,) = adapter.generator.surrogate.training_data
    assert len(names) == table.X.shape[1]
    for ours, theirs in (("log(rate)", "rate"), ("batch", "batch"), ("flag", "flag")):
        one = table.X[:, table.feature_names.index(ours)]
        other = dataset.X[:, names.index(theirs)]
        assert abs(np.corrcoef(one, other)[0, 1]) == pytest.approx(1.0)


def test_errors_of_the_means_and_repeated_arms_are_kept():
    found = encode_experiment(client_with_data(sem=0.2))
    assert_close(found.Yvar, torch.full((10, 1), 0.04, dtype=torch.float64))
    repeated = encode_experiment(with_repeated_arms(client_with_data()))
    assert len(repeated.arms) == 12 and repeated.arms[1] == repeated.arms[10]


def test_which_rows_and_parameters_are_left_out():
    client = client_with_data(metrics=("loss", "time"), missing=4)
    with pytest.raises(ValueError, match=r"\['loss', 'time'\], got None"):
        encode_experiment(client)
    with pytest.raises(ValueError, match="Ax Experiment, or a Client .* got a dict"):
        encode_experiment({})
    with pytest.raises(ValueError, match="got 'accuracy'"):
        encode_experiment(client, "accuracy")
    assert len(encode_experiment(client, "time").arms) == 9
    experiment = client._experiment
    experiment.trials[0].mark_abandoned(unsafe=True)
    assert len(encode_experiment(client, "loss").arms) == 9
    for trial in experiment.trials.values():
        trial.arm._parameters["depth"] = 3
    with pytest.warns(BotorchWarning, match=r"\['depth'\] have one value"):
        found = encode_experiment(experiment, "loss")
    assert "depth" not in found.table.feature_names


def test_which_model_should_this_experiment_have(tmp_path: Path):
    client = with_repeated_arms(client_with_data())
    result = compare_models(client, fit="warm", folder=tmp_path)
    table = result.table()
    assert set(table["configuration"]) == set(model_configs())
    assert set(table["size"]) == {12}
    points = result.points
    assert (points.groupby("configuration").size() == 12).all()
    best = best_model_config(result)
    assert best.name == table.iloc[0]["configuration"]
    assert best.botorch_model_class in (ScalarChoiceGP, IndependentSingleTaskGP)
    model = fitted_model(client_with_data(best))
    assert type(model) is best.botorch_model_class
    chosen = compare_models(
        client,
        configurations={"mine": SingleTaskGP},
        sizes=[10],
        folds=k_fold(2),
    )
    with pytest.raises(ValueError, match="as the best configuration, got 'mine'; make"):
        best_model_config(chosen)


def test_a_search_of_an_experiment_and_its_config(tmp_path: Path):
    client = with_repeated_arms(client_with_data(n=20, sem=0.2))
    data = encode_experiment(client)
    found = search_models(client, fit="fixed", candidates=3, folder=tmp_path)
    assert (found.comparison.fits.folds == 20).all()  # 22 rows, by arm
    assert all(s.choice_dims == tuple(data.table.choice_dims) for s in found.specs)
    config = best_model_config(found)
    assert config == spec_model_config(found.spec)
    model = fitted_model(client_with_data(config, n=20))
    assert replace(model.spec, choice_dims=()) == replace(found.spec, choice_dims=())
