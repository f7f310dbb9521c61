"""Beta and Dirichlet priors against SciPy, before and after each way to carry them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from gpytorch.priors import Prior
from scipy import stats
from torch.testing import assert_close

from botorch_xval.models.priors import BetaPrior, DirichletPrior

EXACT = {"rtol": 0, "atol": 1e-10}
CARRY: dict[str, Callable[[Prior], Prior]] = {
    "deepcopy": deepcopy,
    "pickle": lambda prior: pickle.loads(pickle.dumps(prior)),
    "to and back": lambda prior: prior.to(torch.float32).to(torch.float64),
    "double": lambda prior: prior.double(),
    "expand": lambda prior: prior.expand([2]),
}


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def beta() -> BetaPrior:
    return BetaPrior(tensor(3.0)[0], tensor(1.5)[0])


def dirichlet() -> DirichletPrior:
    return DirichletPrior(tensor(3.0, 1.5, 2.0))


@pytest.mark.parametrize("carry", ["nothing", *CARRY])
def test_beta_agrees_with_scipy(carry: str) -> None:
    prior = CARRY.get(carry, lambda prior: prior)(beta())
    x = torch.linspace(0.05, 0.95, 7, dtype=torch.float64).unsqueeze(-1)  # 7 x 1
    known = stats.beta(3.0, 1.5)
    expected = torch.as_tensor(known.logpdf(x.numpy()))
    assert type(prior) is BetaPrior
    assert_close(prior.log_prob(x), expected.expand(7, max(1, prior.mean.numel())))
    assert_close(prior.mean, torch.full_like(prior.mean, known.mean()), **EXACT)
    assert_close(prior.variance, torch.full_like(prior.mean, known.var()), **EXACT)
    assert_close(prior.mode, torch.full_like(prior.mean, 2.0 / 2.5), **EXACT)
    assert prior._extended_shape() == prior.mean.shape


@pytest.mark.parametrize("carry", ["nothing", *CARRY])
def test_dirichlet_agrees_with_scipy(carry: str) -> None:
    prior = CARRY.get(carry, lambda prior: prior)(dirichlet())
    x = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], size=5)
    known = stats.dirichlet([3.0, 1.5, 2.0])
    expected = torch.as_tensor(known.logpdf(x.T))
    got = prior.log_prob(torch.as_tensor(x).unsqueeze(-2))
    assert type(prior) is DirichletPrior
    assert_close(got, expected.unsqueeze(-1).expand(got.shape), **EXACT)
    assert got.shape == (5, *(prior.batch_shape or (1,)))
    for moment, value in (
        (prior.mean, known.mean()),
        (prior.variance, known.var()),
        (prior.mode, np.array([2.0, 0.5, 1.0]) / 3.5),
    ):
        assert_close(moment, torch.as_tensor(value).expand(moment.shape), **EXACT)
    assert prior._extended_shape() == prior.mean.shape
    assert prior._extended_shape([4]) == (4, *prior.mean.shape)


@pytest.mark.parametrize("make", [beta, dirichlet])
def test_state_dict_carries_the_concentrations(make: Callable[[], Prior]) -> None:
    prior = make()
    for buffer in prior.buffers():
        buffer.add_(1.0)
    other = make()
    other.load_state_dict(prior.state_dict())
    assert_close(other.mean, prior.mean, **EXACT)
    assert_close(other.mode, prior.mode, **EXACT)
    assert_close(other.log_prob(prior.mean), prior.log_prob(prior.mean), **EXACT)
    assert (other.mean != make().mean).any()


@pytest.mark.parametrize("make", [beta, dirichlet])
def test_an_expanded_prior_owns_its_members(make: Callable[[], Prior]) -> None:
    prior = make().expand([2])
    changed = {name: value.clone() for name, value in prior.state_dict().items()}
    for value in changed.values():
        value[1] += 1.0
    prior.load_state_dict(changed)
    assert_close(prior.mean[0], make().mean, **EXACT)
    assert (prior.mean[1] != prior.mean[0]).any()
    assert prior.expand([3, 2]).mean.shape == (3, *prior.mean.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", [beta, dirichlet])
def test_samples_have_the_distribution(
    make: Callable[[], Prior], dtype: torch.dtype
) -> None:
    prior = make().to(dtype)
    torch.manual_seed(0)
    sample = prior.sample(torch.Size([20000]))
    assert sample.dtype == dtype
    assert sample.shape == (20000, *prior.event_shape)
    # Five standard errors of a mean of 20,000.
    assert_close(sample.mean(dim=0), prior.mean, rtol=0, atol=0.01)
    assert_close(sample.var(dim=0), prior.variance, rtol=0, atol=0.005)
    known = stats.beta(3.0, 1.5 if isinstance(prior, BetaPrior) else 3.5)
    first = sample if isinstance(prior, BetaPrior) else sample[:, 0]
    assert stats.kstest(first.double().numpy(), known.cdf).pvalue > 0.01


def test_rsample_has_gradients() -> None:
    concentration = tensor(3.0)[0].requires_grad_()
    prior = BetaPrior(2.0, 2.0).double()
    prior.concentration1 = concentration
    torch.manual_seed(0)
    prior.rsample(torch.Size([3])).sum().backward()
    assert concentration.grad > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_stay_inside_of_the_simplex(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for prior in (BetaPrior(1e-3, 1e-3), DirichletPrior([1e-3, 1e-3, 1e-3])):
        sample = prior.to(dtype).sample(torch.Size([1000]))
        assert ((sample > 0) & (sample < 1)).all()
        assert torch.isfinite(torch.logit(sample)).all()


def test_modules_move_their_priors() -> None:
    module = torch.nn.ModuleList([BetaPrior(3, 3), DirichletPrior([1, 2, 3])]).double()
    assert all(buffer.dtype == torch.float64 for buffer in module.buffers())
    assert all(prior.sample().dtype == torch.float64 for prior in module)


def test_batches_of_concentrations() -> None:
    prior = BetaPrior(tensor(2.0, 3.0), 4.0)
    x = tensor(0.2, 0.7)
    expected = stats.beta([2.0, 3.0], 4.0).logpdf(x.numpy())
    assert_close(prior.log_prob(x), torch.as_tensor(expected), **EXACT)
    assert prior.batch_shape == (2,)
    prior = DirichletPrior(torch.ones(4, 3, dtype=torch.float64))
    assert prior.batch_shape == (4,)
    assert prior.event_shape == (3,)
    assert prior.sample().shape == (4, 3)


def test_refuses_what_is_no_concentration() -> None:
    with pytest.raises(ValueError, match="concentration0: expected positive"):
        BetaPrior(1.0, 0.0)
    with pytest.raises(ValueError, match="concentration: expected positive"):
        DirichletPrior([1.0, -1.0])
    with pytest.raises(ValueError, match="K > 1, got \\(1,\\)"):
        DirichletPrior([1.0])


def test_validates_values_when_asked() -> None:
    with pytest.raises(ValueError, match="within the support"):
        BetaPrior(2.0, 2.0, validate_args=True).log_prob(torch.tensor(1.5))
    with pytest.raises(ValueError, match="within the support"):
        prior = DirichletPrior([2.0, 2.0], validate_args=True).expand([3])
        prior.log_prob(torch.tensor([0.9, 0.9]))
