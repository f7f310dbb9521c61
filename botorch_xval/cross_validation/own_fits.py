"""Folds of models that have a fit of their own, such as relevance pursuit.

A model with a method `custom_fit` says by that how it is to be fitted, and BoTorch's
`fit_gpytorch_mll` obeys. So do folds, one after the other; the optimizer that the
method is handed is this library's, which it uses if it takes one.
"""

from __future__ import annotations

import inspect
from time import monotonic
from typing import Any

import botorch.fit
import torch
from botorch.models.model import Model
from botorch.optim.closures import get_loss_closure
from botorch.optim.core import OptimizationStatus
from gpytorch.mlls import MarginalLogLikelihood

from botorch_xval.fitting.fit import IndependentResult, fit_independently
from botorch_xval.fitting.options import FitOptions
from botorch_xval.fitting.records import FitRecord

__all__ = ["fit_by_itself", "has_own_fit"]


def has_own_fit(model: Model) -> bool:
    """Whether a model's `custom_fit` is another one than this library's.

    Ours (`botorch_xval.ax.with_independent_fit`) says so by an attribute
    `is_independent`.
    """
    own = getattr(model, "custom_fit", None)
    return own is not None and not getattr(own, "is_independent", False)


def fit_by_itself(mll: MarginalLogLikelihood, options: FitOptions) -> FitRecord:
    """Fit a model by its own method.

    Args:
        mll: Of one model, which is fitted; in evaluation mode afterwards.
        options: Those of the optimizer. What is around it (attempts, bounds of memory)
            the method decides itself.

    Returns:
        What is known of the fit: its loss at the end, and the evaluations, iterations
        and searches of this library's optimizer, if the method has used that. A fit
        that fails has the status FAILURE, and its error as the message.
    """
    results: list[IndependentResult] = []

    def optimizer(mll: MarginalLogLikelihood, *args: Any, **kwargs: Any) -> Any:
        result = fit_independently(mll, *args, **kwargs)
        if isinstance(result, IndependentResult):
            results.append(result)
        return result

    model, begin = mll.model, monotonic()
    takes = inspect.signature(model.custom_fit).parameters.values()
    takes_any = any(each.kind is each.VAR_KEYWORD for each in takes)
    given: dict[str, Any] = {}
    if takes_any or "optimizer" in {each.name for each in takes}:
        given = {"optimizer": optimizer, "optimizer_kwargs": options.of_optimizer()}
    status, message = OptimizationStatus.SUCCESS, "fitted by custom_fit"
    losses: tuple[float, ...] = ()
    try:
        botorch.fit.fit_gpytorch_mll(mll, **given)
        with torch.no_grad():
            losses = (get_loss_closure(mll.train())().sum().item(),)
    except Exception as error:  # of any kind of model
        status = OptimizationStatus.FAILURE
        message = f"{type(error).__name__}: {error}"
    finally:
        mll.eval()
    targets: Any = model.train_targets
    return FitRecord(
        losses=losses,
        evaluations=sum(r.evaluations for each in results for r in each.records),
        iterations=sum(each.step for each in results),
        status=status,
        message=message,
        seconds=monotonic() - begin,
        attempts=1,
        num_points=targets.shape[-1],
    )
