# SPDX-License-Identifier: Apache-2.0
"""Tiny sealed sensor-fusion scenes, and what else the tests of annotation tasks share."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from upload_scenes import CAMERA, JPEG, command, manifest_of, scene_name

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.spool import Spool
from nucleus_bridge.testing.receiver import Receiver

TASK_KEY = "live_fedcba9876543210"
FRAME_KEYS = ("position", "heading", "fx", "fy", "cx", "cy", "camera_model", "timestamp")


def json_frame(number: int, image: str, padding: int = 0) -> bytes:
    frame = {
        "points": [{"x": 1.5 + number, "y": -2.0, "z": 0.25 * index, "i": 0.5} for index in range(3)],
        "device_position": {"x": 0.0, "y": 0.5, "z": 0.0},
        "device_heading": {"x": 0.0, "y": 0.0, "z": 0.6, "w": 0.8},
        "images": [{"image_url": image, **{key: CAMERA[key] for key in FRAME_KEYS}}],
        "timestamp": 1_700_000_000_000_000_000 + number,
        "padding": "x" * padding,
    }
    return json.dumps(frame, separators=(",", ":")).encode()


def _field(number: int, content: bytes) -> bytes:
    length = len(content)
    assert length < 1 << 14
    prefix = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return bytes([number << 3 | 2]) + prefix + content


def _floats(*values: float) -> bytes:
    return b"".join(bytes([number << 3 | 5]) + struct.pack("<f", value) for number, value in enumerate(values, 1))


def protobuf_frame(number: int, image: str) -> bytes:
    """A LidarFrame message, by the documented field numbers."""
    camera = _field(2, image.encode()) + _field(3, _floats(1.0, 0.0, 1.5)) + _field(4, _floats(0.5, -0.5, 0.5, -0.5))
    camera += _field(8, _floats(900.0, 901.0, 320.0, 240.0))
    points = b"".join(_field(4, _floats(1.5 + number, -2.0, 0.25 * index)) for index in range(3))
    return _field(1, _floats(0.0, 0.5, 0.0)) + points + _field(6, camera)


def seal_fusion_scene(
    spool_path: Path, number: int, *, frames: int = 2, salt: int = 0, kind: str = "json", padding: int = 0
) -> str:
    """Seal one scene of a frame file and an image a frame and return its reference id."""
    spool = Spool(spool_path)
    spool.create()
    name = scene_name(number)
    scene = spool.open_scene(name)
    files = []
    for index in range(frames):
        image = f"front/{index:06d}.jpg"
        if kind == "json":
            frame, suffix = json_frame(number * 100 + index + salt, image, padding), "json"
        else:
            frame, suffix = protobuf_frame(number * 100 + index + salt, image), "pb"
        files.append(scene.write(image, [JPEG + f"{number} {index} {salt}".encode()]))  # as a Nucleus scene has it
        files.append(scene.write(f"frames/{index:06d}.{suffix}", [frame]))
    manifest = manifest_of(name, f"sensor_fusion_{kind}", frames, salt, files)
    spool.seal(scene, manifest, replace_existing=False)
    return name


def seal_fusion_scenes(spool: Path, count: int, **options: Any) -> list[str]:
    return [seal_fusion_scene(spool, number, **options) for number in range(count)]


def template_file(folder: Path, text: str = "labels: [car, pedestrian]\nproject: streets\n") -> Path:
    path = folder / "cuboids.yaml"
    path.write_text(text)
    return path


def task_endpoint(receiver: Receiver) -> str:
    return f"{receiver.origin}/v1"


def task_settings(receiver: Receiver, store: str, template: Path, **changes: Any) -> UploadConfig:
    values = {
        "task_endpoint": task_endpoint(receiver),
        "task_template": str(template),
        "store": store,
        "poll_interval_s": 0.05,
        "watch_interval_s": 0.1,
        "timeout_s": 10.0,
        **changes,
    }
    return UploadConfig(**values)


def held_tasks(receiver: Receiver) -> list[dict[str, Any]]:
    """Return all tasks, oldest first."""
    found: list[dict[str, Any]] = []
    while True:
        route = f"{task_endpoint(receiver)}/tasks?offset={len(found)}"
        answer = requests.get(route, auth=("reader", ""), timeout=60).json()
        found += answer["docs"]
        if not answer["has_more"]:
            return found


def posts(receiver: Receiver) -> list[int]:
    """Return the statuses of all requests that were to make a task."""
    return [record.status for record in receiver.requests if record.path == "/v1/task/lidarannotation"]


def task_command(
    spool: Path,
    store: str,
    template: Path,
    receiver: Receiver,
    *more: str,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start an upload of tasks that has no key for Nucleus."""
    return command(
        *("upload", spool, "--store", store, "--task", template, "--set", "upload.poll_interval_s=0.05", *more),
        environment={
            "SCALE_API_KEY": TASK_KEY,
            "SCALE_ENDPOINT": task_endpoint(receiver),
            "NUCLEUS_API_KEY": "",
            **(environment or {}),
        },
    )


def assert_tasks_whole(spool: Path, objects: Path, receiver: Receiver, names: list[str]) -> None:
    """Each scene is one task whose frames and images are in the folder that stands for the store, and nothing else."""
    tasks = held_tasks(receiver)
    assert sorted(task["unique_id"] for task in tasks) == sorted(names)
    for task in tasks:
        name = task["unique_id"]
        folder = Spool(spool).scene_folder(name)
        sealed = sorted(path for path in (folder / "frames").iterdir())
        attachments = [Path(unquote(urlsplit(url).path)) for url in task["params"]["attachments"]]
        assert [path.name.partition("-")[0] for path in attachments] == [path.stem for path in sealed]
        expected = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        expected -= {path.relative_to(folder) for path in sealed}
        claim = objects / name / f"manifest.sensor_fusion_{task['params']['attachment_type']}.json"
        for path in expected:
            stored = claim if path.name == "manifest.json" else objects / name / path
            assert stored.read_bytes() == (folder / path).read_bytes()
        for path, source in zip(attachments, sealed, strict=True):
            content = path.read_bytes()
            assert path.stem.partition("-")[2] == hashlib.sha256(content).hexdigest()
            if path.suffix == ".json":
                frame, before = json.loads(content), json.loads(source.read_bytes())
                for image, sealed_image in zip(frame["images"], before["images"], strict=True):
                    assert image["image_url"] == f"file://{objects}/{name}/{sealed_image['image_url']}"
                    sealed_image["image_url"] = image["image_url"]
                assert frame == before
        found = {path for path in (objects / name).rglob("*") if path.is_file() and "#" not in path.name}
        images = {objects / name / path for path in expected if path.name != "manifest.json"}
        assert found == images | {claim} | set(attachments)
