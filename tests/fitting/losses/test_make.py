"""Which way to evaluate is taken, and the comparison before it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import (
    KroneckerMultiTaskGP,
    MixedSingleTaskGP,
    MultiTaskGP,
    SingleTaskGP,
)
from botorch.models.transforms import Normalize
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import MarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from helpers import (
    SAME,
    TroubledKernel,
    assert_close,
    batch_mll,
    fold_mlls,
    hartmann,
    losses_of,
    mll_of,
    normalized_gp,
    tuning_trials,
    unit_waves,
)
from torch import Tensor

from botorch_xval import ScalarChoiceGP, make_objective
from botorch_xval.fitting.losses.exact import Exact
from botorch_xval.fitting.losses.make import make_batch_objective
from botorch_xval.fitting.losses.modules import ByModules, Joint
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.losses.separate import Separate
from botorch_xval.fitting.losses.together import DifferentModels

FOLDS = 5
X, Y = hartmann(9)


def folds(model) -> list[MarginalLogLikelihood]:
    return fold_mlls(model, X, Y, FOLDS)


def assert_own_losses(
    objective: Objective, mlls: list[MarginalLogLikelihood], **tolerance: float
) -> None:
    losses, _ = objective(objective.start, range(objective.num_models))
    expected = torch.cat([losses_of(mll).reshape(-1) for mll in mlls])
    assert_close(losses, expected, **(tolerance or SAME))


# --- the choice ---------------------------------------------------------------------


def noisy(X, Y):
    return SingleTaskGP(X, Y, 0.01 + 0.1 * X[:, :1], input_transform=Normalize(6))


def two_outputs(X, Y):
    return SingleTaskGP(X, torch.cat([Y, Y**2], -1), input_transform=Normalize(6))


def mixed(X, Y):
    X = torch.cat([X[:, :3], (X[:, 3:5] * 2.99).floor()], dim=-1)
    return MixedSingleTaskGP(X, Y, cat_dims=[3, 4])


def hand_written(X, Y):
    prior = LogNormalPrior(
        torch.tensor([0.1, 0.3]).double(), torch.tensor([1.0, 2.0]).double()
    )
    kernel = MaternKernel(
        nu=1.5, ard_num_dims=2, active_dims=(0, 3), lengthscale_prior=prior
    )
    likelihood = GaussianLikelihood(noise_prior=GammaPrior(1.1, 0.05))
    return SingleTaskGP(X, Y, covar_module=ScaleKernel(kernel), likelihood=likelihood)


def tuning(X, Y):
    table = tuning_trials(20)
    rows = (X[:, 0] * 20).long()
    return ScalarChoiceGP(table.X[rows], table.Y[rows], choice_dims=table.choice_dims)


def multi_task(X, Y):
    tasks = torch.arange(len(X), dtype=X.dtype)[:, None] % 2
    return MultiTaskGP(torch.cat([X, tasks], -1), Y, task_feature=-1)


def kronecker(X, Y):
    return KroneckerMultiTaskGP(X, torch.cat([Y, Y**2], -1))


def troubled(X, Y):
    return SingleTaskGP(X[:, :2], Y, covar_module=TroubledKernel())


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (normalized_gp, Exact),
        (noisy, Exact),
        (two_outputs, Exact),
        (tuning, Exact),
        (mixed, Exact),
        (hand_written, Exact),
        (troubled, ByModules),
        (multi_task, Exact),
        (kronecker, Separate),  # its modules cannot take a batch of these
    ],
)
def test_models_that_are_alike_take_the_fastest_way(model, kind):
    mlls = folds(model)
    objective = make_objective(mlls)
    assert type(objective) is kind
    assert objective.num_models in (FOLDS, 2 * FOLDS)
    assert_own_losses(objective, mlls)


def test_one_model_and_a_batch():
    assert type(make_objective([mll_of(normalized_gp(X, Y))])) is Exact
    batch = batch_mll(*unit_waves(6))
    assert make_objective([batch]).num_models == 6
    assert_own_losses(make_objective([batch]), [batch])


def test_without_all_parameters_there_is_no_closed_form():
    name = "model.covar_module.raw_lengthscale"
    objective = make_objective(folds(normalized_gp), parameters=[name])
    assert type(objective) is ByModules
    assert set(objective.parameters(objective.start[0], 0)) == {name}


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
    ],
)
def test_models_that_differ_are_evaluated_each_by_its_own_modules(other):
    """Also if none of them is the first, the middle or the last one."""
    plain = folds(kernel(prior=LogNormalPrior(0.0, 1.0)))
    mlls = [plain[0], folds(other)[1], *plain[2:]]
    objective = make_objective(mlls)
    assert type(objective) is Separate
    assert_own_losses(objective, mlls)
    columns = make_objective(mlls[:1]).stack.table.columns
    column = columns["likelihood.noise_covar.raw_noise"]
    bounds = [mll.likelihood.noise_covar.raw_noise_constraint for mll in mlls]
    low = [bound.lower_bound.item() for bound in bounds]
    assert_close([each.lb[column][0] for each in objective.bounds], low)


def test_a_shared_parameter_is_named_and_fitted_jointly():
    cube = X.expand(3, -1, -1)
    outcomes = Y * torch.arange(1.0, 4.0).double()[:, None, None]
    scale = ScaleKernel(MaternKernel())
    mll = mll_of(SingleTaskGP(cube, outcomes, covar_module=scale))
    with pytest.warns(BotorchWarning, match="raw_outputscale.*raw_lengthscale"):
        objective = make_objective([mll])
    assert type(objective) is Joint and objective.num_models == 1
    losses, _ = objective(objective.start, [0])
    assert_close(losses, losses_of(mll).sum().reshape(1))


# --- the comparison -----------------------------------------------------------------


class Hidden(RBFKernel):
    """It keeps a factor where nobody looks for differences between models."""

    def __init__(self, factor: float, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.hidden = [factor]

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params) -> Tensor:
        return self.hidden[0] * super().forward(x1, x2, diag=diag, **params)


def test_a_model_that_disagrees_is_evaluated_apart():
    mlls = [
        fold_mlls(lambda x, y, i=i: SingleTaskGP(x, y, covar_module=Hidden(i)), X, Y, 5)
        for i in (1.0, 3.0)
    ]
    mlls = [*mlls[0][:4], mlls[1][4]]
    objective = make_objective(mlls)
    assert type(objective) is Separate
    assert_own_losses(objective, mlls)


class WholeOnly(RBFKernel):
    """It is right only for all models of its batch at once, as some modules are."""

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params) -> Tensor:
        covariance = super().forward(x1, x2, diag=diag, **params)
        return covariance if len(x1) == 3 else 2 * covariance


def test_a_model_is_compared_alone_too():
    cube = torch.stack([X * k for k in (0.5, 0.7, 0.9)])
    outcomes = Y.expand(3, -1, -1)
    whole = WholeOnly(batch_shape=torch.Size([3]))
    mll = mll_of(SingleTaskGP(cube, outcomes, covar_module=whole))
    with pytest.warns(BotorchWarning, match="fitted together.*disagrees"):
        objective = make_objective([mll])
    assert type(objective) is Joint
    assert_close(objective(objective.start, [0])[0], losses_of(mll).sum().reshape(1))


def test_a_model_without_a_loss_at_the_start_is_kept_with_the_others():
    mlls = folds(normalized_gp)
    targets = mlls[0].model.train_targets
    mlls[0].model.train_targets = torch.full_like(targets, torch.nan)
    objective = make_objective(mlls)
    assert type(objective) is Exact
    losses, _ = objective(objective.start, range(FOLDS))
    assert np.isnan(losses).tolist() == [True, False, False, False, False]


# --- a batch against its members ----------------------------------------------------


def members(x: Tensor, y: Tensor, numbers: tuple[int, ...] = (0, 3, 5)):
    mlls = fold_mlls(normalized_gp, x, y)
    return {i: mlls[i] for i in numbers}


@pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")
def test_a_batch_that_is_as_its_members_would_be():
    x, y = unit_waves(6)
    batch = batch_mll(x, y)
    objective = make_batch_objective(batch, members(x, y))
    assert type(objective) is Exact and objective.num_models == 6
    assert_own_losses(objective, [batch])
    name = "model.covar_module.raw_lengthscale"
    chosen = make_batch_objective(batch, members(x, y), [name], {name: (0.5, None)})
    assert set(chosen.parameters(chosen.start[0], 0)) == {name}
    assert (chosen.bounds[5].lb == 0.5).all()


def test_a_batch_that_is_not():
    x, y = unit_waves(6)
    with pytest.raises(
        DifferentModels, match="not as its members would be: other loss"
    ):
        make_batch_objective(batch_mll(x, y), members(x, y**2))
    shared = SingleTaskGP(
        x.expand(6, -1, -1), y.expand(6, -1, -1), covar_module=RBFKernel()
    )
    with pytest.raises(DifferentModels, match="SharedParameters: .*raw_lengthscale"):
        make_batch_objective(mll_of(shared), members(x, y))
    with pytest.raises(ValueError, match="parameters: expected names"):
        make_batch_objective(batch_mll(x, y), members(x, y), ["scale"])


# --- what is refused ----------------------------------------------------------------


def test_bounds_of_constraints_and_of_the_user():
    name, noise = (
        "model.covar_module.raw_lengthscale",
        "likelihood.noise_covar.raw_noise",
    )
    ours = {name: (torch.full((1, 6), 0.1), 3.0), noise: (None, 0.5)}
    mlls = folds(normalized_gp)
    columns = make_objective(mlls).stack.table.columns
    for bounds in make_objective(mlls, bounds=ours).bounds:
        assert_close(bounds.lb[columns[name]], [0.1] * 6, atol=1e-7)
        assert bounds.ub[columns[name]].tolist() == [3.0] * 6
        assert bounds.ub[columns[noise]].tolist() == [0.5]
        assert bounds.lb[columns["model.mean_module.raw_constant"]] == -np.inf
    default = make_objective(mlls).bounds[0].lb[columns[noise]]
    assert default == pytest.approx(1e-4)


def test_unknown_names_are_refused():
    mlls = folds(normalized_gp)
    with pytest.raises(ValueError, match=r"bounds: expected .*got \['noise'\]"):
        make_objective(mlls, bounds={"noise": (0.1, None)})
    with pytest.raises(ValueError, match=r"parameters: expected .*got \['scale'\]"):
        make_objective(mlls, parameters=["scale"])


def test_models_without_anything_to_optimize_are_refused():
    mlls = folds(normalized_gp)
    with pytest.raises(ValueError, match="none of the SingleTaskGP"):
        make_objective(mlls, parameters=[])
    for mll in mlls:
        mll.requires_grad_(False)
    with pytest.raises(ValueError, match="none of the SingleTaskGP"):
        make_objective(mlls)


def test_models_that_optimize_other_parameters_are_refused():
    mlls = [*folds(kernel())[:2], *folds(kernel(frozen=True))[2:]]
    with pytest.raises(ValueError, match="others in mll 2"):
        make_objective(mlls)
