"""The values of every model at each iteration of a fit, for the slider of a page."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from botorch.models.model import Model
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from botorch_xval.fitting.options import ModelResult
from botorch_xval.reporting.expressions.description import describe
from botorch_xval.reporting.expressions.tree import Description

__all__ = ["Course"]


class Course:
    """A callback that keeps the parameters of every model after each iteration.

        course = Course()
        fit_gpytorch_mll(mll, optimizer_kwargs={"callback": course})
        write_page("model.html", {"GP": describe(mll.model)}, title="...",
                   courses={"GP": course.descriptions(mll.model)})

    With a callback one thread does all the work, so the fit takes longer.

    Attributes:
        points: By number of a model, its parameters by name after each iteration.
    """

    def __init__(self) -> None:
        self.points: dict[int, list[dict[str, Tensor]]] = {}

    def __call__(self, parameters: dict[str, Tensor], result: ModelResult) -> None:
        """What the fit calls after every iteration of a model."""
        kept = {name: value.detach().clone() for name, value in parameters.items()}
        self.points.setdefault(result.model, []).append(kept)

    def descriptions(
        self,
        model: Model | Sequence[Model],
        names: Sequence[str] | None = None,
        longest: int = 60,
    ) -> list[Description]:
        """Descriptions of the models after one iteration and the next.

        A model that is done keeps its last values.

        Args:
            model: The model, or the models in the order of the fit, each unbatched and
                with one output. They are not changed.
            names: See :func:`~botorch_xval.reporting.describe`.
            longest: How many descriptions at most; of longer courses some iterations
                are left out, later ones more than earlier ones.

        Raises:
            ValueError: If these are not as many models as were fitted, or one is
                batched or has several outputs.
        """
        models = list(model) if isinstance(model, Sequence) else [model]
        if sorted(self.points) != list(range(len(models))):
            raise ValueError(
                f"model: expected the {len(self.points)} models of the fit, got "
                f"{len(models)}"
            )
        for i, each in enumerate(models):
            if each.num_outputs > 1 or len(each.batch_shape) > 0:
                raise ValueError(
                    f"model: expected unbatched models with one output, got a batch "
                    f"shape of {tuple(each.batch_shape)} and {each.num_outputs} "
                    f"outputs in model {i}"
                )
        copies = [deepcopy(each) for each in models]
        mlls = [ExactMarginalLogLikelihood(each.likelihood, each) for each in copies]
        end = max(len(points) for points in self.points.values())
        found = []
        for step in _steps(end, longest):
            for i, mll in enumerate(mlls):
                points = self.points[i]
                own = dict(mll.named_parameters())
                with torch.no_grad():
                    for name, value in points[min(step, len(points) - 1)].items():
                        own[name].copy_(value.reshape(own[name].shape))
            several = isinstance(model, Sequence)
            found.append(describe(copies if several else copies[0], names))
        return found


def _steps(end: int, longest: int) -> list[int]:
    """Numbers from 0 to `end - 1`, denser at the beginning if there are too many."""
    if end <= longest:
        return list(range(end))
    shares = torch.linspace(0, 1, longest, dtype=torch.float64) ** 2
    return sorted({round(share * (end - 1)) for share in shares.tolist()})
