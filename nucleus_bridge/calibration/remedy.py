# SPDX-License-Identifier: Apache-2.0
"""A correction as lines of a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nucleus_bridge.calibration.check import Correction
from nucleus_bridge.model import Transform


def time_line(camera: str, correction: Correction, configured: Mapping[str, float], period_ms: float) -> str:
    """Return the lines that correct a camera's stamps; '' when something else is off.

    Args:
        camera: Its name.
        correction: What would fit better.
        configured: ``clock_offset_ms`` and ``offset_ms`` of the camera, where they are not 0.
        period_ms: From one frame to the next.
    """
    if correction.kind != "time":
        return ""
    clock_ms, pairing_ms = configured.get("clock_offset_ms", 0.0), configured.get("offset_ms", 0.0)
    line = f"cameras.{camera}.clock_offset_ms: {round(clock_ms + correction.time_ms, 1)}"
    if not pairing_ms:
        return line
    wanted_ms = pairing_ms + correction.time_ms  # the same images, at their corrected stamps, or those of another frame
    if period_ms > 0:
        wanted_ms -= round(wanted_ms / period_ms) * period_ms
    return f"{line}, cameras.{camera}.offset_ms: {round(wanted_ms, 1)}"


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
