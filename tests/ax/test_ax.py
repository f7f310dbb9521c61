"""Inside Ax, through its own clients, strategies and storage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import SingleTaskGP
from botorch.utils.datasets import SupervisedDataset
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import assert_close, noisy_waves

pytestmark = pytest.mark.filterwarnings("default")  # Ax's own


def test_importing_the_library_imports_no_ax():
    code = "import sys, botorch_xval; print('ax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_without_ax_the_error_names_the_extra():
    code = "import sys; sys.modules['ax'] = None; import botorch_xval.ax"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'pip install "botorch-xval[ax]"' in done.stderr


ax = pytest.importorskip("ax")

from ax.adapter.cross_validation import (  # noqa: E402
    CVData,
    assess_model_fit,
    compute_diagnostics,
)
from ax.adapter.cross_validation import cross_validate as ax_cross_validate  # noqa: E402
from ax.adapter.registry import Generators  # noqa: E402
from ax.analysis.plotly.cross_validation import CrossValidationPlot  # noqa: E402
from ax.api.client import Client  # noqa: E402
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig  # noqa: E402
from ax.generation_strategy.generation_node import GenerationNode  # noqa: E402
from ax.generation_strategy.generation_strategy import GenerationStrategy  # noqa: E402
from ax.generation_strategy.generator_spec import GeneratorSpec  # noqa: E402
from ax.generators.torch.botorch_modular.surrogate import (  # noqa: E402
    ModelConfig,
    SurrogateSpec,
)

from botorch_xval import FactorizedScalarChoiceKernel, fit_gpytorch_mll  # noqa: E402
from botorch_xval import ax as xval_ax  # noqa: E402
from botorch_xval.ax import (  # noqa: E402
    BatchedRefitGenerator,
    IndependentSingleTaskGP,
    RefitGenerators,
    ScalarChoiceGP,
    best_model_config,
    choice_columns,
    compare_models,
    encode_experiment,
    model_configs,
    with_independent_fit,
)
from botorch_xval.ax import models as ax_models  # noqa: E402
from botorch_xval.fitting.fit import fit_or_raise  # noqa: E402

PARAMETERS = [
    RangeParameterConfig(
        name="rate", bounds=(1e-4, 1e-1), parameter_type="float", scaling="log"
    ),
    RangeParameterConfig(name="depth", bounds=(1, 6), parameter_type="int"),
    RangeParameterConfig(name="drop", bounds=(0.0, 0.5), parameter_type="float"),
    ChoiceParameterConfig(
        name="kind", values=["a", "b", "c"], parameter_type="str", is_ordered=False
    ),
    ChoiceParameterConfig(
        name="batch", values=[16, 32, 64], parameter_type="int", is_ordered=True
    ),
    ChoiceParameterConfig(name="flag", values=["no", "yes"], parameter_type="str"),
]


def loss(parameters: dict, output: int = 0) -> float:
    rate = np.log10(parameters["rate"])
    value = (rate + 2.5) ** 2 + 0.1 * (parameters["depth"] - 3) ** 2
    value += {"a": 0.0, "b": 0.5, "c": 1.0}[parameters["kind"]] * (1 + output)
    return float(value + parameters["drop"] - 0.2 * (parameters["flag"] == "yes"))


def strategy(
    config: ModelConfig, batched: bool = True, generators=Generators
) -> GenerationStrategy:
    spec = SurrogateSpec(model_configs=[config], allow_batched_models=batched)
    generator = GeneratorSpec(
        generator_enum=generators.BOTORCH_MODULAR,
        generator_kwargs={"surrogate_spec": spec},
    )
    return GenerationStrategy(
        name="xval", nodes=[GenerationNode(name="BO", generator_specs=[generator])]
    )


def random_parameters(rng: np.random.Generator) -> dict:
    return {
        "rate": float(10 ** rng.uniform(-4, -1)),
        "depth": int(rng.integers(1, 7)),
        "drop": float(rng.uniform(0, 0.5)),
        "kind": str(rng.choice(["a", "b", "c"])),
        "batch": int(rng.choice([16, 32, 64])),
        "flag": str(rng.choice(["no", "yes"])),
    }


def client_with_data(
    config: ModelConfig,
    n: int = 10,
    metrics: tuple[str, ...] = ("loss",),
    sem: float | None = None,
    batched: bool = True,
    generators=Generators,
    parameters=PARAMETERS,
    missing: int | None = None,
    **client_kwargs,
) -> Client:
    """A client with trials; of the second metric one may be missing."""
    client = Client(random_seed=0, **client_kwargs)
    client.configure_experiment(name="test", parameters=parameters)
    constraints = [f"{name} <= 3.0" for name in metrics[1:]]
    client.configure_optimization(
        objective=f"-{metrics[0]}", outcome_constraints=constraints
    )
    client.set_generation_strategy(strategy(config, batched, generators))
    rng = np.random.default_rng(0)
    names = {parameter.name for parameter in parameters}
    for i in range(n):
        parameters = random_parameters(rng)
        data = {
            name: loss(parameters, k) if sem is None else (loss(parameters, k), sem)
            for k, name in enumerate(metrics)
            if k == 0 or i != missing
        }
        parameters = {k: v for k, v in parameters.items() if k in names}
        index = client.attach_trial(parameters=parameters)
        client.complete_trial(trial_index=index, raw_data=data)
    return client


def fitted_model(client: Client):
    client.get_next_trials(max_trials=1)
    adapter = client._generation_strategy.current_node.generator_spec_to_gen_from
    return adapter.fitted_adapter.generator.surrogate.model


@pytest.mark.parametrize("priors", ["tight", "loosest"])
def test_choices_are_found_by_name_and_every_model_has_its_own_fit(priors):
    config = ModelConfig(
        botorch_model_class=ScalarChoiceGP, model_options={"priors": priors}
    )
    client = client_with_data(config)
    model = fitted_model(client)
    assert type(model) is ScalarChoiceGP
    names = list(client._generation_strategy.adapter.parameters)
    assert [names[i] for i in model.choice_dims] == [
        f"kind_OH_PARAM_{k}" for k in range(3)
    ]
    assert len(model.scalar_dims) == 5
    # and it is where our fit of a fresh model of the same data ends
    fresh = ScalarChoiceGP(
        model.train_inputs[0],
        model.train_targets[:, None],
        choice_dims=model.choice_dims,
        priors=priors,
        outcome_transform=None,
        input_transform=None,
    )
    mll = ExactMarginalLogLikelihood(fresh.likelihood, fresh)
    ax_models.fit_or_raise([mll])
    for name, value in fresh.named_parameters():
        assert_close(model.get_parameter(name), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("sem", [None, 0.1])
def test_several_metrics_with_constraints(batched, sem):
    config = ModelConfig(botorch_model_class=ScalarChoiceGP)
    metrics = ("loss", "time")
    client = client_with_data(config, metrics=metrics, sem=sem, batched=batched)
    model = fitted_model(client)
    assert model.num_outputs == 2
    assert isinstance(model, ScalarChoiceGP) is batched
    trial = client.get_next_trials(max_trials=1)
    assert set(next(iter(trial.values()))) == {p.name for p in PARAMETERS}


def test_a_kernel_of_ours_in_any_model():
    config = ModelConfig(
        botorch_model_class=IndependentSingleTaskGP,
        covar_module_class=FactorizedScalarChoiceKernel,
    )
    for metrics in (("loss",), ("loss", "time")):
        model = fitted_model(client_with_data(config, metrics=metrics))
        assert type(model.covar_module) is FactorizedScalarChoiceKernel
        expected = torch.Size([2] if len(metrics) > 1 else [])
        assert model.covar_module.batch_shape == expected


@pytest.mark.parametrize("model_class", [ScalarChoiceGP, IndependentSingleTaskGP])
def test_a_client_is_saved_loaded_and_goes_on(model_class, tmp_path: Path):
    options = {"priors": "loose"} if model_class is ScalarChoiceGP else {}
    config = ModelConfig(botorch_model_class=model_class, model_options=options)
    client = client_with_data(config)
    fitted_model(client)
    path = tmp_path / "client.json"
    client.save_to_json_file(str(path))
    loaded = Client.load_from_json_file(str(path))
    (spec,) = loaded._generation_strategy.current_node.generator_specs
    (again,) = spec.generator_kwargs["surrogate_spec"].model_configs
    assert again.botorch_model_class is model_class
    assert again.model_options == options
    assert type(fitted_model(loaded)) is model_class


def test_our_fit_of_any_model_through_botorchs_function():
    import botorch.fit

    X, Y = noisy_waves(12)
    made = with_independent_fit(SingleTaskGP, "OwnName")
    assert made.__name__ == "OwnName" and issubclass(made, SingleTaskGP)
    plain, ours = SingleTaskGP(X, Y), made(X, Y)
    mlls = [ExactMarginalLogLikelihood(m.likelihood, m) for m in (plain, ours)]
    fit_gpytorch_mll(mlls[0])
    assert botorch.fit.fit_gpytorch_mll(mlls[1]) is mlls[1]
    assert not mlls[1].training and len(mlls[1].fit_records) == 1
    for name, value in plain.named_parameters():
        assert torch.equal(ours.get_parameter(name), value)
    with pytest.raises(UnsupportedError, match="for closures, other optimizers"):
        botorch.fit.fit_gpytorch_mll(mlls[1], closure=lambda: None)


def test_what_has_a_fit_of_its_own_or_is_no_model_is_refused():
    with pytest.raises(ValueError, match="`custom_fit` of its own"):
        with_independent_fit(IndependentSingleTaskGP)
    with pytest.raises(ValueError, match="expected a class of BoTorch models"):
        with_independent_fit(dict)


def test_columns_without_one_hot_code_are_refused():
    X, Y = noisy_waves(6)
    data = SupervisedDataset(X, Y, feature_names=["a", "kind"], outcome_names=["y"])
    with pytest.raises(UnsupportedError, match=r"got \['kind'\] as numbers"):
        ScalarChoiceGP.construct_inputs(data, categorical_features=[1])
    with pytest.raises(UnsupportedError, match="fidelity_features"):
        ScalarChoiceGP.construct_inputs(data, fidelity_features=[1])
    assert choice_columns(["a", "kind_OH_PARAM_0", "kind_OH_PARAM_1"]) == [1, 2]


# Cross-validation


def fitted_adapter(client: Client):
    """Fitted to all trials, as for the next one, which is not made."""
    client._generation_strategy.current_node._fit(experiment=client._experiment)
    return client._generation_strategy.adapter


def same(first, second) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert one.observed.arm_name == other.observed.arm_name
        assert one.predicted.metric_signatures == other.predicted.metric_signatures
        assert_close(one.observed.data.means, other.observed.data.means)
        assert_close(one.predicted.means, other.predicted.means, rtol=1e-4, atol=1e-4)
        assert_close(
            one.predicted.covariance, other.predicted.covariance, rtol=1e-4, atol=1e-5
        )


CASES = {
    "leave-one-out": {},
    "k-fold": {"folds": 3},
    "chosen": {"test_selector": lambda obs: obs.features.trial_index % 3 == 0},
    "model's scale": {"untransform": False},
    "with noise": {"use_posterior_predictive": True},
}


@pytest.fixture
def asked(monkeypatch):
    """How many models each call fits together."""
    found = []

    def spy(mlls, *options):
        if not options:  # else a model is fitted as soon as it is built
            found.append(len(mlls))
        fit_or_raise(mlls, *options)

    monkeypatch.setattr(ax_models, "fit_or_raise", spy)
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model_class", [ScalarChoiceGP, IndependentSingleTaskGP])
def test_cross_validation_is_that_of_ax(case, model_class, asked):
    client = client_with_data(ModelConfig(botorch_model_class=model_class))
    adapter = fitted_adapter(client)
    before = adapter.generator.surrogate
    np.random.seed(3)  # Ax shuffles the arms of k folds
    found = xval_ax.cross_validate(adapter, **CASES[case])
    assert asked == [{"k-fold": 3, "chosen": 4}.get(case, 10)]
    assert adapter.generator.surrogate is before
    assert not adapter.generator.refit_on_cv
    adapter.generator.refit_on_cv = True
    np.random.seed(3)
    same(found, ax_cross_validate(adapter, **CASES[case]))


@pytest.mark.parametrize(
    ("sem", "missing", "batched"),
    [(None, None, True), (0.1, None, True), (None, None, False), (None, 4, False)],
    ids=str,
)
def test_cross_validation_of_several_metrics(batched, sem, missing, asked):
    client = client_with_data(
        ModelConfig(botorch_model_class=ScalarChoiceGP),
        metrics=("loss", "time"),
        sem=sem,
        batched=batched,
        missing=missing,
    )
    adapter = fitted_adapter(client)
    found = xval_ax.cross_validate(adapter)
    assert asked == [10 if batched else 20]  # a model of both outcomes, or one each
    diagnostics = compute_diagnostics(found)
    assert set(diagnostics["Rank correlation"]) == {"loss", "time"}
    assessed = assess_model_fit(diagnostics)
    assert {name for part in assessed for name in part} == {"loss", "time"}
    adapter.generator.refit_on_cv = True
    same(found, ax_cross_validate(adapter))


def test_a_fold_with_another_kind_of_model_begins_at_its_initial_values():
    """Ax makes a list of models of all data, and one of all without trial 4."""
    client = client_with_data(
        ModelConfig(botorch_model_class=ScalarChoiceGP),
        metrics=("loss", "time"),
        missing=4,
    )
    adapter = fitted_adapter(client)
    found = xval_ax.cross_validate(adapter)
    assert len(found) == 10
    assert all(np.isfinite(r.predicted.means).all() for r in found)
    adapter.generator.refit_on_cv = True
    with pytest.raises(RuntimeError, match="loading state_dict"):
        ax_cross_validate(adapter)


def with_repeated_arms(client: Client) -> Client:
    """Two of its arms once more, with other outcomes."""
    for trial in (1, 4):
        parameters = dict(client._experiment.trials[trial].arm.parameters)
        index = client.attach_trial(
            parameters=parameters, arm_name=client._experiment.trials[trial].arm.name
        )
        client.complete_trial(trial_index=index, raw_data={"loss": 0.7 + trial})
    return client


def test_cross_validation_with_repeated_arms_and_a_fixed_parameter(asked):
    fixed = ChoiceParameterConfig(name="flag", values=["yes"], parameter_type="str")
    config = ModelConfig(botorch_model_class=ScalarChoiceGP)
    client = client_with_data(config, parameters=[*PARAMETERS[:-1], fixed], n=0)
    rng = np.random.default_rng(0)
    for _ in range(8):
        parameters = {**random_parameters(rng), "flag": "yes"}
        index = client.attach_trial(parameters=parameters)
        client.complete_trial(index, raw_data={"loss": loss(parameters)})
    adapter = fitted_adapter(with_repeated_arms(client))
    found = xval_ax.cross_validate(adapter)
    assert asked == [8] and len(found) == 10
    adapter.generator.refit_on_cv = True
    expected = ax_cross_validate(adapter)
    same(found, expected)


def halves(data):
    """Two folds by arms, not in the order of the trials."""
    arms = sorted(set(data.arm_data.index.unique(level="arm_name")), reverse=True)
    for test in (arms[::2], arms[1::2]):
        train = [arm for arm in arms if arm not in test]
        yield CVData(
            training_data=data.filter_by_arm_names(arm_names=train),
            test_data=data.filter_by_arm_names(arm_names=test),
        )


def overlapping(data):
    """A fold that trains on what it holds out."""
    yield CVData(training_data=data, test_data=data)


def test_folds_of_the_users_own(asked, caplog):
    client = client_with_data(ModelConfig(botorch_model_class=ScalarChoiceGP))
    adapter = fitted_adapter(client)
    adapter.generator.refit_on_cv = True
    found = xval_ax.cross_validate(adapter, fold_generator=halves)
    assert asked == [2] and "one by one" not in caplog.text
    same(found, ax_cross_validate(adapter, fold_generator=halves))
    found = xval_ax.cross_validate(adapter, fold_generator=overlapping)
    assert asked == [2]
    assert "an arm on both sides" in caplog.text
    same(found, ax_cross_validate(adapter, fold_generator=overlapping))


def test_what_is_not_ours_is_left_to_ax_and_said(caplog, asked):
    adapter = fitted_adapter(client_with_data(ModelConfig(), n=6))
    found = xval_ax.cross_validate(adapter)
    assert "its model is a SingleTaskGP" in caplog.text and not asked
    assert not adapter.generator.refit_on_cv
    adapter.generator.refit_on_cv = True
    same(found, ax_cross_validate(adapter))


def test_a_transform_that_depends_on_the_fold_is_noticed(monkeypatch, caplog):
    client = client_with_data(ModelConfig(botorch_model_class=ScalarChoiceGP))
    adapter = fitted_adapter(client)
    transform = adapter.transforms["StandardizeY"]
    original = type(transform).transform_experiment_data

    def centered(self, experiment_data):
        data = original(self, experiment_data)
        data.observation_data["mean"] -= data.observation_data["mean"].mean()
        return data

    monkeypatch.setattr(type(transform), "transform_experiment_data", centered)
    found = xval_ax.cross_validate(adapter)
    assert "a transform depends on the rows of a fold" in caplog.text
    adapter.generator.refit_on_cv = True
    same(found, ax_cross_validate(adapter))


# The generator that answers Ax's loop


def refitting_client(**kwargs) -> Client:
    config = ModelConfig(botorch_model_class=ScalarChoiceGP)
    return client_with_data(config, generators=RefitGenerators, **kwargs)


@pytest.mark.parametrize("metrics", [("loss",), ("loss", "time")], ids=len)
@pytest.mark.parametrize("case", ["leave-one-out", "model's scale", "with noise"])
def test_axs_loop_is_answered_from_one_fit(metrics, case, asked):
    adapter = fitted_adapter(refitting_client(metrics=metrics))
    assert type(adapter.generator) is BatchedRefitGenerator
    assert adapter.generator.refit_on_cv
    found = ax_cross_validate(adapter, **CASES[case])
    again = ax_cross_validate(adapter, **CASES[case])
    assert asked == [10]  # and not twenty
    same(again, found)
    config = ModelConfig(botorch_model_class=ScalarChoiceGP)
    plain = fitted_adapter(client_with_data(config, metrics=metrics))
    plain.generator.refit_on_cv = True
    same(found, ax_cross_validate(plain, **CASES[case]))


def test_other_folds_and_other_data_are_no_mistaken_answers(asked):
    client = refitting_client()
    adapter = fitted_adapter(client)
    ax_cross_validate(adapter)
    assert asked == [10]
    np.random.seed(3)
    found = ax_cross_validate(adapter, folds=3)  # several arms each: Ax's own way
    assert asked == [10]
    np.random.seed(3)
    same(found, xval_ax.cross_validate(adapter, folds=3))
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
    for result in xval_ax.cross_validate(adapter):
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
    fitted_model(client)
    loaded = Client.load_from_database("test", storage_config=StorageConfig())
    (spec,) = loaded._generation_strategy.current_node.generator_specs
    assert spec.generator_enum is generators.BOTORCH_MODULAR
    (again,) = spec.generator_kwargs["surrogate_spec"].model_configs
    assert again.botorch_model_class is ScalarChoiceGP
    assert again.model_options == {"priors": "loose"}
    assert len(loaded._experiment.trials) == len(client._experiment.trials)
    assert type(fitted_model(loaded)) is ScalarChoiceGP


# From an experiment to a comparison, and back


def test_an_experiment_becomes_a_table_as_axs_models_see_it():
    client = client_with_data(ModelConfig(botorch_model_class=ScalarChoiceGP))
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
    config = ModelConfig(botorch_model_class=ScalarChoiceGP)
    found = encode_experiment(client_with_data(config, sem=0.2))
    assert_close(found.Yvar, torch.full((10, 1), 0.04, dtype=torch.float64))
    repeated = encode_experiment(with_repeated_arms(client_with_data(config)))
    assert len(repeated.arms) == 12 and repeated.arms[1] == repeated.arms[10]


def test_which_rows_and_parameters_are_left_out():
    config = ModelConfig(botorch_model_class=ScalarChoiceGP)
    client = client_with_data(config, metrics=("loss", "time"), missing=4)
    with pytest.raises(ValueError, match=r"\['loss', 'time'\], got None"):
        encode_experiment(client)
    with pytest.raises(ValueError, match="Experiment or Client, got a dict"):
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
    config = ModelConfig(botorch_model_class=ScalarChoiceGP)
    client = with_repeated_arms(client_with_data(config))
    result = compare_models(client, folder=tmp_path)
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
        fit="refit",
    )
    with pytest.raises(ValueError, match="'mine', of which no ModelConfig is known"):
        best_model_config(chosen)
