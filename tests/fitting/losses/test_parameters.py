"""The table of parameters against GPyTorch's own walks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.kernels.orthogonal_additive_kernel import OrthogonalAdditiveKernel
from botorch.optim.utils import get_parameters_and_bounds
from botorch.utils.constraints import LogTransformedInterval
from gpytorch.constraints import GreaterThan, Interval, LessThan
from gpytorch.kernels import (
    AdditiveKernel,
    MaternKernel,
    MultitaskKernel,
    ProductKernel,
    RBFKernel,
    ScaleKernel,
)
from gpytorch.priors import GammaPrior
from helpers import assert_close, mll_of, noisy_waves, tuning_trials, unit_waves

from botorch_xval import ScalarChoiceGP
from botorch_xval.fitting.losses.parameters import (
    ParameterTable,
    Unsupported,
    columns_seen,
    parameters_of,
)

# The models have no transform; that is not what this is about.
pytestmark = pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")


@pytest.fixture
def tuning():
    table = tuning_trials(8)
    return mll_of(ScalarChoiceGP(table.X, table.Y, choice_dims=table.choice_dims))


def test_the_table_has_what_gpytorch_has(tuning):
    walked = list(tuning.named_parameters_and_constraints())
    found = parameters_of(tuning)
    assert [each.full_name for each in found] == [name for name, _, _ in walked]
    priors = {name: prior for name, _, prior, _, _ in tuning.model.named_priors()}
    for each, (_, tensor, constraint) in zip(found, walked, strict=True):
        assert each.tensor is tensor and each.constraint is constraint
        value = tensor if constraint is None else constraint.transform(tensor)
        assert_close(each.value, value.reshape(-1))
        assert tuning.get_submodule(each.path) is each.module
    own = [each for each in found if each.prior is not None]
    assert {id(each.prior) for each in own} == {id(prior) for prior in priors.values()}


def test_priors_come_in_gpytorchs_order(tuning):
    table = ParameterTable(tuning, torch.Size())
    expected = [prior for _, _, prior, _, _ in tuning.model.named_priors()]
    assert [each.prior for each in table.with_priors] == expected
    assert table.other_priors == [] and table.is_complete


def test_a_prior_of_something_else_is_named():
    kernel = RBFKernel(ard_num_dims=2)
    kernel.register_prior(
        "sum_prior", GammaPrior(1.0, 1.0), lambda m: m.lengthscale.sum(), None
    )
    table = ParameterTable(
        mll_of(SingleTaskGP(*noisy_waves(5), covar_module=kernel)), torch.Size()
    )
    assert [each.full_name for each in table.other_priors] == ["covar_module.sum_prior"]
    assert len(table.with_priors) == 1  # that of the noise


def test_rows_of_numbers_and_their_bounds():
    X, Y = noisy_waves(6, m=2, batch=(3,))
    mll = mll_of(SingleTaskGP(X, Y))
    shape = torch.Size([3, 2])
    table = ParameterTable(mll, shape)
    rows = table.read(mll)
    assert rows.shape == (6, table.size) and len(table.bounds) == 6
    changed = torch.as_tensor(rows) + torch.arange(6.0)[:, None]
    table.write(mll, changed)
    assert_close(table.read(mll), changed)
    own, limits = get_parameters_and_bounds(mll)
    for name, columns in table.columns.items():
        part = table.named(changed[4])[name]
        assert_close(part.reshape(-1), own[name][2, 0].reshape(-1))
        low = limits.get(name, (-np.inf, np.inf))[0]
        assert_close(table.bounds[4].lb[columns], float(low) * np.ones(part.numel()))


def test_bounds_may_differ_between_the_models():
    X, Y = noisy_waves(6, batch=(3,))
    mll = mll_of(SingleTaskGP(X, Y))
    name = "likelihood.noise_covar.raw_noise"
    low = torch.tensor([0.1, 0.2, 0.3])[:, None]
    table = ParameterTable(mll, torch.Size([3]), bounds={name: (low, 5.0)})
    column = table.columns[name]
    assert_close([b.lb[column][0] for b in table.bounds], low[:, 0])
    assert {b.ub[column][0] for b in table.bounds} == {5.0}


def test_parameters_without_the_batch_shape_are_shared():
    X, Y = noisy_waves(6, batch=(3,))
    kernel = ScaleKernel(RBFKernel(ard_num_dims=2), batch_shape=torch.Size([3]))
    table = ParameterTable(
        mll_of(SingleTaskGP(X, Y, covar_module=kernel)), torch.Size([3])
    )
    assert table.shared == ["model.covar_module.base_kernel.raw_lengthscale"]


@pytest.mark.parametrize(
    ("constraint", "kind"),
    [
        (None, "identity"),
        (GreaterThan(0.1, transform=None), "identity"),
        (GreaterThan(0.1), "softplus"),
        (Interval(0.1, 3.0), "sigmoid"),
        (LogTransformedInterval(0.1, 3.0, 0.5), "exp"),
    ],
)
def test_kinds_of_constraints(constraint, kind):
    kernel = RBFKernel(lengthscale_constraint=constraint).double()
    (each,) = parameters_of(kernel)
    expected = "softplus" if constraint is None else kind
    assert each.kind()[0] == expected
    if kind == "sigmoid":
        assert each.kind()[1:] == pytest.approx((0.1, 3.0), abs=1e-6)


def test_an_unknown_transform_is_no_kind():
    for constraint in (LessThan(2.0), GreaterThan(0.0, transform=torch.exp)):
        (each,) = parameters_of(RBFKernel(lengthscale_constraint=constraint))
        with pytest.raises(Unsupported):
            each.kind()


def test_labels():
    kernel = RBFKernel(ard_num_dims=2, batch_shape=torch.Size([3]))
    (each,) = parameters_of(kernel, torch.Size([3]))
    assert each.labels(["a", "b"]) == ["lengthscale['a']", "lengthscale['b']"]
    assert each.labels(["a"]) == ["lengthscale[0]", "lengthscale[1]"]
    assert parameters_of(RBFKernel())[0].labels(["a"]) == ["lengthscale"]


def test_columns_are_selected_when_a_kernel_is_called():
    first, second = RBFKernel(active_dims=(0, 2)), MaternKernel(active_dims=(1,))
    inner = RBFKernel(active_dims=(1,))
    product = ProductKernel(second, ScaleKernel(inner))
    whole = AdditiveKernel(first, product)
    seen = columns_seen(whole, "abc")
    assert seen[whole] == ("a", "b", "c")
    assert seen[first] == ("a", "c")
    assert seen[second] == ("b",)
    assert seen[inner] == ("b",)  # selected by the scale kernel around it
    X = torch.rand(4, 3)
    assert_close(
        whole(X).to_dense(),
        sum(
            (k.forward(X[:, dims], X[:, dims]) for k, dims in ((first, [0, 2]),)),
            second.forward(X[:, [1]], X[:, [1]])
            * inner.forward(X[:, [1]], X[:, [1]])
            * product.kernels[1].outputscale,
        ),
        rtol=1e-5,
        atol=1e-6,
    )


def test_active_dims_within_a_multitask_kernel_have_no_effect():
    data = RBFKernel(active_dims=(1,), ard_num_dims=1)
    kernel = MultitaskKernel(data, num_tasks=2)
    seen = columns_seen(kernel, ["a", "b"])
    assert seen[data] == ("a", "b")
    assert seen[kernel.task_covar_module] == ()


def test_a_prior_of_a_transformed_parameter_is_not_one_of_its_value():
    """The constraint of these coefficients is not registered."""
    kernel = OrthogonalAdditiveKernel(
        dim=2, coeffs_1_prior=GammaPrior(2.0, 1.0), dtype=torch.float64
    )
    mll = mll_of(SingleTaskGP(*unit_waves(5), covar_module=kernel))
    table = ParameterTable(mll, torch.Size())
    name = "model.covar_module.raw_coeffs_1"
    (own,) = (each for each in table.parameters if each.full_name == name)
    assert own not in table.with_priors
    assert [o.full_name for o in table.other_priors] == ["covar_module.coeffs_1_prior"]
