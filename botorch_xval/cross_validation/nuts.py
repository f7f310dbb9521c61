r"""Folds of BoTorch's fully Bayesian models, whose hyper-parameters NUTS draws.

Either every fold has a run of NUTS on its training rows, or there is one on all rows,
whose draws are weighted for each fold by the ratio of the two likelihoods (see
:mod:`~botorch_xval.cross_validation.posterior`; the priors cancel), each with the
transforms of its own model. Folds whose weights are not to be trusted get a run of
their own. Draws of a chain are correlated, and count for fewer (see
:func:`~botorch_xval.cross_validation.psis.efficiency_of`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic
from typing import Any

import numpy as np
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.fit import fit_fully_bayesian_model_nuts
from botorch.models import ModelListGP, MultiTaskGP
from botorch.models.model import Model
from torch import Tensor
from tqdm import tqdm

from botorch_xval.cross_validation.fold_models import FoldData
from botorch_xval.cross_validation.fold_records import FoldFit
from botorch_xval.cross_validation.integrated import (
    Integrated,
    mix_members,
    record_of_draws,
)
from botorch_xval.cross_validation.links import links_of
from botorch_xval.cross_validation.predictions import predict_one
from botorch_xval.cross_validation.psis import (
    are_trusted,
    efficiency_of,
    smooth_weights,
)
from botorch_xval.fitting.coordinates import Array

__all__ = ["check_fit", "is_fully_bayesian", "makes_draws", "sample_folds"]

FITS = ("refit", "posterior")
WARMUP = 512  # steps of NUTS before its draws, as BoTorch has it
Samples = dict[str, Tensor]


def is_fully_bayesian(model: Model) -> bool:
    """Whether NUTS draws the hyper-parameters of a model."""
    return bool(getattr(model, "_is_fully_bayesian", False))


def makes_draws(model: Model, fit: str) -> bool:
    """Whether hyper-parameters of a model, or of one in a list, are drawn by a fit."""
    members = model.models if isinstance(model, ModelListGP) else [model]
    return fit == "posterior" or any(map(is_fully_bayesian, members))


def check_fit(model: Model, fit: str) -> None:
    """Refuse what a fully Bayesian model has not.

    Raises:
        UnsupportedError: If it is of several tasks, or `fit` is not "refit" or
            "posterior".
    """
    if isinstance(model, MultiTaskGP):
        raise UnsupportedError(
            "model: expected a fully Bayesian model of a single task, got a "
            f"{type(model).__name__}"
        )
    if fit not in FITS:
        raise UnsupportedError(
            f"fit: expected one of {FITS} for a {type(model).__name__}, whose "
            f"hyper-parameters have no single values, got {fit!r}"
        )


def sample_folds(
    data: FoldData,
    fit: str,
    draws: int,
    seed: int,
    keep: dict[int, Model] | None,
    progress: bool,
) -> Iterator[Integrated]:
    """Predict the held-out rows of all folds.

    Args:
        data: The data and folds.
        fit: "refit": a run of NUTS for each fold. "posterior": one on all rows.
        draws: How many draws each run keeps.
        seed: Of the runs.
        keep: Gets the fitted models of folds with a run of their own.
        progress: Whether to show a bar of the folds that are done.
    """
    everything: Model | None = None
    if fit == "posterior":
        everything = data.build_model(slice(None), "all rows")
        samples = _run(everything, draws, seed)
        whole = _log_likelihoods(everything)
    for i in tqdm(range(len(data.folds.names)), disable=not progress):
        model = data.model_of(i)
        shape, effective = math.nan, math.nan
        begin, how = monotonic(), "nuts"
        log_weights = np.full(draws, -math.log(draws))
        if everything is not None:
            model.load_mcmc_samples({n: v.clone() for n, v in samples.items()})
            model.eval()
            ratios = _log_likelihoods(model) - whole
            found = smooth_weights(ratios, efficiency_of(ratios))
            shape, worth = found.shapes[0], found.effective_draws[0]
            targets: Any = model.train_targets
            share = targets.shape[-1] / len(data.train_X)
            if are_trusted(shape, found.efficiency * draws, worth, share):
                how, log_weights = "reweighted", found.log_weights[0]
                effective = worth
            else:
                model = data.model_of(i)
        if how == "nuts":
            _run(model, draws, seed)
            if keep is not None:
                keep[i] = model
        yield _predict(data, i, model, how, log_weights, shape, effective, begin)


def _predict(
    data: FoldData,
    i: int,
    model: Model,
    how: str,
    log_weights: Array,
    shape: float,
    effective: float,
    begin: float,
) -> Integrated:
    test = data.folds.held_out[i].to(data.train_X.device)
    noise = None if data.train_Yvar is None else data.train_Yvar[test]
    members = predict_one(model, data.train_X[test], noise)
    targets: Any = model.train_targets
    said = "draws of NUTS on all rows, reweighted"
    if how == "nuts":
        said = "draws of NUTS on the fold's training rows"
    record = record_of_draws(
        f"{len(log_weights)} {said}", targets.shape[-1], seconds=monotonic() - begin
    )
    fit = FoldFit(
        i,
        0,
        how,
        math.nan,
        record,
        pareto_k=float(shape),
        effective_draws=float(effective),
    )
    links, _ = links_of(model, 1)
    if isinstance(members, Exception):
        message = f"no prediction, {type(members).__name__}: {members}"
        return Integrated(i, None, None, [fit], links, message)
    weights = torch.as_tensor(np.exp(log_weights)).to(members["mean"])
    mixture, prediction = mix_members(members, weights)
    if how == "nuts":
        each = mixture.log_densities(data.train_Y[test], links)[..., 0].nansum(dim=0)
        likely = (each - each.max()).exp().cpu().numpy()
        fit = replace(fit, effective_draws=len(likely) * efficiency_of(likely))
    return Integrated(i, mixture, prediction, [fit], links)


def _run(model: Model, draws: int, seed: int) -> Samples:
    """Draw a model's hyper-parameters, which it has afterwards, and return them."""
    kept: Samples = {}
    load = model.load_mcmc_samples

    def keep(mcmc_samples: Samples) -> None:
        kept.update({name: values.clone() for name, values in mcmc_samples.items()})
        load(mcmc_samples=mcmc_samples)

    model.load_mcmc_samples = keep
    given: dict[str, Any] = {"warmup_steps": WARMUP, "num_samples": draws}
    if "seed" in inspect.signature(fit_fully_bayesian_model_nuts).parameters:
        given["seed"] = seed  # earlier versions have that of Pyro
    try:
        fit_fully_bayesian_model_nuts(model, thinning=1, disable_progbar=True, **given)
    finally:
        del model.load_mcmc_samples
    return kept


@torch.no_grad()
def _log_likelihoods(model: Model) -> Array:
    """Log marginal likelihoods of the training rows at each draw, `S`."""
    X, targets = model.train_inputs[0], model.train_targets
    prior = model.forward(X)
    noisy = model.likelihood(prior, X)
    factor = torch.linalg.cholesky(noisy.covariance_matrix.double())  # S x n x n
    residuals = (targets - noisy.mean).double()[..., None]
    solved = torch.linalg.solve_triangular(factor, residuals, upper=False)
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    quadratic = (solved**2).sum(dim=(-2, -1))
    n = residuals.shape[-2]
    found = -0.5 * (quadratic + log_det + n * math.log(2 * math.pi))
    return found.cpu().numpy()
