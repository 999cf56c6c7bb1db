# SPDX-License-Identifier: Apache-2.0
"""ROS 1 recordings: what rosbags itself reads from them comes out as the ROS 2 messages of the same drive."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sample_config import CONFIG

from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import BagError
from nucleus_bridge.model import Message
from nucleus_bridge.recordings import Recording, open_recording

INPUTS = Path(os.environ.get("NUCLEUS_BRIDGE_TEST_DATA", "/nowhere"), "inputs")
NEEDS_DATA = pytest.mark.skipif(not INPUTS.exists(), reason="NUCLEUS_BRIDGE_TEST_DATA is not set")
NOETIC = get_typestore(Stores.ROS1_NOETIC)
START_NS = 1_700_000_000_000_000_000
CUSTOM = "my_msgs/msg/Reading"
CUSTOM_TEXT = "Header header\nfloat64 value\nstring unit\ntime when\n"


def _all(bag: Recording) -> list[Message]:
    return list(bag.messages([topic.name for topic in bag.topics]))


@NEEDS_DATA
@pytest.mark.parametrize("name", ["ros1.bag", "ros1.mcap"])
def test_every_message_is_that_of_the_ros_2_recording(name: str) -> None:
    with open_recording(INPUTS / "made" / "base") as base, open_recording(INPUTS / "made" / name) as old:
        wanted = [message for message in _all(base) if message.log_ns <= old.end_ns]
        found = _all(old)
        assert not old.damage
        assert {topic.name: topic.type_name for topic in old.topics} == {
            topic.name: topic.type_name for topic in base.topics
        }
        assert old.message_count == len(found) == len(wanted) == 339
    for message, true in zip(found, wanted, strict=True):
        assert (message.topic, message.type_name, message.log_ns) == (true.topic, true.type_name, true.log_ns)
        assert message.data == true.data


@NEEDS_DATA
def test_a_bag_and_an_mcap_give_the_same_scenes(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    for name in ("ros1.bag", "ros1.mcap"):
        report = convert_bag(INPUTS / "made" / name, tmp_path / "config.yaml", tmp_path / name)
        assert report.complete
        assert [scene.manifest.frames for scene in report.scenes] == [8]
    bag, mcap = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("**/*") if path.is_file()}
        for folder in (tmp_path / name / "scenes" for name in ("ros1.bag", "ros1.mcap"))
    )
    assert bag
    assert bag == mcap


@NEEDS_DATA
@pytest.mark.parametrize("name", ["ros1/husky_odom_imu_fix.bag", "ouster/512x10_raw.bag"])
def test_recorded_bags_hold_what_rosbags_reads(name: str) -> None:
    path = INPUTS / "real" / name
    with AnyReader([path]) as reader:
        wanted = [(connection.topic, log_ns) for connection, log_ns, _ in reader.messages()]
    with open_recording(path) as bag:
        found = _all(bag)
        assert not bag.damage
        assert sorted((message.topic, message.log_ns) for message in found) == sorted(wanted)


def custom_bag(path: Path, compression: Writer.CompressionFormat | None = None) -> Path:
    """Write a bag with a type of its own, a latched transform of tf1, and a message of ROS."""
    NOETIC.register(get_types_from_msg(CUSTOM_TEXT, CUSTOM))
    NOETIC.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms\n", "tf/msg/tfMessage"))
    writer = Writer(path)
    if compression:
        writer.set_compression(compression)
    header, time = NOETIC.types["std_msgs/msg/Header"], NOETIC.types["builtin_interfaces/msg/Time"]
    with writer:
        reading = writer.add_connection("/reading", CUSTOM, typestore=NOETIC)
        old_tf = writer.add_connection("/tf", "tf/msg/tfMessage", typestore=NOETIC)
        for number in range(20):
            stamp = time(sec=1_700_000_000 + number, nanosec=7)
            content = NOETIC.types[CUSTOM](header(number, stamp, "frame"), 0.5 * number, "m/s", stamp)
            log_ns = START_NS + number * 10**9
            writer.write(reading, log_ns, NOETIC.serialize_ros1(content, CUSTOM))
            empty = NOETIC.types["tf/msg/tfMessage"]([])
            writer.write(old_tf, log_ns, NOETIC.serialize_ros1(empty, "tf/msg/tfMessage"))
    return path


@pytest.mark.parametrize("compression", [None, Writer.CompressionFormat.BZ2, Writer.CompressionFormat.LZ4])
def test_types_of_its_own_come_out_by_their_embedded_definitions(
    tmp_path: Path, compression: Writer.CompressionFormat | None
) -> None:
    with open_recording(custom_bag(tmp_path / "a.bag", compression)) as bag:
        types = {topic.name: topic for topic in bag.topics}
        assert types["/reading"].type_name == CUSTOM
        assert types["/tf"].type_name == "tf2_msgs/msg/TFMessage"
        messages = list(bag.messages(["/reading"]))
        span = list(bag.messages(["/reading"], span=(START_NS + 3 * 10**9, START_NS + 5 * 10**9)))
    assert [message.log_ns for message in span] == [START_NS + n * 10**9 for n in (3, 4, 5)]
    store = get_typestore(Stores.ROS2_HUMBLE)
    definition = {k: v for k, v in get_types_from_msg(types["/reading"].definition, CUSTOM).items() if k == CUSTOM}
    store.register(definition)
    values = [store.deserialize_cdr(message.data, CUSTOM) for message in messages]
    assert [value.value for value in values] == [0.5 * number for number in range(20)]
    assert {(value.unit, value.header.frame_id, value.when.nanosec) for value in values} == {("m/s", "frame", 7)}


def test_a_bag_without_an_index_says_what_to_do(tmp_path: Path) -> None:
    path = custom_bag(tmp_path / "a.bag")
    whole = path.read_bytes()
    for length in range(20, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(BagError, match=r"rosbag reindex a\.bag"):
            open_recording(path)


def test_damaged_bytes_inside_are_told_and_the_rest_is_read(tmp_path: Path) -> None:
    path = custom_bag(tmp_path / "a.bag")
    data = bytearray(path.read_bytes())
    at = data.index(b"m/s", data.index(b"m/s", data.index(b"m/s") + 1) + 1)
    data[at - 4 : at] = np.array([1 << 30], "<u4").tobytes()
    path.write_bytes(bytes(data))
    with open_recording(path) as bag:
        messages = list(bag.messages(["/reading"]))
        assert len(messages) == 19
        assert [damage.loses_messages for damage in bag.damage] == [True]
        assert "/reading: a ROS 1 message of my_msgs/msg/Reading" in str(bag.damage[0])
