# SPDX-License-Identifier: Apache-2.0
"""A recording that is played into the running recorder gives the scenes that converting it gives, byte for byte."""

from __future__ import annotations

import filecmp
import json
from pathlib import Path

import numpy as np
import pytest
from bags import TYPES, Recording
from drives import Drive, make_drive
from rosbags.typesys import get_types_from_msg

from nucleus_bridge.convert import convert_bag
from nucleus_bridge.decode.radar import RADAR_SCAN, RADAR_SCAN_DEFINITION
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.testing.demo import DriveOptions

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
from live_graph import new_domain, recorder, replay

pytestmark = pytest.mark.live

SAMPLE = """
/**:
  ros__parameters:
    lidar_names: [lidar]
    lidars:
      lidar: {topic: /lidar/points}
    camera_names: [front, front_left, back]
    cameras:
      front: {image_topic: /camera/front/image_raw/compressed, info_topic: /camera/front/camera_info}
      front_left: {image_topic: /camera/front_left/image_raw/compressed, info_topic: /camera/front_left/camera_info}
      back: {image_topic: /camera/back/image_raw/compressed, info_topic: /camera/back/camera_info}
"""

BEFORE_AND_AFTER = ("nobody publishes", "nothing has come yet", "silent for")
"""What the recorder rightly says while the player is not there yet, has not begun, or has played everything."""


def assert_same_tree(one: Path, other: Path) -> None:
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert files
    different = [path for path in files if not filecmp.cmp(one / path, other / path, shallow=False)]
    assert not different, different


def assert_live_equals_offline(bag: Path, config: Path, folder: Path, *flags: str) -> None:
    convert_bag(bag, config, folder / "offline")
    new_domain()
    with recorder(config, folder / "live", workers=2) as node, replay(bag, flags=flags) as player:
        player.wait_for("done")
        assert node.end() == 0, node.output
        assert not [
            line for line in node.lines if "WARN" in line and not any(text in line for text in BEFORE_AND_AFTER)
        ]
    assert_same_tree(folder / "offline" / "scenes", folder / "live" / "scenes")


def test_in_real_time(drive: Drive, tmp_path: Path) -> None:
    assert_live_equals_offline(drive.bag, drive.config_path, tmp_path)


def test_at_half_speed_with_topics_reordered(drive: Drive, tmp_path: Path) -> None:
    assert_live_equals_offline(
        drive.bag, drive.config_path, tmp_path, "--rate", "0.5", "--delay-ms", "300", "--seed", "1"
    )


def test_several_lidars_raw_images_and_scenes(tmp_path: Path) -> None:
    options = DriveOptions(
        seconds=2.0, points=3000, cameras=2, lidars=3, image="raw", image_width=320, image_height=200
    )
    drive = make_drive(tmp_path, options)
    drive.config_path.write_text(drive.config_path.read_text().replace("prefix: demo", "prefix: demo, max_items: 18"))
    assert_live_equals_offline(drive.bag, drive.config_path, tmp_path, "--delay-ms", "300", "--seed", "4")
    assert len(list((tmp_path / "live" / "scenes").iterdir())) == 4


@pytest.mark.parametrize(("rate", "delay_ms"), [("1", "0"), ("0.5", "300")])
def test_a_real_recording(real_data: Path, tmp_path: Path, rate: str, delay_ms: str) -> None:
    config = tmp_path / "sample.yaml"
    config.write_text(SAMPLE)
    assert_live_equals_offline(real_data / "scale_sample", config, tmp_path, "--rate", rate, "--delay-ms", delay_ms)


@pytest.mark.parametrize("fusion", ["sensor_fusion_json", "sensor_fusion_protobuf", "sfs"])
def test_formats_of_tasks(tmp_path: Path, fusion: str) -> None:
    drive = make_drive(tmp_path, DriveOptions(seconds=2.0, points=2000, cameras=1, radars=1))
    text = drive.config_path.read_text()
    drive.config_path.write_text(text.replace("prefix: demo", f"prefix: demo, format: {fusion}"))
    assert_live_equals_offline(drive.bag, drive.config_path, tmp_path, "--rate", "2")
    [path] = (tmp_path / "live" / "scenes").glob("*/manifest.json")
    assert json.loads(path.read_text())["format"] == fusion


@pytest.mark.parametrize("kind", ["sensor_msgs/msg/PointCloud2", "radar_msgs/msg/RadarScan"])
def test_a_radar(tmp_path: Path, kind: str) -> None:
    if kind == RADAR_SCAN:
        pytest.importorskip("radar_msgs", reason="nucleus-bridge ros-setup radar_msgs")
    drive = make_drive(tmp_path, DriveOptions(seconds=2.0, points=500, cameras=0, radars=1))
    bag = drive.bag if kind != RADAR_SCAN else with_radar_scans(drive.bag, tmp_path / "scans")
    assert_live_equals_offline(bag, drive.config_path, tmp_path, "--rate", "2")
    [path] = (tmp_path / "live" / "scenes").glob("*/manifest.json")
    manifest = json.loads(path.read_text())
    assert manifest["frames"] == 20
    assert manifest["sensors"]["front_radar"]["points"] > 100
    assert "/radar/front/points" not in manifest["losses"]


def with_radar_scans(source: Path, target: Path) -> Path:
    """Write a drive again with its radar's clouds as radar_msgs/RadarScan."""
    TYPES.register(get_types_from_msg(RADAR_SCAN_DEFINITION, RADAR_SCAN))
    scan, one = TYPES.types[RADAR_SCAN], TYPES.types["radar_msgs/msg/RadarReturn"]
    made = Recording()
    with open_recording(source) as bag:
        for message in bag.messages([topic.name for topic in bag.topics]):
            if message.topic != "/radar/front/points":
                made.add_raw(message.topic, message.type_name, message.data, message.log_ns)
                continue
            cloud = TYPES.deserialize_cdr(message.data, "sensor_msgs/msg/PointCloud2")
            rows = cloud.data.reshape(-1, cloud.point_step).copy().view("<f4").astype(float)
            ranges = np.linalg.norm(rows[:, :3], axis=1)
            angles = np.arctan2(rows[:, 1], rows[:, 0]), np.arcsin(rows[:, 2] / ranges)
            returns = [one(*values, 0.0, 1.0) for values in zip(ranges, *angles, strict=True)]
            made.add(message.topic, scan(cloud.header, returns), message.log_ns)
    return made.write(target)
