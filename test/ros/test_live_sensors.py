# SPDX-License-Identifier: Apache-2.0
"""Videos, Livox messages and Velodyne packets over real DDS give what ``convert`` gives of the recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drives import Drive, make_drive
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg

from nucleus_bridge.cli.main import main
from nucleus_bridge.decode.video import COMPRESSED_IMAGE, COMPRESSED_VIDEO, FFMPEG_PACKET
from nucleus_bridge.model import Message
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.testing.demo import DriveOptions
from nucleus_bridge.testing.demo.forms import CUSTOM_MSG
from nucleus_bridge.testing.demo.messages import TYPESTORE
from nucleus_bridge.testing.demo.packets import VELODYNE_SCAN

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
from test_live_equals_offline import assert_live_equals_offline

pytestmark = pytest.mark.live

SHORT = DriveOptions(seconds=2.0, points=1000, cameras=1, image_width=320, image_height=200, camera="h264")
DEFINITIONS = {
    CUSTOM_MSG: {
        "CustomMsg": "std_msgs/Header header\nuint64 timebase\nuint32 point_num\nuint8 lidar_id\nuint8[3] rsvd\n"
        "CustomPoint[] points\n",
        "CustomPoint": "uint32 offset_time\nfloat32 x\nfloat32 y\nfloat32 z\nuint8 reflectivity\nuint8 tag\n"
        "uint8 line\n",
    },
    VELODYNE_SCAN: {
        "VelodyneScan": "std_msgs/Header header\nVelodynePacket[] packets\n",
        "VelodynePacket": "builtin_interfaces/Time stamp\nuint8[1206] data\n",
    },
    COMPRESSED_VIDEO: {
        "CompressedVideo": "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n"
    },
    FFMPEG_PACKET: {
        "FFMPEGPacket": "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
        "bool is_bigendian\nuint8[] data\n"
    },
}
"""Of packages that are in no wheel, as their own repositories have them."""

_FFMPEG = DEFINITIONS[FFMPEG_PACKET]["FFMPEGPacket"]
TYPESTORE.register(get_types_from_msg(_FFMPEG, FFMPEG_PACKET))


@pytest.fixture(scope="module", autouse=True)
def _built(tmp_path_factory: pytest.TempPathFactory) -> None:
    for type_name, definitions in DEFINITIONS.items():
        package = type_name.partition("/")[0]
        folder = tmp_path_factory.mktemp(package)
        for name, text in definitions.items():
            (folder / f"{name}.msg").write_text(text)
        assert main(["ros-setup", "--package", package, "--msg-dir", str(folder)]) == 0


def as_type(messages: Iterator[Message], wanted: str) -> Iterator[Message]:
    """Turn CompressedVideo into another type that holds the same packets."""
    types: Any = TYPESTORE.types
    number = 0
    for message in messages:
        if message.type_name != COMPRESSED_VIDEO:
            yield message
            continue
        video = TYPESTORE.deserialize_cdr(message.data, COMPRESSED_VIDEO)
        header = types["std_msgs/msg/Header"](video.timestamp, video.frame_id)
        number += 1
        fields = (header, "h264", video.data)
        if wanted == FFMPEG_PACKET:
            fields = (header, 320, 200, "libx264", number, 0, False, video.data)
        made = types[wanted](*fields)
        yield replace(message, type_name=wanted, data=bytes(TYPESTORE.serialize_cdr(made, wanted)))


def with_video_as(drive: Drive, wanted: str, bag: Path) -> Path:
    """Write the drive again with its videos in another type."""
    with open_recording(drive.bag) as recording, Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections: dict[str, Any] = {}
        for message in as_type(recording.messages([topic.name for topic in recording.topics]), wanted):
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(
                    message.topic, message.type_name, typestore=TYPESTORE
                )
            writer.write(connections[message.topic], message.log_ns, message.data)
    return bag


def test_a_video_and_livox_messages(tmp_path: Path) -> None:
    drive = make_drive(tmp_path, replace(SHORT, driver="livox-custommsg"))
    assert_live_equals_offline(drive.bag, drive.config_path, tmp_path)


@pytest.mark.parametrize("video", [FFMPEG_PACKET, COMPRESSED_IMAGE])
def test_a_video_of_another_type_and_velodyne_packets(tmp_path: Path, video: str) -> None:
    drive = make_drive(tmp_path, replace(SHORT, driver="velodyne-packets"))
    assert_live_equals_offline(with_video_as(drive, video, tmp_path / "other"), drive.config_path, tmp_path)
