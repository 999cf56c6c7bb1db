# SPDX-License-Identifier: Apache-2.0
"""What can be said about a scene by looking at it: mounting, stamps, edges, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from nucleus_bridge.causes import is_expected
from nucleus_bridge.formats.content import SceneFrame
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.geometry.optical import view_of
from nucleus_bridge.inspect.mounting import camera_warnings, forward_deg, tilt_warning
from nucleus_bridge.model import FloatArray
from nucleus_bridge.preview.edges import SHIFTS_MS, EdgeFit, shift_warning
from nucleus_bridge.preview.pack import Pixels

_STILL_M = 0.01


class SceneChecks:
    """Looks at the frames of a scene one after the other and says what it saw."""

    def __init__(self, scene: SceneReader) -> None:
        self._scene = scene
        self._frames: list[tuple[FloatArray, FloatArray]] = []
        self._rotations: dict[str, FloatArray] = {}
        self.edges = EdgeFit(len(scene))

    def add(self, frame: SceneFrame, pictures: Mapping[str, Pixels], widths: Mapping[str, int]) -> None:
        """Take a frame, and those of its pictures that ``edges`` wants, with their width in their files."""
        if not self._frames:
            device_from_scene = quaternion.conjugate(frame.heading_xyzw)
            for image in frame.images:
                self._rotations[image.camera] = quaternion.multiply(device_from_scene, image.heading_xyzw)
        self._frames.append((frame.position, frame.heading_xyzw))
        self.edges.add(frame, pictures, widths)

    def results(self, progress: Callable[[float], None]) -> dict[str, Any]:
        """Say what was seen.

        Returns:
            ``warnings``, each ``{about, text}``; ``views``, where each camera looks in the device frame;
            ``forward_deg``; ``edges``, how well clouds and images fit, by camera and time shift.
        """
        if not self._frames:
            return {"warnings": [], "views": {}, "forward_deg": 0.0, "edges": {"shifts_ms": [], "curves": {}}}
        warnings: list[dict[str, str]] = []
        track, headings = (np.array(column) for column in zip(*self._frames, strict=True))
        tilt = tilt_warning(headings)
        if tilt:
            warnings.append({"about": "device", "text": tilt})
        ahead = 0.0 if tilt else forward_deg(track, headings)
        if len(track) > 1 and float(np.abs(track - track[0]).max()) < _STILL_M:
            warnings.append({"about": "device", "text": "it never moves: it stood still, or its pose was not recorded"})
        for camera, texts in camera_warnings(self._rotations, ahead).items():
            warnings += [{"about": camera, "text": text} for text in texts]
        if self._scene.manifest.poses.get("estimated"):
            text = "its poses are estimated from the lidar: they drift, reckon with 1 % of the way"
            warnings.append({"about": "device", "text": text})
        warnings += self._losses()
        curves = self.edges.curves(progress)
        warnings += [
            {"about": camera, "text": text} for camera, curve in curves.items() if (text := shift_warning(curve))
        ]
        return {
            "warnings": warnings,
            "views": {camera: view_of(rotation)._asdict() for camera, rotation in self._rotations.items()},
            "forward_deg": ahead,
            "edges": {"shifts_ms": list(SHIFTS_MS), "curves": curves},
        }

    def _losses(self) -> Iterator[dict[str, str]]:
        manifest = self._scene.manifest
        for topic, causes in manifest.losses.items():
            lost = ", ".join(f"{count} {cause}" for cause, count in causes.items() if not is_expected(cause))
            if lost:
                yield {"about": topic, "text": f"lost: {lost}"}
        for sensor, count in manifest.missing.items():
            if count:
                yield {"about": sensor, "text": f"{count} of {manifest.frames} frames have none"}
