# SPDX-License-Identifier: Apache-2.0
"""Where on the globe the map lies: east-north-up at a fixed origin on the WGS 84 ellipsoid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleus_bridge.testing.demo.rigid import FloatArray, Pose, mounted

_SEMI_MAJOR_M = 6_378_137.0
_FLATTENING = 1 / 298.257223563
_ECCENTRICITY_SQUARED = _FLATTENING * (2 - _FLATTENING)


@dataclass(frozen=True)
class Origin:
    """The place of map (0, 0, 0): degrees, and metres above the ellipsoid."""

    latitude: float
    longitude: float
    altitude: float


ORIGIN = Origin(48.1374, 11.5755, 565.0)
BASE_FROM_ANTENNA: Pose = mounted(0.0, 0.0, 1.55)
FRAME_ID = "gnss"
FIX_TOPIC = "/gnss/fix"
HEADING_TOPIC = "/gnss/heading"


def geodetic(places: FloatArray) -> FloatArray:
    """Return latitude, longitude (degrees) and altitude (metres) of map places: (k, 3) to (k, 3)."""
    latitude, longitude = np.radians(ORIGIN.latitude), np.radians(ORIGIN.longitude)
    sin_lat, cos_lat, sin_lon, cos_lon = np.sin(latitude), np.cos(latitude), np.sin(longitude), np.cos(longitude)
    curvature = _SEMI_MAJOR_M / np.sqrt(1 - _ECCENTRICITY_SQUARED * sin_lat**2)
    across = (curvature + ORIGIN.altitude) * cos_lat
    origin = np.array(
        [across * cos_lon, across * sin_lon, (curvature * (1 - _ECCENTRICITY_SQUARED) + ORIGIN.altitude) * sin_lat]
    )
    east = np.array([-sin_lon, cos_lon, 0.0])
    north = np.array([-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat])
    up = np.array([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat])
    x, y, z = (origin + places @ np.stack([east, north, up])).T

    axis = np.hypot(x, y)
    solved = np.arctan2(z, axis * (1 - _ECCENTRICITY_SQUARED))
    for _ in range(5):
        curved = _SEMI_MAJOR_M / np.sqrt(1 - _ECCENTRICITY_SQUARED * np.sin(solved) ** 2)
        solved = np.arctan2(z + _ECCENTRICITY_SQUARED * curved * np.sin(solved), axis)
    altitude = axis / np.cos(solved) - _SEMI_MAJOR_M / np.sqrt(1 - _ECCENTRICITY_SQUARED * np.sin(solved) ** 2)
    return np.stack([np.degrees(solved), np.degrees(np.arctan2(y, x)), altitude], axis=-1)


def yaw_of(pose: Pose) -> FloatArray:
    """Return the direction of the x axis seen from above, radians from east, counter-clockwise."""
    matrix = pose.matrix
    yaw: FloatArray = np.arctan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return yaw
