# SPDX-License-Identifier: Apache-2.0
"""What can be said about a scene by looking at it: mounting, calibration, losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nucleus_bridge import warnings as wording
from nucleus_bridge.calibration.check import MOST_FRAMES, SHIFTS_MS, CalibrationCheck, Verdict
from nucleus_bridge.calibration.remedy import mount_lines, time_line
from nucleus_bridge.causes import is_expected
from nucleus_bridge.formats.content import SceneFrame
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.geometry.optical import view_of
from nucleus_bridge.inspect.mounting import camera_warnings, forward_deg, tilt_warning
from nucleus_bridge.model import FloatArray, Trajectory, Transform
from nucleus_bridge.preview.pack import Pixels, as_gray
from nucleus_bridge.spool import conversions

_STILL_M = 0.01


def calibration_check(scene: SceneReader, expected: int, most: int | None) -> CalibrationCheck:
    """Return a check of a scene's cameras, and of later scenes of its recording; see ``CalibrationCheck``."""
    lidars = [sensor for sensor in scene.manifest.sensors.values() if sensor.get("kind") == "lidar"]
    check = CalibrationCheck(expected, most, is_deskewed=any(sensor.get("deskewed") for sensor in lidars))
    if any(not sensor.get("deskewed") and not sensor.get("corrected") for sensor in lidars):
        check.note_distorted()
    return check


class SceneChecks:
    """Looks at the frames of a scene one after the other and says what it saw."""

    def __init__(self, scene: SceneReader, edges: CalibrationCheck | None = None) -> None:
        self._scene = scene
        self._frames: list[tuple[FloatArray, FloatArray]] = []
        self._rotations: dict[str, FloatArray] = {}
        self._poses: list[tuple[int, Transform]] = []
        self._images: dict[str, list[tuple[int, Transform]]] = {}
        self.edges = edges or calibration_check(scene, len(scene), MOST_FRAMES)

    def add(self, frame: SceneFrame, pictures: Mapping[str, Pixels], widths: Mapping[str, int]) -> None:
        """Take a frame, and its gray pictures where ``edges`` wants them, with their width in their files."""
        if not self._frames:
            device_from_scene = quaternion.conjugate(frame.heading_xyzw)
            for image in frame.images:
                self._rotations[image.camera] = quaternion.multiply(device_from_scene, image.heading_xyzw)
        self._frames.append((frame.position, frame.heading_xyzw))
        self._poses.append((frame.timestamp_ns, Transform(frame.position, frame.heading_xyzw)))
        for image in frame.images:
            pose = Transform(image.position, image.heading_xyzw)
            self._images.setdefault(image.camera, []).append((image.stamp_ns, pose))
        self.edges.add(frame, {camera: (as_gray(pixels), widths[camera]) for camera, pixels in pictures.items()})

    def mounts(self) -> dict[str, Transform | None]:
        """Return where each camera is on the device, as far as that is known."""
        return {camera: self._mount(camera) for camera in self._images}

    def results(self, verdicts: Sequence[Verdict] | None = None) -> dict[str, Any]:
        """Say what was seen.

        Args:
            verdicts: On the cameras, where they were judged together with those of other scenes.

        Returns:
            ``warnings``, each ``{about, text}`` and, where it has them, ``code`` and ``remedy``; ``fine``, what was
            measured and is right, as text; ``calibration``, the verdict on each camera by its name; ``views``, where
            each camera looks in the device frame; ``forward_deg``; ``edges``, how well clouds and images fit, by
            camera and time shift, as a share of the best.
        """
        if not self._frames:
            edges: dict[str, Any] = {"shifts_ms": [], "curves": {}}
            return {
                "warnings": [*self._noted()],
                "fine": "",
                "calibration": {},
                "views": {},
                "forward_deg": 0.0,
                "edges": edges,
            }
        warnings: list[dict[str, str]] = [*self._noted()]
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
            text = "its poses are estimated from the lidar: they drift: expect 1 % of the distance"
            warnings.append({"about": "device", "text": text})
        warnings += self._losses()
        verdicts = self.edges.verdicts() if verdicts is None else verdicts
        warnings += self._calibrations(verdicts)
        agreeing = ", ".join(verdict.camera for verdict in verdicts if verdict.state == "agrees")
        return {
            "warnings": warnings,
            "fine": f"edges of the clouds fit the images of {agreeing}" if agreeing else "",
            "calibration": {verdict.camera: verdict.as_json() for verdict in verdicts},
            "views": {camera: view_of(rotation)._asdict() for camera, rotation in self._rotations.items()},
            "forward_deg": ahead,
            "edges": {"shifts_ms": list(SHIFTS_MS), "curves": {verdict.camera: verdict.curve for verdict in verdicts}},
        }

    def _calibrations(self, verdicts: Sequence[Verdict]) -> Iterator[dict[str, str]]:
        for verdict in verdicts:
            camera = verdict.camera
            if verdict.state == "agrees":
                continue
            if verdict.correction is None:
                found = wording.calibration_not_measured("sensor", camera, camera, verdict.text)
            else:
                configured = self._scene.manifest.sensors.get(camera, {})
                stamps = np.array([stamp_ns for stamp_ns, _ in self._poses], np.float64)
                period_ms = float(np.median(np.diff(stamps))) / 1e6 if len(stamps) > 1 else 0.0
                remedy = time_line(camera, verdict.correction, configured, period_ms)
                mount = None if remedy else self._mount(camera)
                if mount is not None:
                    manifest = self._scene.manifest
                    child = str(manifest.sensors.get(camera, {}).get("frame_id", camera))
                    fixed = verdict.correction.applied_to(mount)
                    remedy = mount_lines(camera, manifest.device_frame, child, fixed)
                found = wording.calibration_suspect("sensor", camera, camera, verdict.text, remedy)
            yield {"about": camera, "text": found.text, "code": found.code.value, "remedy": found.remedy}

    def _mount(self, camera: str) -> Transform | None:
        """Return where a camera is on the device: at an image between two frames, whose poses are interpolated."""
        poses = sorted(self._poses, key=lambda pose: pose[0])
        track = Trajectory(
            np.array([stamp_ns for stamp_ns, _ in poses], np.int64),
            np.array([pose.translation for _, pose in poses]),
            np.array([pose.rotation_xyzw for _, pose in poses]),
        )
        for stamp_ns, pose in self._images[camera]:
            if track.stamps_ns[0] <= stamp_ns <= track.stamps_ns[-1]:
                there = transforms.interpolate(track, np.array([stamp_ns], np.int64))
                device = Transform(there.translations[0], there.rotations_xyzw[0])
                return transforms.compose(transforms.inverse(device), pose)
        return None

    def _noted(self) -> Iterator[dict[str, str]]:
        """Yield what was said when the scene was made: of it, and of the recording that it is from."""
        noted = (*self._scene.manifest.warnings, *conversions.findings_about(self._scene.folder))
        for found in conversions.each_once(noted):
            about = next((found[subject] for subject in ("topic", "frame", "sensor") if subject in found), "recording")
            yield {"about": about, **{key: found[key] for key in ("text", "code", "remedy") if key in found}}

    def _losses(self) -> Iterator[dict[str, str]]:
        manifest = self._scene.manifest
        for topic, causes in manifest.losses.items():
            lost = ", ".join(f"{count} {cause}" for cause, count in causes.items() if not is_expected(cause))
            if lost:
                yield {"about": topic, "text": f"lost: {lost}"}
        for sensor, count in manifest.missing.items():
            if count:
                yield {"about": sensor, "text": f"no {sensor} in {count} of {manifest.frames} frames"}
