"""Descriptions of noise and transforms, wrong input, and the layout of any tree."""

from __future__ import annotations

import pytest
import torch
from botorch.models import KroneckerMultiTaskGP, ModelListGP, MultiTaskGP, SingleTaskGP
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.robust_relevance_pursuit_model import (
    RobustRelevancePursuitSingleTaskGP,
)
from botorch.models.transforms import Log, Normalize, Standardize
from botorch.models.transforms.input import (
    ChainedInputTransform,
    FilterFeatures,
    InputStandardize,
    InputTransform,
    Log10,
    Round,
    Warp,
)
from botorch.models.transforms.outcome import (
    Bilog,
    ChainedOutcomeTransform,
    OutcomeTransform,
    Power,
)
from gpytorch.kernels import MaternKernel, RBFKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from helpers import IDENTITY, assert_close, noisy_waves
from torch import Tensor

from botorch_xval.reporting.expressions.description import describe
from botorch_xval.reporting.expressions.tree import (
    Description,
    Node,
    Section,
    Statement,
    Value,
    combine,
    format_number,
)

NAMES = ["u", "v"]
PLAIN = {"covar_module": RBFKernel(), "outcome_transform": None}


def unit_waves(n: int = 7) -> tuple[Tensor, Tensor]:
    """Inputs in the unit square and positive outcomes."""
    x, y = noisy_waves(n)
    return (x + 5.0) / torch.tensor([1.0, 100.0], dtype=torch.float64), y.exp() ** 0.05


def model_with(
    input_transform: InputTransform | None = None,
    outcome_transform: OutcomeTransform | None = None,
) -> SingleTaskGP:
    return SingleTaskGP(
        *unit_waves(),
        input_transform=input_transform,
        outcome_transform=outcome_transform,
        covar_module=RBFKernel(),
    )


def numbers(description: Description, kind: str) -> list[tuple[float, ...]]:
    return [v.numbers for v in description.values() if v.kind == kind]


def test_inferred_and_known_noise() -> None:
    x, y = unit_waves(4)
    variances = torch.tensor([[0.02], [0.01], [0.04], [0.03]], dtype=torch.float64)
    known = SingleTaskGP(x, y, variances, **PLAIN)
    text = str(describe(known))
    assert text.endswith(
        "\nWhen comparing a point to itself, add its known noise, from 0.01 to 0.04"
    )
    folds = [SingleTaskGP(x[i:], y[i:], variances[i:], **PLAIN) for i in range(2)]
    expected = [[0.01, 0.01], [0.04, 0.04]]
    assert_close(numbers(describe(folds), "noise variance"), expected, **IDENTITY)
    likelihood = FixedNoiseGaussianLikelihood(
        variances[:, 0], learn_additional_noise=True
    )
    likelihood.second_noise = 0.5
    both = SingleTaskGP(x, y, likelihood=likelihood, **PLAIN)
    assert str(describe(both)).endswith(" from 0.01 to 0.04, and 0.5 more")
    inferred = SingleTaskGP(x, y, likelihood=GaussianLikelihood())
    inferred.likelihood.noise = 0.125
    assert str(describe(inferred)).endswith(", add noise 0.125")


