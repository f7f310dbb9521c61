"""A generator that answers Ax's loop over folds from one batched fit.

Ax's plots, analyses and model selection ask a generator for one fold after the other.
:class:`BatchedRefitGenerator` fits the models of all folds when it is asked for the
first. In a strategy it is `RefitGenerators.BOTORCH_MODULAR`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from ax.adapter.registry import (
    GENERATOR_KEY_TO_GENERATOR_SETUP,
    GeneratorRegistryBase,
    Generators,
    GeneratorSetup,
)
from ax.core.search_space import SearchSpaceDigest
from ax.generators.torch.botorch_modular.generator import BoTorchGenerator
from ax.generators.torch.botorch_modular.surrogate import Surrogate
from ax.storage.json_store.registry import CORE_DECODER_REGISTRY
from botorch.models.model import Model
from botorch.utils.datasets import SupervisedDataset
from torch import Tensor

from botorch_xval.ax.folds import (
    Datasets,
    OtherFolds,
    Rows,
    fit_folds,
    same_datasets,
)
from botorch_xval.ax.models import are_ours

__all__ = ["BatchedRefitGenerator", "RefitGenerators"]

logger = logging.getLogger(__name__)


@dataclass
class _LeaveOneOut:
    """The folds of a fitted model that leave out one point, by its number."""

    model: Model
    digest: SearchSpaceDigest
    rows: Rows
    datasets: dict[int, list[SupervisedDataset]] = field(default_factory=dict)
    surrogates: dict[int, Surrogate] = field(default_factory=dict)


class BatchedRefitGenerator(BoTorchGenerator):
    """A `BoTorchGenerator` whose refitted folds come from one batched fit.

    When Ax asks for the first leave-one-out fold of a model of this package, the models
    of all such folds are fitted together and kept until the generator is fitted again.
    A fold is answered from them only if its data are equal to theirs. Other folds
    (several arms held out, other models) are fitted by Ax. In a strategy it is
    `RefitGenerators.BOTORCH_MODULAR`, where `refit_on_cv` is True unless set otherwise.
    """

    _datasets: Datasets = ()
    _folds: _LeaveOneOut | None = None

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
        """Predict the held-out points of one fold by a model of its training data.

        Args:
            datasets: The training data, a dataset per outcome or for several.
            X_test: The held-out points, `k x d`.
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
            known = self._folds = _LeaveOneOut(model, digest, Rows(self._datasets))
        held_out = set(known.rows.numbers_of(X_test))
        if len(held_out) > 1:
            return None
        (point,) = held_out
        if not known.surrogates:
            self._fit_all(known, point, datasets)
        if point not in known.surrogates:
            return None
        if not same_datasets(known.datasets[point], datasets):
            return None
        return known.surrogates[point]

    def _fit_all(self, known: _LeaveOneOut, point: int, datasets: Datasets) -> None:
        """Fit the folds of all points, if the fold of one point has these data."""
        everything = known.rows.everything
        folds = {}
        for other in everything:
            try:
                folds[other] = known.rows.select(everything - {other})
            except OtherFolds as reason:
                logger.debug("Ax fits a fold itself: %s", reason)
        if point in folds and same_datasets(folds[point], datasets):
            surrogates = fit_folds(self, list(folds.values()), known.digest)
            known.datasets = folds
            known.surrogates = dict(zip(folds, surrogates, strict=True))


class RefitGenerators(GeneratorRegistryBase):
    """What to name as `generator_enum` of a `GeneratorSpec`.

    `BOTORCH_MODULAR` is Ax's, but with a :class:`BatchedRefitGenerator` and
    `refit_on_cv=True`.
    """

    BOTORCH_MODULAR = "BoTorchBatchedRefit"

    @property
    def GENERATOR_KEY_TO_GENERATOR_SETUP(self) -> dict[str, GeneratorSetup]:
        """Ax's setups, and that of `BOTORCH_MODULAR`."""
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
            RefitGenerators("BoTorchBatchedRefit").value: ours,
        }


CORE_DECODER_REGISTRY[RefitGenerators.__name__] = RefitGenerators
