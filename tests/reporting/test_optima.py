"""The table of optima, and what is said of them."""

from __future__ import annotations

import pytest
from botorch.models import SingleTaskGP
from botorch.optim.core import OptimizationStatus
from helpers import hartmann, mll_of, normalized_gp, unit_waves

from botorch_xval import cross_validate, fit_gpytorch_mll
from botorch_xval.fitting.records import FitRecord, Optimum
from botorch_xval.reporting import describe_optimum, optima, summarize_fits
from botorch_xval.reporting.optima import in_other_optima

NOISE, LENGTH = "likelihood.noise_covar.raw_noise", "model.covar_module.raw_lengthscale"


def optimum(noise: float, *lengths: float, **kwargs) -> Optimum:
    return Optimum(1.0, ("own",), {NOISE: (noise,), LENGTH: lengths}, **kwargs)


def test_an_optimum_is_described_by_what_differs_most():
    lowest = optimum(0.01, 1.0, 1.0)
    assert describe_optimum(optimum(0.011, 1.0, 1.2), lowest) == ""
    words = describe_optimum(optimum(0.02, 0.1, 0.4), lowest)
    assert words == "lengthscale 0.2 instead of 1; noise 0.02 instead of 0.01"
    assert describe_optimum(lowest) == ""


def test_the_dead_optimum_is_described():
    dead = optimum(0.1, 0.3, 0.3, at_modes=(LENGTH,), is_dead=True)
    assert "all lengthscales at the prior's mode" in describe_optimum(dead)
    part = optimum(0.1, 0.3, 0.3, at_modes=(LENGTH,))
    assert describe_optimum(part) == "at the prior's mode: lengthscale"


def test_folds_in_another_optimum_than_most_are_found():
    def record(noise: float, *lengths: float) -> FitRecord:
        return FitRecord(
            (1.0,),
            1,
            1,
            OptimizationStatus.SUCCESS,
            "",
            0.0,
            1,
            optima=(optimum(noise, *lengths),),
            num_points=20,
        )

    most = [record(0.01 + 0.001 * i, 1.0, 2.0) for i in range(7)]
    assert in_other_optima(most) == {}
    found = in_other_optima([*most, record(0.2, 1.0, 2.0)])
    assert found == {7: "noise 0.2, the median of all 0.0135"}
    assert "Model 7 sits in another optimum than most" in summarize_fits(
        [*most, record(0.2, 1.0, 2.0)]
    )
    spread = [record(0.001 * 4**i, 1.0, 2.0) for i in range(7)]
    assert in_other_optima(spread) == {}  # they do not agree
    assert in_other_optima(most[:3] + [record(0.2, 1.0, 2.0)]) == {}  # too few


@pytest.mark.several
def test_the_table_lists_every_optimum_of_every_model(tmp_path):
    X, Y = hartmann(20)
    mll = mll_of(normalized_gp(X, Y))
    fit_gpytorch_mll(mll)
    table = optima(mll)
    (record,) = mll.fit_records
    assert len(record.optima) > 1
    assert table.loss.tolist() == [o.loss for o in record.optima]
    assert table.starts.sum() == sum(len(o.starts) for o in record.optima)
    assert table.above.iloc[0] == 0.0
    assert table.above.tolist() == pytest.approx(
        [20 * (o.loss - record.loss) for o in record.optima]
    )
    assert record.gain > 0.1
    words = summarize_fits([record])
    assert "The initial values alone lead to a worse optimum" in words
    result = cross_validate(normalized_gp, X, Y)
    result.save(tmp_path / "folds.npz")
    again = type(result).load(tmp_path / "folds.npz")
    assert optima(again).equals(optima(result))
    assert set(optima(result).fold) == set(result.folds.names)


def test_an_mll_without_records_is_refused():
    X, Y = unit_waves(8)
    with pytest.raises(ValueError, match="fitted: expected an mll with fit_records"):
        optima(mll_of(SingleTaskGP(X, Y)))
