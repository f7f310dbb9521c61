"""Scores of Gaussian predictions: one value per held-out point, and their summaries.

All functions take predicted means and variances and what was observed, in one unit. The
variances are those of observations (with noise) unless a docstring says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import fisher_exact, kendalltau, pearsonr, spearmanr
from torch import Tensor

from botorch_xval.cross_validation.clusters import standard_error
from botorch_xval.models.checks import check_type, wrong

__all__ = [
    "COVERAGES",
    "ax_diagnostics",
    "crps",
    "log_density",
    "pit",
    "squared_error",
    "summarize",
    "z_score",
]

COVERAGES = (0.5, 0.8, 0.95)
Array = NDArray[np.float64]


def log_density(mean: Tensor, variance: Tensor, observed: Tensor) -> Tensor:
    r"""Log predictive density of what was observed, in nats of the outcome's unit.

    .. math:: \log p(y) = -\tfrac12 \left( (y - \mu)^2 / \sigma^2
        + \log \sigma^2 + \log 2 \pi \right)

    Args:
        mean: Predicted means, of any shape.
        variance: Predicted variances with observation noise; positive (not checked).
        observed: Observed outcomes.

    Returns:
        The log density of each point; larger is better.

    Raises:
        ValueError: If these are no tensors of one shape, as for all scores here.
    """
    _check(mean, variance=variance, observed=observed)
    return -0.5 * ((observed - mean) ** 2 / variance + (2 * math.pi * variance).log())


def squared_error(mean: Tensor, observed: Tensor) -> Tensor:
    """Squared error of each point, in the squared unit of the outcome."""
    _check(mean, observed=observed)
    return (observed - mean) ** 2


def z_score(mean: Tensor, variance: Tensor, observed: Tensor) -> Tensor:
    """Error in predicted standard deviations; standard normal if the model is right."""
    _check(mean, variance=variance, observed=observed)
    return (observed - mean) / variance.sqrt()


def pit(mean: Tensor, variance: Tensor, observed: Tensor) -> Tensor:
    """Probability integral transform; uniform on (0, 1) if the model is right."""
    return torch.special.ndtr(z_score(mean, variance, observed))


def crps(mean: Tensor, variance: Tensor, observed: Tensor) -> Tensor:
    r"""Continuous ranked probability score, in the outcome's unit; smaller is better.

    .. math:: \sigma \left[ z (2 \Phi(z) - 1) + 2 \varphi(z) - 1 / \sqrt{\pi} \right],
        \quad z = (y - \mu) / \sigma

    (Gneiting & Raftery 2007, eq. 21, with the opposite sign.) For a variance of zero it
    is the absolute error.
    """
    _check(mean, variance=variance, observed=observed)
    deviation = variance.sqrt()
    z = (observed - mean) / deviation
    density = (-0.5 * z**2).exp() / math.sqrt(2 * math.pi)
    score = z * (2 * torch.special.ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi)
    return torch.where(variance > 0, deviation * score, (observed - mean).abs())


def summarize(
    mean: Tensor,
    variance: Tensor,
    observed: Tensor,
    baseline: Tensor,
    scored: Mapping[str, Tensor] | None = None,
    clusters: Tensor | None = None,
) -> dict[str, float]:
    r"""Summaries over the points of one outcome.

    Args:
        mean: Predicted means, `k`.
        variance: Predicted variances, `k`.
        observed: Observed outcomes, `k`.
        baseline: What would be predicted without a model, `k`: the mean of each fold's
            training outcomes.
        scored: Of predictions that are not Gaussian, their `log_density`, `crps` and
            `z_score` (of the quantile), `k` each; default: those of Gaussian ones.
        clusters: The cluster of each point, `k`; default: each is one.

    Returns:
        By name: `points` (their number), `elpd` (summed log density, nats),
        `mean_log_density` and its `standard_error` (the clusters taken as independent,
        see :mod:`~botorch_xval.cross_validation.clusters`),
        `mse`, `rmse`, `mae`, `crps`, `r2` (:math:`1 - \sum e^2 / \sum (y - \bar y)^2`),
        `q2` (the same against `baseline`: what leave-one-out calls predictive
        :math:`Q^2`), `coverage_50`, `coverage_80`, `coverage_95` (shares of points in
        the central intervals), `z_mean` and `z_deviation`. NaN where undefined.
    """
    _check(mean, variance=variance, observed=observed, baseline=baseline)
    if mean.ndim != 1:
        got, remedy = f"the shape {tuple(mean.shape)}", "summarize outcomes one by one"
        raise wrong("mean", "the points of one outcome, `k`", got, remedy)
    if clusters is not None:
        _check(mean, clusters=clusters)
    if scored is None:
        scored = {
            "log_density": log_density(mean, variance, observed),
            "crps": crps(mean, variance, observed),
            "z_score": z_score(mean, variance, observed),
        }
    density, z = scored["log_density"], scored["z_score"]
    error, p = observed - mean, torch.special.ndtr(z)
    count = len(mean)
    total = ((observed - observed.mean()) ** 2).sum()
    naive = ((observed - baseline) ** 2).sum()
    mse = (error**2).mean()
    values = {
        "elpd": density.sum(),
        "mean_log_density": density.mean(),
        "standard_error": standard_error(density.numpy(), clusters),
        "mse": mse,
        "rmse": mse.sqrt(),
        "mae": error.abs().mean(),
        "crps": scored["crps"].mean(),
        "r2": 1 - (error**2).sum() / total,
        "q2": 1 - (error**2).sum() / naive,
        **{
            f"coverage_{100 * level:.0f}": ((p - 0.5).abs() <= level / 2)
            .double()
            .mean()
            for level in COVERAGES
        },
        "z_mean": z.mean(),
        "z_deviation": _deviation(z),
    }
    finite = {
        name: float(value) if count else math.nan for name, value in values.items()
    }
    return {"points": count, **finite}


def _check(mean: Tensor, **others: Tensor) -> None:
    """Refuse what is no tensor, or has another shape than the means."""
    for name, value in {"mean": mean, **others}.items():
        check_type(name, value, Tensor, "use torch.as_tensor")
        if value.shape != mean.shape:
            expected = f"the shape of mean, {tuple(mean.shape)}"
            remedy = "pass the same points in each; shapes are not broadcast"
            raise wrong(name, expected, tuple(value.shape), remedy)


def _deviation(values: Tensor) -> Tensor:
    """Sample standard deviation; NaN for a single value."""
    if len(values) < 2:
        return values.new_tensor(math.nan)
    return values.std()


def ax_diagnostics(
    mean: Array, standard_error: Array, observed: Array
) -> dict[str, float]:
    """The diagnostics that Ax computes of its cross-validation, by Ax's names.

    Args:
        mean: Predicted means, `k`.
        standard_error: Predicted standard errors, `k`, as Ax has them: of the noiseless
            outcome, unless it was told to predict observations.
        observed: Observed outcomes, `k`.

    Returns:
        What Ax's `compute_diagnostics` has for one metric, to its values; NaN where
        undefined.

    Raises:
        ValueError: If these are no arrays of one length, or have no points.
    """
    for name, value in (
        ("mean", mean),
        ("standard_error", standard_error),
        ("observed", observed),
    ):
        if not isinstance(value, np.ndarray):
            remedy = "call .numpy() on a tensor"
            raise wrong(name, "an array `k`", type(value).__name__, remedy)
        if value.shape != mean.shape or value.ndim != 1:
            got, remedy = f"the shape {value.shape}", "pass the same points in each"
            raise wrong(name, f"an array of {len(mean)} numbers", got, remedy)
    if not len(mean):
        remedy = "leave out what has no points"
        raise wrong("mean", "at least one point", f"the shape {mean.shape}", remedy)
    error, size = np.abs(mean - observed), np.abs(observed)
    eps = np.finfo(observed.dtype).eps
    variance = standard_error**2
    with np.errstate(divide="ignore", invalid="ignore"):
        densities = -0.5 * (error**2 / variance + np.log(2 * np.pi * variance))
        return {
            "Mean prediction CI": float(np.mean(2 * 1.96 * standard_error / size)),
            "MAPE": float(np.mean(error / size.clip(min=eps))),
            "wMAPE": float(error.sum() / size.sum().clip(min=eps)),
            "Total raw effect": float(
                (observed.max() - observed.min()) / observed.min()
            ),
            "Correlation coefficient": _correlation(pearsonr, mean, observed),
            "Rank correlation": _correlation(spearmanr, mean, observed),
            "Kendall tau rank correlation": _correlation(kendalltau, mean, observed),
            "Fisher exact test p": _fisher(mean, observed),
            "Log likelihood": float(densities.sum()),
            "MSE": float(np.mean(error**2)),
        }


def _correlation(statistic: Callable, mean: Array, observed: Array) -> float:
    if len(mean) < 2 or np.ptp(mean) == 0 or np.ptp(observed) == 0:
        return math.nan
    return float(statistic(mean, observed).statistic)


def _fisher(mean: Array, observed: Array) -> float:
    """Do the better halves by prediction and by observation agree by chance?"""
    half = len(observed) // 2
    if half == 0:
        return math.nan
    top = [set(np.argsort(values)[-half:].tolist()) for values in (mean, observed)]
    both = len(top[0] & top[1])
    rest = len(observed) - 2 * half + both
    table = [[both, half - both], [half - both, rest]]
    return float(fisher_exact(table, alternative="greater").pvalue)
