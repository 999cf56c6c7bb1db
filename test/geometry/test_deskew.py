# SPDX-License-Identifier: Apache-2.0
"""Deskewed points against motion in closed form and against one exact lookup a point."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_poses import axis_angle_quaternion, motions, rodrigues

from nucleus_bridge.errors import ExtrapolationError, InvalidTransformError
from nucleus_bridge.geometry import TransformTree, knot_stamps, points_in_world, transforms
from nucleus_bridge.geometry.deskew import BLOCK
from nucleus_bridge.model import Trajectory, Transform

START_NS = 1_700_000_000_000_000_000
SWEEP_NS = 100_000_000
NOWHERE = (0.0, 0.0, 0.0)


def turning_lidar(stamps_ns, axis, turn_per_s, velocity, begin):
    """Return positions, quaternions and Rodrigues matrices of a lidar that turns and moves steadily."""
    seconds = (stamps_ns - START_NS) * 1e-9
    angles = turn_per_s * seconds
    return (
        begin + seconds[:, None] * velocity,
        np.array([axis_angle_quaternion(axis, a) for a in angles]),
        np.array([rodrigues(axis, a) for a in angles]),
    )


@pytest.mark.parametrize("axis", [[0, 0, 1.0], [0.6, 0, 0.8], [0, -0.8, 0.6]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_error_stays_below_a_tenth_of_a_millimetre_at_200_m_and_90_degrees_a_second(axis, dtype):
    rng = np.random.default_rng(7)
    motion = {
        "axis": np.array(axis),
        "turn_per_s": math.pi / 2,
        "velocity": np.array([30.0, -2.0, 0.5]),
        "begin": np.array([500_000.0, 4_000_000.0, 100.0]),
    }
    times = START_NS + rng.integers(0, SWEEP_NS, 3 * BLOCK // 2)
    directions = rng.normal(size=(len(times), 3))
    xyz = (200.0 * directions / np.linalg.norm(directions, axis=1)[:, None]).astype(dtype)
    knots = knot_stamps(START_NS, START_NS + SWEEP_NS)
    positions, quaternions, _ = turning_lidar(knots, **motion)

    world = points_in_world(xyz, times, Trajectory(knots, positions, quaternions), motion["begin"])

    positions, _, matrices = turning_lidar(times, **motion)
    exact = (matrices @ xyz.astype(np.float64)[:, :, None])[:, :, 0] + (positions - motion["begin"])
    assert world.dtype == np.float64
    assert np.linalg.norm(world - exact, axis=1).max() < 1e-4


def test_what_stands_still_in_the_world_stands_still_in_the_cloud():
    rng = np.random.default_rng(3)
    motion = {
        "axis": np.array([0, 0, 1.0]),
        "turn_per_s": 1.0,
        "velocity": np.array([20.0, 0, 0]),
        "begin": np.zeros(3),
    }
    times = np.sort(START_NS + rng.integers(0, SWEEP_NS, 5000))
    post = np.array([40.0, 10.0, 2.0])
    positions, _, matrices = turning_lidar(times, **motion)
    seen = (np.swapaxes(matrices, 1, 2) @ (post - positions)[:, :, None])[:, :, 0]
    knots = knot_stamps(START_NS, START_NS + SWEEP_NS)
    poses = Trajectory(knots, *turning_lidar(knots, **motion)[:2])
    assert np.ptp(seen, axis=0).max() > 1.0
    np.testing.assert_allclose(points_in_world(seen, times, poses, NOWHERE), np.tile(post, (5000, 1)), atol=1e-4)


@given(st.lists(motions(), min_size=2, max_size=4), st.data())
def test_each_point_is_moved_by_the_lookup_at_its_own_time(poses, data):
    tree = TransformTree()
    tree.add("base_link", "lidar", 0, (1, 0, 2), (0.5, -0.5, 0.5, -0.5), static=True)
    for i, (pose, _) in enumerate(poses):
        tree.add("map", "base_link", START_NS + i * 10**10, pose.translation, pose.rotation_xyzw)
    first = START_NS + data.draw(st.integers(0, 10**10 - 10**8))
    times = first + np.array(data.draw(st.lists(st.integers(0, 10**8), min_size=1, max_size=5)))
    xyz = np.array(data.draw(st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=len(times), max_size=len(times))))
    # Half turns in ten seconds are 18 degrees a second: knots a millisecond apart are exact to a few micrometres.
    knots = tree.lookup_many("map", "lidar", knot_stamps(first, first + 10**8))
    world = points_in_world(xyz, times, knots, (1, 2, 3))
    for point, time_ns, found in zip(xyz, times, world, strict=True):
        expected = transforms.apply(tree.lookup("map", "lidar", time_ns), point[None])[0] - (1, 2, 3)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@given(motions(), st.integers(0, 3), st.booleans())
def test_one_pose_moves_all_points_alike(motion, rows, single):
    xyz = np.array([[1.5, 2, 3], [-200, 0.25, 9], [0, 0, 0]], dtype=np.float32 if single else np.float64)[:rows]
    world = points_in_world(xyz, None, motion[0], (10, 20, 30))
    np.testing.assert_allclose(world, transforms.apply(motion[0], xyz.astype(float)) - (10, 20, 30), atol=1e-9)


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK])
def test_blocks_do_not_show(count):
    rng = np.random.default_rng(1)
    knots = knot_stamps(START_NS, START_NS + SWEEP_NS)
    positions, quaternions, _ = turning_lidar(knots, np.array([0, 0, 1.0]), 1.0, np.array([9.0, 0, 0]), np.zeros(3))
    poses = Trajectory(knots, positions, quaternions)
    xyz, times = rng.normal(size=(count, 3)), START_NS + rng.integers(0, SWEEP_NS, count)
    together = points_in_world(xyz, times, poses, NOWHERE)
    order = rng.permutation(count)
    assert together[order].tobytes() == points_in_world(xyz[order], times[order], poses, NOWHERE).tobytes()
    alone = [points_in_world(xyz[i : i + 1], times[i : i + 1], poses, NOWHERE) for i in range(0, count, 997)]
    assert together[::997].tobytes() == b"".join(a.tobytes() for a in alone)


def test_columns_of_a_structured_cloud_are_taken_as_they_are():
    cloud = np.zeros(3, dtype=[("xyz", "<f4", 3), ("ring", "u1")])
    cloud["xyz"] = np.arange(9).reshape(3, 3)
    pose = Transform(np.array([1.0, 0, 0]), np.array([0.0, 0, 0, 1]))
    np.testing.assert_array_equal(points_in_world(cloud["xyz"], None, pose, NOWHERE)[:, 0], [1, 4, 7])


def test_points_at_the_ends_of_the_trajectory_get_the_end_poses():
    stamps = np.array([START_NS, START_NS + 10])
    poses = Trajectory(stamps, np.array([[1.0, 0, 0], [2, 0, 0]]), np.array([[0, 0, 0, 1.0]] * 2))
    np.testing.assert_array_equal(points_in_world(np.zeros((2, 3)), stamps, poses, NOWHERE), [[1, 0, 0], [2, 0, 0]])


def test_points_that_are_not_finite_stay_so_without_a_warning():
    pose = Transform(np.zeros(3), np.array([0.0, 0, 0, 1]))
    world = points_in_world(np.array([[math.nan, 1, 1], [math.inf, 1, 1], [1, 1, 1]]), None, pose, NOWHERE)
    assert np.isfinite(world).all(axis=1).tolist() == [False, False, True]


@pytest.mark.parametrize(("offset_ns", "direction"), [(-1, "past"), (SWEEP_NS + 1, "future")])
def test_a_point_outside_of_the_trajectory_is_refused(offset_ns, direction):
    knots = np.array([START_NS, START_NS + SWEEP_NS])
    poses = Trajectory(knots, np.zeros((2, 3)), np.array([[0, 0, 0, 1.0]] * 2))
    with pytest.raises(ExtrapolationError) as caught:
        points_in_world(np.zeros((2, 3)), np.array([START_NS + offset_ns, START_NS]), poses, NOWHERE)
    assert caught.value.direction == direction


def test_a_trajectory_needs_times():
    poses = Trajectory(np.array([START_NS]), np.zeros((1, 3)), np.array([[0, 0, 0, 1.0]]))
    with pytest.raises(InvalidTransformError, match="times"):
        points_in_world(np.zeros((1, 3)), None, poses, NOWHERE)


@pytest.mark.parametrize(
    ("last", "expected"), [(0, [0]), (5, [0, 5]), (20, [0, 10, 20]), (21, [0, 10, 20, 21]), (29, [0, 10, 20, 29])]
)
def test_knots_include_both_ends(last, expected):
    stamps = knot_stamps(START_NS, START_NS + last, step_ns=10)
    assert stamps.dtype == np.int64
    assert (stamps - START_NS).tolist() == expected


@pytest.mark.parametrize(("last", "step"), [(-1, 10), (5, 0)])
def test_knots_of_no_span_or_step_are_refused(last, step):
    with pytest.raises(InvalidTransformError, match="knots"):
        knot_stamps(START_NS, START_NS + last, step_ns=step)
