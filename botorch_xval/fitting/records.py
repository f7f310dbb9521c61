"""What is kept of the fit of one model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from botorch.optim.core import OptimizationStatus

from botorch_xval.models.checks import check_type, wrong

__all__ = ["FitRecord", "Optimum", "list_records"]


@dataclass(frozen=True)
class Optimum:
    """One of the optima that the searches of a model ended in."""

    loss: float
    """As in :class:`FitRecord`, per training point."""

    starts: tuple[str, ...]
    """Labels of the starts that led there; "own" for the model's initial values."""

    values: dict[str, tuple[float, ...]]
    """By full name of a parameter its constrained values."""

    at_modes: tuple[str, ...] = ()
    """Full names of lengthscales that are all within a tenth of their prior's mode: the
    data say next to nothing about them."""

    is_dead: bool = False
    """Whether these are all lengthscales that there are. In many dimensions no two
    points are then near each other, and the model predicts little but its mean."""


@dataclass(frozen=True)
class FitRecord:
    """The course and the end of one model's fit.

    Losses are negative log marginal likelihoods (or what else the model is fitted by)
    minus log priors *per training point*, on the scale of the model's (usually
    standardized) outcomes, as BoTorch's fit has them.
    """

    losses: tuple[float, ...]
    """At the start and after every accepted iteration of the attempt that was kept."""

    evaluations: int
    """Evaluations of the loss and its gradient, over all attempts."""

    iterations: int
    """Accepted iterations of the attempt that was kept."""

    status: OptimizationStatus
    """SUCCESS: converged; STOPPED: by a limit, the time or a callback; FAILURE."""

    message: str
    """The optimizer's last word, or the error that ended the fit; and an unexpected
    error that ended searches from other starts."""

    seconds: float
    """This model's share of the computing time, over all attempts."""

    attempts: int
    """1, and 1 more for every new start from values sampled from the priors."""

    gradient_norm: float = math.nan
    """Largest component of the projected gradient of the loss at the end, by logarithms
    of positive parameters (by raw parameters if the fit was in "raw" coordinates)."""

    step_length: float = math.nan
    """Euclidean length of the last accepted step, in logarithms of positive parameters
    (in raw ones with "raw", in posterior standard deviations of the full fit after a
    warm start); NaN if there was none."""

    at_bounds: tuple[str, ...] = ()
    """Raw parameters that ended on a bound, with the number within a parameter of
    several."""

    condition: float = math.nan
    """Condition number of the Hessian of the full fit's loss, by logarithms, over
    parameters that are on no bound; known for folds that began there."""

    optima: tuple[Optimum, ...] = ()
    """The optima that were found, the lowest first. Those whose losses differ by less
    than 0.01 nats (not per point) count as one."""

    num_points: int = 0
    """Training points of the model, by which losses are divided."""

    @property
    def gain(self) -> float:
        """By how many nats the lowest optimum is below that of the initial values.

        NaN if no search from there succeeded.
        """
        own = [each.loss for each in self.optima if "own" in each.starts]
        return (own[0] - self.optima[0].loss) * self.num_points if own else math.nan

    @property
    def loss(self) -> float:
        """The loss per point at the values that the model has now; NaN if unknown."""
        return self.losses[-1] if self.losses else float("nan")


def list_records(records: object) -> list[FitRecord]:
    """The records as a list.

    Raises:
        ValueError: If there are none, or if these are no records.
    """
    advice = "pass `mll.fit_records`, or `records` of a cross-validation"
    if not isinstance(records, Sequence):
        got = type(records).__name__
        raise wrong("records", "a sequence of FitRecord", got, advice)
    for record in records:
        check_type("records", record, FitRecord, advice)
    if not records:
        raise wrong("records", "at least one fit", "none", advice)
    return list(records)
