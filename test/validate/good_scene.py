# SPDX-License-Identifier: Apache-2.0
"""A scene of two frames that breaks no rule, how it is damaged, and what validating says of it."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nucleus_bridge.validate.scenes import SceneReport, validate_path

SCENE_ID = "drive-20231114T221320.100000000Z"
FIRST_NS = 1_700_000_000_100_000_000


class DELETE:
    """Stands for a value that is taken away."""


FIRST_CLOUD = (
    '{"points":[{"x":  1.250,"y": -2.000,"z":  0.125,"i":0.500,"d":0,"t":1700000000100000000,"is_ground": true},'
    '{"x":-31.007,"y":100.999,"z": -0.000,"i":1.000,"d":1,"t":1700000000199999999,"is_ground":false}],'
    '"device_position":{"x":0.0,"y":0.0,"z":0.0},"device_heading":{"x":0.0,"y":0.0,"z":0.0,"w":1.0},'
    '"device_gps_pose":{"lat":48.137,"lon":11.575,"bearing":359.5},"timestamp":1700000000100000000}\n'
)
SECOND_CLOUD = (
    '{"points":[{"x":12.000,"y":0.100,"z":7.000,"i":0.001}],"device_position":{"x":1.5,"y":-0.25,"z":0.01},'
    '"device_heading":{"x":0.0,"y":0.0,"z":0.5,"w":-0.8660254037844386},"timestamp":1700000000200000000}\n'
)
CLOUDS = (FIRST_CLOUD, SECOND_CLOUD)


def image(suffix: str) -> bytes:
    picture = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    return bytes(cv2.imencode(suffix, picture)[1])


def image_item(number: int, camera: str, suffix: str, params: dict[str, Any], kept: str) -> dict[str, Any]:
    return {
        "metadata": {"camera_params": params},
        "reference_id": f"{SCENE_ID}-{camera}-{number:06d}",
        "url": f"{camera}/{number:06d}{suffix}",
        "type": "image",
        "camera_params": {key: copy.deepcopy(params[key]) for key in kept.split()},
    }


def front(number: int) -> dict[str, Any]:
    params = {
        "position": {"x": 1.5, "y": 0.0, "z": 1.7},
        "heading": {"x": -0.5, "y": 0.5, "z": -0.5, "w": 0.5},
        "fx": 900.0,
        "fy": 901.5,
        "cx": 4.0,
        "cy": 3,
        "skew": 0.0,
        "k1": -0.31,
        "k2": 0.0,
        "p1": 0.0012,
        "p2": 0.0,
        "k3": 0.0,
        "camera_model": "brown_conrady",
        "timestamp": FIRST_NS + 5_000_000 + number * 100_000_000,
        "camera_index": 0,
    }
    return image_item(number, "front", ".jpg", params, "position heading fx fy cx cy k1 p1 camera_model")


def rear(number: int) -> dict[str, Any]:
    params = {
        "position": {"x": -0.5, "y": 0.0, "z": 1.7},
        "heading": {"x": 0.5, "y": 0.5, "z": -0.5, "w": -0.5},
        "fx": 300.0,
        "fy": 300.0,
        "cx": 4.0,
        "cy": 3.0,
        "skew": 0.1,
        "k1": 0.1,
        "k2": 0.02,
        "k3": 0.0,
        "k4": -0.004,
        "camera_model": "fisheye",
        "timestamp": FIRST_NS,
        "camera_index": 1,
        "scale_factor": 2.0,
    }
    kept = "position heading fx fy cx cy k1 k2 k4 camera_model"
    return {**image_item(number, "rear", ".png", params, kept), "width": 8, "height": 6}


def cloud(number: int) -> dict[str, Any]:
    return {
        "metadata": {},
        "reference_id": f"{SCENE_ID}-top-{number:06d}",
        "url": f"top/{number:06d}.json",
        "type": "pointcloud",
    }


@dataclass
class Recording:
    """A scene of two frames that breaks no rule, to be damaged before or after it is written."""

    scene: dict[str, Any] = field(
        default_factory=lambda: {
            "reference_id": SCENE_ID,
            "frames": [{"top": cloud(0), "front": front(0), "rear": rear(0)}, {"top": cloud(1), "front": front(1)}],
            "metadata": {"city": "Tübingen"},
        }
    )
    manifest: dict[str, Any] = field(
        default_factory=lambda: {
            "format_version": 1,
            "reference_id": SCENE_ID,
            "format": "nucleus",
            "frames": 2,
            "items": 5,
            "points": 3,
            "first_stamp_ns": FIRST_NS,
            "last_stamp_ns": FIRST_NS + 100_000_000,
            "world_frame": "map",
            "device_frame": "base_link",
            "world_offset": {"x": 690123.25, "y": 5335678.5, "z": 512.0},
            "sensors": {"front": {"kind": "camera"}, "rear": {"kind": "camera"}, "top": {"kind": "lidar"}},
            "sync": {"front": {"mean_ms": 5.0, "max_ms": 5.0}, "rear": {"mean_ms": 0.0, "max_ms": 0.0}},
            "missing": {"rear": 1},
            "losses": {"/camera/rear/image_raw": {"surplus": 1}},
            "end_reason": "end_of_input",
            "config_digest": "0" * 63 + "a",
            "software": "someone 1.0",
        }
    )
    files: dict[str, bytes] = field(
        default_factory=lambda: {
            "top/000000.json": CLOUDS[0].encode(),
            "top/000001.json": CLOUDS[1].encode(),
            "front/000000.jpg": image(".jpg"),
            "front/000001.jpg": image(".jpg"),
            "rear/000000.png": image(".png"),
        }
    )

    def write(self, parent: Path) -> Path:
        """Write the files and a manifest that lists them; what the manifest already says stays."""
        folder = parent / SCENE_ID
        files = {"scene.json": json.dumps(self.scene).encode(), **self.files}
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        records = [
            {"path": name, "bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
            for name in sorted(files)
        ]
        manifest = {**self.manifest, "files": self.manifest.get("files", records)}
        content = files.get("manifest.json", json.dumps(manifest).encode())
        (folder / "manifest.json").write_bytes(content)
        return folder

    def edit_file(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file that must contain it."""
        text = self.files[name].decode()
        assert text.count(old) >= 1
        self.files[name] = text.replace(old, new, 1).encode()


def edit(document: Any, path: str, value: object) -> None:
    """Set, or delete, what a path with slashes leads to."""
    *way, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    for step in way:
        document = document[step]
    if value is DELETE:
        del document[last]
    else:
        document[last] = value


def edit_params(scene: dict[str, Any], path: str, value: object) -> None:
    """Change the first front image's camera_params in both places."""
    item = scene["frames"][0]["front"]
    edit(item["metadata"]["camera_params"], path, copy.deepcopy(value))
    edit(item["camera_params"], path, value)


def broken(report: SceneReport) -> set[str]:
    return {rule.rule for rule in report.rules if not rule.ok}


def check(folder: Path) -> SceneReport:
    (report,) = validate_path(folder)
    return report
