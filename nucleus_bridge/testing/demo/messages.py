# SPDX-License-Identifier: Apache-2.0
"""The ROS messages of the drive, ready to be written: CDR bytes from arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from nucleus_bridge.testing.demo.layouts import DATATYPES
from nucleus_bridge.testing.demo.lens import Lens
from nucleus_bridge.testing.demo.rigid import Pose

CLOUD = "sensor_msgs/msg/PointCloud2"
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
FIX = "sensor_msgs/msg/NavSatFix"
IMU = "sensor_msgs/msg/Imu"
TF = "tf2_msgs/msg/TFMessage"
PRESSURE = "sensor_msgs/msg/FluidPressure"
STRING = "std_msgs/msg/String"

TYPESTORE = get_typestore(Stores.ROS2_HUMBLE)
_SECOND_NS = 1_000_000_000


def cloud(stamp_ns: int, frame_id: str, points: NDArray[np.void]) -> bytes:
    """Return a PointCloud2 of structured points (height, width); it is dense unless a coordinate is NaN."""
    dtype = points.dtype
    fields = dtype.fields
    if fields is None:
        raise TypeError("points must have named fields")
    described = [
        _make("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=DATATYPES[kind.str[1:]], count=1)
        for name, (kind, offset, *_) in ((name, fields[name]) for name in dtype.names or ())
    ]
    height, width = points.shape
    return _bytes(
        CLOUD,
        header=_header(stamp_ns, frame_id),
        height=height,
        width=width,
        fields=described,
        is_bigendian=False,
        point_step=dtype.itemsize,
        row_step=dtype.itemsize * width,
        data=points.reshape(-1).view(np.uint8),
        is_dense=not bool(np.isnan(points["x"]).any()),
    )


def image(stamp_ns: int, frame_id: str, pixels: NDArray[np.uint8]) -> bytes:
    """Return an Image of RGB pixels (height, width, 3)."""
    height, width, _ = pixels.shape
    return _bytes(
        IMAGE,
        header=_header(stamp_ns, frame_id),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=pixels.reshape(-1),
    )


def compressed_image(stamp_ns: int, frame_id: str, jpeg: NDArray[np.uint8]) -> bytes:
    """Return a CompressedImage of the bytes of a JPEG file."""
    header = _header(stamp_ns, frame_id)
    return _bytes(COMPRESSED_IMAGE, header=header, format="rgb8; jpeg compressed bgr8", data=jpeg)


def pressure(stamp_ns: int, frame_id: str, pascal: float) -> bytes:
    """Return a FluidPressure."""
    return _bytes(PRESSURE, header=_header(stamp_ns, frame_id), fluid_pressure=pascal, variance=0.0)


def text(content: str) -> bytes:
    """Return a String."""
    return _bytes(STRING, data=content)


def camera_info(stamp_ns: int, frame_id: str, lens: Lens) -> bytes:
    """Return the CameraInfo of an unrectified, full-size image."""
    k = np.array(lens.k)
    region = _make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return _bytes(
        CAMERA_INFO,
        header=_header(stamp_ns, frame_id),
        height=lens.height,
        width=lens.width,
        distortion_model=lens.model,
        d=np.array(lens.distortion),
        k=k,
        r=np.eye(3).reshape(-1),
        p=np.column_stack([k.reshape(3, 3), np.zeros(3)]).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def transforms(stamp_ns: int, edges: list[tuple[str, str, Pose]]) -> bytes:
    """Return a TFMessage of (parent, child, parent_from_child) edges at one stamp."""
    stamped = [
        _make(
            "geometry_msgs/msg/TransformStamped",
            header=_header(stamp_ns, parent),
            child_frame_id=child,
            transform=_make(
                "geometry_msgs/msg/Transform",
                translation=_make(
                    "geometry_msgs/msg/Vector3", **dict(zip("xyz", pose.translation.tolist(), strict=True))
                ),
                rotation=_make(
                    "geometry_msgs/msg/Quaternion", **dict(zip("xyzw", pose.rotation_xyzw.tolist(), strict=True))
                ),
            ),
        )
        for parent, child, pose in edges
    ]
    return _bytes(TF, transforms=stamped)


def fix(stamp_ns: int, frame_id: str, latitude: float, longitude: float, altitude: float) -> bytes:
    """Return a NavSatFix in degrees and metres above the ellipsoid."""
    return _bytes(
        FIX,
        header=_header(stamp_ns, frame_id),
        status=_make("sensor_msgs/msg/NavSatStatus", status=0, service=1),
        latitude=latitude,
        longitude=longitude,
        altitude=altitude,
        position_covariance=np.diag([1e-4, 1e-4, 4e-4]).reshape(-1),
        position_covariance_type=2,
    )


def heading(stamp_ns: int, frame_id: str, yaw: float) -> bytes:
    """Return an Imu that knows nothing but the yaw from east (radians, counter-clockwise)."""
    zero = _make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    unknown = np.array([-1.0, *[0.0] * 8])
    turned = {"x": 0.0, "y": 0.0, "z": float(np.sin(yaw / 2)), "w": float(np.cos(yaw / 2))}
    return _bytes(
        IMU,
        header=_header(stamp_ns, frame_id),
        orientation=_make("geometry_msgs/msg/Quaternion", **turned),
        orientation_covariance=np.diag([1.0, 1.0, 1e-6]).reshape(-1),
        angular_velocity=zero,
        angular_velocity_covariance=unknown,
        linear_acceleration=zero,
        linear_acceleration_covariance=unknown,
    )


def _make(type_name: str, **values: object) -> object:
    make: Callable[..., object] = TYPESTORE.types[type_name]
    return make(**values)


def _header(stamp_ns: int, frame_id: str) -> object:
    stamp = _make("builtin_interfaces/msg/Time", sec=stamp_ns // _SECOND_NS, nanosec=stamp_ns % _SECOND_NS)
    return _make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def _bytes(type_name: str, **values: object) -> bytes:
    return bytes(TYPESTORE.serialize_cdr(_make(type_name, **values), type_name))
