# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for rotations and poses, and the same motions as 4 x 4 matrices, built without quaternions."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from nucleus_bridge.model import Transform

Matrix = NDArray[np.float64]


def axis_angle_quaternion(axis: Matrix, angle: float) -> Matrix:
    """Return the x y z w quaternion of a turn about a unit axis."""
    return np.append(axis * math.sin(angle / 2), math.cos(angle / 2))


def rodrigues(axis: Matrix, angle: float) -> Matrix:
    """Return the rotation matrix of a turn about a unit axis by Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)


def homogeneous(rotation: Matrix, translation: Matrix) -> Matrix:
    """Return the 4 x 4 matrix of a rotation followed by a translation."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = translation
    return matrix


def same_rotation(a_xyzw: Matrix, b_xyzw: Matrix, tolerance: float = 1e-12) -> bool:
    """Say whether two unit quaternions are equal up to their sign."""
    return min(np.abs(a_xyzw - b_xyzw).max(), np.abs(a_xyzw + b_xyzw).max()) <= tolerance


@st.composite
def unit_axes(draw: st.DrawFn) -> Matrix:
    """Draw a direction."""
    height = draw(st.floats(-1, 1))
    longitude = draw(st.floats(0, 2 * math.pi))
    radius = math.sqrt(1 - height * height)
    return np.array([radius * math.cos(longitude), radius * math.sin(longitude), height])


angles = st.floats(-math.pi, math.pi)
vectors = st.tuples(*[st.floats(-1000, 1000)] * 3).map(np.array)


@st.composite
def turns(draw: st.DrawFn) -> tuple[Matrix, Matrix]:
    """Draw a rotation, as a quaternion of either sign and as the matrix from Rodrigues' formula."""
    axis, angle = draw(unit_axes()), draw(angles)
    return axis_angle_quaternion(axis, angle) * draw(st.sampled_from([1, -1])), rodrigues(axis, angle)


@st.composite
def motions(draw: st.DrawFn) -> tuple[Transform, Matrix]:
    """Draw a rigid motion, as a transform and as a 4 x 4 matrix."""
    quaternion, rotation = draw(turns())
    translation = draw(vectors)
    return Transform(translation, quaternion), homogeneous(rotation, translation)
