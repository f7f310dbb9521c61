"""Which of several generators of a node predicts best, for Ax's `GenerationNode`.

GenerationNode(
    name="BO",
    generator_specs=[  # the first one is kept unless another is ahead
        GeneratorSpec(..., generator_key_override="default"),
        GeneratorSpec(..., generator_key_override="searched"),
    ],
    best_model_selector=RefitModelSelector(),
)
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict

import numpy as np
import pandas as pd
from ax.adapter.cross_validation import CVResult
from ax.generation_strategy.best_model_selector import BestModelSelector
from ax.generation_strategy.generator_spec import GeneratorSpec
from ax.storage.json_store.encoders import best_model_selector_to_dict
from ax.storage.json_store.registry import (
    CORE_DECODER_REGISTRY,
    CORE_ENCODER_REGISTRY,
)
from botorch.exceptions.errors import ModelFittingError
from scipy import stats

from botorch_xval.ax.cross_validation import cross_validate
from botorch_xval.comparison.model_search import is_worth_a_change
from botorch_xval.models.checks import wrong

__all__ = ["RefitModelSelector", "log_density_by_arm"]

logger = logging.getLogger(__name__)


class RefitModelSelector(BestModelSelector):
    """Select the generator whose model predicts held-out arms best, by refits.

    Every arm is held out once, and the models of all folds are fitted again
    (:func:`~botorch_xval.ax.cross_validate`). The score of an arm is its log predictive
    density with observation noise, on the outcome's scale, summed over metrics. The
    first generator is selected unless another one is more than one standard error of
    the paired difference ahead, over at least 20 arms, as in
    :class:`~botorch_xval.ModelSearch`. A generator whose folds cannot be fitted is left
    out. All generators are cross-validated whenever Ax asks for a trial.
    """

    def best_model(self, generator_specs: list[GeneratorSpec]) -> GeneratorSpec:
        """Select one of several fitted generators.

        Args:
            generator_specs: The generators, that of the default model first.

        Returns:
            One of them.

        Raises:
            ValueError: If there is none.
        """
        if not isinstance(generator_specs, list) or not generator_specs:
            expected, remedy = "a list of at least one", "let Ax call this"
            got = repr(generator_specs)
            raise wrong("generator_specs", expected, got, remedy)
        scores = {}
        for k, spec in enumerate(generator_specs):
            try:
                results = cross_validate(
                    spec.fitted_adapter, use_posterior_predictive=True
                )
            except ModelFittingError as error:
                logger.warning("%s is left out: %s", spec.generator_key, error)
                continue
            scores[k] = log_density_by_arm(results)
        table = pd.DataFrame(scores).dropna()
        best = int(table.mean().idxmax()) if len(table) else 0
        if best == 0 or 0 not in table:
            return generator_specs[best]
        gain = table[best] - table[0]
        is_better = is_worth_a_change(gain.mean(), gain.sem(), len(gain))
        return generator_specs[best if is_better else 0]


def log_density_by_arm(results: list[CVResult]) -> pd.Series:
    """Log predictive densities, summed over the observations and metrics of an arm.

    Args:
        results: Of a cross-validation with predictive variances. Metrics are taken as
            independent given the model, as Ax's models have them.

    Returns:
        By name of an arm its sum, in nats.
    """
    found: dict[str, float] = defaultdict(float)
    for result in results:
        observed = result.observed.data
        predicted = result.predicted
        for i, metric in enumerate(predicted.metric_signatures):
            if metric not in observed.metric_signatures:
                continue
            j = observed.metric_signatures.index(metric)
            found[str(result.observed.arm_name)] += float(
                stats.norm.logpdf(
                    observed.means[j],
                    predicted.means[i],
                    math.sqrt(predicted.covariance[i, i]),
                )
            )
    return pd.Series(found, dtype=np.float64)


CORE_ENCODER_REGISTRY[RefitModelSelector] = best_model_selector_to_dict
CORE_DECODER_REGISTRY[RefitModelSelector.__name__] = RefitModelSelector
