# SPDX-License-Identifier: Apache-2.0
"""Where near things end before far ones in a cloud, for the page to compare with edges of the images.

The cloud becomes a range image as seen from about where the lidar was. Where the range jumps from one ray to the next,
along a ring or from ring to ring, the outline is half-way between the two rays, and it runs across the way from one to
the other: the image should have an edge of that direction there (J. Levinson and S. Thrun, RSS 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nucleus_bridge.formats.content import Points, SceneFrame, some_of
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.model import FloatArray, IntArray

_EYE = (0.5, 0.0, 1.6, 0.0, 0.0)
"""Where a lidar is looked for first: ahead, left, up (metres), and its axis' pitch and roll (degrees)."""
_WAYS = np.array(
    [
        *([1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 2, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 2]),
        *([1, 0, 0, 2, 0], [1, 0, 0, -2, 0], [1, 0, 1, 0, 0], [1, 0, -1, 0, 0], [0, 0, 1, 2, 0]),
        *([0, 0, 1, -2, 0], [0, 1, 0, 0, 2], [0, 1, 0, 0, -2]),
    ]
)
"""Along what it is looked for: single numbers, and pairs that replace each other."""
_SHARES = (0.6, 0.3, 0.3, 0.15, 0.15, 0.08, 0.08, 0.04)
_REACH = (2.5, 1.5, 1.4, 8.0, 8.0)
_LOOKED_AT = 4_000
_STRAY = 0.05
_GROUND_M = 0.4
_FARTHEST_M = 60.0
_STEP_M, _STEP_SHARE = 0.5, 0.1  # smallest jump of the range
_CELL_DEG = 0.1
_SWEEP_S = 0.1
_FEWEST = 200
_IN_ORDER = 0.98
_WIDEST_DEG = 2.6  # between neighbouring rays
_SHARP_DEG = 0.3
_TO = ((0, 1), (0, -1), (1, 0), (-1, 0))


@dataclass(frozen=True, eq=False)
class Silhouettes:
    """Outlines of one frame.

    Attributes:
        points: Shape (k, 3), where they are, in scene coordinates.
        beyond: Shape (k, 3), a little further towards what is behind.
        weights: Shape (k,), 0 to 1: less where rays are farther apart, and it is less known where the thing ends.
    """

    points: FloatArray
    beyond: FloatArray
    weights: FloatArray


_NONE = Silhouettes(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))


class Outlines:
    """Finds the outlines of a scene's frames, which are given in their order.

    A scene does not say where its lidar was. It is found as the place from which the points lie on rings: where their
    elevations take the fewest values (least entropy).
    """

    def __init__(self) -> None:
        self._before: SceneFrame | None = None
        self._motion = np.zeros(3)
        self._eye: tuple[float, ...] | None = None
        self._in_order: bool | None = None

    def passed(self, frame: SceneFrame) -> None:
        """Take note of a frame: how the device moves is known from two."""
        if self._before is not None:
            seconds = (frame.timestamp_ns - self._before.timestamp_ns) / 1e9
            if seconds > 0:
                self._motion = (frame.position - self._before.position) * min(1.0, _SWEEP_S / seconds)
        self._before = frame

    def of(self, frame: SceneFrame, most: int) -> Silhouettes:
        """Find outlines in a frame's cloud, no more than ``most``; the ground has none."""
        points = frame.points
        if points.device is not None and len(points):
            points = points.at(points.device == points.device[0])
        finite = np.isfinite(points.xyz).all(axis=1)
        points = points.at(finite) if not finite.all() else points
        if len(points) < _FEWEST:
            return _NONE
        turn = quaternion.to_matrix(frame.heading_xyzw)
        still = (np.asarray(points.xyz, np.float64) - frame.position) @ turn
        if self._in_order is None:
            self._in_order = points.time_ns is None and _is_in_order(still)
        moving = still - _shares(points, in_order=self._in_order)[:, None] * (self._motion @ turn)
        if self._eye is None:
            self._eye = _find_eye(moving)
        local, axes = _seen_from(moving, self._eye)
        distance = np.sqrt((local * local).sum(axis=1))
        usable = (distance > 0.5) & (distance < 4 * _FARTHEST_M)
        if np.count_nonzero(usable) < _FEWEST:
            return _NONE
        back = (local[usable], (still - moving)[usable])
        near, ends, weights = _outlines(_range_image(local[usable], distance[usable]), back, axes, self._eye)
        if len(near) > most:
            chosen = some_of(len(near), most)
            near, ends, weights = near[chosen], ends[chosen], weights[chosen]
        return Silhouettes(near @ turn.T + frame.position, ends @ turn.T + frame.position, weights)


