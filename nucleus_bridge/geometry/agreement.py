# SPDX-License-Identifier: Apache-2.0
"""How far two trajectories of one body are apart, in one frame or laid over each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.model import FloatArray, IntArray, Trajectory

_MIN_STAMPS = 5
_MIN_SPREAD_M = 2.0


class Agreement(NamedTuple):
    """Residuals of poses: median and largest distance in metres, median angle in degrees.

    ``is_aligned``: whether the trajectories are in different frames and were laid over each other first.
    """

    median_m: float
    largest_m: float
    median_deg: float
    is_aligned: bool


def agreement(one: Trajectory, other: Trajectory, *, in_one_frame: bool) -> Agreement | None:
    """Compare a trajectory with another one, interpolated at its stamps.

    Args:
        one: Poses of a body.
        other: Poses of the same body.
        in_one_frame: Whether both are in the same frame; else ``other`` is turned and moved onto ``one`` first, as a
            whole (Kabsch, without scale).

    Returns:
        None where they have too few moments in common, or too little motion to lay them over each other.
    """
    inside = (one.stamps_ns >= other.stamps_ns[0]) & (one.stamps_ns <= other.stamps_ns[-1])
    if np.count_nonzero(inside) < _MIN_STAMPS:
        return None
    at = transforms.interpolate(other, one.stamps_ns[inside])
    places, turns = one.translations[inside], quaternion.normalise(one.rotations_xyzw[inside])
    found, found_turns = at.translations, at.rotations_xyzw
    if not in_one_frame:
        if float(np.linalg.norm(np.ptp(places, axis=0))) < _MIN_SPREAD_M:
            return None
        rotation, shift = laid_over(found, places)
        found = found @ rotation.T + shift
        found_turns = quaternion.multiply(quaternion.from_matrix(rotation), found_turns)
    apart = np.linalg.norm(found - places, axis=1)
    turned = quaternion.multiply(quaternion.conjugate(turns), found_turns)
    angles = np.degrees(2.0 * np.arctan2(np.linalg.norm(turned[:, :3], axis=1), np.abs(turned[:, 3])))
    return Agreement(float(np.median(apart)), float(apart.max()), float(np.median(angles)), not in_one_frame)


def level_agreement(one: Trajectory, other: Trajectory) -> Agreement | None:
    """Compare two trajectories from above, as satellites see them: heights are left out, and of rotations all but yaw.

    ``other`` is turned and moved onto ``one`` first. Returns None as ``agreement`` does.
    """
    return agreement(_level(one), _level(other), in_one_frame=False)


def _level(trajectory: Trajectory) -> Trajectory:
    x, y, z, w = trajectory.rotations_xyzw.T
    half = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)) / 2.0
    none = np.zeros_like(half)
    return Trajectory(
        trajectory.stamps_ns,
        trajectory.translations * (1.0, 1.0, 0.0),
        np.stack([none, none, np.sin(half), np.cos(half)], axis=1),
    )


def trajectory_of(stamps_ns: IntArray, translations: FloatArray, rotations_xyzw: FloatArray) -> Trajectory:
    """Return poses as a trajectory: by stamp, the last one of each stamp, quaternions of unit length.

    Poses that are none (not finite, or with a zero quaternion) are left out.
    """
    length = np.linalg.norm(rotations_xyzw, axis=1)
    good = np.isfinite(translations).all(axis=1) & np.isfinite(length) & (length > 0.0)
    order = np.flatnonzero(good)[np.argsort(stamps_ns[good], kind="stable")]
    stamps = stamps_ns[order]
    order = order[np.append(np.diff(stamps) > 0, [True])] if len(order) else order
    return Trajectory(stamps_ns[order], translations[order], quaternion.normalise(rotations_xyzw[order]))


def top_speed(trajectory: Trajectory, over_ns: int = 500_000_000) -> float:
    """Return the largest speed in m/s over stretches of at least half a second, or all of a shorter trajectory."""
    stamps = trajectory.stamps_ns
    if len(stamps) < 2 or stamps[0] == stamps[-1]:
        return 0.0
    over_ns = min(over_ns, int(stamps[-1] - stamps[0]))
    later = np.searchsorted(stamps, stamps + over_ns)
    begin = np.flatnonzero(later < len(stamps))
    way = np.linalg.norm(trajectory.translations[later[begin]] - trajectory.translations[begin], axis=1)
    return float((way / (stamps[later[begin]] - stamps[begin]) * 1e9).max())


def laid_over(points: FloatArray, onto: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return rotation and shift that bring points closest to others, in the least squares."""
    centre, other_centre = points.mean(axis=0), onto.mean(axis=0)
    u, _, vt = np.linalg.svd((points - centre).T @ (onto - other_centre))
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = vt.T @ sign @ u.T
    return rotation, other_centre - rotation @ centre
