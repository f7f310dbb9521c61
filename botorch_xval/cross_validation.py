"""Refit cross-validation: every fold its own model, its own transforms, its own fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from warnings import warn

import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.exceptions.warnings import BotorchWarning
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from torch import Tensor

from botorch_xval.fit import fit_each
from botorch_xval.folds import Folds, by_size, leave_one_out, make_folds
from botorch_xval.records import FitRecord
from botorch_xval.scores import log_density

__all__ = ["CrossValidation", "cross_validate"]


@dataclass(frozen=True)
class CrossValidation:
    """Held-out predictions in the order of the rows, on the outcome's own scale.

    Rows that no fold holds out, and rows of a fold whose fit failed, are NaN.
    """

    mean: Tensor
    """Predicted means, `n x m`."""

    variance: Tensor
    """Predicted variances with observation noise, `n x m`."""

    observed: Tensor
    """Observed outcomes, `n x m`."""

    log_density: Tensor
    """Log predictive densities in nats, `n x m`."""

    folds: Folds
    """The folds."""

    records: list[FitRecord]
    """The fits in the order of the folds; with several outputs those of each fold."""

    failed: dict[str, str]
    """By name of a fold whose fit failed the reason."""

    @property
    def elpd(self) -> float:
        """Sum of all log predictive densities, in nats; NaN rows are left out.

        NaN if there is no other row.
        """
        scores = self.log_density[~self.log_density.isnan()]
        return scores.sum().item() if len(scores) else math.nan


def cross_validate(
    model: Callable[..., Model],
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None = None,
    folds: Callable[[int], Folds] | Folds | Tensor = leave_one_out,
    fit: str = "refit",
    mll: type[MarginalLogLikelihood] = ExactMarginalLogLikelihood,
    fit_kwargs: dict[str, Any] | None = None,
) -> CrossValidation:
    r"""Fit a model to the training rows of every fold and predict its held-out rows.

    Every fold's model is built from its own training rows only, so whatever it learns
    from data (ranges, standardization) cannot see a held-out value. Folds of equal size
    are fitted together (:func:`~botorch_xval.fit.fit_each`); each has its own optimizer
    and ends where it would end alone. The score of a row is its log predictive density

    .. math:: \log p(y_i \mid x_i, D_{-S}, \hat\theta_{-S}),

    with :math:`S` the fold that holds it out. The cost is that of one fit per fold.

    Args:
        model: A class or function that builds an ordinary (unbatched) model from one
            fold's `train_X` and `train_Y`, called as `model(train_X, train_Y)` and with
            the keyword `train_Yvar` if that is given.
        train_X: Inputs, `n x d`.
        train_Y: Outcomes, `n x m`.
        train_Yvar: Known variances of the observation noise, `n x m`.
        folds: A function of `n` such as :func:`~botorch_xval.folds.leave_one_out`,
            finished folds, or a boolean mask `folds x n`. No row may be held out twice.
        fit: "refit": every fold from its model's initial values, as BoTorch does.
        mll: The marginal log likelihood of a model.
        fit_kwargs: Arguments of :func:`~botorch_xval.fit.fit_each`.

    Returns:
        Predictions, log densities and fit records. Failed folds are listed in `failed`
        and named in one warning.

    Raises:
        ValueError: If shapes, folds or `fit` are not as described.
        UnsupportedError: If the model's posterior on the outcome's scale is not
            Gaussian.
    """
    _check(train_X, train_Y, train_Yvar, fit)
    folds = make_folds(folds, len(train_X))
    times = folds.held_out.sum(dim=0)
    if (times > 1).any():
        row = int((times > 1).nonzero()[0])
        raise ValueError(
            f"folds: expected every row to be held out once at most, but row {row} is "
            f"held out {int(times[row])} times"
        )
    mean = torch.full_like(train_Y, torch.nan)
    variance = torch.full_like(train_Y, torch.nan)
    fits: dict[int, list[FitRecord]] = {}
    failed: dict[str, str] = {}
    for numbers in by_size(folds):
        mlls = []
        for i in numbers:
            train = ~folds.held_out[i].to(train_X.device)
            noise = {} if train_Yvar is None else {"train_Yvar": train_Yvar[train]}
            try:
                # A copy, since a function may hand the same transform or kernel to all
                # models, and BoTorch does not copy what it is given.
                fold_model = deepcopy(model(train_X[train], train_Y[train], **noise))
            except Exception as error:
                error.add_note(f"raised by the model of fold {folds.names[i]!r}")
                raise
            mlls.append(mll(fold_model.likelihood, fold_model).to(train_X))
        errors = fit_each(mlls, **(fit_kwargs or {}))
        each = len(mlls[0].fit_records)  # models of a fold: one, or one per output
        for j, i in enumerate(numbers):
            fits[i] = mlls[j].fit_records
            if bad := [r for k, r in enumerate(fits[i]) if j * each + k in errors]:
                failed[folds.names[i]] = "; ".join(record.message for record in bad)
                continue
            test = folds.held_out[i].to(train_X.device)
            noise = None if train_Yvar is None else train_Yvar[test]
            mean[test], variance[test] = _predict(mlls[j].model, train_X[test], noise)
    if failed:
        warn(
            f"{len(failed)} of {len(folds.names)} folds could not be fitted and have "
            "no score: "
            + ", ".join(f"{name} ({why})" for name, why in list(failed.items())[:5]),
            BotorchWarning,
            stacklevel=2,
        )
    return CrossValidation(
        mean=mean,
        variance=variance,
        observed=train_Y,
        log_density=log_density(mean, variance, train_Y),
        folds=folds,
        records=[record for i in sorted(fits) for record in fits[i]],
        failed=failed,
    )


def _predict(model: Model, X: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and variance of observations at `X`; the model is left as it is."""
    model.eval()
    with torch.no_grad():
        # BoTorch would add the mean of the known variances of the training rows.
        posterior = model.posterior(X, observation_noise=noise is None)
        if not isinstance(posterior, GPyTorchPosterior):
            raise UnsupportedError(
                "expected a Gaussian posterior on the outcome's scale, got "
                f"{type(posterior).__name__}; apply a nonlinear outcome transform "
                "(such as Log) to train_Y beforehand"
            )
        variance = posterior.variance
        return posterior.mean, variance if noise is None else variance + noise


def _check(
    train_X: Tensor, train_Y: Tensor, train_Yvar: Tensor | None, fit: str
) -> None:
    if train_X.ndim != 2:
        raise ValueError(f"train_X: expected `n x d`, got shape {tuple(train_X.shape)}")
    if train_Y.ndim != 2 or len(train_Y) != len(train_X):
        raise ValueError(
            f"train_Y: expected `n x m` with n = {len(train_X)}, got shape "
            f"{tuple(train_Y.shape)}"
        )
    if train_Yvar is not None and train_Yvar.shape != train_Y.shape:
        raise ValueError(
            f"train_Yvar: expected the shape of train_Y, {tuple(train_Y.shape)}, got "
            f"{tuple(train_Yvar.shape)}"
        )
    if fit != "refit":
        raise ValueError(f"fit: expected 'refit', got {fit!r}")
