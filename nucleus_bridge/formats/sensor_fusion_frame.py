# SPDX-License-Identifier: Apache-2.0
"""What a sensor-fusion frame says besides its points, the same for both formats."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nucleus_bridge.errors import InvalidTransformError
from nucleus_bridge.model import CameraModel, FloatArray, GpsPose

RADAR_DECIMALS = 3
COEFFICIENTS = {
    "brown_conrady": ("k1", "k2", "k3", "p1", "p2"),
    "fisheye": ("k1", "k2", "k3", "k4"),
    "omnidirectional": ("k1", "k2", "k3", "p1", "p2", "xi"),
}
"""Distortion coefficients by camera model, in the order in which JSON has them."""

_LARGEST_FLOAT32 = 3.4028234663852886e38


@dataclass(frozen=True, eq=False)
class CameraImage:
    """An image of a frame and the camera that took it.

    Attributes:
        image_url: Path of the image's file in the scene's folder.
        stamp_ns: When it was taken.
        position: Shape (3,), of the camera in the scene, metres.
        heading_xyzw: Shape (4,), scene from optical frame.
        model: Intrinsics; one of ``COEFFICIENTS``.
        camera_index: The camera's place in ``camera_names``.
        priority: Which camera takes precedence where an object is in several; 0 is not written.
    """

    image_url: str
    stamp_ns: int
    position: FloatArray
    heading_xyzw: FloatArray
    model: CameraModel
    camera_index: int
    priority: int = 0


@dataclass(frozen=True)
class RadarPoint:
    """A detection: position and velocity over ground in the scene, metres and m/s, and strength in 0..1.

    All are rounded to three decimals; velocity and strength are None where they are not known.
    """

    position: Sequence[float]
    direction: Sequence[float] | None
    size: float | None


@dataclass(frozen=True, eq=False)
class SensorFusionFrame:
    """A frame without its points.

    Attributes:
        timestamp_ns: Start of the sensor rotation.
        device_position: Shape (3,), in the scene, metres.
        device_heading_xyzw: Shape (4,), scene from device.
        gps: Pose on the globe, or None.
        images: In the order of ``camera_names``.
        radar_points: In the order of ``radar_names``; None where no radar saw the frame.
    """

    timestamp_ns: int
    device_position: FloatArray
    device_heading_xyzw: FloatArray
    gps: GpsPose | None = None
    images: Sequence[CameraImage] = field(default_factory=tuple)
    radar_points: Sequence[RadarPoint] | None = None

    def __post_init__(self) -> None:
        """Refuse what neither format can hold.

        Raises:
            InvalidTransformError: A number is not finite, or too large for 32 bits.
        """
        for name, numbers in self._numbers():
            if not all(abs(number) <= _LARGEST_FLOAT32 for number in numbers):  # false for NaN too
                raise InvalidTransformError(f"{name} is {list(numbers)}; expected finite numbers")

    def _numbers(self) -> Iterator[tuple[str, Sequence[float]]]:
        yield "device_position", self.device_position.tolist()
        yield "device_heading", self.device_heading_xyzw.tolist()
        if self.gps is not None:
            yield "device_gps_pose", (self.gps.latitude, self.gps.longitude, self.gps.bearing)
        for image in self.images:
            model = image.model
            yield f"position of {image.image_url}", image.position.tolist()
            yield f"heading of {image.image_url}", image.heading_xyzw.tolist()
            yield (
                f"fx, fy, cx, cy, skew, scale_factor of {image.image_url}",
                (model.fx, model.fy, model.cx, model.cy, model.skew, model.scale_factor),
            )
            yield f"distortion of {image.image_url}", tuple(model.distortion.values())
        for number, point in enumerate(self.radar_points or ()):
            size = () if point.size is None else (point.size,)
            yield f"radar point {number}", (*point.position, *(point.direction or ()), *size)


def radar_point(
    position: Sequence[float], direction: Sequence[float] | None = None, size: float | None = None
) -> RadarPoint:
    """Round a detection to millimetres, millimetres a second and thousandths."""
    return RadarPoint(
        _rounded(position),
        None if direction is None else _rounded(direction),
        None if size is None else _rounded([size])[0],
    )


def _rounded(values: Sequence[float]) -> list[float]:
    rounded = [round(float(value), RADAR_DECIMALS) if math.isfinite(value) else float(value) for value in values]
    return [value + 0.0 for value in rounded]  # + 0.0 turns -0.0 into 0.0
