# SPDX-License-Identifier: Apache-2.0
"""Poses as the JSON and protobuf outputs have them: keys in their order, numbers rounded, no -0.0."""

from __future__ import annotations

from nucleus_bridge.model import FloatArray, GpsPose

POSITION_DECIMALS = 6
QUATERNION_DECIMALS = 9
GPS_DECIMALS = 9
BEARING_DECIMALS = 6


def vector(xyz: FloatArray) -> dict[str, float]:
    """Return a Vector3, rounded to a micrometre."""
    return {axis: _round(value, POSITION_DECIMALS) for axis, value in zip("xyz", xyz, strict=True)}


def quaternion(xyzw: FloatArray) -> dict[str, float]:
    """Return a Hamilton quaternion of unit length."""
    return {axis: _round(value, QUATERNION_DECIMALS) for axis, value in zip("xyzw", xyzw, strict=True)}


def gps_pose(gps: GpsPose) -> dict[str, float]:
    """Return a GPSPose, rounded to a tenth of a millimetre and a millionth of a degree."""
    return {
        "lat": _round(gps.latitude, GPS_DECIMALS),
        "lon": _round(gps.longitude, GPS_DECIMALS),
        "bearing": _round(gps.bearing, BEARING_DECIMALS),
    }


def _round(value: float, decimals: int) -> float:
    return round(float(value), decimals) + 0.0  # + 0.0 turns -0.0 into 0.0
