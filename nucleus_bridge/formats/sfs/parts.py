# SPDX-License-Identifier: Apache-2.0
"""A frame on its way into a scene file: its arrays in a file of their own, and what the header will say of them.

A scene file begins with what is known only at its end, the place of every array. So frames wait in files of the open
scene, which hold the arrays as the scene file will, but for point times: what these count from is known at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import ImageError, InputError
from nucleus_bridge.formats.content import LidarSweep, Points, SceneFrame, SceneImage
from nucleus_bridge.formats.interface import FramePart, OpenFolder, SceneStart
from nucleus_bridge.geometry.quaternion import conjugate, multiply, rotate
from nucleus_bridge.geometry.transforms import interpolate
from nucleus_bridge.geometry.voxels import first_in_voxels
from nucleus_bridge.image_header import FileHeader, read_file_header
from nucleus_bridge.model import Detections, GpsPose, RadarPoints, Trajectory, Transform

INTENSITY_STEPS = 255
VOXEL_POINTS = "voxel_points"
_POSE_STEP_NS = 10_000_000
"""A lidar's poses are kept at this spacing: Scale interpolates between them."""


@dataclass(frozen=True)
class Column:
    """An array of a part's file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Its size in the part's file."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, eq=False)
class Share:
    """One sensor's share of a frame.

    Attributes:
        sensor: Its name.
        kind: What it is.
        stamp_ns: Of the sweep or scan.
        first_ns: Time of its first point, where points have times; the stamp otherwise.
        last_ns: Time of its last point, likewise.
        columns: Its arrays.
        poses: Where the sensor was: scene from sensor.
    """

    sensor: str
    kind: Literal["lidar", "radar"]
    stamp_ns: int
    first_ns: int
    last_ns: int
    columns: tuple[Column, ...]
    poses: Trajectory

    @property
    def begin_ns(self) -> int:
        """What becomes its frame's stamp, which no point may precede."""
        return min(self.stamp_ns, self.first_ns)


@dataclass(frozen=True, eq=False)
class FrameEntry:
    """What the scene file will say of a frame.

    Attributes:
        number: Its number.
        timestamp_ns: Start of the rotation.
        device: Where the device was then: scene from device.
        gps: Pose on the globe, or None.
        path: The file that its arrays wait in.
        shares: Of lidars and radars.
        images: With their files' paths.
        headers: Kind and size of each image's file.
        sizes: Bytes of each image's file.
        detections: Recorded ones.
    """

    number: int
    timestamp_ns: int
    device: Transform
    gps: GpsPose | None
    path: str
    shares: tuple[Share, ...]
    images: tuple[SceneImage, ...]
    headers: tuple[FileHeader, ...]
    sizes: tuple[int, ...]
    detections: tuple[Detections, ...] = ()


@dataclass
class _Arrays:
    """Arrays that are put one behind the other."""

    buffers: list[memoryview] = field(default_factory=list)
    end: int = 0

    def add(self, arrays: Mapping[str, NDArray[Any] | None]) -> tuple[Column, ...]:
        columns = []
        for name, array in arrays.items():
            if array is None:
                continue
            ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            columns.append(Column(name, array.dtype.name, array.shape, self.end))
            if ordered.nbytes:
                self.buffers.append(ordered.reshape(-1).view(np.uint8).data)
            self.end += ordered.nbytes
        return tuple(columns)


def write_part(start: SceneStart, frame: SceneFrame, folder: OpenFolder) -> FramePart:
    """Write a frame's arrays.

    Raises:
        InputError: An image's file is not whole.
    """
    arrays = _Arrays()
    voxel_m = float(start.options.get("voxel_m", 0.0))
    left_out: dict[str, dict[str, int]] = {}
    shares = []
    for sweep in _sweeps(start, frame):
        thinned = _thinned(sweep, voxel_m)
        if lost := len(sweep.points) - len(thinned.points):
            left_out[_owner(sweep, frame)] = {VOXEL_POINTS: lost}
        shares.append(_lidar_share(thinned, arrays))
    shares += [_radar_share(radar, frame, arrays) for radar in frame.radars]
    record = folder.write(f"{frame.number:06d}.arrays", arrays.buffers)
    headers, sizes = [], []
    for image in frame.images:
        content = (folder.folder / image.path).read_bytes()
        headers.append(_header(image, content))
        sizes.append(len(content))
    entry = FrameEntry(
        frame.number,
        frame.timestamp_ns,
        Transform(frame.position, frame.heading_xyzw),
        frame.gps,
        record.path,
        tuple(shares),
        tuple(frame.images),
        tuple(headers),
        tuple(sizes),
        tuple(frame.detections),
    )
    return FramePart((record,), entry, left_out)


def _sweeps(start: SceneStart, frame: SceneFrame) -> Iterable[LidarSweep]:
    """Return what becomes a frame of a lidar each: every lidar's sweep, or one of all points at the device's pose."""
    asked = frame.points
    device = Transform(frame.position, frame.heading_xyzw)
    if not frame.sweeps:
        return [LidarSweep(start.cloud_sensor, 0, frame.timestamp_ns, device, asked)]
    hidden: dict[str, Any] = {name: None for name in ("device", "is_ground") if getattr(asked, name) is None}
    parts = [replace(sweep.points, **hidden) for sweep in frame.sweeps]
    if start.options.get("lidars", "separate") == "separate":
        return [
            replace(sweep, points=replace(part, device=None)) for sweep, part in zip(frame.sweeps, parts, strict=True)
        ]
    merged = _joined(parts)
    return [LidarSweep(start.cloud_sensor, 0, frame.timestamp_ns, _device_path(frame, device, merged), merged)]


