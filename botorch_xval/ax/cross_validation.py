"""Ax's refit cross-validation, with the models of all folds fitted together.

A fold is a part of the rows of all (transformed) data. That these are the rows that Ax
would take is checked; where they are not, Ax's own loop fits the folds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

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

from botorch_xval.ax.folds import OtherFolds, Rows, are_equal, fit_folds
from botorch_xval.ax.models import are_ours

__all__ = ["cross_validate"]

logger = logging.getLogger(__name__)
Arms = frozenset[str]  # by name


def cross_validate(
    adapter: Adapter,
    folds: int = -1,
    test_selector: Callable[[Observation], bool] | None = None,
    untransform: bool = True,
    use_posterior_predictive: bool = False,
    fold_generator: FoldGenerator | None = None,
) -> list[CVResult]:
    """Ax's refit cross-validation, with the models of all folds fitted together.

    The folds, and the transforms, are Ax's own: arms stay together, and a transform has
    learned from all data. As in Ax each fold starts from the fit of all data unless the
    generator has `warm_start_refit=False`. Hyper-parameters are fitted again whatever
    the generator's `refit_on_cv` says.

    Where the models are not of this package, or where folds are not parts of the rows
    of all data, Ax's own loop does it, and a warning is logged that says why.

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
        ModelFittingError: If a fold cannot be fitted.
    """
    made: list[CVData] | None = None
    chosen: list[tuple[Arms, Arms]] | None = None
    try:
        generator = _generator_of(adapter)
        whole = adapter.get_training_data(filter_in_design=True)
        if fold_generator is None:
            chosen = _arms_of_folds(whole, folds)
        else:
            made = list(fold_generator(whole))
            chosen = [_arms_of(fold, whole) for fold in made]
        return _refit_together(
            adapter,
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
        return made or [_data_of(data, *arms) for arms in chosen or []]

    fitted: Any = getattr(adapter, "generator", None)
    refits = getattr(fitted, "refit_on_cv", None)
    if refits is not None:
        fitted.refit_on_cv = True
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
            fitted.refit_on_cv = refits


def _generator_of(adapter: Adapter) -> BoTorchGenerator:
    generator = getattr(adapter, "generator", None)
    if not isinstance(adapter, TorchAdapter) or not isinstance(
        generator, BoTorchGenerator
    ):
        raise OtherFolds(
            f"{type(generator).__name__} is no BoTorchGenerator in a TorchAdapter"
        )
    model = generator.surrogate.model
    if not are_ours(model):
        raise OtherFolds(
            f"its model is a {type(model).__name__}, not one of botorch_xval.ax; set "
            "botorch_model_class, for example to IndependentSingleTaskGP"
        )
    return generator


def _refit_together(
    adapter: TorchAdapter,
    generator: BoTorchGenerator,
    whole: ExperimentData,
    folds: Sequence[tuple[Arms, Arms]],
    test_selector: Callable[[Observation], bool] | None,
    untransform: bool,
    use_posterior_predictive: bool,
) -> list[CVResult]:
    observations = whole.convert_to_list_of_observations()
    of_arm: dict[str, list[int]] = {}
    for i, observation in enumerate(observations):
        of_arm.setdefault(observation.arm_name, []).append(i)
    rows = [
        [sorted(i for arm in arms for i in of_arm.get(arm, ())) for arms in fold]
        for fold in folds
    ]
    tests = [
        [i for i in test if test_selector is None or test_selector(observations[i])]
        for _, test in rows
    ]
    taken = [k for k, test in enumerate(tests) if test]
    if not taken:
        return []
    features = [observation.features for observation in observations]
    datasets, points, digest = _transformed(adapter, whole, features)
    if len(points) != len(observations):
        raise OtherFolds("a transform changes the number of observations")
    X = _tensor_of(adapter, points)
    known = Rows(datasets)
    numbers = known.numbers_of(X)
    parts = []
    for k in taken:
        train, test = ({numbers[i] for i in part} for part in rows[k])
        if train & test:
            raise OtherFolds("two arms have the same inputs")
        parts.append(known.of(train))
    for k in {0, len(taken) - 1}:  # what Ax would make of these folds
        data = _data_of(whole, *folds[taken[k]]).training_data
        own, _, _ = _transformed(adapter, data, [])
        if not are_equal(own, parts[k]):
            raise OtherFolds("a transform depends on the rows of a fold")
    surrogates = fit_folds(generator, parts, digest)
    found: list[tuple[int, ObservationData]] = []
    for k, surrogate in zip(taken, surrogates, strict=True):
        mean, covariance = surrogate.predict(
            X=X[tests[k]], use_posterior_predictive=use_posterior_predictive
        )
        data = array_to_observation_data(
            f=mean.detach().cpu().numpy(),
            cov=covariance.detach().cpu().numpy(),
            outcomes=adapter.outcomes,
        )
        found.extend(zip(tests[k], data, strict=True))
    observed = [observations[i] for i, _ in found]
    # Copies, since transforms may change what they are given.
    predicted = [
        Observation(features=points[i].clone(), data=data) for i, data in found
    ]
    if untransform:
        for transform in reversed(list(adapter.transforms.values())):
            predicted = transform.untransform_observations(predicted)
    else:
        observed = deepcopy(observed)
        for transform in adapter.transforms.values():
            observed = transform.transform_observations(observed)
    return [
        CVResult(observed=one, predicted=other.data)
        for one, other in zip(observed, predicted, strict=True)
    ]


@dataclass(frozen=True)
class _OnlyArms:
    """What Ax's function that makes folds needs of the data: the names of arms.

    With all data it would copy those of every fold, which takes long.
    """

    arm_data: pd.DataFrame

    def filter_by_arm_names(self, arm_names: Iterable[str]) -> Arms:
        return frozenset(arm_names)


def _arms_of_folds(whole: ExperimentData, folds: int) -> list[tuple[Arms, Arms]]:
    """The arms that each of Ax's folds trains on and holds out."""
    only = _OnlyArms(whole.arm_data)
    return [tuple(f) for f in _kfold_train_test_split(folds=folds, training_data=only)]


def _arms_of(fold: CVData, whole: ExperimentData) -> tuple[Arms, Arms]:
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
    """What the generator gets, as Ax makes it: for this there is no public function."""
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
