"""Without Ax there is little to test; with it, its own warnings are not ours."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ax's own
    try:
        import ax.analysis.plotly.cross_validation
        import ax.api.client  # noqa: F401
    except ImportError:
        collect_ignore_glob = ["test_[!i]*.py"]  # all but `test_init.py`


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
