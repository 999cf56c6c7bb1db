# SPDX-License-Identifier: Apache-2.0
"""How the device moves, from the poses alone: speed, yaw rate, acceleration and the distance driven, on a fixed grid.

Each is a difference over a fifth of a second, so that poses ten times a second are enough. Where the pose jumps, which
is a correction and no motion, nothing is known.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nucleus_bridge.errors import TransformError
from nucleus_bridge.geometry import TransformTree, quaternion
from nucleus_bridge.model import FloatArray

GRID_NS = 50_000_000
REACH = 2
"""Differences are taken over so many steps of the grid to each side."""
LAG_NS = 2 * REACH * GRID_NS
"""A sample needs poses this much later."""
AHEAD_NS = 10_000_000_000
"""The grid begins this long before the first sweep."""
MAX_JUMP_M = 0.2
_KEEP_NS = 600_000_000_000
_FORWARD = np.array([1.0, 0.0, 0.0])


class Sample(NamedTuple):
    """How the device moves at a stamp: m/s, rad/s, m/s^2 and m driven so far; None where it is not known."""

    stamp_ns: int
    speed: float | None
    yaw_rate: float | None
    acceleration: float | None
    distance: float


class _Pose(NamedTuple):
    position: FloatArray
    yaw: float


class DeviceMotion:
    """Samples of the device's motion in the order of time."""

    def __init__(self, tree: TransformTree, world_frame: str, device_frame: str) -> None:
        self._tree = tree
        self._world, self._device = world_frame, device_frame
        self.restart()

    def restart(self) -> None:
        """Forget everything, after a step of the clock."""
        self._next_ns: int | None = None
        self._poses: dict[int, _Pose | None] = {}
        self._driven_m = 0.0
        self._stamps: list[int] = []
        self._distances: list[float] = []

    def begin(self, stamp_ns: int) -> None:
        """Begin the grid for a first sweep at a stamp; later ones change nothing."""
        if self._next_ns is None:
            self._next_ns = -(-(stamp_ns - AHEAD_NS) // GRID_NS) * GRID_NS

    def until(self, stamp_ns: int) -> Iterator[Sample]:
        """Yield the samples up to a stamp; all poses that they need must be there."""
        while self._next_ns is not None and self._next_ns <= stamp_ns:
            yield self._sample(self._next_ns)
            self._next_ns += GRID_NS

    def driven_m(self, stamp_ns: int) -> float | None:
        """Return the distance driven up to a stamp of the past ten minutes; None before the first sample."""
        place = bisect_right(self._stamps, stamp_ns)
        return self._distances[place - 1] if place else None

    def _sample(self, stamp_ns: int) -> Sample:
        step = REACH * GRID_NS
        before, here, after = (self._pose(stamp_ns + shift) for shift in (-step, 0, step))
        speed, yaw_rate = None, None
        if before is not None and after is not None and not self._jumps(stamp_ns - step, stamp_ns + step):
            speed = _length(after.position - before.position) / (2 * step * 1e-9)
            turn = math.remainder(after.yaw - before.yaw, math.tau)
            yaw_rate = turn / (2 * step * 1e-9)
        last = self._pose(stamp_ns - GRID_NS)
        if last is not None and here is not None and not self._jumps(stamp_ns - GRID_NS, stamp_ns):
            self._driven_m += _length(here.position - last.position)
        self._note(stamp_ns)
        acceleration = self._acceleration(stamp_ns)
        return Sample(stamp_ns, speed, yaw_rate, acceleration, self._driven_m)

    def _acceleration(self, stamp_ns: int) -> float | None:
        """Return the change of speed over the reach, speeds being taken over one step to each side."""
        step = REACH * GRID_NS
        far, before, after, beyond = (self._pose(stamp_ns + shift * step // 2) for shift in (-3, -1, 1, 3))
        if far is None or before is None or after is None or beyond is None:
            return None
        if self._jumps(stamp_ns - 3 * step // 2, stamp_ns + 3 * step // 2):
            return None
        first = _length(before.position - far.position) / (step * 1e-9)
        second = _length(beyond.position - after.position) / (step * 1e-9)
        return (second - first) / (2 * step * 1e-9)

    def _jumps(self, first_ns: int, last_ns: int) -> bool:
        try:
            return self._tree.largest_jump(self._world, self._device, first_ns, last_ns) > MAX_JUMP_M
        except TransformError:
            return True

    def _note(self, stamp_ns: int) -> None:
        self._stamps.append(stamp_ns)
        self._distances.append(self._driven_m)
        if self._stamps[-1] - self._stamps[0] > 2 * _KEEP_NS:
            cut = bisect_right(self._stamps, stamp_ns - _KEEP_NS)
            del self._stamps[:cut], self._distances[:cut]
        for old in [known for known in self._poses if known < stamp_ns - 2 * LAG_NS]:
            del self._poses[old]

    def _pose(self, stamp_ns: int) -> _Pose | None:
        if stamp_ns not in self._poses:
            self._poses[stamp_ns] = self._look_up(stamp_ns)
        return self._poses[stamp_ns]

    def _look_up(self, stamp_ns: int) -> _Pose | None:
        if stamp_ns <= 0:
            return None
        try:
            pose = self._tree.lookup(self._world, self._device, stamp_ns)
        except TransformError:
            return None
        ahead = quaternion.rotate(pose.rotation_xyzw, _FORWARD[None, :])[0]
        return _Pose(pose.translation, math.atan2(float(ahead[1]), float(ahead[0])))


def _length(step: FloatArray) -> float:
    return float(np.sqrt((step * step).sum()))
