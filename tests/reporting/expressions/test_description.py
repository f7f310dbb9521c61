"""Descriptions of whole models: batches, lists, noise, and wrong input."""

from __future__ import annotations

from copy import deepcopy
from statistics import median

import pytest
import torch
from botorch.models import KroneckerMultiTaskGP, ModelListGP, MultiTaskGP, SingleTaskGP
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.robust_relevance_pursuit_model import (
    RobustRelevancePursuitSingleTaskGP,
)
from botorch.models.transforms import Standardize
from gpytorch.kernels import MaternKernel, RBFKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from helpers import IDENTITY, assert_close, noisy_waves, normalized_gp
from reporting_helpers import PLAIN, model_with, numbers, unit_waves

from botorch_xval import ScalarChoiceGP, leave_one_out
from botorch_xval.reporting.expressions.description import describe

NAMES = ["u", "v"]


def test_batch_list_and_model_list_have_every_members_values() -> None:
    x, y = noisy_waves(8, m=2, batch=(3,))
    outcomes = ["loss", "seconds"]
    batch = ScalarChoiceGP(x, y)
    for parameter in batch.parameters():
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        parameter.data = parameter.data + 0.3 * noise.abs()
    description = describe(batch, ["u", "v"], outcomes)
    assert description.num_models == 3
    assert [section.outcome for section in description.sections] == outcomes
    found = numbers(description, "lengthscale")
    lengthscale = batch.covar_module.base_kernel.lengthscale  # 3 x 2 x 1 x 2
    expected = [lengthscale[:, i, 0, k] for i in range(2) for k in range(2)]
    assert_close(found, torch.stack(expected), **IDENTITY)
    expected = batch.likelihood.noise[..., 0].T
    assert_close(numbers(description, "noise variance"), expected, **IDENTITY)
    expected = batch.outcome_transform.means[:, 0].T
    assert_close(numbers(description, "outcome mean"), expected, **IDENTITY)
    first = expected[0].tolist()
    text = str(description)
    assert "3 Gaussian processes of 'loss': median [smallest, largest]" in text
    shown = ", ".join(f"{end:.3g}" for end in (min(first), max(first)))
    assert f"(mean {median(first):.3g} [{shown}], deviation " in text

    alone = [ScalarChoiceGP(x[i], y[i]) for i in range(3)]
    for i, model in enumerate(alone):
        for parameter, of_batch in zip(
            model.parameters(), batch.parameters(), strict=True
        ):
            parameter.data = of_batch.data[i].clone()
    described = describe(alone, ["u", "v"], outcomes)
    assert str(described) == text
    lists = [
        ModelListGP(model.subset_output([0]), model.subset_output([1]))
        for model in alone
    ]
    in_lists = describe(lists, ["u", "v"], outcomes)
    # On some processors PyTorch's functions have other last bits in a batch.
    for kind in ("lengthscale", "noise variance", "scale", "outcome mean"):
        for each in (described, in_lists):
            found = numbers(each, kind)
            assert_close(found, numbers(description, kind), **IDENTITY)
    assert [s.outcome for s in describe(lists[0]).sections] == ["y0", "y1"]


def test_folds_of_a_cross_validation() -> None:
    x, y = noisy_waves(6)
    folds = [normalized_gp(x[~out], y[~out]) for out in leave_one_out(6).held_out]
    for i, fold in enumerate(folds):
        fold.covar_module.lengthscale = torch.tensor([0.5 + i, 2.0])
        fold.eval()
    description = describe(folds, ["u", "v"])
    assert "compare('u') / 3 [0.5, 5.5], compare('v') / 2]" in str(description)
    expected = [[fold.outcome_transform.means.item() for fold in folds]]
    assert_close(numbers(description, "outcome mean"), expected, **IDENTITY)


def test_a_model_is_left_as_it_is() -> None:
    model = normalized_gp(*noisy_waves(6))
    for mode in (True, False):
        model.train(mode)
        before = deepcopy(model.state_dict())
        text = str(describe(model))
        assert model.training is mode
        assert str(describe(model)) == text
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name]), name


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
    "names, outcomes, expected",
    [
        (["u"], None, r"names: expected 2 names.*, got 1: \['u'\]"),
        (None, ["y", "z"], r"outcomes: expected 1 names.*, got 2: \['y', 'z'\]"),
        ("uv", None, "names: expected a list of names, got 'uv'"),
        (["u", 3], None, r"names: expected a list of names, got \['u', 3\]"),
        (["u", "u"], None, r"names: expected distinct names, got \['u', 'u'\]"),
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
    with pytest.raises(ValueError, match="model: expected at least one model"):
        describe([])
    x, y = unit_waves()
    other = SingleTaskGP(x, y, **PLAIN | {"covar_module": MaternKernel()})
    with pytest.raises(
        ValueError, match="model: .* one structure.*'rbf.*'matern_25.*one by one"
    ):
        describe([model_with(), other])
    part = RBFKernel(batch_shape=torch.Size([3]))
    other = SingleTaskGP(x, y, **PLAIN | {"covar_module": part})
    with pytest.raises(ValueError, match=r"own batch shape \(\), got one of \(3,\)"):
        describe(other)
    batch = SingleTaskGP(x.expand(3, -1, -1), y.expand(3, -1, -1))
    with pytest.raises(ValueError, match=r"batches of one size, got \[1, 3\] models"):
        describe(ModelListGP(model_with(), batch))
