# SPDX-License-Identifier: Apache-2.0
"""The drive's lidar as a VLP-16: its firings seen one by one, in the packets that the sensor would send."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import get_types_from_msg

from nucleus_bridge.testing.demo.course import map_from_base_at
from nucleus_bridge.testing.demo.ground import build_ground
from nucleus_bridge.testing.demo.lidar import LidarMount
from nucleus_bridge.testing.demo.messages import TYPESTORE
from nucleus_bridge.testing.demo.options import DriveOptions
from nucleus_bridge.testing.demo.raycast import first_hits
from nucleus_bridge.testing.demo.rigid import FloatArray
from nucleus_bridge.testing.demo.world import build_world

VELODYNE_SCAN = "velodyne_msgs/msg/VelodyneScan"
PACKETS = 75
TURN_NS = 100_000_000

# VLP-16 user manual 63-9243, tables 9-1 and 9-2: elevation and height of each laser, in the order of firing.
_ELEVATIONS_DEG = np.array([-15, 1, -13, 3, -11, 5, -9, 7, -7, 9, -5, 11, -3, 13, -1, 15], np.float64)
_HEIGHTS_M = np.array([11.2, -0.7, 9.7, -2.2, 8.1, -3.7, 6.6, -5.1, 5.1, -6.6, 3.7, -8.1, 2.2, -9.7, 0.7, -11.2]) / 1e3
_SEQUENCE_NS, _LASER_NS = 55_296, 2_304
_SEQUENCES = PACKETS * 24  # two in each of a packet's 12 blocks
_UNIT_M, _FARTHEST_M = 0.002, 130.0
_SEPARATOR = "=" * 80
_DEFINITION = (
    f"std_msgs/Header header\nVelodynePacket[] packets\n{_SEPARATOR}\nMSG: velodyne_msgs/VelodynePacket\n"
    "builtin_interfaces/Time stamp\nuint8[1206] data\n"
)
TYPESTORE.register(get_types_from_msg(_DEFINITION, VELODYNE_SCAN))


class Firings(NamedTuple):
    """What the lasers saw in one turn, each of shape (sequences, 16) in the order of firing.

    Attributes:
        since_ns: When each fired, after the start of the turn.
        azimuth_deg: Clockwise from x, as the sensor counts.
        distance: Metres; inf without a return.
        intensity: 0..255.
        xyz: Shape (sequences, 16, 3), metres in the lidar's frame at the time of the firing.
    """

    since_ns: NDArray[np.int64]
    azimuth_deg: FloatArray
    distance: FloatArray
    intensity: NDArray[np.uint8]
    xyz: FloatArray


def firings(mount: LidarMount, options: DriveOptions, stamp_ns: int) -> Firings:
    """Return the turn that begins at ``stamp_ns``; every laser sees from where it is when it fires."""
    since_ns = np.arange(_SEQUENCES)[:, None] * _SEQUENCE_NS + np.arange(16) * _LASER_NS
    azimuth_deg = 360.0 * since_ns / TURN_NS
    alpha, omega = np.radians(azimuth_deg).reshape(-1), np.radians(np.tile(_ELEVATIONS_DEG, _SEQUENCES))
    rays = np.stack([np.cos(omega) * np.cos(alpha), -np.cos(omega) * np.sin(alpha), np.sin(omega)], axis=-1)
    heights = np.tile(_HEIGHTS_M, _SEQUENCES)
    origins = np.stack([np.zeros_like(heights), np.zeros_like(heights), heights], axis=-1)
    since_start_s: FloatArray = (stamp_ns - options.start_ns + since_ns.reshape(-1)).astype(np.float64) * 1e-9
    map_from_lidar = map_from_base_at(since_start_s, options) @ mount.base_from_lidar
    matrices = map_from_lidar.matrix
    world_rays = np.einsum("nij,nj->ni", matrices, rays)
    world_origins = np.einsum("nij,nj->ni", matrices, origins) + map_from_lidar.translation
    world, ground = build_world(options.course), build_ground(options.course)
    distance, intensity = first_hits(world_origins, world_rays[:, None, :], world, ground)
    distance = np.where(distance > _FARTHEST_M, np.inf, distance)
    reached = np.where(np.isfinite(distance), distance, 0.0)
    shape = since_ns.shape
    return Firings(
        since_ns,
        azimuth_deg,
        distance.reshape(shape),
        intensity.reshape(shape),
        (origins + rays * reached).reshape(*shape, 3),
    )


def velodyne_scan(mount: LidarMount, options: DriveOptions, stamp_ns: int) -> bytes:
    """Return a turn as a VelodyneScan; packets are stamped when their first laser fires."""
    seen = firings(mount, options, stamp_ns)
    steps = np.rint(np.where(np.isfinite(seen.distance), seen.distance, 0.0) / _UNIT_M).astype("<u2")
    make: Any = TYPESTORE.types["velodyne_msgs/msg/VelodynePacket"]
    packets = []
    for first in range(0, _SEQUENCES, 24):
        blocks = bytearray()
        for block in range(first, first + 24, 2):
            azimuth = round(float(seen.azimuth_deg[block, 0]) * 100) % 36_000
            blocks += b"\xff\xee" + azimuth.to_bytes(2, "little")
            for sequence in (block, block + 1):
                channels = np.zeros(16, np.dtype([("steps", "<u2"), ("intensity", "u1")]))
                channels["steps"], channels["intensity"] = steps[sequence], seen.intensity[sequence]
                blocks += channels.tobytes()
        at_ns = stamp_ns + first * _SEQUENCE_NS
        clock = (at_ns // 1000 % 3_600_000_000).to_bytes(4, "little")
        data = np.frombuffer(bytes(blocks) + clock + b"\x37\x22", np.uint8)
        packets.append(make(stamp=_stamp(at_ns), data=data))
    header = TYPESTORE.types["std_msgs/msg/Header"](stamp=_stamp(stamp_ns), frame_id=mount.frame_id)
    content = TYPESTORE.types[VELODYNE_SCAN](header=header, packets=packets)
    return bytes(TYPESTORE.serialize_cdr(content, VELODYNE_SCAN))


def _stamp(stamp_ns: int) -> Any:  # noqa: ANN401 - messages have no static type
    return TYPESTORE.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
