# SPDX-License-Identifier: Apache-2.0
"""The transform tree beyond the tf2 vectors: odd trees, walking and describing them, and what errors say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from trees import LEVEL, MS, START_NS, carried_cup, turned_around, vehicle

from nucleus_bridge.errors import (
    ConnectivityError,
    ExtrapolationError,
    InvalidTransformError,
    TransformError,
    UnknownFrameError,
)
from nucleus_bridge.geometry import Insertion, TransformTree
from nucleus_bridge.geometry.edge import ALL_TIME


def chain_of(frames, stamps, tree=None):
    tree = tree or TransformTree()
    for parent, child in itertools.pairwise(frames):
        for stamp in stamps:
            tree.add(parent, child, stamp, (1, 0, 0), LEVEL)
    return tree


def test_a_source_frame_is_expressed_in_the_target_frame():
    pose = vehicle().lookup("map", "lidar", START_NS + 50 * MS)
    np.testing.assert_allclose(pose.translation, [100.5 + math.cos(0.02), 0.5 + math.sin(0.02), 2], atol=1e-12)
    np.testing.assert_allclose(pose.rotation_xyzw, [0, 0, math.sin(0.01), math.cos(0.01)], atol=1e-15)


def test_zero_is_the_latest_common_time():
    tree = vehicle()
    latest, common = tree.lookup("map", "lidar", 0), tree.lookup("map", "lidar", START_NS + 1000 * MS)
    assert latest.translation.tobytes() == common.translation.tobytes()
    np.testing.assert_array_equal(tree.lookup("map", "odom", 0).translation, [100, 20, 0])


def test_a_leading_slash_means_nothing():
    tree = TransformTree()
    tree.add("/map", "/base_link", 5, (1, 2, 3), LEVEL)
    assert tree.frames() == ["base_link", "map"]
    np.testing.assert_array_equal(tree.lookup("/map", "base_link", 5).translation, [1, 2, 3])
    assert tree.parent_of("/base_link") == "map"


@pytest.mark.parametrize(("parent", "child"), [("", "a"), ("a", ""), ("a", "a"), ("/a", "a"), ("/", "a")])
def test_unusable_frame_ids_are_refused(parent, child):
    tree = TransformTree()
    with pytest.raises(InvalidTransformError, match="frame ids"):
        tree.add(parent, child, 0, (0, 0, 0), LEVEL)
    assert tree.frames() == []


def test_a_refused_pose_is_named_and_leaves_no_trace():
    tree = TransformTree()
    with pytest.raises(InvalidTransformError, match=r"'map' -> 'base_link' at 77 ns: .*quaternion"):
        tree.add("map", "base_link", 77, (0, 0, 0), (0, 0, 0, 0))
    with pytest.raises(InvalidTransformError, match="64 bits"):
        tree.add("map", "base_link", 2**63, (0, 0, 0), LEVEL)
    assert tree.frames() == []


def test_an_edge_above_the_meeting_frame_need_not_cover_the_stamp():
    late = START_NS + 10**12
    np.testing.assert_allclose(vehicle().lookup("lidar", "camera", late).translation, [1, 0, -1], atol=1e-15)


def test_unknown_frames_are_told_with_those_known():
    with pytest.raises(UnknownFrameError, match=r"'radar'.*base_link, camera, lidar, map, odom"):
        vehicle().lookup("map", "radar", START_NS)
    with pytest.raises(UnknownFrameError, match="known frames: none"):
        TransformTree().lookup("a", "b", 0)
    with pytest.raises(UnknownFrameError, match="''"):
        vehicle().lookup("map", "", START_NS)


def test_a_frame_in_itself_is_the_identity_known_or_not():
    for frame in ("map", "nowhere"):
        pose = vehicle().lookup(frame, frame, START_NS)
        assert (pose.translation.tolist(), pose.rotation_xyzw.tolist()) == ([0, 0, 0], [0, 0, 0, 1])


def test_unconnected_frames_are_told_with_their_roots():
    tree = vehicle()
    tree.add("island", "palm", START_NS, (0, 0, 0), LEVEL)
    with pytest.raises(ConnectivityError, match=rf"'lidar' to 'island' at {START_NS} ns: 'island' .* from 'map'"):
        tree.lookup("island", "lidar", START_NS)


@pytest.mark.parametrize(
    ("stamp_ns", "direction", "by"), [(START_NS - 7, "past", "7 ns"), (START_NS + 1001 * MS, "future", "1000000 ns")]
)
def test_a_stamp_outside_is_told_with_edge_and_span(stamp_ns, direction, by):
    expected = (
        rf"'lidar' in 'map' at {stamp_ns} ns: 'odom' -> 'base_link' .*\[{START_NS}, {START_NS + 1000 * MS}\] ns.*{by}"
    )
    with pytest.raises(ExtrapolationError, match=expected) as caught:
        vehicle().lookup("map", "lidar", stamp_ns)
    assert caught.value.direction == direction


@pytest.mark.parametrize("frames", [["a", "b", "a"], ["a", "b", "c", "a"], ["a", "b", "c", "d", "a"]])
def test_a_loop_is_an_error_that_names_its_frames(frames):
    tree = chain_of(frames, [10, 20])
    chain_of([frames[1], "x"], [10, 20], tree)
    tree.add("r", "s", 10, (0, 0, 0), LEVEL)
    in_loop = sorted(set(frames[frames.index(frames[-1]) :]))
    for stamp in (10, 15, 0):
        for target, source in (("a", "b"), ("b", "a"), ("r", "x"), ("x", "r"), ("b", "x")):
            with pytest.raises(ConnectivityError) as caught:
                tree.lookup(target, source, stamp)
            named = str(caught.value).split(": ")[1].split(";")[0].split(" -> ")
            assert named[0] == named[-1]
            assert sorted(set(named)) == in_loop
    assert isinstance(tree.availability("a", "x", 10, 20), ConnectivityError)
    assert set(in_loop) <= {line.split()[0] for line in tree.describe().splitlines()}


def test_a_child_that_becomes_static_holds_for_all_time_and_back():
    tree = TransformTree()
    tree.add("map", "gate", 10, (1, 0, 0), LEVEL)
    tree.add("map", "gate", 0, (2, 0, 0), LEVEL, static=True)
    assert tree.is_static("gate")
    assert tree.lookup("map", "gate", 10**15).translation[0] == 2
    tree.add("map", "gate", 0, (3, 0, 0), LEVEL, static=True)
    assert tree.lookup("map", "gate", 10**15).translation[0] == 3
    tree.add("map", "gate", 20, (4, 0, 0), LEVEL)
    assert not tree.is_static("gate")
    assert tree.lookup("map", "gate", 20).translation[0] == 4
    with pytest.raises(ExtrapolationError):
        tree.lookup("map", "gate", 10)


def test_a_frame_may_change_its_parent():
    tree = carried_cup()
    assert [tree.lookup("room", "cup", t).translation[0] for t in (10, 19, 20, 25, 39)] == [10, 10, 20, 25, 39]
    with pytest.raises(ConnectivityError, match="'floor'"):
        tree.lookup("room", "cup", 40)
    many = tree.lookup_many("room", "cup", np.array([10, 19, 20, 25, 39]))
    assert many.translations[:, 0].tolist() == [10, 10, 20, 25, 39]


def test_parent_and_child_may_change_places():
    tree = turned_around()
    many = tree.lookup_many("a", "b", np.array([10, 15, 30, 40]))
    assert many.translations[:, 0].tolist() == [10, 15, -30, -40]
    with pytest.raises(ExtrapolationError, match="25 ns"):
        tree.lookup_many("a", "b", np.array([10, 25, 40]))


def test_of_two_edges_that_fail_the_one_on_the_side_of_the_target_is_told():
    tree = TransformTree()
    for child, stamps in (("a", (10, 20)), ("b", (30, 40))):
        for stamp in stamps:
            tree.add("r", child, stamp, (0, 0, 0), LEVEL)
    for target, source, direction in (("a", "b", "future"), ("b", "a", "past")):
        with pytest.raises(ExtrapolationError, match=f"'r' -> '{target}'") as caught:
            tree.lookup(target, source, 25)
        assert caught.value.direction == direction


def test_a_sample_stamped_zero_does_not_count_for_the_latest_common_time():
    tree = TransformTree()
    tree.add("a", "b", 0, (0, 0, 0), LEVEL)
    for stamp in (5, 10):
        tree.add("b", "c", stamp, (0, 0, 0), LEVEL)
    with pytest.raises(ExtrapolationError, match=r"at 10 ns.*\[0, 0\]"):
        tree.lookup("a", "c", 0)


def test_the_tree_can_be_walked_by_name():
    tree = vehicle()
    assert tree.frames() == ["base_link", "camera", "lidar", "map", "odom"]
    assert [tree.parent_of(f) for f in tree.frames()] == ["odom", "base_link", "base_link", None, "map"]
    assert [f for f in tree.frames() if tree.is_static(f)] == ["camera", "lidar"]
    assert tree.span("odom") == (START_NS, START_NS + 2000 * MS)
    assert tree.span("lidar") == ALL_TIME
    assert tree.chain("map", "lidar") == ["lidar", "base_link", "odom"]
    assert tree.chain("camera", "lidar") == ["lidar", "camera"]
    assert tree.chain("camera", "map") == ["odom", "base_link", "camera"]
    assert tree.chain("map", "map") == []


def test_walking_to_what_is_not_there_is_an_error():
    tree = vehicle()
    for question in (tree.parent_of, tree.is_static, tree.span, tree.restart):
        with pytest.raises(UnknownFrameError):
            question("radar")
    with pytest.raises(UnknownFrameError):
        tree.chain("map", "radar")
    with pytest.raises(ConnectivityError, match="root"):
        tree.span("map")


def test_the_description_is_a_tree():
    assert vehicle().describe().splitlines() == [
        "map",
        f"  odom  dynamic, 21 samples in [{START_NS}, {START_NS + 2000 * MS}] ns",
        f"    base_link  dynamic, 101 samples in [{START_NS}, {START_NS + 1000 * MS}] ns",
        "      camera  static",
        "      lidar  static",
    ]


def test_a_restarted_edge_waits_for_its_next_sample():
    tree = vehicle()
    tree.restart("odom")
    tree.restart("lidar")
    with pytest.raises(ExtrapolationError, match="'odom' has no poses") as caught:
        tree.lookup("map", "lidar", START_NS)
    assert caught.value.direction == "future"
    with pytest.raises(ExtrapolationError, match="'odom' has no poses"):
        tree.span("odom")
    assert tree.parent_of("odom") is None
    assert "odom  dynamic, no samples" in tree.describe()
    assert tree.lookup("odom", "lidar", START_NS).translation[0] == 1
    tree.add("map", "odom", START_NS, (0, 0, 0), LEVEL)
    assert tree.lookup("map", "lidar", START_NS).translation[0] == 1


def test_clearing_keeps_what_is_static():
    tree = vehicle()
    tree.clear_dynamic()
    assert isinstance(tree.availability("map", "lidar", START_NS, START_NS), ExtrapolationError)
    assert tree.availability("camera", "lidar", START_NS, START_NS) is None
    assert len(tree.frames()) == 5


def test_limits_hold_for_each_edge_and_adding_tells():
    tree = vehicle(cache_ns=500 * MS, reset_ns=5000 * MS)
    assert tree.span("base_link")[0] >= START_NS + 480 * MS
    assert tree.add("odom", "base_link", START_NS, (0, 0, 0), LEVEL) is Insertion.IGNORED_OLD
    assert tree.add("odom", "base_link", START_NS - 5000 * MS, (0, 0, 0), LEVEL) is Insertion.RESTARTED
    assert tree.add("odom", "base_link", START_NS, (0, 0, 0), LEVEL) is Insertion.ACCEPTED
    assert tree.add("base_link", "lidar", 0, (0, 0, 0), LEVEL, static=True) is Insertion.ACCEPTED
    assert tree.span("odom")[1] == START_NS + 2000 * MS


def test_what_was_looked_up_before_does_not_hide_a_change_of_the_tree():
    tree = TransformTree()
    tree.add("map", "odom", 1, (1.0, 0.0, 0.0), LEVEL, static=True)
    tree.add("odom", "base", 10, (0.0, 1.0, 0.0), LEVEL)
    tree.add("odom", "base", 20, (0.0, 1.0, 0.0), LEVEL)
    assert tree.lookup("map", "base", 15).translation.tolist() == [1.0, 1.0, 0.0]
    tree.add("map", "odom", 2, (5.0, 0.0, 0.0), LEVEL, static=True)
    assert tree.lookup("map", "base", 15).translation.tolist() == [5.0, 1.0, 0.0]
    tree.add("other", "base", 30, (0.0, 7.0, 0.0), LEVEL)
    tree.add("map", "other", 1, (0.0, 0.0, 3.0), LEVEL, static=True)
    assert tree.lookup("map", "base", 15).translation.tolist() == [5.0, 1.0, 0.0]
    assert tree.lookup("map", "base", 30).translation.tolist() == [0.0, 7.0, 3.0]
    tree.restart("base")
    with pytest.raises(TransformError):
        tree.lookup("map", "base", 30)
    tree.add("map", "base", 30, (9.0, 0.0, 0.0), LEVEL)
    assert tree.lookup("map", "base", 30).translation.tolist() == [9.0, 0.0, 0.0]
