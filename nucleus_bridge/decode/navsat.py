# SPDX-License-Identifier: Apache-2.0
"""NavSatFix and Imu to positions and bearings on the globe, and what lies between two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nucleus_bridge.decode.cdr import (
    deserialise,
    naming,
    peek_header,
    require_stamp,
    seconds,
    strip_slashes,
    to_ns,
)
from nucleus_bridge.decode.interface import Decoder, Interface, Stateless
from nucleus_bridge.errors import ExtrapolationError
from nucleus_bridge.model import Message

NAV_SAT_FIX = "sensor_msgs/msg/NavSatFix"
IMU = "sensor_msgs/msg/Imu"


@dataclass(frozen=True)
class Fix:
    """A position: degrees (longitude in [-180, 180]); altitude in metres above the ellipsoid, NaN where unknown.

    ``frame_id`` is the antenna's.
    """

    stamp_ns: int
    latitude: float
    longitude: float
    altitude: float
    frame_id: str = field(default="", compare=False)


@dataclass(frozen=True)
class Heading:
    """A direction on the ground: bearing 0 is north, 90 east, in [0, 360).

    Attributes:
        stamp_ns: ``header.stamp``.
        bearing_deg: Where the x axis of ``frame_id`` points.
        frame_id: The frame that is oriented; empty where unknown.
        enu_from_frame: Its whole orientation, x y z w, of unit length.
    """

    stamp_ns: int
    bearing_deg: float
    frame_id: str = field(default="", compare=False)
    enu_from_frame: tuple[float, float, float, float] = field(default=(0.0, 0.0, 0.0, 1.0), compare=False)


@dataclass(frozen=True)
class Missing:
    """A message says that there is no fix, or no heading, at its stamp."""

    stamp_ns: int


def decode_fix(message: Message) -> Fix | None:
    """Read a NavSatFix message.

    Returns:
        None without a fix: status below 0, or a latitude or longitude that is NaN or out of range.

    Raises:
        DecodeError: The bytes are not a NavSatFix, or the stamp is not set (``zero_stamp``).
    """
    fix = deserialise(message, NAV_SAT_FIX)
    stamp_ns = to_ns(fix.header.stamp)
    with naming(message):
        require_stamp(stamp_ns)
    # A NaN fails either comparison.
    if fix.status.status < 0 or not (abs(fix.latitude) <= 90.0 and abs(fix.longitude) <= 180.0):
        return None
    return Fix(stamp_ns, fix.latitude, fix.longitude, fix.altitude, strip_slashes(fix.header.frame_id))


def decode_heading(message: Message) -> Heading | None:
    """Read the bearing of an IMU's x axis from its orientation in ENU (REP 103: yaw 0 is east, counterclockwise).

    Returns:
        None when there is no orientation: ``orientation_covariance[0]`` is -1, or the quaternion is zero or not finite.

    Raises:
        DecodeError: The bytes are not an Imu, or the stamp is not set (``zero_stamp``).
    """
    imu = deserialise(message, IMU)
    stamp_ns = to_ns(imu.header.stamp)
    with naming(message):
        require_stamp(stamp_ns)
    q = imu.orientation
    norm = math.hypot(q.x, q.y, q.z, q.w)
    if imu.orientation_covariance[0] == -1.0 or not 0.0 < norm < math.inf:
        return None
    x, y, z, w = q.x / norm, q.y / norm, q.z / norm, q.w / norm
    yaw = math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    return Heading(stamp_ns, bearing_of_yaw(yaw), strip_slashes(imu.header.frame_id), (x, y, z, w))


def bearing_of_yaw(yaw: float) -> float:
    """Turn a yaw from east, counterclockwise in radians, into a bearing in [0, 360) degrees."""
    return _wrap_360(90.0 - math.degrees(yaw))


def interpolate_fix(before: Fix, after: Fix, stamp_ns: int) -> Fix:
    """Return the position between two fixes, linear in degrees, the short way across the antimeridian.

    Raises:
        ExtrapolationError: ``stamp_ns`` is not between the two.
    """
    part = _fraction(before.stamp_ns, after.stamp_ns, stamp_ns)
    longitude = before.longitude + part * _wrap_180(after.longitude - before.longitude)
    return Fix(
        stamp_ns,
        before.latitude + part * (after.latitude - before.latitude),
        longitude if abs(longitude) <= 180.0 else _wrap_180(longitude),
        before.altitude + part * (after.altitude - before.altitude),
    )


def interpolate_bearing(before: Heading, after: Heading, stamp_ns: int) -> float:
    """Return the bearing between two headings, the short way round, in [0, 360) degrees.

    Raises:
        ExtrapolationError: ``stamp_ns`` is not between the two.
    """
    part = _fraction(before.stamp_ns, after.stamp_ns, stamp_ns)
    turn = _wrap_180(after.bearing_deg - before.bearing_deg)
    return _wrap_360(before.bearing_deg + part * turn)


def _fraction(before_ns: int, after_ns: int, stamp_ns: int) -> float:
    if not before_ns <= stamp_ns <= after_ns:
        msg = f"{seconds(stamp_ns)} is not between {seconds(before_ns)} and {seconds(after_ns)}"
        raise ExtrapolationError(msg, direction="past" if stamp_ns < before_ns else "future")
    return (stamp_ns - before_ns) / (after_ns - before_ns) if after_ns > before_ns else 0.0


def _wrap_360(degrees: float) -> float:
    wrapped = degrees % 360.0
    return wrapped if wrapped < 360.0 else 0.0  # -1e-17 % 360 is 360


def _wrap_180(degrees: float) -> float:
    return (degrees + 180.0) % 360.0 - 180.0


def _fixes(_gps: object) -> Decoder:
    return Stateless(lambda message: decode_fix(message) or Missing(peek_header(message.data)[0]))


def _headings(_gps: object) -> Decoder:
    return Stateless(lambda message: decode_heading(message) or Missing(peek_header(message.data)[0]))


INTERFACES = (Interface(NAV_SAT_FIX, "fix", _fixes), Interface(IMU, "heading", _headings))
