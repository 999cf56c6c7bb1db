# SPDX-License-Identifier: Apache-2.0
"""Quaternions against rotation matrices from Rodrigues' formula and turns of known axis and angle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_poses import axis_angle_quaternion, same_rotation, turns, unit_axes, vectors

from nucleus_bridge.errors import InvalidTransformError
from nucleus_bridge.geometry import quaternion


@given(turns(), turns())
def test_product_turns_like_the_product_of_the_matrices(left, right):
    product = quaternion.multiply(left[0], right[0])
    np.testing.assert_allclose(quaternion.to_matrix(product), left[1] @ right[1], atol=1e-13)


@given(turns(), vectors)
def test_rotate_agrees_with_the_matrix(turn, vector):
    np.testing.assert_allclose(quaternion.rotate(turn[0], vector), turn[1] @ vector, atol=1e-10)


@given(turns(), vectors)
def test_conjugate_undoes_the_rotation(turn, vector):
    back = quaternion.rotate(quaternion.conjugate(turn[0]), quaternion.rotate(turn[0], vector))
    np.testing.assert_allclose(back, vector, atol=1e-10)


@given(turns())
def test_matrix_conversions_are_inverse_to_each_other(turn):
    np.testing.assert_allclose(quaternion.to_matrix(turn[0]), turn[1], atol=1e-13)
    assert same_rotation(quaternion.from_matrix(turn[1]), turn[0], 1e-13)


@pytest.mark.parametrize("axis", np.eye(3))
def test_half_turns_survive_the_way_through_a_matrix(axis):
    half_turn = np.append(axis, 0.0)
    assert same_rotation(quaternion.from_matrix(quaternion.to_matrix(half_turn)), half_turn, 1e-15)


@given(turns(), unit_axes(), st.floats(0, math.pi - 1e-6), st.floats(0, 1), st.sampled_from([1, -1]))
def test_slerp_goes_the_short_way_at_constant_speed(start, axis, angle, fraction, sign):
    end = quaternion.multiply(start[0], axis_angle_quaternion(axis, angle))
    expected = quaternion.multiply(start[0], axis_angle_quaternion(axis, fraction * angle))
    assert same_rotation(quaternion.slerp(start[0], sign * end, fraction), expected, 2e-15)


@given(turns(), turns())
def test_slerp_ends_exactly_where_it_should(start, end):
    np.testing.assert_array_equal(quaternion.slerp(start[0], end[0], 0.0), start[0])
    assert same_rotation(quaternion.slerp(start[0], end[0], 1.0), end[0], 0.0)


def test_slerp_over_a_half_turn_is_a_quarter_turn_in_the_middle():
    middle = quaternion.slerp(np.array([0.0, 0, 0, 1]), np.array([0.0, 0, 1, 0]), 0.5)
    np.testing.assert_allclose(middle, [0, 0, math.sqrt(0.5), math.sqrt(0.5)], atol=1e-15)


@given(st.lists(st.tuples(turns(), turns(), st.floats(0, 1), vectors), min_size=1, max_size=5))
def test_batches_give_the_bits_of_single_quaternions(rows):
    a, b = np.array([r[0][0] for r in rows]), np.array([r[1][0] for r in rows])
    fractions, points = np.array([r[2] for r in rows]), np.array([r[3] for r in rows])
    batches = (
        quaternion.multiply(a, b),
        quaternion.rotate(a, points),
        quaternion.to_matrix(a),
        quaternion.from_matrix(quaternion.to_matrix(a)),
        quaternion.slerp(a, b, fractions),
    )
    for i, row in enumerate(zip(*batches, strict=True)):
        singles = (
            quaternion.multiply(a[i], b[i]),
            quaternion.rotate(a[i], points[i]),
            quaternion.to_matrix(a[i]),
            quaternion.from_matrix(quaternion.to_matrix(a[i])),
            quaternion.slerp(a[i], b[i], fractions[i]),
        )
        for batched, single in zip(row, singles, strict=True):
            assert batched.tobytes() == single.tobytes()


def test_one_quaternion_rotates_many_vectors():
    quarter_turn = np.array([0, 0, math.sqrt(0.5), math.sqrt(0.5)])
    rotated = quaternion.rotate(quarter_turn, np.array([[1.0, 0, 0], [0, 2, 5]]))
    np.testing.assert_allclose(rotated, [[0, 1, 0], [-2, 0, 5]], atol=1e-15)


def test_normalise_scales_each_quaternion():
    scaled = quaternion.normalise([[0, 0, 0, 2], [3, 0, 4, 0]])
    np.testing.assert_allclose(scaled, [[0, 0, 0, 1], [0.6, 0, 0.8, 0]], atol=1e-16)


@pytest.mark.parametrize("bad", [[0, 0, 0, 0], [0, 0, math.nan, 1], [math.inf, 0, 0, 1]])
def test_normalise_refuses_what_is_no_rotation(bad):
    with pytest.raises(InvalidTransformError, match="quaternion"):
        quaternion.normalise([[0, 0, 0, 1], bad])
