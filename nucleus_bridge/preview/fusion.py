# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion scenes as a page or a viewer needs them, and which kind of scene a folder holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.errors import InputError, SceneError
from nucleus_bridge.formats.sensor_fusion import FRAME_FOLDER, FRAME_SUFFIX
from nucleus_bridge.model import FloatArray
from nucleus_bridge.preview.fusion_frame import FusionFrame, read_fusion_frame
from nucleus_bridge.preview.scene import Cloud, Picture, SceneFolder
from nucleus_bridge.spool.manifest import MANIFEST_NAME, SCENE_NAME, Manifest


def open_scene_folder(folder: Path) -> SceneFolder:
    """Open a sealed scene of any format.

    Raises:
        InputError: There is no scene, or not one of a known format.
        SceneError: It is damaged.
    """
    if not (folder / MANIFEST_NAME).is_file():
        raise InputError(f"{folder} is no scene: it has no {MANIFEST_NAME}; give a folder below SPOOL/scenes")
    manifest = Manifest.read(folder)
    if manifest.format in FRAME_SUFFIX:
        return FusionSceneFolder(folder, manifest)
    if not (folder / SCENE_NAME).is_file():
        raise InputError(f"{folder}: {manifest.format!r} has no {SCENE_NAME}; it cannot be shown")
    return SceneFolder(folder, manifest)


class FusionSceneFolder(SceneFolder):
    """A sealed sensor-fusion scene that is read frame by frame."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Take the scene."""
        self.folder, self.manifest = folder, manifest
        self.lidar = next((n for n, sensor in manifest.sensors.items() if sensor.get("kind") == "lidar"), "")
        self._paths = sorted(record.path for record in manifest.files if record.path.startswith(f"{FRAME_FOLDER}/"))
        self._last: tuple[int, FusionFrame] | None = None
        names = {_camera(record.path) for record in manifest.files if record.path.endswith((".jpg", ".png"))}
        self.cameras = sorted(names, key=self._camera_order)

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._paths)

    def cloud(self, index: int) -> Cloud:
        """Read one frame's points.

        Raises:
            SceneError: The file is missing or damaged.
        """
        frame = self._frame(index)
        columns, record = frame.points.columns, frame.record
        zeros = np.zeros(len(columns["x"]))
        try:
            gps: Any = record.get("device_gps_pose")
            stamp: Any = record.get("timestamp", 0)
            return Cloud(
                xyz=np.column_stack([columns[axis] for axis in "xyz"]),
                intensity=columns.get("i", zeros).astype(np.float32),
                device=columns.get("d", zeros).astype(np.uint8),
                position=_numbers(record["device_position"], "xyz"),
                heading_xyzw=_numbers(record["device_heading"], "xyzw"),
                gps=gps,
                stamp_ns=int(stamp),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SceneError(f"{self.folder / self._paths[index]}: is no frame ({error!r})") from None

    def pictures(self, index: int) -> Iterator[tuple[str, Picture]]:
        """Give one frame's images by camera.

        Raises:
            SceneError: One is missing.
        """
        images: Any = self._frame(index).record.get("images", [])
        for image in sorted(images, key=lambda image: self.cameras.index(_camera(image["image_url"]))):
            camera = _camera(image["image_url"])
            yield camera, Picture(self._path(camera, image["image_url"]), image)

    def _frame(self, index: int) -> FusionFrame:
        """Read a frame; the last one is kept, since its points and its images are asked for one after the other."""
        if self._last is None or self._last[0] != index:
            try:
                frame = read_fusion_frame(self._read(self._paths[index]), self.manifest.format)
            except SceneError as error:
                raise SceneError(f"{self.folder / self._paths[index]}: {error}") from None
            self._last = index, frame
        return self._last[1]

    def _read(self, path: str) -> bytes:
        return self._path("frame", path).read_bytes()


def _numbers(record: Any, keys: str) -> FloatArray:  # noqa: ANN401 - as it was parsed
    return np.array([float(record[key]) for key in keys])


def _camera(image_url: str) -> str:
    return image_url.partition("/")[0]
