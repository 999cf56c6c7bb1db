# SPDX-License-Identifier: Apache-2.0
"""The transform tree beyond the tf2 vectors: odd trees, intervals, many stamps, and what its errors say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_poses import motions

from nucleus_bridge.errors import (
    ConnectivityError,
    ExtrapolationError,
    InvalidTransformError,
    TransformError,
    UnknownFrameError,
)
from nucleus_bridge.geometry import Insertion, TransformTree
from nucleus_bridge.geometry.edge import ALL_TIME

LEVEL = (0, 0, 0, 1)
START_NS = 1_700_000_000_000_000_000
MS = 1_000_000


def vehicle(**limits):
    """Return map -> odom at 10 Hz for 2 s, odom -> base_link at 100 Hz for 1 s, and two fixed sensors."""
    tree = TransformTree(**limits)
    tree.add("base_link", "lidar", 0, (1, 0, 2), LEVEL, static=True)
    tree.add("base_link", "camera", 0, (2, 0, 1), (-0.5, 0.5, -0.5, 0.5), static=True)
    for i in range(21):
        tree.add("map", "odom", START_NS + i * 100 * MS, (100, i, 0), LEVEL)
    for i in range(101):
        half = 0.002 * i
        tree.add("odom", "base_link", START_NS + i * 10 * MS, (0.1 * i, 0, 0), (0, 0, math.sin(half), math.cos(half)))
    return tree


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


def carried_cup():
    """Return a cup that is on the table in [10, 20) and in the hand in [20, 30], at 40 on the floor."""
    tree = TransformTree()
    tree.add("room", "table", 0, (10, 0, 0), LEVEL, static=True)
    for stamp in range(12, 50, 2):
        tree.add("room", "hand", stamp, (stamp, 0, 0), LEVEL)
    for stamp, parent in ((10, "table"), (15, "table"), (20, "hand"), (30, "hand"), (40, "floor")):
        tree.add(parent, "cup", stamp, (0, 1, 0), LEVEL)
    return tree


def test_a_frame_may_change_its_parent():
    tree = carried_cup()
    assert [tree.lookup("room", "cup", t).translation[0] for t in (10, 19, 20, 25, 39)] == [10, 10, 20, 25, 39]
    with pytest.raises(ConnectivityError, match="'floor'"):
        tree.lookup("room", "cup", 40)
    many = tree.lookup_many("room", "cup", np.array([10, 19, 20, 25, 39]))
    assert many.translations[:, 0].tolist() == [10, 10, 20, 25, 39]


def test_many_stamps_see_a_parent_that_changes_only_in_between():
    tree = carried_cup()
    tree.add("table", "cup", 50, (0, 1, 0), LEVEL)
    tree.add("table", "cup", 35, (0, 1, 0), LEVEL)
    assert tree.lookup_many("room", "cup", np.array([12, 25, 36])).translations[:, 0].tolist() == [10, 25, 10]


def turned_around():
    """Return two frames whose parent and child change places: b in a at [10, 20], a in b at [30, 40]."""
    tree = TransformTree()
    for stamp, (parent, child) in ((10, "ab"), (20, "ab"), (30, "ba"), (40, "ba")):
        tree.add(parent, child, stamp, (stamp, 0, 0), LEVEL)
    return tree


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


def test_many_stamps_give_the_bits_of_single_lookups():
    tree = vehicle()
    rng = np.random.default_rng(2)
    stamps = np.sort(START_NS + rng.integers(0, 1000 * MS, 300))
    stamps[[0, -1]] = START_NS, START_NS + 1000 * MS
    for target, source in (("map", "lidar"), ("lidar", "map"), ("odom", "camera"), ("camera", "lidar"), ("x", "x")):
        many = tree.lookup_many(target, source, stamps)
        np.testing.assert_array_equal(many.stamps_ns, stamps)
        for i, stamp in enumerate(stamps):
            one = tree.lookup(target, source, stamp)
            assert many.translations[i].tobytes() == one.translation.tobytes()
            assert many.rotations_xyzw[i].tobytes() == one.rotation_xyzw.tobytes()


def test_latest_among_many_stamps_is_the_latest():
    found = vehicle().lookup_many("map", "odom", np.array([0, START_NS]))
    np.testing.assert_array_equal(found.translations[:, 1], [20, 0])


def test_many_stamps_fail_like_the_first_lookup_that_fails():
    stamps = START_NS + np.array([5 * MS, 2000 * MS, -3, 1500 * MS])
    with pytest.raises(ExtrapolationError, match=str(START_NS + 2000 * MS)) as caught:
        vehicle().lookup_many("map", "lidar", stamps)
    assert caught.value.direction == "future"
    with pytest.raises(UnknownFrameError):
        vehicle().lookup_many("map", "radar", stamps)
    assert vehicle().lookup_many("map", "lidar", stamps[:0]).translations.shape == (0, 3)


def test_a_tree_can_grow_after_a_failed_batch():
    tree = vehicle()
    with pytest.raises(ExtrapolationError) as caught:
        tree.lookup_many("map", "lidar", START_NS + np.array([0, 1010 * MS]))
    tree.add("odom", "base_link", START_NS + 1010 * MS, (0, 0, 0), LEVEL)
    assert tree.lookup_many("map", "lidar", START_NS + np.array([0, 1010 * MS])).translations.shape == (2, 3)
    assert caught.value.direction == "future"


EDGES = [("a", "b"), ("b", "c"), ("c", "d"), ("b", "e"), ("q", "r"), ("q", "c")]


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(EDGES), st.integers(1, 12), st.booleans(), motions()), min_size=5, max_size=25),
    st.sampled_from("abcderx"),
    st.sampled_from("abcderx"),
    st.integers(1, 12),
    st.integers(0, 6),
)
def test_intervals_and_batches_say_what_single_lookups_say(samples, target, source, first, length):
    tree = TransformTree()
    for (parent, child), stamp, static, (pose, _) in samples:
        fixed = static and child in "be"
        tree.add(parent, child, stamp, pose.translation, pose.rotation_xyzw, static=fixed)
    answers = []
    for stamp in range(first, first + length + 1):
        try:
            answers.append(tree.lookup(target, source, stamp))
        except TransformError as error:
            answers.append(error)
    failures = [answer for answer in answers if isinstance(answer, TransformError)]
    refusal = tree.availability(target, source, first, first + length)
    stamps = np.arange(first, first + length + 1)
    if failures:
        assert str(refusal) in [str(failure) for failure in failures]
        with pytest.raises(type(failures[0])) as caught:
            tree.lookup_many(target, source, stamps)
        assert str(caught.value) == str(failures[0])
    else:
        assert refusal is None
        many = tree.lookup_many(target, source, stamps)
        assert many.translations.tobytes() == b"".join(a.translation.tobytes() for a in answers)
        assert many.rotations_xyzw.tobytes() == b"".join(a.rotation_xyzw.tobytes() for a in answers)


def test_availability_tells_whether_waiting_may_help():
    tree = vehicle()
    assert tree.availability("map", "lidar", START_NS, START_NS + 1000 * MS) is None
    late = tree.availability("map", "lidar", START_NS, START_NS + 1001 * MS)
    assert isinstance(late, ExtrapolationError)
    assert late.direction == "future"
    early = tree.availability("map", "lidar", START_NS - 1, START_NS)
    assert isinstance(early, ExtrapolationError)
    assert early.direction == "past"
    assert isinstance(tree.availability("map", "radar", START_NS, START_NS), UnknownFrameError)
    assert tree.availability("x", "x", START_NS, START_NS) is None


def test_availability_sees_a_parent_that_is_lost_in_between():
    tree = carried_cup()
    tree.add("table", "cup", 50, (0, 1, 0), LEVEL)
    assert tree.availability("room", "cup", 12, 39) is None
    assert tree.availability("room", "cup", 50, 50) is None
    assert isinstance(tree.availability("room", "cup", 12, 50), ConnectivityError)


@pytest.mark.parametrize(
    "cup",
    [
        [(10, "table"), (10, "floor"), (12, "table")],  # on the floor at 11 only
        [(10, "table"), (20, "tray"), (30, "hand"), (40, "hand")],  # the tray is known until 25
        [(10, "table"), (20, "floor"), (21, "table")],
        [(10, "table"), (20, "floor"), (20, "table"), (21, "table")],
    ],
)
def test_availability_says_what_each_single_stamp_says(cup):
    tree = carried_cup()
    tree.restart("cup")
    for stamp in (15, 25):
        tree.add("room", "tray", stamp, (0, 0, 0), LEVEL)
    for stamp, parent in cup:
        tree.add(parent, "cup", stamp, (0, 0, 0), LEVEL)
    for first, last in itertools.combinations_with_replacement(range(9, 42), 2):
        alone = [tree.availability("room", "cup", t, t) is None for t in range(first, last + 1)]
        assert (tree.availability("room", "cup", first, last) is None) == all(alone), (first, last)


def test_availability_sees_the_gap_when_parent_and_child_change_places():
    assert turned_around().availability("a", "b", 10, 20) is None
    assert turned_around().availability("a", "b", 30, 40) is None
    assert isinstance(turned_around().availability("a", "b", 10, 40), ExtrapolationError)


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


def test_the_largest_jump_of_the_way_counts():
    tree = TransformTree()
    tree.add("base_link", "lidar", 0, (1, 0, 2), LEVEL, static=True)
    for i in range(30):
        tree.add("map", "odom", START_NS + i * 1000 * MS, (0, 10 if i > 20 else 0, 0), LEVEL)
    for i in range(60):
        tree.add("odom", "base_link", START_NS + i * 500 * MS, (15 * i, 3 if i > 30 else 0, 0), LEVEL)
    end = START_NS + 30_000 * MS
    assert tree.largest_jump("map", "lidar", START_NS, end) == 10.0
    assert tree.largest_jump("odom", "lidar", START_NS, end) == pytest.approx(3.0)
    assert tree.largest_jump("map", "lidar", START_NS + 16_000 * MS, START_NS + 20_000 * MS) < 1e-9
    assert tree.largest_jump("base_link", "lidar", START_NS, end) == 0.0
    with pytest.raises(UnknownFrameError):
        tree.largest_jump("map", "radar", START_NS, end)


def test_a_jump_in_a_single_edge_at_15_m_a_second_is_found_once():
    tree = TransformTree()
    for i in range(100):
        x = 1.5 * i + (8 if i >= 50 else 0)
        tree.add("map", "base_link", START_NS + i * 100 * MS, (x, 0, 0), LEVEL)
    frames = [START_NS + i * 100 * MS for i in range(100)]
    jumps = [tree.largest_jump("map", "base_link", a, b) for a, b in itertools.pairwise(frames)]
    assert [i for i, jump in enumerate(jumps) if jump > 5.0] == [49]
    assert jumps[49] == pytest.approx(8.0)


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
