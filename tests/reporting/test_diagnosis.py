"""What is wrong with fits, in words."""

from __future__ import annotations

import torch
from botorch.models import SingleTaskGP
from botorch.optim.core import OptimizationStatus
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import RBFKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior
from helpers import assert_close, noisy_waves, normalized_gp

from botorch_xval import FitRecord, cross_validate, fit_gpytorch_mll
from botorch_xval.reporting.diagnosis import summarize_fits
from botorch_xval.reporting.hyperparameters import hyperparameters


def record(status: str = "SUCCESS", message: str = "", **values: float) -> FitRecord:
    settings = {"attempts": 1, "gradient_norm": 1e-5, **values}
    return FitRecord(
        (1.0, 0.5), 7, 1, OptimizationStatus[status], message, 0.25, **settings
    )


def test_nothing_wrong_is_said_in_two_lines():
    assert summarize_fits([record(), record()]) == (
        "2 fits: 2 converged; 14 evaluations in 0.5 s of computing.\n"
        "Nothing looks wrong."
    )


def test_ends_are_named():
    text = summarize_fits(
        [
            record(),
            record("STOPPED", "maxiter"),
            record("FAILURE", "NotPSDError", attempts=5),
            record(gradient_norm=0.3),
        ]
    )
    assert "4 fits: 2 converged, 1 stopped early, 1 failed" in text
    assert "Failed, with initial values: model 2 (NotPSDError)." in text
    assert "Stopped early, at the best point so far: model 1 (maxiter)." in text
    assert "large gradient (up to 0.3 per point): model 3." in text
    assert "more than one attempt: model 2." in text
    assert "Nothing" not in text


def test_a_stuck_noise_and_a_prior_that_fights_the_data_are_found_by_a_fit():
    X = torch.linspace(0, 1, 15, dtype=torch.float64)[:, None]
    noise = GaussianLikelihood(
        noise_constraint=GreaterThan(1e-2, transform=None, initial_value=0.1)
    )
    kernel = RBFKernel(lengthscale_prior=GammaPrior(20.0, 400.0))  # 0.05
    model = SingleTaskGP(X, torch.sin(1.2 * X), likelihood=noise, covar_module=kernel)
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(mll)
    text = summarize_fits(mll.fit_records, model)
    assert text.count("stuck") == 1
    assert "noise (likelihood.noise_covar) is stuck at its lower bound 0.01" in text
    assert "The prior fights the data: lengthscale (covar_module)" in text
    assert "above 99.5%" in text
    assert mll.fit_records[0].at_bounds == ("likelihood.noise_covar.raw_noise",)
    assert "raw_noise is on a bound in the model" in summarize_fits(mll.fit_records)


def test_a_model_in_another_optimum_is_named():
    X, Y = noisy_waves(10)
    models = [normalized_gp(X, Y) for _ in range(7)]
    for i, model in enumerate(models):
        model.covar_module.lengthscale = 0.5 + 0.01 * i
    assert "optimum" not in summarize_fits([record()] * 7, models)
    models[3].covar_module.lengthscale = torch.tensor([[0.5, 40.0]])
    text = summarize_fits([record()] * 7, models, ["a", "b"])
    assert "Model 3 may be in another optimum: its lengthscale['b']" in text
    assert text.count("optimum") == 1


def test_folds_of_a_cross_validation_have_what_it_needs():
    X, Y = noisy_waves(12)
    result = cross_validate(normalized_gp, X, Y, fit="warm", keep_models=True)
    assert len(result.models) == 12 and result.full_model is not None
    table = hyperparameters(result.models)
    assert table.model.nunique() == 12
    assert "12 fits: " in summarize_fits(result.records, result.models)
    for i in (0, 7):  # the models are those that predicted
        posterior = result.models[i].posterior(X[[i]], observation_noise=True)
        assert_close(posterior.mean[0], result.mean[i])
    conditions = result.fit_table().condition
    assert conditions.nunique() == 1 and conditions[0] > 1
    bare = cross_validate(normalized_gp, X, Y, fit="warm")
    assert bare.models is None and bare.full_model is None
    one = cross_validate(normalized_gp, X, Y, fit="fixed", keep_models=True)
    assert one.models is None and one.full_model is not None
    cold = cross_validate(normalized_gp, X, Y, keep_models=True)
    assert len(cold.models) == 12 and cold.full_model is None
