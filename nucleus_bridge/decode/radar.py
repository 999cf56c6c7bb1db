# SPDX-License-Identifier: Apache-2.0
"""Radar detections, from PointCloud2 or radar_msgs/msg/RadarScan, as places and velocities in the radar's frame."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.decode.cdr import deserialise, naming, register, require_stamp, strip_slashes, to_ns
from nucleus_bridge.decode.interface import Decoder, Interface, Stateless
from nucleus_bridge.decode.pointcloud2 import POINTCLOUD2, read_points
from nucleus_bridge.decode.points import any_value
from nucleus_bridge.errors import CloudError
from nucleus_bridge.model import FloatArray, Message, RadarScan

RADAR_SCAN = "radar_msgs/msg/RadarScan"
RADAR_SCAN_DEFINITION = (
    "std_msgs/Header header\nradar_msgs/RadarReturn[] returns\n"
    + "=" * 80
    + "\nMSG: radar_msgs/RadarReturn\nfloat32 range\nfloat32 azimuth\nfloat32 elevation\nfloat32 doppler_velocity\n"
    "float32 amplitude\n"
)
"""Ranges in metres, angles in radians (azimuth counterclockwise, elevation up), away is positive, amplitude in dB."""
COMPENSATED = (("vx_comp", "vy_comp", "vz_comp"),)
RELATIVE = (("vx", "vy", "vz"), ("velocity_x", "velocity_y", "velocity_z"))
RADIAL = ("doppler_velocity", "radial_velocity", "radial_speed", "range_rate", "doppler", "v_r", "velocity")
STRENGTH = ("rcs", "RCS", "amplitude", "power", "snr", "intensity")


@lru_cache(maxsize=1)
def _make_scan_known() -> None:
    register(RADAR_SCAN, RADAR_SCAN_DEFINITION)


def decode_radar(message: Message) -> RadarScan:
    """Read a radar's message; a scan without detections has no points.

    A PointCloud2 says where its detections are by x, y, z, or by range, azimuth and elevation. Velocities are, in this
    order, ``vx_comp vy_comp`` (over ground), ``vx vy`` (relative to the radar) or one of ``RADIAL``, the speed along
    the ray, positive away from the radar. Detections that are not finite are left out.

    Raises:
        CloudError: There are neither coordinates nor range and azimuth (``missing_field``), or as for any PointCloud2.
        DecodeError: The bytes are not a message of that type, or the stamp is not set (``zero_stamp``).
    """
    _make_scan_known()
    if message.type_name == RADAR_SCAN:
        return _from_scan(message)
    cloud = deserialise(message, POINTCLOUD2, RADAR_SCAN)
    with naming(message), any_value():
        stamp_ns, frame_id = _header(cloud)
        if cloud.width * cloud.height == 0:
            return RadarScan(stamp_ns, frame_id, np.empty((0, 3)), None, False, False, None)
        points = read_points(cloud)
        names = points.dtype.names or ()
        xyz = _places(points, names)
        velocity, is_radial, is_compensated = _velocities(points, names, xyz)
        strength = next((_column(points, name) for name in STRENGTH if name in names), None)
    return _finite(RadarScan(stamp_ns, frame_id, xyz, velocity, is_radial, is_compensated, strength))


def _from_scan(message: Message) -> RadarScan:
    scan = deserialise(message, RADAR_SCAN)
    with naming(message):
        stamp_ns, frame_id = _header(scan)
    rows = [(r.range, r.azimuth, r.elevation, r.doppler_velocity, r.amplitude) for r in scan.returns]
    columns = np.array(rows, np.float64).reshape(-1, 5).T
    with any_value():
        rays = _rays(columns[1], columns[2])
        xyz, velocity = rays * columns[0][:, None], rays * columns[3][:, None]
    return _finite(RadarScan(stamp_ns, frame_id, xyz, velocity, True, False, columns[4].copy()))


def _header(message: Any) -> tuple[int, str]:
    stamp_ns, frame_id = to_ns(message.header.stamp), strip_slashes(message.header.frame_id)
    require_stamp(stamp_ns, CloudError)
    if not frame_id:
        msg = "header.frame_id is empty"
        raise CloudError(msg, cause="empty_frame_id")
    return stamp_ns, frame_id


def _places(points: NDArray[np.void], names: tuple[str, ...]) -> FloatArray:
    if {"x", "y"} <= set(names):
        return _stacked(points, names, ("x", "y", "z"))
    if {"range", "azimuth"} <= set(names):
        elevation = _column(points, "elevation") if "elevation" in names else np.zeros(len(points))
        return _rays(_column(points, "azimuth"), elevation) * _column(points, "range")[:, None]
    msg = f"there are neither x and y nor range and azimuth; fields are {', '.join(names)}"
    raise CloudError(msg, cause="missing_field")


def _velocities(
    points: NDArray[np.void], names: tuple[str, ...], xyz: FloatArray
) -> tuple[FloatArray | None, bool, bool]:
    """Return velocities, whether they are radial and whether they are over ground."""
    for triples, is_compensated in ((COMPENSATED, True), (RELATIVE, False)):
        for triple in triples:
            if set(triple[:2]) <= set(names):
                return _stacked(points, names, triple), False, is_compensated
    name = next((name for name in RADIAL if name in names), None)
    if name is None:
        return None, False, False
    distance = np.sqrt((xyz * xyz).sum(axis=1))
    rays = xyz / np.where(distance > 0.0, distance, 1.0)[:, None]
    return rays * _column(points, name)[:, None], True, False


def _rays(azimuth: FloatArray, elevation: FloatArray) -> FloatArray:
    level = np.cos(elevation)
    return np.column_stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)])


def _stacked(points: NDArray[np.void], names: tuple[str, ...], triple: tuple[str, ...]) -> FloatArray:
    """Return three columns side by side, shape (n, 3); one that is not there is 0."""
    zeros = np.zeros(len(points))
    return np.column_stack([_column(points, name) if name in names else zeros for name in triple])


def _column(points: NDArray[np.void], name: str) -> FloatArray:
    column: FloatArray = points[name].astype(np.float64)
    return column


def _finite(scan: RadarScan) -> RadarScan:
    """Leave out detections without a place; a velocity or strength that is not finite is 0."""
    keep = np.isfinite(scan.xyz).all(axis=1)
    velocity = None if scan.velocity is None else np.where(np.isfinite(scan.velocity), scan.velocity, 0.0)[keep]
    strength = None if scan.strength is None else np.where(np.isfinite(scan.strength), scan.strength, -np.inf)[keep]
    return RadarScan(
        scan.stamp_ns, scan.frame_id, scan.xyz[keep], velocity, scan.is_radial, scan.is_compensated, strength
    )


def _decoder(_radar: object) -> Decoder:
    return Stateless(decode_radar)


INTERFACES = (
    Interface(POINTCLOUD2, "radar", _decoder, is_sample=True, depth=50),
    Interface(RADAR_SCAN, "radar", _decoder, is_sample=True),
)
