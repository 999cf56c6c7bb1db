# SPDX-License-Identifier: Apache-2.0
"""Where near things end before far ones in a cloud, for the page to compare with edges of the images.

The cloud becomes a range image as seen from about where the lidar was. Where the range jumps from one ray to the next,
along a ring or from ring to ring, the outline is half-way between the two rays, and it runs across the way from one to
the other: the image should have an edge of that direction there (J. Levinson and S. Thrun, RSS 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.calibration.scans import Scan
from nucleus_bridge.formats.content import Points, SceneFrame, some_of
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.model import FloatArray, IntArray

Array = NDArray[Any]

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
_NEAREST_M, _FARTHEST_M = 0.5, 60.0
_STEP_M, _STEP_SHARE = 0.5, 0.1  # smallest jump of the range
_CELL_DEG = 0.1
_SWEEP_S = 0.1
_FEWEST = 200
_IN_ORDER = 0.98
_WIDEST_DEG = 2.6  # between neighbouring rays
_SHARP_DEG = 0.3
_FOOT_RAD = 5e-4  # half of how wide the foot of a wall is, which lies between two rays: enough to have a direction
_TO = ((0, 1), (0, -1), (1, 0), (-1, 0))
_PAD = 2  # rays: so far away from one its neighbours are looked at


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


def with_feet(outlines: Silhouettes, scans: Sequence[Scan]) -> Silhouettes:
    """Add where the ground meets what stands on it, in scans in which that was found."""
    points, across, distance = [], [], []
    for scan in scans:
        feet = scan.edges.apart == 0
        away = scan.edges.points[feet] - scan.origin
        points.append(scan.edges.points[feet])
        across.append(scan.edges.across[feet])
        distance.append(np.sqrt((away * away).sum(axis=1)))
    if not points:
        return outlines
    at = np.concatenate(points)
    side = _FOOT_RAD * np.concatenate(distance)[:, None] * np.concatenate(across)
    return Silhouettes(
        np.concatenate([outlines.points, at - side]),
        np.concatenate([outlines.beyond, at + side]),
        np.concatenate([outlines.weights, np.ones(len(at))]),
    )


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

    def for_next_scene(self) -> Outlines:
        """Return what finds the outlines of the next scene of the same recording, whose lidar is where it was."""
        other = Outlines()
        other._eye, other._in_order = self._eye, self._in_order
        return other

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
        if points.device is not None and len(points) and (points.device != points.device[0]).any():
            points = points.at(points.device == points.device[0])
        turn = quaternion.to_matrix(frame.heading_xyzw)
        with np.errstate(all="ignore"):
            away = (np.asarray(points.xyz).T - frame.position[:, None]).astype(np.float32)
            still = turn.T.astype(np.float32) @ away
            finite = np.isfinite(still.sum(axis=0))
        if not finite.all():
            points, still = points.at(finite), still[:, finite]
        if len(points) < _FEWEST:
            return _NONE
        if self._in_order is None:
            self._in_order = points.time_ns is None and _is_in_order(still)
        shares = _shares(points, in_order=self._in_order)
        motion = self._motion @ turn
        moving = still - motion.astype(np.float32)[:, None] * shares
        if self._eye is None:
            self._eye = _find_eye(moving)
        local, axes = _seen_from(moving, self._eye)
        distance = np.sqrt(np.einsum("ij,ij->j", local, local))
        usable = (distance > _NEAREST_M) & (distance < 4 * _FARTHEST_M)
        if np.count_nonzero(usable) < _FEWEST:
            return _NONE
        if not usable.all():
            local, distance, shares = local[:, usable], distance[usable], shares[usable]
        rays = _outlines(_range_image(local, distance), local)
        moved = shares[rays.numbers, None] * motion + np.array(self._eye[:3])
        near, ends = (rays.ranges[:, None] * way @ axes.T + moved for way in (rays.last, rays.beyond))
        stands = np.flatnonzero(near[:, 2] > _GROUND_M)
        if len(stands) > most:
            stands = stands[some_of(len(stands), most)]
        near, ends = (side[stands] @ turn.T + frame.position for side in (near, ends))
        return Silhouettes(near, ends, rays.weights[stands])


def _is_in_order(local: Array) -> bool:
    """Whether points stand in the order in which a turning lidar measured them."""
    turned = np.unwrap(np.arctan2(local[1], local[0]).astype(np.float64))
    return abs(float(np.corrcoef(np.arange(len(turned)), turned)[0, 1])) > _IN_ORDER


def _shares(points: Points, *, in_order: bool) -> Array:
    """Return when in the sweep each point was measured, 0 to 1; the middle where nothing says so."""
    if points.time_ns is not None:
        after: Array = (points.time_ns - points.time_ns.min()).astype(np.float32)
        after /= np.float32(max(1.0, float(after.max())))
        return after
    count = len(points)
    return np.linspace(0.0, 1.0, count, dtype=np.float32) if in_order else np.full(count, 0.5, np.float32)


def _seen_from(local: Array, eye: Sequence[float] | FloatArray) -> tuple[Array, FloatArray]:
    """Return points, shape (3, n), as a lidar there sees them, and its axes in the columns of a matrix."""
    pitch, roll = np.radians(eye[3]), np.radians(eye[4])
    about_y = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]])
    axes = about_y @ about_x
    seen = axes.T.astype(np.float32) @ local
    seen -= (axes.T @ np.array(eye[:3])).astype(np.float32)[:, None]
    return seen, axes


def _find_eye(local: Array) -> tuple[float, ...]:
    """Search where the lidar is: along each number and along pairs that replace each other, in ever smaller steps."""
    high = local[2]
    stands = (high > np.quantile(high, _STRAY) + _GROUND_M) & (np.abs(local).max(axis=0) < 2 * _FARTHEST_M)
    some = local[:, stands]  # all of the ground would be at one elevation for an eye on it
    count = some.shape[1]
    if count < _FEWEST:
        return _EYE
    some = some[:, some_of(count, _LOOKED_AT)] if count > _LOOKED_AT else some
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


def _disorder(local: Array, eye: Sequence[float] | FloatArray) -> float:
    """Return the entropy of the elevations of points as seen from a place."""
    seen, _ = _seen_from(local, eye)
    return _entropy(_cells(seen))


def _cells(seen: Array) -> IntArray:
    x, y, z = seen
    elevation = np.arctan2(z, np.sqrt(x * x + y * y))
    elevation += np.float32(np.pi / 2)
    elevation *= np.float32(np.degrees(1) / _CELL_DEG)
    cells: IntArray = elevation.astype(np.int64)
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

    ranges: Array
    points: IntArray
    rows: FloatArray
    columns: FloatArray


def _range_image(local: Array, distance: Array) -> _RangeImage:
    cells = _cells(local)
    by_cell = np.bincount(cells)
    ring_of, count = _rings(by_cell)
    width = int(np.clip(1.1 * len(distance) / max(1, count), 90, 2000))
    turned = np.arctan2(local[1], local[0])
    turned += np.float32(np.pi)
    turned *= np.float32(width / (2 * np.pi))
    places = turned.astype(np.int64)
    places[places >= width] = 0
    places += (ring_of * width)[cells]
    # A point between rings is at the end, where nothing looks for it.
    size = count * width
    ranges = np.full(size + width, np.inf, np.float32)
    np.minimum.at(ranges, places, distance)
    nearest = np.flatnonzero(distance == ranges[places])
    points = np.full(size + width, -1, np.int64)
    points[places[nearest]] = nearest
    elevation = (np.arange(len(by_cell)) + 0.5) * _CELL_DEG - 90.0
    sums, counts = (np.bincount(ring_of, column, count + 1)[:count] for column in (elevation * by_cell, by_cell))
    middles = np.linspace(-np.pi, np.pi, 2 * width + 1, dtype=np.float64)[1::2]
    rows = np.radians(sums / np.maximum(1.0, counts))
    shape = (count, width)
    return _RangeImage(ranges[:size].reshape(shape), points[:size].reshape(shape), rows, middles)


def _rings(by_cell: IntArray) -> tuple[IntArray, int]:
    """Number the rings from below by where elevations gather: for each cell its ring, or how many there are if none.

    Args:
        by_cell: How many points are at each elevation.
    """
    counts = by_cell.astype(np.float64)
    smooth = np.convolve(counts, (0.25, 0.5, 0.25), "same")
    around = np.convolve(counts, np.full(9, 1 / 9), "same")
    is_peak = (smooth > np.roll(smooth, 1)) & (smooth >= np.roll(smooth, -1)) & (smooth > around) & (smooth > 2)
    peaks = np.flatnonzero(is_peak)
    if not len(peaks):
        return np.zeros(len(counts), np.int64), 0
    right = np.clip(np.searchsorted(peaks, np.arange(len(counts))), 0, len(peaks) - 1)
    left = np.maximum(right - 1, 0)
    places = np.arange(len(counts))
    nearest = np.where(np.abs(peaks[left] - places) < np.abs(peaks[right] - places), left, right)
    nearest[np.abs(peaks[nearest] - places) * _CELL_DEG > _WIDEST_DEG / 4] = len(peaks)
    return nearest, len(peaks)


@dataclass(frozen=True, eq=False)
class _Rays:
    """The last rays on near things, as the lidar saw them.

    Attributes:
        numbers: Shape (k,), of the points.
        ranges: Shape (k,), metres.
        last: Shape (k, 3), unit vectors to the points.
        beyond: Shape (k, 3), unit vectors along the rays beside them.
        weights: Shape (k,), 0 to 1.
    """

    numbers: IntArray
    ranges: FloatArray
    last: FloatArray
    beyond: FloatArray
    weights: FloatArray


def _outlines(image: _RangeImage, local: Array) -> _Rays:
    """Return the rays beside which the range jumps."""
    rings, width = image.ranges.shape
    padded = np.zeros((rings + 2 * _PAD, width + 2 * _PAD), np.float32)  # there is no ring above the last one
    middle = padded[_PAD : rings + _PAD]
    middle[:, _PAD:-_PAD] = image.ranges
    middle[:, :_PAD], middle[:, -_PAD:] = image.ranges[:, -_PAD:], image.ranges[:, :_PAD]
    least = image.ranges + np.maximum(np.float32(_STEP_M), np.float32(_STEP_SHARE) * image.ranges)
    least[image.ranges >= _FARTHEST_M] = np.inf  # nothing is farther away
    sides: list[tuple[IntArray, ...]] = []
    for down, along in _TO:
        neighbour, next_one = (_beside(padded, times * down, times * along) for times in (1, 2))
        jump = (neighbour > least) & (next_one > least)  # else it is a gap in what is near
        if along or down < 0:
            jump &= neighbour < np.inf  # only above a thing, nothing that comes back is the sky
        place = np.flatnonzero(jump)
        row, column = np.divmod(place, width)
        sides.append((place, row, column, np.clip(row + down, 0, rings - 1), (column + along) % width))
    place, row, column, row_beside, column_beside = (np.concatenate(part) for part in zip(*sides, strict=True))
    step = _rays(image.rows[row_beside], image.columns[column_beside]) - _rays(image.rows[row], image.columns[column])
    wide = np.sqrt((step * step).sum(axis=1))
    good = np.flatnonzero((np.degrees(wide) < _WIDEST_DEG) & (wide > 0))
    numbers, step, wide = image.points.ravel()[place[good]], step[good], wide[good]
    near = local[:, numbers].T.astype(np.float64)
    reach = np.sqrt((near * near).sum(axis=1))
    one = near / reach[:, None]
    other = one + step
    other /= np.sqrt((other * other).sum(axis=1, keepdims=True))
    return _Rays(numbers, reach, one, other, np.minimum(1.0, _SHARP_DEG / np.degrees(wide)))


def _beside(padded: Array, down: int, along: int) -> Array:
    """Return the ranges some rays away; 0 where there is no ring so far up or down."""
    rows, columns = padded.shape
    return padded[_PAD + down : rows - _PAD + down, _PAD + along : columns - _PAD + along]


def _rays(elevation: FloatArray, azimuth: FloatArray) -> FloatArray:
    level = np.cos(elevation)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=1)
