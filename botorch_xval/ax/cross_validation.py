"""Ax's refit cross-validation, with the models of all folds fitted together.

:func:`cross_validate` stands for Ax's function. Where Ax itself asks for folds (its
plots, analyses and model selection), :class:`BatchedRefitGenerator` answers: Ax's loop
hands it one fold after the other, and it fits all of them when asked for the first.

Either way a fold is a part of the rows of all (transformed) data: transforms are those
of all data, as in Ax. That the rows are those that Ax would take is checked; where they
are not, Ax's own way is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
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
from ax.adapter.registry import (
    GENERATOR_KEY_TO_GENERATOR_SETUP,
    GeneratorRegistryBase,
    Generators,
    GeneratorSetup,
)
from ax.adapter.torch import TorchAdapter
from ax.core.observation import Observation, ObservationData, ObservationFeatures
from ax.core.search_space import SearchSpaceDigest
from ax.generators.torch.botorch_modular.generator import BoTorchGenerator
from ax.generators.torch.botorch_modular.surrogate import Surrogate
from ax.storage.json_store.registry import CORE_DECODER_REGISTRY
from botorch.models.model import Model
from botorch.settings import validate_input_scaling
from botorch.utils.datasets import SupervisedDataset
from torch import Tensor

from botorch_xval.ax.models import are_ours, fitted_together

__all__ = ["BatchedRefitGenerator", "RefitGenerators", "cross_validate"]

logger = logging.getLogger(__name__)
Arms = frozenset[str]  # by name
Datasets = Sequence[SupervisedDataset]


class _OtherFolds(Exception):
    """Folds that are not parts of the rows of all data, and why."""


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
    except _OtherFolds as reason:
        logger.warning("Ax's own loop fits the folds one by one: %s", reason)

    def same_folds(data: ExperimentData) -> list[CVData]:
        return made or [_data_of(data, *arms) for arms in chosen]

    generator = getattr(adapter, "generator", None)
    refits = getattr(generator, "refit_on_cv", None)
    if refits is not None:
        generator.refit_on_cv = True
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
            generator.refit_on_cv = refits


def _generator_of(adapter: Adapter) -> BoTorchGenerator:
    generator = getattr(adapter, "generator", None)
    if not isinstance(adapter, TorchAdapter) or not isinstance(
        generator, BoTorchGenerator
    ):
        raise _OtherFolds(
            f"{type(generator).__name__} is no BoTorchGenerator in a TorchAdapter"
        )
    model = generator.surrogate.model
    if not are_ours(model):
        raise _OtherFolds(
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
        raise _OtherFolds("a transform changes the number of observations")
    X = _tensor_of(adapter, points)
    known = _Rows(datasets)
    numbers = known.numbers_of(X)
    parts = []
    for k in taken:
        train, test = ({numbers[i] for i in part} for part in rows[k])
        if train & test:
            raise _OtherFolds("two arms have the same inputs")
        parts.append(known.of(train))
    for k in {0, len(taken) - 1}:  # what Ax would make of these folds
        data = _data_of(whole, *folds[taken[k]]).training_data
        own, _, _ = _transformed(adapter, data, [])
        if not _equal(own, parts[k]):
            raise _OtherFolds("a transform depends on the rows of a fold")
    surrogates = _fit_folds(generator, parts, digest)
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
    """Stands for data of which Ax's splitting asks for arms only: a fold's are slow."""

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
        raise _OtherFolds("a fold has an arm on both sides")
    for arms, data in zip((train, test), fold, strict=True):
        if data != whole.filter_by_arm_names(arm_names=arms):
            raise _OtherFolds("a fold has other data of an arm than the adapter")
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


class _Rows:
    """The rows of datasets by their inputs, which have a number each."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets
        self._known: dict[tuple[float, ...], int] = {}
        self._numbers = [torch.tensor(self.numbers_of(d.X)) for d in datasets]
        self.everything = set(self._known.values())

    def numbers_of(self, X: Tensor) -> list[int]:
        """The number of every row, new ones for inputs that no dataset has."""
        known = self._known
        return [known.setdefault(tuple(row), len(known)) for row in X.tolist()]

    def of(self, numbers: set[int]) -> list[SupervisedDataset]:
        """All datasets with the rows of these numbers only."""
        wanted = torch.tensor(sorted(numbers))
        parts = []
        for dataset, own in zip(self._datasets, self._numbers, strict=True):
            if type(dataset) is not SupervisedDataset:
                raise _OtherFolds(
                    f"a {type(dataset).__name__} has no rows to choose from"
                )
            mask = torch.isin(own, wanted).to(dataset.X.device)
            if not mask.any():
                raise _OtherFolds(f"a fold has no data of {dataset.outcome_names}")
            part = dataset.clone(mask=mask)
            if dataset.group_indices is not None:  # which a clone has not
                part.group_indices = dataset.group_indices[mask]
            parts.append(part)
        return parts


def _equal(first: Datasets, second: Datasets) -> bool:
    def same(one: Tensor | None, other: Tensor | None) -> bool:
        if one is None or other is None:
            return one is other
        return torch.equal(one, other)

    return len(first) == len(second) and all(
        type(one) is type(other)
        and one.outcome_names == other.outcome_names
        and one.feature_names == other.feature_names
        and same(one.X, other.X)
        and same(one.Y, other.Y)
        and same(one.Yvar, other.Yvar)
        and same(one.group_indices, other.group_indices)
        for one, other in zip(first, second, strict=True)
    )


