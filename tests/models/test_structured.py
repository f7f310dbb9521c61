"""The models of specifications: the known ones among them, and formulas by NumPy."""

from __future__ import annotations

import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from helpers import IDENTITY, SAME, assert_close, losses_of, mll_of
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_objective
from botorch_xval.models.configurations import default_model
from botorch_xval.models.grammar import ModelSpec, neighbors
from botorch_xval.models.scalar_choice import ScalarChoiceGP
from botorch_xval.models.structured import StructuredGP

D, CHOICES = 5, (1, 2, 4)
SCALARS = (0, 3)


def data(*batch: int, n: int = 12, m: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scalars in columns 0 and 3, of other units, and choices in 1, 2 and 4."""
    generator = torch.Generator().manual_seed(seed)
    x = 50 * torch.rand(*batch, n, D, generator=generator, dtype=torch.float64) - 20
    kinds = torch.randint(3, (*batch, n), generator=generator)
    x[..., CHOICES] = torch.nn.functional.one_hot(kinds, 3).double()
    noise = torch.randn(*batch, n, m, generator=generator, dtype=torch.float64)
    return x, torch.sin(x[..., :1] / 9) + x[..., 1:2] + noise / 5


def spec_of(**choices: object) -> ModelSpec:
    return ModelSpec(**choices, choice_dims=CHOICES)


BOTH = spec_of(kernel="matern52", choices="both", priors="loose")
ALL = spec_of(
    kernel="matern32",
    inputs="additive",
    choices="both",
    linear=True,
    warped=True,
    priors="loosest",
)
NEAR = [other for spec in (spec_of(), ALL) for other in neighbors(spec, D)]
SPECS = list(dict.fromkeys([spec_of(), BOTH, ALL, *NEAR]))
ADDITIVE = spec_of(inputs="additive", linear=True)
some = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def randomized(model: StructuredGP, seed: int = 1) -> StructuredGP:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        shape, last = parameter.shape, name.rpartition(".")[2]
        values = torch.rand(shape, generator=generator, dtype=torch.float64)
        lowest = 0.1 if last in ("raw_noise", "raw_lengthscale") else 0.3
        parameter.data = lowest + values
    return model.eval()


def test_the_default_is_botorchs_default():
    x, y = data()
    ours, theirs = StructuredGP(x, y), default_model(x, y)
    named = dict(theirs.named_parameters())
    assert {n for n, _ in ours.named_parameters()} == set(named)
    for name, value in ours.named_parameters():
        assert torch.equal(value, named[name])
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        parameter.data += 0.4
        other.data += 0.4
    assert_close(losses_of(mll_of(ours)), losses_of(mll_of(theirs)), **IDENTITY)
    new = data(seed=1)[0]
    assert_close(ours.posterior(new).mean, theirs.posterior(new).mean, **IDENTITY)


@pytest.mark.parametrize("priors", ["tight", "loose", "loosest"])
@pytest.mark.parametrize("dims", [CHOICES, ()])
def test_scalar_choice_models_are_among_them(priors, dims):
    x, y = data()
    choices = "both" if dims else "numbers"
    spec = ModelSpec("matern52", choices=choices, priors=priors, choice_dims=dims)
    ours = StructuredGP(x, y, spec=spec)
    theirs = ScalarChoiceGP(x, y, choice_dims=dims, priors=priors)
    pairs = list(zip(ours.parameters(), theirs.parameters(), strict=True))
    assert all(torch.equal(one, other) for one, other in pairs)
    assert_close(losses_of(mll_of(ours)), losses_of(mll_of(theirs)), **IDENTITY)
    for one, other in pairs:
        one.data += 0.1
        other.data += 0.1
    assert_close(losses_of(mll_of(ours)), losses_of(mll_of(theirs)), **IDENTITY)
    new = data(seed=1)[0]
    for moment in ("mean", "variance"):
        found, expected = (getattr(m.posterior(new), moment) for m in (ours, theirs))
        assert_close(found, expected, **IDENTITY)


# Covariances by NumPy


def stationary(kernel: str, distance: NDArray) -> NDArray:
    if kernel == "rbf":
        return np.exp(-(distance**2) / 2)
    order = {"matern12": 0, "matern32": 1, "matern52": 2}[kernel]
    r = math.sqrt(2 * order + 1) * distance
    return (1, 1 + r, 1 + r + r**2 / 3)[order] * np.exp(-r)


def covariance(model: StructuredGP, x: NDArray) -> NDArray:
    """Read from the parameters in their order, with nothing of GPyTorch."""
    spec, positive = model.spec, np.logaddexp
    values = {
        name.removeprefix("covar_module."): p.detach().double().numpy()
        for name, p in model.named_parameters()
    }
    used: set[str] = set()

    def take(path: str, name: str) -> NDArray:
        full = f"{path}raw_{name}"
        used.add(full)
        raw = values[full]
        if name == "fractions":
            return 1 / (1 + np.exp(-raw))
        is_raw = name == "lengthscale" and spec.priors == "BoTorch"
        return raw if is_raw else positive(0, raw)

    def scalars(path: str) -> NDArray:
        dims = list(model.scalar_dims)
        if spec.inputs == "additive":
            total = 0.0
            for j, dim in enumerate(dims):
                part = f"{path}kernels.{j}."
                z = x[:, dim] / take(part + "base_kernel.", "lengthscale").item()
                distance = np.abs(z[:, None] - z)
                scale = take(part, "outputscale")
                total = total + scale * stationary(spec.kernel, distance)
            return total
        z = x[:, dims] / take(path, "lengthscale")
        distance = np.sqrt(((z[:, None] - z) ** 2).sum(axis=-1))
        return stationary(spec.kernel, distance)

    def choices(path: str) -> NDArray:
        z = x[:, list(model.choice_dims)] / take(path, "lengthscale")
        return np.exp(-np.abs(z[:, None] - z).sum(axis=-1))

    def weighted(path: str, first: NDArray, second: NDArray) -> NDArray:
        (share,) = take(path, "fractions")
        return share * first + (1 - share) * second

    def base(path: str) -> NDArray:
        one, other = f"{path}kernels.0.", f"{path}kernels.1."
        if not model.choice_dims:
            return scalars(path)
        if spec.choices == "factorized":
            return weighted(path, scalars(one), choices(other))
        if spec.choices == "joint":
            return scalars(one) * choices(other)
        apart = weighted(one, scalars(f"{one}kernels.0."), choices(f"{one}kernels.1."))
        joint = scalars(f"{other}kernels.0.") * choices(f"{other}kernels.1.")
        return weighted(path, apart, joint)

    path, scale = "", 1.0
    if spec.priors != "BoTorch":
        scale, path = take("", "outputscale"), "base_kernel."
    if spec.linear:
        dims = list(model.scalar_dims)
        z = x[:, dims]
        variance = take(f"{path}kernels.1.", "variance").item()
        found = base(f"{path}kernels.0.") + variance * z @ z.T
    else:
        found = base(path)
    own = {n for n in values if not n.startswith(("mean", "likeli", "input"))}
    assert used == own  # nothing else is in the kernel
    return scale * found


@some
def test_a_covariance_is_its_formula(spec):
    x, y = data()
    model = randomized(StructuredGP(x, y, spec=spec))
    inputs = model.transform_inputs(x).detach()
    assert_close(
        model.covar_module(inputs).to_dense(),
        covariance(model, inputs.numpy()),
        **SAME,
    )


@some
def test_every_model_has_a_closed_form_and_a_start(spec):
    x, y = data()
    mll = mll_of(StructuredGP(x, y, spec=spec))
    assert isinstance(make_objective([mll]), Exact)  # compared with the model's own
    assert losses_of(mll).isfinite().all()


def log_normal(loc: float, scale: float) -> stats.rv_continuous:
    return stats.lognorm(scale, scale=math.exp(loc))


@pytest.mark.parametrize("dims", [(), CHOICES])
def test_priors_that_botorch_has_no_name_for(dims):
    x, y = data()
    choices = "factorized" if dims else "numbers"
    spec = ModelSpec("rbf", "additive", choices, True, True, choice_dims=dims)
    model = randomized(StructuredGP(x, y, spec=spec))
    d = len(model.scalar_dims)
    root = math.sqrt
    expected = 0.0
    for name, value in model.named_parameters():
        value = value.detach().double().numpy()
        last = name.rpartition(".")[2]
        if last == "raw_lengthscale":
            count = len(dims) if value.shape[-1] > 1 else d
            prior = log_normal(root(2) + 0.5 * math.log(count), root(3))
        elif last in ("raw_outputscale", "raw_variance"):
            value = np.logaddexp(0, value)
            prior = log_normal(-math.log(d), root(3))
        elif last == "raw_fractions":
            value = 1 / (1 + np.exp(-value))
            prior = stats.beta(1.5, 1.5)
        elif last.startswith("concentration"):
            prior = log_normal(0.0, root(0.75))
        elif last == "raw_noise":
            prior = log_normal(-4.0, 1.0)
        else:
            assert last == "raw_constant"
            continue
        expected += prior.logpdf(value).sum()
    found = sum(
        prior.log_prob(closure(module)).sum()
        for _, module, prior, closure, _ in model.named_priors()
    )
    assert_close(found, expected, **SAME)


def test_warping_sees_its_own_rows_only():
    x, y = data(n=10)
    spec = spec_of(warped=True, choices="joint")
    model = StructuredGP(x[:8], y[:8], spec=spec)
    model.eval()
    seen = model.transform_inputs(x)
    low, high = x[:8].min(dim=0).values, x[:8].max(dim=0).values
    unit = ((x - low) / (high - low)).clamp(0, 1)
    # With concentrations of one nothing is warped; new inputs beyond are at the ends.
    assert_close(seen[:, SCALARS], unit[:, SCALARS], rtol=0, atol=1e-6)
    assert torch.equal(seen[:, CHOICES], x[:, CHOICES])
    assert model.posterior(1e3 * x).mean.isfinite().all()
    given = StructuredGP(unit, y, spec=spec, input_transform=None).eval()
    assert_close(given.transform_inputs(unit)[:, SCALARS], unit[:, SCALARS], 0, 1e-6)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("spec", [spec_of(), BOTH, ADDITIVE])
def test_a_batch_is_its_members(m, spec):
    x, y = data(3, m=m)
    assert StructuredGP.builds_independent_batches(spec=spec)
    batch = losses_of(mll_of(StructuredGP(x, y, spec=spec)))
    alone = [
        losses_of(mll_of(StructuredGP(*pair, spec=spec)))
        for pair in zip(x, y, strict=True)
    ]
    assert_close(batch, torch.stack(alone), **SAME)


def test_says_which_batches_are_independent():
    asked = StructuredGP.builds_independent_batches
    assert asked() and asked(spec=BOTH)
    assert not asked(spec=spec_of(warped=True))
    assert not asked(spec=BOTH, input_transform=None)


@pytest.mark.filterwarnings("ignore:A not p.d.")
def test_outputs_can_be_taken_apart():
    x, y = data(m=2)
    for spec in (BOTH, ADDITIVE):
        model = randomized(StructuredGP(x, y, spec=spec))
        new = data(seed=1)[0]
        both = model.posterior(new).mean
        for k in (0, 1):
            one = model.subset_output([k]).posterior(new).mean
            assert_close(one, both[:, [k]], **SAME)


def test_known_noise_and_pickles():
    x, y = data()
    build = pickle.loads(pickle.dumps(partial(StructuredGP, spec=BOTH)))
    model = build(x, y, train_Yvar=torch.full_like(y, 0.5))
    assert_close(model.likelihood.noise * y.var(), [0.5] * 12, **SAME)
    assert model.spec == BOTH and model.scalar_dims == SCALARS
    assert model.choice_dims == CHOICES


@pytest.mark.parametrize("dims", [(7,), (1, 1)])
def test_wrong_columns_are_refused(dims):
    with pytest.raises(ValueError, match="choice_dims: expected"):
        StructuredGP(*data(), spec=ModelSpec(choices="joint", choice_dims=dims))
