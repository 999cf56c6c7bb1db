# SPDX-License-Identifier: Apache-2.0
"""Where a near thing ends before a far one in a sweep, along its rings and across them, and where walls begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.model import FloatArray, IntArray

Array = NDArray[Any]

_STEP_M, _STEP_SHARE = 0.4, 0.08  # smallest step of the range, in metres and as a share of it
_BENT = 2.0  # times what a plane would explain
_LONGEST = 1.15  # times the near range: how far behind the last point on a surface its edge is taken to be
_FARTHEST_M = 60.0
_ABOVE_GROUND_M = 0.4
_STRAY = 0.05  # share of points that may be below the ground: reflections
_PATCH_M, _MOST_PATCHES, _ENOUGH_FOR_GROUND = 3.0, 30, 30_000
_BIN_DEG, _SECTORS = 0.05, 24
_WIDEST_RING_DEG = 0.4
_GAP_STEPS = 3.5
_WIDEST_GAP = np.radians(2.0)
_WIDEST_RINGS_APART = np.radians(2.6)
_FOOT_M, _FARTHEST_FOOT_M = 6.0, 40.0  # how far ground is continued, and how far away
_LEAST_FOOT_M, _APART_M = 0.2, 0.04  # nearer to the wall it may be the wall; nearer to each other they tell no lean
_STEEPEST_GROUND, _ON_GROUND_M, _MOST_LEAN, _HIGHEST_START_M = 0.1, 0.3, 0.15, 1.5
_SLACK_M = 0.01  # of heights and distances in single precision, until they are looked at with more digits
_HALF_TURN = np.float32(np.pi)
_TURN = 8.0  # radians, more than a turn
_CELL_RAD = np.radians(0.5)


@dataclass(frozen=True, eq=False)
class CloudEdges:
    """Edges of one sweep.

    Attributes:
        points: Shape (k, 3): on the near side, moved half-way to the far neighbour.
        across: Shape (k, 3): unit vectors from the near side to the far one, perpendicular to the ray.
        apart: Shape (k,), angle between the two rays, radians; 0 where planes meet, which lie between rays.
        numbers: Shape (k,), of the points on the near side.
    """

    points: FloatArray
    across: FloatArray
    apart: FloatArray
    numbers: IntArray

    def __len__(self) -> int:
        """Count them."""
        return len(self.points)


@dataclass(frozen=True, eq=False)
class _Found:
    """Edges of one direction: the last points on the near side, the range and signed angle at which each edge is."""

    near: Array
    there: Array
    angle: Array
    is_level: bool


NO_EDGES = CloudEdges(np.empty((0, 3)), np.empty((0, 3)), np.empty(0), np.empty(0, np.int64))


def cloud_edges(local: Array, up: FloatArray) -> CloudEdges:
    """Find the edges of a sweep.

    Args:
        local: Shape (n, 3), metres, as seen from about where the lidar was, z along the axis that it turns about.
        up: Shape (3,), unit vector away from the ground in the same frame.

    Returns:
        The edges, in the same frame.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return _edges(local, up)


def _edges(local: Array, up: FloatArray) -> CloudEdges:
    x, y, z = axes = np.ascontiguousarray(np.asarray(local, np.float32).T)
    distance = np.sqrt(x * x + y * y + z * z)
    kept = (distance > 0.5) & np.isfinite(distance)
    numbers = np.flatnonzero(kept)
    if len(numbers) < len(distance):
        x, y, z = axes = axes.take(numbers, axis=1)
        distance = distance[numbers]
    if len(distance) < 100:
        return NO_EDGES
    above = above_ground(axes.T, up)
    azimuth, elevation = np.arctan2(y, x), np.arcsin(np.clip(z / distance, -1, 1))
    ring = _rings(azimuth, elevation)
    rows, step = _along_rings(azimuth, ring)
    order, column = _in_columns(azimuth, ring, step)
    found = [
        *_steps(rows, azimuth, distance, ring, step),
        *_steps_up(order, column, elevation, distance),
    ]
    nearest = _Nearest(azimuth, elevation, distance, max(1.5 * step, np.radians(0.3)))
    parts = []
    for one in found:
        near = one.near
        good = (distance[near] < _FARTHEST_M) & (above[near] > _ABOVE_GROUND_M)
        good &= nearest.is_clear(azimuth[near], elevation[near], distance[near], one.angle, is_level=one.is_level)
        near, angle = near[good], one.angle[good]
        placed = _placed(azimuth[near], elevation[near], one.there[good], angle, is_level=one.is_level)
        parts.append((*placed, 2.0 * np.abs(angle), near))
    parts.append(_feet(axes, up, above, order, column))
    points, across, apart, near = (np.concatenate(column) for column in zip(*parts, strict=True))
    return CloudEdges(points, across, apart, numbers[near])


