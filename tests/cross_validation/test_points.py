"""Points on both scales, with and without noise; with links and mixtures: test_links
and test_mixtures."""

from __future__ import annotations

import pytest
import torch
from helpers import assert_close, noisy_waves, normalized_gp

from botorch_xval import cross_validate


def test_scores_on_both_scales_with_and_without_noise():
    x, y = noisy_waves(12, 2)
    found = cross_validate(normalized_gp, x, y, fit="warm")
    frame = found.to_frame()
    assert frame.attrs == {"scale": "outcome", "noise": True}
    assert len(frame) == 24 and set(frame.output) == {0, 1}
    density = frame.log_density.to_numpy().reshape(12, 2)
    assert_close(density, found.log_density)
    quiet = found.to_frame(noise=False)
    variance = (found.variance - found.noise_variance).reshape(-1)
    assert_close(quiet.deviation**2, variance)
    assert (quiet.deviation < frame.deviation).all()
    # On the model's scale every fold has standardized its own outcomes.
    model = found.to_frame(scale="model")
    for i in (0, 7):
        rest = y[torch.arange(12) != i]
        scale = rest.std(dim=0)
        assert_close(found.location[i], rest.mean(dim=0))
        assert_close(found.scale[i], scale)
        assert_close(found.baseline[i], rest.mean(dim=0))
        shifted = density[i] + scale.log().numpy()
        assert_close(model.log_density[2 * i : 2 * i + 2], shifted)
        assert_close(model.z_score[2 * i : 2 * i + 2], frame.z_score[2 * i : 2 * i + 2])
    summary = found.summary()
    assert_close(summary.elpd, found.log_density.sum(dim=0))
    assert_close(summary.mse, ((found.mean - y) ** 2).mean(dim=0))
    assert found.summary("model", False).attrs == {"scale": "model", "noise": False}
    assert_close(found.ax_diagnostics()["MSE"], summary.mse)
    with pytest.raises(ValueError, match="scale: expected 'outcome' or 'model'"):
        found.to_frame(scale="x")
