"""The course of a fit against the losses that the fit reports."""

from __future__ import annotations

import pytest
import torch
from botorch.optim.closures import get_loss_closure
from gpytorch.mlls import ExactMarginalLogLikelihood
from helpers import fold_mlls, noisy_waves, normalized_gp

from botorch_xval import Course, FitOptions, describe, fit_each, fit_gpytorch_mll


def test_the_kept_parameters_have_the_losses_of_the_record():
    X, Y = noisy_waves(12)
    model = normalized_gp(X, Y)
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    course = Course()
    fit_gpytorch_mll(mll, optimizer_kwargs={"callback": course})
    (record,) = mll.fit_records
    points = course.points[0, "own"]
    assert len(points) == record.iterations
    for k in (0, len(points) // 2, -1):
        fresh = normalized_gp(X, Y)
        other = ExactMarginalLogLikelihood(fresh.likelihood, fresh).train()
        own = dict(other.named_parameters())
        with torch.no_grad():
            for name, value in points[k].items():
                own[name].copy_(value.reshape(own[name].shape))
        loss = get_loss_closure(other)().item()
        assert loss == pytest.approx(record.losses[1:][k], rel=1e-9)


def test_descriptions_end_with_that_of_the_fitted_models_which_stay_as_they_are():
    X, Y = noisy_waves(8)
    mlls = fold_mlls(normalized_gp, X, Y)
    course = Course()
    fit_each(mlls, FitOptions(callback=course))
    models = [mll.model for mll in mlls]
    before = [{n: p.clone() for n, p in m.state_dict().items()} for m in models]
    frames = course.descriptions(models, ["a", "b"])
    assert len(frames) == max(record.fit_records[0].iterations for record in mlls)
    assert str(frames[-1]) == str(describe(models, ["a", "b"]))
    assert str(frames[0]) != str(frames[-1])
    for model, state in zip(models, before, strict=True):
        assert all(torch.equal(model.state_dict()[n], v) for n, v in state.items())


@pytest.mark.parametrize("length", [5, 1000])
def test_long_courses_are_thinned_and_keep_both_ends(length):
    model = normalized_gp(*noisy_waves(6))
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    values = {name: p.detach().clone() for name, p in mll.named_parameters()}
    (constant,) = (name for name in values if name.endswith("raw_constant"))
    course = Course()
    course.losses[0, "own"] = 1.0
    course.points[0, "own"] = [
        {**values, constant: torch.full_like(values[constant], k)}
        for k in range(length)
    ]
    steps = [
        value.numbers[0]
        for frame in course.descriptions(model, longest=20)
        for value in frame.values()
        if value.kind == "mean"
    ]
    assert steps[0] == 0 and steps[-1] == length - 1
    if length <= 20:
        assert steps == list(range(length))
    else:
        assert len(steps) <= 20
        assert steps[1] - steps[0] < steps[-1] - steps[-2]


def test_other_models_than_those_of_the_fit_are_refused():
    X, Y = noisy_waves(6)
    mlls = fold_mlls(normalized_gp, X, Y)
    course = Course()
    fit_each(mlls, FitOptions(callback=course, options={"maxiter": 2}))
    with pytest.raises(ValueError, match="expected the 6 models of the fit, got 2"):
        course.descriptions([mll.model for mll in mlls[:2]])


def test_batches_are_refused():
    X, Y = noisy_waves(6, 2)
    model = normalized_gp(X, Y)
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    course = Course()
    fit_gpytorch_mll(mll, optimizer_kwargs={"callback": course})
    with pytest.raises(ValueError, match="unbatched models with one output"):
        course.descriptions([model, model])
