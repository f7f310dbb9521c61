"""One model's fault is its own: a fault at every call of a part of one model in turn.

    OMP_NUM_THREADS=1 python benchmarks/faults.py --every 20
    OMP_NUM_THREADS=1 python benchmarks/faults.py --every 40 refit  # of some only
    python benchmarks/faults.py --every 40 --threads 2
    python benchmarks/faults.py --every 40 --threads 2

Of several models (of a list, folds or configurations) one has a part that can break: a
kernel, a mean, a likelihood, a prior, a transform, or the function that builds it. A
run without a fault counts the calls of that part which concern this one model. Then, at
each of these calls in turn (and from it on), the part raises an exception, returns NaN,
a wrong shape, or is late. All other models must end bit for bit as without the fault,
or, where folds tell each other their optima (several starts), within 0.01 nats of it;
this one is fitted, to a value that its sound twin confirms, or is named with the reason
and left as it was; nothing is raised and nobody else is warned of. KeyboardInterrupt
must come through, and leave all models as they were.

A part belongs to the one model where it sees a row that only this model has (a list),
or lacks (a fold); a prior, which sees no rows, knows its model. What is counted is in
`results/faults.md`.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim.core import OptimizationStatus
from gpytorch.constraints import GreaterThan
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import RBFKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ConstantMean
from gpytorch.mlls import ExactMarginalLogLikelihood, SumMarginalLogLikelihood
from gpytorch.priors import GammaPrior
from linear_operator.utils.errors import NotPSDError
from torch import Tensor

from botorch_xval import (
    Comparison,
    CrossValidation,
    FitOptions,
    compare,
    cross_validate,
    fit_each,
    fit_gpytorch_mll,
)
from botorch_xval.fitting.multistart import SAME
from botorch_xval.reporting import (
    describe,
    hyperparameters,
    optima,
    summarize_fits,
)
from botorch_xval.reporting.plots import (
    plot_diagnostics,
    plot_hyperparameters,
    plot_influence,
)
from botorch_xval.reporting.report import write_report

# Training rows. Of a model that modules evaluate, the last bit depends on the others in
# its group unless these are a multiple of four, see `closed_form.py`.
ROWS = 8
MODELS = 4
MARK = 0.5  # an input of a row


class Custom(Exception):
    """Of nobody's family."""


RAISED: dict[str, type[BaseException]] = {
    "RuntimeError": RuntimeError,
    "ValueError": ValueError,
    "NotPSDError": NotPSDError,
    "ZeroDivisionError": ZeroDivisionError,
    "Custom": Custom,
    "KeyboardInterrupt": KeyboardInterrupt,
}
RETURNED = ("nan", "nan for all", "shape", "late")
KINDS = (*RAISED, *RETURNED)
PLACES = (
    "kernel",
    "kernel by modules",
    "mean",
    "likelihood",
    "prior density",
    "prior sample",
    "input transform",
    "outcome transform",
    "construction",
)


# --- The fault ----------------------------------------------------------------------


@dataclass
class Fault:
    """What happens at which call of the part; without a kind calls are counted."""

    place: str
    kind: str | None = None
    call: int = 0
    is_lasting: bool = False
    count: int = 0
    is_on: bool = True

    def meets(self, place: str) -> bool:
        """Count a call; whether it is one of those that break."""
        if place != self.place or not self.is_on:
            return False
        self.count += 1
        if self.kind is None:
            return False
        return self.count >= self.call if self.is_lasting else self.count == self.call


current = Fault("nowhere")


def broken(place: str, is_own: Tensor | bool, compute: Callable[[], Any]) -> Any:
    """What a part returns, or what its fault makes of it.

    Args:
        place: Of the part.
        is_own: Which models are the one model, a batch of them or one.
        compute: What the part returns.
    """
    is_own = torch.as_tensor(is_own)
    if not is_own.any() or not current.meets(place):
        return compute()
    kind = current.kind
    if kind in RAISED:
        raise RAISED[kind](f"broken {place}")
    if kind == "late":
        time.sleep(1e-3)
        return compute()
    return _spoiled(compute(), kind, is_own)


