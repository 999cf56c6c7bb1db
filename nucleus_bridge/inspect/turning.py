# SPDX-License-Identifier: Apache-2.0
"""How often a lidar turns by the directions and times of its points: a clock that no driver can set wrong."""

from __future__ import annotations

import math

import numpy as np

from nucleus_bridge.model import FloatArray, IntArray

_LEAST_POINTS, _MOST_RINGS = 20, 8
_ALL_AROUND = 0.8
_UNEVEN_RAD = 0.15
_OFF_TURNS = 0.12


def turns_a_period(azimuth: FloatArray, seconds: FloatArray, ring: IntArray, period_s: float) -> float | None:
    """Return how often a lidar turns from one sweep to the next, if these are the times of its points.

    Args:
        azimuth: Shape (n,), radians, in the lidar.
        seconds: When each point was measured, as it may be meant.
        ring: Which laser measured it.
        period_s: From one sweep to the next.

    Returns:
        None where the lidar does not look all around, or does not turn evenly at these times.
    """
    rings = np.unique(ring)
    turns = [
        _turns(azimuth[mine], seconds[mine])
        for number in rings[:: max(1, len(rings) // _MOST_RINGS)]
        for mine in [np.flatnonzero(ring == number)]
        if len(mine) >= _LEAST_POINTS
    ]
    known = [one for one in turns if one is not None]
    if period_s <= 0 or not known or 2 * len(known) <= len(turns):
        return None
    return period_s * float(np.median(known))


def _turns(azimuth: FloatArray, seconds: FloatArray) -> float | None:
    """Return turns a second of one laser; None where it does not turn evenly, or not all around."""
    order = np.argsort(seconds, kind="stable")
    since = seconds[order] - seconds[order[0]]
    angle = np.unwrap(azimuth[order])
    if abs(angle[-1] - angle[0]) < _ALL_AROUND * 2 * math.pi or since[-1] <= 0:
        return None
    slope, offset = np.polyfit(since / since[-1], angle, 1)
    if np.percentile(np.abs(slope * since / since[-1] + offset - angle), 90) > _UNEVEN_RAD:
        return None
    return abs(float(slope)) / float(since[-1]) / (2 * math.pi)


def is_whole(turns: float) -> bool:
    """Whether sweeps of whole turns follow each other so, some of them perhaps left out."""
    return round(turns) >= 1 and abs(turns - round(turns)) < _OFF_TURNS