def above_ground(xyz: Array, up: FloatArray) -> Array:
    """Return how far points are above the lowest one around them."""
    side = np.cross(up, [0.0, 1.0, 0.0] if abs(up[1]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    axes = np.stack([up, side / _PATCH_M, np.cross(up, side) / _PATCH_M]).astype(np.float32)
    height, *flat = axes @ xyz.T
    size = 2 * _MOST_PATCHES + 3
    # What is added makes all of them positive, so that cutting off is rounding down.
    row, column = (
        np.clip(one + np.float32(_MOST_PATCHES + 1), 1, 2 * _MOST_PATCHES + 1).astype(np.int32) for one in flat
    )
    number = row * size + column
    some = slice(None, None, max(1, len(xyz) // _ENOUGH_FOR_GROUND))
    patches, heights = number[some], height[some]
    order = np.argsort(patches * 1e5 + np.clip(heights, -1e4, 1e4))
    count = np.bincount(patches)
    places = np.flatnonzero(count)
    first = np.cumsum(count)[places] - count[places]
    lowest = np.full(size * size, np.inf, np.float32)
    lowest[places] = heights[order[first + (count[places] * _STRAY).astype(np.int64)]]
    square = lowest.reshape(size, size)
    around = np.minimum.reduce([np.roll(square, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    above: Array = height - around.ravel()[number]
    return above


class _Nearest:
    """The nearest point in each cell of the sphere around a lidar."""

    def __init__(self, azimuth: Array, elevation: Array, distance: Array, width: float) -> None:
        self._width = width
        self._columns, self._rows = int(2 * np.pi / width) + 3, int(np.pi / _CELL_RAD) + 3
        self._ranges = np.full(self._columns * self._rows, np.inf, np.float32)
        np.minimum.at(self._ranges, self._cells(azimuth, elevation), distance)

    def _cells(self, azimuth: Array, elevation: Array) -> Array:
        column: Array = np.floor((azimuth + _HALF_TURN) / np.float32(self._width)).astype(np.int64)
        column[column < 0] += self._columns
        column[column >= self._columns] -= self._columns
        row = np.clip((elevation + np.float32(np.pi / 2 + _CELL_RAD)) / np.float32(_CELL_RAD), 0, self._rows - 1)
        column *= self._rows
        column += row.astype(np.int64)
        return column

    def is_clear(self, azimuth: Array, elevation: Array, distance: Array, angle: Array, *, is_level: bool) -> Array:
        """Tell beyond which edges nothing is as near: what is not so is two rings, or two lidars, that alternate."""
        side = np.sign(angle)
        least = distance + 0.5 * np.maximum(_STEP_M, _STEP_SHARE * distance)
        clear = np.ones(len(azimuth), np.bool_)
        for cells in (1, 2):
            if is_level:
                beyond = self._cells(azimuth + angle + cells * side * self._width, elevation)
            else:
                beyond = self._cells(azimuth, elevation + angle + cells * side * _CELL_RAD)
            clear &= self._ranges[beyond] > least
        return clear


def _rings(azimuth: Array, elevation: Array) -> Array:
    """Number the rings, sector by sector, in which a tilted lidar is as good as level; 0 is not a ring.

    A ring is a run of elevations that occur, split where it is wider than a ring can be.
    """
    sector = np.minimum(((azimuth + _HALF_TURN) * np.float32(_SECTORS / (2 * np.pi))).astype(np.int32), _SECTORS - 1)
    bins = ((elevation + _HALF_TURN) * np.float32(np.degrees(1) / _BIN_DEG)).astype(np.int32)
    bins -= bins.min()
    size = int(bins.max()) + 1
    counts = np.bincount(sector * size + bins, minlength=_SECTORS * size).reshape(_SECTORS, size)
    number = np.zeros((_SECTORS, size), np.int32)
    widest = round(_WIDEST_RING_DEG / _BIN_DEG)
    for row, out in zip(counts, number, strict=True):
        there = np.flatnonzero(row)
        if not len(there):
            continue
        sizes = np.sort(row[there])
        usual = (
            sizes[(len(sizes) - 1) // 2] + sizes[len(sizes) // 2]
        ) / 2  # as np.median, which takes ten times as long
        there = there[row[there] > _STRAY * usual]
        new = np.diff(there, prepend=-9) > 1
        run = np.flatnonzero(new)
        within = np.arange(len(there)) - run[np.cumsum(new) - 1]
        out[there] = np.cumsum(new | (within % widest == 0))
    number[number > 0] += np.repeat(np.arange(_SECTORS, dtype=np.int32) * (size + 1), (number > 0).sum(axis=1))
    result: Array = number.ravel()[sector * size + bins]
    return result


def _along_rings(azimuth: Array, ring: Array) -> tuple[Array, float]:
    """Order points along their rings; return that and the usual step of the azimuth."""
    order = np.argsort(ring * np.float64(_TURN) + azimuth)
    gaps = np.diff(azimuth[order])
    gaps = gaps[(np.diff(ring[order]) == 0) & (gaps > 1e-5)]
    return order, float(np.median(gaps)) if len(gaps) else 0.01


def _steps(rows: Array, azimuth: Array, distance: Array, ring: Array, step: float) -> list[_Found]:
    """Find where the range steps up along rings: rows of near points, signed angle to the edge."""
    found = []
    for order in (rows, rows[::-1]):

        def gaps(near: Array, far: Array) -> tuple[Array, Array]:
            gap = azimuth[far] - azimuth[near]
            joint = (ring[far] == ring[near]) & (ring[far] > 0)
            return gap, joint & (np.abs(gap) < min(_GAP_STEPS * step, _WIDEST_GAP))

        found.append(_Found(*_jumps(distance, order, gaps), is_level=True))
    return found


def _in_columns(azimuth: Array, ring: Array, step: float) -> tuple[Array, Array]:
    """Order points by column and then upwards, one of each ring; return that, and the column of every point."""
    column = ((azimuth + _HALF_TURN) / np.float32(max(1.2 * step, np.radians(0.1)))).astype(np.int32)
    good = np.flatnonzero(ring > 0)
    key = column[good] * (int(ring.max(initial=0)) + 1) + ring[good]  # at most 3601 columns, 24 * 3602 rings
    order = np.argsort(key)
    order = good[order[np.diff(key[order], prepend=-1) > 0]]
    return order, column


def _steps_up(order: Array, column: Array, elevation: Array, distance: Array) -> list[_Found]:
    """Find where the range steps up from ring to ring, upwards and downwards."""

    def gaps(near: Array, far: Array) -> tuple[Array, Array]:
        gap = elevation[far] - elevation[near]
        return gap, (column[far] == column[near]) & (np.abs(gap) < _WIDEST_RINGS_APART) & (np.abs(gap) > 1e-4)

    return [_Found(*_jumps(distance, rows, gaps), is_level=False) for rows in (order, order[::-1])]


def _feet(axes: Array, up: FloatArray, above: Array, order: Array, column: Array) -> tuple[Array, Array, Array, Array]:
    """Find where the ground meets what stands on it: two points of the ground, then two of a wall above one another.

    Both are continued to where they meet, between two rings (C. Yuan et al., RA-L 2021, on such edges).
    """
    column = column[order]
    x, y, z = axes
    level: Array = up.astype(np.float32) @ axes
    far: Array = np.sqrt(np.maximum(x * x + y * y + z * z - level * level, np.float32(0.0)))
    level, far = level[order], far[order]
    out, rise = np.diff(far), np.diff(level)
    maybe = (out[1:-1] > _LEAST_FOOT_M) & (out[1:-1] < _FOOT_M) & (column[:-3] == column[3:])
    maybe &= (out[:-2] > 0.0) & (np.abs(rise[:-2]) < _STEEPEST_GROUND * out[:-2] + _SLACK_M)
    maybe &= (rise[2:] > _APART_M - _SLACK_M) & (np.abs(out[2:]) < _MOST_LEAN * rise[2:] + _SLACK_M)
    maybe &= (above[order[1:-2]] < _ON_GROUND_M) & (far[2:-1] < _FARTHEST_FOOT_M + _SLACK_M)
    begin = np.flatnonzero(maybe)  # what follows needs more digits, for fewer points
    four = np.moveaxis(axes[:, order[begin + np.arange(4)[:, None]]], 0, 2).astype(np.float64)
    height = four @ up
    flat = four - height[:, :, None] * up
    away = np.sqrt((flat * flat).sum(axis=2))
    first, last, low, high = range(4)
    slope = (height[last] - height[first]) / (away[last] - away[first])
    lean = (away[high] - away[low]) / (height[high] - height[low])
    gap = away[low] - away[last]
    foot = height[last] + slope * gap
    is_foot = (
        (away[last] > away[first] + 0.05)
        & (np.abs(slope) < _STEEPEST_GROUND)
        & (height[high] > height[low] + _APART_M)
        & (np.abs(lean) < _MOST_LEAN)
        & (gap > _LEAST_FOOT_M)
        & (gap < _FOOT_M)
        & (away[low] < _FARTHEST_FOOT_M)
        & (height[low] > foot + 0.05)
        & (height[low] < foot + _HIGHEST_START_M)
    )
    found = np.flatnonzero(is_foot)
    reach = away[low, found] - lean[found] * (height[low, found] - foot[found])
    points = flat[low, found] * (reach / away[low, found])[:, None] + foot[found][:, None] * up
    ray = points / np.sqrt((points * points).sum(axis=1, keepdims=True))
    across = up - (ray @ up)[:, None] * ray
    across /= np.sqrt((across * across).sum(axis=1, keepdims=True))
    return points, across, np.zeros(len(found)), order[begin[found] + low]


Gaps = Callable[[Array, Array], tuple[Array, Array]]
"""Returns the signed angles between points, given by number, and others, and whether these are neighbours."""


def _jumps(distance: Array, order: Array, gaps: Gaps) -> tuple[Array, Array, Array]:
    """Find where the next range is larger than a step, and than a plane through this point and the last explains.

    Returns:
        The points where that is; the ranges of the edges there: that plane's half-way to the next point; and the signed
        angles to the edges.
    """
    r = distance[order]
    index = np.flatnonzero(r[1:] - r[:-1] > np.maximum(np.float32(_STEP_M), np.float32(_STEP_SHARE) * r[:-1]))
    gap, is_near = gaps(order[index], order[index + 1])
    index, gap = index[is_near], gap[is_near]  # what follows is for few points
    before = np.maximum(index - 1, 0)
    here, last, beyond = r[index], r[before], r[index + 1]
    gap_before, follows = gaps(order[before], order[index])
    follows &= (before < index) & (np.abs(here - last) < np.maximum(_STEP_M, 0.3 * here))
    slope = np.where(follows, (1.0 / here - 1.0 / last) / gap_before, np.float32(0.0))
    explained = -slope * gap
    found = np.flatnonzero(1.0 / here - 1.0 / beyond > _BENT * explained)
    here, gap = here[found], gap[found]
    half = 1.0 / here - explained[found] / 2
    there = np.clip(1.0 / np.maximum(half, 1e-6), here, np.minimum(beyond[found], _LONGEST * here))
    return order[index[found]], there, gap / 2


def _placed(
    azimuth: Array, elevation: Array, distance: Array, angle: Array, *, is_level: bool
) -> tuple[FloatArray, FloatArray]:
    """Place edges at the near range, half-way to the far neighbour, and say in which direction that lies."""
    az = azimuth + angle if is_level else azimuth
    el = elevation if is_level else elevation + angle
    level = np.cos(el)
    ray = np.stack([level * np.cos(az), level * np.sin(az), np.sin(el)], axis=1)
    side = np.sign(angle)[:, None]
    if is_level:
        across = side * np.stack([-np.sin(az), np.cos(az), np.zeros_like(az)], axis=1)
    else:
        across = side * np.stack([-np.sin(el) * np.cos(az), -np.sin(el) * np.sin(az), level], axis=1)
    return (ray * distance[:, None]).astype(np.float64), across.astype(np.float64)
