"""Closed-form losses and gradients against GPyTorch's modules and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.models import MixedSingleTaskGP, MultiTaskGP, SingleTaskGP
from botorch.models.map_saas import add_saas_prior
from botorch.optim.closures import get_loss_closure
from covariances import (
    COVARIANCES,
    OTHERS,
    B,
    batch_with,
    category,
    choice,
    mixed_data,
    mixture,
    scalar,
    scaled,
)
from gpytorch import settings
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ConstantMean, ConstantMeanGrad, LinearMean, ZeroMean
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, NormalPrior
from helpers import SAME, assert_close, mll_of, unit_waves
from linear_operator.utils.errors import NotPSDError
from torch import Tensor

from botorch_xval.fitting.losses import fused
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.fitting.losses.modules import ByModules
from botorch_xval.fitting.losses.objective import Stack
from botorch_xval.fitting.losses.parameters import Unsupported
from botorch_xval.models.kernels import WeightedMixtureKernel
from botorch_xval.models.priors import DirichletPrior
from botorch_xval.models.scalar_choice import ScalarChoiceGP

# Categories are numbers beyond one.
pytestmark = pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")


@pytest.fixture(params=["compiled", "torch"], autouse=True)
def way(request, monkeypatch):
    """With and without compiled code."""
    if request.param == "torch":
        monkeypatch.setattr(fused, "fused_library", lambda: None)
    elif fused.fused_library() is None:
        pytest.skip("no C++ compiler")


def exact_of(*mlls: ExactMarginalLogLikelihood) -> Exact:
    return Exact(ByModules(Stack(mlls, None, None)))


def both_ways(mll: ExactMarginalLogLikelihood, models: list[int]):
    stack = Stack([mll], None, None)
    generator = np.random.default_rng(0)
    theta = stack.start + 0.3 * generator.uniform(size=stack.start.shape)
    by_modules = ByModules(stack)
    expected = by_modules(theta[models], models)
    return Exact(by_modules)(theta[models], models), expected


@pytest.mark.parametrize("name", [*COVARIANCES, *OTHERS])
def test_losses_and_gradients_with_every_kernel(name):
    kernel = {**COVARIANCES, **OTHERS}[name]()
    found, expected = both_ways(batch_with(kernel), [0, 3, 4])
    # GPyTorch takes roots of rounded zeros, which only this kernel feels.
    rtol = 1e-7 if name == "matern 1/2" else 1e-9
    np.testing.assert_allclose(found[0], expected[0], rtol=rtol)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-7, atol=1e-8)


def test_means_likelihoods_and_noise():
    gamma = GaussianLikelihood(noise_prior=GammaPrior(1.1, 0.05), batch_shape=B)
    for kwargs in (
        {"mean_module": ZeroMean(batch_shape=B)},
        {"mean_module": LinearMean(7, batch_shape=B)},
        {"mean_module": LinearMean(7, batch_shape=B, bias=False)},
        {"likelihood": gamma},
        {"train_Yvar": 0.01 + mixed_data()[0][..., :1]},
    ):
        found, expected = both_ways(batch_with(scalar(RBFKernel), **kwargs), [1, 2])
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-7, atol=1e-8)


def test_the_gradient_is_that_of_the_loss():
    mll = batch_with(COVARIANCES["nested mixtures"]())
    objective = make_objective([mll])
    assert type(objective) is Exact
    theta = objective.start[[2]] + 0.1
    _, (gradient,) = objective(theta, [2])
    for k, slope in enumerate(gradient):
        step = np.zeros_like(theta)
        step[0, k] = 1e-5
        ahead, behind = (objective(theta + s * step, [2])[0][0] for s in (1, -1))
        assert slope == pytest.approx((ahead - behind) / 2e-5, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("n", [13, 16, 19, 40])
@pytest.mark.parametrize("name", ["rbf", "nested mixtures", "product of sums"])
def test_a_loss_does_not_depend_on_its_company_to_the_last_bit(name, n):
    objective = make_objective([batch_with(COVARIANCES[name](), n)])
    losses, gradients = objective(objective.start, range(5))
    for models in ([0], [4], [1, 3], [3, 1, 0], [2, 2, 4, 0], [4, 3, 2, 1, 0]):
        found = objective(objective.start[models], models)
        assert np.array_equal(found[0], losses[models])
        assert np.array_equal(found[1], gradients[models])


def test_copies_for_threads_do_not_disturb_each_other():
    objective = make_objective([batch_with(COVARIANCES["nested mixtures"]())])
    first, second = objective.workers(2)
    expected = objective(objective.start, range(5))
    assert first(objective.start[[1]], [1])[0] == expected[0][[1]]
    second(objective.start[[3, 4]] + 0.5, [3, 4])
    again = first(objective.start[[1]], [1])
    assert np.array_equal(again[1], expected[1][[1]])
    shared = first._targets, second._targets
    assert shared[0] is shared[1]


def test_the_models_of_this_library_and_of_botorch_have_closed_forms():
    X, Y = mixed_data()
    for model in (
        SingleTaskGP(X, Y),
        MixedSingleTaskGP(X[..., :4], Y, cat_dims=[3]),
        ScalarChoiceGP(X, Y, choice_dims=[4, 5, 6], priors="loosest"),
        ScalarChoiceGP(X[..., :3], Y),
        ScalarChoiceGP(X[..., 4:], Y, choice_dims=[0, 1, 2]),
    ):
        mll = mll_of(model)
        assert type(make_objective([mll])) is Exact


@pytest.mark.parametrize(
    "part, kwargs",
    [
        (
            "weights_prior",
            {
                "covariance": lambda: mixture(
                    scalar(RBFKernel),
                    choice(),
                    category(),
                    weights_prior=DirichletPrior([2.0, 2.0, 2.0]),
                )
            },
        ),
        ("ConstantMeanGrad", {"mean_module": ConstantMeanGrad(batch_shape=B)}),
    ],
)
def test_what_has_no_closed_form_takes_the_modules(part, kwargs):
    kwargs = dict(kwargs)
    covariance = kwargs.pop("covariance", COVARIANCES["rbf"])()
    mll = batch_with(covariance, **kwargs)
    with pytest.raises(Unsupported, match=part):
        exact_of(mll)
    objective = make_objective([mll])
    assert objective.num_models == 5 and type(objective) is ByModules


def test_a_covariance_that_is_not_positive_definite_is_nan_for_its_model_only():
    mll = batch_with(COVARIANCES["rbf"]())
    with torch.no_grad():
        for name, parameter in mll.named_parameters():
            if name.endswith("raw_noise"):
                parameter[2] = -3.0
    objective = exact_of(mll)
    losses, gradients = objective(objective.start, range(5))
    assert np.isnan(losses).tolist() == [False, False, True, False, False]
    assert np.isfinite(gradients[[0, 1, 3, 4]]).all()
    alone = objective(objective.start[[3]], [3])
    assert alone[0][0] == losses[3] and np.array_equal(alone[1][0], gradients[3])


def test_jitter_is_that_of_gpytorch():
    X, Y = mixed_data()
    X[:, 1:4] = X[:, :1]  # repeated rows
    likelihood = GaussianLikelihood(
        noise_constraint=GreaterThan(-1.0, transform=None), batch_shape=B
    )
    kernel = scaled(scalar(RBFKernel))
    model = SingleTaskGP(X, Y, covar_module=kernel, likelihood=likelihood)
    mll = mll_of(model)
    with torch.no_grad():
        likelihood.raw_noise.fill_(-1e-9)
    by_modules = ByModules(Stack([mll], None, None))
    with pytest.warns(match="added jitter"):
        expected, _ = by_modules(by_modules.start, range(5))
    found, _ = Exact(by_modules)(by_modules.start, range(5))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:A not p.d.")
def test_where_rounding_decides_a_model_without_a_loss_of_its_own_has_none():
    X, Y = unit_waves(40)
    likelihood = GaussianLikelihood(
        noise_constraint=GreaterThan(1e-8, transform=None, initial_value=1e-6)
    )
    kernel = ScaleKernel(RBFKernel(ard_num_dims=2))
    mll = mll_of(SingleTaskGP(X, Y, likelihood=likelihood, covar_module=kernel))
    kernel.base_kernel.lengthscale = 2.0
    seen = []
    for scale in 10 ** np.linspace(11, 14, 151):
        kernel.outputscale = scale
        objective = exact_of(mll)
        losses, gradients = objective(objective.start, [0])
        try:
            own = get_loss_closure(mll)().item()
        except NotPSDError:
            assert np.isnan(losses[0])
            seen.append("none")
            continue
        if np.isfinite(losses[0]):
            np.testing.assert_allclose(losses[0], own, rtol=1e-6)
            assert np.isfinite(gradients).all()
            seen.append("same")
    assert seen.count("none") > 10 and seen.count("same") > 10


# --- from one factorization: folds and predictions ----------------------------------


def plain(kernel: Kernel, X: Tensor, Y: Tensor, Yvar: Tensor | None = None):
    return mll_of(SingleTaskGP(X, Y, Yvar, covar_module=kernel, outcome_transform=None))


def kernel_of_batch(size: int) -> Kernel:
    """Unlike in its members, lest one stand for another."""
    shape = torch.Size([size])
    kernel = ScaleKernel(
        MaternKernel(ard_num_dims=2, batch_shape=shape), batch_shape=shape
    )
    kernel.outputscale = torch.linspace(0.5, 2.0, size)
    return kernel


def folds_of(held: int, n: int = 12) -> Tensor:
    held_out = torch.zeros(n // held, n, dtype=torch.bool)
    for i in range(len(held_out)):
        held_out[i, i :: len(held_out)] = True
    return held_out


@pytest.mark.parametrize("held", [1, 3])
@pytest.mark.parametrize("known_noise", [False, True])
def test_folds_from_one_factorization_are_those_of_the_remaining_rows(
    held, known_noise
):
    X, Y = unit_waves(12)
    Y = torch.cat([Y, Y**2], dim=-1)
    Yvar = 0.05 + 0.1 * X if known_noise else None
    objective = exact_of(plain(kernel_of_batch(2), X, Y, Yvar))
    theta = objective.start + 0.2
    held_out = folds_of(held)
    mlls = []
    for i, rows in enumerate(~held_out):
        noise = None if Yvar is None else Yvar[rows]
        outcomes = Y[rows] if known_noise else (1 + 0.1 * i) * Y[rows] - 0.3 * i
        mlls.append(plain(kernel_of_batch(2), X[rows], outcomes, noise))
    folds = exact_of(*mlls)
    numbers = np.arange(2 * len(held_out)).reshape(-1, 2)
    alike, found = objective.without(theta, held_out, folds, numbers)
    assert alike.all() and len(found) == 2
    for k, each in enumerate(found):
        point = np.tile(theta[k], (len(held_out), 1))
        losses, gradients = folds(point, numbers[:, k].tolist())
        assert_close(each.losses, losses, **SAME)
        assert_close(each.gradients, gradients, **SAME)
        for i, rows in enumerate(held_out):
            mean, variance, noise = folds.predict(
                theta[[k]], [int(numbers[i, k])], X[rows][None]
            )
            scale, shift = (1.0, 0.0) if known_noise else (1 + 0.1 * i, -0.3 * i)
            assert_close(scale * Y[rows, k] + shift - each.errors[i], mean[0], **SAME)
            own = Yvar[rows, k] if known_noise else noise[0].expand(held)
            assert_close(each.variances[i], variance[0] + own, **SAME)
            assert_close(each.noise[i], own, **SAME)


@pytest.mark.parametrize("differs", ["inputs", "outcomes", "noise"])
def test_folds_with_other_data_have_no_part_in_one_factorization(differs):
    X, Y = unit_waves(12)
    Yvar = 0.05 + 0.1 * X[:, :1]
    held_out = folds_of(1)
    mlls = []
    for i, rows in enumerate(~held_out):
        data = [X[rows].clone(), Y[rows].clone(), Yvar[rows].clone()]
        if i == 4:
            data[["inputs", "outcomes", "noise"].index(differs)][2] += 0.01
        mlls.append(plain(ScaleKernel(RBFKernel()), *data))
    full = exact_of(plain(ScaleKernel(RBFKernel()), X, Y, Yvar))
    numbers = np.arange(12)[:, None]
    alike, found = full.without(full.start, held_out, exact_of(*mlls), numbers)
    assert alike.tolist() == [i != 4 for i in range(12)]
    assert len(found[0].losses) == 11


def test_folds_of_another_kernel_have_none():
    X, Y = unit_waves(12)
    full = exact_of(plain(ScaleKernel(RBFKernel()), X, Y))
    held_out = folds_of(1)
    mlls = [plain(ScaleKernel(MaternKernel()), X[~r], Y[~r]) for r in held_out]
    numbers = np.arange(12)[:, None]
    assert full.without(full.start, held_out, exact_of(*mlls), numbers) is None
    assert (
        full.without(full.start, held_out, ByModules(Stack(mlls, None, None)), numbers)
        is None
    )


def test_a_model_without_a_value_for_all_rows_has_no_folds_from_there():
    X, Y = unit_waves(12)
    Y = torch.cat([Y, Y**2], dim=-1)
    full = exact_of(plain(kernel_of_batch(2), X, Y))
    theta, held_out = full.start.copy(), folds_of(1)
    columns = full.stack.table.columns
    theta[1, columns["likelihood.noise_covar.raw_noise"]] = -3.0
    folds = exact_of(*[plain(kernel_of_batch(2), X[~r], Y[~r]) for r in held_out])
    _, found = full.without(theta, held_out, folds, np.arange(24).reshape(-1, 2))
    assert found[0].losses.isfinite().all()  # the other output
    assert found[1].losses.isnan().all()


@pytest.mark.parametrize("known_noise", [False, True])
def test_predictions_are_those_of_the_models(known_noise):
    X, Y = unit_waves(10)
    Yvar = 0.05 + 0.1 * X[:, :1] if known_noise else None
    mlls = []
    for i in range(3):
        kept = torch.arange(10) != i
        kernel = ScaleKernel(RBFKernel(ard_num_dims=2))
        noise = None if Yvar is None else Yvar[kept]
        mlls.append(plain(kernel, X[kept], Y[kept], noise))
    objective = exact_of(*mlls)
    theta = objective.start + 0.1 * np.arange(1, 4)[:, None]
    objective.write(theta)
    generator = torch.Generator().manual_seed(0)
    others = torch.rand(2, 5, 2, generator=generator, dtype=torch.float64)
    means, variances, noise = objective.predict(theta[[2, 0]], [2, 0], others)
    for k, model in enumerate((2, 0)):
        own = mlls[model].model.eval()
        posterior = own.posterior(others[k])
        assert_close(means[k], posterior.mean[:, 0], **SAME)
        assert_close(variances[k], posterior.variance[:, 0], **SAME)
        assert_close(noise[k], own.likelihood.noise[:1], **SAME)


def test_a_variance_is_not_negative_by_rounding():
    """At a training point of a model with hardly any noise."""
    X, Y = unit_waves(12)
    kernel = ScaleKernel(RBFKernel(ard_num_dims=X.shape[-1]))
    noise = torch.full_like(Y, 1e-6)
    model = SingleTaskGP(X, Y, noise, covar_module=kernel, outcome_transform=None)
    model.covar_module.outputscale = 1e10
    kernel.base_kernel.lengthscale = 0.1
    exact = make_objective([mll_of(model).train()])
    _, variance, _ = exact.predict(exact.start, [0], X[None])
    least = settings.min_variance.value(torch.float64)
    assert variance.min() == least and variance.max() < 1e-3


def test_predictions_of_a_covariance_that_is_none_are_refused():
    objective = exact_of(plain(kernel_of_batch(2), *_two()))
    theta = objective.start.copy()
    columns = objective.stack.table.columns
    theta[1, columns["likelihood.noise_covar.raw_noise"]] = -3.0
    with pytest.raises(NotPSDError, match="not positive definite"):
        objective.predict(theta, [0, 1], torch.rand(2, 3, 2).double())


def _two() -> tuple[Tensor, Tensor]:
    X, Y = unit_waves(8)
    return X, torch.cat([Y, Y**2], dim=-1)


@pytest.mark.parametrize("known_noise", [False, True])
def test_models_of_some_rows_are_those_of_these_rows(known_noise):
    X, Y = unit_waves(14)
    Yvar = 0.05 + 0.1 * X[:, :1] if known_noise else None
    data = [(X[:12], Y[:12]), (X[2:], Y[2:])]
    rows = np.array([0, 3, 4, 8, 11])

    def model(x: Tensor, y: Tensor, noise: Tensor | None) -> ExactMarginalLogLikelihood:
        return plain(ScaleKernel(RBFKernel(ard_num_dims=2)), x, y, noise)

    noise = [None if Yvar is None else Yvar[:12], None if Yvar is None else Yvar[2:]]
    objective = exact_of(*[model(*d, v) for d, v in zip(data, noise, strict=True)])
    few = objective.of_rows(rows)
    assert few.num_points == 5 and objective.num_points == 12
    theta = objective.start + 0.2
    expected = exact_of(
        *[
            model(x[rows], y[rows], None if v is None else v[rows])
            for (x, y), v in zip(data, noise, strict=True)
        ]
    )
    before = objective(theta, [0, 1])
    for one, other in zip(few(theta[1:], [1]), expected(theta[1:], [1]), strict=True):
        assert_close(one, other)
    for one, other in zip(objective(theta, [0, 1]), before, strict=True):
        assert np.array_equal(one, other)


# --- several tasks ------------------------------------------------------------------


def tasks_data(n: int = 18, tasks: int = 3) -> tuple[Tensor, Tensor]:
    """Two scalars, and the number of a task, of which some have few rows."""
    X, Y = unit_waves(n)
    task = (torch.arange(n) % (tasks + 1)).clamp_max(tasks - 1)
    return torch.cat([X, task[:, None].to(X)], dim=-1), Y + 0.3 * task[:, None]


TASKS = {
    "default": {},
    "rank of one, no prior": {"rank": 1, "task_covar_prior": None},
    "known noise": {"train_Yvar": torch.full((18, 1), 0.01, dtype=torch.float64)},
    "one mean": {"mean_module": ConstantMean()},
    "no mean": {"mean_module": ZeroMean()},
    "one noise": {"likelihood": GaussianLikelihood()},
}


@pytest.mark.parametrize("name", TASKS)
def test_models_of_several_tasks_have_a_closed_form(name):
    torch.manual_seed(0)
    mll = mll_of(MultiTaskGP(*tasks_data(), task_feature=-1, **TASKS[name]))
    found, expected = both_ways(mll, [0])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-7, atol=1e-8)
    assert type(make_objective([mll])) is Exact


def test_models_of_several_tasks_and_all_folds_at_once():
    torch.manual_seed(0)
    X, Y = tasks_data()
    mlls = [
        mll_of(MultiTaskGP(X[rows], Y[rows], task_feature=-1))
        for rows in (torch.arange(18) != i for i in range(4))
    ]
    objective = make_objective(mlls)
    assert type(objective) is Exact and objective.num_models == 4
    theta = objective.start + 0.1
    losses, gradients = objective(theta[[3, 1]], [3, 1])
    for place, i in enumerate((3, 1)):
        own = make_objective([mlls[i]])
        alone = own(theta[[i]], [0])
        np.testing.assert_allclose(losses[place], alone[0][0], rtol=1e-12)
        np.testing.assert_allclose(gradients[place], alone[1][0], rtol=1e-9, atol=1e-12)


def test_some_points_of_models_of_several_tasks():
    torch.manual_seed(0)
    objective = exact_of(mll_of(MultiTaskGP(*tasks_data(), task_feature=-1)))
    rows = np.array([0, 2, 3, 5, 8, 13])
    few = objective.of_rows(rows)
    X, Y = tasks_data()
    other = mll_of(
        MultiTaskGP(X[rows], Y[rows], task_feature=-1, outcome_transform=None)
    )
    with torch.no_grad():
        other.model.train_targets.copy_(objective.stack.targets[rows])
    losses, _ = few(objective.start, [0])
    expected, _ = exact_of(other)(objective.start, [0])
    np.testing.assert_allclose(losses, expected, rtol=1e-10)


def test_predictions_of_several_tasks_are_those_of_the_model():
    torch.manual_seed(0)
    X, Y = tasks_data()
    mll = mll_of(MultiTaskGP(X, Y, task_feature=-1, outcome_transform=None))
    objective = exact_of(mll)
    theta = objective.start + 0.1 * np.arange(objective.start.shape[1])
    objective.write(theta)
    others = tasks_data(30)[0][18:]
    mean, variance, noise = objective.predict(theta, [0], others[None])
    posterior = mll.model.eval().posterior(others)
    noisy = mll.model.posterior(others, observation_noise=True)
    assert_close(mean[0], posterior.mean[:, 0], **SAME)
    assert_close(variance[0], posterior.variance[:, 0], **SAME)
    assert_close(variance[0] + noise[0], noisy.variance[:, 0], **SAME)


def test_folds_of_several_tasks_from_one_factorization():
    torch.manual_seed(0)
    X, Y = tasks_data()

    def tasks_of(rows: Tensor) -> ExactMarginalLogLikelihood:
        model = MultiTaskGP(X[rows], Y[rows], task_feature=-1, outcome_transform=None)
        return mll_of(model)

    held_out = folds_of(1, 18)
    full, folds = (
        exact_of(tasks_of(torch.ones(18, dtype=torch.bool))),
        exact_of(*[tasks_of(~rows) for rows in held_out]),
    )
    theta = full.start + 0.1 * np.arange(full.start.shape[1])
    numbers = np.arange(18)[:, None]
    alike, (found,) = full.without(theta, held_out, folds, numbers)
    assert alike.all()
    losses, gradients = folds(np.tile(theta, (18, 1)), list(range(18)))
    assert_close(found.losses, losses, **SAME)
    assert_close(found.gradients, gradients, **SAME)
    mean, variance, noise = folds.predict(
        np.tile(theta, (18, 1)), list(range(18)), X[:, None]
    )
    assert_close(Y - found.errors, mean, **SAME)
    assert_close(found.variances, variance + noise, **SAME)
    assert_close(found.noise, noise, **SAME)


@pytest.mark.parametrize("name", OTHERS)
def test_folds_of_any_kernel_from_one_factorization(name):
    X, Y = (part[0] for part in mixed_data(14))
    held_out = folds_of(1, 14)
    plain_kernel = {**OTHERS}[name]

    def with_rows(rows: Tensor) -> ExactMarginalLogLikelihood:
        batch = torch.stack([X[rows]] * 5), torch.stack([Y[rows]] * 5)
        model = SingleTaskGP(
            *batch, covar_module=plain_kernel(), outcome_transform=None
        )
        return mll_of(model)

    full = exact_of(with_rows(torch.ones(14, dtype=torch.bool)))
    folds = exact_of(*[with_rows(~rows) for rows in held_out])
    theta = full.start + 0.1
    numbers = np.arange(14 * 5).reshape(14, 5)
    alike, found = full.without(theta, held_out, folds, numbers)
    assert alike.all()
    losses, gradients = folds(np.tile(theta[2], (14, 1)), numbers[:, 2].tolist())
    assert_close(found[2].losses, losses, **SAME)
    assert_close(found[2].gradients, gradients, **SAME)


def test_a_prior_of_something_else_than_a_parameter():
    X, Y = mixed_data()
    kernel = RBFKernel(ard_num_dims=7)
    kernel.register_prior(
        "sum_prior", GammaPrior(3.0, 2.0), lambda m: m.lengthscale.sum(dim=-1)
    )
    mll = mll_of(SingleTaskGP(X[0], Y[0], covar_module=ScaleKernel(kernel)))
    found, expected = both_ways(mll, [0])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-7, atol=1e-8)


def test_a_prior_of_something_else_that_is_a_method():
    X, Y = mixed_data()
    kernel = WeightedMixtureKernel(
        [RBFKernel(active_dims=(i,)) for i in range(3)],
        weights_prior=DirichletPrior([2.0, 3.0, 4.0]),
    )
    sparse = add_saas_prior(RBFKernel(ard_num_dims=7).double())
    mean = ConstantMean(constant_prior=NormalPrior(0.3, 0.5))
    for own in (kernel, sparse):
        model = SingleTaskGP(X[0], Y[0], covar_module=own, mean_module=mean)
        found, expected = both_ways(mll_of(model), [0])
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-7, atol=1e-8)
