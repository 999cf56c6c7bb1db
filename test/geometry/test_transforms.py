# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms against 4 x 4 matrices, and a trajectory against motion at constant speed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_poses import axis_angle_quaternion, homogeneous, motions, same_rotation, vectors

from nucleus_bridge.errors import ExtrapolationError
from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.model import Trajectory, Transform

START_NS = 1_700_000_000_000_000_000
UP = np.array([0.0, 0.0, 1.0])


def as_matrix(transform):
    return homogeneous(quaternion.to_matrix(transform.rotation_xyzw), transform.translation)


@given(motions(), motions())
def test_compose_agrees_with_the_product_of_matrices(left, right):
    np.testing.assert_allclose(as_matrix(transforms.compose(left[0], right[0])), left[1] @ right[1], atol=1e-9)


@given(motions(), motions(), motions())
def test_compose_is_associative(a, b, c):
    left_first = transforms.compose(transforms.compose(a[0], b[0]), c[0])
    right_first = transforms.compose(a[0], transforms.compose(b[0], c[0]))
    np.testing.assert_allclose(left_first.translation, right_first.translation, atol=1e-9)
    assert same_rotation(left_first.rotation_xyzw, right_first.rotation_xyzw, 1e-14)


@given(motions())
def test_inverse_agrees_with_the_inverse_matrix(motion):
    np.testing.assert_allclose(as_matrix(transforms.inverse(motion[0])), np.linalg.inv(motion[1]), atol=1e-9)


@given(motions(), motions(), st.lists(vectors, min_size=1, max_size=4))
def test_applying_a_composition_is_applying_one_after_the_other(a, b, points):
    points = np.array(points)
    once = transforms.apply(transforms.compose(a[0], b[0]), points)
    twice = transforms.apply(a[0], transforms.apply(b[0], points))
    np.testing.assert_allclose(once, twice, atol=1e-9)
    np.testing.assert_allclose(once, (np.c_[points, np.ones(len(points))] @ (a[1] @ b[1]).T)[:, :3], atol=1e-9)


@given(motions(), vectors)
def test_applying_the_inverse_brings_points_back(motion, point):
    there = transforms.apply(motion[0], point[None])
    np.testing.assert_allclose(transforms.apply(transforms.inverse(motion[0]), there), point[None], atol=1e-9)


def turning_while_driving(stamps_ns, turn_per_s=1.0, speed=20.0):
    seconds = (stamps_ns - START_NS) * 1e-9
    return Trajectory(
        stamps_ns,
        np.stack([speed * seconds, 3 * seconds, 0 * seconds], axis=-1),
        np.array([axis_angle_quaternion(UP, turn_per_s * s) for s in seconds]),
    )


def test_interpolation_follows_constant_motion_exactly():
    knots = turning_while_driving(START_NS + np.array([0, 100_000_000, 350_000_000, 400_000_000]))
    stamps = START_NS + np.array([0, 1, 50_000_000, 100_000_000, 349_999_999, 400_000_000])
    truth = turning_while_driving(stamps)
    found = transforms.interpolate(knots, stamps)
    np.testing.assert_array_equal(found.stamps_ns, stamps)
    np.testing.assert_allclose(found.translations, truth.translations, atol=1e-12)
    np.testing.assert_allclose(found.rotations_xyzw, truth.rotations_xyzw, atol=1e-14)


@given(st.lists(motions(), min_size=1, max_size=6), st.data())
def test_interpolation_at_the_knots_gives_the_knots(poses, data):
    gaps = data.draw(st.lists(st.integers(1, 10**10), min_size=len(poses), max_size=len(poses)))
    knots = Trajectory(
        START_NS + np.cumsum(gaps),
        np.array([p[0].translation for p in poses]),
        np.array([p[0].rotation_xyzw for p in poses]),
    )
    found = transforms.interpolate(knots, knots.stamps_ns)
    np.testing.assert_array_equal(found.translations, knots.translations)
    np.testing.assert_array_equal(found.rotations_xyzw, knots.rotations_xyzw)


@pytest.mark.parametrize(("offset_ns", "direction"), [(-1, "past"), (400_000_001, "future")])
def test_interpolation_refuses_stamps_outside(offset_ns, direction):
    knots = turning_while_driving(START_NS + np.array([0, 400_000_000]))
    with pytest.raises(ExtrapolationError, match=str(START_NS + offset_ns)) as caught:
        transforms.interpolate(knots, np.array([START_NS + 5, START_NS + offset_ns]))
    assert caught.value.direction == direction


def test_interpolation_of_no_stamps_is_empty_and_of_no_knots_an_error():
    knots = turning_while_driving(START_NS + np.array([0, 400_000_000]))
    assert transforms.interpolate(knots, np.array([], dtype=np.int64)).translations.shape == (0, 3)
    nothing = Trajectory(np.array([], dtype=np.int64), np.empty((0, 3)), np.empty((0, 4)))
    with pytest.raises(ExtrapolationError, match="no poses"):
        transforms.interpolate(nothing, np.array([START_NS]))


def test_leading_axes_are_broadcast():
    quarter_turn = Transform(np.array([1.0, 0, 0]), axis_angle_quaternion(UP, math.pi / 2))
    many = Transform(np.array([[1.0, 0, 0], [0, 1, 0]]), np.array([[0.0, 0, 0, 1]] * 2))
    np.testing.assert_allclose(transforms.compose(quarter_turn, many).translation, [[1, 1, 0], [0, 0, 0]], atol=1e-15)
