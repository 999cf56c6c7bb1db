# SPDX-License-Identifier: Apache-2.0
"""A correction as lines of a configuration."""

from __future__ import annotations

from collections.abc import Sequence

from nucleus_bridge.calibration.check import Correction
from nucleus_bridge.model import Transform


def time_line(camera: str, correction: Correction, offset_ms: float = 0.0) -> str:
    """Return the line that corrects a camera's stamps, on top of what is configured; '' when something else is off."""
    if correction.kind != "time":
        return ""
    return f"cameras.{camera}.clock_offset_ms: {round(offset_ms + correction.time_ms, 1)}"


def mount_lines(
    camera: str, parent_frame: str, child_frame: str, parent_from_child: Transform, others: Sequence[str] = ()
) -> str:
    """Return the lines that mount a camera elsewhere.

    Args:
        camera: Its name, which the mount gets.
        parent_frame: The device.
        child_frame: Frame of the camera's images.
        parent_from_child: Where it is.
        others: Names of mounts that are configured already.
    """
    names = ", ".join([*(name for name in others if name != camera), camera])
    key = f"mounts.{camera}"
    xyz = [round(float(value), 4) + 0.0 for value in parent_from_child.translation]
    turn = [round(float(value), 6) + 0.0 for value in parent_from_child.rotation_xyzw]
    return (
        f"mount_names: [{names}], {key}.parent_frame: {parent_frame}, {key}.child_frame: {child_frame}, "
        f"{key}.xyz: {xyz}, {key}.quaternion_xyzw: {turn}"
    )
