# SPDX-License-Identifier: Apache-2.0
"""Poses of topics and mounts of a robot description give over DDS what they give from a recording, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bags import TYPES
from compared_drives import with_drifting_odometry
from drives import Drive
from pose_drives import config_with, converted_files, files_below, is_moving, rewritten
from pose_messages import odometry, pose_stamped
from scipy.spatial.transform import Rotation

from nucleus_bridge.poses.source import Edge

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("nav_msgs", reason="pip install ros-nav-msgs")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
from live_graph import new_domain, recorder, replay

pytestmark = pytest.mark.live

FORMS = {
    "Odometry": lambda edge: odometry(edge.stamp_ns, edge.translation, edge.rotation_xyzw),
    "PoseStamped": lambda edge: pose_stamped(edge.stamp_ns, edge.translation, edge.rotation_xyzw),
}


def recorded_live(bag: Path, config: Path, spool: Path) -> dict[str, bytes]:
    new_domain()
    with recorder(config, spool, workers=2) as node, replay(bag) as player:
        player.wait_for("done")
        assert node.end() == 0, node.output
    return files_below(spool / "scenes")


@pytest.mark.parametrize("form", FORMS)
def test_pose_topics(drive: Drive, tmp_path: Path, form: str) -> None:
    message = FORMS[form]
    rewritten(drive.bag, tmp_path / "bag", lambda edge: ("/ego", message(edge)), is_replaced=is_moving)
    config = config_with(drive.config_path, tmp_path / "c.yaml", ["pose_names: [ego]", "poses: {ego: {topic: /ego}}"])
    assert recorded_live(tmp_path / "bag", config, tmp_path / "live") == converted_files(
        drive.bag, drive.config_path, tmp_path / "offline"
    )


def test_the_track_of_a_source_that_is_only_compared(drive: Drive, tmp_path: Path) -> None:
    with_drifting_odometry(drive.bag, tmp_path / "bag")
    lines = ["pose_names: [slam]", "poses: {slam: {topic: /slam/odom, compare_only: true}}"]
    config = config_with(drive.config_path, tmp_path / "c.yaml", lines)
    live = recorded_live(tmp_path / "bag", config, tmp_path / "live")
    assert live == converted_files(tmp_path / "bag", config, tmp_path / "offline")
    found, wanted = (
        [json.loads(path.read_text())["poses"] for path in sorted((tmp_path / spool).glob("scenes/*/manifest.json"))]
        for spool in ("live", "offline")
    )
    assert found == wanted
    assert len(found[0]["compared"][0]["samples"]) > 300


def test_a_robot_description_instead_of_static_transforms(drive: Drive, tmp_path: Path) -> None:
    joints: list[str] = []

    def join(edge: Edge) -> None:
        rpy = " ".join(map(repr, Rotation.from_quat(edge.rotation_xyzw).as_euler("xyz").tolist()))
        xyz = " ".join(map(repr, edge.translation))
        joints.append(
            f'<joint name="{edge.child}" type="fixed"><parent link="{edge.parent}"/><child link="{edge.child}"/>'
            f'<origin xyz="{xyz}" rpy="{rpy}"/></joint>'
        )

    rewritten(drive.bag, tmp_path / "joints", join, is_replaced=lambda edge: edge.static)
    text = TYPES.types["std_msgs/msg/String"](f"<robot name='demo'>{''.join(joints)}</robot>")
    told: list[bool] = []

    def describe(_edge: Edge) -> tuple[str, object] | None:
        told.append(True)
        return ("/robot_description", text) if len(told) == 1 else None

    rewritten(drive.bag, tmp_path / "bag", describe, is_replaced=lambda edge: edge.static)
    found = recorded_live(tmp_path / "bag", drive.config_path, tmp_path / "live")
    assert found == converted_files(tmp_path / "bag", drive.config_path, tmp_path / "offline")
