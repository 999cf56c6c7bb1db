# SPDX-License-Identifier: Apache-2.0
"""A sensor of a type that nobody listed is named, and nothing else is taken for one."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from bags import MS, START_NS, recording
from mcap.writer import Writer

from nucleus_bridge.cli.main import main
from nucleus_bridge.decode.unreadable import likely_sensor
from nucleus_bridge.errors import BridgeError
from nucleus_bridge.inspect.report import inspect_bag
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.warnings import Code

POINTS = "std_msgs/Header header\nacme_msgs/Echo[] points\n"
BYTES = "std_msgs/Header header\nuint32 width\nuint8[] data\n"
REST = "\n" + "=" * 80 + "\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"


def bag_with(folder: Path, topic: str, type_name: str, definition: str, size: int) -> Path:
    """One topic of a type of its own beside nothing else."""
    path = folder / "own.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2")
        schema = writer.register_schema(type_name, "ros2msg", (definition + REST).encode())
        channel = writer.register_channel(topic, "cdr", schema)
        for number in range(4):
            stamp_ns = START_NS + 100 * MS * number
            data = b"\x00\x01\x00\x00" + struct.pack("<II", stamp_ns // 10**9, stamp_ns % 10**9) + bytes(size)
            writer.add_message(channel, stamp_ns, data, stamp_ns, number)
        writer.finish()
    return path


@pytest.mark.parametrize(
    ("topic", "type_name", "definition", "word"),
    [
        ("/roof/points", "acme_msgs/msg/Blob", BYTES, "lidar"),
        ("/roof", "acme_msgs/msg/Echoes", POINTS, "lidar"),
        ("/roof", "acme_msgs/msg/SparseCloud", BYTES, "lidar"),
        ("/left/camera", "acme_msgs/msg/Blob", BYTES, "camera"),
        ("/nose_radar", "acme_msgs/msg/Blob", BYTES, "radar"),
    ],
)
def test_a_sensor_of_an_unknown_type_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], topic: str, type_name: str, definition: str, word: str
) -> None:
    bag = bag_with(tmp_path, topic, type_name, definition, 9_000)
    (finding,) = [found for found in inspect_bag(bag).warnings if found.code is Code.UNREADABLE_TOPIC]
    assert (finding.name, finding.text) == (topic, f"{topic} is {type_name}, which is not read; it may be a {word}")
    assert "docs/contributing.md" in finding.remedy
    assert main(["init", str(bag)]) == 2
    assert type_name in capsys.readouterr().err


@pytest.mark.parametrize(
    ("topic", "type_name", "definition", "size"),
    [
        ("/points", "acme_msgs/msg/Blob", BYTES, 40),
        ("/plan/points", "acme_msgs/msg/PlannedPath", POINTS, 9_000),
        ("/lidar/status", "acme_msgs/msg/LidarStatus", BYTES, 9_000),
        ("/log", "acme_msgs/msg/Blob", BYTES, 9_000),
        ("/lidar/stats", "acme_msgs/msg/Blob", "std_msgs/Header header\nfloat64 load\n", 9_000),
        ("/lidar/points", "acme_msgs/msg/Blob", "uint8[] data\n", 9_000),
        ("/lidar/points", "visualization_msgs/msg/MarkerArray", POINTS, 9_000),
        ("/lidar/points", "sensor_msgs/msg/PointCloud2", BYTES, 9_000),
    ],
)
def test_other_topics_are_not_taken_for_sensors(topic: str, type_name: str, definition: str, size: int) -> None:
    assert likely_sensor(topic, type_name, definition + REST, size) is None


def test_an_ordinary_recording_names_none(tmp_path: Path) -> None:
    report = inspect_bag(recording().write(tmp_path / "bag"))
    assert Code.UNREADABLE_TOPIC not in {finding.code for finding in report.warnings}


def real_recordings() -> Iterator[Path]:
    top = os.environ.get("NUCLEUS_BRIDGE_TEST_DATA")
    for ending in ("*.mcap", "*.db3", "*.bag") if top else ():
        yield from sorted(Path(top or "").rglob(ending))


def test_no_topic_of_a_real_recording_is_named_that_a_person_would_not() -> None:
    named, seen = [], 0
    for path in real_recordings():
        try:
            with open_recording(path) as bag:
                for topic in bag.topics:
                    seen += 1
                    first = bag.first_messages([topic.name]).get(topic.name)
                    size = len(first.data) if first is not None else 0
                    found = likely_sensor(topic.name, topic.type_name, topic.definition, size)
                    named += [(topic.name, topic.type_name)] if found is not None else []
        except BridgeError:  # some are damaged, or kept as pointers, which other tests are about
            continue
    assert named == []
    assert seen or "NUCLEUS_BRIDGE_TEST_DATA" not in os.environ
