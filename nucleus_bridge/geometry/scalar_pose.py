# SPDX-License-Identifier: Apache-2.0
"""One pose in plain floats: the arithmetic of the batched functions, bit for bit, without numpy's cost per call.

A live node asks for single poses all the time; on arrays of three numbers numpy is about thirty times slower than this.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from nucleus_bridge.errors import InvalidTransformError
from nucleus_bridge.geometry.quaternion import ARC_SHARE_SERIES

Vector = tuple[float, float, float]
Pose = tuple[float, float, float, float, float, float, float]
"""Translation x y z in metres, then the unit quaternion x y z w."""

IDENTITY: Pose = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def checked_pose(translation: Iterable[float], rotation_xyzw: Iterable[float]) -> Pose:
    """Return the pose with its quaternion scaled to unit length, whatever its length, as tf2's ``setTransform`` does.

    Raises:
        InvalidTransformError: A value is not finite, or the quaternion is zero.
    """
    try:
        x, y, z = map(float, translation)
        qx, qy, qz, qw = map(float, rotation_xyzw)
    except (TypeError, ValueError) as error:
        raise InvalidTransformError("a pose is three numbers of translation and four of rotation") from error
    if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
        raise InvalidTransformError(f"the translation ({x}, {y}, {z}) is not finite")
    length = math.sqrt(qx * qx + qy * qy + qz * qz + qw * qw)
    if not 0.0 < length < math.inf:
        raise InvalidTransformError(f"the quaternion ({qx}, {qy}, {qz}, {qw}) is not a rotation")
    return x, y, z, qx / length, qy / length, qz / length, qw / length


def quaternion_of_rpy(roll: float, pitch: float, yaw: float) -> tuple[float, float, float, float]:
    """Return the turn about fixed x, then y, then z, in radians, as URDF and static_transform_publisher mean it."""
    sr, cr = math.sin(roll / 2.0), math.cos(roll / 2.0)
    sp, cp = math.sin(pitch / 2.0), math.cos(pitch / 2.0)
    sy, cy = math.sin(yaw / 2.0), math.cos(yaw / 2.0)
    return (
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )


def compose(a_from_b: Pose, b_from_c: Pose) -> Pose:
    """Return ``a_from_c``."""
    x, y, z, ax, ay, az, aw = a_from_b
    vx, vy, vz, bx, by, bz, bw = b_from_c
    tx = 2.0 * (ay * vz - az * vy)
    ty = 2.0 * (az * vx - ax * vz)
    tz = 2.0 * (ax * vy - ay * vx)
    return (
        vx + aw * tx + (ay * tz - az * ty) + x,
        vy + aw * ty + (az * tx - ax * tz) + y,
        vz + aw * tz + (ax * ty - ay * tx) + z,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by + ay * bw + az * bx - ax * bz,
        aw * bz + az * bw + ax * by - ay * bx,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def inverse(a_from_b: Pose) -> Pose:
    """Return ``b_from_a``."""
    x, y, z, qx, qy, qz, qw = a_from_b
    rx, ry, rz = _rotate(-qx, -qy, -qz, qw, (x, y, z))
    return -rx, -ry, -rz, -qx, -qy, -qz, qw


def apart(one: Pose, other: Pose) -> tuple[float, float]:
    """Return by how many metres and degrees two poses differ."""
    x, y, z, qx, qy, qz, qw = compose(inverse(one), other)
    return math.hypot(x, y, z), math.degrees(2.0 * math.atan2(math.hypot(qx, qy, qz), abs(qw)))


def between(start: Pose, end: Pose, fraction: float) -> Pose:
    """Interpolate: translation on the straight line, rotation on the shorter arc; ``fraction`` in 0..1."""
    sx, sy, sz, ax, ay, az, aw = start
    ex, ey, ez, bx, by, bz, bw = end
    cosine = ax * bx + ay * by + az * bz + aw * bw
    excess = abs(cosine) - 1.0
    start_share = _arc_share(1.0 - fraction, excess)
    end_share = _arc_share(fraction, excess)
    if cosine < 0.0:
        end_share = -end_share
    return (
        sx + fraction * (ex - sx),
        sy + fraction * (ey - sy),
        sz + fraction * (ez - sz),
        start_share * ax + end_share * bx,
        start_share * ay + end_share * by,
        start_share * az + end_share * bz,
        start_share * aw + end_share * bw,
    )


def _rotate(qx: float, qy: float, qz: float, qw: float, vector: Vector) -> Vector:
    vx, vy, vz = vector
    tx = 2.0 * (qy * vz - qz * vy)
    ty = 2.0 * (qz * vx - qx * vz)
    tz = 2.0 * (qx * vy - qy * vx)
    return (
        vx + qw * tx + (qy * tz - qz * ty),
        vy + qw * ty + (qz * tx - qx * tz),
        vz + qw * tz + (qx * ty - qy * tx),
    )


def _arc_share(fraction: float, excess: float) -> float:
    """Return sin(fraction * angle) / sin(angle) for cos(angle) = 1 + excess, angles up to a quarter turn."""
    square = fraction * fraction
    term = total = fraction
    for u, v in ARC_SHARE_SERIES:
        term = term * ((u * square - v) * excess)
        before, total = total, total + term
        if before == total:
            break
    return total
