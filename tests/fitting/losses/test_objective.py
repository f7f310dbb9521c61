"""The batched objective against every model's own loss and gradient."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from botorch.cross_validation import gen_loo_cv_folds
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import (
    KroneckerMultiTaskGP,
    MixedSingleTaskGP,
    MultiTaskGP,
    SingleTaskGP,
)
from botorch.models.transforms import ChainedInputTransform, Normalize, Warp
from botorch.optim.closures import get_loss_closure
from botorch.test_functions import Hartmann
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from helpers import assert_close, hartmann

from botorch_xval.data.trials import encode_tuning_trials
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.modules import ByModules
from botorch_xval.models.scalar_choice import ScalarChoiceGP

FOLDS, N = 5, 12


def data(n: int = N, batch: tuple[int, ...] = (), m: int = 1):
    generator = torch.Generator().manual_seed(1)
    X = torch.rand(*batch, n, 6, generator=generator, dtype=torch.float64)
    Y = Hartmann(negate=True)(X).unsqueeze(-1)
    return X, torch.cat([Y * (k + 1) + k * X[..., :1] for k in range(m)], dim=-1)


def folds(model, n: int = N, **noise):
    X, Y = data(n + 1)
    mlls = []
    for i in range(FOLDS):
        keep = torch.arange(n + 1) != i
        one = model(X[keep], Y[keep], **{k: v[keep] for k, v in noise.items()})
        mlls.append(ExactMarginalLogLikelihood(one.likelihood, one))
    return mlls


def normalized(X, Y):
    return SingleTaskGP(X, Y, input_transform=Normalize(6))


def mixed(X, Y):
    X = torch.cat([X[:, :3], (X[:, 3:5] * 2.99).floor()], dim=-1)
    return MixedSingleTaskGP(X, Y, cat_dims=[3, 4])


def hand_written(X, Y):
    kernel = ScaleKernel(
        MaternKernel(
            nu=1.5,
            ard_num_dims=2,
            active_dims=(0, 3),
            lengthscale_prior=LogNormalPrior(
                torch.tensor([0.1, 0.3], dtype=X.dtype),
                torch.tensor([1.0, 2.0], dtype=X.dtype),
            ),
        )
    )
    likelihood = GaussianLikelihood(noise_prior=GammaPrior(1.1, 0.05))
    return SingleTaskGP(X, Y, covar_module=kernel, likelihood=likelihood)


def warped(X, Y):
    chained = ChainedInputTransform(
        normalize=Normalize(6), warp=Warp(d=6, indices=[0, 1, 2])
    )
    return SingleTaskGP(X, Y, input_transform=chained)


def noisy(X, Y, train_Yvar=None):
    yvar = 0.01 + 0.1 * X[:, :1] if train_Yvar is None else train_Yvar
    return SingleTaskGP(X, Y, yvar, input_transform=Normalize(6))


def two_outputs(X, Y):
    return SingleTaskGP(X, torch.cat([Y, Y**2], -1), input_transform=Normalize(6))


def tuning(X, Y):
    table = encode_tuning_trials()
    rows = (X[:, 0] * len(table.X)).long()
    return ScalarChoiceGP(table.X[rows], table.Y[rows], choice_dims=table.choice_dims)


def own(mll):
    parameters = dict(mll.named_parameters())
    loss = get_loss_closure(mll)()
    gradients = torch.autograd.grad(loss.sum(), list(parameters.values()))
    return loss.detach(), dict(zip(parameters, gradients, strict=True))


def warped_only(X, Y):
    """It learns its range inside; the batch has one range, each model its own."""
    batch_shape = X.shape[:-2] if X.ndim > 2 else None
    warp = Warp(d=6, indices=[0, 2, 5], batch_shape=batch_shape)
    return SingleTaskGP(X, Y, input_transform=warp)


def test_a_batched_warp_has_its_own_losses_for_any_choice_of_models():
    cv = gen_loo_cv_folds(*hartmann(9))
    model = warped_only(cv.train_X, cv.train_Y)
    mll = ExactMarginalLogLikelihood(model.likelihood, model).train()
    losses, gradients = own(mll)
    objective = make_objective([mll])
    assert objective.num_models == 9
    for models in ([0], [3], [8, 2], range(9)):
        found, slopes = objective(objective.start[models], models)
        assert_close(found, losses[models])
        split_slopes = objective.parameters(slopes[0], models[0])
        for name, slope in split_slopes.items():
            assert_close(slope, gradients[name][models[0]])


@pytest.mark.parametrize(
    "model",
    [normalized, mixed, hand_written, warped, warped_only, noisy, two_outputs, tuning],
)
def test_ordinary_models_have_their_own_losses_and_gradients(model):
    mlls = [mll.train() for mll in folds(model)]
    objective = make_objective(mlls)
    generator = np.random.default_rng(0)
    theta = objective.start + 0.2 * generator.uniform(size=objective.start.shape)
    each = objective.num_models // FOLDS
    losses, gradients = objective(theta, list(range(objective.num_models)))
    objective.write(theta)
    for i, mll in enumerate(mlls):
        part = slice(i * each, (i + 1) * each)
        loss, gradient = own(mll)
        np.testing.assert_allclose(losses[part], loss.reshape(-1), rtol=1e-10)
        for row in range(each):
            for name, value in objective.parameters(gradients[part][row], 0).items():
                expected = gradient[name].reshape(each, -1)[row].reshape(value.shape)
                torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", [normalized, two_outputs, noisy, tuning])
def test_slices_equal_the_whole(model):
    objective = make_objective([mll.train() for mll in folds(model)])
    everyone = list(range(objective.num_models))
    losses, gradients = objective(objective.start, everyone)
    for models in ([0], [3, 1], [4, 4, 0]):
        part = objective(objective.start[models], models)
        np.testing.assert_allclose(part[0], losses[models], rtol=1e-10)
        np.testing.assert_allclose(part[1], gradients[models], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("batch, m", [((4,), 1), ((4,), 3), ((), 3), ((2, 3), 1)])
def test_batched_models(batch, m):
    X, Y = data(batch=batch, m=m)
    # BoTorch's batched Normalize fails with several outputs.
    transform = Normalize(6, batch_shape=torch.Size(batch)) if m == 1 else None
    model = SingleTaskGP(X, Y, input_transform=transform)
    mll = ExactMarginalLogLikelihood(model.likelihood, model).train()
    objective = make_objective([mll])
    shape = (*batch, m) if m > 1 else batch
    assert objective.num_models == np.prod(shape)
    losses, gradients = objective(objective.start, list(range(objective.num_models)))
    loss, gradient = own(mll)
    np.testing.assert_allclose(losses.reshape(shape), loss, rtol=1e-10)
    for name, expected in gradient.items():
        rows = [objective.parameters(g, 0)[name] for g in gradients]
        found = torch.stack(rows).reshape(expected.shape)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_batch_size_equal_to_the_number_of_inputs():
    """Then a buffer may look as if it had the batch shape."""
    X, Y = data(batch=(2,))
    prior = LogNormalPrior(torch.tensor([0.1, 0.9]), torch.tensor([1.0, 2.0]))
    kernel = MaternKernel(
        ard_num_dims=2,
        active_dims=(1, 4),
        batch_shape=torch.Size([2]),
        lengthscale_prior=prior,
    )
    model = SingleTaskGP(X, Y, covar_module=kernel).double()
    mll = ExactMarginalLogLikelihood(model.likelihood, model).train()
    loss, _ = own(mll)
    objective = make_objective([mll])
    assert objective.num_models == 2
    for i in (0, 1):
        found, _ = objective(objective.start[[i]], [i])
        np.testing.assert_allclose(found, loss[[i]], rtol=1e-10)


def test_a_shared_parameter_is_named_and_fitted_jointly():
    X, Y = data(batch=(3,))
    model = SingleTaskGP(X, Y, covar_module=ScaleKernel(MaternKernel()))
    mll = ExactMarginalLogLikelihood(model.likelihood, model).train()
    with pytest.warns(BotorchWarning, match="raw_outputscale.*raw_lengthscale"):
        objective = make_objective([mll])
    assert objective.num_models == 1
    losses, gradients = objective(objective.start, [0])
    loss, _ = own(mll)
    np.testing.assert_allclose(losses, [loss.sum()], rtol=1e-10)

    step = 1e-6 * np.eye(objective.start.size)
    ahead, behind = (
        np.array([objective(objective.start + sign * e, [0])[0][0] for e in step])
        for sign in (1, -1)
    )
    numeric = (ahead - behind) / 2e-6
    np.testing.assert_allclose(gradients[0], numeric, rtol=1e-6, atol=1e-6)


def multi_task(X, Y):
    tasks = torch.arange(len(X), dtype=X.dtype)[:, None] % 2
    return MultiTaskGP(torch.cat([X, tasks], -1), Y, task_feature=-1)


def kronecker(X, Y):
    return KroneckerMultiTaskGP(X, torch.cat([Y, Y**2], -1))


@pytest.mark.parametrize("model", [multi_task, kronecker])
def test_models_over_several_tasks_are_one_model_each(model):
    mlls = [mll.train() for mll in folds(model)]
    objective = make_objective(mlls)
    assert objective.num_models == FOLDS
    losses, _ = objective(objective.start, list(range(FOLDS)))
    expected = [get_loss_closure(mll)().item() for mll in mlls]
    np.testing.assert_allclose(losses, expected, rtol=1e-7)


def test_bounds_of_constraints_and_of_the_user():
    mlls = [mll.train() for mll in folds(normalized)]
    name = "model.covar_module.raw_lengthscale"
    ours = {
        name: (torch.full((1, 6), 0.1), 3.0),
        "likelihood.noise_covar.raw_noise": (None, 0.5),
    }
    for bounds in make_objective(mlls, bounds=ours).bounds:
        low = {k: v.tolist() for k, v in split(mlls[0], bounds.lb).items()}
        high = {k: v.tolist() for k, v in split(mlls[0], bounds.ub).items()}
        assert low[name] == pytest.approx([0.1] * 6)
        assert high[name] == [3.0] * 6
        assert high["likelihood.noise_covar.raw_noise"] == [0.5]
        assert low["model.mean_module.raw_constant"] == [-np.inf]
    noise = split(mlls[0], make_objective(mlls).bounds[0].lb)
    assert noise["likelihood.noise_covar.raw_noise"].tolist() == pytest.approx([1e-4])


def split(mll, values):
    sizes = [p.numel() for p in mll.parameters()]
    names = [name for name, _ in mll.named_parameters()]
    return dict(zip(names, torch.as_tensor(values).split(sizes), strict=True))


def test_frozen_and_chosen_parameters_stay_apart():
    mlls = [mll.train() for mll in folds(normalized)]
    for i, mll in enumerate(mlls):
        mll.likelihood.noise = 0.1 + 0.1 * i
        mll.likelihood.raw_noise.requires_grad_(False)
    objective = make_objective(mlls)
    assert set(objective.parameters(objective.start[0], 0)) == {
        "model.mean_module.raw_constant",
        "model.covar_module.raw_lengthscale",
    }
    losses, _ = objective(objective.start, list(range(FOLDS)))
    expected = [get_loss_closure(mll)().item() for mll in mlls]
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    before = [mll.likelihood.noise.item() for mll in mlls]
    assert (objective.sample(range(FOLDS)) != objective.start).any()
    assert [mll.likelihood.noise.item() for mll in mlls] == before


@pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
def test_float32_models():
    def single(X, Y):
        return normalized(X.float(), Y.float())

    mlls = [mll.train() for mll in folds(single)]
    objective = make_objective(mlls)
    losses, gradients = objective(objective.start, list(range(FOLDS)))
    assert losses.dtype == gradients.dtype == np.float64
    expected = [get_loss_closure(mll)().item() for mll in mlls]
    np.testing.assert_allclose(losses, expected, rtol=1e-3)


def test_a_model_without_parameters_is_refused():
    mlls = [mll.train() for mll in folds(partial(normalized))]
    for mll in mlls:
        mll.requires_grad_(False)
    with pytest.raises(ValueError, match="SingleTaskGP has no parameter to optimize"):
        make_objective(mlls)


def test_folds_are_stacked_and_in_closed_form():
    for model in (normalized, noisy, two_outputs, tuning, mixed):
        objective = make_objective([mll.train() for mll in folds(model)])
        assert type(objective) is Exact
    objective = make_objective([mll.train() for mll in folds(warped)])
    assert type(objective) is ByModules


def kernel(nu=2.5, prior=None, low=1e-4, frozen=False):
    def build(X, Y):
        matern = MaternKernel(nu=nu, ard_num_dims=6, lengthscale_prior=prior)
        matern.requires_grad_(not frozen)
        constraint = GreaterThan(low, transform=None, initial_value=2 * low)
        likelihood = GaussianLikelihood(noise_constraint=constraint)
        return SingleTaskGP(X, Y, covar_module=matern, likelihood=likelihood)

    return build


@pytest.mark.parametrize(
    "other",
    [
        kernel(nu=0.5),
        kernel(prior=LogNormalPrior(2.0, 1.0)),
        kernel(prior=GammaPrior(3.0, 6.0)),
        kernel(low=0.3),
        kernel(frozen=True),
    ],
)
def test_models_that_differ_are_evaluated_each_by_its_own_modules(other):
    """Also if none of them is the first, the middle or the last one."""
    plain = folds(kernel(prior=LogNormalPrior(0.0, 1.0)))
    mlls = [plain[0], folds(other)[1], *plain[2:]]
    for mll in mlls:
        mll.train()
    if not all(p.requires_grad for p in mlls[1].parameters()):
        with pytest.raises(ValueError, match="mll 1 has other parameters to optimize"):
            make_objective(mlls)
        return
    objective = make_objective(mlls)
    losses, _ = objective(objective.start, range(FOLDS))
    expected = [get_loss_closure(mll)().item() for mll in mlls]
    # By another route, the closed form; GPyTorch's Matern takes roots of rounded zeros.
    np.testing.assert_allclose(losses, expected, rtol=1e-7)
    name = "likelihood.noise_covar.raw_noise"
    noise = [
        split(mll, bounds.lb)[name].item()
        for mll, bounds in zip(mlls, objective.bounds, strict=True)
    ]
    own = [mll.likelihood.noise_covar.raw_noise_constraint.lower_bound for mll in mlls]
    np.testing.assert_allclose(noise, [bound.item() for bound in own])


def test_unknown_names_are_refused():
    mlls = [mll.train() for mll in folds(normalized)]
    with pytest.raises(ValueError, match=r"bounds: expected names .*got \['noise'\]"):
        make_objective(mlls, bounds={"noise": (0.1, None)})
    with pytest.raises(ValueError, match=r"parameters: expected .*got \['scale'\]"):
        make_objective(mlls, parameters=["scale"])
