"""The grammar as a graph: names, JSON, neighbors."""

from __future__ import annotations

import json
import pickle
from dataclasses import fields, replace
from itertools import product

import pytest

from botorch_xval.models.configurations import BOTORCH_DEFAULT
from botorch_xval.models.grammar import CHOICES, ModelSpec, first_specs, neighbors

DIMS = (3, 4)


def every(choice_dims: tuple[int, ...] = DIMS) -> list[ModelSpec]:
    """All specifications."""
    return [
        ModelSpec(**dict(zip(CHOICES, values, strict=True)), choice_dims=choice_dims)
        for values in product(*CHOICES.values())
    ]


def test_names_tell_specifications_apart():
    specs = every()
    assert len({spec.name for spec in specs}) == len(specs) == 768
    assert ModelSpec().name == BOTORCH_DEFAULT
    spec = ModelSpec("matern32", "additive", "both", True, True, "loose", DIMS)
    assert spec.name == (
        "Matern-3/2, additive, factorized and joint choices, linear, warped, "
        "loose priors"
    )
    assert [each.changes for each in (ModelSpec(), spec)] == [0, 6]


def test_what_is_written_to_json_is_read_again():
    for spec in every():
        text = json.dumps(spec.to_dict())
        assert ModelSpec(**json.loads(text)) == spec
    assert ModelSpec().to_dict() == {}
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("name", "value"),
    [("kernel", "matern"), ("inputs", "all"), ("priors", "wide"), ("linear", "yes")],
)
def test_values_that_are_not_in_the_grammar_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected one of .* got '{value}'"):
        ModelSpec(**{name: value})


def test_choices_need_their_columns():
    with pytest.raises(ValueError, match="the one-hot columns for choices='joint'"):
        ModelSpec(choices="joint")


def differing(first: ModelSpec, second: ModelSpec) -> list[str]:
    names = [field.name for field in fields(ModelSpec)]
    return [n for n in names if getattr(first, n) != getattr(second, n)]


def reachable(spec: ModelSpec, d: int, num_outputs: int = 1) -> set[ModelSpec]:
    """All that a search without a budget would come to."""
    found, waiting = {spec}, [spec]
    while waiting:
        near = set(neighbors(waiting.pop(), d, num_outputs)) - found
        found |= near
        waiting += near
    return found


def test_neighbors_differ_in_one_choice_and_lead_everywhere():
    specs = reachable(ModelSpec(choice_dims=DIMS), d=5)
    assert specs == set(every())
    for spec in list(specs)[::20]:
        near = neighbors(spec, 5)
        assert all(len(differing(spec, other)) == 1 for other in near)
        assert all(spec in neighbors(other, 5) for other in near)
        assert len(near) == len(set(near)) == 3 + 2 + 3 + 1 + 1 + 3


@pytest.mark.parametrize(
    ("d", "choice_dims", "num_outputs", "count"),
    [
        (3, (), 1, 4 * 3 * 2 * 2 * 4),
        (3, (), 2, 4 * 3 * 2 * 4),  # none is warped
        (1, (), 1, 4 * 2 * 2 * 4),  # one input
        # One scalar beside choices: no structure over scalars unless these are numbers.
        (3, (1, 2), 2, 4 * 2 * 4 * (3 + 3)),
        # Choices alone: one kernel with each prior, beside those of numbers.
        (2, (0, 1), 2, 4 * 3 * 2 * 4 + 4),
    ],
)
def test_no_model_has_two_names(d, choice_dims, num_outputs, count):
    for first in first_specs(d, choice_dims):
        assert len(reachable(first, d, num_outputs)) == count


def test_a_search_begins_with_what_is_compared_by_default():
    default, *ours = first_specs(5, DIMS)
    assert default == ModelSpec(choice_dims=DIMS)
    tight = ModelSpec(
        kernel="matern52", choices="both", priors="tight", choice_dims=DIMS
    )
    assert ours == [replace(tight, priors=p) for p in ("tight", "loose", "loosest")]
    assert first_specs(5)[1] == ModelSpec(kernel="matern52", priors="tight")
    assert first_specs(2, (0, 1))[1] == ModelSpec(
        choices="joint", priors="tight", choice_dims=(0, 1)
    )
