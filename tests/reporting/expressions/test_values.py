"""Numbers read from batched parameters, and formulas of mean functions."""

from __future__ import annotations

import torch
from botorch.models import (
    MultiTaskGP,
)
from gpytorch.means import ConstantMean, LinearMean, MultitaskMean, ZeroMean
from helpers import SAME, assert_close
from reporting_helpers import NAMES, evaluate, formula, gp, inputs, with_round_values

from botorch_xval.reporting.expressions.description import describe


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
