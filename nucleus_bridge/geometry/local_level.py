# SPDX-License-Identifier: Apache-2.0
"""Positions on the globe and INS attitudes to poses in a local level frame: east, north, up at an origin (WGS 84)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nucleus_bridge.geometry import quaternion
from nucleus_bridge.model import FloatArray

_SEMI_MAJOR_M = 6_378_137.0
_FLATTENING = 1.0 / 298.257223563
_ECCENTRICITY_SQUARED = _FLATTENING * (2.0 - _FLATTENING)


class GlobeOrigin(NamedTuple):
    """Where the local level frame lies: degrees, metres above the ellipsoid."""

    latitude: float
    longitude: float
    altitude: float


def local_poses(lat_lon_alt: FloatArray, roll_pitch_heading: FloatArray, origin: GlobeOrigin) -> FloatArray:
    """Return poses of an INS's body in east, north, up at an origin.

    Args:
        lat_lon_alt: Shape (n, 3): degrees, degrees, metres above the ellipsoid.
        roll_pitch_heading: Shape (n, 3), radians, as INS makers count them: roll is positive with the right side
            down, pitch with the nose up, heading clockwise from true north. The body that results has x forward, y to
            the left and z up (REP 103).
        origin: Where the frame lies.

    Returns:
        Shape (n, 7): x, y, z in metres, unit quaternion x y z w.
    """
    at = np.radians(np.array(origin[:2]))
    enu_from_ecef = _ecef_from_enu(at[:1], at[1:])[0].T
    positions = _ecef(lat_lon_alt) - _ecef(np.array([origin]))
    local = np.stack([(positions * row).sum(axis=1) for row in enu_from_ecef], axis=1)
    latitude, longitude = np.radians(lat_lon_alt[:, 0]), np.radians(lat_lon_alt[:, 1])
    level = quaternion.from_matrix(enu_from_ecef[None] @ _ecef_from_enu(latitude, longitude))
    roll, pitch, heading = roll_pitch_heading.T
    body = quaternion_of_rpy(roll, -pitch, np.pi / 2.0 - heading)
    return np.concatenate((local, quaternion.multiply(level, body)), axis=1)


def quaternion_of_rpy(roll: FloatArray, pitch: FloatArray, yaw: FloatArray) -> FloatArray:
    """Return quaternions, shape (n, 4), of turns about fixed x, then y, then z, in radians (as URDF and tf2 do)."""
    sr, cr = np.sin(roll / 2.0), np.cos(roll / 2.0)
    sp, cp = np.sin(pitch / 2.0), np.cos(pitch / 2.0)
    sy, cy = np.sin(yaw / 2.0), np.cos(yaw / 2.0)
    return np.stack(
        (
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
            cr * cp * cy + sr * sp * sy,
        ),
        axis=-1,
    )


def _ecef(lat_lon_alt: FloatArray) -> FloatArray:
    latitude, longitude = np.radians(lat_lon_alt[:, 0]), np.radians(lat_lon_alt[:, 1])
    altitude = lat_lon_alt[:, 2]
    normal = _SEMI_MAJOR_M / np.sqrt(1.0 - _ECCENTRICITY_SQUARED * np.sin(latitude) ** 2)
    across = (normal + altitude) * np.cos(latitude)
    along = (normal * (1.0 - _ECCENTRICITY_SQUARED) + altitude) * np.sin(latitude)
    return np.stack((across * np.cos(longitude), across * np.sin(longitude), along), axis=1)


def _ecef_from_enu(latitude: FloatArray, longitude: FloatArray) -> FloatArray:
    """Return rotation matrices, shape (n, 3, 3); columns are east, north, up."""
    sin_lat, cos_lat, sin_lon, cos_lon = np.sin(latitude), np.cos(latitude), np.sin(longitude), np.cos(longitude)
    east = np.stack((-sin_lon, cos_lon, np.zeros_like(latitude)), axis=-1)
    north = np.stack((-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat), axis=-1)
    up = np.stack((cos_lat * cos_lon, cos_lat * sin_lon, sin_lat), axis=-1)
    return np.stack((east, north, up), axis=-1)
