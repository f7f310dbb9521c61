"""Numbers read from batched parameters, and formulas of mean functions."""

from __future__ import annotations

import pytest
import torch
from botorch.models import MultiTaskGP
from gpytorch.means import ConstantMean, LinearMean, MultitaskMean, ZeroMean
from helpers import SAME, assert_close
from reporting_helpers import NAMES, evaluate, formula, gp, inputs, with_round_values

from botorch_xval.reporting.expressions.description import describe
from botorch_xval.reporting.expressions.values import Reader


def test_means() -> None:
    constant = ConstantMean()
    constant.constant = -0.25
    assert "\nMean: constant -0.25\n" in str(describe(gp(mean=constant)))
    assert "\nMean: zero\n" in str(describe(gp(mean=ZeroMean())))
    for has_bias in (True, False):
        linear = with_round_values(LinearMean(6, bias=has_bias))
        text = formula(describe(gp(mean=linear), NAMES), "Mean")
        x = inputs()
        assert_close(evaluate(text, NAMES, x[3], x[3]), linear(x)[3], **SAME)
    x = inputs()
    both = MultitaskMean([with_round_values(ConstantMean()), ZeroMean()], 2)
    tasks = MultiTaskGP(
        torch.cat([x[:, :1], x[:, 3:4]], dim=-1), x[:, :1], 1, mean_module=both
    )
    first = both.base_means[0].constant.item()
    text = str(describe(tasks, outcomes=["cheap", "exact"]))
    assert f"\nMean of task 'cheap': constant {first:g}\n" in text
    assert "\nMean of task 'exact': zero\n" in text
    assert "('cheap', 'exact'): " in text


def test_numbers_of_all_models_from_any_shape_that_expands() -> None:
    reader = Reader(torch.Size([3]))
    each = torch.arange(6.0).reshape(3, 2)
    assert_close(reader.numbers(each, 1), each)
    assert_close(reader.numbers(each[:1], 1), each[:1].expand(3, 2))  # one for all
    assert_close(reader.numbers(each[0, 0], 0), [0.0] * 3)
    assert reader.numbers(each, 1).dtype == torch.float64
    alone = Reader(torch.Size([]))
    assert_close(alone.numbers(each[0], 1), each[:1])
    assert_close(alone.numbers(each[:1], 1), each[:1])


def test_numbers_of_one_of_the_batched_outputs() -> None:
    reader = Reader(torch.Size([3, 2]), output=1)
    each = torch.arange(12.0).reshape(3, 2, 2)
    assert_close(reader.numbers(each, 1), each[:, 1])
    values = reader.values(each, ["a", "b"], "lengthscale")
    assert [value.numbers for value in values] == [(2.0, 6.0, 10.0), (3.0, 7.0, 11.0)]
    value = reader.value(each[..., 0], "a", "mean", False)
    assert value.numbers == (2.0, 6.0, 10.0) and not value.logarithmic


def test_numbers_of_another_batch_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"own batch shape \(3,\), got one of \(4,\)"):
        Reader(torch.Size([3])).numbers(torch.zeros(4, 2), 1)


def test_tasks_have_names_or_numbers() -> None:
    assert Reader(torch.Size([])).task(1) == "1"
    assert Reader(torch.Size([]), tasks=("cheap", "exact")).task(1) == "'exact'"
