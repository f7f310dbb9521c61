"""Which models may be fitted together."""

from __future__ import annotations

import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.map_saas import EnsembleMapSaasSingleTaskGP
from botorch.models.transforms import Normalize
from gpytorch.kernels import MaternKernel, RBFKernel
from gpytorch.priors import GammaPrior
from helpers import mll_of, noisy_waves

from botorch_xval.fitting.losses.together import (
    DifferentModels,
    batch_shape_of,
    check_alike,
    groups_of,
    held_by_priors,
    shared_part,
)

# The models have no transform; that is not what this is about.
pytestmark = pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")


def mll(n=6, kernel=None, batch=(), m=1, **kwargs):
    model = SingleTaskGP(*noisy_waves(n, m, batch), covar_module=kernel, **kwargs)
    return mll_of(model)


def test_models_of_one_structure_and_size_are_together():
    mlls = [mll(6), mll(5), mll(6, MaternKernel()), mll(6), mll(5)]
    assert groups_of(mlls) == [[0, 3], [1, 4], [2]]
    assert groups_of(mlls, alone=[0]) == [[0], [1, 4], [2], [3]]


def test_models_that_share_what_a_fit_changes_are_not():
    kernel, transform = RBFKernel(), Normalize(2)
    mlls = [mll(kernel=kernel), mll(kernel=kernel), mll(kernel=RBFKernel())]
    assert groups_of(mlls) == [[0, 2], [1]]
    assert shared_part(mlls)[:2] == (0, 1)
    ranges = [mll(input_transform=transform) for _ in range(2)]
    assert groups_of(ranges) == [[0], [1]]
    assert shared_part(ranges) == (0, 1, "model.input_transform")
    assert shared_part([mll(), mll()]) is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: mll(7), "another structure"),
        (lambda: mll(kernel=MaternKernel()), "another structure"),
        (lambda: mll(batch=(2,)), "another structure"),
        (
            lambda: mll(kernel=RBFKernel(lengthscale_prior=GammaPrior(2.0, 3.0))),
            "another prior, bound or index",
        ),
    ],
)
def test_a_difference_is_named(other, message):
    one = mll()
    if "prior" in message:
        one = mll(kernel=RBFKernel(lengthscale_prior=GammaPrior(2.0, 4.0)))
    with pytest.raises(DifferentModels, match=f"model 1 .*{message}"):
        check_alike([one, other()])
    check_alike([one])


def test_values_of_parameters_may_differ():
    one, other = mll(), mll()
    other.likelihood.noise = 0.7
    check_alike([one, other])


def test_batch_shapes():
    assert batch_shape_of(mll()) == torch.Size()
    assert batch_shape_of(mll(m=2)) == torch.Size([2])
    assert batch_shape_of(mll(batch=(3,), m=2)) == torch.Size([3, 2])


def test_columns_that_kernels_select_may_not_differ():
    one, other = (mll(kernel=RBFKernel(active_dims=(k,))) for k in (0, 1))
    with pytest.raises(DifferentModels, match="another prior, bound or index"):
        check_alike([one, other])
    assert groups_of([one, other]) == [[0], [1]]


def test_what_priors_hold_for_each_model_is_found():
    """BoTorch's SAAS ensembles keep a shrinkage for each model beside its prior."""
    torch.manual_seed(0)
    X, Y = noisy_waves(6)
    ensemble = mll_of(EnsembleMapSaasSingleTaskGP(X, Y, num_taus=3))
    held = list(held_by_priors(ensemble))
    assert {tuple(value.shape) for _, _, value in held} == {(3,)}
    for owner, name, value in held:
        assert getattr(owner, name) is value
    assert list(held_by_priors(mll())) == []
