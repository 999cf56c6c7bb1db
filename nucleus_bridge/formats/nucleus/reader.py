# SPDX-License-Identifier: Apache-2.0
"""Sealed Nucleus scenes, read frame by frame."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.content import SceneFrame, SceneImage
from nucleus_bridge.formats.nucleus.payload import COEFFICIENTS, items_of
from nucleus_bridge.formats.point_reading import PointTable, read_cloud
from nucleus_bridge.formats.reading import SealedFiles, read_gps, read_image, read_pose, read_stamp
from nucleus_bridge.formats.rounding import gps_pose, quaternion, vector
from nucleus_bridge.spool.manifest import SCENE_NAME, Manifest
from nucleus_bridge.text import printable

Items = dict[str, dict[str, Any]]


class NucleusReader(SealedFiles):
    """A sealed Nucleus scene."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Read its payload.

        Raises:
            SceneError: It is missing or damaged.
        """
        super().__init__(folder, manifest)
        with self.reading(SCENE_NAME, "it is not a scene"):
            self._frames, self.metadata, self._surplus = _payload(self.read(SCENE_NAME))
        kinds = {name: item.get("type") for frame in self._frames for name, item in frame.items()}
        self.lidar = next((name for name, kind in kinds.items() if kind == "pointcloud"), self.cloud_sensor)
        self.cameras = self.in_order(name for name, kind in kinds.items() if kind == "image")

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._frames)

    def frame(self, index: int, most_points: int | None = None) -> SceneFrame:
        """Read one frame."""
        items = self._frames[index]
        with self.reading(SCENE_NAME, f"frame {index} is damaged"):
            path = str(items[self.lidar]["url"])
            images = tuple(_image(name, items[name]) for name in self.cameras if name in items)
        data = self.read(path)
        with self.reading(path, "it is not a point cloud"):
            document, table = read_cloud(data, most_points)
            record: Any = document.value
            if not isinstance(record, dict) or not isinstance(record.get("points"), list):
                raise SceneError("is not a JSON object with a list of points")
            position, heading = read_pose(record["device_position"], record["device_heading"])
            stem = Path(path).stem
            frame = SceneFrame(
                int(stem) if stem.isdecimal() else index,
                read_stamp(record.get("timestamp", 0)),
                position,
                heading,
                read_gps(record.get("device_gps_pose")),
                table.points(),
                images,
                left_out=table.total - len(table.numbers),
                metadata=_own_metadata(items[self.lidar]),
            )
        return replace(frame, surplus=self._surplus or self._unsaid(frame, index, path, record, table))

    def _unsaid(self, frame: SceneFrame, index: int, path: str, record: Items, table: PointTable) -> str:
        """Name what is in a frame's files and not in the frame."""
        for fault in table.faults.values():
            return f"{self.folder / path}: point {fault.point} {fault.text}"
        written = {
            "device_position": vector(frame.position),
            "device_heading": quaternion(frame.heading_xyzw),
            **({} if frame.gps is None else {"device_gps_pose": gps_pose(frame.gps)}),
            "timestamp": frame.timestamp_ns,
        }
        for key in sorted({*written, *record} - {"points"}):
            if written.get(key) != record.get(key):
                return f"{self.folder / path}: {printable(key, 80)} would be lost"
        if items_of(frame, self.manifest.reference_id, self.lidar) != self._frames[index]:
            return f"{self.folder / SCENE_NAME}: frame {index} says more than this package writes; it would be lost"
        return ""


def _payload(content: bytes) -> tuple[list[Items], dict[str, Any], str]:
    """Return a payload's frames, its metadata, and what else is in it."""
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SceneError(f"is not JSON: {error}") from None
    frames = payload.get("frames") if isinstance(payload, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise SceneError("is not a scene: frames is missing, or no list of objects")
    for item in (item for frame in frames for item in frame.values()):
        if not isinstance(item, dict) or not isinstance(item.get("metadata", {}), dict):
            raise SceneError(f"is not a scene: an item is {item!r:.80}")
    metadata = payload.get("metadata", {})
    known = {"reference_id": str, "frames": list, "metadata": dict}
    wrong = [key for key, value in payload.items() if not isinstance(value, known.get(key, ()))]
    surplus = f"{SCENE_NAME}: {min(wrong)!r:.80} is not known, and would be lost" if wrong else ""
    return frames, metadata if isinstance(metadata, dict) else {}, surplus


def _own_metadata(item: dict[str, Any]) -> dict[str, Any]:
    """Return what all items of a frame say of it, as the cloud has it: text, numbers and booleans."""
    return {
        key: value for key, value in item.get("metadata", {}).items() if isinstance(value, str | bool | int | float)
    }


def _image(camera: str, item: dict[str, Any]) -> SceneImage:
    params = item.get("metadata", {}).get("camera_params") or item.get("camera_params", {})
    return read_image(camera, str(item.get("url", "")), params, COEFFICIENTS)