def _is_in_order(local: FloatArray) -> bool:
    """Whether points stand in the order in which a turning lidar measured them."""
    turned = np.unwrap(np.arctan2(local[:, 1], local[:, 0]))
    return abs(float(np.corrcoef(np.arange(len(local)), turned)[0, 1])) > _IN_ORDER


def _shares(points: Points, *, in_order: bool) -> FloatArray:
    """Return when in the sweep each point was measured, 0 to 1; the middle where nothing says so."""
    if points.time_ns is not None:
        after = (points.time_ns - points.time_ns.min()).astype(np.float64)
        return np.asarray(after / max(1.0, float(after.max())), np.float64)
    return np.linspace(0.0, 1.0, len(points), dtype=np.float64) if in_order else np.full(len(points), 0.5)


def _seen_from(local: FloatArray, eye: Sequence[float] | FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return points as a lidar there sees them, and its axes in the columns of a matrix."""
    pitch, roll = np.radians(eye[3]), np.radians(eye[4])
    about_y = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]])
    axes = about_y @ about_x
    return (local - np.array(eye[:3])) @ axes, axes


def _find_eye(local: FloatArray) -> tuple[float, ...]:
    """Search where the lidar is: along each number and along pairs that replace each other, in ever smaller steps."""
    high = local[:, 2]
    stands = (high > np.quantile(high, _STRAY) + _GROUND_M) & (np.abs(local).max(axis=1) < 2 * _FARTHEST_M)
    some = local[stands]  # all of the ground would be at one elevation for an eye on it
    if len(some) < _FEWEST:
        return _EYE
    some = some[some_of(len(some), _LOOKED_AT)] if len(some) > _LOOKED_AT else some
    eye = np.array(_EYE)
    best = _disorder(some, eye)
    for share in _SHARES:
        for way in _WAYS:
            for step in (share * way, -share * way):
                while _is_likely(eye + step) and (found := _disorder(some, eye + step)) < best:
                    best, eye = found, eye + step
    return tuple(eye.tolist())


def _is_likely(eye: FloatArray) -> bool:
    return bool((np.abs(eye - _EYE) < _REACH).all())


def _disorder(local: FloatArray, eye: Sequence[float] | FloatArray) -> float:
    """Return the entropy of the elevations of points as seen from a place."""
    seen, _ = _seen_from(local, eye)
    return _entropy(_cells(seen))


def _cells(seen: FloatArray) -> IntArray:
    x, y, z = seen.T
    cells: IntArray = np.floor((np.degrees(np.arctan2(z, np.sqrt(x * x + y * y))) + 90.0) / _CELL_DEG).astype(np.int64)
    return cells


def _entropy(cells: IntArray) -> float:
    counts = np.bincount(cells)
    shares = counts[counts > 0] / len(cells)
    return float(-(shares * np.log(shares)).sum())


@dataclass(frozen=True, eq=False)
class _RangeImage:
    """Ranges by ring and azimuth, inf where nothing came back.

    Attributes:
        ranges: Shape (rings, columns), metres.
        points: Shape (rings, columns), number of the point.
        rows: Shape (rings,), elevation, radians.
        columns: Shape (columns,), azimuth, radians.
    """

    ranges: FloatArray
    points: IntArray
    rows: FloatArray
    columns: FloatArray


def _range_image(local: FloatArray, distance: FloatArray) -> _RangeImage:
    cells = _cells(local)
    rings, count = _rings(cells)
    width = int(np.clip(1.1 * len(local) / max(1, count), 90, 2000))
    azimuth = np.arctan2(local[:, 1], local[:, 0])
    columns = np.floor((azimuth + np.pi) * (width / (2 * np.pi))).astype(np.int64) % width
    known = np.flatnonzero(rings >= 0)
    places, near = rings[known] * width + columns[known], distance[known]
    ranges, points = np.full(count * width, np.inf), np.full(count * width, -1, np.int64)
    np.minimum.at(ranges, places, near)
    nearest = near == ranges[places]
    points[places[nearest]] = known[nearest]
    elevation = (cells + 0.5) * _CELL_DEG - 90.0
    sums, counts = (np.bincount(rings[known], column, count) for column in (elevation[known], np.ones(len(known))))
    middles = np.linspace(-np.pi, np.pi, 2 * width + 1, dtype=np.float64)[1::2]
    rows = np.radians(sums / np.maximum(1.0, counts))
    return _RangeImage(ranges.reshape(count, width), points.reshape(count, width), rows, middles)


def _rings(cells: IntArray) -> tuple[IntArray, int]:
    """Number the rings from below by where elevations gather; a point between them has -1."""
    counts = np.bincount(cells).astype(np.float64)
    smooth = np.convolve(counts, (0.25, 0.5, 0.25), "same")
    around = np.convolve(counts, np.full(9, 1 / 9), "same")
    is_peak = (smooth > np.roll(smooth, 1)) & (smooth >= np.roll(smooth, -1)) & (smooth > around) & (smooth > 2)
    peaks = np.flatnonzero(is_peak)
    if not len(peaks):
        return np.full(len(cells), -1, np.int64), 0
    right = np.clip(np.searchsorted(peaks, np.arange(len(counts))), 0, len(peaks) - 1)
    left = np.maximum(right - 1, 0)
    places = np.arange(len(counts))
    nearest = np.where(np.abs(peaks[left] - places) < np.abs(peaks[right] - places), left, right)
    nearest[np.abs(peaks[nearest] - places) * _CELL_DEG > _WIDEST_DEG / 4] = -1
    return nearest[cells], len(peaks)


def _outlines(
    image: _RangeImage, points: tuple[FloatArray, FloatArray], axes: FloatArray, eye: Sequence[float]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return outlines, points a little beyond them, both in the device's axes, and weights.

    ``points`` are those of the image as the lidar saw them, and how far the device had moved by then.
    """
    local, moved = points
    ranges = np.where(np.isfinite(image.ranges), image.ranges, 2 * _FARTHEST_M)
    found: tuple[list[FloatArray], list[FloatArray], list[FloatArray]] = ([], [], [])
    for down, along in _TO:
        neighbour, next_one = _neighbour(image.ranges, down, along), _neighbour(image.ranges, 2 * down, 2 * along)
        least = ranges + np.maximum(_STEP_M, _STEP_SHARE * ranges)
        jump = (neighbour > least) & (next_one > least)  # else it is a gap in what is near
        if along or down < 0:
            jump &= np.isfinite(neighbour)  # only above a thing, nothing that comes back is the sky
        jump &= ranges < _FARTHEST_M
        row, column = np.nonzero(jump)
        number = image.points[row, column]
        near = local[number]
        reach = np.sqrt((near * near).sum(axis=1, keepdims=True))
        one = near / reach
        beside = np.clip(row + down, 0, len(image.rows) - 1), (column + along) % len(image.columns)
        step = _rays(image.rows[beside[0]], image.columns[beside[1]]) - _rays(image.rows[row], image.columns[column])
        width = np.sqrt((step * step).sum(axis=1, keepdims=True))
        good = (np.degrees(width[:, 0]) < _WIDEST_DEG) & (width[:, 0] > 0)
        other = one + step
        other /= np.sqrt((other * other).sum(axis=1, keepdims=True))
        for parts, ray in zip(found, (one, other), strict=False):
            parts.append(((reach * ray) @ axes.T + np.array(eye[:3]) + moved[number])[good])
        found[2].append(np.minimum(1.0, _SHARP_DEG / np.degrees(width[good, 0])))
    near, ends, weights = (np.concatenate(parts) for parts in found)
    stands = near[:, 2] > _GROUND_M
    return near[stands], ends[stands], weights[stands]


def _neighbour(ranges: FloatArray, down: int, along: int) -> FloatArray:
    """Return the range some rays away; 0 where there is no ring so far up or down."""
    moved = np.roll(ranges, (-down, -along), (0, 1))
    if down:
        moved[-down if down > 0 else 0 : None if down > 0 else -down] = 0.0
    return moved


def _rays(elevation: FloatArray, azimuth: FloatArray) -> FloatArray:
    level = np.cos(elevation)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=1)
