# SPDX-License-Identifier: Apache-2.0
"""How sharp a scene's clouds are together, with and without deskewing, as far as the scene tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleus_bridge.formats.content import SceneFrame, some_of
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.geometry.sharpness import LEAST_SWEEPS, DeskewEffect, deskew_effect, moved_to_own_time
from nucleus_bridge.model import FloatArray, IntArray, Trajectory

MOST_POINTS = 10_000
"""Points of a frame that are measured."""
_STILL_M = 0.5


@dataclass(frozen=True, eq=False)
class _Sweep:
    stamp_ns: int
    points: FloatArray
    time_ns: IntArray | None


class DeskewCheck:
    """Measures frames of a scene, given one after the other; those that are measured have all of their points."""

    def __init__(self, scene: SceneReader) -> None:
        lidars = [sensor for sensor in scene.manifest.sensors.values() if sensor.get("kind") == "lidar"]
        self._is_deskewed = any(sensor.get("deskewed") for sensor in lidars)
        self._poses: list[tuple[int, FloatArray, FloatArray]] = []
        self._sweeps: list[_Sweep] = []

    def add(self, frame: SceneFrame, *, measured: bool) -> None:
        """Take a frame."""
        self._poses.append((frame.timestamp_ns, frame.position, frame.heading_xyzw))
        if not measured or not len(frame.points):
            return
        points = frame.points
        if len(points) > MOST_POINTS:
            points = points.at(some_of(len(points), MOST_POINTS))
        self._sweeps.append(_Sweep(frame.timestamp_ns, np.asarray(points.xyz, np.float64), points.time_ns))

    def results(self) -> DeskewEffect:
        """Say how thick walls and poles are."""
        if len(self._sweeps) < LEAST_SWEEPS:
            return deskew_effect([sweep.points for sweep in self._sweeps], [], "")
        track = np.array([position for _, position, _ in self._poses])
        why = "" if float(np.ptp(track, axis=0).max()) > _STILL_M else "the device hardly moved"
        moved = self._moved()
        if moved is None:
            why = why or "the scene has no point times (point_fields: time)"
            given = [sweep.points for sweep in self._sweeps]
            return deskew_effect(given, [], why) if self._is_deskewed else deskew_effect([], given, why)
        before, after = ([pair[side] for pair in moved] for side in (0, 1))
        return deskew_effect(before, after, why) if self._is_deskewed else deskew_effect(after, before, why)

    def _moved(self) -> list[tuple[FloatArray, FloatArray]] | None:
        """Return each sweep's points at whose time the pose is known, as they are and the other way; None without."""
        stamps, positions, headings = zip(*sorted(self._poses, key=lambda pose: pose[0]), strict=True)
        poses = Trajectory(np.array(stamps, np.int64), np.array(positions), np.array(headings))
        moved = []
        for sweep in self._sweeps:
            if sweep.time_ns is None:
                return None
            known = (sweep.time_ns >= stamps[0]) & (sweep.time_ns <= stamps[-1]) & np.isfinite(sweep.points).all(axis=1)
            points, times = sweep.points[known], sweep.time_ns[known]
            if len(points):
                other = moved_to_own_time(points, times, sweep.stamp_ns, poses, back=self._is_deskewed)
                moved.append((points, other))
        return moved if len(moved) >= LEAST_SWEEPS else None
