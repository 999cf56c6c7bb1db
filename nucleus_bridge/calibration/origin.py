# SPDX-License-Identifier: Apache-2.0
"""Where on a device a lidar is, found from its points: as seen from there they lie on rings."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.calibration.cloud_edges import above_ground
from nucleus_bridge.model import FloatArray

Array = NDArray[Any]

_MOST_FRAMES = 3
_MOST_POINTS, _FEWEST = 8_000, 300
_FARTHEST_M, _ABOVE_GROUND_M = 80.0, 0.4
_SECTORS = 48
_BIN_DEG, _STEEPEST_DEG = 0.1, 50.0
_STEEPEST, _BINS = np.float32(np.radians(_STEEPEST_DEG)), round(2 * _STEEPEST_DEG / _BIN_DEG) + 2
_AHEAD_M = np.arange(-1.0, 3.01, 0.5)
_UP_M = np.arange(0.0, 3.01, 0.25)
_STARTS = 3
_LEAST_M, _MOST_M = np.array([-1.5, -1.2, -0.3]), np.array([3.5, 1.2, 3.3])
"""Where lidars may be: elsewhere, chance makes rings."""
_SIZES_M = (0.25, 0.12, 0.06, 0.03)
_MOST_STEPS = 12
_WAYS = np.array([*np.eye(3), *-np.eye(3), *([x, 0.0, z] for x in (-1.0, 1.0) for z in (-1.0, 1.0))])
"""Along the axes, and up or down while ahead or back: these replace each other, so rings stay nearly as clear."""
USUAL_M = np.array([0.0, 0.0, 1.5])
"""Where a lidar is taken to be on a device when its points do not say."""
_BETTER = 1.15
_UP = np.array([0.0, 0.0, 1.0])


class OriginSearch:
    """Finds about where in the device frame a lidar is, from the points of a few frames, the first ones to be had."""

    def __init__(self) -> None:
        self._frames: list[Array] = []
        self._tried = 0
        self._place: FloatArray | None = None

    def place(self, points: Array) -> FloatArray:
        """Return where the lidar is, known better by the points of one more frame; its usual place if nothing says.

        Args:
            points: Shape (n, 3), in the device frame, each as seen from where the device was at its own time.
        """
        if self._tried < _MOST_FRAMES:
            self._tried += 1
            some = _telling(points)
            if some is not None:
                self._frames.append(some)
                self._place = _search(self._frames) if self._place is None else _refined(self._frames, self._place)
        return USUAL_M if self._place is None else self._place


def _telling(points: Array) -> Array | None:
    """Return some of the points, none of the ground, which is one ring from anywhere on it; None where few are left."""
    near = points[np.abs(points).max(axis=1, initial=0.0) < _FARTHEST_M]
    if len(near) < _FEWEST:
        return None
    near = near[above_ground(near, _UP) > _ABOVE_GROUND_M]
    if len(near) < _FEWEST:
        return None
    return np.asarray(near[:: max(1, len(near) // _MOST_POINTS)], np.float32, order="F")


def _search(frames: Sequence[Array]) -> FloatArray | None:
    # Rings are clear within a few centimetres of the right place alone: several starts, since a grid steps over it.
    places = [np.array([x, 0.0, z]) for x, z in itertools.product(_AHEAD_M, _UP_M)]
    thin = [frame[::2] for frame in frames]
    places.sort(key=lambda place: -_crispness(thin, place))
    found = [_climbed(frames, place, _SIZES_M) for place in places[:_STARTS]]
    best, crispness = max(found, key=lambda one: one[1])
    return best if crispness > _BETTER * _crispness(frames, USUAL_M) else None


def _refined(frames: Sequence[Array], place: FloatArray) -> FloatArray:
    return _climbed(frames, place, _SIZES_M[1:])[0]


def _climbed(frames: Sequence[Array], place: FloatArray, sizes: Sequence[float]) -> tuple[FloatArray, float]:
    """Go to where rings are clearest, in ever smaller steps; return how clear they are there."""
    best = _crispness(frames, place)
    for size in sizes:
        for _ in range(_MOST_STEPS):
            steps = place + size * _WAYS
            steps = steps[((steps >= _LEAST_M) & (steps <= _MOST_M)).all(axis=1)]
            scores = [_crispness(frames, step) for step in steps]
            top = int(np.argmax(scores))
            if scores[top] <= best:
                break
            place, best = steps[top], scores[top]
    return place, best


def _crispness(frames: Sequence[Array], place: FloatArray) -> float:
    """Return how likely two points of a frame's sector are on one ring, as seen from a place; a sum over frames."""
    return sum(_crispness_of(points, place) for points in frames)


def _crispness_of(points: Array, place: FloatArray) -> float:
    x, y, z = (points - place.astype(np.float32)).T
    sector = (cv2.phase(x, y).ravel() * np.float32((_SECTORS - 1e-3) / (2 * np.pi))).astype(np.int64)
    elevation = np.arctan2(z, np.sqrt(x * x + y * y))
    np.clip(elevation, -_STEEPEST, _STEEPEST, out=elevation)
    elevation += _STEEPEST
    elevation *= np.float32(1.0 / np.radians(_BIN_DEG))
    places = sector * _BINS
    places += elevation.astype(np.int64)
    counts, totals = np.bincount(places), np.bincount(sector, minlength=_SECTORS)
    alike = np.bincount(sector, counts[places], _SECTORS)  # each point with those on its ring
    return float((alike / np.maximum(totals, 1)).sum() / max(len(places), 1))
