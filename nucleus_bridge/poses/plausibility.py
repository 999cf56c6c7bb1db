# SPDX-License-Identifier: Apache-2.0
"""What a trajectory tells about itself: which way is up, whether it moves where it points, whether it fits a recording.

Vehicles stand upright and move along their x axis (REP 103). That is evidence, never a rule: a finding needs one
reading of the numbers that fails and another that fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleus_bridge.geometry import quaternion
from nucleus_bridge.model import FloatArray, IntArray

_UPRIGHT = 0.9  # cosine of the tilt: 26 degrees
_LEANING_DEG, _LEVEL_DEG, _MUCH_MORE = 12.0, 10.0, 3.0
"""No road leans a vehicle more; a reading that does, and stands three times as upright in another order, is wrong."""
_ALONG, _ACROSS = 0.97, 0.8
_SLIDES, _ROLLS, _CLEARLY = 0.15, 0.08, 4.0
_LONGEST_M = 6.0
"""How far a point of a vehicle is from its axle at most."""
_STEP_M, _LEAST_WAY_M = 1.0, 4.0
_MIN_STEPS = 10
_SAMPLES = 20_000
_NS_PER_HOUR = 3_600_000_000_000
_MAX_ZONE_HOURS = 14
_RELATIVE_NS = 10**16
"""Stamps below this, 1970-04-26, count from the start of something."""


def is_upright(poses: FloatArray) -> bool:
    """Say whether the z axis of the body points up all the time, or nearly; poses as (n, 7), x y z qx qy qz qw."""
    return bool(np.percentile(_up(poses), 5.0) > _UPRIGHT)


def tilt_deg(poses: FloatArray) -> float:
    """Return the median angle between the body's z axis and up."""
    return float(np.degrees(np.arccos(np.clip(np.median(_up(poses)), -1.0, 1.0))))


def is_w_first(poses: FloatArray) -> bool:
    """Say whether the quaternions are w x y z in truth: only read so the body is upright.

    A body that leans all the time but moves where it points, as given alone, is one that is mounted so.
    """
    turned = w_first_as_xyzw(poses)
    leans, would_lean = tilt_deg(poses), tilt_deg(turned)
    if leans < _LEANING_DEG or would_lean > min(_LEVEL_DEG, leans / _MUCH_MORE) or not is_upright(turned):
        return False
    given, other = alignment(poses), alignment(turned)
    return given is None or other is None or not given > _ALONG > other


def may_be_w_first(poses: FloatArray) -> bool:
    """Say whether the body is upright either way, but drives forwards only if the quaternions are w x y z."""
    turned = w_first_as_xyzw(poses)
    if not (is_upright(poses) and is_upright(turned)):
        return False
    given, other = alignment(poses), alignment(turned)
    return given is not None and other is not None and given < -_ALONG and other > _ALONG


def w_first_as_xyzw(poses: FloatArray) -> FloatArray:
    """Return the poses with quaternions that were w x y z as x y z w."""
    return np.concatenate((poses[:, :3], poses[:, 4:], poses[:, 3:4]), axis=1)


def is_inverse(poses: FloatArray) -> bool:
    """Say whether parent and child are swapped: only turned round the body moves where it points.

    On a bend the body may go a little sideways, as far as a point before or behind the axle does. An inverse goes
    sideways by its distance from the origin, and no vehicle is so long.
    """
    turned = inverse(poses)
    if not (is_upright(poses) and is_upright(turned)):
        return False
    if _fits_better(poses, turned):
        return True
    given, other = sideways(poses), sideways(turned)
    return given is not None and other is not None and given > _SLIDES > _ROLLS > other and given > _CLEARLY * other


def may_be_inverse(poses: FloatArray) -> bool:
    """Say whether the body drives backwards all the time, and forwards if parent and child are swapped."""
    given, other = alignment(poses), alignment(inverse(poses))
    return given is not None and other is not None and given < -_ALONG and other > _ALONG