def test_noise_of_tasks_and_of_unknown_likelihoods() -> None:
    x, y = unit_waves(6)
    tasks = torch.arange(6, dtype=torch.float64).unsqueeze(-1) % 2
    model = MultiTaskGP(torch.cat([x, tasks], dim=-1), y, task_feature=-1)
    model.likelihood.noise = torch.tensor([0.125, 0.25])
    text = str(describe(model, [*NAMES, "task"], ["cheap", "exact"]))
    assert text.endswith("add noise 0.125 (task 'cheap'), 0.25 (task 'exact')")
    text = str(describe(model))
    assert text.endswith("add noise 0.125 (task 0), 0.25 (task 1)")
    model = RobustRelevancePursuitSingleTaskGP(x, y, **PLAIN)
    *_, likelihood = str(describe(model)).splitlines()
    assert likelihood.startswith("  SparseOutlierGaussianLikelihood(")
    both = torch.cat([y, -y], dim=-1)
    model = KroneckerMultiTaskGP(x, both, outcome_transform=Standardize(2))
    model.likelihood.noise = 0.75
    text = str(describe(model, NAMES, ["cheap", "exact"]))
    *_, announced, likelihood = text.splitlines()
    assert announced == "When comparing a point to itself, add noise by"
    assert likelihood.startswith("  MultitaskGaussianLikelihood(")
    assert "noise=0.75" in likelihood
    covariance = model.covar_module.task_covar_module.covar_matrix.to_dense()
    found = numbers(describe(model), "covariance")
    expected = covariance[[0, 1, 1], [0, 0, 1]].unsqueeze(-1)
    assert_close(found, expected, **IDENTITY)
    assert "('cheap', 'exact'): " in text
    assert "Outcomes of task 'exact': standardized (mean " in text


@pytest.mark.parametrize(
    "transform, expected",
    [
        (Normalize(2), "scaled to [0, 1]"),
        (Normalize(2, center=0.0), "scaled to [-0.5, 0.5]"),
        (Normalize(2, indices=[1]), "scaled to [0, 1] ('v')"),
        (InputStandardize(2), "standardized"),
        (Log10([0]), "as logarithms to base 10 ('u')"),
        (Log10([0], reverse=True), "as logarithms to base 10 backwards ('u')"),
        (Round(integer_indices=[0]), "rounded"),
    ],
)
def test_input_transforms(transform: InputTransform, expected: str) -> None:
    assert f"\nInputs: {expected}\n" in str(describe(model_with(transform), NAMES))


def test_chained_transforms_and_fitted_warps() -> None:
    warp = Warp(d=2, indices=[1])
    warp.concentration1.data.fill_(1.25)
    warp.concentration0.data.fill_(0.75)
    chain = ChainedInputTransform(scale=Normalize(2), warp=warp)
    text = str(describe(model_with(chain), NAMES))
    assert "\nInputs: scaled to [0, 1]\n" in text
    assert "\nInputs: 'v' as 1 - (1 - x**1.25)**0.75\n" in text
    fewer = ChainedInputTransform(
        log=Log10([1]), keep=FilterFeatures(torch.tensor([1]))
    )
    model = model_with(fewer)
    assert "\nInputs: as logarithms to base 10 (column 1)\n" in str(describe(model))
    assert "\nInputs: transformed by FilterFeatures\n" in str(describe(model))
    assert "compare('v')" in str(describe(model, ["v"]))
    with pytest.raises(ValueError, match=r"Expected 1 `names`.* got 2: \['u', 'v'\]"):
        describe(model, NAMES)


def test_outcome_transforms() -> None:
    chain = ChainedOutcomeTransform(log=Log(), standardize=Standardize(1))
    description = describe(model_with(outcome_transform=chain))
    assert "\nOutcomes: as natural logarithms\n" in str(description)
    logs = unit_waves()[1].log()
    found = (
        numbers(description, "outcome mean"),
        numbers(description, "outcome deviation"),
    )
    assert_close(found, [[[logs.mean()]], [[logs.std()]]], **IDENTITY)
    text = str(describe(model_with(outcome_transform=Power(0.5))))
    assert "\nOutcomes: to the power of 0.5\n" in text
    text = str(describe(model_with(outcome_transform=Bilog())))
    assert "\nOutcomes: transformed by Bilog\n" in text


