"""Every model of BoTorch that has an exact loss, fitted by BoTorch and by us.

From the same start ours must end no worse: on BoTorch's parameters ("raw"), and by
default. What a record says of a loss must be what the model's own mll says.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any

import botorch.fit
import botorch.models
import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models import (
    AdditiveMapSaasSingleTaskGP,
    EnsembleMapSaasSingleTaskGP,
    HigherOrderGP,
    KroneckerMultiTaskGP,
    MixedSingleTaskGP,
    ModelListGP,
    MultiTaskGP,
    SingleTaskGP,
    SingleTaskMultiFidelityGP,
)
from botorch.models.additive_gp import OrthogonalAdditiveGP
from botorch.models.contextual import LCEAGP, SACGP
from botorch.models.contextual_multioutput import LCEMGP
from botorch.models.heterogeneous_mtgp import HeterogeneousMTGP
from botorch.models.hierarchical.conditional_kernel_gp import (
    HierarchicalConditionalKernelGP,
    HierarchicalConditionalKernelMultiTaskGP,
)
from botorch.models.kernels.orthogonal_additive_kernel import OrthogonalAdditiveKernel
from botorch.models.latent_kronecker_gp import LatentKroneckerGP
from botorch.models.model import Model
from botorch.models.robust_relevance_pursuit_model import (
    RobustRelevancePursuitSingleTaskGP,
)
from botorch.models.transforms.input import (
    AppendFeatures,
    ChainedInputTransform,
    FilterFeatures,
    InputPerturbation,
    InputStandardize,
    Log10,
    Normalize,
    Round,
    Warp,
)
from botorch.models.transforms.outcome import (
    Bilog,
    ChainedOutcomeTransform,
    Log,
    Power,
    Standardize,
)
from botorch.optim.closures import get_loss_closure
from botorch.test_utils.mock import mock_optimize_context_manager
from botorch.utils.constraints import NonTransformedInterval
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood, SumMarginalLogLikelihood
from gpytorch.models import ExactGP
from gpytorch.priors import GammaPrior, LogNormalPrior
from helpers import accept_abnormal
from torch import Tensor

from botorch_xval import FitOptions, fit_each, fit_gpytorch_mll


def XFAIL(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(strict=True, reason=reason)


N, D = 10, 3
SHAPES = {"one": (), "three": (3,), "two by three": (2, 3)}

Data = tuple[Tensor, Tensor]
Build = Callable[[Tensor, Tensor], Model]


def data(dtype: torch.dtype, shape: tuple[int, ...] = (), outputs: int = 1) -> Data:
    """Inputs in the unit cube and smooth positive outcomes, different in a batch."""
    generator = torch.Generator().manual_seed(5)
    options: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    X = torch.rand(*shape, N, D, **options)
    rate = 3 + torch.arange(outputs) / 2
    Y = 2 + (rate * X[..., :1]).sin() + X[..., 1:2] ** 2
    Y = Y + 0.1 * torch.randn(*shape, N, outputs, **options)
    return X.to(dtype), Y.to(dtype)


def known_noise(Y: Tensor) -> Tensor:
    return torch.full_like(Y, 0.02)


def with_task(X: Tensor, tasks: int = 2) -> Tensor:
    """Inputs with the number of a task in the last column."""
    task = (torch.arange(N) % tasks).to(X).expand(X.shape[:-1])
    return torch.cat([X, task[..., None]], dim=-1)


def rounded(X: Tensor) -> Tensor:
    """Inputs with the last one of 0, 1 and 2."""
    return torch.cat([X[..., :-1], (3 * X[..., -1:]).floor()], dim=-1)


def first_two(X: Tensor) -> Tensor:
    return (X[..., :1] * X[..., 1:2]).unsqueeze(-2)


# --- models -------------------------------------------------------------------------


def single(**kwargs: Any) -> Build:
    return lambda X, Y: SingleTaskGP(X, Y, **kwargs)


def single_with(transform: Callable[[torch.Size, torch.dtype], Any]) -> Build:
    """A SingleTaskGP with an input transform made for the data."""

    def build(X: Tensor, Y: Tensor) -> SingleTaskGP:
        return SingleTaskGP(X, Y, input_transform=transform(X.shape[:-2], X.dtype))

    return build


def single_after(transform: Callable[[torch.Size], Any]) -> Build:
    """A SingleTaskGP with an outcome transform made for the data."""
    return lambda X, Y: SingleTaskGP(X, Y, outcome_transform=transform(Y.shape[:-2]))


def warp(shape: torch.Size, dtype: torch.dtype) -> Warp:
    return Warp(
        d=D,
        indices=[0, 1],
        concentration0_prior=LogNormalPrior(0.0, 0.3),
        concentration1_prior=LogNormalPrior(0.0, 0.3),
        batch_shape=shape,
        bounds=torch.tensor([[0.0] * D, [1.0] * D], dtype=dtype),
    )


def no_kernel(X: Tensor, Y: Tensor) -> SingleTaskGP:
    kernel = ScaleKernel(
        MaternKernel(ard_num_dims=D, batch_shape=X.shape[:-2]),
        batch_shape=X.shape[:-2],
    )
    return SingleTaskGP(X, Y, covar_module=kernel)


def multi_task(X: Tensor, Y: Tensor) -> MultiTaskGP:
    torch.manual_seed(0)
    return MultiTaskGP(with_task(X), Y, task_feature=-1)


def multi_task_known_noise(X: Tensor, Y: Tensor) -> MultiTaskGP:
    torch.manual_seed(0)
    return MultiTaskGP(with_task(X), Y, task_feature=-1, train_Yvar=known_noise(Y))


def kronecker(X: Tensor, Y: Tensor) -> KroneckerMultiTaskGP:
    torch.manual_seed(0)
    return KroneckerMultiTaskGP(X, Y)


def higher_order(X: Tensor, Y: Tensor) -> HigherOrderGP:
    torch.manual_seed(0)
    return HigherOrderGP(X, Y.unflatten(-1, (2, 2)))


def model_list(X: Tensor, Y: Tensor) -> ModelListGP:
    return ModelListGP(
        SingleTaskGP(X, Y[..., :1]),
        SingleTaskGP(X, Y[..., 1:]),
        SingleTaskGP(X[..., :-1, :], Y[..., :-1, :1], known_noise(Y[..., :-1, :1])),
    )


CONTEXTS = {"one": [0], "other": [1]}


def lceagp(X: Tensor, Y: Tensor) -> LCEAGP:
    torch.manual_seed(0)
    return LCEAGP(X[..., :2], Y, None, decomposition=CONTEXTS)


def lcemgp(X: Tensor, Y: Tensor) -> LCEMGP:
    torch.manual_seed(0)
    return LCEMGP(with_task(X), Y, task_feature=D)


def heterogeneous(X: Tensor, Y: Tensor) -> HeterogeneousMTGP:
    torch.manual_seed(0)
    return HeterogeneousMTGP(
        [X[:6], X[6:, :2]],
        [Y[:6], Y[6:]],
        None,
        feature_indices=[[0, 1, 2], [0, 1]],
        full_feature_dim=D,
    )


HIERARCHY = {2: {0: [0], 1: [1]}}


def hierarchical(X: Tensor, Y: Tensor) -> HierarchicalConditionalKernelGP:
    X = torch.cat([X[..., :2], (X[..., 2:] > 0.5).to(X)], dim=-1)
    return HierarchicalConditionalKernelGP(X, Y, HIERARCHY)


def hierarchical_tasks(
    X: Tensor, Y: Tensor
) -> HierarchicalConditionalKernelMultiTaskGP:
    torch.manual_seed(0)
    X = torch.cat([X[..., :2], (X[..., 2:] > 0.5).to(X)], dim=-1)
    return HierarchicalConditionalKernelMultiTaskGP(
        with_task(X), Y, task_feature=D, hierarchical_dependencies=HIERARCHY
    )


def robust(convex: bool) -> Build:
    def build(X: Tensor, Y: Tensor) -> RobustRelevancePursuitSingleTaskGP:
        Y = Y.clone()
        Y[3] += 3
        return RobustRelevancePursuitSingleTaskGP(
            X, Y, convex_parameterization=convex, prior_mean_of_support=2
        )

    return build


def orthogonal(second_order: bool) -> Build:
    def build(X: Tensor, Y: Tensor) -> OrthogonalAdditiveGP:
        kernel = OrthogonalAdditiveKernel(
            dim=D,
            second_order=second_order,
            batch_shape=X.shape[:-2],
            dtype=X.dtype,
            coeffs_1_prior=LogNormalPrior(0.0, 1.0),
            base_kernel=RBFKernel(
                batch_shape=torch.Size([*X.shape[:-2], D]),
                lengthscale_prior=GammaPrior(3.0, 6.0),
            ),
        )
        return OrthogonalAdditiveGP(X, Y, covar_module=kernel)

    return build


def latent_kronecker(X: Tensor, Y: Tensor) -> LatentKroneckerGP:
    T = torch.arange(Y.shape[-1]).to(X)[:, None].expand(*X.shape[:-2], -1, -1)
    return LatentKroneckerGP(X, T, Y)


def saas(cls: type[SingleTaskGP]) -> Build:
    def build(X: Tensor, Y: Tensor) -> SingleTaskGP:
        torch.manual_seed(0)
        if cls is EnsembleMapSaasSingleTaskGP:
            return cls(X, Y, num_taus=2)
        return cls(X, Y)

    return build


ONE, ALL = ["one"], list(SHAPES)
# By name: model, batch shapes, outputs. Batch shapes that are not here the class does
# not have: its constructor or its loss raises for them.
TABLE: dict[str, tuple[Build, list[str], int]] = {
    "single": (single(), ALL, 1),
    "single, known noise": (lambda X, Y: SingleTaskGP(X, Y, known_noise(Y)), ALL, 1),
    "single, two outputs": (single(), ALL, 2),
    "single, Matern without priors": (no_kernel, ALL, 1),
    "mixed": (lambda X, Y: MixedSingleTaskGP(rounded(X), Y, cat_dims=[2]), ALL, 1),
    "categories only": (
        lambda X, Y: MixedSingleTaskGP(rounded(X)[..., 2:], Y, cat_dims=[0]),
        ALL,
        1,
    ),
    "fidelity, linear truncated": (
        lambda X, Y: SingleTaskMultiFidelityGP(X, Y, data_fidelities=[2]),
        ALL,
        1,
    ),
    "fidelity, two outputs": (
        lambda X, Y: SingleTaskMultiFidelityGP(X, Y, data_fidelities=[2]),
        ALL,
        2,
    ),
    "fidelity, two of them": (
        lambda X, Y: SingleTaskMultiFidelityGP(X, Y, data_fidelities=[1, 2]),
        ALL,
        1,
    ),
    "fidelity, downsampling": (
        lambda X, Y: SingleTaskMultiFidelityGP(
            X, Y, data_fidelities=[2], iteration_fidelity=1, linear_truncated=False
        ),
        ALL,
        1,
    ),
    "multi-task": (multi_task, ONE, 1),
    "multi-task, known noise": (multi_task_known_noise, ONE, 1),
    "Kronecker": (kronecker, ONE, 2),
    "latent Kronecker": (latent_kronecker, ALL, 2),
    "higher order": (higher_order, ["one", "three"], 4),
    "list": (model_list, ALL, 2),
    "SACGP": (lambda X, Y: SACGP(X[..., :2], Y, None, CONTEXTS), ALL, 1),
    "LCEAGP": (lceagp, ONE, 1),
    "LCEMGP": (lcemgp, ONE, 1),
    "heterogeneous": (heterogeneous, ONE, 1),
    "hierarchical": (hierarchical, ONE, 1),
    "hierarchical, multi-task": (hierarchical_tasks, ONE, 1),
    "robust, convex": (robust(True), ONE, 1),
    "robust": (robust(False), ONE, 1),
    "orthogonal additive": (orthogonal(False), ALL, 1),
    "orthogonal additive, second order": (orthogonal(True), ALL, 1),
    "additive SAAS": (saas(AdditiveMapSaasSingleTaskGP), ALL, 1),
    "ensemble SAAS": (saas(EnsembleMapSaasSingleTaskGP), ONE, 1),
    "normalized": (single_with(lambda b, _: Normalize(D, batch_shape=b)), ALL, 1),
    "standardized": (
        single_with(lambda b, _: InputStandardize(D, batch_shape=b)),
        ALL,
        1,
    ),
    "rounded": (
        single_with(lambda b, _: Round(integer_indices=[2], approximate=True)),
        ALL,
        1,
    ),
    "logarithms": (single_with(lambda b, _: Log10(indices=[0])), ALL, 1),
    "warped": (single_with(warp), ALL, 1),
    "normalized, then warped": (
        single_with(
            lambda b, dtype: ChainedInputTransform(
                first=Normalize(D, batch_shape=b), then=warp(b, dtype)
            )
        ),
        ALL,
        1,
    ),
    "perturbed at prediction": (
        single_with(lambda b, dtype: InputPerturbation(torch.eye(D, dtype=dtype) / 9)),
        ALL,
        1,
    ),
    "features appended": (
        single_with(
            lambda b, _: AppendFeatures(
                f=first_two, transform_on_train=True, transform_on_fantasize=True
            )
        ),
        ALL,
        1,
    ),
    "features filtered": (
        single_with(lambda b, _: FilterFeatures(torch.tensor([0, 2]))),
        ALL,
        1,
    ),
    "Standardize": (single_after(lambda b: Standardize(1, batch_shape=b)), ALL, 1),
    "no outcome transform": (single(outcome_transform=None), ALL, 1),
    "Log": (single_after(lambda b: Log()), ALL, 1),
    "Power": (single_after(lambda b: Power(power=0.5)), ALL, 1),
    "Bilog": (single_after(lambda b: Bilog()), ALL, 1),
    "Log, then Standardize": (
        single_after(
            lambda b: ChainedOutcomeTransform(
                log=Log(), standardize=Standardize(1, batch_shape=b)
            )
        ),
        ALL,
        1,
    ),
}


CUSTOM = ("robust, convex", "robust")  # fits of their own, left to BoTorch


def mll_of(model: Model) -> ExactMarginalLogLikelihood | SumMarginalLogLikelihood:
    whole = isinstance(model, ModelListGP)
    kind = SumMarginalLogLikelihood if whole else ExactMarginalLogLikelihood
    return kind(model.likelihood, model)


def losses_of(mll: ExactMarginalLogLikelihood | SumMarginalLogLikelihood) -> Tensor:
    """Of every model, by its own mll."""
    mll.train()
    parts = mll.mlls if isinstance(mll, SumMarginalLogLikelihood) else [mll]
    with torch.no_grad():
        return torch.cat([get_loss_closure(part)().reshape(-1) for part in parts])


def end(
    fit: Callable, name: str, shape: str, dtype: torch.dtype, **kwargs: Any
) -> tuple[Tensor, Any]:
    """Losses at the end of a fit, and the mll."""
    build, _, outputs = TABLE[name]
    mll = mll_of(build(*data(dtype, SHAPES[shape], outputs)))
    torch.manual_seed(0)
    if name not in CUSTOM:  # a `custom_fit` has no such argument
        kwargs["warning_handler"] = accept_abnormal
    fit(mll, **kwargs)
    return losses_of(mll).double(), mll


# Both are stopped after as many iterations, and by the same rule.
LIMIT = {"maxiter": 20}
# These are slow, or have several optima of which 20 iterations do not yet choose one.
SLOW = ("latent Kronecker", "single, Matern without priors")
# Per point. Float32 rounds the loss at 1e-7: that decides where a line search gives up.
TOLERANCE = {torch.float64: 1e-3, torch.float32: 1e-2}
ELSEWHERE = {
    ("latent Kronecker", "two by three"): "one of six ends in another optimum",
    ("orthogonal additive, second order", "two by three"): (
        "six models together by one optimizer; BoTorch fits each on its own"
    ),
}
RUNS = [
    pytest.param(
        name,
        shape,
        dtype,
        marks=XFAIL(ELSEWHERE[name, shape]) if (name, shape) in ELSEWHERE else (),
        id=f"{name}-{shape}-{str(dtype)[6:]}",
    )
    for name, (_, shapes, _) in TABLE.items()
    for shape in shapes
    for dtype in (torch.float64, torch.float32)
    if (dtype is torch.float32) == (shape == "three") or shapes == ONE
]
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}")
    for kind in (
        "botorch.exceptions.InputDataWarning",
        "botorch.exceptions.BotorchWarning",
        "linear_operator.utils.warnings.NumericalWarning",
        "UserWarning",
    )
]


def test_the_table_knows_every_model_with_an_exact_loss():
    found: set[str] = set()
    for module in pkgutil.walk_packages(botorch.models.__path__, "botorch.models."):
        for name, member in vars(import_module(module.name)).items():
            if (
                inspect.isclass(member)
                and issubclass(member, Model)
                and issubclass(member, ExactGP)
                and member.__module__.startswith("botorch.models")
                and "FullyBayesian" not in name  # sampled, not fitted
            ):
                found.add(name)
    built = set()
    for build, _, outputs in TABLE.values():
        built.add(type(build(*data(torch.float64, (), outputs))).__name__)
    assert found | {"ModelListGP"} == built


@pytest.mark.parametrize("name", [n for n, row in TABLE.items() if row[1] != ALL])
def test_the_other_batch_shapes_are_none_of_the_class(name):
    """Not even BoTorch fits them."""
    build, shapes, outputs = TABLE[name]
    for shape in set(ALL) - set(shapes):
        with pytest.raises(
            (
                RuntimeError,
                ValueError,
                IndexError,
                NotImplementedError,
                UnsupportedError,
            )
        ):
            mll = mll_of(build(*data(torch.float64, SHAPES[shape], outputs)))
            botorch.fit.fit_gpytorch_mll(mll, optimizer_kwargs={"options": LIMIT})


@pytest.mark.parametrize("name, shape, dtype", RUNS)
def test_no_worse_than_botorch(name, shape, dtype):
    limit = {"maxiter": 200} if name in SLOW else LIMIT
    theirs, _ = end(
        botorch.fit.fit_gpytorch_mll,
        name,
        shape,
        dtype,
        optimizer_kwargs={"options": dict(limit)},
    )
    for coordinates in ("raw", "log"):
        own = {} if name in CUSTOM else {"coordinates": coordinates}
        ours, mll = end(
            fit_gpytorch_mll,
            name,
            shape,
            dtype,
            optimizer_kwargs={"options": dict(limit), **own},
        )
        # A joint fit is of the sum; one optimum or the other may be lower.
        assert ours.mean() <= theirs.mean() + TOLERANCE[dtype], coordinates
        records = getattr(mll, "fit_records", [])
        if len(records) == len(ours):
            said = torch.tensor([r.loss for r in records], dtype=torch.float64)
            torch.testing.assert_close(said, ours, rtol=1e-3, atol=TOLERANCE[dtype])


# --- what BoTorch's own tests have shown --------------------------------------------


def fidelity_mll(outputs: int) -> ExactMarginalLogLikelihood:
    model = SingleTaskMultiFidelityGP(
        *data(torch.float64, (), outputs), data_fidelities=[2]
    )
    return ExactMarginalLogLikelihood(model.likelihood, model)


@pytest.mark.parametrize("outputs", [2, 3])
def test_a_kernel_that_knows_the_size_of_its_batch(outputs):
    limited = {"optimizer_kwargs": {"options": dict(LIMIT)}}
    mll = fidelity_mll(outputs)
    fit_gpytorch_mll(mll, **limited)
    other = fidelity_mll(outputs)
    botorch.fit.fit_gpytorch_mll(other, **limited)
    assert (losses_of(mll) <= losses_of(other) + 1e-4).all()


@pytest.mark.parametrize("maxiter", [1, 2, 8])
def test_a_fit_of_few_iterations_ends_where_it_says(maxiter):
    """It has not left the first iterations, on the parameters themselves."""
    for name in ("single", "warped", "orthogonal additive"):
        options = {"options": {"maxiter": maxiter}}
        found, mll = end(
            fit_gpytorch_mll, name, "one", torch.float64, optimizer_kwargs=options
        )
        (record,) = mll.fit_records
        assert record.loss == pytest.approx(found.item(), abs=1e-9)


def test_few_iterations_again_and_again_as_in_a_relevance_pursuit():
    """Lengthscales that are unbounded above must not become infinite."""
    X, Y = data(torch.float64)
    kernel = ScaleKernel(
        RBFKernel(lengthscale_constraint=NonTransformedInterval(0.1, torch.inf, 0.2)),
        outputscale_constraint=NonTransformedInterval(0.01, 10.0, 0.1),
    )
    model = RobustRelevancePursuitSingleTaskGP(
        X, Y, covar_module=kernel, convex_parameterization=False
    ).to_standard_model()
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    losses = []
    for i in range(5):
        model.likelihood.noise_covar.expand_support([i])
        fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": 2}})
        losses.append(losses_of(mll).item())
        assert losses[-1] == pytest.approx(mll.fit_records[0].loss, abs=1e-9)
    assert losses == sorted(losses, reverse=True)
    assert all(p.isfinite().all() for p in mll.parameters())


def orthogonal_mll() -> ExactMarginalLogLikelihood:
    model = orthogonal(True)(*data(torch.float64))
    return ExactMarginalLogLikelihood(model.likelihood, model)


def test_a_retry_of_a_model_that_keeps_a_tensor_of_a_graph():
    mll = orthogonal_mll()
    torch.manual_seed(0)
    fit_gpytorch_mll(mll, pick_best_of_all_attempts=True, max_attempts=2)
    (record,) = mll.fit_records
    assert record.attempts == 2
    assert record.loss == pytest.approx(losses_of(mll).item(), abs=1e-9)


def test_a_model_that_was_evaluated_before():
    """Its kernel keeps a tensor of that graph."""
    mll = orthogonal_mll()
    get_loss_closure(mll)().sum().backward()
    fit_gpytorch_mll(mll)
    assert mll.fit_records[0].loss < 1.5


def folds_with_a_prior_without_setter() -> list[ExactMarginalLogLikelihood]:
    X, Y = data(torch.float64)
    mlls = []
    for i in range(4):
        kernel = RBFKernel(ard_num_dims=D)
        prior = GammaPrior(3.0, 6.0)
        kernel.register_prior("lengthscale_prior", prior, lambda m: m.lengthscale)
        model = SingleTaskGP(X.roll(i, 0)[1:], Y.roll(i, 0)[1:], covar_module=kernel)
        if i == 1:
            model.train_targets = torch.full_like(model.train_targets, torch.nan)
        mlls.append(ExactMarginalLogLikelihood(model.likelihood, model))
    return mlls


def test_a_prior_without_setter_costs_only_the_model_that_is_tried_again():
    mlls = folds_with_a_prior_without_setter()
    start = {name: value.clone() for name, value in mlls[1].named_parameters()}
    errors = fit_each(mlls, FitOptions(max_attempts=3))
    assert set(errors) == {1}
    for i in (0, 2, 3):
        (record,) = mlls[i].fit_records
        assert record.loss < record.losses[0]
        assert record.loss == pytest.approx(losses_of(mlls[i]).item(), abs=1e-9)
    for name, value in mlls[1].named_parameters():
        assert torch.equal(value, start[name])


@pytest.mark.parametrize("name, shape", [("single", "three"), ("warped", "one")])
def test_botorchs_mock_makes_fits_short(name, shape):
    if not hasattr(import_module("botorch.generation.gen"), "fmin_l_bfgs_b_batched"):
        pytest.skip("this BoTorch's own mock does not work with this SciPy")
    with mock_optimize_context_manager():
        _, short = end(fit_gpytorch_mll, name, shape, torch.float64)
    _, full = end(fit_gpytorch_mll, name, shape, torch.float64)
    for one, other in zip(short.fit_records, full.fit_records, strict=True):
        assert one.iterations <= 4 < other.iterations


def test_our_own_options_do_not_break_a_fit_that_is_left_to_botorch():
    model = robust(True)(*data(torch.float64))
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    start = losses_of(mll)
    fit_gpytorch_mll(
        mll,
        numbers_of_outliers=[1],
        optimizer_kwargs={"coordinates": "raw", "options": {"maxiter": 2}},
    )
    assert not mll.training
    assert losses_of(mll) < start
