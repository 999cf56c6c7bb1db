# SPDX-License-Identifier: Apache-2.0
"""A scene from disk as a page or a viewer needs it: clouds as arrays, camera parameters, pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import InputError, SceneError
from nucleus_bridge.model import FloatArray
from nucleus_bridge.spool.manifest import MANIFEST_NAME, SCENE_NAME, Manifest


@dataclass(frozen=True, eq=False)
class Cloud:
    """One frame's points in scene coordinates.

    Attributes:
        xyz: Shape (n, 3), float64, metres.
        intensity: Shape (n,), 0..1; zeros where there is none.
        device: Shape (n,), number of the lidar; zeros where there is none.
        position: Of the device, shape (3,).
        heading_xyzw: Of the device, shape (4,).
        gps: lat, lon, bearing, or None.
        stamp_ns: Of the frame.
    """

    xyz: FloatArray
    intensity: NDArray[np.float32]
    device: NDArray[np.uint8]
    position: FloatArray
    heading_xyzw: FloatArray
    gps: Mapping[str, float] | None
    stamp_ns: int


@dataclass(frozen=True)
class Picture:
    """One image of a frame: its file and the camera parameters as they will be uploaded."""

    path: Path
    params: Mapping[str, Any]


class SceneFolder:
    """A sealed Nucleus scene that is read frame by frame.

    Raises:
        InputError: There is no scene, or not one of this format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / MANIFEST_NAME).is_file():
            raise InputError(f"{folder} is no scene: it has no {MANIFEST_NAME}; give a folder below SPOOL/scenes")
        self.manifest = Manifest.read(folder)
        path = folder / SCENE_NAME
        if not path.is_file():
            raise InputError(f"{folder}: {self.manifest.format!r} has no {SCENE_NAME}; only nucleus can be shown")
        self._frames: list[dict[str, Any]] = _parsed(path).get("frames", [])
        self.lidar = next((n for f in self._frames for n, item in f.items() if item.get("type") == "pointcloud"), "")
        self.cameras = sorted(
            {n for f in self._frames for n, item in f.items() if item.get("type") == "image"}, key=self._camera_order
        )

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._frames)

    def cloud(self, index: int) -> Cloud:
        """Read one frame's cloud.

        Raises:
            SceneError: It is missing or damaged.
        """
        path = self._file(self._frames[index], self.lidar)
        record = _parsed(path)
        try:
            points = record["points"]
            count = len(points)
            return Cloud(
                xyz=np.array([(p["x"], p["y"], p["z"]) for p in points], dtype=np.float64).reshape(count, 3),
                intensity=np.array([p.get("i", 0.0) for p in points], dtype=np.float32),
                device=np.array([p.get("d", 0) for p in points], dtype=np.uint8),
                position=np.array([record["device_position"][axis] for axis in "xyz"], dtype=np.float64),
                heading_xyzw=np.array([record["device_heading"][axis] for axis in "xyzw"], dtype=np.float64),
                gps=record.get("device_gps_pose"),
                stamp_ns=int(record.get("timestamp", 0)),
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise SceneError(f"{path}: is no point cloud ({type(error).__name__}: {error})") from None

    def pictures(self, index: int) -> Iterator[tuple[str, Picture]]:
        """Give one frame's images by camera.

        Raises:
            SceneError: One is missing.
        """
        frame = self._frames[index]
        for camera in self.cameras:
            if camera in frame:
                item = frame[camera]
                full = item.get("metadata", {}).get("camera_params") or item.get("camera_params", {})
                yield camera, Picture(self._file(frame, camera), full)

    def _camera_order(self, name: str) -> tuple[int, str]:
        return int(self.manifest.sensors.get(name, {}).get("camera_index", 999)), name

    def _file(self, frame: Mapping[str, Mapping[str, Any]], sensor: str) -> Path:
        url = str(frame.get(sensor, {}).get("url", ""))
        path = (self.folder / url).resolve()
        if not url or self.folder.resolve() not in path.parents or not path.is_file():
            raise SceneError(f"{self.folder}: sensor {sensor!r} has no file at {url!r}")
        return path


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise SceneError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SceneError(f"{path}: is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise SceneError(f"{path}: is no JSON object")
    return content
