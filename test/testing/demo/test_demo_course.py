# SPDX-License-Identifier: Apache-2.0
"""The vehicle moves like one: from rest, smoothly, within its limits, and the way it points."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus_bridge.testing.demo import DriveOptions, true_pose, true_poses

STEP_NS = 1_000_000
OPTIONS = DriveOptions(seconds=60.0, standing_s=1.0)


@pytest.fixture(scope="module")
def stamps():
    return OPTIONS.start_ns + np.arange(-500, 60_000, dtype=np.int64) * STEP_NS


@pytest.fixture(scope="module")
def poses(stamps):
    return true_poses(OPTIONS, stamps)


def derivative(values):
    return np.diff(values, axis=0) / (STEP_NS * 1e-9)


def test_the_vehicle_stands_still_until_it_drives_off(stamps, poses):
    standing = stamps <= OPTIONS.start_ns + 1_000_000_000
    np.testing.assert_array_equal(poses.translation[standing], np.tile(poses.translation[0], (standing.sum(), 1)))
    np.testing.assert_array_equal(poses.rotation_xyzw[standing], np.tile(poses.rotation_xyzw[0], (standing.sum(), 1)))
    after = true_pose(OPTIONS, OPTIONS.start_ns + 3_000_000_000)
    assert np.linalg.norm(after.translation - poses.translation[0]) > 3.0


def test_speed_and_yaw_rate_reach_but_do_not_pass_their_limits(poses):
    speed = np.linalg.norm(derivative(poses.translation), axis=1)
    yaw = np.unwrap(np.arctan2(poses.matrix[:, 1, 0], poses.matrix[:, 0, 0]))
    yaw_rate = np.degrees(np.abs(derivative(yaw)))
    assert 14.5 < speed.max() <= 15.0
    assert 29.0 < yaw_rate.max() <= 30.0


def test_on_the_ring_both_limits_are_reached_at_once():
    options = DriveOptions(seconds=30.0, standing_s=0.0, course="ring")
    stamps = options.start_ns + np.arange(4_000, 30_000, dtype=np.int64) * STEP_NS
    poses = true_poses(options, stamps)
    speed = np.linalg.norm(derivative(poses.translation[:, :2]), axis=1)
    yaw = np.unwrap(np.arctan2(poses.matrix[:, 1, 0], poses.matrix[:, 0, 0]))
    np.testing.assert_allclose(speed, 15.0, atol=0.001)
    np.testing.assert_allclose(np.degrees(derivative(yaw)), 30.0, atol=0.001)


def test_bends_go_both_ways(poses):
    yaw_rate = derivative(np.unwrap(np.arctan2(poses.matrix[:, 1, 0], poses.matrix[:, 0, 0])))
    assert np.degrees(yaw_rate.min()) < -8.0 < 8.0 < np.degrees(yaw_rate.max())


def test_position_and_orientation_have_continuous_second_derivatives(poses):
    for values, largest_jerk in ((poses.translation, 25.0), (poses.matrix.reshape(-1, 9), 5.0)):
        second = derivative(derivative(values))
        assert np.abs(np.diff(second, axis=0)).max() < largest_jerk * STEP_NS * 1e-9 + 1e-3


def test_roll_and_pitch_are_gentle(poses):
    upright = poses.matrix[:, 2, 2]
    assert 0.3 < np.degrees(np.arccos(upright.min())) < 2.0


def test_the_vehicle_points_where_it_goes(poses):
    velocity = derivative(poses.translation)
    moving = np.linalg.norm(velocity, axis=1) > 0.5
    forward = poses.matrix[:-1, :2, 0]
    sideways = forward[:, 0] * velocity[:, 1] - forward[:, 1] * velocity[:, 0]
    ahead = np.sum(forward * velocity[:, :2], axis=1)
    assert np.all(ahead[moving] > 0.0)
    assert np.abs(np.arctan2(sideways, ahead))[moving].max() < 1e-3


def test_quaternions_have_unit_length(poses):
    np.testing.assert_allclose(np.linalg.norm(poses.rotation_xyzw, axis=1), 1.0, atol=1e-14)


def test_a_pose_is_the_same_alone_and_among_others(stamps, poses):
    for index in (0, 700, 30_011):
        alone = true_pose(OPTIONS, int(stamps[index]))
        np.testing.assert_array_equal(alone.translation, poses.translation[index])
        np.testing.assert_array_equal(alone.rotation_xyzw, poses.rotation_xyzw[index])
