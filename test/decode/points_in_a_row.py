# SPDX-License-Identifier: Apache-2.0
"""Points in a row along x, with and without times, and the lidar whose they are."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from nucleus_bridge.config.settings import LidarConfig

LIDAR = LidarConfig(name="top", topic="/lidar/points")
XYZ = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
XYZI = [*XYZ, ("intensity", "<f4")]


def points_of(dtype, n: int = 5):
    """Points in a row along x, 1 m apart."""
    points = np.zeros(n, dtype)
    points["x"] = np.arange(1, n + 1)
    return points


def with_times(kind: str, times, name: str):
    points = points_of(np.dtype([*XYZI, (name, kind)]), len(times))
    points[name] = times
    return points


def exact_ns(number) -> int:
    """Nanoseconds of float seconds, in exact arithmetic."""
    return round(Fraction(float(number)) * 10**9)
