# SPDX-License-Identifier: Apache-2.0
"""Clouds whose coordinates are not metres: what no lidar on a vehicle measures, told by its ranges and the ground."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from nucleus_bridge.errors import TransformError
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.inspect.clouds import Cloud, usable_points

UNIT_NAMES = {0.001: "millimetres", 0.01: "centimetres"}
_LOOKED_AT, _LEAST_POINTS = 5, 50
_NEAREST_M, _TYPICAL_M = 20.0, 300.0
"""Of a vehicle's lidar the nearest points are never beyond the first distance, nor half of them beyond the second."""
_SAME_RANGE = 0.6
_ONE_DIRECTION = 0.995
_LEAST_MOUNT_M = 0.25
_LOWEST_M, _HIGHEST_M, _LEAST_TYPICAL_M = 0.12, 8.0, 0.8


def scale_of(clouds: Iterable[Cloud], height_m: float | None = None) -> float:
    """Return the factor that makes metres of the coordinates of a lidar's clouds; 1 where they seem to be metres.

    Clouds of a plane have one range, those in world coordinates one direction.

    Args:
        clouds: Some clouds in the lidar's own frame, z up.
        height_m: How high the lidar is mounted, where that is known.
    """
    figures = [found for cloud in list(clouds)[:_LOOKED_AT] if (found := _figures(cloud)) is not None]
    if not figures:
        return 1.0
    near, typical, below, one_direction = np.median(np.array(figures), axis=0).tolist()
    if near < _NEAREST_M or typical < _TYPICAL_M or near > _SAME_RANGE * typical or one_direction > _ONE_DIRECTION:
        return 1.0
    likely = [
        scale
        for scale in UNIT_NAMES
        if typical * scale >= _LEAST_TYPICAL_M and (below <= 0 or _LOWEST_M <= below * scale <= _HIGHEST_M)
    ]
    if height_m is not None and height_m >= _LEAST_MOUNT_M and below > 0:
        likely.sort(key=lambda scale: abs(math.log(below * scale / height_m)))
    return likely[0] if likely else 1.0


def mounted_height(tree: TransformTree, frame: str) -> float | None:
    """Return how high a frame is above the first one over it that moves, or the root, metres."""
    body = frame
    while body in tree.frames() and tree.is_static(body) and (parent := tree.parent_of(body)) is not None:
        body = parent
    try:
        return float(tree.lookup(body, frame, 0).translation[2]) if body != frame else None
    except TransformError:
        return None


def _figures(cloud: Cloud) -> tuple[float, float, float, float] | None:
    """Return range of near points, the median range, how far low points are below, and how alike directions are."""
    xyz, _ = usable_points(cloud)
    if len(xyz) < _LEAST_POINTS:
        return None
    ranges = np.linalg.norm(xyz, axis=1)
    near, typical = np.percentile(ranges, (5, 50))
    one_direction = float(np.linalg.norm((xyz / ranges[:, None]).mean(axis=0)))
    return float(near), float(typical), -float(np.percentile(xyz[:, 2], 5)), one_direction
