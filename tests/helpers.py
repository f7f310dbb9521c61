"""Tolerances, and the small problems and models that several test modules share."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from warnings import WarningMessage

import numpy as np
import pandas as pd
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.model import Model
from botorch.models.transforms import Normalize
from botorch.optim.closures import get_loss_closure
from botorch.test_functions import Hartmann
from gpytorch.kernels import RBFKernel
from gpytorch.mlls import ExactMarginalLogLikelihood, MarginalLogLikelihood
from gpytorch.priors import GammaPrior
from linear_operator.utils.errors import NotPSDError
from torch import Tensor

from botorch_xval.comparison.table import Comparison
from botorch_xval.data.tables import EncodedTable
from botorch_xval.data.trials import encode_tuning_trials, load_tuning_trials
from botorch_xval.fitting.options import FitOptions

# An identity; the same mathematics by another route; a solved loss; float32.
IDENTITY = {"rtol": 1e-10, "atol": 1e-10}
SAME = {"rtol": 1e-7, "atol": 1e-7}
SOLVED = {"rtol": 1e-6, "atol": 1e-6}
SINGLE = {"rtol": 1e-3, "atol": 1e-3}
# At a minimum the loss is flat, so two fits whose losses agree to 1e-12 agree in their
# hyper-parameters to about 1e-6 times a condition number only, and a score depends on
# these to first order.
SCORED = {"rtol": 0.0, "atol": 1e-4}

# With L-BFGS-B's default options a fit may stop at a flat spot depending on the last
# bit of a loss; tests that compare two fits take these options for both.
TIGHT = {"ftol": 1e-13, "gtol": 1e-9, "maxiter": 5000}


def accept_abnormal(warning: WarningMessage) -> bool:
    """The `warning_handler` that belongs to `TIGHT`, for BoTorch's fit and ours.

    Where rounding hides all progress the line search may end as ABNORMAL. Without this
    the fit would begin again from values sampled from the priors, and might end at
    another minimum.
    """
    return "ABNORMAL" in str(warning.message)


def assert_close(
    found: Any, expected: Any, rtol: float = 1e-10, atol: float = 1e-10
) -> None:
    """Close: tensors, arrays, sequences or numbers; NaN equals NaN."""
    found, expected = (
        value.detach().double()
        if isinstance(value, Tensor)
        else torch.from_numpy(np.array(value, dtype=np.float64))
        for value in (found, expected)
    )
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, equal_nan=True)


def assert_same(found: Comparison, expected: Comparison) -> None:
    """Comparisons that agree to the last bit, except in the time that they took."""
    exact = {"check_exact": True}
    pd.testing.assert_frame_equal(found.points, expected.points, **exact)
    fits = [frame.drop(columns="seconds") for frame in (found.fits, expected.fits)]
    pd.testing.assert_frame_equal(*fits, **exact)


def optimizer(
    strategy: str = "auto",
    coordinates: str = "log",
    starts: str = "own",
    **options: float,
) -> FitOptions:
    """Options of a fit with `TIGHT` or other options of SciPy.

    The coordinates are "raw" where BoTorch's fit is the expected result, since the path
    may decide between two minima, and there is one start.
    """
    return FitOptions(
        strategy=strategy,
        coordinates=coordinates,
        starts=starts,
        options=options or TIGHT,
        warning_handler=accept_abnormal,
    )


def hartmann(n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Hartmann-6 at random points of the unit cube, `n x 6` and `n x 1`."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 6, generator=generator, dtype=torch.float64)
    return x, Hartmann().to(x).evaluate_true(x).unsqueeze(-1)


def noisy_waves(
    n: int = 16, m: int = 1, batch: tuple[int, ...] = (), seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Two inputs in different units and noisy outcomes: `n x 2` and `n x m`.

    The noise keeps the fitted noise variance off its bound and the covariance well
    conditioned, so that a fit has one clear minimum.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(*batch, n, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(*batch, n, m, generator=generator, dtype=torch.float64)
    phases = torch.arange(m, dtype=torch.float64)
    y = torch.sin(6 * x[..., :1] + phases) + x[..., 1:] + 0.3 * noise
    return x * torch.tensor([1.0, 100.0], dtype=torch.float64) - 5.0, 10 * y


def unit_waves(n: int = 12, seed: int = 3) -> tuple[Tensor, Tensor]:
    """Two inputs in the unit square and a noisy outcome: `n x 2` and `n x 1`."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    noise = 0.2 * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    return x, (6 * x[:, :1]).sin() + x[:, 1:] ** 2 + noise


