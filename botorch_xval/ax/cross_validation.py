"""Ax's refit cross-validation, with the models of all folds fitted together.

:func:`cross_validate` replaces Ax's function. A fold consists of rows of all
(transformed) data, since transforms have learned from all data, as in Ax. For the first
and the last fold it is checked that these are the rows that Ax would take; where they
are not, Ax's loop over the folds does it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd
import torch
from ax.adapter.adapter_utils import array_to_observation_data
from ax.adapter.base import Adapter
from ax.adapter.cross_validation import (
    CVData,
    CVResult,
    FoldGenerator,
    _kfold_train_test_split,
)
from ax.adapter.cross_validation import cross_validate as ax_cross_validate
from ax.adapter.data_utils import ExperimentData
from ax.adapter.torch import TorchAdapter
from ax.core.observation import Observation, ObservationData, ObservationFeatures
from ax.core.search_space import SearchSpaceDigest
from ax.generators.torch.botorch_modular.generator import BoTorchGenerator
from botorch.utils.datasets import SupervisedDataset
from torch import Tensor

from botorch_xval.ax.folds import OtherFolds, Rows, fit_folds, same_datasets
from botorch_xval.ax.models import are_ours
from botorch_xval.models.checks import check_type

__all__ = ["cross_validate"]

logger = logging.getLogger(__name__)
Arms = frozenset[str]  # names
ArmsOfFold = tuple[Arms, Arms]  # for training, and held out


def cross_validate(
    adapter: Adapter,
    folds: int = -1,
    test_selector: Callable[[Observation], bool] | None = None,
    untransform: bool = True,
    use_posterior_predictive: bool = False,
    fold_generator: FoldGenerator | None = None,
) -> list[CVResult]:
    """Ax's refit cross-validation, with the models of all folds fitted together.

    Folds and transforms are those of Ax: all observations of an arm are held out
    together, and a transform has learned from all data. As in Ax a fold starts from the
    fit of all data unless the generator has `warm_start_refit=False`. Hyper-parameters
    are fitted again whatever the generator's `refit_on_cv` says.

    Where the models are not of this package, or where folds do not consist of rows of
    all data, Ax's loop does it, and a warning is logged that says why.

    Args:
        adapter: A fitted adapter.
        folds: Number of folds; -1 for leave-one-out, by arms.
        test_selector: Which observations to hold out.
        untransform: Whether predictions are to be in the outcome's unit.
        use_posterior_predictive: Whether variances have observation noise.
        fold_generator: Makes the folds instead.

    Returns:
        One result per held-out observation, as Ax's function.

    Raises:
        ValueError: If it is no adapter.
        ModelFittingError: If a fold cannot be fitted.
    """
    remedy = "pass that of a fitted generator, see `Generators.BOTORCH_MODULAR`"
    check_type("adapter", adapter, Adapter, remedy)
    made: list[CVData] = []
    chosen: list[ArmsOfFold] = []
    try:
        torch_adapter, generator = _parts_of(adapter)
        whole = adapter.get_training_data(filter_in_design=True)
        if fold_generator is None:
            chosen = _arms_of_folds(whole, folds)
        else:
            made = list(fold_generator(whole))
            chosen = [_arms_of(fold, whole) for fold in made]
        return _refit_together(
            torch_adapter,
            generator,
            whole,
            chosen,
            test_selector,
            untransform,
            use_posterior_predictive,
        )
    except OtherFolds as reason:
        logger.warning("Ax's own loop fits the folds one by one: %s", reason)

    def same_folds(data: ExperimentData) -> list[CVData]:
        return made or [_data_of(data, *arms) for arms in chosen]

    current: Any = getattr(adapter, "generator", None)
    refits = getattr(current, "refit_on_cv", None)
    if refits is not None:
        current.refit_on_cv = True
    try:
        return ax_cross_validate(
            adapter,
            folds=folds,
            test_selector=test_selector,
            untransform=untransform,
            use_posterior_predictive=use_posterior_predictive,
            fold_generator=same_folds if made or chosen else fold_generator,
        )
    finally:
        if refits is not None:
            current.refit_on_cv = refits


def _parts_of(adapter: Adapter) -> tuple[TorchAdapter, BoTorchGenerator]:
    """The adapter and its generator, if they are of the kinds that are known here."""
    generator = getattr(adapter, "generator", None)
    if not isinstance(adapter, TorchAdapter) or not isinstance(
        generator, BoTorchGenerator
    ):
        raise OtherFolds(
            f"expected a BoTorchGenerator in a TorchAdapter, got a "
            f"{type(generator).__name__} in a {type(adapter).__name__}"
        )
    model = generator.surrogate.model
    if not are_ours(model):
        raise OtherFolds(
            f"its model is a {type(model).__name__}, not one of botorch_xval.ax; set "
            "botorch_model_class, for example to IndependentSingleTaskGP"
        )
    return adapter, generator


def _refit_together(
    adapter: TorchAdapter,
    generator: BoTorchGenerator,
    whole: ExperimentData,
    folds: Sequence[ArmsOfFold],
    test_selector: Callable[[Observation], bool] | None,
    untransform: bool,
    use_posterior_predictive: bool,
) -> list[CVResult]:
    """The results of Ax's loop, by models that are fitted together."""
    observations = whole.convert_to_list_of_observations()
    trained, held_out = _observations_of(folds, observations)
    tests = held_out
    if test_selector is not None:
        tests = [[i for i in f if test_selector(observations[i])] for f in held_out]
    taken = [k for k, test in enumerate(tests) if test]
    if not taken:
        return []
    features = [observation.features for observation in observations]
    datasets, points, digest = _transformed(adapter, whole, features)
    if len(points) != len(observations):
        raise OtherFolds("a transform changes the number of observations")
    X = _tensor_of(adapter, points)
    rows = Rows(datasets)
    numbers = rows.numbers_of(X)
    selected = []
    for k in taken:
        train = {numbers[i] for i in trained[k]}
        if not train.isdisjoint(numbers[i] for i in held_out[k]):
            raise OtherFolds("two arms have the same inputs")
        selected.append(rows.select(train))
    for j in {0, len(taken) - 1}:
        expected = _transformed(adapter, _data_of(whole, *folds[taken[j]])[0], [])[0]
        if not same_datasets(expected, selected[j]):
            raise OtherFolds("a transform depends on the rows of a fold")
    predicted: list[tuple[int, ObservationData]] = []
    for k, surrogate in zip(taken, fit_folds(generator, selected, digest), strict=True):
        mean, covariance = surrogate.predict(
            X=X[tests[k]], use_posterior_predictive=use_posterior_predictive
        )
        predictions = array_to_observation_data(
            f=mean.detach().cpu().numpy(),
            cov=covariance.detach().cpu().numpy(),
            outcomes=adapter.outcomes,
        )
        predicted.extend(zip(tests[k], predictions, strict=True))
    return _results(adapter, observations, points, predicted, untransform)


