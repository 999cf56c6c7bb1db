# SPDX-License-Identifier: Apache-2.0
"""Hamilton quaternions in x y z w order, batched over leading axes.

Only + - * / and square roots are used, all exactly rounded by IEEE 754, so results have the same bits on every CPU.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nucleus_bridge.errors import InvalidTransformError
from nucleus_bridge.model import FloatArray

# Coefficients of the series for sin(t * angle) / sin(angle) in powers of (cos(angle) - 1), after D. Eberly,
# "A Fast and Accurate Algorithm for Computing SLERP". For arcs up to a quarter turn each term is less than half of the
# one before, so that 60 terms always reach the last bit; the sum is cut where a term changes nothing any more.
ARC_SHARE_SERIES = tuple((1.0 / (i * (2 * i + 1)), i / (2 * i + 1)) for i in range(1, 61))


def normalise(rotation_xyzw: ArrayLike) -> FloatArray:
    """Scale quaternions to unit length.

    Shape (..., 4) to (..., 4).

    Raises:
        InvalidTransformError: A quaternion is zero or not finite.
    """
    rotation = np.asarray(rotation_xyzw, dtype=np.float64)
    x, y, z, w = _components(rotation)
    length = np.sqrt(x * x + y * y + z * z + w * w)
    if not np.all(np.isfinite(length) & (length > 0.0)):
        raise InvalidTransformError(f"a rotation needs a finite quaternion other than zero, got {rotation.tolist()}")
    unit: FloatArray = rotation / length[..., None]
    return unit


def multiply(left_xyzw: FloatArray, right_xyzw: FloatArray) -> FloatArray:
    """Multiply quaternions: the rotation ``right`` followed by the rotation ``left``.

    Shapes (..., 4), broadcast against each other.
    """
    ax, ay, az, aw = _components(left_xyzw)
    bx, by, bz, bw = _components(right_xyzw)
    return _stack(
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by + ay * bw + az * bx - ax * bz,
        aw * bz + az * bw + ax * by - ay * bx,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def conjugate(rotation_xyzw: FloatArray) -> FloatArray:
    """Invert rotations given as unit quaternions, shape (..., 4)."""
    x, y, z, w = _components(rotation_xyzw)
    return _stack(-x, -y, -z, w)


def rotate(rotation_xyzw: FloatArray, vectors: FloatArray) -> FloatArray:
    """Rotate vectors, shape (..., 3), by unit quaternions, shape (..., 4), broadcast against each other."""
    qx, qy, qz, qw = _components(rotation_xyzw)
    vx, vy, vz = _components(vectors)
    tx = 2.0 * (qy * vz - qz * vy)
    ty = 2.0 * (qz * vx - qx * vz)
    tz = 2.0 * (qx * vy - qy * vx)
    return _stack(
        vx + qw * tx + (qy * tz - qz * ty),
        vy + qw * ty + (qz * tx - qx * tz),
        vz + qw * tz + (qx * ty - qy * tx),
    )


def to_matrix(rotation_xyzw: FloatArray) -> FloatArray:
    """Turn unit quaternions, shape (..., 4), into rotation matrices, shape (..., 3, 3)."""
    x, y, z, w = _components(rotation_xyzw)
    rows = (
        _stack(1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)),
        _stack(2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)),
        _stack(2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)),
    )
    return np.stack(rows, axis=-2)


def from_matrix(matrix: ArrayLike) -> FloatArray:
    """Turn proper rotation matrices, shape (..., 3, 3), into unit quaternions, shape (..., 4).

    Raises:
        InvalidTransformError: A matrix has entries that are not finite.
    """
    m = np.asarray(matrix, dtype=np.float64)
    m00, m01, m02 = _components(m[..., 0, :])
    m10, m11, m12 = _components(m[..., 1, :])
    m20, m21, m22 = _components(m[..., 2, :])
    # Row i is the quaternion times four times its own component i: the row of the largest component loses no digits.
    scaled = np.stack(
        (
            _stack(1.0 + m00 - m11 - m22, m01 + m10, m02 + m20, m21 - m12),
            _stack(m01 + m10, 1.0 - m00 + m11 - m22, m12 + m21, m02 - m20),
            _stack(m02 + m20, m12 + m21, 1.0 - m00 - m11 + m22, m10 - m01),
            _stack(m21 - m12, m02 - m20, m10 - m01, 1.0 + m00 + m11 + m22),
        ),
        axis=-2,
    )
    largest = np.argmax(np.diagonal(scaled, axis1=-2, axis2=-1), axis=-1)
    return normalise(np.take_along_axis(scaled, largest[..., None, None], axis=-2)[..., 0, :])


def slerp(start_xyzw: FloatArray, end_xyzw: FloatArray, fraction: ArrayLike) -> FloatArray:
    """Interpolate along the shorter arc at constant angular speed, as tf2 does.

    Shapes (..., 4), (..., 4) and (...); unit quaternions, fractions in 0..1.
    """
    t = np.asarray(fraction, dtype=np.float64)
    ax, ay, az, aw = _components(start_xyzw)
    bx, by, bz, bw = _components(end_xyzw)
    cosine = ax * bx + ay * by + az * bz + aw * bw
    excess = np.abs(cosine) - 1.0
    start_share = _arc_share(1.0 - t, excess)
    end_share = np.where(cosine < 0.0, -1.0, 1.0) * _arc_share(t, excess)
    return _stack(
        start_share * ax + end_share * bx,
        start_share * ay + end_share * by,
        start_share * az + end_share * bz,
        start_share * aw + end_share * bw,
    )


def _arc_share(fraction: FloatArray, excess: FloatArray) -> FloatArray:
    """Return sin(fraction * angle) / sin(angle) for cos(angle) = 1 + excess, angles up to a quarter turn."""
    square = fraction * fraction
    term = total = fraction + np.zeros_like(excess)
    for u, v in ARC_SHARE_SERIES:
        term = term * ((u * square - v) * excess)
        before, total = total, total + term
        if np.array_equal(before, total):
            break
    return total


def _components(array: FloatArray) -> tuple[FloatArray, ...]:
    return tuple(array[..., i] for i in range(array.shape[-1]))


def _stack(*components: FloatArray) -> FloatArray:
    return np.stack(np.broadcast_arrays(*components), axis=-1)
