# SPDX-License-Identifier: Apache-2.0
"""Whether the cameras of a recording fit its clouds, judged by frames of the trial run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge import warnings
from nucleus_bridge.calibration.check import MOST_FRAMES, CalibrationCheck, Verdict
from nucleus_bridge.calibration.remedy import mount_lines, time_line
from nucleus_bridge.config import Config
from nucleus_bridge.decode.image import pixels
from nucleus_bridge.errors import CloudError, ImageError, TransformError
from nucleus_bridge.formats.content import Points, SceneFrame, SceneImage
from nucleus_bridge.geometry import TransformTree, transforms
from nucleus_bridge.geometry.optical import BODY_FROM_OPTICAL
from nucleus_bridge.model import FloatArray, Frame, Trajectory, Transform
from nucleus_bridge.render.cloud import lidar_sweeps
from nucleus_bridge.warnings import Finding

_NO_POINTS = Points(np.empty((0, 3)))


class TrialCheck:
    """Hands frames of a trial run to the calibration check."""

    def __init__(self, config: Config, expected: int, *, deep: bool) -> None:
        self._config = config
        self._check = CalibrationCheck(expected, None if deep else MOST_FRAMES)
        self._offset: FloatArray | None = None
        self._stamps: list[int] = []

    def add(self, frame: Frame) -> None:
        """Take a frame; few have their points and pictures looked at."""
        self._stamps.append(frame.stamp_ns)
        corrected = {lidar.name for lidar in self._config.lidars if not lidar.deskew}
        if any(s.lidar not in corrected and not isinstance(s.world_from_lidar, Trajectory) for s in frame.sweeps):
            self._check.note_distorted()
        if self._offset is None:
            self._offset = frame.world_from_device.translation
        position = frame.world_from_device.translation - self._offset
        heading = frame.world_from_device.rotation_xyzw
        images = [
            SceneImage(
                posed.camera,
                "",
                posed.image.stamp_ns,
                posed.world_from_camera.translation - self._offset,
                posed.world_from_camera.rotation_xyzw,
                posed.model,
                posed.camera_index,
            )
            for posed in frame.images
        ]
        wanted = self._check.wants_next() and self._check.shows_more(position, heading)
        pictures = {} if not wanted else self._pictures(frame)
        sweeps = []
        if pictures:
            try:
                sweeps = lidar_sweeps(frame, tuple(self._offset.tolist()), self._config, {})
            except CloudError:
                pictures = {}
        seen = SceneFrame(0, frame.timestamp_ns, position, heading, None, _NO_POINTS, images, sweeps=sweeps)
        self._check.add(seen, pictures)

    @property
    def period_ms(self) -> float:
        """From one frame to the next; 0 with fewer than two."""
        return float(np.median(np.diff(self._stamps))) / 1e6 if len(self._stamps) > 1 else 0.0

    def verdicts(self) -> list[Verdict]:
        """Say what was seen of each camera."""
        return self._check.verdicts()

    @staticmethod
    def _pictures(frame: Frame) -> dict[str, tuple[NDArray[Any], int]]:
        found = {}
        for posed in frame.images:
            try:
                picture = pixels(posed.image)
            except ImageError:
                continue
            gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture
            found[posed.camera] = (np.asarray(gray), picture.shape[1])
        return found


def calibration_findings(
    verdicts: list[Verdict],
    topics: Mapping[str, str],
    frames: Mapping[str, str],
    config: Config,
    tree: TransformTree,
    period_ms: float,
) -> list[Finding]:
    """Name the cameras whose calibration is suspect or could not be measured.

    Args:
        verdicts: Of each camera.
        topics: The cameras' topics by name.
        frames: The frames of their images, by name.
        config: The configuration they were judged with.
        tree: The transforms of the recording.
        period_ms: From one frame to the next.
    """
    found = []
    cameras = {camera.name: camera for camera in config.cameras}
    for verdict in verdicts:
        topic = topics[verdict.camera]
        if verdict.state == "not_measured":
            found.append(warnings.calibration_not_measured("topic", topic, topic, verdict.text))
        fix = verdict.correction
        if fix is None:
            continue
        camera = cameras[verdict.camera]
        configured = {"clock_offset_ms": camera.clock_offset_ms, "offset_ms": camera.offset_ms}
        remedy = time_line(verdict.camera, fix, configured, period_ms)
        if not remedy:
            child = camera.optical_frame.lstrip("/") or frames[verdict.camera]
            names = tuple(mount.name for mount in config.mounts)
            mount = _mount_of(tree, config.device_frame, child)
            if mount is not None:
                if camera.frame_convention == "body":
                    optical = fix.applied_to(transforms.compose(mount, BODY_FROM_OPTICAL))
                    mount = transforms.compose(optical, transforms.inverse(BODY_FROM_OPTICAL))
                else:
                    mount = fix.applied_to(mount)
                remedy = mount_lines(verdict.camera, config.device_frame, child, mount, names)
        found.append(warnings.calibration_suspect("topic", topic, topic, verdict.text, remedy))
    return found


def _mount_of(tree: TransformTree, device_frame: str, child: str) -> Transform | None:
    try:
        return tree.lookup(device_frame, child, 0)
    except TransformError:
        return None
