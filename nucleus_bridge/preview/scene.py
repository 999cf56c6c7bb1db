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

from nucleus_bridge.errors import SceneError
from nucleus_bridge.model import FloatArray
from nucleus_bridge.spool.manifest import SCENE_NAME, Manifest

_OPTIONAL_PARAMS = ("skew", "k1", "k2", "k3", "k4", "p1", "p2", "scale_factor")
_FARTHEST_M = 1e9
_LARGEST_NUMBER = 1e9


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
    """A sealed scene that is read frame by frame.

    Attributes:
        folder: Where it is.
        manifest: What is in it.
        lidar: Name of its cloud.
        cameras: Names of its cameras, in their order.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Take a Nucleus scene.

        Raises:
            SceneError: Its payload is missing or damaged.
        """
        self.folder, self.manifest = folder, manifest
        path = folder / SCENE_NAME
        self._frames = _frames(_parsed(path), path)
        self.lidar = next((n for f in self._frames for n, item in f.items() if item.get("type") == "pointcloud"), "")
        names = {n for f in self._frames for n, item in f.items() if item.get("type") == "image"}
        self.cameras = sorted(names, key=self._camera_order)

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._frames)

    def cloud(self, index: int) -> Cloud:
        """Read one frame's cloud.

        Raises:
            SceneError: It is missing or damaged.
        """
        path = self._path(self.lidar, str(self._frames[index].get(self.lidar, {}).get("url", "")))
        record = _parsed(path)
        try:
            points = record["points"]
            count = len(points)
            cloud = Cloud(
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
        if not (np.abs(cloud.xyz) < _FARTHEST_M).all() or not _is_pose(cloud.position, cloud.heading_xyzw):
            raise SceneError(f"{path}: is no point cloud (positions are not finite or the heading is no rotation)")
        return cloud

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
                path = self._path(camera, str(item.get("url", "")))
                _check_params(full, path)
                yield camera, Picture(path, full)

    def _camera_order(self, name: str) -> tuple[int, str]:
        return int(self.manifest.sensors.get(name, {}).get("camera_index", 999)), name

    def _path(self, sensor: str, url: str) -> Path:
        path = (self.folder / url).resolve() if url.isprintable() else self.folder
        if not url or self.folder.resolve() not in path.parents or not path.is_file():
            raise SceneError(f"{self.folder}: sensor {sensor!r} has no file at {url!r}")
        return path


def _frames(document: dict[str, Any], path: Path) -> list[dict[str, dict[str, Any]]]:
    frames = document.get("frames", [])
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise SceneError(f"{path}: frames is no list of objects")
    for item in (item for frame in frames for item in frame.values()):
        if not isinstance(item, dict) or not isinstance(item.get("metadata", {}), dict):
            raise SceneError(f"{path}: an item is {item!r:.80}")
    return frames


def _check_params(params: object, path: Path) -> None:
    """Check the camera parameters that are computed with.

    Raises:
        SceneError: One is missing or is no number.
    """
    try:
        record: dict[str, Any] = dict(params)  # type: ignore[call-overload]
        numbers = [record[name] for name in ("fx", "fy", "cx", "cy")]
        numbers += [value for name in _OPTIONAL_PARAMS if (value := record.get(name)) is not None]
        position = np.array([record["position"][axis] for axis in "xyz"], dtype=np.float64)
        heading = np.array([record["heading"][axis] for axis in "xyzw"], dtype=np.float64)
        holds = all(abs(float(number)) < _LARGEST_NUMBER for number in numbers) and int(record["timestamp"]) >= 0
        holds = holds and float(record.get("scale_factor", 1.0)) > 0 and _is_pose(position, heading)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SceneError(f"{path}: its camera_params cannot be used ({type(error).__name__}: {error})") from None
    if not holds:
        raise SceneError(f"{path}: its camera_params cannot be used (a number is not finite or far too large)")


def _is_pose(position: FloatArray, heading_xyzw: FloatArray) -> bool:
    is_rotation = 0.4 < float(np.abs(heading_xyzw).max()) < 1.1
    return is_rotation and bool((np.abs(position) < _FARTHEST_M).all())


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise SceneError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise SceneError(f"{path}: is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise SceneError(f"{path}: is no JSON object")
    return content
