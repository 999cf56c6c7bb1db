# SPDX-License-Identifier: Apache-2.0
"""How sharp a lidar's sweeps are together, with and without deskewing, judged by frames of the trial run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nucleus_bridge.config import Config
from nucleus_bridge.errors import CloudError, TransformError
from nucleus_bridge.formats.content import LidarSweep, some_of
from nucleus_bridge.geometry.sharpness import DeskewEffect, deskew_effect, moved_to_own_time
from nucleus_bridge.model import FloatArray, Frame, Trajectory
from nucleus_bridge.render.cloud import lidar_sweeps

MOST_SWEEPS = 12
_MOST_POINTS = 10_000
_STILL_M = 0.5


@dataclass
class _Seen:
    deskewed: list[FloatArray] = field(default_factory=list)
    as_measured: list[FloatArray] = field(default_factory=list)


class TrialSharpness:
    """Looks at some frames of a trial run, evenly spread."""

    def __init__(self, config: Config, expected: int) -> None:
        """Take how many frames there will be, more or less."""
        self._config = config
        self._stride = max(1, -(-expected // MOST_SWEEPS))
        self._count = 0
        self._seen: dict[str, _Seen] = {}
        self._positions: list[FloatArray] = []

    def add(self, frame: Frame) -> None:
        """Take a frame."""
        self._count += 1
        self._positions.append(frame.world_from_device.translation)
        if self._count % self._stride:
            return
        try:
            sweeps = lidar_sweeps(frame, tuple(self._positions[0].tolist()), self._config, {})
        except CloudError:
            return  # the trial run counts it
        for sweep in sweeps:
            self._add(sweep, self._seen.setdefault(sweep.lidar, _Seen()))

    @staticmethod
    def _add(sweep: LidarSweep, seen: _Seen) -> None:
        points, poses = sweep.points, sweep.scene_from_lidar
        if len(points) > _MOST_POINTS:
            points = points.at(some_of(len(points), _MOST_POINTS))
        xyz = np.asarray(points.xyz, np.float64)
        if not isinstance(poses, Trajectory) or points.time_ns is None:
            seen.as_measured.append(xyz)
            return
        stamp_ns = int(np.clip(sweep.stamp_ns, poses.stamps_ns[0], poses.stamps_ns[-1]))
        try:
            as_measured = moved_to_own_time(xyz, points.time_ns, stamp_ns, poses, back=True)
        except TransformError:
            return
        seen.deskewed.append(xyz)
        seen.as_measured.append(as_measured)

    def results(self) -> dict[str, DeskewEffect]:
        """Say how thick walls and poles are, by lidar."""
        reach = float(np.ptp(np.array(self._positions), axis=0).max()) if self._positions else 0.0
        why = "" if reach > _STILL_M else "the device hardly moved"
        found = {}
        for lidar, seen in self._seen.items():
            no_times = "" if seen.deskewed else "nothing was deskewed: no point times, or no poses over the sweep"
            found[lidar] = deskew_effect(seen.deskewed, seen.as_measured, why or no_times)
        return found
