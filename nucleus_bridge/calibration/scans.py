# SPDX-License-Identifier: Apache-2.0
"""What each lidar saw of a frame: its points and their edges, as seen from where it was when it saw them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.calibration.cloud_edges import CloudEdges, cloud_edges
from nucleus_bridge.calibration.origin import OriginSearch
from nucleus_bridge.formats.content import LidarSweep, Points, SceneFrame
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.model import FloatArray, Trajectory, Transform

Array = NDArray[Any]

_FARTHEST_M = 500.0
_SWEEP_S = 0.1
_IN_ORDER = 0.98
_ENOUGH_POINTS = 40_000  # of a lidar, to tell what is hidden
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class Scan:
    """What one lidar saw of a frame, in scene coordinates.

    Attributes:
        points: Shape (n, 3), its points, or enough of them to tell what they hide.
        edges: Their edges.
        origin: Shape (3,), about where it was.
    """

    points: Array
    edges: CloudEdges
    origin: FloatArray


class Scanner:
    """Finds the edges of the clouds of a scene's frames, which are given in their order.

    Where a scene does not say where its lidars were, they are looked for once: from there, points lie on rings. Points
    that were moved to one instant are moved back to their own for that, as far as their times are known.
    """

    def __init__(self, *, is_deskewed: bool = True) -> None:
        """Take whether points were moved to one instant."""
        self._is_deskewed = is_deskewed
        self._before: SceneFrame | None = None
        self._motion = np.zeros(3)
        self._places: dict[int, OriginSearch] = {}
        self._in_order: dict[int, bool] = {}
        self._last: tuple[SceneFrame | None, list[Scan]] = (None, [])

    def passed(self, frame: SceneFrame) -> None:
        """Take note of a frame: how the device moves is known from two."""
        if self._before is not None and self._is_deskewed:
            seconds = (frame.timestamp_ns - self._before.timestamp_ns) / 1e9
            if seconds > 0:
                self._motion = (frame.position - self._before.position) * min(1.0, _SWEEP_S / seconds)
        self._before = frame

    def new_scene(self) -> None:
        """Take note that another scene begins, of the same device."""
        self._before, self._motion = None, np.zeros(3)

    def of(self, frame: SceneFrame) -> list[Scan]:
        """Return what each lidar saw of the frame that was passed last; the frame has all of its points."""
        if self._last[0] is not frame:
            with np.errstate(all="ignore"):  # a damaged scene may say anything
                self._last = (frame, list(self._scans(frame)))
        return self._last[1]

    def found_in(self, frame: SceneFrame) -> list[Scan]:
        """Return what ``of`` found in a frame that was the last it was asked for; nothing in others."""
        return self._last[1] if self._last[0] is frame else []

    def _scans(self, frame: SceneFrame) -> Iterator[Scan]:
        if frame.sweeps:
            up = quaternion.rotate(frame.heading_xyzw, _UP)
            yield from (_scan_of(sweep, up) for sweep in frame.sweeps)
            return
        device = frame.points.device
        numbers = [0] if device is None else np.unique(device).tolist()
        for number in numbers:
            points = frame.points.at(device == number) if device is not None and len(numbers) > 1 else frame.points
            yield self._scan(points, number, frame)

    def _scan(self, points: Points, number: int, frame: SceneFrame) -> Scan:
        """Find the edges of the points of a lidar that is somewhere on the device."""
        turn = quaternion.to_matrix(frame.heading_xyzw)
        away = (np.asarray(points.xyz).T - frame.position[:, None]).astype(np.float32)
        local = (turn.T.astype(np.float32) @ away).T  # column by column in memory, as are all that come of it
        rows = _near(local)
        if len(rows) < len(local):
            points, local = points.at(rows), local[rows]
        motion = (self._motion @ turn).astype(np.float32)
        moved = (motion[:, None] * self._shares(points, local, number)).T if motion.any() else np.zeros_like(local)
        seen = local - moved
        place = self._places.setdefault(number, OriginSearch()).place(seen)
        edges = cloud_edges(seen - place.astype(np.float32), _UP)
        at = edges.points + place + moved[edges.numbers]
        return Scan(
            _enough(local) @ turn.T + frame.position,
            replace(edges, points=at @ turn.T + frame.position, across=edges.across @ turn.T),
            turn @ place + frame.position,
        )

    def _shares(self, points: Points, local: Array, number: int) -> Array:
        """Return when in the sweep each point was measured, 0 to 1; the middle where nothing says so."""
        if points.time_ns is not None and len(points):
            after = (points.time_ns - points.time_ns.min()).astype(np.float32)
            return np.asarray(after / max(1.0, float(after.max())))
        if number not in self._in_order:
            self._in_order[number] = _is_in_order(local)
        count = len(points)
        return np.linspace(0.0, 1.0, count, dtype=np.float32) if self._in_order[number] else np.full(count, 0.5)


def _scan_of(sweep: LidarSweep, up: FloatArray) -> Scan:
    """Find the edges of a sweep whose lidar's pose is known, as seen from where it was in the middle of it."""
    pose = sweep.scene_from_lidar
    if isinstance(pose, Trajectory):
        middle = len(pose.stamps_ns) // 2
        pose = Transform(pose.translations[middle], pose.rotations_xyzw[middle])
    turn = quaternion.to_matrix(pose.rotation_xyzw)
    points = np.asarray(sweep.points.xyz)
    local = (points - pose.translation) @ turn
    rows = _near(local)
    if len(rows) < len(local):
        points, local = points[rows], local[rows]
    edges = cloud_edges(local, up @ turn)
    at = edges.points @ turn.T + pose.translation
    return Scan(_enough(points), replace(edges, points=at, across=edges.across @ turn.T), pose.translation)


def _enough(points: Array) -> Array:
    return points[:: max(1, len(points) // _ENOUGH_POINTS)]


def _is_in_order(local: Array) -> bool:
    """Whether points stand in the order in which a turning lidar measured them."""
    some = local[:: max(1, len(local) // 20_000)].astype(np.float64)
    if len(some) < 3:
        return False
    turned = np.unwrap(np.arctan2(some[:, 1], some[:, 0]))
    return abs(float(np.corrcoef(np.arange(len(some)), turned)[0, 1])) > _IN_ORDER


def _near(local: Array) -> Array:
    """Return which points are not too far away to be real, nor NaN."""
    return np.flatnonzero((local * local) @ np.ones(3, local.dtype) < _FARTHEST_M * _FARTHEST_M)
