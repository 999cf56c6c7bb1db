# SPDX-License-Identifier: Apache-2.0
"""Poses of topics become edges as tf would have them, whatever type carries them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bags import START_NS
from pose_messages import (
    odometry,
    path,
    pose_stamped,
    pose_with_covariance_stamped,
    serialised,
    transform_stamped,
)

from nucleus_bridge.config import PoseConfig
from nucleus_bridge.decode.registry import types_of
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.poses.source import Edge
from nucleus_bridge.poses.topics import TopicPoses
from nucleus_bridge.recordings import open_recording

PLACE, TURN = (1.25, -2.5, 0.125), (0.0, 0.0, 0.6, 0.8)


def edges(message: Any, **settings: Any) -> list[Edge]:
    source = TopicPoses(PoseConfig("ego", topic="/pose", **settings), "base_link")
    return list(source.edges(message if hasattr(message, "data") else serialised(message)))


@pytest.mark.parametrize(
    "message",
    [
        odometry(START_NS, PLACE, TURN),
        pose_stamped(START_NS, PLACE, TURN),
        pose_with_covariance_stamped(START_NS, PLACE, TURN),
        transform_stamped(START_NS, PLACE, TURN),
        path(START_NS + 7, pose_stamped(START_NS - 5, (0.0, 0.0, 0.0), TURN), pose_stamped(START_NS, PLACE, TURN)),
    ],
    ids=lambda message: message.__msgtype__.rpartition("/")[2],
)
def test_every_type_of_pose_is_the_same_edge(message: Any) -> None:
    assert edges(message) == [Edge("odom", "base_link", START_NS, PLACE, TURN, static=False)]
    assert message.__msgtype__ in types_of("pose")


def test_frames_can_be_overridden_and_lose_their_slashes() -> None:
    (edge,) = edges(odometry(START_NS, PLACE, TURN, "/world", "/imu"), child_frame="/imu_link", parent_frame="odom")
    assert (edge.parent, edge.child) == ("odom", "imu_link")
    (edge,) = edges(odometry(START_NS, PLACE, TURN, "/world", "/imu"))
    assert (edge.parent, edge.child) == ("world", "imu")


def test_an_odometry_without_a_child_is_of_the_device() -> None:
    (edge,) = edges(odometry(START_NS, PLACE, TURN, child=""))
    assert edge.child == "base_link"


def test_a_clock_offset_moves_the_stamp() -> None:
    (edge,) = edges(pose_stamped(START_NS, PLACE, TURN), clock_offset_ms=-37000.0)
    assert edge.stamp_ns == START_NS - 37_000_000_000


@pytest.mark.parametrize("variance", [-1.0, 1e6, 1e9])
@pytest.mark.parametrize("make", [odometry, pose_with_covariance_stamped])
def test_a_pose_that_its_covariance_calls_unknown_is_none(make: Any, variance: float) -> None:
    with pytest.raises(DecodeError, match="no pose") as caught:
        edges(make(START_NS, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), variance=variance))
    assert caught.value.cause == "no_pose"


@pytest.mark.parametrize("make", [odometry, pose_stamped, transform_stamped])
def test_a_stamp_that_was_not_set_is_refused(make: Any) -> None:
    with pytest.raises(DecodeError) as caught:
        edges(make(0, PLACE, TURN))
    assert caught.value.cause == "zero_stamp"


def test_a_pose_in_no_frame_names_the_key_that_helps() -> None:
    with pytest.raises(DecodeError, match=r"set poses\.ego\.parent_frame"):
        edges(pose_stamped(START_NS, PLACE, TURN, parent=""))
    assert edges(pose_stamped(START_NS, PLACE, TURN, parent=""), parent_frame="map")[0].parent == "map"


@pytest.mark.parametrize("little_endian", [True, False])
@pytest.mark.parametrize("parent", ["", "m", "map", "a_long/frame_id"])
def test_a_path_gives_its_newest_pose_wherever_it_stands(parent: str, little_endian: bool) -> None:
    poses = [pose_stamped(START_NS + at, (float(at), 0.0, 0.0), TURN, parent) for at in (10, 30, 20)]
    message = serialised(path(START_NS, *poses), little_endian=little_endian)
    (edge,) = edges(message)
    assert (edge.stamp_ns, edge.translation[0]) == (START_NS + 30, 30.0)
    assert edge.parent == (parent or "odom")


@pytest.mark.parametrize("little_endian", [True, False])
def test_poses_of_a_path_without_stamps_have_that_of_the_path(little_endian: bool) -> None:
    poses = [pose_stamped(0, (float(at), 0.0, 0.0), TURN, "") for at in range(3)]
    (edge,) = edges(serialised(path(START_NS, *poses), little_endian=little_endian))
    assert (edge.stamp_ns, edge.translation[0], edge.parent) == (START_NS, 2.0, "odom")


@pytest.mark.parametrize("little_endian", [True, False])
def test_a_path_without_poses_is_no_pose(little_endian: bool) -> None:
    with pytest.raises(DecodeError, match="no pose") as caught:
        edges(serialised(path(START_NS), little_endian=little_endian))
    assert caught.value.cause == "no_pose"


def test_a_path_that_was_cut_is_damaged_at_every_length() -> None:
    whole = serialised(path(START_NS, *(pose_stamped(START_NS + i, PLACE, TURN) for i in range(3))))
    for length in range(len(whole.data)):
        with pytest.raises(DecodeError):
            edges(type(whole)(whole.topic, whole.type_name, 0, whole.data[:length]))


def test_recorded_poses_are_those_of_the_truth(real_data: Path) -> None:
    folder = real_data / "inputs" / "made"
    truth = json.loads((folder / "base.truth.json").read_text())
    wanted = {sweep["stamp_ns"]: sweep["map_from_base_link"] for sweep in truth["lidars"]["top"]["sweeps"]}
    with open_recording(folder / "pose_topics") as recording:
        topics = [topic.name for topic in recording.topics if topic.type_name in types_of("pose")]
        found = dict.fromkeys(topics, 0)
        for message in recording.messages(topics):
            (edge,) = TopicPoses(PoseConfig("ego", topic=message.topic), "base_link").edges(message)
            assert (edge.parent, edge.child) == ("map", "base_link")
            if edge.stamp_ns in wanted:
                found[message.topic] += 1
                assert edge.translation == pytest.approx(wanted[edge.stamp_ns]["translation"], abs=1e-12)
    assert len(topics) == 5
    del wanted
