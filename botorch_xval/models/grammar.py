"""A small grammar of models: what one may consist of, and which are next to each other.

A specification is a point of a product of six choices; two are neighbors if they differ
in one of them. A search goes from neighbor to neighbor, as Duvenaud et al. (2013,
"Structure Discovery in Nonparametric Regression through Compositional Kernel Search",
Section 3) do with expressions of kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from botorch_xval.models.checks import (
    check_columns,
    check_one_of,
    check_type,
    check_whole,
)
from botorch_xval.models.configurations import BOTORCH_DEFAULT
from botorch_xval.models.scalar_choice import PRIOR_CONFIGURATIONS

__all__ = ["BOTORCH_PRIORS", "CHOICES", "ModelSpec", "first_specs", "neighbors"]

BOTORCH_PRIORS = "BoTorch"
CHOICES: dict[str, tuple[Any, ...]] = {
    "kernel": ("rbf", "matern52", "matern32", "matern12"),
    "inputs": ("ard", "isotropic", "additive"),
    "choices": ("numbers", "factorized", "joint", "both"),
    "linear": (False, True),
    "warped": (False, True),
    "priors": (BOTORCH_PRIORS, *PRIOR_CONFIGURATIONS),
}
"""By field of a :class:`ModelSpec` its values, that of BoTorch's default first."""

WORDS = {
    "rbf": "RBF",
    "matern52": "Matern-5/2",
    "matern32": "Matern-3/2",
    "matern12": "Matern-1/2",
    "ard": "ARD",
}


@dataclass(frozen=True)
class ModelSpec:
    r"""What a :class:`~botorch_xval.models.StructuredGP` consists of.

    Let `S` be the kernel of the scalars `s` and `C` a
    :class:`~botorch_xval.models.ChoiceKernel` of the one-hot choices `c`. The default
    is BoTorch's default model. `to_dict` writes it to JSON, `ModelSpec(**...)` reads.

    Raises:
        ValueError: If a value is none of `CHOICES`, or if there are no `choice_dims`
            for `choices`.
    """

    kernel: str = "rbf"
    """Of the scalars: "rbf", "matern52", "matern32" or "matern12"."""

    inputs: str = "ard"
    """"ard": one lengthscale for each scalar; "isotropic": one for all; "additive": the
    sum :math:`\\sum_j w_j S_j(s_j)` of kernels of one scalar each."""

    choices: str = "numbers"
    """How one-hot columns enter: "numbers": as further scalars, as in BoTorch's
    default; "factorized": :math:`u S + (1 - u) C`; "joint": :math:`S C`; "both":
    :math:`v [u S + (1 - u) C] + (1 - v) S' C'`, as in
    :class:`~botorch_xval.models.ScalarChoiceGP`."""

    linear: bool = False
    """Whether a linear kernel of the scalars is added."""

    warped: bool = False
    """Whether scalars are warped by BoTorch's `Warp`."""

    priors: str = BOTORCH_PRIORS
    """"BoTorch" (log-normal, scaled by the number of inputs, no output scale) or a name
    in `PRIOR_CONFIGURATIONS`."""

    choice_dims: tuple[int, ...] = ()
    """The one-hot columns."""

    def __post_init__(self) -> None:
        for name, values in CHOICES.items():
            check_one_of(name, getattr(self, name), values)
        dims = self.choice_dims  # a list, in JSON
        object.__setattr__(self, "choice_dims", check_columns("choice_dims", dims))
        if self.choices != "numbers" and not self.choice_dims:
            raise ValueError(
                "choice_dims: expected the one-hot columns for choices="
                f"{self.choices!r}, got none; name them, or use choices='numbers'"
            )

    @property
    def name(self) -> str:
        """In words, such as "Matern-5/2, ARD, joint choices, loose priors"."""
        if not self.changes:
            return BOTORCH_DEFAULT
        words = [WORDS.get(self.kernel, ""), WORDS.get(self.inputs, self.inputs)]
        if self.choices == "both":
            words.append("factorized and joint choices")
        elif self.choices != "numbers":
            words.append(f"{self.choices} choices")
        words += ["linear"] * self.linear + ["warped"] * self.warped
        return ", ".join([*words, f"{self.priors} priors"])

    @property
    def changes(self) -> int:
        """In how many of six choices it is not BoTorch's default."""
        return sum(getattr(self, name) != values[0] for name, values in CHOICES.items())

    def to_dict(self) -> dict[str, Any]:
        """The fields that are not BoTorch's default, ready for JSON."""
        default = {field.name: field.default for field in fields(self)}
        found = {k: v for k, v in asdict(self).items() if v != default[k]}
        if self.choice_dims:
            found["choice_dims"] = list(self.choice_dims)
        return found


def first_specs(d: int, choice_dims: Sequence[int] = ()) -> list[ModelSpec]:
    """Where a search begins: with what is compared by default.

    Args:
        d: Number of inputs, one-hot columns included.
        choice_dims: The one-hot columns.

    Returns:
        BoTorch's default and, for each named prior configuration, the specification of
        the :class:`~botorch_xval.models.ScalarChoiceGP` that has it.

    Raises:
        ValueError: If there is no input, or no such column.
    """
    check_whole("d", d, 1)
    check_columns("choice_dims", choice_dims, d)
    default = ModelSpec(choice_dims=tuple(choice_dims))
    ours = replace(
        default, kernel="matern52", choices="both" if choice_dims else "numbers"
    )
    found = [
        default,
        *(replace(ours, priors=priors) for priors in PRIOR_CONFIGURATIONS),
    ]
    return [_plain(spec, d) for spec in found]


def neighbors(spec: ModelSpec, d: int, num_outputs: int = 1) -> list[ModelSpec]:
    """The specifications that differ in one choice.

    Args:
        spec: Where to go from.
        d: Number of inputs, one-hot columns included.
        num_outputs: With several no model is warped, since BoTorch's `Warp` is one for
            all outputs.

    Returns:
        Different specifications, in the order of `CHOICES`; none that is the same model
        under another name.

    Raises:
        ValueError: If an argument is not as described.
    """
    check_type("spec", spec, ModelSpec, "make one by ModelSpec(kernel=...)")
    check_whole("d", d, 1)
    check_whole("num_outputs", num_outputs, 1)
    found = [
        _plain(replace(spec, **{name: value}), d)
        for name, values in CHOICES.items()
        for value in values
        if (name != "choices" or spec.choice_dims)
        and (name != "warped" or num_outputs == 1)
    ]
    return [other for other in dict.fromkeys(found) if other != _plain(spec, d)]


def _plain(spec: ModelSpec, d: int) -> ModelSpec:
    """The simplest specification of the same model."""
    num_scalars = d - (len(spec.choice_dims) if spec.choices != "numbers" else 0)
    if num_scalars == 0:
        return ModelSpec(
            choices="joint", priors=spec.priors, choice_dims=spec.choice_dims
        )
    return replace(spec, inputs="ard") if num_scalars == 1 else spec
