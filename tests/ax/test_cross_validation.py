"""Refit cross-validation with all folds at once gives what Ax's loop gives."""

from __future__ import annotations

import numpy as np
import pytest
from ax.adapter.cross_validation import (
    CVData,
    assess_model_fit,
    compute_diagnostics,
    gen_trial_split,
)
from ax.adapter.cross_validation import cross_validate as ax_cross_validate
from ax.api.configs import ChoiceParameterConfig
from ax.generators.torch.botorch_modular.surrogate import ModelConfig
from ax_helpers import (
    CASES,
    PARAMETERS,
    assert_same,
    client_with_data,
    fitted_adapter,
    loss,
    random_parameters,
    with_repeated_arms,
)

from botorch_xval.ax.cross_validation import cross_validate
from botorch_xval.ax.models import IndependentSingleTaskGP, ScalarChoiceGP

pytestmark = pytest.mark.filterwarnings("default")  # Ax's own


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model_class", [ScalarChoiceGP, IndependentSingleTaskGP])
def test_cross_validation_is_that_of_ax(case, model_class, asked):
    client = client_with_data(ModelConfig(botorch_model_class=model_class))
    adapter = fitted_adapter(client)
    before = adapter.generator.surrogate
    np.random.seed(3)  # Ax shuffles the arms of k folds
    found = cross_validate(adapter, **CASES[case])
    assert asked == [{"k-fold": 3, "chosen": 4}.get(case, 10)]
    assert adapter.generator.surrogate is before
    assert not adapter.generator.refit_on_cv
    adapter.generator.refit_on_cv = True
    np.random.seed(3)
    assert_same(found, ax_cross_validate(adapter, **CASES[case]))


@pytest.mark.parametrize(
    ("sem", "missing", "batched"),
    [(None, None, True), (0.1, None, True), (None, None, False), (None, 4, False)],
    ids=str,
)
def test_cross_validation_of_several_metrics(batched, sem, missing, asked):
    client = client_with_data(
        metrics=("loss", "time"),
        sem=sem,
        batched=batched,
        missing=missing,
    )
    adapter = fitted_adapter(client)
    found = cross_validate(adapter)
    assert asked == [10 if batched else 20]  # a model of both outcomes, or one each
    diagnostics = compute_diagnostics(found)
    assert set(diagnostics["Rank correlation"]) == {"loss", "time"}
    assessed = assess_model_fit(diagnostics)
    assert {name for part in assessed for name in part} == {"loss", "time"}
    adapter.generator.refit_on_cv = True
    assert_same(found, ax_cross_validate(adapter))


def test_a_fold_with_another_kind_of_model_begins_at_its_initial_values():
    """Ax makes a list of models of all data, and one of all without trial 4."""
    client = client_with_data(
        metrics=("loss", "time"),
        missing=4,
    )
    adapter = fitted_adapter(client)
    found = cross_validate(adapter)
    assert len(found) == 10
    assert all(np.isfinite(r.predicted.means).all() for r in found)
    adapter.generator.refit_on_cv = True
    with pytest.raises(RuntimeError, match="loading state_dict"):
        ax_cross_validate(adapter)


def test_cross_validation_with_repeated_arms_and_a_fixed_parameter(asked):
    fixed = ChoiceParameterConfig(name="flag", values=["yes"], parameter_type="str")
    client = client_with_data(parameters=[*PARAMETERS[:-1], fixed], n=0)
    rng = np.random.default_rng(0)
    for _ in range(8):
        parameters = {**random_parameters(rng), "flag": "yes"}
        index = client.attach_trial(parameters=parameters)
        client.complete_trial(index, raw_data={"loss": loss(parameters)})
    adapter = fitted_adapter(with_repeated_arms(client))
    found = cross_validate(adapter)
    assert asked == [8] and len(found) == 10
    adapter.generator.refit_on_cv = True
    expected = ax_cross_validate(adapter)
    assert_same(found, expected)


def halves(data):
    """Two folds by arms, not in the order of the trials."""
    arms = sorted(set(data.arm_data.index.unique(level="arm_name")), reverse=True)
    for test in (arms[::2], arms[1::2]):
        train = [arm for arm in arms if arm not in test]
        yield CVData(
            training_data=data.filter_by_arm_names(arm_names=train),
            test_data=data.filter_by_arm_names(arm_names=test),
        )


def future(data):
    """The next two trials by all earlier ones, with Ax's own generator of folds."""
    last = data.arm_data.index.get_level_values("trial_index").max()
    for t in (last - 1, last):
        yield from gen_trial_split(data, test_trials=[t], train_trials=[*range(t)])


def overlapping(data):
    """A fold that trains on what it holds out."""
    yield CVData(training_data=data, test_data=data)


def test_folds_of_the_users_own(asked, caplog):
    client = client_with_data()
    adapter = fitted_adapter(client)
    adapter.generator.refit_on_cv = True
    found = cross_validate(adapter, fold_generator=halves)
    assert asked == [2] and "one by one" not in caplog.text
    assert_same(found, ax_cross_validate(adapter, fold_generator=halves))
    found = cross_validate(adapter, fold_generator=future)
    assert "one by one" not in caplog.text and len(found) == 2
    assert_same(found, ax_cross_validate(adapter, fold_generator=future))
    asked.clear()
    found = cross_validate(adapter, fold_generator=overlapping)
    assert asked == []
    assert "an arm on both sides" in caplog.text
    assert_same(found, ax_cross_validate(adapter, fold_generator=overlapping))


def test_what_is_not_ours_is_left_to_ax_and_said(caplog, asked):
    adapter = fitted_adapter(client_with_data(ModelConfig(), n=6))
    found = cross_validate(adapter)
    assert "its model is a SingleTaskGP" in caplog.text and not asked
    assert not adapter.generator.refit_on_cv
    adapter.generator.refit_on_cv = True
    assert_same(found, ax_cross_validate(adapter))


def test_a_transform_that_depends_on_the_fold_is_noticed(monkeypatch, caplog):
    client = client_with_data()
    adapter = fitted_adapter(client)
    transform = adapter.transforms["StandardizeY"]
    original = type(transform).transform_experiment_data

    def centered(self, experiment_data):
        data = original(self, experiment_data)
        data.observation_data["mean"] -= data.observation_data["mean"].mean()
        return data

    monkeypatch.setattr(type(transform), "transform_experiment_data", centered)
    found = cross_validate(adapter)
    assert "a transform depends on the rows of a fold" in caplog.text
    adapter.generator.refit_on_cv = True
    assert_same(found, ax_cross_validate(adapter))
