"""Without Ax there is little to test; with it, its own warnings are not ours."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import pytest

collect_ignore_glob = []
if find_spec("ax") is None:
    collect_ignore_glob = [f"test_{name}*.py" for name in "cefgm"]  # all but init
else:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ax.analysis.plotly.cross_validation  # noqa: F401
        import ax.api.client  # noqa: F401


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many models each call fits together."""
    from botorch_xval.ax import models

    found: list[int] = []
    fit = models.fit_or_raise

    def spy(mlls: list, *options: object) -> None:
        if not options:  # else a model is fitted as soon as it is built
            found.append(len(mlls))
        fit(mlls, *options)

    monkeypatch.setattr(models, "fit_or_raise", spy)
    return found
