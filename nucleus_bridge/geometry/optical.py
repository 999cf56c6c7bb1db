# SPDX-License-Identifier: Apache-2.0
"""Whether a camera's frame is an optical one: z forward, x right, y down (REP 103)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nucleus_bridge.geometry import quaternion
from nucleus_bridge.model import FloatArray, Transform

STEEPEST_DEG = 60.0
"""A camera that looks higher or lower, or whose picture is tilted by more, is worth a word."""


BODY_FROM_OPTICAL = Transform(np.zeros(3), np.array([-0.5, 0.5, -0.5, 0.5]))
"""Optical axes (z forward, x right, y down) in body axes (x forward, y left, z up) of the same camera (REP 103)."""


class View(NamedTuple):
    """Where a camera looks, in a device frame whose z axis points up.

    Attributes:
        azimuth_deg: Of the optical axis; 0 is ahead (x), 90 left (y).
        elevation_deg: Of the optical axis above the horizon.
        tilt_deg: Between the picture's downward axis and down, 0 when upright.
    """

    azimuth_deg: float
    elevation_deg: float
    tilt_deg: float

    @property
    def is_upright(self) -> bool:
        """Return whether the picture is about the right way up."""
        return self.tilt_deg <= STEEPEST_DEG


def view_of(device_from_camera_xyzw: FloatArray) -> View:
    """Say where a camera of this orientation looks; shape (4,), unit quaternion."""
    axis = quaternion.rotate(device_from_camera_xyzw, np.array([0.0, 0.0, 1.0]))
    below = quaternion.rotate(device_from_camera_xyzw, np.array([0.0, 1.0, 0.0]))
    azimuth = math.degrees(math.atan2(axis[1], axis[0]))
    return View(azimuth, _degrees_up(axis[2]), 90.0 + _degrees_up(below[2]))


def optical_warning(device_from_camera_xyzw: FloatArray) -> str:
    """Say what is unlikely about a camera's orientation in the device frame, whose z axis points up; '' if nothing.

    Args:
        device_from_camera_xyzw: Shape (4,), unit quaternion.
    """
    _, _, right_up = quaternion.rotate(device_from_camera_xyzw, np.array([1.0, 0.0, 0.0]))
    _, elevation, tilt = view = view_of(device_from_camera_xyzw)
    remedy = "an optical frame has z forward, x right and y down (REP 103)"
    if elevation > STEEPEST_DEG and abs(_degrees_up(right_up)) < 90.0 - STEEPEST_DEG:
        return f"its z axis points up: this looks like a body frame, with x forward; {remedy}"
    if abs(elevation) > STEEPEST_DEG:
        way = "up" if elevation > 0.0 else "down"
        return f"its z axis, the optical axis, points {abs(elevation):.0f} degrees {way}; {remedy}"
    if not view.is_upright:
        return f"its y axis, down in the picture, is {tilt:.0f} degrees away from down; {remedy}"
    return ""


def _degrees_up(component: float) -> float:
    """Return the angle above the horizon of a unit vector from its upward component."""
    return math.degrees(math.asin(max(-1.0, min(1.0, float(component)))))
