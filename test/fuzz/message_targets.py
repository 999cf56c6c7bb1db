# SPDX-License-Identifier: Apache-2.0
"""Fuzzed: the bytes of every message family that is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle

import numpy as np
from harness import Target
from message_families import FAMILIES, LIDARS, cloud_points, use_cloud
from serialised import STAMP_NS, STORE, cloud_of, header

from nucleus_bridge.decode.cdr import peek_header
from nucleus_bridge.decode.radar import RADAR_SCAN, decode_radar
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Message

lidars = cycle(LIDARS)


def use_cloud_in_turn(message: Message) -> None:
    use_cloud(message, next(lidars))


def use_radar(message: Message) -> None:
    scan = decode_radar(message)
    assert np.isfinite(scan.xyz).all()
    assert scan.velocity is None or np.isfinite(scan.velocity).all()


def radar_scan() -> Message:
    kind, row = STORE.types[RADAR_SCAN], STORE.types["radar_msgs/msg/RadarReturn"]
    scan = kind(header(), [row(10.0 + n, 0.1 * n, 0.0, -1.0, 5.0) for n in range(4)])
    return Message("/radar", RADAR_SCAN, STAMP_NS, bytes(STORE.serialize_cdr(scan, RADAR_SCAN)))


def family(name: str, use: Callable[[Message], object], messages: list[Message]) -> Target:
    """Make a target of one message family; what is fuzzed are the bytes, topic and type are given."""
    types = {message.type_name: message for message in messages}
    (message,) = types.values()
    return Target(
        name, lambda data: use(replace(message, data=data)), lambda: [m.data for m in messages], (DecodeError,)
    )


def register_radar() -> None:
    from rosbags.typesys import get_types_from_msg

    from nucleus_bridge.decode.radar import RADAR_SCAN_DEFINITION

    STORE.register(get_types_from_msg(RADAR_SCAN_DEFINITION, RADAR_SCAN))


register_radar()
TARGETS = [
    family("pointcloud2", use_cloud_in_turn, FAMILIES["PointCloud2"][1]),
    family("image", *FAMILIES["Image"]),
    family("compressed_image", *FAMILIES["CompressedImage"]),
    family("camera_info", *FAMILIES["CameraInfo"]),
    family("nav_sat_fix", *FAMILIES["NavSatFix"]),
    family("imu", *FAMILIES["Imu"]),
    family("tf_message", *FAMILIES["TFMessage"]),
    family(
        "radar_cloud",
        use_radar,
        [
            cloud_of(cloud_points("f4", names))
            for names in (("x", "y", "z", "vx", "vy"), ("range", "azimuth", "doppler"), ("x", "y", "z", "rcs"))
        ],
    ),
    family("radar_scan", use_radar, [radar_scan()]),
    Target(
        "header",
        peek_header,
        lambda: [FAMILIES["Imu"][1][0].data[:40]],
        (DecodeError,),
    ),
]