def normalized_gp(
    train_X: Tensor, train_Y: Tensor, train_Yvar: Tensor | None = None
) -> SingleTaskGP:
    """BoTorch's default model with inputs scaled to [0, 1]."""
    return SingleTaskGP(
        train_X,
        train_Y,
        train_Yvar,
        input_transform=Normalize(train_X.shape[-1], batch_shape=train_X.shape[:-2]),
    )


def tuning_trials(n: int) -> EncodedTable:
    """The first `n` rows of the bundled table."""
    return encode_tuning_trials(load_tuning_trials().head(n))


def arviz_module() -> Any:
    """ArviZ, of any version, without its announcement of the next."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return pytest.importorskip("arviz")


def arviz_compare(arviz: Any, made: Mapping[str, Any], **kwargs: Any) -> pd.DataFrame:
    """Its table of scores, not rounded: ArviZ 1 does so unless it is told not to."""
    if "round_to" in inspect.signature(arviz.compare).parameters:
        kwargs["round_to"] = "none"
    return arviz.compare(made, **kwargs)


def mll_of(
    model: Model, kind: type[MarginalLogLikelihood] = ExactMarginalLogLikelihood
) -> MarginalLogLikelihood:
    """The mll of a model, in training mode."""
    return kind(model.likelihood, model).train()


def fold_mlls(
    model: Callable[[Tensor, Tensor], SingleTaskGP],
    x: Tensor,
    y: Tensor,
    count: int | None = None,
    kind: type[MarginalLogLikelihood] = ExactMarginalLogLikelihood,
) -> list[MarginalLogLikelihood]:
    """The mlls of all leave-one-out folds, or of the first ones."""
    mlls = []
    for i in range(len(x) if count is None else count):
        train = torch.arange(len(x)) != i
        mlls.append(mll_of(model(x[train], y[train]), kind))
    return mlls


def batch_mll(x: Tensor, y: Tensor) -> ExactMarginalLogLikelihood:
    """The mll of one batched model that holds all leave-one-out folds."""
    train = ~torch.eye(len(x), dtype=torch.bool)
    inputs, outcomes = (torch.stack([part[rows] for rows in train]) for part in (x, y))
    return mll_of(normalized_gp(inputs, outcomes))


def losses_of(mll: MarginalLogLikelihood) -> Tensor:
    """The own losses of the models of an mll, which keeps its mode."""
    was_training = mll.training
    with torch.no_grad():
        losses = get_loss_closure(mll.train())()
    mll.train(was_training)
    return losses


def values_of(mll: MarginalLogLikelihood) -> dict[str, Tensor]:
    """Copies of the parameters of an mll by name."""
    return {name: p.detach().clone() for name, p in mll.named_parameters()}


def are_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two models have the same values to the last bit."""
    return all(torch.equal(value, second[name]) for name, value in first.items())


def short_sighted(
    train_X: Tensor, train_Y: Tensor, train_Yvar: Tensor | None = None
) -> SingleTaskGP:
    """A bad model: outcomes a tenth of the range apart tell nothing of each other."""
    kernel = RBFKernel()
    kernel.lengthscale = 0.05
    kernel.raw_lengthscale.requires_grad_(False)
    transform = Normalize(train_X.shape[-1])
    return SingleTaskGP(
        train_X, train_Y, train_Yvar, covar_module=kernel, input_transform=transform
    )


