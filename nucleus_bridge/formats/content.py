# SPDX-License-Identifier: Apache-2.0
"""What a scene holds, whatever its format: frames of points, poses, images and radar detections in scene coordinates.

Scene coordinates are the world frame minus the scene's offset. A conversion hands a format such frames, and what reads
a sealed scene gets the same back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import InvalidTransformError
from nucleus_bridge.model import CameraModel, Detections, FloatArray, GpsPose, RadarPoints, Trajectory, Transform

Buffer = bytes | memoryview

_LARGEST_FLOAT32 = 3.4028234663852886e38


@dataclass(frozen=True, eq=False)
class Points:
    """Points in scene coordinates; a column is there for all points or for none.

    Attributes:
        xyz: Shape (n, 3), metres.
        intensity: Shape (n,), 0 to 1.
        device: Shape (n,), number of the lidar.
        time_ns: Shape (n,).
        is_ground: Shape (n,).
    """

    xyz: NDArray[np.floating[Any]]
    intensity: NDArray[np.float32] | None = None
    device: NDArray[np.uint8] | None = None
    time_ns: NDArray[np.int64] | None = None
    is_ground: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Count the points."""
        return len(self.xyz)

    def columns(self) -> dict[str, Any]:
        """Return the columns that are there by name, as the encoders of points take them."""
        named = {name: getattr(self, name) for name in ("xyz", "intensity", "device", "time_ns", "is_ground")}
        return {name: column for name, column in named.items() if column is not None}

    def at(self, rows: Any) -> Points:  # noqa: ANN401 - a slice, indices or a mask
        """Return some of the points."""
        return Points(**{name: column[rows] for name, column in self.columns().items()})


@lru_cache(maxsize=8)
def some_of(count: int, most: int) -> NDArray[np.int64]:
    """Choose so many of a larger number of points, ascending: one at random of each of as many equal shares.

    The array is one for all that ask for the same, and cannot be written to.
    """
    starts = np.arange(most + 1, dtype=np.int64) * count // most
    chosen: NDArray[np.int64] = starts[:-1] + (np.random.default_rng(0).random(most) * np.diff(starts)).astype(np.int64)
    chosen.flags.writeable = False
    return chosen


@dataclass(frozen=True, eq=False)
class LidarSweep:
    """One lidar's share of a frame.

    Attributes:
        lidar: Its name.
        device: Its number.
        stamp_ns: Of the sweep.
        scene_from_lidar: Where the lidar was: one pose, or knots over the sweep to interpolate between.
        points: Its points with every column that is known, whatever ``point_fields`` says.
    """

    lidar: str
    device: int
    stamp_ns: int
    scene_from_lidar: Transform | Trajectory
    points: Points


@dataclass(frozen=True, eq=False)
class SceneImage:
    """An image of a frame and the camera that took it.

    Attributes:
        camera: Name of the camera.
        path: Path of the image's file in the scene's folder, or what the format has in its place.
        stamp_ns: When it was taken.
        position: Shape (3,), of the camera, metres.
        heading_xyzw: Shape (4,), scene from optical frame.
        model: Intrinsics that hold for the file.
        camera_index: The camera's place in ``camera_names``.
        priority: Which camera takes precedence where an object is in several; 0 is not written.
    """

    camera: str
    path: str
    stamp_ns: int
    position: FloatArray
    heading_xyzw: FloatArray
    model: CameraModel
    camera_index: int
    priority: int = 0


@dataclass(frozen=True, eq=False)
class SceneFrame:
    """One frame of a scene.

    Attributes:
        number: Its number; frames that were left out leave gaps.
        timestamp_ns: Start of the rotation.
        position: Shape (3,), of the device, metres.
        heading_xyzw: Shape (4,), scene from device.
        gps: Pose on the globe, or None.
        points: The points of all lidars, with the columns that were asked for.
        images: In the order of ``camera_names``.
        radars: Detections in scene coordinates, in the order of ``radar_names``; formats that do not keep them apart
            read them back under the name "".
        sweeps: The same points by lidar, each with its poses; empty where the format that was read does not say.
        surplus: What a sealed frame says besides all this; empty when it was read whole. An export would lose it.
        left_out: Points that were not read, because fewer were asked for.
        detections: Recorded ones, in scene coordinates, for formats that hold annotations.
        metadata: Of each of its items, where a sealed scene that is read has such.
    """

    number: int
    timestamp_ns: int
    position: FloatArray
    heading_xyzw: FloatArray
    gps: GpsPose | None
    points: Points
    images: Sequence[SceneImage] = ()
    radars: Sequence[RadarPoints] = ()
    sweeps: Sequence[LidarSweep] = ()
    surplus: str = ""
    left_out: int = 0
    detections: Sequence[Detections] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no format can hold.

        Raises:
            InvalidTransformError: A number is not finite, or too large for 32 bits.
        """
        for name, numbers in self._numbers():
            if not all(abs(number) <= _LARGEST_FLOAT32 for number in numbers):  # false for NaN too
                raise InvalidTransformError(f"{name} is {list(numbers)}; expected finite numbers")

    def _numbers(self) -> Iterator[tuple[str, Sequence[float]]]:
        yield "device_position", self.position.tolist()
        yield "device_heading", self.heading_xyzw.tolist()
        if self.gps is not None:
            yield "device_gps_pose", (self.gps.latitude, self.gps.longitude, self.gps.bearing)
        for image in self.images:
            model = image.model
            yield f"position of {image.path}", image.position.tolist()
            yield f"heading of {image.path}", image.heading_xyzw.tolist()
            yield (
                f"fx, fy, cx, cy, skew, scale_factor of {image.path}",
                (model.fx, model.fy, model.cx, model.cy, model.skew, model.scale_factor),
            )
            yield f"distortion of {image.path}", tuple(model.distortion.values())
        for radar in self.radars:
            for column in (radar.position, radar.direction, radar.size):
                if column is not None and not (np.abs(column) <= _LARGEST_FLOAT32).all():
                    yield f"radar {radar.radar!r}: a detection", np.ravel(column).tolist()


@dataclass(frozen=True)
class Track:
    """Where the device was.

    Attributes:
        positions: Of each frame, metres.
        fixes: Latitude and longitude of each frame that has them, degrees.
    """

    positions: tuple[tuple[float, float, float], ...]
    fixes: tuple[tuple[float, float], ...]
