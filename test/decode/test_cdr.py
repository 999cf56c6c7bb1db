# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from serialised import (
    LOG_NS,
    STAMP_NS,
    camera_info_message,
    cloud_of,
    compressed_message,
    fix_message,
    header,
    image_message,
    imu_message,
    make,
    recorded,
    serialise,
    tf_message,
)

from nucleus_bridge.decode.cdr import deserialise, peek_header, register, seconds
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Message

RADAR_SCAN = """std_msgs/Header header
radar_msgs/RadarReturn[] returns
================================================================================
MSG: radar_msgs/RadarReturn
float32 range
float32 azimuth
float32 elevation
float32 doppler_velocity
float32 amplitude
"""


def one_of_each() -> list[Message]:
    points = np.ones(3, np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4"), ("t", "u4")]))
    return [
        cloud_of(points),
        image_message("mono8", bytes(12), width=4, height=3, step=4),
        compressed_message(b"\xff\xd8\xff\xd9"),
        camera_info_message(),
        fix_message(48.0, 11.0),
        imu_message((0.0, 0.0, 0.0, 1.0)),
        tf_message(("map", "base_link", STAMP_NS, (1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 1.0))),
    ]


EACH = pytest.mark.parametrize("message", one_of_each(), ids=lambda message: message.type_name.split("/")[-1])


@pytest.mark.parametrize("little_endian", [True, False])
def test_values_arrive_in_either_byte_order(little_endian: bool) -> None:
    content = make(
        "sensor_msgs/msg/PointCloud2",
        header=header(STAMP_NS, "lidar_top"),
        height=1,
        width=2,
        fields=[make("sensor_msgs/msg/PointField", name="x", offset=0, datatype=7, count=1)],
        is_bigendian=False,
        point_step=4,
        row_step=8,
        data=np.arange(8, dtype=np.uint8),
        is_dense=True,
    )
    read = deserialise(serialise(content, "/points", little_endian=little_endian))
    assert (read.header.stamp.sec, read.header.stamp.nanosec) == divmod(STAMP_NS, 10**9)
    assert read.header.frame_id == "lidar_top"
    assert read.fields[0].name == "x"
    assert bytes(read.data) == bytes(range(8))


def test_arrays_are_views_of_the_message() -> None:
    message = image_message("mono8", bytes(1200), width=40, height=30, step=40)
    data = deserialise(message).data
    assert np.shares_memory(data, np.frombuffer(message.data, np.uint8))


@EACH
def test_every_truncation_is_damage_that_names_topic_type_and_time(message: Message) -> None:
    for length in range(len(message.data)):
        with pytest.raises(DecodeError) as caught:
            deserialise(replace(message, data=message.data[:length]))
        assert caught.value.cause == "damaged"
        assert message.topic in str(caught.value)
        assert message.type_name in str(caught.value)
        assert seconds(LOG_NS) in str(caught.value) or seconds(STAMP_NS) in str(caught.value)


@EACH
@pytest.mark.parametrize("encapsulation", [b"\x00\x02", b"\x00\x03", b"\x00\x07", b"\xff\xff"])
def test_another_encapsulation_is_damage(message: Message, encapsulation: bytes) -> None:
    with pytest.raises(DecodeError):
        deserialise(replace(message, data=encapsulation + message.data[2:]))


@EACH
def test_lengths_of_four_billion_take_no_memory(message: Message) -> None:
    for position in range(4, min(len(message.data) - 4, 240), 4):
        data = bytearray(message.data)
        struct.pack_into("<I", data, position, 0xFFFF_FFF0)
        tracemalloc.start()
        try:
            deserialise(replace(message, data=bytes(data)))
        except DecodeError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 1_000_000


def test_a_type_nobody_registered_is_named() -> None:
    with pytest.raises(DecodeError, match=r"/radar carries vendor_msgs/msg/Unheard") as caught:
        deserialise(Message("/radar", "vendor_msgs/msg/Unheard", 0, b"\x00\x01\x00\x00"))
    assert caught.value.cause == "unknown_type"


def test_a_type_that_was_not_expected_is_named() -> None:
    with pytest.raises(DecodeError, match=r"NavSatFix, expected sensor_msgs/msg/Imu") as caught:
        deserialise(fix_message(1.0, 2.0), "sensor_msgs/msg/Imu")
    assert caught.value.cause == "wrong_type"


def test_a_registered_type_is_read() -> None:
    store = get_typestore(Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg(RADAR_SCAN, "radar_msgs/msg/RadarScan"))
    echo = store.types["radar_msgs/msg/RadarReturn"](
        range=12.5, azimuth=0.25, elevation=-0.125, doppler_velocity=-3.0, amplitude=40.0
    )
    scan = store.types["radar_msgs/msg/RadarScan"](header=header(), returns=[echo])
    data = bytes(store.serialize_cdr(scan, "radar_msgs/msg/RadarScan"))
    for _ in range(2):
        register("radar_msgs/msg/RadarScan", RADAR_SCAN)
    read = deserialise(Message("/radar", "radar_msgs/msg/RadarScan", 0, data))
    assert [(r.range, r.doppler_velocity) for r in read.returns] == [(12.5, -3.0)]


@pytest.mark.parametrize(
    "definition",
    ["float32 range range range", "uint8 only_this", "\x00", "float32[ x"],
    ids=["no definition", "contradicts the standard one", "binary", "broken"],
)
def test_a_definition_that_cannot_be_used_is_named(definition: str) -> None:
    with pytest.raises(DecodeError, match="sensor_msgs/msg/Range") as caught:
        register("sensor_msgs/msg/Range", definition)
    assert caught.value.cause == "bad_definition"


@pytest.mark.parametrize("little_endian", [True, False])
@pytest.mark.parametrize("frame_id", ["lidar_top", "/lidar_top", ""])
def test_the_header_is_read_without_the_rest(little_endian: bool, frame_id: str) -> None:
    content = make("sensor_msgs/msg/Temperature", header=header(STAMP_NS, frame_id), temperature=1.0, variance=0.0)
    data = serialise(content, "/t", little_endian=little_endian).data
    assert peek_header(data) == (STAMP_NS, frame_id.strip("/"))


def test_a_header_cut_off_anywhere_is_an_error() -> None:
    data = serialise(make("std_msgs/msg/Header", stamp=header().stamp, frame_id="lidar"), "/h").data
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            peek_header(data[:length])


def test_a_frame_id_that_is_no_text_is_an_error() -> None:
    data = serialise(header(STAMP_NS, "lidar"), "/h").data.replace(b"lidar", b"li\xff\xfer")
    with pytest.raises(DecodeError, match="UTF-8"):
        peek_header(data)


def test_stamps_are_written_without_rounding() -> None:
    assert seconds(1_700_000_000_000_000_001) == "1700000000.000000001"
    assert seconds(-1_500_000_000) == "-1.500000000"


@pytest.mark.parametrize("folder", ["scale_sample", "ouster_os1", "rosbag2_storage/all_types/test_bag_mcap"])
def test_recorded_headers_agree_with_the_whole_message(folder: str) -> None:
    with_header = {message.type_name for message in one_of_each()} - {"tf2_msgs/msg/TFMessage"}
    seen = 0
    for message in recorded(folder):
        if message.type_name in with_header:
            content = deserialise(message)
            stamp = content.header.stamp
            expected = (stamp.sec * 10**9 + stamp.nanosec, content.header.frame_id.lstrip("/"))
            assert peek_header(message.data) == expected
            seen += 1
    assert seen >= 10
