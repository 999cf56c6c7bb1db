# SPDX-License-Identifier: Apache-2.0
"""How high the sun stands at a place and time, and whether it is day there.

The sun's place is that of Meeus, Astronomical Algorithms, chapter 25 (low accuracy: 0.01 degrees), which the solar
calculator of NOAA uses as well; sidereal time is that of chapter 12. The time of the stamps is taken for UT1 and, for
the sun's place alone, for terrestrial time: together less than 0.005 degrees.
"""

from __future__ import annotations

import math

_J2000_NS = 946_728_000_000_000_000
_NS_PER_DAY = 86_400_000_000_000
_DAYS_PER_CENTURY = 36_525.0
SUNRISE_DEG = -0.833
"""Elevation of the sun's centre when its upper limb is on the horizon, with the usual refraction."""


def sun_elevation_deg(latitude: float, longitude: float, stamp_ns: int) -> float:
    """Return the elevation of the sun's centre above the horizon, without refraction.

    Args:
        latitude: Degrees north.
        longitude: Degrees east.
        stamp_ns: Nanoseconds since the Unix epoch.

    Returns:
        Degrees, -90 to 90, within 0.02 of the true elevation from 1950 to 2100.
    """
    days = (stamp_ns - _J2000_NS) / _NS_PER_DAY
    right_ascension, declination = _place(days / _DAYS_PER_CENTURY)
    sidereal = 280.46061837 + 360.98564736629 * days
    hour_angle = math.radians(sidereal + longitude) - right_ascension
    north = math.radians(latitude)
    sine = math.sin(north) * math.sin(declination) + math.cos(north) * math.cos(declination) * math.cos(hour_angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))


def is_day(elevation_deg: float) -> bool:
    """Whether some of the sun is above the horizon, as between the sunrise and the sunset of almanacs."""
    return elevation_deg > SUNRISE_DEG


def _place(centuries: float) -> tuple[float, float]:
    """Return the sun's apparent right ascension and declination, radians."""
    mean_longitude = 280.46646 + centuries * (36_000.76983 + centuries * 0.0003032)
    anomaly = math.radians(357.52911 + centuries * (35_999.05029 - centuries * 0.0001537))
    equation = (
        (1.914602 - centuries * (0.004817 + centuries * 0.000014)) * math.sin(anomaly)
        + (0.019993 - centuries * 0.000101) * math.sin(2.0 * anomaly)
        + 0.000289 * math.sin(3.0 * anomaly)
    )
    node = math.radians(125.04 - 1_934.136 * centuries)
    longitude = math.radians(mean_longitude + equation - 0.00569 - 0.00478 * math.sin(node))
    obliquity = math.radians(23.439291 - centuries * 0.0130042 + 0.00256 * math.cos(node))
    right_ascension = math.atan2(math.cos(obliquity) * math.sin(longitude), math.cos(longitude))
    return right_ascension, math.asin(math.sin(obliquity) * math.sin(longitude))
