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
Point = tuple[float, ...]  # of transformed inputs
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
    chosen: list[CVData] | None = None
    try:
        generator = _generator_of(adapter)
        whole = adapter.get_training_data(filter_in_design=True)
        make = fold_generator or (
            lambda data: _kfold_train_test_split(folds=folds, training_data=data)
        )
        chosen = list(make(whole))
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
            fold_generator=fold_generator if chosen is None else lambda data: chosen,
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
    folds: Sequence[CVData],
    test_selector: Callable[[Observation], bool] | None,
    untransform: bool,
    use_posterior_predictive: bool,
) -> list[CVResult]:
    observations = whole.convert_to_list_of_observations()
    rows = _rows_of_folds(whole, observations, folds)
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
    parts = [_without(datasets, X, *rows[k]) for k in taken]
    for k in {0, len(taken) - 1}:  # what Ax would make of these folds
        own, _, _ = _transformed(adapter, folds[taken[k]].training_data, [])
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
    # Copies, since transforms may change what they are given.
    observed = [deepcopy(observations[i]) for i, _ in found]
    predicted = [
        Observation(features=points[i].clone(), data=data) for i, data in found
    ]
    if untransform:
        for transform in reversed(list(adapter.transforms.values())):
            predicted = transform.untransform_observations(predicted)
    else:
        for transform in adapter.transforms.values():
            observed = transform.transform_observations(observed)
    return [
        CVResult(observed=one, predicted=other.data)
        for one, other in zip(observed, predicted, strict=True)
    ]


def _rows_of_folds(
    whole: ExperimentData,
    observations: Sequence[Observation],
    folds: Iterable[CVData],
) -> list[tuple[list[int], list[int]]]:
    """Numbers of the observations that each fold trains on and holds out."""
    arms = [observation.arm_name for observation in observations]
    rows = []
    for fold in folds:
        train, test = (
            set(data.arm_data.index.unique(level="arm_name")) for data in fold
        )
        if train & test:
            raise _OtherFolds("a fold has an arm on both sides")
        for names, data in zip((train, test), fold, strict=True):
            if len(data.arm_data) != whole.arm_data.index.isin(names, "arm_name").sum():
                raise _OtherFolds("a fold has only a part of the trials of an arm")
        rows.append(
            tuple([i for i, arm in enumerate(arms) if arm in names])
            for names in (train, test)
        )
    return [tuple(pair) for pair in rows]


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


def _points(X: Tensor) -> list[Point]:
    return [tuple(row) for row in X.tolist()]


def _without(
    datasets: Datasets, X: Tensor, train: Sequence[int], test: Sequence[int]
) -> list[SupervisedDataset]:
    """The rows of a fold: those whose inputs belong to its training observations."""
    points = _points(X)
    kept, held_out = ({points[i] for i in rows} for rows in (train, test))
    if kept & held_out:
        raise _OtherFolds("two arms have the same inputs")
    return _select(datasets, lambda point: point in kept)


def _select(
    datasets: Datasets, wanted: Callable[[Point], bool]
) -> list[SupervisedDataset]:
    parts = []
    for dataset in datasets:
        if type(dataset) is not SupervisedDataset:
            raise _OtherFolds(f"a {type(dataset).__name__} has no rows to choose from")
        mask = torch.tensor([wanted(point) for point in _points(dataset.X)])
        if not mask.any():
            raise _OtherFolds(f"a fold has no data of {dataset.outcome_names}")
        mask = mask.to(dataset.X.device)
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
    """All folds of a fitted model that leave out one point, by that point."""

    model: Model
    digest: SearchSpaceDigest
    datasets: dict[Point, list[SupervisedDataset]] = field(default_factory=dict)
    surrogates: dict[Point, Surrogate] = field(default_factory=dict)


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
        held_out = set(_points(X_test))
        model = self.surrogate.model
        if not self.refit_on_cv or len(held_out) > 1 or not are_ours(model):
            return None
        (point,) = held_out
        known = self._folds
        if known is None or known.model is not model or known.digest != digest:
            known = self._folds = _Folds(model, digest)
        if point not in known.surrogates and not self._fit_all(known, point, datasets):
            return None
        if not _equal(known.datasets[point], datasets):
            return None
        return known.surrogates[point]

    def _fit_all(self, known: _Folds, point: Point, datasets: Datasets) -> bool:
        """Fit the folds of all points, if that of the given one has the given data."""
        everything = {p: None for data in self._datasets for p in _points(data.X)}
        if known.surrogates or point not in everything:
            return False
        folds = {}
        for other in everything:
            try:
                folds[other] = _select(self._datasets, lambda p, o=other: p != o)
            except _OtherFolds as reason:
                logger.debug("a fold is left to Ax: %s", reason)
        if point not in folds or not _equal(folds[point], datasets):
            return False
        surrogates = _fit_folds(self, list(folds.values()), known.digest)
        known.datasets = folds
        known.surrogates = dict(zip(folds, surrogates, strict=True))
        return True


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
