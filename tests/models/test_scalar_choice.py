"""The ready-made model: its parts, its data, and everything BoTorch does with it."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import botorch
import botorch.cross_validation
import pytest
import torch
from botorch import fit_gpytorch_mll
from botorch.cross_validation import batch_cross_validation, gen_loo_cv_folds
from botorch.models import ModelListGP
from botorch.models.transforms import Normalize, Standardize
from botorch.models.transforms.input import Warp
from botorch.optim.utils import sample_all_priors
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from scipy import stats
from torch import Tensor
from torch.nn.functional import one_hot
from torch.testing import assert_close

from botorch_xval.models.kernels import ChoiceKernel, FactorizedScalarChoiceKernel
from botorch_xval.models.scalar_choice import (
    PRIOR_CONFIGURATIONS,
    PriorConfiguration,
    ScalarChoiceGP,
)

EXACT = {"rtol": 0, "atol": 1e-10}
# The same covariances by another route: Cholesky of other matrices.
CLOSE = {"rtol": 1e-7, "atol": 1e-7}
# Float32 bounds in GPyTorch's constraints.
CONSTRAINT = {"rtol": 1e-7, "atol": 1e-7}
CHOICES = (1, 2, 4)
SHAPES = [((), 1), ((), 2), ((3,), 1), ((2,), 2), ((3,), 2), ((2, 3), 1), ((2, 3), 2)]


def data(
    batch_shape: Sequence[int] = (), m: int = 1, n: int = 9, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Scalars in columns 0 and 3 of other units, choices in columns 1, 2, 4."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch_shape, n)
    x = torch.rand(*shape, 5, generator=generator, dtype=torch.float64) * 50 - 20
    choices = torch.randint(3, shape, generator=generator)
    x[..., list(CHOICES)] = one_hot(choices, 3).to(x)
    noise = torch.randn(*shape, m, generator=generator, dtype=torch.float64)
    y = 10 + torch.sin(x[..., :1] / 9) + x[..., 1:2] * x[..., 3:4] / 20 + noise / 5
    return x, y, torch.full_like(y, 0.03) + noise.abs() / 50


def make(
    batch_shape: Sequence[int] = (), m: int = 1, known: bool = False, **kwargs: Any
) -> ScalarChoiceGP:
    x, y, yvar = data(batch_shape, m)
    kwargs = {"choice_dims": CHOICES} | kwargs
    return ScalarChoiceGP(x, y, yvar if known else None, **kwargs)


def randomize(model: ScalarChoiceGP, seed: int = 1) -> ScalarChoiceGP:
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("raw_noise"):
            parameter.data.uniform_(0.05, 0.5)
        else:
            parameter.data.normal_()
    return model


def mll_of(model: ScalarChoiceGP) -> ExactMarginalLogLikelihood:
    return ExactMarginalLogLikelihood(model.likelihood, model).train()


def loss(model: ScalarChoiceGP) -> Tensor:
    mll = mll_of(model)
    return mll(model(*model.train_inputs), model.train_targets)


def member(model: ScalarChoiceGP, index: tuple[int, ...], **data: Any) -> Any:
    """An unbatched model with the hyper-parameters of a member."""
    alone = ScalarChoiceGP(choice_dims=CHOICES, **data)
    for name, parameter in alone.named_parameters():
        parameter.data = model.get_parameter(name).data[index].clone()
    return alone


# --- priors ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lengthscale", "outputscale", "noise", "weight"])
def test_looser_priors_keep_the_mode_and_widen(name: str) -> None:
    modes, variances = [], []
    for configuration in ("tight", "loose", "loosest"):
        a, b = getattr(PRIOR_CONFIGURATIONS[configuration], name)
        if name == "weight":
            modes.append((a - 1) / (a + b - 2))
            variances.append(stats.beta(a, b).var())
        else:
            modes.append((a - 1) / b)
            variances.append(stats.gamma(a, scale=1 / b).var())
    expected = {
        "lengthscale": 1 / 3,
        "outputscale": 1 / 0.15,
        "noise": 2,
        "weight": 0.5,
    }
    assert modes == pytest.approx([expected[name]] * 3, rel=1e-12)
    assert variances == sorted(set(variances))
    assert list(PRIOR_CONFIGURATIONS) == ["tight", "loose", "loosest"]


@pytest.mark.parametrize("priors", [*PRIOR_CONFIGURATIONS])
@pytest.mark.parametrize("choice_dims", [(), CHOICES, range(5)])
def test_hyperparameters_start_at_the_prior_modes_but_scalars_by_their_number(
    priors: str, choice_dims: Sequence[int]
) -> None:
    model = make((2,), choice_dims=choice_dims, priors=priors)
    for name, module, prior, closure, _ in model.named_priors():
        value = closure(module)
        numbers = getattr(PRIOR_CONFIGURATIONS[priors], name.rsplit(".")[-1][:-6], None)
        if name.endswith("weights_prior"):
            numbers = PRIOR_CONFIGURATIONS[priors].weight
            mode = prior.mode
        else:
            mode = (prior.concentration - 1) / prior.rate
        if isinstance(module, MaternKernel):
            mode = mode * len(model.scalar_dims) ** 0.5
        assert_close(value, mode.expand(value.shape), **CONSTRAINT)
        # The prior has these numbers in double precision.
        assert [buffer.item() for buffer in prior.buffers()] == list(numbers)
    num_priors = len(list(model.named_priors()))
    assert num_priors == (8 if choice_dims == CHOICES else 3)


def test_takes_a_configuration() -> None:
    mine = PriorConfiguration((2.0, 2.0), (2.0, 2.0), (2.0, 2.0), (2.0, 5.0))
    model = make(priors=mine)
    assert model.priors is mine
    prior = model.covar_module.factorized.weights_prior
    assert (prior.concentration1.item(), prior.concentration0.item()) == (2.0, 5.0)


@pytest.mark.parametrize(("batch_shape", "m"), SHAPES)
def test_priors_can_be_sampled(batch_shape: tuple[int, ...], m: int) -> None:
    model = make(batch_shape, m)
    before = deepcopy(model.state_dict())
    torch.manual_seed(0)
    sample_all_priors(model)
    for name, parameter in model.named_parameters():
        moved = (parameter != before[name]).all()
        assert moved == ("raw_constant" not in name)
        assert torch.isfinite(parameter).all()
    assert torch.isfinite(loss(model)).all()


# --- structure ------------------------------------------------------------------------


def test_covariance_follows_the_columns() -> None:
    both, scalars, choices = (
        make(choice_dims=dims).covar_module for dims in (CHOICES, (), range(5))
    )
    assert isinstance(both, FactorizedScalarChoiceKernel)
    assert both.scalar_kernels[0].active_dims.tolist() == [0, 3]
    assert both.choice_kernels[1].active_dims.tolist() == [1, 2, 4]
    for kernel, part in ((scalars, MaternKernel), (choices, ChoiceKernel)):
        assert type(kernel) is ScaleKernel
        assert type(kernel.base_kernel) is part
        assert kernel.base_kernel.ard_num_dims == 5


def test_negative_columns_count_from_the_end() -> None:
    model = make(choice_dims=[-1, 2, -4])
    assert model.choice_dims == (1, 2, 4)
    assert model.scalar_dims == (0, 3)


@pytest.mark.parametrize("choice_dims", [(), CHOICES, range(5)])
def test_scalars_alone_are_scaled(choice_dims: Sequence[int]) -> None:
    model = make((2,), choice_dims=choice_dims)
    x = data((2,))[0]
    transformed = model.transform_inputs(x)
    choices = list(model.choice_dims)
    assert_close(transformed[..., choices], x[..., choices], **EXACT)
    if model.scalar_dims:
        scaled, raw = (z[..., list(model.scalar_dims)] for z in (transformed, x))
        low, high = raw.amin(dim=-2, keepdim=True), raw.amax(dim=-2, keepdim=True)
        varies = (high > low).expand(raw.shape)
        expected = torch.where(varies, (raw - low) / (high - low), raw)
        assert_close(scaled, expected, **EXACT)
    else:
        assert not hasattr(model, "input_transform")


def test_noise_has_a_bound_and_no_transform() -> None:
    constraint = make().likelihood.noise_covar.raw_noise_constraint
    assert not constraint.enforced
    assert constraint.lower_bound.item() == pytest.approx(1e-6)


def test_transforms_can_be_replaced() -> None:
    x, y, _ = data()
    model = make(input_transform=None, outcome_transform=None)
    assert not hasattr(model, "input_transform")
    assert not hasattr(model, "outcome_transform")
    assert_close(model.train_inputs[0], x)
    assert_close(model.train_targets, y.squeeze(-1))
    normalize, standardize = Normalize(5), Standardize(1)
    model = make(input_transform=normalize, outcome_transform=standardize)
    assert model.input_transform is normalize
    assert model.outcome_transform is standardize


def test_a_transform_may_have_parameters() -> None:
    model = make(
        input_transform=Warp(
            5, indices=[0, 3], bounds=torch.tensor([[-20.0] * 5, [30.0] * 5])
        )
    )
    assert torch.isfinite(model.posterior(data()[0]).mean).all()


def test_refuses_bad_arguments() -> None:
    for dims, message in (
        ([5], "choice_dims: expected columns from -5 to 4, got 5"),
        ([-6], "choice_dims: expected columns from -5 to 4, got -6"),
        ([1, -4], "choice_dims: expected different columns"),
    ):
        with pytest.raises(ValueError, match=message):
            make(choice_dims=dims)
    with pytest.raises(ValueError, match=r"\['tight', 'loose', 'loosest'\].*'wide'"):
        make(priors="wide")


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, True),
        ({"choice_dims": [1], "priors": "loose"}, True),
        ({"input_transform": None}, False),
        ({"priors": "tight", "outcome_transform": None}, False),
    ],
)
def test_says_which_batches_are_independent(kwargs: dict, expected: bool) -> None:
    assert ScalarChoiceGP.builds_independent_batches(**kwargs) is expected


# --- what BoTorch does with a model ---------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("batch_shape", "m"), SHAPES)
def test_a_batch_is_its_members(
    batch_shape: tuple[int, ...], m: int, known: bool
) -> None:
    model = randomize(make(batch_shape, m, known))
    x, y, yvar = data(batch_shape, m)
    new_x = data(batch_shape, m, n=4, seed=2)[0]
    losses = loss(model)
    posterior = model.posterior(new_x)
    noisy = model.posterior(new_x, observation_noise=True)
    assert losses.shape == model.covar_module.batch_shape
    assert posterior.mean.shape == (*batch_shape, 4, m)
    for position in torch.cartesian_prod(
        *(torch.arange(size) for size in (*batch_shape, m)), torch.arange(1)
    ).tolist():
        *batch, output = position[:-1]
        index, parameter_index = tuple(batch), tuple(batch) + (output,) * (m > 1)
        alone = member(
            model,
            parameter_index,
            train_X=x[index],
            train_Y=y[index][:, output : output + 1],
            train_Yvar=yvar[index][:, output : output + 1] if known else None,
        )
        assert_close(loss(alone), losses[parameter_index], **CLOSE)
        for got, expected in (
            (posterior, alone.posterior(new_x[index])),
            (noisy, alone.posterior(new_x[index], observation_noise=True)),
        ):
            for moment in ("mean", "variance"):
                value = getattr(got, moment)[index][:, output]
                assert_close(value, getattr(expected, moment)[:, 0], **CLOSE)


@pytest.mark.parametrize(("batch_shape", "m"), SHAPES)
def test_training_again_changes_nothing(batch_shape: tuple[int, ...], m: int) -> None:
    model = randomize(make(batch_shape, m))
    new_x = data(batch_shape, m, n=4, seed=2)[0]
    first, mean = loss(model), model.posterior(new_x).mean
    model.eval()
    assert_close(loss(model.train()), first, **EXACT)
    assert_close(model.posterior(new_x).mean, mean, **EXACT)
    many = model.posterior(new_x.expand(5, *new_x.shape)).mean
    assert_close(many, mean.expand(5, *mean.shape), **CLOSE)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("batch_shape", "m"), [((), 1), ((3,), 1), ((), 2), ((3,), 2)])
def test_condition_on_observations(
    batch_shape: tuple[int, ...], m: int, known: bool
) -> None:
    x, y, _ = data(batch_shape, m, n=11)
    yvar = torch.full_like(y, 0.04)
    some, all_rows = (
        randomize(
            ScalarChoiceGP(
                x[..., :rows, :],
                y[..., :rows, :],
                yvar[..., :rows, :] if known else None,
                choice_dims=CHOICES,
                # The same transforms for both, fixed.
                input_transform=Normalize(
                    5, indices=[0, 3], bounds=torch.tensor([[-20.0] * 2, [30.0] * 2])
                ),
                outcome_transform=None,
            )
        )
        for rows in (9, 11)
    )
    new_x = data(batch_shape, m, n=4, seed=2)[0]
    some.posterior(new_x)  # fills the caches that conditioning needs
    noise = {"noise": yvar[..., 9:, :]} if known else {}
    conditioned = some.condition_on_observations(x[..., 9:, :], y[..., 9:, :], **noise)
    got, expected = conditioned.posterior(new_x), all_rows.posterior(new_x)
    assert_close(got.mean, expected.mean, **CLOSE)
    assert_close(got.variance, expected.variance, **CLOSE)


def restore(model: ScalarChoiceGP, way: str) -> ScalarChoiceGP:
    if way == "pickle":
        return pickle.loads(pickle.dumps(model))
    if way == "deepcopy":
        return deepcopy(model)
    other = make(model.covar_module.batch_shape, priors="loose")
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "state_dict"])
@pytest.mark.parametrize("batch_shape", [(), (3,)])
def test_models_can_be_restored(batch_shape: tuple[int, ...], way: str) -> None:
    model = randomize(make(batch_shape))
    new_x = data(batch_shape, n=4, seed=2)[0]
    restored = restore(model, way)
    assert_close(loss(restored), loss(model), **EXACT)  # including the priors
    assert_close(restored.posterior(new_x).mean, model.posterior(new_x).mean, **EXACT)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("batch_shape", [(), (3,)])
@pytest.mark.parametrize("idcs", [[1], [2, 0], [0, 1, 2]])
def test_subset_output(
    idcs: list[int], batch_shape: tuple[int, ...], known: bool
) -> None:
    model = randomize(make(batch_shape, 3, known))
    new_x = data(batch_shape, n=4, seed=2)[0]
    got, expected = model.subset_output(idcs).posterior(new_x), model.posterior(new_x)
    assert_close(got.mean, expected.mean[..., idcs], **CLOSE)
    assert_close(got.variance, expected.variance[..., idcs], **CLOSE)


@pytest.mark.parametrize("choice_dims", [(), CHOICES, range(5)])
@pytest.mark.parametrize("priors", ["tight", "loosest"])
def test_botorch_fits_it(priors: str, choice_dims: Sequence[int]) -> None:
    model = make(priors=priors, choice_dims=choice_dims)
    with torch.no_grad():
        before = loss(model)
    mll = fit_gpytorch_mll(mll_of(model))
    value = loss(model)
    assert value > before
    # BoTorch stops at a relative change of the loss of about 1e-9 per step.
    for name, parameter in mll.named_parameters():
        (gradient,) = torch.autograd.grad(value, parameter, retain_graph=True)
        if name.endswith("raw_noise") and parameter.item() <= 1e-6 * (1 + 1e-6):
            gradient = gradient.clamp_min(0.0)  # on its bound
        assert gradient.abs().max() < 2e-3, name
    assert isinstance(model.likelihood, type(make().likelihood))


@pytest.mark.parametrize("known", [False, True])
def test_botorch_cross_validates_it(known: bool) -> None:
    x, y, yvar = data(n=7)
    folds = gen_loo_cv_folds(x, y, yvar if known else None)
    results = batch_cross_validation(
        ScalarChoiceGP,
        ExactMarginalLogLikelihood,
        folds,
        observation_noise=True,
        model_init_kwargs={"choice_dims": CHOICES},
    )
    assert results.posterior.mean.shape == (7, 1, 1)
    for k in (0, 4):
        alone = ScalarChoiceGP(
            folds.train_X[k],
            folds.train_Y[k],
            folds.train_Yvar[k] if known else None,
            choice_dims=CHOICES,
        )
        fit_gpytorch_mll(mll_of(alone))
        expected = alone.posterior(folds.test_X[k], observation_noise=True)
        # Two fits that stop a little before the same optimum.
        assert_close(results.posterior.mean[k], expected.mean, rtol=0, atol=1e-2)


@pytest.mark.skipif(
    tuple(int(part) for part in botorch.__version__.split(".")[:2]) < (0, 18),
    reason="BoTorch has it since 0.17, on the scale of the outcomes since 0.18",
)
@pytest.mark.parametrize("known", [False, True])
def test_botorch_leaves_one_out_at_fixed_values(known: bool) -> None:
    x, y, yvar = data(n=7)
    model = randomize(make(known=known))
    results = botorch.cross_validation.loo_cv(model)
    x, y, yvar = data()
    for k in (0, 5):
        rest = torch.arange(9) != k
        alone = member(
            model,
            (),
            train_X=x[rest],
            train_Y=y[rest],
            train_Yvar=yvar[rest] if known else None,
            input_transform=deepcopy(model.input_transform),
            outcome_transform=None,
        )
        # Both transforms have seen all rows: the closed form shares them.
        alone.input_transform.learn_coefficients = False
        alone.input_transform.load_state_dict(model.input_transform.state_dict())
        standardize = model.outcome_transform.eval()
        scaled_y, scaled_yvar = standardize(y[rest], yvar[rest])
        alone.set_train_data(targets=scaled_y.squeeze(-1), strict=False)
        if known:
            alone.likelihood.noise_covar.noise = scaled_yvar.squeeze(-1)
        posterior = standardize.untransform_posterior(alone.posterior(x[k : k + 1]))
        assert_close(results.posterior.mean[k], posterior.mean, **CLOSE)


def test_fixed_noise() -> None:
    model = make(m=2, known=True)
    assert isinstance(model.likelihood, FixedNoiseGaussianLikelihood)
    yvar = data(m=2)[2] / model.outcome_transform.stdvs.square()
    assert_close(model.likelihood.noise, yvar.mT, **EXACT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ModelListGP(make(), make())
