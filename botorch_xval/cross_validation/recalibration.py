r"""Is the predicted variance right? A factor on it, learned from held-out points.

With held-out errors :math:`z_i` in predicted standard deviations :math:`\sigma_i`, the
factor :math:`s = t^2` of an output minimizes the mean continuous ranked probability
score (CRPS) of :math:`N(\mu_i, s \sigma_i^2)`. That of a Gaussian (Gneiting & Raftery
2007, eq. 21) is convex in `t`, and so the minimum is where

.. math:: \sum_i \sigma_i \left[ 2 \varphi(z_i / t) - 1 / \sqrt{\pi} \right] = 0.

A single error, however large, moves this sum by a bounded amount. The factor that
maximizes the log density is the mean of :math:`z_i^2`, on which one wild row decides.
Both are one if the model is right.

Whether the factor helps is tested on predictions whose factor was learned without them:

* :func:`recalibrate` takes for each fold the factor of all points of other rows, which
  costs nothing. But these were predicted by models that have seen the fold's rows.
* :func:`~botorch_xval.cross_validation.recalibrate_nested` cross-validates again
  without the rows of each fold, so that nothing of them is in its factor.

Held-out errors share training rows and are correlated; standard errors take folds as
independent, and are rather too small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
import torch
from botorch.exceptions.errors import UnsupportedError
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor

from botorch_xval.cross_validation.clusters import standard_error
from botorch_xval.cross_validation.files import checked, read_arrays
from botorch_xval.cross_validation.result import PASS, CrossValidation
from botorch_xval.models.checks import check_type
from botorch_xval.models.scaled_variance import ScaledVariance

__all__ = ["FEWEST_FOLDS", "FIXED", "Recalibration", "is_scalable", "recalibrate"]

Array = NDArray[np.float64]
LARGEST = 1e3  # factor on a standard deviation
DECISIVE = 2.0  # standard errors
FEW_POINTS = 20
FEWEST_FOLDS = 3
EXTRA = ("factor", "fold_factor", "is_nested")


@dataclass(frozen=True)
class Recalibration:
    """Factors on the predictive variances, and what they change."""

    result: CrossValidation
    """The cross-validation on which the factors are tested, as it was."""

    factor: Tensor
    """Of the variance of each output, by all points, `m`: for new predictions."""

    fold_factor: Tensor
    """For each fold of `result` the factor that was learned without it, `folds x m`."""

    is_nested: bool
    """Whether the rows of a fold were hidden from its factor altogether."""

    @property
    def log_error(self) -> Tensor:
        """Standard error of the logarithm of each factor, `m`, by the jackknife.

        Folds are left out one by one (Efron & Tibshirani 1993, eq. 11.5) and taken as
        independent. If it is nested, new fits without their rows are part of it.
        """
        held_out = self.result.folds.held_out
        times = float(held_out.sum() / held_out.any(dim=0).sum())  # of a row
        count = len(self.fold_factor) / times  # folds of one repetition
        logs = self.fold_factor.log()
        spread = ((logs - logs.mean(dim=0)) ** 2).sum(dim=0) / times
        return ((count - 1) / count * spread).sqrt()

    def apply(self) -> CrossValidation:
        """The result with all variances times `factor`.

        For plots and predictions; its scores are too good, since the factor has seen
        them. See :meth:`tested` for honest ones.
        """
        return _scaled(self.result, self.factor.expand_as(self.fold_factor), True)

    def tested(self) -> CrossValidation:
        """The result with the variances of each fold times the factor of the others."""
        return _scaled(self.result, self.fold_factor, False)

    def posterior_transform(self) -> ScaledVariance:
        """What scales the variances of a model's posterior, for BoTorch.

        As `posterior_transform` of `model.posterior` and of acquisition functions. The
        factor is that of predicted observations; with `observation_noise=False` it
        assumes that the model's and the noise's part are wrong by the same factor,
        which held-out observations cannot tell.

        Raises:
            UnsupportedError: If the outcome transform is not linear: the factor is then
                one of the variance of the transformed outcome.
        """
        if self.result.linked is not None:
            raise UnsupportedError(
                "result: expected a linear outcome transform, got Log, Power or Bilog, "
                "where the factor is one of the transformed outcome's variance; "
                "transform train_Y beforehand and cross-validate that"
            )
        return ScaledVariance(self.factor)

    def table(self) -> pd.DataFrame:
        r"""What each output's factor is, and what it changes on held-out points.

        Returns:
            One row per output: `factor`, with `low` and `high` (95 %, by the
            jackknife), `mean_square_z`, the factor that maximizes the log density (far
            above `factor` where a few errors are wild); `points`; then with factors
            learned without the point's fold `log_density_gain` (nats per point) and
            `crps_gain` (fall of the CRPS per point, in the outcome's unit), each with a
            paired `..._se`, `crps`, `coverage_95` and `coverage_95_after`; and
            `advice`.
        """
        before, after = self.result.to_frame(), self.tested().to_frame()
        pairs = before.join(after[["log_density", "crps", "pit"]].add_suffix("_after"))
        far = norm.ppf(0.975)
        rows = []
        for j, frame in pairs.dropna(subset="log_density").groupby("output"):
            factor = float(self.factor[j])
            spread = math.exp(far * float(self.log_error[j]))
            gains = pd.DataFrame(
                {
                    "gain": frame.log_density_after - frame.log_density,
                    "fall": frame.crps - frame.crps_after,
                }
            )
            clusters = self.result.clusters.numpy()[frame.index // len(self.factor)]
            errors = {
                name: standard_error(gains[name].to_numpy(), clusters) for name in gains
            }
            row = {
                "factor": factor,
                "low": factor / spread,
                "high": factor * spread,
                "mean_square_z": float((frame.z_score**2).mean()),
                "points": len(frame),
                "log_density_gain": float(gains.gain.mean()),
                "log_density_gain_se": float(errors["gain"]),
                "crps": float(frame.crps.mean()),
                "crps_gain": float(gains.fall.mean()),
                "crps_gain_se": float(errors["fall"]),
                "coverage_95": float(((frame.pit - 0.5).abs() <= 0.475).mean()),
                "coverage_95_after": float(
                    ((frame.pit_after - 0.5).abs() <= 0.475).mean()
                ),
            }
            rows.append({**row, "advice": _advice(row)})
        return pd.DataFrame(rows, index=pd.Index(range(len(rows)), name="output"))

    def __str__(self) -> str:
        """The table in sentences, one per output."""
        how = "without any of the fold's rows" if self.is_nested else "from other folds"
        texts = []
        for j, row in self.table().iterrows():
            name = f"Output {j}: v" if len(self.factor) > 1 else "V"
            texts.append(
                f"{name}ariance times {row.factor:.2f} (95 %: {row.low:.2f} to "
                f"{row.high:.2f}). With factors learned {how}, the log density of "
                f"held-out points changes by {row.log_density_gain:+.3f} nats per "
                f"point, standard error {row.log_density_gain_se:.3f}, the CRPS by "
                f"{-row.crps_gain / row.crps:+.1%}, the coverage of 95 % intervals "
                f"from {row.coverage_95:.0%} to {row.coverage_95_after:.0%}: "
                f"{row.advice}."
            )
        return "\n".join(texts)

    def save(self, path: str | Path) -> None:
        """Write everything to one file, which `CrossValidation.load` reads, too."""
        self.result.save(path)
        with ZipFile(path, "a", ZIP_DEFLATED) as archive:
            for name in EXTRA:
                with archive.open(f"recalibration_{name}.npy", "w") as file:
                    np.lib.format.write_array(file, np.asarray(getattr(self, name)))

    @classmethod
    def load(cls, path: str | Path) -> Recalibration:
        """Read what :meth:`save` has written; tensors are on the CPU.

        Raises:
            ValueError: If the file is something else, or has no factors.
        """
        result = CrossValidation.load(path)
        with checked(path, "Recalibration.save") as file:
            data = read_arrays(file)
            if f"recalibration_{EXTRA[0]}" not in data:
                raise ValueError("a cross-validation without factors")
            factor, each, is_nested = (data[f"recalibration_{n}"] for n in EXTRA)
            folds, m = len(result.folds.names), result.mean.shape[-1]
            for values, shape in ((factor, (m,)), (each, (folds, m)), (is_nested, ())):
                if values.shape != shape:
                    raise ValueError(f"factors of shape {values.shape}")
            own, others = (torch.from_numpy(f.astype(float)) for f in (factor, each))
        return cls(result, own, others, bool(is_nested))


def recalibrate(result: CrossValidation) -> Recalibration:
    """Learn a factor on the variance of each output from a cross-validation.

    The factor of a fold, for the test, is that of all points of other rows. Their
    predictions come from models that were trained on the fold's rows; see
    :func:`~botorch_xval.cross_validation.recalibrate_nested` for a test without this.

    Args:
        result: Of refitted folds. Errors at fixed hyper-parameters are too small. Of a
            nonlinear outcome transform, the factor is that of the transformed
            outcome's variance, by its CRPS.

    Returns:
        The factors.

    Raises:
        ValueError: If the result is of fixed hyper-parameters, or fewer than three
            folds have a score.
        UnsupportedError: If predictions are mixtures.
    """
    _check(result)
    deviation, z = _errors(result)
    held_out = result.folds.held_out[:, result.rows.cpu()]
    factor = _factors(deviation, z)
    each = [_factors(deviation[~own], z[~own]) for own in held_out.numpy()]
    return Recalibration(
        result, torch.from_numpy(factor), torch.from_numpy(np.stack(each)), False
    )


def is_scalable(result: CrossValidation) -> bool:
    """Whether :func:`recalibrate` takes a result."""
    try:
        _check(result)
    except (ValueError, UnsupportedError):
        return False
    return True


FIXED = (
    "fit: expected refitted folds, got fixed hyper-parameters, whose errors are too "
    'small, and so is a factor learned from them; cross-validate with fit="warm"'
)


def _check(result: CrossValidation) -> None:
    check_type("result", result, CrossValidation, PASS)
    if any(fit.how == "fixed" for fit in result.fits):
        raise ValueError(FIXED)
    if result.mixture is not None:
        raise UnsupportedError(
            "result: expected Gaussian predictions, got mixtures, which have no single "
            "variance to scale; their draws say how uncertain hyper-parameters are"
        )
    count = len(result.folds.names) - len(result.failed)
    if count < FEWEST_FOLDS:
        raise ValueError(
            f"result: expected at least {FEWEST_FOLDS} folds with a score, got "
            f"{count}; use more folds"
        )


def _errors(result: CrossValidation) -> tuple[Array, Array]:
    """Deviations and errors in them, where predictions are Gaussian, `k x m` each."""
    own = result if result.linked is None else result.linked
    deviation = own.variance.sqrt()
    return deviation.cpu().double().numpy(), result.z_scores.cpu().double().numpy()


def _factors(deviation: Array, z: Array) -> Array:
    """The factor of each output, `m`, from the points of it that have a score."""
    found = []
    for j, (spread, error) in enumerate(zip(deviation.T, z.T, strict=True)):
        known = np.isfinite(error)
        if not known.any():
            raise ValueError(
                f"result: expected scores of output {j} in two folds or more, got fewer"
                "; see its fit_table()"
            )
        found.append(_factor(spread[known], error[known]))
    return np.array(found)


def _factor(deviation: Array, z: Array) -> float:
    """Where the slope of the summed CRPS by `t` is zero, as the square of `t`."""
    half, target = -0.5 * z**2, math.sqrt(0.5) * deviation.sum()

    def slope(log_t: float) -> float:  # times the square root of pi, in [-1, 0.42]
        return float(deviation @ np.exp(half * math.exp(-2 * log_t))) / target - 1

    end = math.log(LARGEST)
    if slope(-end) >= 0:  # nearly all errors are zero
        return math.exp(-2 * end)
    return math.exp(2 * (end if slope(end) <= 0 else brentq(slope, -end, end)))


def _scaled(result: CrossValidation, factor: Tensor, is_one: bool) -> CrossValidation:
    """The result with its variances times a factor of each fold and output."""
    own = factor[result.fold_of.cpu()].to(result.mean)  # k x m
    whitened = result.whitened
    if whitened is not None:
        whitened = whitened / factor[0].sqrt().to(whitened) if is_one else None
    linked, values = result.linked, {}
    if linked is None:
        parts = ("variance", "noise_variance")
        values = {name: getattr(result, name) * own for name in parts}
    else:
        linked = replace(
            linked,
            variance=linked.variance * own,
            noise_variance=linked.noise_variance * own,
        )
        values = linked.moments()
    return replace(
        result,
        **values,
        linked=linked,
        whitened=whitened,
        estimate=None,
        corrected=None,
        models=None,
        full_model=None,
    )


def _advice(row: dict[str, Any]) -> str:
    """Whether to use the factor, in words."""
    gain, error = row["log_density_gain"], row["log_density_gain_se"]
    fall, fall_error = row["crps_gain"], row["crps_gain_se"]
    if row["points"] < FEW_POINTS:
        return f"only {row['points']} points, too few to rely on it"
    if gain > DECISIVE * error and fall > -DECISIVE * fall_error:
        return "use it"
    if gain < -DECISIVE * error or fall < -DECISIVE * fall_error:
        return "no gain, leave it"
    return "not decisive"
