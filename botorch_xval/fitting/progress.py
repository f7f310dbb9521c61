"""A bar of the searches that are done while a fit runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import Lock
from types import TracebackType

from scipy.optimize import Bounds
from tqdm import tqdm

from botorch_xval.fitting.coordinates import LogCoordinates
from botorch_xval.fitting.drive import OnEnd
from botorch_xval.fitting.search import Search, gradient_norm

__all__ = ["FitProgress"]


class FitProgress:
    """A bar of the searches that are done, with the worst gradient norm among them."""

    def __init__(self, total: int, shown: bool) -> None:
        """
        Args:
            total: Number of searches that are known to come.
            shown: Whether there is a bar at all.
        """
        self._bar = tqdm(total=total, unit="fit", disable=not shown)
        self._worst, self._shown, self._lock = 0.0, shown, Lock()

    def expect(self, count: int) -> None:
        """Say that so many more are to come."""
        self._bar.total += count
        self._bar.refresh()

    def on_end(
        self, bounds: Sequence[Bounds], coordinates: LogCoordinates | None
    ) -> OnEnd | None:
        """What :func:`minimize_each` is to call; None if no bar is shown.

        Args:
            bounds: Of the parameters, by number of a model.
            coordinates: Those of the gradient norm.
        """
        if not self._shown:
            return None

        def report(model: int, search: Search) -> None:
            norm = math.nan
            if search.best_gradient is not None:
                norm = gradient_norm(
                    search.best_point, search.best_gradient, bounds[model], coordinates
                )
            with self._lock:
                self._worst = max(self._worst, norm)  # stays where norm is NaN
                self._bar.set_postfix_str(
                    f"worst gradient norm {self._worst:.1e}", refresh=False
                )
                # That of a model that is tried again has been counted already.
                self._bar.update(self._bar.n < self._bar.total)

        return report

    def __enter__(self) -> FitProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
