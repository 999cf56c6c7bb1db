# SPDX-License-Identifier: Apache-2.0
"""The two moving edges of the transform tree: map -> odom, corrected now and then, and odom -> base_link.

Odometry drifts and slips; localisation notices and moves the odom frame in the map by just as much, so that
map -> base_link is always the true pose. Between its stamps (ten a second) map -> odom moves in straight lines and
never turns, and odom -> base_link is published at those stamps too: interpolating both edges and then chaining them is
the same as interpolating the true pose, also while a correction takes place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.testing.demo.course import true_pose, true_poses
from nucleus_bridge.testing.demo.options import TICK_HZ, DriveOptions
from nucleus_bridge.testing.demo.rigid import FloatArray, Pose, from_roll_pitch_yaw

LEAD_TICKS = 5  # transforms start half a second before the drive and end half a second after it
_FIRST_OFFSET_NS = -497_900_000
_TICK_NS = 1_000_000_000 // TICK_HZ
_CORRECTION_EVERY = 17
_CORRECTIONS_M = (0.05, 0.12, 0.30, 0.08, 0.03)
_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


def stamps_ns(options: DriveOptions) -> NDArray[np.int64]:
    """Return the stamps of odom -> base_link; the first, and every tenth of a second, is one of map -> odom too."""
    count = (options.ticks + 2 * LEAD_TICKS) * per_tick(options) + 1
    steps = np.arange(count, dtype=np.int64) * _TICK_NS // per_tick(options)
    return options.start_ns + _FIRST_OFFSET_NS + steps


def per_tick(options: DriveOptions) -> int:
    """Return how many odom -> base_link come on one map -> odom."""
    return options.tf_rate_hz // TICK_HZ


def edges_at(options: DriveOptions, stamps: NDArray[np.int64]) -> tuple[Pose, Pose]:
    """Return map_from_odom and odom_from_base_link at ``stamps`` (k,)."""
    map_from_base = true_poses(options, stamps)
    start = true_pose(options, options.start_ns)
    heading = np.arctan2(start.matrix[1, 0], start.matrix[0, 0])
    turned = np.broadcast_to(from_roll_pitch_yaw(0.0, 0.0, heading), (len(stamps), 4))
    map_from_odom = Pose(start.translation * [1.0, 1.0, 0.0] + _drift(options, stamps), turned)
    return map_from_odom, map_from_odom.inverse() @ map_from_base


def _drift(options: DriveOptions, stamps: NDArray[np.int64]) -> FloatArray:
    """Return how far the odom frame has been moved, (k, 3): corrections, each within one tick, on a slow wander."""
    ticks = (stamps - options.start_ns - _FIRST_OFFSET_NS) / _TICK_NS
    knots = np.arange(options.ticks + 2 * LEAD_TICKS + 1)
    number = knots // _CORRECTION_EVERY
    length = np.array(_CORRECTIONS_M)[number % len(_CORRECTIONS_M)] * (number > 0)
    is_step = knots % _CORRECTION_EVERY == 0
    angle = number * _GOLDEN_ANGLE
    steps = (is_step * length)[:, None] * np.stack([np.cos(angle), np.sin(angle), 0.1 * np.cos(angle)], axis=-1)
    wander = 0.15 * np.stack([np.sin(0.011 * knots), np.cos(0.007 * knots) - 1.0, 0.1 * np.sin(0.003 * knots)], axis=-1)
    moved = np.cumsum(steps, axis=0) + wander
    return np.stack([np.interp(ticks, knots, moved[:, axis]) for axis in range(3)], axis=-1)
