# SPDX-License-Identifier: Apache-2.0
"""Points of any origin as the PointCloud2 message that a driver would have sent, so that all clouds go one way."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.pointcloud2 import POINTCLOUD2, PointField
from nucleus_bridge.model import Message

LITTLE_ENDIAN = b"\x00\x01\x00\x00"
_NS_PER_S = 1_000_000_000
DATATYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
"""``datatype`` of a PointField by the type as numpy writes it."""


class Layout(NamedTuple):
    """Where the points of a PointCloud2 lie."""

    height: int
    width: int
    fields: tuple[PointField, ...]
    is_bigendian: bool
    point_step: int
    row_step: int


def cloud_message(
    source: Message, stamp_ns: int, frame_id: str, layout: Layout, data: bytes | memoryview, *, is_dense: bool = False
) -> Message:
    """Write a PointCloud2 message under the topic and the log time of the one that it was made of."""
    frame = frame_id.encode() + b"\0"
    parts = [LITTLE_ENDIAN, struct.pack("<iII", *divmod(stamp_ns, _NS_PER_S), len(frame)), frame]
    size = 12 + len(frame)

    def add(code: str, *values: Any) -> None:
        nonlocal size
        alignment = struct.calcsize("<" + code[0])
        padding = -size % alignment
        parts.append(bytes(padding) + struct.pack("<" + code, *values))
        size += padding + struct.calcsize("<" + code)

    add("III", layout.height, layout.width, len(layout.fields))
    for field in layout.fields:
        name = field.name.encode() + b"\0"
        add("I", len(name))
        parts.append(name)
        size += len(name)
        add("I", field.offset)
        add("B", field.datatype)
        add("I", field.count)
    add("B", layout.is_bigendian)
    add("III", layout.point_step, layout.row_step, len(data))
    return Message(source.topic, POINTCLOUD2, source.log_ns, b"".join([*parts, data, bytes([is_dense])]))


def message_of_points(source: Message, stamp_ns: int, frame_id: str, points: NDArray[np.void]) -> Message:
    """Write structured points, shape (n,), as a PointCloud2 message; fields may lie on each other."""
    fields = tuple(
        PointField(name, offset, DATATYPES[kind.str[1:]], 1)
        for name, (kind, offset, *_) in ((name, points.dtype.fields[name]) for name in points.dtype.names or ())  # type: ignore[index]
    )
    step = points.dtype.itemsize
    layout = Layout(1, len(points), fields, False, step, step * len(points))
    return cloud_message(source, stamp_ns, frame_id, layout, points.tobytes())


def with_times_in(config: LidarConfig, field: str) -> LidarConfig:
    """Return a lidar's settings for clouds whose point times are in ``field``, in nanoseconds from the stamp.

    ``time_field: none`` and the names of other fields stay.
    """
    if config.time_field not in ("auto", field):
        return config
    return replace(config, time_field=field, time_unit="ns", time_reference="stamp")