def unfittable(rows: Tensor) -> Callable[[Tensor, Tensor], SingleTaskGP]:
    """A model without a covariance unless it is trained on all of these rows of X."""

    class Unfittable(RBFKernel):
        def forward(self, x1: Tensor, x2: Tensor, **params: object) -> Tensor:
            covariance = super().forward(x1, x2, **params)
            apart = (x1.unsqueeze(-2) != rows).any(dim=-1)  # batch x n x rows
            lacking = apart.all(dim=-2).any(dim=-1) & self.training
            return torch.where(lacking[..., None, None], -covariance, covariance)

    def model(train_X: Tensor, train_Y: Tensor) -> SingleTaskGP:
        # Without an input transform: the rows must be found again.
        return SingleTaskGP(train_X, train_Y, covar_module=Unfittable())

    return model


MARK = 0.5  # an input of a model that is to be in trouble


class CalledKernel(RBFKernel):
    """It is called in a way of its own, so that modules evaluate the whole model."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


class TroubledKernel(CalledKernel):
    """Evaluated by modules, and in trouble in models with an input `MARK`.

    The trouble is an "error", "nan" covariances or such as are "not positive definite",
    "always" or only "at the start" or "where short" (at lengthscales below 0.45).
    """

    def __init__(
        self, trouble: str | None = None, when: str = "always", **kwargs: Any
    ) -> None:
        kwargs.setdefault("lengthscale_prior", GammaPrior(3.0, 6.0))
        super().__init__(ard_num_dims=2, **kwargs)
        self.trouble, self.when = trouble, when
        self.start = self.lengthscale.detach().double().flatten()[0]

    def forward(
        self, x1: Tensor, x2: Tensor, diag: bool = False, **params: object
    ) -> Tensor:
        covariance = super().forward(x1, x2, diag=diag, **params)
        bad = (x1 == MARK).any(dim=-1).any(dim=-1)
        if self.when == "at the start":
            near = (self.lengthscale - self.start).abs() < 1e-6
            bad = bad & near.all(dim=-1).squeeze(-1)
        elif self.when == "where short":
            bad = bad & (self.lengthscale < 0.45).any(dim=-1).squeeze(-1)
        if self.trouble is None or diag or not bad.any():
            return covariance
        if self.trouble == "error":
            raise ArithmeticError("the kernel broke")
        value = {"nan": torch.nan, "not positive definite": -9.0}[self.trouble]
        where = bad[..., None, None].expand_as(covariance)
        return torch.where(where, torch.full_like(covariance, value), covariance)


class RaisingKernel(CalledKernel):
    """It raises in training, the first `times` times."""

    def __init__(
        self, times: int = 10**6, error: type[Exception] = NotPSDError
    ) -> None:
        super().__init__(ard_num_dims=2, lengthscale_prior=GammaPrior(3.0, 6.0))
        self.times, self.error = times, error

    def forward(
        self, x1: Tensor, x2: Tensor, diag: bool = False, **params: object
    ) -> Tensor:
        if self.training and self.times > 0:
            self.times -= 1
            raise self.error("on purpose")
        return super().forward(x1, x2, diag=diag, **params)


def troubled_mlls(
    trouble: str | None, when: str = "always", count: int = 6, n: int = 12
) -> list[ExactMarginalLogLikelihood]:
    """Models of different data of `n` points, of which number 2 is in trouble."""
    x, y = unit_waves(n + count)
    mlls = []
    for i in range(count):
        kept = torch.arange(len(x)) % count != i
        inputs, outcomes = x[kept][:n].clone(), y[kept][:n]
        if i == 2:
            inputs[0] = MARK
        kernel = TroubledKernel(trouble, when)
        mlls.append(mll_of(SingleTaskGP(inputs, outcomes, covar_module=kernel)))
    return mlls
