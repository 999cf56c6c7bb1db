# SPDX-License-Identifier: Apache-2.0
"""The history of one edge: order, cuts, restarts and size, as tf2's TimeCache keeps it."""

from __future__ import annotations

import itertools
import random
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleus_bridge.geometry.edge import NOT_COVERED, DynamicEdge, Insertion, unexplained_steps

SECOND = 1_000_000_000


def at(x):
    return (float(x), 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def x_at(edge, stamp_ns):
    index = edge.find(stamp_ns)
    return None if index == NOT_COVERED else edge.pose_at(index, stamp_ns)[0]


def filled(samples, **limits):
    edge = DynamicEdge(limits.get("cache_ns"), limits.get("reset_ns"))
    for stamp_ns, x in samples:
        edge.insert(stamp_ns, "map", at(x))
    return edge


@given(st.permutations(range(1, 30)))
def test_order_of_arrival_does_not_matter(order):
    edge = filled([(10 * i, i * i) for i in order])
    assert edge.span == (10, 290)
    assert [x_at(edge, 10 * i) for i in range(1, 30)] == [i * i for i in range(1, 30)]
    assert x_at(edge, 15) == 2.5


def test_nothing_is_known_outside_of_the_span():
    edge = filled([(10, 1), (20, 2)])
    assert [x_at(edge, t) for t in (9, 10, 20, 21)] == [None, 1, 2, None]
    assert x_at(filled([(10, 1)]), 10) == 1
    assert x_at(filled([(10, 1)]), 11) is None
    assert x_at(filled([]), 10) is None


def test_of_two_poses_of_one_stamp_the_first_ends_and_the_last_begins():
    edge = filled([(10, 0), (20, 10), (20, 100), (30, 110)])
    assert [x_at(edge, t) for t in (15, 20, 25)] == [5, 100, 105]


def test_of_two_poses_of_the_oldest_stamp_the_first_holds_at_it():
    edge = filled([(10, 1), (10, 100), (20, 110)])
    assert [x_at(edge, t) for t in (10, 15)] == [1, 105]


def test_repetitions_of_one_stamp_take_no_room():
    edge = DynamicEdge(None, None)
    for i in range(100):
        assert edge.insert(10, "map", at(7)) is Insertion.ACCEPTED
        assert edge.insert(20, "map", at(i)) is Insertion.ACCEPTED
    assert len(edge) == 3
    assert x_at(edge, 20) == 99


def test_history_older_than_the_cache_is_forgotten_when_the_next_sample_comes():
    edge = filled([(i * SECOND, i) for i in range(1, 20)], cache_ns=10 * SECOND)
    assert edge.span == (8 * SECOND, 19 * SECOND)  # cut at 18 - 10 before 19 was taken in
    assert edge.insert(8 * SECOND, "map", at(0)) is Insertion.IGNORED_OLD
    assert edge.insert(9 * SECOND, "map", at(0)) is Insertion.ACCEPTED
    assert edge.span == (9 * SECOND, 19 * SECOND)


def test_forgetting_gives_memory_back_and_keeps_answers_right():
    edge = DynamicEdge(1000, None)
    for i in range(1, 20_000):
        edge.insert(i, "map", at(i))
        assert edge.span == (max(i - 1001, 1), i)
        assert x_at(edge, max(i - 1001, 1)) == max(i - 1001, 1)
    assert len(edge._stamps) < 4000
    pose = edge.poses_at(np.array([19_500, 19_999]))
    np.testing.assert_array_equal(pose.translation[:, 0], [19_500, 19_999])


def test_an_hour_at_100_hz_stays_under_60_megabytes():
    tracemalloc.start()
    try:
        edge = DynamicEdge(None, None)
        for i in range(36_000):  # a tenth of it
            edge.insert(i, "map", at(i))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(edge) == 36_000
    assert peak < 6_000_000


def test_a_clock_that_was_set_back_restarts_the_history():
    edge = filled([(100 * SECOND, 1), (101 * SECOND, 2)], reset_ns=5 * SECOND)
    assert edge.insert(96 * SECOND, "map", at(3)) is Insertion.ACCEPTED
    assert edge.insert(SECOND, "map", at(4)) is Insertion.RESTARTED
    assert edge.insert(2 * SECOND, "map", at(5)) is Insertion.ACCEPTED
    assert edge.span == (SECOND, 2 * SECOND)


def test_restart_goes_before_the_cache():
    edge = filled([(100 * SECOND, 1)], reset_ns=60 * SECOND, cache_ns=10 * SECOND)
    assert edge.insert(80 * SECOND, "map", at(2)) is Insertion.IGNORED_OLD
    assert edge.insert(30 * SECOND, "map", at(3)) is Insertion.RESTARTED


def test_a_new_parent_holds_from_its_first_sample_on_and_is_not_blended():
    edge = filled([(10, 0), (20, 10)])
    edge.insert(30, "odom", at(500))
    edge.insert(40, "odom", at(510))
    found = [(edge.parent_at(edge.find(t)), x_at(edge, t)) for t in (15, 20, 29, 30, 35)]
    assert found == [("map", 5), ("map", 10), ("map", 10), ("odom", 500), ("odom", 505)]
    assert edge.parent == "odom"
    assert edge.reparented
    assert edge.turning_points(0, 100) == [10, 30, 40]
    assert edge.turning_points(11, 39) == [30]
    assert edge.turning_points(31, 39) == []


def random_rotation(rng):
    values = np.array([rng.gauss(0, 1) for _ in range(4)])
    return (values / np.linalg.norm(values)).tolist()


def test_many_stamps_at_once_get_the_bits_of_one_at_a_time():
    rng = random.Random(4)
    edge = DynamicEdge(None, None)
    for _ in range(200):
        pose = (*(rng.uniform(-9, 9) for _ in range(3)), *random_rotation(rng))
        edge.insert(10 + rng.randrange(1000), "map", pose)
    oldest, newest = edge.span
    stamps = np.arange(oldest, newest + 1)
    many = edge.poses_at(stamps)
    for i, stamp in enumerate(stamps.tolist()):
        one = edge.pose_at(edge.find(stamp), stamp)
        assert np.array(one).tobytes() == np.append(many.translation[i], many.rotation_xyzw[i]).tobytes()


@pytest.mark.parametrize("stamps", [(10, 10, 20, 30, 30), (10, 10)])
def test_many_stamps_meet_repeated_ends_like_one_at_a_time(stamps):
    edge = filled([(stamp, x) for x, stamp in enumerate(stamps)])
    asked = np.unique(stamps)
    expected = [x_at(edge, stamp) for stamp in asked.tolist()]
    assert edge.poses_at(asked).translation[:, 0].tolist() == expected


def test_samples_can_be_added_after_and_between_batched_questions():
    edge = filled([(10, 1), (20, 2)])
    poses = edge.poses_at(np.array([10, 15]))
    edge.insert(30, "map", at(3))
    edge.largest_jump(0, 40)
    edge.insert(40, "map", at(4))
    np.testing.assert_array_equal(poses.translation[:, 0], [1, 1.5])
    assert x_at(edge, 35) == 3.5


@pytest.mark.parametrize(
    ("after", "until", "expected"),
    [(0, 200, 10.0), (0, 110, 0.0), (110, 111, 10.0), (111, 200, 0.0), (500, 600, 0.0)],
)
def test_a_jump_counts_in_the_interval_its_first_stamp_is_in(after, until, expected):
    edge = filled([(10 * i, 0 if i <= 11 else 10) for i in range(1, 25)])
    assert edge.largest_jump(after, until) == expected


def test_a_pair_counts_the_same_however_short_the_interval():
    rng = np.random.default_rng(5)
    stamps = np.cumsum(rng.integers(1, 20, 300))
    positions = np.zeros((300, 3))
    positions[:, 0] = np.cumsum(rng.choice([0.0, 1.0, 1.0, 5.0], 300))
    edge = filled(zip(stamps.tolist(), positions[:, 0], strict=True))
    expected = unexplained_steps(stamps, positions, np.ones(299, dtype=bool))
    found = [edge.largest_jump(a, b) for a, b in itertools.pairwise(stamps.tolist())]
    np.testing.assert_array_equal(found, expected)
    assert edge.largest_jump(0, 10**6) == max(found)


def test_a_history_grows_while_a_profiler_still_holds_the_frame_of_a_look_at_it():
    edge = DynamicEdge(cache_ns=None, reset_ns=None)
    held = []

    def hold(frame, event, _argument):
        if event == "return":
            held.append((frame, frame.f_locals))

    for step in range(100):
        edge.insert(step, "map", at(step))
        sys.setprofile(hold)
        try:
            found = edge.poses_at(np.array([max(step - 1, 0), step]))
            edge.largest_jump(0, step)
        finally:
            sys.setprofile(None)
        assert found.translation[:, 0].tolist() == [max(step - 1, 0), step]
    assert held
