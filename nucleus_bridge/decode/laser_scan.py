# SPDX-License-Identifier: Apache-2.0
"""LaserScan and MultiEchoLaserScan to sweeps of one ring, each ray at its own time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.cdr import naming
from nucleus_bridge.decode.cdr_reader import CdrReader
from nucleus_bridge.decode.cloud_message import message_of_points, with_times_in
from nucleus_bridge.decode.interface import Decoder, Interface, Stateless
from nucleus_bridge.decode.pointcloud2 import decode_sweep
from nucleus_bridge.decode.points import any_value
from nucleus_bridge.errors import CloudError
from nucleus_bridge.model import FloatArray, IntArray, Message, Sweep

LASER_SCAN = "sensor_msgs/msg/LaserScan"
MULTI_ECHO_LASER_SCAN = "sensor_msgs/msg/MultiEchoLaserScan"
TIME_FIELD = "t"

_MOST_RAYS = 1_000_000
_LONGEST_S, _MOST_NS = 2.0, 2_000_000_000
_POINT = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("intensity", "<f4"),
        ("ring", "u1"),
        ("echo", "u1"),
        (TIME_FIELD, "<i4"),
    ]
)


class _Rays(NamedTuple):
    """Ranges and intensities of the echoes, shape (n,), and the number of the ray and of the echo that each is."""

    ranges: FloatArray
    intensities: FloatArray | None
    ray: IntArray
    echo: IntArray


def decode_laser_scan(message: Message, config: LidarConfig) -> Sweep:
    """Read a scan: x forward, angles counter-clockwise, all points at z 0 of the scanner's frame.

    Rays outside ``range_min`` to ``range_max`` are none (REP 117) and are left out. ``header.stamp`` is the time of the
    first ray; with a ``time_increment`` of 0 the points have no times. A scan without intensities has none.

    Raises:
        CloudError: ``empty_cloud`` when no ray came back, ``damaged`` when angles or numbers contradict each other, or
            what ``decode_sweep`` raises.
        DecodeError: The bytes are not a message of that type.
    """
    with naming(message), any_value():
        reader = CdrReader(message)
        stamp_ns, frame_id = reader.header()
        angle_min, _, step, time_step, _, nearest, farthest = (float(reader.number("f")) for _ in range(7))
        rays = _several(reader) if message.type_name == MULTI_ECHO_LASER_SCAN else _single(reader)
        count = int(rays.ray.max(initial=-1)) + 1
        if not (np.isfinite([angle_min, step, time_step]).all() and abs(time_step) * count <= _LONGEST_S):
            raise CloudError(
                f"angle_min {angle_min:g}, angle_increment {step:g} or time_increment {time_step:g} is wrong"
            )
        is_return = np.isfinite(rays.ranges) & (rays.ranges >= nearest) & (rays.ranges <= farthest)
        rows = np.flatnonzero(is_return & (rays.ranges > 0))
        if not len(rows):
            raise CloudError("no ray of the scan came back", cause="empty_cloud")
        points: NDArray[np.void] = np.zeros(len(rows), _POINT)
        angle, distance = angle_min + step * rays.ray[rows], rays.ranges[rows]
        points["x"], points["y"] = distance * np.cos(angle), distance * np.sin(angle)
        points["echo"] = np.minimum(rays.echo[rows], 255)
        points[TIME_FIELD] = np.clip(np.rint(time_step * 1e9 * rays.ray[rows]), -_MOST_NS, _MOST_NS)
        if rays.intensities is None:
            config = replace(config, intensity_field="")
        else:
            points["intensity"] = np.nan_to_num(rays.intensities[rows])
        if time_step:
            config = with_times_in(config, TIME_FIELD)
        elif config.time_field in ("auto", TIME_FIELD):
            config = replace(config, time_field="none")
        cloud = message_of_points(message, stamp_ns, frame_id, points)
    return decode_sweep(cloud, config)


def _single(reader: CdrReader) -> _Rays:
    ranges, intensities = (reader.array("f4").astype(np.float64) for _ in range(2))
    if len(intensities) not in (0, len(ranges)):
        raise CloudError(f"there are {len(ranges)} ranges and {len(intensities)} intensities")
    ray = np.arange(len(ranges))
    return _Rays(ranges, intensities if len(intensities) else None, ray, np.zeros(len(ranges), np.int64))


def _several(reader: CdrReader) -> _Rays:
    """Read the echoes of each ray."""
    values = []
    for _ in range(2):
        count = reader.number("I")
        if count > _MOST_RAYS:
            raise CloudError(f"it claims {count} rays")
        values.append([reader.array("f4") for _ in range(count)])
    ranges, intensities = values
    lengths = [len(echoes) for echoes in ranges]
    if intensities and [len(echoes) for echoes in intensities] != lengths:
        raise CloudError("ranges and intensities have not the same echoes")
    ray = np.repeat(np.arange(len(lengths)), lengths)
    echo = np.arange(len(ray)) - np.repeat(np.cumsum([0, *lengths])[:-1], lengths)
    return _Rays(_joined(ranges), _joined(intensities) if intensities else None, ray, echo)


def _joined(parts: list[NDArray[np.float32]]) -> FloatArray:
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)


def _decoder(config: LidarConfig) -> Decoder:
    return Stateless(partial(decode_laser_scan, config=config))


INTERFACES = tuple(
    Interface(name, "cloud", _decoder, is_sample=True, depth=50) for name in (LASER_SCAN, MULTI_ECHO_LASER_SCAN)
)