def _observations_of(
    folds: Sequence[ArmsOfFold], observations: Sequence[Observation]
) -> tuple[list[list[int]], list[list[int]]]:
    """By fold the numbers of the observations to train on, and of those held out."""
    of_arm: dict[str | None, list[int]] = {}
    for i, observation in enumerate(observations):
        of_arm.setdefault(observation.arm_name, []).append(i)

    def numbers(arms: Arms) -> list[int]:
        return sorted(i for arm in arms for i in of_arm.get(arm, ()))

    return [numbers(train) for train, _ in folds], [numbers(test) for _, test in folds]


def _results(
    adapter: TorchAdapter,
    observations: Sequence[Observation],
    points: Sequence[ObservationFeatures],
    predicted: Sequence[tuple[int, ObservationData]],
    untransform: bool,
) -> list[CVResult]:
    """Observed and predicted data, both in the outcome's unit or both transformed."""
    observed = [observations[i] for i, _ in predicted]
    # Copies, since transforms may change what they are given.
    found = [
        Observation(features=points[i].clone(), data=data) for i, data in predicted
    ]
    if untransform:
        for transform in reversed(list(adapter.transforms.values())):
            found = transform.untransform_observations(found)
    else:
        observed = deepcopy(observed)
        for transform in adapter.transforms.values():
            observed = transform.transform_observations(observed)
    return [
        CVResult(observed=one, predicted=other.data)
        for one, other in zip(observed, found, strict=True)
    ]


@dataclass(frozen=True)
class _ArmsOnly:
    """In the place of data where only the names of arms are wanted.

    Ax's function that splits data into folds only reads `arm_data` and selects arms. To
    select the data of every fold, too, would take long.
    """

    arm_data: pd.DataFrame

    def filter_by_arm_names(self, arm_names: Iterable[str]) -> Arms:
        return frozenset(arm_names)


def _arms_of_folds(whole: ExperimentData, folds: int) -> list[ArmsOfFold]:
    """The arms that each of Ax's folds trains on and holds out."""
    data = cast(ExperimentData, _ArmsOnly(whole.arm_data))
    made = _kfold_train_test_split(folds=folds, training_data=data)
    return [cast(ArmsOfFold, tuple(fold)) for fold in made]


def _arms_of(fold: CVData, whole: ExperimentData) -> ArmsOfFold:
    """The arms of a fold, if it has all data of these arms."""
    train, test = (
        frozenset(data.arm_data.index.unique(level="arm_name")) for data in fold
    )
    if train & test:
        raise OtherFolds("a fold has an arm on both sides")
    for arms, data in zip((train, test), fold, strict=True):
        if data != whole.filter_by_arm_names(arm_names=arms):
            raise OtherFolds("a fold has other data of an arm than the adapter")
    return train, test


def _data_of(whole: ExperimentData, train: Arms, test: Arms) -> CVData:
    return CVData(
        training_data=whole.filter_by_arm_names(arm_names=train),
        test_data=whole.filter_by_arm_names(arm_names=test),
    )


def _transformed(
    adapter: TorchAdapter,
    data: ExperimentData,
    features: list[ObservationFeatures],
) -> tuple[list[SupervisedDataset], list[ObservationFeatures], SearchSpaceDigest]:
    """What Ax gives the generator for a fold; Ax has no public function for this."""
    before = adapter._last_experiment_data
    try:
        data, features, space = adapter._transform_inputs_for_cv(
            cv_training_data=data, cv_test_points=features
        )
        datasets, _, digest = adapter._get_fit_args(
            search_space=space,
            experiment_data=data,
            update_outcomes_and_parameters=False,
        )
    finally:
        adapter._last_experiment_data = before
    return datasets, features, digest


def _tensor_of(adapter: TorchAdapter, points: list[ObservationFeatures]) -> Tensor:
    rows = [[point.parameters[name] for name in adapter.parameters] for point in points]
    return torch.tensor(rows, dtype=torch.double, device=adapter.device)