def _spoiled(value: Any, kind: str | None, is_own: Tensor) -> Any:
    if isinstance(value, tuple):
        return (_spoiled(value[0], kind, is_own), *value[1:])
    if isinstance(value, MultivariateNormal):
        mean, covariance = value.mean, value.lazy_covariance_matrix
        if kind == "shape":
            return MultivariateNormal(mean[..., 1:], covariance[..., 1:, 1:])
        return MultivariateNormal(_spoiled(mean, kind, is_own), covariance)
    if not isinstance(value, Tensor):
        return None  # a model or a posterior
    if kind == "shape":
        is_wide = value.ndim and value.shape[-1] > 1
        return value[..., :-1] if is_wide else value[None, None]
    if kind == "nan" and value.shape[: is_own.ndim] == is_own.shape:
        where = is_own.reshape(*is_own.shape, *[1] * (value.ndim - is_own.ndim))
        return torch.where(where, torch.full_like(value, torch.nan), value)
    return value * torch.nan


def owns(X: Tensor, n: int, lacks: bool) -> Tensor:
    """Which training rows, the first `n`, are those of the one model, `batch_shape`."""
    has = (X[..., :n, :] == MARK).any(dim=-1).any(dim=-1)
    return (~has if lacks else has) & (X.shape[-2] >= n)


# --- Parts that can break -----------------------------------------------------------


class PartKernel(RBFKernel):
    """Its forward is its own, so that there is no closed form of it."""

    def __init__(self, n: int, lacks: bool, **kwargs: Any) -> None:
        super().__init__(ard_num_dims=1, **kwargs)
        self.n, self.lacks = n, lacks

    place = "kernel"

    def forward(self, x1: Tensor, x2: Tensor, **params: Any) -> Tensor:
        own = owns(x1, self.n, self.lacks)
        return broken(
            self.place, own, lambda: RBFKernel.forward(self, x1, x2, **params)
        )


class CalledKernel(PartKernel):
    """Also called in a way of its own, so that modules evaluate the whole model."""

    place = "kernel by modules"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


class PartMean(ConstantMean):
    def __init__(self, n: int, lacks: bool) -> None:
        super().__init__()
        self.n, self.lacks = n, lacks

    def forward(self, x: Tensor) -> Tensor:
        own = owns(x, self.n, self.lacks)
        return broken("mean", own, lambda: ConstantMean.forward(self, x))


