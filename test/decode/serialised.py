# SPDX-License-Identifier: Apache-2.0
"""Messages for tests, serialised by rosbags from plain values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from nucleus_bridge.model import Message

STORE = get_typestore(Stores.ROS2_HUMBLE)
STAMP_NS = 1_700_000_000_123_456_789
LOG_NS = STAMP_NS + 7_000_000

DATATYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}


class Field(NamedTuple):
    """A PointField with the type as numpy writes it."""

    name: str
    offset: int
    kind: str
    elements: int = 1


def make(type_name: str, /, **fields: Any) -> Any:
    return STORE.types[type_name](**fields)


def serialise(content: Any, topic: str, *, little_endian: bool = True, log_ns: int = LOG_NS) -> Message:
    name = content.__msgtype__
    return Message(topic, name, log_ns, bytes(STORE.serialize_cdr(content, name, little_endian=little_endian)))


def header(stamp_ns: int = STAMP_NS, frame_id: str = "lidar_top") -> Any:
    sec, nanosec = divmod(stamp_ns, 10**9)
    time = make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return make("std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def fields_of(dtype: np.dtype[Any]) -> list[Field]:
    """Describe a structured dtype as PointFields."""
    assert dtype.fields is not None
    return [Field(name, dtype.fields[name][1], dtype.fields[name][0].str[1:]) for name in dtype.names or ()]


def cloud_message(
    fields: Iterable[Field],
    data: bytes,
    *,
    width: int,
    point_step: int,
    height: int = 1,
    row_step: int | None = None,
    is_bigendian: bool = False,
    stamp_ns: int = STAMP_NS,
    frame_id: str = "lidar_top",
    little_endian: bool = True,
) -> Message:
    content = make(
        "sensor_msgs/msg/PointCloud2",
        header=header(stamp_ns, frame_id),
        height=height,
        width=width,
        fields=[
            make(
                "sensor_msgs/msg/PointField", name=f.name, offset=f.offset, datatype=DATATYPES[f.kind], count=f.elements
            )
            for f in fields
        ],
        is_bigendian=is_bigendian,
        point_step=point_step,
        row_step=width * point_step if row_step is None else row_step,
        data=np.frombuffer(data, np.uint8),
        is_dense=True,
    )
    return serialise(content, "/lidar/points", little_endian=little_endian)


def cloud_of(points: np.ndarray[Any, Any], *, height: int = 1, **options: Any) -> Message:
    """Serialise a structured array as a cloud."""
    step = points.dtype.itemsize
    width = len(points) // height
    return cloud_message(
        fields_of(points.dtype), points.tobytes(), width=width, height=height, point_step=step, **options
    )


def image_message(
    encoding: str,
    data: bytes,
    *,
    width: int,
    height: int,
    step: int,
    is_bigendian: bool = False,
    stamp_ns: int = STAMP_NS,
    frame_id: str = "camera_optical",
) -> Message:
    content = make(
        "sensor_msgs/msg/Image",
        header=header(stamp_ns, frame_id),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(is_bigendian),
        step=step,
        data=np.frombuffer(data, np.uint8),
    )
    return serialise(content, "/camera/image_raw")


def compressed_message(data: bytes, format_: str = "jpeg", *, stamp_ns: int = STAMP_NS) -> Message:
    content = make(
        "sensor_msgs/msg/CompressedImage",
        header=header(stamp_ns, "camera_optical"),
        format=format_,
        data=np.frombuffer(data, np.uint8),
    )
    return serialise(content, "/camera/image_raw/compressed")


def camera_info_message(
    *,
    d: Sequence[float] = (0.0,) * 5,
    k: Sequence[float] = (1000.0, 0.0, 960.0, 0.0, 1001.0, 540.0, 0.0, 0.0, 1.0),
    p: Sequence[float] = (900.0, 0.0, 950.0, 0.0, 0.0, 901.0, 530.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    distortion_model: str = "plumb_bob",
    roi: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Message:
    region = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False, **(roi or {})}
    values: dict[str, Any] = {
        "header": header(frame_id="camera_optical"),
        "height": 1080,
        "width": 1920,
        "distortion_model": distortion_model,
        "d": np.array(d, np.float64),
        "k": np.array(k, np.float64),
        "r": np.eye(3).ravel(),
        "p": np.array(p, np.float64),
        "binning_x": 0,
        "binning_y": 0,
        "roi": make("sensor_msgs/msg/RegionOfInterest", **region),
    }
    return serialise(make("sensor_msgs/msg/CameraInfo", **{**values, **changes}), "/camera/camera_info")


def fix_message(latitude: float, longitude: float, *, status: int = 0, stamp_ns: int = STAMP_NS) -> Message:
    content = make(
        "sensor_msgs/msg/NavSatFix",
        header=header(stamp_ns, "gps"),
        status=make("sensor_msgs/msg/NavSatStatus", status=status, service=1),
        latitude=latitude,
        longitude=longitude,
        altitude=31.5,
        position_covariance=np.zeros(9),
        position_covariance_type=0,
    )
    return serialise(content, "/gps/fix")


def imu_message(
    xyzw: Sequence[float], *, covariance: Sequence[float] = (0.0,) * 9, stamp_ns: int = STAMP_NS
) -> Message:
    zero = make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    x, y, z, w = xyzw
    content = make(
        "sensor_msgs/msg/Imu",
        header=header(stamp_ns, "imu"),
        orientation=make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        orientation_covariance=np.array(covariance, np.float64),
        angular_velocity=zero,
        angular_velocity_covariance=np.zeros(9),
        linear_acceleration=zero,
        linear_acceleration_covariance=np.zeros(9),
    )
    return serialise(content, "/imu/data")


def tf_message(*transforms: tuple[str, str, int, Sequence[float], Sequence[float]]) -> Message:
    stamped = []
    for parent, child, stamp_ns, (tx, ty, tz), (x, y, z, w) in transforms:
        transform = make(
            "geometry_msgs/msg/Transform",
            translation=make("geometry_msgs/msg/Vector3", x=tx, y=ty, z=tz),
            rotation=make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        )
        stamped.append(
            make(
                "geometry_msgs/msg/TransformStamped",
                header=header(stamp_ns, parent),
                child_frame_id=child,
                transform=transform,
            )
        )
    return serialise(make("tf2_msgs/msg/TFMessage", transforms=stamped), "/tf")


def recorded(folder: str, type_name: str = "") -> Iterator[Message]:
    """Yield the messages of a real recording; skips the test where there is none on this machine."""
    root = os.environ.get("NUCLEUS_BRIDGE_TEST_DATA")
    if not root:
        pytest.skip("NUCLEUS_BRIDGE_TEST_DATA is not set")
    with AnyReader([Path(root) / folder], default_typestore=STORE) as reader:
        wanted = [c for c in reader.connections if type_name in ("", c.msgtype)]
        for connection, log_ns, data in reader.messages(connections=wanted):
            yield Message(connection.topic, connection.msgtype, log_ns, bytes(data))
