# SPDX-License-Identifier: Apache-2.0
"""Sealed sensor-fusion scenes of either encoding, read frame by frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.content import SceneFrame, SceneImage
from nucleus_bridge.formats.reading import SealedFiles, read_gps, read_image, read_pose, read_stamp
from nucleus_bridge.formats.sensor_fusion.frame_file import COEFFICIENTS, FRAME_FOLDER, FrameFile, ReadFrame
from nucleus_bridge.formats.sensor_fusion.frame_json import record_of
from nucleus_bridge.formats.sensor_fusion.radar import read_radars
from nucleus_bridge.spool.manifest import Manifest
from nucleus_bridge.text import printable


class SensorFusionReader(SealedFiles):
    """A sealed sensor-fusion scene."""

    def __init__(self, folder: Path, manifest: Manifest, read_file: ReadFrame, *, is_exact: bool) -> None:
        """Take the scene.

        Args:
            folder: Where it is.
            manifest: What it holds.
            read_file: Reads a frame file of its encoding.
            is_exact: Whether a frame that is written again must say the same to the last digit.
        """
        super().__init__(folder, manifest)
        self._read_file = read_file
        self._is_exact = is_exact
        paths = [record.path for record in manifest.files]
        self._frames = sorted(path for path in paths if path.startswith(f"{FRAME_FOLDER}/"))
        self.cameras = self.in_order({_camera(path) for path in paths if path.endswith((".jpg", ".png"))})
        self.lidar = self.cloud_sensor
        self.metadata = manifest.metadata
        radars = [name for name, sensor in manifest.sensors.items() if sensor.get("kind") == "radar"]
        self._radar = radars[0] if len(radars) == 1 else ""

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._frames)

    def frame(self, index: int, most_points: int | None = None) -> SceneFrame:
        """Read one frame."""
        path = self._frames[index]
        data = self.read(path)
        with self.reading(path, "is not a frame"):
            file = self._read_file(data, most_points)
            record: Any = file.record
            position, heading = read_pose(record["device_position"], record["device_heading"])
            timestamp_ns = read_stamp(record.get("timestamp", 0))
            images = [_image(image) for image in record.get("images", ())]
            stem = PurePosixPath(path).stem
            frame = SceneFrame(
                int(stem) if stem.isdecimal() else index,
                timestamp_ns,
                position,
                heading,
                read_gps(record.get("device_gps_pose")),
                file.points.points(),
                tuple(sorted(images, key=self._order)),
                read_radars(record.get("radar_points"), self._radar, timestamp_ns),
                left_out=file.points.total - len(file.points.numbers),
            )
        return replace(frame, surplus=self._unsaid(frame, path, file))

    def _unsaid(self, frame: SceneFrame, path: str, file: FrameFile) -> str:
        """Name what is in a frame's file and not in the frame."""
        for fault in file.points.faults.values():
            return f"{self.folder / path}: point {fault.point} {fault.text}"
        if not self._is_exact:
            return ""
        record, written = file.record, record_of(frame)
        for key in sorted({*record, *written} - {"points"}):
            if record.get(key) != written.get(key):
                return f"{self.folder / path}: {printable(key, 80)} would be lost"
        return ""

    def _order(self, image: SceneImage) -> int:
        return self.cameras.index(image.camera) if image.camera in self.cameras else len(self.cameras)


def _image(record: Any) -> SceneImage:  # noqa: ANN401 - as it was parsed
    path = record["image_url"]
    if not isinstance(path, str):
        raise SceneError(f"an image_url is {path!r:.80}")
    return read_image(_camera(path), path, record, COEFFICIENTS)


def _camera(path: str) -> str:
    return path.partition("/")[0]
