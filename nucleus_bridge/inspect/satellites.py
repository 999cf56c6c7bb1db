# SPDX-License-Identifier: Apache-2.0
"""Fixes and headings, judged by each other and by the transforms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.decode.navsat import Fix, Heading
from nucleus_bridge.errors import DecodeError, TransformError
from nucleus_bridge.geometry.agreement import trajectory_of
from nucleus_bridge.inspect.clouds import decoded
from nucleus_bridge.inspect.lidars import LeftOut, Why
from nucleus_bridge.inspect.scan import Scan, Stream
from nucleus_bridge.model import FloatArray, IntArray, Trajectory
from nucleus_bridge.pipeline.globe import STUCK_WAY_M
from nucleus_bridge.warnings import Finding

Positions = Callable[[IntArray], "FloatArray | None"]
"""Positions of the device, shape (n, 3), at stamps; None where it has none."""

_METRES_PER_DEGREE = 111_195.0
_NOWHERE_DEG = 1e-6
_IMPLAUSIBLE_M = 25.0
_IMPLAUSIBLE_SPEED = 150.0
_COMPARED = 200
_LONG_STEP_M, _LEAST_STEP_M, _SAME_STEP = 8.0, 2.0, 0.5
_COURSE_S, _NEAR_MIDDLE = 3.0, 0.2
_DISAGREES_DEG, _STEADILY_DEG = 30.0, 15.0
_AGREES_DEG = 12.0
_LEAST_HEADINGS, _LEAST_FIXES = 5, 3
_LEAST_PLACES, _TELLING_REACH_M, _SAME_PLACE = 4, 20.0, 0.3
_OFF_SHARE, _LEAST_OFF_M, _MUCH_BETTER = 0.07, 1.5, 0.25


@dataclass
class Satellites:
    """What fixes and headings are good for.

    Attributes:
        fix_topic: The topic of fixes, or ''.
        heading_topic: The topic of headings, or ''.
        reasons: Why this heading topic, or none.
        findings: Warnings.
        left_out: Topics that are not used.
    """

    fix_topic: str = ""
    heading_topic: str = ""
    reasons: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    left_out: dict[str, LeftOut] = field(default_factory=dict)


def judge_satellites(scan: Scan, positions: Positions, ahead_deg: float, yaw_of: Callable[[str], float]) -> Satellites:
    """Choose the topics of fixes and headings.

    Args:
        scan: What was read.
        positions: Where the device was.
        ahead_deg: Azimuth in the device frame in which it moves, counter-clockwise.
        yaw_of: Yaw of a frame in the device frame, degrees; 0 where unknown.
    """
    found = Satellites()
    fixes: list[Fix] = []
    for stream in scan.of_kind("fix"):
        fixes, total = fixes_of(stream)
        if not fixes:
            found.left_out[stream.name] = LeftOut(Why.NO_FIX, f"no fix in {total} messages")
            continue
        if why := track_contradiction(_somewhere(fixes), positions):
            found.left_out[stream.name] = LeftOut(Why.NO_FIX, why)
            found.findings.append(warnings.gps_track_implausible(stream.name, len(fixes), why).remedied())
            continue
        found.fix_topic = stream.name
        fixes = _plausible(stream.name, fixes, positions, found.findings)
        break
    if not found.fix_topic:
        return found
    headings = [stream for stream in scan.of_kind("heading") if "heading" in stream.name]
    others = [stream.name for stream in scan.of_kind("heading") if "heading" not in stream.name]
    for stream in headings:
        _judge_heading(stream, _Ways(fixes, positions), ahead_deg, yaw_of, found)
        if found.heading_topic:
            break
    if not found.heading_topic:
        hint = f"Imu topics whose orientation may be in ENU: {', '.join(others)}" if others else ""
        found.reasons = (*found.reasons, "empty: the course over ground is the bearing", hint)
    return found


def course_of(stream: Stream) -> Trajectory | None:
    """Return where fixes lie in metres east and north, each with the course over ground as its yaw from east.

    Fixes without a course, since the receiver stood, are left out; None where fewer than five are left.
    """
    fixes, _ = fixes_of(stream)
    if len(fixes) < _LEAST_HEADINGS:
        return None
    places, stamps = local_places(fixes), np.array([fix.stamp_ns for fix in fixes], np.int64)
    ways = _Ways(fixes, lambda _: None)
    courses = [ways.course(int(stamp_ns), _LEAST_STEP_M) for stamp_ns in stamps]
    moving = [number for number, course in enumerate(courses) if course is not None]
    if len(moving) < _LEAST_HEADINGS:
        return None
    half = np.radians([90.0 - (courses[number] or 0.0) for number in moving]) / 2.0
    none = np.zeros_like(half)
    return trajectory_of(
        stamps[moving],
        np.column_stack([places[moving], none]),
        np.stack([none, none, np.sin(half), np.cos(half)], axis=1),
    )


def fixes_of(stream: Stream) -> tuple[list[Fix], int]:
    """Return the fixes among the messages of a topic that were kept, by stamp, and how many messages those are."""
    fixes, total = [], 0
    for message in stream.samples.messages:
        total += 1
        try:
            fixes += [fix for fix in decoded(message, "fix", None) if isinstance(fix, Fix)]
        except DecodeError:
            continue
    return sorted(fixes, key=lambda fix: fix.stamp_ns), total


def _plausible(topic: str, fixes: list[Fix], positions: Positions, findings: list[Finding]) -> list[Fix]:
    """Name what cannot be, and return the rest."""
    good = _somewhere(fixes)
    nowhere = len(fixes) - len(good)
    stuck = _stuck(good, positions)
    far = {number: metres for number, metres in _strays(good, positions).items() if number not in stuck}
    texts = []
    if nowhere:
        texts.append(f"{nowhere} are at latitude 0, longitude 0")
    if far:
        texts.append(f"{len(far)} are up to {_distance_text(max(far.values()))} from where the device was")
    if stuck:
        texts.append(
            f"{len(stuck)} repeat the one before while the device moves up to {_distance_text(max(stuck.values()))}"
        )
    if texts:
        count = nowhere + len(far) + len(stuck)
        findings.append(warnings.gps_implausible(topic, count, len(fixes), " and ".join(texts)))
    return [fix for number, fix in enumerate(good) if number not in far and number not in stuck]


def _stuck(fixes: list[Fix], positions: Positions) -> dict[int, float]:
    """Return the fixes that are the same as those just before, with how far the device moved since the first of them.

    Fixes may be a sample of those that were recorded: what lies between two that are the same is the same, too.
    """
    places = [(fix.latitude, fix.longitude) for fix in fixes]
    if not any(here == there for here, there in pairwise(places)):
        return {}
    track = positions(np.array([fix.stamp_ns for fix in fixes], np.int64))
    if track is None:
        return {}
    found: dict[int, float] = {}
    first = 0
    for end in range(1, len(places) + 1):
        if end < len(places) and places[end] == places[first]:
            continue
        moved_m = float(np.linalg.norm(track[end - 1, :2] - track[first, :2]))  # NaN where it is not known
        if moved_m > STUCK_WAY_M:
            found |= dict.fromkeys(range(first + 1, end), moved_m)
        first = end
    return found


def _strays(fixes: list[Fix], positions: Positions) -> dict[int, float]:
    """Return the fixes whose distances from the others are not those of the device's own track, with by how much."""
    if len(fixes) < 4:
        return {}
    places, stamps = local_places(fixes), np.array([fix.stamp_ns for fix in fixes], np.int64)
    every = max(1, len(fixes) // _COMPARED)
    track = positions(stamps)
    if track is None:
        return _strays_by_speed(places, stamps)
    found = {}
    flat = track[:, :2]
    for number in range(len(fixes)):
        there = np.isfinite(flat[::every]).all(axis=1)
        if not np.isfinite(flat[number]).all() or there.sum() < 3:
            continue
        apart = np.linalg.norm(places[::every][there] - places[number], axis=1)
        moved = np.linalg.norm(flat[::every][there] - flat[number], axis=1)
        off = float(np.median(np.abs(apart - moved)))
        if off > _IMPLAUSIBLE_M:
            found[number] = off
    return found if len(found) < len(fixes) / 2 else {}


def _somewhere(fixes: list[Fix]) -> list[Fix]:
    """Return the fixes that are not at latitude 0, longitude 0."""
    return [fix for fix in fixes if max(abs(fix.latitude), abs(fix.longitude)) >= _NOWHERE_DEG]


def track_contradiction(fixes: list[Fix], positions: Positions) -> str:
    """Say what is wrong with all fixes together; '' where their track has the size of the device's own.

    Transforms know how far it is from one place to another, whatever they call north.
    """
    fixes = fixes[:: max(1, len(fixes) // _COMPARED)]
    track = positions(np.array([fix.stamp_ns for fix in fixes], np.int64)) if len(fixes) >= _LEAST_PLACES else None
    there = np.zeros(0, np.bool_) if track is None else np.isfinite(track).all(axis=1)
    if track is None or there.sum() < _LEAST_PLACES:
        return ""
    swapped = [replace(fix, latitude=fix.longitude, longitude=fix.latitude) for fix in fixes]
    by_transforms, by_fixes, by_swapped = (
        _apart(points[there]) for points in (track[:, :2], local_places(fixes), local_places(swapped))
    )
    reach, reach_of_fixes = float(by_transforms.max()), float(by_fixes.max())
    off, off_if_swapped = (float(np.median(np.abs(apart - by_transforms))) for apart in (by_fixes, by_swapped))
    text = ""
    if reach >= _TELLING_REACH_M and reach_of_fixes < _SAME_PLACE * reach:
        text = f"they move {_distance_text(reach_of_fixes)} where the transforms move {_distance_text(reach)}"
    elif reach >= _TELLING_REACH_M and off > max(_OFF_SHARE * reach, _LEAST_OFF_M, off_if_swapped / _MUCH_BETTER):
        text = "their track fits the transforms only with latitude and longitude exchanged"
    elif reach >= _TELLING_REACH_M and _is_mirrored(local_places(fixes)[there], track[there, :2]):
        text = "their track is the mirror image of that of the transforms: a sign of latitude or longitude is wrong"
    return text


def _is_mirrored(places: FloatArray, track: FloatArray) -> bool:
    """Whether places lie on a track only once they are mirrored; both are laid over each other."""
    off, off_mirrored = (_off_track(places * [sign, 1.0], track) for sign in (1.0, -1.0))
    return off > max(_LEAST_OFF_M, off_mirrored / _MUCH_BETTER)


def _off_track(places: FloatArray, track: FloatArray) -> float:
    """Return the median distance of places from a track of the same times, turned and moved onto it."""
    one, other = (points - points.mean(axis=0) for points in (places, track))
    as_complex = [points[:, 0] + 1j * points[:, 1] for points in (one, other)]
    turn = np.vdot(as_complex[0], as_complex[1])
    turned = as_complex[0] * (turn / max(abs(turn), 1e-12))
    return float(np.median(np.abs(turned - as_complex[1])))


def _apart(points: FloatArray) -> FloatArray:
    """Return the distances between all points, shape (n, n)."""
    return np.asarray(np.linalg.norm(points[:, None] - points[None], axis=2))


def _strays_by_speed(places: FloatArray, stamps: IntArray) -> dict[int, float]:
    """Return the fixes that could only be reached and left at the speed of a plane."""
    middle = np.median(places, axis=0)
    found = {}
    for number in range(len(places)):
        near = [k for k in (number - 1, number + 1) if 0 <= k < len(places)]
        speeds = [
            float(np.linalg.norm(places[number] - places[k])) / max(abs(int(stamps[number] - stamps[k])) / 1e9, 1e-3)
            for k in near
        ]
        if min(speeds) > _IMPLAUSIBLE_SPEED:
            found[number] = float(np.linalg.norm(places[number] - middle))
    return found if len(found) < len(places) / 2 else {}


def local_places(fixes: list[Fix]) -> FloatArray:
    """Return east and north from the median fix, metres, shape (n, 2)."""
    degrees = np.array([(fix.longitude, fix.latitude) for fix in fixes])
    middle = np.median(degrees, axis=0)
    east = (degrees[:, 0] - middle[0] + 180.0) % 360.0 - 180.0
    shrink = math.cos(math.radians(float(middle[1])))
    return np.stack([east * shrink, degrees[:, 1] - middle[1]], axis=1) * _METRES_PER_DEGREE


class _Ways:
    """The ways that the device went between fixes; where transforms are known they have to agree that it moved."""

    def __init__(self, fixes: list[Fix], positions: Positions) -> None:
        self._places = local_places(fixes) if fixes else np.empty((0, 2))
        self._stamps = np.array([fix.stamp_ns for fix in fixes], np.int64)
        self._track = positions(self._stamps) if len(fixes) else None

    def course(self, stamp_ns: int, least_m: float) -> float | None:
        """Return the bearing of the way around a stamp, degrees; None where it is shorter."""
        near = np.flatnonzero(np.abs(self._stamps - stamp_ns) <= _COURSE_S * 0.5e9)
        after = np.searchsorted(self._stamps, stamp_ns)
        if len(self._stamps) < _LEAST_FIXES or len(near) < 2 or not near[0] < after <= near[-1]:
            return None
        for reach in range(len(self._stamps)):
            low, high = max(after - 1 - reach, near[0]), min(after + reach, near[-1])
            step = self._places[high] - self._places[low]
            if np.linalg.norm(step) >= least_m:
                middle, span = (self._stamps[low] + self._stamps[high]) / 2, self._stamps[high] - self._stamps[low]
                if least_m > _LEAST_STEP_M and abs(stamp_ns - middle) > _NEAR_MIDDLE * span:
                    return None  # on a bend the course there is another one
                return math.degrees(math.atan2(step[0], step[1])) % 360.0 if self._is_real(low, high) else None
            if low == near[0] and high == near[-1]:
                return None
        return None

    def _is_real(self, low: int, high: int) -> bool:
        """Whether transforms show a step of about the same length, or are not known."""
        if self._track is None:
            return True
        moved = float(np.linalg.norm(self._track[high, :2] - self._track[low, :2]))
        step = float(np.linalg.norm(self._places[high] - self._places[low]))
        return not math.isfinite(moved) or abs(moved - step) < _SAME_STEP * step


def _judge_heading(
    stream: Stream, ways: _Ways, ahead_deg: float, yaw_of: Callable[[str], float], found: Satellites
) -> None:
    headings, total = [], 0
    for message in stream.samples.messages:
        total += 1
        try:
            headings += [item for item in decoded(message, "heading", None) if isinstance(item, Heading)]
        except DecodeError:
            continue
    if len(headings) < total:
        found.findings.append(warnings.heading_invalid(stream.name, total - len(headings), total))
    if not headings:
        found.left_out[stream.name] = LeftOut(Why.NO_FIX, "it has no orientation")
        return
    off = _off_course(headings, ways, ahead_deg, yaw_of(headings[0].frame_id))
    if off is None or (off[0] < _DISAGREES_DEG and not off[1]):
        found.heading_topic = stream.name
        found.reasons = ("its name says heading",)
        if off is not None:
            found.reasons = (f"its name says heading; {off[0]:.0f} degrees from the course over ground",)
        return
    found.findings.append(warnings.heading_disagrees(stream.name, *off).remedied())
    found.left_out[stream.name] = LeftOut(Why.BROKEN, f"{off[0]:.0f} degrees away from the course over ground")
    found.reasons = (f"{stream.name} is {off[0]:.0f} degrees away from the course over ground{off[1]}",)


def _off_course(headings: list[Heading], ways: _Ways, ahead_deg: float, yaw_deg: float) -> tuple[float, str] | None:
    """Return by how much headings differ from the course over ground, and what explains it; None without a course.

    Over long ways fixes tell the course to a few degrees, so that less is a contradiction.
    """
    turn = ahead_deg - yaw_deg
    for least_m, most_deg in ((_LONG_STEP_M, _STEADILY_DEG), (_LEAST_STEP_M, _DISAGREES_DEG)):
        courses = [(heading.bearing_deg, ways.course(heading.stamp_ns, least_m)) for heading in headings]
        known = [(bearing, (course + turn) % 360.0) for bearing, course in courses if course is not None]
        if len(known) >= _LEAST_HEADINGS:
            had, wanted = np.array(known).T
            return _explained(had, wanted, most_deg)
    return None


def _explained(had: FloatArray, wanted: FloatArray, most_deg: float) -> tuple[float, str]:
    """Return by how much bearings differ from those wanted, and what explains it; degrees."""
    off = _between(had, wanted)
    typical = float(np.percentile(np.abs(off), 75))
    mirrored = float(np.median(np.abs(_between(90.0 - had, wanted))))
    if mirrored < _AGREES_DEG and typical > _AGREES_DEG + 2 * mirrored:
        return typical, ": it is counted from north, clockwise, and ROS counts from east, counter-clockwise (REP 103)"
    middle = math.degrees(math.atan2(float(np.sin(np.radians(off)).mean()), float(np.cos(np.radians(off)).mean())))
    steady = float(np.median(np.abs(_between(off, np.full_like(off, middle))))) < _AGREES_DEG
    if steady and typical > most_deg:
        return typical, f", by {middle:+.0f} degrees all the time"
    return typical, ""


def _between(one: FloatArray, other: FloatArray) -> FloatArray:
    return (one - other + 180.0) % 360.0 - 180.0


def _distance_text(metres: float) -> str:
    return f"{metres / 1e3:.1f} km" if metres >= 1e3 else f"{metres:.0f} m"


def positions_of(lookup: Callable[[IntArray], FloatArray]) -> Positions:
    """Turn a lookup that raises outside of what is known into one that answers NaN there."""

    def positions(stamps_ns: IntArray) -> FloatArray | None:
        rows = np.full((len(stamps_ns), 3), np.nan)
        for number, stamp_ns in enumerate(stamps_ns.tolist()):
            try:
                rows[number] = lookup(np.array([stamp_ns], np.int64))[0]
            except TransformError:
                continue
        return rows if np.isfinite(rows).all(axis=1).sum() >= 3 else None

    return positions
