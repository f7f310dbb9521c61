"""Cross-validations that several modules draw, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import matplotlib.pyplot as plt
import pytest
from helpers import noisy_waves, normalized_gp

from botorch_xval import CrossValidation, cross_validate


@pytest.fixture(autouse=True)
def no_figures_or_settings_left_behind() -> Iterator[None]:
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


@pytest.fixture(scope="session")
def warm() -> CrossValidation:
    X, Y = noisy_waves(20, 2)
    return cross_validate(normalized_gp, X, Y, fit="warm", keep_models=True)


@pytest.fixture(scope="session")
def fixed() -> CrossValidation:
    return cross_validate(normalized_gp, *noisy_waves(20, 2), fit="fixed")
