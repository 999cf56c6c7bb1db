# SPDX-License-Identifier: Apache-2.0
"""PointCloud2 messages made and described: by ``sensor_msgs_py`` where ROS 2 has it, else by the same rule of ours."""

from __future__ import annotations

import array
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from nucleus_bridge.decode.pointcloud2 import dtype_from_fields

try:
    from sensor_msgs_py import point_cloud2 as sensor_msgs_py
except ImportError:  # a ROS 2 made of Python wheels
    sensor_msgs_py = None

_DATATYPES = {
    "i1": PointField.INT8,
    "u1": PointField.UINT8,
    "i2": PointField.INT16,
    "u2": PointField.UINT16,
    "i4": PointField.INT32,
    "u4": PointField.UINT32,
    "f4": PointField.FLOAT32,
    "f8": PointField.FLOAT64,
}


def make_cloud(header: Header, points: NDArray[np.void]) -> PointCloud2:
    """Make a cloud of one row whose points lie as they do in memory.

    Args:
        header: Its header.
        points: Shape (n,), one named little-endian column a field.
    """
    fields = [
        PointField(name=name, offset=offset, datatype=_DATATYPES[kind.str[1:]], count=1)
        for name, kind, offset in _columns(points.dtype)
    ]
    if sensor_msgs_py is not None:
        return sensor_msgs_py.create_cloud(header, fields, points)
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(points).view(np.uint8).data)
    step = points.dtype.itemsize
    cloud = PointCloud2(header=header, height=1, width=len(points), fields=fields, is_dense=False)
    cloud.point_step, cloud.row_step, cloud.data = step, step * len(points), data
    return cloud


def layout_of(cloud: PointCloud2) -> np.dtype[np.void]:
    """Describe a point of a cloud as numpy does.

    Raises:
        Exception: The fields contradict themselves.
    """
    if sensor_msgs_py is None or cloud.is_bigendian:
        return dtype_from_fields(cloud.fields, cloud.point_step, cloud.is_bigendian)
    return sensor_msgs_py.dtype_from_fields(cloud.fields, point_step=cloud.point_step)


def layout_text(data: bytes) -> str:
    """Describe a point of a serialised cloud for a person; empty where that cannot be told."""
    try:
        cloud: Any = deserialize_message(data, PointCloud2)
        layout = layout_of(cloud)
    except Exception:  # noqa: BLE001 - damage is reported by who decodes it
        return ""
    columns = ", ".join(f"{name} {kind.name}" for name, kind, _ in _columns(layout))
    return f"{columns}; {layout.itemsize} bytes a point"


def _columns(layout: np.dtype[np.void]) -> Iterator[tuple[str, np.dtype[Any], int]]:
    """Yield name, type and offset of each column."""
    fields: Any = layout.fields
    return ((name, fields[name][0], fields[name][1]) for name in layout.names or ())