def inverse(poses: FloatArray) -> FloatArray:
    """Return child_from_parent of parent_from_child."""
    back = quaternion.conjugate(poses[:, 3:])
    return np.concatenate((-quaternion.rotate(back, poses[:, :3]), back), axis=1)


def alignment(poses: FloatArray) -> float | None:
    """Return how much of the motion goes along the body's x axis, the median of steps of a metre, -1 (back) to 1.

    Returns:
        None where it moves too little.
    """
    picked = _metre_by_metre(poses)
    if picked is None:
        return None
    steps = np.diff(picked[:, :3], axis=0)
    forward = quaternion.rotate(picked[:-1, 3:], np.array([1.0, 0.0, 0.0]))
    length = np.maximum(np.linalg.norm(steps, axis=1), 1e-9)
    return float(np.median((steps * forward).sum(axis=1) / length))


def sideways(poses: FloatArray) -> float | None:
    """Return how far the body goes aside of its x axis, by the way: what four of five steps of a metre stay below.

    What a bend explains is left out: a point before the axle of a vehicle goes aside by its distance times the turn.

    Returns:
        None where it moves too little.
    """
    picked = _metre_by_metre(poses)
    if picked is None:
        return None
    start, end = quaternion.normalise(picked[:-1, 3:]), quaternion.normalise(picked[1:, 3:])
    same_side = np.where((start * end).sum(axis=1, keepdims=True) < 0.0, -1.0, 1.0)
    between = quaternion.normalise(start + same_side * end)
    steps = quaternion.rotate(quaternion.conjugate(between), np.diff(picked[:, :3], axis=0))
    turn = quaternion.multiply(quaternion.conjugate(start), same_side * end)
    angles = 2.0 * np.arctan2(turn[:, 2], turn[:, 3])
    turned = float((angles * angles).sum())
    before_axle_m = float(np.clip((steps[:, 1] * angles).sum() / turned, -_LONGEST_M, _LONGEST_M)) if turned else 0.0
    aside = np.abs(steps[:, 1] - before_axle_m * angles)
    return float(np.percentile(aside / np.maximum(np.linalg.norm(steps, axis=1), 1e-9), 80.0))


def _metre_by_metre(poses: FloatArray) -> FloatArray | None:
    """Return poses that are a metre of the way apart, less on a short way; None where they hardly move."""
    poses = poses[:: max(1, len(poses) // _SAMPLES)]
    way = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1))))
    step_m = min(_STEP_M, max(_LEAST_WAY_M, way[-1]) / (_MIN_STEPS + 2))
    picked = np.unique(np.searchsorted(way, np.arange(0.0, way[-1], step_m)))
    return poses[picked] if len(picked) > _MIN_STEPS else None


def misfits(poses: FloatArray, places: FloatArray) -> tuple[float, float, float]:
    """Compare poses with places east and north of the same times, laid over each other, as given and inverted.

    Args:
        poses: Shape (n, 7).
        places: Shape (n, 2), metres.

    Returns:
        How far four of five poses are off at most, as given and inverted, and how far the places reach; metres.
    """
    reach = float(np.linalg.norm(places - places[0], axis=1).max())
    return _misfit(poses[:, :2], places), _misfit(inverse(poses)[:, :2], places), reach


def _misfit(track: FloatArray, places: FloatArray) -> float:
    """Return how far a track is from places after a turn and a shift, seen from above."""
    one, other = (flat[:, 0] + 1j * flat[:, 1] - np.mean(flat[:, 0] + 1j * flat[:, 1]) for flat in (track, places))
    turn = np.exp(1j * np.angle((np.conj(one) * other).sum()))
    return float(np.percentile(np.abs(other - turn * one), 80.0))


def _fits_better(as_given: FloatArray, otherwise: FloatArray) -> bool:
    given, other = alignment(as_given), alignment(otherwise)
    return given is not None and other is not None and abs(given) < _ACROSS and abs(other) > _ALONG


