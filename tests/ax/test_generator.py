"""The generator that answers Ax's loop over folds from one batched fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ax.adapter.cross_validation import cross_validate as ax_cross_validate
from ax.adapter.registry import Generators
from ax.analysis.plotly.cross_validation import CrossValidationPlot
from ax.api.client import Client
from ax.generators.torch.botorch_modular.surrogate import ModelConfig
from ax_helpers import (
    CASES,
    assert_same,
    client_with_data,
    fitted_adapter,
    next_trial,
)
from helpers import assert_close

from botorch_xval.ax.cross_validation import cross_validate
from botorch_xval.ax.generator import BatchedRefitGenerator, RefitGenerators
from botorch_xval.ax.models import ScalarChoiceGP

pytestmark = pytest.mark.filterwarnings("default")  # Ax's own


def refitting_client(**kwargs: Any) -> Client:
    return client_with_data(generators=RefitGenerators, **kwargs)


@pytest.mark.parametrize("metrics", [("loss",), ("loss", "time")], ids=len)
@pytest.mark.parametrize("case", ["leave-one-out", "model's scale", "with noise"])
def test_axs_loop_is_answered_from_one_fit(metrics, case, asked):
    adapter = fitted_adapter(refitting_client(metrics=metrics))
    assert type(adapter.generator) is BatchedRefitGenerator
    assert adapter.generator.refit_on_cv
    found = ax_cross_validate(adapter, **CASES[case])
    again = ax_cross_validate(adapter, **CASES[case])
    assert asked == [10]  # and not twenty
    assert_same(again, found)
    plain = fitted_adapter(client_with_data(metrics=metrics))
    plain.generator.refit_on_cv = True
    assert_same(found, ax_cross_validate(plain, **CASES[case]))


def test_other_folds_and_other_data_are_no_mistaken_answers(asked):
    client = refitting_client()
    adapter = fitted_adapter(client)
    ax_cross_validate(adapter)
    assert asked == [10]
    np.random.seed(3)
    found = ax_cross_validate(adapter, folds=3)  # several arms each: Ax's own way
    assert asked == [10]
    np.random.seed(3)
    assert_same(found, cross_validate(adapter, folds=3))
    index = client.attach_trial(
        parameters={**client._experiment.trials[0].arm.parameters, "drop": 0.123}
    )
    client.complete_trial(index, raw_data={"loss": 5.0})
    adapter = fitted_adapter(client)
    asked.clear()
    more = ax_cross_validate(adapter)
    assert asked == [11] and len(more) == 11


def test_axs_analyses_work_unchanged(asked):
    client = refitting_client()
    fitted_adapter(client)
    (card,) = client.compute_analyses(
        [CrossValidationPlot(untransform=True)], display=False
    )
    adapter = client._generation_strategy.adapter
    plot, summary = card.flatten()
    assert "R²" in summary.df
    shown = plot.df.set_index("arm_name")["predicted"]
    assert asked == [10]
    for result in cross_validate(adapter):
        assert_close(
            shown[result.observed.arm_name], result.predicted.means[0], rtol=1e-6
        )


def test_the_generator_is_saved_and_loaded(tmp_path: Path):
    client = refitting_client()
    fitted_adapter(client)
    path = tmp_path / "client.json"
    client.save_to_json_file(str(path))
    loaded = Client.load_from_json_file(str(path))
    (spec,) = loaded._generation_strategy.current_node.generator_specs
    assert spec.generator_enum is RefitGenerators.BOTORCH_MODULAR
    assert type(fitted_adapter(loaded).generator) is BatchedRefitGenerator


@pytest.mark.parametrize("generators", [Generators, RefitGenerators])
def test_a_client_in_a_database_goes_on(generators, tmp_path: Path):
    pytest.importorskip("sqlalchemy")
    from ax.api.configs import StorageConfig
    from ax.storage.sqa_store.db import (
        create_all_tables,
        get_engine,
        init_engine_and_session_factory,
    )

    init_engine_and_session_factory(
        url=f"sqlite:///{tmp_path / 'ax.db'}", force_init=True
    )
    create_all_tables(get_engine())
    config = ModelConfig(
        botorch_model_class=ScalarChoiceGP, model_options={"priors": "loose"}
    )
    client = client_with_data(
        config, generators=generators, storage_config=StorageConfig()
    )
    next_trial(client)
    loaded = Client.load_from_database("test", storage_config=StorageConfig())
    (spec,) = loaded._generation_strategy.current_node.generator_specs
    assert spec.generator_enum is generators.BOTORCH_MODULAR
    (again,) = spec.generator_kwargs["surrogate_spec"].model_configs
    assert again.botorch_model_class is ScalarChoiceGP
    assert again.model_options == {"priors": "loose"}
    assert len(loaded._experiment.trials) == len(client._experiment.trials)
    assert type(next_trial(loaded)[1]) is ScalarChoiceGP
