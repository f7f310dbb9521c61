r"""Where the fit of a model starts: its own values, and others that lead elsewhere.

A marginal likelihood has several optima. They differ most in how much of the outcomes
is noise, and in how long the lengthscales are *together*: with short ones no two points
are near each other, and the model predicts its mean; with long ones it is smooth, and
the rest is noise. Lengthscales drawn one by one from a prior are never all long. So a
start gives those of a kernel a common factor, with a low or a high noise. Later starts
are spread over factors, noises, output scales and all other parameters by a Sobol'
sequence. It is always the same one: a model's starts depend on that model only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from botorch_xval.fitting.coordinates import Array, LogCoordinates
from botorch_xval.fitting.losses.objective import Objective
from botorch_xval.fitting.losses.parameters import ParameterTable
from botorch_xval.fitting.search import Start

__all__ = ["OWN", "SAMPLED", "starts_of"]

OWN, SAMPLED = "own", "sampled"  # labels
# Chosen on 170 problems none of which is in benchmarks/fit_quality.py.
# Factor of all lengthscales, and noise as a share of the variance of the outcomes
# (None: its own), of the first starts beside the model's own.
FIRST = ((16.0, None), (4.0, 0.01), (0.25, 0.5))
MOST = 16  # points of the sequence
FACTORS = np.log([1 / 8, 32])  # of the lengthscales of a kernel
SPREADS = (0.0, 0.5, 1.5)  # standard deviations of their logarithms, in turn
NOISES = np.log([1e-4, 2.0])  # shares of the variance of the outcomes
SCALES = np.array([-4.0, 1.0])  # logarithms of factors of the output scales


def starts_of(
    objective: Objective, model: int, coordinates: LogCoordinates
) -> Iterator[Start]:
    """The starts of a model, its own first.

    Args:
        objective: Of the model.
        model: Its number.
        coordinates: Logarithms of its positive parameters.

    Yields:
        Different starts inside the bounds.
    """
    own = objective.start_from({}, model)
    yield Start(own, OWN)
    found = own[None]
    for u, share, label in _changed(objective.table, coordinates.from_raw(own)):
        values, _ = coordinates.with_slopes(u)
        if share is not None:
            for columns in objective.table.columns_of("raw_noise"):
                values[columns] = share * objective.variances[model]
        bounds = objective.bounds[model]
        values = np.clip(values, bounds.lb, bounds.ub)
        if not np.isclose(values, found).all(axis=-1).any():
            found = np.vstack([found, values])
            yield Start(values, label)


def _changed(
    table: ParameterTable, own: Array
) -> Iterator[tuple[Array, float | None, str]]:
    """Logarithms of parameters, noise as a share of the variance, and a label."""
    lengths = table.columns_of("raw_lengthscale")
    is_length, is_scale, is_noise = (
        np.isin(np.arange(table.size), np.concatenate([[-1], *columns]))
        for columns in (
            lengths,
            table.columns_of("raw_outputscale"),
            table.columns_of("raw_noise"),
        )
    )
    others = ~(is_length | is_scale | is_noise)
    for factor, share in FIRST:
        noise = "" if share is None else f", noise {share:g}"
        u = own + np.log(factor) * is_length
        yield u, share, f"lengthscales x {factor:g}{noise}"
    for i, (point, normal) in enumerate(_points(2 + len(lengths) + table.size)):
        noise, scale, *factors = point[: 2 + len(lengths)]
        each = normal[2 + len(lengths) :]
        u = own + others * each * (i % 2) + is_scale * _between(SCALES, scale)
        for columns, factor in zip(lengths, factors, strict=True):
            # One factor for all kernels, and one for each, in turn.
            u[columns] += _between(FACTORS, factor if i % 2 else factors[0])
            u[columns] += SPREADS[i % len(SPREADS)] * each[columns]
        yield u, float(np.exp(_between(NOISES, noise))), f"point {i + 1}"


def _between(limits: Array, share: float) -> float:
    return float(limits[0] + share * (limits[1] - limits[0]))


@cache
def _points(dimensions: int) -> list[tuple[Array, Array]]:
    """Points of a Sobol' sequence inside of the unit cube, and as normal deviates.

    Scrambled, always in the same way: of the plain sequence the first points of many
    dimensions are alike.
    """
    # SciPy reads its numbers at their first use, and loses a Ctrl-C meanwhile; points
    # without them would stay for as long as the process lives.
    if not (qmc.Sobol(dimensions, scramble=False).random(2)[1] == 0.5).all():
        raise KeyboardInterrupt
    points = qmc.Sobol(dimensions, scramble=True, seed=0).random(MOST)
    points = np.clip(points, 1e-6, 1 - 1e-6)
    return list(zip(points, ndtri(points), strict=True))