class PartLikelihood(GaussianLikelihood):
    def __init__(self, n: int, lacks: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n, self.lacks = n, lacks

    def marginal(self, distribution: Any, *params: Any, **kwargs: Any) -> Any:
        inputs = params[0] if params else None
        inputs = inputs[0] if isinstance(inputs, list | tuple) else inputs
        own = False if inputs is None else owns(inputs, self.n, self.lacks)
        found = super().marginal(distribution, *params, **kwargs)

        def compute() -> Any:
            return found

        return broken("likelihood", own, compute)


class PartPrior(GammaPrior):
    """It knows its model: by its attribute, that of one model differs from others'."""

    def __init__(self, is_own: bool) -> None:
        super().__init__(3.0, 6.0)
        self.is_own = is_own

    def expand(self, *args: Any, **kwargs: Any) -> PartPrior:
        """As it is sampled; that of GPyTorch would be a plain prior."""
        found = super().expand(*args, **kwargs)
        found.__class__, found.is_own = PartPrior, self.is_own
        return found

    def log_prob(self, x: Tensor) -> Tensor:
        def compute() -> Tensor:
            return GammaPrior.log_prob(self, x)

        return broken("prior density", self.is_own, compute)

    @property
    def mode(self) -> Tensor:
        def compute() -> Tensor:
            return torch.distributions.Gamma.mode.fget(self)

        return broken("prior density", self.is_own, compute)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        def compute() -> Tensor:
            return GammaPrior.rsample(self, torch.Size(sample_shape))

        return broken("prior sample", self.is_own, compute)


class PartNormalize(Normalize):
    def __init__(self, n: int, lacks: bool) -> None:
        super().__init__(1)
        self.n, self.lacks = n, lacks
        self.is_own: Tensor | bool = False

    def forward(self, X: Tensor) -> Tensor:
        if self.training:  # predicted rows are transformed alone
            self.is_own = owns(X, self.n, self.lacks)
        return broken(
            "input transform", self.is_own, lambda: Normalize.forward(self, X)
        )


class PartStandardize(Standardize):
    """Told by the function that builds its model."""

    def __init__(self, is_own: bool) -> None:
        super().__init__(1)
        self.is_own = is_own

    def forward(self, Y: Tensor, *args: Any, **kwargs: Any) -> Any:
        def compute() -> Any:
            return Standardize.forward(self, Y, *args, **kwargs)

        return broken("outcome transform", self.is_own, compute)

    def untransform(self, Y: Tensor, *args: Any, **kwargs: Any) -> Any:
        def compute() -> Any:
            return Standardize.untransform(self, Y, *args, **kwargs)

        return broken("outcome transform", self.is_own, compute)

    def untransform_posterior(self, *args: Any, **kwargs: Any) -> Any:
        def compute() -> Any:
            return Standardize.untransform_posterior(self, *args, **kwargs)

        return broken("outcome transform", self.is_own, compute)


class Unsampled(PartKernel):
    """It fails at its start, so that the priors of all models are sampled."""

    def forward(self, x1: Tensor, x2: Tensor, **params: Any) -> Tensor:
        covariance = RBFKernel.forward(self, x1, x2, **params)
        if params.get("diag"):
            return covariance
        start = (self.lengthscale - 0.5).abs() < 1e-6  # set in single precision
        bad = start.all(dim=-1).all(dim=-1) & self.training
        return torch.where(bad[..., None, None], -covariance, covariance)


def build(place: str, n: int, lacks: bool, X: Tensor, Y: Tensor) -> SingleTaskGP:
    """A model of which one part is such that it can break.

    Args:
        place: Of the part.
        n: Training rows.
        lacks: Whether the one model is that without the marked row, or that with it.
        X: Inputs, `n x 1`.
        Y: Outcomes, `n x 1`.
    """
    is_own = bool(owns(X, n, lacks))
    prior = GammaPrior(3.0, 6.0)
    if place.startswith("prior"):
        prior = PartPrior(is_own)
    kinds = {
        "kernel": PartKernel,
        "kernel by modules": CalledKernel,
        "prior sample": Unsampled,
    }
    kernel: Any = RBFKernel(ard_num_dims=1, lengthscale_prior=prior)
    if place in kinds:
        kernel = kinds[place](n, lacks, lengthscale_prior=prior)
    kernel.lengthscale = 0.5
    bound = GreaterThan(1e-4, transform=None, initial_value=0.1)
    noise = {"noise_constraint": bound, "noise_prior": GammaPrior(2.0, 4.0)}
    parts: dict[str, Any] = {"likelihood": GaussianLikelihood(**noise)}
    if place == "likelihood":
        parts["likelihood"] = PartLikelihood(n, lacks, **noise)
    if place == "mean":
        parts["mean_module"] = PartMean(n, lacks)
    if place == "input transform":
        parts["input_transform"] = PartNormalize(n, lacks)
    parts["outcome_transform"] = Standardize(1)
    if place == "outcome transform":
        parts["outcome_transform"] = PartStandardize(is_own)

    def compute() -> SingleTaskGP:
        return SingleTaskGP(X, Y, covar_module=kernel, **parts)

    return broken("construction", is_own and place == "construction", compute)


def waves(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(n, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    return X, (7 * X).sin() + 0.2 * noise


# --- What is run --------------------------------------------------------------------

State = dict[str, bytes]  # by name of a model all that was found


@dataclass
class Found:
    """The models after a run."""

    others: State
    """All but the one."""

    own: bytes
    """The one model."""

    reason: str | None
    """Why it failed, if it did."""

    doubt: str | None = None
    """What is wrong with how it was left."""

    is_short: bool = False
    """Whether its record shows a limit or a large gradient."""

    losses: dict[str, float] | None = None
    """Of folds that tell each other their optima: their summed losses, in nats."""


def dump(*values: Any) -> bytes:
    """Values to the last bit."""
    parts = []
    for value in values:
        if isinstance(value, Tensor):
            value = value.detach().numpy()
        parts.append(
            value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
        )
    return b"|".join(parts)


def state_of(mll: Any) -> bytes:
    parts = [*mll.named_parameters(), *mll.named_buffers()]
    flags = [(name, p.requires_grad) for name, p in parts]
    modes = [module.training for module in mll.modules()]
    return dump(*(value for _, value in parts), flags, modes)


def loss_of(mll: Any) -> float:
    current.is_on = False
    was = mll.training
    mll.train()
    with torch.no_grad():
        output = mll.model(*mll.model.train_inputs)
        loss = -mll(output, mll.model.train_targets, *mll.model.train_inputs).item()
    mll.train(was)
    current.is_on = True
    return loss


finished: dict[int, bytes] = {}  # models of a list without a fault, fitted
OPTIONS = {"options": {"maxiter": 40}, "max_attempts": 3}


def models_of(place: str, own: int) -> list[Any]:
    mlls = []
    for i in range(MODELS):
        X, Y = waves(ROWS, i)
        if i == own:
            X[3] = MARK
        model = build(place, ROWS, False, X, Y)
        mlls.append(ExactMarginalLogLikelihood(model.likelihood, model))
    return mlls


def own_doubt(mll: Any, reason: str | None, start: bytes) -> str | None:
    """Whether the one model is left as it was, or at the loss of its record."""
    if reason is not None:
        now = state_of(mll.train())
        return None if now == start else "it failed and is not as it was"
    (record,) = mll.fit_records
    loss = loss_of(mll)
    if not math.isclose(loss, record.loss, rel_tol=1e-6, abs_tol=1e-6):
        return f"its loss is {loss}, not {record.loss}"
    if not record.loss <= record.losses[0] + 1e-9:
        return "it is worse than at its start"
    return None


def run_list(place: str, own: int, starts: str, as_list: bool) -> Found:
    """Models of a list, fitted together."""
    current.is_on = False  # a model that is not built is not fitted
    mlls = models_of(place, own)
    current.is_on = True
    for mll in mlls:
        mll.train()
    before = [state_of(mll) for mll in mlls]
    options = FitOptions(starts=starts, **OPTIONS)
    reason = None
    try:
        if as_list:
            models = ModelListGP(*(mll.model for mll in mlls))
            whole = SumMarginalLogLikelihood(models.likelihood, models)
            kwargs = {"options": OPTIONS["options"], "starts": starts}
            try:
                fit_gpytorch_mll(whole, optimizer_kwargs=kwargs, max_attempts=3)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
            mlls = list(whole.mlls)
        else:
            errors = fit_each(mlls, options)
            if errors.pop(own, None) is not None:
                reason = mlls[own].fit_records[0].message
            if errors:
                raise AssertionError(f"failed: {errors}")
    except KeyboardInterrupt:
        # A model that was done before may be fitted, but none in part.
        for i, mll in enumerate(mlls):
            if state_of(mll.train()) not in (before[i], finished.get(i)):
                raise AssertionError("interrupted, and changed") from None
        raise
    others = {
        f"model {i}": state_of(mll.train())
        + dump(mll.fit_records[0].losses, mll.fit_records[0].attempts)
        for i, mll in enumerate(mlls)
        if i != own
    }
    mll = mlls[own]
    if current.kind is None:
        finished.clear()
        finished.update({i: state_of(each) for i, each in enumerate(mlls)})
    doubt = own_doubt(mll, reason, before[own])
    record = mll.fit_records[0] if getattr(mll, "fit_records", None) else None
    is_short = record is not None and not record.gradient_norm < 1e-3
    return Found(others, state_of(mll.train()), reason, doubt, is_short)


def data(held_out: int = 1) -> tuple[Tensor, Tensor]:
    return waves(ROWS + held_out, 11)


def run_folds(place: str, own: int, starts: str, fit: str, held_out: int = 1) -> Found:
    """Folds that hold out so many rows each, with the one model that of fold `own`."""
    X, Y = data(held_out)
    X[own * held_out] = MARK
    folds = torch.eye(len(X) // held_out, dtype=torch.bool)

    def model(X: Tensor, Y: Tensor) -> SingleTaskGP:
        return build(place, ROWS, True, X, Y)

    result = cross_validate(
        model,
        X,
        Y,
        folds=folds.repeat_interleave(held_out, dim=1),
        fit=fit,
        fit_options=FitOptions(starts=starts, **OPTIONS),
        keep_models=fit != "fixed",
    )
    name = result.folds.names[own]
    states = {}
    for i, fold in enumerate(result.folds.names):
        rows = result.fold_of == i
        parts = [
            getattr(result, each)[rows] for each in ("mean", "variance", "log_density")
        ]
        record = result.records[i]
        states[fold] = dump(*parts, record.losses, record.attempts)
        if result.models is not None and fold != name:
            lacks = len(result.models) < len(result.folds.names)  # that of the one
            model_i = result.models[i - (lacks and i > own)]
            states[fold] += dump(*model_i.state_dict().values(), model_i.training)
    reason = result.failed.get(name)
    if others := set(result.failed) - {name}:
        raise AssertionError(f"failed: {sorted(others)}")
    doubt = None
    score = result.log_density[result.fold_of == own]
    if reason is None and not bool(score.isfinite().all()):
        doubt = "it has no score and is not named"
    if reason is None and result.models is not None and fit in ("refit", "warm"):
        mll = ExactMarginalLogLikelihood(
            result.models[own].likelihood, result.models[own]
        )
        record = result.records[own]
        if not math.isclose(loss_of(mll), record.loss, rel_tol=1e-6, abs_tol=1e-6):
            doubt = f"its loss is {loss_of(mll)}, not {record.loss}"
    others = {k: v for k, v in states.items() if k != name}
    losses = None
    if starts == "several" and fit == "warm":
        records = zip(result.folds.names, result.records, strict=True)
        losses = {fold: ROWS * record.loss for fold, record in records}
    return Found(others, states[name], reason, doubt, losses=losses)


def run_comparison(place: str, own: int, starts: str, fit: str) -> Found:
    """Two configurations, of which one can break, at every fold."""
    X, Y = data()
    X[own] = MARK

    def model(X: Tensor, Y: Tensor) -> SingleTaskGP:
        return build(place, len(X), False, X, Y)

    def sound(X: Tensor, Y: Tensor) -> SingleTaskGP:
        return build("nowhere", len(X), False, X, Y)

    found = compare(
        {"before": sound, "own": model, "after": sound},
        X,
        Y,
        sizes=[len(X)],
        fit=fit,
        fit_options=FitOptions(starts=starts, **OPTIONS),
    )
    points = found.points.set_index("configuration")
    table = found.table().set_index("configuration")
    fits = found.fits.set_index("configuration")
    states = {
        name: dump(
            points.loc[name][["row", "log_density", "squared_error"]].to_numpy(),
            fits.loc[name][["folds", "failed", "evaluations"]].tolist(),
        )
        for name in ("before", "own", "after")
    }
    own_state = states.pop("own")
    failed = int(fits.loc["own"].failed)
    reason = table.loc["own"].caution or None if failed else None
    doubt = None
    if failed and reason is None:
        doubt = "folds failed, and there is no caution"
    return Found(states, own_state, reason, doubt)


@cache
def compared() -> Comparison:
    """Scores that a report is about."""
    X, Y = data()

    def model(X: Tensor, Y: Tensor) -> SingleTaskGP:
        return build("nowhere", ROWS, True, X, Y)

    options = FitOptions(starts="own", **OPTIONS)
    return compare({"own": model}, X, Y, sizes=[len(X)], fit_options=options)


def run_report(place: str, own: int) -> Found:
    """Leave-one-out as by "warm", and all that is said and drawn of it."""
    X, Y = data()
    X[own] = MARK

    def model(X: Tensor, Y: Tensor) -> SingleTaskGP:
        return build(place, ROWS, True, X, Y)

    result = cross_validate(
        model,
        X,
        Y,
        fit="warm",
        fit_options=FitOptions(starts="own", **OPTIONS),
        keep_models=True,
    )
    models = result.models or []
    table = hyperparameters(models)
    describe(models)
    optima(result)
    said = summarize_fits(result.records, models)
    result.summary()
    result.fit_table()
    plot_diagnostics(result)
    plot_hyperparameters(table)
    plot_influence(result)
    with TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write_report(page, compared(), {"own": result}, target="y", data="waves")
        result.save(Path(folder) / "result.npz")
        again = CrossValidation.load(Path(folder) / "result.npz")
        assert again.failed == result.failed
    plt.close("all")
    name = f"row {own}"
    is_unfitted = result.records[own].status is OptimizationStatus.FAILURE
    if is_unfitted and result.records[own].message not in said:
        raise AssertionError("the failed fold is not mentioned")
    states = {}
    for i, fold in enumerate(result.folds.names):
        lacks = len(models) < len(result.folds.names)
        values = table[table.model == i - (lacks and i > own)].value.to_numpy()
        moments = [getattr(again, n)[again.fold_of == i] for n in ("mean", "variance")]
        states[fold] = dump(*moments, values)
    own_state = states.pop(name)
    return Found(states, own_state, result.failed.get(name))


# --- Cases --------------------------------------------------------------------------

Run = Callable[[str, int], Found]


def scenarios() -> dict[str, Run]:
    """By name what is run, for a place and the number of the one model."""
    found: dict[str, Run] = {
        "fit_each": lambda p, i: run_list(p, i, "own", False),
        "fit_each, several starts": lambda p, i: run_list(p, i, "several", False),
        "fit_gpytorch_mll": lambda p, i: run_list(p, i, "own", True),
    }
    for fit in ("refit", "warm", "adaptive", "fixed"):
        found[f"cross_validate, {fit}"] = lambda p, i, fit=fit: run_folds(
            p, i, "own", fit
        )
    found["cross_validate, warm, several starts"] = lambda p, i: run_folds(
        p, i, "several", "warm"
    )
    found["cross_validate, two rows a fold"] = lambda p, i: run_folds(
        p, i, "own", "warm", held_out=2
    )
    found["report"] = run_report
    for fit in ("refit", "warm"):
        found[f"compare, {fit}"] = lambda p, i, fit=fit: run_comparison(
            p, i, "own", fit
        )
    return found


@dataclass(frozen=True)
class Outcome:
    """How a case ended."""

    scenario: str
    place: str
    own: int
    kind: str
    call: int
    is_lasting: bool
    outcome: str
    """"as without" the fault; "fitted": otherwise, to a small gradient; "short": to a
    point whose record shows a limit or a large gradient; "named" with the reason;
    "interrupted"; "others close": folds that tell each other their optima ended in the
    same ones, but not to the last bit; or "wrong: ..."."""


ALLOWED = (
    "folds could not be fitted",
    "A not p.d.",
    "Optimization failed",
    "have no scores",
    "searches of 1 of",  # models ended in an error
    "Sparse invariant checks",  # PyTorch, once, of a covariance of another shape
)


def run_case(run: Run, fault: Fault, own: int) -> tuple[Found | None, str, list[str]]:
    global current
    current = fault
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found, error = run(fault.place, own), ""
        except KeyboardInterrupt:
            found, error = None, "KeyboardInterrupt"
        except BaseException as escaped:
            found, error = None, f"{type(escaped).__name__}: {escaped}"[:120]
        finally:
            current = Fault("nowhere")
    messages = [str(each.message) for each in caught]
    return found, error, messages


def are_shared(
    changed: Sequence[str],
    expected: dict[str, float] | None,
    found: dict[str, float] | None,
) -> bool:
    """Whether folds ended in the same optimum, which the one model has shown or not."""
    if expected is None or found is None:
        return False
    return all(abs(expected[name] - found[name]) < SAME for name in changed)


def judge(
    expected: Found, found: Found | None, error: str, told: Sequence[str], fault: Fault
) -> str:
    if fault.kind == "KeyboardInterrupt":
        reached = fault.count >= fault.call
        if error == "KeyboardInterrupt":
            return "interrupted"
        return f"wrong: interrupt swallowed, {error}" if reached else "as without"
    if found is None:
        return f"wrong: raised {error}"
    changed = [n for n, each in expected.others.items() if found.others.get(n) != each]
    if changed and not are_shared(changed, expected.losses, found.losses):
        return f"wrong: changed {', '.join(changed)}"
    if strange := [m for m in told if not any(part in m for part in ALLOWED)]:
        return f"wrong: warned {strange[0][:80]}"
    if found.doubt:
        return f"wrong: {found.doubt}"
    if changed:
        return "others close"
    if found.own == expected.own and found.reason == expected.reason:
        return "as without"
    if found.reason is not None:
        return "named"
    return "short" if found.is_short else "fitted"


def cases(
    names: Sequence[str], every: int
) -> Iterator[tuple[str, Run, str, int, Found, Fault]]:
    """One of `every` cases, by chance."""
    chance = np.random.default_rng(0)
    for name, run in scenarios().items():
        for place in PLACES:
            if names and not any(each in f"{name}, {place}" for each in names):
                continue
            for own in (0, 1, 2) if name != "report" else (1,):
                counted = Fault(place)
                expected, error, told = run_case(run, counted, own)
                if expected is None:
                    raise RuntimeError(f"{name}, {place}, {own}: {error}")
                assert not [m for m in told if not any(a in m for a in ALLOWED)], told
                for call in range(1, counted.count + 1):
                    for kind in KINDS:
                        for is_lasting in (False, True):
                            if chance.integers(every):
                                continue
                            fault = Fault(place, kind, call, is_lasting)
                            yield name, run, place, own, expected, fault


def measure(names: Sequence[str] = (), every: int = 1) -> Iterator[Outcome]:
    """Run cases and say how they ended."""
    for name, run, place, own, expected, fault in cases(names, every):
        end, error, told = run_case(run, fault, own)
        outcome = judge(expected, end, error, told, fault)
        kind, call = str(fault.kind), fault.call
        yield Outcome(name, place, own, kind, call, fault.is_lasting, outcome)


def tabulate(found: Sequence[Outcome]) -> str:
    """Counts of cases by what was run, by part and by fault."""
    ends = ("as without", "fitted", "short", "named", "interrupted")
    ends += ("others close", "wrong")
    lines = []
    for title, column in (("run", "scenario"), ("part", "place"), ("fault", "kind")):
        lines += [
            f"| {title} | cases | {' | '.join(ends)} |",
            "|---" * (2 + len(ends)) + "|",
        ]
        for key in dict.fromkeys(getattr(each, column) for each in found):
            own = [e.outcome for e in found if getattr(e, column) == key]
            counts = [sum(o.startswith(end) for o in own) for end in ends]
            lines.append(f"| {key} | {len(own)} | {' | '.join(map(str, counts))} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="of runs and parts, or some of it")
    parser.add_argument("--every", type=int, default=20, help="one of so many cases")
    parser.add_argument("--file", type=Path, help="of outcomes; more are added")
    parser.add_argument("--table", action="store_true", help="of the file, nothing run")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.table:
        lines = given.file.read_text().splitlines()
        found = [Outcome(**json.loads(line)) for line in lines]
    else:
        found = []
        for each in measure(given.names, given.every):
            found.append(each)
            if given.file:
                with given.file.open("a") as file:
                    file.write(json.dumps(vars(each)) + "\n")
    print(f"{len(found)} cases\n\n{tabulate(found)}")
    for each in found:
        if each.outcome.startswith("wrong"):
            print(*vars(each).values(), sep=" | ")


if __name__ == "__main__":
    main()