def _fit_folds(
    generator: BoTorchGenerator,
    folds: Sequence[Datasets],
    digest: SearchSpaceDigest,
) -> list[Surrogate]:
    """A surrogate for every fold, made as the generator makes it, fitted together."""
    current = generator.surrogate
    state = current.model.state_dict() if generator.warm_start_refit else None

    def fitted(datasets: Datasets, state: Mapping[str, Tensor] | None) -> Surrogate:
        surrogate = current.clone_reset()
        surrogate.fit(
            datasets=datasets,
            search_space_digest=digest,
            state_dict=state,
            refit=True,
            repeat_model_selection_if_dataset_changed=False,
        )
        return surrogate

    surrogates = []
    # Without some rows inputs do not fill their range, of which BoTorch would warn.
    with validate_input_scaling(False), fitted_together():
        for datasets in folds:
            try:
                surrogates.append(fitted(datasets, state))
            except RuntimeError as error:
                if state is None:
                    raise
                # Without the only point that lacks an outcome Ax makes one model of
                # all outcomes in the place of a list, which has other names.
                logger.debug("a fold begins at its initial values: %s", error)
                surrogates.append(fitted(datasets, None))
    return surrogates


@dataclass
class _Folds:
    """All folds of a fitted model that leave out one point, by number of that point."""

    model: Model
    digest: SearchSpaceDigest
    rows: _Rows
    datasets: dict[int, list[SupervisedDataset]] = field(default_factory=dict)
    surrogates: dict[int, Surrogate] = field(default_factory=dict)


class BatchedRefitGenerator(BoTorchGenerator):
    """A `BoTorchGenerator` whose refitted folds come from one batched fit.

    When Ax asks for the first leave-one-out fold of a model of this package, the models
    of all such folds are fitted together and kept, until the generator is fitted again.
    A fold is answered from them only if its data are exactly theirs; others (several
    arms held out, other models) are fitted as Ax does it. In a strategy it is
    `RefitGenerators.BOTORCH_MODULAR`, where `refit_on_cv` is True unless set otherwise.
    """

    _datasets: Datasets = ()
    _folds: _Folds | None = None

    def fit(
        self,
        datasets: Datasets,
        search_space_digest: SearchSpaceDigest,
        *arguments: Any,
        **others: Any,
    ) -> None:
        """Fit the model to all data."""
        self._datasets, self._folds = list(datasets), None
        super().fit(datasets, search_space_digest, *arguments, **others)

    def cross_validate(
        self,
        datasets: Datasets,
        X_test: Tensor,
        search_space_digest: SearchSpaceDigest,
        use_posterior_predictive: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Predict the points of one fold by a model of its data.

        Args:
            datasets: Of the fold, for every outcome.
            X_test: What to predict, `k x d`.
            search_space_digest: Of the transformed search space.
            use_posterior_predictive: Whether variances have observation noise.

        Returns:
            Means, `k x m`, and covariances, `k x m x m`.
        """
        surrogate = self._surrogate_of(datasets, X_test, search_space_digest)
        if surrogate is None:
            return super().cross_validate(
                datasets=datasets,
                X_test=X_test,
                search_space_digest=search_space_digest,
                use_posterior_predictive=use_posterior_predictive,
            )
        return surrogate.predict(
            X=X_test, use_posterior_predictive=use_posterior_predictive
        )

    def _surrogate_of(
        self, datasets: Datasets, X_test: Tensor, digest: SearchSpaceDigest
    ) -> Surrogate | None:
        """The fitted surrogate of a fold, if it leaves out one point of all data."""
        model = self.surrogate.model
        if not self.refit_on_cv or not are_ours(model):
            return None
        known = self._folds
        if known is None or known.model is not model or known.digest != digest:
            known = self._folds = _Folds(model, digest, _Rows(self._datasets))
        held_out = set(known.rows.numbers_of(X_test))
        if len(held_out) > 1:
            return None
        (point,) = held_out
        if not known.surrogates:
            self._fit_all(known, point, datasets)
        if point not in known.surrogates:
            return None
        if not _equal(known.datasets[point], datasets):
            return None
        return known.surrogates[point]

    def _fit_all(self, known: _Folds, point: int, datasets: Datasets) -> None:
        """Fit the folds of all points, if that of the given one has the given data."""
        everything = known.rows.everything
        folds = {}
        for other in everything:
            try:
                folds[other] = known.rows.of(everything - {other})
            except _OtherFolds as reason:
                logger.debug("a fold is left to Ax: %s", reason)
        if point in folds and _equal(folds[point], datasets):
            surrogates = _fit_folds(self, list(folds.values()), known.digest)
            known.datasets = folds
            known.surrogates = dict(zip(folds, surrogates, strict=True))


class RefitGenerators(GeneratorRegistryBase):
    """What to name as `generator_enum` of a `GeneratorSpec`.

    `BOTORCH_MODULAR` is Ax's, with a :class:`BatchedRefitGenerator` and
    `refit_on_cv=True`.
    """

    BOTORCH_MODULAR = "BoTorchBatchedRefit"

    @property
    def GENERATOR_KEY_TO_GENERATOR_SETUP(self) -> dict[str, GeneratorSetup]:
        """Ax's, and ours."""
        setup = GENERATOR_KEY_TO_GENERATOR_SETUP[Generators.BOTORCH_MODULAR.value]
        ours = setup._replace(
            generator_class=BatchedRefitGenerator,
            default_generator_kwargs={
                **(setup.default_generator_kwargs or {}),
                "refit_on_cv": True,
            },
        )
        return {
            **GENERATOR_KEY_TO_GENERATOR_SETUP,
            RefitGenerators.BOTORCH_MODULAR.value: ours,
        }


CORE_DECODER_REGISTRY[RefitGenerators.__name__] = RefitGenerators
