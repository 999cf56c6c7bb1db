# SPDX-License-Identifier: Apache-2.0
"""Livox CustomMsg to sweeps: the same points, times, tags and lines that the driver writes into PointCloud2."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.cdr import naming
from nucleus_bridge.decode.cdr_reader import CdrReader
from nucleus_bridge.decode.cloud_message import message_of_points, with_times_in
from nucleus_bridge.decode.interface import Decoder, Interface, Stateless
from nucleus_bridge.decode.pointcloud2 import decode_sweep
from nucleus_bridge.errors import CloudError
from nucleus_bridge.model import Message, Sweep

CUSTOM_MSG = tuple(
    f"{package}/msg/CustomMsg" for package in ("livox_ros_driver2", "livox_ros_driver", "livox_interfaces")
)
TIME_FIELD = "offset_time"

_POINT = np.dtype(
    [
        (TIME_FIELD, "u4"),
        ("x", "f4"),
        ("y", "f4"),
        ("z", "f4"),
        ("reflectivity", "u1"),
        ("tag", "u1"),
        ("line", "u1"),
    ]
)
_COLUMNS: np.dtype[np.void] = np.dtype(
    {
        "names": [TIME_FIELD, "x", "y", "z", "intensity", "reflectivity", "tag", "line"],
        "formats": ["<i4", "<f4", "<f4", "<f4", "u1", "u1", "u1", "u1"],
        "offsets": [0, 4, 8, 12, 16, 16, 17, 18],
        "itemsize": 20,
    }
)
# The ROS 1 build makes the stamp from a float of seconds, so that it is some 100 ns off.
_SAME_CLOCK_NS = 1_000_000
_LONGEST_NS = 2**31 - 1 - _SAME_CLOCK_NS


def custom_message_as_cloud(message: Message) -> Message:
    """Turn a CustomMsg into a PointCloud2 with point times in nanoseconds from ``header.stamp``.

    Points without a return, at (0, 0, 0), stay in, as the driver leaves them. ``intensity`` is ``reflectivity``.

    Raises:
        CloudError: There are no points (``empty_cloud``), or their times are longer than two seconds (``point_time``).
        DecodeError: The bytes are not a message of that type.
    """
    with naming(message):
        reader = CdrReader(message)
        stamp_ns, frame_id = reader.header()
        timebase_ns = reader.number("Q")
        reader.number("I")  # point_num: the sequence says it itself
        reader.array("u1", 4)  # lidar_id, rsvd
        points = reader.records(_POINT, alignment=4)
        if not len(points):
            raise CloudError("there are no points", cause="empty_cloud")
        late_ns = timebase_ns - stamp_ns
        if abs(late_ns) > _SAME_CLOCK_NS:
            late_ns = 0  # of a clock that was never set
        longest_ns = int(points[TIME_FIELD].max())
        if longest_ns > _LONGEST_NS:
            raise CloudError(f"a point's offset_time is {longest_ns} ns", cause="point_time")
        cloud: NDArray[np.void] = np.zeros(len(points), _COLUMNS)
        for name in points.dtype.names or ():
            cloud[name] = points[name]
        cloud[TIME_FIELD] += late_ns
        return message_of_points(message, stamp_ns, frame_id, cloud)


def decode_custom_message(message: Message, config: LidarConfig) -> Sweep:
    """Read a CustomMsg; raises what ``custom_message_as_cloud`` and ``decode_sweep`` raise."""
    return decode_sweep(custom_message_as_cloud(message), config)


def _decoder(config: LidarConfig) -> Decoder:
    return Stateless(partial(decode_custom_message, config=with_times_in(config, TIME_FIELD)))


INTERFACES = tuple(Interface(name, "cloud", _decoder, is_sample=True, depth=50) for name in CUSTOM_MSG)
