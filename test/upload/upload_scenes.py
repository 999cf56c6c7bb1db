# SPDX-License-Identifier: Apache-2.0
"""Tiny sealed scenes, and what else the tests of uploads share."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.formats.nucleus.payload import cloud_item, encode_payload, image_item, scene_payload
from nucleus_bridge.spool import FileRecord, Manifest, Spool
from nucleus_bridge.spool.state import StateBook, StateRecord
from nucleus_bridge.testing.receiver import Receiver, SceneRules, resolvers_from_mappings

KEY = "live_0123456789abcdef"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
CAMERA = {
    "position": {"x": 1.0, "y": 0.0, "z": 1.5},
    "heading": {"x": -0.5, "y": 0.5, "z": -0.5, "w": 0.5},
    "fx": 900.0,
    "fy": 901.0,
    "cx": 320.0,
    "cy": 240.0,
    "skew": 0.0,
    "k1": -0.1,
    "k2": 0.0,
    "camera_model": "brown_conrady",
    "timestamp": 1_700_000_000_000_000_000,
    "camera_index": 0,
}


def scene_name(number: int) -> str:
    return f"drive-20260102t0304{number // 60 % 60:02d}{number % 60:02d}.{number:09d}Z"


def cloud(number: int, points: int = 3) -> bytes:
    return json.dumps(
        {
            "points": [{"x": 1.5 + number, "y": -2.0, "z": 0.25 * index, "i": 0.5} for index in range(points)],
            "device_position": {"x": 0.0, "y": 0.5, "z": 0.0},
            "device_heading": {"x": 0.0, "y": 0.0, "z": 0.6, "w": 0.8},
            "timestamp": 1_700_000_000_000_000_000 + number,
        }
    ).encode()


def manifest_of(name: str, scene_format: str, frames: int, salt: int, files: list[FileRecord]) -> Manifest:
    """Describe a scene of one camera and three points a frame."""
    return Manifest(
        reference_id=name,
        format=scene_format,
        frames=frames,
        items=2 * frames,
        points=3 * frames,
        first_stamp_ns=1_700_000_000_000_000_000,
        last_stamp_ns=1_700_000_000_100_000_000,
        world_frame="map",
        device_frame="base_link",
        world_offset={"x": 0.0, "y": 0.0, "z": 0.0},
        sensors={},
        sync={},
        missing={},
        losses={},
        end_reason="end of recording",
        config_digest=f"{salt:064d}",
        software="test",
        files=tuple(files),
    )


def seal_scene(
    spool_path: Path, number: int, *, frames: int = 2, salt: int = 0, image_bytes: int = 0, replace: bool = False
) -> str:
    """Seal one scene of a cloud and an image a frame and return its reference id."""
    spool = Spool(spool_path)
    spool.create()
    name = scene_name(number)
    scene = spool.open_scene(name)
    files, payload_frames = [], []
    for index in range(frames):
        files.append(scene.write(f"lidar/{index:06d}.json", [cloud(number * 100 + index + salt)]))
        picture = JPEG + f"{number} {index} {salt}".encode() + bytes(image_bytes)
        files.append(scene.write(f"front/{index:06d}.jpg", [picture]))
        payload_frames.append(
            {
                "lidar": cloud_item(f"{name}-lidar-{index:06d}", f"lidar/{index:06d}.json"),
                "front": image_item(f"{name}-front-{index:06d}", f"front/{index:06d}.jpg", CAMERA),
            }
        )
    payload = scene_payload(name, payload_frames, {"vehicle": "v1"})
    files.append(scene.write("scene.json", [encode_payload(payload)]))
    spool.seal(scene, manifest_of(name, "nucleus", frames, salt, files), replace_existing=replace)
    return name


def seal_scenes(spool: Path, count: int, **options: Any) -> list[str]:
    return [seal_scene(spool, number, **options) for number in range(count)]


def file_receiver(directory: Path, objects: Path, **options: Any) -> Receiver:
    """Return a receiver that reads file:// items below a folder."""
    objects.mkdir(exist_ok=True)
    return Receiver(
        directory,
        resolvers=resolvers_from_mappings([f"file://{objects}={objects}"]),
        rules=SceneRules(extra_url_schemes=("file",), strict=True),
        **options,
    )


def settings(receiver: Receiver, store: str, **changes: Any) -> UploadConfig:
    values = {
        "endpoint": receiver.url,
        "store": store,
        "dataset_name": "drives",
        "poll_interval_s": 0.05,
        "watch_interval_s": 0.1,
        "timeout_s": 10.0,
        **changes,
    }
    return UploadConfig(**values)


def states(spool: Path) -> dict[str, str]:
    return {record.reference_id: record.state.value for record in StateBook(Spool(spool)).all()}


def records(spool: Path) -> dict[str, StateRecord]:
    return {record.reference_id: record for record in StateBook(Spool(spool)).all()}


def held_scenes(receiver: Receiver, name: str = "drives") -> list[Mapping[str, Any]]:
    """Return the payloads of all scenes in the one dataset of that name."""
    import requests

    rows = requests.get(f"{receiver.url}/dataset/details", auth=("k", ""), timeout=60).json()
    found = [row["id"] for row in rows if row["name"] == name]
    assert len(found) == 1, rows
    return receiver.scenes(found[0])


def assert_whole(spool: Path, objects: Path, names: list[str]) -> None:
    """Every file of every scene is in the folder that stands for the store, byte by byte, and nothing else."""
    for name in names:
        folder = Spool(spool).scene_folder(name)
        expected = {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file()
        }
        found = {
            str(path.relative_to(objects / name)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (objects / name).rglob("*")
            if path.is_file() and "#" not in path.name
        }
        assert found == expected


def command(*arguments: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start ``nucleus-bridge``."""
    return subprocess.Popen(
        [sys.executable, "-m", "nucleus_bridge", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NUCLEUS_API_KEY": KEY, **(environment or {})},
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 120.0) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"did not end\n{out}\n{err}") from None
    return process.returncode, out, err