@pytest.mark.parametrize(
    "names, outcomes, expected",
    [
        (["u"], None, r"Expected 2 `names`.*, got 1: \['u'\]"),
        (None, ["y", "z"], r"Expected 1 `outcomes`.*, got 2: \['y', 'z'\]"),
        ("uv", None, "Expected `names` to be a list of names, got 'uv'"),
        (["u", 3], None, r"Expected `names` to be a list of names, got \['u', 3\]"),
        (["u", "u"], None, r"Expected distinct `names`, got \['u', 'u'\]"),
    ],
)
def test_wrong_names(
    names: list[str] | None, outcomes: list[str] | None, expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        describe(model_with(), names, outcomes)


def test_wrong_models() -> None:
    wrong = GenericDeterministicModel(lambda x: x)
    for model, got in ((wrong, "GenericDeterministicModel"), ("gp", "str")):
        with pytest.raises(ValueError, match=f"exact GP .* got {got}"):
            describe(model)
    model = model_with()
    model.covar_module = None
    with pytest.raises(ValueError, match="SingleTaskGP without `covar_module`"):
        describe(model)
    with pytest.raises(ValueError, match="one or more models to describe, got none"):
        describe([])
    x, y = unit_waves()
    other = SingleTaskGP(x, y, **PLAIN | {"covar_module": MaternKernel()})
    with pytest.raises(ValueError, match="one structure.*'rbf.*'matern_25.*one by one"):
        describe([model_with(), other])
    part = RBFKernel(batch_shape=torch.Size([3]))
    other = SingleTaskGP(x, y, **PLAIN | {"covar_module": part})
    with pytest.raises(ValueError, match=r"of batch shape \(\).* got one of \(3,\)"):
        describe(other)
    batch = SingleTaskGP(x.expand(3, -1, -1), y.expand(3, -1, -1))
    with pytest.raises(ValueError, match=r"batches of one size, got \[1, 3\] models"):
        describe(ModelListGP(model_with(), batch))


@pytest.mark.parametrize(
    "number, text",
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (0.43128, "0.431"),
        (-12.3456, "-12.3"),
        (123456.0, "123000"),
        (0.00012345, "0.000123"),
        (0.00001, "1e-5"),
        (-1.2345e-7, "-1.23e-7"),
        (999999.0, "1e6"),
        (2.5e12, "2.5e12"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_numbers(number: float, text: str) -> None:
    assert format_number(number) == text


def leaf(text: str, *values: float) -> Node:
    return Node((f"{text} / ", Value(text, "lengthscale", values)))


def test_long_formulas_are_filled_and_nested() -> None:
    leaves = tuple(leaf(f"feature_{i}", 0.5, 1.5, 4.0) for i in range(9))
    inner = Node(("f(",), leaves, (")",), comment=("word " * 30 + "end",))
    outer = Node(("g([",), (leaf("short", 1.0, 1.0, 1.0), inner), ("])",))
    section = Section("", (Statement(("As follows",), outer),))
    lines = str(Description((section,), 3)).splitlines()
    assert lines[:4] == [
        "3 Gaussian processes: median [smallest, largest]",
        "As follows",
        "  g([",
        "    short / 1,",
    ]
    assert max(map(len, lines)) <= 100
    comments = [line for line in lines if "word" in line]
    assert len(comments) == 2
    assert all(line.startswith("    # word") for line in comments)
    assert "    f(" in lines
    assert lines[-1].endswith("feature_8 / 1.5 [0.5, 4])])")
    text = " ".join(line.strip() for line in lines)
    assert text.count(" / 1.5 [0.5, 4]") == 9


def test_html_is_the_text_with_all_numbers_at_hand() -> None:
    node = leaf("<b>&'\"", 0.5, 1.5)
    description = Description((Section("", (Statement(("<i>",), node),)),), 2)
    html = description._repr_html_()
    assert "&lt;i&gt;" in html
    assert "&lt;b&gt;&amp;&#x27;&quot; / " in html
    title = 'title="&lt;b&gt;&amp;&#x27;&quot;: 0.5, 1.5"'
    assert f"<b {title}>1 [0.5, 1.5]</b>" in html


def test_descriptions_combine_in_order() -> None:
    each = [
        Description((Section("", (Statement(("is",), leaf("a", *numbers)),)),), count)
        for numbers, count in (((3.0,), 1), ((1.0, 2.0), 2))
    ]
    together = combine(each)
    assert together.num_models == 3
    assert together.values()[0].numbers == (3.0, 1.0, 2.0)
    assert combine(each[:1]) == each[0]
