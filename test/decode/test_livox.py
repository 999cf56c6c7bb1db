# SPDX-License-Identifier: Apache-2.0
"""Livox CustomMsg: the points, times and tags of the message, read past rosbags."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import get_types_from_msg
from serialised import STAMP_NS, STORE, header

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.livox import CUSTOM_MSG, INTERFACES
from nucleus_bridge.decode.pointcloud2 import decode_sweep
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.errors import CloudError, DecodeError
from nucleus_bridge.model import Message, Sweep
from nucleus_bridge.recordings import open_recording

LIDAR = LidarConfig(name="top", topic="/livox/lidar")
INPUTS = Path(os.environ.get("NUCLEUS_BRIDGE_TEST_DATA", "/nowhere"), "inputs", "made")
DEFINITION = (
    "std_msgs/Header header\nuint64 timebase\nuint32 point_num\nuint8 lidar_id\nuint8[3] rsvd\nCustomPoint[] points\n"
    + "=" * 80
    + "\nMSG: {0}/CustomPoint\nuint32 offset_time\nfloat32 x\nfloat32 y\nfloat32 z\nuint8 reflectivity\nuint8 tag\n"
    "uint8 line\n"
)
for _name in CUSTOM_MSG:
    STORE.register(get_types_from_msg(DEFINITION.format(_name.partition("/")[0]), _name))


def custom_message(
    type_name: str = CUSTOM_MSG[0],
    frame_id: str = "livox_frame",
    points: int = 5,
    timebase_ns: int = STAMP_NS,
    little_endian: bool = True,
    longest_ns: int = 99_000_000,
) -> Message:
    point = STORE.types[type_name.replace("CustomMsg", "CustomPoint")]
    step = longest_ns // max(points - 1, 1)
    rows = [
        point(offset_time=step * n, x=1.0 + n, y=-2.0, z=0.5, reflectivity=40 * n % 256, tag=n, line=n % 4)
        for n in range(points)
    ]
    content = STORE.types[type_name](
        header=header(STAMP_NS, frame_id),
        timebase=timebase_ns,
        point_num=points,
        lidar_id=192,
        rsvd=np.zeros(3, np.uint8),
        points=rows,
    )
    data = STORE.serialize_cdr(content, type_name, little_endian=little_endian)
    return Message("/livox/lidar", type_name, STAMP_NS + 110_000_000, bytes(data))


def decode(message: Message, config: LidarConfig = LIDAR) -> Sweep:
    interface = next(entry for entry in INTERFACES if entry.type_name == message.type_name)
    (sweep,) = interface.decoder(config).decode(message)
    assert isinstance(sweep, Sweep)
    return sweep


@pytest.mark.parametrize("type_name", CUSTOM_MSG)
@pytest.mark.parametrize("little_endian", [True, False])
def test_every_field_comes_back(type_name: str, little_endian: bool) -> None:
    sweep = decode(custom_message(type_name, little_endian=little_endian))
    assert (sweep.stamp_ns, sweep.frame_id) == (STAMP_NS, "livox_frame")
    assert sweep.points["x"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert sweep.points["intensity"].tolist() == sweep.points["reflectivity"].tolist() == [0, 40, 80, 120, 160]
    assert sweep.points["tag"].tolist() == [0, 1, 2, 3, 4]
    assert sweep.points["line"].tolist() == [0, 1, 2, 3, 0]
    cloud = select_points(sweep, LIDAR)
    assert cloud.time_ns is not None
    assert (cloud.time_ns - STAMP_NS).tolist() == [0, 24_750_000, 49_500_000, 74_250_000, 99_000_000]


@pytest.mark.parametrize("length", range(1, 12))
def test_the_length_of_the_frame_id_does_not_matter(length: int) -> None:
    sweep = decode(custom_message(frame_id="f" * length))
    assert sweep.points["x"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_times_count_from_the_timebase_where_it_is_the_stamp_more_exactly() -> None:
    sweep = decode(custom_message(timebase_ns=STAMP_NS - 117))
    assert (sweep.first_ns - STAMP_NS, sweep.last_ns - STAMP_NS) == (-117, 98_999_883)


def test_a_timebase_that_was_never_set_is_left_alone() -> None:
    sweep = decode(custom_message(timebase_ns=291_000_000_000))
    assert (sweep.first_ns - STAMP_NS, sweep.last_ns - STAMP_NS) == (0, 99_000_000)


def test_point_times_may_be_turned_off() -> None:
    assert decode(custom_message(), LidarConfig(name="top", topic="", time_field="none")).time_field is None


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (custom_message(points=0), "empty_cloud"),
        (custom_message(longest_ns=4_000_000_000), "point_time"),
        (custom_message(frame_id=""), "empty_frame_id"),
    ],
)
def test_a_message_that_cannot_be_used_says_why(message: Message, cause: str) -> None:
    with pytest.raises(CloudError) as caught:
        decode(message)
    assert caught.value.cause == cause


def test_a_cut_message_is_refused_at_every_length() -> None:
    message = custom_message()
    for length in range(len(message.data) - 4):
        with pytest.raises(DecodeError):
            decode(Message(message.topic, message.type_name, message.log_ns, message.data[:length]))


@pytest.mark.skipif(not INPUTS.exists(), reason="NUCLEUS_BRIDGE_TEST_DATA is not set")
def test_a_recorded_drive_has_the_points_and_times_of_its_point_clouds() -> None:
    sweeps = [decode(message) for message in _messages(INPUTS / "livox_custommsg", "/livox/lidar")]
    truth = [decode_sweep(message, LIDAR) for message in _messages(INPUTS / "base", "/lidar/top/points")]
    assert len(sweeps) == len(truth) == 22
    for sweep, true in zip(sweeps, truth, strict=True):
        count = len(true.points)
        for column, name in (("x", "x"), ("y", "y"), ("z", "z"), ("intensity", "intensity")):
            assert np.array_equal(sweep.points[column][:count], true.points[name])
        assert not sweep.points["x"][count:].any()
        assert (sweep.stamp_ns, sweep.first_ns, sweep.last_ns) == (true.stamp_ns, true.first_ns, true.last_ns)


def _messages(folder: Path, topic: str) -> Any:
    with open_recording(folder) as recording:
        return list(recording.messages([topic]))
