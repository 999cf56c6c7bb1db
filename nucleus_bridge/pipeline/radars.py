# SPDX-License-Identifier: Apache-2.0
"""Radar detections in the world, with their velocities over ground."""

from __future__ import annotations

import numpy as np

from nucleus_bridge.config import RadarConfig
from nucleus_bridge.errors import TransformError
from nucleus_bridge.geometry import TransformTree, quaternion, transforms
from nucleus_bridge.model import FloatArray, RadarPoints, RadarScan, Transform

VELOCITY_NS = 50_000_000
"""The radar's own velocity is taken from its positions this long before and after the scan."""


def radar_span(scan: RadarScan) -> tuple[int, int]:
    """Return the first and last stamp at which the radar's pose is asked for."""
    if scan.velocity is None or scan.is_compensated:
        return scan.stamp_ns, scan.stamp_ns
    return scan.stamp_ns - VELOCITY_NS, scan.stamp_ns + VELOCITY_NS


def radar_points(
    scan: RadarScan, radar: RadarConfig, tree: TransformTree, world_frame: str, world_from_radar: Transform
) -> RadarPoints:
    """Express a scan in the world.

    Velocities over ground are turned into the world. To relative ones the radar's own velocity is added, to radial ones
    only its part along the ray. Where that velocity cannot be had there are no directions.
    """
    direction = None
    if scan.velocity is not None:
        direction = quaternion.rotate(world_from_radar.rotation_xyzw, scan.velocity)
        if not scan.is_compensated:
            own = _own_velocity(scan, tree, world_frame)
            direction = None if own is None else direction + _along_rays(scan, world_from_radar, own)
    return RadarPoints(
        radar.name,
        scan.stamp_ns,
        scan.frame_id,
        transforms.apply(world_from_radar, scan.xyz),
        direction,
        _sizes(scan.strength, radar),
    )


def _own_velocity(scan: RadarScan, tree: TransformTree, world_frame: str) -> FloatArray | None:
    first, last = radar_span(scan)
    try:
        start, end = (tree.lookup(world_frame, scan.frame_id, stamp_ns) for stamp_ns in (first, last))
    except TransformError:
        return None
    velocity: FloatArray = (end.translation - start.translation) / ((last - first) * 1e-9)
    return velocity


def _along_rays(scan: RadarScan, world_from_radar: Transform, velocity: FloatArray) -> FloatArray:
    """Return the radar's velocity for each detection: the whole of it, or its part along the ray."""
    if not scan.is_radial:
        return np.broadcast_to(velocity, scan.xyz.shape)
    distance = np.sqrt((scan.xyz * scan.xyz).sum(axis=1, keepdims=True))
    rays = quaternion.rotate(world_from_radar.rotation_xyzw, scan.xyz / np.where(distance > 0.0, distance, 1.0))
    along: FloatArray = rays * (rays * velocity).sum(axis=1, keepdims=True)
    return along


def _sizes(strength: FloatArray | None, radar: RadarConfig) -> FloatArray | None:
    if strength is None:
        return None
    sizes: FloatArray = np.clip((strength - radar.strength_min) / (radar.strength_max - radar.strength_min), 0.0, 1.0)
    return sizes
