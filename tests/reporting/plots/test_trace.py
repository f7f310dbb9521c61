"""The plot over rows by what its artists hold."""

from __future__ import annotations

import numpy as np
from helpers import assert_close, hartmann, normalized_gp
from matplotlib.colors import to_rgba
from reporting_helpers import dots, sorted_rows

from botorch_xval import cross_validate, leave_future_out
from botorch_xval.reporting.plots import plot_trace
from botorch_xval.reporting.plots.style import COLORS


def test_rows_are_in_their_order_with_what_was_predicted():
    X, Y = hartmann(30)
    folds = leave_future_out(12, horizon=2, step=2)
    result = cross_validate(normalized_gp, X, Y, folds=folds, fit="fixed")
    ax = plot_trace(result)
    frame = result.to_frame()
    expected = frame[["row", "observed"]].to_numpy(dtype=float)
    assert_close(sorted_rows(dots(ax)), sorted_rows(expected))
    (predicted,) = [line for line in ax.lines if line.get_marker() == "_"]
    assert_close(predicted.get_xdata(), np.arange(12, 30))
    assert_close(predicted.get_ydata(), frame["mean"].to_numpy())
    missed = (frame.observed < frame.lower) | (frame.observed > frame.upper)
    orange = [
        line
        for line in ax.lines
        if line.get_marker() == "o" and to_rgba(line.get_color()) == to_rgba(COLORS[1])
    ]
    assert sum(len(line.get_xdata()) for line in orange) == missed.sum()
    title = ax.get_title(loc="left")
    assert f"{frame.log_density.mean():.2f} nats a row" in title and "of 18" in title
