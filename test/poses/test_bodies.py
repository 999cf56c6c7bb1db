# SPDX-License-Identifier: Apache-2.0
"""Poses of a mounted lidar, IMU or antenna say where the vehicle is, in whatever order mounts and poses come."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from bags import START_NS, TYPES, transforms
from drives import Drive
from pose_drives import assert_alike, config_with, converted_files, is_moving, rewritten
from pose_messages import matrix_of, odometry, serialised
from scipy.spatial.transform import Rotation

from nucleus_bridge.config import MountConfig, PoseConfig, TransformsConfig
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.model import FloatArray, Message
from nucleus_bridge.poses.feed import PoseFeed
from nucleus_bridge.poses.mounts import Mount
from nucleus_bridge.poses.source import Edge, PoseSource
from nucleus_bridge.poses.tf import Transforms
from nucleus_bridge.poses.topics import TopicPoses
from nucleus_bridge.poses.urdf import UrdfTopic
from nucleus_bridge.warnings import Code

PLATE = Edge("base_link", "plate", 0, (0.5, 0.0, 1.0), tuple(Rotation.from_euler("z", 0.3).as_quat()), static=True)
IMU = Edge("plate", "imu", 0, (0.1, 0.2, 0.3), tuple(Rotation.from_euler("x", 1.0).as_quat()), static=True)
BASE_FROM_IMU = matrix_of(PLATE) @ matrix_of(IMU)


def imu_pose(index: int) -> tuple[Message, FloatArray]:
    stamp_ns, turn = START_NS + 10_000_000 * index, Rotation.from_euler("zyx", (0.1 * index, 0.02, 0.9))
    message = odometry(stamp_ns, (1.0 * index, -2.0, 0.5), tuple(turn.as_quat()), "map", "imu")
    return serialised(message, "/lio"), matrix_of(
        Edge("", "", 0, (1.0 * index, -2.0, 0.5), tuple(turn.as_quat()), static=False)
    )


def static(*edges: Edge) -> Message:
    return serialised(transforms(*(edge[:5] for edge in edges)), "/tf_static")


def description(*edges: Edge) -> Message:
    joints = []
    for edge in edges:
        r, p, y = Rotation.from_quat(edge.rotation_xyzw).as_euler("xyz").tolist()
        xyz = " ".join(map(repr, edge.translation))
        joints.append(
            f'<joint name="{edge.child}" type="fixed"><parent link="{edge.parent}"/><child link="{edge.child}"/>'
            f'<origin xyz="{xyz}" rpy="{r!r} {p!r} {y!r}"/></joint>'
        )
    return serialised(TYPES.types["std_msgs/msg/String"](f"<robot>{''.join(joints)}</robot>"), "/robot_description")


def feed(messages: list[Message], *more: PoseSource) -> tuple[TransformTree, PoseFeed]:
    """Feed messages as the pipeline does."""
    sources: list[PoseSource] = [
        Transforms(TransformsConfig()),
        TopicPoses(PoseConfig("ego", topic="/lio"), "base_link"),
        UrdfTopic("/robot_description", is_needed=False),
        *more,
    ]
    tree = TransformTree()
    poses = PoseFeed(sources, tree, lambda *lost: pytest.fail(str(lost)), ("map", "base_link"))
    for message in messages:
        source = next(source for source in sources if message.topic in source.topics)
        for given in source.edges(message):
            edge = poses.placed(source, given, message.topic)
            if poses.admits(source.rank, edge, message.topic):
                poses.add(edge, message.topic)
    poses.settle()
    return tree, poses


def assert_places(tree: TransformTree) -> None:
    for index in range(3):
        _, map_from_imu = imu_pose(index)
        wanted = map_from_imu @ np.linalg.inv(BASE_FROM_IMU)
        found = tree.lookup("map", "base_link", START_NS + 10_000_000 * index)
        assert np.abs(matrix_of(found) - wanted).max() < 1e-9
        assert np.abs(matrix_of(tree.lookup("base_link", "imu", START_NS)) - BASE_FROM_IMU).max() < 1e-9


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
@pytest.mark.parametrize("say", [static, description], ids=["static", "urdf"])
def test_mounts_and_poses_may_come_in_any_order(order: tuple[int, ...], say: object) -> None:
    mounts = [static(PLATE), static(IMU)] if say is static else [description(PLATE), description(IMU)]
    rows = [mounts[0], mounts[1], imu_pose(0)[0], imu_pose(1)[0]]
    tree, poses = feed([*(rows[i] for i in order), imu_pose(2)[0]])
    assert_places(tree)
    assert list(poses.findings()) == []


def test_a_mount_of_the_configuration_carries_the_body_as_well() -> None:
    matrix = Rotation.from_matrix(BASE_FROM_IMU[:3, :3])
    settings = MountConfig(
        "imu",
        "base_link",
        "imu",
        xyz=tuple(BASE_FROM_IMU[:3, 3].tolist()),
        quaternion_xyzw=tuple(matrix.as_quat().tolist()),
    )
    tree, _ = feed([imu_pose(index)[0] for index in range(3)], Mount(settings, Path()))
    assert_places(tree)


def test_a_body_that_nothing_mounts_is_named() -> None:
    _, poses = feed([imu_pose(0)[0], static(PLATE)])
    assert [(finding.code, finding.name) for finding in poses.findings()] == [(Code.NO_MOUNT, "imu")]


def test_poses_of_the_device_are_not_touched() -> None:
    message = serialised(odometry(START_NS, (1.0, 2.0, 3.0), (0.0, 0.0, 0.6, 0.8), "map", "base_link"), "/lio")
    tree, _ = feed([static(PLATE, IMU), message])
    found = tree.lookup("map", "base_link", START_NS)
    assert (found.translation.tolist(), found.rotation_xyzw.tolist()) == ([1.0, 2.0, 3.0], [0.0, 0.0, 0.6, 0.8])


def test_a_static_placeholder_of_the_same_edge_gives_way() -> None:
    still = Edge("map", "base_link", 0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), static=True)
    message = serialised(odometry(START_NS, (1.0, 2.0, 3.0), (0.0, 0.0, 0.6, 0.8), "map", "base_link"), "/lio")
    tree, _ = feed([static(still), message])
    assert tree.lookup("map", "base_link", START_NS).translation.tolist() == [1.0, 2.0, 3.0]


def test_odometry_of_the_lidar_gives_the_scenes_of_the_drive(drive: Drive, tmp_path: Path) -> None:
    """As LIOs publish it; the odometry's own edge and the mount are joined and taken apart again, to 1e-9 m."""
    mount = drive.truth["lidars"]["top"]["base_from_lidar"]
    base_from_lidar = matrix_of(Edge("", "", 0, mount["translation"], mount["rotation_xyzw"], static=True))

    def of_lidar(edge: Edge) -> tuple[str, object]:
        matrix = matrix_of(edge) @ base_from_lidar
        turn = tuple(Rotation.from_matrix(matrix[:3, :3]).as_quat().tolist())
        return "/lio", odometry(edge.stamp_ns, tuple(matrix[:3, 3].tolist()), turn, "odom", "lidar_top")

    rewritten(drive.bag, tmp_path / "bag", of_lidar, is_replaced=is_moving)
    config = config_with(drive.config_path, tmp_path / "c.yaml", ["pose_names: [ego]", "poses: {ego: {topic: /lio}}"])
    found = converted_files(tmp_path / "bag", config, tmp_path / "spool")
    rewritten(drive.bag, tmp_path / "same", lambda _edge: None, is_replaced=lambda _edge: False)
    wanted = converted_files(tmp_path / "same", drive.config_path, tmp_path / "wanted")
    assert_alike(found, wanted)
