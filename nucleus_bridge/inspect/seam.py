# SPDX-License-Identifier: Apache-2.0
"""Whether a turn of the lidar closes: what it sees at the beginning of a turn it sees again at the end, from elsewhere.

A wall goes on behind the seam only where points are moved as they have to be. Where it does not, but would if point
times ran backwards or were twice as long, or if cloud and poses had axes of the same hand, that is what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.inspect.clouds import Cloud, CloudFacts, usable_points
from nucleus_bridge.inspect.point_times import UNITS_NS, PointTimes
from nucleus_bridge.inspect.sweeps import PosesOf
from nucleus_bridge.model import FloatArray, IntArray, Trajectory
from nucleus_bridge.warnings import Code, Finding

Change = Literal["backwards", "twice", "not_moved", "mirrored"]

_MOST_CLOUDS, _LEAST_CLOUDS, _LEAST_GAPS = 10, 3, 12
_LEAST_POINTS, _SAMPLED, _COLUMNS = 100, 4_000, 3.5
_NARROWEST, _WIDEST = 0.012, 0.07
_CLOSES_RAD = 0.25
_MOVED_M = 0.12
_KNOTS = 25
_ABOVE_GROUND_M = 0.5
_THIN_M, _NEAR_WIDTHS = 0.1, 6.0
_OPEN_M, _CLEAR = 0.1, 0.3
WRONG_POSES = (Code.TF_CONFLICT, Code.TF_IMPLAUSIBLE, Code.POSE_INVERSE)
"""Where one of these is found, nothing is concluded from turns that do not close: poses explain it."""
_RINGS = ("ring", "channel", "line", "laser_id")


@dataclass(frozen=True)
class Seam:
    """How far walls are from where they go on behind the seam, metres, the medians.

    Attributes:
        as_given: As point times and axes are.
        change: What would close it.
        changed: How far they are with that.
    """

    as_given: float
    change: Change
    changed: float


def open_seam(facts: CloudFacts, times: PointTimes, poses_of: PosesOf) -> Seam | None:
    """Return what would close the turns of a lidar; None where they do, where nothing would, or nothing tells.

    Clouds that would close if they were not moved at all are those that are corrected already; see ``sweeps``.

    Args:
        facts: The clouds.
        times: What their point times mean.
        poses_of: Returns the poses of the lidar.
    """
    picked = facts.clouds[:: max(1, len(facts.clouds) // _MOST_CLOUDS)]
    ends = [found for cloud in picked if (found := _ends(cloud, times, poses_of)) is not None]
    if len(ends) < _LEAST_CLOUDS:
        return None
    as_given = _gap(ends, _as_it_is)
    if as_given is None or as_given < _OPEN_M:
        return None
    tried = {change: _gap(ends, made) for change, made in _CHANGES.items()}
    known = {change: gap for change, gap in tried.items() if gap is not None}
    change = min(known, key=lambda one: known[one], default=None)
    if change in (None, "not_moved") or known[change] > _CLEAR * as_given:
        return None
    return Seam(as_given, change, known[change])


@dataclass(frozen=True)
class _Ends:
    """The points next to the seam of one turn, those of its beginning and those of its end."""

    xyz: FloatArray
    at_ns: IntArray  # since the first point
    ring: IntArray
    is_late: np.ndarray
    span_ns: int
    knots_ns: IntArray
    poses: Trajectory


def _ends(cloud: Cloud, times: PointTimes, poses_of: PosesOf) -> _Ends | None:
    xyz, rows = usable_points(cloud)
    if len(xyz) < _LEAST_POINTS:
        return None
    values = cloud.points[times.field][rows].astype(np.float64)
    every = (len(xyz) // _SAMPLED) | 1  # odd, so that no column of a grid is left out
    low, high = np.nanpercentile(values[::every], (1, 99))
    good = np.isfinite(values) & (values >= 2 * low - high) & (values <= 2 * high - low)
    xyz, values, rows = xyz[good], values[good], rows[good]
    first = float(values.min())
    at_ns = np.rint((values - first) * UNITS_NS[times.unit]).astype(np.int64)
    span_ns = int(at_ns.max())
    if not span_ns:
        return None
    share = min(max(_NARROWEST, _COLUMNS / len(np.unique(at_ns[::every]))), _WIDEST)
    early, late = at_ns <= share * span_ns, at_ns >= (1 - share) * span_ns
    directions = [np.exp(1j * np.arctan2(xyz[end, 1], xyz[end, 0])).mean() for end in (early, late)]
    if abs(np.angle(directions[0] / directions[1])) > 2 * np.pi * share + _CLOSES_RAD:
        return None
    begin_ns = (0 if times.is_absolute else cloud.stamp_ns) + round(first * UNITS_NS[times.unit])
    knots_ns = np.linspace(0, 2 * span_ns, _KNOTS).astype(np.int64)
    poses = poses_of(cloud, begin_ns + knots_ns)
    if poses is None or float(np.linalg.norm(poses.translations[_KNOTS // 2] - poses.translations[0])) < _MOVED_M:
        return None
    kept = early | late
    names = cloud.points.dtype.names or ()
    field = next((name for name in _RINGS if name in names), None)
    ring = cloud.points[field][rows].astype(np.int64) if field else np.zeros(len(xyz), np.int64)
    return _Ends(xyz[kept], at_ns[kept], ring[kept], late[kept], span_ns, knots_ns, poses)


_Made = Callable[[_Ends], "tuple[FloatArray, IntArray]"]


def _as_it_is(ends: _Ends) -> tuple[FloatArray, IntArray]:
    return ends.xyz, ends.at_ns


_CHANGES: dict[Change, _Made] = {
    "backwards": lambda ends: (ends.xyz, ends.span_ns - ends.at_ns),
    "twice": lambda ends: (ends.xyz, 2 * ends.at_ns),
    "not_moved": lambda ends: (ends.xyz, 0 * ends.at_ns),
    "mirrored": lambda ends: (ends.xyz * [1.0, -1.0, 1.0], ends.at_ns),
}


def _gap(all_ends: list[_Ends], made: _Made) -> float | None:
    """Return how far walls are from where they go on, the median of all rings and turns."""
    gaps: list[float] = []
    for ends in all_ends:
        xyz, at_ns = made(ends)
        low, high, share = transforms.bracket(ends.knots_ns, at_ns)
        moved = ends.poses.translations
        place = moved[low] + share[:, None] * (moved[high] - moved[low])
        turned = quaternion.slerp(ends.poses.rotations_xyzw[low], ends.poses.rotations_xyzw[high], share)
        gaps += _gaps(quaternion.rotate(turned, xyz) + place, ends)
    return float(np.median(gaps)) if len(gaps) >= _LEAST_GAPS else None


def _gaps(world: FloatArray, ends: _Ends) -> list[float]:
    ground = float(np.percentile(world[:, 2], 2))
    upright = world[:, 2] > ground + _ABOVE_GROUND_M
    found = []
    for number in np.unique(ends.ring):
        mine = upright & (ends.ring == number)
        one, other = world[mine & ~ends.is_late, :2], world[mine & ends.is_late, :2]
        if len(one) < 3 or len(other) < 3:
            continue
        middle = other.mean(axis=0)
        spread, axes = np.linalg.eigh(np.cov((other - middle).T))
        own, own_axes = np.linalg.eigh(np.cov((one - one.mean(axis=0)).T))
        is_wall = max(spread[0], own[0]) < _THIN_M**2 and abs(float(axes[:, 1] @ own_axes[:, 1])) > 0.9
        away = one.mean(axis=0) - middle
        if is_wall and float(np.linalg.norm(away)) < _NEAR_WIDTHS * np.sqrt(spread[1]):
            normals = axes[:, 0] + own_axes[:, 0] * np.sign(axes[:, 0] @ own_axes[:, 0])
            found.append(abs(float(away @ normals)) / 2.0)  # along the mean of both a round wall has none
    return found


def seam_finding(topic: str, section: str, field: str, seam: Seam) -> Finding:
    """Name what keeps the turns of a lidar from closing; ``section`` is that of its parameters."""
    if seam.change == "mirrored":
        return warnings.axes_mirrored(topic, seam.as_given, seam.changed)
    is_backwards = seam.change == "backwards"
    words = "ran backwards" if is_backwards else "were twice as long"
    remedy = f"{section}.time_field: none" if is_backwards else "fix the driver: times must cover the turn"
    return warnings.point_time_suspect(topic, field, seam.as_given, words, seam.changed, remedy)
