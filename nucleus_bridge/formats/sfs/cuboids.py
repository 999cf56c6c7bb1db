# SPDX-License-Identifier: Apache-2.0
"""Recorded detections as cuboid annotations of a scene, one a track, for people to correct.

A path has dx, dy, dz, px, py, pz, roll, pitch, yaw a stamp. What Scale's pages leave open is as its own package has it:
angles are degrees, the rotation is Rx(roll) Ry(pitch) Rz(yaw), and dx lies along the box's own x axis, its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from nucleus_bridge.formats.rounding import POSITION_DECIMALS
from nucleus_bridge.formats.sfs.parts import FrameEntry
from nucleus_bridge.model import Detection, FloatArray

Clock = Callable[[Iterable[int]], list[int]]


def cuboids(entries: Sequence[FrameEntry], clock: Clock) -> list[dict[str, Any]]:
    """Return the annotations of a scene.

    Args:
        entries: Its frames.
        clock: Makes stamps in nanoseconds those of the file.
    """
    tracks: dict[str, list[tuple[int, Detection]]] = {}
    for entry in entries:
        for found in entry.detections:
            for number, box in enumerate(found.boxes):
                own = box.track or f"{entry.number:06d}-{number}"
                tracks.setdefault(f"{found.source}-{own}", []).append((found.stamp_ns, box))
    return [_cuboid(name, boxes, clock) for name, boxes in tracks.items()]


def _cuboid(name: str, boxes: Sequence[tuple[int, Detection]], clock: Clock) -> dict[str, Any]:
    stamps = clock(stamp_ns for stamp_ns, _ in boxes)
    by_stamp = {stamp: box for stamp, (_, box) in zip(stamps, boxes, strict=True)}
    ordered = [by_stamp[stamp] for stamp in sorted(by_stamp)]
    angles = np.unwrap(np.array([_angles(box.rotation_xyzw) for box in ordered]), axis=0)
    rows = np.hstack([[box.size for box in ordered], [box.center for box in ordered], np.degrees(angles)])
    return {
        "id": name,
        "type": "cuboid",
        "label": ordered[0].label,
        "path": {"timestamps": sorted(by_stamp), "values": (np.round(rows, POSITION_DECIMALS) + 0.0).tolist()},
    }


def _angles(xyzw: FloatArray) -> list[float]:
    """Return roll, pitch and yaw of a rotation, radians: it is Rx(roll) Ry(pitch) Rz(yaw)."""
    x, y, z, w = (xyzw / np.linalg.norm(xyzw)).tolist()
    sine = float(np.clip(2 * (x * z + w * y), -1.0, 1.0))
    roll = np.arctan2(2 * (w * x - y * z), 1 - 2 * (x * x + y * y))
    yaw = np.arctan2(2 * (w * z - x * y), 1 - 2 * (y * y + z * z))
    return [float(roll), float(np.arcsin(sine)), float(yaw)]
