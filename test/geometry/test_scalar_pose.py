# SPDX-License-Identifier: Apache-2.0
"""Plain-float poses against the batched functions, to the last bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_poses import motions

from nucleus_bridge.errors import InvalidTransformError
from nucleus_bridge.geometry import scalar_pose, transforms
from nucleus_bridge.model import Transform


def as_pose(transform):
    return (*transform.translation.tolist(), *transform.rotation_xyzw.tolist())


def same_bits(pose, transform):
    return np.array(pose).tobytes() == np.append(transform.translation, transform.rotation_xyzw).tobytes()


@given(motions(), motions())
def test_compose_and_inverse_have_the_bits_of_the_batched_ones(a, b):
    assert same_bits(scalar_pose.compose(as_pose(a[0]), as_pose(b[0])), transforms.compose(a[0], b[0]))
    assert same_bits(scalar_pose.inverse(as_pose(a[0])), transforms.inverse(a[0]))


@given(motions(), motions(), st.floats(0, 1))
def test_interpolation_has_the_bits_of_the_batched_one(a, b, fraction):
    batched = transforms.between(
        Transform(a[0].translation[None], a[0].rotation_xyzw[None]),
        Transform(b[0].translation[None], b[0].rotation_xyzw[None]),
        np.array([fraction]),
    )
    single = scalar_pose.between(as_pose(a[0]), as_pose(b[0]), fraction)
    assert same_bits(single, Transform(batched.translation[0], batched.rotation_xyzw[0]))


def test_quaternions_are_scaled_to_unit_length():
    assert scalar_pose.checked_pose((1, 2, 3), np.array([1, 2, -2, 4.0])) == (1, 2, 3, 0.2, 0.4, -0.4, 0.8)


@pytest.mark.parametrize(
    ("translation", "rotation", "reason"),
    [
        ((0, 0, 0), (0, 0, 0, 0), "quaternion"),
        ((0, 0, 0), (0, 0, 0, math.nan), "quaternion"),
        ((0, 0, 0), (0, 0, math.inf, 1), "quaternion"),
        ((0, math.nan, 0), (0, 0, 0, 1), "translation"),
        ((0, math.inf, 0), (0, 0, 0, 1), "translation"),
        ((0, 0), (0, 0, 0, 1), "three numbers"),
        ((0, 0, 0), (0, 0, 0, 1, 0), "three numbers"),
        ((0, 0, 0), None, "three numbers"),
        (("a", 0, 0), (0, 0, 0, 1), "three numbers"),
    ],
)
def test_what_is_no_pose_is_refused(translation, rotation, reason):
    with pytest.raises(InvalidTransformError, match=reason):
        scalar_pose.checked_pose(translation, rotation)
