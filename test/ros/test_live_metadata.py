# SPDX-License-Identifier: Apache-2.0
"""Metadata from topics over DDS: the bytes of the conversion, and wrong fields named by the running node."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bags import TYPES, Recording, header
from drives import SHORT, Drive, make_drive

from nucleus_bridge.convert import convert_bag
from nucleus_bridge.recordings import open_recording

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
from live_graph import new_domain, observing, recorder, replay

pytestmark = pytest.mark.live

TWIST, VECTOR = TYPES.types["geometry_msgs/msg/Twist"], TYPES.types["geometry_msgs/msg/Vector3"]
STAMPED = TYPES.types["geometry_msgs/msg/TwistStamped"]
SIGNALS = """
    metadata_builtin: true
    metadata_from_names: [speed, slowest, height]
    metadata_from:
      speed: {topic: /vehicle/twist, field: FIELD, reduce: mean, per_item: true}
      slowest: {topic: /vehicle/twist, field: twist.linear.x, reduce: min}
      height: {topic: /gnss/fix, field: altitude}
"""


def drive_with_speed(folder: Path, field: str) -> Drive:
    """A drive of two scenes that has a speed at 50 Hz as well."""
    made = make_drive(folder, replace(SHORT, seconds=2.0, points=1000, cameras=1, image_width=64, image_height=64))
    rows = Recording()
    with open_recording(made.bag) as bag:
        for message in bag.messages([topic.name for topic in bag.topics]):
            rows.add_raw(message.topic, message.type_name, message.data, message.log_ns)
        start_ns, end_ns = bag.start_ns, bag.end_ns
    for number, stamp_ns in enumerate(range(start_ns, end_ns, 20_000_000)):
        speed = TWIST(VECTOR(number * 0.25, 0.0, 0.0), VECTOR(0.0, 0.0, 0.0))
        rows.add("/vehicle/twist", STAMPED(header(stamp_ns, "base_link"), speed), stamp_ns + 1_000_000)
    text = made.config_path.read_text().replace("prefix: demo", "prefix: demo, max_frames: 12")
    made.config_path.write_text(text + SIGNALS.replace("FIELD", field))
    return replace(made, bag=rows.write(folder / "with_speed"))


def test_metadata_live_are_those_of_the_conversion(tmp_path: Path) -> None:
    drive = drive_with_speed(tmp_path, "twist.linear.x")
    report = convert_bag(drive.bag, drive.config, tmp_path / "offline")
    assert report.findings == ()
    new_domain()
    flags = ("--delay-ms", "300", "--seed", "3")
    with recorder(drive.config_path, tmp_path / "live") as node, replay(drive.bag, flags=flags) as player:
        player.wait_for("done")
        assert node.end() == 0, node.output
    assert len(report.scenes) == 2
    for scene in report.scenes:
        there = tmp_path / "live" / "scenes" / scene.folder.name / "scene.json"
        assert there.read_bytes() == (scene.folder / "scene.json").read_bytes()
        told = json.loads(there.read_bytes())["metadata"]
        assert {"speed", "slowest", "height", "distance_m", "lat", "day_night"} <= told.keys()


def test_a_wrong_field_of_a_topic_that_is_published_is_refused_before_recording_starts(tmp_path: Path) -> None:
    drive = drive_with_speed(tmp_path, "twist.lineer.x")
    new_domain()
    with replay(drive.bag, flags=("--hold", "--eager")) as player:
        player.wait_for("ready")
        with recorder(drive.config_path, tmp_path / "live") as node:
            assert node.wait() == 2, node.output
    assert "metadata_from.speed.field" in node.output
    assert "twist.linear.x (float64)" in node.output


def test_a_wrong_field_is_named_by_the_node_and_the_rest_is_recorded(tmp_path: Path) -> None:
    drive = drive_with_speed(tmp_path, "twist.lineer.x")
    with (
        observing() as observer,
        recorder(drive.config_path, tmp_path / "live") as node,
        replay(drive.bag, seen_by=observer) as player,
    ):
        player.wait_for("done")
        found = observer.status("sensor /vehicle/twist", lambda status: "nearest field" in status.message)
        assert "twist.linear.x (float64)" in found.message
        observer.value("sensor /vehicle/twist", "received", lambda received: int(received or 0) > 90)
        node.end()
    told = [json.loads(path.read_text())["metadata"] for path in (tmp_path / "live").rglob("scene.json")]
    assert len(told) == 2
    assert all({"height", "slowest"} <= metadata.keys() and "speed" not in metadata for metadata in told)
