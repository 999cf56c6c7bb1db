# SPDX-License-Identifier: Apache-2.0
"""Many stamps at a time say what single look-ups say, and so does whether an interval is covered."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_poses import motions
from trees import LEVEL, MS, START_NS, carried_cup, turned_around, vehicle

from nucleus_bridge.errors import ConnectivityError, ExtrapolationError, TransformError, UnknownFrameError
from nucleus_bridge.geometry import TransformTree


def test_many_stamps_see_a_parent_that_changes_only_in_between():
    tree = carried_cup()
    tree.add("table", "cup", 50, (0, 1, 0), LEVEL)
    tree.add("table", "cup", 35, (0, 1, 0), LEVEL)
    assert tree.lookup_many("room", "cup", np.array([12, 25, 36])).translations[:, 0].tolist() == [10, 25, 10]


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
