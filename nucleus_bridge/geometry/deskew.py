# SPDX-License-Identifier: Apache-2.0
"""Move lidar points into the world, each with the pose at its own time.

Only elementwise float64 operations are used, no BLAS, so results have the same bits on every CPU.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nucleus_bridge.errors import InvalidTransformError
from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.model import FloatArray, IntArray, Trajectory, Transform

BLOCK = 8192
"""Points worked on at a time, so that what is computed of a block is still in the cache when it is needed next."""


def knot_stamps(first_ns: int, last_ns: int, step_ns: int = 1_000_000) -> IntArray:
    """Return stamps from first to last, both included, a step apart; only the last interval may be shorter.

    Raises:
        InvalidTransformError: The span ends before it begins, or the step is not positive.
    """
    if last_ns < first_ns or step_ns <= 0:
        raise InvalidTransformError(f"no knots from {first_ns} ns to {last_ns} ns every {step_ns} ns")
    return np.append(np.arange(first_ns, last_ns, step_ns, dtype=np.int64), np.int64(last_ns))


def points_in_world(
    xyz: NDArray[np.floating], time_ns: IntArray | None, poses: Trajectory | Transform, offset: ArrayLike
) -> FloatArray:
    """Return points in the world minus an offset, each moved by the pose at its own time.

    Between knots the rotation matrices and translations are interpolated linearly: with knots 1 ms apart and 90 degrees
    a second that is within 0.1 mm of the exact motion at 200 m.

    Args:
        xyz: Shape (n, 3), float32 or float64, metres in the lidar's frame.
        time_ns: Shape (n,), the points' own times; not used with a single pose.
        poses: world_from_lidar, one for all points or knots over time.
        offset: Shape (3,), metres in the world, subtracted from every point.

    Returns:
        Shape (n, 3), float64, metres, each column contiguous. Points that are not finite stay so.

    Raises:
        ExtrapolationError: A point's time lies outside the trajectory.
        InvalidTransformError: The poses are a trajectory and the points have no times.
    """
    world = np.empty((len(xyz), 3), order="F")
    # Infinite coordinates make NaN on the way, which is right and no news.
    with np.errstate(invalid="ignore"):
        if isinstance(poses, Transform):
            _move_rigidly(xyz, poses, np.asarray(offset, dtype=np.float64), world.T)
        elif time_ns is None:
            raise InvalidTransformError("points without times need one pose, not a trajectory")
        else:
            transforms.check_within(poses.stamps_ns, time_ns)
            _move_between_knots(xyz, time_ns, poses, np.asarray(offset, dtype=np.float64), world.T)
    return world


def _move_rigidly(xyz: NDArray[np.floating], pose: Transform, offset: FloatArray, world: FloatArray) -> None:
    """Write shape (3, n)."""
    matrix = quaternion.to_matrix(pose.rotation_xyzw)
    shift = pose.translation - offset
    for begin in range(0, len(xyz), BLOCK):
        block = slice(begin, begin + BLOCK)
        x, y, z = np.ascontiguousarray(xyz[block].T, dtype=np.float64)
        for axis in range(3):
            moved = np.multiply(x, matrix[axis, 0], out=world[axis, block])
            moved += y * matrix[axis, 1]
            moved += z * matrix[axis, 2]
            moved += shift[axis]


def _move_between_knots(
    xyz: NDArray[np.floating], time_ns: IntArray, poses: Trajectory, offset: FloatArray, world: FloatArray
) -> None:
    """Write shape (3, n)."""
    start_ns, length_ns, table = _knot_table(poses, offset)
    room = min(BLOCK, len(xyz))
    gathered, spread = np.empty(24 * room), np.empty(12 * room)
    for begin in range(0, len(xyz), BLOCK):
        block = slice(begin, begin + BLOCK)
        times, each = _runs(time_ns[block])
        knot = np.searchsorted(start_ns, times, side="right") - 1
        fraction = (times - start_ns.take(knot)) / length_ns.take(knot)
        coefficients = gathered[: 24 * len(knot)].reshape(24, -1)
        table.take(knot, axis=1, out=coefficients, mode="clip")
        pose, change = coefficients[:12], coefficients[12:]
        change *= fraction
        pose += change
        if each is not None:
            pose = pose.take(each, axis=1, out=spread[: 12 * len(each)].reshape(12, -1), mode="clip")
        terms = pose[:9].reshape(3, 3, -1)  # rows of the matrix, columns of the matrix, points
        terms *= np.ascontiguousarray(xyz[block].T, dtype=np.float64)
        moved = terms[:, 0]
        moved += terms[:, 1]
        moved += terms[:, 2]
        np.add(moved, pose[9:], out=world[:, block])


def _runs(times: IntArray) -> tuple[IntArray, IntArray | None]:
    """Return one time of each run of equal ones and, for each point, which; None where runs are too short to matter.

    The lasers of a column often fire together, or carry the time of their column.
    """
    begins = times[1:] != times[:-1]
    count = int(np.count_nonzero(begins)) + 1
    if 2 * count > len(times):
        return times, None
    each = np.zeros(len(times), np.int64)
    np.cumsum(begins, out=each[1:])
    return times[np.append(0, np.flatnonzero(begins) + 1)], each


def _knot_table(poses: Trajectory, offset: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return the intervals between knots: their starts, their lengths and, shape (24, k), poses and changes of pose.

    The last knot gets an interval of its own without change, so that every time within the trajectory is in one.
    """
    count = len(poses.stamps_ns)
    pose = np.empty((12, count))
    pose[:9] = quaternion.to_matrix(poses.rotations_xyzw).reshape(count, 9).T
    pose[9:] = (poses.translations - offset).T
    change = np.zeros((12, count))
    change[:, :-1] = np.diff(pose, axis=1)
    length_ns = np.ones(count)
    length_ns[:-1] = np.maximum(np.diff(poses.stamps_ns), 1)
    return poses.stamps_ns, length_ns, np.concatenate((pose, change))
