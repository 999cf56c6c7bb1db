# SPDX-License-Identifier: Apache-2.0
"""Where on a device a lidar is, found from its points: seen from there they lie on rings."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.calibration.cloud_edges import above_ground
from nucleus_bridge.model import FloatArray

Array = NDArray[Any]

_MOST_POINTS, _FEWEST = 15_000, 300
_FARTHEST_M, _ABOVE_GROUND_M = 80.0, 0.4
_SECTORS = 48
_BIN_DEG = 0.1
_AHEAD_M = np.arange(-1.0, 3.01, 0.5)
_UP_M = np.arange(0.0, 3.01, 0.375)
_USUAL_M = np.array([0.0, 0.0, 1.5])
_BETTER = 1.15


def find_origin(points: Array) -> FloatArray:
    """Return about where in the device frame a lidar is; its usual place where no place makes clear rings.

    Args:
        points: Shape (n, 3), in the device frame.
    """
    near = points[np.abs(points).max(axis=1, initial=0.0) < _FARTHEST_M]
    if len(near) < _FEWEST:
        return _USUAL_M
    near = near[
        above_ground(near, np.array([0.0, 0.0, 1.0])) > _ABOVE_GROUND_M
    ]  # ground is one ring from anywhere on it
    if len(near) < _FEWEST:
        return _USUAL_M
    some = np.asarray(near[:: max(1, len(near) // _MOST_POINTS)], np.float64)
    usual = _crispness(some, _USUAL_M)
    places = [np.array([x, 0.0, z]) for x, z in itertools.product(_AHEAD_M, _UP_M)]
    best = max(places, key=lambda place: _crispness(some, place))
    for size in (0.2, 0.1, 0.05):
        steps = [best + size * np.array(step) for step in itertools.product((-1, 0, 1), repeat=3)]
        best = max(steps, key=lambda place: _crispness(some, place))
    return best if _crispness(some, best) > _BETTER * usual else _USUAL_M


def _crispness(points: FloatArray, place: FloatArray) -> float:
    """Return how likely two points of a sector are on one ring, as seen from a place."""
    x, y, z = (points - place).T
    sector = ((np.arctan2(y, x) + np.pi) * ((_SECTORS - 1e-6) / (2 * np.pi))).astype(np.int64)
    bins = ((np.degrees(np.arctan2(z, np.hypot(x, y))) + 90.0) / _BIN_DEG).astype(np.int64)
    size = round(180.0 / _BIN_DEG) + 2
    counts = np.bincount(sector * size + bins, minlength=_SECTORS * size).reshape(_SECTORS, size).astype(np.float64)
    totals = counts.sum(axis=1)
    return float(((counts * counts).sum(axis=1) / np.maximum(totals, 1.0)).sum() / max(totals.sum(), 1.0))
