# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms as arrays: compose, invert, apply to points, interpolate a trajectory."""

from __future__ import annotations

import numpy as np

from nucleus_bridge.errors import ExtrapolationError
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.model import FloatArray, IntArray, Trajectory, Transform


def compose(a_from_b: Transform, b_from_c: Transform) -> Transform:
    """Return ``a_from_c``; leading axes of the arrays are broadcast."""
    return Transform(
        translation=quaternion.rotate(a_from_b.rotation_xyzw, b_from_c.translation) + a_from_b.translation,
        rotation_xyzw=quaternion.multiply(a_from_b.rotation_xyzw, b_from_c.rotation_xyzw),
    )


def inverse(a_from_b: Transform) -> Transform:
    """Return ``b_from_a``; leading axes of the arrays are kept."""
    rotation = quaternion.conjugate(a_from_b.rotation_xyzw)
    return Transform(translation=-quaternion.rotate(rotation, a_from_b.translation), rotation_xyzw=rotation)


def apply(a_from_b: Transform, points: FloatArray) -> FloatArray:
    """Express points of frame b, shape (n, 3) in metres, in frame a."""
    return quaternion.rotate(a_from_b.rotation_xyzw, points) + a_from_b.translation


def between(start: Transform, end: Transform, fraction: FloatArray) -> Transform:
    """Interpolate n pairs of transforms, arrays (n, 3) and (n, 4), at n fractions in 0..1.

    Translation on the straight line, rotation on the shorter arc, as tf2 does.
    """
    return Transform(
        translation=start.translation + fraction[:, None] * (end.translation - start.translation),
        rotation_xyzw=quaternion.slerp(start.rotation_xyzw, end.rotation_xyzw, fraction),
    )


def bracket(knots_ns: IntArray, stamps_ns: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Return for each stamp the index of the knot at or before it, of the knot after it, and the fraction between.

    Knots ascending, stamps within them. Of knots with equal stamps the last one counts, except at the very first stamp.
    """
    before = np.searchsorted(knots_ns, stamps_ns, side="right") - 1
    before[stamps_ns == knots_ns[0]] = 0
    before[stamps_ns == knots_ns[-1]] = len(knots_ns) - 1
    after = np.minimum(before + 1, len(knots_ns) - 1)
    start_ns = knots_ns[before]
    fraction = (stamps_ns - start_ns) / np.maximum(knots_ns[after] - start_ns, 1)
    return before, after, fraction


def interpolate(trajectory: Trajectory, stamps_ns: IntArray) -> Trajectory:
    """Return the trajectory at other stamps, shape (n,) int64, by tf2's interpolation.

    Raises:
        ExtrapolationError: A stamp lies outside the trajectory.
    """
    check_within(trajectory.stamps_ns, stamps_ns)
    if not len(stamps_ns):
        return Trajectory(stamps_ns, np.empty((0, 3)), np.empty((0, 4)))
    before, after, fraction = bracket(trajectory.stamps_ns, stamps_ns)
    pose = between(
        Transform(trajectory.translations[before], trajectory.rotations_xyzw[before]),
        Transform(trajectory.translations[after], trajectory.rotations_xyzw[after]),
        fraction,
    )
    return Trajectory(stamps_ns, pose.translation, pose.rotation_xyzw)


def continued(trajectory: Trajectory, stamps_ns: IntArray) -> Trajectory:
    """Return a trajectory at other stamps, on beyond its end as it came there; before its start it stands.

    This is for judging what may be wrong, not for placing anything.
    """
    first_ns, last_ns = int(trajectory.stamps_ns[0]), int(trajectory.stamps_ns[-1])
    inside = interpolate(trajectory, np.clip(stamps_ns, first_ns, last_ns))
    beyond = stamps_ns > last_ns
    if not beyond.any():
        return Trajectory(stamps_ns, inside.translations, inside.rotations_xyzw)
    as_long_before = interpolate(trajectory, np.maximum(2 * last_ns - stamps_ns[beyond], first_ns))
    end = Transform(trajectory.translations[-1], trajectory.rotations_xyzw[-1])
    step = compose(inverse(Transform(as_long_before.translations, as_long_before.rotations_xyzw)), end)
    later = compose(end, step)
    translations, rotations = inside.translations.copy(), inside.rotations_xyzw.copy()
    translations[beyond], rotations[beyond] = later.translation, later.rotation_xyzw
    return Trajectory(stamps_ns, translations, rotations)


def check_within(knots_ns: IntArray, stamps_ns: IntArray) -> None:
    """Refuse stamps outside of ascending knots.

    Raises:
        ExtrapolationError: The earliest or latest stamp lies outside.
    """
    if not len(stamps_ns):
        return
    if not len(knots_ns):
        raise ExtrapolationError("the trajectory has no poses; give it at least one", direction="future")
    earliest, latest = int(stamps_ns.min()), int(stamps_ns.max())
    oldest, newest = int(knots_ns[0]), int(knots_ns[-1])
    span = f"the trajectory spans [{oldest}, {newest}] ns; ask for stamps inside, or look up poses for the whole span"
    if earliest < oldest:
        raise ExtrapolationError(f"stamp {earliest} ns is {oldest - earliest} ns too early: {span}", direction="past")
    if latest > newest:
        raise ExtrapolationError(f"stamp {latest} ns is {latest - newest} ns too late: {span}", direction="future")