def _device_path(frame: SceneFrame, device: Transform, merged: Points) -> Transform | Trajectory:
    """Return where the device was at the frame's stamp, and at its first point where that is earlier.

    That is known from a lidar whose poses reach over both: it moved as the device did.
    """
    stamp_ns = frame.timestamp_ns
    first_ns = stamp_ns if merged.time_ns is None or not len(merged) else min(stamp_ns, int(merged.time_ns.min()))
    if first_ns == stamp_ns:
        return device
    stamps = np.array([first_ns, stamp_ns], np.int64)
    xyz, turn = device.translation, device.rotation_xyzw
    found = Trajectory(stamps, np.stack([xyz, xyz]), np.stack([turn, turn]))
    for sweep in frame.sweeps:
        path = sweep.scene_from_lidar
        if isinstance(path, Trajectory) and path.stamps_ns[0] <= first_ns and stamp_ns <= path.stamps_ns[-1]:
            at = interpolate(path, stamps)
            back = conjugate(at.rotations_xyzw[1])
            mount_xyz, mount_turn = rotate(back, xyz - at.translations[1]), multiply(back, turn)
            before = at.translations[0] + rotate(at.rotations_xyzw[0], mount_xyz)
            turned = multiply(at.rotations_xyzw[0], mount_turn)
            found = Trajectory(stamps, np.stack([before, xyz]), np.stack([turned, turn]))
            break
    return found


def _joined(parts: Sequence[Points]) -> Points:
    """Put points together, with the columns that all parts have."""
    columns = [part.columns() for part in parts]
    common = [name for name in columns[0] if all(name in other for other in columns)]
    return Points(**{name: np.concatenate([column[name] for column in columns]) for name in common})


def _owner(sweep: LidarSweep, frame: SceneFrame) -> str:
    """Return the lidar whose loss it is: of a merged cloud the first one's."""
    own = [other.lidar for other in frame.sweeps]
    return sweep.lidar if sweep.lidar in own or not own else own[0]


def _thinned(sweep: LidarSweep, voxel_m: float) -> LidarSweep:
    if voxel_m <= 0.0:
        return sweep
    xyz = np.asarray(sweep.points.xyz, np.float64)
    return replace(sweep, points=sweep.points.at(first_in_voxels(xyz, voxel_m)))


def _lidar_share(sweep: LidarSweep, arrays: _Arrays) -> Share:
    points = sweep.points
    times = points.time_ns if len(points) else None  # Scale takes an empty list of times for one that begins at 0
    columns = arrays.add({
        "positions": np.asarray(points.xyz, np.float32),
        "intensities": _in_steps(points.intensity),
        "timestamps": times,
        "is_ground": None if points.is_ground is None else points.is_ground.astype(np.uint8),
        "device": points.device,
    })  # fmt: skip
    first_ns, last_ns = (sweep.stamp_ns,) * 2 if times is None else (int(times.min()), int(times.max()))
    poses = _poses(sweep.scene_from_lidar, sweep.stamp_ns)
    return Share(sweep.lidar, "lidar", sweep.stamp_ns, first_ns, last_ns, columns, poses)


def _radar_share(radar: RadarPoints, frame: SceneFrame, arrays: _Arrays) -> Share:
    """Describe a radar's scan; its strengths stay out, because Scale's loader cannot read lengths."""
    columns = arrays.add({
        "positions": np.asarray(radar.position, np.float32),
        "directions": None if radar.direction is None else np.asarray(radar.direction, np.float32),
        "sizes": None if radar.size is None else np.asarray(radar.size, np.float32),
    })  # fmt: skip
    stamp_ns = radar.stamp_ns
    poses = _poses(radar.pose or Transform(frame.position, frame.heading_xyzw), stamp_ns)
    return Share(radar.radar, "radar", stamp_ns, stamp_ns, stamp_ns, columns, poses)


def _in_steps(intensity: NDArray[np.float32] | None) -> NDArray[np.uint8] | None:
    if intensity is None:
        return None
    steps: NDArray[np.uint8] = np.rint(np.clip(intensity, 0.0, 1.0) * np.float32(INTENSITY_STEPS)).astype(np.uint8)
    return steps


def _poses(pose: Transform | Trajectory, stamp_ns: int) -> Trajectory:
    """Return poses with their stamps, those of a sweep a hundredth of a second apart and at both of its ends."""
    if isinstance(pose, Transform):
        return Trajectory(np.array([stamp_ns]), pose.translation[None], pose.rotation_xyzw[None])
    bins = pose.stamps_ns // _POSE_STEP_NS
    kept = np.ones(len(bins), np.bool_)
    kept[1:] = bins[1:] != bins[:-1]
    kept[-1] = True
    return Trajectory(pose.stamps_ns[kept], pose.translations[kept], pose.rotations_xyzw[kept])


def _header(image: SceneImage, content: bytes) -> FileHeader:
    try:
        header = read_file_header(content)
    except ImageError as error:
        raise InputError(f"{image.path}: {error}") from None
    if header is None or header.kind not in ("jpeg", "png"):
        raise InputError(f"{image.path}: is not a JPEG or PNG file")
    return header
