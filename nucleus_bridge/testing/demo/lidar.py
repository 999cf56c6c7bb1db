# SPDX-License-Identifier: Apache-2.0
"""The spinning lidars: where they sit, how they scan, and the sweeps they measure along the drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.testing.demo.course import map_from_base_at
from nucleus_bridge.testing.demo.ground import build_ground
from nucleus_bridge.testing.demo.layouts import LAYOUTS, Layout, Returns
from nucleus_bridge.testing.demo.options import DriveOptions
from nucleus_bridge.testing.demo.raycast import first_hits
from nucleus_bridge.testing.demo.rigid import FloatArray, Pose, mounted
from nucleus_bridge.testing.demo.world import build_world

PERIOD_NS = 100_000_000
_ELEVATIONS_DEG = (-25.0, 8.0)


@dataclass(frozen=True, eq=False)
class LidarMount:
    """One lidar: its name, where it sits, and how long after the start of the drive its first sweep begins."""

    name: str
    base_from_lidar: Pose
    phase_ns: int

    @property
    def frame_id(self) -> str:
        """Return the frame its points are in."""
        return f"lidar_{self.name}"

    @property
    def topic(self) -> str:
        """Return the topic its sweeps are on."""
        return f"/lidar/{self.name}/points"


LIDARS = (
    LidarMount("top", mounted(1.10, 0.0, 1.72, pitch_deg=0.6, yaw_deg=-1.2), 0),
    LidarMount("left", mounted(1.60, 0.95, 0.95, roll_deg=-14.0, yaw_deg=90.0), 23_700_000),
    LidarMount("right", mounted(1.60, -0.95, 0.95, roll_deg=14.0, yaw_deg=-90.0), 61_300_000),
)


class SpinningLidar:
    """Measures sweeps of the demo world in one driver's layout."""

    def __init__(self, mount: LidarMount, options: DriveOptions) -> None:
        self.mount = mount
        self.layout: Layout = LAYOUTS[options.driver]
        self._options = options
        self._index = LIDARS.index(mount)
        rings = rings_for(options.points)
        columns = max(1, round(options.points / rings))
        self._fired_ns = np.arange(columns, dtype=np.int64) * PERIOD_NS // columns
        self._azimuth = np.pi - 2 * np.pi * np.arange(columns) / columns  # clockwise from the rear
        self._elevation = np.radians(np.linspace(*_ELEVATIONS_DEG, rings))
        level = np.cos(self._elevation)
        self._rays = np.stack(
            [
                np.multiply.outer(np.cos(self._azimuth), level),
                np.multiply.outer(np.sin(self._azimuth), level),
                np.broadcast_to(np.sin(self._elevation), (columns, rings)),
            ],
            axis=-1,
        )

    def stamps_ns(self) -> NDArray[np.int64]:
        """Return the starts of all sweeps."""
        first = self._options.start_ns + self.mount.phase_ns
        return first + np.arange(self._options.ticks, dtype=np.int64) * PERIOD_NS

    def end_ns(self, stamp_ns: int) -> int:
        """Return when the last column of the sweep that starts at ``stamp_ns`` is fired."""
        return stamp_ns + int(self._fired_ns[-1])

    def sweep(self, index: int) -> NDArray[np.void]:
        """Return sweep ``index`` as (height, width) points, each seen from where the lidar was at its own time."""
        stamp_ns = self._options.start_ns + self.mount.phase_ns + index * PERIOD_NS
        stored = self.layout.time.store(self._fired_ns, stamp_ns)
        since_s = self.layout.time.since_stamp_s(stored, stamp_ns)
        since_start_s = (stamp_ns - self._options.start_ns) * 1e-9 + since_s
        map_from_lidar = map_from_base_at(since_start_s, self._options) @ self.mount.base_from_lidar
        directions: FloatArray = self._rays @ map_from_lidar.matrix.swapaxes(-1, -2)
        world, ground = build_world(self._options.course), build_ground(self._options.course)
        distance, intensity = first_hits(map_from_lidar.translation, directions, world, ground)
        if self._options.range_noise_m > 0.0:
            noise = np.random.default_rng([self._options.seed, self._index, index])
            distance = distance + noise.normal(0.0, self._options.range_noise_m, distance.shape)
        reached = np.where(np.isfinite(distance), distance, 0.0)
        return self.layout.fill(
            Returns(
                xyz=self._rays * reached[..., None],
                distance=distance,
                intensity=intensity,
                azimuth=self._azimuth[:, None],
                elevation=self._elevation[None, :],
                ring=np.arange(self._elevation.size)[None, :],
                stored_time=stored[:, None],
            )
        )


def rings_for(points: int) -> int:
    """Return how many lasers a lidar of about ``points`` rays a sweep has."""
    return next((rings for limit, rings in ((16_000, 16), (60_000, 32), (150_000, 64)) if points <= limit), 128)
