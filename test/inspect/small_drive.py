# SPDX-License-Identifier: Apache-2.0
"""Small consistent drives inside a round wall, with a turning lidar and cameras, whose parts a test can bend."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from bags import MS, OPTICAL, START_NS, TYPES, UNIT, Recording, compressed, header, info, jpeg, transforms

S = 1_000 * MS
WALL_M = 70.0
UNITS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}
FLOATS = {"f4": 7, "f8": 8, "u4": 6, "i4": 5, "u2": 4}


def same(stamp_ns: int) -> int:
    return stamp_ns


Clock = Callable[[int], int]


@dataclass(frozen=True)
class Lidar:
    """A turning lidar. ``reference``: stamp, start, end or absolute; ``moment`` is what its stamp marks."""

    topic: str = "/os/cloud"
    frame: str = "os_lidar"
    mount: tuple[float, float, float] = (0.6, 0.2, 1.9)
    yaw: float = 0.0
    rate: float = 10.0
    columns: int = 60
    rings: int = 6
    delay_ms: float = 8.0
    clock: Clock = same
    time: str = "t"
    dtype: str = "u4"
    unit: str = "ns"
    reference: str = "stamp"
    moment: str = "start"
    parts: int = 1
    deskewed: bool = False
    stops_at: int = 1 << 30
    per_metre: float = 1.0
    wall: tuple[float, float] | None = None
    is_left_handed: bool = False
    turns: bool = True
    sends: Callable[[int], bool] = lambda _true: True
    bend: Callable[[np.ndarray], np.ndarray] = field(default=lambda values: values)


@dataclass(frozen=True)
class Camera:
    """A camera of 64 x 48 pixels."""

    topic: str = "/front/image_raw/compressed"
    info_topic: str = "/front/camera_info"
    frame: str = "front_optical"
    mount: tuple[float, float, float] = (1.2, 0.0, 1.3)
    rotation: tuple[float, ...] = OPTICAL
    rate: float = 10.0
    phase_ms: float = 20.0
    delay_ms: float = 12.0
    clock: Clock = same
    sends: Callable[[int], bool] = lambda _true: True
    image: Callable[[int, int], Any] | None = None
    info: Callable[[int], Any] | None = None


@dataclass(frozen=True)
class Tf:
    """Transforms of the device."""

    topic: str = "/tf"
    parent: str = "odom"
    child: str = "base_link"
    rate: float = 50.0
    delay_ms: float = 3.0
    clock: Clock = same
    aside: tuple[float, float, float] = (0.0, 0.0, 0.0)
    phase_ms: float = 0.0


@dataclass(frozen=True)
class SmallDrive:
    """A vehicle on a circle about the origin; every part can be replaced or left out (None)."""

    seconds: float = 1.6
    speed: float = 9.0
    yaw_rate: float = 0.3
    lidars: tuple[Lidar, ...] = (Lidar(),)
    cameras: tuple[Camera, ...] = (Camera(),)
    tf: tuple[Tf, ...] = (Tf(),)
    static_topic: str | None = "/tf_static"
    log: Clock = same
    more: Callable[[SmallDrive, Recording], None] | None = None

    def but(self, **changes: Any) -> SmallDrive:
        return replace(self, **changes)

    def pose(self, at: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
        """Position (n, 3) and yaw (n,) at true times, ns."""
        seconds = (np.atleast_1d(at) - START_NS) / 1e9
        yaw = 0.4 + self.yaw_rate * seconds
        radius = self.speed / self.yaw_rate
        return np.stack([radius * np.sin(yaw), -radius * np.cos(yaw), np.zeros_like(yaw)], axis=1), yaw

    def times(self, rate: float, before_s: float = 0.0, after_s: float = 0.0) -> range:
        step = round(S / rate)
        return range(START_NS - round(before_s * rate) * step, START_NS + round((self.seconds + after_s) * S), step)

    def write(self, folder: Path, storage: str = "mcap") -> Path:
        made = Recording()
        for tf in self.tf:
            self._add_tf(made, tf)
        if self.static_topic:
            made.add(self.static_topic, transforms(*self.mounts()), START_NS - 900 * MS)
        for lidar in self.lidars:
            self._add_lidar(made, lidar)
        for camera in self.cameras:
            self._add_camera(made, camera)
        if self.more:
            self.more(self, made)
        return made.write(folder / "bag", storage, self.log)

    def mounts(self) -> list[Any]:
        half = [(0.0, 0.0, math.sin(lidar.yaw / 2), math.cos(lidar.yaw / 2)) for lidar in self.lidars]
        rows = [("base_link", x.frame, START_NS, x.mount, q) for x, q in zip(self.lidars, half, strict=True)]
        return rows + [("base_link", x.frame, START_NS, x.mount, x.rotation) for x in self.cameras]

    def _add_tf(self, made: Recording, tf: Tf) -> None:
        for at in self.times(tf.rate, 0.8, 1.0):
            true = at + round(tf.phase_ms * MS)
            (place,), (yaw,) = self.pose(true)
            rotation = (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
            row = (tf.parent, tf.child, tf.clock(true), tuple(place + tf.aside), rotation)
            made.add(tf.topic, transforms(row), true + round(tf.delay_ms * MS))

    def sweep(self, lidar: Lidar, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """One turn: true times (n,), points in the lidar (n, 3), in the world (n, 3), ring (n,)."""
        period = round(S / lidar.rate)
        column, ring = np.divmod(np.arange(lidar.columns * lidar.rings), lidar.rings)
        at = start + column * period // lidar.columns
        place, yaw = self.pose(at)
        cos, sin = np.cos(yaw), np.sin(yaw)
        mx, my, mz = lidar.mount
        origin = place + np.stack([cos * mx - sin * my, sin * mx + cos * my, np.full(len(at), mz)], axis=1)
        azimuth = -2 * np.pi * column / lidar.columns
        elevation = np.radians(np.linspace(-12, 8, lidar.rings))[ring]
        if not lidar.turns:  # a rosette ahead that comes back to each direction many times
            phase = 2 * np.pi * np.arange(len(at)) / len(at) + start / S
            azimuth = 0.55 * np.cos(29 * phase) * np.cos(3 * phase)
            elevation = 0.18 * np.sin(29 * phase) * np.cos(4 * phase) - 0.03
        heading = azimuth + yaw + lidar.yaw
        level = np.stack([np.cos(heading), np.sin(heading)], axis=1)
        # a wall around the middle of the drive's circle would hide every error that is a turn about it
        beside = origin[:, :2] - (lidar.wall or ((0.0, 0.0) if lidar.turns else (20.0, -12.0)))
        along = (beside * level).sum(axis=1)
        wall = -along + np.sqrt(along**2 + WALL_M**2 - (beside**2).sum(axis=1))
        ground = np.where(elevation < 0, mz / np.tan(np.maximum(-elevation, 1e-9)), np.inf)
        flat = np.minimum(wall, ground)
        # nothing real is so round that each sweep is the one before
        across, ahead = (beside + level * flat[:, None]).T
        flat = flat + 3e-4 * np.sin(5.0 * np.arctan2(ahead, across))
        rays = np.stack([np.cos(azimuth), np.sin(azimuth), np.tan(elevation)], axis=1)
        world = origin + np.stack([level[:, 0], level[:, 1], np.tan(elevation)], axis=1) * flat[:, None]
        return at, rays * flat[:, None], world, ring

    def _in_lidar(self, lidar: Lidar, world: np.ndarray, at: int) -> np.ndarray:
        (place,), (yaw,) = self.pose(at)
        cos, sin = math.cos(yaw), math.sin(yaw)
        body = (world - place) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        cos, sin = math.cos(lidar.yaw), math.sin(lidar.yaw)
        return np.asarray((body - lidar.mount) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]))

    def _add_lidar(self, made: Recording, lidar: Lidar) -> None:
        period = round(S / lidar.rate)
        for number, start in enumerate(self.times(lidar.rate)):
            if not lidar.sends(start):
                continue
            seen_ns = min(number, lidar.stops_at) * period - number * period
            at, local, world, ring = self.sweep(lidar, start + seen_ns)
            at = at - seen_ns
            size = len(at) // lidar.parts
            for part in range(lidar.parts):
                rows = slice(part * size, (part + 1) * size)
                begin, span = int(at[rows][0]), int(at[rows][-1] - at[rows][0])
                marked = begin + {"start": 0, "middle": span // 2, "end": span}[lidar.moment]
                stamp = lidar.clock(marked)
                points = self._in_lidar(lidar, world[rows], marked) if lidar.deskewed else local[rows]
                zero = {"stamp": stamp, "start": lidar.clock(begin), "end": lidar.clock(begin + span), "absolute": 0}
                shown = at[rows] + (lidar.clock(begin) - begin) - zero[lidar.reference]
                values = lidar.bend((shown / UNITS[lidar.unit]).astype("f8"))
                message = cloud(
                    stamp,
                    lidar.frame,
                    lidar.per_metre * points * ([1, -1, 1] if lidar.is_left_handed else [1, 1, 1]),
                    ring[rows],
                    lidar,
                    values,
                )
                made.add(lidar.topic, message, begin + period // lidar.parts + round(lidar.delay_ms * MS))

    def _add_camera(self, made: Recording, camera: Camera) -> None:
        for number, at in enumerate(self.times(camera.rate)):
            true = at + round(camera.phase_ms * MS)
            if not camera.sends(true):
                continue
            log = true + round(camera.delay_ms * MS)
            stamp = camera.clock(true)
            image = camera.image(stamp, number) if camera.image else compressed(stamp, jpeg(shift=number), camera.frame)
            made.add(camera.topic, image, log)
            made.add(camera.info_topic, camera.info(stamp) if camera.info else info(stamp, camera.frame), log)


def cloud(stamp: int, frame: str, points: np.ndarray, ring: np.ndarray, lidar: Lidar, values: np.ndarray) -> Any:
    """A PointCloud2 with x, y, z, intensity, ring and, unless the lidar has none, a time."""
    columns = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2")]
    columns += [(lidar.time, f"<{lidar.dtype}")] if lidar.time else []
    rows = np.zeros(len(points), columns)
    rows["x"], rows["y"], rows["z"] = points.T
    rows["intensity"], rows["ring"] = 80.0, ring
    if lidar.time:
        with np.errstate(invalid="ignore"):
            rows[lidar.time] = values.astype(np.int64) if lidar.dtype[0] in "ui" else values
    field_type = TYPES.types["sensor_msgs/msg/PointField"]
    fields = [
        field_type(name, int(rows.dtype.fields[name][1]), FLOATS[kind[1:]], 1)  # type: ignore[index]
        for name, kind in columns
    ]
    step = rows.dtype.itemsize
    data = np.frombuffer(rows.tobytes(), np.uint8)
    return TYPES.types["sensor_msgs/msg/PointCloud2"](
        header(stamp, frame), 1, len(rows), fields, False, step, step * len(rows), data, True
    )


__all__ = ["UNIT", "Camera", "Lidar", "SmallDrive", "Tf", "cloud"]
