"""The parameters of every model at each iteration of a fit, for a page's slider."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from botorch.models.model import Model
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from botorch_xval.fitting.options import ModelResult
from botorch_xval.models.checks import check_whole
from botorch_xval.reporting.expressions.description import describe
from botorch_xval.reporting.expressions.tree import Description

__all__ = ["Course"]


class Course:
    """A callback that keeps the parameters of every model after each iteration::

        course = Course()
        fit_gpytorch_mll(mll, optimizer_kwargs={"callback": course})
        write_page("model.html", {"GP": describe(mll.model)}, title="...",
                   courses={"GP": course.descriptions(mll.model)})

    A fit with a callback uses one thread, so it takes longer.

    Attributes:
        points: By number of a model and label of a start, the parameters by name after
            each iteration.
        losses: Likewise the last loss.
    """

    def __init__(self) -> None:
        self.points: dict[tuple[int, str], list[dict[str, Tensor]]] = {}
        self.losses: dict[tuple[int, str], float] = {}

    def __call__(self, parameters: dict[str, Tensor], result: ModelResult) -> None:
        """Keep the parameters after one iteration; the fit calls this.

        Args:
            parameters: By name the raw parameters of one model.
            result: Whose `model` is the number of that model, `start` its start.
        """
        kept = {name: value.detach().clone() for name, value in parameters.items()}
        key = result.model, result.start
        self.points.setdefault(key, []).append(kept)
        self.losses[key] = float(result.fval)

    def descriptions(
        self,
        model: Model | Sequence[Model],
        names: Sequence[str] | None = None,
        longest: int = 60,
    ) -> list[Description]:
        """Describe the models after each iteration.

        Shown is the search of each model that ended lowest. A model that has ended
        keeps its last values.

        Args:
            model: The model, or the models in the order of the fit, each unbatched and
                with one output. They are not changed.
            names: Names of the input columns; default: `x0`, `x1`, ...
            longest: The largest number of descriptions. Of a longer course some
                iterations are left out, more of the later ones.

        Returns:
            One description of all models for each iteration that is shown.

        Raises:
            ValueError: If the fit had another number of models, or one is batched or
                has several outputs.
        """
        check_whole("longest", longest, 1)
        models = list(model) if isinstance(model, Sequence) else [model]
        lowest: dict[int, list[dict[str, Tensor]]] = {}
        for i, start in sorted(self.losses, key=lambda key: -self.losses[key]):
            lowest[i] = self.points[i, start]
        if not models or sorted(lowest) != list(range(len(models))):
            raise ValueError(
                f"model: expected the {len(lowest)} models of the fit, got "
                f"{len(models)}; pass all of them in the order of the fit"
            )
        for i, each in enumerate(models):
            if each.num_outputs > 1 or len(each.batch_shape) > 0:
                raise ValueError(
                    "model: expected unbatched models with one output, got batch shape "
                    f"{tuple(each.batch_shape)} and {each.num_outputs} outputs in "
                    f"model {i}; fit unbatched ones by `fit_each`"
                )
        copies = [deepcopy(each) for each in models]
        mlls = [ExactMarginalLogLikelihood(each.likelihood, each) for each in copies]
        described = copies if isinstance(model, Sequence) else copies[0]
        end = max(len(points) for points in lowest.values())
        found = []
        for step in _steps(end, longest):
            for i, mll in enumerate(mlls):
                points = lowest[i]
                _write(mll, points[min(step, len(points) - 1)])
            found.append(describe(described, names))
        return found


def _write(mll: ExactMarginalLogLikelihood, values: dict[str, Tensor]) -> None:
    """Copy raw values into a model's parameters."""
    parameters = dict(mll.named_parameters())
    with torch.no_grad():
        for name, value in values.items():
            parameters[name].copy_(value.reshape(parameters[name].shape))


def _steps(end: int, longest: int) -> list[int]:
    """Numbers from 0 to `end - 1`; if too many, some, denser at the beginning."""
    if end <= longest:
        return list(range(end))
    shares = torch.linspace(0, 1, longest, dtype=torch.float64) ** 2
    return sorted({round(share * (end - 1)) for share in shares.tolist()})