def _up(poses: FloatArray) -> FloatArray:
    sampled = poses[:: max(1, len(poses) // _SAMPLES)]
    unit = quaternion.normalise(sampled[:, 3:])
    return 1.0 - 2.0 * (unit[:, 0] ** 2 + unit[:, 1] ** 2)


@dataclass(frozen=True)
class Spacing:
    """How the stamps of a trajectory follow each other.

    Attributes:
        rate_hz: From the median interval; 0 for a single pose.
        gaps: Intervals of more than three times the median.
        longest_s: The longest interval.
        is_sorted: Whether the stamps ascended in the file.
        duplicates: Stamps that come again; the last pose of each counts.
    """

    rate_hz: float
    gaps: int
    longest_s: float
    is_sorted: bool
    duplicates: int


def in_order(stamps_ns: IntArray, poses: FloatArray) -> tuple[IntArray, FloatArray, Spacing]:
    """Sort by stamp, keep the last pose of each stamp, and say how they follow each other."""
    is_sorted = bool((np.diff(stamps_ns) >= 0).all())
    if not is_sorted:
        order = np.argsort(stamps_ns, kind="stable")
        stamps_ns, poses = stamps_ns[order], poses[order]
    is_last = np.append(np.diff(stamps_ns) > 0, [True])
    duplicates = len(stamps_ns) - int(np.count_nonzero(is_last))
    if duplicates:
        stamps_ns, poses = stamps_ns[is_last], poses[is_last]
    intervals = np.diff(stamps_ns)
    median = float(np.median(intervals)) if len(intervals) else 0.0
    return (
        stamps_ns,
        poses,
        Spacing(
            rate_hz=1e9 / median if median else 0.0,
            gaps=int(np.count_nonzero(intervals > 3.0 * median)),
            longest_s=float(intervals.max(initial=0)) / 1e9,
            is_sorted=is_sorted,
            duplicates=duplicates,
        ),
    )


def no_overlap(name: str, poses_ns: tuple[int, int], recording_ns: tuple[int, int]) -> str:
    """Explain why poses have no moment in common with a recording; empty when they have.

    Args:
        name: ``poses.<name>``.
        poses_ns: First and last stamp of the poses.
        recording_ns: First and last stamp of what needs poses.
    """
    (first, last), (begin, end) = poses_ns, recording_ns
    if first <= end and begin <= last:
        return ""
    apart = begin - last if last < begin else first - end
    side = "before the recording begins" if last < begin else "after the recording is over"
    text = f"{name}: its poses {'end' if last < begin else 'begin'} {_span(apart)} {side}"
    shift_ms = _whole_hours_between(poses_ns, recording_ns)
    if shift_ms:
        hours = abs(shift_ms) / 3_600_000
        return (
            f"{text}; a shift by {hours:g} h fits: local time instead of UTC? "
            f"set {name}.clock_offset_ms: {float(shift_ms)}"
        )
    if abs(first) < _RELATIVE_NS <= begin:
        return (
            f"{text}; they count from a start of their own: set {name}.clock_offset_ms to the milliseconds since 1970 "
            f"at its 0 (the recording begins at {begin / 1e6:.3f})"
        )
    return f"{text}; is it the file of another drive? A clock that is off is set right by {name}.clock_offset_ms"


def _whole_hours_between(poses_ns: tuple[int, int], recording_ns: tuple[int, int]) -> int:
    """Return the shift in ms, whole quarters of an hour as time zones have them, that lays poses over a recording."""
    quarter = _NS_PER_HOUR // 4
    for quarters in sorted(range(-4 * _MAX_ZONE_HOURS, 4 * _MAX_ZONE_HOURS + 1), key=abs):
        first, last = (stamp + quarters * quarter for stamp in poses_ns)
        if quarters and first <= recording_ns[0] and recording_ns[1] <= last:
            return quarters * quarter // 1_000_000
    return 0


def _span(ns: int) -> str:
    seconds = ns / 1e9
    for unit, length in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2.0 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.3f} s"
