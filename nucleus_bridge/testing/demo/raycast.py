# SPDX-License-Identifier: Apache-2.0
"""Exact first hits of a spinning lidar's rays with the world.

Rays come in columns: all lasers of a column fire at the same time from the same place, one above the other, so that a
primitive is tested only against the columns whose vertical fan can meet it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.testing.demo.ground import Ground
from nucleus_bridge.testing.demo.rigid import FloatArray
from nucleus_bridge.testing.demo.world import Box, Pole, World

MAX_RANGE_M = 120.0
_BEARING_MARGIN = np.radians(0.2)


def first_hits(
    origins: FloatArray, directions: FloatArray, world: World, ground: Ground
) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Return distance and lidar intensity of each ray's first hit, both of shape (columns, rings).

    ``origins`` is (columns, 3), ``directions`` (columns, rings, 3), of unit length. A ray without a hit within
    ``MAX_RANGE_M`` has the distance inf and the intensity 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = -origins[:, 2:3] / directions[..., 2]
    distance[(directions[..., 2] >= 0.0) | (distance > MAX_RANGE_M)] = np.inf
    on_ground = np.where(np.isfinite(distance), distance, 0.0)
    intensity = ground.intensity_at(
        origins[:, 0:1] + on_ground * directions[..., 0], origins[:, 1:2] + on_ground * directions[..., 1]
    )
    intensity[np.isinf(distance)] = 0

    bearing, spread = _bearings(directions)
    for pole in world.poles:
        columns = _columns_towards(origins, bearing, spread, (pole.x, pole.y), pole.radius)
        if columns.size:
            hit = _pole_distance(pole, origins[columns], directions[columns])
            _keep_nearer(distance, intensity, columns, hit, pole.intensity)
    for box in world.boxes:
        columns = _columns_towards(origins, bearing, spread, (box.x, box.y), box.reach)
        if columns.size:
            hit = _box_distance(box, origins[columns], directions[columns])
            _keep_nearer(distance, intensity, columns, hit, box.intensity)
    return distance, intensity


def _bearings(directions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the middle and half-width of the bearings each column's fan covers, shape (columns,), radians.

    A fan is an arc of a great circle, along which the bearing changes one way only: its ends bound it.
    """
    first = np.arctan2(directions[:, 0, 1], directions[:, 0, 0])
    last = np.arctan2(directions[:, -1, 1], directions[:, -1, 0])
    half = _wrapped(last - first) / 2
    return first + half, np.abs(half) + _BEARING_MARGIN


def _columns_towards(
    origins: FloatArray, bearing: FloatArray, spread: FloatArray, place: tuple[float, float], radius: float
) -> NDArray[np.int64]:
    """Return the columns whose fans can meet an upright cylinder of ``radius`` around ``place`` within range."""
    east, north = place[0] - origins[:, 0], place[1] - origins[:, 1]
    distance = np.hypot(east, north)
    if float(distance.min()) > MAX_RANGE_M + radius:
        return np.empty(0, np.int64)
    half = np.arcsin(np.minimum(1.0, radius / distance))
    half[radius >= distance] = np.pi
    off = np.abs(_wrapped(np.arctan2(north, east) - bearing))
    return np.flatnonzero(off <= half + spread)


def _wrapped(angle: FloatArray) -> FloatArray:
    wrapped: FloatArray = (angle + np.pi) % (2 * np.pi) - np.pi
    return wrapped


def _keep_nearer(
    distance: FloatArray,
    intensity: NDArray[np.uint8],
    columns: NDArray[np.int64],
    hit: FloatArray,
    value: int,
) -> None:
    before = distance[columns]
    nearer = (hit < before) & (hit <= MAX_RANGE_M)
    distance[columns] = np.where(nearer, hit, before)
    intensity[columns] = np.where(nearer, value, intensity[columns])


def _pole_distance(pole: Pole, origins: FloatArray, directions: FloatArray) -> FloatArray:
    """Return how far each ray flies to the pole's side, inf where it misses; tops are above every sensor."""
    x, y = (origins[:, 0] - pole.x)[:, None], (origins[:, 1] - pole.y)[:, None]
    dx, dy, dz = np.moveaxis(directions, -1, 0)
    square = dx * dx + dy * dy
    towards = x * dx + y * dy
    beside = x * dy - y * dx
    room = pole.radius**2 * square - beside * beside
    hit = (-towards - np.sqrt(np.maximum(room, 0.0))) / square
    height = origins[:, 2:3] + hit * dz
    misses = (room <= 0.0) | (hit <= 0.0) | (height < 0.0) | (height > pole.height)
    return np.where(misses, np.inf, hit)


def _box_distance(box: Box, origins: FloatArray, directions: FloatArray) -> FloatArray:
    """Return how far each ray flies to the box's surface from outside, inf where it misses (slab method)."""
    cos, sin = np.cos(box.yaw), np.sin(box.yaw)
    east, north = origins[:, 0] - box.x, origins[:, 1] - box.y
    starts = (cos * east + sin * north, cos * north - sin * east, origins[:, 2] - box.height / 2)
    dx, dy, dz = np.moveaxis(directions, -1, 0)
    enter, leave = np.zeros(dx.shape), np.full(dx.shape, np.inf)
    halves = (box.length / 2, box.width / 2, box.height / 2)
    for start, along, half in zip(starts, (cos * dx + sin * dy, cos * dy - sin * dx, dz), halves, strict=True):
        with np.errstate(divide="ignore"):
            inverse = 1.0 / np.where(along == 0.0, 1e-300, along)
        reach = half * np.abs(inverse)
        middle = -start[:, None] * inverse
        np.maximum(enter, middle - reach, out=enter)
        np.minimum(leave, middle + reach, out=leave)
    return np.where((enter > 0.0) & (enter < leave), enter, np.inf)
