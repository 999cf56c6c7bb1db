# SPDX-License-Identifier: Apache-2.0
"""What can be said about a scene by looking at it: mounting, stamps, edges, losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nucleus_bridge.geometry import quaternion
from nucleus_bridge.geometry.optical import view_of
from nucleus_bridge.inspect.mounting import camera_warnings, forward_deg, tilt_warning
from nucleus_bridge.pipeline.losses import is_expected
from nucleus_bridge.preview.edges import SHIFTS_MS, edge_curves, shift_warning
from nucleus_bridge.preview.scene import Cloud, SceneFolder

_STILL_M = 0.01


def checks_of(scene: SceneFolder, clouds: list[Cloud], progress: Callable[[float], None]) -> dict[str, Any]:
    """Check a scene.

    Returns:
        ``warnings``, each ``{about, text}``; ``views``, where each camera looks in the device frame; ``forward_deg``;
        ``edges``, how well clouds and images fit, by camera and time shift.
    """
    if not clouds:
        return {"warnings": [], "views": {}, "forward_deg": 0.0, "edges": {"shifts_ms": [], "curves": {}}}
    warnings: list[dict[str, str]] = []
    headings = np.array([cloud.heading_xyzw for cloud in clouds])
    track = np.array([cloud.position for cloud in clouds])
    tilt = tilt_warning(headings)
    if tilt:
        warnings.append({"about": "device", "text": tilt})
    ahead = 0.0 if tilt else forward_deg(track, headings)
    if len(track) > 1 and float(np.abs(track - track[0]).max()) < _STILL_M:
        warnings.append({"about": "device", "text": "it never moves: it stood still, or its pose was not recorded"})
    rotations = {}
    for camera, picture in scene.pictures(0):
        heading = picture.params.get("heading", {})
        world_from_camera = np.array([float(heading.get(axis, 0.0)) for axis in "xyzw"])
        rotations[camera] = quaternion.multiply(quaternion.conjugate(headings[0]), world_from_camera)
    for camera, texts in camera_warnings(rotations, ahead).items():
        warnings += [{"about": camera, "text": text} for text in texts]
    for topic, causes in scene.manifest.losses.items():
        lost = ", ".join(f"{count} {cause}" for cause, count in causes.items() if not is_expected(cause))
        if lost:
            warnings.append({"about": topic, "text": f"lost: {lost}"})
    for sensor, count in scene.manifest.missing.items():
        if count:
            warnings.append({"about": sensor, "text": f"{count} of {scene.manifest.frames} frames have none"})
    curves = edge_curves(scene, clouds, progress)
    warnings += [{"about": camera, "text": text} for camera, curve in curves.items() if (text := shift_warning(curve))]
    views = {camera: view_of(rotation)._asdict() for camera, rotation in rotations.items()}
    return {
        "warnings": warnings,
        "views": views,
        "forward_deg": ahead,
        "edges": {"shifts_ms": list(SHIFTS_MS), "curves": curves},
    }
