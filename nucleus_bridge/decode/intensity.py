# SPDX-License-Identifier: Apache-2.0
"""What intensity is full scale, as far as a driver's fields tell it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.model import Sweep

EIGHT_BITS, SIXTEEN_BITS = 255.0, 65_535.0


class IntensityScale(NamedTuple):
    """The intensity that becomes 1.0, and whether the cloud's fields or the parameter say so."""

    full_scale: float
    source: Literal["fields", "intensity_max"]


def intensity_scale(sweep: Sweep, config: LidarConfig) -> IntensityScale:
    """Return the full scale of a lidar's intensities.

    With ``intensity_scale: auto`` it follows from the fields alone, never from values, which differ from sweep to
    sweep: 8-bit integers reach 255 and ``reflectivity`` does whatever its type; other 16-bit integers reach 65535, and
    so do photon counts (float32 beside Ouster's ``t`` and ``reflectivity``); float32 of the drivers that are told by
    their other fields (Velodyne, Hesai, RoboSense, Livox) reach 255. Other float32 may be 0..1 or 0..255, and
    ``intensity_max`` decides.
    """
    full_scale = _from_fields(sweep, config.intensity_field) if config.intensity_scale == "auto" else None
    if full_scale is None:
        return IntensityScale(config.intensity_max, "intensity_max")
    return IntensityScale(full_scale, "fields")


def _from_fields(sweep: Sweep, field: str) -> float | None:
    names = set(sweep.points.dtype.names or ())
    if field not in names:
        return None
    kind = sweep.points.dtype[field]
    if field == "reflectivity" or (kind.kind in "ui" and kind.itemsize == 1):
        return EIGHT_BITS
    if kind.kind in "ui" and kind.itemsize == 2:
        return SIXTEEN_BITS
    if kind.kind != "f" or kind.itemsize != 4 or field != "intensity":
        return None
    if {"t", "reflectivity"} <= names:
        return SIXTEEN_BITS
    known = ({"ring", "time"}, {"ring", "timestamp"}, {"tag", "line", "timestamp"})
    return EIGHT_BITS if any(fields <= names for fields in known) else None
