# SPDX-License-Identifier: Apache-2.0
"""What neighbouring clouds and their geometry prove: sweeps in parts, and sweeps that are corrected already."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nucleus_bridge.errors import TransformError
from nucleus_bridge.geometry import TransformTree, quaternion, transforms
from nucleus_bridge.inspect.clouds import Cloud, CloudFacts, usable_points
from nucleus_bridge.inspect.point_times import UNITS_NS, PointTimes
from nucleus_bridge.model import FloatArray, IntArray, Trajectory, Transform

_LEAST_SECTORS = 6  # of eight, that a lidar which turns sees something in
_CORRECTED = re.compile(
    r"(^|[/_-])(rectified|deskewed|undistorted|undistort|corrected|compensated|motion_corrected)([/_-]|$)"
)
_MOST_POINTS, _MOST_CLOUDS = 2_000, 5
_LEAST_POINTS = 200
_MOVED_M = 0.15
_KNOTS = 21
_SPINNING = math.radians(1.5)
_CLEAR = 0.5
_SHARPEST = math.radians(0.02)
_MOST_SURFACES, _MOST_COMPARED, _TIMES, _NEIGHBOURS, _THICK_M = 4, 1_500, 10, 5, 0.02
_STEEP, _LEAST_STEEP = 0.7, 30
_BINS = 72
_ALL_AROUND_DEG = 300.0


@dataclass(frozen=True)
class Parts:
    """A turn of the lidar in several messages.

    Attributes:
        count: Messages a turn.
        degrees: What each covers.
        turn_ms: How long a turn takes.
    """

    count: int
    degrees: float
    turn_ms: float


def corrected_by_name(topic: str) -> str:
    """Return the word in a topic that says that its clouds are corrected for motion, or ''."""
    match = _CORRECTED.search(topic.lower())
    return match[2] if match else ""


def find_parts(facts: CloudFacts, period_ns: float) -> Parts | None:
    """Find out whether each message goes on where the one before ended, round and round."""
    if not period_ns:
        return None
    advances, widths = [], []
    for one, other in zip(facts.clouds, facts.clouds[1:], strict=False):
        if not 0.5 * period_ns < other.stamp_ns - one.stamp_ns < 1.5 * period_ns:
            continue
        first = _side(one)
        if first is not None and first[1] > _ALL_AROUND_DEG:
            return None
        second = _side(other)
        if first is None or second is None:
            continue
        (a, width), (b, _) = first, second
        advances.append((b - a + 180.0) % 360.0 - 180.0)
        widths.append(width)
    if len(advances) < 2:
        return None
    width = float(np.median(widths))
    advance = float(np.median(np.abs(advances)))
    signs = np.sign([a for a in advances if abs(a) < 150.0])
    is_steady = np.percentile(np.abs(np.abs(advances) - advance), 80) < 0.25 * advance
    goes_round = not len(signs) or abs(float(signs.mean())) > 0.8
    if width > _ALL_AROUND_DEG or advance < 3.0 or not is_steady or not goes_round:
        return None
    count = round(360.0 / advance)
    turn_ms = count * period_ns / 1e6
    fills = count > 1 and abs(360.0 / advance - count) < 0.2 * count and 0.5 < width / advance < 1.7
    if not fills or not 15.0 < turn_ms < 1_100.0:
        return None
    rounded = round(turn_ms / 10.0) * 10.0
    return Parts(count, width, rounded if abs(rounded - turn_ms) < 0.03 * turn_ms else round(turn_ms, 1))


def _side(cloud: Cloud) -> tuple[float, float] | None:
    """Return the middle and the width, in degrees, of the directions that a cloud covers; None without points."""
    xyz, _ = usable_points(cloud)
    if len(xyz) < 10:
        return None
    azimuth = np.arctan2(xyz[:, 1], xyz[:, 0])
    there = np.bincount(((azimuth / (2 * math.pi) + 0.5) * _BINS).astype(int) % _BINS, minlength=_BINS) > 0
    empty = _longest_run(~there)
    if empty == 0:
        return 0.0, 360.0
    mean = np.exp(1j * azimuth).mean()
    return math.degrees(float(np.angle(mean))), 360.0 * (1 - empty / _BINS)


def _longest_run(mask: np.ndarray) -> int:
    """Return the longest run of true values on a circle."""
    if mask.all():
        return len(mask)
    start = int(np.flatnonzero(~mask)[0])
    longest = run = 0
    for value in np.roll(mask, -start):
        run = run + 1 if value else 0
        longest = max(longest, run)
    return longest


PosesOf = Callable[[Cloud, IntArray], Trajectory | None]
"""Returns the poses of the lidar at stamps within a cloud, or None where they are not known."""


def poses_in(tree: TransformTree, world_frame: str, lidar_frame: str, shift_ns: int = 0) -> PosesOf:
    """Return what looks poses up in a tree, at stamps to which ``shift_ns`` is added."""

    def poses_of(_cloud: Cloud, stamps_ns: IntArray) -> Trajectory | None:
        try:
            return tree.lookup_many(world_frame, lidar_frame, stamps_ns + shift_ns)
        except TransformError:
            return None

    return poses_of


def corrected_by_evidence(facts: CloudFacts, times: PointTimes, poses_of: PosesOf) -> str:
    """Say why clouds must be corrected for motion already; '' where nothing shows it.

    The lasers of a turning lidar fire together, so the points of one moment lie in one vertical plane, which turns
    evenly. Correcting a sweep moves its points by how far the lidar came since, near ones by a larger angle. Where
    taking that back makes planes again, and leaving it does not, the cloud was corrected. A lidar that does not turn
    comes back to the same surfaces within a sweep: those are thin only if its points are moved as they have to be.

    Args:
        facts: The clouds.
        times: What their point times mean.
        poses_of: Returns the poses of the lidar.
    """
    given: list[float] = []
    undone: list[float] = []
    for cloud in facts.clouds[:: max(1, len(facts.clouds) // _MOST_CLOUDS)]:
        if len(given) > 1 and float(np.median(given)) < _SHARPEST:
            break
        compared = _compared(cloud, times, poses_of)
        if compared is not None:
            given.append(compared[0])
            undone.append(compared[1])
    if not given:
        return _thin_as_it_is(facts, times, poses_of)
    if len(given) < 2:
        return ""
    before, after = float(np.median(given)), float(np.median(undone))
    if before < _SHARPEST or after > _CLEAR * before:
        return ""
    return (
        f"the points of one moment are {math.degrees(before):.2f} degrees out of line as they are, and "
        f"{math.degrees(after):.2f} degrees when the correction is taken back"
    )


def _thin_as_it_is(facts: CloudFacts, times: PointTimes, poses_of: PosesOf) -> str:
    """Say why clouds of a lidar that does not turn must be corrected already; '' where nothing shows it."""
    moved: list[float] = []
    given: list[float] = []
    for cloud in facts.clouds[:: max(1, len(facts.clouds) // _MOST_SURFACES)]:
        rows = _rows_of(cloud, times)
        poses = None if rows is None else _relative_poses(poses_of, cloud, rows[1])
        if rows is None or poses is None:
            continue
        xyz, at_ns, _ = rows
        picked = slice(None, None, max(1, len(xyz) // _MOST_COMPARED))
        place, rotation = poses.at(at_ns[picked] + (poses.knots_ns[0] - at_ns[0]))
        as_moved = _thickness(quaternion.rotate(rotation, xyz[picked]) + place, at_ns[picked])
        as_given = _thickness(quaternion.rotate(rotation[:1], xyz[picked]), at_ns[picked])
        if as_moved is not None and as_given is not None:
            moved.append(as_moved)
            given.append(as_given)
    if len(given) < 2:
        return ""
    before, after = float(np.median(moved)), float(np.median(given))
    if before < _THICK_M or after > _CLEAR * before:
        return ""
    return (
        f"surfaces are {100 * after:.0f} cm thick as they are, and {100 * before:.0f} cm once points are moved by how "
        "the lidar moved"
    )


def _thickness(xyz: FloatArray, at_ns: IntArray) -> float | None:
    """Return how far points of steep surfaces typically are from the plane through neighbours of other times, metres.

    Each point is compared with the nearest one of each tenth of the sweep: those next to it on the scanner's own line
    say nothing, since they were measured at the same time. Nor does the ground, which a vehicle moves along.

    Args:
        xyz: Shape (n, 3), z up.
        at_ns: Shape (n,), ascending.
    """
    tenth = np.minimum((at_ns - at_ns[0]) * _TIMES // max(int(at_ns[-1] - at_ns[0]), 1), _TIMES - 1)
    square = (xyz**2).sum(axis=1)
    apart = np.full((len(xyz), _TIMES), np.inf)
    nearest = np.zeros((len(xyz), _TIMES), np.int64)
    for number in range(_TIMES):
        rows = np.flatnonzero(tenth == number)
        if not len(rows):
            continue
        all_apart = square[:, None] + square[rows][None] - 2.0 * (xyz @ xyz[rows].T)
        best = all_apart.argmin(axis=1)
        apart[:, number], nearest[:, number] = all_apart[np.arange(len(xyz)), best], rows[best]
    apart[np.arange(len(xyz)), tenth] = np.inf
    order = np.argsort(apart, axis=1)[:, :_NEIGHBOURS]
    farthest = np.take_along_axis(apart, order, axis=1)[:, -1]
    close = np.flatnonzero(farthest <= np.median(farthest))
    groups = xyz[np.concatenate([close[:, None], np.take_along_axis(nearest, order, axis=1)[close]], axis=1)]
    groups = groups - groups.mean(axis=1, keepdims=True)
    spread, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", groups, groups) / groups.shape[1])
    steep = np.abs(axes[:, 2, 0]) < _STEEP
    if steep.sum() < _LEAST_STEEP:
        return None
    return float(np.sqrt(max(float(np.median(spread[steep, 0])), 0.0)))


def _compared(cloud: Cloud, times: PointTimes, poses_of: PosesOf) -> tuple[float, float] | None:
    """Return how uneven a cloud is as it is, and with the correction taken back, radians."""
    rows = _rows_of(cloud, times)
    if rows is None:
        return None
    xyz, at_ns, ring = rows
    poses = _relative_poses(poses_of, cloud, at_ns)
    as_given = _unevenness(xyz, at_ns, ring) if poses is not None else None
    if poses is None or as_given is None:
        return None
    if as_given < _SHARPEST:
        return as_given, as_given
    tried = (_unevenness(_uncorrected(xyz, at_ns, poses, moment), at_ns, ring) for moment in (0.0, 0.5, 1.0))
    others = [other for other in tried if other is not None]
    return (as_given, min(others)) if others else None


def _rows_of(cloud: Cloud, times: PointTimes) -> tuple[FloatArray, IntArray, IntArray] | None:
    """Return coordinates, times (ns) and rings of some points, in the order of time."""
    xyz, rows = usable_points(cloud)
    if len(xyz) < _LEAST_POINTS:
        return None
    raw = cloud.points[times.field][rows]
    with np.errstate(invalid="ignore"):
        values = raw.astype(np.float64)
    ns = UNITS_NS[times.unit]
    low = float(np.nanpercentile(values, 2))
    since = (values - low) * ns
    room = (times.span_ms or 100.0) * 1e6
    inside = np.isfinite(since) & (np.abs(since) < 1.5 * room)
    if inside.sum() < _LEAST_POINTS:
        return None
    begin = cloud.stamp_ns if not times.is_absolute else 0
    at = np.rint(since[inside]).astype(np.int64) + begin + round(low * ns)
    order = np.argsort(at, kind="stable")
    if len(order) > _MOST_POINTS:  # whole moments, not every n-th point: lasers that fire together are compared
        moments = np.unique(at[order])
        kept = moments[:: max(1, len(order) // _MOST_POINTS)]
        order = order[np.isin(at[order], kept)]
    names = cloud.points.dtype.names or ()
    ring_field = next((name for name in ("ring", "channel", "line", "laser_id") if name in names), None)
    ring = (
        cloud.points[ring_field][rows][inside].astype(np.int64) if ring_field else np.zeros(int(inside.sum()), np.int64)
    )
    return xyz[inside][order], at[order], ring[order]


@dataclass(frozen=True)
class _Poses:
    """Poses of the lidar at knots over a sweep."""

    knots_ns: IntArray
    translations: FloatArray
    rotations: FloatArray

    def at(self, stamps_ns: IntArray) -> tuple[FloatArray, FloatArray]:
        """Interpolate."""
        low, high, share = transforms.bracket(self.knots_ns, stamps_ns)
        place = self.translations[low] + share[:, None] * (self.translations[high] - self.translations[low])
        return place, quaternion.slerp(self.rotations[low], self.rotations[high], share)


def _relative_poses(poses_of: PosesOf, cloud: Cloud, at_ns: IntArray) -> _Poses | None:
    knots = np.unique(np.linspace(float(at_ns[0]), float(at_ns[-1]), _KNOTS).astype(np.int64))
    knots[0], knots[-1] = at_ns[0], at_ns[-1]
    trajectory = poses_of(cloud, knots)
    if trajectory is None:
        return None
    moved = float(np.linalg.norm(trajectory.translations[-1] - trajectory.translations[0]))
    if moved < _MOVED_M:
        return None
    return _Poses(knots, trajectory.translations, trajectory.rotations_xyzw)


def _uncorrected(xyz: FloatArray, at_ns: IntArray, poses: _Poses, reference: float) -> FloatArray:
    """Return points as the lidar would have measured them if they were moved to one moment of the sweep."""
    moment = np.array([at_ns[0] + round(reference * float(at_ns[-1] - at_ns[0]))])
    stamps = at_ns + (poses.knots_ns[0] - at_ns[0])
    place, rotation = poses.at(moment + (poses.knots_ns[0] - at_ns[0]))
    world = transforms.apply(Transform(place[0], rotation[0]), xyz)
    places, rotations = poses.at(stamps)
    return np.asarray(quaternion.rotate(quaternion.conjugate(rotations), world - places))


def _unevenness(xyz: FloatArray, at_ns: IntArray, ring: IntArray) -> float | None:
    """Return how far directions are from turning evenly, radians; None where the lidar does not turn."""
    azimuth = np.arctan2(xyz[:, 1], xyz[:, 0])
    seconds = (at_ns - at_ns[0]) / 1e9
    rate = _turn_rate(azimuth, seconds, ring)
    if rate is None:
        return None
    level = np.hypot(xyz[:, 0], xyz[:, 1]) > 0.2 * np.abs(xyz[:, 2])
    rest = np.full(len(azimuth), np.nan)
    for number in np.unique(ring):
        mine = (ring == number) & level
        if mine.sum() < 5:
            continue
        turned = np.angle(np.exp(1j * (azimuth[mine] - rate * seconds[mine])))
        middle = np.angle(np.exp(1j * turned).mean())
        rest[mine] = np.angle(np.exp(1j * (turned - middle)))
    there = np.isfinite(rest)
    if there.sum() < _LEAST_POINTS // 2:
        return None
    slope, offset = np.polyfit(seconds[there], rest[there], 1)
    rest = np.abs(rest[there] - slope * seconds[there] - offset)
    unevenness = 1.4826 * float(np.median(rest))
    return unevenness if unevenness < 10 * _SPINNING else None


def _turn_rate(azimuth: FloatArray, seconds: FloatArray, ring: IntArray) -> float | None:
    """Return the rate at which directions turn, rad/s, from neighbours of one ring; None where they do not."""
    rates = []
    for number in np.unique(ring)[:: max(1, len(np.unique(ring)) // 16)]:
        mine = ring == number
        steps = np.diff(seconds[mine])
        turned = np.angle(np.exp(1j * np.diff(azimuth[mine])))
        good = (steps > 0) & (np.abs(turned) < 1.0)
        if good.sum() >= 5:
            rates.append(float(np.median(turned[good] / steps[good])))
    if not rates:
        return None
    rate = float(np.median(rates))
    turns = abs(rate) * float(seconds[-1]) / (2 * math.pi)
    if not 0.3 < turns < 1.7 or np.percentile(np.abs(np.array(rates) - rate), 75) > 0.2 * abs(rate):
        return None
    return rate


def turns(topic: str, cloud: Cloud) -> bool:
    """Whether a cloud is a raw sweep of a lidar that turns: it has rings and reaches all around."""
    if "ring" not in (cloud.points.dtype.names or ()) or corrected_by_name(topic):
        return False
    xyz, _ = usable_points(cloud)
    sectors = np.floor(np.arctan2(xyz[:, 1], xyz[:, 0]) / (np.pi / 4))
    return len(np.unique(sectors)) >= _LEAST_SECTORS
