"""The options of a fit: made and checked once, then handed on as one object."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from numbers import Real
from time import monotonic
from typing import Any
from warnings import WarningMessage

from botorch.fit import DEFAULT_WARNING_HANDLER
from botorch.optim.core import OptimizationResult
from linear_operator.utils.errors import NotPSDError
from torch import Tensor

from botorch_xval.fitting.losses.parameters import ParameterBounds
from botorch_xval.fitting.search import check_method
from botorch_xval.models.checks import check_one_of, check_whole, wrong

__all__ = ["Callback", "FitOptions", "ModelResult", "check_options"]

Callback = Callable[[dict[str, Tensor], OptimizationResult], None]
STRATEGIES = ("auto", "loop", "batch")
COORDINATES = ("log", "raw")
STARTS = ("several", "own")
# L-BFGS-B's memory in logarithmic coordinates, see benchmarks/coordinates.py.
MEMORY = 30


@dataclass(slots=True)
class ModelResult(OptimizationResult):
    """What a callback is told: BoTorch's result, and which model it is about."""

    model: int = 0
    """Number of the model among those that are fitted together, in batch order."""

    start: str = "own"
    """Label of the start of this search: a model has several, see `FitOptions.starts`.
    "own" for its initial values."""

    fold: str | None = None
    """In a cross-validation the name of the fold, or "all rows"."""

    output: int | None = None
    """In a cross-validation the number of the output."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FitOptions:
    """How models are fitted, with any number of models and in every kind of fit.

    Raises:
        ValueError: If a value is not as described.
    """

    parameters: Collection[str] | None = None
    """Full names of the parameters to optimize; default: all that require gradients."""

    bounds: ParameterBounds | None = None
    """By full name of a parameter its lower and upper bound: numbers, None, or tensors
    that broadcast to the parameter, so also different per model."""

    method: str = "L-BFGS-B"
    """A gradient-based method of :func:`scipy.optimize.minimize`."""

    options: Mapping[str, Any] | None = None
    """Its options, for each model: `maxiter`, `ftol`, ..."""

    callback: Callback | None = None
    """Called after every accepted iteration of every search with the parameters of its
    model and a :class:`ModelResult`; StopIteration ends the fit of that model at its
    best point. With a callback one thread does all the work."""

    timeout_sec: float | None = None
    """Seconds after which all models that are fitted together stop, each at its best
    point so far. In a cross-validation these are all rows, then folds of one size, or
    a block of them (`max_memory`)."""

    strategy: str = "auto"
    """How losses are evaluated; it does not change the results. "loop": one model after
    the other; "batch": all that still run together; "auto": "batch" on CUDA, groups
    that fit into the cache on CPU."""

    coordinates: str = "log"
    """"log": the logarithms of positive parameters (with `starts="own"` after a few
    iterations on BoTorch's), with `maxcor` 30, which takes less than half of the
    evaluations; "raw": BoTorch's parameters throughout, and with `starts="own"` its
    path (to rounding). "log" is for `method="L-BFGS-B"`;
    others have "raw". Refinements of warm folds have coordinates that the Hessian of
    the fit to all rows gives."""

    starts: str | Sequence[Mapping[str, Tensor | float]] = "several"
    """Where each model's searches begin. "several": eight different starts, its initial
    values among them, then up to twelve more, until five searches have ended in the
    lowest optimum (in folds four, and what other folds have found); "own": its initial
    values only, as BoTorch does; or starts of yours, each by full name of a parameter
    unconstrained values that broadcast to it (others keep their initial ones). The
    lowest optimum is kept, the others are in the record. With "several", models of 400
    points or more are searched with 200 of them first, which no count of evaluations
    has, and then from their initial values and the three best of those optima."""

    progress: bool = False
    """Whether to show a bar of the searches that are done, searches per second, and the
    worst gradient norm among them."""

    max_attempts: int = 5
    """How often a model is tried: first from its starts, then, where all searches
    failed, from values sampled from its priors."""

    pick_best_of_all_attempts: bool = False
    """Make all attempts and keep each model's best one."""

    warning_handler: Callable[[WarningMessage], bool] = DEFAULT_WARNING_HANDLER
    """Called with the warning of a failed attempt; the attempt counts as a success
    after all if this returns True."""

    caught_exception_types: tuple[type[BaseException], ...] = (NotPSDError,)
    """Exceptions after which a model is tried again. Others end their search only: a
    model keeps the best of its other searches, and fails, without being tried again,
    if all of them end so."""

    max_memory: float | None = None
    """In a cross-validation: GiB that the models of folds may take; default: a quarter
    of what is free. If that holds fewer folds, they go through in blocks, and the
    optima that a block has found are offered to later ones only."""

    def __post_init__(self) -> None:
        check_one_of("strategy", self.strategy, STRATEGIES)
        check_one_of("coordinates", self.coordinates, COORDINATES)
        check_method(self.method)
        check_whole("max_attempts", self.max_attempts, 1)
        seconds, gib = self.timeout_sec, self.max_memory
        if seconds is not None and not (isinstance(seconds, Real) and seconds >= 0):
            expected, remedy = "seconds from 0 on or None", "leave it out for no limit"
            raise wrong("timeout_sec", expected, repr(seconds), remedy)
        if gib is not None and not (isinstance(gib, Real) and gib > 0):
            remedy = "leave it out for a quarter of what is free"
            raise wrong("max_memory", "GiB above 0 or None", repr(gib), remedy)
        for name, example in (
            ("options", '{"maxiter": 100}'),
            ("bounds", '{"likelihood.noise_covar.raw_noise": (1e-4, None)}'),
        ):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                remedy = f"pass one such as {example}"
                raise wrong(name, "a dictionary or None", repr(value), remedy)
        for name, pair in (self.bounds or {}).items():
            if not isinstance(pair, Sequence) or len(pair) != 2:
                expected = f"a lower and an upper bound of {name!r}"
                raise wrong("bounds", expected, repr(pair), "None stands for no bound")
        for name in ("callback", "warning_handler"):
            value = getattr(self, name)
            if not callable(value) and (name != "callback" or value is not None):
                remedy = "see FitOptions for its arguments"
                raise wrong(name, "a function", repr(value), remedy)
        caught = self.caught_exception_types
        if not isinstance(caught, tuple) or not all(
            isinstance(c, type) for c in caught
        ):
            remedy = "put a single one into a tuple, (NotPSDError,)"
            expected = "a tuple of classes of exceptions"
            raise wrong("caught_exception_types", expected, repr(caught), remedy)
        if isinstance(self.starts, str):
            check_one_of("starts", self.starts, STARTS)
        elif not (
            isinstance(self.starts, Sequence)
            and self.starts
            and all(isinstance(start, Mapping) for start in self.starts)
        ):
            expected = (
                f"one of {STARTS}, or a list with a dictionary of values by name of a "
                "parameter for each start"
            )
            remedy = "put a single start into a list"
            raise wrong("starts", expected, repr(self.starts), remedy)
        names = self.parameters
        if names is not None and (
            isinstance(names, str) or not isinstance(names, Collection)
        ):
            remedy = "put a single name into a list"
            raise wrong("parameters", "names of parameters", repr(names), remedy)

    @classmethod
    def of_botorch(
        cls, optimizer_kwargs: Mapping[str, Any] | None, **kwargs: Any
    ) -> FitOptions:
        """The options of BoTorch's `fit_gpytorch_mll`.

        Args:
            optimizer_kwargs: See :func:`~botorch_xval.fitting.fit_independently` (but
                no `closure`).
            **kwargs: `max_attempts`, `pick_best_of_all_attempts`, `warning_handler`,
                `caught_exception_types`; others are ignored, as BoTorch does.

        Raises:
            TypeError: If `optimizer_kwargs` has an unknown name.
        """
        names = [each.name for each in fields(cls)]
        first = names.index("max_attempts")  # of what BoTorch has around the optimizer
        inside, around = set(names[:first]), names[first:-1]  # of one or a batch
        if not isinstance(optimizer_kwargs, Mapping | None):
            got, remedy = type(optimizer_kwargs).__name__, "see fit_independently"
            raise wrong("optimizer_kwargs", "a dictionary or None", got, remedy)
        given = dict(optimizer_kwargs or {})
        if unknown := sorted(set(given) - inside):
            raise TypeError(
                f"optimizer_kwargs: expected names among {sorted(inside)}, got "
                f"unexpected names {unknown}; see fit_independently"
            )
        return cls(**given, **{n: v for n, v in kwargs.items() if n in around})

    def of_optimizer(self) -> dict[str, Any]:
        """The keyword arguments that :func:`fit_independently` takes, without defaults.

        The opposite of :meth:`of_botorch`.
        """
        names = [each.name for each in fields(self)]
        inside = names[: names.index("max_attempts")]
        default = FitOptions()
        return {
            name: value
            for name in inside
            if (value := getattr(self, name)) != getattr(default, name)
        }

    @property
    def has_logarithms(self) -> bool:
        """Whether positive parameters are optimized by their logarithms."""
        return self.coordinates == "log" and self.method == "L-BFGS-B"

    @property
    def scipy_options(self) -> dict[str, Any]:
        """The options that SciPy gets."""
        default = {"maxcor": MEMORY} if self.has_logarithms else {}
        return {**default, **(self.options or {})}

    @property
    def is_for_one_thread(self) -> bool:
        """Whether a single thread has to do the work.

        A callback is the user's, who may not expect calls from several threads. Only of
        L-BFGS-B it is known that SciPy keeps nothing that threads would share.
        """
        return (
            self.callback is not None
            or self.method != "L-BFGS-B"
            or self.strategy == "loop"
        )

    def deadline(self) -> float:
        """The time, by `time.monotonic`, at which a fit that begins now has to end."""
        seconds = math.inf if self.timeout_sec is None else self.timeout_sec
        return monotonic() + seconds

    def named(self, folds: list[str], num_outputs: int) -> FitOptions:
        """These options for folds: the callback gets the fold and the output.

        Args:
            folds: Names of the folds in turn.
            num_outputs: How many models each has.
        """
        if self.callback is None:
            return self
        wrapped = partial(_call_named, self.callback, folds, num_outputs)
        return replace(self, callback=wrapped)


def check_options(fit_options: object) -> None:
    """Raise a ValueError unless it is an object of options, or None."""
    if not isinstance(fit_options, FitOptions | None):
        got, remedy = type(fit_options).__name__, "use FitOptions(timeout_sec=60, ...)"
        raise wrong("fit_options", "FitOptions or None", got, remedy)


def _call_named(
    callback: Callback,
    folds: list[str],
    num_outputs: int,
    parameters: dict[str, Tensor],
    result: ModelResult,
) -> None:
    fold, output = divmod(result.model, num_outputs)
    callback(parameters, replace(result, fold=folds[fold], output=output))
